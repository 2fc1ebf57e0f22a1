/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/resource.h>

#include "common/cleanup.h"
#include "mediator/mediator.h"
#include "mediator/sum.h"
#include "metrics/page.h"

static void set_ratio(struct metric_row *row, unsigned cell, double ratio, double unit)
{
    if (ratio >= 0 && ratio < 1e9)
        metric_set(row, cell, (uint64_t)(ratio * unit + 0.5));
}

static void set_lately(struct metric_row *row, unsigned cell, struct lately *lately,
                       uint64_t now_ns)
{
    row->cells[cell].lately = lately_read(lately, now_ns, row->cells[cell].quantiles);
}

static uint64_t micros(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void fill_helpers(const struct mediator *mediator, struct metric_row *row)
{
    const struct helper *helpers[] = {&mediator->store, &mediator->nvml};

    for (unsigned i = 0; i < VGPU_ARRAY_SIZE(helpers); i++) {
        if (i > 0 && !mediator->has_nvml)
            continue;
        metric_set(row, CELL_GLOBAL_HELPER_UP + i, helper_is_up(helpers[i]));
        metric_set(row, CELL_GLOBAL_HELPER_PENDING + i, helpers[i]->n_pending);
        metric_set(row, CELL_GLOBAL_HELPER_STARTS + i, helpers[i]->starts);
    }
    metric_set(row, CELL_GLOBAL_HELPER_UP + 2, link_ready(&mediator->link));
}

static void add_global(struct metrics_writer *writer, struct mediator *mediator)
{
    struct mediator_metrics *metrics = &mediator->metrics;
    struct metric_row row = {.texts[0] = VGPU_PROGRAM_VERSION};
    uint64_t now_ns = loop_now(mediator->loop);
    unsigned channels = 0, connections = 0;
    struct rusage usage = {.ru_maxrss = 0};

    getrusage(RUSAGE_SELF, &usage);
    for (const struct vm *vm = mediator->vms; vm; vm = vm->next) {
        channels += vm_living(vm);
        connections += vm->n_connections;
    }
    metric_set(&row, CELL_GLOBAL_UP, 1);
    metric_set(&row, CELL_GLOBAL_INFO, 1);
    metric_set(&row, CELL_GLOBAL_UPTIME, now_ns - mediator->started_ns);
    metric_set(&row, CELL_GLOBAL_CPU, micros(usage.ru_utime));
    metric_set(&row, CELL_GLOBAL_CPU + 1, micros(usage.ru_stime));
    metric_set(&row, CELL_GLOBAL_TURNS, metrics->turns);
    metric_set(&row, CELL_GLOBAL_LAG, metrics->turns);
    row.cells[CELL_GLOBAL_LAG].sum = metrics->busy_ns;
    set_lately(&row, CELL_GLOBAL_LAG, &metrics->lag, now_ns);
    metric_set(&row, CELL_GLOBAL_CHANNELS, channels);
    metric_set(&row, CELL_GLOBAL_CONNECTIONS, connections);
    fill_helpers(mediator, &row);
    metrics_add_row(writer, METRIC_GLOBAL, &row);
}

static void fill_leases(struct metric_row *row, const struct gpu *leases, uint64_t now_ns)
{
    struct sched_stats stats = {.vms = 0};

    if (leases)
        sched_stats(leases->sched, now_ns, &stats);
    metric_set(row, CELL_GPU_BUSY, stats.charged_ns);
    metric_set(row, CELL_GPU_SWITCHES, leases ? leases->switches : 0);
    metric_set(row, CELL_GPU_GRANTS, stats.grants);
    metric_set(row, CELL_GPU_OVERRUNS, stats.overruns);
    metric_set(row, CELL_GPU_WAITING, stats.waiting);
}

static void set_known(struct metric_row *row, unsigned cell, int64_t number, uint64_t unit)
{
    if (number >= 0)
        metric_set(row, cell, (uint64_t)number * unit);
}

/* What is not known is left out, as is all but the state of a GPU that NVML does not show. */
static void fill_health(struct metric_row *row, const struct health *health)
{
    const struct health_sample *sample = &health->sample;

    for (unsigned state = 0; state < HEALTH_N_STATES; state++)
        metric_set(row, CELL_GPU_STATE + state, health->state == state);
    set_ratio(row, CELL_GPU_UTILIZATION, sample->utilization, 1);
    set_ratio(row, CELL_GPU_TEMPERATURE, sample->temperature, 1);
    set_ratio(row, CELL_GPU_TEMPERATURE_MEMORY, sample->temperature_memory, 1);
    set_ratio(row, CELL_GPU_POWER, sample->power_w, 1000);
    set_ratio(row, CELL_GPU_POWER_LIMIT, sample->power_limit_w, 1000);
    set_known(row, CELL_GPU_CLOCK, sample->clock_sm_mhz, 1000000);
    set_known(row, CELL_GPU_CLOCK + 1, sample->clock_memory_mhz, 1000000);
    if (sample->slowdown != HEALTH_NOT_KNOWN)
        metric_set(row, CELL_GPU_THROTTLED, sample->slowdown > 0);
    set_known(row, CELL_GPU_ECC, sample->ecc_corrected, 1);
    set_known(row, CELL_GPU_ECC + 1, sample->ecc_uncorrected, 1);
    set_known(row, CELL_GPU_REMAPPED, sample->remapped_rows, 1);
    metric_set(row, CELL_GPU_XID, health->xids_heard[XID_WARNING]);
    metric_set(row, CELL_GPU_XID + 1, health->xids_heard[XID_ERROR]);
    metric_set(row, CELL_GPU_XID + 2, health->xids_heard[XID_FATAL]);
    metric_set(row, CELL_GPU_RESETS, health->resets);
}

static void add_gpu(struct metrics_writer *writer, const struct mediator *mediator,
                    const struct config_gpu *gpu)
{
    const struct gpu_sample *sample = &mediator->samples[gpu->id];
    const struct gpu_spares *spares = &mediator->spares[gpu->id];
    struct metric_row row = {.id = gpu->id};

    metric_set(&row, CELL_GPU_PRESENT, gpu->present);
    metric_set(&row, CELL_GPU_HEALTHY, mediator_gpu_ok(mediator, gpu->id));
    if (gpu->memory_bytes)
        metric_set(&row, CELL_GPU_MEMORY, gpu->memory_bytes);
    if (sample->known)
        metric_set(&row, CELL_GPU_MEMORY_USED, sample->memory_used_bytes);
    fill_health(&row, &mediator->health[gpu->id]);
    fill_leases(&row, mediator->gpus[gpu->id], loop_now(mediator->loop));
    metric_set(&row, CELL_GPU_SPARES, spares->ready);
    metric_set(&row, CELL_GPU_SPARE_FAILURES, spares->failures);
    metric_set(&row, CELL_GPU_WARM_STARTS, spares->adopted);
    metrics_add_row(writer, METRIC_GPU, &row);
}

static void add_pools(struct metrics_writer *writer, const struct mediator *mediator)
{
    const struct config *config = mediator->config;
    unsigned vms[CONFIG_POOLS_MAX] = {0};

    for (unsigned i = 0; i < config->n_vms; i++) {
        const struct config_pool *pool = config_pool(config, config->vms[i].pool);

        if (pool)
            vms[pool - config->pools]++;
    }
    for (unsigned i = 0; i < config->n_pools; i++) {
        const struct config_pool *pool = &config->pools[i];
        struct metric_row row = {.id = 0};
        unsigned healthy = 0;

        memcpy(row.texts[0], pool->name, sizeof(pool->name));
        for (unsigned id = 0; id < CONFIG_GPUS_MAX; id++)
            healthy += (pool->gpus >> id & 1) && mediator_gpu_ok(mediator, id);
        metric_set(&row, CELL_POOL_VMS, vms[i]);
        metric_set(&row, CELL_POOL_GPUS, (unsigned)__builtin_popcountll(pool->gpus));
        metric_set(&row, CELL_POOL_GPUS_HEALTHY, healthy);
        metrics_add_row(writer, METRIC_POOL, &row);
    }
}

/* one VM */

static void fill_jobs(struct metric_row *row, const struct vm *vm, const struct vm_sum *sum)
{
    const struct seat_totals *totals = &sum->totals;
    struct vm_rate rate;

    metrics_rate(vm, sum, &rate);
    metric_set(row, CELL_VM_QUEUE, totals->depth);
    set_ratio(row, CELL_VM_RATE, rate.jobs_per_s, 1e3);
    if (rate.mean_known)
        metric_set(row, CELL_VM_JOB_MEAN, rate.mean_job_ns);
    metric_set(row, CELL_VM_TAKEN, metrics_taken(vm, sum));
    metric_set(row, CELL_VM_DONE, totals->jobs_done);
    metric_set(row, CELL_VM_FAILED, totals->jobs_failed);
    metric_set(row, CELL_VM_GPU_TIME, sum->charged_ns);
    metric_set(row, CELL_VM_WAIT, totals->wait_ns);
    metric_set(row, CELL_VM_SWITCHES, sum->switches);
    set_ratio(row, CELL_VM_SHARE, vm_sum_share(sum), 1e6);
    set_ratio(row, CELL_VM_ENTITLEMENT, vm_sum_entitlement(sum), 1e6);
}

static void fill_counts(struct metric_row *row, const struct vm *vm)
{
    struct channel_counts sum = vm->metrics.ended;

    for (const struct channel *c = vm->channels; c; c = c->next) {
        struct channel_counts more;

        if (!c->times_seen) /* counted in what has ended */
            continue;
        channel_counts(c, &more);
        channel_counts_add(&sum, &more);
    }
    for (unsigned limit = 0; limit < VGPU_LIMIT_COUNT; limit++) {
        metric_set(row, CELL_VM_REFUSED + limit, sum.refused[limit]);
        metric_set(row, CELL_VM_HELD + limit, sum.held[limit]);
    }
    metric_set(row, CELL_VM_COPIED, sum.to_device);
    metric_set(row, CELL_VM_COPIED + 1, sum.from_device);
}

static void fill_memory(struct metric_row *row, const struct vm *vm)
{
    struct memory_sum sum = {.nvml_known = true};

    memory_sum(vm, &sum);
    metric_set(row, CELL_VM_MEMORY, sum.held);
    metric_set(row, CELL_VM_MEMORY_OVERHEAD, sum.contexts + sum.modules + sum.graphs);
    if (vm->config.memory_bytes)
        metric_set(row, CELL_VM_MEMORY_QUOTA, vm->config.memory_bytes);
}

static void fill_times(struct metric_row *row, struct times *times, uint64_t now_ns)
{
    static const unsigned cells[VGPU_TIMES] = {CELL_VM_JOB_WAIT, CELL_VM_JOB_RUN,
                                               CELL_VM_JOB_TOTAL};

    for (unsigned kind = 0; kind < VGPU_JOB_KINDS; kind++) {
        const uint64_t sums[VGPU_TIMES] = {times->wait_ns[kind], times->run_ns[kind],
                                           times->wait_ns[kind] + times->run_ns[kind]};

        for (unsigned what = 0; what < VGPU_TIMES; what++) {
            metric_set(row, cells[what] + kind, times->jobs[kind]);
            row->cells[cells[what] + kind].sum = sums[what];
            set_lately(row, cells[what] + kind, &times->lately[kind][what], now_ns);
        }
    }
    metric_set(row, CELL_VM_TIMES_DROPPED, times->dropped);
}

static void fill_life(struct metric_row *row, const struct vm *vm)
{
    const struct vm_metrics *metrics = &vm->metrics;

    metric_set(row, CELL_VM_CHANNELS, vm_living(vm));
    metric_set(row, CELL_VM_CONNECTIONS, vm->n_connections);
    metric_set(row, CELL_VM_QUARANTINED, vm->state == VM_QUARANTINED);
    metric_set(row, CELL_VM_STARTS, metrics->starts);
    for (unsigned i = 0; i < WORKER_ENDS; i++)
        metric_set(row, CELL_VM_ENDS + i, metrics->ends[i]);
    for (unsigned i = 0; i < FAULT_N_KINDS; i++)
        metric_set(row, CELL_VM_FAULTS + i, metrics->faults[i]);
    metric_set(row, CELL_VM_FAULTS_NOW, faults_counted(vm));
}
_Static_assert(CELL_VM_FAULTS_LAST - CELL_VM_FAULTS + 1 == FAULT_N_KINDS, "a cell for each kind");
_Static_assert(CELL_VM_REFUSED_LAST - CELL_VM_REFUSED + 1 == VGPU_LIMIT_COUNT, "and each limit");
_Static_assert(CELL_VM_JOB_RUN_LAST - CELL_VM_JOB_RUN + 1 == VGPU_JOB_KINDS, "and kind of job");

static void add_vm(struct metrics_writer *writer, struct vm *vm)
{
    uint64_t now_ns = loop_now(vm->mediator->loop);
    struct metric_row row = {.id = vm->config.id};
    struct vm_sum sum;

    memcpy(row.texts[0], vm->config.pool, sizeof(vm->config.pool));
    strcpy(row.texts[1], config_priority_name(vm->config.priority));
    vm_sum(vm->mediator, vm->config.id, &sum);
    metrics_look(vm);
    metric_set(&row, CELL_VM_INFO, 1);
    fill_life(&row, vm);
    fill_jobs(&row, vm, &sum);
    fill_counts(&row, vm);
    fill_memory(&row, vm);
    fill_times(&row, &vm->metrics.times, now_ns);
    metrics_add_row(writer, METRIC_VM, &row);
}

/* The page */

/* Where the first VM after that id is in the configuration, which is in the order of ids. */
static unsigned first_after(const struct config *config, uint32_t after_vm)
{
    unsigned low = 0, high = config->n_vms;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (config->vms[middle].id <= after_vm)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Returns how far it came, if that was not the end: the id of the last VM; else 0. */
static uint32_t add_vms(struct metrics_writer *writer, struct mediator *mediator, uint32_t after_vm,
                        unsigned limit)
{
    const struct config *config = mediator->config;
    unsigned first = first_after(config, after_vm), left = config->n_vms - first;
    unsigned n = left < limit ? left : limit;
    uint64_t end_ns = loop_now(mediator->loop) + METRICS_PAGE_NS;

    for (unsigned i = 0; i < n; i++) {
        struct vm *vm = vm_find(mediator, config->vms[first + i].id);

        if (vm)
            add_vm(writer, vm);
        if (i + 1 < left && (i + 1 == n || loop_now(mediator->loop) >= end_ns))
            return config->vms[first + i].id;
    }
    return 0;
}

void metrics_page(struct mediator *mediator, uint32_t after_vm, unsigned limit,
                  struct metrics_text *text)
{
    const struct config *config = mediator->config;
    struct metrics_writer writer;
    uint32_t next_vm = 0;

    metrics_begin_page(&writer, text, mediator->events.boot, after_vm == 0);
    if (after_vm == 0)
        add_global(&writer, mediator);
    if (config) {
        for (unsigned i = 0; after_vm == 0 && i < config->n_gpus; i++)
            add_gpu(&writer, mediator, &config->gpus[i]);
        if (after_vm == 0)
            add_pools(&writer, mediator);
        next_vm = add_vms(&writer, mediator, after_vm, limit);
    }
    metrics_end_page(&writer, next_vm);
}
