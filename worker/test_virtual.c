/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory management: what is reserved, mapped and accessible, and what it counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/test_client.h"
#include "worker/test_driver.h"

#define G         TEST_DRIVER_GRANULARITY
#define MEMORY(i) VGPU_HANDLE(CUDA_KIND_MEMORY, 1, i)
#define STREAM    VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)
#define ALL       CU_MEM_ACCESS_FLAGS_PROT_READWRITE

static struct client *open_client(void)
{
    const struct client_options options = {0};

    test_driver_reset();
    return client_open(&options);
}

static CUresult create(struct client *client, uint32_t memory, uint64_t bytes)
{
    struct cuda_op_memory_create op = {.memory = memory, .bytes = bytes};

    return client_call(client, CUDA_OP_MEMORY_CREATE, &op, sizeof(op));
}

static void release(struct client *client, uint32_t memory)
{
    struct cuda_op_memory_release op = {.memory = memory};

    client_send(client, CUDA_OP_MEMORY_RELEASE, 0, &op, sizeof(op));
    client_run(client);
}

static uint64_t reserve(struct client *client, uint64_t bytes)
{
    struct cuda_op_address_reserve op = {.bytes = bytes};
    struct cuda_re_address_reserve answer;
    const struct client_reply *reply = client_await(
        client, client_send(client, CUDA_OP_ADDRESS_RESERVE, VGPU_RECORD_WAIT, &op, sizeof(op)));

    assert_int_equal(reply->result, CUDA_SUCCESS);
    memcpy(&answer, reply->bytes, sizeof(answer));
    return answer.address;
}

static CUresult address_free(struct client *client, uint64_t address, uint64_t bytes)
{
    struct cuda_op_address_free op = {.address = address, .bytes = bytes};

    return client_call(client, CUDA_OP_ADDRESS_FREE, &op, sizeof(op));
}

static CUresult map(struct client *client, uint64_t address, uint64_t bytes, uint64_t offset,
                    uint32_t memory)
{
    struct cuda_op_memory_map op = {
        .address = address, .bytes = bytes, .offset = offset, .memory = memory};

    return client_call(client, CUDA_OP_MEMORY_MAP, &op, sizeof(op));
}

static CUresult unmap(struct client *client, uint64_t address, uint64_t bytes)
{
    struct cuda_op_memory_unmap op = {.address = address, .bytes = bytes};

    return client_call(client, CUDA_OP_MEMORY_UNMAP, &op, sizeof(op));
}

static CUresult set_access(struct client *client, uint64_t address, uint64_t bytes, uint32_t flags)
{
    struct cuda_op_memory_set_access op = {.address = address, .bytes = bytes, .flags = flags};

    return client_call(client, CUDA_OP_MEMORY_SET_ACCESS, &op, sizeof(op));
}

static CUresult copy_to(struct client *client, uint64_t address, uint64_t bytes)
{
    uint64_t seq = client_copy(client, VGPU_RECORD_WAIT, client_device(address), client_data(0),
                               bytes, VGPU_STREAM_DEFAULT);

    return (CUresult)client_await(client, seq)->result;
}

/* A reservation of four grains; the first two are mapped. */
static uint64_t open_mapped(struct client *client)
{
    uint64_t address = reserve(client, 4 * G);

    assert_int_equal(create(client, MEMORY(0), G), CUDA_SUCCESS);
    assert_int_equal(create(client, MEMORY(1), G), CUDA_SUCCESS);
    assert_int_equal(map(client, address, G, 0, MEMORY(0)), CUDA_SUCCESS);
    assert_int_equal(map(client, address + G, G, 0, MEMORY(1)), CUDA_SUCCESS);
    return address;
}

static void test_virtual_only_accessible_mappings_are_in_the_ledger(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);

    assert_int_equal(copy_to(client, address, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set_access(client, address, 2 * G, ALL), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address, 2 * G), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address + G - 4, 8), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address + 2 * G - 4, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_to(client, address - 4, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set_access(client, address, G, 0), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_to(client, address + G - 4, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_to(client, address + G, 8), CUDA_SUCCESS);
    client_close(client);
}

