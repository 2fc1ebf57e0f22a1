/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layer in front of a driver: test_layer LAYER DRIVER. Each test forks: the library is loaded
 * once in a process, and some of them die. A child's exit status is what it found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cuda/cuda_driver.h"
#include "fault/state.h"

#define RIGHT 42 /* a child's exit status */

static const char *layer_path, *driver_path;
static char directory[] = "/tmp/vgpu-fault-XXXXXX";
static char plan_path[64], state_path[64], health_path[64];
static struct fault_state *shared;
static struct cuda_driver cu;

static const char image[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                            ".visible .entry nothing()\n{\nret;\n}\n";

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* With the driver's and the state's line in front. */
static void write_plan(const char *rules)
{
    char text[4096];

    snprintf(text, sizeof(text), "driver %s\nstate %s\nhealth %s\n%s", driver_path, state_path,
             health_path, rules);
    write_file(plan_path, text);
}

/* In a child: what a rule about launches may befall. */
static void need(bool holds, int line)
{
    if (!holds) {
        fprintf(stderr, "test_layer.c:%d: not so\n", line);
        _exit(1);
    }
}

#define NEED(what) need((what), __LINE__)

static CUfunction ready(void)
{
    CUfunction function;
    CUcontext context;
    CUmodule module;

    NEED(cu.cuInit(0) == CUDA_SUCCESS);
    NEED(cu.cuCtxCreate_v2(&context, 0, 0) == CUDA_SUCCESS);
    NEED(cu.cuModuleLoadData(&module, image) == CUDA_SUCCESS);
    NEED(cu.cuModuleGetFunction(&function, module, "nothing") == CUDA_SUCCESS);
    return function;
}

static CUresult launch(CUfunction function, CUstream stream)
{
    return cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL);
}

/* The status with which a child ends that loads the layer with this plan. */
static int child(const char *rules, const char *vm, void (*run)(void))
{
    int status;
    pid_t pid;

    if (rules)
        write_plan(rules);
    pid = fork();
    if (pid == 0) {
        struct vgpu_err err = {.text = ""};

        if (rules)
            setenv("VGPU_FAULT_PLAN", plan_path, 1);
        if (vm)
            setenv("VGPU_FAULT_VM", vm, 1);
        if (cuda_driver_load(&cu, layer_path, &err) < 0)
            _exit(2);
        run();
        _exit(RIGHT);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void right(const char *rules, const char *vm, void (*run)(void))
{
    int status = child(rules, vm, run);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), RIGHT);
}

static void launch_and_wait(void)
{
    CUfunction function = ready();

    NEED(launch(function, NULL) == CUDA_SUCCESS);
    NEED(cu.cuCtxSynchronize() == CUDA_SUCCESS);
}

static void test_layer_passes_all_on(void **state)
{
    (void)state;
    right("", NULL, launch_and_wait);
}

static void no_device(void)
{
    NEED(cu.cuInit(0) == CUDA_ERROR_NO_DEVICE);
}

static void test_layer_is_no_driver_without_a_plan(void **state)
{
    (void)state;
    right(NULL, NULL, no_device);
}

static void test_layer_is_no_driver_with_a_wrong_plan(void **state)
{
    (void)state;
    right("fail cuNothing at 1 with 1", NULL, no_device);
    right("", "1x", no_device);
}

static void third_fails(void)
{
    CUfunction function = ready();

    for (int i = 1; i <= 6; i++)
        NEED(launch(function, NULL) == (i == 3 ? CUDA_ERROR_LAUNCH_FAILED : CUDA_SUCCESS));
    NEED(cu.cuCtxSynchronize() == CUDA_SUCCESS);
}

static void test_layer_fails_the_nth_call(void **state)
{
    (void)state;
    memset(shared, 0, sizeof(*shared));
    right("delay cuCtxSetLimit at 1 by 1s\n"
          "fail cuLaunchKernel at 3 with CUDA_ERROR_LAUNCH_FAILED",
          NULL, third_fails);
    assert_int_equal(shared->fired[0], 0);
    assert_int_equal(shared->fired[1], 1);
}

static void every_second_fails(void)
{
    CUfunction function = ready();

    for (int i = 1; i <= 6; i++)
        NEED(launch(function, NULL) == (i % 2 ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED));
}

static void from_fourth_fails(void)
{
    CUfunction function = ready();

    for (int i = 1; i <= 6; i++)
        NEED(launch(function, NULL) == (i < 4 ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED));
}

static void test_layer_fails_by_every_and_from(void **state)
{
    (void)state;
    right("fail cuLaunchKernel every 2 with 719", NULL, every_second_fails);
    right("fail cuLaunchKernel from 4 with 719", NULL, from_fourth_fails);
}

