/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of vgpu.ko: the device, or the module, goes away and comes back. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test_driver.h"
#include "test_support.h"

/* Tests: the device goes away */

static void unbind(const char *name)
{
	CHECK(write_text(DRIVER "/unbind", name));
	wait_node(false);
}

static void bind_again(const char *name)
{
	CHECK(write_text(DRIVER "/bind", name));
	wait_node(true);
}

void test_driver_unbind_with_an_open_channel(void)
{
	struct channel c = channel_open(64, 1 << 20), again;
	struct vgpu_ioc_state state;
	struct vgpu_ioc_open open = { .data_bytes = PAGE };
	int idle = open_node();
	uint64_t kicks;
	char name[64];

	bus_name(name);
	data_of(&c)[0] = 0x42;
	ring(&c);
	unbind(name);
	CHECK((poll_now(c.fd, 0) & (POLLHUP | POLLERR)) == (POLLHUP | POLLERR));
	CHECK(poll_now(idle, 0) & POLLHUP);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_STATE, &state), ENODEV);
	CHECK_ERRNO(ioctl(idle, VGPU_IOC_OPEN, &open), ENODEV);
	CHECK_ERRNO(populate(&c, 0, PAGE), ENODEV);
	while (read(c.fd, &kicks, sizeof(kicks)) > 0)
		;
	CHECK(errno == ENODEV);
	CHECK(page_of(&c)->notice.state == VGPU_CHANNEL_ENDED && data_of(&c)[0] == 0x42);
	CHECK(data_of(&c)[100 * PAGE] == 0); /* a page that was never touched */
	data_of(&c)[101 * PAGE] = 0x43;
	CHECK(data_of(&c)[101 * PAGE] == 0x43);
	*(volatile uint32_t *)c.doorbell = 0x1234;
	CHECK(*(volatile uint32_t *)c.doorbell ==
	      0x1234); /* a page of our own: no device answers */
	CHECK(access(NODE, F_OK) == -1);
	bind_again(name);
	again = channel_open(64, 1 << 20);
	channel_close(&again);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_STATE, &state), ENODEV);
	close(idle);
	channel_close(&c);
}

static void *touch_until_told(void *opaque)
{
	struct channel *c = opaque;
	uint64_t seed = 1;

	/* Ends when its channel has. */
	while (page_of(c)->notice.state != VGPU_CHANNEL_ENDED) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		data_of(c)[seed >> 33 & ((8 << 20) - 1)] = 1;
	}
	return NULL;
}

/* No access finds the place of a channel empty, whenever the device goes. */
void test_driver_unbind_while_programs_touch(void)
{
	char name[64];

	bus_name(name);
	for (int round = 0; round < 6; round++) {
		struct channel c[2] = { channel_open(64, 8 << 20), channel_open(64, 8 << 20) };
		pthread_t thread[2];

		for (int i = 0; i < 2; i++) {
			data_of(&c[i])[0] = 1;
			CHECK(pthread_create(&thread[i], NULL, touch_until_told, &c[i]) == 0);
		}
		pause_ms(5 + round * 17);
		unbind(name);
		for (int i = 0; i < 2; i++) {
			pthread_join(thread[i], NULL);
			CHECK(data_of(&c[i])[0] == 1);
			for (uint64_t at = 0; at < 8 << 20; at++)
				CHECK(data_of(&c[i])[at] <= 1);
			channel_close(&c[i]);
		}
		bind_again(name);
	}
}

static void open_and_ring(int fd)
{
	struct vgpu_ioc_open ask = { .sub_granules = 64,
				     .comp_granules = 64,
				     .data_bytes = 1 << 20 };
	struct channel c = { .fd = fd };

	if (ioctl(fd, VGPU_IOC_OPEN, &ask) != 0 || ask.status != VGPU_OK)
		return;
	c.doorbell =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)VGPU_MMAP_DOORBELL);
	if (c.doorbell == MAP_FAILED)
		return;
	ring(&c);
	munmap(c.doorbell, PAGE);
}

static void *open_until_told(void *opaque)
{
	int *stop = opaque;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		int fd = open(NODE, O_RDWR | O_CLOEXEC);

		if (fd < 0) {
			pause_ms(1); /* the device is away: who looks for it leaves the processor to
					others */
			continue;
		}
		open_and_ring(fd);
		close(fd);
	}
	return NULL;
}

