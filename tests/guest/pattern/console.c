/* Lines on the debug port. */
#include <stdarg.h>

#include "guest.h"

#define PORT 0xe9

volatile int halted;
static volatile char talking;

struct line {
	char text[200];
	size_t len;
};

static void put(struct line *line, char c)
{
	if (line->len < sizeof line->text)
		line->text[line->len++] = c;
}

static void put_number(struct line *line, uint64_t value, unsigned base)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(line, digits[--n]);
}

static void write_format(struct line *line, const char *format, va_list args)
{
	for (; *format; format++) {
		if (*format != '%') {
			put(line, *format);
			continue;
		}
		switch (*++format) {
		case 's':
			for (const char *s = va_arg(args, const char *); *s; s++)
				put(line, *s);
			break;
		case 'u':
			put_number(line, va_arg(args, uint64_t), 10);
			break;
		case 'x':
			put(line, '0');
			put(line, 'x');
			put_number(line, va_arg(args, uint64_t), 16);
			break;
		}
	}
}

/* One instruction, hence at most one exit to the host: a heartbeat must not cost much. */
static void send(const struct line *line)
{
	const char *from = line->text;
	size_t count = line->len;

	__asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(PORT) : "memory");
}

static uint64_t begin(void)
{
	uint64_t flags;

	/* With interrupts off, so that a heartbeat does not wait for the line that it interrupts. */
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) :: "memory");
	while (__atomic_test_and_set(&talking, __ATOMIC_ACQUIRE))
		pause();
	return flags;
}

static void end(uint64_t flags)
{
	__atomic_clear(&talking, __ATOMIC_RELEASE);
	__asm__ volatile("pushq %0; popfq" :: "r"(flags) : "memory", "cc");
}

void say(const char *format, ...)
{
	struct line line = { .len = 0 };
	va_list args;
	uint64_t flags;

	va_start(args, format);
	write_format(&line, format, args);
	va_end(args);
	put(&line, '\n');
	flags = begin();
	if (!halted)
		send(&line);
	end(flags);
}

void beat(uint64_t ticks)
{
	struct line line = { .text = "HB ", .len = 3 };

	if (halted || __atomic_test_and_set(&talking, __ATOMIC_ACQUIRE))
		return;
	put_number(&line, ticks, 10);
	put(&line, '\n');
	send(&line);
	__atomic_clear(&talking, __ATOMIC_RELEASE);
}

_Noreturn void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Only the first one who finds something speaks. */
_Noreturn void bad(const char *format, ...)
{
	struct line line = { .text = "BAD ", .len = 4 };
	va_list args;

	va_start(args, format);
	write_format(&line, format, args);
	va_end(args);
	put(&line, '\n');
	begin();
	if (!halted)
		send(&line);
	halted = 1;
	__atomic_clear(&talking, __ATOMIC_RELEASE);
	halt();
}
