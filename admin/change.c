/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/change.h"

#include <stdio.h>
#include <string.h>

#include "admin/show.h"
#include "admin/table.h"

static const char more[] = "...";

const char *change_name(const char *object, const char *key, const json_t *from, const json_t *to,
                        char text[CHANGE_NAME_BYTES])
{
    const json_t *row = json_is_object(to) ? to : from;
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *slash = strrchr(key, '/');

    if (strcmp(object, "vm") == 0)
        snprintf(text, CHANGE_NAME_BYTES, name ? "VM %s (%s)" : "VM %s", key, name);
    else if (strcmp(object, "gpu") == 0)
        snprintf(text, CHANGE_NAME_BYTES, "GPU %s", key);
    else if (strcmp(object, "pool-gpu") == 0 && slash)
        snprintf(text, CHANGE_NAME_BYTES, "GPU %s in pool %.*s", slash + 1, (int)(slash - key),
                 key);
    else
        snprintf(text, CHANGE_NAME_BYTES, "%s %s", object, key);
    table_clean(text);
    return text;
}

/* What says nothing to a person: what the line names anyway, and what every change changes. */
static bool is_dull(const char *key)
{
    static const char *const dull[] = {"vm_id", "gpu_id", "revision", "created", "updated"};

    for (size_t i = 0; i < sizeof(dull) / sizeof(dull[0]); i++)
        if (strcmp(key, dull[i]) == 0)
            return true;
    return false;
}

static bool is_empty(const json_t *value)
{
    const char *text = json_string_value(value);

    return !value || json_is_null(value) || json_is_false(value) || (text && !text[0]) ||
           (json_is_integer(value) && json_integer_value(value) == 0);
}

static const char *show(const json_t *value, char text[TABLE_CELL_BYTES])
{
    if (json_is_boolean(value))
        snprintf(text, TABLE_CELL_BYTES, json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value) && json_string_length(value) == 0)
        snprintf(text, TABLE_CELL_BYTES, "none");
    else
        table_format_json(value, text, TABLE_CELL_BYTES);
    return text;
}

/* False: it does not fit; then "..." stands for it and all that would follow. */
static bool append(char text[CHANGE_BYTES], const char *separator, const char *item)
{
    size_t used = strlen(text), room = CHANGE_BYTES - used;

    if (strlen(separator) + strlen(item) + strlen(", ") + sizeof(more) > room) {
        snprintf(text + used, room, "%s%s", separator, more);
        return false;
    }
    snprintf(text + used, room, "%s%s", separator, item);
    return true;
}

static void describe_new(json_t *to, char text[CHANGE_BYTES])
{
    char item[2 * TABLE_CELL_BYTES], value[TABLE_CELL_BYTES];
    const char *key, *separator = ": ";
    json_t *member;

    snprintf(text, CHANGE_BYTES, "new");
    json_object_foreach (to, key, member) {
        if (is_dull(key) || is_empty(member))
            continue;
        snprintf(item, sizeof(item), "%s %s", key, show(member, value));
        if (!append(text, separator, item))
            return;
        separator = ", ";
    }
}

static void describe_change(const json_t *from, json_t *to, char text[CHANGE_BYTES])
{
    char item[3 * TABLE_CELL_BYTES], was[TABLE_CELL_BYTES], is[TABLE_CELL_BYTES];
    const char *key, *separator = "";
    json_t *member;

    text[0] = '\0';
    json_object_foreach (to, key, member) {
        const json_t *old = json_object_get(from, key);

        if (is_dull(key) || (old && json_equal(old, member)))
            continue;
        snprintf(item, sizeof(item), "%s %s -> %s", key, show(old, was), show(member, is));
        if (!append(text, separator, item))
            return;
        separator = ", ";
    }
}

const char *change_describe(const json_t *from, const json_t *to, char text[CHANGE_BYTES])
{
    /* jansson's iteration takes a non-const object, and does not change it. */
    json_t *object = (json_t *)(uintptr_t)to;

    if (!json_is_object(to))
        snprintf(text, CHANGE_BYTES, "removed");
    else if (!json_is_object(from))
        describe_new(object, text);
    else
        describe_change(from, object, text);
    table_clean(text);
    return text;
}

void changes_print(const json_t *result)
{
    const json_t *changes = json_object_get(result, "changes"), *change;
    char name[CHANGE_NAME_BYTES], text[CHANGE_BYTES];
    size_t i;

    json_array_foreach (changes, i, change) {
        const char *object = json_string_value(json_object_get(change, "object"));
        const char *key = json_string_value(json_object_get(change, "key"));
        const json_t *from = json_object_get(change, "from"), *to = json_object_get(change, "to");

        if (object && key)
            printf("  %s: %s\n", change_name(object, key, from, to, name),
                   change_describe(from, to, text));
    }
}
