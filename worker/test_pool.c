/* SPDX-License-Identifier: Apache-2.0 */
/* Stream-ordered allocation: addresses, order, quota, lives of pools. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/test_client.h"
#include "worker/test_driver.h"

#define STREAM VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)
#define POOL   VGPU_HANDLE(CUDA_KIND_POOL, 1, 0)

static struct client *open_client(void)
{
    const struct client_options options = {0};

    test_driver_reset();
    return client_open(&options);
}

/* 0: it failed. */
static uint64_t pool_alloc(struct client *client, uint32_t stream, uint32_t pool, uint64_t bytes)
{
    struct cuda_op_pool_alloc op = {.bytes = bytes, .stream = stream, .pool = pool};
    struct cuda_re_pool_alloc answer;
    const struct client_reply *reply = client_await(
        client, client_send(client, CUDA_OP_POOL_ALLOC, VGPU_RECORD_WAIT, &op, sizeof(op)));

    if (reply->result != CUDA_SUCCESS)
        return 0;
    memcpy(&answer, reply->bytes, sizeof(answer));
    return answer.address;
}

static void pool_free(struct client *client, uint32_t stream, uint64_t address)
{
    struct cuda_op_pool_free op = {.address = address, .stream = stream};

    client_send(client, CUDA_OP_POOL_FREE, 0, &op, sizeof(op));
    client_run(client);
}

static CUresult pool_create(struct client *client, uint32_t pool)
{
    struct cuda_op_pool_create op = {.pool = pool};

    return client_call(client, CUDA_OP_POOL_CREATE, &op, sizeof(op));
}

static void pool_destroy(struct client *client, uint32_t pool)
{
    struct cuda_op_pool_destroy op = {.pool = pool};

    client_send(client, CUDA_OP_POOL_DESTROY, 0, &op, sizeof(op));
    client_run(client);
}

static CUresult sync_context(struct client *client)
{
    return (CUresult)client_await(client, client_sync_context(client))->result;
}

static CUresult copy_to(struct client *client, uint64_t address, uint64_t bytes, uint32_t stream)
{
    return (CUresult)client_await(client,
                                  client_copy(client, VGPU_RECORD_WAIT, client_device(address),
                                              client_data(0), bytes, stream))
        ->result;
}

