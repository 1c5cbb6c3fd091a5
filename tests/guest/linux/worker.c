/*
 * What the Linux guest does: fills a file in memory, checks it again and again, changes it on command,
 * and shows that it is alive.
 *
 * Every page has an identity, and its contents are a function of that: noise if the identity is even,
 * text if it is odd, nothing for 0. So the check needs no second copy, and no two pages are equal.
 *
 * It says: FILLED pages; SUM round sum; HB count, every 100 ms; WORK count, what another process has
 * got done in a second; DONE command pages; BAD what. It takes: rewrite PERCENT, move PERCENT,
 * free PERCENT, check 0 or 1.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)
#define RUN 256u	/* pages of one kind in a row */

static uint64_t *data;
static uint32_t *identity;
static uint32_t pages, next_identity;
static int file;

/* ---- contents ---- */

static uint64_t mix(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 29;
	return x;
}

static uint64_t vocabulary[256];

static void make_vocabulary(void)
{
	static const char *const syllables[16] = { "ka", "re", "ti", "mo", "su", "le", "na", "vi",
						   "do", "pa", "er", "on", "st", "ch", "in", "ur" };

	for (unsigned i = 0; i < 256; i++) {
		char word[9];

		snprintf(word, sizeof word, "%s%s%s%c", syllables[i & 15], syllables[i >> 4],
			 syllables[mix(i) & 15], i % 9 ? ' ' : '\n');
		word[7] = i % 5 ? word[6] : ':';
		memcpy(&vocabulary[i], word, 8);
	}
}

/* Eight hexadecimal digits. */
static uint64_t hex(uint32_t value)
{
	uint64_t x = value, letters;

	x = (x | x << 16) & 0x0000ffff0000ffffu;
	x = (x | x << 8) & 0x00ff00ff00ff00ffu;
	x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
	letters = (x + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
	return x + 0x3030303030303030u + letters * ('a' - '0' - 10);
}

static inline uint64_t word_of(uint64_t state, int text)
{
	if (!text)
		return state;
	/* Words and numbers, in a mixture that `zstd -1` makes 2.5 times smaller. */
	return (state >> 56) < 140 ? vocabulary[state & 255] : hex((uint32_t)(state >> 8));
}

static inline uint64_t step(uint64_t state)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void write_page(uint64_t *page, uint32_t id)
{
	uint64_t state = mix(id);

	for (unsigned i = 0; i < WORDS; i++) {
		page[i] = word_of(state, id & 1);
		state = step(state);
	}
}

static void bad(const char *format, ...);

/* What the page adds to the sum. */
static uint64_t check_page(uint32_t index)
{
	const uint64_t *page = data + (size_t)index * WORDS;
	uint64_t state = mix(identity[index]), sum = index;

	for (unsigned i = 0; i < WORDS; i++) {
		if (page[i] != word_of(state, identity[index] & 1))
			bad("page %u word %u identity %u found %llx", index, i, identity[index],
			    (unsigned long long)page[i]);
		sum += page[i] * (2 * i + 1);
		state = step(state);
	}
	return mix(sum);
}

/* ---- talking ---- */

static void say(const char *format, ...)
{
	char line[200];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (len > (int)sizeof line - 2)
		len = sizeof line - 2;
	line[len++] = '\n';
	if (write(1, line, len) != len)
		_exit(1);
}

static void bad(const char *format, ...)
{
	char text[150];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	say("BAD %s", text);
	for (;;)
		pause();
}

static void raw_console(void)
{
	struct termios settings;

	if (tcgetattr(0, &settings) == 0) {
		settings.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
		settings.c_oflag &= ~(tcflag_t)OPOST;
		tcsetattr(0, TCSANOW, &settings);
	}
}

/* ---- the other processes ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void beat(void)
{
	const struct timespec tenth = { 0, 100000000 };

	for (unsigned long n = 1;; n++) {
		nanosleep(&tenth, NULL);
		say("HB %lu", n);
	}
}

static void work(void)
{
	static uint64_t desk[8 * WORDS];
	uint64_t state = 1;

	for (;;) {
		int64_t end = now_ms() + 1000;
		unsigned long done = 0;

		do {
			for (unsigned i = 0; i < 8 * WORDS; i++) {
				state = step(state);
				desk[state % (8 * WORDS)] += state;
			}
			done++;
		} while (now_ms() < end);
		say("WORK %lu", done);
	}
}

static pid_t child(void (*function)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, 9);
		function();
		_exit(0);
	}
	return pid;
}

/* ---- the main process ---- */

static uint32_t fill_from, fill_to;

static void fill_part(void)
{
	for (uint32_t i = fill_from; i < fill_to; i++)
		write_page(data + (size_t)i * WORDS, identity[i]);
}

static void fill(void)
{
	pid_t other;

	for (uint32_t i = 0; i < pages; i++)
		identity[i] = 2 * (i + 1) + (i / RUN & 1);
	next_identity = 2 * (pages + 2);
	fill_to = pages / 2;
	other = child(fill_part);
	fill_from = fill_to;
	fill_to = pages;
	fill_part();
	waitpid(other, NULL, 0);
	say("FILLED %u", pages);
}

static void change(const char *command, uint32_t percent)
{
	uint64_t done = 0, wanted = (uint64_t)pages * percent / 100;

	while (done < wanted) {
		/* In runs, as programs do. */
		uint32_t at = mix(next_identity + done) % pages, run = 1 + mix(at) % 64;

		for (uint32_t i = at; i < at + run && i < pages && done < wanted; i++) {
			uint64_t *page = data + (size_t)i * WORDS;

			if (!strcmp(command, "free")) {
				identity[i] = 0;
				fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  (off_t)i * PAGE, PAGE);
			} else if (!strcmp(command, "move")) {
				uint32_t j = mix(i + (uint64_t)next_identity) % pages;

				if (!identity[i] || !identity[j])
					continue;
				uint32_t id = identity[i];
				identity[i] = identity[j];
				identity[j] = id;
				write_page(page, identity[i]);
				write_page(data + (size_t)j * WORDS, id);
			} else {
				next_identity += 2;
				identity[i] = next_identity + (identity[i] & 1);
				write_page(page, identity[i]);
			}
			done++;
		}
		next_identity += 2;
	}
	say("DONE %s %llu", command, (unsigned long long)done);
}

