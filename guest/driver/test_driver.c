/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of vgpu.ko, run by root inside a guest that has the device, a mediator behind it, and two
 * virtual CPUs (tests/vm/test_vm_driver.py). Speaks to the driver without libvgpu.
 *
 *   test_driver           all but those that wait for seconds
 *   test_driver NAME...   these
 *
 * Prints one line for each test, "ok N - name" or "not ok N - name: why", as TAP has it. Each test
 * runs in a process of its own and leaves the driver as it found it.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_support.h"

/* Tests: a channel, and what a program may ask */

static void test_driver_state(void)
{
	int fd = open_node();
	struct vgpu_ioc_state state = state_of(fd);

	CHECK(state.device_state == VGPU_DEVICE_READY);
	CHECK(state.vm_id == 1 && state.priority <= 2 && state.weight_hundredths > 0);
	CHECK(strcmp(state.pool, "A") == 0);
	CHECK(state.max_channels > 0 && state.max_data_bytes >= PAGE);
	CHECK(state.channel == 0 && !state.gone);
	close(fd);
}

static void test_driver_open_close(void)
{
	for (int i = 0; i < 3; i++) {
		struct channel c = channel_open(64, 1 << 20);
		struct vgpu_channel_geometry g = c.open.geometry;
		struct vgpu_ioc_state state = state_of(c.fd);

		CHECK(page_of(&c)->magic == VGPU_MAGIC &&
		      page_of(&c)->layout == VGPU_LAYOUT_VERSION);
		CHECK(in_window(&c) == (window_bytes() > 0));
		CHECK(!(page_of(&c)->flags & VGPU_CHANNEL_MIRRORED) == in_window(&c));
		CHECK(g.sub_granules == 64 && g.comp_granules == 64 && g.data_bytes == 1 << 20);
		CHECK(c.open.channel && state.channel == c.open.channel);
		channel_close(&c);
	}
}

static void test_driver_default_sizes(void)
{
	struct channel c = channel_open(0, 0);
	uint64_t eighth = memory_line("MemTotal") * 1024 / 8;

	CHECK(c.open.geometry.sub_granules == 8192 && c.open.geometry.comp_granules == 2048);
	if (in_window(&c)) {
		CHECK(c.open.geometry.total_bytes <= window_bytes() / 8);
		CHECK(c.open.geometry.data_bytes > window_bytes() / 16);
	} else {
		CHECK(c.open.geometry.data_bytes <= 64 << 20);
		CHECK(c.open.geometry.data_bytes <= eighth + (1 << 20));
		CHECK(c.open.geometry.data_bytes >= 8 << 20);
	}
	channel_close(&c);
}

static void test_driver_second_open_is_refused(void)
{
	struct channel c = channel_open(64, 1 << 20);
	struct vgpu_ioc_open again = { .data_bytes = PAGE };

	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_OPEN, &again), EBUSY);
	channel_close(&c);
}

static void test_driver_nothing_before_open(void)
{
	struct channel c = { .fd = open_node() };
	uint64_t kicks;

	CHECK_ERRNO(populate(&c, 0, PAGE), ENOTCONN);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, c.fd, 0), ENOTCONN);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, c.fd, (off_t)VGPU_MMAP_DOORBELL),
		    ENOTCONN);
	CHECK_ERRNO(read(c.fd, &kicks, sizeof(kicks)), ENOTCONN);
	CHECK(poll_now(c.fd, 0) == 0);
	close(c.fd);
}

static void test_driver_mmap_bounds(void)
{
	struct channel c = channel_open(64, 1 << 20);
	int rw = PROT_READ | PROT_WRITE;
	void *at;

	CHECK_ERRNO(mmap(NULL, c.bytes + PAGE, rw, MAP_SHARED, c.fd, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, rw, MAP_SHARED, c.fd, (off_t)c.bytes), EINVAL);
	CHECK_ERRNO(mmap(NULL, 2 * PAGE, rw, MAP_SHARED, c.fd, (off_t)(c.bytes - PAGE)), EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, rw, MAP_SHARED, c.fd, (off_t)(VGPU_MMAP_DOORBELL - PAGE)),
		    EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, rw, MAP_SHARED, c.fd, (off_t)0x7ffffffffffff000), EINVAL);
	at = mmap(NULL, PAGE, rw, MAP_SHARED, c.fd, (off_t)(c.bytes - PAGE));
	CHECK(at != MAP_FAILED);
	CHECK(*(volatile uint32_t *)at == 0);
	CHECK(munmap(at, PAGE) == 0);
	at = mremap(c.memory, c.bytes, c.bytes + PAGE, MREMAP_MAYMOVE);
	CHECK(at == MAP_FAILED);
	channel_close(&c);
}

