/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An intrusive balanced (AVL) tree in order of (key, seq), in which each node also knows the
 * smallest `v` below it, so that "the first by key among those with v up to a limit" is found in
 * O(log n). Serves the fair queue and the strict queue. Keys and v wrap: they are compared by
 * signed difference, so all in one tree lie within 2^63 of each other.
 */
#ifndef VGPU_SCHED_TREE_H
#define VGPU_SCHED_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct tree_node {
    struct tree_node *left, *right, *parent;
    uint64_t key; /* set key, seq and v before tree_insert(); unchanged while in the tree */
    uint64_t seq;
    uint64_t v;
    uint64_t min_v;
    int height; /* 0: not in a tree */
};

struct tree {
    struct tree_node *root;
    uint32_t count;
};

static inline bool tree_before(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) < 0;
}

void tree_insert(struct tree *tree, struct tree_node *node);
void tree_remove(struct tree *tree, struct tree_node *node);
/* First in order; NULL if empty. */
struct tree_node *tree_first(const struct tree *tree);
/* First in order among those whose v is not after limit; NULL if none. */
struct tree_node *tree_first_within(const struct tree *tree, uint64_t limit);
/* The smallest v, the first in order among equals; NULL if empty. */
struct tree_node *tree_lowest(const struct tree *tree);

#endif
