/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of metrics in virtual time, without workers: the tests write the report pages as they
 * would. A reading of the clock takes as long as the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mediator/mediator.h"
#include "mediator/sum.h"
#include "mediator/test_channel_pair.h"
#include "metrics/page.h"

#define N_VMS 20

struct bench {
    uint64_t now_ns, reading_ns;
    struct mediator mediator;
    struct mediator_settings settings;
    struct config config;
    struct config_vm vms[N_VMS];
    struct config_gpu gpus[1];
    struct config_pool pools[1];
    struct vgpu_report_page *report; /* of a channel of the first VM */
    struct channel *channel;
};

static uint64_t clock_of(void *context)
{
    struct bench *bench = context;

    return bench->now_ns += bench->reading_ns;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    struct mediator *mediator = &bench->mediator;

    bench->now_ns = 1000 * VGPU_NS_PER_S;
    bench->settings.lease =
        (struct lease_settings){.job_timeout_ns = VGPU_NS_PER_S, .drain_ns = VGPU_NS_PER_S};
    mediator->settings = &bench->settings;
    mediator->loop = loop_new(clock_of, bench, NULL);
    mediator->store.stream.fd = mediator->nvml.stream.fd = -1;
    assert_int_equal(events_init(&mediator->events, mediator->loop), 0);
    metrics_init(mediator);
    bench->gpus[0] = (struct config_gpu){.present = true, .memory_bytes = 1 << 30};
    bench->pools[0] = (struct config_pool){.name = "A", .gpus = 1};
    bench->config = (struct config){.n_gpus = 1,
                                    .gpus = bench->gpus,
                                    .n_pools = 1,
                                    .pools = bench->pools,
                                    .n_vms = N_VMS,
                                    .vms = bench->vms};
    mediator->config = &bench->config;
    for (unsigned i = 0; i < N_VMS; i++) {
        bench->vms[i] = (struct config_vm){
            .id = 3 * i + 1, .weight_hundredths = 5000, .depth = 16, .pool = "A"};
        assert_non_null(vm_new(mediator, &bench->vms[i]));
    }
    *state = bench;
    return 0;
}

/* Gives the first VM a channel. */
static struct vm *open_channel(struct bench *bench)
{
    struct vm *vm = vm_find(&bench->mediator, 1);
    struct gpu *gpu = mediator_gpu(&bench->mediator, 0);
    struct seat *seat = gpu_seat(gpu, &vm->config, &bench->mediator.accounts);

    bench->report = pair_open(1, &bench->channel);
    bench->channel->vm = vm;
    bench->channel->state = CHANNEL_OPEN;
    vm->channels = bench->channel;
    lease_channel_add(seat, bench->channel);
    metrics_channel_started(bench->channel);
    return vm;
}

static void end_channel(struct bench *bench)
{
    lease_channel_gone(bench->channel);
    metrics_channel_ended(bench->channel);
    bench->channel->vm->channels = NULL;
    pair_close(bench->channel, bench->report);
    bench->channel = NULL;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    struct mediator *mediator = &bench->mediator;

    if (bench->channel)
        end_channel(bench);
    while (mediator->vms)
        vm_free(mediator->vms);
    gpu_free(mediator->gpus[0]);
    metrics_release(mediator);
    events_release(&mediator->events);
    assert_int_equal(loop_next_due(mediator->loop), UINT64_MAX);
    loop_free(mediator->loop);
    free(bench);
    return 0;
}

static void take_page(struct bench *bench, struct metrics_snapshot *snapshot, uint32_t after,
                      unsigned limit, uint32_t *ret_next)
{
    struct metrics_text text = {.data = NULL};
    struct vgpu_err err;
    json_t *page;

    metrics_page(&bench->mediator, after, limit, &text);
    page = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(page);
    assert_int_equal(metrics_take_page(snapshot, page, ret_next, &err), 0);
    json_decref(page);
    text_release(&text);
}

