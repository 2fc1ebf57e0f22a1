/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads and stores. The fast way takes all lanes at once when they lie in one known range; what is
 * left, and every fault, goes lane by lane through access.c. Lanes that are not active are given
 * the address of one that is, so that loops run over all 32.
 */
#include "softgpu/ptx/exec_isa.h"

#define ELEMENT_LOG2(x) ((x)&7u)

struct quad {
    u64 low, high;
};

/* Addresses of the lanes and what they have in common. */
struct lanes {
    u64 at[LANES];
    u64 min, max, all; /* all: or of them */
};

static inline __attribute__((always_inline)) void gather_addresses(const struct warp *w, u32 ref,
                                                                   bool short_address, u32 offset,
                                                                   struct lanes *ret)
{
    u64 min = UINT64_MAX, max = 0, all = 0;

    if (short_address) {
        const u32 *p = reg(w, ref);

        for (unsigned i = 0; i < LANES; i++)
            ret->at[i] = p[i] + offset;
    } else {
        const u64 *p = reg(w, ref);
        u64 wide = (u64)(s64)(s32)offset;

        for (unsigned i = 0; i < LANES; i++)
            ret->at[i] = p[i] + wide;
    }
    if (w->mask != FULL_MASK) {
        u64 first = ret->at[__builtin_ctz(w->mask)];
        u32 mask = w->mask;

        for (unsigned i = 0; i < LANES; i++)
            ret->at[i] = mask >> i & 1 ? ret->at[i] : first;
    }
    for (unsigned i = 0; i < LANES; i++) {
        u64 at = ret->at[i];

        min = at < min ? at : min;
        max = at > max ? at : max;
        all |= at;
    }
    ret->min = min;
    ret->max = max;
    ret->all = all;
}

/* Whether all lanes lie in the range at hand; *ret is what to add to a device address, as a number
 * since no object of the host lies there. */
static inline bool find_host(struct warp *w, const struct op *op, const struct lanes *lanes,
                             u32 bytes, bool store, uintptr_t *ret)
{
    const struct ptx_range *range = &w->worker->ranges[op->n % RANGE_SLOTS];

    if (lanes->all & (bytes - 1))
        return false;
    if (!(range->size_bytes >= bytes && lanes->min >= range->base &&
          lanes->max - range->base <= range->size_bytes - bytes)) {
        range = access_range(w, op->n % RANGE_SLOTS, lanes->min);
        if (!range || range->size_bytes < bytes || lanes->max < range->base ||
            lanes->max - range->base > range->size_bytes - bytes)
            return false;
    }
    if (store && (range->flags & PTX_RANGE_READ_ONLY))
        return false;
    *ret = (uintptr_t)range->host - range->base;
    return true;
}

/* A column of loaded values to a register: of the same width, or extended. */
#define PUT_COLUMN(t, s)                                                                           \
    static void put_##t(const struct warp *w, u32 ref, unsigned class, bool is_signed,             \
                        const t *from)                                                             \
    {                                                                                              \
        u64 wide[LANES];                                                                           \
                                                                                                   \
        if (class_bytes[class] == sizeof(t) * LANES) {                                             \
            t *d = reg(w, ref);                                                                    \
                                                                                                   \
            if (writes_all(w))                                                                     \
                memcpy(d, from, sizeof(t) * LANES);                                                \
            else                                                                                   \
                BLEND(t, d, from);                                                                 \
            return;                                                                                \
        }                                                                                          \
        for (unsigned i = 0; i < LANES; i++)                                                       \
            wide[i] = is_signed ? (u64)(s64)(s)from[i] : (u64)from[i];                             \
        if (class == C_16) {                                                                       \
            u16 *d = reg(w, ref);                                                                  \
            BLEND(u16, d, wide);                                                                   \
        } else if (class == C_32) {                                                                \
            u32 *d = reg(w, ref);                                                                  \
            BLEND(u32, d, wide);                                                                   \
        } else if (class == C_64) {                                                                \
            u64 *d = reg(w, ref);                                                                  \
            BLEND(u64, d, wide);                                                                   \
        }                                                                                          \
    }

PUT_COLUMN(u8, s8)
PUT_COLUMN(u16, s16)
PUT_COLUMN(u32, s32)
PUT_COLUMN(u64, s64)

static void put_quad(const struct warp *w, u32 ref, const struct quad *from)
{
    struct quad *d = reg(w, ref);

    for (unsigned i = 0; i < LANES; i++)
        if (w->mask >> i & 1)
            d[i] = from[i];
}