static void test_driver_mmap_private_and_exec(void)
{
	struct channel c = channel_open(64, 1 << 20);

	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, c.fd, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, c.fd, (off_t)VGPU_MMAP_DOORBELL),
		    EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, c.fd, 0), EACCES);
	CHECK_ERRNO(mprotect(c.memory, PAGE, PROT_READ | PROT_EXEC), EACCES);
	CHECK_ERRNO(mprotect(c.doorbell, PAGE, PROT_READ | PROT_EXEC), EACCES);
	channel_close(&c);
}

static void test_driver_doorbell_is_ones_own(void)
{
	struct channel a = channel_open(64, 1 << 20), b = channel_open(64, 1 << 20);
	int rw = PROT_READ | PROT_WRITE;

	for (uint64_t page = 1; page <= VGPU_SLOTS; page++)
		CHECK_ERRNO(mmap(NULL, PAGE, rw, MAP_SHARED, a.fd,
				 (off_t)(VGPU_MMAP_DOORBELL + page * PAGE)),
			    EINVAL);
	CHECK_ERRNO(mmap(NULL, 2 * PAGE, rw, MAP_SHARED, a.fd, (off_t)VGPU_MMAP_DOORBELL), EINVAL);
	CHECK(mremap(a.doorbell, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
	ring(&a);
	ring(&b);
	channel_close(&a);
	channel_close(&b);
}

static void test_driver_populate_bounds(void)
{
	struct channel c = channel_open(64, 1 << 20);
	uint64_t total = c.open.geometry.total_bytes;

	CHECK(populate(&c, 0, total) == 0);
	CHECK(populate(&c, c.open.geometry.data_offset, PAGE) == 0);
	CHECK_ERRNO(populate(&c, 0, total + PAGE), EINVAL);
	CHECK_ERRNO(populate(&c, total, PAGE), EINVAL);
	CHECK_ERRNO(populate(&c, 0, 0), EINVAL);
	CHECK_ERRNO(populate(&c, 1, PAGE), EINVAL);
	CHECK_ERRNO(populate(&c, 0, 1), EINVAL);
	CHECK_ERRNO(populate(&c, PAGE, UINT64_MAX - PAGE + 1), EINVAL);
	CHECK_ERRNO(populate(&c, UINT64_MAX - PAGE + 1, 2 * PAGE), EINVAL);
	channel_close(&c);
}

static void test_driver_memory_is_fresh(void)
{
	for (int round = 0; round < 3; round++) {
		struct channel c = channel_open(64, 16 << 20);
		uint64_t *data = (uint64_t *)data_of(&c);

		for (uint64_t i = 0; i < (16 << 20) / 8; i++) {
			CHECK(data[i] == 0);
			data[i] = 0x5ec7e75ec7e7ull;
		}
		channel_close(&c);
	}
}

static void test_driver_hostile_open(void)
{
	static const uint32_t granules[] = { 1, 3, 65535, 131072, UINT32_MAX, 0x80000000 };
	struct vgpu_ioc_open open = { 0 };
	struct channel c;
	int fd = open_node();
	uint64_t max;

	for (size_t i = 0; i < sizeof(granules) / sizeof(granules[0]); i++) {
		open = (struct vgpu_ioc_open){ .sub_granules = granules[i] };
		CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, &open), EINVAL);
		open = (struct vgpu_ioc_open){ .comp_granules = granules[i] };
		CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, &open), EINVAL);
	}
	open = (struct vgpu_ioc_open){ .data_bytes = PAGE + 1 };
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, &open), EINVAL);
	open = (struct vgpu_ioc_open){ .data_bytes = PAGE };
	memset(open.process, 'x', sizeof(open.process));
	CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, &open), EINVAL);
	max = state_of(fd).max_data_bytes;
	if (!window_bytes() && max > VGPU_RELAY_MAX_DATA_BYTES)
		max = VGPU_RELAY_MAX_DATA_BYTES;
	open = (struct vgpu_ioc_open){ .data_bytes = max + PAGE };
	CHECK(ioctl(fd, VGPU_IOC_OPEN, &open) == 0);
	CHECK(open.status == VGPU_LIMIT && open.text[0]);
	open = (struct vgpu_ioc_open){ .data_bytes = UINT64_MAX - PAGE + 1 };
	CHECK(ioctl(fd, VGPU_IOC_OPEN, &open) == 0 && open.status == VGPU_LIMIT);
	CHECK(state_of(fd).channel == 0);
	close(fd);
	c = channel_open(64, PAGE);
	channel_close(&c);
}

