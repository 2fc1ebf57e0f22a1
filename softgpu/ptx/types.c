/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of PTX's vocabulary, from the .def files; see types.h. */
#include "softgpu/ptx/types.h"

#include <string.h>

const uint16_t class_bytes[N_CLASSES] = {
    [C_PRED] = 4, [C_16] = 64, [C_32] = 128, [C_64] = 256, [C_128] = 512};

static const struct {
    const char *text;
    uint8_t bits;
    char kind;
} types[N_TYPES] = {
    {"none", 0, 'x'},
#define TYPE(name, text, bits, kind) {text, bits, kind},
#include "softgpu/ptx/types.def"
#undef TYPE
};

static const char *const modifiers[N_MODIFIERS] = {
    "",
#define MODIFIER(name, text) text,
#include "softgpu/ptx/modifiers.def"
#undef MODIFIER
};

static const char *const mnemonics[N_MNEMONICS] = {
    "",
#define MNEMONIC(name, lower, flow) #name,
#include "softgpu/ptx/mnemonics.def"
#undef MNEMONIC
};

unsigned type_bits(enum type type)
{
    return types[type].bits;
}

char type_kind(enum type type)
{
    return types[type].kind;
}

const char *type_name(enum type type)
{
    return types[type].text;
}

const char *mnemonic_name(enum mnemonic mnemonic)
{
    return mnemonics[mnemonic];
}

enum rclass type_class(enum type type)
{
    switch (types[type].bits) {
    case 1:
        return C_PRED;
    case 32:
        return C_32;
    case 64:
        return C_64;
    case 128:
        return C_128;
    default:
        return C_16;
    }
}

bool type_is_signed(enum type type)
{
    return types[type].kind == 's';
}

bool type_is_integer(enum type type)
{
    return types[type].kind == 'b' || types[type].kind == 'u' || types[type].kind == 's';
}

static uint32_t word_hash(const char *text, uint32_t length)
{
    uint32_t hash = 2166136261u;

    for (uint32_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)text[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static const char *word_text(uint16_t word)
{
    unsigned number = word & 0xfff;

    switch (word >> 12) {
    case W_TYPE:
        return types[number].text;
    case W_MODIFIER:
        return modifiers[number];
    default:
        return mnemonics[number];
    }
}

static void word_add(struct words *words, enum word_kind kind, unsigned number)
{
    uint16_t word = (uint16_t)((unsigned)kind << 12 | number);
    const char *text = word_text(word);
    uint32_t at = word_hash(text, (uint32_t)strlen(text));

    while (words->slot[at % 1024])
        at++;
    words->slot[at % 1024] = word;
}

void words_init(struct words *words)
{
    memset(words, 0, sizeof(*words));
    for (unsigned i = 1; i < N_TYPES; i++)
        word_add(words, W_TYPE, i);
    for (unsigned i = 1; i < N_MODIFIERS; i++)
        word_add(words, W_MODIFIER, i);
    for (unsigned i = 1; i < N_MNEMONICS; i++)
        word_add(words, W_MNEMONIC, i);
}

enum word_kind words_find(const struct words *words, const char *text, uint32_t length,
                          bool mnemonic, unsigned *ret)
{
    uint16_t word;

    for (uint32_t at = word_hash(text, length); (word = words->slot[at % 1024]); at++) {
        const char *known = word_text(word);

        if ((word >> 12 == W_MNEMONIC) != mnemonic)
            continue;
        if (strlen(known) == length && !memcmp(known, text, length)) {
            *ret = word & 0xfff;
            return (enum word_kind)(word >> 12);
        }
    }
    return W_NONE;
}
