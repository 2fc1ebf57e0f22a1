/* SPDX-License-Identifier: Apache-2.0 */
/* What the environment changes, each case in a process of its own; and forked children. */
#include "softgpu/testing.h"

#include <sys/wait.h>
#include <unistd.h>

struct seen {
    CUresult init;
    int n_devices;
    size_t memory_bytes;
    CUuuid uuid;
};

/* What a child sees in which the variables (NAME=VALUE, NULL at the end) are set. */
static struct seen see(const char *const *variables)
{
    struct seen seen = {0};
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        for (; *variables; variables++)
            putenv(strdup(*variables));
        seen.init = cu.cuInit(0);
        cu.cuDeviceGetCount(&seen.n_devices);
        cu.cuDeviceTotalMem(&seen.memory_bytes, 0);
        cu.cuDeviceGetUuid(&seen.uuid, 0);
        _exit(write(fds[1], &seen, sizeof(seen)) != sizeof(seen));
    }
    assert_int_equal(read(fds[0], &seen, sizeof(seen)), sizeof(seen));
    waitpid(pid, &status, 0);
    close(fds[0]);
    close(fds[1]);
    return seen;
}

#define SEE(...) see((const char *const[]){__VA_ARGS__, NULL})

static void test_environment_default_is_one_device(void **state)
{
    struct seen seen = SEE("UNUSED=1");

    (void)state;
    assert_ok(seen.init);
    assert_int_equal(seen.n_devices, 1);
    assert_int_equal(seen.memory_bytes, UINT64_C(4096) << 20);
}

static void test_environment_devices_and_memory_are_set(void **state)
{
    struct seen seen = SEE("SOFTGPU_DEVICES=16", "SOFTGPU_MEMORY_MB=100");

    (void)state;
    assert_int_equal(seen.n_devices, 16);
    assert_int_equal(seen.memory_bytes, 100 << 20);
}

static void test_environment_bad_numbers_are_refused(void **state)
{
    static const char *const bad[] = {
        "SOFTGPU_DEVICES=17",  "SOFTGPU_DEVICES=0",         "SOFTGPU_DEVICES=two",
        "SOFTGPU_DEVICES=",    "SOFTGPU_MEMORY_MB=1048577", "SOFTGPU_MEMORY_MB=-1",
        "SOFTGPU_THREADS=1025"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(SEE(bad[i]).init, CUDA_ERROR_NO_DEVICE);
}

static void test_environment_visible_devices_are_chosen(void **state)
{
    struct seen all = SEE("SOFTGPU_DEVICES=4");
    struct seen third = SEE("SOFTGPU_DEVICES=4", "CUDA_VISIBLE_DEVICES=2,0");
    struct seen cut = SEE("SOFTGPU_DEVICES=4", "CUDA_VISIBLE_DEVICES=1,9,2");

    (void)state;
    assert_int_equal(third.n_devices, 2);
    assert_memory_not_equal(all.uuid.bytes, third.uuid.bytes, 16);
    assert_int_equal(cut.n_devices, 1);
    assert_int_equal(SEE("CUDA_VISIBLE_DEVICES=").init, CUDA_ERROR_NO_DEVICE);
    assert_int_equal(SEE("CUDA_VISIBLE_DEVICES=-1").init, CUDA_ERROR_NO_DEVICE);
}

static void test_environment_visible_devices_by_uuid(void **state)
{
    struct seen second = SEE("SOFTGPU_DEVICES=2", "CUDA_VISIBLE_DEVICES=1");
    const unsigned char *b = (const unsigned char *)second.uuid.bytes;
    struct seen named;
    char text[128];

    (void)state;
    snprintf(text, sizeof(text),
             "CUDA_VISIBLE_DEVICES=GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
    named = SEE("SOFTGPU_DEVICES=2", text);
    assert_int_equal(named.n_devices, 1);
    assert_memory_equal(named.uuid.bytes, second.uuid.bytes, 16);
}

/* Two processes with a state directory: each sees less memory free for what the other has. */
static void test_environment_memory_is_shared_by_processes(void **state)
{
    char dir[] = "/tmp/softgpu-state-XXXXXX", path[64];
    size_t during, total;
    int to_child[2], to_parent[2];
    CUcontext context;
    char byte;
    pid_t pid;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pipe(to_child), 0);
    assert_int_equal(pipe(to_parent), 0);
    setenv("SOFTGPU_STATE_DIR", dir, 1);
    pid = fork();
    if (pid == 0) {
        CUdeviceptr p;

        if (cu.cuInit(0) || cu.cuCtxCreate_v2(&context, 0, 0) || cu.cuMemAlloc(&p, 1 << 20) ||
            write(to_parent[1], "", 1) != 1 || read(to_child[0], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(to_parent[0], &byte, 1), 1);
    assert_ok(cu.cuInit(0));
    assert_ok(cu.cuCtxCreate_v2(&context, 0, 0));
    assert_ok(cu.cuMemGetInfo(&during, &total));
    assert_int_equal(during, total - (1 << 20));
    assert_ok(cu.cuCtxDestroy(context));
    assert_int_equal(write(to_child[1], "", 1), 1);
    waitpid(pid, NULL, 0);
    snprintf(path, sizeof(path), "%s/usage", dir);
    unlink(path);
    rmdir(dir);
    unsetenv("SOFTGPU_STATE_DIR");
}

/* After cuInit in this process, which the test before has called. */
static void test_environment_forked_child_is_refused(void **state)
{
    int status, count;
    pid_t pid;

    (void)state;
    assert_ok(cu.cuDeviceGetCount(&count));
    pid = fork();
    if (pid == 0)
        _exit(cu.cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
                      cu.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED
                  ? 0
                  : 1);
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_default_is_one_device),
        cmocka_unit_test(test_environment_devices_and_memory_are_set),
        cmocka_unit_test(test_environment_bad_numbers_are_refused),
        cmocka_unit_test(test_environment_visible_devices_are_chosen),
        cmocka_unit_test(test_environment_visible_devices_by_uuid),
        cmocka_unit_test(test_environment_memory_is_shared_by_processes),
        cmocka_unit_test(test_environment_forked_child_is_refused),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