static int checking = 1;

/* Takes a command if there is one; waits for one if there is nothing else to do. */
static void obey(void)
{
	static char line[64];
	static size_t len;
	struct pollfd input = { 0, POLLIN, 0 };
	unsigned percent;
	char c;

	while (poll(&input, 1, checking ? 0 : -1) > 0 && read(0, &c, 1) == 1) {
		if (c != '\n' && c != '\r') {
			if (len < sizeof line - 1)
				line[len++] = c;
			continue;
		}
		line[len] = 0;
		if (!len)
			continue;
		len = 0;
		if (sscanf(line, "rewrite %u", &percent) == 1)
			change("rewrite", percent);
		else if (sscanf(line, "move %u", &percent) == 1)
			change("move", percent);
		else if (sscanf(line, "free %u", &percent) == 1)
			change("free", percent);
		else if (sscanf(line, "check %d", &checking) == 1)
			say("DONE check %d", checking);
		else
			say("BAD command '%s'", line);
	}
}

static void check(void)
{
	for (unsigned long round = 1;; round++) {
		uint64_t sum = 0;

		for (uint32_t i = 0; i < pages; i++) {
			if (i % 64 == 0)
				obey();
			if (identity[i])
				sum += check_page(i);
		}
		say("SUM %lu %016llx", round, (unsigned long long)sum);
	}
}

/* A number from the kernel's command line. */
static unsigned option(const char *name, unsigned otherwise)
{
	static char line[4096];
	char *at;
	FILE *cmdline = fopen("/proc/cmdline", "r");

	if (cmdline) {
		if (!fgets(line, sizeof line, cmdline))
			line[0] = 0;
		fclose(cmdline);
	}
	at = strstr(line, name);
	return at ? (unsigned)strtoul(at + strlen(name), NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	make_vocabulary();
	if (argc == 2) {	/* on the host: a look at some pages */
		uint64_t page[WORDS];

		for (uint32_t id = 2; id < 2 + 2 * (uint32_t)atoi(argv[1]); id++) {
			write_page(page, id);
			fwrite(page, PAGE, 1, stdout);
		}
		return 0;
	}
	raw_console();
	pages = option("fill=", 64) * 256;
	checking = (int)option("check=", 1);
	file = open("/mem/data", O_RDWR | O_CREAT, 0600);
	if (file < 0 || ftruncate(file, (off_t)pages * PAGE))
		bad("no file");
	data = mmap(NULL, (size_t)pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	identity = mmap(NULL, (size_t)pages * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED || identity == MAP_FAILED)
		bad("no memory");
	child(beat);
	fill();
	child(work);
	check();
}
