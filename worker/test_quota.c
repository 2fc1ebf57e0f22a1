/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The quota of device memory: each path at limit - 1, limit and limit + 1 bytes, what asks and
 * answers do, and a random walk over all paths beside a model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/graph_wire.h"
#include "ring/pages.h"
#include "worker/image.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define GRAIN   ((uint64_t)VGPU_ALLOCATION_GRAIN)
#define STREAM  VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)
#define POOL    VGPU_HANDLE(CUDA_KIND_POOL, 1, 0)
#define MEMORY  VGPU_HANDLE(CUDA_KIND_MEMORY, 1, 0)
#define MODULE  VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL  VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define GRAPH   VGPU_HANDLE(CUDA_KIND_GRAPH, 1, 0)
#define CONTEXT VGPU_HANDLE(CUDA_KIND_CONTEXT, 1, 1)

/* Of the driver double: attribute n has the value n. */
#define THREADS                                                                                    \
    ((uint64_t)CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT *                                          \
     CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)

static const char ptx[] =
    ".version 7.0\n.target sm_70\n.visible .global .align 4 .f32 table[1000];\n";

/* 4000 of variables and the text, in whole grains. */
#define PTX_BYTES 4096

static struct client *open_client(void)
{
    const struct client_options options = {0};

    test_driver_reset();
    return client_open(&options);
}

static uint64_t held(const struct client *client)
{
    const struct vgpu_report_page *report = client->report;

    return report->memory_bytes + report->memory_context_bytes + report->memory_module_bytes +
           report->memory_graph_bytes;
}

/* The paths, each with what it takes in the ledger. */