static void test_pool_memory_is_in_the_ledger_until_freed(void **state)
{
    struct client *client = open_client();
    uint64_t address = pool_alloc(client, 0, 0, 4096);

    assert_int_not_equal(address, 0);
    assert_int_equal(copy_to(client, address, 4096, 0), CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address + 1, 4096, 0), CUDA_ERROR_INVALID_VALUE);
    pool_free(client, 0, address);
    assert_int_equal(copy_to(client, address, 8, 0), CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_pool_allocation_does_not_wait_for_the_stream(void **state)
{
    struct client *client = open_client();
    uint64_t first = pool_alloc(client, 0, 0, 4096);

    client_stream(client, STREAM);
    test_driver_hold();
    client_copy(client, 0, client_device(first), client_data(0), 64, STREAM);
    assert_int_not_equal(pool_alloc(client, STREAM, 0, 4096), 0);
    test_driver_release();
    client_close(client);
}

static void test_pool_free_comes_in_stream_order(void **state)
{
    struct client *client = open_client();
    size_t before = test_driver_allocations();
    uint64_t address = pool_alloc(client, 0, 0, 4096);

    client_stream(client, STREAM);
    test_driver_hold();
    client_copy(client, 0, client_device(address), client_data(0), 64, STREAM);
    pool_free(client, STREAM, address);
    assert_int_equal(test_driver_count("free-async"), 1);
    assert_int_equal(test_driver_allocations(), before + 1);
    test_driver_release();
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(test_driver_allocations(), before);
    client_close(client);
}

static void test_pool_freed_twice_is_told_later(void **state)
{
    struct client *client = open_client();
    uint64_t address = pool_alloc(client, 0, 0, 4096);

    pool_free(client, 0, address);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    pool_free(client, 0, address);
    assert_int_equal(sync_context(client), CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

static void test_pool_free_takes_no_plain_allocation(void **state)
{
    struct client *client = open_client();
    uint64_t plain = client_alloc(client, 4096);

    pool_free(client, 0, plain);
    assert_int_equal(sync_context(client), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(copy_to(client, plain, 64, 0), CUDA_SUCCESS);
    assert_int_equal(test_driver_count("free-async"), 0);
    client_close(client);
}

static void test_pool_memory_takes_a_plain_free(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_free op = {.address = pool_alloc(client, 0, 0, 4096)};

    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)), CUDA_SUCCESS);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    assert_int_equal(copy_to(client, op.address, 8, 0), CUDA_ERROR_INVALID_VALUE);
    client_close(client);
}

/* Nothing behind an unanswered host function may use what was freed; other streams go on. */
static void test_pool_free_behind_a_host_function_is_held(void **state)
{
    struct client *client = open_client();
    uint64_t address = pool_alloc(client, 0, 0, 4096);
    struct cuda_op_host_function function = {.stream = STREAM, .token = 7};
    struct cuda_op_host_function_done done = {.token = 7};
    struct cuda_op_stream_destroy destroy = {.stream = STREAM};
    size_t copies = test_driver_count("copy");
    uint64_t other;

    client_stream(client, STREAM);
    client_send(client, CUDA_OP_HOST_FUNCTION, 0, &function, sizeof(function));
    client_copy(client, 0, client_device(address), client_data(0), 64, STREAM);
    pool_free(client, STREAM, address);
    assert_int_equal(test_driver_count("free-async"), 0);
    /* Neither an allocation in the held stream nor work elsewhere waits. */
    other = pool_alloc(client, STREAM, 0, 4096);
    assert_int_not_equal(other, 0);
    client_send(client, CUDA_OP_STREAM_DESTROY, 0, &destroy, sizeof(destroy));
    client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &done, sizeof(done));
    client_run(client);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(test_driver_count("copy"), copies + 1);
    assert_int_equal(test_driver_count("free-async"), 1);
    client_close(client);
}

static void test_pool_memory_counts_until_it_is_released(void **state)
{
    struct client *client = open_client();
    struct cuda_op_pool_set_attribute op = {.attribute = CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                                            .value = 1 << 20};
    struct cuda_op_pool_trim trim = {.keep_bytes = 0};
    uint64_t address;

    assert_int_equal(client_call(client, CUDA_OP_POOL_SET_ATTRIBUTE, &op, sizeof(op)),
                     CUDA_SUCCESS);
    address = pool_alloc(client, 0, 0, 8192);
    assert_int_equal(client->report->memory_bytes, 8192);
    pool_free(client, 0, address);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 8192);
    assert_int_equal(client_call(client, CUDA_OP_POOL_TRIM, &trim, sizeof(trim)), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    client_close(client);
}

static void test_pool_without_a_threshold_is_trimmed_at_synchronisation(void **state)
{
    struct client *client = open_client();

    pool_free(client, 0, pool_alloc(client, 0, 0, 8192));
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    client_close(client);
}

static void test_pool_quota(void **state)
{
    struct client *client = open_client();
    struct cuda_op_pool_set_attribute op = {.attribute = CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                                            .value = UINT64_MAX};

    client_quota(client, 8192);
    assert_int_equal(client_call(client, CUDA_OP_POOL_SET_ATTRIBUTE, &op, sizeof(op)),
                     CUDA_SUCCESS);
    assert_int_equal(pool_alloc(client, 0, 0, 8193), 0);
    pool_free(client, 0, pool_alloc(client, 0, 0, 8192));
    /* The pool keeps all of the quota, and serves from it; a plain allocation finds none. */
    assert_int_equal(client_alloc(client, 512), 0);
    assert_int_not_equal(pool_alloc(client, 0, 0, 4096), 0);
    assert_int_not_equal(pool_alloc(client, 0, 0, 4096), 0);
    assert_int_equal(pool_alloc(client, 0, 0, 1), 0);
    client_close(client);
}

