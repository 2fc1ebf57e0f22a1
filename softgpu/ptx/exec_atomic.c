/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atom and red, lane by lane in ascending order. On global memory they are atomic among the host's
 * threads; shared and local memory belong to one thread, so that plain steps do.
 */
#include "softgpu/ptx/exec_isa.h"
#include "softgpu/ptx/small_float.h"

struct atom {
    enum atom_op op;
    enum type type;
    bool plain; /* nobody else can see it */
};

/* The new value of an integer, for what has no instruction of its own. */
static u64 integer_step(const struct atom *atom, u64 old, u64 b)
{
    bool narrow = atom->type == T_U32 || atom->type == T_S32 || atom->type == T_B32;
    bool less;

    if (atom->type == T_S32)
        less = (s32)old < (s32)b;
    else if (atom->type == T_S64)
        less = (s64)old < (s64)b;
    else
        less = narrow ? (u32)old < (u32)b : old < b;
    switch (atom->op) {
    case ATOM_ADD:
        return old + b;
    case ATOM_AND:
        return old & b;
    case ATOM_OR:
        return old | b;
    case ATOM_XOR:
        return old ^ b;
    case ATOM_EXCH:
        return b;
    case ATOM_INC:
        return (u32)old >= (u32)b ? 0 : (u32)old + 1;
    case ATOM_DEC:
        return (u32)old == 0 || (u32)old > (u32)b ? b : (u32)old - 1;
    case ATOM_MIN:
        return less ? old : b;
    default:
        return less ? b : old;
    }
}

static u32 small_sum(u32 a, u32 b, bool bf16)
{
    return f64_to_small(add_odd(small_to_f64(a, bf16), small_to_f64(b, bf16)), bf16, ROUND_N);
}

/* Sums of floats; f32 on global memory flushes subnormals. */
static u64 float_step(const struct atom *atom, u64 old, u64 b)
{
    f32 x, y;

    switch (atom->type) {
    case T_F32:
        x = float32((u32)old);
        y = float32((u32)b);
        return atom->plain ? bits32(canon(x + y)) : bits32(flush(canon(flush(x) + flush(y))));
    case T_F64:
        return bits64(float64(old) + float64(b));
    case T_F16:
    case T_BF16:
        return small_sum((u32)old, (u32)b, atom->type == T_BF16);
    default:
        return small_sum((u32)old & 0xffff, (u32)b & 0xffff, atom->type == T_BF16X2) |
               small_sum((u32)old >> 16, (u32)(b >> 16) & 0xffff, atom->type == T_BF16X2) << 16;
    }
}

static bool is_float(enum type type)
{
    return type >= T_F16 && type <= T_F64;
}

static u64 step(const struct atom *atom, u64 old, u64 b)
{
    return is_float(atom->type) ? float_step(atom, old, b) : integer_step(atom, old, b);
}

#define ATOMIC(t)                                                                                  \
    static u64 atomic_##t(const struct atom *atom, t *at, u64 b, u64 c)                            \
    {                                                                                              \
        t old = __atomic_load_n(at, __ATOMIC_RELAXED);                                             \
        t fresh;                                                                                   \
                                                                                                   \
        if (atom->plain) {                                                                         \
            if (atom->op != ATOM_CAS)                                                              \
                *at = (t)step(atom, old, b);                                                       \
            else if (old == (t)b)                                                                  \
                *at = (t)c;                                                                        \
            return old;                                                                            \
        }                                                                                          \
        if (atom->op == ATOM_CAS) {                                                                \
            old = (t)b;                                                                            \
            __atomic_compare_exchange_n(at, &old, (t)c, false, __ATOMIC_SEQ_CST,                   \
                                        __ATOMIC_SEQ_CST);                                         \
            return old;                                                                            \
        }                                                                                          \
        if (atom->op == ATOM_ADD && !is_float(atom->type))                                         \
            return __atomic_fetch_add(at, (t)b, __ATOMIC_SEQ_CST);                                 \
        if (atom->op == ATOM_EXCH)                                                                 \
            return __atomic_exchange_n(at, (t)b, __ATOMIC_SEQ_CST);                                \
        do {                                                                                       \
            fresh = (t)step(atom, old, b);                                                         \
        } while (!__atomic_compare_exchange_n(at, &old, fresh, true, __ATOMIC_SEQ_CST,             \
                                              __ATOMIC_RELAXED));                                  \
        return old;                                                                                \
    }
ATOMIC(u16)
ATOMIC(u32)
ATOMIC(u64)

static u64 operate(const struct atom *atom, void *at, u32 bytes, u64 b, u64 c)
{
    if (bytes == 2)
        return atomic_u16(atom, at, b, c);
    if (bytes == 4)
        return atomic_u32(atom, at, b, c);
    return atomic_u64(atom, at, b, c);
}

static u64 lane_value(const struct warp *w, u32 ref, u32 bytes, unsigned lane)
{
    u64 value = 0;

    if (ref != REF_NONE)
        memcpy(&value, (const uint8_t *)reg(w, ref) + lane * bytes, bytes);
    return value;
}

static u32 atom_bytes(enum type type)
{
    switch (type) {
    case T_B16:
    case T_F16:
    case T_BF16:
        return 2;
    case T_B64:
    case T_U64:
    case T_S64:
    case T_F64:
        return 8;
    default:
        return 4;
    }
}

static bool in_shared(const struct warp *w, const void *at)
{
    const uint8_t *shared = w->block->shared;

    return (const uint8_t *)at >= shared && (const uint8_t *)at < shared + w->grid->shared_bytes;
}

static const struct op *atom_lanes(struct warp *w, const struct op *op, enum space space)
{
    struct atom atom = {.op = (enum atom_op)(op->x & 15), .type = (enum type)(op->imm >> 32 & 255)};
    u32 bytes = atom_bytes(atom.type);
    uint8_t *d = op->d == REF_NONE ? NULL : reg(w, op->d);

    w->spins = true;
    for (u32 mask = w->mask; mask; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);
        u64 address = op->x & MEM_ADDRESS32
                          ? ((const u32 *)reg(w, op->a))[lane] + (u32)op->imm
                          : ((const u64 *)reg(w, op->a))[lane] + (u64)(s64)(s32)(u32)op->imm;
        u64 b = lane_value(w, op->b, bytes, lane);
        u64 c = lane_value(w, op->c, bytes, lane);
        enum ptx_fault_kind kind = PTX_FAULT_NONE;
        void *at = access_pointer(w, space, lane, address, bytes, &kind);
        u64 held = 0, old = 0;

        if (at) {
            atom.plain = in_shared(w, at);
            old = operate(&atom, at, bytes, b, c);
        } else {
            atom.plain = true;
            if (kind == PTX_FAULT_NONE &&
                access_read(w, space, lane, address, bytes, &held, &kind)) {
                old = operate(&atom, &held, bytes, b, c);
                access_write(w, space, lane, address, bytes, &held, &kind);
            }
            if (kind != PTX_FAULT_NONE)
                return fault_raise(w, op, UINT32_C(1) << lane, kind, address, bytes,
                                   "atomic access of %u bytes at %#llx", bytes,
                                   (unsigned long long)address);
        }
        if (d)
            memcpy(d + lane * bytes, &old, bytes);
    }
    return op + 1;
}

HANDLER(atom_global)
{
    return atom_lanes(w, op, SP_GLOBAL);
}

HANDLER(atom_generic)
{
    return atom_lanes(w, op, SP_GENERIC);
}

HANDLER(atom_shared)
{
    return atom_lanes(w, op, SP_SHARED);
}
