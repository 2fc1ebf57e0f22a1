/* SPDX-License-Identifier: Apache-2.0 */
/* What happened lately: the ring, its texts, its limits, and those who wait for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "mediator/mediator.h"

struct bench {
    uint64_t now_ns;
    struct mediator mediator;
    struct vm vm;
    unsigned told;
};

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = VGPU_NS_PER_S;
    bench->mediator.loop = loop_new(clock_of, bench, NULL);
    assert_int_equal(events_init(&bench->mediator.events, bench->mediator.loop), 0);
    bench->vm = (struct vm){.mediator = &bench->mediator, .config = {.id = 7, .pool = "A"}};
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    events_release(&bench->mediator.events);
    assert_int_equal(loop_next_due(bench->mediator.loop), UINT64_MAX);
    loop_free(bench->mediator.loop);
    free(bench);
    return 0;
}

static void add(struct bench *bench, const char *text)
{
    const struct event event = {.kind = EVENT_CONFIG_CHANGED, .gpu_id = EVENT_NO_GPU, .text = text};

    events_add(&bench->mediator, &event);
}

static json_int_t number(const json_t *list, const char *key)
{
    return json_integer_value(json_object_get(list, key));
}

static const json_t *nth(const json_t *list, size_t i)
{
    return json_array_get(json_object_get(list, "events"), i);
}

static const char *text_of(const json_t *list, size_t i)
{
    return json_string_value(json_object_get(nth(list, i), "text"));
}

static void test_events_are_listed_after_a_number(void **state)
{
    struct bench *bench = *state;
    json_t *list;

    add(bench, "one");
    add(bench, "two");
    add(bench, "three");
    list = events_list(&bench->mediator.events, 1, 1);
    assert_int_equal(json_array_size(json_object_get(list, "events")), 1);
    assert_string_equal(text_of(list, 0), "two");
    assert_int_equal(number(nth(list, 0), "seq"), 2);
    assert_true(json_is_null(json_object_get(nth(list, 0), "vm_id")));
    assert_true(json_is_null(json_object_get(nth(list, 0), "pool")));
    assert_int_equal(number(list, "next"), 2); /* ask with this, and nothing is missed */
    json_decref(list);
    list = events_list(&bench->mediator.events, 3, 10);
    assert_int_equal(json_array_size(json_object_get(list, "events")), 0);
    assert_int_equal(number(list, "next"), 3);
    json_decref(list);
}

static void test_events_oldest_give_way(void **state)
{
    struct bench *bench = *state;
    char text[16];
    json_t *list;

    for (int i = 1; i <= EVENTS_KEPT + 1; i++) {
        snprintf(text, sizeof(text), "%d", i);
        add(bench, text);
    }
    list = events_list(&bench->mediator.events, 0, 1);
    assert_int_equal(number(list, "first"), 2);
    assert_string_equal(text_of(list, 0), "2");
    json_decref(list);
    list = events_list(&bench->mediator.events, EVENTS_KEPT, 10);
    assert_string_equal(text_of(list, 0), "4097");
    json_decref(list);
}

static void test_events_of_another_start_are_not_waited_for(void **state)
{
    struct bench *bench = *state;
    json_t *list;

    add(bench, "one");
    list = events_list(&bench->mediator.events, 500, 10);
    assert_int_equal(number(list, "next"), 1);
    assert_int_equal(json_array_size(json_object_get(list, "events")), 0);
    json_decref(list);
}

