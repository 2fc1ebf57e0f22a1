/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Atomics: each operation's exact result on a cell of the thread's own, in global and in shared
 * memory, then operations under contention by all threads of a grid.
 */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

enum operation { ADD, MIN, MAX, AND, OR, XOR, EXCH, INC, DEC, CAS };
enum type { U32, S32, U64, S64, B32, B64, F32, F64 };

static const char *const operation_names[] = {"add", "min",  "max", "and", "or",
                                              "xor", "exch", "inc", "dec", "cas"};
static const struct {
    const char *name, *operands;
    bool wide;
} types[] = {
    [U32] = {"u32", "iii", false}, [S32] = {"s32", "iii", false}, [U64] = {"u64", "iii", true},
    [S64] = {"s64", "iii", true},  [B32] = {"b32", "iii", false}, [B64] = {"b64", "iii", true},
    [F32] = {"f32", "FFi", false}, [F64] = {"f64", "DDi", true},
};

static uint64_t sum(int type, uint64_t a, uint64_t b)
{
    if (type == F32)
        return f32_bits(f32_of(a) + f32_of(b));
    if (type == F64)
        return f64_bits(f64_of(a) + f64_of(b));
    return a + b;
}

static bool less(int type, uint64_t a, uint64_t b)
{
    switch (type) {
    case S32:
        return (int32_t)a < (int32_t)b;
    case S64:
        return (int64_t)a < (int64_t)b;
    case U64:
        return a < b;
    default:
        return (uint32_t)a < (uint32_t)b;
    }
}

/* What the cell holds after the operation on `a`. Compare-and-swap finds b equal to a for odd c. */
static uint64_t updated(int operation, int type, uint64_t a, uint64_t b, uint64_t c)
{
    uint32_t x = (uint32_t)a, y = (uint32_t)b;

    switch (operation) {
    case ADD:
        return sum(type, a, b);
    case MIN:
        return less(type, b, a) ? b : a;
    case MAX:
        return less(type, a, b) ? b : a;
    case AND:
        return a & b;
    case OR:
        return a | b;
    case XOR:
        return a ^ b;
    case EXCH:
        return b;
    case INC:
        return x >= y ? 0 : x + 1;
    case DEC:
        return x == 0 || x > y ? y : x - 1;
    default:
        return c & 1 || (types[type].wide ? a == b : x == y) ? c : a;
    }
}

/* The old and the new value together. p0: operation; p1: type. */
static uint64_t reference(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t value = updated(t->p0, t->p1, a, b, c);

    if (types[t->p1].wide)
        return a * 3 + value;
    return (a & UINT32_MAX) << 32 | (value & UINT32_MAX);
}

/* A cell of the thread's own in shared memory, its address in %t1. */
#define SHARED_CELL                                                                                \
    ".shared .align 8 .b8 cells[2048];\nmov.u32 %t1, cells;\nmov.u32 %t0, %tid.x;\n"               \
    "mad.lo.u32 %t1, %t0, 8, %t1;\n"
#define EQUAL_IF_ODD                                                                               \
    "and.b32 %t0, %c, 1;\nsetp.ne.u32 %p, %t0, 0;\n@%p mov.b64 %B, %A;\n@%p mov.b32 %b, %a;\n"

/* `atom` puts the old value where the address was; `red` drops it. */
static void add(struct scalar_list *list, const char *mnemonic, const char *qualifiers,
                const char *space, int operation, int type)
{
    bool shared = strcmp(space, ".shared") == 0, atom = strcmp(mnemonic, "atom") == 0;
    bool wide = types[type].wide;
    const char *address = shared ? "%t1" : "%P", *old = wide ? "%X" : "%x";
    char name[48];
    struct scalar_case *added;

    snprintf(name, sizeof(name), "%s%s%s.%s.%s", mnemonic, qualifiers, space,
             operation_names[operation], types[type].name);
    added = scalar_add(list, name,
                       "%s%sst%s.b%s [%s], %s;\n%s %s%s[%s], %s%s;\n%sld%s.b%s %s, [%s];\n%s\n",
                       shared ? SHARED_CELL : "", operation == CAS ? EQUAL_IF_ODD : "", space,
                       wide ? "64" : "32", address, wide ? "%A" : "%a", name, atom ? old : "",
                       atom ? ", " : "", address, wide ? "%B" : "%b",
                       operation != CAS ? ""
                       : wide           ? ", %C"
                                        : ", %c",
                       atom   ? ""
                       : wide ? "mov.b64 %X, %A;\n"
                              : "mov.b32 %x, %a;\n",
                       space, wide ? "64" : "32", wide ? "%Y" : "%y", address,
                       wide ? "mad.lo.u64 %D, %X, 3, %Y;" : "mov.b64 %D, {%y, %x};");
    added->kind = KIND_B64;
    added->operands = types[type].operands;
    added->reference = reference;
    added->p0 = operation;
    added->p1 = type;
}

