/* SPDX-License-Identifier: Apache-2.0 */
#include "store/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LIST_TAIL_BYTES 32 /* room for "and N more" */

/*
 * Decodes one UTF-8 sequence (RFC 3629: no overlong forms, no surrogates). Returns its length, 0
 * if it is none.
 */
static size_t decode(const unsigned char *bytes, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = bytes[0] < 0x80           ? 1
                    : (bytes[0] >> 5) == 0x06 ? 2
                    : (bytes[0] >> 4) == 0x0e ? 3
                    : (bytes[0] >> 3) == 0x1e ? 4
                                              : 0;
    uint32_t point;

    if (length == 0)
        return 0;
    point = length == 1 ? bytes[0] : bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (bytes[i] & 0x3f);
    }
    if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return length;
}

static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x061c ||
           (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

int text_check(const char *what, const char *value, size_t max_bytes, struct vgpu_err *err)
{
    const unsigned char *at = (const unsigned char *)value;
    size_t size = strlen(value);
    uint32_t point;

    if (size == 0)
        return vgpu_err_set(err, EINVAL, "%s is empty", what);
    if (size > max_bytes)
        return vgpu_err_set(err, EINVAL, "%s has %zu bytes; at most %zu are allowed", what, size,
                            max_bytes);
    while (*at) {
        size_t length = decode(at, &point);

        if (length == 0)
            return vgpu_err_set(err, EINVAL, "%s is not UTF-8", what);
        if (is_control(point))
            return vgpu_err_set(err, EINVAL, "%s contains a control character (U+%04X)", what,
                                point);
        at += length;
    }
    return 0;
}

/* As text_clean(); true if all of value is there. *ret_used: the bytes written, without NUL. */
static bool copy_clean(const char *value, char *text, size_t size, size_t *ret_used)
{
    const unsigned char *at = (const unsigned char *)value;
    size_t used = 0;
    uint32_t point = 0;

    while (*at) {
        size_t length = decode(at, &point);
        bool bad = length == 0 || is_control(point);

        if (used + (bad ? 1 : length) >= size)
            break;
        if (bad)
            text[used++] = '?';
        else {
            memcpy(text + used, at, length);
            used += length;
        }
        at += length ? length : 1;
    }
    text[used] = '\0';
    *ret_used = used;
    return *at == '\0';
}

void text_clean(const char *value, char *text, size_t size)
{
    size_t used;

    copy_clean(value[0] ? value : "?", text, size, &used);
}

const char *text_show(char shown[TEXT_SHOWN_BYTES], const char *value)
{
    size_t used;
    bool whole = copy_clean(value, shown + 1, TEXT_SHOWN_BYTES - sizeof("'...'") + 1, &used);

    shown[0] = '\'';
    snprintf(shown + 1 + used, TEXT_SHOWN_BYTES - 1 - used, "%s'", whole ? "" : "...");
    return shown;
}

static int hex_digit(char c)
{
    if (c >= 'A' && c <= 'F')
        c = (char)(c - 'A' + 'a');
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ? c : -1;
}

int text_uuid(const char *value, char ret_uuid[STORE_UUID_BYTES + 1], struct vgpu_err *err)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    char uuid[STORE_UUID_BYTES + 1] = "";
    char shown[TEXT_SHOWN_BYTES];
    bool good = strlen(value) == STORE_UUID_BYTES;

    for (size_t i = 0; good && i < STORE_UUID_BYTES; i++) {
        int digit = form[i] == 'x' ? hex_digit(value[i]) : value[i] == '-' ? '-' : -1;

        good = digit > 0;
        uuid[i] = (char)digit;
    }
    if (!good)
        return vgpu_err_set(err, EINVAL, "%s is not a UUID (%s, hexadecimal digits)",
                            text_show(shown, value), form);
    memcpy(ret_uuid, uuid, sizeof(uuid));
    return 0;
}

bool text_decimal(const char *value, int64_t *ret_number)
{
    int64_t number = 0;

    if (value[0] == '\0' || (value[0] == '0' && value[1] != '\0'))
        return false;
    for (const char *at = value; *at; at++) {
        if (*at < '0' || *at > '9' || __builtin_mul_overflow(number, (int64_t)10, &number) ||
            __builtin_add_overflow(number, (int64_t)(*at - '0'), &number))
            return false;
    }
    *ret_number = number;
    return true;
}

void text_list_add(struct text_list *list, const char *item)
{
    const char *separator = list->items ? ", " : "";
    size_t size = strlen(separator) + strlen(item);

    list->items++;
    if (list->hidden || list->used + size + LIST_TAIL_BYTES > sizeof(list->text)) {
        list->hidden++;
        return;
    }
    snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s", separator, item);
    list->used += size;
}

const char *text_list_end(struct text_list *list)
{
    if (list->items == 0)
        return "none";
    if (list->hidden)
        snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%zu more",
                 list->used ? " and " : "", list->hidden);
    return list->text;
}
