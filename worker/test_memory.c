/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, images and handles that must not reach the driver; quotas; the parts that check them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/blob.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

static struct client *open_client(void)
{
    const struct client_options options = {0};

    test_driver_reset();
    return client_open(&options);
}

/* The result of a copy of bytes from the data area to a device address. */
static CUresult copy_to(struct client *client, uint64_t address, uint64_t bytes)
{
    return (CUresult)client_await(client,
                                  client_copy(client, VGPU_RECORD_WAIT, client_device(address),
                                              client_data(0), bytes, VGPU_STREAM_DEFAULT))
        ->result;
}

static void expect_refused(struct client *client, uint64_t address, uint64_t bytes)
{
    size_t before = test_driver_journal_count();

    assert_int_equal(copy_to(client, address, bytes), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(test_driver_journal_count(), before);
}

static void test_memory_copies_stay_in_one_allocation(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 8192);

    assert_int_equal(copy_to(client, address, 8192), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address + 8191, 1), CUDA_SUCCESS);
    expect_refused(client, address, 8193);
    expect_refused(client, address - 1, 2);
    expect_refused(client, address + 8192, 1);
    client_close(client);
}

static void test_memory_addresses_of_the_worker_are_refused(void **state)
{
    struct client *client = open_client();
    void *heap = malloc(64);

    expect_refused(client, (uint64_t)(uintptr_t)heap, 8);
    expect_refused(client, (uint64_t)(uintptr_t)client->channel, 8);
    expect_refused(client, (uint64_t)(uintptr_t)client->channel->map.page, 8);
    expect_refused(client, (uint64_t)(uintptr_t)client->channel->map.report, 8);
    expect_refused(client, (uint64_t)(uintptr_t)&state, 8);
    expect_refused(client, 0, 8);
    expect_refused(client, UINT64_MAX, 1);
    expect_refused(client, UINT64_MAX - 7, 8);
    free(heap);
    client_close(client);
}

static void test_memory_the_workers_own_device_memory_is_refused(void **state)
{
    struct client *client = open_client();

    expect_refused(client, client->channel->vector_add.slots[0].device, 8);
    client_close(client);
}

static void test_memory_freed_is_refused(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_free op = {.address = client_alloc(client, 4096)};

    assert_int_equal(client->report->memory_bytes, 4096);
    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    expect_refused(client, op.address, 8);
    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)),
                     CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_memory_free_inside_an_allocation_is_refused(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_free op = {.address = client_alloc(client, 4096) + 512};

    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)),
                     CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_memory_quota(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_alloc_pitch pitch = {.width_bytes = 16, .height = 64, .element_bytes = 4};
    struct cuda_op_memory_info info = {0};
    struct cuda_re_memory_info answer;
    uint64_t seq;

    client_quota(client, 8192);
    assert_int_equal(client_alloc(client, 8193), 0);
    assert_int_not_equal(client_alloc(client, 4096), 0);
    assert_int_equal(client_alloc(client, 4097), 0);
    /* 1 KiB as asked for, 32 KiB with the driver's pitch: known only afterwards. */
    assert_int_equal(client_call(client, CUDA_OP_MEMORY_ALLOC_PITCH, &pitch, sizeof(pitch)),
                     CUDA_ERROR_OUT_OF_MEMORY);
    seq = client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &info, sizeof(info));
    memcpy(&answer, client_await(client, seq)->bytes, sizeof(answer));
    assert_int_equal(answer.free_bytes, 4096);
    assert_int_equal(answer.total_bytes, 8192);
    assert_int_not_equal(client_alloc(client, 4096), 0);
    assert_int_equal(client_alloc(client, 1), 0);
    client_close(client);
}

static void test_memory_data_area_is_bounded(void **state)
{
    static const uint64_t bad[][2] = {
        {CLIENT_DATA_BYTES - 7, 8}, {CLIENT_DATA_BYTES, 1}, {UINT64_MAX, 1}, {8, UINT64_MAX - 7}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client *client = open_client();

        client_copy(client, VGPU_RECORD_WAIT, client_data(bad[i][0]), client_data(0), bad[i][1],
                    VGPU_STREAM_DEFAULT);
        assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
        client_close(client);
    }
}

