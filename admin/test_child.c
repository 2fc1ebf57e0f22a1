/* SPDX-License-Identifier: Apache-2.0 */
/* Other programs, run with a time limit. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/child.h"
#include "common/clock.h"

#define MOST_BYTES 1000

/* Runs a script of the shell's. */
static int run(const char *script, struct child_result *ret_result, struct vgpu_err *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    const struct child child = {.argv = argv,
                                .name = "the script",
                                .most_bytes = MOST_BYTES,
                                .timeout_s = 1,
                                .take_errors = true};

    return child_run(&child, ret_result, err);
}

static struct child_result run_ok(const char *script)
{
    struct child_result result;
    struct vgpu_err err = {.code = 0};

    if (run(script, &result, &err) < 0)
        fail_msg("%s", err.text);
    return result;
}

static void test_child_output_and_errors_are_apart(void **state)
{
    struct child_result result = run_ok("echo out; echo 'bad\tthing' >&2");

    (void)state;
    assert_string_equal(result.text, "out\n");
    assert_int_equal(result.size, 4);
    assert_string_equal(result.errors, "bad thing");
    assert_int_equal(result.status, 0);
    free(result.text);
}

static void test_child_status_is_told(void **state)
{
    struct child_result result = run_ok("exit 3");

    (void)state;
    assert_int_equal(result.status, 3);
    free(result.text);
    result = run_ok("kill -9 $$");
    assert_int_equal(result.status, CHILD_SIGNALLED + SIGKILL);
    free(result.text);
}

static void test_child_has_nothing_to_read(void **state)
{
    struct child_result result = run_ok("cat");

    (void)state;
    assert_int_equal(result.size, 0);
    free(result.text);
}

static void test_child_output_limit(void **state)
{
    struct child_result result = run_ok("head -c 1000 /dev/zero");
    struct vgpu_err err = {.code = 0};

    (void)state;
    assert_int_equal(result.size, MOST_BYTES);
    free(result.text);
    assert_int_equal(run("head -c 1001 /dev/zero; sleep 60", &result, &err), -E2BIG);
    assert_string_equal(err.text, "the script printed more than 1000 bytes");
}

static void test_child_errors_limit(void **state)
{
    struct child_result result = run_ok("head -c 100000 /dev/zero | tr '\\0' x >&2; echo done");

    (void)state;
    assert_int_equal(strlen(result.errors), CHILD_ERRORS_BYTES - 1);
    assert_string_equal(result.text, "done\n");
    free(result.text);
}

static void test_child_that_hangs_is_killed(void **state)
{
    uint64_t start_ns = vgpu_clock_ns();
    struct child_result result;
    struct vgpu_err err = {.code = 0};

    (void)state;
    assert_int_equal(run("exec sleep 60", &result, &err), -ETIMEDOUT);
    assert_string_equal(err.text, "the script did not end within 1 s");
    assert_true(vgpu_clock_ns() - start_ns < 30 * VGPU_NS_PER_S);
}

static void test_child_that_is_not_there(void **state)
{
    const char *const argv[] = {"/nonexistent", NULL};
    const struct child child = {.argv = argv, .name = "it", .most_bytes = 1, .timeout_s = 1};
    struct child_result result;
    struct vgpu_err err = {.code = 0};

    (void)state;
    assert_int_equal(child_run(&child, &result, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_output_and_errors_are_apart),
        cmocka_unit_test(test_child_status_is_told),
        cmocka_unit_test(test_child_has_nothing_to_read),
        cmocka_unit_test(test_child_output_limit),
        cmocka_unit_test(test_child_errors_limit),
        cmocka_unit_test(test_child_that_hangs_is_killed),
        cmocka_unit_test(test_child_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
