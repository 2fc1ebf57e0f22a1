/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary of PTX: types, modifiers, mnemonics, special registers, register classes. Words
 * are looked up in a table that the lexer's users build once per program (struct words).
 */
#ifndef SOFTGPU_PTX_TYPES_H
#define SOFTGPU_PTX_TYPES_H

#include <stdbool.h>
#include <stdint.h>

enum type {
    T_NONE,
#define TYPE(name, text, bits, kind) T_##name,
#include "softgpu/ptx/types.def"
#undef TYPE
    N_TYPES
};

enum modifier {
    M_NONE,
#define MODIFIER(name, text) M_##name,
#include "softgpu/ptx/modifiers.def"
#undef MODIFIER
    N_MODIFIERS
};

enum mnemonic {
    MN_NONE,
#define MNEMONIC(name, lower, flow) MN_##name,
#include "softgpu/ptx/mnemonics.def"
#undef MNEMONIC
    N_MNEMONICS
};

/* Storage classes of registers: bytes for the 32 lanes of a warp are class_bytes[]. */
enum rclass { C_PRED, C_16, C_32, C_64, C_128, N_CLASSES };

extern const uint16_t class_bytes[N_CLASSES];

unsigned type_bits(enum type type);
char type_kind(enum type type);
const char *type_name(enum type type);
const char *mnemonic_name(enum mnemonic mnemonic);

/* The class of a register that holds a value of this type. */
enum rclass type_class(enum type type);

bool type_is_signed(enum type type);
bool type_is_integer(enum type type); /* b, u or s */

/* A word of the vocabulary: which table it is in and its number there. */
enum word_kind { W_NONE, W_TYPE, W_MODIFIER, W_MNEMONIC };

struct words {
    uint16_t slot[1024]; /* kind << 12 | number, or 0 */
};

void words_init(struct words *words);

/* Returns the kind, W_NONE if unknown; mnemonics and the others have separate namespaces. */
enum word_kind words_find(const struct words *words, const char *text, uint32_t length,
                          bool mnemonic, unsigned *ret);

#endif
