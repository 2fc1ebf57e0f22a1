/* SPDX-License-Identifier: Apache-2.0 */
/* AVL tree with a subtree minimum; see tree.h. Recursion is as deep as the tree: 1.44 log2(n). */
#include "sched/tree.h"

#include <stddef.h>

static int height(const struct tree_node *node)
{
    return node ? node->height : 0;
}

static bool node_before(const struct tree_node *a, const struct tree_node *b)
{
    if (a->key != b->key)
        return tree_before(a->key, b->key);
    return tree_before(a->seq, b->seq);
}

static void refresh(struct tree_node *node)
{
    int left = height(node->left), right = height(node->right);

    node->height = (left > right ? left : right) + 1;
    node->min_v = node->v;
    if (node->left && tree_before(node->left->min_v, node->min_v))
        node->min_v = node->left->min_v;
    if (node->right && tree_before(node->right->min_v, node->min_v))
        node->min_v = node->right->min_v;
}

static struct tree_node *rotate_right(struct tree_node *node)
{
    struct tree_node *top = node->left;

    node->left = top->right;
    top->right = node;
    refresh(node);
    refresh(top);
    return top;
}

static struct tree_node *rotate_left(struct tree_node *node)
{
    struct tree_node *top = node->right;

    node->right = top->left;
    top->left = node;
    refresh(node);
    refresh(top);
    return top;
}

static struct tree_node *balance(struct tree_node *node)
{
    int lean = height(node->left) - height(node->right);

    if (lean > 1) {
        if (height(node->left->left) < height(node->left->right))
            node->left = rotate_left(node->left);
        return rotate_right(node);
    }
    if (lean < -1) {
        if (height(node->right->right) < height(node->right->left))
            node->right = rotate_right(node->right);
        return rotate_left(node);
    }
    refresh(node);
    return node;
}

static struct tree_node *insert(struct tree_node *at, struct tree_node *node)
{
    if (!at)
        return node;
    if (node_before(node, at))
        at->left = insert(at->left, node);
    else
        at->right = insert(at->right, node);
    return balance(at);
}

void tree_insert(struct tree *tree, struct tree_node *node)
{
    node->left = node->right = NULL;
    refresh(node);
    tree->root = insert(tree->root, node);
    tree->count++;
}

static struct tree_node *take_first(struct tree_node *at, struct tree_node **ret_first)
{
    if (!at->left) {
        *ret_first = at;
        return at->right;
    }
    at->left = take_first(at->left, ret_first);
    return balance(at);
}

static struct tree_node *take(struct tree_node *at, struct tree_node *node)
{
    struct tree_node *heir, *rest;

    if (!at)
        return NULL;
    if (at != node) {
        if (node_before(node, at))
            at->left = take(at->left, node);
        else
            at->right = take(at->right, node);
        return balance(at);
    }
    if (!at->right)
        return at->left;
    rest = take_first(at->right, &heir);
    heir->left = at->left;
    heir->right = rest;
    return balance(heir);
}

void tree_remove(struct tree *tree, struct tree_node *node)
{
    tree->root = take(tree->root, node);
    tree->count--;
    node->left = node->right = NULL;
    node->height = 0;
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
