/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of graph nodes that a guest sent: limits, order, sizes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/graph_wire.h"

#define BLOB_BYTES (2u << 20)

static size_t empty_node(uint8_t *at, const uint32_t *needs, uint32_t count)
{
    struct vgpu_graph_node head = {.enabled = 1, .need_count = count};

    head.size_bytes = (uint32_t)(sizeof(head) + ((count * 4 + 7) & ~7u));
    memset(at, 0, head.size_bytes);
    memcpy(at, &head, sizeof(head));
    if (count > 0)
        memcpy(at + sizeof(head), needs, count * 4);
    return head.size_bytes;
}

/* Nodes until the end, or -EPROTO. */
static int parse(const uint8_t *blob, size_t bytes)
{
    struct graph_wire_cursor cursor = {0};
    struct graph_wire_node node;
    int status;

    while ((status = graph_wire_next(blob, bytes, &cursor, &node)) == 1)
        ;
    return status < 0 ? status : (int)cursor.nodes;
}

static void test_graph_wire_nodes_are_limited(void **state)
{
    uint8_t *blob = malloc(BLOB_BYTES);
    size_t used = 0;

    (void)state;
    for (unsigned i = 0; i < VGPU_GRAPH_MAX_NODES; i++)
        used += empty_node(blob + used, NULL, 0);
    assert_int_equal(parse(blob, used), VGPU_GRAPH_MAX_NODES);
    used += empty_node(blob + used, NULL, 0);
    assert_int_equal(parse(blob, used), -EPROTO);
    free(blob);
}

static void test_graph_wire_edges_are_limited(void **state)
{
    uint8_t *blob = malloc(BLOB_BYTES);
    uint32_t needs[512];
    size_t used = 0;

    (void)state;
    for (uint32_t i = 0; i < 512; i++) {
        needs[i] = i;
        used += empty_node(blob + used, NULL, 0);
    }
    for (unsigned edges = 0; edges < VGPU_GRAPH_MAX_EDGES; edges += 512)
        used += empty_node(blob + used, needs, 512);
    assert_true(parse(blob, used) > 0);
    used += empty_node(blob + used, needs, 1);
    assert_int_equal(parse(blob, used), -EPROTO);
    free(blob);
}

static void test_graph_wire_needs_rise_and_are_earlier(void **state)
{
    static const uint32_t good[] = {0, 1}, twice[] = {1, 1}, falling[] = {1, 0}, self[] = {0, 2};
    _Alignas(8) uint8_t blob[256];
    size_t used = empty_node(blob, NULL, 0);

    (void)state;
    used += empty_node(blob + used, NULL, 0);
    assert_int_equal(parse(blob, used + empty_node(blob + used, good, 2)), 3);
    assert_int_equal(parse(blob, used + empty_node(blob + used, twice, 2)), -EPROTO);
    assert_int_equal(parse(blob, used + empty_node(blob + used, falling, 2)), -EPROTO);
    assert_int_equal(parse(blob, used + empty_node(blob + used, self, 2)), -EPROTO);
}

static void test_graph_wire_params_are_limited(void **state)
{
    size_t most = sizeof(struct vgpu_graph_node) + sizeof(struct vgpu_graph_kernel) +
                  VGPU_LAUNCH_PARAM_BYTES + 16;
    uint8_t *blob = calloc(1, most);
    struct vgpu_graph_node *head = (struct vgpu_graph_node *)(void *)blob;
    struct vgpu_graph_kernel *kernel = (struct vgpu_graph_kernel *)(void *)(head + 1);

    (void)state;
    head->type = VGPU_GRAPH_NODE_KERNEL;
    head->enabled = 1;
    for (uint32_t more = 0; more < 2; more++) {
        kernel->params_bytes = VGPU_LAUNCH_PARAM_BYTES + more;
        head->size_bytes =
            (uint32_t)(sizeof(*head) + sizeof(*kernel) + ((kernel->params_bytes + 7) & ~7u));
        assert_int_equal(parse(blob, head->size_bytes), more ? -EPROTO : 1);
    }
    kernel->params_bytes = 8;
    head->size_bytes = sizeof(*head) + sizeof(*kernel) + 8;
    kernel->attributes.given = 1;
    assert_int_equal(parse(blob, head->size_bytes), -EPROTO);
    free(blob);
}

/* Cut anywhere, it is not taken for whole. */
static void test_graph_wire_cut_blobs(void **state)
{
    _Alignas(8) uint8_t blob[256];
    size_t used = empty_node(blob, NULL, 0);

    (void)state;
    used += empty_node(blob + used, (const uint32_t[]){0}, 1);
    for (size_t bytes = 1; bytes < used; bytes++) {
        uint8_t *copy = malloc(bytes);

        memcpy(copy, blob, bytes);
        assert_int_equal(parse(copy, bytes), bytes == sizeof(struct vgpu_graph_node) ? 1 : -EPROTO);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph_wire_nodes_are_limited),
        cmocka_unit_test(test_graph_wire_edges_are_limited),
        cmocka_unit_test(test_graph_wire_needs_rise_and_are_earlier),
        cmocka_unit_test(test_graph_wire_params_are_limited),
        cmocka_unit_test(test_graph_wire_cut_blobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
