/* What the files of the pattern guest share. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MAX_CPUS 8
#define PAGE 4096u

/* What main.c learns from its command line. */
struct options {
	uint64_t mem;		/* MiB to check, 0: all */
	uint64_t cpus;
	uint64_t zero, text;	/* percent of the pages that are kept zero, or hold text */
	uint64_t rewrite;	/* percent of the pages that every pass rewrites */
	uint64_t rate;		/* MiB per second, 0: as fast as it goes */
	uint64_t hz;		/* interrupts per second of the PIT */
	uint64_t hb;		/* of them per heartbeat */
	uint64_t disk;		/* sectors of the disk, 0: none */
};
extern struct options options;

/* ports and registers */
static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outw(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" :: "a"(v), "Nd"(port)); }
static inline void outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" :: "a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint16_t inw(uint16_t port) { uint16_t v; __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint32_t inl(uint16_t port) { uint32_t v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline void pause(void) { __asm__ volatile("pause" ::: "memory"); }
static inline uint64_t tsc(void) { uint32_t a, d; __asm__ volatile("rdtsc" : "=a"(a), "=d"(d)); return (uint64_t)d << 32 | a; }

/*
 * Runs a function in kernel mode, with interrupts off. All that takes long is done in user mode: that
 * is more of a processor's state, and some hypervisors emulate all other code.
 */
void kernel_call(void (*function)(void *), void *argument);

/* console.c */
void say(const char *format, ...);			/* a line; knows %s, %u and %x (both uint64_t) */
void beat(uint64_t ticks);				/* from an interrupt: a heartbeat, if nobody is talking */
_Noreturn void bad(const char *format, ...);		/* "BAD ...", and everything stands still */
_Noreturn void halt(void);
extern volatile int halted;

/* interrupt.c */
void interrupts_init(void);				/* the first processor */
void interrupts_init_this_cpu(int cpu);
void wake_others(void);
_Noreturn void run_in_user_mode(int cpu, void (*function)(int));
extern volatile uint64_t pit_ticks;
extern volatile uint64_t apic_ticks[MAX_CPUS];

/* memory.c */
void memory_init(uint32_t multiboot_info);
void memory_fill(int cpu);
void memory_check(int cpu, uint64_t pass);
uint64_t mix(uint64_t x);
extern uint64_t tsc_per_tick;				/* of the PIT */

/* registers.c */
void registers_init(int cpu);
void registers_check(int cpu);				/* those of user mode */
void registers_check_system(void *cpu);			/* those of the kernel; for kernel_call() */

/* disk.c */
void disk_init(void);
void disk_check(uint64_t pass);
