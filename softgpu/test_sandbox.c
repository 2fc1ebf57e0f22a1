/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After cuInit and the first context the library opens nothing: a worker goes into its sandbox
 * then. The child is killed by the first system call that it must not make.
 */
#include "softgpu/testing.h"

#include <seccomp.h>
#include <sys/wait.h>
#include <unistd.h>

static int close_the_sandbox(void)
{
    static const int forbidden[] = {
        SCMP_SYS(open),   SCMP_SYS(openat), SCMP_SYS(creat),     SCMP_SYS(socket),
        SCMP_SYS(execve), SCMP_SYS(unlink), SCMP_SYS(ftruncate), SCMP_SYS(ptrace),
        SCMP_SYS(fork),   SCMP_SYS(kill),   SCMP_SYS(fcntl),     SCMP_SYS(ioctl),
    };
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, forbidden[i], 0) != 0)
            return -1;
    }
    return seccomp_load(filter);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* One of everything that a worker does. */
static int work(void)
{
    CUdeviceptr p;
    CUfunction function;
    CUstream stream;
    CUmodule module;
    uint32_t value = 0;
    void *pinned, *params[] = {&p};
    CUresult result = CUDA_SUCCESS;

    result |= cu.cuModuleLoadData(&module, testing_ptx);
    result |= cu.cuModuleGetFunction(&function, module, "increment");
    result |= cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    result |= cu.cuMemAlloc(&p, 64 << 20);
    result |= cu.cuMemHostAlloc(&pinned, 1 << 20, 0);
    result |= cu.cuMemsetD8Async(p, 0, 64 << 20, stream);
    result |= cu.cuLaunchKernel(function, 64, 1, 1, 256, 1, 1, 0, stream, params, NULL);
    result |= cu.cuLaunchHostFunc(stream, nothing, NULL);
    result |= cu.cuStreamSynchronize(stream);
    result |= cu.cuMemcpyDtoH(&value, p, 4);
    result |= cu.cuMemFreeHost(pinned);
    result |= cu.cuMemFree(p);
    result |= cu.cuModuleUnload(module);
    result |= cu.cuCtxDestroy(testing_context);
    return result == CUDA_SUCCESS && value == 64 * 256 ? 0 : 1;
}

static void test_sandbox_nothing_is_opened_after_the_context(void **state)
{
    char dir[] = "/tmp/softgpu-sandbox-XXXXXX", path[64];
    int status = -1;
    pid_t pid;

    (void)state;
    assert_non_null(mkdtemp(dir));
    pid = fork();
    if (pid == 0) {
        setenv("SOFTGPU_STATE_DIR", dir, 1);
        if (testing_open(NULL) != 0 || close_the_sandbox() != 0)
            _exit(2);
        _exit(work());
    }
    waitpid(pid, &status, 0);
    snprintf(path, sizeof(path), "%s/usage", dir);
    unlink(path);
    rmdir(dir);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox_nothing_is_opened_after_the_context),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