static CUresult take_plain(struct client *client, uint64_t bytes)
{
    return client_alloc(client, bytes) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* Rows of the double's pitch, which is only known when the driver has answered. */
static CUresult take_pitch(struct client *client, uint64_t bytes)
{
    struct cuda_op_memory_alloc_pitch op = {
        .width_bytes = 16, .height = bytes / GRAIN, .element_bytes = 4};

    return client_call(client, CUDA_OP_MEMORY_ALLOC_PITCH, &op, sizeof(op));
}

static CUresult take_virtual(struct client *client, uint64_t bytes)
{
    struct cuda_op_memory_create op = {.memory = MEMORY, .bytes = bytes};

    return client_call(client, CUDA_OP_MEMORY_CREATE, &op, sizeof(op));
}

static CUresult take_pool(struct client *client, uint64_t bytes)
{
    struct cuda_op_pool_alloc op = {.bytes = bytes};

    return client_call(client, CUDA_OP_POOL_ALLOC, &op, sizeof(op));
}

static CUresult take_own_pool(struct client *client, uint64_t bytes)
{
    struct cuda_op_pool_create create = {.pool = POOL};
    struct cuda_op_pool_alloc op = {.bytes = bytes, .pool = POOL};

    assert_int_equal(client_call(client, CUDA_OP_POOL_CREATE, &create, sizeof(create)),
                     CUDA_SUCCESS);
    return client_call(client, CUDA_OP_POOL_ALLOC, &op, sizeof(op));
}

static CUresult take_module(struct client *client, uint64_t bytes)
{
    (void)bytes;
    return client_module(client, MODULE, ptx);
}

static CUresult take_graph(struct client *client, uint64_t bytes)
{
    _Alignas(8) uint8_t record[sizeof(struct cuda_op_graph_create) + 64] = {0};
    struct cuda_op_graph_create *op = (struct cuda_op_graph_create *)(void *)record;
    const struct vgpu_graph_node empty = {
        .size_bytes = sizeof(empty), .type = VGPU_GRAPH_NODE_EMPTY, .enabled = 1};
    size_t size = sizeof(*op);

    (void)bytes;
    op->graph = GRAPH;
    op->nodes = client_blob(op, &size, &empty, sizeof(empty));
    return client_call(client, CUDA_OP_GRAPH_CREATE, op, size);
}

static CUresult set_limit(struct client *client, uint32_t limit, uint64_t value)
{
    struct cuda_op_context_set_limit op = {.limit = limit, .value = value};

    return client_call(client, CUDA_OP_CONTEXT_SET_LIMIT, &op, sizeof(op));
}

static CUresult take_stack(struct client *client, uint64_t bytes)
{
    return set_limit(client, CU_LIMIT_STACK_SIZE, 1024 + bytes / THREADS);
}

static CUresult take_printf(struct client *client, uint64_t bytes)
{
    return set_limit(client, CU_LIMIT_PRINTF_FIFO_SIZE, bytes);
}

static CUresult take_heap(struct client *client, uint64_t bytes)
{
    return set_limit(client, CU_LIMIT_MALLOC_HEAP_SIZE, bytes);
}

static CUresult take_context(struct client *client, uint64_t bytes)
{
    struct cuda_op_context_create op = {.context = CONTEXT};

    client->channel->quota.context_bytes = bytes;
    return client_call(client, CUDA_OP_CONTEXT_CREATE, &op, sizeof(op));
}

struct path {
    const char *name;
    CUresult (*take)(struct client *client, uint64_t bytes);
    uint64_t bytes; /* taken, and what that counts as */
};

static const struct path paths[] = {
    {"plain", take_plain, 64 * GRAIN},
    {"pitch", take_pitch, 64 * GRAIN},
    {"virtual", take_virtual, TEST_DRIVER_GRANULARITY},
    {"pool", take_pool, 64 * GRAIN},
    {"own pool", take_own_pool, 64 * GRAIN},
    {"module", take_module, PTX_BYTES},
    {"graph", take_graph, WORKER_GRAPH_BYTES + WORKER_GRAPH_NODE_BYTES},
    {"stack", take_stack, 512 * THREADS},
    {"printf", take_printf, 3 << 20},
    {"heap", take_heap, 9 << 20},
    {"context", take_context, 5 << 20},
};

#define PATHS (sizeof(paths) / sizeof(paths[0]))

/* With that quota: the path is open or not, and what is refused leaves nothing behind. */
static void try_path(const struct path *path, uint64_t quota, bool open)
{
    struct client *client = open_client();
    size_t allocations = test_driver_allocations(), memories = test_driver_memories();
    CUresult result;

    client_quota(client, quota);
    result = path->take(client, path->bytes);
    client_run(client);
    if (result != (open ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY))
        fail_msg("%s with a quota of %llu: %d", path->name, (unsigned long long)quota, result);
    if (held(client) != (open ? path->bytes : 0))
        fail_msg("%s with a quota of %llu: %llu held", path->name, (unsigned long long)quota,
                 (unsigned long long)held(client));
    if (!open) {
        assert_int_equal(test_driver_allocations(), allocations);
        assert_int_equal(test_driver_memories(), memories);
        /* All of the quota is there still. */
        assert_int_not_equal(client_alloc(client, quota / GRAIN * GRAIN), 0);
    }
    client_close(client);
}

static void test_quota_each_path_at_the_limit(void **state)
{
    for (size_t i = 0; i < PATHS; i++) {
        try_path(&paths[i], paths[i].bytes - 1, false);
        try_path(&paths[i], paths[i].bytes, true);
        try_path(&paths[i], paths[i].bytes + 1, true);
    }
}

/* The same where the quota allows it, and the VM has that much left, or a byte less. */
static void test_quota_each_path_at_what_the_vm_has_left(void **state)
{
    for (size_t i = 0; i < PATHS; i++)
        for (int less = 0; less < 2; less++) {
            struct client *client = open_client();

            client_quota(client, UINT64_C(1) << 40);
            client->lendable = paths[i].bytes - (unsigned)less;
            if (paths[i].take(client, paths[i].bytes) !=
                (less ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS))
                fail_msg("%s, %d less", paths[i].name, less);
            client_run(client);
            assert_int_equal(held(client), less ? 0 : paths[i].bytes);
            client_close(client);
        }
}

static void test_quota_none_asks_nobody(void **state)
{
    for (size_t i = 0; i < PATHS; i++) {
        struct client *client = open_client();

        client->silent = true;
        assert_int_equal(paths[i].take(client, paths[i].bytes), CUDA_SUCCESS);
        assert_int_equal(client->report->memory_ask, 0);
        client_close(client);
    }
}

static void test_quota_within_the_grant_asks_nobody(void **state)
{
    struct client *client = open_client();

    client_quota(client, 1 << 20);
    client_grant_memory(client, 64 << 10);
    client->silent = true;
    assert_int_not_equal(client_alloc(client, 64 << 10), 0);
    assert_int_equal(client->report->memory_ask, 0);
    client_close(client);
}

static void test_quota_small_allocations_count_as_whole_grains(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_free op;

    client_quota(client, 2 * GRAIN);
    op.address = client_alloc(client, 1);
    assert_int_not_equal(op.address, 0);
    assert_int_equal(client->report->memory_bytes, GRAIN);
    assert_int_equal(client_alloc(client, GRAIN + 1), 0);
    assert_int_not_equal(client_alloc(client, GRAIN), 0);
    assert_int_equal(client_alloc(client, 1), 0);
    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, GRAIN);
    client_close(client);
}

