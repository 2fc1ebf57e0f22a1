/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AVL tree with a subtree minimum; see tree.h. After a change it walks up only as far as height or
 * minimum of a subtree have changed, which is a few nodes on average.
 */
#include "sched/tree.h"

#include <assert.h>
#include <stddef.h>

static inline int height(const struct tree_node *node)
{
    return node ? node->height : 0;
}

static inline bool node_before(const struct tree_node *a, const struct tree_node *b)
{
    if (a->key != b->key)
        return tree_before(a->key, b->key);
    return tree_before(a->seq, b->seq);
}

/* Recomputes height and minimum from the children; true if either has changed. */
static inline bool refresh(struct tree_node *node)
{
    int left = height(node->left), right = height(node->right);
    int tall = (left > right ? left : right) + 1;
    uint64_t min_v = node->v;
    bool changed;

    if (node->left && tree_before(node->left->min_v, min_v))
        min_v = node->left->min_v;
    if (node->right && tree_before(node->right->min_v, min_v))
        min_v = node->right->min_v;
    changed = tall != node->height || min_v != node->min_v;
    node->height = tall;
    node->min_v = min_v;
    return changed;
}

/* Puts heir (may be NULL) in node's place below node's parent. */
static inline void replace(struct tree *tree, struct tree_node *node, struct tree_node *heir)
{
    if (!node->parent)
        tree->root = heir;
    else if (node->parent->left == node)
        node->parent->left = heir;
    else
        node->parent->right = heir;
    if (heir)
        heir->parent = node->parent;
}

static struct tree_node *rotate_right(struct tree *tree, struct tree_node *node)
{
    struct tree_node *top = node->left;

    assert(top);
    replace(tree, node, top);
    node->left = top->right;
    if (node->left)
        node->left->parent = node;
    top->right = node;
    node->parent = top;
    refresh(node);
    refresh(top);
    return top;
}

static struct tree_node *rotate_left(struct tree *tree, struct tree_node *node)
{
    struct tree_node *top = node->right;

    assert(top);
    replace(tree, node, top);
    node->right = top->left;
    if (node->right)
        node->right->parent = node;
    top->left = node;
    node->parent = top;
    refresh(node);
    refresh(top);
    return top;
}

/* Rotates where one side is two levels higher; returns what is now at the top of the subtree. */
static struct tree_node *balance(struct tree *tree, struct tree_node *node)
{
    int lean = height(node->left) - height(node->right);

    if (lean > 1) {
        if (height(node->left->left) < height(node->left->right))
            rotate_left(tree, node->left);
        return rotate_right(tree, node);
    }
    if (lean < -1) {
        if (height(node->right->right) < height(node->right->left))
            rotate_right(tree, node->right);
        return rotate_left(tree, node);
    }
    return node;
}

/* From node upwards, until a subtree is as high as before and has the same minimum. */
static void mend(struct tree *tree, struct tree_node *node)
{
    while (node) {
        int was = node->height;
        uint64_t was_min = node->min_v;

        refresh(node);
        node = balance(tree, node);
        if (node->height == was && node->min_v == was_min)
            return;
        node = node->parent;
    }
}

void tree_insert(struct tree *tree, struct tree_node *node)
{
    struct tree_node **link = &tree->root, *parent = NULL;

    while (*link) {
        parent = *link;
        link = node_before(node, parent) ? &parent->left : &parent->right;
    }
    *link = node;
    node->left = node->right = NULL;
    node->parent = parent;
    node->height = 1;
    node->min_v = node->v;
    tree->count++;
    mend(tree, parent);
}

void tree_remove(struct tree *tree, struct tree_node *node)
{
    struct tree_node *from = node->parent, *heir = node->right;
    bool two = node->left && node->right;

    if (!two) {
        replace(tree, node, node->left ? node->left : node->right);
    } else {
        while (heir->left)
            heir = heir->left;
        from = heir->parent == node ? heir : heir->parent;
        if (heir->parent != node) {
            replace(tree, heir, heir->right);
            heir->right = node->right;
            heir->right->parent = heir;
        }
        replace(tree, node, heir);
        heir->left = node->left;
        heir->left->parent = heir;
        /* As node was, so that the walk up sees what has changed. */
        heir->height = node->height;
        heir->min_v = node->min_v;
    }
    node->height = 0;
    tree->count--;
    mend(tree, from);
    if (two)
        mend(tree, heir); /* the walk from below may have ended before it */
}

struct tree_node *tree_first(const struct tree *tree)
{
    struct tree_node *node = tree->root;

    while (node && node->left)
        node = node->left;
    return node;
}

struct tree_node *tree_first_within(const struct tree *tree, uint64_t limit)
{
    struct tree_node *node = tree->root;

    if (!node || tree_before(limit, node->min_v))
        return NULL;
    for (;;) {
        if (node->left && !tree_before(limit, node->left->min_v))
            node = node->left;
        else if (!tree_before(limit, node->v))
            return node;
        else
            node = node->right;
    }
}

struct tree_node *tree_lowest(const struct tree *tree)
{
    return tree->root ? tree_first_within(tree, tree->root->min_v) : NULL;
}
