/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of vgpu.ko: processes and their channels, pages, and the window. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_driver.h"
#include "test_support.h"

/* Tests: processes */

void test_driver_fork_has_no_mapping(void)
{
	struct channel c = channel_open(64, 1 << 20);
	pid_t pid = child_start();

	if (pid == 0) {
		CHECK(fault_of(c.memory) == SIGSEGV);
		CHECK(fault_of(c.doorbell) == SIGSEGV);
		_exit(0);
	}
	child_succeeds(pid);
	CHECK(fault_of(c.memory) == 0);
	channel_close(&c);
}

void test_driver_processes_are_apart(void)
{
	struct channel mine = channel_open(64, 1 << 20);
	int ready[2];
	char go;
	pid_t pid;

	CHECK(pipe(ready) == 0);
	memset(data_of(&mine), 0x5a, 1 << 20);
	pid = child_start();
	if (pid == 0) {
		struct channel own = channel_open(64, 1 << 20);

		CHECK(own.open.channel != mine.open.channel);
		for (uint64_t i = 0; i < 1 << 20; i++)
			CHECK(data_of(&own)[i] == 0);
		memset(data_of(&own), 0xa5, 1 << 20);
		CHECK(write(ready[1], "x", 1) == 1);
		channel_close(&own);
		_exit(0);
	}
	CHECK(read(ready[0], &go, 1) == 1);
	for (uint64_t i = 0; i < 1 << 20; i++)
		CHECK(data_of(&mine)[i] == 0x5a);
	child_succeeds(pid);
	channel_close(&mine);
}

void test_driver_users_reach_only_the_node(void)
{
	char name[64], path[256];
	pid_t pid;

	bus_name(name);
	pid = child_start();
	if (pid == 0) {
		struct channel c;

		CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
		c = channel_open(64, 1 << 20);
		channel_close(&c);
		for (int bar = 0; bar < (window_bytes() ? 5 : 3); bar++) {
			if (bar == 3)
				continue; /* the second half of none: bar 2 has 32 bits, bar 4 64 */
			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%d", name,
				 bar);
			CHECK_ERRNO(open(path, O_RDWR), EACCES);
		}
		CHECK_ERRNO(open(CLASS "/counters/doorbells", O_RDONLY), EACCES);
		CHECK(open(CLASS "/pool", O_RDONLY) >= 0);
		_exit(0);
	}
	child_succeeds(pid);
}

/* The channel lives with the file, not with the process that opened it. */
void test_driver_file_outlives_its_opener(void)
{
	int pair[2], fd;
	uint8_t *memory;
	pid_t pid;

	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
	pid = child_start();
	if (pid == 0) {
		struct channel c = channel_open(64, 1 << 20);

		memset(data_of(&c), 0x77, PAGE);
		send_fd(pair[1], c.fd);
		raise(SIGKILL);
	}
	CHECK(WIFSIGNALED(child_wait(pid)));
	fd = receive_fd(pair[0]);
	CHECK(state_of(fd).channel != 0 && !state_of(fd).gone);
	memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED);
	close(fd);
	CHECK(((struct vgpu_channel_page *)memory)->magic == VGPU_MAGIC);
	CHECK(munmap(memory, PAGE) == 0);
}

static void child_that_opens(unsigned delay_us)
{
	struct channel c;

	c = channel_open(64, 4 << 20);
	populate(&c, 0, c.open.geometry.total_bytes);
	memset(data_of(&c), 1, 4 << 20);
	usleep(delay_us);
	channel_close(&c);
}

