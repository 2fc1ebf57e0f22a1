/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Helpers of the lowering: from the instruction in p->inst to ops over virtual registers.
 *
 * Errors stick in the parser, so that these return something harmless and need no check each.
 * Every operand's class is checked here against the type: handlers rely on it.
 */
#ifndef SOFTGPU_PTX_LOWER_H
#define SOFTGPU_PTX_LOWER_H

#include "softgpu/ptx/codes.h"
#include "softgpu/ptx/parse.h"

/* Modifiers: each is consumed; what remains at the end makes the instruction unsupported. */
bool lower_take(struct parser *p, enum modifier modifier);
/* The first modifier within [from, to], or M_NONE. */
enum modifier lower_take_range(struct parser *p, enum modifier from, enum modifier to);
bool lower_has(const struct parser *p, enum modifier modifier);

/* The i-th type; an error and T_B32 if there are not exactly n. */
enum type lower_type(struct parser *p, unsigned i, unsigned n);
/* An error unless the number of operands is within [min, max]. */
bool lower_operands(struct parser *p, unsigned min, unsigned max);
/* Reports what is wrong with the instruction at hand. */
void lower_wrong(struct parser *p, const char *what);

/* References to operand i, read or written as this type. */
uint32_t lower_use(struct parser *p, unsigned i, enum type type);
uint32_t lower_def(struct parser *p, unsigned i, enum type type);
/* As lower_use, but a register of any class at least as wide; *ret_class is what it is. */
uint32_t lower_use_wide(struct parser *p, unsigned i, enum type type, enum rclass *ret_class);
uint32_t lower_def_wide(struct parser *p, unsigned i, enum type type, enum rclass *ret_class);
/* The predicate operand i; *ret_inverted for !p. */
uint32_t lower_use_pred(struct parser *p, unsigned i, bool *ret_inverted);

uint32_t lower_constant(struct parser *p, enum rclass class, uint64_t value);
uint32_t lower_temp(struct parser *p, enum rclass class);

/* Appends an op; the pointer is valid until the next. Never NULL. */
struct op *lower_emit(struct parser *p, unsigned code, uint32_t d, uint32_t a, uint32_t b,
                      uint32_t c);

/* Appends to the function's list of further references; returns where. */
uint32_t lower_more(struct parser *p, uint32_t value);

/* The address that an operand names, as a 64-bit reference. */
uint32_t lower_address(struct parser *p, const struct operand *operand, uint64_t *ret_offset);
struct op *lower_branch(struct parser *p, uint32_t pred, bool inverted, uint32_t label);
void lower_load_params(struct parser *p);
void lower_store_rets(struct parser *p);

/* Comparison number in the order of opcodes.def, or -1; consumes it. */
int lower_comparison(struct parser *p);
void lower_compare(struct parser *p, int comparison, enum type type, bool ftz, uint32_t d,
                   uint32_t q, uint32_t a, uint32_t b, uint32_t c, uint8_t x);

/* lower_float.c: d = a op b, d = op a, of any float type */
void lower_float_binary(struct parser *p, enum fop fop, enum type type);
void lower_float_unary(struct parser *p, enum fop fop, enum type type);

#define MNEMONIC(name, lower, flow) void lower(struct parser *p);
#include "softgpu/ptx/mnemonics.def"
#undef MNEMONIC

#endif