/* What a context owns goes with it. */
static void test_quota_charges_end_with_what_they_are_for(void **state)
{
    struct client *client = open_client();
    struct cuda_op_graph_destroy graph = {.graph = GRAPH};
    struct cuda_op_module_unload module = {.module = MODULE};
    struct cuda_op_context_reset reset = {.context = CLIENT_CONTEXT};

    assert_int_equal(take_module(client, 0), CUDA_SUCCESS);
    assert_int_equal(take_graph(client, 0), CUDA_SUCCESS);
    assert_int_equal(client_call(client, CUDA_OP_MODULE_UNLOAD, &module, sizeof(module)),
                     CUDA_SUCCESS);
    assert_int_equal(client->report->memory_module_bytes, 0);
    client_send(client, CUDA_OP_GRAPH_DESTROY, 0, &graph, sizeof(graph));
    client_run(client);
    assert_int_equal(held(client), 0);

    assert_int_equal(client_module(client, VGPU_HANDLE(CUDA_KIND_MODULE, 2, 0), ptx), CUDA_SUCCESS);
    assert_int_equal(take_heap(client, 9 << 20), CUDA_SUCCESS);
    assert_int_not_equal(client_alloc(client, 4096), 0);
    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_RESET, &reset, sizeof(reset)),
                     CUDA_SUCCESS);
    assert_int_equal(held(client), 0);
    client_close(client);
}

static void test_quota_a_limit_set_twice_counts_once(void **state)
{
    struct client *client = open_client();

    assert_int_equal(take_heap(client, 9 << 20), CUDA_SUCCESS);
    assert_int_equal(take_heap(client, 9 << 20), CUDA_SUCCESS);
    assert_int_equal(take_heap(client, 4 << 20), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_context_bytes, 9 << 20);
    assert_int_equal(take_heap(client, 10 << 20), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_context_bytes, 10 << 20);
    client_close(client);
}

static CUresult function_attribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    *value = attribute == CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES ? 3072 : 1;
    return CUDA_SUCCESS;
}

static void spill(struct cuda_driver *driver)
{
    driver->cuFuncGetAttribute = function_attribute;
}

/* The driver makes room for all threads of the device when such a function runs. */
static void test_quota_functions_that_spill(void **state)
{
    const struct client_options options = {.change_driver = spill};
    struct client *client;

    test_driver_reset();
    client = client_open(&options);
    assert_int_equal(take_module(client, 0), CUDA_SUCCESS);
    client_quota(client, PTX_BYTES + 2048 * THREADS - 1);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(client->report->memory_context_bytes, 0);
    client_quota(client, PTX_BYTES + 2048 * THREADS);
    assert_int_equal(client_function(client, MODULE, KERNEL, "kernel"), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_context_bytes, 2048 * THREADS);
    /* A second one finds it there. */
    assert_int_equal(client_function(client, MODULE, KERNEL + 1, "other"), CUDA_SUCCESS);
    client_close(client);
}

/* asks */

static uint64_t send_alloc(struct client *client, uint64_t bytes)
{
    struct cuda_op_memory_alloc op = {.bytes = bytes};

    return client_send(client, CUDA_OP_MEMORY_ALLOC, VGPU_RECORD_WAIT, &op, sizeof(op));
}

/* Asks as the worker says them. */
static void answer(struct client *client, bool granted)
{
    client->silent = false;
    client->lendable = granted ? client->report->memory_wanted_bytes : 0;
    client_run(client);
    client->silent = true;
}

