/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of vgpu.ko: channels by grants, on Xen. The host that tests/xen/grant_host.c is: it inverts
 * the first page of the data area when there are new records, and kicks back.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_driver.h"
#include "test_support.h"

#define KICKS 200

/* Publishes something, rings, waits for the host's kick, and takes it. */
static void round_trip(struct channel *c)
{
	struct pollfd event = { .fd = c->fd, .events = POLLIN };
	uint64_t kicks = 0;

	page_of(c)->submission.producer.head++;
	ring(c);
	CHECK(poll(&event, 1, 30000) == 1 && (event.revents & POLLIN));
	CHECK(read(c->fd, &kicks, sizeof(kicks)) == sizeof(kicks) && kicks > 0);
}

static struct channel granted_open(uint64_t data_bytes)
{
	struct channel c = channel_open(64, data_bytes);

	CHECK(by_grants(&c) && !in_window(&c));
	CHECK(!(page_of(&c)->flags & VGPU_CHANNEL_MIRRORED));
	return c;
}

void test_driver_granted_memory_is_shared(void)
{
	struct channel c = granted_open(1 << 20);
	uint8_t *data = data_of(&c);

	for (uint64_t i = 0; i < 1 << 20; i++)
		CHECK(data[i] == 0);
	memset(data, 0x5a, 2 * PAGE);
	round_trip(&c);
	for (uint64_t i = 0; i < 2 * PAGE; i++)
		CHECK(data[i] == (i < PAGE ? 0xa5 : 0x5a));
	channel_close(&c);
}

void test_driver_granted_kicks(void)
{
	struct channel c = granted_open(PAGE);
	uint64_t start = now_ms();

	for (int i = 0; i < KICKS; i++)
		round_trip(&c);
	printf("# %d round trips in %llu ms\n", KICKS, (unsigned long long)(now_ms() - start));
	channel_close(&c);
}

void test_driver_granted_interface(void)
{
	struct channel c = granted_open(1 << 20);
	uint64_t kick[2] = { 1, 1 };

	CHECK_ERRNO(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, c.fd, (off_t)VGPU_MMAP_DOORBELL),
		    EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, c.fd, (off_t)c.bytes), EINVAL);
	CHECK_ERRNO(write(c.fd, kick, sizeof(kick)), EINVAL);
	CHECK_ERRNO(write(c.fd, kick, 4), EINVAL);
	CHECK(populate(&c, 0, c.bytes) == 0);
	CHECK_ERRNO(populate(&c, 0, c.bytes + PAGE), EINVAL);
	channel_close(&c);
}

void test_driver_granted_default_size(void)
{
	struct channel c = channel_open(0, 0);

	CHECK(by_grants(&c) && c.open.geometry.data_bytes == 16 << 20);
	channel_close(&c);
}

/* 256 MiB at most, whatever the machine would have. */
void test_driver_granted_too_large(void)
{
	struct vgpu_ioc_open open;
	int fd = open_node();

	CHECK(ask_open(fd, &open, 64, (240ull << 20) + PAGE) == 0);
	CHECK(open.status == VGPU_LIMIT);
	CHECK(ask_open(fd, &open, 64, PAGE) == 0 && open.status == VGPU_OK);
	close(fd);
}

/* Of a machine that may grant less than it has memory: max_grant_frames=16, 32 MiB. */
void test_driver_granted_until_there_are_none(void)
{
	struct vgpu_ioc_open open;
	int fds[64], n = 0;

	for (; n < 64; n++) {
		fds[n] = open_node();
		CHECK(ask_open(fds[n], &open, 64, 4 << 20) == 0);
		if (open.status != VGPU_OK)
			break;
	}
	CHECK(n >= 2 && n < 64);
	CHECK(open.status == VGPU_LIMIT && strstr(open.text, "max_grant_frames"));
	while (n >= 0)
		close(fds[n--]);
	for (int i = 0; i < 3; i++) {
		struct channel c = granted_open(4 << 20);

		round_trip(&c);
		channel_close(&c);
	}
}

/* Killed while it opens, attaches, kicks; others' channels go on. */
void test_driver_granted_killed_at_any_moment(void)
{
	struct channel other = granted_open(PAGE);

	for (int i = 0; i < 20; i++) {
		pid_t pid = child_start();

		if (pid == 0) {
			for (;;) {
				struct channel c = granted_open(4 << 20);

				ring(&c);
				channel_close(&c);
			}
		}
		pause_ms(7 * i);
		CHECK(kill(pid, SIGKILL) == 0);
		child_wait(pid);
		round_trip(&other);
	}
	channel_close(&other);
}

/* The test's host is told to kill the worker while this waits. */
void test_driver_granted_gone_is_told(void)
{
	struct channel c = granted_open(PAGE);
	struct pollfd event = { .fd = c.fd, .events = 0 };
	struct vgpu_ioc_state state;
	uint64_t kicks;

	printf("# waiting\n");
	fflush(stdout);
	CHECK(poll(&event, 1, 60000) == 1 && (event.revents & POLLHUP));
	state = state_of(c.fd);
	CHECK(state.gone == 1 && state.gone_status == VGPU_KILLED);
	CHECK(strcmp(state.gone_text, "killed by the test") == 0);
	CHECK(page_of(&c)->notice.state == VGPU_CHANNEL_ENDED);
	while (read(c.fd, &kicks, sizeof(kicks)) == sizeof(kicks))
		;
	data_of(&c)[0] = 1; /* the memory stays */
	ring(&c);
	channel_close(&c);
}

/* The backend closes while this waits: with it go all channels. */
void test_driver_granted_backend_closes(void)
{
	struct channel c = granted_open(PAGE);
	struct pollfd event = { .fd = c.fd, .events = 0 };

	printf("# waiting\n");
	fflush(stdout);
	CHECK(poll(&event, 1, 60000) == 1 && (event.revents & POLLHUP));
	CHECK(state_of(c.fd).gone_status == VGPU_GONE);
	CHECK(page_of(&c)->notice.state == VGPU_CHANNEL_ENDED);
	channel_close(&c);
}
