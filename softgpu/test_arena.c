/* SPDX-License-Identifier: Apache-2.0 */
/* The device's address space, and the table of handles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "softgpu/arena.h"
#include "softgpu/handle.h"

#define MEMORY (UINT64_C(64) << 20)
#define N      256
#define ROUNDS 20000

struct block {
    uint64_t base, size;
    uint8_t *host;
};

/* An arena lasts as long as its process, so these do. */
static struct arena *new_arena(void)
{
    static struct arena *arenas[8];
    static unsigned n;

    assert_in_range(n, 0, 7);
    arenas[n] = arena_new(MEMORY);
    assert_non_null(arenas[n]);
    return arenas[n++];
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

static int overlaps(const struct block *blocks, size_t n, const struct block *block)
{
    for (size_t i = 0; i < n; i++) {
        const struct block *other = &blocks[i];

        if (other->size && block->base < other->base + other->size + ARENA_GAP_BYTES &&
            other->base < block->base + block->size + ARENA_GAP_BYTES)
            return 1;
    }
    return 0;
}

/* A model test: blocks never overlap, keep their bytes, and all space comes back. */
static void test_arena_blocks_never_overlap(void **state)
{
    struct arena *arena = new_arena();
    struct block blocks[N] = {0};
    uint32_t random = 1;
    uint64_t base;
    void *host;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct block *block = &blocks[next_random(&random) % N];

        if (block->size) {
            assert_int_equal(block->host[0], (uint8_t)block->size);
            assert_int_equal(block->host[block->size - 1], (uint8_t)block->size);
            arena_give(arena, block->base, block->size);
            *block = (struct block){0};
        } else {
            struct block new = {.size = 1 + next_random(&random) % 20000};
            uint64_t align = UINT64_C(1) << next_random(&random) % 14;

            assert_true(arena_take(arena, new.size, align, &new.base, &host));
            assert_int_equal(new.base % (align > 512 ? align : 512), 0);
            assert_false(overlaps(blocks, N, &new));
            new.host = host;
            new.host[0] = new.host[new.size - 1] = (uint8_t) new.size;
            *block = new;
        }
    }
    for (int i = 0; i < N; i++) {
        if (blocks[i].size)
            arena_give(arena, blocks[i].base, blocks[i].size);
    }
    assert_true(arena_take(arena, 4 * MEMORY - ARENA_GAP_BYTES, 1, &base, &host));
    assert_false(arena_take(arena, 1, 1, &base, &host));
}

/* Every second of many blocks given back makes as many gaps as there can be. */
static void test_arena_gaps_have_room(void **state)
{
    struct arena *arena = new_arena();
    uint64_t bases[N], base;
    void *host;

    (void)state;
    for (int i = 0; i < N; i++)
        assert_true(arena_take(arena, 64, 1, &bases[i], &host));
    for (int i = 0; i < N; i += 2)
        arena_give(arena, bases[i], 64);
    for (int i = 1; i < N; i += 2)
        arena_give(arena, bases[i], 64);
    assert_true(arena_take(arena, 4 * MEMORY - ARENA_GAP_BYTES, 1, &base, &host));
}

static void test_arena_sizes_are_bounded(void **state)
{
    struct arena *arena = new_arena();
    uint64_t base;
    void *host;

    (void)state;
    assert_false(arena_take(arena, 4 * MEMORY - ARENA_GAP_BYTES + 1, 1, &base, &host));
    assert_false(arena_take(arena, UINT64_MAX, 1, &base, &host));
    assert_false(arena_take(arena, 0, 1, &base, &host));
    assert_true(arena_take(arena, 1, ARENA_MAX_ALIGN, &base, &host));
    assert_false(arena_take(arena, 1, 2 * ARENA_MAX_ALIGN, &base, &host));
    assert_true(arena_holds(arena, base));
    assert_false(arena_holds(arena, (uintptr_t)host));
}

static void test_arena_freed_space_is_reused_late(void **state)
{
    struct arena *arena = new_arena();
    uint64_t first, second;
    void *host;

    (void)state;
    assert_true(arena_take(arena, 64, 1, &first, &host));
    arena_give(arena, first, 64);
    assert_true(arena_take(arena, 64, 1, &second, &host));
    assert_int_not_equal(first, second);
}

static void test_arena_freed_pages_go_back(void **state)
{
    struct arena *arena = new_arena();
    uint64_t base;
    uint8_t *bytes;
    void *host;

    (void)state;
    assert_true(arena_take(arena, 1 << 20, 1, &base, &host));
    bytes = host;
    memset(bytes, 1, 1 << 20);
    arena_give(arena, base, 1 << 20);
    assert_int_equal(bytes[1 << 19], 0); /* the mapping stays; its pages are new */
}

static void test_arena_handles_are_never_given_twice(void **state)
{
    void *seen[100];
    int object;

    (void)state;
    for (int i = 0; i < 100; i++) {
        seen[i] = handle_new(HANDLE_EVENT, &object);
        for (int j = 0; j < i; j++)
            assert_ptr_not_equal(seen[i], seen[j]);
        handle_free(seen[i]);
        assert_null(handle_get(HANDLE_EVENT, seen[i]));
    }
}

static void test_arena_handles_have_a_kind(void **state)
{
    int object;
    void *handle = handle_new(HANDLE_STREAM, &object);

    (void)state;
    assert_true((uintptr_t)handle > 2); /* 1 and 2 are CUDA's own stream handles */
    assert_ptr_equal(handle_get(HANDLE_STREAM, handle), &object);
    assert_null(handle_get(HANDLE_EVENT, handle));
    assert_null(handle_get(HANDLE_EVENT, (void *)((uintptr_t)handle + 1)));
    handle_free(NULL);
    handle_free(handle);
    handle_free(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_blocks_never_overlap),
        cmocka_unit_test(test_arena_gaps_have_room),
        cmocka_unit_test(test_arena_sizes_are_bounded),
        cmocka_unit_test(test_arena_freed_space_is_reused_late),
        cmocka_unit_test(test_arena_freed_pages_go_back),
        cmocka_unit_test(test_arena_handles_are_never_given_twice),
        cmocka_unit_test(test_arena_handles_have_a_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