static void test_quota_a_call_that_asks_holds_up_nobody(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 4096);
    uint64_t seq;

    client_quota(client, 1 << 20);
    client_grant_memory(client, 4096);
    client->silent = true;
    seq = send_alloc(client, 4096);
    client_run(client);
    assert_null(client_reply(client, seq));
    assert_int_equal(client->report->memory_wanted_bytes, 8192);
    client_copy(client, 0, client_device(address), client_data(0), 64, 0);
    assert_int_equal(client_await(client, client_sync_context(client))->result, CUDA_SUCCESS);
    assert_null(client_reply(client, seq));
    assert_int_equal(client->report->memory_done, 0);
    answer(client, true);
    assert_int_equal(client_await(client, seq)->result, CUDA_SUCCESS);
    assert_int_equal(client->report->memory_done, 1);
    assert_int_equal(client->report->memory_bytes, 8192);
    client_close(client);
}

static void test_quota_asks_are_answered_one_by_one(void **state)
{
    struct client *client = open_client();
    uint64_t first, second;

    client_quota(client, 1 << 20);
    client->silent = true;
    first = send_alloc(client, 4096);
    second = send_alloc(client, 2048);
    client_run(client);
    assert_int_equal(client->report->memory_ask, 1);
    page_store_u64(&client->lease->memory_answer, 1 << 1);
    client_run(client);
    assert_int_equal(client_await(client, first)->result, CUDA_ERROR_OUT_OF_MEMORY);
    assert_null(client_reply(client, second));
    assert_int_equal(client->report->memory_ask, 2);
    assert_int_equal(client->report->memory_wanted_bytes, 2048);
    answer(client, true);
    assert_int_equal(client_await(client, second)->result, CUDA_SUCCESS);
    client_close(client);
}

/* Whoever comes first may take what another was granted: that one asks again, and is not lost. */
static void test_quota_what_was_granted_and_taken_is_asked_for_again(void **state)
{
    struct client *client = open_client();
    uint64_t first, second;

    client_quota(client, 1 << 20);
    client->silent = true;
    first = send_alloc(client, 4096);
    client_run(client);
    client_grant_memory(client, 4096);
    second = send_alloc(client, 4096);
    client_run(client);
    assert_int_equal(client_await(client, second)->result, CUDA_SUCCESS);
    page_store_u64(&client->lease->memory_answer, 1 << 1 | 1);
    client_run(client);
    assert_null(client_reply(client, first));
    assert_int_equal(client->report->memory_wanted_bytes, 8192);
    answer(client, true);
    assert_int_equal(client_await(client, first)->result, CUDA_SUCCESS);
    client_close(client);
}