static uint64_t cell(struct bench *bench, unsigned number)
{
    struct metrics_snapshot snapshot = {.begun = false};
    uint32_t next;
    uint64_t value;

    take_page(bench, &snapshot, 0, 1, &next);
    assert_true(snapshot.rows[METRIC_VM][0].cells[number].known);
    value = snapshot.rows[METRIC_VM][0].cells[number].value;
    metrics_snapshot_release(&snapshot);
    return value;
}

static void test_metrics_pages_have_each_vm_once(void **state)
{
    struct bench *bench = *state;

    for (unsigned limit = 1; limit <= N_VMS + 1; limit++) {
        struct metrics_snapshot snapshot = {.begun = false};
        uint32_t after = 0;

        do
            take_page(bench, &snapshot, after, limit, &after);
        while (after);
        assert_int_equal(snapshot.n_rows[METRIC_VM], N_VMS);
        for (unsigned i = 0; i < N_VMS; i++)
            assert_int_equal(snapshot.rows[METRIC_VM][i].id, 3 * i + 1);
        metrics_snapshot_release(&snapshot);
    }
}

/* The loop is not kept: a page that takes long has fewer VMs, and at least one. */
static void test_metrics_page_ends_when_its_time_is_over(void **state)
{
    struct bench *bench = *state;
    struct metrics_snapshot snapshot = {.begun = false};
    uint32_t after = 0;
    unsigned pages = 0;

    bench->reading_ns = METRICS_PAGE_NS;
    do {
        size_t before = snapshot.n_rows[METRIC_VM];

        take_page(bench, &snapshot, after, METRICS_LIMIT_MAX, &after);
        assert_int_equal(snapshot.n_rows[METRIC_VM], before + 1);
        pages++;
    } while (after);
    assert_int_equal(pages, N_VMS);
    bench->reading_ns = 0;
    metrics_snapshot_release(&snapshot);
}

static void test_metrics_page_without_a_configuration(void **state)
{
    struct bench *bench = *state;
    struct metrics_snapshot snapshot = {.begun = false};
    uint32_t next = 1;

    bench->mediator.config = NULL;
    take_page(bench, &snapshot, 0, METRICS_LIMIT_MAX, &next);
    assert_int_equal(next, 0);
    assert_int_equal(snapshot.n_rows[METRIC_GLOBAL], 1);
    assert_int_equal(snapshot.n_rows[METRIC_VM], 0);
    metrics_snapshot_release(&snapshot);
    bench->mediator.config = &bench->config;
}

/* Ten seconds and a little, looked at every two. */
static void pass(struct bench *bench, unsigned looks, uint64_t jobs, uint64_t pending)
{
    for (unsigned i = 0; i < looks; i++) {
        bench->now_ns += METRICS_SAMPLE_NS;
        bench->report->jobs_taken += jobs;
        bench->report->jobs_done = bench->report->jobs_taken - pending;
        loop_turn(bench->mediator.loop, false);
    }
}

static void test_metrics_rate_is_of_the_last_ten_seconds(void **state)
{
    struct bench *bench = *state;
    struct vm *vm = open_channel(bench);
    struct vm_rate rate;
    struct vm_sum sum;

    pass(bench, 10, 2000, 0);
    vm_sum(&bench->mediator, 1, &sum);
    metrics_rate(vm, &sum, &rate);
    assert_true(rate.jobs_per_s > 999 && rate.jobs_per_s < 1001);
    assert_true(rate.mean_known);
    pass(bench, 7, 0, 0);
    vm_sum(&bench->mediator, 1, &sum);
    metrics_rate(vm, &sum, &rate);
    assert_true(rate.jobs_per_s == 0);
    assert_false(rate.mean_known);
}

