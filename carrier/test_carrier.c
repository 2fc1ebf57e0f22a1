/* SPDX-License-Identifier: Apache-2.0 */
/* The local carrier: geometry, sealed memory, and a mediator that answers by hand. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "carrier/device.h"
#include "carrier/local.h"
#include "carrier/mapping.h"
#include "common/cleanup.h"
#include "common/fdpass.h"

static struct vgpu_channel_geometry good_geometry(void)
{
    return (struct vgpu_channel_geometry){
        .sub_granules = 64,
        .comp_granules = 64,
        .sub_offset = 4096,
        .comp_offset = 8192,
        .data_offset = 12288,
        .data_bytes = 8192,
        .total_bytes = 20480,
    };
}

static int make_memory(const struct vgpu_channel_geometry *g, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct vgpu_channel_page page = {
        .magic = VGPU_MAGIC, .layout = VGPU_LAYOUT_VERSION, .geometry = *g};

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)g->total_bytes), 0);
    assert_int_equal(pwrite(fd, &page, sizeof(page), 0), sizeof(page));
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void test_mapping_places(void **state)
{
    struct vgpu_channel_geometry g = good_geometry();
    _cleanup_close_ int fd = make_memory(&g, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    struct channel_mapping mapping;

    assert_int_equal(channel_mapping_init(&mapping, fd, &g, NULL), 0);
    assert_ptr_equal(mapping.data, mapping.base + 12288);
    mapping.data[8191] = 7;
    channel_mapping_release(&mapping);
}

static bool is_mapped(const void *address)
{
    return msync((void *)(uintptr_t)address, 4096, MS_ASYNC) == 0; /* ENOMEM: nothing is there */
}

/* What is put in the place that the data area left is not the mapping's. */
static void test_mapping_moved_leaves_its_place(void **state)
{
    struct vgpu_channel_geometry g = good_geometry();
    _cleanup_close_ int fd = make_memory(&g, F_SEAL_SHRINK);
    struct channel_mapping mapping;
    uint8_t *page, *left, *moved;
    void *other;

    assert_int_equal(channel_mapping_init(&mapping, fd, &g, NULL), 0);
    page = mapping.base;
    left = mapping.data;
    left[5] = 77;
    assert_int_equal(channel_mapping_move_data(&mapping, VGPU_BAND_START), 0);
    moved = mapping.data;
    assert_int_equal((uintptr_t)moved, VGPU_BAND_START);
    assert_int_equal(moved[5], 77);
    other = mmap(left, g.data_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_equal(other, left);
    assert_int_equal(channel_mapping_move_data(&mapping, VGPU_BAND_START), -EINVAL);
    channel_mapping_release(&mapping);
    assert_true(is_mapped(left));
    assert_false(is_mapped(page));
    assert_false(is_mapped(moved));
    munmap(other, g.data_bytes);
}

static void test_mapping_unsealed_is_refused(void **state)
{
    struct vgpu_channel_geometry g = good_geometry();
    _cleanup_close_ int fd = make_memory(&g, 0);
    struct channel_mapping mapping;

    assert_int_equal(channel_mapping_init(&mapping, fd, &g, NULL), -EPROTO);
}

static void test_mapping_short_object_is_refused(void **state)
{
    struct vgpu_channel_geometry g = good_geometry();
    _cleanup_close_ int fd = make_memory(&g, F_SEAL_SHRINK);
    struct channel_mapping mapping;

    g.total_bytes += 4096;
    assert_int_equal(channel_mapping_init(&mapping, fd, &g, NULL), -EPROTO);
}

static void test_mapping_page_that_differs_is_refused(void **state)
{
    struct vgpu_channel_geometry g = good_geometry();
    _cleanup_close_ int fd = make_memory(&g, F_SEAL_SHRINK);
    struct channel_mapping mapping;

    g.data_bytes = 4096;
    assert_int_equal(channel_mapping_init(&mapping, fd, &g, NULL), -EPROTO);
}

/* Each field, one beyond what it may be. */
static void test_geometry_limits(void **state)
{
    struct vgpu_channel_geometry g = good_geometry();

    assert_int_equal(channel_geometry_check(&g, NULL), 0);
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        g = good_geometry();                                                                       \
        g.field = (value);                                                                         \
        assert_int_equal(channel_geometry_check(&g, NULL), -EPROTO);                               \
    } while (0)
    REFUSED(sub_granules, 1);
    REFUSED(sub_granules, 3);
    REFUSED(sub_granules, VGPU_RING_MAX_GRANULES * 2);
    REFUSED(comp_granules, 0);
    REFUSED(comp_granules, 128);
    REFUSED(sub_offset, 4095);
    REFUSED(sub_offset, 4032);
    REFUSED(sub_offset, UINT64_MAX - 63);
    REFUSED(comp_offset, 8128);
    REFUSED(data_offset, 8192);
    REFUSED(data_offset, 16384);
    REFUSED(data_bytes, 8193);
    REFUSED(data_bytes, 12288);
    REFUSED(data_bytes, VGPU_DATA_MAX_BYTES + 4096);
    REFUSED(total_bytes, 16384);
    REFUSED(total_bytes, VGPU_DATA_MAX_BYTES + (65u << 20));
#undef REFUSED
}

