/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/fake_monitor.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"

union asked {
    struct vgpu_msg head;
    struct vgpu_msg_hello hello;
    struct vgpu_msg_monitor monitor;
};

static bool welcome(const struct fake_monitor *fake, int sock, const struct vgpu_msg_hello *hello)
{
    struct vgpu_msg_welcome answer = {
        .head = {sizeof(answer), VGPU_MSG_WELCOME, 0, hello->head.tag, 0},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .features = hello->features & fake->features,
        .vm_id = 1,
    };

    return send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

static bool refuse(const struct fake_monitor *fake, int sock, uint32_t tag)
{
    struct vgpu_msg_refused answer = {.head = {sizeof(answer), VGPU_MSG_REFUSED, 0, tag, 0},
                                      .status = fake->refusal,
                                      .retry_ns = 1000000,
                                      .text = "not now"};

    return send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

static bool tell(const struct fake_monitor *fake, int sock, const struct vgpu_msg_monitor *ask)
{
    struct vgpu_msg_monitored answer = {.monitor = {.gpus = fake->n_gpus}};
    struct vgpu_monitor *m = &answer.monitor;

    if (ask->gpu < fake->n_gpus)
        *m = fake->gpu[ask->gpu];
    m->gpus = fake->n_gpus;
    m->gpu = ask->gpu;
    m->first = ask->first;
    m->processes = ask->gpu == 0 ? fake->n_processes : 0;
    for (unsigned i = 0; i < VGPU_MONITOR_PROCESSES && ask->first + i < m->processes; i++)
        m->process[i] = fake->process[ask->first + i];
    if (ask->gpu == 0 && fake->claimed_processes)
        m->processes = fake->claimed_processes;
    if (fake->malformed)
        m->reserved = 1;
    answer.head = (struct vgpu_msg){sizeof(answer), VGPU_MSG_MONITORED, 0, ask->head.tag, 0};
    return send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

/* False: the connection ends. */
static bool serve(struct fake_monitor *fake, int sock)
{
    union asked asked;

    if (recv(sock, &asked.head, sizeof(asked.head), MSG_WAITALL) != sizeof(asked.head) ||
        asked.head.size_bytes > sizeof(asked) ||
        recv(sock, &asked.head + 1, asked.head.size_bytes - sizeof(asked.head), MSG_WAITALL) < 0)
        return false;
    if (asked.head.type == VGPU_MSG_HELLO)
        return welcome(fake, sock, &asked.hello);
    __atomic_fetch_add(&fake->questions, 1, __ATOMIC_SEQ_CST);
    if (fake->hang_up) {
        fake->hang_up = false;
        return false;
    }
    if (fake->refusals) {
        fake->refusals--;
        return refuse(fake, sock, asked.head.tag);
    }
    return tell(fake, sock, &asked.monitor);
}

static void take_peer(struct fake_monitor *fake)
{
    int sock = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);

    for (unsigned i = 0; i < FAKE_MONITOR_PEERS; i++) {
        if (fake->peers[i] >= 0)
            continue;
        fake->peers[i] = sock;
        __atomic_fetch_add(&fake->connections, 1, __ATOMIC_SEQ_CST);
        return;
    }
    vgpu_close(&sock);
}

static void *run(void *argument)
{
    struct fake_monitor *fake = argument;
    struct pollfd fds[2 + FAKE_MONITOR_PEERS];

    for (;;) {
        fds[0] = (struct pollfd){fake->stop, POLLIN, 0};
        fds[1] = (struct pollfd){fake->listener, POLLIN, 0};
        for (unsigned i = 0; i < FAKE_MONITOR_PEERS; i++)
            fds[2 + i] = (struct pollfd){fake->peers[i], POLLIN, 0};
        poll(fds, 2 + FAKE_MONITOR_PEERS, -1);
        if (fds[0].revents)
            return NULL;
        for (unsigned i = 0; i < FAKE_MONITOR_PEERS; i++)
            if (fds[2 + i].revents && !serve(fake, fake->peers[i]))
                vgpu_close(&fake->peers[i]);
        if (fds[1].revents)
            take_peer(fake);
    }
}

static struct vgpu_monitor good_gpu(unsigned index)
{
    struct vgpu_monitor gpu = {
        .known = VGPU_MONITOR_KNOWN,
        .cuda_version = 13000,
        .compute_major = 9,
        .pci_device_id = 0x233010de,
        .pci_subsystem_id = 0x16c110de,
        .max_sm_mhz = 1980,
        .max_memory_mhz = 2619,
        .ecc_mode = 1,
        .memory_total_bytes = UINT64_C(16) << 30,
        .memory_used_bytes = UINT64_C(3) << 30,
        .window_ns = UINT64_C(10000000000),
        .name = "Fake GPU",
        .driver = "580.65.06",
    };

    snprintf(gpu.uuid, sizeof(gpu.uuid), "GPU-0a1b2c3d-0000-4000-8000-00000000000%u", index);
    snprintf(gpu.pci, sizeof(gpu.pci), "0000000%u:0A:1F.0", index);
    return gpu;
}

void fake_monitor_start(struct fake_monitor *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    *fake = (struct fake_monitor){.n_gpus = 1, .features = VGPU_FEATURES_KNOWN};
    for (unsigned i = 0; i < FAKE_MONITOR_GPUS; i++)
        fake->gpu[i] = good_gpu(i);
    memset(fake->peers, -1, sizeof(fake->peers));
    strcpy(fake->dir, "/tmp/vgpu-fake-monitor.XXXXXX");
    assert_non_null(mkdtemp(fake->dir));
    snprintf(fake->path, sizeof(fake->path), "%s/vm", fake->dir);
    strcpy(address.sun_path, fake->path);
    fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 8), 0);
    fake->stop = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(pthread_create(&fake->thread, NULL, run, fake), 0);
}

void fake_monitor_stop(struct fake_monitor *fake)
{
    const uint64_t one = 1;

    assert_int_equal(write(fake->stop, &one, sizeof(one)), sizeof(one));
    pthread_join(fake->thread, NULL);
    vgpu_close(&fake->listener);
    vgpu_close(&fake->stop);
    for (unsigned i = 0; i < FAKE_MONITOR_PEERS; i++)
        vgpu_close(&fake->peers[i]);
    unlink(fake->path);
    rmdir(fake->dir);
}
