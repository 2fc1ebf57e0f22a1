/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's message parser: each field at its limit and beyond. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <vgpu/domain.h>
#include <vgpu/grant.h>

#include <cmocka.h>

#include "launcher/message.h"

static struct vgpu_launch_spawn good_spawn(void)
{
    struct vgpu_launch_spawn spawn = {
        .head = {sizeof(spawn), VGPU_LAUNCH_SPAWN},
        .channel = 1,
        .geometry = {.sub_granules = 64,
                     .comp_granules = 64,
                     .sub_offset = 4096,
                     .comp_offset = 8192,
                     .data_offset = 12288,
                     .data_bytes = 4096,
                     .total_bytes = 16384},
        .keep = {.vm_id = 1},
        .gpu_uuid = "GPU-0",
    };
    return spawn;
}

static int parse_spawn(const struct vgpu_launch_spawn *spawn)
{
    struct message message;

    return message_parse(spawn, sizeof(*spawn), VGPU_CHANNEL_FDS, &message, NULL);
}

static void test_message_takes_good_spawn(void **state)
{
    struct vgpu_launch_spawn spawn = good_spawn();
    struct message message;

    assert_int_equal(message_parse(&spawn, sizeof(spawn), VGPU_CHANNEL_FDS, &message, NULL), 0);
    assert_int_equal(message.type, VGPU_LAUNCH_SPAWN);
    assert_int_equal(message.channel, 1);
}

/* One assignment to a good SPAWN, which must make it malformed. */
#define REFUSES(assignment)                                                                        \
    do {                                                                                           \
        struct vgpu_launch_spawn bad = good_spawn();                                               \
        bad.assignment;                                                                            \
        assert_int_equal(parse_spawn(&bad), -EPROTO);                                              \
    } while (0)

static void test_message_checks_geometry(void **state)
{
    REFUSES(geometry.sub_granules = VGPU_RING_MAX_GRANULES * 2);
    REFUSES(geometry.sub_granules = VGPU_RING_MIN_GRANULES / 2);
    REFUSES(geometry.sub_granules = 63);
    REFUSES(geometry.comp_granules = 0);
    REFUSES(geometry.sub_offset = 0);
    REFUSES(geometry.comp_offset = 4096);
    REFUSES(geometry.data_offset = 8192);
    REFUSES(geometry.data_bytes = 8192);
    REFUSES(geometry.data_bytes = VGPU_DATA_MAX_BYTES + 4096);
    REFUSES(geometry.total_bytes = UINT64_MAX);
    REFUSES(geometry.total_bytes = 12288);
}

static void test_message_checks_identity(void **state)
{
    REFUSES(channel = 0);
    REFUSES(reserved = 1);
    REFUSES(keep.vm_id = 0);
    REFUSES(keep.vm_id = MESSAGE_VM_ID_MAX + 1);
    REFUSES(host_memory_bytes = MESSAGE_HOST_MEMORY_BYTES + 1);
    REFUSES(head.size_bytes = sizeof(struct vgpu_launch_spawn) - 8);
    REFUSES(head.type = VGPU_LAUNCH_SPAWNED);
}

static struct vgpu_launch_spawn good_grant(void)
{
    struct vgpu_launch_spawn spawn = good_spawn();

    spawn.keep.domid = 5;
    spawn.grant = (struct vgpu_launch_grant){.domid = 5, .directory = 8, .event_port = 9};
    return spawn;
}

static int parse_grant(const struct vgpu_launch_spawn *spawn, size_t n_fds)
{
    struct message message;

    return message_parse(spawn, sizeof(*spawn), n_fds, &message, NULL);
}

static void test_message_takes_grant_with_its_descriptors_only(void **state)
{
    struct vgpu_launch_spawn grant = good_grant(), other = good_spawn();

    assert_int_equal(parse_grant(&grant, VGPU_CHANNEL_GRANT_FDS), 0);
    assert_int_equal(parse_grant(&grant, VGPU_CHANNEL_FDS), -EPROTO);
    assert_int_equal(parse_grant(&other, VGPU_CHANNEL_GRANT_FDS), -EPROTO);
}

