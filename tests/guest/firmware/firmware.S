# Firmware of 64 KiB that is a whole guest, for streams that are kept: small, and with pages of every kind.
#
# It runs in real mode, in the first 640 KiB:
#
#   pages 10 to 13   noise, made once
#   pages 14 to 1b   full of letters and all zero in turn, eight passes each
#   pages 20 to 9f   a line of 16 bytes again and again, with the address of its segment; in every fourth page each
#                    pass changes a few bytes
#
# It says FILLED on port e9 before its first pass; a pass takes far less than a millisecond. With HALTS it does nothing.

	.code16
	.text
	.globl _start
_start:
	cli
	cld
#ifndef HALTS
	xorw	%ax, %ax
	movw	%ax, %ss
	movw	$0x7000, %sp

	# Noise: the upper halves of a linear congruential sequence.
	movw	$0x1000, %ax
	movw	%ax, %es
	xorw	%di, %di
	movl	$0x12345678, %eax
1:	imull	$1664525, %eax, %eax
	addl	$1013904223, %eax
	movl	%eax, %edx
	shrl	$16, %edx
	movw	%dx, %es:(%di)
	addw	$2, %di
	cmpw	$0x4000, %di
	jne	1b

	# Lines.
	movw	$0x2000, %bx
2:	movw	%bx, %es
	xorw	%di, %di
3:	movw	%bx, %ax
	stosw
	movw	$0x3a3a, %ax
	stosw
	movl	$0x6d76, %eax		# "vm"
	stosl
	movl	$0x72726566, %eax	# "ferr"
	stosl
	movl	$0x0a0d2e79, %eax	# "y." and the end of the line
	stosl
	cmpw	$0x1000, %di
	jne	3b
	addw	$0x100, %bx
	cmpw	$0xa000, %bx
	jne	2b

	movw	$filled, %si
4:	movb	%cs:(%si), %al
	outb	%al, $0xe9
	incw	%si
	cmpb	$'\n', %al
	jne	4b

	xorl	%ebp, %ebp		# the pass
pass:
	# Write protection on or off: it has no meaning here, but the translator forgets what it knows of pages. It may be
	# what makes that of QEMU 7.2 notice that one is written again; it came together with another time between
	# passes, and which of the two does it was not told apart.
	movl	%cr0, %eax
	xorl	$0x10000, %eax
	movl	%eax, %cr0

	incl	%ebp
	movw	$0x2000, %bx
5:	movw	%bx, %es
	movl	%ebp, %es:8
	imulw	$34, %bp, %di
	andw	$0x1fe, %di		# an eighth of the page: the rest never changes
	incw	%es:(%di)
	addw	$0x400, %bx
	cmpw	$0xa000, %bx
	jne	5b

	# Zeros or letters.
	testw	$7, %bp
	jnz	6f
	movw	$0x1400, %ax
	movw	%ax, %es
	xorw	%di, %di
	xorl	%eax, %eax
	testw	$8, %bp
	jz	7f
	movl	$0x7a7a7a7a, %eax
7:	movw	$0x2000, %cx
	rep stosl
6:
	movl	$20000, %ecx
8:	decl	%ecx
	jnz	8b
	jmp	pass

filled:	.ascii	"FILLED\n"
#else
1:	hlt
	jmp	1b
#endif

	# Where a processor begins: 16 bytes below 4 GiB, in the last of the 64 KiB.
	.org	0xfff0
	ljmp	$0xf000, $_start
	.org	0xffff
	.byte	0