/* The driver takes more than was asked for: known only afterwards. */
static void test_pool_that_grows_over_the_quota_gives_back(void **state)
{
    struct client *client = open_client();

    client_quota(client, 8192);
    test_driver_pool_grain(1 << 20);
    assert_int_equal(pool_alloc(client, 0, 0, 512), 0);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    test_driver_pool_grain(512);
    assert_int_not_equal(pool_alloc(client, 0, 0, 512), 0);
    client_close(client);
}

static void test_pool_destroyed_lives_until_its_last_allocation(void **state)
{
    struct client *client = open_client();
    uint64_t address;

    assert_int_equal(pool_create(client, POOL), CUDA_SUCCESS);
    address = pool_alloc(client, 0, POOL, 4096);
    pool_destroy(client, POOL);
    assert_int_equal(pool_alloc(client, 0, POOL, 4096), 0);
    assert_int_equal(client->report->memory_bytes, 4096);
    assert_int_equal(copy_to(client, address, 4096, 0), CUDA_SUCCESS);
    pool_free(client, 0, address);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    assert_int_equal(pool_create(client, VGPU_HANDLE(CUDA_KIND_POOL, 2, 0)), CUDA_SUCCESS);
    client_close(client);
}

static void test_pool_handles_have_a_maximum(void **state)
{
    struct client *client = open_client();

    assert_int_equal(pool_create(client, VGPU_HANDLE(CUDA_KIND_POOL, 1, CUDA_MAX_POOLS - 1)),
                     CUDA_SUCCESS);
    {
        struct cuda_op_pool_create op = {.pool = VGPU_HANDLE(CUDA_KIND_POOL, 1, CUDA_MAX_POOLS)};

        client_send(client, CUDA_OP_POOL_CREATE, VGPU_RECORD_WAIT, &op, sizeof(op));
    }
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    client_close(client);
}

static void test_pool_memory_ends_with_its_context(void **state)
{
    struct client *client = open_client();
    uint32_t context = VGPU_HANDLE(CUDA_KIND_CONTEXT, 1, 1);
    struct cuda_op_context_create create = {.context = context};
    struct cuda_op_context_destroy destroy = {.context = context};
    uint64_t address;

    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_CREATE, &create, sizeof(create)),
                     CUDA_SUCCESS);
    client->context = context;
    address = pool_alloc(client, 0, 0, 4096);
    assert_int_not_equal(address, 0);
    client->context = CLIENT_CONTEXT;
    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_DESTROY, &destroy, sizeof(destroy)),
                     CUDA_SUCCESS);
    assert_int_equal(copy_to(client, address, 8, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(sync_context(client), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, 0);
    client_close(client);
}

static void test_pool_driver_without_pools_is_answered(void **state)
{
    struct client *client = open_client();
    struct cuda_op_pool_alloc op = {.bytes = 64};

    test_driver_without_pools(&client->driver);
    assert_int_equal(client_call(client, CUDA_OP_POOL_ALLOC, &op, sizeof(op)),
                     CUDA_ERROR_NOT_SUPPORTED);
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_memory_is_in_the_ledger_until_freed),
        cmocka_unit_test(test_pool_allocation_does_not_wait_for_the_stream),
        cmocka_unit_test(test_pool_free_comes_in_stream_order),
        cmocka_unit_test(test_pool_freed_twice_is_told_later),
        cmocka_unit_test(test_pool_free_takes_no_plain_allocation),
        cmocka_unit_test(test_pool_memory_takes_a_plain_free),
        cmocka_unit_test(test_pool_free_behind_a_host_function_is_held),
        cmocka_unit_test(test_pool_memory_counts_until_it_is_released),
        cmocka_unit_test(test_pool_without_a_threshold_is_trimmed_at_synchronisation),
        cmocka_unit_test(test_pool_quota),
        cmocka_unit_test(test_pool_that_grows_over_the_quota_gives_back),
        cmocka_unit_test(test_pool_destroyed_lives_until_its_last_allocation),
        cmocka_unit_test(test_pool_handles_have_a_maximum),
        cmocka_unit_test(test_pool_memory_ends_with_its_context),
        cmocka_unit_test(test_pool_driver_without_pools_is_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
