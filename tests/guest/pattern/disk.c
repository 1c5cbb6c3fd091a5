/* A virtio-blk disk by its oldest interface: ports, and one queue in three pages. */
#include "guest.h"

#define VENDOR_AND_DEVICE 0x10011af4
#define BUFFER 4096u
#define READS_PER_PASS 4

struct descriptor {
	uint64_t address;
	uint32_t len;
	uint16_t flags, next;
};

struct used_ring {
	uint16_t flags, index;
	struct { uint32_t id, len; } ring[];
};

static uint8_t queue[4 * PAGE] __attribute__((aligned(4096)));
static uint8_t buffer[BUFFER] __attribute__((aligned(4096)));
static struct { uint32_t type, priority; uint64_t sector; } header __attribute__((aligned(16)));
static volatile uint8_t status;
static uint16_t port, size, sent;

static uint32_t pci_read(unsigned device, unsigned reg)
{
	outl(0xcf8, 0x80000000 | device << 11 | reg);
	return inl(0xcfc);
}

static void pci_write(unsigned device, unsigned reg, uint32_t value)
{
	outl(0xcf8, 0x80000000 | device << 11 | reg);
	outl(0xcfc, value);
}

void disk_init(void)
{
	unsigned device = 0;

	if (!options.disk)
		return;
	while (device < 32 && pci_read(device, 0) != VENDOR_AND_DEVICE)
		device++;
	if (device == 32)
		bad("disk: there is none");
	pci_write(device, 4, pci_read(device, 4) | 5);	/* ports, and to memory by itself */
	port = pci_read(device, 0x10) & 0xfffc;
	outb(port + 18, 0);
	outb(port + 18, 3);		/* found, and known */
	outl(port + 4, 0);		/* nothing special */
	outw(port + 14, 0);
	size = inw(port + 12);
	if (!size || size > 256)
		bad("disk: a queue of %u", (uint64_t)size);
	outl(port + 8, (uint32_t)((uintptr_t)queue / PAGE));
	outb(port + 18, 7);		/* ready */
}

static void notify(void *unused)
{
	(void)unused;
	outw(port + 16, 0);
}

static void read_sectors(uint64_t sector)
{
	struct descriptor *descriptors = (struct descriptor *)queue;
	volatile uint16_t *available = (volatile uint16_t *)(queue + 16u * size);
	uintptr_t behind = 16u * size + 6 + 2u * size;
	volatile struct used_ring *used =
		(volatile struct used_ring *)(queue + ((behind + PAGE - 1) & -(uintptr_t)PAGE));
	uint64_t deadline = pit_ticks + 20 * options.hz;

	header.type = 0;
	header.sector = sector;
	status = 0xff;
	descriptors[0] = (struct descriptor){ (uintptr_t)&header, 16, 1, 1 };
	descriptors[1] = (struct descriptor){ (uintptr_t)buffer, BUFFER, 3, 2 };
	descriptors[2] = (struct descriptor){ (uintptr_t)&status, 1, 2, 0 };
	available[0] = 1;		/* no interrupt: we look ourselves */
	available[2 + sent % size] = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	available[1] = ++sent;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	kernel_call(notify, NULL);
	while (used->index != sent) {
		if (halted)
			halt();
		if (pit_ticks > deadline)
			bad("disk: no answer for sector %u", sector);
		pause();
	}
	if (status)
		bad("disk: sector %u cannot be read, status %u", sector, (uint64_t)status);
}

void disk_check(uint64_t pass)
{
	if (!options.disk)
		return;
	for (unsigned i = 0; i < READS_PER_PASS; i++) {
		uint64_t sectors = BUFFER / 512;
		uint64_t sector = mix(pass * READS_PER_PASS + i) % (options.disk / sectors) * sectors;
		const uint64_t *words = (const uint64_t *)buffer;

		read_sectors(sector);
		for (unsigned w = 0; w < BUFFER / 8; w++) {
			uint64_t expected = mix(0x6469736b00000000 + sector * 64 + w);

			if (words[w] != expected)
				bad("disk sector %u word %u expected %x found %x", sector, (uint64_t)w,
				    expected, words[w]);
		}
	}
}
