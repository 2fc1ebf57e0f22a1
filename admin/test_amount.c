/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of sizes, times, rates and weights as they are written and shown. */
#include "admin/amount.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"

struct amount_case {
    const char *setting, *text;
    int64_t amount;
};

static void test_amount_takes(void **state)
{
    static const struct amount_case cases[] = {
        {"depth", "1", 1},
        {"depth", "065536", 65536},
        {"depth", "0", 0},
        {"depth", "default", 0},
        {"rate_per_s", "1000000000", 1000000000},
        {"rate_per_s", "5/s", 5},
        {"rate_per_s", "none", 0},
        {"memory_bytes", "1048577", 1048577},
        {"memory_bytes", "1K", 1024},
        {"memory_bytes", "3m", 3 << 20},
        {"memory_bytes", "1.5G", INT64_C(3) << 29},
        {"memory_bytes", "4GiB", INT64_C(4) << 30},
        {"memory_bytes", "16T", INT64_C(16) << 40},
        {"job_timeout_ms", "7", 7},
        {"job_timeout_ms", "7ms", 7},
        {"job_timeout_ms", "1.1s", 1100},
        {"job_timeout_ms", "0.3s", 300},
        {"job_timeout_ms", "2m", 120000},
        {"job_timeout_ms", "24h", 86400000},
        {"fault_window_s", "90", 90},
        {"fault_window_s", "1.5m", 90},
        {"fault_window_s", "365d", 31536000},
        {"slice_us", "100us", 100},
        {"slice_us", "2.5ms", 2500},
        {"slice_us", "10s", 10000000},
        {"weight_hundredths", "1", 100},
        {"weight_hundredths", "33.33", 3333},
        {"weight_hundredths", "100.0", 10000},
        {"weight_hundredths", "none", 0},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        struct vgpu_err err = {.code = 0};
        int64_t amount = -1;

        if (amount_parse(amount_setting(cases[i].setting), cases[i].text, &amount, &err) < 0)
            fail_msg("%s: %s", cases[i].text, err.text);
        if (amount != cases[i].amount)
            fail_msg("%s became %lld", cases[i].text, (long long)amount);
    }
}

static void test_amount_refuses(void **state)
{
    static const struct amount_case cases[] = {
        {"depth", "", 0},
        {"depth", "-1", 0},
        {"depth", "+1", 0},
        {"depth", " 1", 0},
        {"depth", "1 ", 0},
        {"depth", "1.5", 0},
        {"depth", "1.", 0},
        {"depth", ".5", 0},
        {"depth", "1.2.3", 0},
        {"depth", "1e3", 0},
        {"depth", "0x10", 0},
        {"depth", "nan", 0},
        {"depth", "inf", 0},
        {"depth", "none", 0},
        {"depth", "1K", 0},
        {"depth", "999999999999999999999", 0},
        {"rate_per_s", "default", 0},
        {"memory_bytes", "1Q", 0},
        {"memory_bytes", "1KB", 0},
        {"memory_bytes", "1iB", 0},
        {"memory_bytes", "0.0001K", 0},
        {"memory_bytes", "9000000T", 0},
        {"job_timeout_ms", "1us", 0},
        {"job_timeout_ms", "1.5ms", 0},
        {"job_timeout_ms", "1.0001s", 0},
        {"fault_window_s", "1ms", 0},
        {"slice_us", "1m", 0},
        {"weight_hundredths", "1.001", 0},
        {"weight_hundredths", "1%", 0},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        int64_t amount = -1;

        if (amount_parse(amount_setting(cases[i].setting), cases[i].text, &amount, NULL) != -EINVAL)
            fail_msg("%s became %lld", cases[i].text, (long long)amount);
        assert_int_equal(amount, -1);
    }
}

static void test_amount_says_what_would_be_right(void **state)
{
    struct vgpu_err err = {.code = 0};
    int64_t amount;

    assert_int_equal(amount_parse(amount_setting("job_timeout_ms"), "soon", &amount, &err),
                     -EINVAL);
    assert_string_equal(err.text, "the job timeout is a time in ms, s, m or h, or 'default'");
}

static void test_amount_shows(void **state)
{
    static const struct amount_case cases[] = {
        {"depth", "4096 (default)", 0},
        {"depth", "12", 12},
        {"rate_per_s", "no limit", 0},
        {"rate_per_s", "1000000000/s", 1000000000},
        {"memory_bytes", "1 MiB", 1 << 20},
        {"memory_bytes", "1.5 GiB", INT64_C(3) << 29},
        {"memory_bytes", "16 TiB", INT64_C(16) << 40},
        {"job_timeout_ms", "30 s (default)", 0},
        {"job_timeout_ms", "999 ms", 999},
        {"job_timeout_ms", "1.5 m", 90000},
        {"fault_window_s", "365 d", 31536000},
        {"slice_us", "10 ms (default)", 0},
        {"slice_us", "100 us", 100},
        {"weight_hundredths", "none", 0},
        {"weight_hundredths", "33.33", 3333},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        char text[AMOUNT_BYTES];

        assert_string_equal(amount_show(amount_setting(cases[i].setting), cases[i].amount, text),
                            cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amount_takes),
        cmocka_unit_test(test_amount_refuses),
        cmocka_unit_test(test_amount_says_what_would_be_right),
        cmocka_unit_test(test_amount_shows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