/* Which types each operation takes. */
static const struct {
    int operation;
    int types[8];
    size_t count;
} combinations[] = {
    {ADD, {U32, S32, U64, F32, F64}, 5},
    {MIN, {U32, S32, U64, S64}, 4},
    {MAX, {U32, S32, U64, S64}, 4},
    {AND, {B32, B64}, 2},
    {OR, {B32, B64}, 2},
    {XOR, {B32, B64}, 2},
    {EXCH, {B32, B64}, 2},
    {INC, {U32}, 1},
    {DEC, {U32}, 1},
    {CAS, {B32, B64}, 2},
};

static struct scalar_list generated;

static void generate(void)
{
    if (generated.count)
        return;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(combinations); i++)
        for (size_t k = 0; k < combinations[i].count; k++) {
            int operation = combinations[i].operation, type = combinations[i].types[k];

            add(&generated, "atom", "", ".global", operation, type);
            add(&generated, "atom", "", ".shared", operation, type);
            if (operation != EXCH && operation != CAS)
                add(&generated, "red", "", ".global", operation, type);
        }
    add(&generated, "atom", ".acq_rel.gpu", ".global", ADD, U32);
    add(&generated, "atom", ".relaxed.sys", ".global", EXCH, B64);
    add(&generated, "atom", ".acquire.cta", ".shared", CAS, B32);
    add(&generated, "red", ".release.gpu", ".global", ADD, U32);
}

/* Two halves added to two halves; the old pair and the new. */
static uint64_t reference_f16x2(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t r = 0;

    for (unsigned int shift = 0; shift < 32; shift += 16)
        r |= (uint64_t)f16_round((__float128)(f16_value((uint16_t)(a >> shift)) +
                                              f16_value((uint16_t)(b >> shift))),
                                 RN)
             << shift;
    return r;
}

static uint64_t reference_cas16(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return c & 1 || (a & 0xffff) == (b & 0xffff) ? c & 0xffff : a & 0xffff;
}

static const struct scalar_case cases[] = {
    {.name = "atom.global.add.noftz.f16x2",
     .body = "st.global.u32 [%P], %a;\natom.global.add.noftz.f16x2 %x, [%P], %b;\n"
             "ld.global.u32 %d, [%P];\n",
     .kind = KIND_F16X2,
     .operands = "HH",
     .reference = reference_f16x2},
    {.name = "atom.global.cas.b16",
     .body = EQUAL_IF_ODD "cvt.u16.u32 %hb, %b;\nst.global.u16 [%P], %ha;\n"
                          "atom.global.cas.b16 %hx, [%P], %hb, %hc;\nld.global.u16 %hd, [%P];\n",
     .kind = KIND_B16,
     .operands = "iii",
     .reference = reference_cas16},
};

#define BLOCKS  16
#define THREADS 256
#define TOTAL   (BLOCKS * THREADS)

/* Cell offsets in the output of the contended kernel. */
static const char contended_ptx[] = CONF_HEADER CONF_ENTRY
    "add.u32 %r0, %gid, 1;\ncvt.u64.u32 %rd0, %r0;\ncvt.rn.f32.u32 %f0, 1;\n"
    "cvt.rn.f64.u32 %d0, %r0;\nand.b32 %r1, %gid, 31;\nmov.u32 %r2, 1;\nshl.b32 %r2, %r2, %r1;\n"
    "not.b32 %r3, %r2;\n"
    "red.global.add.u32 [%out], 1;\n"
    "red.global.add.u64 [%out+8], %rd0;\n"
    "red.global.min.s32 [%out+16], %r0;\n"
    "red.global.max.u32 [%out+20], %r0;\n"
    "red.global.or.b32 [%out+24], %r2;\n"
    "red.global.and.b32 [%out+28], %r3;\n"
    "red.global.xor.b32 [%out+32], %r0;\n"
    "red.global.inc.u32 [%out+36], 99;\n"
    "red.global.add.f32 [%out+40], %f0;\n"
    "red.global.add.f64 [%out+48], %d0;\n"
    "atom.global.exch.b32 %r4, [%out+56], %r0;\ncvt.u64.u32 %rd1, %r4;\n"
    "red.global.add.u64 [%out+64], %rd1;\n"
    /* an increment by compare-and-swap in a loop */
    "ld.volatile.global.u32 %r5, [%out+72];\n"
    "again:\nadd.u32 %r6, %r5, 1;\natom.global.cas.b32 %r7, [%out+72], %r5, %r6;\n"
    "setp.ne.u32 %p0, %r7, %r5;\nmov.u32 %r5, %r7;\n@%p0 bra again;\n"
    "red.global.dec.u32 [%out+76], 6;\nret;\n}\n";

struct contended {
    uint32_t count, pad0;
    uint64_t sum;
    int32_t min;
    uint32_t max, or_bits, and_bits, xor_bits, wrapped;
    float floats;
    uint32_t pad1;
    double doubles;
    uint32_t exchanged, pad2;
    uint64_t exchanged_sum;
    uint32_t swapped, down;
};