/* The k-th register of an access: its own, or one of the list. */
static inline u32 element_ref(const struct warp *w, const struct op *op, u32 alone, unsigned k)
{
    return MEM_VECTOR(op->x) ? w->frame->function->more.at[op->ext + 2 + k] : alone;
}

/* Consecutive lanes at consecutive addresses. */
static inline bool in_line(const struct lanes *lanes, u32 bytes)
{
    u64 differ = 0;

    for (unsigned i = 0; i < LANES; i++)
        differ |= lanes->at[i] ^ (lanes->at[0] + i * bytes);
    return differ == 0;
}

#define LOAD_COLUMN(t)                                                                             \
    static void load_##t(const struct warp *w, const struct op *op, u32 ref, uintptr_t host,       \
                         const struct lanes *lanes, bool line)                                     \
    {                                                                                              \
        t column[LANES];                                                                           \
                                                                                                   \
        if (line)                                                                                  \
            memcpy(column, (const void *)(host + lanes->at[0]), sizeof(column));                   \
        else                                                                                       \
            for (unsigned i = 0; i < LANES; i++)                                                   \
                column[i] = *(const t *)(host + lanes->at[i]);                                     \
        put_##t(w, ref, MEM_CLASS(op->imm), op->x &MEM_SIGNED, column);                            \
    }
LOAD_COLUMN(u8)
LOAD_COLUMN(u16)
LOAD_COLUMN(u32)
LOAD_COLUMN(u64)

static void load_quad(const struct warp *w, u32 ref, uintptr_t host, const struct lanes *lanes)
{
    struct quad column[LANES];

    for (unsigned i = 0; i < LANES; i++)
        column[i] = *(const struct quad *)(host + lanes->at[i]);
    put_quad(w, ref, column);
}

/* All lanes from host + their address. */
static const struct op *load_lanes(struct warp *w, const struct op *op, uintptr_t host,
                                   const struct lanes *lanes)
{
    unsigned log2 = ELEMENT_LOG2(op->x);
    unsigned n = 1u << MEM_VECTOR(op->x);
    bool line = n == 1 && w->mask == FULL_MASK && in_line(lanes, 1u << log2);

    for (unsigned k = 0; k < n; k++, host += 1u << log2) {
        u32 ref = element_ref(w, op, op->d, k);

        switch (log2) {
        case 0:
            load_u8(w, op, ref, host, lanes, line);
            break;
        case 1:
            load_u16(w, op, ref, host, lanes, line);
            break;
        case 2:
            load_u32(w, op, ref, host, lanes, line);
            break;
        case 3:
            load_u64(w, op, ref, host, lanes, line);
            break;
        default:
            load_quad(w, ref, host, lanes);
        }
    }
    if (op->imm & MEM_ACQUIRE)
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return op + 1;
}

/* One lane's element to its register. */
static void put_lane(const struct warp *w, const struct op *op, u32 ref, unsigned lane,
                     const uint8_t *from)
{
    unsigned log2 = ELEMENT_LOG2(op->x);
    unsigned shift = 64 - (8u << (log2 > 3 ? 3 : log2));
    u64 value = 0;

    if (log2 == 4) {
        memcpy((struct quad *)reg(w, ref) + lane, from, 16);
        return;
    }
    memcpy(&value, from, (size_t)1 << log2);
    if (op->x & MEM_SIGNED)
        value = (u64)((s64)(value << shift) >> shift);
    if (MEM_CLASS(op->imm) == C_16)
        ((u16 *)reg(w, ref))[lane] = (u16)value;
    else if (MEM_CLASS(op->imm) == C_32)
        ((u32 *)reg(w, ref))[lane] = (u32)value;
    else
        ((u64 *)reg(w, ref))[lane] = value;
}

static void take_lane(const struct warp *w, const struct op *op, u32 ref, unsigned lane,
                      uint8_t *to)
{
    memcpy(to, (const uint8_t *)reg(w, ref) + lane * (class_bytes[MEM_CLASS(op->imm)] / LANES),
           (size_t)1 << ELEMENT_LOG2(op->x));
}

static const struct op *access_fault(struct warp *w, const struct op *op, unsigned lane,
                                     enum ptx_fault_kind kind, u64 address, u32 bytes,
                                     const char *what)
{
    return fault_raise(w, op, UINT32_C(1) << lane, kind, address, bytes, "%s of %u bytes at %#llx",
                       what, bytes, (unsigned long long)address);
}

