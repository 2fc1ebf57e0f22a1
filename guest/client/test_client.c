/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client: numbers on the command line, and when to try again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/client/backoff.h"
#include "guest/client/number.h"

static void test_number_units_and_limits(void **state)
{
    uint64_t value;

    assert_true(number_u64("0x10", &value));
    assert_int_equal(value, 16);
    assert_true(number_u64("256M", &value));
    assert_int_equal(value, 256u << 20);
    assert_true(number_u64("18446744073709551615", &value));
    assert_false(number_u64("18446744073709551616", &value));
    assert_false(number_u64("17179869184G", &value));
    assert_false(number_u64("-1", &value));
    assert_false(number_u64("", &value));
    assert_false(number_u64("1x", &value));
    assert_false(number_u64("1KB", &value));
    assert_false(number_u64(" 1", &value));
}

static void test_number_lists(void **state)
{
    int32_t list[4];

    assert_int_equal(number_list("1,-2147483648,4294967295", list, 4), 3);
    assert_int_equal(list[1], INT32_MIN);
    assert_int_equal(list[2], -1);
    assert_int_equal(number_list("1,2,3,4", list, 4), 4);
    assert_int_equal(number_list("1,2,3,4,5", list, 4), 0);
    assert_int_equal(number_list("1,,2", list, 4), 0);
    assert_int_equal(number_list("1,", list, 4), 0);
    assert_int_equal(number_list("-2147483649", list, 4), 0);
    assert_int_equal(number_list("4294967296", list, 4), 0);
    assert_int_equal(number_list("a", list, 4), 0);
}

static void test_number_triples(void **state)
{
    uint32_t triple[3];

    assert_true(number_triple("7,8", triple));
    assert_int_equal(triple[0], 7);
    assert_int_equal(triple[1], 8);
    assert_int_equal(triple[2], 1);
    assert_false(number_triple("1,2,3,4", triple));
    assert_false(number_triple("0", triple));
    assert_false(number_triple("1,", triple));
}

static void test_number_arguments(void **state)
{
    struct number_argument argument;
    float narrow;

    assert_true(number_argument("u8:255", &argument));
    assert_int_equal(argument.size, 1);
    assert_int_equal(argument.bytes[0], 255);
    assert_false(number_argument("u8:256", &argument));
    assert_true(number_argument("s16:-32768", &argument));
    assert_false(number_argument("s16:32768", &argument));
    assert_true(number_argument("f32:0.5", &argument));
    memcpy(&narrow, argument.bytes, 4);
    assert_true(narrow == 0.5f);
    assert_int_equal(argument.size, 4);
    assert_true(number_argument("u64:0xffffffffffffffff", &argument));
    assert_false(number_argument("u128:1", &argument));
    assert_false(number_argument("u32:", &argument));
    assert_false(number_argument("u32", &argument));
    assert_false(number_argument("u32:x", &argument));
    assert_false(number_argument("f64:1z", &argument));
}

static void test_backoff_five_attempts_up_to_five_seconds(void **state)
{
    struct backoff backoff = {0};
    uint64_t before = 0, pause;

    for (int i = 1; i < BACKOFF_ATTEMPTS; i++) {
        assert_true(backoff_next(&backoff, 0, &pause));
        assert_true(pause > before && pause <= BACKOFF_MOST_NS);
        assert_true(i > 1 || pause == BACKOFF_FIRST_NS);
        before = pause;
    }
    assert_false(backoff_next(&backoff, 0, &pause));
}

static void test_backoff_heeds_the_hint(void **state)
{
    struct backoff backoff = {0};
    uint64_t pause;

    assert_true(backoff_next(&backoff, 700000000, &pause));
    assert_int_equal(pause, 700000000);
    assert_true(backoff_next(&backoff, UINT64_MAX, &pause));
    assert_int_equal(pause, BACKOFF_MOST_NS);
    assert_true(backoff_next(&backoff, 1, &pause));
    assert_int_equal(pause, BACKOFF_FIRST_NS * BACKOFF_FACTOR * BACKOFF_FACTOR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_units_and_limits),
        cmocka_unit_test(test_number_lists),
        cmocka_unit_test(test_number_triples),
        cmocka_unit_test(test_number_arguments),
        cmocka_unit_test(test_backoff_five_attempts_up_to_five_seconds),
        cmocka_unit_test(test_backoff_heeds_the_hint),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
