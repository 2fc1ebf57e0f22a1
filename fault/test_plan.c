/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of plans: what each statement means, and what is refused with which words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault/plan.h"

static struct fault_plan plan;

/* The text with a driver's line in front, which becomes line 1. */
static int parse(const char *text, struct vgpu_err *err)
{
    static char whole[FAULT_MAX_BYTES * 2];
    int n = snprintf(whole, sizeof(whole), "driver /lib/real.so\n%s", text);

    return fault_plan_parse(&plan, whole, (size_t)n, err);
}

static const struct fault_rule *rule(const char *text)
{
    struct vgpu_err err = {.text = ""};

    if (parse(text, &err) < 0)
        fail_msg("'%s': %s", text, err.text);
    assert_int_equal(plan.n_rules, 1);
    return &plan.rules[0];
}

static void refused(const char *text, const char *because)
{
    struct vgpu_err err = {.text = ""};

    if (parse(text, &err) == 0)
        fail_msg("'%s' is taken", text);
    if (!strstr(err.text, because))
        fail_msg("'%s': '%s' says nothing of '%s'", text, err.text, because);
}

static void test_plan_files(void **state)
{
    (void)state;
    assert_int_equal(parse("state /tmp/s # shared\n\nhealth /tmp/h", NULL), 0);
    assert_string_equal(plan.driver, "/lib/real.so");
    assert_string_equal(plan.state, "/tmp/s");
    assert_string_equal(plan.health, "/tmp/h");
    refused("state relative", "must begin with '/'");
    refused("driver /again", "said twice");
    refused("state", "missing");
    assert_int_equal(fault_plan_parse(&plan, "state /tmp/s", 12, NULL), -22);
}

