/* SPDX-License-Identifier: Apache-2.0 */
/* The loop, its timers in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "mediator/loop.h"

static uint64_t virtual_ns;

static uint64_t read_virtual(void *context)
{
    return virtual_ns;
}

struct probe {
    struct loop *loop;
    struct loop_timer timer;
    struct loop_watch watch;
    int fired, fd;
    unsigned order;
    struct probe *victim;
};

static unsigned order;

static void fire(void *context)
{
    struct probe *probe = context;

    probe->fired++;
    probe->order = ++order;
}

static struct loop *make_loop(void)
{
    virtual_ns = 1000;
    order = 0;
    return loop_new(read_virtual, NULL, NULL);
}

static void test_loop_fires_in_order(void **state)
{
    struct loop *loop = make_loop();
    struct probe probes[200] = {{NULL}};

    for (unsigned i = 0; i < 200; i++) {
        probes[i].timer = (struct loop_timer){.fire = fire, .context = &probes[i]};
        assert_int_equal(loop_timer_set(loop, &probes[i].timer, 2000 + (i * 7919) % 200), 0);
    }
    assert_int_equal(loop_next_due(loop), 2000);
    virtual_ns = 1999;
    loop_turn(loop, false);
    assert_int_equal(order, 0);
    virtual_ns = 2199;
    loop_turn(loop, false);
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(probes[i].order, 1 + (i * 7919) % 200);
    assert_int_equal(loop_next_due(loop), UINT64_MAX);
    loop_free(loop);
}

static void test_loop_moves_and_clears_timers(void **state)
{
    struct loop *loop = make_loop();
    struct probe a = {NULL}, b = {NULL};

    a.timer = (struct loop_timer){.fire = fire, .context = &a};
    b.timer = (struct loop_timer){.fire = fire, .context = &b};
    loop_timer_set(loop, &a.timer, 2000);
    loop_timer_set(loop, &b.timer, 3000);
    loop_timer_set(loop, &a.timer, 4000);
    assert_int_equal(loop_next_due(loop), 3000);
    loop_timer_clear(loop, &b.timer);
    loop_timer_clear(loop, &b.timer);
    assert_int_equal(loop_next_due(loop), 4000);
    virtual_ns = 5000;
    loop_turn(loop, false);
    assert_int_equal(a.fired, 1);
    assert_int_equal(b.fired, 0);
    loop_free(loop);
}

static void fire_and_clear(void *context)
{
    struct probe *probe = context;

    probe->fired++;
    loop_timer_clear(probe->loop, &probe->victim->timer);
    free(probe->victim);
}

static void test_loop_timer_may_free_another(void **state)
{
    struct loop *loop = make_loop();
    struct probe *victim = calloc(1, sizeof(*victim));
    struct probe probe = {.loop = loop, .victim = victim};

    probe.timer = (struct loop_timer){.fire = fire_and_clear, .context = &probe};
    victim->timer = (struct loop_timer){.fire = fire, .context = victim};
    loop_timer_set(loop, &probe.timer, 1500);
    loop_timer_set(loop, &victim->timer, 1600);
    virtual_ns = 2000;
    loop_turn(loop, false);
    assert_int_equal(probe.fired, 1);
    assert_int_equal(loop_next_due(loop), UINT64_MAX);
    loop_free(loop);
}

static void ready(void *context, uint32_t events)
{
    struct probe *probe = context;
    uint64_t count;

    probe->fired++;
    assert_int_equal(read(probe->fd, &count, sizeof(count)), sizeof(count));
    if (probe->victim) {
        loop_watch_remove(probe->loop, &probe->victim->watch);
        probe->victim = NULL;
    }
}

static void test_loop_removed_watch_is_not_called(void **state)
{
    struct loop *loop = make_loop();
    struct probe probes[2] = {{.loop = loop, .fd = eventfd(1, EFD_NONBLOCK)},
                              {.loop = loop, .fd = eventfd(1, EFD_NONBLOCK)}};

    for (int i = 0; i < 2; i++) {
        probes[i].victim = &probes[1 - i];
        assert_int_equal(
            loop_watch_add(loop, &probes[i].watch, probes[i].fd, EPOLLIN, ready, &probes[i]), 0);
    }
    loop_turn(loop, false); /* both are ready; whoever is first removes the other */
    assert_int_equal(probes[0].fired + probes[1].fired, 1);
    for (int i = 0; i < 2; i++) {
        loop_watch_remove(loop, &probes[i].watch);
        close(probes[i].fd);
    }
    loop_free(loop);
}

static void test_loop_wakes_for_real_timer(void **state)
{
    struct loop *loop = loop_new(NULL, NULL, NULL);
    struct probe probe = {.loop = loop};

    probe.timer = (struct loop_timer){.fire = fire, .context = &probe};
    loop_timer_set(loop, &probe.timer, loop_now(loop) + 2000000);
    while (!probe.fired)
        assert_int_equal(loop_turn(loop, true), 0);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_fires_in_order),
        cmocka_unit_test(test_loop_moves_and_clears_timers),
        cmocka_unit_test(test_loop_timer_may_free_another),
        cmocka_unit_test(test_loop_removed_watch_is_not_called),
        cmocka_unit_test(test_loop_wakes_for_real_timer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