static void test_quota_parked_calls_lose_what_they_name(void **state)
{
    struct client *client = open_client();
    struct cuda_op_pool_create create = {.pool = POOL};
    struct cuda_op_pool_alloc alloc = {.bytes = 4096, .stream = STREAM, .pool = POOL};
    struct cuda_op_stream_destroy destroy = {.stream = STREAM};
    struct cuda_op_pool_destroy end = {.pool = POOL};
    uint64_t seq[2];

    client_quota(client, 1 << 20);
    client_stream(client, STREAM);
    assert_int_equal(client_call(client, CUDA_OP_POOL_CREATE, &create, sizeof(create)),
                     CUDA_SUCCESS);
    client->silent = true;
    seq[0] = client_send(client, CUDA_OP_POOL_ALLOC, VGPU_RECORD_WAIT, &alloc, sizeof(alloc));
    alloc.stream = 0;
    seq[1] = client_send(client, CUDA_OP_POOL_ALLOC, VGPU_RECORD_WAIT, &alloc, sizeof(alloc));
    client_send(client, CUDA_OP_STREAM_DESTROY, 0, &destroy, sizeof(destroy));
    client_run(client);
    page_store_u64(&client->lease->memory_answer, 1 << 1 | 1);
    client_run(client);
    assert_int_equal(client_await(client, seq[0])->result, CUDA_ERROR_INVALID_HANDLE);
    client_send(client, CUDA_OP_POOL_DESTROY, 0, &end, sizeof(end));
    client_run(client);
    answer(client, true);
    assert_int_equal(client_await(client, seq[1])->result, CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(held(client), 0);
    client_close(client);
}

static void test_quota_a_context_waits_for_its_parked_calls(void **state)
{
    struct client *client = open_client();
    struct cuda_op_context_create create = {.context = CONTEXT};
    struct cuda_op_context_destroy destroy = {.context = CONTEXT};
    uint64_t seq, end;

    assert_int_equal(client_call(client, CUDA_OP_CONTEXT_CREATE, &create, sizeof(create)),
                     CUDA_SUCCESS);
    client_quota(client, 1 << 20);
    client->silent = true;
    client->context = CONTEXT;
    seq = send_alloc(client, 4096);
    client->context = CLIENT_CONTEXT;
    end = client_send(client, CUDA_OP_CONTEXT_DESTROY, VGPU_RECORD_WAIT, &destroy, sizeof(destroy));
    client_run(client);
    assert_null(client_reply(client, end));
    answer(client, true);
    assert_int_equal(client_await(client, seq)->result, CUDA_SUCCESS);
    assert_int_equal(client_await(client, end)->result, CUDA_SUCCESS);
    assert_int_equal(held(client), 0);
    client_close(client);
}

static void test_quota_channel_ends_with_calls_parked(void **state)
{
    struct client *client = open_client();

    client_quota(client, 1 << 20);
    client->silent = true;
    send_alloc(client, 4096);
    assert_int_equal(client_module(client, MODULE, ""), CUDA_ERROR_INVALID_IMAGE);
    client_run(client);
    client_close(client); /* the sanitizer sees what is not freed */
}

/* What the mediator counts on when it takes a grant back. */
static void test_quota_bound_follows_the_grant_and_what_is_held(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_free op;

    client_quota(client, 1 << 20);
    client_grant_memory(client, 64 << 10);
    client_run(client);
    assert_int_equal(client->report->memory_bound_bytes, 64 << 10);
    assert_int_equal(client->report->memory_seen, client->lease->memory_change);
    op.address = client_alloc(client, 32 << 10);
    client_grant_memory(client, 8 << 10);
    client_run(client);
    assert_int_equal(client->report->memory_bound_bytes, 32 << 10);
    assert_int_equal(client->report->memory_seen, client->lease->memory_change);
    client->lendable = 0;
    assert_int_equal(client_alloc(client, GRAIN), 0);
    assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &op, sizeof(op)), CUDA_SUCCESS);
    client_run(client);
    assert_int_equal(client->report->memory_bound_bytes, 8 << 10);
    client_close(client);
}

/* Lowered below what is held: nothing new, and nothing is lost. */
static void test_quota_lowered_below_what_is_held(void **state)
{
    struct client *client = open_client();
    uint64_t address = client_alloc(client, 64 << 10);

    client_quota(client, 32 << 10);
    assert_int_equal(client_alloc(client, 1), 0);
    assert_int_equal(
        client_await(client, client_copy(client, VGPU_RECORD_WAIT, client_device(address),
                                         client_data(0), 4096, 0))
            ->result,
        CUDA_SUCCESS);
    client_quota(client, 0);
    assert_int_not_equal(client_alloc(client, 1), 0);
    client_close(client);
}

static void test_quota_is_what_the_guest_sees(void **state)
{
    struct client *client = open_client();
    struct cuda_op_memory_info op = {0};
    struct cuda_re_memory_info info;

    client_quota(client, 1 << 20);
    client->lendable = 512 << 10; /* the rest is with another process */
    client_alloc(client, 64 << 10);
    memcpy(&info,
           client_await(client,
                        client_send(client, CUDA_OP_MEMORY_INFO, VGPU_RECORD_WAIT, &op, sizeof(op)))
               ->bytes,
           sizeof(info));
    assert_int_equal(info.total_bytes, 1 << 20);
    assert_int_equal(info.free_bytes, 448 << 10);
    client_close(client);
}

static void test_quota_spare_memory_of_pools_is_told(void **state)
{
    struct client *client = open_client();
    struct cuda_op_pool_set_attribute keep = {.attribute = CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                                              .value = UINT64_MAX};
    struct cuda_op_pool_alloc op = {.bytes = 8192};
    struct cuda_op_pool_free end = {0};
    struct cuda_op_pool_trim trim = {.keep_bytes = 4096};
    struct cuda_re_pool_alloc got;

    assert_int_equal(client_call(client, CUDA_OP_POOL_SET_ATTRIBUTE, &keep, sizeof(keep)),
                     CUDA_SUCCESS);
    memcpy(&got,
           client_await(client,
                        client_send(client, CUDA_OP_POOL_ALLOC, VGPU_RECORD_WAIT, &op, sizeof(op)))
               ->bytes,
           sizeof(got));
    assert_int_equal(client->report->memory_spare_bytes, 0);
    end.address = got.address;
    client_send(client, CUDA_OP_POOL_FREE, 0, &end, sizeof(end));
    client_run(client);
    assert_int_equal(client->report->memory_spare_bytes, 8192);
    assert_int_equal(client->report->memory_bytes, 8192);
    assert_int_equal(client_call(client, CUDA_OP_POOL_TRIM, &trim, sizeof(trim)), CUDA_SUCCESS);
    assert_int_equal(client->report->memory_bytes, client->report->memory_spare_bytes);
    client_close(client);
}

