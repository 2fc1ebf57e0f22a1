/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of colour.c: when there are colours, and of table.c's cells, which it colours. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/colour.h"
#include "admin/table.h"

static bool chosen(struct colour_wish wish)
{
    struct vgpu_err err = {.code = 0};

    assert_int_equal(colour_choose(&wish, &err), 0);
    return colour_on();
}

static void test_colour_auto_is_for_terminals(void **state)
{
    assert_true(chosen((struct colour_wish){.term = "xterm", .terminal = true}));
    assert_true(chosen((struct colour_wish){.when = "auto", .term = "xterm", .terminal = true}));
    assert_false(chosen((struct colour_wish){.term = "xterm"}));
    assert_false(chosen((struct colour_wish){.term = "dumb", .terminal = true}));
    assert_false(chosen((struct colour_wish){.terminal = true}));
}

static void test_colour_no_color_counts_where_it_says_something(void **state)
{
    struct colour_wish wish = {.term = "xterm", .terminal = true, .no_color = ""};

    assert_true(chosen(wish));
    wish.no_color = "0";
    assert_false(chosen(wish));
}

static void test_colour_option_is_stronger(void **state)
{
    assert_true(chosen((struct colour_wish){.when = "always", .no_color = "1"}));
    assert_false(chosen((struct colour_wish){.when = "never", .term = "xterm", .terminal = true}));
}

static void test_colour_other_words_are_refused(void **state)
{
    struct colour_wish wish = {.when = "sometimes"};
    struct vgpu_err err = {.code = 0};

    assert_int_equal(colour_choose(&wish, &err), -EINVAL);
    assert_string_equal(err.text, "--color=sometimes is not one of: always, never, auto");
}

static void test_colour_states_have_meanings(void **state)
{
    assert_int_equal(colour_of_state("ok"), COLOUR_GOOD);
    assert_int_equal(colour_of_state("draining"), COLOUR_WARN);
    assert_int_equal(colour_of_state("quarantined"), COLOUR_BAD);
    assert_int_equal(colour_of_state("ok then"), COLOUR_PLAIN);
}

static void write_word(char *text, size_t size)
{
    FILE *file = fmemopen(text, size, "w");

    assert_non_null(file);
    colour_begin(file, COLOUR_BAD);
    fputs("bad", file);
    colour_end(file, COLOUR_BAD);
    colour_begin(file, COLOUR_PLAIN);
    colour_end(file, COLOUR_PLAIN);
    fclose(file);
}

static void test_colour_writes_nothing_where_it_is_off(void **state)
{
    char text[32];

    chosen((struct colour_wish){.when = "never"});
    write_word(text, sizeof(text));
    assert_string_equal(text, "bad");
    chosen((struct colour_wish){.when = "always"});
    write_word(text, sizeof(text));
    assert_string_equal(text, "\033[31mbad\033[0m");
}

static void assert_fitted(const char *text, size_t width, bool right, const char *expected)
{
    char fitted[TABLE_FIT_BYTES];

    table_fit(text, width, right, fitted, sizeof(fitted));
    assert_string_equal(fitted, expected);
}

static void test_colour_table_cells_fit(void **state)
{
    assert_fitted("web", 5, false, "web  ");
    assert_fitted("web", 5, true, "  web");
    assert_fitted("web", 3, true, "web");
    assert_fitted("webs", 3, false, "we…");
    assert_fitted("webs", 1, false, "…");
    assert_fitted("web", 0, false, "");
    assert_fitted("日本語", 5, false, "日本…");
    assert_fitted("日本語", 4, false, "日… ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_colour_auto_is_for_terminals),
        cmocka_unit_test(test_colour_no_color_counts_where_it_says_something),
        cmocka_unit_test(test_colour_option_is_stronger),
        cmocka_unit_test(test_colour_other_words_are_refused),
        cmocka_unit_test(test_colour_states_have_meanings),
        cmocka_unit_test(test_colour_writes_nothing_where_it_is_off),
        cmocka_unit_test(test_colour_table_cells_fit),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