static void test_events_long_text_is_cut_between_characters(void **state)
{
    struct bench *bench = *state;
    char text[2 * EVENT_TEXT_BYTES];
    json_t *list;

    for (size_t lead = 0; lead < 4; lead++) {
        memset(text, 'a', lead);
        for (size_t i = lead; i + 4 < sizeof(text); i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        add(bench, text);
        list = events_list(&bench->mediator.events, lead, 1);
        assert_non_null(text_of(list, 0));
        assert_true(strlen(text_of(list, 0)) > EVENT_TEXT_BYTES - 5);
        assert_null(strchr(text_of(list, 0), '?'));
        json_decref(list);
    }
    add(bench, "\xff bad");
    list = events_list(&bench->mediator.events, 4, 1);
    assert_string_equal(text_of(list, 0), "? bad");
    json_decref(list);
}

static void test_events_guest_is_limited(void **state)
{
    struct bench *bench = *state;
    struct vm other = {.mediator = &bench->mediator, .config = {.id = 8, .pool = "B"}};
    json_t *list;
    size_t n;

    for (int i = 0; i < 100; i++)
        events_add_guest(&bench->vm, EVENT_VM_CONNECTED, EVENT_INFO, "connected");
    n = bench->mediator.events.last;
    assert_in_range(n, 1, 20);
    events_add_guest(&other, EVENT_VM_CONNECTED, EVENT_INFO, "connected");
    assert_int_equal(bench->mediator.events.last, n + 1); /* its own limit */
    bench->now_ns += 10 * VGPU_NS_PER_S;
    events_add_guest(&bench->vm, EVENT_VM_DISCONNECTED, EVENT_INFO, "gone");
    list = events_list(&bench->mediator.events, n + 1, 1);
    assert_non_null(strstr(text_of(list, 0), "gone (84 events of this VM"));
    assert_int_equal(number(nth(list, 0), "vm_id"), 7);
    assert_string_equal(json_string_value(json_object_get(nth(list, 0), "pool")), "A");
    json_decref(list);
}

static void test_events_kinds_have_names(void **state)
{
    for (int kind = 0; kind < EVENT_N_KINDS; kind++)
        assert_true(strlen(event_kind_name(kind)) > 3);
}

static void test_events_of_changes(void **state)
{
    struct bench *bench = *state;
    json_t *list;
    json_t *answer =
        json_pack("{s:s, s:s, s:{s:[{s:s, s:s, s:{s:i, s:f, s:s, s:i}, s:{s:i, s:f, s:s, s:i}},"
                  " {s:s, s:s, s:n, s:{s:s}}]}}",
                  "command", "set-weight", "who", "uid=0 pid=9", "result", "changes", "object",
                  "vm", "key", "7", "from", "vm_id", 7, "weight", 50.0, "pool", "A", "updated", 1,
                  "to", "vm_id", 7, "weight", 80.5, "pool", "A", "updated", 2, "object", "pool",
                  "key", "B", "from", "to", "pool", "B");

    assert_non_null(answer);
    events_add_changes(&bench->mediator, answer);
    json_object_set_new(answer, "command", json_string("record-fault"));
    events_add_changes(&bench->mediator, answer);
    list = events_list(&bench->mediator.events, 0, 10);
    assert_int_equal(json_array_size(json_object_get(list, "events")), 2);
    assert_string_equal(text_of(list, 0), "vm 7: weight 50.0 -> 80.5 by uid=0 pid=9");
    assert_int_equal(number(nth(list, 0), "vm_id"), 7);
    assert_string_equal(text_of(list, 1), "pool B added by uid=0 pid=9");
    json_decref(list);
    json_decref(answer);
}

static void test_events_of_many_changes_are_summed_up(void **state)
{
    struct bench *bench = *state;
    json_t *changes = json_array(), *answer, *list;

    for (int i = 1; i <= 40; i++)
        json_array_append_new(changes,
                              json_pack("{s:s, s:s, s:{s:s}, s:{s:s}}", "object", "vm", "key", "7",
                                        "from", "pool", "A", "to", "pool", "B"));
    answer = json_pack("{s:s, s:s, s:{s:o}}", "command", "assign-vms", "who", "uid=0 pid=9",
                       "result", "changes", changes);
    events_add_changes(&bench->mediator, answer);
    list = events_list(&bench->mediator.events, 0, 100);
    assert_int_equal(json_array_size(json_object_get(list, "events")), 33);
    assert_string_equal(text_of(list, 31), "vm 7: pool A -> B by uid=0 pid=9");
    assert_string_equal(text_of(list, 32), "assign-vms: 8 more changes by uid=0 pid=9");
    json_decref(list);
    json_decref(answer);
}

/* What assign-vms and import tell of each change has no more than that. */
static void test_events_of_a_change_that_is_told_in_brief(void **state)
{
    struct bench *bench = *state;
    json_t *answer = json_pack("{s:s, s:s, s:{s:[{s:s, s:s, s:{s:s}, s:{s:s}}]}}", "command",
                               "assign-vms", "who", "uid=0 pid=9", "result", "changes", "object",
                               "vm", "key", "7", "from", "pool", "A", "to", "pool", "B");
    json_t *list;

    assert_non_null(answer);
    events_add_changes(&bench->mediator, answer);
    list = events_list(&bench->mediator.events, 0, 10);
    assert_string_equal(text_of(list, 0), "vm 7: pool A -> B by uid=0 pid=9");
    assert_int_equal(number(nth(list, 0), "vm_id"), 7);
    json_decref(list);
    json_decref(answer);
}

/* waiting */

static void count(void *context)
{
    ((struct bench *)context)->told++;
}

static void turn(struct bench *bench)
{
    assert_int_equal(loop_turn(bench->mediator.loop, false), 0);
}

static void test_events_waiter_is_told_once(void **state)
{
    struct bench *bench = *state;
    struct event_waiter waiter = {.ready = count, .context = bench};

    assert_int_equal(events_wait(&bench->mediator.events, &waiter, VGPU_NS_PER_S), 0);
    turn(bench);
    assert_int_equal(bench->told, 0);
    add(bench, "one");
    add(bench, "two");
    assert_int_equal(bench->told, 0); /* not from within */
    turn(bench);
    assert_int_equal(bench->told, 1);
    add(bench, "three");
    bench->now_ns += 2 * VGPU_NS_PER_S;
    turn(bench);
    assert_int_equal(bench->told, 1);
}

static void test_events_waiter_is_told_of_nothing_in_time(void **state)
{
    struct bench *bench = *state;
    struct event_waiter waiter = {.ready = count, .context = bench};

    assert_int_equal(events_wait(&bench->mediator.events, &waiter, VGPU_NS_PER_S), 0);
    bench->now_ns += VGPU_NS_PER_S;
    turn(bench);
    assert_int_equal(bench->told, 1);
    add(bench, "one");
    turn(bench);
    assert_int_equal(bench->told, 1);
}

struct pair {
    struct bench *bench;
    struct event_waiter *other;
};

static void forget_other(void *context)
{
    struct pair *pair = context;

    pair->bench->told++;
    events_forget(&pair->bench->mediator.events, pair->other);
}

static void test_events_waiter_may_be_forgotten_while_others_are_told(void **state)
{
    struct bench *bench = *state;
    struct pair pairs[2] = {{.bench = bench}, {.bench = bench}};
    struct event_waiter waiters[2];

    for (int i = 0; i < 2; i++) {
        pairs[i].other = &waiters[!i];
        waiters[i] = (struct event_waiter){.ready = forget_other, .context = &pairs[i]};
        assert_int_equal(events_wait(&bench->mediator.events, &waiters[i], VGPU_NS_PER_S), 0);
    }
    add(bench, "one");
    turn(bench);
    assert_int_equal(bench->told, 1);
    events_forget(&bench->mediator.events, &waiters[0]);
    events_forget(&bench->mediator.events, &waiters[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_events_are_listed_after_a_number),
        TEST(test_events_oldest_give_way),
        TEST(test_events_of_another_start_are_not_waited_for),
        TEST(test_events_long_text_is_cut_between_characters),
        TEST(test_events_guest_is_limited),
        TEST(test_events_kinds_have_names),
        TEST(test_events_of_changes),
        TEST(test_events_of_many_changes_are_summed_up),
        TEST(test_events_of_a_change_that_is_told_in_brief),
        TEST(test_events_waiter_is_told_once),
        TEST(test_events_waiter_is_told_of_nothing_in_time),
        TEST(test_events_waiter_may_be_forgotten_while_others_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