static void test_layer_knows_its_vm(void **state)
{
    (void)state;
    right("fail cuLaunchKernel at 3 vm 7 with CUDA_ERROR_LAUNCH_FAILED", "7", third_fails);
    right("fail cuLaunchKernel at 1 vm 7 with CUDA_ERROR_LAUNCH_FAILED", "8", launch_and_wait);
    right("fail cuLaunchKernel at 1 vm 7 with CUDA_ERROR_LAUNCH_FAILED", NULL, launch_and_wait);
}

static void gate_opens(void)
{
    CUfunction function = ready();

    NEED(launch(function, NULL) == CUDA_SUCCESS);
    NEED(launch(function, NULL) == CUDA_SUCCESS);
    shared->gate = 1;
    NEED(launch(function, NULL) == CUDA_ERROR_LAUNCH_FAILED);
    NEED(launch(function, NULL) == CUDA_SUCCESS);
}

static void test_layer_counts_while_the_gate_is_open(void **state)
{
    (void)state;
    memset(shared, 0, sizeof(*shared));
    right("fail cuLaunchKernel at 1 gated with 719", NULL, gate_opens);
}

static void test_layer_once_for_all_processes(void **state)
{
    static const char rules[] = "die cuLaunchKernel at 1 once by exit 9";

    (void)state;
    memset(shared, 0, sizeof(*shared));
    assert_int_equal(WEXITSTATUS(child(rules, NULL, launch_and_wait)), 9);
    right(rules, NULL, launch_and_wait);
}

static uint64_t now_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void second_takes_long(void)
{
    CUfunction function = ready();
    uint64_t began;

    NEED(launch(function, NULL) == CUDA_SUCCESS);
    began = now_ms();
    NEED(launch(function, NULL) == CUDA_ERROR_LAUNCH_FAILED);
    NEED(now_ms() - began >= 150);
}

static void test_layer_delays(void **state)
{
    (void)state;
    right("delay cuLaunchKernel at 2 by 50ms\nfail cuLaunchKernel at 2 with 719\n"
          "delay cuLaunchKernel from 2 by 100ms",
          NULL, second_takes_long);
}

/* The stream of the launch never gets on, nor does what waits for it; the others do. */
static void one_stream_hangs(void)
{
    CUfunction function = ready();
    CUstream stuck, moving;
    CUevent event;

    NEED(cu.cuStreamCreate(&stuck, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    NEED(cu.cuStreamCreate(&moving, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS);
    NEED(cu.cuEventCreate(&event, 0) == CUDA_SUCCESS);
    NEED(launch(function, stuck) == CUDA_SUCCESS);
    NEED(cu.cuEventRecord(event, stuck) == CUDA_SUCCESS);
    NEED(launch(function, moving) == CUDA_SUCCESS);
    NEED(cu.cuStreamSynchronize(moving) == CUDA_SUCCESS);
    NEED(cu.cuStreamQuery(stuck) == CUDA_ERROR_NOT_READY);
    NEED(cu.cuEventQuery(event) == CUDA_ERROR_NOT_READY);
    NEED(cu.cuStreamWaitEvent(moving, event, 0) == CUDA_SUCCESS);
    NEED(launch(function, moving) == CUDA_SUCCESS);
    NEED(cu.cuStreamQuery(moving) == CUDA_ERROR_NOT_READY);
}

static void test_layer_hangs_a_stream(void **state)
{
    (void)state;
    right("hang cuLaunchKernel at 1", NULL, one_stream_hangs);
}

static void wait_for_a_hang(void)
{
    CUfunction function = ready();

    NEED(launch(function, NULL) == CUDA_SUCCESS);
    alarm(1); /* ends the process if the next call does not return, as it must not */
    cu.cuCtxSynchronize();
}

static void test_layer_hangs_who_waits(void **state)
{
    int status;

    (void)state;
    status = child("hang cuLaunchKernel at 1", NULL, wait_for_a_hang);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    status = child("hang cuCtxSynchronize at 1", NULL, wait_for_a_hang);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

static void test_layer_dies(void **state)
{
    static const struct {
        const char *by;
        int signal;
    } deaths[] = {{"abort", SIGABRT}, {"kill", SIGKILL}, {"segv", SIGSEGV}};
    char rules[64];
    int status;

    (void)state;
    for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
        snprintf(rules, sizeof(rules), "die cuLaunchKernel at 1 by %s", deaths[i].by);
        status = child(rules, NULL, launch_and_wait);
#ifndef __SANITIZE_ADDRESS__
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), deaths[i].signal);
#else
        assert_false(WIFEXITED(status) && WEXITSTATUS(status) == RIGHT);
#endif
    }
    status = child("die cuLaunchKernel at 1 by exit 17", NULL, launch_and_wait);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 17);
}