static void test_driver_hostile_ioctls(void)
{
	struct channel c = channel_open(64, 1 << 20);
	void *bad = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t zeros[1024] = { 0 };
	int32_t fd;

	for (unsigned number = 0; number < 256; number++) {
		if (number >= 0x80 && number <= 0x84)
			continue;
		CHECK_ERRNO(ioctl(c.fd, _IOWR('v', number, struct vgpu_ioc_open), zeros), ENOTTY);
		CHECK_ERRNO(ioctl(c.fd, _IO('v', number), 0), ENOTTY);
	}
	CHECK_ERRNO(ioctl(c.fd, _IOC(_IOC_READ, 'v', 0x80, 575), zeros), ENOTTY);
	CHECK_ERRNO(ioctl(c.fd, _IOC(_IOC_WRITE, 'v', 0x82, 24), zeros), ENOTTY);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_STATE, bad), EFAULT);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_OPEN, bad), EFAULT);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_POPULATE, bad), EFAULT);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_EVENTFD, NULL), EFAULT);
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_MONITOR, bad), EFAULT);
	CHECK_ERRNO(ioctl(c.fd, _IOWR('v', 0x84, uint64_t), zeros), ENOTTY);
	fd = -2;
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_EVENTFD, &fd), EBADF);
	fd = c.fd;
	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_EVENTFD, &fd), EINVAL);
	channel_close(&c);
}

/* A program that cannot take the answer has no channel, and may ask again. */
static void test_driver_open_into_read_only_memory(void)
{
	struct vgpu_ioc_open *open =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vgpu_ioc_open good;
	int fd = open_node();

	*open = (struct vgpu_ioc_open){ .sub_granules = 64,
					.comp_granules = 64,
					.data_bytes = PAGE };
	CHECK(mprotect(open, PAGE, PROT_READ) == 0);
	for (int i = 0; i < 5; i++)
		CHECK_ERRNO(ioctl(fd, VGPU_IOC_OPEN, open), EFAULT);
	CHECK(state_of(fd).channel == 0);
	CHECK(ask_open(fd, &good, 64, PAGE) == 0 && good.status == VGPU_OK);
	close(fd);
}

/* Tests: the VM's GPUs */

static struct vgpu_ioc_monitor ask_monitor(int fd, uint32_t gpu, uint32_t first)
{
	struct vgpu_ioc_monitor ask;

	memset(&ask, 0xff, sizeof(ask)); /* what a program leaves there does not count */
	ask.gpu = gpu;
	ask.first = first;
	CHECK(ioctl(fd, VGPU_IOC_MONITOR, &ask) == 0);
	CHECK(ask.status == VGPU_OK && ask.reserved == 0 && ask.text[0] == '\0');
	CHECK(ask.monitor.gpu == gpu && ask.monitor.first == first);
	return ask;
}

/* Without a channel, and beside one. */
static void test_driver_monitor(void)
{
	int fd = open_node();
	struct vgpu_ioc_monitor told = ask_monitor(fd, 0, 0);
	struct channel c;

	CHECK(told.monitor.gpus == 1 && told.monitor.uuid[0] && told.monitor.name[0]);
	CHECK(told.monitor.memory_total_bytes > 0);
	told = ask_monitor(fd, UINT32_MAX, UINT32_MAX);
	CHECK(told.monitor.gpus == 1 && !told.monitor.uuid[0]);
	CHECK(state_of(fd).channel == 0);
	close(fd);
	c = channel_open(64, 1 << 20);
	told = ask_monitor(c.fd, 0, 0);
	CHECK(told.monitor.uuid[0]);
	channel_close(&c);
}