static void test_memory_strided_extents_do_not_wrap(void **state)
{
    static const uint64_t bad[][4] = {
        /* pitch, width, height, depth */
        {UINT64_MAX, 16, 2, 1},  {1ull << 63, 16, 3, 1},
        {16, 16, UINT64_MAX, 1}, {16, 16, 1ull << 60, 16},
        {8, 16, 2, 1},           {1ull << 32, 16, 1ull << 32, 2},
        {16, UINT64_MAX, 1, 1},  {16, 16, 512, UINT64_MAX},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct client *client = open_client();
        uint64_t address = client_alloc(client, 4096);
        struct cuda_op_copy_3d op = {.target = client_device(address),
                                     .source = client_device(address),
                                     .target_pitch = bad[i][0],
                                     .source_pitch = bad[i][0],
                                     .target_slice_rows = bad[i][2],
                                     .source_slice_rows = bad[i][2],
                                     .width_bytes = bad[i][1],
                                     .height = bad[i][2],
                                     .depth = bad[i][3]};
        size_t before = test_driver_journal_count();

        assert_int_equal(client_call(client, CUDA_OP_COPY_3D, &op, sizeof(op)),
                         CUDA_ERROR_INVALID_VALUE);
        assert_int_equal(test_driver_journal_count(), before);
        client_close(client);
    }
}

static void test_memory_copy_3d(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 1u << 20);
    struct cuda_op_copy_3d op = {.target = client_device(address),
                                 .source = client_data(100),
                                 .target_pitch = 64,
                                 .source_pitch = 48,
                                 .target_slice_rows = 8,
                                 .source_slice_rows = 5,
                                 .width_bytes = 33,
                                 .height = 5,
                                 .depth = 3};
    const uint8_t *target = (const uint8_t *)(uintptr_t)address;

    for (size_t i = 0; i < 4096; i++)
        client->data[i] = (uint8_t)(i * 7 + i / 256);
    assert_int_equal(client_call(client, CUDA_OP_COPY_3D, &op, sizeof(op)), CUDA_SUCCESS);
    for (size_t z = 0; z < 3; z++)
        for (size_t y = 0; y < 5; y++)
            assert_memory_equal(target + (z * 8 + y) * 64, client->data + 100 + (z * 5 + y) * 48,
                                33);
    client_close(client);
}

/* Rows that cross the end of a page-locked segment are cut there. */
static void test_memory_copy_across_segments(void **state)
{
    const struct client_options options = {.data_bytes = 72u << 20};
    struct client *client;
    struct cuda_op_copy_3d op = {.target_pitch = 4096,
                                 .source_pitch = 5000,
                                 .target_slice_rows = 3000,
                                 .source_slice_rows = 3000,
                                 .width_bytes = 4000,
                                 .height = 3000,
                                 .depth = 2};
    const uint64_t offset = WORKER_CHUNK_BYTES - 5000 * 1500 - 2000;
    const uint8_t *target;

    test_driver_reset();
    client = client_open(&options);
    op.source = client_data(offset);
    op.target = client_device(client_alloc(client, 2 * 3000 * 4096));
    target = (const uint8_t *)(uintptr_t)op.target.address;
    for (size_t i = 0; i < 2 * 3000 * 5000; i++)
        client->data[offset + i] = (uint8_t)(i * 13 + i / 5000);
    assert_int_equal(client_call(client, CUDA_OP_COPY_3D, &op, sizeof(op)), CUDA_SUCCESS);
    for (size_t row = 0; row < 6000; row++)
        assert_memory_equal(target + row * 4096, client->data + offset + row * 5000, 4000);
    client_close(client);
}

