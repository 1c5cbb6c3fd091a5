/*
 * The pattern guest: checks all it has, says so, changes all of it, and begins again.
 *
 * On the debug port: READY, FILLED, then "PASS n OK" for every whole pass and "HB ticks" from a timer
 * interrupt; "BAD what" is the last line if anything is not as it was left.
 */
#include "guest.h"

struct options options = { .cpus = 2, .rewrite = 100, .hz = 100, .hb = 10 };

extern volatile uint32_t cpus_awake;
static volatile uint32_t arrived;
static volatile uint64_t round;

static int option(const char **at, const char *name, uint64_t *value)
{
	const char *p = *at;

	while (*name && *p == *name)
		p++, name++;
	if (*name || *p != '=')
		return 0;
	*value = 0;
	for (p++; *p >= '0' && *p <= '9'; p++)
		*value = *value * 10 + (uint64_t)(*p - '0');
	*at = p;
	return 1;
}

/* The file's name, then name=number words. */
static void read_options(const char *line)
{
	for (; *line && *line != ' '; line++)
		;
	while (*line) {
		if (*line == ' ') {
			line++;
			continue;
		}
		if (!option(&line, "mem", &options.mem) && !option(&line, "cpus", &options.cpus) &&
		    !option(&line, "zero", &options.zero) && !option(&line, "text", &options.text) &&
		    !option(&line, "rewrite", &options.rewrite) && !option(&line, "rate", &options.rate) &&
		    !option(&line, "hz", &options.hz) && !option(&line, "hb", &options.hb) &&
		    !option(&line, "disk", &options.disk))
			bad("option %s", line);
		if (*line && *line != ' ')
			bad("option %s", line);
	}
	if (!options.cpus || options.cpus > MAX_CPUS || options.hz < 20 || options.hz > 2000 || !options.hb)
		bad("an option is out of range");
}

/* Nobody goes on before all have come. */
static void meet(void)
{
	uint64_t now = round;

	if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == options.cpus) {
		arrived = 0;
		__atomic_add_fetch(&round, 1, __ATOMIC_SEQ_CST);
	}
	while (round == now) {
		if (halted)
			halt();
		pause();
	}
}

static void work(int cpu)
{
	memory_fill(cpu);
	meet();
	if (cpu == 0)
		say("FILLED");
	for (uint64_t pass = 1;; pass++) {
		memory_check(cpu, pass);
		kernel_call(registers_check_system, (void *)(uintptr_t)cpu);
		if (cpu == 0)
			disk_check(pass);
		meet();
		if (cpu == 0)
			say("PASS %u OK", pass);
	}
}

static void measure_clock(void)
{
	uint64_t tick = pit_ticks, began;

	while (pit_ticks == tick)
		pause();
	tick = pit_ticks;
	began = tsc();
	while (pit_ticks < tick + 8)
		pause();
	tsc_per_tick = (tsc() - began) / (pit_ticks - tick);
}

void second_main(uint32_t cpu)
{
	if (cpu >= options.cpus)
		halt();
	interrupts_init_this_cpu((int)cpu);
	run_in_user_mode((int)cpu, work);
}

void main(uint32_t multiboot_info)
{
	const uint32_t *info = (const uint32_t *)(uintptr_t)multiboot_info;
	uint64_t deadline;

	read_options((const char *)(uintptr_t)info[4]);
	interrupts_init();
	measure_clock();
	memory_init(multiboot_info);
	disk_init();
	if (options.cpus > 1)
		wake_others();
	deadline = pit_ticks + 30 * options.hz;
	while (cpus_awake < options.cpus)
		if (pit_ticks > deadline)
			bad("only %u processors woke up", (uint64_t)cpus_awake);
	say("READY cpus %u zero %u text %u rewrite %u disk %u", options.cpus, options.zero, options.text,
	    options.rewrite, options.disk);
	run_in_user_mode(0, work);
}