static void test_plan_fail(void **state)
{
    const struct fault_rule *got = rule("fail cuMemAlloc at 3 with CUDA_ERROR_OUT_OF_MEMORY");

    (void)state;
    assert_int_equal(got->verb, FAULT_FAIL);
    assert_int_equal(got->when, FAULT_AT);
    assert_int_equal(got->count, 3);
    assert_int_equal(got->result, CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(rule("fail cuMemAlloc from 1 with 999")->result, 999);
    refused("fail cuMemAlloc at 1 with 0", "no error");
    refused("fail cuMemAlloc at 1 with 1000", "no error");
    refused("fail cuMemAlloc at 1 with CUDA_SUCCESS", "no error");
    refused("fail cuMemAlloc at 1 with CUDA_ERROR_OF_MINE", "no error");
    refused("fail cuMemAlloc at 1", "with");
}

static void test_plan_counts(void **state)
{
    (void)state;
    assert_int_equal(rule("hang cuLaunchKernel every 7")->when, FAULT_EVERY);
    assert_int_equal(rule("hang cuLaunchKernel from 4294967295")->count, UINT32_MAX);
    refused("hang cuLaunchKernel from 4294967296", "from must be a number");
    refused("hang cuLaunchKernel at 0", "at must be a number");
    refused("hang cuLaunchKernel at -1", "at must be a number");
    refused("hang cuLaunchKernel at 1x", "at must be a number");
    refused("hang cuLaunchKernel after 1", "'after'");
    refused("hang cuLaunchKernel", "comes at, from or every");
}

static void test_plan_limits(void **state)
{
    const struct fault_rule *got;

    (void)state;
    got = rule("state /s\nhang cuLaunchKernel at 1 vm 4294967295 gated once");
    assert_true(got->has_vm && got->gated && got->once);
    assert_int_equal(got->vm, UINT32_MAX);
    got = rule("hang cuLaunchKernel at 1");
    assert_false(got->has_vm || got->gated || got->once);
    refused("hang cuLaunchKernel at 1 vm 0", "vm must be a number");
    refused("hang cuLaunchKernel at 1 vm 4294967296", "vm must be a number");
    refused("hang cuLaunchKernel at 1 vm 1 vm 2", "'vm'");
    refused("hang cuLaunchKernel at 1 gated", "no line says the state");
    refused("hang cuLaunchKernel at 1 once", "no line says the state");
}

static void test_plan_delay(void **state)
{
    (void)state;
    assert_int_equal(rule("delay * at 1 by 5us")->delay_ns, 5000);
    assert_int_equal(rule("delay * at 1 by 5ms")->delay_ns, 5000000);
    assert_true(rule("delay * at 1 by 3600s")->delay_ns == FAULT_MAX_DELAY_NS);
    refused("delay * at 1 by 3601s", "no time");
    refused("delay * at 1 by 0s", "no time");
    refused("delay * at 1 by 18446744073709551616us", "no time");
    refused("delay * at 1 by 5", "no time");
    refused("delay * at 1 5ms", "by is missing");
}

static void test_plan_die(void **state)
{
    (void)state;
    assert_int_equal(rule("die cuInit at 1 by abort")->death, FAULT_ABORT);
    assert_int_equal(rule("die cuInit at 1 by kill")->death, FAULT_KILL);
    assert_int_equal(rule("die cuInit at 1 by segv")->death, FAULT_SEGV);
    assert_int_equal(rule("die cuInit at 1 by exit 255")->exit_status, 255);
    refused("die cuInit at 1 by exit 256", "exit must be a number");
    refused("die cuInit at 1 by exit", "exit must be a number");
    refused("die cuInit at 1 by boredom", "'boredom'");
}

static void test_plan_corrupt(void **state)
{
    const struct fault_rule *got;

    (void)state;
    got = rule("corrupt cuMemAlloc at 1 argument dptr xor 0xffffffffffffffff");
    assert_string_equal(got->argument, "dptr");
    assert_true(got->mask == UINT64_MAX);
    assert_int_equal(rule("corrupt cuDeviceGet at 1 argument device xor 0xffffffff")->mask,
                     UINT32_MAX);
    refused("corrupt cuDeviceGet at 1 argument device xor 0x100000000", "has 4 bytes");
    refused("corrupt cuMemAlloc at 1 argument dptr xor 0x0", "no mask");
    refused("corrupt cuMemAlloc at 1 argument dptr xor 0x1ffffffffffffffff", "no mask");
    refused("corrupt cuMemAlloc at 1 argument dptr xor 12", "no mask");
    refused("corrupt cuMemAlloc at 1 argument dptr 0x1", "xor is missing");
    refused("corrupt cuMemAlloc at 1 argument bytesize xor 0x1", "writes no 'bytesize'");
    refused("corrupt cuMemAlloc at 1", "argument is missing");
}

static void test_plan_lose(void **state)
{
    (void)state;
    assert_int_equal(rule("lose cuLaunchKernel at 1")->result, CUDA_ERROR_DEVICE_UNAVAILABLE);
    assert_int_equal(rule("lose cuLaunchKernel at 1 with 719")->result, 719);
}

/* How many of the exported names a rule of this call is about. */
static unsigned covered(const char *call)
{
    struct fault_rule one = {.verb = FAULT_HANG};
    unsigned n = 0;

    snprintf(one.call, sizeof(one.call), "%s", call);
    for (unsigned i = 0; i < fault_n_calls; i++)
        n += fault_rule_covers(&one, &fault_call_names[i]);
    return n;
}

static void test_plan_names_of_calls(void **state)
{
    (void)state;
    assert_int_equal(covered("cuLaunchKernel_ptsz"), 1);
    assert_int_equal(covered("cuLaunchKernel"), 2); /* and its twin */
    assert_int_equal(covered("cuMemAlloc_v2"), 1);
    assert_true(covered("cuLaunchKernel*") > 2); /* cuLaunchKernelEx as well */
    assert_int_equal(covered("*"), fault_n_calls);
    refused("hang cuLunchKernel at 1", "no call of the driver API");
    refused("hang cuZ* at 1", "no call of the driver API");
}

static void test_plan_refuses_what_it_does_not_know(void **state)
{
    struct vgpu_err err;

    (void)state;
    refused("explode cuInit at 1", "line 2: 'explode'");
    refused("\nhang cuInit at 1 soon", "line 3: 'soon'");
    refused("hang cuInit at 1\nfail cuInit at 1 with 1 2", "line 3: '2'");
    assert_int_equal(fault_plan_parse(&plan, "driver /a\0b\n", 12, &err), -22);
}

static void test_plan_most_rules(void **state)
{
    static char text[FAULT_MAX_BYTES];
    size_t n = 0;

    (void)state;
    for (unsigned i = 0; i < FAULT_MAX_RULES; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "hang cuInit at 1\n");
    assert_int_equal(parse(text, NULL), 0);
    assert_int_equal(plan.n_rules, FAULT_MAX_RULES);
    snprintf(text + n, sizeof(text) - n, "hang cuInit at 1\n");
    refused(text, "more than 64 rules");
}

static void test_plan_most_bytes(void **state)
{
    static char text[FAULT_MAX_BYTES + 2];
    struct vgpu_err err;
    int n = snprintf(text, sizeof(text), "driver /lib/real.so\n");

    (void)state;
    memset(text + n, '\n', sizeof(text) - (size_t)n);
    assert_int_equal(fault_plan_parse(&plan, text, FAULT_MAX_BYTES, NULL), 0);
    assert_int_equal(fault_plan_parse(&plan, text, FAULT_MAX_BYTES + 1, &err), -22);
    assert_non_null(strstr(err.text, "65536"));
}

static void test_plan_longest_path(void **state)
{
    static char text[FAULT_PATH_BYTES + 8];

    (void)state;
    snprintf(text, sizeof(text), "state /");
    memset(text + 7, 'x', FAULT_PATH_BYTES - 2);
    assert_int_equal(parse(text, NULL), 0);
    text[7 + FAULT_PATH_BYTES - 2] = 'x';
    text[7 + FAULT_PATH_BYTES - 1] = '\0';
    refused(text, "too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_files),
        cmocka_unit_test(test_plan_fail),
        cmocka_unit_test(test_plan_counts),
        cmocka_unit_test(test_plan_limits),
        cmocka_unit_test(test_plan_delay),
        cmocka_unit_test(test_plan_die),
        cmocka_unit_test(test_plan_corrupt),
        cmocka_unit_test(test_plan_lose),
        cmocka_unit_test(test_plan_names_of_calls),
        cmocka_unit_test(test_plan_refuses_what_it_does_not_know),
        cmocka_unit_test(test_plan_most_rules),
        cmocka_unit_test(test_plan_most_bytes),
        cmocka_unit_test(test_plan_longest_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
