/* SPDX-License-Identifier: Apache-2.0 */
/* Lowers loads, stores, atomics, asynchronous copies, fences and hints. */
#include "softgpu/ptx/lower.h"

#define OFFSET_MAX 0x7fffffff

static uint32_t note_shared(struct parser *p, uint32_t variable)
{
    struct ptx_function *function = p->body->function;

    if (function->shared.n && function->shared.at[function->shared.n - 1] == variable)
        return variable;
    if (!array_push(&function->shared, variable))
        parse_no_memory(p);
    return variable;
}

/* The base of a named address, and what is to be added. */
uint32_t lower_address(struct parser *p, const struct operand *operand, uint64_t *ret_offset)
{
    unsigned kind = operand->kind == O_ADDRESS ? operand->base_kind : operand->kind;
    uint32_t d;
    struct op *op;

    *ret_offset = 0;
    if (kind == O_INT)
        return lower_constant(p, C_64, operand->value);
    d = lower_temp(p, C_64);
    if (kind == O_LOCAL) {
        op = lower_emit(p, OPC_addr_local, d, REF_NONE, REF_NONE, REF_NONE);
        op->imm = operand->value;
    } else if (kind == O_KPARAM) {
        return lower_constant(p, C_64, operand->value);
    } else {
        struct symbol *symbol = &p->program->symbols.at[operand->symbol];
        bool shared = symbol->kind == SYM_VARIABLE &&
                      p->program->variables.at[symbol->index].space == SP_SHARED;

        symbol->referenced = true;
        if (shared)
            note_shared(p, symbol->index);
        else if (symbol->kind == SYM_FUNCTION)
            p->program->functions.at[symbol->index]->address_taken = true;
        op = lower_emit(p, shared ? OPC_addr_shared : OPC_addr_variable, d, REF_NONE, REF_NONE,
                        REF_NONE);
        op->n = 0;
        op->ext = operand->symbol;
        op->imm = operand->value;
    }
    return d;
}

/* Where an access goes. */
struct access {
    enum space space;
    bool frame;  /* at a fixed place in the frame: `offset` */
    bool kparam; /* at a fixed place in the entry's parameters */
    bool address32;
    uint32_t base;
    uint64_t offset;
};

static enum space take_space(struct parser *p)
{
    if (lower_take(p, M_GLOBAL))
        return SP_GLOBAL;
    if (lower_take(p, M_SHARED) || lower_take(p, M_SHARED_CTA))
        return SP_SHARED;
    if (lower_take(p, M_LOCAL))
        return SP_LOCAL;
    if (lower_take(p, M_CONST))
        return SP_CONST;
    if (lower_take(p, M_PARAM) || lower_take(p, M_PARAM_ENTRY) || lower_take(p, M_PARAM_FUNC))
        return SP_PARAM;
    return SP_GENERIC;
}

static void register_access(struct parser *p, const struct operand *operand, struct access *ret)
{
    enum rclass class = (enum rclass)p->body->classes.at[operand->reg];

    ret->base = operand->reg;
    ret->offset = operand->value;
    if (class == C_32)
        ret->address32 = true;
    else if (class != C_64)
        lower_wrong(p, "the address is not in a 32- or 64-bit register");
    if ((int64_t)ret->offset > OFFSET_MAX || (int64_t)ret->offset < -OFFSET_MAX) {
        uint32_t sum = lower_temp(p, C_64);

        if (ret->address32)
            lower_wrong(p, "the offset is too large");
        lower_emit(p, OPC_add_64, sum, ret->base, lower_constant(p, C_64, ret->offset), REF_NONE);
        ret->base = sum;
        ret->offset = 0;
    }
}

/* Resolves operand i, an address in `space`, for an access of `bytes` that are aligned to `align`.
 */
static void resolve_access(struct parser *p, unsigned i, enum space space, uint32_t bytes,
                           uint32_t align, struct access *ret)
{
    const struct operand *operand = &p->inst.operands[i];
    bool in_entry = p->body->function->is_entry;

    *ret = (struct access){.space = space};
    if (i >= p->inst.n_operands || operand->kind != O_ADDRESS) {
        lower_wrong(p, "expected an address");
        /* What is emitted behind an error is never run, but not every space has an opcode. */
        ret->space = SP_GENERIC;
        return;
    }
    if (space == SP_PARAM && (!in_entry || operand->base_kind == O_LOCAL))
        ret->space = SP_LOCAL;
    switch (operand->base_kind) {
    case O_REG:
        register_access(p, operand, ret);
        return;
    case O_LOCAL:
        if (ret->space != SP_LOCAL)
            lower_wrong(p, "the variable is in another state space");
        ret->frame = operand->value % align == 0 && operand->value <= p->body->local_bytes &&
                     bytes <= p->body->local_bytes - operand->value;
        ret->offset = operand->value;
        break;
    case O_KPARAM:
        if (space != SP_PARAM)
            lower_wrong(p, "the variable is in another state space");
        ret->kparam = true;
        ret->offset = operand->value;
        if (operand->value % align || operand->value > p->body->function->params_bytes ||
            bytes > p->body->function->params_bytes - operand->value)
            lower_wrong(p, "access outside of the parameters");
        return;
    default:
        break;
    }
    if (!ret->frame) {
        ret->base = lower_address(p, operand, &ret->offset);
        ret->offset = 0;
    }
}

