/* SPDX-License-Identifier: Apache-2.0 */
/* Handlers of what lanes of a warp do together: shuffles, votes, matches, reductions, barriers. */
#include "softgpu/ptx/exec.h"
#include "softgpu/ptx/handlers.h"

/* The lanes that take part; 0 if some are still awaited, and *ret_wait is what to return. */
static uint32_t gather(struct warp *w, const struct op *op, const struct op **ret_wait)
{
    uint32_t member;

    if (op->s == REF_NONE)
        return w->mask;
    member = ((const uint32_t *)reg(w, op->s))[__builtin_ctz(w->mask)];
    if (member & w->live & ~w->mask) {
        *ret_wait = warp_wait_sync(w, op, member);
        return 0;
    }
    /* A lane that does not name itself would leave nobody to take part. */
    return w->mask & member ? w->mask & member : w->mask;
}

static void write32(struct warp *w, uint32_t ref, const uint32_t *column)
{
    uint32_t *d = reg(w, ref);

    for (unsigned i = 0; i < LANES; i++)
        d[i] = w->mask >> i & 1 ? column[i] : d[i];
}

static void write_same(struct warp *w, uint32_t ref, uint32_t value)
{
    uint32_t column[LANES];

    for (unsigned i = 0; i < LANES; i++)
        column[i] = value;
    write32(w, ref, column);
}

FLOW_HANDLER(shfl)
{
    const struct op *wait = NULL;
    const uint32_t *a, *b, *c;
    uint32_t column[LANES], valid = 0;

    if (!gather(w, op, &wait))
        return wait;
    a = reg(w, op->a);
    b = reg(w, op->b);
    c = reg(w, op->c);
    for (unsigned lane = 0; lane < LANES; lane++) {
        uint32_t by = b[lane] & 31, segment = c[lane] >> 8 & 31;
        uint32_t last = (lane & segment) | (c[lane] & 31 & ~segment);
        int from;
        bool good;

        switch (op->x & 3) {
        case SHFL_UP:
            from = (int)lane - (int)by;
            good = from >= (int)last;
            break;
        case SHFL_DOWN:
            from = (int)(lane + by);
            good = from <= (int)last;
            break;
        case SHFL_BFLY:
            from = (int)(lane ^ by);
            good = from <= (int)last;
            break;
        default:
            from = (int)((lane & segment) | (by & ~segment));
            good = from <= (int)last;
        }
        column[lane] = a[good ? from & 31 : (int)lane];
        valid |= (uint32_t)good << lane;
    }
    write32(w, op->d, column);
    if (op->e != REF_NONE)
        set_pred(w, op->e, valid);
    return op + 1;
}

FLOW_HANDLER(vote)
{
    const struct op *wait = NULL;
    uint32_t lanes = gather(w, op, &wait);
    uint32_t value;

    if (!lanes)
        return wait;
    value = (op->x & VOTE_INVERT ? ~pred(w, op->a) : pred(w, op->a)) & lanes;
    switch (op->x & 3) {
    case VOTE_ALL:
        set_pred(w, op->d, value == lanes ? FULL_MASK : 0);
        break;
    case VOTE_ANY:
        set_pred(w, op->d, value ? FULL_MASK : 0);
        break;
    case VOTE_UNI:
        set_pred(w, op->d, value == lanes || !value ? FULL_MASK : 0);
        break;
    default:
        write_same(w, op->d, value);
    }
    return op + 1;
}

static uint64_t match_value(const struct warp *w, const struct op *op, unsigned lane)
{
    return op->x & MATCH_WIDE ? ((const uint64_t *)reg(w, op->a))[lane]
                              : ((const uint32_t *)reg(w, op->a))[lane];
}

FLOW_HANDLER(match)
{
    const struct op *wait = NULL;
    uint32_t lanes = gather(w, op, &wait);
    uint32_t column[LANES] = {0};
    bool all = true;

    if (!lanes)
        return wait;
    for (unsigned lane = 0; lane < LANES; lane++) {
        uint64_t value = match_value(w, op, lane);

        for (unsigned i = 0; i < LANES; i++)
            column[lane] |= (uint32_t)(match_value(w, op, i) == value) << i;
        column[lane] &= lanes;
        all &= !(lanes >> lane & 1) || column[lane] == lanes;
    }
    if (op->x & MATCH_ALL) {
        write_same(w, op->d, all ? lanes : 0);
        if (op->e != REF_NONE)
            set_pred(w, op->e, all ? FULL_MASK : 0);
    } else {
        write32(w, op->d, column);
    }
    return op + 1;
}

