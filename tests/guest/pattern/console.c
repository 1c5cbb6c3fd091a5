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

/* With interrupts off, so that a heartbeat never waits for the line that it interrupts. */
static void begin(void)
{
	while (__atomic_test_and_set(&talking, __ATOMIC_ACQUIRE))
		pause();
}

static void end(void)
{
	__atomic_clear(&talking, __ATOMIC_RELEASE);
}

static void send_line(void *line)
{
	begin();
	if (!halted)
		send(line);
	end();
}

void say(const char *format, ...)
{
	struct line line = { .len = 0 };
	va_list args;

	va_start(args, format);
	write_format(&line, format, args);
	va_end(args);
	put(&line, '\n');
	kernel_call(send_line, &line);
}

void beat(uint64_t ticks)
{
	struct line line = { .text = "HB ", .len = 3 };

	if (halted || __atomic_test_and_set(&talking, __ATOMIC_ACQUIRE))
		return;
	put_number(&line, ticks, 10);
	put(&line, '\n');
	send(&line);
	end();
}

static void halt_here(void *unused)
{
	(void)unused;
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void halt(void)
{
	kernel_call(halt_here, NULL);
	__builtin_unreachable();
}

/* Only the first one who finds something speaks. */
static void send_last_line(void *line)
{
	begin();
	if (!halted)
		send(line);
	halted = 1;
	end();
	halt_here(NULL);
}

_Noreturn void bad(const char *format, ...)
{
	struct line line = { .text = "BAD ", .len = 4 };
	va_list args;

	va_start(args, format);
	write_format(&line, format, args);
	va_end(args);
	put(&line, '\n');
	kernel_call(send_last_line, &line);
	__builtin_unreachable();
}
