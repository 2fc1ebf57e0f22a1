/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin show-vm: all that is set for a VM, its faults, and what is so at this moment, of which
 * each member that the mediator gives is shown by its name.
 */
#include <stdio.h>
#include <string.h>

#include "admin/amount.h"
#include "admin/commands.h"
#include "admin/show.h"
#include "admin/table.h"

#define TITLE_WIDTH 22

static void print_intent(const json_t *vm)
{
    static const char *const keys[] = {"uuid", "pool", "priority", "weight"};
    char text[SHOW_BYTES], amount[AMOUNT_BYTES];

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(keys); i++)
        printf("  %-*s %s\n", TITLE_WIDTH, keys[i], show_member(vm, keys[i], text));
    for (const struct setting *setting = vm_settings; setting->name; setting++)
        printf(
            "  %-*s %s\n", TITLE_WIDTH, setting->title,
            amount_show(setting, json_integer_value(json_object_get(vm, setting->name)), amount));
}

static void print_quarantine(const json_t *vm)
{
    char since[SHOW_BYTES], by[SHOW_SENTENCE_BYTES], reason[SHOW_SENTENCE_BYTES];

    if (json_is_true(json_object_get(vm, "quarantined")))
        printf("  %-*s since %s by %s: %s\n", TITLE_WIDTH, "quarantine",
               show_time(json_object_get(vm, "quarantine_time"), since),
               show_sentence(vm, "quarantined_by", by),
               show_sentence(vm, "quarantine_reason", reason));
    else
        printf("  %-*s no\n", TITLE_WIDTH, "quarantine");
}

static void print_faults(const json_t *vm, const json_t *faults)
{
    char now[SHOW_BYTES], total[SHOW_BYTES], when[SHOW_BYTES], kind[SHOW_BYTES];
    char text[SHOW_SENTENCE_BYTES];
    const json_t *fault;
    size_t i;

    printf("  %-*s %s that count, %s in all\n", TITLE_WIDTH, "faults",
           show_member(vm, "faults", now), show_member(vm, "faults_total", total));
    print_quarantine(vm);
    if (json_array_size(faults) > 0)
        printf("\nlast faults:\n");
    json_array_foreach (faults, i, fault)
        printf("  %s  %s: %s\n", show_time(json_object_get(fault, "time"), when),
               show_member(fault, "kind", kind), show_sentence(fault, "text", text));
}

/* Takes the end off the name, if it is there. */
static bool cut_unit(char *name, const char *unit)
{
    size_t size = strlen(name), tail = strlen(unit);

    if (size <= tail || strcmp(name + size - tail, unit) != 0)
        return false;
    name[size - tail] = '\0';
    return true;
}

static void show_time_ns(double ns, char text[SHOW_BYTES])
{
    if (ns < 1e6)
        snprintf(text, SHOW_BYTES, "%.3f us", ns / 1e3);
    else if (ns < 1e9)
        snprintf(text, SHOW_BYTES, "%.3f ms", ns / 1e6);
    else
        snprintf(text, SHOW_BYTES, "%.3f s", ns / 1e9);
}

/* By the unit in its name, which the text has instead. */
static void show_live(char *name, const json_t *value, char text[SHOW_BYTES])
{
    if (json_is_number(value) && cut_unit(name, "_bytes"))
        show_bytes(value, text);
    else if (json_is_number(value) && cut_unit(name, "_ns"))
        show_time_ns(json_number_value(value), text);
    else if (json_is_boolean(value))
        snprintf(text, SHOW_BYTES, "%s", json_is_true(value) ? "yes" : "no");
    else
        table_format_json(value, text, SHOW_BYTES);
    table_clean(text);
}

/* A member that is an object is shown member by member, its name before theirs. */
static void print_live(const char *outer, json_t *object)
{
    char name[SHOW_BYTES], text[SHOW_BYTES];
    const char *key;
    json_t *value;

    json_object_foreach (object, key, value) {
        snprintf(name, sizeof(name), "%s%s%s", outer, outer[0] ? "." : "", key);
        table_clean(name);
        if (json_is_object(value) && !outer[0])
            print_live(name, value);
        else {
            show_live(name, value, text);
            printf("  %-*s %s\n", TITLE_WIDTH, name, text);
        }
    }
}

static void print(const json_t *result)
{
    const json_t *vm = json_object_get(result, "vm");
    json_t *live = json_object_get(result, "live");
    char name[SHOW_BYTES];

    printf("%s\n", show_vm(vm, name));
    print_intent(vm);
    print_faults(vm, json_object_get(result, "last_faults"));
    printf("\nnow:%s\n", json_is_object(live) ? "" : " no mediator runs");
    if (json_is_object(live))
        print_live("", live);
}

static const struct command_option options[] = {
    COMMAND_VM_OPTIONS,
    {.name = NULL},
};

const struct command command_show_vm = {
    .name = "show-vm",
    .summary = "show what is set for a VM, its faults, and what it does",
    .positional = {"vm"},
    .names_vm = true,
    .options = options,
    .print = print,
};
