/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders a function's blocks so that a warp may simply run its lanes in order of position: a block
 * comes after those that lead to it, and a loop lies in one piece before what follows it, so that
 * lanes which leave early wait at the first block where all meet again (thread frontiers, Diamos
 * et al., MICRO 2011). Irreducible loops are ordered as if entered at the block found first.
 *
 * Afterwards every block ends with an op that has OPF_TERM and the count of its instructions, and
 * branch targets are op indexes.
 */
#include "softgpu/ptx/parse.h"

#include <string.h>

#define NO_BLOCK UINT32_MAX
/* Loops nested deeper than this keep the order of the text. */
#define LOOP_DEPTH_MAX 64

struct block {
    uint32_t first, end;   /* ops */
    uint32_t fall;         /* next block, or NO_BLOCK */
    uint32_t target;       /* of a branch, or NO_BLOCK */
    uint32_t many, n_many; /* targets of brx, in body->target_labels */
    uint32_t set;          /* the region being ordered that it is in */
    uint32_t index, low;   /* Tarjan's */
    uint32_t place;        /* op index in the new order */
    bool on_stack;
};

struct visit {
    uint32_t block, next;
};

struct flow {
    struct parser *p;
    struct body *body;
    uint32_t *block_of; /* by op, for those that begin a block */
    ARRAY(struct block) blocks;
    ARRAY(uint32_t) order;
    ARRAY(struct visit) visits;
    ARRAY(uint32_t) stack;
    uint32_t n_sets;
    uint32_t counter;
};

static uint32_t label_op(struct body *body, uint32_t label)
{
    uint32_t hops = 0;

    while (body->labels.at[label].alias != UINT32_MAX && hops++ < body->labels.n)
        label = body->labels.at[label].alias;
    return body->labels.at[label].op;
}

/* Marks where blocks begin. */
static bool find_leaders(struct flow *f)
{
    struct body *body = f->body;

    f->block_of = calloc(body->ops.n + 1ul, sizeof(*f->block_of));
    if (!f->block_of)
        return parse_no_memory(f->p);
    f->block_of[0] = 1;
    for (uint32_t i = 0; i < body->ops.n; i++) {
        const struct op *op = &body->ops.at[i];

        if (!(op->flags & OPF_TERM))
            continue;
        f->block_of[i + 1] = 1;
        if (op->code == OPC_bra || op->code == OPC_jmp)
            f->block_of[label_op(body, op->ext)] = 1;
        if (op->code == OPC_brx)
            for (uint32_t k = 0; k < op->imm >> 32; k++)
                f->block_of[label_op(body, body->target_labels.at[(uint32_t)op->imm + k])] = 1;
    }
    return true;
}

static bool make_blocks(struct flow *f)
{
    struct body *body = f->body;

    for (uint32_t i = 0; i < body->ops.n;) {
        struct block block = {.first = i, .fall = NO_BLOCK, .target = NO_BLOCK};

        f->block_of[i++] = f->blocks.n;
        while (i < body->ops.n && !f->block_of[i])
            i++;
        block.end = i;
        if (!array_push(&f->blocks, block))
            return parse_no_memory(f->p);
    }
    for (uint32_t b = 0; b < f->blocks.n; b++) {
        struct block *block = &f->blocks.at[b];
        const struct op *last = &body->ops.at[block->end - 1];

        if (!(last->flags & OPF_TERM) || last->code == OPC_bra)
            block->fall = b + 1;
        if ((last->flags & OPF_TERM) && (last->code == OPC_bra || last->code == OPC_jmp))
            block->target = f->block_of[label_op(body, last->ext)];
        if (last->code == OPC_brx) {
            block->many = (uint32_t)last->imm;
            block->n_many = (uint32_t)(last->imm >> 32);
        }
    }
    return true;
}

/* The k-th successor: targets first, so that the block which follows in the text is visited last
 * and placed next. Returns false past the last; *ret may be NO_BLOCK. */
