/*
 * Interrupts: the PIT by way of the old interrupt controllers, and each processor's own timer. They
 * watch each other, because a timer that stands still is what is left of a lost device section.
 */
#include "guest.h"

#define APIC 0xfee00000u
#define TRAMPOLINE 0x8000u
#define PIT_HZ 1193182u
#define APIC_HZ 100u
#define PIT_VECTOR 0x20
#define TIMER_VECTOR 0x30
#define INVALID_INSTRUCTION 6
#define SPURIOUS_VECTOR 255

struct gate {
	uint16_t low, segment, flags, middle;
	uint32_t high, zero;
} __attribute__((packed));

struct task {
	uint32_t reserved;
	uint64_t stack;
	uint8_t rest[92];
} __attribute__((packed));

/* What kernel_call() has left on the stack of user mode. */
struct call {
	void (*function)(void *);
	void *argument;
};

struct frame {
	uint64_t vector, code, rip, cs, flags, rsp, ss;
};

extern const char entries[], trampoline[], trampoline_end[], kernel_call_entry[];
extern char stacks[][16384];
extern uint64_t gdt_tasks[][2];

_Noreturn void enter_user(int cpu, void *stack, void (*function)(int), unsigned task);

volatile uint64_t pit_ticks;
volatile uint64_t apic_ticks[MAX_CPUS];
static struct gate gates[256] __attribute__((aligned(16)));
static struct task tasks[MAX_CPUS];
static uint8_t kernel_stacks[MAX_CPUS][8192] __attribute__((aligned(16)));

static volatile uint32_t *apic(uint32_t reg)
{
	return (volatile uint32_t *)(uintptr_t)(APIC + reg);
}

static void gate(int vector, const char *entry)
{
	uintptr_t address = (uintptr_t)entry;

	gates[vector] = (struct gate){ (uint16_t)address, 0x18, 0x8e00, (uint16_t)(address >> 16),
				       (uint32_t)(address >> 32), 0 };
}

static void load_gates(void)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) where =
		{ sizeof gates - 1, (uintptr_t)gates };

	__asm__ volatile("lidt %0" :: "m"(where));
}

static void pic_init(void)
{
	static const uint8_t words[2][4] = { { 0x11, PIT_VECTOR, 4, 1 }, { 0x11, PIT_VECTOR + 8, 2, 1 } };

	for (int i = 0; i < 2; i++) {
		uint16_t port = i ? 0xa0 : 0x20;

		outb(port, words[i][0]);
		for (int n = 1; n < 4; n++)
			outb(port + 1, words[i][n]);
	}
	outb(0x21, 0xfe);	/* the PIT alone */
	outb(0xa1, 0xff);
}

static void pit_init(void)
{
	uint32_t divisor = PIT_HZ / (uint32_t)options.hz;

	outb(0x43, 0x34);
	outb(0x40, (uint8_t)divisor);
	outb(0x40, (uint8_t)(divisor >> 8));
}

void interrupts_init_this_cpu(int cpu)
{
	load_gates();
	*apic(0x80) = 0;				/* take all */
	*apic(0x350) = cpu == 0 ? 0x700 : 0x10000;	/* LINT0: the old controllers */
	*apic(0x3e0) = 0xb;				/* the bus clock, undivided */
	*apic(0x320) = 0x20000 | TIMER_VECTOR;		/* again and again */
	*apic(0xf0) = 0x100 | SPURIOUS_VECTOR;		/* on */
	*apic(0x380) = 1000000000 / APIC_HZ;
	__asm__ volatile("sti");
}

void interrupts_init(void)
{
	for (int vector = 0; vector < 64; vector++)	/* each entry has 16 bytes */
		gate(vector, entries + 16 * vector);
	gate(SPURIOUS_VECTOR, entries + 16 * 64);
	pic_init();
	pit_init();
	interrupts_init_this_cpu(0);
}

