/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as the admin protocol writes them (docs/spec/admin.md). */
#include <errno.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "store/store.h"

static const struct error_code {
    int number;
    const char *code;
} codes[] = {
    {EINVAL, "invalid"},        {ENOENT, "not-found"},
    {EEXIST, "exists"},         {ENOTUNIQ, "ambiguous"},
    {EBUSY, "in-use"},          {ENOSPC, "limit"},
    {ESTALE, "conflict"},       {EOPNOTSUPP, "unknown-command"},
    {EPROTO, "not-understood"}, {EUCLEAN, "corrupt"},
    {EACCES, "denied"},         {EPERM, "denied"},
    {E2BIG, "too-large"},       {EAGAIN, "unavailable"},
    {ETIMEDOUT, "unavailable"},
};

/* A text that was cut within a character, or a path that is not UTF-8, must not lose the error. */
static json_t *readable(const char *text)
{
    json_t *json = json_string(text);
    char ascii[VGPU_ERR_TEXT_BYTES];
    size_t i;

    if (json)
        return json;
    for (i = 0; i < sizeof(ascii) - 1 && text[i]; i++)
        ascii[i] = text[i] & 0x80 ? '?' : text[i];
    ascii[i] = '\0';
    return json_string(ascii);
}

json_t *store_error_json(const struct vgpu_err *err)
{
    const char *code = "failed";

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(codes); i++)
        if (codes[i].number == err->code)
            code = codes[i].code;
    return json_pack("{s:s, s:i, s:o}", "code", code, "errno", err->code, "text",
                     readable(err->text));
}
