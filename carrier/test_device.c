/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's carrier by the driver's file, with a driver that is not to be trusted: its system
 * calls are led to this file by the linker (--wrap, meson.build).
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "carrier/device.h"
#include "common/cleanup.h"

#define DRIVER "/dev/vgpu-of-the-test"

static const struct vgpu_channel_geometry good = {
    .sub_granules = 64,
    .comp_granules = 64,
    .sub_offset = 4096,
    .comp_offset = 8192,
    .data_offset = 12288,
    .data_bytes = 8192,
    .total_bytes = 20480,
};

/* The driver: its file is memory, the page of transfers and the doorbell's behind the channel's. */
static struct {
    int file; /* -1: not open */
    int open_error, control_error;
    bool no_channel_map, no_doorbell_map;
    struct vgpu_ioc_open asked, answer;
    struct vgpu_ioc_populate populated;
    struct vgpu_ioc_monitor monitor_asked, monitor;
    struct vgpu_channel_page page;
} driver;

/* The linker's names. */
int __real_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
void *__real_mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset);
void *__wrap_mmap(void *at, size_t bytes, int access, int flags, int fd, off64_t offset);
void *__wrap_mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset);

int __wrap_open64(const char *path, int flags, ...)
{
    if (strcmp(path, DRIVER) != 0)
        return __real_open64(path, flags);
    assert_int_equal(flags, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (driver.open_error) {
        errno = driver.open_error;
        return -1;
    }
    driver.file = memfd_create("driver", MFD_CLOEXEC);
    assert_int_equal(ftruncate(driver.file, (off_t)good.total_bytes + 8192), 0);
    assert_int_equal(pwrite(driver.file, &driver.page, sizeof(driver.page), 0),
                     sizeof(driver.page));
    return driver.file;
}

int __wrap_open(const char *path, int flags, ...)
{
    return __wrap_open64(path, flags);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *argument;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    assert_int_equal(fd, driver.file);
    if (driver.control_error) {
        errno = driver.control_error;
        return -1;
    }
    if (request == VGPU_IOC_OPEN) {
        driver.asked = *(struct vgpu_ioc_open *)argument;
        *(struct vgpu_ioc_open *)argument = driver.answer;
    } else if (request == VGPU_IOC_POPULATE) {
        driver.populated = *(struct vgpu_ioc_populate *)argument;
    } else if (request == VGPU_IOC_MONITOR) {
        driver.monitor_asked = *(struct vgpu_ioc_monitor *)argument;
        *(struct vgpu_ioc_monitor *)argument = driver.monitor;
    } else {
        assert_int_equal(request, VGPU_IOC_STATE);
        memset(argument, 'x', sizeof(struct vgpu_ioc_state));
    }
    return 0;
}

void *__wrap_mmap64(void *at, size_t bytes, int access, int flags, int fd, off64_t offset)
{
    bool doorbell = (uint64_t)offset == VGPU_MMAP_DOORBELL;

    if (fd < 0 || fd != driver.file)
        return __real_mmap64(at, bytes, access, flags, fd, offset);
    if (doorbell ? driver.no_doorbell_map : driver.no_channel_map) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (doorbell)
        offset = (off64_t)good.total_bytes + 4096;
    return __real_mmap64(at, bytes, access, flags, fd, offset);
}

void *__wrap_mmap(void *at, size_t bytes, int access, int flags, int fd, off64_t offset)
{
    return __wrap_mmap64(at, bytes, access, flags, fd, offset);
}

/* A driver that opens a good channel. */
static int setup(void **state)
{
    memset(&driver, 0, sizeof(driver));
    driver.file = -1;
    driver.answer = (struct vgpu_ioc_open){.channel = 7, .geometry = good};
    driver.page = (struct vgpu_channel_page){.magic = VGPU_MAGIC,
                                             .layout = VGPU_LAYOUT_VERSION,
                                             .geometry = good,
                                             .flags = VGPU_CHANNEL_MIRRORED};
    return 0;
}

static int try_open(struct device_channel *ret, struct local_refusal *refusal)
{
    const struct vgpu_msg_open ask = {
        .sub_granules = 64, .comp_granules = 64, .data_bytes = 8192, .process = "test"};

    memset(refusal, 0, sizeof(*refusal));
    return device_open(ret, DRIVER, &ask, refusal);
}

/* Refused, with the file closed again. */
static void assert_refused(int error, uint32_t status, const char *text)
{
    struct device_channel channel;
    struct local_refusal refusal;

    assert_int_equal(try_open(&channel, &refusal), -error);
    assert_int_equal(refusal.status, status);
    assert_non_null(strstr(refusal.text, text));
    assert_int_equal(fcntl(driver.file, F_GETFD), -1);
}

static void test_device_opens_and_maps(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;
    uint32_t rung = 0;

    assert_int_equal(try_open(&channel, &refusal), 0);
    assert_int_equal(channel.fd, driver.file);
    assert_int_equal(channel.channel, 7);
    assert_int_equal(driver.asked.sub_granules, 64);
    assert_int_equal(driver.asked.comp_granules, 64);
    assert_int_equal(driver.asked.data_bytes, 8192);
    assert_string_equal(driver.asked.process, "test");
    assert_int_equal(channel.map.bytes, good.total_bytes + 4096);
    assert_ptr_equal(channel.transfers, channel.map.base + good.total_bytes);
    *channel.doorbell = 1;
    assert_int_equal(pread(channel.fd, &rung, 4, (off_t)good.total_bytes + 4096), 4);
    assert_int_equal(rung, 1);
    channel_mapping_release(&channel.map);
    device_release_doorbell(channel.doorbell);
    close(channel.fd);
}

/* The worker's own memory: nothing behind it, and nobody to copy. */
static void test_device_opens_in_the_window(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;

    driver.answer.flags = VGPU_OPENED_WINDOW;
    driver.page.flags = 0;
    assert_int_equal(try_open(&channel, &refusal), 0);
    assert_int_equal(channel.map.bytes, good.total_bytes);
    assert_null(channel.transfers);
    channel_mapping_release(&channel.map);
    device_release_doorbell(channel.doorbell);
    close(channel.fd);
}

/* This machine's memory, and no doorbell to map. */
static void test_device_opens_by_grants(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;

    driver.answer.flags = VGPU_OPENED_GRANT;
    driver.page.flags = 0;
    driver.no_doorbell_map = true;
    assert_int_equal(try_open(&channel, &refusal), 0);
    assert_int_equal(channel.map.bytes, good.total_bytes);
    assert_null(channel.transfers);
    assert_null(channel.doorbell);
    channel_mapping_release(&channel.map);
    device_release_doorbell(channel.doorbell);
    close(channel.fd);
}

static void test_device_and_host_agree_who_copies(void **state)
{
    driver.answer.flags = VGPU_OPENED_WINDOW;
    assert_refused(EPROTO, VGPU_INTERNAL, "disagree on who copies");
    driver.answer.flags = VGPU_OPENED_GRANT;
    assert_refused(EPROTO, VGPU_INTERNAL, "disagree on who copies");
    driver.answer.flags = 0;
    driver.page.flags = 0;
    assert_refused(EPROTO, VGPU_INTERNAL, "disagree on who copies");
}

static void test_device_is_no_socket(void **state)
{
    assert_true(device_is_path("/dev/null"));
    assert_false(device_is_path("/proc/self/exe"));
    assert_false(device_is_path("/nowhere"));
}

static void test_device_that_is_not_there(void **state)
{
    driver.open_error = ENOENT;
    assert_refused(ENOENT, VGPU_NOT_CONFIGURED, "cannot open " DRIVER);
}

static void test_device_driver_without_memory(void **state)
{
    driver.control_error = ENOMEM;
    assert_refused(ENOMEM, VGPU_NO_MEMORY, "the driver cannot open a channel");
}

static void test_device_driver_that_fails(void **state)
{
    driver.control_error = ENODEV;
    assert_refused(ENODEV, VGPU_INTERNAL, "the driver cannot open a channel");
}

static void test_device_refusal_has_its_hint(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;

    driver.answer.status = VGPU_STARTING;
    driver.answer.retry_ns = 12345;
    assert_int_equal(try_open(&channel, &refusal), -EACCES);
    assert_int_equal(refusal.status, VGPU_STARTING);
    assert_int_equal(refusal.retry_ns, 12345);
    assert_int_not_equal(refusal.text[0], '\0');
}

static void test_device_text_without_an_end(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;

    driver.answer.status = VGPU_QUARANTINED;
    memset(driver.answer.text, 'x', sizeof(driver.answer.text));
    assert_int_equal(try_open(&channel, &refusal), -EACCES);
    assert_int_equal(strlen(refusal.text), sizeof(driver.answer.text) - 1);
}

static void test_device_geometry_is_checked(void **state)
{
    struct vgpu_channel_geometry *g = &driver.answer.geometry;
    const struct {
        uint64_t *field;
        uint64_t value;
    } wrong[] = {
        {&g->sub_offset, 0},
        {&g->sub_offset, 4097},
        {&g->comp_offset, 4096},
        {&g->comp_offset, UINT64_MAX - 63},
        {&g->data_offset, 8192},
        {&g->data_offset, UINT64_MAX - 4095},
        {&g->data_bytes, 8193},
        {&g->data_bytes, 12288},
        {&g->data_bytes, VGPU_DATA_MAX_BYTES + 4096},
        {&g->total_bytes, 16384},
        {&g->total_bytes, UINT64_MAX - 4095},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(wrong); i++) {
        *g = good;
        *wrong[i].field = wrong[i].value;
        assert_refused(EPROTO, VGPU_INTERNAL, "geometry");
    }
    *g = good;
    g->sub_granules = 65;
    assert_refused(EPROTO, VGPU_INTERNAL, "sub_granules");
    *g = good;
    g->comp_granules = VGPU_RING_MAX_GRANULES * 2;
    assert_refused(EPROTO, VGPU_INTERNAL, "comp_granules");
}

static void test_device_page_must_agree(void **state)
{
    driver.page.geometry.data_bytes -= 4096;
    assert_refused(EPROTO, VGPU_INTERNAL, "the page's copy differs");
    driver.page.geometry = good;
    driver.page.magic++;
    assert_refused(EPROTO, VGPU_INTERNAL, "magic");
    driver.page.magic--;
    driver.page.layout++;
    assert_refused(EPROTO, VGPU_INTERNAL, "layout");
}

static void test_device_memory_that_cannot_be_mapped(void **state)
{
    driver.no_channel_map = true;
    assert_refused(EPROTO, VGPU_INTERNAL, "cannot map the channel's memory");
    driver.no_channel_map = false;
    driver.no_doorbell_map = true;
    assert_refused(ENODEV, VGPU_INTERNAL, "cannot map the doorbell");
}

static void test_device_populates_behind_the_rings(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;

    assert_int_equal(try_open(&channel, &refusal), 0);
    assert_int_equal(device_populate(channel.fd, &good, 4096, 4096), 0);
    assert_int_equal(driver.populated.offset, good.data_offset + 4096);
    assert_int_equal(driver.populated.bytes, 4096);
    driver.control_error = ENOMEM;
    assert_int_equal(device_populate(channel.fd, &good, 0, 4096), -ENOMEM);
    channel_mapping_release(&channel.map);
    device_release_doorbell(channel.doorbell);
    close(channel.fd);
}

static void test_device_state_has_ends(void **state)
{
    struct device_channel channel;
    struct local_refusal refusal;
    struct vgpu_ioc_state got;

    assert_int_equal(try_open(&channel, &refusal), 0);
    assert_int_equal(device_state(channel.fd, &got), 0);
    assert_int_equal(strlen(got.pool), sizeof(got.pool) - 1);
    assert_int_equal(strlen(got.name), sizeof(got.name) - 1);
    assert_int_equal(strlen(got.error_text), sizeof(got.error_text) - 1);
    assert_int_equal(strlen(got.gone_text), sizeof(got.gone_text) - 1);
    driver.control_error = ENODEV;
    assert_int_equal(device_state(channel.fd, &got), -ENODEV);
    channel_mapping_release(&channel.map);
    device_release_doorbell(channel.doorbell);
    close(channel.fd);
}

/* Of a driver without a channel. */
static int ask_monitor(struct vgpu_monitor *ret, struct local_refusal *refusal)
{
    int fd = device_open_file(DRIVER, refusal);
    int status = device_monitor(fd, 2, 16, ret, refusal);

    close(fd);
    return status;
}

static void test_device_tells_of_gpus(void **state)
{
    struct vgpu_monitor got;
    struct local_refusal refusal;

    driver.monitor.monitor = (struct vgpu_monitor){.gpus = 3, .gpu = 2, .name = "GPU"};
    assert_int_equal(ask_monitor(&got, &refusal), 0);
    assert_int_equal(driver.monitor_asked.gpu, 2);
    assert_int_equal(driver.monitor_asked.first, 16);
    assert_memory_equal(&got, &driver.monitor.monitor, sizeof(got));
}

static void test_device_monitor_refusals(void **state)
{
    struct vgpu_monitor got;
    struct local_refusal refusal;

    driver.monitor.status = VGPU_STARTING;
    driver.monitor.retry_ns = 7;
    memset(driver.monitor.text, 'x', sizeof(driver.monitor.text));
    assert_int_equal(ask_monitor(&got, &refusal), -EACCES);
    assert_int_equal(refusal.status, VGPU_STARTING);
    assert_int_equal(refusal.retry_ns, 7);
    assert_int_equal(strlen(refusal.text), sizeof(driver.monitor.text) - 1);
    driver.monitor = (struct vgpu_ioc_monitor){.monitor = {.known = ~0u}};
    assert_int_equal(ask_monitor(&got, &refusal), -EPROTO);
    assert_int_equal(refusal.status, VGPU_BAD_MESSAGE);
    driver.control_error = EOPNOTSUPP;
    assert_int_equal(ask_monitor(&got, &refusal), -EOPNOTSUPP);
    assert_int_equal(refusal.status, VGPU_VERSION);
    driver.control_error = ENODEV;
    assert_int_equal(ask_monitor(&got, &refusal), -ENODEV);
    assert_int_equal(refusal.status, VGPU_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_device_opens_and_maps, setup),
        cmocka_unit_test_setup(test_device_opens_in_the_window, setup),
        cmocka_unit_test_setup(test_device_opens_by_grants, setup),
        cmocka_unit_test_setup(test_device_and_host_agree_who_copies, setup),
        cmocka_unit_test_setup(test_device_is_no_socket, setup),
        cmocka_unit_test_setup(test_device_that_is_not_there, setup),
        cmocka_unit_test_setup(test_device_driver_without_memory, setup),
        cmocka_unit_test_setup(test_device_driver_that_fails, setup),
        cmocka_unit_test_setup(test_device_refusal_has_its_hint, setup),
        cmocka_unit_test_setup(test_device_text_without_an_end, setup),
        cmocka_unit_test_setup(test_device_geometry_is_checked, setup),
        cmocka_unit_test_setup(test_device_page_must_agree, setup),
        cmocka_unit_test_setup(test_device_memory_that_cannot_be_mapped, setup),
        cmocka_unit_test_setup(test_device_populates_behind_the_rings, setup),
        cmocka_unit_test_setup(test_device_state_has_ends, setup),
        cmocka_unit_test_setup(test_device_tells_of_gpus, setup),
        cmocka_unit_test_setup(test_device_monitor_refusals, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