/* Killed before, in the middle of, and after OPEN; whatever it had must come back. */
void test_driver_killed_at_any_moment(void)
{
	uint64_t before, after, end;
	unsigned seed = 1;

	before = memory_line("MemAvailable");
	for (int round = 0; round < 60; round++) {
		pid_t pid[2];

		for (int i = 0; i < 2; i++) {
			pid[i] = child_start();
			if (pid[i] == 0) {
				child_that_opens(2000);
				_exit(0);
			}
		}
		usleep((useconds_t)(rand_r(&seed) % (round < 30 ? 30000 : 150000)));
		for (int i = 0; i < 2; i++)
			kill(pid[i], SIGKILL);
		for (int i = 0; i < 2; i++)
			child_wait(pid[i]);
	}
	end = now_ms() + 15000;
	do {
		after = memory_line("MemAvailable");
		pause_ms(20);
	} while (after + 6144 < before && now_ms() < end);
	if (after + 6144 < before)
		fail(__FILE__, __LINE__, "%llu KiB were free, now %llu", (unsigned long long)before,
		     (unsigned long long)after);
	child_that_opens(0);
}

/* All channels that the device has, and one more. */
void test_driver_all_channels_and_one_more(void)
{
	struct vgpu_ioc_open open;
	int fd[VGPU_SLOTS + 1];
	unsigned count = 0;

	for (;;) {
		fd[count] = open_node();
		CHECK(ask_open(fd[count], &open, 4, PAGE) == 0);
		if (open.status != VGPU_OK)
			break;
		count++;
		CHECK(count <= VGPU_SLOTS);
	}
	printf("# %u channels\n", count);
	CHECK(open.status == VGPU_LIMIT && open.text[0]);
	CHECK(count == state_of(fd[0]).max_channels);
	close(fd[0]);
	CHECK(ask_open(fd[count], &open, 4, PAGE) == 0 && open.status == VGPU_OK);
	for (unsigned i = 1; i <= count; i++)
		close(fd[i]);
}

/* Tests: pages */

/* A block device reads straight into a relayed channel's pages; those of the window it cannot. */
void test_driver_direct_io(void)
{
	static uint8_t pattern[64 << 10];
	struct channel c = channel_open(64, 1 << 20);
	int fd = open("/dev/ram0", O_RDWR | O_CLOEXEC | O_DIRECT);
	uint8_t *into = data_of(&c) + 3 * PAGE;

	CHECK(fd >= 0);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 31 + i / 251);
	memcpy(into, pattern, sizeof(pattern));
	if (in_window(&c)) {
		CHECK_ERRNO(pwrite(fd, into, sizeof(pattern), 0), EFAULT);
		CHECK_ERRNO(pread(fd, into, sizeof(pattern), 0), EFAULT);
		close(fd);
		fd = open("/dev/ram0", O_RDWR | O_CLOEXEC); /* copies: nothing is pinned */
	}
	CHECK(pwrite(fd, into, sizeof(pattern), 0) == sizeof(pattern));
	memset(into, 0, sizeof(pattern));
	CHECK(pread(fd, into + (256 << 10), sizeof(pattern), 0) == sizeof(pattern));
	CHECK(memcmp(into + (256 << 10), pattern, sizeof(pattern)) == 0);
	CHECK(into[0] == 0);
	close(fd);
	channel_close(&c);
}

/* Pages in a pipe outlive the channel, and are nobody else's meanwhile. */
void test_driver_pinned_pages_outlive_the_channel(void)
{
	struct channel c = channel_open(64, 1 << 20), next;
	struct iovec part = { .iov_base = data_of(&c), .iov_len = 8 * PAGE };
	static uint8_t back[8 * 4096];
	int ends[2];

	CHECK(pipe(ends) == 0);
	memset(data_of(&c), 0x3c, 8 * PAGE);
	if (in_window(&c)) {
		CHECK_ERRNO(vmsplice(ends[1], &part, 1, 0), EFAULT);
		channel_close(&c);
		return;
	}
	CHECK(vmsplice(ends[1], &part, 1, 0) == (ssize_t)part.iov_len);
	channel_close(&c);
	next = channel_open(64, 8 << 20);
	memset(data_of(&next), 0xff, 8 << 20);
	CHECK(read(ends[0], back, sizeof(back)) == sizeof(back));
	for (size_t i = 0; i < sizeof(back); i++)
		CHECK(back[i] == 0x3c);
	channel_close(&next);
}

