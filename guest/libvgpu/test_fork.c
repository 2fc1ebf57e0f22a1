/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: what a fork leaves to the child, and what the parent must not notice of it. */
#include "guest/libvgpu/test_host.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/flag.h"

#define PAGE    4096u
#define THREADS 4
#define FORKS   24

static void expect_child(pid_t child)
{
    int status;

    assert_true(child > 0);
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
}

/* Calls of each kind: those that ask, post, wait, or only look into tables. */
static bool nothing_is_initialised(void)
{
    CUresult (*unsupported)(void);
    CUdriverProcAddressQueryResult why;
    CUdeviceptr pointer = 0;
    CUcontext context;
    CUstream stream;
    CUdevice device;
    unsigned flags;
    void *found, *host;
    int count;
    char byte;

    if (cuGetProcAddress_v2("cuMemAlloc", &found, 2000, 0, &why) != CUDA_SUCCESS)
        return false;
    memcpy(&unsupported, &found, sizeof(unsupported));
    return cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
           cuDeviceGet(&device, 0) == CUDA_ERROR_NOT_INITIALIZED &&
           cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED &&
           cuCtxGetCurrent(&context) == CUDA_ERROR_NOT_INITIALIZED &&
           cuCtxSynchronize() == CUDA_ERROR_NOT_INITIALIZED &&
           cuMemAlloc_v2(&pointer, 4) == CUDA_ERROR_NOT_INITIALIZED &&
           cuMemHostAlloc(&host, PAGE, 0) == CUDA_ERROR_NOT_INITIALIZED &&
           cuMemHostGetFlags(&flags, &byte) == CUDA_ERROR_NOT_INITIALIZED &&
           cuMemcpyDtoH_v2(&byte, 1, 1) == CUDA_ERROR_NOT_INITIALIZED &&
           cuMemsetD8_v2(1, 0, 1) == CUDA_ERROR_NOT_INITIALIZED &&
           cuStreamCreate(&stream, 0) == CUDA_ERROR_NOT_INITIALIZED &&
           cuStreamSynchronize(NULL) == CUDA_ERROR_NOT_INITIALIZED &&
           unsupported() == CUDA_ERROR_NOT_SUPPORTED;
}

static void test_fork_child_gets_not_initialised_everywhere(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    pid_t child;

    begin(&host, &context);
    child = fork();
    if (child == 0)
        _exit(nothing_is_initialised() ? 0 : 1);
    expect_child(child);
    assert_ok(cuCtxSynchronize());
    end(&host);
}

static void test_fork_registered_memory_is_copied(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    uint8_t *memory =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t child;

    begin(&host, &context);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 0x11, 2 * PAGE);
    assert_ok(cuMemHostRegister_v2(memory, 2 * PAGE, 0));
    memory[PAGE] = 0x22;
    child = fork();
    if (child == 0) {
        bool good = memory[0] == 0x11 && memory[PAGE] == 0x22;

        memset(memory, 0x33, 2 * PAGE);
        _exit(good && memory[2 * PAGE - 1] == 0x33 ? 0 : 1);
    }
    expect_child(child);
    assert_int_equal(memory[0], 0x11);
    assert_int_equal(memory[PAGE], 0x22);
    assert_int_equal(memory[2 * PAGE - 1], 0x11);
    assert_ok(cuMemHostUnregister(memory));
    assert_int_equal(memory[PAGE], 0x22);
    munmap(memory, 2 * PAGE);
    end(&host);
}

static void test_fork_page_locked_memory_is_the_parents(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    void *memory;
    pid_t child;

    begin(&host, &context);
    assert_ok(cuMemHostAlloc(&memory, PAGE, 0));
    memset(memory, 0x44, PAGE);
    child = fork();
    /* msync answers an error for what is not mapped. */
    if (child == 0)
        _exit(msync(memory, PAGE, MS_ASYNC) == 0);
    expect_child(child);
    assert_int_equal(((uint8_t *)memory)[PAGE - 1], 0x44);
    assert_ok(cuMemFreeHost(memory));
    end(&host);
}

/* The numbers of the session's descriptors are others' in the child. */
static void test_fork_of_a_child_closes_nothing(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    int status;
    pid_t child;

    begin(&host, &context);
    child = fork();
    if (child == 0) {
        int fds[32];
        bool good = true;
        pid_t grandchild;

        for (int i = 0; i < 32; i++)
            fds[i] = dup(STDOUT_FILENO);
        grandchild = fork();
        if (grandchild == 0) {
            for (int i = 0; i < 32; i++)
                good = good && fds[i] >= 0 && close(fds[i]) == 0;
            _exit(good && nothing_is_initialised() ? 0 : 1);
        }
        _exit(waitpid(grandchild, &status, 0) == grandchild && status == 0 ? 0 : 1);
    }
    expect_child(child);
    assert_ok(cuCtxSynchronize());
    end(&host);
}

struct copier {
    pthread_t thread;
    CUcontext context;
    uint32_t *stop; /* flag */
    uint32_t begun; /* flag: it has had a round */
    unsigned number, rounds, wrong;
};

/* Up and down again; what comes back must be what went. */
static void *copy_main(void *argument)
{
    struct copier *self = argument;
    uint8_t out[512], in[512];
    CUdeviceptr pointer;

    assert_ok(cuCtxSetCurrent(self->context));
    assert_ok(cuMemAlloc_v2(&pointer, sizeof(out)));
    while (!vgpu_flag_get(self->stop)) {
        memset(out, (int)(self->number * 64 + self->rounds % 64), sizeof(out));
        assert_ok(cuMemcpyHtoD_v2(pointer, out, sizeof(out)));
        assert_ok(cuMemcpyDtoH_v2(in, pointer, sizeof(in)));
        self->wrong += memcmp(in, out, sizeof(in)) != 0;
        self->rounds++;
        vgpu_flag_set(&self->begun, 1);
    }
    return NULL;
}

static void test_fork_beside_busy_threads(void **state)
{
    struct fake_host host = {0};
    struct copier copiers[THREADS];
    CUcontext context;
    uint32_t stop = 0;

    begin(&host, &context);
    for (unsigned i = 0; i < THREADS; i++) {
        copiers[i] = (struct copier){.context = context, .stop = &stop, .number = i};
        assert_int_equal(pthread_create(&copiers[i].thread, NULL, copy_main, &copiers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        while (!vgpu_flag_get(&copiers[i].begun))
            sched_yield();
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(nothing_is_initialised() ? 0 : 1);
        expect_child(child);
    }
    vgpu_flag_set(&stop, 1);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(copiers[i].thread, NULL);
        assert_int_equal(copiers[i].wrong, 0);
    }
    assert_int_equal(host.closes, 0);
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_fork_child_gets_not_initialised_everywhere),
        cmocka_unit_test(test_fork_registered_memory_is_copied),
        cmocka_unit_test(test_fork_page_locked_memory_is_the_parents),
        cmocka_unit_test(test_fork_of_a_child_closes_nothing),
        cmocka_unit_test(test_fork_beside_busy_threads),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), NULL, 0);
}
