/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulation gave, as text and as JSON; see simulation.h. */
#include "admin/simulation.h"

#include <math.h>
#include <string.h>

#define BAR_COLUMNS 60

static double ms(double ns)
{
    return ns / 1e6;
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
               simulation_percent((double)vm->served_ns, (double)result->served_ns),
               simulation_percent(vm->ideal_ns, (double)result->served_ns), ms(vm->lag_max_ns),
               ms(vm->ahead_max_ns), (unsigned long long)vm->jobs, ms((double)vm->wait_p50_ns),
               ms((double)vm->wait_p95_ns), ms((double)vm->wait_p99_ns),
               ms((double)vm->wait_max_ns));
        if (vm->overruns || vm->kills || vm->dropped)
            printf("%-20s   overruns %llu, kills %llu, jobs dropped %llu\n", "",
                   (unsigned long long)vm->overruns, (unsigned long long)vm->kills,
                   (unsigned long long)vm->dropped);
    }
    printf("\nbusy %.3f %%  hand-overs %llu (%.3f %% of the time)\n",
           simulation_percent((double)result->served_ns, (double)result->duration_ns),
           (unsigned long long)result->switches,
           simulation_percent((double)result->switch_ns, (double)result->duration_ns));
    printf("largest lag %.3f ms%s", ms(result->lag_max_ns), fair ? "" : " (means little: strict)");
    if (fair)
        printf(" (bound %.3f ms)", ms((double)result->lag_bound_ns));
    printf("  Jain index %.6f, of shares from 1 %% %.6f\n", result->jain, result->jain_large);
}

/* A row of full columns of '#', with a mark of its own at one of them. */
static void print_bar(const char *name, double value, double mark, double full)
{
    char bar[BAR_COLUMNS + 2];
    unsigned length = 0, at = 0;

    if (full > 0) {
        length = (unsigned)lround(fmin(value / full, 1) * BAR_COLUMNS);
        at = (unsigned)lround(fmin(mark / full, 1) * BAR_COLUMNS);
    }
    memset(bar, ' ', sizeof(bar));
    memset(bar, '#', length);
    bar[at] = '|';
    bar[(at > length ? at : length) + 1] = '\0';
    if (length > at)
        bar[length] = '\0';
    printf("%-20s %s\n", name, bar);
}

static void print_shares(const struct sim_spec *spec, const struct sim_result *result)
{
    double full = 0;

    for (uint32_t i = 0; i < spec->n_vms; i++)
        full = fmax(full, fmax((double)result->vms[i].served_ns, result->vms[i].ideal_ns));
    printf("\nshare: # got, | ideal; the whole width is %.3f %% of the GPU time\n",
           simulation_percent(full, (double)result->served_ns));
    for (uint32_t i = 0; i < spec->n_vms; i++)
        print_bar(spec->vms[i].name, (double)result->vms[i].served_ns, result->vms[i].ideal_ns,
                  full);
}

static void print_lags(const struct sim_spec *spec, const struct sim_result *result)
{
    bool fair = spec->config.policy == SCHED_POLICY_WFQ;
    double bound = fair ? (double)result->lag_bound_ns : 0;
    double full = fmax(bound, result->lag_max_ns);

    printf("\nlag: # most that it was behind%s; the whole width is %.3f ms\n",
           fair ? ", | the bound" : "", ms(full));
    for (uint32_t i = 0; i < spec->n_vms; i++)
        print_bar(spec->vms[i].name, result->vms[i].lag_max_ns, bound, full);
}

static void print_waits(const struct sim_spec *spec, const struct sim_result *result)
{
    double full = 0;

    for (uint32_t i = 0; i < spec->n_vms; i++)
        full = fmax(full, (double)result->vms[i].wait_max_ns);
    printf("\nwait of a job: # 99 in 100 wait less, | half wait less; the whole width is %.3f ms, "
           "the longest\n",
           ms(full));
    for (uint32_t i = 0; i < spec->n_vms; i++)
        print_bar(spec->vms[i].name, (double)result->vms[i].wait_p99_ns,
                  (double)result->vms[i].wait_p50_ns, full);
}

