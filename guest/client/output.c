/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/output.h"

#include <stdarg.h>
#include <stdio.h>

void output_json(const json_t *json)
{
    if (json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0)
        fputc('\n', stdout);
}

const char *output_text(const char *format, ...)
{
    static char text[128];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return text;
}
