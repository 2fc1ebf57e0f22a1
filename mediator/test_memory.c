/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c in virtual time: the test plays the workers of one VM on the report pages of real
 * channels, and reads their lease pages.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "mediator/fault.h"
#include "mediator/mediator.h"
#include "mediator/test_channel_pair.h"
#include "ring/pages.h"

#define MS         VGPU_NS_PER_MS
#define MIB        (UINT64_C(1) << 20)
#define N_CHANNELS 4

struct bench {
    uint64_t now_ns;
    struct loop *loop;
    struct mediator_settings settings;
    struct mediator mediator;
    struct vm vm;
    struct channel *channels[N_CHANNELS];
    struct vgpu_report_page *reports[N_CHANNELS];
    uint64_t grant[N_CHANNELS]; /* as the worker has last seen it */
};

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

static const struct link_hooks no_hooks;

static void open_channel(struct bench *bench, int i)
{
    struct channel *channel;

    bench->reports[i] = pair_open((uint32_t)i + 1, &channel);
    channel->vm = &bench->vm;
    channel->pid = 1000 + i;
    channel->next = bench->vm.channels;
    bench->vm.channels = bench->channels[i] = channel;
    memory_join(channel);
    channel->state = CHANNEL_OPEN;
}

/* The worker is dead. */
static void close_channel(struct bench *bench, int i)
{
    struct channel **at = &bench->vm.channels;

    while (*at != bench->channels[i])
        at = &(*at)->next;
    *at = bench->channels[i]->next;
    bench->channels[i]->state = CHANNEL_ENDED;
    memory_gone(&bench->vm);
    pair_close(bench->channels[i], bench->reports[i]);
    bench->channels[i] = NULL;
    bench->grant[i] = 0;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = VGPU_NS_PER_S;
    bench->loop = loop_new(clock_of, bench, NULL);
    bench->settings.memory =
        (struct memory_settings){.margin_bytes = MIB, .grace_ns = 100 * MS, .check_ns = 1000 * MS};
    bench->mediator = (struct mediator){
        .settings = &bench->settings, .loop = bench->loop, .vms = &bench->vm, .in_charge = true};
    link_init(&bench->mediator.link, bench->loop, "/nonexistent", &no_hooks, &bench->mediator);
    bench->mediator.store.stream.fd = -1; /* nobody is told of faults */
    memory_init(&bench->mediator);
    bench->vm = (struct vm){.mediator = &bench->mediator, .config = {.id = 7}};
    memory_init_vm(&bench->vm);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < N_CHANNELS; i++)
        if (bench->channels[i])
            close_channel(bench, i);
    faults_free(&bench->vm);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    loop_free(bench->loop);
    free(bench);
    return 0;
}

static void set_quota(struct bench *bench, uint64_t bytes, uint64_t process_bytes)
{
    bench->vm.config.memory_bytes = bytes;
    bench->vm.config.process_memory_bytes = process_bytes;
    memory_update(&bench->vm);
}

static void advance(struct bench *bench, uint64_t ns)
{
    bench->now_ns += ns;
    loop_turn(bench->loop, false);
}

/* A worker's round: it sees its grant, and says what it is bound by. */
static void look(struct bench *bench, int i)
{
    const struct vgpu_lease_page *lease = bench->channels[i]->lease;
    struct vgpu_report_page *report = bench->reports[i];

    bench->grant[i] = lease->memory_quota_bytes ? lease->memory_grant_bytes : UINT64_MAX;
    report->memory_bound_bytes =
        bench->grant[i] > report->memory_bytes ? bench->grant[i] : report->memory_bytes;
    report->memory_seen = lease->memory_change;
    memory_reported(bench->channels[i]);
}

/* As far as it knows, which may be as of long ago. */
static bool take(struct bench *bench, int i, uint64_t bytes)
{
    struct vgpu_report_page *report = bench->reports[i];

    if (report->memory_bytes > bench->grant[i] || bytes > bench->grant[i] - report->memory_bytes)
        return false;
    report->memory_bytes += bytes;
    return true;
}

static void ask(struct bench *bench, int i, uint64_t wanted)
{
    bench->reports[i]->memory_wanted_bytes = wanted;
    bench->reports[i]->memory_ask++;
    memory_reported(bench->channels[i]);
}