/* Pages are charged to whom they are for; those of the window are the host's. */
void test_driver_memory_is_charged(void)
{
	const char *group = "/tmp/cgroup/vgpu-test";
	char path[128], text[32];
	pid_t pid;
	int status;

	mkdir("/tmp/cgroup", 0755);
	CHECK(mount("none", "/tmp/cgroup", "cgroup2", 0, NULL) == 0);
	CHECK(write_text("/tmp/cgroup/cgroup.subtree_control", "+memory"));
	CHECK(mkdir(group, 0755) == 0);
	snprintf(path, sizeof(path), "%s/memory.max", group);
	CHECK(write_text(path, "8388608"));
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	pid = child_start();
	if (pid == 0) {
		struct channel c;

		snprintf(text, sizeof(text), "%d", getpid());
		CHECK(write_text(path, text));
		c = channel_open(64, 24 << 20);
		if (in_window(&c)) {
			memset(data_of(&c), 1, 24 << 20);
			_exit(0);
		}
		if (populate(&c, 0, c.open.geometry.total_bytes) == 0)
			_exit(7);
		_exit(errno == ENOMEM ? 0 : 8);
	}
	status = child_wait(pid);
	CHECK(rmdir(group) == 0);
	CHECK(umount("/tmp/cgroup") == 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Tests: the window */

/* The same part of the file at two places, moved about: one memory. */
void test_driver_window_mappings_move(void)
{
	struct channel c = channel_open(64, 8 << 20);
	uint64_t at = c.open.geometry.data_offset + (1 << 20);
	int rw = PROT_READ | PROT_WRITE;
	uint8_t *second, *moved;

	second = mmap(NULL, 1 << 20, rw, MAP_SHARED, c.fd, (off_t)at);
	CHECK(second != MAP_FAILED);
	memset(second, 0x11, 1 << 20);
	CHECK(c.memory[at] == 0x11 && c.memory[at + (1 << 20) - 1] == 0x11);
	CHECK(c.memory[at - 1] == 0 && c.memory[at + (1 << 20)] == 0);
	moved = mremap(second, 1 << 20, 1 << 20, MREMAP_MAYMOVE | MREMAP_FIXED,
		       data_of(&c) + (4 << 20));
	CHECK(moved == data_of(&c) + (4 << 20));
	moved[5 * PAGE] = 0x22;
	CHECK(c.memory[at + 5 * PAGE] == 0x22);
	CHECK(fault_of(second) == SIGSEGV);
	channel_close(&c);
}

/* When there is no more room, channels are relayed; what is given back is used again. */
void test_driver_window_full_is_relayed(void)
{
	uint64_t half = window_bytes() / 2 - (64 << 20);
	struct channel big[2], relayed, small;
	struct vgpu_ioc_open open;
	int fd = open_node();

	if (!window_bytes()) {
		close(fd);
		return;
	}
	for (int i = 0; i < 2; i++) {
		big[i] = channel_open(64, half);
		CHECK(in_window(&big[i]));
		data_of(&big[i])[half - 1] = (uint8_t)(i + 1);
	}
	relayed = channel_open(64, 256 << 20);
	CHECK(!in_window(&relayed));
	small = channel_open(64, 1 << 20);
	CHECK(in_window(&small));
	/* Too large to be relayed. */
	CHECK(ask_open(fd, &open, 64, half) == 0 && open.status == VGPU_LIMIT && open.text[0]);
	CHECK(data_of(&big[0])[half - 1] == 1 && data_of(&big[1])[half - 1] == 2);
	channel_close(&big[0]);
	CHECK(ask_open(fd, &open, 64, half) == 0 && open.status == VGPU_OK);
	CHECK(open.flags & VGPU_OPENED_WINDOW);
	close(fd);
	channel_close(&big[1]);
	channel_close(&relayed);
	channel_close(&small);
}
