/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers calls, returns, indexed branches, and what ends a thread. */
#include "softgpu/ptx/lower.h"

void lower_bra(struct parser *p)
{
    /* lower_instruction makes branches itself: it has the guard. */
    parse_unsupported(p);
}

void lower_brx(struct parser *p)
{
    struct targets targets;
    uint32_t a;
    struct op *op;

    lower_take(p, M_UNI);
    if (!lower_take(p, M_IDX) || !lower_operands(p, 2, 2)) {
        parse_unsupported(p);
        return;
    }
    if (p->inst.operands[1].kind != O_TARGETS) {
        lower_wrong(p, "expected a list of branch targets");
        return;
    }
    targets = p->body->targets.at[p->inst.operands[1].reg];
    a = lower_use(p, 0, T_B32);
    op = lower_emit(p, OPC_brx, REF_NONE, a, REF_NONE, REF_NONE);
    op->flags |= OPF_TERM;
    op->imm = targets.first | (uint64_t)targets.n << 32;
}

/* A load or store between a register and a place in the frame. */
static void frame_access(struct parser *p, bool load, enum type type, uint32_t reg, uint64_t offset)
{
    struct op *op = lower_emit(p, load ? OPC_ld_frame : OPC_st_frame, load ? reg : REF_NONE,
                               REF_NONE, load ? REF_NONE : reg, REF_NONE);

    op->x = (uint8_t)((unsigned)__builtin_ctz(type_bits(type) / 8) |
                      (type_is_signed(type) ? MEM_SIGNED : 0));
    op->imm = offset | (uint64_t)type_class(type) << 32;
}

void lower_load_params(struct parser *p)
{
    const struct ptx_function *function = p->body->function;

    for (uint32_t i = 0; i < function->signature.params.n; i++) {
        const struct param *param = &function->signature.params.at[i];

        if (!param->is_reg)
            continue;
        if (function->is_entry)
            lower_wrong(p, "an entry has a parameter in a register");
        frame_access(p, true, (enum type)param->type, param->reg, param->offset);
    }
}

void lower_store_rets(struct parser *p)
{
    const struct ptx_function *function = p->body->function;

    for (uint32_t i = 0; i < function->signature.rets.n; i++) {
        const struct param *ret = &function->signature.rets.at[i];

        if (ret->is_reg)
            frame_access(p, false, (enum type)ret->type, ret->reg, ret->offset);
    }
}

/* The place in the frame of one parameter of a call. */
static uint32_t call_place(struct parser *p, const struct part *part, const struct param *param)
{
    uint32_t offset = 0;

    if (part->kind == O_LOCAL) {
        if (part->value > p->body->local_bytes ||
            param->size_bytes > p->body->local_bytes - part->value)
            lower_wrong(p, "a parameter is smaller than the function wants");
        return (uint32_t)part->value;
    }
    parse_frame_variable(p, param->size_bytes, param->align_bytes ? param->align_bytes : 1,
                         &offset);
    if (part->kind != O_SINK && param->size_bytes != type_bits((enum type)param->type) / 8)
        lower_wrong(p, "an array parameter is passed as a register");
    return offset;
}

/* Stores arguments that are registers or numbers to their places. */
static void store_argument(struct parser *p, const struct part *part, const struct param *param,
                           uint32_t place)
{
    enum type type = (enum type)param->type;
    enum rclass class = type_class(type);

    if (part->kind == O_LOCAL)
        return;
    if (part->kind == O_REG) {
        if (p->body->classes.at[part->reg] != class)
            lower_wrong(p, "argument of the wrong type");
        frame_access(p, false, type, part->reg, place);
    } else if (part->kind == O_SINK || class > C_64) {
        lower_wrong(p, "bad argument");
    } else {
        frame_access(p, false, type, lower_constant(p, class, part->value), place);
    }
}

static void load_result(struct parser *p, const struct part *part, const struct param *param,
                        uint32_t place)
{
    enum type type = (enum type)param->type;

    if (part->kind == O_LOCAL || part->kind == O_SINK)
        return;
    if (part->kind != O_REG || p->body->classes.at[part->reg] != type_class(type))
        lower_wrong(p, "result of the wrong type");
    else
        frame_access(p, true, type, part->reg, place);
}

