/* SPDX-License-Identifier: Apache-2.0 */
/* The job window's client, with files that stand in for sysfs and a thread that plays the device.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vgpu/pci_regs.h>

#include "common/clock.h"
#include "common/flag.h"
#include "guest/client/job_window.h"

struct fake {
    char root[64], path[160];
    uint32_t *registers;
    uint32_t status, result, retry_us; /* the answer to a job */
    uint32_t stop;
    unsigned jobs;
    pthread_t device;
};

static void put_file(const struct fake *fake, const char *name, const char *text)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", fake->path, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static uint32_t *at(struct fake *fake, uint32_t offset)
{
    return fake->registers + offset / 4;
}

static void *play(void *argument)
{
    struct fake *fake = argument;

    while (!vgpu_flag_get(&fake->stop)) {
        if (!__atomic_load_n(at(fake, VGPU_REG_JOB_GO), __ATOMIC_ACQUIRE)) {
            usleep(100);
            continue;
        }
        *at(fake, VGPU_REG_JOB_GO) = 0;
        fake->jobs++;
        for (uint32_t i = 0; i < *at(fake, VGPU_REG_JOB_COUNT); i++)
            *at(fake, VGPU_REG_JOB_SUM + 4 * i) =
                *at(fake, VGPU_REG_JOB_A + 4 * i) + *at(fake, VGPU_REG_JOB_B + 4 * i);
        *at(fake, VGPU_REG_JOB_STATUS) = fake->status;
        *at(fake, VGPU_REG_JOB_RESULT) = fake->result;
        *at(fake, VGPU_REG_JOB_RETRY_US) = fake->retry_us;
        __atomic_store_n(at(fake, VGPU_REG_JOB_STATE), VGPU_JOB_DONE, __ATOMIC_RELEASE);
    }
    return NULL;
}

static int start(void **state)
{
    static struct fake fake;
    char path[256];
    int fd;

    memset(&fake, 0, sizeof(fake));
    strcpy(fake.root, "/tmp/vgpu-window.XXXXXX");
    assert_non_null(mkdtemp(fake.root));
    snprintf(fake.path, sizeof(fake.path), "%s/0000:00:05.0", fake.root);
    assert_int_equal(mkdir(fake.path, 0700), 0);
    put_file(&fake, "vendor", "0x1af4\n");
    put_file(&fake, "device", "0x10f0\n");
    put_file(&fake, "enable", "1\n");
    snprintf(path, sizeof(path), "%s/resource0", fake.path);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, VGPU_REGISTERS_BYTES), 0);
    fake.registers = mmap(NULL, VGPU_REGISTERS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(fake.registers != MAP_FAILED);
    *at(&fake, VGPU_REG_MAGIC) = VGPU_MAGIC;
    *at(&fake, VGPU_REG_VERSION) = VGPU_VERSION_MAJOR << 16 | VGPU_VERSION_MINOR;
    *at(&fake, VGPU_REG_FEATURES) = VGPU_DEVICE_JOB;
    assert_int_equal(pthread_create(&fake.device, NULL, play, &fake), 0);
    *state = &fake;
    return 0;
}

static int stop(void **state)
{
    struct fake *fake = *state;
    char command[128];

    vgpu_flag_set(&fake->stop, 1);
    pthread_join(fake->device, NULL);
    munmap(fake->registers, VGPU_REGISTERS_BYTES);
    snprintf(command, sizeof(command), "rm -r %s", fake->root);
    return system(command);
}

static enum vgpu_status add(struct fake *fake, uint32_t count, struct vgpu_failure *failure)
{
    static int32_t a[VGPU_JOB_ELEMENTS + 1], b[VGPU_JOB_ELEMENTS + 1], sum[VGPU_JOB_ELEMENTS + 1];
    struct job_window window;
    enum vgpu_status status = job_window_open(&window, fake->path, failure);

    if (status != VGPU_OK)
        return status;
    for (int32_t i = 0; i <= (int32_t)VGPU_JOB_ELEMENTS; i++) {
        a[i] = i;
        b[i] = INT32_MAX;
    }
    window.limit_ns = 2 * VGPU_NS_PER_S;
    /* A device leaves DONE with the write of GO; memory does not. */
    *at(fake, VGPU_REG_JOB_STATE) = VGPU_JOB_IDLE;
    status = job_window_vector_add(&window, a, b, sum, count, failure);
    job_window_close(&window);
    for (uint32_t i = 0; status == VGPU_OK && i < count; i++)
        assert_int_equal((uint32_t)sum[i], i + (uint32_t)INT32_MAX);
    return status;
}