static void test_virtual_unmapped_is_refused(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);

    assert_int_equal(set_access(client, address, 2 * G, ALL), CUDA_SUCCESS);
    assert_int_equal(unmap(client, address, 2 * G), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_to(client, address + G, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set_access(client, address, G, ALL), CUDA_ERROR_INVALID_VALUE);
    /* Mapped again, it has no access. */
    assert_int_equal(map(client, address, G, 0, MEMORY(0)), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address, 8), CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_virtual_parts_of_mappings_are_refused(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);

    assert_int_equal(unmap(client, address, G / 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(unmap(client, address + G / 2, G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(unmap(client, address, 3 * G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(unmap(client, address, UINT64_MAX), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(set_access(client, address, 3 * G, ALL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(test_driver_count("unmap"), 0);
    assert_int_equal(test_driver_count("access"), 0);
    client_close(client);
}

static void test_virtual_maps_stay_in_reservation_and_memory(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);
    uint64_t plain = client_alloc(client, 4 * G);

    assert_int_equal(create(client, MEMORY(2), 2 * G), CUDA_SUCCESS);
    assert_int_equal(map(client, address + 3 * G, 2 * G, 0, MEMORY(2)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(map(client, address + 4 * G, 2 * G, 0, MEMORY(2)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(map(client, address + 2 * G, 2 * G, 0, MEMORY(0)), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(map(client, address + 2 * G, G, 0, MEMORY(2)), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(map(client, address + 2 * G, G, G, MEMORY(2)), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(map(client, address + 2 * G, G, UINT64_MAX, MEMORY(0)),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(map(client, address + G, G, 0, MEMORY(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(map(client, plain, G, 0, MEMORY(0)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(map(client, (uintptr_t)client->channel, G, 0, MEMORY(0)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(map(client, address + 2 * G, G, 0, MEMORY(7)), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(test_driver_count("map"), 2);
    client_close(client);
}

static void test_virtual_reservations_are_freed_whole_and_empty(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);

    assert_int_equal(address_free(client, address, 4 * G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(unmap(client, address, 2 * G), CUDA_SUCCESS);
    assert_int_equal(address_free(client, address, G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(address_free(client, address + G, 3 * G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(address_free(client, address, 4 * G), CUDA_SUCCESS);
    assert_int_equal(address_free(client, address, 4 * G), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(test_driver_count("address-free"), 1);
    client_close(client);
}

static void test_virtual_memory_counts_until_released_and_unmapped(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);

    assert_int_equal(client->report->memory_bytes, 2 * G);
    release(client, MEMORY(0));
    assert_int_equal(client->report->memory_bytes, 2 * G);
    assert_int_equal(unmap(client, address, G), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, G);
    assert_int_equal(unmap(client, address + G, G), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, G);
    release(client, MEMORY(1));
    assert_int_equal(client->report->memory_bytes, 0);
    client_close(client);
}

static void test_virtual_quota(void **state)
{
    struct client *client = open_client();

    client_quota(client, 2 * G);
    assert_int_equal(create(client, MEMORY(0), 3 * G), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(create(client, MEMORY(0), G), CUDA_SUCCESS);
    assert_int_equal(create(client, MEMORY(1), 2 * G), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(create(client, MEMORY(1), G), CUDA_SUCCESS);
    assert_int_equal(client_alloc(client, 1), 0);
    client_close(client);
}

static void test_virtual_refused_map_leaves_the_addresses_free(void **state)
{
    struct client *client = open_client();
    uint64_t address = reserve(client, G);

    assert_int_equal(create(client, MEMORY(0), G), CUDA_SUCCESS);
    test_driver_refuse(CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(map(client, address, G, 0, MEMORY(0)), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(map(client, address, G, 0, MEMORY(0)), CUDA_SUCCESS);
    client_close(client);
}

static void test_virtual_unmap_waits_for_work_that_is_in_flight(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);
    struct cuda_op_memory_unmap op = {.address = address, .bytes = G};
    uint64_t seq;

    assert_int_equal(set_access(client, address, G, ALL), CUDA_SUCCESS);
    test_driver_hold();
    client_copy(client, 0, client_device(address), client_data(0), 64, VGPU_STREAM_DEFAULT);
    seq = client_send(client, CUDA_OP_MEMORY_UNMAP, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_run(client);
    assert_int_equal(test_driver_count("unmap"), 0);
    assert_null(client_reply(client, seq));
    test_driver_release();
    assert_int_equal(client_await(client, seq)->result, CUDA_SUCCESS);
    client_close(client);
}

/* What is held was proved: the addresses stay until it has gone, but for nothing new. */
static void test_virtual_unmap_stays_behind_what_is_held(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);
    struct cuda_op_host_function function = {.stream = STREAM, .token = 7};
    struct cuda_op_host_function_done done = {.token = 7};
    struct cuda_op_memory_unmap op = {.address = address, .bytes = G};
    size_t copies;
    uint64_t seq;

    assert_int_equal(set_access(client, address, G, ALL), CUDA_SUCCESS);
    client_stream(client, STREAM);
    copies = test_driver_count("copy");
    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &function, sizeof(function));
    client_copy(client, 0, client_device(address), client_data(0), 64, STREAM);
    seq = client_send(client, CUDA_OP_MEMORY_UNMAP, VGPU_RECORD_WAIT, &op, sizeof(op));
    client_copy(client, 0, client_device(address), client_data(0), 64, STREAM);
    client_run(client);
    assert_int_equal(test_driver_count("unmap"), 0);
    client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &done, sizeof(done));
    assert_int_equal(client_await(client, seq)->result, CUDA_SUCCESS);
    assert_int_equal(test_driver_count("copy"), copies + 1);
    assert_int_equal(client_await(client, client_sync_context(client))->result,
                     CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_virtual_everything_ends_with_the_primary_context(void **state)
{
    struct client *client = open_client();
    uint64_t address = open_mapped(client);
    struct cuda_op_context_release op = {.context = CLIENT_CONTEXT};

    assert_int_equal(set_access(client, address, 2 * G, ALL), CUDA_SUCCESS);
    release(client, MEMORY(1));
    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_RELEASE, &op, sizeof(op)), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    assert_int_equal(test_driver_memories(), 0);
    assert_int_equal(test_driver_count("unmap"), 2);
    assert_int_equal(test_driver_count("address-free"), 1);
    assert_int_equal(client_retain(client, VGPU_HANDLE(CUDA_KIND_CONTEXT, 2, 0)), CUDA_SUCCESS);
    client->context = VGPU_HANDLE(CUDA_KIND_CONTEXT, 2, 0);
    assert_int_equal(copy_to(client, address, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(create(client, VGPU_HANDLE(CUDA_KIND_MEMORY, 2, 0), G), CUDA_SUCCESS);
    client_close(client);
}

static void test_virtual_unknown_access_is_malformed(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_set_access op = {.address = open_mapped(client), .bytes = G, .flags = 2};

    client_send(client, CUDA_OP_MEMORY_SET_ACCESS, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtual_only_accessible_mappings_are_in_the_ledger),
        cmocka_unit_test(test_virtual_unmapped_is_refused),
        cmocka_unit_test(test_virtual_parts_of_mappings_are_refused),
        cmocka_unit_test(test_virtual_maps_stay_in_reservation_and_memory),
        cmocka_unit_test(test_virtual_reservations_are_freed_whole_and_empty),
        cmocka_unit_test(test_virtual_memory_counts_until_released_and_unmapped),
        cmocka_unit_test(test_virtual_quota),
        cmocka_unit_test(test_virtual_refused_map_leaves_the_addresses_free),
        cmocka_unit_test(test_virtual_unmap_waits_for_work_that_is_in_flight),
        cmocka_unit_test(test_virtual_unmap_stays_behind_what_is_held),
        cmocka_unit_test(test_virtual_everything_ends_with_the_primary_context),
        cmocka_unit_test(test_virtual_unknown_access_is_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