/* Consumes what says how an access is ordered and cached; returns MEM_ACQUIRE, MEM_RELEASE. */
static uint64_t take_ordering(struct parser *p)
{
    uint64_t order = 0;

    lower_take(p, M_WEAK);
    lower_take(p, M_VOLATILE);
    lower_take(p, M_MMIO);
    lower_take(p, M_RELAXED);
    if (lower_take(p, M_ACQUIRE))
        order |= MEM_ACQUIRE;
    if (lower_take(p, M_RELEASE))
        order |= MEM_RELEASE;
    if (lower_take(p, M_ACQ_REL) || lower_take(p, M_SC))
        order |= MEM_ACQUIRE | MEM_RELEASE;
    lower_take_range(p, M_CTA, M_SYS);
    return order;
}

static void take_cache_hints(struct parser *p)
{
    lower_take_range(p, M_CA, M_WT);
    while (lower_take_range(p, M_L2_64, M_L2_NORMAL) != M_NONE)
        ;
}

/* Number of elements as a power of two, from .v2 .v4 .v8. */
static unsigned take_vector(struct parser *p)
{
    if (lower_take(p, M_V2))
        return 1;
    if (lower_take(p, M_V4))
        return 2;
    return lower_take(p, M_V8) ? 3 : 0;
}

static unsigned log2_bytes(enum type type)
{
    return (unsigned)__builtin_ctz(type_bits(type) / 8);
}

/* The registers of a vector operand, all of one class that is wide enough; in `more`. */
static uint32_t vector_refs(struct parser *p, unsigned i, enum type type, unsigned n, bool written,
                            enum rclass *ret_class)
{
    const struct operand *operand = &p->inst.operands[i];
    enum rclass class = type_class(type);
    uint32_t first = lower_more(p, written ? n : 0);

    if (operand->kind != O_VECTOR || operand->n_parts != n) {
        lower_wrong(p, "the vector has the wrong number of elements");
        return first;
    }
    for (unsigned k = 0; k < n; k++)
        if (operand->parts[k].kind == O_REG)
            class = (enum rclass)p->body->classes.at[operand->parts[k].reg];
    lower_more(p, written ? 0 : n);
    for (unsigned k = 0; k < n; k++) {
        const struct part *part = &operand->parts[k];
        uint32_t ref = 0;

        if (part->kind == O_REG)
            ref = part->reg;
        else if (part->kind == O_SINK && written)
            ref = lower_temp(p, class);
        else if (part->kind != O_SINK && class != C_128)
            ref = lower_constant(p, class, part->value);
        else
            lower_wrong(p, "bad vector");
        if (part->kind == O_REG && p->body->classes.at[ref] != class)
            lower_wrong(p, "registers of different types in a vector");
        lower_more(p, ref);
    }
    if (class < type_class(type) || class == C_PRED)
        lower_wrong(p, "register of the wrong type in a vector");
    *ret_class = class;
    return first;
}

