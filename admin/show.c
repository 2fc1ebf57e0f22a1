/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/show.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/table.h"

#define UNIT_STEP 1024.0

const char *show_vm(const json_t *vm, char text[SHOW_BYTES])
{
    const char *name = json_string_value(json_object_get(vm, "name"));
    long long vm_id = (long long)json_integer_value(json_object_get(vm, "vm_id"));

    if (name)
        snprintf(text, SHOW_BYTES, "VM %lld (%s)", vm_id, name);
    else
        snprintf(text, SHOW_BYTES, "VM %lld", vm_id);
    return text;
}

const char *show_member(const json_t *object, const char *key, char text[SHOW_BYTES])
{
    table_format_json(json_object_get(object, key), text, SHOW_BYTES);
    return text;
}

const char *show_sentence(const json_t *object, const char *key, char text[SHOW_SENTENCE_BYTES])
{
    table_format_json(json_object_get(object, key), text, SHOW_SENTENCE_BYTES);
    table_clean(text);
    return text;
}

const char *show_bytes(const json_t *value, char text[SHOW_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double amount = json_number_value(value);
    size_t unit = 0;

    if (!json_is_number(value)) {
        snprintf(text, SHOW_BYTES, "-");
        return text;
    }
    while (fabs(amount) >= UNIT_STEP && unit + 1 < sizeof(units) / sizeof(units[0])) {
        amount /= UNIT_STEP;
        unit++;
    }
    snprintf(text, SHOW_BYTES, unit ? "%.1f %s" : "%.0f %s", amount, units[unit]);
    return text;
}

const char *show_already(const json_t *result)
{
    return json_is_false(json_object_get(result, "changed")) ? " already" : "";
}

const char *show_time(const json_t *value, char text[SHOW_BYTES])
{
    time_t seconds = (time_t)json_integer_value(value);
    struct tm utc;

    if (!json_is_integer(value) || !gmtime_r(&seconds, &utc) ||
        strftime(text, SHOW_BYTES, "%Y-%m-%d %H:%M:%S UTC", &utc) == 0)
        snprintf(text, SHOW_BYTES, "-");
    return text;
}

bool show_is(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value && strcmp(value, text) == 0;
}