/* A record that uploads `bytes` bytes, which count up from 1. */
static uint64_t send_upload(struct client *client, uint64_t address, size_t bytes)
{
    _Alignas(8) uint8_t record[sizeof(struct cuda_op_upload) + 2048];
    struct cuda_op_upload *op = (void *)record;
    uint8_t data[2048];
    size_t size = sizeof(*op);

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i + 1);
    memset(record, 0, sizeof(record));
    op->target = address;
    op->data = client_blob(op, &size, data, bytes);
    return client_send(client, CUDA_OP_UPLOAD, 0, op, size);
}

/* The most that a record may carry, and in the order of the stream. */
static void test_memory_upload(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 4096);
    const uint8_t *bytes = (const uint8_t *)(uintptr_t)address;

    send_upload(client, address + 8, 1024);
    assert_int_equal(copy_to(client, address + 10, 4), CUDA_SUCCESS);
    assert_int_equal(bytes[8], 1);
    assert_memory_equal(bytes + 10, client->data, 4);
    for (size_t i = 6; i < 1024; i++)
        assert_int_equal(bytes[8 + i], (uint8_t)(i + 1));
    assert_int_equal(bytes[8 + 1024], 0);
    assert_int_equal(client->report->bytes_to_device, 1024 + 4);
    client_close(client);
}