enum said { WAITS, NO, YES };

static enum said answer_of(const struct bench *bench, int i)
{
    uint64_t answer = bench->channels[i]->lease->memory_answer;

    if (answer >> 1 != bench->reports[i]->memory_ask)
        return WAITS;
    return answer & 1 ? YES : NO;
}

static uint64_t grant_of(const struct bench *bench, int i)
{
    return bench->channels[i]->lease->memory_grant_bytes;
}

/* Asks for that much more, and takes it. */
static enum said get(struct bench *bench, int i, uint64_t bytes)
{
    look(bench, i);
    if (take(bench, i, bytes))
        return YES;
    ask(bench, i, bench->reports[i]->memory_bytes + bytes);
    if (answer_of(bench, i) != YES)
        return answer_of(bench, i);
    look(bench, i);
    assert_true(take(bench, i, bytes));
    return YES;
}

static void test_memory_without_a_quota_nothing_is_limited(void **state)
{
    struct bench *bench = *state;

    open_channel(bench, 0);
    assert_int_equal(bench->channels[0]->lease->memory_quota_bytes, 0);
    assert_int_equal(grant_of(bench, 0), UINT64_MAX);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
}

static void test_memory_quota_at_the_limit(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    assert_int_equal(bench->channels[0]->lease->memory_quota_bytes, 64 * MIB);
    look(bench, 0);
    ask(bench, 0, 64 * MIB + 1);
    assert_int_equal(answer_of(bench, 0), NO);
    ask(bench, 0, 64 * MIB);
    assert_int_equal(answer_of(bench, 0), YES);
    assert_int_equal(grant_of(bench, 0), 64 * MIB);
    ask(bench, 0, 64 * MIB - 1);
    assert_int_equal(answer_of(bench, 0), YES);
}

static void test_memory_process_quota_at_the_limit(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 16 * MIB);
    open_channel(bench, 0);
    open_channel(bench, 1);
    assert_int_equal(bench->channels[0]->lease->memory_quota_bytes, 16 * MIB);
    assert_int_equal(get(bench, 0, 16 * MIB + 1), NO);
    assert_int_equal(get(bench, 0, 16 * MIB), YES);
    assert_int_equal(get(bench, 1, 16 * MIB), YES);
    assert_int_equal(get(bench, 1, 512), NO);
}

/* Alone it needs nobody's word. */
static void test_memory_process_quota_alone_is_granted_whole(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 0, 16 * MIB);
    open_channel(bench, 0);
    assert_int_equal(grant_of(bench, 0), 16 * MIB);
    assert_int_equal(bench->channels[0]->lease->memory_quota_bytes, 16 * MIB);
}

static void test_memory_channels_share_the_quota(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    look(bench, 1);
    assert_int_equal(get(bench, 0, 48 * MIB), YES);
    /* What the other was given and does not hold is taken back, when it has said so. */
    assert_int_equal(get(bench, 1, 16 * MIB), WAITS);
    look(bench, 0);
    advance(bench, 6 * MS);
    look(bench, 0);
    assert_int_equal(answer_of(bench, 1), YES);
    look(bench, 1);
    assert_true(take(bench, 1, 16 * MIB));
    assert_int_equal(get(bench, 0, 512), NO);
}

static void test_memory_a_worker_that_acknowledges_nothing_costs_an_ask(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    look(bench, 0);
    look(bench, 1);
    assert_true(grant_of(bench, 0) > 0);
    ask(bench, 1, 64 * MIB);
    assert_int_equal(answer_of(bench, 1), WAITS);
    for (int i = 0; i < 39; i++)
        advance(bench, 5 * MS);
    assert_int_equal(answer_of(bench, 1), WAITS);
    advance(bench, 5 * MS);
    assert_int_equal(answer_of(bench, 1), NO);
    /* It may take what it had been granted all the while. */
    assert_true(take(bench, 0, bench->grant[0]));
    assert_true(bench->reports[0]->memory_bytes + grant_of(bench, 1) <= 64 * MIB);
}