void simulation_title(const struct sim_spec *spec, char *buffer, size_t size)
{
    size_t used = (size_t)snprintf(buffer, size, "GPU %s (pools", spec->gpus[0].name);

    for (uint32_t p = 0; p < spec->n_pools && used < size; p++)
        if (spec->gpus[0].pools >> p & 1)
            used += (size_t)snprintf(buffer + used, size - used, " %s", spec->pools[p].name);
    if (used < size)
        snprintf(buffer + used, size - used, ")");
}

void simulation_print(const struct sim_host *host)
{
    char title[512];

    for (uint32_t g = 0; g < host->n_gpus; g++) {
        const struct sim_spec *spec = &host->gpus[g].spec;
        const struct sim_result *result = &host->gpus[g].result;

        if (host->n_gpus > 1) {
            simulation_title(spec, title, sizeof(title));
            printf("%s== %s\n", g ? "\n" : "", title);
        }
        print_table(spec, result);
        print_shares(spec, result);
        print_lags(spec, result);
        print_waits(spec, result);
    }
}

static json_t *vm_json(const struct sim_vm *vm, const struct sim_vm_result *r, double served)
{
    return json_pack(
        "{s:s s:s s:f s:f s:f s:f s:f s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I}", "name",
        vm->name, "priority", priority_name(vm->priority), "weight", vm->weight_milli / 1000.0,
        "share", simulation_percent((double)r->served_ns, served) / 100, "ideal_share",
        simulation_percent(r->ideal_ns, served) / 100, "lag_max_ns", round(r->lag_max_ns),
        "ahead_max_ns", round(r->ahead_max_ns), "served_ns", (json_int_t)r->served_ns, "jobs",
        (json_int_t)r->jobs, "dropped", (json_int_t)r->dropped, "wait_p50_ns",
        (json_int_t)r->wait_p50_ns, "wait_p95_ns", (json_int_t)r->wait_p95_ns, "wait_p99_ns",
        (json_int_t)r->wait_p99_ns, "wait_max_ns", (json_int_t)r->wait_max_ns, "lease_wait_max_ns",
        (json_int_t)r->turn_wait_max_ns, "grants", (json_int_t)r->grants, "overruns",
        (json_int_t)r->overruns, "kills", (json_int_t)r->kills);
}

static json_t *pools_json(const struct sim_spec *spec)
{
    json_t *names = json_array();

    for (uint32_t p = 0; p < spec->n_pools; p++)
        if (spec->gpus[0].pools >> p & 1)
            json_array_append_new(names, json_string(spec->pools[p].name));
    return names;
}

static json_t *gpu_json(const struct sim_spec *spec, const struct sim_result *result)
{
    json_t *vms = json_array();
    int failed = 0;

    for (uint32_t i = 0; vms && i < spec->n_vms; i++)
        failed |= json_array_append_new(
            vms, vm_json(&spec->vms[i], &result->vms[i], (double)result->served_ns));
    if (failed) {
        json_decref(vms);
        return NULL;
    }
    return json_pack(
        "{s:s s:o s:s s:I s:I s:I s:I s:f s:I s:f s:f s:f s:o}", "gpu", spec->gpus[0].name, "pools",
        pools_json(spec), "policy", spec->config.policy == SCHED_POLICY_WFQ ? "wfq" : "strict",
        "duration_ns", (json_int_t)result->duration_ns, "served_ns", (json_int_t)result->served_ns,
        "switches", (json_int_t)result->switches, "switch_ns", (json_int_t)result->switch_ns,
        "lag_max_ns", round(result->lag_max_ns), "lag_bound_ns", (json_int_t)result->lag_bound_ns,
        "share_error_max_ns", round(result->share_error_max_ns), "jain", result->jain, "jain_large",
        result->jain_large, "vms", vms);
}

json_t *simulation_json(const struct sim_host *host)
{
    json_t *gpus = json_array();
    int failed = 0;

    for (uint32_t g = 0; gpus && g < host->n_gpus; g++)
        failed |= json_array_append_new(gpus, gpu_json(&host->gpus[g].spec, &host->gpus[g].result));
    if (failed) {
        json_decref(gpus);
        return NULL;
    }
    return json_pack("{s:o}", "gpus", gpus);
}
