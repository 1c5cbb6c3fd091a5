/*
 * The memory: every page but our own is zero, text or noise, and every word of it is a function of
 * its address and of the pass that wrote it. tests/src/pattern.rs has the same function.
 */
#include "guest.h"

#define MAX_RANGES 16
#define FIRST_USED 0x100000u	/* what lies below belongs to the firmware */
#define SLICE 16u		/* pages between two looks at the clock */
#define APIC_HZ 100u

struct range {
	uint64_t start, pages;
};

struct multiboot {
	uint32_t flags, lower, upper, boot_device, cmdline, mods_count, mods, syms[4], mmap_len, mmap;
};

struct map_entry {
	uint32_t size;
	uint64_t base, len;
	uint32_t type;
} __attribute__((packed));

extern const char image_start[], constant_end[], image_end[];

static struct range ranges[MAX_RANGES];
static int range_count;
static uint64_t page_count;
static uint64_t constant_sum;
static uint64_t last_tsc[MAX_CPUS];
uint64_t tsc_per_tick;

uint64_t mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 29;
	return x;
}

/* 64 bits at `address`, as pass `generation` writes them into a page of noise. */
static inline uint64_t noise(uint64_t address, uint64_t generation)
{
	return mix(address + (generation << 40));
}

/* Eight letters of eight: compressible, never the same twice. */
static inline uint64_t letters(uint64_t noise)
{
	return (noise & 0x0707070707070707u) + 0x6161616161616161u;
}

enum kind { ZERO, TEXT, NOISE };

static enum kind kind_of(uint64_t address)
{
	uint64_t draw = mix(address ^ 0x6b696e64) % 100;

	return draw < options.zero ? ZERO : draw < options.zero + options.text ? TEXT : NOISE;
}

/* Pages that are not rewritten keep what was there at first. */
static uint64_t generation_of(uint64_t address, uint64_t pass)
{
	return mix(address ^ 0x686f74) % 100 < options.rewrite ? pass : 0;
}

static uint64_t sum_constants(void)
{
	uint64_t sum = 0;

	for (const uint64_t *at = (const uint64_t *)image_start; at < (const uint64_t *)constant_end; at++)
		sum = mix(sum ^ *at);
	return sum;
}

void memory_init(uint32_t multiboot_info)
{
	const struct multiboot *info = (const struct multiboot *)(uintptr_t)multiboot_info;
	uintptr_t at = info->mmap, end = at + info->mmap_len;
	uint64_t left = options.mem ? options.mem * (1048576 / PAGE) : ~0ull;

	constant_sum = sum_constants();
	while (at < end) {
		const struct map_entry *entry = (const struct map_entry *)at;
		uint64_t from = entry->base, to = entry->base + entry->len;

		at += entry->size + 4;
		if (from >= FIRST_USED && from < (uintptr_t)image_end)
			from = (uintptr_t)image_end;
		from = (from + PAGE - 1) & -(uint64_t)PAGE;
		to &= -(uint64_t)PAGE;
		if (entry->type != 1 || from < FIRST_USED || to > 64ull << 30 || from >= to || !left ||
		    range_count == MAX_RANGES)
			continue;
		uint64_t pages = (to - from) / PAGE;
		if (pages > left)
			pages = left;
		left -= pages;
		ranges[range_count++] = (struct range){ from, pages };
		page_count += pages;
	}
	if (!page_count)
		bad("no memory to check");
	say("MEMORY %u pages in %u ranges from %x", page_count, (uint64_t)range_count, ranges[0].start);
}

static uint64_t address_of(uint64_t index)
{
	for (int i = 0; i < range_count; i++) {
		if (index < ranges[i].pages)
			return ranges[i].start + index * PAGE;
		index -= ranges[i].pages;
	}
	bad("page %u does not exist", index);
}

