/* SPDX-License-Identifier: Apache-2.0 */
/* setp, set and selp: every comparison of every type, combined with predicates. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/scalar.h"

typedef const struct scalar_case *test_t;

enum comparison { EQ, NE, LT, LE, GT, GE, EQU, NEU, LTU, LEU, GTU, GEU, NUM, IS_NAN };
enum type { S32, U32, S64, U64, S16, U16, F32, F64, F16, B32 };

static const char *const comparison_names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                               "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
static const struct {
    const char *name, *operands, *a, *b;
    bool is_float;
} types[] = {
    [S32] = {"s32", "ii", "%a", "%b", false},   [U32] = {"u32", "ii", "%a", "%b", false},
    [S64] = {"s64", "ii", "%A", "%B", false},   [U64] = {"u64", "ii", "%A", "%B", false},
    [S16] = {"s16", "ii", "%ha", "%hb", false}, [U16] = {"u16", "ii", "%ha", "%hb", false},
    [F32] = {"f32", "ff", "%fa", "%fb", true},  [F64] = {"f64", "dd", "%da", "%db", true},
    [F16] = {"f16", "hh", "%ha", "%hb", true},  [B32] = {"b32", "ii", "%a", "%b", false},
};

/* -1, 0, 1, or 2 for unordered. */
static int order_integers(int type, uint64_t a, uint64_t b)
{
    switch (type) {
    case S32:
        return ((int32_t)a > (int32_t)b) - ((int32_t)a < (int32_t)b);
    case S64:
        return ((int64_t)a > (int64_t)b) - ((int64_t)a < (int64_t)b);
    case S16:
        return ((int16_t)a > (int16_t)b) - ((int16_t)a < (int16_t)b);
    case U64:
        return (a > b) - (a < b);
    case U16:
        return ((uint16_t)a > (uint16_t)b) - ((uint16_t)a < (uint16_t)b);
    default:
        return ((uint32_t)a > (uint32_t)b) - ((uint32_t)a < (uint32_t)b);
    }
}

static int order(int type, uint64_t a, uint64_t b)
{
    double x, y;

    if (!types[type].is_float)
        return order_integers(type, a, b);
    x = type == F64 ? f64_of(a) : type == F32 ? (double)f32_of(a) : f16_value((uint16_t)a);
    y = type == F64 ? f64_of(b) : type == F32 ? (double)f32_of(b) : f16_value((uint16_t)b);
    return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
}