static bool successor(const struct flow *f, const struct block *block, uint32_t k, uint32_t *ret)
{
    if (k < block->n_many)
        *ret = f->block_of[label_op(f->body, f->body->target_labels.at[block->many + k])];
    else if (k == block->n_many)
        *ret = block->target;
    else if (k == block->n_many + 1)
        *ret = block->fall;
    else
        return false;
    return true;
}

static bool enter(struct flow *f, uint32_t b)
{
    struct visit visit = {b, 0};
    struct block *block = &f->blocks.at[b];

    block->index = block->low = ++f->counter;
    block->on_stack = true;
    return array_push(&f->visits, visit) && array_push(&f->stack, b);
}

static bool order_set(struct flow *f, const uint32_t *nodes, uint32_t n, uint32_t header, bool loop,
                      unsigned depth);

/* Orders the strong components in found[], each ended by NO_BLOCK, last found first. */
static bool order_components(struct flow *f, const uint32_t *found, uint32_t n, unsigned depth)
{
    uint32_t end = n;

    while (end > 0) {
        uint32_t first = --end; /* the NO_BLOCK */

        while (first > 0 && found[first - 1] != NO_BLOCK)
            first--;
        if (end - first == 1) {
            if (!array_push(&f->order, found[first]))
                return false;
        } else if (!order_set(f, found + first, end - first, found[end - 1], true, depth + 1)) {
            return false;
        }
        end = first;
    }
    return true;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Too deep: the order of the text. */
static bool order_plainly(struct flow *f, const uint32_t *nodes, uint32_t n)
{
    uint32_t first = f->order.n;

    for (uint32_t i = 0; i < n; i++)
        if (!array_push(&f->order, nodes[i]))
            return false;
    qsort(f->order.at + first, n, sizeof(*f->order.at), by_number);
    return true;
}

/* Tarjan's strong components of a region, from its header, without a recursion. found receives
 * each component, its header last, then NO_BLOCK. */
static bool find_components(struct flow *f, uint32_t header, bool loop, uint32_t *found,
                            uint32_t *ret_n)
{
    uint32_t set = f->blocks.at[header].set;
    uint32_t n = 0;

    f->visits.n = f->stack.n = 0;
    if (!enter(f, header))
        return false;
    while (f->visits.n) {
        struct visit *visit = &f->visits.at[f->visits.n - 1];
        struct block *block = &f->blocks.at[visit->block];
        uint32_t next;

        if (successor(f, block, visit->next, &next)) {
            struct block *to = next == NO_BLOCK ? NULL : &f->blocks.at[next];

            visit->next++;
            if (!to || to->set != set || (loop && next == header))
                continue;
            if (!to->index) {
                if (!enter(f, next))
                    return false;
            } else if (to->on_stack && to->index < block->low) {
                block->low = to->index;
            }
            continue;
        }
        if (block->low == block->index) {
            uint32_t member;

            do {
                member = f->stack.at[--f->stack.n];
                f->blocks.at[member].on_stack = false;
                found[n++] = member;
            } while (member != visit->block);
            found[n++] = NO_BLOCK;
        }
        f->visits.n--;
        if (f->visits.n) {
            struct block *parent = &f->blocks.at[f->visits.at[f->visits.n - 1].block];

            if (block->low < parent->low)
                parent->low = block->low;
        }
    }
    *ret_n = n;
    return true;
}

static bool order_set(struct flow *f, const uint32_t *nodes, uint32_t n, uint32_t header, bool loop,
                      unsigned depth)
{
    uint32_t *found;
    uint32_t n_found = 0;
    bool good;

    if (depth > LOOP_DEPTH_MAX)
        return order_plainly(f, nodes, n);
    f->n_sets++;
    for (uint32_t i = 0; i < n; i++) {
        f->blocks.at[nodes[i]].set = f->n_sets;
        f->blocks.at[nodes[i]].index = 0;
    }
    found = malloc((2ul * n + 1) * sizeof(*found));
    good = found && find_components(f, header, loop, found, &n_found) &&
           order_components(f, found, n_found, depth);
    free(found);
    return good;
}

static bool order_all(struct flow *f)
{
    uint32_t *all = malloc(f->blocks.n * sizeof(*all));
    bool good;

    if (!all)
        return parse_no_memory(f->p);
    for (uint32_t i = 0; i < f->blocks.n; i++)
        all[i] = i;
    good = order_set(f, all, f->blocks.n, 0, false, 0);
    free(all);
    return good || parse_no_memory(f->p);
}

static struct op closing_op(const struct op *last, unsigned code, uint32_t target)
{
    return (struct op){.code = (uint16_t)code,
                       .flags = OPF_TERM,
                       .ext = target,
                       .d = REF_NONE,
                       .e = REF_NONE,
                       .a = REF_NONE,
                       .b = REF_NONE,
                       .c = REF_NONE,
                       .s = REF_NONE,
                       .line = last->line};
}

typedef ARRAY(struct op) op_array;

/* Copies a block to its new place; targets are block numbers for now. */
static bool place_block(struct flow *f, uint32_t position, op_array *out)
{
    struct block *block = &f->blocks.at[f->order.at[position]];
    uint32_t next = position + 1 < f->order.n ? f->order.at[position + 1] : NO_BLOCK;
    uint32_t count = 0;
    struct op *last;

    block->place = out->n;
    for (uint32_t i = block->first; i < block->end; i++) {
        count += f->body->ops.at[i].n;
        if (!array_push(out, f->body->ops.at[i]))
            return false;
        out->at[out->n - 1].n = 0;
    }
    last = &out->at[out->n - 1];
    if (!(last->flags & OPF_TERM)) {
        struct op op = closing_op(last, block->fall == next ? OPC_join : OPC_jmp, block->fall);

        op.n = count;
        return array_push(out, op);
    }
    last->n = count;
    if (last->code == OPC_jmp || last->code == OPC_bra)
        last->ext = block->target;
    if (last->code == OPC_jmp && block->target == next)
        last->code = OPC_join;
    if (last->code == OPC_bra && block->fall != next) {
        struct op op = closing_op(last, OPC_jmp, block->fall);

        return array_push(out, op);
    }
    return true;
}

/* Targets from block numbers to op indexes; those of brx go into the function's list. */
static bool resolve_targets(struct flow *f, op_array *out)
{
    struct ptx_function *function = f->body->function;

    for (uint32_t i = 0; i < out->n; i++) {
        struct op *op = &out->at[i];

        if (!(op->flags & OPF_TERM))
            continue;
        if (op->code == OPC_jmp || op->code == OPC_bra || op->code == OPC_join)
            op->ext = f->blocks.at[op->ext].place;
        if (op->code != OPC_brx)
            continue;
        op->ext = function->more.n;
        for (uint32_t k = 0; k < op->imm >> 32; k++) {
            uint32_t label = f->body->target_labels.at[(uint32_t)op->imm + k];

            if (!array_push(&function->more,
                            f->blocks.at[f->block_of[label_op(f->body, label)]].place))
                return false;
        }
        op->imm >>= 32;
    }
    return true;
}

bool flow_order(struct parser *p)
{
    struct flow f = {.p = p, .body = p->body};
    op_array out = {0};
    bool good = find_leaders(&f) && make_blocks(&f) && order_all(&f);

    for (uint32_t i = 0; good && i < f.order.n; i++)
        good = place_block(&f, i, &out) || parse_no_memory(p);
    good = good && (resolve_targets(&f, &out) || parse_no_memory(p));
    if (good) {
        free(p->body->ops.at);
        p->body->ops.at = out.at;
        p->body->ops.n = out.n;
        p->body->ops.cap = out.cap;
    } else {
        free(out.at);
    }
    free(f.block_of);
    free(f.blocks.at);
    free(f.order.at);
    free(f.visits.at);
    free(f.stack.at);
    return good;
}