static void test_memory_of_the_dead_is_there_at_once(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    assert_int_equal(get(bench, 0, 40 * MIB), YES);
    look(bench, 1);
    ask(bench, 1, 60 * MIB);
    assert_int_equal(answer_of(bench, 1), WAITS);
    close_channel(bench, 0);
    assert_int_equal(answer_of(bench, 1), YES);
}

static void test_memory_an_ask_for_the_ceiling_waits_for_nobody(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    assert_int_equal(get(bench, 0, 40 * MIB), YES);
    ask(bench, 1, 0);
    assert_int_equal(answer_of(bench, 1), YES);
    assert_int_equal(bench->channels[1]->lease->memory_ceiling_bytes, 24 * MIB);
}

static void test_memory_what_is_predicted_counts(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    bench->reports[0]->memory_bytes = MIB;
    bench->reports[0]->memory_context_bytes = 2 * MIB;
    bench->reports[0]->memory_module_bytes = 3 * MIB;
    bench->reports[0]->memory_graph_bytes = 4 * MIB;
    ask(bench, 1, 0);
    assert_int_equal(bench->channels[1]->lease->memory_ceiling_bytes, 54 * MIB);
}

/* Live: the page says so when the call returns. */
static void test_memory_quota_that_comes_later_waits_for_the_workers_word(void **state)
{
    struct bench *bench = *state;

    open_channel(bench, 0);
    open_channel(bench, 1);
    look(bench, 0);
    look(bench, 1);
    assert_true(take(bench, 0, 48 * MIB));
    set_quota(bench, 64 * MIB, 0);
    assert_int_equal(bench->channels[0]->lease->memory_quota_bytes, 64 * MIB);
    assert_int_equal(grant_of(bench, 0), 48 * MIB);
    look(bench, 1);
    ask(bench, 1, 16 * MIB);
    assert_int_equal(answer_of(bench, 1), WAITS);
    look(bench, 0);
    assert_int_equal(answer_of(bench, 1), YES);
    set_quota(bench, 0, 0);
    assert_int_equal(bench->channels[0]->lease->memory_quota_bytes, 0);
    look(bench, 0);
    assert_true(take(bench, 0, UINT64_C(1) << 40));
}

static void test_memory_lowered_below_what_is_held_kills_nobody(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    assert_int_equal(get(bench, 0, 48 * MIB), YES);
    set_quota(bench, 32 * MIB, 0);
    look(bench, 0);
    assert_false(take(bench, 0, 512));
    ask(bench, 0, 48 * MIB + 512);
    assert_int_equal(answer_of(bench, 0), NO);
    assert_int_equal(bench->channels[0]->state, CHANNEL_OPEN);
    ask(bench, 0, 0);
    assert_int_equal(bench->channels[0]->lease->memory_ceiling_bytes, 32 * MIB);
    set_quota(bench, 64 * MIB, 0);
    assert_int_equal(get(bench, 0, 16 * MIB), YES);
}

static void test_memory_context_needs_room(void **state)
{
    struct bench *bench = *state;
    struct vgpu_err err;

    bench->settings.memory.context_bytes = 10 * MIB;
    assert_int_equal(memory_admit(&bench->vm, &err), 0);
    set_quota(bench, 10 * MIB - 1, 0);
    assert_int_equal(memory_admit(&bench->vm, &err), -ENOMEM);
    set_quota(bench, 20 * MIB, 0);
    assert_int_equal(memory_admit(&bench->vm, &err), 0);
    open_channel(bench, 0);
    assert_int_equal(bench->channels[0]->lease->memory_context_bytes, 10 * MIB);
    assert_true(grant_of(bench, 0) >= 10 * MIB);
    bench->reports[0]->memory_context_bytes = 10 * MIB;
    assert_int_equal(memory_admit(&bench->vm, &err), 0);
    bench->reports[0]->memory_bytes = 1;
    assert_int_equal(memory_admit(&bench->vm, &err), -ENOMEM);
    bench->reports[0]->memory_bytes = 0;
    set_quota(bench, 0, 10 * MIB - 1);
    assert_int_equal(memory_admit(&bench->vm, &err), -ENOMEM);
}

