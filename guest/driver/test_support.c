/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A channel by plain ioctls, and processes, for test_driver.c. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test_support.h"

void fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	printf("# %s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" (errno %d, %s)\n", errno, strerror(errno));
	fflush(stdout);
	_exit(1);
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

int open_node(void)
{
	int fd = open(NODE, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	return fd;
}

/* As the library does: what is refused for now is asked again. */
int ask_open(int fd, struct vgpu_ioc_open *open, uint32_t granules, uint64_t data_bytes)
{
	uint64_t end = now_ms() + 20000;

	for (;;) {
		*open = (struct vgpu_ioc_open){ .sub_granules = granules,
						.comp_granules = granules,
						.data_bytes = data_bytes,
						.process = "test_driver" };
		if (ioctl(fd, VGPU_IOC_OPEN, open) != 0)
			return -1;
		if ((open->status != VGPU_BUSY && open->status != VGPU_STARTING) || now_ms() > end)
			return 0;
		pause_ms(20);
	}
}

/* What the administrator reads in sysfs. */
uint64_t window_bytes(void)
{
	char text[32] = "";
	int fd = open(CLASS "/window_bytes", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strtoull(text, NULL, 10);
}

struct channel channel_open(uint32_t granules, uint64_t data_bytes)
{
	struct channel c = { .fd = open_node() };
	void *at;

	CHECK(ask_open(c.fd, &c.open, granules, data_bytes) == 0);
	if (c.open.status != VGPU_OK)
		fail(__FILE__, __LINE__, "OPEN: status %u, %s", c.open.status, c.open.text);
	c.bytes = c.open.geometry.total_bytes + (c.open.flags ? 0 : PAGE);
	at = mmap(NULL, c.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, VGPU_MMAP_CHANNEL);
	CHECK(at != MAP_FAILED);
	c.memory = at;
	if (by_grants(&c))
		return c;
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, c.fd, (off_t)VGPU_MMAP_DOORBELL);
	CHECK(at != MAP_FAILED);
	c.doorbell = at;
	return c;
}

void channel_close(struct channel *c)
{
	CHECK(munmap(c->memory, c->bytes) == 0);
	CHECK(by_grants(c) || munmap(c->doorbell, PAGE) == 0);
	CHECK(close(c->fd) == 0);
}

bool in_window(const struct channel *c)
{
	return c->open.flags & VGPU_OPENED_WINDOW;
}

bool by_grants(const struct channel *c)
{
	return c->open.flags & VGPU_OPENED_GRANT;
}

volatile struct vgpu_channel_page *page_of(const struct channel *c)
{
	return (volatile struct vgpu_channel_page *)c->memory;
}

void ring(struct channel *c)
{
	uint64_t one = 1;

	if (by_grants(c))
		CHECK(write(c->fd, &one, sizeof(one)) == sizeof(one));
	else
		*(volatile uint32_t *)c->doorbell = 1;
}

uint8_t *data_of(const struct channel *c)
{
	return c->memory + c->open.geometry.data_offset;
}

int populate(const struct channel *c, uint64_t offset, uint64_t bytes)
{
	struct vgpu_ioc_populate part = { .offset = offset, .bytes = bytes };

	return ioctl(c->fd, VGPU_IOC_POPULATE, &part);
}

struct vgpu_ioc_state state_of(int fd)
{
	struct vgpu_ioc_state state;

	CHECK(ioctl(fd, VGPU_IOC_STATE, &state) == 0);
	return state;
}

short poll_now(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLPRI };

	CHECK(poll(&p, 1, timeout_ms) >= 0);
	return p.revents;
}

/* What there is besides kicks, which may come before. */
short poll_news(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	CHECK(poll(&p, 1, 20000) >= 0);
	return p.revents;
}

/*
 * One record that skips to the end of the ring: the worker consumes it, and says nothing. With
 * `waiting` set the driver has a kick to tell of.
 */
void push_pad(struct channel *c)
{
	struct vgpu_record *record = (void *)(c->memory + c->open.geometry.sub_offset);

	record->size_bytes = c->open.geometry.sub_granules * VGPU_GRANULE_BYTES;
	record->op = VGPU_OP_PAD;
	page_of(c)->submission.producer.waiting = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	page_of(c)->submission.producer.head += c->open.geometry.sub_granules;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ring(c);
}

void wait_consumed(const struct channel *c, uint32_t tail)
{
	uint64_t end = now_ms() + 10000;

	while (page_of(c)->submission.consumer.tail != tail) {
		CHECK(now_ms() < end);
		pause_ms(1);
	}
}

/* A head that runs ahead of the ring: who reads it ends the channel. */
void push_nonsense(struct channel *c)
{
	page_of(c)->submission.producer.head += 0x40000000;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ring(c);
}

pid_t child_start(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

int child_wait(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

void child_succeeds(pid_t pid)
{
	int status = child_wait(pid);

	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

uint64_t memory_line(const char *name)
{
	char line[128];
	uint64_t kib = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, strlen(name)) == 0)
			kib = strtoull(line + strlen(name) + 1, NULL, 10);
	fclose(f);
	CHECK(kib);
	return kib;
}

static sigjmp_buf fault_jump;

static void on_fault(int number)
{
	siglongjmp(fault_jump, number);
}

/* The signal that a read at this address raises, or 0. */
int fault_of(const volatile uint8_t *at)
{
	struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER }, old[2];
	int number;

	sigaction(SIGSEGV, &action, &old[0]);
	sigaction(SIGBUS, &action, &old[1]);
	number = sigsetjmp(fault_jump, 1);
	if (number == 0)
		(void)*at;
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGBUS, &old[1], NULL);
	return number;
}

/* The device's name on the bus, as 0000:00:03.0. */
void bus_name(char ret[64])
{
	char path[256];
	ssize_t bytes = readlink(CLASS "/device", path, sizeof(path) - 1);

	CHECK(bytes > 0);
	path[bytes] = '\0';
	snprintf(ret, 64, "%s", strrchr(path, '/') + 1);
}

void wait_node(bool there)
{
	uint64_t end = now_ms() + 10000;

	while ((access(NODE, R_OK) == 0) != there) {
		CHECK(now_ms() < end);
		pause_ms(5);
	}
}

void send_fd(int socket, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	*header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
				    .cmsg_type = SCM_RIGHTS,
				    .cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	CHECK(sendmsg(socket, &message, 0) == 1);
}

int receive_fd(int socket)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	int fd;

	CHECK(recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}