static void test_memory_upload_of_more_ends_the_channel(void **state)
{
    struct client *client = open_client();

    send_upload(client, client_alloc(client, 4096), 1025);
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_memory_upload_elsewhere_is_refused(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 4096);
    size_t before = test_driver_journal_count();

    send_upload(client, address + 4095, 2);
    assert_int_equal(client_await(client, client_sync_context(client))->result,
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(test_driver_journal_count(), before);
    client_close(client);
}

/* The first copies find page-locked memory; what lies behind is locked when it is used. */
static void test_memory_first_segment_is_locked_at_the_start(void **state)
{
    const struct client_options options = {.data_bytes = 40u << 20};
    struct client *client;
    uint64_t address;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(test_driver_locked(), 1);
    address = client_alloc(client, 1u << 20);
    copy_to(client, address, 1u << 20);
    assert_int_equal(test_driver_locked(), 1);
    assert_int_equal(
        client_await(client, client_copy(client, VGPU_RECORD_WAIT, client_device(address),
                                         client_data((2u << 20) - 1), 2, 0))
            ->result,
        CUDA_SUCCESS);
    assert_int_equal(test_driver_locked(), 2);
    client_close(client);
}

static void test_memory_fill(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 4096);
    struct cuda_op_fill op = {.target = address,
                              .pitch_bytes = 64,
                              .width = 5,
                              .height = 3,
                              .element_bytes = 2,
                              .value = 0xabcd};
    const uint8_t *bytes = (const uint8_t *)(uintptr_t)address;

    assert_int_equal(client_call(client, CUDA_OP_FILL, &op, sizeof(op)), CUDA_SUCCESS);
    for (size_t row = 0; row < 3; row++) {
        assert_int_equal(bytes[row * 64 + 9], 0xab);
        assert_int_equal(bytes[row * 64 + 10], 0);
    }
    op.height = 65;
    assert_int_equal(client_call(client, CUDA_OP_FILL, &op, sizeof(op)), CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_memory_registered_areas(void **state)
{
    struct client *client = open_client();
    struct cuda_op_host_register op = {.area = {.offset = 4096, .bytes = 8192}};
    struct cuda_op_host_unregister un = {.area = {.offset = 4096, .bytes = 4096}};
    struct cuda_re_host_register answer;
    uint64_t seq = client_send(client, CUDA_OP_HOST_REGISTER, VGPU_RECORD_WAIT, &op, sizeof(op));

    memcpy(&answer, client_await(client, seq)->bytes, sizeof(answer));
    assert_int_equal(answer.head.result, CUDA_SUCCESS);
    assert_int_equal(copy_to(client, answer.address, 8192), CUDA_SUCCESS);
    expect_refused(client, answer.address, 8193);
    assert_int_equal(client_call(client, CUDA_OP_HOST_REGISTER, &op, sizeof(op)),
                     CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    assert_int_equal(client_call(client, CUDA_OP_HOST_UNREGISTER, &un, sizeof(un)),
                     CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    un.area.bytes = 8192;
    assert_int_equal(client_call(client, CUDA_OP_HOST_UNREGISTER, &un, sizeof(un)), CUDA_SUCCESS);
    expect_refused(client, answer.address, 8);
    client_close(client);
}

/* Where the worker has it, and nowhere in a channel that the device copies. */
static uint64_t data_area(struct client *client)
{
    struct cuda_op_data_area op = {0};
    struct cuda_re_data_area answer;
    uint64_t seq = client_send(client, CUDA_OP_DATA_AREA, VGPU_RECORD_WAIT, &op, sizeof(op));

    memcpy(&answer, client_await(client, seq)->bytes, sizeof(answer));
    return answer.address;
}

static void test_memory_data_area_has_one_address(void **state)
{
    struct client *client = open_client();
    struct cuda_op_host_register op = {.area = {.offset = 8192, .bytes = 4096}};
    struct cuda_re_host_register answer;
    uint64_t address = data_area(client);
    uint64_t seq;

    assert_true(address >= VGPU_BAND_START);
    assert_true(address + client->geometry.data_bytes <= VGPU_BAND_END);
    assert_int_equal(address, (uintptr_t)client->channel->map.data);
    seq = client_send(client, CUDA_OP_HOST_REGISTER, VGPU_RECORD_WAIT, &op, sizeof(op));
    memcpy(&answer, client_await(client, seq)->bytes, sizeof(answer));
    assert_int_equal(answer.address, address + 8192);
    /* One memory, mapped twice. */
    client->data[8192] = 0x5c;
    assert_int_equal(client->channel->map.data[8192], 0x5c);
    client_close(client);
}

static CUresult no_attribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    *value = 0;
    return CUDA_SUCCESS;
}

static void test_memory_data_area_has_two_addresses(void **state)
{
    const struct client_options options = {.mirrored = true};
    struct client *client;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(data_area(client), 0);
    client_close(client);
    client = open_client();
    client->driver.cuDeviceGetAttribute = no_attribute;
    assert_int_equal(data_area(client), 0);
    client_close(client);
}

static void test_memory_globals_go_with_their_module(void **state)
{
    _Alignas(8) uint8_t buffer[256];
    struct cuda_op_module_get_global *op = (void *)buffer;
    struct cuda_op_module_unload unload = {.module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)};
    struct cuda_re_module_get_global answer;
    struct client *client = open_client();
    size_t size = sizeof(*op);

    assert_int_equal(client_module(client, unload.module, "ptx"), CUDA_SUCCESS);
    memset(op, 0, sizeof(*op));
    op->module = unload.module;
    op->name = client_blob(op, &size, "table", 5);
    memcpy(&answer,
           client_await(client,
                        client_send(client, CUDA_OP_MODULE_GET_GLOBAL, VGPU_RECORD_WAIT, op, size))
               ->bytes,
           sizeof(answer));
    assert_int_equal(copy_to(client, answer.address, answer.bytes), CUDA_SUCCESS);
    assert_int_equal(client_call(client, CUDA_OP_MODULE_UNLOAD, &unload, sizeof(unload)),
                     CUDA_SUCCESS);
    expect_refused(client, answer.address, 1);
    client_close(client);
}

static void test_memory_functions_go_with_their_module(void **state)
{
    struct cuda_op_module_unload unload = {.module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)};
    const uint32_t function = VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0);
    struct client *client = open_client();

    assert_int_equal(client_module(client, unload.module, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, unload.module, function, "k"), CUDA_SUCCESS);
    assert_int_equal(client_call(client, CUDA_OP_MODULE_UNLOAD, &unload, sizeof(unload)),
                     CUDA_SUCCESS);
    client_launch(client, function, VGPU_STREAM_DEFAULT);
    assert_int_equal(client_await(client, client_sync_context(client))->result,
                     CUDA_ERROR_INVALID_HANDLE);
    client_close(client);
}

