/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A raw mediator for the launcher's tests, written against <vgpu/launch.h>, and the launcher
 * process that it talks to.
 */
#ifndef VGPU_LAUNCHER_TEST_MEDIATOR_H
#define VGPU_LAUNCHER_TEST_MEDIATOR_H

#include <stdbool.h>
#include <sys/types.h>
#include <vgpu/launch.h>

#include "launcher/fake_worker.h"

#define TIMEOUT_MS  20000
#define MAX_WORKERS "3"
#define BASE_UID    70000
#define TOTAL_BYTES 20480

/* Programs and driver; by main(). */
extern const char *launcher_path, *worker_path, *driver_path;
extern const char *const same_uid[]; /* options */

struct fixture {
    char dir[64], socket[96], cgroup[96];
    char program[64]; /* --reset-program's */
    pid_t launcher;
    pid_t worker; /* spawned last */
    int sock;     /* the mediator's connection */
    int fds[VGPU_CHANNEL_FDS];
    struct fake_report *report;
};

union packet {
    struct vgpu_launch head;
    struct vgpu_launch_hello hello;
    struct vgpu_launch_spawn spawn;
    struct vgpu_launch_channel channel;
    struct vgpu_launch_answer answer;
    struct vgpu_launch_exited exited;
    struct vgpu_launch_entry entry;
    struct vgpu_launch_spares spares;
    struct vgpu_launch_spare_state spare_state;
    struct vgpu_launch_reset_done reset_done;
    uint8_t bytes[4096];
};

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

pid_t start_launcher(const struct fixture *f, const char *const *extra);
int try_connect(const struct fixture *f);
int connect_launcher(const struct fixture *f);
/* fds: the caller's, or NULL: closed. */
ssize_t receive(int sock, union packet *packet, int *fds, size_t *n_fds);
void expect(int sock, uint32_t type, union packet *packet);
void send_packet(int sock, const void *packet, size_t size, const int *fds, size_t n);
void send_hello(int sock);
void greet(int sock);
int make_memory(uint64_t bytes, int seals, mode_t mode);
void close_fds(struct fixture *f);
void make_fds(struct fixture *f);
struct vgpu_launch_spawn good_spawn(uint32_t channel);
int spawn_result(struct fixture *f, const struct vgpu_launch_spawn *spawn);
/* Spawns a worker and waits until it has reported. */
void spawn_ready(struct fixture *f, uint32_t channel);
void command(const struct fixture *f, uint64_t value);
void send_channel(int sock, uint32_t type, uint32_t channel);
void expect_exit(struct fixture *f, uint32_t channel, int code, int sig, bool killed);
void expect_closed(int sock);
int set_up_with(void **state, const char *const *extra);
int set_up(void **state);
int wait_status(pid_t pid);
/* The launcher must end well and leave nothing. */
int tear_down(void **state);

#endif