static const struct op *load_slow(struct warp *w, const struct op *op, enum space space,
                                  const struct lanes *lanes)
{
    unsigned n = 1u << MEM_VECTOR(op->x);
    u32 bytes = n << ELEMENT_LOG2(op->x);
    uint8_t data[LANES][32] __attribute__((aligned(16)));

    for (u32 mask = w->mask; mask; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);
        enum ptx_fault_kind kind;

        if (!access_read(w, space, lane, lanes->at[lane], bytes, data[lane], &kind))
            return access_fault(w, op, lane, kind, lanes->at[lane], bytes, "load");
    }
    for (u32 mask = w->mask; mask; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);

        for (unsigned k = 0; k < n; k++)
            put_lane(w, op, element_ref(w, op, op->d, k), lane,
                     data[lane] + ((size_t)k << ELEMENT_LOG2(op->x)));
    }
    if (op->imm & MEM_ACQUIRE)
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return op + 1;
}

static const struct op *store_slow(struct warp *w, const struct op *op, enum space space,
                                   const struct lanes *lanes)
{
    unsigned n = 1u << MEM_VECTOR(op->x);
    u32 bytes = n << ELEMENT_LOG2(op->x);

    if (op->imm & MEM_RELEASE)
        __atomic_thread_fence(__ATOMIC_RELEASE);
    for (u32 mask = w->mask; mask; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);
        uint8_t data[32] __attribute__((aligned(16)));
        enum ptx_fault_kind kind;

        for (unsigned k = 0; k < n; k++)
            take_lane(w, op, element_ref(w, op, op->b, k), lane,
                      data + ((size_t)k << ELEMENT_LOG2(op->x)));
        if (!access_write(w, space, lane, lanes->at[lane], bytes, data, &kind))
            return access_fault(w, op, lane, kind, lanes->at[lane], bytes, "store");
    }
    return op + 1;
}

static bool load_row(struct warp *w, const struct op *op, u64 offset);
static bool store_row(struct warp *w, const struct op *op, u64 offset);

/* All lanes at one offset of their local memory, in bounds and aligned. */
static inline bool in_row(const struct warp *w, const struct lanes *lanes, u64 base, u32 bytes)
{
    return lanes->min == lanes->max && !((lanes->max - base) & (bytes - 1)) &&
           lanes->max - base < w->grid->stack_bytes &&
           bytes <= w->grid->stack_bytes - (lanes->max - base);
}

/* All lanes in the shared window, in bounds and aligned. */
static inline bool in_shared(const struct warp *w, const struct lanes *lanes, u32 bytes)
{
    return lanes->min >= PTX_SHARED_BASE && !(lanes->all & (bytes - 1)) &&
           lanes->max - PTX_SHARED_BASE < w->grid->shared_bytes &&
           bytes <= w->grid->shared_bytes - (lanes->max - PTX_SHARED_BASE);
}

static inline u32 access_bytes(const struct op *op)
{
    return 1u << (ELEMENT_LOG2(op->x) + MEM_VECTOR(op->x));
}

static inline __attribute__((always_inline)) const struct op *load_device(struct warp *w,
                                                                          const struct op *op,
                                                                          enum space space)
{
    struct lanes lanes;
    uintptr_t host;

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    if (space == SP_GENERIC && lanes.max < PTX_DEVICE_BASE) {
        if (in_shared(w, &lanes, access_bytes(op)))
            return load_lanes(w, op, (uintptr_t)w->block->shared - PTX_SHARED_BASE, &lanes);
        if (in_row(w, &lanes, PTX_LOCAL_BASE, access_bytes(op)) &&
            load_row(w, op, lanes.max - PTX_LOCAL_BASE))
            return op + 1;
    }
    if (!find_host(w, op, &lanes, access_bytes(op), false, &host))
        return load_slow(w, op, space, &lanes);
    return load_lanes(w, op, host, &lanes);
}

HANDLER(ld_global)
{
    return load_device(w, op, SP_GLOBAL);
}

HANDLER(ld_generic)
{
    return load_device(w, op, SP_GENERIC);
}

HANDLER(ld_shared)
{
    struct lanes lanes;
    u32 bytes = access_bytes(op);

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    if ((lanes.all & (bytes - 1)) || lanes.max > w->grid->shared_bytes ||
        w->grid->shared_bytes - lanes.max < bytes)
        return load_slow(w, op, SP_SHARED, &lanes);
    return load_lanes(w, op, (uintptr_t)w->block->shared, &lanes);
}