static const struct signature *call_signature(struct parser *p, bool direct)
{
    const struct operand *operands = p->inst.operands;

    if (direct) {
        const struct symbol *symbol = &p->program->symbols.at[operands[0].symbol];

        if (symbol->kind == SYM_FUNCTION && !p->program->functions.at[symbol->index]->is_entry)
            return &p->program->functions.at[symbol->index]->signature;
    } else if (operands[0].kind == O_REG && p->inst.n_operands == 2 &&
               operands[1].kind == O_PROTOTYPE) {
        return &p->body->prototypes.at[operands[1].reg];
    }
    lower_wrong(p, "expected a function, or a register and a prototype");
    return NULL;
}

void lower_call(struct parser *p)
{
    struct body *body = p->body;
    bool direct = p->inst.operands[0].kind == O_SYMBOL;
    uint64_t frame = body->local_now;
    const struct signature *signature;
    ARRAY(uint32_t) places = {0};
    uint32_t more, target = REF_NONE;
    struct op *op;

    lower_take(p, M_UNI);
    signature = call_signature(p, direct);
    if (!signature)
        return;
    if (signature->rets.n != body->rets.n || signature->params.n != body->args.n) {
        lower_wrong(p, "wrong number of parameters");
        return;
    }
    for (uint32_t i = 0; i < body->rets.n; i++)
        if (!array_push(&places, call_place(p, &body->rets.at[i], &signature->rets.at[i])))
            parse_no_memory(p);
    for (uint32_t i = 0; i < body->args.n; i++)
        if (!array_push(&places, call_place(p, &body->args.at[i], &signature->params.at[i])))
            parse_no_memory(p);
    for (uint32_t i = 0; p->status == PTX_OK && i < body->args.n; i++)
        store_argument(p, &body->args.at[i], &signature->params.at[i], places.at[body->rets.n + i]);
    more = lower_more(p, 0);
    lower_more(p, 0);
    for (uint32_t i = 0; p->status == PTX_OK && i < places.n; i++)
        lower_more(p, places.at[i]);
    if (!direct)
        target = lower_use(p, 0, T_B64);
    op = lower_emit(p, direct ? OPC_call : OPC_callind, REF_NONE, target, REF_NONE, REF_NONE);
    op->flags |= OPF_MORE;
    op->ext = more;
    op->imm = direct ? p->inst.operands[0].symbol : parse_signature_hash(signature);
    if (direct && !array_push(&body->function->callees, p->inst.operands[0].symbol))
        parse_no_memory(p);
    if (direct)
        p->program->symbols.at[p->inst.operands[0].symbol].referenced = true;
    body->function->calls_indirect |= !direct;
    for (uint32_t i = 0; p->status == PTX_OK && i < body->rets.n; i++)
        load_result(p, &body->rets.at[i], &signature->rets.at[i], places.at[i]);
    body->local_now = frame;
    free(places.at);
}

void lower_ret(struct parser *p)
{
    bool is_entry = p->body->function->is_entry;

    lower_take(p, M_UNI);
    lower_operands(p, 0, 0);
    if (!is_entry)
        lower_store_rets(p);
    lower_emit(p, is_entry ? OPC_exit : OPC_ret, REF_NONE, REF_NONE, REF_NONE, REF_NONE)->flags |=
        OPF_TERM;
}

void lower_exit(struct parser *p)
{
    lower_operands(p, 0, 0);
    lower_emit(p, OPC_exit, REF_NONE, REF_NONE, REF_NONE, REF_NONE)->flags |= OPF_TERM;
}

void lower_trap(struct parser *p)
{
    struct op *op;

    lower_operands(p, 0, 0);
    op = lower_emit(p, OPC_trap, REF_NONE, REF_NONE, REF_NONE, REF_NONE);
    op->flags |= OPF_TERM;
    op->x = p->inst.mnemonic == MN_brkpt;
}

void lower_nanosleep(struct parser *p)
{
    lower_type(p, 0, 1);
    lower_operands(p, 1, 1);
    lower_emit(p, OPC_yield, REF_NONE, lower_use(p, 0, T_U32), REF_NONE, REF_NONE);
}

void lower_pmevent(struct parser *p)
{
    if (p->inst.mnemonic != MN_pmevent)
        parse_unsupported(p);
    lower_operands(p, 1, 1);
    lower_emit(p, OPC_nop, REF_NONE, REF_NONE, REF_NONE, REF_NONE);
}

void lower_alloca(struct parser *p)
{
    parse_unsupported(p);
}

void lower_stack(struct parser *p)
{
    parse_unsupported(p);
}