static void test_memory_launch_parameters_must_fit(void **state)
{
    const uint32_t module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0);
    const uint32_t function = VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0);
    struct client *client = open_client();
    uint64_t value = 0;

    assert_int_equal(client_module(client, module, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, module, function, "one"), CUDA_SUCCESS);
    client_launch_with(client, function, VGPU_STREAM_DEFAULT, &value, 4);
    assert_int_equal(client_await(client, client_sync_context(client))->result,
                     CUDA_ERROR_INVALID_VALUE);
    client_launch_with(client, function, VGPU_STREAM_DEFAULT, &value, 8);
    assert_int_equal(client_await(client, client_sync_context(client))->result, CUDA_SUCCESS);
    client_close(client);
}

/* The answer to module_functions, from number `first` on. */
static CUresult ask_functions(struct client *client, uint32_t module, uint32_t first,
                              struct cuda_re_module_functions *ret, char *ret_names)
{
    struct cuda_op_module_functions op = {.module = module, .first = first};
    const struct client_reply *answer = client_await(
        client, client_send(client, CUDA_OP_MODULE_FUNCTIONS, VGPU_RECORD_WAIT, &op, sizeof(op)));

    memcpy(ret, answer->bytes, sizeof(*ret));
    if (answer->result == CUDA_SUCCESS)
        memcpy(ret_names, answer->bytes + ret->names.offset, ret->names.size_bytes);
    return (CUresult)answer->result;
}

/* 1000 names do not fit in one answer; each answer goes on where the last one ended. */
static void test_memory_functions_are_listed_in_parts(void **state)
{
    const uint32_t module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0);
    struct client *client = open_client();
    struct cuda_re_module_functions answer;
    char names[4096], expected[16];
    uint32_t at = 0, parts = 0;

    assert_int_equal(client_module(client, module, "functions 1000"), CUDA_SUCCESS);
    while (at < 1000) {
        assert_int_equal(ask_functions(client, module, at, &answer, names), CUDA_SUCCESS);
        assert_int_equal(answer.count, 1000);
        assert_true(answer.names.size_bytes > 0);
        for (uint32_t i = 0; i < answer.names.size_bytes; i += (uint32_t)strlen(names + i) + 1) {
            snprintf(expected, sizeof(expected), "f%u", at++);
            assert_string_equal(names + i, expected);
        }
        parts++;
    }
    assert_true(parts > 1);
    assert_int_equal(ask_functions(client, module, 1000, &answer, names), CUDA_SUCCESS);
    assert_int_equal(answer.names.size_bytes, 0);
    client_close(client);
}

static void test_memory_functions_listed_are_bounded(void **state)
{
    const uint32_t most = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0);
    const uint32_t more = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 1);
    struct client *client = open_client();
    struct cuda_re_module_functions answer;
    char names[4096];

    assert_int_equal(client_module(client, most, "functions 16384"), CUDA_SUCCESS);
    assert_int_equal(client_module(client, more, "functions 16385"), CUDA_SUCCESS);
    assert_int_equal(ask_functions(client, most, UINT32_MAX, &answer, names), CUDA_SUCCESS);
    assert_int_equal(answer.count, 16384);
    assert_int_equal(ask_functions(client, more, UINT32_MAX, &answer, names),
                     CUDA_ERROR_OUT_OF_MEMORY);
    client_close(client);
}

static uint64_t send_load(struct client *client, const struct cuda_jit_option *options,
                          size_t count, uint32_t module, const char *image)
{
    _Alignas(8) uint8_t buffer[4096];
    struct cuda_op_module_load *op = (void *)buffer;
    size_t size = sizeof(*op);

    memset(op, 0, sizeof(*op));
    op->module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, module);
    op->error_log_bytes = 128;
    op->image = client_blob(op, &size, image, strlen(image));
    op->options = client_blob(op, &size, options, count * sizeof(*options));
    return client_send(client, CUDA_OP_MODULE_LOAD, VGPU_RECORD_WAIT, op, size);
}