static void test_job_window_is_found(void **state)
{
    struct fake *fake = *state;
    char path[256];

    assert_true(job_window_find(fake->root, path, sizeof(path)));
    assert_string_equal(path, fake->path);
    put_file(fake, "device", "0x1000\n");
    assert_false(job_window_find(fake->root, path, sizeof(path)));
    assert_false(job_window_find("/nowhere", path, sizeof(path)));
}

static void test_job_window_adds(void **state)
{
    struct vgpu_failure failure;

    assert_int_equal(add(*state, 1, &failure), VGPU_OK);
    assert_int_equal(add(*state, VGPU_JOB_ELEMENTS, &failure), VGPU_OK);
}

static void test_job_window_sizes(void **state)
{
    struct fake *fake = *state;
    struct vgpu_failure failure;

    assert_int_equal(add(fake, 0, &failure), VGPU_LIMIT);
    assert_int_equal(add(fake, VGPU_JOB_ELEMENTS + 1, &failure), VGPU_LIMIT);
    assert_int_equal(fake->jobs, 0);
}

static void test_job_window_busy_is_retryable(void **state)
{
    struct fake *fake = *state;
    struct vgpu_failure failure;

    fake->status = VGPU_BUSY;
    fake->retry_us = 1500;
    assert_int_equal(add(fake, 4, &failure), VGPU_BUSY);
    assert_true(failure.retryable);
    assert_int_equal(failure.retry_ns, 1500000);
    fake->status = VGPU_QUARANTINED;
    assert_int_equal(add(fake, 4, &failure), VGPU_QUARANTINED);
    assert_false(failure.retryable);
    fake->status = VGPU_STATUS_COUNT;
    assert_int_equal(add(fake, 4, &failure), VGPU_INTERNAL);
    fake->status = VGPU_OK;
    fake->result = 700;
    assert_int_equal(add(fake, 4, &failure), VGPU_FAILED);
}

static void test_job_window_of_another_version(void **state)
{
    struct fake *fake = *state;
    struct vgpu_failure failure;

    *at(fake, VGPU_REG_VERSION) = (VGPU_VERSION_MAJOR + 1) << 16;
    assert_int_equal(add(fake, 1, &failure), VGPU_VERSION);
    *at(fake, VGPU_REG_MAGIC) = UINT32_MAX;
    assert_int_equal(add(fake, 1, &failure), VGPU_VERSION);
}

static void test_job_window_behind_a_driver(void **state)
{
    struct fake *fake = *state;
    struct vgpu_failure failure;

    put_file(fake, "driver", "");
    assert_int_equal(add(fake, 1, &failure), VGPU_NOT_CONFIGURED);
    assert_non_null(strstr(failure.text, VGPU_DEFAULT_DEVICE));
}

static void test_job_window_that_does_not_answer(void **state)
{
    struct fake *fake = *state;
    struct vgpu_failure failure;
    struct job_window window;
    int32_t number = 1;

    vgpu_flag_set(&fake->stop, 1);
    pthread_join(fake->device, NULL);
    assert_int_equal(job_window_open(&window, fake->path, &failure), VGPU_OK);
    window.limit_ns = 20 * VGPU_NS_PER_MS;
    assert_int_equal(job_window_vector_add(&window, &number, &number, &number, 1, &failure),
                     VGPU_TIMEOUT);
    job_window_close(&window);
    vgpu_flag_set(&fake->stop, 0);
    assert_int_equal(pthread_create(&fake->device, NULL, play, fake), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_job_window_is_found, start, stop),
        cmocka_unit_test_setup_teardown(test_job_window_adds, start, stop),
        cmocka_unit_test_setup_teardown(test_job_window_sizes, start, stop),
        cmocka_unit_test_setup_teardown(test_job_window_busy_is_retryable, start, stop),
        cmocka_unit_test_setup_teardown(test_job_window_of_another_version, start, stop),
        cmocka_unit_test_setup_teardown(test_job_window_behind_a_driver, start, stop),
        cmocka_unit_test_setup_teardown(test_job_window_that_does_not_answer, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