void run_in_user_mode(int cpu, void (*function)(int))
{
	uintptr_t task = (uintptr_t)&tasks[cpu];

	tasks[cpu].stack = (uintptr_t)kernel_stacks[cpu + 1];
	tasks[cpu].rest[sizeof tasks->rest - 2] = sizeof(struct task);	/* no map of ports */
	gdt_tasks[cpu][0] = (sizeof(struct task) - 1) | (task & 0xffffff) << 16 | 0x89ull << 40 |
			    (task >> 24 & 0xff) << 56;
	gdt_tasks[cpu][1] = task >> 32;
	enter_user(cpu, stacks[cpu + 1], function, 0x30 + 16 * (unsigned)cpu);
}

/* To all but ourselves: INIT, then twice the page to start at. */
void wake_others(void)
{
	char *to = (char *)(uintptr_t)TRAMPOLINE;
	uint64_t until;

	for (const char *from = trampoline; from < trampoline_end; from++)
		*to++ = *from;
	*apic(0x310) = 0;
	*apic(0x300) = 0xc4500;
	until = pit_ticks + options.hz / 50 + 2;
	while (pit_ticks < until)
		pause();
	*apic(0x310) = 0;
	*apic(0x300) = 0xc4600 | TRAMPOLINE >> 12;
}

/* Calls bad() if `ticks` stands still while `clock` counts up to `patience`. */
static void watch(const char *name, uint64_t ticks, uint64_t clock, uint64_t patience,
		  uint64_t *last, uint64_t *since)
{
	if (ticks != *last || !*since) {
		*last = ticks;
		*since = clock;
	} else if (clock - *since > patience) {
		bad("timer: %s stands still at %u", name, ticks);
	}
}

/*
 * A PIT that was reset still ticks, 18 times a second. Both clocks lose ticks while the host is busy,
 * so only a third of the right pace is asked for, over five seconds.
 */
static void watch_pace(void)
{
	static uint64_t window_start, pit_then;
	uint64_t clock = apic_ticks[0], pace = options.hz < APIC_HZ ? options.hz : APIC_HZ;

	if (window_start && clock - window_start < 5 * APIC_HZ)
		return;
	if (window_start && (pit_ticks - pit_then) * 3 * APIC_HZ < (clock - window_start) * pace)
		bad("timer: the PIT came to %u in %u ticks of the processor's timer", pit_ticks - pit_then,
		    clock - window_start);
	window_start = clock;
	pit_then = pit_ticks;
}

static int this_cpu(void)
{
	/* The identifiers of QEMU's processors count up from 0. */
	return *apic(0x20) >> 24 & (MAX_CPUS - 1);
}

void interrupt(struct frame *frame)
{
	static uint64_t last[MAX_CPUS], since[MAX_CPUS];
	const struct call *call;
	int cpu;

	switch (frame->vector) {
	case PIT_VECTOR:
		outb(0x20, 0x20);
		pit_ticks++;
		if (pit_ticks % options.hb == 0)
			beat(pit_ticks);
		for (cpu = 0; cpu < (int)options.cpus; cpu++)
			if (apic_ticks[cpu])
				watch(cpu ? "a second processor's timer" : "the first processor's timer",
				      apic_ticks[cpu], pit_ticks, 5 * options.hz, &last[cpu], &since[cpu]);
		break;
	case TIMER_VECTOR:
		*apic(0xb0) = 0;
		cpu = this_cpu();
		apic_ticks[cpu]++;
		if (cpu == 0)
			watch_pace();
		break;
	case INVALID_INSTRUCTION:
		if (frame->rip != (uintptr_t)kernel_call_entry)
			bad("invalid instruction at %x", frame->rip);
		frame->rip += 2;
		call = (const struct call *)frame->rsp;
		call->function(call->argument);
		break;
	case PIT_VECTOR + 7:
	case PIT_VECTOR + 15:
	case SPURIOUS_VECTOR:
		break;
	default:
		bad("exception %u code %x at %x", frame->vector, frame->code, frame->rip);
	}
	if (halted)
		halt();
}