#define REFUSES_GRANT(assignment)                                                                  \
    do {                                                                                           \
        struct vgpu_launch_spawn bad = good_grant();                                               \
        bad.assignment;                                                                            \
        assert_int_equal(parse_grant(&bad, VGPU_CHANNEL_GRANT_FDS), -EPROTO);                      \
    } while (0)

static void test_message_checks_grant(void **state)
{
    struct vgpu_launch_spawn high = good_grant();

    REFUSES(grant.domid = 5);
    REFUSES(grant.directory = 8);
    REFUSES(grant.event_port = 9);
    REFUSES_GRANT(grant.domid = 6);
    REFUSES_GRANT(grant.directory = 0);
    REFUSES_GRANT(grant.event_port = 0);
    REFUSES_GRANT(grant.reserved = 1);
    REFUSES_GRANT(keep.window = 1);
    REFUSES_GRANT(geometry.total_bytes = (VGPU_GRANT_MAX_PAGES + 1ull) * 4096);
    high.grant.domid = high.keep.domid = VGPU_DOMAIN_FIRST_RESERVED - 1;
    assert_int_equal(parse_grant(&high, VGPU_CHANNEL_GRANT_FDS), 0);
    high.grant.domid = high.keep.domid = VGPU_DOMAIN_FIRST_RESERVED;
    assert_int_equal(parse_grant(&high, VGPU_CHANNEL_GRANT_FDS), -EPROTO);
}

static void test_message_checks_uuid(void **state)
{
    struct vgpu_launch_spawn spawn = good_spawn();

    REFUSES(gpu_uuid[0] = '\0');
    REFUSES(gpu_uuid[1] = '/');
    REFUSES(gpu_uuid[1] = '.');
    REFUSES(gpu_uuid[1] = '\n');
    REFUSES(gpu_uuid[40] = 'x'); /* behind the NUL */
    memset(spawn.gpu_uuid, 'a', sizeof(spawn.gpu_uuid));
    assert_int_equal(parse_spawn(&spawn), -EPROTO);
    spawn.gpu_uuid[sizeof(spawn.gpu_uuid) - 1] = '\0';
    assert_int_equal(parse_spawn(&spawn), 0);
}

static void test_message_checks_process_name(void **state)
{
    struct vgpu_launch_spawn spawn = good_spawn();

    memset(spawn.keep.process, 'a', sizeof(spawn.keep.process));
    assert_int_equal(parse_spawn(&spawn), -EPROTO);
}

static void test_message_checks_sizes(void **state)
{
    struct vgpu_launch_channel list = {{sizeof(list), VGPU_LAUNCH_LIST}, 0, 0};
    struct message message;

    assert_int_equal(message_parse(&list, sizeof(list), 0, &message, NULL), 0);
    for (size_t size = 0; size < sizeof(list); size++)
        assert_int_equal(message_parse(&list, size, 0, &message, NULL), -EPROTO);
    list.channel = 1;
    assert_int_equal(message_parse(&list, sizeof(list), 0, &message, NULL), -EPROTO);
    list.head.type = VGPU_LAUNCH_KILL;
    assert_int_equal(message_parse(&list, sizeof(list), 0, &message, NULL), 0);
    assert_int_equal(message_parse(&list, sizeof(list), 1, &message, NULL), -EPROTO);
    list.channel = 0;
    assert_int_equal(message_parse(&list, sizeof(list), 0, &message, NULL), -EPROTO);
}