static enum conf_result contended(struct conf *conf)
{
    struct contended cells = {.min = INT32_MAX, .and_bits = UINT32_MAX};
    struct conf_launch launch = {.ptx = contended_ptx,
                                 .grid = {BLOCKS},
                                 .block = {THREADS},
                                 .out = &cells,
                                 .out_bytes = sizeof(cells),
                                 .keep_out = true};
    uint64_t all = (uint64_t)TOTAL * (TOTAL + 1) / 2;
    uint32_t xor_bits = 0, down = 0;

    for (uint32_t i = 1; i <= TOTAL; i++) {
        xor_bits ^= i;
        down = down == 0 || down > 6 ? 6 : down - 1;
    }
    CONF_TRY(conf_launch(conf, &launch));
    CONF_TRUE(conf, cells.count == TOTAL);
    CONF_TRUE(conf, cells.sum == all);
    CONF_TRUE(conf, cells.min == 1);
    CONF_TRUE(conf, cells.max == TOTAL);
    CONF_TRUE(conf, cells.or_bits == UINT32_MAX);
    CONF_TRUE(conf, cells.and_bits == 0);
    CONF_TRUE(conf, cells.xor_bits == xor_bits);
    CONF_TRUE(conf, cells.wrapped == TOTAL % 100);
    CONF_TRUE(conf, f32_bits(cells.floats) == f32_bits(TOTAL));
    CONF_TRUE(conf, f64_bits(cells.doubles) == f64_bits((double)all));
    CONF_TRUE(conf, cells.exchanged + cells.exchanged_sum == all);
    CONF_TRUE(conf, cells.swapped == TOTAL);
    CONF_TRUE(conf, cells.down == down);
    return CONF_PASS;
}

/* Every thread draws a ticket from one counter in shared memory: each value once a block. */
static const char tickets_ptx[] = CONF_HEADER CONF_ENTRY
    ".shared .u32 counter;\nmov.u32 %r0, %tid.x;\nsetp.ne.u32 %p0, %r0, 0;\n"
    "@!%p0 st.shared.u32 [counter], 0;\nbar.sync 0;\n"
    "atom.shared.add.u32 %r1, [counter], 1;\n"
    "mov.u32 %r2, %ctaid.x;\nmad.lo.u32 %r1, %r2, 256, %r1;\nmad.wide.u32 %o, %r1, 4, %out;\n"
    "red.global.add.u32 [%o], 1;\nret;\n}\n";

static enum conf_result tickets(struct conf *conf)
{
    uint32_t drawn[TOTAL] = {0};
    struct conf_launch launch = {.ptx = tickets_ptx,
                                 .grid = {BLOCKS},
                                 .block = {THREADS},
                                 .out = drawn,
                                 .out_bytes = sizeof(drawn),
                                 .keep_out = true};

    CONF_TRY(conf_launch(conf, &launch));
    for (unsigned int i = 0; i < TOTAL; i++)
        if (drawn[i] != 1)
            return conf_fail(conf, "ticket %u was drawn %u times", i, drawn[i]);
    return CONF_PASS;
}

/* A lock by compare-and-swap, taken by one thread of each block, guards a plain increment. */
static const char lock_ptx[] = CONF_HEADER CONF_ENTRY
    "mov.u32 %r0, %tid.x;\nsetp.ne.u32 %p0, %r0, 0;\n@%p0 ret;\n"
    "take:\natom.global.acquire.gpu.cas.b32 %r1, [%out], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n"
    "@%p1 bra take;\nld.relaxed.gpu.global.u32 %r2, [%out+4];\nadd.u32 %r2, %r2, 1;\n"
    "st.relaxed.gpu.global.u32 [%out+4], %r2;\natom.global.release.gpu.exch.b32 %r1, [%out], 0;\n"
    "ret;\n}\n";

static enum conf_result lock(struct conf *conf)
{
    uint32_t cells[2] = {0, 0};
    struct conf_launch launch = {.ptx = lock_ptx,
                                 .grid = {64},
                                 .block = {64},
                                 .out = cells,
                                 .out_bytes = sizeof(cells),
                                 .keep_out = true};

    CONF_TRY(conf_launch(conf, &launch));
    CONF_TRUE(conf, cells[0] == 0);
    CONF_TRUE(conf, cells[1] == 64);
    return CONF_PASS;
}

static const struct conf_case grids[] = {
    {"all operations contended", contended, false},
    {"tickets from shared memory", tickets, false},
    {"lock between blocks", lock, false},
};

void conf_atomic_cases(conf_visit visit, void *context)
{
    generate();
    scalar_visit("atomic", generated.cases, generated.count, visit, context);
    scalar_visit("atomic", cases, VGPU_ARRAY_SIZE(cases), visit, context);
    conf_visit_cases("atomic", grids, VGPU_ARRAY_SIZE(grids), visit, context);
}