/* What was never written stays unallocated in the host, so zeros are only written where needed. */
static void fill_page(uint64_t address)
{
	volatile uint64_t *page = (volatile uint64_t *)address;
	enum kind kind = kind_of(address);

	for (unsigned i = 0; i < PAGE / 8; i++) {
		if (kind == NOISE)
			page[i] = noise(address + 8 * i, 0);
		else if (kind == TEXT)
			page[i] = letters(noise(address + 8 * i, 0));
		else if (page[i])
			page[i] = 0;
	}
}

_Noreturn static void mismatch(uint64_t address, uint64_t expected, uint64_t found, uint64_t pass, int cpu)
{
	if ((uint32_t)expected == (uint32_t)found) {
		address += 4;
		expected >>= 32;
		found >>= 32;
	}
	bad("memory %x expected %x found %x pass %u cpu %u", address, (uint64_t)(uint32_t)expected,
	    (uint64_t)(uint32_t)found, pass, (uint64_t)cpu);
}

static void check_page(uint64_t address, uint64_t pass, int cpu)
{
	volatile uint64_t *page = (volatile uint64_t *)address;
	enum kind kind = kind_of(address);
	uint64_t now = generation_of(address, pass - 1), next = generation_of(address, pass);

	for (unsigned i = 0; i < PAGE / 8; i++) {
		uint64_t at = address + 8 * i, found = page[i], expected;

		if (kind == ZERO) {
			if (found)
				mismatch(at, 0, found, pass, cpu);
			continue;
		}
		expected = noise(at, now);
		if (kind == TEXT)
			expected = letters(expected);
		if (found != expected)
			mismatch(at, expected, found, pass, cpu);
		if (now == next)
			continue;
		page[i] = kind == TEXT ? letters(noise(at, next)) : noise(at, next);
	}
}

static void check_clock(int cpu)
{
	uint64_t now = tsc();

	if (now < last_tsc[cpu])
		bad("the time stamp counter of cpu %u went back from %x to %x", (uint64_t)cpu, last_tsc[cpu], now);
	last_tsc[cpu] = now;
}

/*
 * Whether any interrupt comes at all. The time stamp counter may jump while a guest is stopped, so
 * five seconds of it count only if we have looked often meanwhile.
 */
static void check_interrupts(void)
{
	static uint64_t ticks_then, tsc_then, looks;
	uint64_t now = tsc();

	if (pit_ticks != ticks_then) {
		ticks_then = pit_ticks;
		tsc_then = now;
		looks = 0;
	} else if (++looks > 200 && now - tsc_then > 5 * options.hz * tsc_per_tick) {
		bad("timer: no interrupt after %u", ticks_then);
	}
}

static void idle(void *unused)
{
	(void)unused;
	__asm__ volatile("sti; hlt; cli");
}

/* Waits for the timer so that `done` pages of this processor take as long as they should. */
static void throttle(int cpu, uint64_t done, uint64_t since)
{
	uint64_t per_second = options.rate * (1048576 / PAGE) / options.cpus;

	while (options.rate && !halted && (apic_ticks[cpu] - since) * per_second < done * APIC_HZ)
		kernel_call(idle, NULL);
}

static uint64_t first_of(int cpu)
{
	return page_count * cpu / options.cpus;
}

void memory_fill(int cpu)
{
	for (uint64_t index = first_of(cpu); index < first_of(cpu + 1); index++)
		fill_page(address_of(index));
}

void memory_check(int cpu, uint64_t pass)
{
	uint64_t began = apic_ticks[cpu];

	for (uint64_t index = first_of(cpu), done = 0; index < first_of(cpu + 1); index++) {
		check_page(address_of(index), pass, cpu);
		if (++done % SLICE == 0) {
			check_clock(cpu);
			if (cpu == 0)
				check_interrupts();
			registers_check(cpu);
			throttle(cpu, done, began);
			if (halted)
				halt();
		}
	}
	if (cpu == 0 && sum_constants() != constant_sum)
		bad("the guest's own code has changed, pass %u", pass);
}