/* Images */

static uint64_t variables(const char *text)
{
    return image_ptx_variables(text, strlen(text));
}

static void test_quota_variables_of_a_text(void **state)
{
    assert_int_equal(variables(""), 0);
    assert_int_equal(variables(".global .u32 a;"), 4);
    assert_int_equal(variables(".visible .global .align 16 .v4 .f32 a[3][5], b;"), 256);
    assert_int_equal(variables(".const .b8 a[0x40000000];"), 1 << 30);
    assert_int_equal(variables("// .global\n.global/**/.f64 a [ 2 ] = {1.0, 2.0};\n"
                               ".global .b8 s[3] = {1, 2, 3};"),
                     19);
    assert_int_equal(variables("ld.global.u32 %r1, [%rd1]; st.const.u8 [a], 1; .globalx .u32 b;"),
                     0);
    assert_int_equal(variables(".global .b8 a[99999999999999999999][99999999999999];"), UINT64_C(1)
                                                                                            << 50);
    assert_int_equal(variables(".global .b8 a["), 1);
    assert_int_equal(variables(".global"), 0);
    assert_int_equal(variables(".global .b8 /* never closed"), 0);
}

static void put(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

/* An ELF of two sections and their names: code of 700 bytes, and so many of variables or shared. */
static size_t make_elf(uint8_t *elf, const char *name, uint64_t bytes)
{
    uint8_t *sections = elf + 2048;

    memset(elf, 0, 4096);
    memcpy(elf, "\177ELF\2\1", 6);
    put(elf + 40, 2048, 8);
    put(elf + 52, 64, 2);
    put(elf + 58, 64, 2);
    put(elf + 60, 3, 2);
    put(elf + 62, 2, 2);
    strcpy((char *)elf + 1025, name);
    put(sections + 8, 2, 8); /* to be loaded: code */
    put(sections + 24, 64, 8);
    put(sections + 32, 700, 8);
    put(sections + 64, 1, 4);
    put(sections + 68, 8, 4); /* without bytes in the file */
    put(sections + 72, 2, 8);
    put(sections + 96, bytes, 8);
    put(sections + 132, 3, 4);
    put(sections + 152, 1024, 8);
    put(sections + 160, 64, 8);
    return 4096;
}

static void test_quota_sections_of_a_binary(void **state)
{
    static uint8_t elf[4096];
    size_t size = make_elf(elf, ".nv.global", 1 << 20);

    assert_int_equal(image_check(elf, size), IMAGE_ELF);
    assert_int_equal(image_device_bytes(elf, size, IMAGE_ELF), (1 << 20) + 1024);
    make_elf(elf, ".nv.shared.kernel", 1 << 20);
    assert_int_equal(image_device_bytes(elf, size, IMAGE_ELF), 1024);
    make_elf(elf, ".nv.global", UINT64_MAX);
    assert_int_equal(image_device_bytes(elf, size, IMAGE_ELF), UINT64_C(1) << 50);
}

static void test_quota_largest_entry_of_a_container(void **state)
{
    static uint8_t fatbin[16 + 2 * 64 + 4096 + 64];
    uint8_t *entry = fatbin + 16;

    put(fatbin, 0xba55ed50, 4);
    put(fatbin + 6, 16, 2);
    put(fatbin + 8, sizeof(fatbin) - 16, 8);
    put(entry, 2, 2);
    put(entry + 4, 64, 4);
    put(entry + 8, 4096, 8);
    make_elf(entry + 64, ".nv.global", 8192);
    entry += 64 + 4096;
    put(entry, 1, 2);
    put(entry + 4, 64, 4);
    put(entry + 8, 64, 8);
    strcpy((char *)entry + 64, ".global .b8 a[4096];");
    assert_int_equal(image_check(fatbin, sizeof(fatbin)), IMAGE_FATBIN);
    assert_int_equal(image_device_bytes(fatbin, sizeof(fatbin), IMAGE_FATBIN), 9216);
    /* Compressed: only its length is known. */
    put(entry + 40, 0x2000, 8);
    put(entry + 56, 100000, 8);
    assert_int_equal(image_device_bytes(fatbin, sizeof(fatbin), IMAGE_FATBIN), 100352);
}

/* A random walk: what is held is what the model says, and never more than is granted. */

#define WALK_SLOTS 24

struct walk {
    struct client *client;
    uint64_t quota, held;
    struct {
        unsigned path;
        uint64_t bytes, address;
        uint32_t handle;
    } slot[WALK_SLOTS];
    uint32_t generation;
};

enum { WALK_PLAIN, WALK_VIRTUAL, WALK_POOL, WALK_MODULE, WALK_GRAPH, WALK_PATHS };

static uint64_t walk_size(unsigned path, unsigned at)
{
    switch (path) {
    case WALK_VIRTUAL:
        return (1 + at % 3) * TEST_DRIVER_GRANULARITY;
    case WALK_MODULE:
        return PTX_BYTES;
    case WALK_GRAPH:
        return WORKER_GRAPH_BYTES + WORKER_GRAPH_NODE_BYTES;
    default:
        return (1 + at % 300) * GRAIN;
    }
}

static bool walk_take(struct walk *walk, unsigned at, unsigned path, uint64_t bytes)
{
    struct client *client = walk->client;
    uint32_t handle = 0;
    bool took = false;

    walk->slot[at].address = 0;
    if (path == WALK_PLAIN) {
        took = (walk->slot[at].address = client_alloc(client, bytes)) != 0;
    } else if (path == WALK_POOL) {
        struct cuda_op_pool_alloc op = {.bytes = bytes};
        struct cuda_re_pool_alloc got;
        const struct client_reply *reply = client_await(
            client, client_send(client, CUDA_OP_POOL_ALLOC, VGPU_RECORD_WAIT, &op, sizeof(op)));

        took = reply->result == CUDA_SUCCESS;
        memcpy(&got, reply->bytes, took ? sizeof(got) : 0);
        if (took)
            walk->slot[at].address = got.address;
    } else if (path == WALK_VIRTUAL) {
        struct cuda_op_memory_create op = {
            .memory = handle = VGPU_HANDLE(CUDA_KIND_MEMORY, ++walk->generation & 0xff, at),
            .bytes = bytes};

        took = client_call(client, CUDA_OP_MEMORY_CREATE, &op, sizeof(op)) == CUDA_SUCCESS;
    } else if (path == WALK_MODULE) {
        handle = VGPU_HANDLE(CUDA_KIND_MODULE, ++walk->generation & 0xff, at);
        took = client_module(client, handle, ptx) == CUDA_SUCCESS;
    } else {
        _Alignas(8) uint8_t record[sizeof(struct cuda_op_graph_create) + 64] = {0};
        struct cuda_op_graph_create *op = (struct cuda_op_graph_create *)(void *)record;
        const struct vgpu_graph_node empty = {
            .size_bytes = sizeof(empty), .type = VGPU_GRAPH_NODE_EMPTY, .enabled = 1};
        size_t size = sizeof(*op);

        op->graph = handle = VGPU_HANDLE(CUDA_KIND_GRAPH, ++walk->generation & 0xff, at);
        op->nodes = client_blob(op, &size, &empty, sizeof(empty));
        took = client_call(client, CUDA_OP_GRAPH_CREATE, op, size) == CUDA_SUCCESS;
    }
    walk->slot[at].handle = handle;
    return took;
}

static void walk_drop(struct walk *walk, unsigned at)
{
    struct client *client = walk->client;
    struct cuda_op_memory_free plain = {.address = walk->slot[at].address};
    struct cuda_op_pool_free pool = {.address = walk->slot[at].address};
    struct cuda_op_memory_release memory = {.memory = walk->slot[at].handle};
    struct cuda_op_module_unload module = {.module = walk->slot[at].handle};
    struct cuda_op_graph_destroy graph = {.graph = walk->slot[at].handle};

    switch (walk->slot[at].path) {
    case WALK_PLAIN:
        assert_int_equal(client_call(client, CUDA_OP_MEMORY_FREE, &plain, sizeof(plain)), 0);
        break;
    case WALK_POOL:
        client_send(client, CUDA_OP_POOL_FREE, 0, &pool, sizeof(pool));
        break;
    case WALK_VIRTUAL:
        client_send(client, CUDA_OP_MEMORY_RELEASE, 0, &memory, sizeof(memory));
        break;
    case WALK_MODULE:
        assert_int_equal(client_call(client, CUDA_OP_MODULE_UNLOAD, &module, sizeof(module)), 0);
        break;
    default:
        client_send(client, CUDA_OP_GRAPH_DESTROY, 0, &graph, sizeof(graph));
    }
    assert_int_equal(client_await(client, client_sync_context(client))->result, CUDA_SUCCESS);
    walk->held -= walk->slot[at].bytes;
    walk->slot[at].bytes = 0;
}

static void walk_step(struct walk *walk, unsigned random)
{
    unsigned at = random % WALK_SLOTS, path = random / WALK_SLOTS % WALK_PATHS;
    uint64_t bytes = walk_size(path, random / 1000);
    bool fits = bytes <= walk->quota && walk->held <= walk->quota - bytes, took;

    if (walk->slot[at].bytes) {
        walk_drop(walk, at);
        return;
    }
    took = walk_take(walk, at, path, bytes);
    if (took != fits)
        fail_msg("path %u, %llu bytes to %llu of %llu: %s", path, (unsigned long long)bytes,
                 (unsigned long long)walk->held, (unsigned long long)walk->quota,
                 took ? "taken" : "refused");
    if (!took)
        return;
    walk->slot[at].path = path;
    walk->slot[at].bytes = bytes;
    walk->held += bytes;
}

static void test_quota_random_walk(void **state)
{
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct walk walk = {.client = open_client(), .quota = seed * 700 * GRAIN + seed};
        unsigned random = seed;

        client_quota(walk.client, walk.quota);
        for (int i = 0; i < 600; i++) {
            random = random * 1103515245u + 12345u;
            walk_step(&walk, random >> 4);
            client_run(walk.client);
            assert_int_equal(held(walk.client), walk.held);
            assert_true(walk.client->report->memory_bound_bytes <= walk.quota);
        }
        for (unsigned at = 0; at < WALK_SLOTS; at++)
            if (walk.slot[at].bytes)
                walk_drop(&walk, at);
        client_run(walk.client);
        assert_int_equal(held(walk.client), 0);
        client_close(walk.client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota_each_path_at_the_limit),
        cmocka_unit_test(test_quota_each_path_at_what_the_vm_has_left),
        cmocka_unit_test(test_quota_none_asks_nobody),
        cmocka_unit_test(test_quota_within_the_grant_asks_nobody),
        cmocka_unit_test(test_quota_small_allocations_count_as_whole_grains),
        cmocka_unit_test(test_quota_charges_end_with_what_they_are_for),
        cmocka_unit_test(test_quota_a_limit_set_twice_counts_once),
        cmocka_unit_test(test_quota_functions_that_spill),
        cmocka_unit_test(test_quota_a_call_that_asks_holds_up_nobody),
        cmocka_unit_test(test_quota_asks_are_answered_one_by_one),
        cmocka_unit_test(test_quota_what_was_granted_and_taken_is_asked_for_again),
        cmocka_unit_test(test_quota_parked_calls_lose_what_they_name),
        cmocka_unit_test(test_quota_a_context_waits_for_its_parked_calls),
        cmocka_unit_test(test_quota_channel_ends_with_calls_parked),
        cmocka_unit_test(test_quota_bound_follows_the_grant_and_what_is_held),
        cmocka_unit_test(test_quota_lowered_below_what_is_held),
        cmocka_unit_test(test_quota_is_what_the_guest_sees),
        cmocka_unit_test(test_quota_spare_memory_of_pools_is_told),
        cmocka_unit_test(test_quota_variables_of_a_text),
        cmocka_unit_test(test_quota_sections_of_a_binary),
        cmocka_unit_test(test_quota_largest_entry_of_a_container),
        cmocka_unit_test(test_quota_random_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
