/* SPDX-License-Identifier: Apache-2.0 */
/* The tree against a linear search, and the fair queue's invariants under random operations. */
#include "sched/fairq.h"
#include "sched/sim_stat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N 64

static bool before(const struct tree_node *a, const struct tree_node *b)
{
    return a->key != b->key ? tree_before(a->key, b->key) : tree_before(a->seq, b->seq);
}

static struct tree_node *slow_first(struct tree_node *nodes, uint64_t limit, bool any)
{
    struct tree_node *best = NULL;

    for (unsigned i = 0; i < N; i++) {
        if (nodes[i].height && (any || !tree_before(limit, nodes[i].v)) &&
            (!best || before(&nodes[i], best)))
            best = &nodes[i];
    }
    return best;
}

static int depth(const struct tree_node *node)
{
    int left, right;

    if (!node)
        return 0;
    left = depth(node->left);
    right = depth(node->right);
    assert_in_range(left - right + 1, 0, 2);
    return (left > right ? left : right) + 1;
}

/* Keys and v start just below 2^64, so that both wrap. */
static void test_tree_against_linear_search(void **state)
{
    struct tree tree = {0};
    struct tree_node nodes[N] = {0};
    uint64_t random = 1;

    for (unsigned step = 0; step < 20000; step++) {
        struct tree_node *node = &nodes[sim_random_next(&random) % N];
        uint64_t limit = UINT64_MAX - 50 + sim_random_next(&random) % 100;

        if (node->height) {
            tree_remove(&tree, node);
        } else {
            node->key = UINT64_MAX - 20 + sim_random_next(&random) % 40;
            node->v = UINT64_MAX - 50 + sim_random_next(&random) % 100;
            node->seq = step;
            tree_insert(&tree, node);
        }
        assert_ptr_equal(tree_first(&tree), slow_first(nodes, 0, true));
        assert_ptr_equal(tree_first_within(&tree, limit), slow_first(nodes, limit, false));
        if (step % 100 == 0)
            depth(tree.root);
    }
}

static void test_tree_lowest(void **state)
{
    struct tree tree = {0};
    struct tree_node a = {.key = 1, .v = 9}, b = {.key = 2, .v = 5, .seq = 1},
                     c = {.key = 2, .v = 5, .seq = 2};

    assert_null(tree_lowest(&tree));
    assert_null(tree_first(&tree));
    tree_insert(&tree, &c);
    tree_insert(&tree, &a);
    tree_insert(&tree, &b);
    assert_ptr_equal(tree_lowest(&tree), &b);
}

/* Sum of weight x (V - v) over the members, V with its remainder: must be 0. */
static __int128 sum_of_lags(const struct fairq *queue, const struct fairq_entity *entities)
{
    __int128 sum = queue->remainder;

    for (unsigned i = 0; i < N; i++) {
        if (entities[i].member)
            sum -= (__int128)(int64_t)(entities[i].v - queue->base) * (__int128)entities[i].weight;
    }
    return sum;
}

static void random_step(struct fairq *queue, struct fairq_entity *entity, uint64_t *random)
{
    bool waits = entity->wait.height, leaves = entity->leave.height;

    switch (sim_random_next(random) % 4) {
    case 0:
        if (!waits && (leaves || !entity->member)) {
            fairq_join(queue, entity, fairq_time(queue, sim_random_next(random) % 1000000));
            fairq_enqueue(queue, entity, entity->v + 1000, sim_random_next(random));
        }
        break;
    case 1:
        if (waits)
            fairq_dequeue(queue, entity);
        fairq_leave(queue, entity);
        break;
    default:
        if (entity->member && !leaves) {
            if (waits)
                fairq_dequeue(queue, entity);
            fairq_charge(queue, entity, sim_random_next(random) % 20000000);
            fairq_enqueue(queue, entity, entity->v + 1000, sim_random_next(random));
        }
    }
}

