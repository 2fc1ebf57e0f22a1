/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of vgpu.ko: a channel, what a program may ask, the VM's GPUs, and waking. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test_driver.h"
#include "test_support.h"

/* Tests: a channel, and what a program may ask */

void test_driver_state(void)
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

void test_driver_open_close(void)
{
	for (int i = 0; i < 3; i++) {
		struct channel c = channel_open(64, 1 << 20);
		struct vgpu_channel_geometry g = c.open.geometry;
		struct vgpu_ioc_state state = state_of(c.fd);

		CHECK(page_of(&c)->magic == VGPU_MAGIC &&
		      page_of(&c)->layout == VGPU_LAYOUT_VERSION);
		CHECK(in_window(&c) == (window_bytes() > 0));
		CHECK(!(page_of(&c)->flags & VGPU_CHANNEL_MIRRORED) ==
		      (in_window(&c) || by_grants(&c)));
		CHECK(g.sub_granules == 64 && g.comp_granules == 64 && g.data_bytes == 1 << 20);
		CHECK(c.open.channel && state.channel == c.open.channel);
		channel_close(&c);
	}
}

void test_driver_default_sizes(void)
{
	struct channel c = channel_open(0, 0);
	uint64_t eighth = memory_line("MemTotal") * 1024 / 8;

	CHECK(c.open.geometry.sub_granules == 8192 && c.open.geometry.comp_granules == 2048);
	if (by_grants(&c)) {
		CHECK(c.open.geometry.data_bytes == 16 << 20);
	} else if (in_window(&c)) {
		CHECK(c.open.geometry.total_bytes <= window_bytes() / 8);
		CHECK(c.open.geometry.data_bytes > window_bytes() / 16);
	} else {
		CHECK(c.open.geometry.data_bytes <= 64 << 20);
		CHECK(c.open.geometry.data_bytes <= eighth + (1 << 20));
		CHECK(c.open.geometry.data_bytes >= 8 << 20);
	}
	channel_close(&c);
}

void test_driver_write_is_for_grants(void)
{
	uint64_t kick = 1;
	struct channel c = { .fd = open_node() };

	CHECK_ERRNO(write(c.fd, &kick, sizeof(kick)), ENOTCONN);
	close(c.fd);
	c = channel_open(64, 1 << 20);
	CHECK_ERRNO(write(c.fd, &kick, sizeof(kick)), EOPNOTSUPP);
	CHECK_ERRNO(write(c.fd, &kick, 4), EINVAL);
	channel_close(&c);
}

void test_driver_second_open_is_refused(void)
{
	struct channel c = channel_open(64, 1 << 20);
	struct vgpu_ioc_open again = { .data_bytes = PAGE };

	CHECK_ERRNO(ioctl(c.fd, VGPU_IOC_OPEN, &again), EBUSY);
	channel_close(&c);
}

void test_driver_nothing_before_open(void)
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

void test_driver_mmap_bounds(void)
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

void test_driver_mmap_private_and_exec(void)
{
	struct channel c = channel_open(64, 1 << 20);

	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, c.fd, 0), EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, c.fd, (off_t)VGPU_MMAP_DOORBELL),
		    EINVAL);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, c.fd, 0), EACCES);
	CHECK_ERRNO(mprotect(c.memory, PAGE, PROT_READ | PROT_EXEC), EACCES);
	if (!by_grants(&c))
		CHECK_ERRNO(mprotect(c.doorbell, PAGE, PROT_READ | PROT_EXEC), EACCES);
	channel_close(&c);
}

void test_driver_doorbell_is_ones_own(void)
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

void test_driver_populate_bounds(void)
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

void test_driver_memory_is_fresh(void)
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

void test_driver_hostile_open(void)
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

void test_driver_hostile_ioctls(void)
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
void test_driver_open_into_read_only_memory(void)
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
void test_driver_monitor(void)
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

void test_driver_monitor_into_read_only_memory(void)
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
void test_driver_monitor_by_many(void)
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

void test_driver_read_and_poll(void)
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

void test_driver_read_blocks(void)
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

void test_driver_eventfd(void)
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

void test_driver_gone_is_told(void)
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
