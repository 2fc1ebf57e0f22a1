/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers barriers and the instructions by which lanes of a warp exchange values. */
#include "softgpu/ptx/lower.h"

/* bar.warp.sync mask */
static void lower_barwarp(struct parser *p)
{
    lower_take(p, M_SYNC);
    lower_operands(p, 1, 1);
    lower_emit(p, OPC_barwarp, REF_NONE, REF_NONE, REF_NONE, REF_NONE)->s = lower_use(p, 0, T_B32);
}

/* {bar,barrier}{.cta}.red.{popc.u32,and.pred,or.pred} d, a{, b}, {!}c */
static void lower_barred(struct parser *p)
{
    enum bar_kind kind = lower_take(p, M_POPC) ? BAR_POPC : lower_take(p, M_AND) ? BAR_AND : BAR_OR;
    enum type type = lower_type(p, 0, 1);
    uint32_t a, b = REF_NONE, c;
    bool inverted;
    unsigned n;
    struct op *op;

    if (kind == BAR_OR && !lower_take(p, M_OR))
        parse_unsupported(p);
    if (!lower_operands(p, 3, 4))
        return;
    n = p->inst.n_operands;
    a = lower_use(p, 1, T_B32);
    if (n == 4)
        b = lower_use(p, 2, T_B32);
    c = lower_use_pred(p, n - 1, &inverted);
    if (kind == BAR_POPC ? type_class(type) != C_32 : type != T_PRED)
        lower_wrong(p, "wrong type");
    op = lower_emit(p, OPC_bar, lower_def(p, 0, type), a, b, c);
    op->flags |= OPF_SELF;
    op->x = (uint8_t)(kind | (inverted ? BAR_INVERT : 0));
}

void lower_bar(struct parser *p)
{
    uint32_t a, b = REF_NONE;
    bool arrive;

    if (lower_take(p, M_WARP)) {
        lower_barwarp(p);
        return;
    }
    lower_take(p, M_CTA);
    lower_take(p, M_ALIGNED);
    if (lower_take(p, M_RED)) {
        lower_barred(p);
        return;
    }
    arrive = lower_take(p, M_ARRIVE);
    if (!arrive && !lower_take(p, M_SYNC))
        parse_unsupported(p);
    if (!lower_operands(p, arrive ? 2 : 1, 2))
        return;
    a = lower_use(p, 0, T_B32);
    if (p->inst.n_operands == 2)
        b = lower_use(p, 1, T_B32);
    lower_emit(p, OPC_bar, REF_NONE, a, b, REF_NONE)->x = arrive ? BAR_ARRIVE : BAR_SYNC;
}

/* The second destination of p|q forms, a predicate, or none. */
static uint32_t second_pred(struct parser *p)
{
    const struct operand *first = &p->inst.operands[0];

    if (!first->has_pair)
        return REF_NONE;
    if (p->body->classes.at[first->pair] != C_PRED)
        lower_wrong(p, "register of the wrong type");
    return first->pair;
}

void lower_shfl(struct parser *p)
{
    bool sync = lower_take(p, M_SYNC);
    enum modifier mode = lower_take_range(p, M_UP, M_BFLY);
    uint32_t q = second_pred(p);
    uint32_t a, b, c, mask = REF_NONE;
    unsigned x = mode == M_NONE ? SHFL_IDX : (unsigned)(mode - M_UP);
    struct op *op;

    if (mode == M_NONE && !lower_take(p, M_IDX))
        parse_unsupported(p);
    if (type_class(lower_type(p, 0, 1)) != C_32)
        lower_wrong(p, "wrong type");
    if (!lower_operands(p, sync ? 5 : 4, sync ? 5 : 4))
        return;
    a = lower_use(p, 1, T_B32);
    b = lower_use(p, 2, T_B32);
    c = lower_use(p, 3, T_B32);
    if (sync)
        mask = lower_use(p, 4, T_B32);
    op = lower_emit(p, OPC_shfl, lower_def(p, 0, T_B32), a, b, c);
    op->e = q;
    op->s = mask;
    op->flags |= OPF_SELF;
    op->x = (uint8_t)(x | (sync ? WARP_SYNC : 0));
}