/* On one file as long as its device is there: then each question answers ENODEV. */
static void *ask_until_told(void *opaque)
{
	int *stop = opaque;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
		struct vgpu_ioc_monitor ask = { .gpu = 0 };
		int fd = open(NODE, O_RDWR | O_CLOEXEC);

		if (fd < 0) {
			pause_ms(1);
			continue;
		}
		while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE) &&
		       ioctl(fd, VGPU_IOC_MONITOR, &ask) == 0)
			CHECK(ask.status == VGPU_OK || ask.status == VGPU_STARTING);
		CHECK(errno == ENODEV || errno == EIO || __atomic_load_n(stop, __ATOMIC_ACQUIRE));
		close(fd);
	}
	return NULL;
}

void test_driver_unbind_while_programs_open(void)
{
	pthread_t thread[3], asker;
	int stop = 0;
	char name[64];
	struct channel c;

	bus_name(name);
	for (int i = 0; i < 3; i++)
		CHECK(pthread_create(&thread[i], NULL, open_until_told, &stop) == 0);
	CHECK(pthread_create(&asker, NULL, ask_until_told, &stop) == 0);
	for (int i = 0; i < 8; i++) {
		pause_ms(30 + i * 27);
		unbind(name);
		bind_again(name);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	pthread_join(asker, NULL);
	c = channel_open(64, 1 << 20);
	channel_close(&c);
}

static void module_load(const char *words)
{
	int module = open(MODULE, O_RDONLY | O_CLOEXEC);
	struct channel c;

	CHECK(module >= 0 && syscall(SYS_finit_module, module, words, 0) == 0);
	close(module);
	wait_node(true);
	c.fd = open_node();
	while (state_of(c.fd).device_state != VGPU_DEVICE_READY)
		pause_ms(20);
	close(c.fd);
}

/* With the parameter there is no window; the next time there is one again. */
void test_driver_module_without_the_window(void)
{
	uint64_t bytes = window_bytes();
	struct channel c;

	CHECK(syscall(SYS_delete_module, "vgpu", O_NONBLOCK) == 0);
	module_load("window=0");
	CHECK(window_bytes() == 0);
	c = channel_open(64, 1 << 20);
	CHECK(!in_window(&c));
	channel_close(&c);
	CHECK(syscall(SYS_delete_module, "vgpu", O_NONBLOCK) == 0);
	module_load("");
	CHECK(window_bytes() == bytes);
}

void test_driver_module_comes_and_goes(void)
{
	struct channel c = channel_open(64, 1 << 20);

	CHECK_ERRNO(syscall(SYS_delete_module, "vgpu", O_NONBLOCK), EWOULDBLOCK);
	channel_close(&c);
	for (int i = 0; i < 3; i++) {
		/* Right behind a close: the work that ends the channel is still under way. */
		c = channel_open(64, 4 << 20);
		memset(data_of(&c), 1, 4 << 20);
		channel_close(&c);
		CHECK(syscall(SYS_delete_module, "vgpu", O_NONBLOCK) == 0);
		CHECK(access(NODE, F_OK) == -1);
		module_load("");
	}
}

/*
 * Somebody resets the device behind the driver's back (BAR0, root, iomem=relaxed): it answers no
 * command any more. Closing a channel takes its time, then resets it again, and all goes on.
 */
void test_driver_silent_device_is_reset(void)
{
	struct channel victim = channel_open(64, 1 << 20), closed = channel_open(64, 1 << 20),
		       again;
	char name[64], path[128];
	volatile uint32_t *regs;
	int fd;

	bus_name(name);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", name);
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	CHECK(fd >= 0);
	regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(regs != MAP_FAILED && regs[0] == VGPU_MAGIC);
	regs[VGPU_REG_CONTROL / 4] = VGPU_CONTROL_RESET;
	CHECK(state_of(victim.fd).gone == 0); /* the driver cannot know yet */
	channel_close(&closed);
	CHECK(poll_news(victim.fd) & POLLPRI);
	CHECK(state_of(victim.fd).gone == 1 && state_of(victim.fd).gone_status == VGPU_GONE);
	CHECK(page_of(&victim)->notice.state == VGPU_CHANNEL_ENDED);
	again = channel_open(64, 1 << 20);
	channel_close(&again);
	channel_close(&victim);
}