static bool holds(int comparison, int order)
{
    if (comparison == NUM || comparison == IS_NAN)
        return (comparison == IS_NAN) == (order == 2);
    if (order == 2)
        return comparison >= EQU;
    switch (comparison >= EQU ? comparison - EQU : comparison) {
    case EQ:
        return order == 0;
    case NE:
        return order != 0;
    case LT:
        return order < 0;
    case LE:
        return order <= 0;
    case GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

/* p0: comparison; p1: type. */
static uint64_t reference(test_t t, uint64_t a, uint64_t b, uint64_t c)
{
    return holds(t->p0, order(t->p1, a, b));
}

static void add(struct scalar_list *list, int comparison, int type, const char *spelling)
{
    char name[48];
    struct scalar_case *added;

    snprintf(name, sizeof(name), "setp.%s.%s", spelling, types[type].name);
    added = scalar_add(list, name, "%s %%pd, %s, %s;\n", name, types[type].a, types[type].b);
    added->kind = KIND_PRED;
    added->operands = types[type].operands;
    added->reference = reference;
    added->p0 = comparison;
    added->p1 = type;
}

static struct scalar_list generated;

static void generate(void)
{
    static const char *const unsigned_names[] = {
        [LT] = "lo", [LE] = "ls", [GT] = "hi", [GE] = "hs"};

    if (generated.count)
        return;
    for (int type = S32; type <= B32; type++) {
        int last = types[type].is_float ? IS_NAN : type == B32 ? NE : GE;

        for (int comparison = EQ; comparison <= last; comparison++)
            add(&generated, comparison, type, comparison_names[comparison]);
    }
    for (int comparison = LT; comparison <= GE; comparison++) {
        add(&generated, comparison, U32, unsigned_names[comparison]);
        add(&generated, comparison, U64, unsigned_names[comparison]);
    }
}

#define REFERENCE(name) static uint64_t name(test_t t, uint64_t a, uint64_t b, uint64_t c)

/* c's sign is the predicate that the comparison a < b is combined with. p0: and, or, xor. */
REFERENCE(combined)
{
    bool less = (int32_t)a < (int32_t)b, other = (int32_t)c < 0;

    return t->p0 == 0 ? less && other : t->p0 == 1 ? less || other : less != other;
}

REFERENCE(both_results)
{
    bool less = (int32_t)a < (int32_t)b, other = (int32_t)c < 0;

    return (uint32_t)((less && other) + 2 * (!less && other));
}

REFERENCE(negated)
{
    return (int32_t)a < (int32_t)b && !((int32_t)c < 0);
}

REFERENCE(set_mask)
{
    return (int32_t)a < (int32_t)b ? UINT32_MAX : 0;
}

REFERENCE(set_float)
{
    return f32_bits(f32_of(a) < f32_of(b) ? 1.0f : 0.0f);
}

REFERENCE(set_ftz)
{
    float x = f32_of(a), y = f32_of(b);

    x = fpclassify(x) == FP_SUBNORMAL ? 0 : x;
    y = fpclassify(y) == FP_SUBNORMAL ? 0 : y;
    return x < y;
}

REFERENCE(select64)
{
    return (int32_t)c < 0 ? a : b;
}

REFERENCE(predicate_logic)
{
    bool p = (int32_t)a < 0, q = (int32_t)b < 0;

    return (p && q) != !(p || q);
}

#define CASE(n, text, k, ops, ref, ...)                                                            \
    {                                                                                              \
        .name = n, .body = text ";\n", .kind = k, .operands = ops, .reference = ref, __VA_ARGS__   \
    }
#define C_NEGATIVE "setp.lt.s32 %p, %c, 0;\n"

static const struct scalar_case cases[] = {
    CASE("setp.lt.and", C_NEGATIVE "setp.lt.and.s32 %pd, %a, %b, %p", KIND_PRED, "iii", combined),
    CASE("setp.lt.or", C_NEGATIVE "setp.lt.or.s32 %pd, %a, %b, %p", KIND_PRED, "iii", combined,
         .p0 = 1),
    CASE("setp.lt.xor", C_NEGATIVE "setp.lt.xor.s32 %pd, %a, %b, %p", KIND_PRED, "iii", combined,
         .p0 = 2),
    CASE("setp p|q",
         C_NEGATIVE "setp.lt.and.s32 %pd|%q, %a, %b, %p;\nselp.u32 %x, 1, 0, %pd;\n"
                    "selp.u32 %y, 2, 0, %q;\nadd.u32 %d, %x, %y",
         KIND_B32, "iii", both_results),
    CASE("setp !p", C_NEGATIVE "setp.lt.and.s32 %pd, %a, %b, !%p", KIND_PRED, "iii", negated),
    CASE("setp.lt.ftz.f32", "setp.lt.ftz.f32 %pd, %fa, %fb", KIND_PRED, "ff", set_ftz),
    CASE("set.lt.u32.s32", "set.lt.u32.s32 %d, %a, %b", KIND_B32, "ii", set_mask),
    CASE("set.lt.f32.f32", "set.lt.f32.f32 %fd, %fa, %fb", KIND_F32, "ff", set_float),
    CASE("selp.b64", C_NEGATIVE "selp.b64 %D, %A, %B, %p", KIND_B64, "iii", select64),
    CASE("selp.f64", C_NEGATIVE "selp.f64 %dd, %da, %db, %p;\nmov.b64 %D, %dd", KIND_B64, "iii",
         select64),
    CASE("predicate logic",
         "setp.lt.s32 %p, %a, 0;\nsetp.lt.s32 %q, %b, 0;\nand.pred %pd, %p, %q;\n"
         "or.pred %p, %p, %q;\nnot.pred %p, %p;\nxor.pred %pd, %pd, %p",
         KIND_PRED, "ii", predicate_logic),
};

void conf_compare_cases(conf_visit visit, void *context)
{
    generate();
    scalar_visit("compare", generated.cases, generated.count, visit, context);
    scalar_visit("compare", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