/* What a mediator before has granted holds. */
static void test_memory_adopted_channels_keep_their_grants(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    assert_int_equal(get(bench, 0, 16 * MIB), YES);
    look(bench, 0);
    /* An ask that the one before has not answered. */
    bench->reports[0]->memory_wanted_bytes = 20 * MIB;
    bench->reports[0]->memory_ask++;
    bench->channels[0]->memory = (struct memory_part){.grant = 0};
    bench->mediator.in_charge = false;
    memory_adopt(bench->channels[0]);
    assert_int_equal(bench->channels[0]->memory.grant, grant_of(bench, 0));
    memory_reported(bench->channels[0]);
    assert_int_equal(answer_of(bench, 0), WAITS); /* others may come that hold the rest */
    bench->mediator.in_charge = true;
    memory_adopted(&bench->mediator);
    assert_int_equal(answer_of(bench, 0), YES);
    open_channel(bench, 1);
    assert_true(grant_of(bench, 0) + grant_of(bench, 1) <= 64 * MIB);
}

/* NVML */

static void nvml_shows(struct bench *bench, int i, uint64_t bytes)
{
    json_t *gpu = json_pack("{s:[{s:i, s:I}, {s:i, s:n}]}", "processes", "pid", 1000 + i,
                            "memory_bytes", (json_int_t)bytes, "pid", 5, "memory_bytes");

    memory_sampled(&bench->mediator, 0, gpu);
    json_decref(gpu);
}

static void test_memory_over_for_the_grace_is_ended(void **state)
{
    struct bench *bench = *state;
    uint64_t most;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    look(bench, 0);
    most = grant_of(bench, 0) + MIB;
    nvml_shows(bench, 0, most);
    advance(bench, 200 * MS);
    nvml_shows(bench, 0, most);
    assert_int_equal(bench->channels[0]->state, CHANNEL_OPEN);
    nvml_shows(bench, 0, most + 1);
    advance(bench, 99 * MS);
    nvml_shows(bench, 0, most + 1);
    assert_int_equal(bench->channels[0]->state, CHANNEL_OPEN);
    nvml_shows(bench, 0, most); /* in time */
    nvml_shows(bench, 0, most + 1);
    advance(bench, 99 * MS);
    nvml_shows(bench, 0, most + 1);
    assert_int_equal(bench->channels[0]->state, CHANNEL_OPEN);
    advance(bench, 1 * MS);
    nvml_shows(bench, 0, most + 1);
    assert_int_equal(bench->channels[0]->state, CHANNEL_KILLING);
    assert_int_equal(bench->channels[0]->end_status, VGPU_KILLED);
    assert_int_equal(faults_counted(&bench->vm), 1);
}

static void test_memory_without_a_quota_nobody_is_ended(void **state)
{
    struct bench *bench = *state;

    open_channel(bench, 0);
    nvml_shows(bench, 0, UINT64_C(1) << 40);
    advance(bench, 1000 * MS);
    nvml_shows(bench, 0, UINT64_C(1) << 40);
    assert_int_equal(bench->channels[0]->state, CHANNEL_OPEN);
}

/* Who held it before stays; who says that it did and did not, does not get it. */
static void test_memory_over_a_lowered_quota_is_what_nvml_has_shown(void **state)
{
    struct bench *bench = *state;

    open_channel(bench, 0);
    open_channel(bench, 1);
    bench->reports[0]->memory_bytes = bench->reports[1]->memory_bytes = 40 * MIB;
    set_quota(bench, 16 * MIB, 0);
    bench->reports[1]->memory_bytes = UINT64_C(1) << 50; /* by its own word */
    look(bench, 0);
    look(bench, 1);
    for (int n = 0; n < 4; n++) {
        uint64_t grows = n == 0 ? 40 * MIB : 80 * MIB;
        json_t *gpu =
            json_pack("{s:[{s:i, s:I}, {s:i, s:I}]}", "processes", "pid", 1000, "memory_bytes",
                      (json_int_t)(40 * MIB), "pid", 1001, "memory_bytes", (json_int_t)grows);

        memory_sampled(&bench->mediator, 0, gpu);
        json_decref(gpu);
        advance(bench, 100 * MS);
    }
    assert_int_equal(bench->channels[0]->state, CHANNEL_OPEN);
    assert_int_equal(bench->channels[1]->state, CHANNEL_KILLING);
}