static void emit_access(struct parser *p, bool load, const struct access *access, enum type type,
                        unsigned vector, uint64_t order)
{
    static const uint16_t loads[] = {
        [SP_GENERIC] = OPC_ld_generic, [SP_GLOBAL] = OPC_ld_global, [SP_CONST] = OPC_ld_global,
        [SP_SHARED] = OPC_ld_shared,   [SP_LOCAL] = OPC_ld_local,   [SP_PARAM] = OPC_ld_param};
    static const uint16_t stores[] = {[SP_GENERIC] = OPC_st_generic,
                                      [SP_GLOBAL] = OPC_st_global,
                                      [SP_CONST] = OPC_st_global,
                                      [SP_SHARED] = OPC_st_shared,
                                      [SP_LOCAL] = OPC_st_local};
    enum rclass class = type_class(type);
    unsigned operand = load ? 0 : 1;
    uint32_t value = REF_NONE;
    uint32_t more = UINT32_MAX;
    unsigned code = load ? loads[access->space] : stores[access->space];
    struct op *op;

    if (access->frame)
        code = load ? OPC_ld_frame : OPC_st_frame;
    else if (access->kparam)
        code = OPC_ld_kparam;
    if (vector)
        more = vector_refs(p, operand, type, 1u << vector, load, &class);
    else if (load)
        value = lower_def_wide(p, 0, type, &class);
    else
        value = lower_use_wide(p, 1, type, &class);
    op = lower_emit(p, code, load ? value : REF_NONE,
                    access->frame || access->kparam ? REF_NONE : access->base,
                    load ? REF_NONE : value, REF_NONE);
    op->flags |= vector ? OPF_SELF | OPF_MORE : 0;
    op->ext = more;
    op->x = (uint8_t)(log2_bytes(type) | (type_is_signed(type) ? MEM_SIGNED : 0) |
                      (access->address32 ? MEM_ADDRESS32 : 0) | vector << 5);
    op->imm = (access->offset & UINT32_MAX) | (uint64_t) class << 32 | order;
}

static void lower_access(struct parser *p, bool load)
{
    uint64_t order = take_ordering(p);
    enum space space = take_space(p);
    unsigned vector;
    enum type type = lower_type(p, 0, 1);
    bool hinted = lower_has(p, M_L2_HINT);
    unsigned address = load ? 1 : 0;
    struct access access;
    uint32_t bytes;

    if (load)
        lower_take(p, M_NC);
    take_cache_hints(p);
    vector = take_vector(p);
    bytes = type_bits(type) / 8 << vector;
    if (type == T_PRED || bytes > 32 ||
        (p->inst.mnemonic == MN_ldu && space != SP_GLOBAL && space != SP_GENERIC)) {
        parse_unsupported(p);
        return;
    }
    if (!load && (space == SP_CONST || (space == SP_PARAM && p->body->function->is_entry &&
                                        p->inst.operands[0].base_kind != O_LOCAL))) {
        lower_wrong(p, "store to read-only memory");
        return;
    }
    if (!lower_operands(p, hinted ? 3 : 2, hinted ? 3 : 2))
        return;
    resolve_access(p, address, space, bytes, bytes, &access);
    emit_access(p, load, &access, type, vector, order);
}

void lower_ld(struct parser *p)
{
    lower_access(p, true);
}

void lower_st(struct parser *p)
{
    lower_access(p, false);
}

/* Hints: checked for their form, and nothing to do. */
void lower_prefetch(struct parser *p)
{
    take_space(p);
    lower_take(p, M_L1);
    lower_take(p, M_L2);
    take_cache_hints(p);
    lower_operands(p, 1, 2);
    lower_emit(p, OPC_nop, REF_NONE, REF_NONE, REF_NONE, REF_NONE);
}

void lower_createpolicy(struct parser *p)
{
    if (!lower_take(p, M_FRACTIONAL))
        parse_unsupported(p);
    take_cache_hints(p);
    lower_type(p, 0, 1);
    lower_emit(p, OPC_mov_64, lower_def(p, 0, T_B64), lower_constant(p, C_64, 0), REF_NONE,
               REF_NONE);
}

static bool atom_allowed(enum atom_op op, enum type type)
{
    char kind = type_kind(type);
    unsigned bits = type_bits(type);

    switch (op) {
    case ATOM_AND:
    case ATOM_OR:
    case ATOM_XOR:
        return kind == 'b' && (bits == 32 || bits == 64);
    case ATOM_EXCH:
        return kind == 'b' && (bits == 32 || bits == 64);
    case ATOM_CAS:
        return kind == 'b' && bits >= 16 && bits <= 64;
    case ATOM_INC:
    case ATOM_DEC:
        return type == T_U32;
    case ATOM_MIN:
    case ATOM_MAX:
        return (kind == 'u' || kind == 's') && bits >= 32;
    default:
        return type == T_U32 || type == T_S32 || type == T_U64 || type == T_S64 || type == T_F32 ||
               type == T_F64 || kind == 'h' || kind == 'i' || type == T_F16 || type == T_BF16;
    }
}

static bool take_atom_op(struct parser *p, enum atom_op *ret)
{
    static const struct {
        uint8_t modifier, op;
    } ops[] = {{M_ADD, ATOM_ADD}, {M_AND, ATOM_AND},   {M_OR, ATOM_OR},   {M_XOR, ATOM_XOR},
               {M_INC, ATOM_INC}, {M_EXCH, ATOM_EXCH}, {M_CAS, ATOM_CAS}, {M_DEC, ATOM_DEC},
               {M_MIN, ATOM_MIN}, {M_MAX, ATOM_MAX}};

    for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        if (lower_take(p, (enum modifier)ops[i].modifier)) {
            *ret = (enum atom_op)ops[i].op;
            return true;
        }
    }
    return false;
}

