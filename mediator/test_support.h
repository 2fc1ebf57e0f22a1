/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for tests: launcher with fake workers, mediator, store, NVML stand-in, in a directory of
 * its own; and a raw guest that knows <vgpu/wire.h> only. Failing calls fail the test.
 */
#ifndef VGPU_MEDIATOR_TEST_SUPPORT_H
#define VGPU_MEDIATOR_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>
#include <jansson.h>
#include <vgpu/wire.h>

#include "mediator/fake_worker.h"

#define TIMEOUT_MS 30000

struct host {
    char dir[64], run[80], bin[80], database[96], launcher_socket[96];
    pid_t launcher, mediator;
};

struct guest {
    int sock;
    uint32_t tag;
};

struct guest_channel {
    uint32_t number, window;
    uint8_t token[VGPU_TOKEN_BYTES];
    int fds[3];
    struct vgpu_channel_geometry geometry;
    struct fake_orders *orders;
};

union message {
    struct vgpu_msg head;
    struct vgpu_msg_hello hello;
    struct vgpu_msg_welcome welcome;
    struct vgpu_msg_refused refused;
    struct vgpu_msg_open open;
    struct vgpu_msg_opened opened;
    struct vgpu_msg_channel channel;
    struct vgpu_msg_resume resume;
    struct vgpu_msg_gone gone;
    struct vgpu_msg_state state;
    struct vgpu_msg_monitor monitor;
    struct vgpu_msg_monitored monitored;
    struct vgpu_msg_promised promised;
    uint8_t bytes[VGPU_MSG_MAX_BYTES];
};

/* Takes the programs' paths from the command line. */
void support_init(int argc, char **argv);
/* Further options of launchers from now on, NULL-terminated, at most 8. Workers have the test's
 * user unless --base-uid is among them. */
void support_launcher_options(const char *const *options);

/* HELLO over that carrier. */
struct guest guest_hello_over(const struct host *host, uint32_t vm_id, uint32_t carrier);

/* A host with pool A on GPU 0 and the VMs 1..n_vms in it. */
void host_start(struct host *host, unsigned n_vms);
/* Ends what runs, checks that nothing is left, removes the directory. */
void host_stop(struct host *host);
void host_start_launcher(struct host *host, const char *env);
/* extra: further options, NULL-terminated, or NULL. */
void host_start_mediator(struct host *host, const char *const *extra);
pid_t host_spawn_mediator(const struct host *host, const char *const *extra);
/* The only worker there is, found by its parent. */
pid_t host_worker(const struct host *host);
void host_kill(pid_t *pid, int signal);
/* The exit status of a child, which must end by itself. */
int wait_exit(pid_t pid);

/* cmocka fixtures: a host with one, two VMs. */
int host_setup_1(void **state);
int host_setup_2(void **state);
int host_teardown(void **state);

/* One request to the admin socket. The reply is the caller's. */
json_t *admin(const struct host *host, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same; it must succeed. Returns "result". */
json_t *admin_ok(const struct host *host, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int admin_connect(const struct host *host);
/* A whole line from fd; NULL at end of file. The caller's. */
char *read_line(int fd);
/* A number of a VM in `status`. */
double vm_number(const struct host *host, uint32_t vm_id, const char *key);
unsigned workers(const struct host *host);

/* Repeats check until it holds, or fails the test. */
#define AWAIT(check)                                                                               \
    do {                                                                                           \
        uint64_t until_ = now_ms() + TIMEOUT_MS;                                                   \
        while (!(check)) {                                                                         \
            if (now_ms() > until_)                                                                 \
                fail_msg("never: %s", #check);                                                     \
            pause_ms(2);                                                                           \
        }                                                                                          \
    } while (0)
uint64_t now_ms(void);
void pause_ms(int ms);

/* A connection to a VM's socket, without and with its handshake. */
struct guest guest_connect(const struct host *host, uint32_t vm_id);
struct guest guest_hello(const struct host *host, uint32_t vm_id);
void guest_close(struct guest *guest);
void guest_send(struct guest *guest, const void *message, size_t size);
/* The next message; 0 bytes at end of file. fds: 3 that come with it, or NULL. */
size_t guest_receive(struct guest *guest, union message *message, int *fds);
void guest_expect(struct guest *guest, uint16_t type, union message *message);
void guest_expect_refused(struct guest *guest, uint32_t tag, uint32_t status,
                          union message *message);
void guest_expect_end(struct guest *guest);
struct vgpu_msg_hello good_hello(struct guest *guest);
struct vgpu_msg_open good_open(struct guest *guest);
void guest_open(struct guest *guest, struct guest_channel *channel);
void guest_take_opened(const union message *message, const int *fds, struct guest_channel *channel);
/* Those of the channel page. */
uint32_t channel_flags(const struct guest_channel *channel);
void channel_forget(struct guest_channel *channel);
/* Gives its worker orders. */
void channel_order(struct guest_channel *channel, uint32_t mode, uint64_t jobs, uint32_t job_us);
uint64_t channel_done(const struct guest_channel *channel);

#endif