static void test_memory_sum_explains(void **state)
{
    struct bench *bench = *state;
    struct memory_sum sum;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    bench->reports[0]->memory_bytes = 8 * MIB;
    bench->reports[0]->memory_spare_bytes = 2 * MIB;
    bench->reports[0]->memory_module_bytes = MIB;
    memory_sum(&bench->vm, &sum);
    assert_false(sum.nvml_known);
    nvml_shows(bench, 0, 10 * MIB);
    memory_sum(&bench->vm, &sum);
    assert_true(sum.nvml_known);
    assert_int_equal(sum.quota, 64 * MIB);
    assert_int_equal(sum.held, 8 * MIB);
    assert_int_equal(sum.spare, 2 * MIB);
    assert_int_equal(sum.modules, MIB);
    assert_int_equal(sum.nvml, 10 * MIB);
    assert_int_equal(sum.granted, grant_of(bench, 0));
}

/* Two that race for the last bytes: one gets them, each is answered. */
static void test_memory_race_for_the_last_bytes(void **state)
{
    struct bench *bench = *state;
    int got = 0;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    for (int i = 0; i < 2; i++) {
        look(bench, i);
        ask(bench, i, 40 * MIB);
    }
    for (int n = 0; n < 60; n++) {
        for (int i = 0; i < 2; i++) {
            look(bench, i);
            if (bench->reports[i]->memory_bytes == 0 && answer_of(bench, i) == YES) {
                if (take(bench, i, 40 * MIB))
                    got++;
                else
                    ask(bench, i, 40 * MIB);
            }
        }
        advance(bench, 5 * MS);
    }
    assert_int_equal(got, 1);
    assert_true(answer_of(bench, 0) != WAITS && answer_of(bench, 1) != WAITS);
}

static void test_memory_granted_is_kept_until_the_call_goes_on(void **state)
{
    struct bench *bench = *state;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    look(bench, 0);
    ask(bench, 0, 60 * MIB);
    look(bench, 1);
    assert_int_equal(answer_of(bench, 0), YES);
    ask(bench, 1, 60 * MIB);
    for (int i = 0; i < 10; i++) {
        advance(bench, 2 * MS);
        look(bench, 0);
    }
    assert_int_equal(answer_of(bench, 1), WAITS);
    bench->reports[0]->memory_done = bench->reports[0]->memory_ask; /* and took nothing */
    advance(bench, 2 * MS);
    look(bench, 0);
    assert_int_equal(answer_of(bench, 1), YES);
    /* Who never goes on has it for a while only. */
    look(bench, 1);
    ask(bench, 0, 60 * MIB);
    for (int i = 0; i < 60 && answer_of(bench, 0) == WAITS; i++) {
        advance(bench, 1 * MS);
        look(bench, 1);
    }
    assert_int_equal(answer_of(bench, 0), YES);
}

/* What it acknowledges: as fast as it can, whatever the mediator does meanwhile. */
static void *acknowledge(void *context)
{
    struct bench *bench = context;
    const struct vgpu_lease_page *lease = bench->channels[0]->lease;
    struct vgpu_report_page *report = bench->reports[0];

    while (page_load_u64(&report->memory_bytes) == 0) {
        uint64_t change = page_load_u64(&lease->memory_change);

        page_store_u64(&report->memory_bound_bytes, page_load_u64(&lease->memory_grant_bytes));
        page_store_u64(&report->memory_seen, change);
    }
    return NULL;
}

/* An acknowledgement that comes while the mediator still looks at others is not overlooked. */
static void test_memory_acknowledged_meanwhile_is_not_refused(void **state)
{
    struct bench *bench = *state;
    pthread_t thread;

    set_quota(bench, 64 * MIB, 0);
    open_channel(bench, 0);
    open_channel(bench, 1);
    assert_int_equal(pthread_create(&thread, NULL, acknowledge, bench), 0);
    for (int n = 0; n < 20000; n++) {
        look(bench, 1);
        ask(bench, 0, 60 * MIB); /* it holds nothing of it */
        bench->channels[0]->memory.kept_ns = 0;
        ask(bench, 1, 60 * MIB);
        for (int i = 0; i < 1000 && answer_of(bench, 1) == WAITS; i++)
            memory_reported(bench->channels[1]);
        assert_int_not_equal(answer_of(bench, 1), NO);
        bench->channels[1]->memory.kept_ns = 0;
        bench->now_ns += 1000 * MS;
        look(bench, 1);
    }
    page_store_u64(&bench->reports[0]->memory_bytes, 1);
    pthread_join(thread, NULL);
}