static uint32_t reduce(unsigned x, uint32_t a, uint32_t b)
{
    bool less = x & REDUX_SIGNED ? (int32_t)a < (int32_t)b : a < b;

    switch (x & 7) {
    case REDUX_ADD:
        return a + b;
    case REDUX_MIN:
        return less ? a : b;
    case REDUX_MAX:
        return less ? b : a;
    case REDUX_AND:
        return a & b;
    case REDUX_OR:
        return a | b;
    default:
        return a ^ b;
    }
}

FLOW_HANDLER(redux)
{
    const struct op *wait = NULL;
    uint32_t lanes = gather(w, op, &wait);
    const uint32_t *a;
    uint32_t value;

    if (!lanes)
        return wait;
    a = reg(w, op->a);
    value = a[__builtin_ctz(lanes)];
    for (uint32_t rest = lanes & (lanes - 1); rest; rest &= rest - 1)
        value = reduce(op->x, value, a[__builtin_ctz(rest)]);
    write_same(w, op->d, value);
    return op + 1;
}

FLOW_HANDLER(elect)
{
    const struct op *wait = NULL;
    uint32_t lanes = gather(w, op, &wait);

    if (!lanes)
        return wait;
    write_same(w, op->d, (uint32_t)__builtin_ctz(lanes));
    if (op->e != REF_NONE)
        set_pred(w, op->e, lanes & -lanes);
    return op + 1;
}

FLOW_HANDLER(activemask)
{
    write_same(w, op->d, w->mask);
    return op + 1;
}

FLOW_HANDLER(barwarp)
{
    const struct op *wait = NULL;

    return gather(w, op, &wait) ? op + 1 : wait;
}

/* --- barriers of the block --- */

static const struct op *misuse(struct warp *w, const struct op *op, const char *what,
                               uint32_t value)
{
    return fault_raise(w, op, w->mask, PTX_FAULT_BARRIER, 0, 0, "%s %u", what, value);
}

/* How many threads this arrival counts for: a warp counts whole once its last lane is there. */
static uint32_t arrival(struct warp *w, uint32_t id, bool stays)
{
    uint32_t before = stays ? w->arrived[id] : 0;
    uint32_t after = before | w->mask;

    if (stays)
        w->arrived[id] = after;
    if (w->live & ~after)
        return (uint32_t)__builtin_popcount(w->mask);
    return LANES - (uint32_t)__builtin_popcount(before);
}

FLOW_HANDLER(bar)
{
    unsigned lane = (unsigned)__builtin_ctz(w->mask);
    uint32_t id = ((const uint32_t *)reg(w, op->a))[lane];
    uint32_t expected = op->b == REF_NONE ? 0 : ((const uint32_t *)reg(w, op->b))[lane];
    unsigned kind = op->x & 7;
    struct split *split = &w->splits[w->current];
    struct barrier *barrier;

    if (id >= N_BARRIERS)
        return misuse(w, op, "no barrier has number", id);
    if (op->b != REF_NONE &&
        (expected == 0 || expected % LANES || expected > w->block->n_warps * LANES))
        return misuse(w, op, "the number of threads is", expected);
    barrier = &w->block->barriers[id];
    if (!barrier->used)
        *barrier = (struct barrier){.expected = expected, .all = true, .used = true};
    if (barrier->expected != expected)
        return misuse(w, op, "threads disagree on how many meet at barrier", id);
    if (kind >= BAR_POPC) {
        uint32_t value = op->x & BAR_INVERT ? ~pred(w, op->c) : pred(w, op->c);

        value &= w->mask;
        barrier->popc += (uint32_t)__builtin_popcount(value);
        barrier->all &= value == w->mask;
        barrier->any |= value != 0;
    }
    barrier->arrived += arrival(w, id, kind != BAR_ARRIVE);
    if (kind == BAR_ARRIVE)
        return op + 1;
    split->state = SPLIT_BARRIER;
    split->barrier = (uint8_t)id;
    split->at = op;
    split->mask = w->mask;
    split->frame = w->frame;
    return warp_next(w);
}
