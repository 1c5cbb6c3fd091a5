/*
 * From the multiboot loader into 64-bit C, for the first processor and for those it wakes up.
 *
 * Long mode, because a guest of 3000 MiB on q35 has memory above 4 GiB, and because the registers
 * that 32-bit code does not have may get lost in a stream, too.
 */

#define CODE32 0x08
#define DATA   0x10
#define CODE64 0x18
#define USER_CODE 0x23
#define USER_DATA 0x2b
#define TRAMPOLINE 0x8000

	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002	/* magic */
	.long 0x3		/* pages aligned, memory map wanted */
	.long -(0x1badb002 + 0x3)

	.text
	.code32
	.globl start
start:
	cli
	cld
	movl $boot_stack_end, %esp
	movl %ebx, %edi		/* what the loader tells us; kept for main() */

	/* Identity map of 64 GiB in pages of 2 MiB. */
	movl $pdpt + 7, pml4	/* all for user mode, too */
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $12, %eax
	addl $directories + 7, %eax
	movl %eax, pdpt(, %ecx, 8)
	incl %ecx
	cmpl $64, %ecx
	jne 1b
	xorl %ecx, %ecx
2:	movl %ecx, %eax
	shll $21, %eax
	orl $0x87, %eax
	movl %eax, directories(, %ecx, 8)
	movl %ecx, %eax
	shrl $11, %eax
	movl %eax, directories + 4(, %ecx, 8)
	incl %ecx
	cmpl $32768, %ecx
	jne 2b

	lgdt gdtr
	call long_mode
	ljmp $CODE64, $start64

/* Turns paging and 64-bit mode on; the caller still has to jump into a 64-bit segment. */
long_mode:
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0x620, %eax	/* PAE, fxsave, SSE exceptions */
	movl %eax, %cr4
	movl $0xc0000080, %ecx	/* EFER */
	rdmsr
	orl $0x101, %eax	/* long mode, syscall */
	wrmsr
	movl $0x80010033, %eax	/* paging, write protect, x87 and SSE without emulation */
	movl %eax, %cr0
	ret

	.code64
start64:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movl $boot_stack_end, %esp
	movl %edi, %edi
	call main
3:	hlt
	jmp 3b

/*
 * Where the other processors wake up, in real mode. The code is copied to TRAMPOLINE, so everything
 * in it is addressed relative to its own start.
 */
	.globl trampoline, trampoline_end
	.code16
trampoline:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl (TRAMPOLINE + trampoline_gdtr - trampoline)
	movl $0x11, %eax
	movl %eax, %cr0
	ljmpl $CODE32, $(TRAMPOLINE + trampoline32 - trampoline)
	.balign 4
trampoline_gdtr:
	.word gdt_end - gdt - 1
	.long gdt
	.code32
trampoline32:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $0x7f00, %esp	/* only for this one call; several may share it */
	movl $long_mode, %eax
	call *%eax
	ljmp $CODE64, $second64
trampoline_end:

	.code64
second64:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movl $1, %edi
	lock xaddl %edi, cpus_awake	/* edi: which processor we are */
	leal 1(%rdi), %eax
	shll $14, %eax
	leaq stacks(%rax), %rsp
	call second_main
4:	hlt
	jmp 4b

/*
 * void enter_user(int cpu, void *stack, void (*function)(int), unsigned task)
 *
 * Calls `function` in user mode, and never returns.
 */
	.globl enter_user
enter_user:
	ltr %cx
	movl $USER_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	pushq %rdi
	pushq %rsi
	pushq %rdx
	call registers_init	/* after the segments: their bases are part of it */
	popq %rdx
	popq %rsi
	popq %rdi
	subq $8, %rsi		/* as behind a call */
	pushq $USER_DATA
	pushq %rsi
	pushq $0x202
	pushq $USER_CODE
	pushq %rdx
	iretq