static void test_message_checks_version(void **state)
{
    struct vgpu_launch_hello hello = {{sizeof(hello), VGPU_LAUNCH_HELLO}, VGPU_MAGIC, 1, 9};
    struct message message;

    assert_int_equal(message_parse(&hello, sizeof(hello), 0, &message, NULL), 0);
    hello.version_major = VGPU_VERSION_MAJOR + 1;
    assert_int_equal(message_parse(&hello, sizeof(hello), 0, &message, NULL), -EPROTONOSUPPORT);
    hello.magic = 0;
    assert_int_equal(message_parse(&hello, sizeof(hello), 0, &message, NULL), -EPROTO);
}

static struct vgpu_launch_spares good_spares(void)
{
    struct vgpu_launch_spares spares = {.head = {sizeof(spares), VGPU_LAUNCH_SPARES},
                                        .spares = VGPU_LAUNCH_MAX_SPARES,
                                        .n_gpus = VGPU_LAUNCH_MAX_GPUS};

    for (unsigned i = 0; i < VGPU_LAUNCH_MAX_GPUS; i++)
        memcpy(spares.gpu_uuid[i], "GPU-0", 6);
    return spares;
}

static int parse_spares(const struct vgpu_launch_spares *spares, size_t n_fds)
{
    struct message message;

    return message_parse(spares, sizeof(*spares), n_fds, &message, NULL);
}

static void test_message_checks_spares(void **state)
{
    struct vgpu_launch_spares spares = good_spares();

    assert_int_equal(parse_spares(&spares, 0), 0);
    assert_int_equal(parse_spares(&spares, 1), -EPROTO);
    spares.spares = VGPU_LAUNCH_MAX_SPARES + 1;
    assert_int_equal(parse_spares(&spares, 0), -EPROTO);
    spares = good_spares();
    spares.n_gpus = VGPU_LAUNCH_MAX_GPUS + 1;
    assert_int_equal(parse_spares(&spares, 0), -EPROTO);
    spares = good_spares();
    spares.gpu_uuid[VGPU_LAUNCH_MAX_GPUS - 1][0] = '/';
    assert_int_equal(parse_spares(&spares, 0), -EPROTO);
    spares = good_spares();
    spares.n_gpus--; /* the last one is of no GPU */
    assert_int_equal(parse_spares(&spares, 0), -EPROTO);
}

static void test_message_checks_reset(void **state)
{
    struct vgpu_launch_reset reset = {.head = {sizeof(reset), VGPU_LAUNCH_RESET},
                                      .gpu_uuid = "GPU-0123-abcd"};
    struct message message;

    assert_int_equal(message_parse(&reset, sizeof(reset), 0, &message, NULL), 0);
    assert_string_equal(message.reset.gpu_uuid, "GPU-0123-abcd");
    assert_int_equal(message_parse(&reset, sizeof(reset), 1, &message, NULL), -EPROTO);
    assert_int_equal(message_parse(&reset, sizeof(reset) - 1, 0, &message, NULL), -EPROTO);
    memcpy(reset.gpu_uuid, "GPU 0", 6);
    assert_int_equal(message_parse(&reset, sizeof(reset), 0, &message, NULL), -EPROTO);
    memset(reset.gpu_uuid, 'x', sizeof(reset.gpu_uuid));
    assert_int_equal(message_parse(&reset, sizeof(reset), 0, &message, NULL), -EPROTO);
    memset(reset.gpu_uuid, 0, sizeof(reset.gpu_uuid));
    assert_int_equal(message_parse(&reset, sizeof(reset), 0, &message, NULL), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_takes_good_spawn),
        cmocka_unit_test(test_message_checks_reset),
        cmocka_unit_test(test_message_checks_geometry),
        cmocka_unit_test(test_message_checks_identity),
        cmocka_unit_test(test_message_takes_grant_with_its_descriptors_only),
        cmocka_unit_test(test_message_checks_grant),
        cmocka_unit_test(test_message_checks_uuid),
        cmocka_unit_test(test_message_checks_process_name),
        cmocka_unit_test(test_message_checks_sizes),
        cmocka_unit_test(test_message_checks_version),
        cmocka_unit_test(test_message_checks_spares),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
