/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of vgpu.ko have in common: a channel by plain ioctls, and processes. Whatever goes
 * wrong in here ends the test that called.
 */
#ifndef VGPU_TEST_SUPPORT_H
#define VGPU_TEST_SUPPORT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <vgpu/ioctl.h>
#include <vgpu/pci_regs.h>

#define NODE   "/dev/vgpu0"
#define CLASS  "/sys/class/vgpu/vgpu0"
#define DRIVER "/sys/bus/pci/drivers/vgpu"
#define MODULE "/lib/vgpu.ko"
#define PAGE   4096ull
#define NOBODY 65534

struct channel {
	int fd;
	struct vgpu_ioc_open open;
	uint8_t *memory; /* all of it, and the page of transfers if it is relayed */
	void *doorbell; /* NULL: by grants */
	uint64_t bytes;
};

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail(__FILE__, __LINE__, "%s", #condition);                                \
	} while (0)

#define CHECK_ERRNO(call, wanted)                                                                  \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((long)(call) != -1 || errno != (wanted))                                       \
			fail(__FILE__, __LINE__, "%s is not %s", #call, #wanted);                  \
	} while (0)

void fail(const char *file, int line, const char *format, ...);
uint64_t now_ms(void);
void pause_ms(long ms);
int open_node(void);
int ask_open(int fd, struct vgpu_ioc_open *open, uint32_t granules, uint64_t data_bytes);
struct channel channel_open(uint32_t granules, uint64_t data_bytes);
void channel_close(struct channel *c);
bool in_window(const struct channel *c);
bool by_grants(const struct channel *c);
uint64_t window_bytes(void);
volatile struct vgpu_channel_page *page_of(const struct channel *c);
void ring(struct channel *c);
uint8_t *data_of(const struct channel *c);
int populate(const struct channel *c, uint64_t offset, uint64_t bytes);
struct vgpu_ioc_state state_of(int fd);
short poll_now(int fd, int timeout_ms);
short poll_news(int fd);
void push_pad(struct channel *c);
void wait_consumed(const struct channel *c, uint32_t tail);
void push_nonsense(struct channel *c);
pid_t child_start(void);
int child_wait(pid_t pid);
void child_succeeds(pid_t pid);
bool write_text(const char *path, const char *text);
uint64_t memory_line(const char *name);
int fault_of(const volatile uint8_t *at);
void bus_name(char ret[64]);
void wait_node(bool there);
void send_fd(int socket, int fd);
int receive_fd(int socket);

#endif
