/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/number.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Up to the first character that is no digit, sign excluded; base 10 or 16. */
static bool digits(const char *text, char **ret_end, uint64_t *ret)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');

    if (!isxdigit((unsigned char)text[hex ? 2 : 0]))
        return false;
    errno = 0;
    *ret = strtoull(text, ret_end, hex ? 16 : 10);
    return errno == 0 && *ret_end != text;
}

bool number_u64(const char *text, uint64_t *ret)
{
    static const char units[] = "KMG";
    const char *unit;
    char *end;
    uint64_t value;

    if (!digits(text, &end, &value))
        return false;
    if (*end != '\0') {
        unit = strchr(units, *end);
        if (!unit || end[1] != '\0' ||
            __builtin_mul_overflow(value, UINT64_C(1) << (10 * (unit - units + 1)), &value))
            return false;
    }
    *ret = value;
    return true;
}

/* A signed number within bits: as two's complement. */
static bool integer(const char *text, char **ret_end, unsigned bits, bool is_signed, uint64_t *ret)
{
    bool negative = is_signed && text[0] == '-';
    uint64_t most = is_signed ? (UINT64_C(1) << (bits - 1)) - !negative : UINT64_MAX >> (64 - bits);
    uint64_t value;

    if (!digits(text + negative, ret_end, &value) || value > most)
        return false;
    *ret = negative ? 0 - value : value;
    return true;
}

size_t number_list(const char *text, int32_t *ret, size_t most)
{
    size_t count = 0;

    for (;;) {
        uint64_t value;
        char *end;
        bool is_signed = text[0] == '-';

        if (count == most || !integer(text, &end, 32, is_signed, &value))
            return 0;
        ret[count++] = (int32_t)(uint32_t)value;
        if (*end == '\0')
            return count;
        if (*end != ',')
            return 0;
        text = end + 1;
    }
}

bool number_triple(const char *text, uint32_t ret[3])
{
    uint32_t values[3] = {1, 1, 1};

    for (int i = 0; i < 3; i++) {
        uint64_t value;
        char *end;

        if (!integer(text, &end, 32, false, &value) || value == 0)
            return false;
        values[i] = (uint32_t)value;
        if (*end == '\0') {
            memcpy(ret, values, sizeof(values));
            return true;
        }
        if (*end != ',')
            return false;
        text = end + 1;
    }
    return false;
}

static bool floating(const char *text, size_t size, uint8_t *ret)
{
    char *end;
    double value = strtod(text, &end);
    float narrow = (float)value;

    if (end == text || *end != '\0' || isspace((unsigned char)text[0]))
        return false;
    if (size == sizeof(narrow))
        memcpy(ret, &narrow, sizeof(narrow));
    else
        memcpy(ret, &value, sizeof(value));
    return true;
}

bool number_argument(const char *text, struct number_argument *ret)
{
    static const struct {
        const char *name;
        unsigned bits;
    } types[] = {{"u8", 8},   {"u16", 16}, {"u32", 32}, {"u64", 64}, {"s8", 8},
                 {"s16", 16}, {"s32", 32}, {"s64", 64}, {"f32", 32}, {"f64", 64}};
    const char *colon = strchr(text, ':');

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; colon && i < sizeof(types) / sizeof(types[0]); i++) {
        size_t length = strlen(types[i].name);
        uint64_t value = 0;
        char *end;

        if (length != (size_t)(colon - text) || memcmp(types[i].name, text, length) != 0)
            continue;
        memcpy(ret->type, types[i].name, length + 1);
        ret->size = types[i].bits / 8;
        if (ret->type[0] == 'f')
            return floating(colon + 1, ret->size, ret->bytes);
        if (!integer(colon + 1, &end, types[i].bits, ret->type[0] == 's', &value) || *end != '\0')
            return false;
        memcpy(ret->bytes, &value, ret->size);
        return true;
    }
    return false;
}
