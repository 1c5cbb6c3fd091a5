/* Patterns in every register that a processor has for itself, and whether they stay there. */
#include "guest.h"

#define SPIN 2000

/* The layout of fxsave64. */
struct fx {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16], xmm[16][16], rest[96];
} __attribute__((packed, aligned(16)));

struct seen {
	struct fx fx;
	uint64_t general[15];
};

void register_spin(uint64_t count, const struct fx *in, struct seen *out);

/* Registers that nothing here uses. Those that hold addresses must hold canonical ones. */
static const uint32_t msrs[] = {
	0x174, 0x175, 0x176,				/* sysenter */
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,	/* syscall */
	0xc0000100, 0xc0000101, 0xc0000102,		/* the bases of FS and GS */
};
#define MSRS (sizeof msrs / sizeof msrs[0])

static struct fx patterns[MAX_CPUS];
static struct seen seen[MAX_CPUS] __attribute__((aligned(16)));

static uint64_t pattern(int cpu, unsigned n)
{
	return mix(0x7265670000 + cpu * 256 + n);
}

static uint64_t msr_pattern(int cpu, unsigned n)
{
	uint64_t value = pattern(cpu, n) & 0x00003fffffffffff;

	return n == 0 || n == 6 ? value & 0xffff : value;
}

static uint64_t rdmsr(uint32_t msr)
{
	uint32_t a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
	return (uint64_t)d << 32 | a;
}

static void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" :: "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr));
}

#define WRITE_REGISTER(name, v) __asm__ volatile("movq %0, %%" name :: "r"((uint64_t)(v)))
#define READ_REGISTER(name) ({ uint64_t v_; __asm__ volatile("movq %%" name ", %0" : "=r"(v_)); v_; })

void registers_init(int cpu)
{
	struct fx *fx = &patterns[cpu];

	for (unsigned i = 0; i < MSRS; i++)
		wrmsr(msrs[i], msr_pattern(cpu, i));
	WRITE_REGISTER("db0", pattern(cpu, 20) >> 20);
	WRITE_REGISTER("db1", pattern(cpu, 21) >> 20);
	WRITE_REGISTER("db2", pattern(cpu, 22) >> 20);
	WRITE_REGISTER("db3", pattern(cpu, 23) >> 20);
	WRITE_REGISTER("cr2", pattern(cpu, 24));

	fx->fcw = 0x0e7f;		/* exceptions masked, towards zero, double */
	fx->fsw = 5 << 11;		/* the stack's top at 5 */
	fx->ftw = 0xff;
	fx->mxcsr = 0x7f80;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t mantissa = pattern(cpu, 40 + i) | 1ull << 63;

		for (unsigned b = 0; b < 8; b++)
			fx->st[i][b] = (uint8_t)(mantissa >> 8 * b);
		fx->st[i][8] = (uint8_t)(0xf0 + i);
		fx->st[i][9] = 0x3f;
	}
	for (unsigned i = 0; i < 16; i++)
		for (unsigned b = 0; b < 16; b++)
			fx->xmm[i][b] = (uint8_t)(pattern(cpu, 60 + 2 * i + b / 8) >> 8 * (b % 8));
}

static void expect(int cpu, const char *what, uint64_t n, uint64_t expected, uint64_t found)
{
	if (expected != found)
		bad("register %s %u expected %x found %x cpu %u", what, n, expected, found, (uint64_t)cpu);
}

void registers_check(int cpu)
{
	const struct fx *want = &patterns[cpu];
	struct seen *got = &seen[cpu];

	register_spin(SPIN, want, got);
	for (unsigned i = 0; i < 15; i++)
		expect(cpu, "general", i, 0x5a00110022003300 + 0x0101010101010101 * i, got->general[i]);
	expect(cpu, "fcw", 0, want->fcw, got->fx.fcw);
	expect(cpu, "fsw", 0, want->fsw, got->fx.fsw);
	expect(cpu, "ftw", 0, want->ftw, got->fx.ftw);
	expect(cpu, "mxcsr", 0, want->mxcsr, got->fx.mxcsr);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned b = 0; b < 10; b++)
			expect(cpu, "st", i, want->st[i][b], got->fx.st[i][b]);
	for (unsigned i = 0; i < 16; i++)
		for (unsigned b = 0; b < 16; b++)
			expect(cpu, "xmm", i, want->xmm[i][b], got->fx.xmm[i][b]);
}

void registers_check_system(void *which)
{
	int cpu = (int)(uintptr_t)which;

	for (unsigned i = 0; i < MSRS; i++)
		expect(cpu, "msr", msrs[i], msr_pattern(cpu, i), rdmsr(msrs[i]));
	expect(cpu, "debug", 0, pattern(cpu, 20) >> 20, READ_REGISTER("db0"));
	expect(cpu, "debug", 1, pattern(cpu, 21) >> 20, READ_REGISTER("db1"));
	expect(cpu, "debug", 2, pattern(cpu, 22) >> 20, READ_REGISTER("db2"));
	expect(cpu, "debug", 3, pattern(cpu, 23) >> 20, READ_REGISTER("db3"));
	expect(cpu, "cr", 2, pattern(cpu, 24), READ_REGISTER("cr2"));
}