/* Starts near 2^64. */
static void test_fairq_lags_add_up_to_zero_and_time_is_monotone(void **state)
{
    struct fairq queue = {.base = UINT64_MAX - 1000000};
    struct fairq_entity entities[N];
    uint64_t random = 2;

    memset(entities, 0, sizeof(entities));
    for (unsigned i = 0; i < N; i++)
        entities[i].weight = 1000 + sim_random_next(&random) % 400000;
    for (unsigned step = 0; step < 50000; step++) {
        uint64_t was = queue.base;

        random_step(&queue, &entities[sim_random_next(&random) % N], &random);
        assert_true(sum_of_lags(&queue, entities) == 0);
        assert_false(tree_before(queue.base, was));
    }
}

static void test_fairq_somebody_is_always_eligible(void **state)
{
    struct fairq queue = {0};
    struct fairq_entity entities[N];
    uint64_t random = 3;

    memset(entities, 0, sizeof(entities));
    for (unsigned i = 0; i < N; i++) {
        entities[i].weight = 1000 + sim_random_next(&random) % 400000;
        fairq_join(&queue, &entities[i], fairq_time(&queue, 0));
        fairq_enqueue(&queue, &entities[i], entities[i].v + i, i);
    }
    for (unsigned step = 0; step < 20000; step++) {
        struct fairq_entity *next = fairq_pick(&queue, queue.base);

        assert_false(tree_before(queue.base, next->v));
        fairq_dequeue(&queue, next);
        fairq_charge(&queue, next, sim_random_next(&random) % 20000000);
        fairq_enqueue(&queue, next, next->v + fairq_distance(10000000, next->weight), step);
    }
}

static void test_fairq_owed_is_forfeited_on_leaving(void **state)
{
    struct fairq queue = {0};
    struct fairq_entity a = {.weight = 1000}, b = {.weight = 1000};

    fairq_join(&queue, &a, 0);
    fairq_join(&queue, &b, 0);
    fairq_charge(&queue, &a, 1000000);
    fairq_leave(&queue, &b);
    assert_false(b.member);
    assert_int_equal(queue.base, a.v);
    fairq_join(&queue, &b, fairq_time(&queue, 0));
    assert_int_equal(b.v, queue.base);
}

static void test_fairq_debtor_stays_until_it_is_paid(void **state)
{
    struct fairq queue = {0};
    struct fairq_entity a = {.weight = 1000}, b = {.weight = 1000};
    uint64_t v;

    fairq_join(&queue, &a, 0);
    fairq_join(&queue, &b, 0);
    fairq_charge(&queue, &a, 1000000);
    v = a.v;
    fairq_leave(&queue, &a);
    assert_true(a.member);
    fairq_join(&queue, &a, fairq_time(&queue, 0));
    assert_int_equal(a.v, v);
    fairq_leave(&queue, &a);
    fairq_charge(&queue, &b, 1000000);
    assert_false(a.member);
}

static void test_fairq_forget_hides_the_step_back(void **state)
{
    struct fairq queue = {0};
    struct fairq_entity a = {.weight = 1000}, b = {.weight = 1000};
    uint64_t shown;

    fairq_join(&queue, &a, 0);
    fairq_join(&queue, &b, 0);
    fairq_charge(&queue, &a, 1000000);
    shown = queue.base + queue.shift;
    fairq_forget(&queue, &a);
    assert_int_equal(queue.base, b.v);
    assert_int_equal(queue.base + queue.shift, shown);
}

static void test_fairq_distance_beyond_64_bits(void **state)
{
    uint64_t day = UINT64_C(86400000000000);

    assert_int_equal(fairq_distance(day, 1000), day / 1000 * 1048576);
    assert_int_equal(fairq_distance(999, 1000), 999 * 1048576 / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_against_linear_search),
        cmocka_unit_test(test_tree_lowest),
        cmocka_unit_test(test_fairq_lags_add_up_to_zero_and_time_is_monotone),
        cmocka_unit_test(test_fairq_somebody_is_always_eligible),
        cmocka_unit_test(test_fairq_owed_is_forfeited_on_leaving),
        cmocka_unit_test(test_fairq_debtor_stays_until_it_is_paid),
        cmocka_unit_test(test_fairq_forget_hides_the_step_back),
        cmocka_unit_test(test_fairq_distance_beyond_64_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