static void test_driver_monitor_into_read_only_memory(void)
{
	struct vgpu_ioc_monitor *ask =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open_node();

	CHECK(mprotect(ask, PAGE, PROT_READ) == 0);
	for (int i = 0; i < 5; i++)
		CHECK_ERRNO(ioctl(fd, VGPU_IOC_MONITOR, ask), EFAULT);
	ask_monitor(fd, 0, 0);
	close(fd);
}

/* Each gets its own answer, whoever is killed beside it. */
static void test_driver_monitor_by_many(void)
{
	enum { ASKERS = 6, VICTIMS = 20 };
	pid_t pid[ASKERS];

	for (unsigned i = 0; i < ASKERS; i++) {
		pid[i] = child_start();
		if (pid[i] == 0) {
			int fd = open_node();

			for (unsigned n = 0; n < 100; n++)
				ask_monitor(fd, 100 * i + n, n);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < VICTIMS; i++) {
		pid_t victim = child_start();

		if (victim == 0) {
			int fd = open_node();

			for (;;)
				ask_monitor(fd, 0, 0);
		}
		usleep(1000 * i);
		kill(victim, SIGKILL);
		child_wait(victim);
	}
	for (unsigned i = 0; i < ASKERS; i++)
		CHECK(child_wait(pid[i]) == 0);
}

/* Tests: waking */

static void test_driver_read_and_poll(void)
{
	struct channel c = channel_open(4, 1 << 20);
	uint64_t kicks = 0, tiny;

	CHECK_ERRNO(read(c.fd, &tiny, 7), EINVAL);
	push_pad(&c);
	CHECK(poll_now(c.fd, 10000) & POLLIN);
	CHECK(read(c.fd, &kicks, sizeof(kicks)) == sizeof(kicks) && kicks >= 1);
	wait_consumed(&c, 4);
	page_of(&c)->submission.producer.waiting = 0;
	CHECK(!(poll_now(c.fd, 0) & (POLLHUP | POLLERR)));
	channel_close(&c);
}

static void *pad_later(void *opaque)
{
	pause_ms(100);
	push_pad(opaque);
	return NULL;
}

static void test_driver_read_blocks(void)
{
	struct channel c = channel_open(4, 1 << 20);
	uint64_t kicks = 0;
	pthread_t thread;

	CHECK(read(c.fd, &kicks, sizeof(kicks)) == -1 && errno == EAGAIN);
	CHECK(fcntl(c.fd, F_SETFL, 0) == 0);
	CHECK(pthread_create(&thread, NULL, pad_later, &c) == 0);
	CHECK(read(c.fd, &kicks, sizeof(kicks)) == sizeof(kicks) && kicks >= 1);
	pthread_join(thread, NULL);
	channel_close(&c);
}

static void test_driver_eventfd(void)
{
	struct channel c = channel_open(4, 1 << 20);
	int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), none = -1;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t kicks = 0;

	CHECK(ioctl(c.fd, VGPU_IOC_EVENTFD, &fd) == 0);
	push_pad(&c);
	CHECK(poll(&p, 1, 10000) == 1);
	CHECK(read(fd, &kicks, sizeof(kicks)) == sizeof(kicks) && kicks >= 1);
	CHECK(poll_now(c.fd, 0) & POLLIN);
	CHECK(ioctl(c.fd, VGPU_IOC_EVENTFD, &none) == 0);
	wait_consumed(&c, 4);
	CHECK(read(c.fd, &kicks, sizeof(kicks)) == sizeof(kicks));
	push_pad(&c);
	CHECK(poll_now(c.fd, 10000) & POLLIN);
	CHECK(read(fd, &kicks, sizeof(kicks)) == -1 && errno == EAGAIN);
	close(fd);
	channel_close(&c);
}