/* A listener whose one connection a thread serves by `serve`. */
struct mediator {
    char path[64];
    int listener;
    pthread_t thread;
    void (*serve)(int sock);
};

static void *mediator_main(void *argument)
{
    struct mediator *mediator = argument;
    _cleanup_close_ int sock = accept(mediator->listener, NULL, NULL);

    if (sock >= 0)
        mediator->serve(sock);
    return NULL;
}

static void mediator_start(struct mediator *mediator, void (*serve)(int sock))
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(mediator->path, sizeof(mediator->path), "/tmp/vgpu-carrier-%d-%p", (int)getpid(),
             (void *)mediator);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", mediator->path);
    mediator->serve = serve;
    mediator->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(mediator->listener, (void *)&address, sizeof(address)), 0);
    assert_int_equal(listen(mediator->listener, 1), 0);
    assert_int_equal(pthread_create(&mediator->thread, NULL, mediator_main, mediator), 0);
}

static void mediator_stop(struct mediator *mediator)
{
    pthread_join(mediator->thread, NULL);
    close(mediator->listener);
    unlink(mediator->path);
}

static void take(int sock, void *message, size_t size)
{
    ssize_t got = recv(sock, message, size, MSG_WAITALL);

    assert_int_equal(got, (ssize_t)size);
}

static void welcome(int sock)
{
    struct vgpu_msg_hello hello;
    struct vgpu_msg_welcome answer = {
        .head = {.size_bytes = sizeof(answer), .type = VGPU_MSG_WELCOME},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .vm_id = 7,
    };

    take(sock, &hello, sizeof(hello));
    answer.head.tag = hello.head.tag;
    assert_int_equal(send(sock, &answer, sizeof(answer), 0), sizeof(answer));
}

static void serve_open(int sock)
{
    struct vgpu_msg_state state = {.head = {.size_bytes = sizeof(state), .type = VGPU_MSG_STATE},
                                   .priority = 2};
    struct vgpu_msg_opened opened = {
        .head = {.size_bytes = sizeof(opened), .type = VGPU_MSG_OPENED}, .channel = 5};
    struct vgpu_msg_open ask;
    int fds[3] = {0, 1, 2};

    welcome(sock);
    take(sock, &ask, sizeof(ask));
    assert_int_equal(send(sock, &state, sizeof(state), 0), sizeof(state));
    opened.head.tag = ask.head.tag;
    vgpu_fdpass_send(sock, &opened, sizeof(opened), fds, 3);
}

static void note_state(void *context, const union message *message)
{
    if (message->head.type == VGPU_MSG_STATE)
        *(uint32_t *)context = message->state.priority;
}

static void test_local_open_takes_fds_and_what_comes_between(void **state)
{
    struct mediator mediator;
    uint32_t priority = 0;
    struct local_link link = {.unasked = note_state, .context = &priority};
    struct vgpu_msg_welcome hello;
    struct vgpu_msg_open ask = {.data_bytes = 4096};
    struct vgpu_msg_opened opened;
    struct local_refusal refusal;
    int fds[LOCAL_FDS];

    mediator_start(&mediator, serve_open);
    assert_int_equal(local_connect(&link, mediator.path, &hello, &refusal), 0);
    assert_int_equal(hello.vm_id, 7);
    assert_int_equal(local_open(&link, &ask, &opened, fds, &refusal), 0);
    assert_int_equal(opened.channel, 5);
    assert_int_equal(priority, 2);
    for (int i = 0; i < LOCAL_FDS; i++)
        assert_int_equal(close(fds[i]), 0);
    local_release(&link);
    mediator_stop(&mediator);
}

static void serve_quarantine(int sock)
{
    struct vgpu_msg_hello hello;
    struct vgpu_msg_refused refused = {
        .head = {.size_bytes = sizeof(refused), .type = VGPU_MSG_REFUSED},
        .status = VGPU_QUARANTINED,
        .retry_ns = 3,
        .text = "five jobs failed",
    };

    take(sock, &hello, sizeof(hello));
    refused.head.tag = hello.head.tag;
    send(sock, &refused, sizeof(refused), 0);
}

static void test_local_refusal_carries_status_and_text(void **state)
{
    struct mediator mediator;
    struct local_link link = {0};
    struct vgpu_msg_welcome hello;
    struct local_refusal refusal = {0};

    mediator_start(&mediator, serve_quarantine);
    assert_true(local_connect(&link, mediator.path, &hello, &refusal) < 0);
    assert_int_equal(refusal.status, VGPU_QUARANTINED);
    assert_int_equal(refusal.retry_ns, 3);
    assert_string_equal(refusal.text, "five jobs failed");
    assert_int_equal(link.sock, -1);
    mediator_stop(&mediator);
}

static void serve_nobody(int sock)
{
    struct vgpu_msg_refused refused = {
        .head = {.size_bytes = sizeof(refused), .type = VGPU_MSG_REFUSED},
        .status = VGPU_NOT_CONFIGURED,
        .text = "user 7 may not speak for this VM",
    };

    send(sock, &refused, sizeof(refused), 0);
}