void lower_atom(struct parser *p)
{
    bool red = p->inst.mnemonic == MN_red;
    unsigned first = red ? 0 : 1;
    uint64_t order = take_ordering(p);
    enum space space = take_space(p);
    enum type type = lower_type(p, 0, 1);
    enum atom_op atom = ATOM_ADD;
    uint32_t b, c = REF_NONE, d = REF_NONE;
    struct access access;
    struct op *op;
    unsigned n;

    lower_take(p, M_NOFTZ);
    if (!take_atom_op(p, &atom) || !atom_allowed(atom, type) ||
        (space != SP_GLOBAL && space != SP_SHARED && space != SP_GENERIC)) {
        parse_unsupported(p);
        return;
    }
    n = first + (atom == ATOM_CAS ? 3 : 2);
    if (lower_take(p, M_L2_HINT))
        n++;
    if (!lower_operands(p, n, n))
        return;
    resolve_access(p, first, space, type_bits(type) / 8, type_bits(type) / 8, &access);
    b = lower_use(p, first + 1, type);
    if (atom == ATOM_CAS)
        c = lower_use(p, first + 2, type);
    if (!red)
        d = lower_def(p, 0, type);
    op = lower_emit(p,
                    access.space == SP_SHARED    ? OPC_atom_shared
                    : access.space == SP_GENERIC ? OPC_atom_generic
                                                 : OPC_atom_global,
                    d, access.base, b, c);
    op->flags |= OPF_SELF;
    op->x = (uint8_t)(atom | (access.address32 ? MEM_ADDRESS32 : 0));
    op->imm = (access.offset & UINT32_MAX) | (uint64_t)type << 32 | order;
}

void lower_fence(struct parser *p)
{
    take_ordering(p);
    lower_take(p, M_GL);
    lower_operands(p, 0, 0);
    lower_emit(p, OPC_fence, REF_NONE, REF_NONE, REF_NONE, REF_NONE);
}

/* cp.async.ca.shared.global [to], [from], bytes {, bytes from source} {, policy} */
static void lower_copy(struct parser *p)
{
    bool hinted;
    struct access to, from;
    uint32_t source_bytes = REF_NONE;
    uint64_t bytes;
    struct op *op;

    hinted = lower_has(p, M_L2_HINT);
    take_cache_hints(p);
    if ((!lower_take(p, M_SHARED) && !lower_take(p, M_SHARED_CTA)) || !lower_take(p, M_GLOBAL)) {
        parse_unsupported(p);
        return;
    }
    if (!lower_operands(p, hinted ? 4 : 3, hinted ? 5 : 4))
        return;
    if (p->inst.operands[2].kind != O_INT) {
        lower_wrong(p, "the size is not a constant");
        return;
    }
    bytes = p->inst.operands[2].value;
    if (bytes != 4 && bytes != 8 && bytes != 16)
        lower_wrong(p, "bad size");
    if (p->inst.n_operands - hinted == 4)
        source_bytes = lower_use(p, 3, T_U32);
    resolve_access(p, 0, SP_SHARED, (uint32_t)bytes, (uint32_t)bytes, &to);
    resolve_access(p, 1, SP_GLOBAL, (uint32_t)bytes, (uint32_t)bytes, &from);
    if (from.address32)
        lower_wrong(p, "the address is not in a 64-bit register");
    op = lower_emit(p, OPC_cp_async, REF_NONE, to.base, from.base, source_bytes);
    op->x = (uint8_t)(bytes | (to.address32 ? 32 : 0));
    op->imm = (to.offset & UINT32_MAX) | from.offset << 32;
}

void lower_cp(struct parser *p)
{
    if (!lower_take(p, M_ASYNC)) {
        parse_unsupported(p);
    } else if (lower_take(p, M_COMMIT_GROUP) || lower_take(p, M_WAIT_ALL)) {
        lower_operands(p, 0, 0);
        lower_emit(p, OPC_nop, REF_NONE, REF_NONE, REF_NONE, REF_NONE);
    } else if (lower_take(p, M_WAIT_GROUP)) {
        lower_operands(p, 1, 1);
        lower_emit(p, OPC_nop, REF_NONE, REF_NONE, REF_NONE, REF_NONE);
    } else {
        lower_copy(p);
    }
}
