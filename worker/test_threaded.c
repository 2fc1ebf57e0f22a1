/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer in a thread of its own, asleep and woken by kicks, with helpers, a client and a
 * mediator beside it: nothing is lost. Meant for the thread sanitizer as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define ROUNDS 300

static struct client *open_client(void)
{
    const struct client_options options = {.threaded = true};
    struct client *client;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    return client;
}

static void test_threaded_launch_and_sync(void **state)
{
    struct client *client = open_client();

    for (int i = 0; i < ROUNDS; i++) {
        client_launch(client, KERNEL, VGPU_STREAM_PER_THREAD);
        assert_int_equal(
            client_await(client, client_sync_stream(client, VGPU_STREAM_PER_THREAD))->result,
            CUDA_SUCCESS);
    }
    client_close(client);
}

static void test_threaded_helpers(void **state)
{
    struct client *client = open_client();

    for (int i = 0; i < ROUNDS; i++) {
        struct cuda_op_memory_free op = {.address = client_alloc(client, 4096)};
        const uint32_t module = VGPU_HANDLE(CUDA_KIND_MODULE, 1 + i, 1);
        struct cuda_op_module_unload unload = {.module = module};
        uint64_t freed;

        client_copy(client, 0, client_device(op.address), client_data(0), 4096,
                    VGPU_STREAM_DEFAULT);
        freed = client_send(client, CUDA_OP_MEMORY_FREE, VGPU_RECORD_WAIT, &op, sizeof(op));
        assert_int_equal(client_module(client, module, "ptx"), CUDA_SUCCESS);
        assert_int_equal(client_call(client, CUDA_OP_MODULE_UNLOAD, &unload, sizeof(unload)),
                         CUDA_SUCCESS);
        assert_int_equal(client_await(client, freed)->result, CUDA_SUCCESS);
    }
    client_close(client);
}

static void test_threaded_turns(void **state)
{
    struct client *client = open_client();

    page_store_u32(&client->lease->contended, 1);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t sync;

        client_launch(client, KERNEL, VGPU_STREAM_DEFAULT);
        client_revoke(client);
        client_launch(client, KERNEL, VGPU_STREAM_PER_THREAD);
        sync = client_sync_context(client);
        while (page_load_u64(&client->report->turn_done) != client->lease->turn)
            client_run(client);
        client_grant(client);
        assert_int_equal(client_await(client, sync)->result, CUDA_SUCCESS);
    }
    while (page_load_u64(&client->report->jobs_done) != 2 * ROUNDS)
        client_run(client);
    client_close(client);
}

static bool called_back(struct client *client, uint64_t token)
{
    client_run(client);
    for (const struct client_reply *reply = client->replies; reply; reply = reply->next)
        if (reply->kind == VGPU_COMPLETION_CALLBACK && reply->seq == token)
            return true;
    return false;
}

static void test_threaded_host_functions(void **state)
{
    struct client *client = open_client();

    for (uint64_t token = 1; token <= 100; token++) {
        struct cuda_op_host_function op = {.stream = VGPU_STREAM_PER_THREAD, .token = token};
        struct cuda_op_host_function_done done = {.token = token};
        uint64_t sync;

        client_launch(client, KERNEL, VGPU_STREAM_PER_THREAD);
        client_send(client, CUDA_OP_HOST_FUNCTION, 0, &op, sizeof(op));
        client_launch(client, KERNEL, VGPU_STREAM_PER_THREAD);
        sync = client_sync_stream(client, VGPU_STREAM_PER_THREAD);
        while (!called_back(client, token))
            assert_null(client_reply(client, sync));
        client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &done, sizeof(done));
        assert_int_equal(client_await(client, sync)->result, CUDA_SUCCESS);
    }
    client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threaded_launch_and_sync),
        cmocka_unit_test(test_threaded_helpers),
        cmocka_unit_test(test_threaded_turns),
        cmocka_unit_test(test_threaded_host_functions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