HANDLER(ld_param)
{
    struct lanes lanes;

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    return load_slow(w, op, SP_PARAM, &lanes);
}

/* A parameter of the entry at a fixed place: the same for all lanes. */
HANDLER(ld_kparam)
{
    struct lanes lanes;

    for (unsigned i = 0; i < LANES; i++)
        lanes.at[i] = (u32)op->imm;
    return load_lanes(w, op, (uintptr_t)w->grid->params, &lanes);
}

#define STORE_COLUMN(t)                                                                            \
    static void store_##t(const struct warp *w, unsigned class, u32 ref, uintptr_t host,           \
                          const struct lanes *lanes, bool line)                                    \
    {                                                                                              \
        const uint8_t *from = reg(w, ref);                                                         \
        unsigned step = class_bytes[class] / LANES;                                                \
                                                                                                   \
        if (line && step == sizeof(t)) {                                                           \
            memcpy((void *)(host + lanes->at[0]), from, sizeof(t) * LANES);                        \
            return;                                                                                \
        }                                                                                          \
        for (u32 mask = w->mask; mask; mask &= mask - 1) {                                         \
            unsigned i = (unsigned)__builtin_ctz(mask);                                            \
                                                                                                   \
            *(t *)(host + lanes->at[i]) = *(const t *)(from + i * step);                           \
        }                                                                                          \
    }
STORE_COLUMN(u8)
STORE_COLUMN(u16)
STORE_COLUMN(u32)
STORE_COLUMN(u64)
typedef struct quad quad;
STORE_COLUMN(quad)

static const struct op *store_lanes(struct warp *w, const struct op *op, uintptr_t host,
                                    const struct lanes *lanes)
{
    unsigned log2 = ELEMENT_LOG2(op->x);
    unsigned n = 1u << MEM_VECTOR(op->x);
    unsigned class = MEM_CLASS(op->imm);
    bool line = n == 1 && w->mask == FULL_MASK && in_line(lanes, 1u << log2);

    if (op->imm & MEM_RELEASE)
        __atomic_thread_fence(__ATOMIC_RELEASE);
    for (unsigned k = 0; k < n; k++, host += 1u << log2) {
        u32 ref = element_ref(w, op, op->b, k);

        switch (log2) {
        case 0:
            store_u8(w, class, ref, host, lanes, line);
            break;
        case 1:
            store_u16(w, class, ref, host, lanes, line);
            break;
        case 2:
            store_u32(w, class, ref, host, lanes, line);
            break;
        case 3:
            store_u64(w, class, ref, host, lanes, line);
            break;
        default:
            store_quad(w, class, ref, host, lanes, line);
        }
    }
    return op + 1;
}

static inline __attribute__((always_inline)) const struct op *store_device(struct warp *w,
                                                                           const struct op *op,
                                                                           enum space space)
{
    struct lanes lanes;
    uintptr_t host;

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    if (space == SP_GENERIC && lanes.max < PTX_DEVICE_BASE) {
        if (in_shared(w, &lanes, access_bytes(op)))
            return store_lanes(w, op, (uintptr_t)w->block->shared - PTX_SHARED_BASE, &lanes);
        if (in_row(w, &lanes, PTX_LOCAL_BASE, access_bytes(op)) &&
            store_row(w, op, lanes.max - PTX_LOCAL_BASE))
            return op + 1;
    }
    if (!find_host(w, op, &lanes, access_bytes(op), true, &host))
        return store_slow(w, op, space, &lanes);
    return store_lanes(w, op, host, &lanes);
}

HANDLER(st_global)
{
    return store_device(w, op, SP_GLOBAL);
}

HANDLER(st_generic)
{
    return store_device(w, op, SP_GENERIC);
}

HANDLER(st_shared)
{
    struct lanes lanes;
    u32 bytes = access_bytes(op);

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    if ((lanes.all & (bytes - 1)) || lanes.max > w->grid->shared_bytes ||
        w->grid->shared_bytes - lanes.max < bytes)
        return store_slow(w, op, SP_SHARED, &lanes);
    return store_lanes(w, op, (uintptr_t)w->block->shared, &lanes);
}

/* --- local memory: word i of all lanes lies together --- */

static inline u32 *local_row(const struct warp *w, u64 offset)
{
    return (u32 *)w->local + (offset >> 2) * LANES;
}