/*
 * Workers that see their grants late, in any order: what they could hold, as far as each knows, is
 * never more than the quota; every ask is answered; in the end all of it can be had.
 */
static void test_memory_never_more_than_the_quota(void **state)
{
    struct bench *bench = *state;
    unsigned random = 7;

    set_quota(bench, 64 * MIB, 0);
    for (int i = 0; i < N_CHANNELS; i++)
        open_channel(bench, i);
    for (int n = 0; n < 200000; n++) {
        int i = (int)((random = random * 1103515245u + 12345u) >> 8) % N_CHANNELS;
        uint64_t bytes = ((random >> 12) % 2048) * 32 * 1024, sum = 0;
        struct vgpu_report_page *report = bench->reports[i];

        switch ((random >> 24) % 8) {
        case 0:
            look(bench, i);
            break;
        case 1: /* sees it, and says so later */
            bench->grant[i] = grant_of(bench, i);
            break;
        case 2:
        case 3:
            take(bench, i, bytes / 4);
            break;
        case 4:
            report->memory_bytes -= bytes < report->memory_bytes ? bytes : report->memory_bytes;
            break;
        case 5:
            if (answer_of(bench, i) != WAITS || report->memory_ask == 0)
                ask(bench, i, report->memory_bytes + bytes);
            break;
        case 6:
            advance(bench, (random >> 16) % 8 * MS);
            break;
        default:
            if (random % 64 == 0) {
                close_channel(bench, i);
                open_channel(bench, i);
            }
        }
        for (int k = 0; k < N_CHANNELS; k++) {
            uint64_t held = bench->reports[k]->memory_bytes;

            sum += bench->grant[k] > held ? bench->grant[k] : held;
        }
        if (sum > 64 * MIB)
            fail_msg("step %d: %llu", n, (unsigned long long)sum);
    }
    for (int i = 0; i < N_CHANNELS; i++) {
        bench->reports[i]->memory_bytes = 0;
        look(bench, i);
    }
    ask(bench, 2, 64 * MIB);
    for (int n = 0; n < 50 && answer_of(bench, 2) == WAITS; n++) {
        for (int i = 0; i < N_CHANNELS; i++)
            look(bench, i);
        advance(bench, 5 * MS);
    }
    assert_int_equal(answer_of(bench, 2), YES);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_memory_without_a_quota_nothing_is_limited),
        CASE(test_memory_quota_at_the_limit),
        CASE(test_memory_process_quota_at_the_limit),
        CASE(test_memory_process_quota_alone_is_granted_whole),
        CASE(test_memory_channels_share_the_quota),
        CASE(test_memory_a_worker_that_acknowledges_nothing_costs_an_ask),
        CASE(test_memory_of_the_dead_is_there_at_once),
        CASE(test_memory_an_ask_for_the_ceiling_waits_for_nobody),
        CASE(test_memory_what_is_predicted_counts),
        CASE(test_memory_quota_that_comes_later_waits_for_the_workers_word),
        CASE(test_memory_lowered_below_what_is_held_kills_nobody),
        CASE(test_memory_context_needs_room),
        CASE(test_memory_adopted_channels_keep_their_grants),
        CASE(test_memory_over_for_the_grace_is_ended),
        CASE(test_memory_without_a_quota_nobody_is_ended),
        CASE(test_memory_over_a_lowered_quota_is_what_nvml_has_shown),
        CASE(test_memory_sum_explains),
        CASE(test_memory_race_for_the_last_bytes),
        CASE(test_memory_granted_is_kept_until_the_call_goes_on),
        CASE(test_memory_acknowledged_meanwhile_is_not_refused),
        CASE(test_memory_never_more_than_the_quota),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
