/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subcommands that change settings of store/setting.h: vgpu-admin set-bytes, set-depth,
 * set-faults, set-max-vms, set-memory, set-pool-weight, set-rate, set-slice and set-timeout. They
 * differ in their options only.
 */
#include "admin/settings.h"

#include <stdio.h>
#include <string.h>

#include "admin/amount.h"
#include "admin/commands.h"
#include "admin/show.h"

#define OPTION(option_name, option_key, option_metavar, option_help, is_required)                  \
    {                                                                                              \
        .name = option_name, .kind = OPTION_SETTING, .metavar = option_metavar, .key = option_key, \
        .help = option_help, .required = is_required                                               \
    }

static const struct command_option bytes_options[] = {
    COMMAND_VM_OPTIONS,
    OPTION("bytes", "bytes_in_flight", "BYTES",
           "bytes of jobs taken and not yet done: 1M to 1T, or none", true),
    {.name = NULL},
};

const struct command command_set_bytes = {
    .name = "set-bytes",
    .summary = "limit the bytes of copies that a VM has in flight",
    .positional = {"vm", "bytes_in_flight"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = bytes_options,
};

static const struct command_option depth_options[] = {
    COMMAND_VM_OPTIONS,
    OPTION("depth", "depth", "JOBS", "jobs taken and not yet done: 1 to 65536, or default (4096)",
           true),
    {.name = NULL},
};

const struct command command_set_depth = {
    .name = "set-depth",
    .summary = "limit the jobs that a VM has queued",
    .positional = {"vm", "depth"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = depth_options,
};

static const struct command_option faults_options[] = {
    COMMAND_VM_OPTIONS,
    OPTION("threshold", "fault_threshold", "FAULTS",
           "so many within the window: 1 to 1000, or default (5)", true),
    OPTION("window", "fault_window_s", "TIME",
           "how long a fault counts: 1s to 365d, or default (1h)", false),
    {.name = NULL},
};

const struct command command_set_faults = {
    .name = "set-faults",
    .summary = "say how many faults quarantine a VM",
    .positional = {"vm", "fault_threshold", "fault_window_s"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = faults_options,
};

static const struct command_option max_vms_options[] = {
    COMMAND_POOL_OPTION,
    OPTION("max-vms", "max_vms", "VMS", "1 to 1024, or none", true),
    {.name = NULL},
};

const struct command command_set_max_vms = {
    .name = "set-max-vms",
    .summary = "limit how many VMs a pool takes",
    .positional = {"pool", "max_vms"},
    .effect = COMMAND_REVISES,
    .options = max_vms_options,
};

static const struct command_option memory_options[] = {
    COMMAND_VM_OPTIONS,
    OPTION("memory", "memory_bytes", "BYTES", "of all its processes: 1M to 16T, or none", true),
    OPTION("process", "process_memory_bytes", "BYTES", "of each process: 1M to 16T, or none",
           false),
    {.name = NULL},
};

const struct command command_set_memory = {
    .name = "set-memory",
    .summary = "limit the GPU memory of a VM",
    .positional = {"vm", "memory_bytes"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = memory_options,
};

static const struct command_option pool_weight_options[] = {
    COMMAND_POOL_OPTION,
    OPTION("weight", "weight_hundredths", "WEIGHT", "1.0 to 100.0, or none", true),
    {.name = NULL},
};

const struct command command_set_pool_weight = {
    .name = "set-pool-weight",
    .summary = "weigh a pool against others on its GPUs",
    .positional = {"pool", "weight_hundredths"},
    .effect = COMMAND_REVISES,
    .options = pool_weight_options,
};

static const struct command_option rate_options[] = {
    COMMAND_VM_OPTIONS,
    OPTION("rate", "rate_per_s", "RATE", "jobs a second: 1 to 1000000000, or none", true),
    OPTION("burst", "burst", "JOBS", "jobs that may come at once (as many as a second has)", false),
    {.name = NULL},
};

const struct command command_set_rate = {
    .name = "set-rate",
    .summary = "limit the jobs a second of a VM",
    .positional = {"vm", "rate_per_s", "burst"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = rate_options,
};

static const struct command_option slice_options[] = {
    COMMAND_POOL_OPTION,
    OPTION("slice", "slice_us", "TIME",
           "a turn when somebody waits: 100us to 10s, or default (10ms)", true),
    OPTION("grace", "grace_us", "TIME", "for draining after a turn: 1us to 10s, or default (3ms)",
           false),
    OPTION("max-wait", "max_wait_ms", "TIME",
           "who waits longer is next: 1ms to 24h, or default (10s)", false),
    OPTION("urgency", "urgency_us", "TIME",
           "the most that urgency moves anybody: 1us to 10s, or default (10ms)", false),
    {.name = NULL},
};

const struct command command_set_slice = {
    .name = "set-slice",
    .summary = "set how long turns are in a pool",
    .positional = {"pool", "slice_us"},
    .effect = COMMAND_REVISES,
    .options = slice_options,
};

static const struct command_option timeout_options[] = {
    COMMAND_VM_OPTIONS,
    OPTION("timeout", "job_timeout_ms", "TIME", "10ms to 24h, or default (30s)", true),
    {.name = NULL},
};

const struct command command_set_timeout = {
    .name = "set-timeout",
    .summary = "limit the GPU time of a job of a VM",
    .positional = {"vm", "job_timeout_ms"},
    .names_vm = true,
    .effect = COMMAND_REVISES,
    .options = timeout_options,
};

static const struct setting_command *find_command(const char *name)
{
    const struct setting_command *command = vm_setting_commands;

    while (command->name && strcmp(command->name, name) != 0)
        command++;
    return command->name ? command : setting_command_find(pool_setting_commands, name);
}

void settings_print(const char *command, const json_t *result)
{
    const struct setting_command *set = find_command(command);
    const json_t *vm = json_object_get(result, "vm"), *pool = json_object_get(result, "pool");
    char name[SHOW_BYTES], text[AMOUNT_BYTES];

    if (vm)
        printf("%s%s has", show_vm(vm, name), show_already(result));
    else
        printf("pool %s%s has", show_member(pool, "pool", name), show_already(result));
    for (size_t i = 0; i < SETTING_COMMAND_MAX && set->settings[i]; i++) {
        const struct setting *setting = amount_setting(set->settings[i]);
        json_int_t amount = json_integer_value(json_object_get(vm ? vm : pool, setting->name));

        if (amount == 0 && strcmp(setting->name, "burst") == 0)
            continue;
        printf("%s %s %s", i ? "," : "", setting->title, amount_show(setting, amount, text));
    }
    putchar('\n');
}

void settings_summary(const struct setting *settings, const json_t *object, char *text, size_t size)
{
    static const char more[] = ", …";
    char amount[AMOUNT_BYTES];
    size_t used = 0;

    snprintf(text, size, "-");
    for (; settings->name; settings++) {
        json_int_t value = json_integer_value(json_object_get(object, settings->name));
        size_t room = size - used;
        int added;

        if (value == 0)
            continue;
        added = snprintf(text + used, room, "%s%s %s", used ? ", " : "", settings->title,
                         amount_show(settings, value, amount));
        if ((size_t)added + sizeof(more) > room) {
            snprintf(text + used, room, "%s", used ? more : more + 2);
            return;
        }
        used += (size_t)added;
    }
}
