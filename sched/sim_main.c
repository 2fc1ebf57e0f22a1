/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-sim FILE [--json]: plays a workload description against the scheduler in virtual time and
 * prints what each VM got. The engine is sched/sim.c. Exit 0, 1 (failed), 2 (usage).
 */
#include "sched/sim.h"

#include "common/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_text(const char *path, char **ret_text, size_t *ret_bytes, struct vgpu_err *err)
{
    _cleanup_fclose_ FILE *file = !strcmp(path, "-") ? stdin : fopen(path, "re");
    _cleanup_free_ char *text = NULL;
    size_t bytes;

    if (!file)
        return vgpu_err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    text = malloc(SIM_TEXT_BYTES + 1);
    if (!text)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    bytes = fread(text, 1, SIM_TEXT_BYTES + 1, file);
    if (ferror(file))
        return vgpu_err_set(err, EIO, "cannot read %s", path);
    *ret_text = vgpu_steal_ptr(&text);
    *ret_bytes = bytes;
    return 0;
}

static double ms(double ns)
{
    return ns / 1e6;
}

static double percent(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

static const char *priority_name(enum sched_priority priority)
{
    static const char *const names[] = {"low", "medium", "high"};

    return names[priority];
}

static void print_table(const struct sim_spec *spec, const struct sim_result *result)
{
    bool fair = spec->config.policy == SCHED_POLICY_WFQ;

    printf("%-20s %-6s %6s  %8s %8s  %9s %9s  %8s %9s %9s %9s %9s\n", "VM", "PRIO", "WEIGHT",
           "SHARE %", "IDEAL %", "LAG ms", "AHEAD ms", "JOBS", "WAIT p50", "p95 ms", "p99 ms",
           "max ms");
    for (uint32_t i = 0; i < spec->n_vms; i++) {
        const struct sim_vm_result *vm = &result->vms[i];

        printf("%-20s %-6s %6.1f  %8.3f %8.3f  %9.3f %9.3f  %8llu %9.3f %9.3f %9.3f %9.3f\n",
               spec->vms[i].name, priority_name(spec->vms[i].priority),
               spec->vms[i].weight_milli / 1000.0,
               percent((double)vm->served_ns, (double)result->served_ns),
               percent(vm->ideal_ns, (double)result->served_ns), ms(vm->lag_max_ns),
               ms(vm->ahead_max_ns), (unsigned long long)vm->jobs, ms((double)vm->wait_p50_ns),
               ms((double)vm->wait_p95_ns), ms((double)vm->wait_p99_ns),
               ms((double)vm->wait_max_ns));
        if (vm->overruns || vm->kills || vm->dropped)
            printf("%-20s   overruns %llu, kills %llu, jobs dropped %llu\n", "",
                   (unsigned long long)vm->overruns, (unsigned long long)vm->kills,
                   (unsigned long long)vm->dropped);
    }
    printf("\nbusy %.3f %%  hand-overs %llu (%.3f %% of the time)\n",
           percent((double)result->served_ns, (double)result->duration_ns),
           (unsigned long long)result->switches,
           percent((double)result->switch_ns, (double)result->duration_ns));
    printf("largest lag %.3f ms%s", ms(result->lag_max_ns), fair ? "" : " (means little: strict)");
    if (fair)
        printf(" (bound %.3f ms)", ms((double)result->lag_bound_ns));
    printf("  Jain index %.6f, of shares from 1 %% %.6f\n", result->jain, result->jain_large);
}

static json_t *vm_json(const struct sim_vm *vm, const struct sim_vm_result *r, double served)
{
    return json_pack(
        "{s:s s:s s:f s:f s:f s:f s:f s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I}", "name",
        vm->name, "priority", priority_name(vm->priority), "weight", vm->weight_milli / 1000.0,
        "share", percent((double)r->served_ns, served) / 100, "ideal_share",
        percent(r->ideal_ns, served) / 100, "lag_max_ns", round(r->lag_max_ns), "ahead_max_ns",
        round(r->ahead_max_ns), "served_ns", (json_int_t)r->served_ns, "jobs", (json_int_t)r->jobs,
        "dropped", (json_int_t)r->dropped, "wait_p50_ns", (json_int_t)r->wait_p50_ns, "wait_p95_ns",
        (json_int_t)r->wait_p95_ns, "wait_p99_ns", (json_int_t)r->wait_p99_ns, "wait_max_ns",
        (json_int_t)r->wait_max_ns, "lease_wait_max_ns", (json_int_t)r->turn_wait_max_ns, "grants",
        (json_int_t)r->grants, "overruns", (json_int_t)r->overruns, "kills", (json_int_t)r->kills);
}

static int print_json(const struct sim_spec *spec, const struct sim_result *result)
{
    json_t *vms = json_array(), *root;
    int r = 0;

    for (uint32_t i = 0; vms && i < spec->n_vms; i++)
        r |= json_array_append_new(
            vms, vm_json(&spec->vms[i], &result->vms[i], (double)result->served_ns));
    root = json_pack("{s:s s:I s:I s:I s:I s:f s:I s:f s:f s:f s:o}", "policy",
                     spec->config.policy == SCHED_POLICY_WFQ ? "wfq" : "strict", "duration_ns",
                     (json_int_t)result->duration_ns, "served_ns", (json_int_t)result->served_ns,
                     "switches", (json_int_t)result->switches, "switch_ns",
                     (json_int_t)result->switch_ns, "lag_max_ns", round(result->lag_max_ns),
                     "lag_bound_ns", (json_int_t)result->lag_bound_ns, "share_error_max_ns",
                     round(result->share_error_max_ns), "jain", result->jain, "jain_large",
                     result->jain_large, "vms", vms);
    if (r < 0 || !root || json_dumpf(root, stdout, JSON_INDENT(2)) < 0)
        r = -1;
    putchar('\n');
    json_decref(root);
    return r;
}

static int usage(void)
{
    fprintf(stderr, "usage: vgpu-sim [--json] FILE\n"
                    "plays the workload described in FILE (- for standard input)\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct vgpu_err err = {0};
    struct sim_spec spec;
    struct sim_result result;
    _cleanup_free_ char *text = NULL;
    const char *path = NULL;
    size_t bytes = 0;
    bool json = false;
    int r;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--json"))
            json = true;
        else if (!path && (argv[i][0] != '-' || !argv[i][1]))
            path = argv[i];
        else
            return usage();
    }
    if (!path)
        return usage();
    r = read_text(path, &text, &bytes, &err);
    if (r == 0)
        r = sim_parse(text, bytes, &spec, &err);
    if (r == 0) {
        r = sim_run(&spec, NULL, 0, &result, &err);
        if (r == 0) {
            if (json)
                r = print_json(&spec, &result);
            else
                print_table(&spec, &result);
            sim_result_release(&result);
        }
        sim_spec_release(&spec);
    }
    if (r < 0)
        fprintf(stderr, "vgpu-sim: %s\n", err.text[0] ? err.text : "cannot write the result");
    return r < 0 ? 1 : 0;
}