void lower_vote(struct parser *p)
{
    bool sync = lower_take(p, M_SYNC);
    bool ballot = lower_take(p, M_BALLOT);
    enum modifier mode = lower_take_range(p, M_ALL, M_ANY);
    unsigned x = ballot ? VOTE_BALLOT : mode == M_NONE ? VOTE_UNI : (unsigned)(mode - M_ALL);
    enum type type = lower_type(p, 0, 1);
    uint32_t a, mask = REF_NONE;
    bool inverted;
    struct op *op;

    if (!ballot && mode == M_NONE && !lower_take(p, M_UNI))
        parse_unsupported(p);
    if (type != (ballot ? T_B32 : T_PRED))
        lower_wrong(p, "wrong type");
    if (!lower_operands(p, sync ? 3 : 2, sync ? 3 : 2))
        return;
    a = lower_use_pred(p, 1, &inverted);
    if (sync)
        mask = lower_use(p, 2, T_B32);
    op = lower_emit(p, OPC_vote, lower_def(p, 0, type), a, REF_NONE, REF_NONE);
    op->s = mask;
    op->flags |= OPF_SELF;
    op->x = (uint8_t)(x | (inverted ? VOTE_INVERT : 0) | (sync ? WARP_SYNC : 0));
}

void lower_match(struct parser *p)
{
    bool all = lower_take(p, M_ALL);
    enum type type = lower_type(p, 0, 1);
    uint32_t q = second_pred(p);
    uint32_t a, mask;
    struct op *op;

    if (!lower_take(p, M_SYNC) || (!all && !lower_take(p, M_ANY)) ||
        (type != T_B32 && type != T_B64))
        parse_unsupported(p);
    if (!lower_operands(p, 3, 3))
        return;
    a = lower_use(p, 1, type);
    mask = lower_use(p, 2, T_B32);
    op = lower_emit(p, OPC_match, lower_def(p, 0, T_B32), a, REF_NONE, REF_NONE);
    op->e = q;
    op->s = mask;
    op->flags |= OPF_SELF;
    op->x = (uint8_t)((all ? MATCH_ALL : 0) | (type == T_B64 ? MATCH_WIDE : 0) | WARP_SYNC);
}

void lower_activemask(struct parser *p)
{
    lower_type(p, 0, 1);
    lower_operands(p, 1, 1);
    lower_emit(p, OPC_activemask, lower_def(p, 0, T_B32), REF_NONE, REF_NONE, REF_NONE);
}

void lower_redux(struct parser *p)
{
    static const struct {
        uint8_t modifier, op;
    } ops[] = {{M_ADD, REDUX_ADD}, {M_MIN, REDUX_MIN}, {M_MAX, REDUX_MAX},
               {M_AND, REDUX_AND}, {M_OR, REDUX_OR},   {M_XOR, REDUX_XOR}};
    enum type type = lower_type(p, 0, 1);
    unsigned x = 99;
    uint32_t a, mask;
    struct op *op;

    for (unsigned i = 0; i < 6; i++)
        if (lower_take(p, (enum modifier)ops[i].modifier))
            x = ops[i].op;
    if (!lower_take(p, M_SYNC) || x == 99 || (type != T_U32 && type != T_S32 && type != T_B32)) {
        parse_unsupported(p);
        return;
    }
    lower_operands(p, 3, 3);
    a = lower_use(p, 1, type);
    mask = lower_use(p, 2, T_B32);
    op = lower_emit(p, OPC_redux, lower_def(p, 0, type), a, REF_NONE, REF_NONE);
    op->s = mask;
    op->flags |= OPF_SELF;
    op->x = (uint8_t)(x | (type == T_S32 ? REDUX_SIGNED : 0) | WARP_SYNC);
}

void lower_elect(struct parser *p)
{
    uint32_t q = second_pred(p);
    uint32_t mask;
    struct op *op;

    if (!lower_take(p, M_SYNC))
        parse_unsupported(p);
    lower_operands(p, 2, 2);
    mask = lower_use(p, 1, T_B32);
    op = lower_emit(p, OPC_elect, lower_def(p, 0, T_B32), REF_NONE, REF_NONE, REF_NONE);
    op->e = q;
    op->s = mask;
    op->flags |= OPF_SELF;
    op->x = WARP_SYNC;
}
