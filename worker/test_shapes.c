/* SPDX-License-Identifier: Apache-2.0 */
/* The hostile client's shapes against cuda.spec: an op without one, or with another, fails here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "worker/test_hostile_client.h"

static unsigned shapes_of(uint16_t code)
{
    unsigned count = 0;

    for (size_t i = 0; i < hostile_shapes_count; i++)
        count += hostile_shapes[i].code == code;
    return count;
}

static void test_shapes_each_op_has_one(void **state)
{
    for (size_t i = 0; i < hostile_rules_count; i++)
        if (shapes_of(hostile_rules[i].code) != 1)
            fail_msg("%s has %u shapes", hostile_rules[i].name, shapes_of(hostile_rules[i].code));
    assert_int_equal(hostile_shapes_count, hostile_rules_count);
    assert_int_equal(hostile_rules_count, cuda_op_rows_count);
}

/* The kind of handle that a letter stands for, and whether it makes a new one; 0: no handle. */
static unsigned kind_of_letter(char letter, bool *makes)
{
    *makes = (letter >= 'A' && letter <= 'I') || letter == 'P' || letter == 'M';
    if (letter >= 'A' && letter <= 'I')
        return (unsigned)(letter - 'A') + 1;
    if (letter >= '1' && letter <= '9' && letter != '4' && letter != '8')
        return (unsigned)(letter - '0');
    switch (letter) {
    case 'x':
        return CUDA_KIND_CONTEXT;
    case 'P':
    case 'r':
        return CUDA_KIND_POOL;
    case 'M':
    case 'm':
        return CUDA_KIND_MEMORY;
    case 's':
    case 'S':
        return CUDA_KIND_STREAM;
    default:
        return 0;
    }
}

static bool fits(char letter, const struct hostile_rule *rule)
{
    bool makes;
    unsigned kind = kind_of_letter(letter, &makes);

    if (rule->what == 'n' || rule->what == 'h' || rule->what == 'd')
        return kind == rule->kind && makes == (rule->what == 'n') &&
               (!rule->null || letter == 's' || letter == 'r');
    if (kind != 0)
        return false;
    switch (rule->what) {
    case '4':
        return strchr("4ne#K", letter);
    case '8':
        return strchr("8tkughajycf", letter);
    case 'b':
        return strchr("biovqwWTXY", letter);
    default:
        return letter == rule->what;
    }
}

static const struct hostile_rules *rules_of(uint16_t code)
{
    for (size_t i = 0; i < hostile_rules_count; i++)
        if (hostile_rules[i].code == code)
            return &hostile_rules[i];
    fail_msg("there is no op 0x%04x", code);
    abort();
}

static void test_shapes_fit_the_spec(void **state)
{
    for (size_t i = 0; i < hostile_shapes_count; i++) {
        const char *fields = hostile_shapes[i].fields;
        const struct hostile_rules *rules = rules_of(hostile_shapes[i].code);

        if (strlen(fields) != rules->count)
            fail_msg("%s: %zu fields in its shape, %u in the spec", rules->name, strlen(fields),
                     rules->count);
        for (unsigned j = 0; j < rules->count; j++)
            if (!fits(fields[j], &rules->rules[j]))
                fail_msg("%s: field %u is '%c' in its shape, '%c' in the spec", rules->name, j,
                         fields[j], rules->rules[j].what);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_each_op_has_one),
        cmocka_unit_test(test_shapes_fit_the_spec),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