/* Its counters are the VM's for good, and what it never finished was submitted all the same. */
static void test_metrics_of_a_channel_that_ended_are_kept(void **state)
{
    struct bench *bench = *state;

    open_channel(bench);
    bench->report->bytes_to_device = 4096;
    bench->report->refused_by[VGPU_LIMIT_DEPTH] = 3;
    pass(bench, 1, 10, 2);
    assert_int_equal(cell(bench, CELL_VM_TAKEN), 10);
    end_channel(bench);
    assert_int_equal(cell(bench, CELL_VM_TAKEN), 10);
    assert_int_equal(cell(bench, CELL_VM_DONE), 8);
    assert_int_equal(cell(bench, CELL_VM_QUEUE), 0);
    assert_int_equal(cell(bench, CELL_VM_COPIED), 4096);
    assert_int_equal(cell(bench, CELL_VM_REFUSED + VGPU_LIMIT_DEPTH), 3);
    assert_int_equal(cell(bench, CELL_VM_STARTS), 1);
    assert_int_equal(cell(bench, CELL_VM_ENDS + WORKER_CLOSED), 1);
}

/* How many jobs there were is as of the question; how long they took is looked at every two
 * seconds. */
static void test_metrics_jobs_are_counted_when_asked(void **state)
{
    struct bench *bench = *state;
    struct vgpu_times_page *times;

    open_channel(bench);
    times = mmap(NULL, VGPU_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                 bench->channel->fds[VGPU_FD_REPORT], 0);
    assert_true(times != MAP_FAILED);
    ((struct vgpu_times_page *)((uint8_t *)times + VGPU_TIMES_OFFSET))->heads[VGPU_JOB_GRAPH].jobs =
        5;
    assert_int_equal(cell(bench, CELL_VM_JOB_RUN + VGPU_JOB_GRAPH), 5);
    assert_int_equal(cell(bench, CELL_VM_JOB_TOTAL + VGPU_JOB_GRAPH), 5);
    munmap(times, VGPU_REPORT_BYTES);
}

/* Without a channel nothing wakes the loop. */
static void test_metrics_an_idle_vm_costs_no_timer(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(loop_next_due(bench->mediator.loop), UINT64_MAX);
    open_channel(bench);
    assert_int_equal(loop_next_due(bench->mediator.loop), bench->now_ns + METRICS_SAMPLE_NS);
    end_channel(bench);
    bench->now_ns += METRICS_SAMPLE_NS;
    loop_turn(bench->mediator.loop, false);
    assert_int_equal(loop_next_due(bench->mediator.loop), UINT64_MAX);
}

static void test_metrics_fault_kinds_are_those_of_the_table(void **state)
{
    for (size_t i = 0; i < metrics_count; i++) {
        const struct metric *metric = &metrics_table[i];

        if (metric->scope != METRIC_VM || metric->cell != CELL_VM_FAULTS)
            continue;
        for (unsigned kind = 0; kind < FAULT_N_KINDS; kind++) {
            const char *word = "";
            size_t size = metrics_word(metric->values, kind, &word);

            assert_int_equal(size, strlen(fault_kind_name((enum fault_kind)kind)));
            assert_memory_equal(word, fault_kind_name((enum fault_kind)kind), size);
        }
    }
}

static void test_metrics_turns_of_the_loop_are_measured(void **state)
{
    struct bench *bench = *state;
    uint64_t turns = bench->mediator.metrics.turns;

    bench->reading_ns = 1000;
    loop_turn(bench->mediator.loop, false);
    bench->reading_ns = 0;
    assert_int_equal(bench->mediator.metrics.turns, turns + 1);
    assert_in_range(bench->mediator.metrics.busy_ns, 1000, 10000);
    metrics_release(&bench->mediator);
    loop_turn(bench->mediator.loop, false);
    assert_int_equal(bench->mediator.metrics.turns, turns + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_metrics_pages_have_each_vm_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics_page_ends_when_its_time_is_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_metrics_page_without_a_configuration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics_rate_is_of_the_last_ten_seconds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_metrics_of_a_channel_that_ended_are_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_metrics_jobs_are_counted_when_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics_an_idle_vm_costs_no_timer, setup, teardown),
        cmocka_unit_test(test_metrics_fault_kinds_are_those_of_the_table),
        cmocka_unit_test_setup_teardown(test_metrics_turns_of_the_loop_are_measured, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