/* All lanes at one offset, elements of 4 or 8 bytes to registers of that width. */
static bool load_row(struct warp *w, const struct op *op, u64 offset)
{
    unsigned log2 = ELEMENT_LOG2(op->x);
    unsigned n = 1u << MEM_VECTOR(op->x);

    if ((log2 != 2 || MEM_CLASS(op->imm) != C_32) && (log2 != 3 || MEM_CLASS(op->imm) != C_64))
        return false;
    for (unsigned k = 0; k < n; k++, offset += 1u << log2) {
        const u32 *row = local_row(w, offset);
        u32 ref = element_ref(w, op, op->d, k);

        if (log2 == 2) {
            put_u32(w, ref, C_32, false, row);
        } else {
            u64 column[LANES];

            for (unsigned i = 0; i < LANES; i++)
                column[i] = row[i] | (u64)row[i + LANES] << 32;
            put_u64(w, ref, C_64, false, column);
        }
    }
    return true;
}

static bool store_row(struct warp *w, const struct op *op, u64 offset)
{
    unsigned log2 = ELEMENT_LOG2(op->x);
    unsigned n = 1u << MEM_VECTOR(op->x);

    if ((log2 != 2 || MEM_CLASS(op->imm) != C_32) && (log2 != 3 || MEM_CLASS(op->imm) != C_64))
        return false;
    for (unsigned k = 0; k < n; k++, offset += 1u << log2) {
        u32 *row = local_row(w, offset);
        u32 ref = element_ref(w, op, op->b, k);

        if (log2 == 2) {
            const u32 *from = reg(w, ref);

            BLEND(u32, row, from);
        } else {
            const u64 *from = reg(w, ref);
            u32 low[LANES], high[LANES];

            for (unsigned i = 0; i < LANES; i++) {
                low[i] = (u32)from[i];
                high[i] = (u32)(from[i] >> 32);
            }
            BLEND(u32, row, low);
            row += LANES;
            BLEND(u32, row, high);
        }
    }
    return true;
}

HANDLER(ld_local)
{
    struct lanes lanes;

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    if (in_row(w, &lanes, 0, access_bytes(op)) && load_row(w, op, lanes.max))
        return op + 1;
    return load_slow(w, op, SP_LOCAL, &lanes);
}

HANDLER(st_local)
{
    struct lanes lanes;

    gather_addresses(w, op->a, op->x & MEM_ADDRESS32, (u32)op->imm, &lanes);
    if (in_row(w, &lanes, 0, access_bytes(op)) && store_row(w, op, lanes.max))
        return op + 1;
    return store_slow(w, op, SP_LOCAL, &lanes);
}

static void frame_lanes(const struct warp *w, const struct op *op, struct lanes *ret)
{
    for (unsigned i = 0; i < LANES; i++)
        ret->at[i] = w->frame->local_base + (u32)op->imm;
}

HANDLER(ld_frame)
{
    struct lanes lanes;

    if (load_row(w, op, w->frame->local_base + (u32)op->imm))
        return op + 1;
    frame_lanes(w, op, &lanes);
    return load_slow(w, op, SP_LOCAL, &lanes);
}

HANDLER(st_frame)
{
    struct lanes lanes;

    if (store_row(w, op, w->frame->local_base + (u32)op->imm))
        return op + 1;
    frame_lanes(w, op, &lanes);
    return store_slow(w, op, SP_LOCAL, &lanes);
}

/* cp.async, done at once. */
HANDLER(cp_async)
{
    struct lanes to, from;
    u32 bytes = op->x & 31;
    const u32 *sizes = op->c == REF_NONE ? NULL : reg(w, op->c);

    gather_addresses(w, op->a, op->x & 32, (u32)op->imm, &to);
    gather_addresses(w, op->b, false, (u32)(op->imm >> 32), &from);
    for (u32 mask = w->mask; mask; mask &= mask - 1) {
        unsigned lane = (unsigned)__builtin_ctz(mask);
        uint8_t data[16] = {0};
        u32 given = sizes && sizes[lane] < bytes ? sizes[lane] : bytes;
        enum ptx_fault_kind kind = PTX_FAULT_MISALIGNED;

        if ((from.at[lane] & (bytes - 1)) ||
            (given && !access_read(w, SP_GLOBAL, lane, from.at[lane], given, data, &kind)))
            return access_fault(w, op, lane, kind, from.at[lane], given, "load");
        if (!access_write(w, SP_SHARED, lane, to.at[lane], bytes, data, &kind))
            return access_fault(w, op, lane, kind, to.at[lane], bytes, "store");
    }
    return op + 1;
}