static void second_address_is_wrong(void)
{
    const CUdeviceptr mask = UINT64_C(0x8000000000000100);
    CUdeviceptr first = 0, second = 0;
    int device = -1;

    ready();
    NEED(cu.cuMemAlloc(&first, 4096) == CUDA_SUCCESS && !(first & mask));
    NEED(cu.cuMemAlloc(&second, 4096) == CUDA_SUCCESS && (second & mask) == mask);
    NEED(cu.cuMemFree(second) != CUDA_SUCCESS);
    NEED(cu.cuMemFree(second ^ mask) == CUDA_SUCCESS);
    NEED(cu.cuDeviceGet(&device, 0) == CUDA_SUCCESS && device == 0x01000000);
    NEED(cu.cuDeviceGet(&device, 99) != CUDA_SUCCESS && device == 0x01000000);
}

static void test_layer_corrupts_an_answer(void **state)
{
    (void)state;
    right("corrupt cuMemAlloc at 2 argument dptr xor 0x8000000000000100\n"
          "corrupt cuDeviceGet from 1 argument device xor 0x1000000",
          NULL, second_address_is_wrong);
}

static void device_is_lost(void)
{
    CUfunction function = ready();
    CUdeviceptr address;

    NEED(launch(function, NULL) == CUDA_SUCCESS);
    NEED(launch(function, NULL) == CUDA_ERROR_DEVICE_UNAVAILABLE);
    NEED(cu.cuMemAlloc(&address, 1) == CUDA_ERROR_DEVICE_UNAVAILABLE);
    NEED(cu.cuInit(0) == CUDA_ERROR_DEVICE_UNAVAILABLE);
}

static void device_stays_lost(void)
{
    NEED(cu.cuInit(0) == CUDA_ERROR_DEVICE_UNAVAILABLE);
}

static void test_layer_loses_the_device(void **state)
{
    char text[16] = "";
    int fd;

    (void)state;
    memset(shared, 0, sizeof(*shared));
    write_file(health_path, "");
    right("lose cuLaunchKernel at 2 vm 1", "1", device_is_lost);
    right("lose cuLaunchKernel at 2 vm 1", "2", device_stays_lost);
    fd = open(health_path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    assert_string_equal(text, "lost 1\n");
    shared->lost = 0; /* the device is there again */
    right("", NULL, launch_and_wait);
}

/* By cuGetProcAddress, too, one gets functions that go wrong. */
static void asked_for_by_name(void)
{
    CUdriverProcAddressQueryResult status;
    CUresult (*init)(unsigned) = NULL;

    NEED(cu.cuGetProcAddress("cuInit", (void **)&init, 13000, 0, &status) == CUDA_SUCCESS);
    NEED(init && init(0) == CUDA_ERROR_LAUNCH_FAILED && init(0) == CUDA_SUCCESS);
}

static void test_layer_is_asked_by_name(void **state)
{
    (void)state;
    right("fail cuInit at 1 with 719", NULL, asked_for_by_name);
}

static int open_directory(void **state)
{
    int fd;

    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(plan_path, sizeof(plan_path), "%s/plan", directory);
    snprintf(state_path, sizeof(state_path), "%s/state", directory);
    snprintf(health_path, sizeof(health_path), "%s/health", directory);
    write_file(health_path, "");
    fd = open(state_path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 4096) < 0)
        return -1;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return shared == MAP_FAILED ? -1 : 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(plan_path);
    unlink(state_path);
    unlink(health_path);
    return rmdir(directory);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_passes_all_on),
        cmocka_unit_test(test_layer_is_no_driver_without_a_plan),
        cmocka_unit_test(test_layer_is_no_driver_with_a_wrong_plan),
        cmocka_unit_test(test_layer_fails_the_nth_call),
        cmocka_unit_test(test_layer_fails_by_every_and_from),
        cmocka_unit_test(test_layer_knows_its_vm),
        cmocka_unit_test(test_layer_counts_while_the_gate_is_open),
        cmocka_unit_test(test_layer_once_for_all_processes),
        cmocka_unit_test(test_layer_delays),
        cmocka_unit_test(test_layer_hangs_a_stream),
        cmocka_unit_test(test_layer_hangs_who_waits),
        cmocka_unit_test(test_layer_dies),
        cmocka_unit_test(test_layer_corrupts_an_answer),
        cmocka_unit_test(test_layer_loses_the_device),
        cmocka_unit_test(test_layer_is_asked_by_name),
    };

    if (argc != 3) {
        fprintf(stderr, "usage: test_layer LAYER DRIVER\n");
        return 2;
    }
    layer_path = realpath(argv[1], NULL);
    driver_path = realpath(argv[2], NULL);
    if (!layer_path || !driver_path)
        return 2;
    return cmocka_run_group_tests(tests, open_directory, remove_directory);
}