/*
 * void kernel_call(void (*function)(void *), void *argument)
 *
 * interrupt.c takes the arguments off the stack. The way in is an invalid instruction, because a
 * hypervisor without hardware support may know no other that every kernel has to expect.
 */
	.globl kernel_call, kernel_call_entry
kernel_call:
	movl %cs, %eax
	testl $3, %eax
	jz 5f
	pushq %rsi
	pushq %rdi
kernel_call_entry:
	ud2
	addq $16, %rsp
	ret
5:	movq %rdi, %rax
	movq %rsi, %rdi
	jmp *%rax

/* Interrupt entries, 16 bytes each: vectors 0 to 63, then 255. Some exceptions push a code. */
	.globl entries
	.balign 16
entries:
	.set vector, 0
	.rept 65
	.balign 16
	.if vector == 64
	.set vector, 255
	.endif
	.if vector != 8 && (vector < 10 || vector > 14) && vector != 17
	pushq $0
	.endif
	pushq $vector
	jmp common_entry
	.set vector, vector + 1
	.endr

common_entry:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %rbx
	pushq %rbp
	movq %rsp, %rbx
	leaq 88(%rsp), %rdi
	andq $-16, %rsp
	call interrupt
	movq %rbx, %rsp
	popq %rbp
	popq %rbx
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

/*
 * void register_spin(uint64_t count, const struct fx *in, struct seen *out)
 *
 * Loads every register with a pattern, spins with interrupts on, and stores what is in them then.
 * The stack pointer and the flags are the only ones that are used meanwhile.
 */
	.globl register_spin
register_spin:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rdx
	pushq %rdi
	fxrstor64 (%rsi)
	.irpc n, 0123456789abcde
	.set pattern_\n, 0x5a00110022003300 + 0x0101010101010101 * 0x\n
	.endr
	movabsq $pattern_0, %rax
	movabsq $pattern_1, %rbx
	movabsq $pattern_2, %rcx
	movabsq $pattern_3, %rdx
	movabsq $pattern_4, %rsi
	movabsq $pattern_5, %rdi
	movabsq $pattern_6, %rbp
	movabsq $pattern_7, %r8
	movabsq $pattern_8, %r9
	movabsq $pattern_9, %r10
	movabsq $pattern_a, %r11
	movabsq $pattern_b, %r12
	movabsq $pattern_c, %r13
	movabsq $pattern_d, %r14
	movabsq $pattern_e, %r15
6:	decq (%rsp)
	jnz 6b
	pushq %rax
	movq 16(%rsp), %rax
	movq %rbx, 520(%rax)
	movq %rcx, 528(%rax)
	movq %rdx, 536(%rax)
	movq %rsi, 544(%rax)
	movq %rdi, 552(%rax)
	movq %rbp, 560(%rax)
	movq %r8, 568(%rax)
	movq %r9, 576(%rax)
	movq %r10, 584(%rax)
	movq %r11, 592(%rax)
	movq %r12, 600(%rax)
	movq %r13, 608(%rax)
	movq %r14, 616(%rax)
	movq %r15, 624(%rax)
	fxsave64 (%rax)
	popq %rbx
	movq %rbx, 512(%rax)
	addq $16, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.data
	.balign 16
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* 32-bit code */
	.quad 0x00cf93000000ffff	/* data */
	.quad 0x00af9b000000ffff	/* 64-bit code */
	.quad 0x00affb000000ffff	/* 64-bit code of user mode */
	.quad 0x00cff3000000ffff	/* data of user mode */
	.globl gdt_tasks
gdt_tasks:
	.skip 8 * 16			/* a task state segment for each processor */
gdt_end:
gdtr:
	.word gdt_end - gdt - 1
	.long gdt

	.globl cpus_awake
cpus_awake:
	.long 1

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
directories:
	.skip 64 * 4096
	.globl stacks
stacks:				/* 16 KiB each */
	.skip 8 * 16384
boot_stack:
	.skip 16384
boot_stack_end:

	.section .note.GNU-stack, "", @progbits