static void test_driver_gone_is_told(void)
{
	struct channel c = channel_open(64, 1 << 20), other = channel_open(64, 1 << 20);
	struct vgpu_ioc_state state;
	uint64_t kicks;

	push_nonsense(&c);
	CHECK(poll_news(c.fd) & POLLPRI);
	CHECK(poll_now(c.fd, 0) & POLLHUP);
	state = state_of(c.fd);
	CHECK(state.gone == 1 && state.gone_status == VGPU_BAD_RECORD && state.gone_text[0]);
	CHECK(!(poll_now(c.fd, 0) & POLLPRI));
	while (read(c.fd, &kicks, sizeof(kicks)) > 0)
		;
	CHECK(read(c.fd, &kicks, sizeof(kicks)) == 0);
	CHECK(page_of(&c)->notice.state == VGPU_CHANNEL_ENDED);
	CHECK(state_of(other.fd).gone == 0 && !(poll_now(other.fd, 0) & POLLHUP));
	channel_close(&c);
	channel_close(&other);
}

/* Tests: processes */

static void test_driver_fork_has_no_mapping(void)
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

static void test_driver_processes_are_apart(void)
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

static void test_driver_users_reach_only_the_node(void)
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
static void test_driver_file_outlives_its_opener(void)
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
static void test_driver_killed_at_any_moment(void)
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
static void test_driver_all_channels_and_one_more(void)
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
static void test_driver_direct_io(void)
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
static void test_driver_pinned_pages_outlive_the_channel(void)
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
static void test_driver_memory_is_charged(void)
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
static void test_driver_window_mappings_move(void)
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
static void test_driver_window_full_is_relayed(void)
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

static void test_driver_unbind_with_an_open_channel(void)
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
static void test_driver_unbind_while_programs_touch(void)
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

static void test_driver_unbind_while_programs_open(void)
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
static void test_driver_module_without_the_window(void)
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

static void test_driver_module_comes_and_goes(void)
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
static void test_driver_silent_device_is_reset(void)
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

/* The list */

static const struct test {
	const char *name;
	void (*run)(void);
	bool slow;
} tests[] = {
#define TEST(name, slow)                                                                           \
	{                                                                                          \
#name, test_driver_##name, slow                                                    \
	}
	TEST(state, false),
	TEST(open_close, false),
	TEST(default_sizes, false),
	TEST(second_open_is_refused, false),
	TEST(nothing_before_open, false),
	TEST(mmap_bounds, false),
	TEST(mmap_private_and_exec, false),
	TEST(doorbell_is_ones_own, false),
	TEST(populate_bounds, false),
	TEST(memory_is_fresh, false),
	TEST(hostile_open, false),
	TEST(hostile_ioctls, false),
	TEST(open_into_read_only_memory, false),
	TEST(read_and_poll, false),
	TEST(read_blocks, false),
	TEST(monitor, false),
	TEST(monitor_into_read_only_memory, false),
	TEST(monitor_by_many, false),
	TEST(eventfd, false),
	TEST(gone_is_told, false),
	TEST(fork_has_no_mapping, false),
	TEST(processes_are_apart, false),
	TEST(users_reach_only_the_node, false),
	TEST(file_outlives_its_opener, false),
	TEST(killed_at_any_moment, false),
	TEST(direct_io, false),
	TEST(pinned_pages_outlive_the_channel, false),
	TEST(memory_is_charged, false),
	TEST(window_mappings_move, false),
	TEST(window_full_is_relayed, false),
	TEST(unbind_with_an_open_channel, false),
	TEST(unbind_while_programs_touch, false),
	TEST(unbind_while_programs_open, false),
	TEST(module_comes_and_goes, false),
	TEST(module_without_the_window, false),
	TEST(all_channels_and_one_more, true),
	TEST(silent_device_is_reset, true),
#undef TEST
};
#define TESTS (sizeof(tests) / sizeof(tests[0]))

static bool chosen(const struct test *test, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], test->name) == 0)
			return true;
	return argc == 1 && !test->slow;
}

int main(int argc, char **argv)
{
	unsigned number = 0, failed = 0;

	for (size_t i = 0; i < TESTS; i++) {
		uint64_t start = now_ms();
		pid_t pid;
		int status;

		if (!chosen(&tests[i], argc, argv))
			continue;
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			alarm(90);
			tests[i].run();
			exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 2;
		failed += status != 0;
		printf("%s %u - %s (%llu ms, status %#x)\n", status == 0 ? "ok" : "not ok",
		       ++number, tests[i].name, (unsigned long long)(now_ms() - start), status);
	}
	printf("1..%u\n", number);
	return failed || !number ? 1 : 0;
}
