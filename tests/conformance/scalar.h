/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scalar cases: a few instructions on up to three operands, run by 1024 threads on chosen and
 * random operands and compared with a C function. Used by the groups on arithmetic, conversion,
 * comparison and atomics.
 *
 * The instructions find each operand in several registers, and leave the result in one:
 *   %A %B %C %D   .b64, all 64 bits          %a %b %c %d   .b32, the low 32 bits
 *   %ha %hb %hc %hd  .b16                     %fa ... %fd   .f32, bits of %a ... %d
 *   %da ... %dd   .f64                        %pd  .pred result
 *   %ahi %bhi %chi   .b32, the high 32 bits   %x %y .b32, %X %Y .b64, %hx %hy .b16, %fx .f32,
 *   %dx .f64, %p %q .pred: free               %P: global address of the thread's own 16 bytes
 */
#ifndef VGPU_TESTS_CONFORMANCE_SCALAR_H
#define VGPU_TESTS_CONFORMANCE_SCALAR_H

#include "tests/conformance/conf.h"

/* What the result is, and where it stands. Float kinds: any NaN matches any NaN. */
enum scalar_kind {
    KIND_B16,
    KIND_B32,
    KIND_B64,
    KIND_F16,
    KIND_BF16,
    KIND_F16X2,
    KIND_F32,
    KIND_F64,
    KIND_PRED,
};

struct scalar_case {
    const char *name;
    const char *body;
    enum scalar_kind kind;
    /*
     * Of each operand: i any integer; n integer, of which no part is 0 or -1; s shift count or bit
     * position; f float, any; d double, any; h half, any; b bfloat16, any; H two halves; F moderate
     * float; D moderate double; r float in [-2 pi, 2 pi].
     */
    const char *operands;
    uint64_t (*reference)(const struct scalar_case *test, uint64_t a, uint64_t b, uint64_t c);
    const char *header; /* NULL: CONF_HEADER */
    /* If not NULL, decides instead of equality. */
    bool (*accepts)(const struct scalar_case *test, uint64_t got, uint64_t want, uint64_t a,
                    uint64_t b);
    int p0, p1, p2; /* for the reference */
    int compute;    /* compute capability it needs, times 10; 0: any */
};

/* The `run` of scalar cases; data is a struct scalar_case. */
enum conf_result scalar_run(struct conf *conf, const void *data);

void scalar_visit(const char *group, const struct scalar_case *cases, size_t count,
                  conf_visit visit, void *context);

/* A growing list of generated cases; their names and bodies are formatted into it. */
#define SCALAR_MAX_GENERATED 512
struct scalar_list {
    struct scalar_case cases[SCALAR_MAX_GENERATED];
    char names[SCALAR_MAX_GENERATED][48];
    char bodies[SCALAR_MAX_GENERATED][400];
    size_t count;
};

/* Adds one whose name is `name` and whose body is made from format. */
struct scalar_case *scalar_add(struct scalar_list *list, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Bits and values. */
static inline float f32_of(uint64_t bits)
{
    union {
        uint32_t u;
        float f;
    } pun = {.u = (uint32_t)bits};

    return pun.f;
}

static inline uint64_t f32_bits(float value)
{
    union {
        float f;
        uint32_t u;
    } pun = {.f = value};

    return pun.u;
}

static inline double f64_of(uint64_t bits)
{
    union {
        uint64_t u;
        double f;
    } pun = {.u = bits};

    return pun.f;
}

static inline uint64_t f64_bits(double value)
{
    union {
        double f;
        uint64_t u;
    } pun = {.f = value};

    return pun.u;
}

/* Rounding: to nearest even, towards zero, down, up. */
enum rounding { RN, RZ, RM, RP };
extern const char *const rounding_names[4];   /* "rn" ... */
extern const char *const rounding_integer[4]; /* "rni" ... */

/* Half formats, exact through double; the rounding is that of `mode`. */
double f16_value(uint16_t bits);
double bf16_value(uint16_t bits);
uint16_t f16_round(__float128 value, enum rounding mode);
uint16_t bf16_round(__float128 value, enum rounding mode);

/* Sets the host's rounding mode for the computations that follow. */
void host_rounding(enum rounding mode);

#endif