static CUresult load_options(struct client *client, const struct cuda_jit_option *options,
                             size_t count, uint32_t module, const char *image)
{
    return (CUresult)client_await(client, send_load(client, options, count, module, image))->result;
}

static void test_memory_jit_options(void **state)
{
    struct client *client = open_client();
    struct cuda_jit_option options[VGPU_JIT_MAX_OPTIONS + 1] = {
        {.option = CU_JIT_MAX_REGISTERS, .value = 255}};

    assert_int_equal(load_options(client, options, 1, 0, "ptx"), CUDA_SUCCESS);
    options[0].value = 256;
    assert_int_equal(load_options(client, options, 1, 1, "ptx"), CUDA_ERROR_INVALID_VALUE);
    options[0].option = CU_JIT_INFO_LOG_BUFFER;
    assert_int_equal(load_options(client, options, 1, 1, "ptx"), CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i <= VGPU_JIT_MAX_OPTIONS; i++)
        options[i] = (struct cuda_jit_option){.option = CU_JIT_FMA};
    assert_int_equal(load_options(client, options, VGPU_JIT_MAX_OPTIONS, 1, "ptx"), CUDA_SUCCESS);
    send_load(client, options, VGPU_JIT_MAX_OPTIONS + 1, 2, "ptx");
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_memory_jit_log_comes_back(void **state)
{
    struct client *client = open_client();
    const struct client_reply *reply;
    struct cuda_re_module_load answer;

    assert_int_equal(load_options(client, NULL, 0, 0, "broken"), CUDA_ERROR_INVALID_PTX);
    reply = client_reply(client, client->seq);
    memcpy(&answer, reply->bytes, sizeof(answer));
    assert_int_equal(answer.error_log.size_bytes, strlen("line 1: broken"));
    assert_memory_equal(reply->bytes + answer.error_log.offset, "line 1: broken",
                        answer.error_log.size_bytes);
    /* The handle stayed free. */
    assert_int_equal(load_options(client, NULL, 0, 0, "ptx"), CUDA_SUCCESS);
    client_close(client);
}

static void put(uint8_t *bytes, uint64_t value, size_t size)
{
    memcpy(bytes, &value, size);
}

static size_t make_elf(uint8_t *elf)
{
    memset(elf, 0, 256);
    memcpy(elf, "\177ELF\2\1\1", 7);
    put(elf + 32, 64, 8);  /* program headers */
    put(elf + 40, 120, 8); /* section headers */
    put(elf + 52, 64, 2);
    put(elf + 54, 56, 2);
    put(elf + 56, 1, 2);
    put(elf + 58, 64, 2);
    put(elf + 60, 1, 2);
    put(elf + 62, 0, 2);
    put(elf + 64 + 8, 184, 8);   /* segment: offset */
    put(elf + 64 + 32, 16, 8);   /* bytes */
    put(elf + 120 + 24, 184, 8); /* section: offset */
    put(elf + 120 + 32, 16, 8);
    return 200;
}

static void test_memory_elf_stays_within_its_bytes(void **state)
{
    uint8_t elf[256];
    size_t size = make_elf(elf);

    assert_int_equal(image_check(elf, size), IMAGE_ELF);
    assert_int_equal(image_check(elf, size - 1), IMAGE_BAD);
    assert_int_equal(image_check(elf, 63), IMAGE_BAD);
    put(elf + 40, UINT64_MAX - 32, 8);
    assert_int_equal(image_check(elf, size), IMAGE_BAD);
    make_elf(elf);
    put(elf + 60, 3, 2);
    assert_int_equal(image_check(elf, size), IMAGE_BAD);
    make_elf(elf);
    put(elf + 64 + 32, UINT64_MAX, 8);
    assert_int_equal(image_check(elf, size), IMAGE_BAD);
    make_elf(elf);
    put(elf + 62, 1, 2);
    assert_int_equal(image_check(elf, size), IMAGE_BAD);
}

static void test_memory_fatbin_stays_within_its_bytes(void **state)
{
    uint8_t fatbin[256] = {0};

    put(fatbin, 0xba55ed50, 4);
    put(fatbin + 6, 16, 2);
    put(fatbin + 8, 64 + 32, 8);
    put(fatbin + 16 + 4, 64, 4);
    put(fatbin + 16 + 8, 32, 8);
    assert_int_equal(image_check(fatbin, 112), IMAGE_FATBIN);
    assert_int_equal(image_check(fatbin, 111), IMAGE_BAD);
    put(fatbin + 16 + 8, 33, 8);
    assert_int_equal(image_check(fatbin, 112), IMAGE_BAD);
    put(fatbin + 16 + 8, UINT64_MAX - 63, 8);
    assert_int_equal(image_check(fatbin, 112), IMAGE_BAD);
    put(fatbin + 8, UINT64_MAX, 8);
    assert_int_equal(image_check(fatbin, 112), IMAGE_BAD);
}

static void test_memory_fatbin_wrapper_is_refused(void **state)
{
    uint8_t wrapper[24] = {0};

    put(wrapper, 0x466243b1, 4);
    assert_int_equal(image_check(wrapper, sizeof(wrapper)), IMAGE_BAD);
}

static void test_memory_ledger(void **state)
{
    struct ledger ledger = {0};
    struct ledger_range range = {.address = 1000, .bytes = 100, .owner = state};
    struct ledger_range found;

    assert_int_equal(ledger_add(&ledger, &range), 0);
    assert_int_equal(ledger_add(&ledger, &range), -EEXIST);
    range = (struct ledger_range){.address = 1099, .bytes = 1};
    assert_int_equal(ledger_add(&ledger, &range), -EEXIST);
    range = (struct ledger_range){.address = 900, .bytes = 101};
    assert_int_equal(ledger_add(&ledger, &range), -EEXIST);
    range = (struct ledger_range){.address = 900, .bytes = 100};
    assert_int_equal(ledger_add(&ledger, &range), 0);
    range = (struct ledger_range){.address = UINT64_MAX, .bytes = 2};
    assert_int_equal(ledger_add(&ledger, &range), -EINVAL);
    assert_null(ledger_find(&ledger, 950, 51)); /* never across two */
    assert_non_null(ledger_find(&ledger, 1099, 1));
    assert_null(ledger_find(&ledger, 899, 1));
    assert_null(ledger_find(&ledger, 1000, UINT64_MAX));
    assert_false(ledger_remove(&ledger, 1000, RANGE_HOST, &found));
    assert_int_equal(ledger_remove_owner(&ledger, state), 512);
    assert_null(ledger_find(&ledger, 1000, 1));
    assert_true(ledger_remove(&ledger, 900, RANGE_ALLOCATION, &found));
    ledger_free(&ledger);
}

static void test_memory_geometry(void **state)
{
    const struct vgpu_channel_geometry good = {.sub_granules = 64,
                                               .comp_granules = 64,
                                               .sub_offset = 4096,
                                               .comp_offset = 8192,
                                               .data_offset = 12288,
                                               .data_bytes = 4096,
                                               .total_bytes = 16384};
    struct vgpu_channel_geometry bad[12];

    assert_int_equal(mapping_check_geometry(&good, NULL), 0);
    for (size_t i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].sub_granules = 65;
    bad[1].sub_granules = 1;
    bad[2].comp_granules = 131072;
    bad[3].sub_offset = 0;
    bad[4].sub_offset = 4097;
    bad[5].comp_offset = 4096 + 64;
    bad[6].data_offset = 8192;
    bad[7].data_bytes = 8192;
    bad[8].data_bytes = 100;
    bad[9].total_bytes = 16383;
    bad[10].comp_offset = UINT64_MAX - 63;
    bad[11].data_bytes = VGPU_DATA_MAX_BYTES + 4096;
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(mapping_check_geometry(&bad[i], NULL), -EINVAL);
}

/* Registered memory is the device's too: fills and copies of its addresses are cut as well. */
static void test_memory_fill_across_segments(void **state)
{
    const struct client_options options = {.data_bytes = 72u << 20};
    const uint64_t end = WORKER_CHUNK_BYTES;
    const uint64_t first_row = end - (20 * 2050 + 100); /* the 21st lies across the end */
    struct cuda_op_host_register lock = {.area = {.offset = end - 65536, .bytes = 131072}};
    struct cuda_op_fill fill = {.width = 5000, .height = 1, .element_bytes = 4, .value = 77777777};
    struct cuda_op_fill rows = {
        .pitch_bytes = 2050, .width = 101, .height = 31, .element_bytes = 2, .value = 0x5678};
    struct client *client;
    uint64_t address, seq;

    test_driver_reset();
    client = client_open(&options);
    address = data_area(client);
    assert_int_equal(client_call(client, CUDA_OP_HOST_REGISTER, &lock, sizeof(lock)), CUDA_SUCCESS);
    fill.target = address + end - 10000;
    assert_int_equal(client_call(client, CUDA_OP_FILL, &fill, sizeof(fill)), CUDA_SUCCESS);
    for (size_t i = 0; i < 5000; i++)
        assert_memory_equal(client->data + end - 10000 + i * 4, &fill.value, 4);
    rows.target = address + first_row;
    assert_int_equal(client_call(client, CUDA_OP_FILL, &rows, sizeof(rows)), CUDA_SUCCESS);
    for (size_t y = 0; y < 31; y++)
        for (size_t x = 0; x < 101; x++)
            assert_memory_equal(client->data + first_row + y * 2050 + x * 2, &rows.value, 2);
    seq = client_copy(client, VGPU_RECORD_WAIT, client_device(address + end - 60000),
                      client_device(address + end - 150), 300, 0);
    assert_int_equal(client_await(client, seq)->result, CUDA_SUCCESS);
    assert_memory_equal(client->data + end - 60000, client->data + end - 150, 300);
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_copies_stay_in_one_allocation),
        cmocka_unit_test(test_memory_addresses_of_the_worker_are_refused),
        cmocka_unit_test(test_memory_the_workers_own_device_memory_is_refused),
        cmocka_unit_test(test_memory_freed_is_refused),
        cmocka_unit_test(test_memory_free_inside_an_allocation_is_refused),
        cmocka_unit_test(test_memory_quota),
        cmocka_unit_test(test_memory_data_area_is_bounded),
        cmocka_unit_test(test_memory_strided_extents_do_not_wrap),
        cmocka_unit_test(test_memory_copy_3d),
        cmocka_unit_test(test_memory_copy_across_segments),
        cmocka_unit_test(test_memory_upload),
        cmocka_unit_test(test_memory_upload_of_more_ends_the_channel),
        cmocka_unit_test(test_memory_upload_elsewhere_is_refused),
        cmocka_unit_test(test_memory_fill_across_segments),
        cmocka_unit_test(test_memory_first_segment_is_locked_at_the_start),
        cmocka_unit_test(test_memory_fill),
        cmocka_unit_test(test_memory_registered_areas),
        cmocka_unit_test(test_memory_data_area_has_one_address),
        cmocka_unit_test(test_memory_data_area_has_two_addresses),
        cmocka_unit_test(test_memory_globals_go_with_their_module),
        cmocka_unit_test(test_memory_functions_go_with_their_module),
        cmocka_unit_test(test_memory_launch_parameters_must_fit),
        cmocka_unit_test(test_memory_functions_are_listed_in_parts),
        cmocka_unit_test(test_memory_functions_listed_are_bounded),
        cmocka_unit_test(test_memory_jit_options),
        cmocka_unit_test(test_memory_jit_log_comes_back),
        cmocka_unit_test(test_memory_elf_stays_within_its_bytes),
        cmocka_unit_test(test_memory_fatbin_stays_within_its_bytes),
        cmocka_unit_test(test_memory_fatbin_wrapper_is_refused),
        cmocka_unit_test(test_memory_ledger),
        cmocka_unit_test(test_memory_geometry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
