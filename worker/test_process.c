/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vgpu-worker process on softgpu, sandboxed: starts, serves, and ends as it should. Each test
 * runs with a worker that was started for its channel, and with one that was a spare before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ring/pages.h"
#include "worker/test_client.h"

static const char add_one[] = ".version 6.4\n.target sm_75\n.address_size 64\n"
                              ".visible .entry add_one(.param .u64 p)\n{\n"
                              ".reg .b64 %rd<3>;\n.reg .b32 %r<3>;\n"
                              "ld.param.u64 %rd1, [p];\ncvta.to.global.u64 %rd2, %rd1;\n"
                              "ld.global.u32 %r1, [%rd2];\nadd.u32 %r2, %r1, 1;\n"
                              "st.global.u32 [%rd2], %r2;\nret;\n}\n";

static int set_up_spare(void **state)
{
    static bool spare = true;

    *state = &spare;
    return 0;
}

static struct client *open_process(void **state)
{
    const struct client_options options = {
        .worker = getenv("VGPU_WORKER"), .driver = getenv("VGPU_DRIVER"), .spare = *state != NULL};

    assert_non_null(options.worker);
    assert_non_null(options.driver);
    return client_open(&options);
}

static int wait_exit(struct client *client)
{
    int status = 0;

    assert_int_equal(waitpid(client->pid, &status, 0), client->pid);
    client->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_process_vector_add(void **state)
{
    struct client *client = open_process(state);
    _Alignas(8) uint8_t buffer[4096];
    struct cuda_op_job_vector_add *op = (void *)buffer;
    struct cuda_re_job_vector_add answer;
    const struct client_reply *reply;
    uint32_t a[100], b[100], sum[100];
    size_t size = sizeof(*op);

    memset(op, 0, sizeof(*op));
    for (uint32_t i = 0; i < 100; i++) {
        a[i] = i * 7;
        b[i] = UINT32_MAX - i;
    }
    op->count = 100;
    op->a = client_blob(op, &size, a, sizeof(a));
    op->b = client_blob(op, &size, b, sizeof(b));
    reply = client_await(client, client_send(client, CUDA_OP_JOB_VECTOR_ADD,
                                             VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT, op, size));
    assert_int_equal(reply->status, VGPU_OK);
    memcpy(&answer, reply->bytes, sizeof(answer));
    assert_int_equal(answer.sum.size_bytes, sizeof(sum));
    memcpy(sum, reply->bytes + answer.sum.offset, sizeof(sum));
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(sum[i], a[i] + b[i]);
    client_close(client);
}

static void test_process_launch_and_copy(void **state)
{
    struct client *client = open_process(state);
    const uint32_t module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0);
    const uint32_t function = VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0);
    uint64_t address = client_alloc(client, 4096);
    uint32_t value = 41;

    assert_int_not_equal(address, 0);
    assert_int_equal(client_module(client, module, add_one), CUDA_SUCCESS);
    assert_int_equal(client_function(client, module, function, "add_one"), CUDA_SUCCESS);
    memcpy(client->data, &value, sizeof(value));
    client_copy(client, 0, client_device(address), client_data(0), 4, VGPU_STREAM_PER_THREAD);
    client_launch_with(client, function, VGPU_STREAM_PER_THREAD, &address, sizeof(address));
    client_launch_with(client, function, VGPU_STREAM_PER_THREAD, &address, sizeof(address));
    assert_int_equal(
        client_await(client, client_copy(client, VGPU_RECORD_WAIT, client_data(8),
                                         client_device(address), 4, VGPU_STREAM_PER_THREAD))
            ->result,
        CUDA_SUCCESS);
    memcpy(&value, client->data + 8, sizeof(value));
    /* All 32 lanes write the same sum. */
    assert_int_equal(value, 43);
    client_close(client);
}

static const char prints[] =
    ".version 6.4\n.target sm_75\n.address_size 64\n"
    ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
    ".global .align 1 .b8 text[6] = {72, 101, 108, 108, 111, 0};\n"
    ".visible .entry hello()\n{\n"
    ".reg .b64 %rd<4>;\n.reg .pred %p1;\n.reg .b32 %r<2>;\n"
    "mov.u32 %r1, %tid.x;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra DONE;\n"
    "mov.u64 %rd1, text;\ncvta.global.u64 %rd2, %rd1;\n"
    "mov.u64 %rd3, 0;\n{\n"
    ".param .b64 p0;\nst.param.b64 [p0], %rd2;\n"
    ".param .b64 p1;\nst.param.b64 [p1], %rd3;\n"
    ".param .b32 r0;\ncall.uni (r0), vprintf, (p0, p1);\n}\n"
    "DONE:\nret;\n}\n";

static void test_process_forwards_what_kernels_print(void **state)
{
    struct client *client = open_process(state);
    const uint32_t module = VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0);
    const uint32_t function = VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0);
    bool printed = false;

    assert_int_equal(client_module(client, module, prints), CUDA_SUCCESS);
    assert_int_equal(client_function(client, module, function, "hello"), CUDA_SUCCESS);
    client_launch(client, function, VGPU_STREAM_DEFAULT);
    assert_int_equal(client_await(client, client_sync_context(client))->result, CUDA_SUCCESS);
    for (const struct client_reply *reply = client->replies; reply; reply = reply->next)
        if (reply->kind == VGPU_COMPLETION_PRINT)
            printed |= strncmp((const char *)reply->bytes + sizeof(struct vgpu_completion), "Hello",
                               6) == 0;
    assert_true(printed);
    client_close(client);
}

static void test_process_stops(void **state)
{
    struct client *client = open_process(state);

    page_store_u32(&client->lease->flags, VGPU_LEASE_STOP);
    client_kick_lease(client);
    assert_int_equal(client_await_end(client), VGPU_OK);
    assert_int_equal(wait_exit(client), 0);
    client_close(client);
}

static void test_process_bad_record(void **state)
{
    struct client *client = open_process(state);
    struct cuda_op_context_sync op = {0};

    client_send(client, 0x7777, VGPU_RECORD_WAIT, &op, sizeof(op));
    assert_int_equal(client_await_end(client), VGPU_BAD_RECORD);
    assert_non_null(strstr(client->report->text, "unknown op 0x7777"));
    assert_int_equal(wait_exit(client), 3);
    client_close(client);
}

static void test_process_launcher_gone(void **state)
{
    struct client *client = open_process(state);

    close(client->lifeline[0]);
    client->lifeline[0] = -1;
    assert_int_equal(client_await_end(client), VGPU_GONE);
    assert_int_equal(wait_exit(client), 4);
    client_close(client);
}

static unsigned long cpu_ticks(pid_t pid)
{
    char path[64], text[1024];
    unsigned long user = 0;
    unsigned long system = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_int_equal(sscanf(strrchr(text, ')'),
                            ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                            &system),
                     2);
    return user + system;
}

static void test_process_idle_takes_no_time(void **state)
{
    struct client *client = open_process(state);
    unsigned long before;

    assert_int_not_equal(client_alloc(client, 4096), 0);
    before = cpu_ticks(client->pid);
    usleep(300000); /* the span that is measured */
    assert_true(cpu_ticks(client->pid) - before <= 1);
    client_close(client);
}

#define BOTH(name) cmocka_unit_test(name), cmocka_unit_test_setup(name, set_up_spare)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_process_vector_add),
        BOTH(test_process_launch_and_copy),
        BOTH(test_process_forwards_what_kernels_print),
        BOTH(test_process_stops),
        BOTH(test_process_bad_record),
        BOTH(test_process_launcher_gone),
        BOTH(test_process_idle_takes_no_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