static void test_local_connection_turned_away_says_why(void **state)
{
    struct mediator mediator;
    struct local_link link = {0};
    struct vgpu_msg_welcome hello;
    struct local_refusal refusal = {0};

    mediator_start(&mediator, serve_nobody);
    assert_true(local_connect(&link, mediator.path, &hello, &refusal) < 0);
    assert_int_equal(refusal.status, VGPU_NOT_CONFIGURED);
    assert_string_equal(refusal.text, "user 7 may not speak for this VM");
    mediator_stop(&mediator);
}

static void serve_future(int sock)
{
    struct vgpu_msg_hello hello;
    struct vgpu_msg_welcome answer = {
        .head = {.size_bytes = sizeof(answer), .type = VGPU_MSG_WELCOME},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR + 1,
    };

    take(sock, &hello, sizeof(hello));
    answer.head.tag = hello.head.tag;
    send(sock, &answer, sizeof(answer), 0);
}

static void test_local_version_from_the_future(void **state)
{
    struct mediator mediator;
    struct local_link link = {0};
    struct vgpu_msg_welcome hello;
    struct local_refusal refusal = {0};

    mediator_start(&mediator, serve_future);
    assert_int_equal(local_connect(&link, mediator.path, &hello, &refusal), -EPROTONOSUPPORT);
    assert_int_equal(refusal.status, VGPU_VERSION);
    mediator_stop(&mediator);
}

static void serve_nonsense(int sock)
{
    struct vgpu_msg_hello hello;
    struct vgpu_msg answer = {.size_bytes = VGPU_MSG_MAX_BYTES + 1, .type = VGPU_MSG_WELCOME};

    take(sock, &hello, sizeof(hello));
    answer.tag = hello.head.tag;
    send(sock, &answer, sizeof(answer), 0);
}

static void test_local_malformed_answer(void **state)
{
    struct mediator mediator;
    struct local_link link = {0};
    struct vgpu_msg_welcome hello;
    struct local_refusal refusal = {0};

    mediator_start(&mediator, serve_nonsense);
    assert_int_equal(local_connect(&link, mediator.path, &hello, &refusal), -EPROTO);
    assert_int_equal(refusal.status, VGPU_BAD_MESSAGE);
    mediator_stop(&mediator);
}

static void test_local_absent_mediator_is_retryable(void **state)
{
    struct local_link link = {0};
    struct vgpu_msg_welcome hello;
    struct local_refusal refusal = {0};

    assert_int_equal(local_connect(&link, "/nonexistent/vgpu.sock", &hello, &refusal), -ENOENT);
    assert_int_equal(refusal.status, VGPU_STARTING);
    assert_non_null(strstr(refusal.text, "/nonexistent/vgpu.sock"));
}

static void test_local_path_too_long(void **state)
{
    struct local_link link = {0};
    struct vgpu_msg_welcome hello;
    struct local_refusal refusal = {0};
    char path[109];

    memset(path, 'a', 108);
    path[108] = '\0';
    assert_int_equal(local_connect(&link, path, &hello, &refusal), -ENAMETOOLONG);
    assert_int_equal(refusal.status, VGPU_NOT_CONFIGURED);
}

/* Geometries that a driver of the guest must not get past the library. */
static void test_device_refusals(void **state)
{
    struct vgpu_msg_open ask = {.data_bytes = 4096};
    struct local_refusal refusal = {0};
    struct device_channel channel;
    struct channel_mapping map;
    struct vgpu_channel_geometry geometry = {0};
    struct vgpu_err err;

    assert_true(device_is_path("/dev/null"));
    assert_false(device_is_path("/"));
    assert_false(device_is_path("/nowhere/vgpu0"));
    assert_true(device_open(&channel, "/nowhere/vgpu0", &ask, &refusal) < 0);
    assert_int_equal(refusal.status, VGPU_NOT_CONFIGURED);
    assert_true(device_open(&channel, "/dev/null", &ask, &refusal) < 0);
    assert_int_equal(refusal.status, VGPU_INTERNAL);
    assert_non_null(strstr(refusal.text, "the driver cannot open a channel"));
    assert_int_equal(channel_mapping_init_device(&map, -1, 0, &geometry, 4096, &err), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device_refusals),
        cmocka_unit_test(test_mapping_places),
        cmocka_unit_test(test_mapping_moved_leaves_its_place),
        cmocka_unit_test(test_mapping_unsealed_is_refused),
        cmocka_unit_test(test_mapping_short_object_is_refused),
        cmocka_unit_test(test_mapping_page_that_differs_is_refused),
        cmocka_unit_test(test_geometry_limits),
        cmocka_unit_test(test_local_open_takes_fds_and_what_comes_between),
        cmocka_unit_test(test_local_refusal_carries_status_and_text),
        cmocka_unit_test(test_local_connection_turned_away_says_why),
        cmocka_unit_test(test_local_version_from_the_future),
        cmocka_unit_test(test_local_malformed_answer),
        cmocka_unit_test(test_local_absent_mediator_is_retryable),
        cmocka_unit_test(test_local_path_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
