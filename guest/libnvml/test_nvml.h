/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of libnvml: a host by hand (carrier/fake_monitor.h), met by the library. */
#ifndef VGPU_LIBNVML_TEST_NVML_H
#define VGPU_LIBNVML_TEST_NVML_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "carrier/fake_monitor.h"
#include "guest/libnvml/library.h"
#include "guest/libnvml/nvml_api.h"

static struct fake_monitor host;

const char *library_path(void)
{
    return host.path;
}

static int setup(void **state)
{
    fake_monitor_start(&host);
    return 0;
}

/* Whatever the test has left initialised. */
static int teardown(void **state)
{
    while (nvmlShutdown() == NVML_SUCCESS)
        ;
    fake_monitor_stop(&host);
    return 0;
}

#define CASE(name)      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define assert_ok(call) assert_int_equal(call, NVML_SUCCESS)

/* The first device of a library that is initialised for it. */
static nvmlDevice_t first_device(void)
{
    nvmlDevice_t device = NULL;

    assert_ok(nvmlInit_v2());
    assert_ok(nvmlDeviceGetHandleByIndex_v2(0, &device));
    return device;
}

#endif
