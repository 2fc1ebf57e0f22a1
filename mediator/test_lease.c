/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease.c in virtual time: the test plays the workers on the report pages of real channels, and
 * reads their lease pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "mediator/lease.h"
#include "mediator/test_channel_pair.h"

#define MS         VGPU_NS_PER_MS
#define N_CHANNELS 4

struct bench {
    uint64_t now_ns;
    struct loop *loop;
    struct lease_settings settings;
    struct gpu *gpu;
    struct accounts accounts;
    struct channel *channels[N_CHANNELS];
    struct vgpu_report_page *reports[N_CHANNELS];
    struct channel *killed;
    enum vgpu_status killed_status;
    enum fault_kind killed_kind;
};

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

static void note_kill(void *context, struct channel *channel, enum fault_kind kind,
                      enum vgpu_status status, const char *text)
{
    struct bench *bench = context;

    bench->killed = channel;
    bench->killed_status = status;
    bench->killed_kind = kind;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = VGPU_NS_PER_S;
    bench->loop = loop_new(clock_of, bench, NULL);
    bench->settings = (struct lease_settings){.job_timeout_ns = 30 * VGPU_NS_PER_S,
                                              .drain_ns = 2 * VGPU_NS_PER_S,
                                              .overrun_ns = 2 * VGPU_NS_PER_S,
                                              .kill = note_kill,
                                              .context = bench};
    bench->gpu = gpu_new(bench->loop, &bench->settings, 0, NULL);
    for (uint32_t i = 0; i < N_CHANNELS; i++)
        bench->reports[i] = pair_open(i + 1, &bench->channels[i]);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    gpu_free(bench->gpu);
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    for (int i = 0; i < N_CHANNELS; i++)
        pair_close(bench->channels[i], bench->reports[i]);
    loop_free(bench->loop);
    free(bench);
    return 0;
}

static struct seat *seat_of_vm(struct bench *bench, uint32_t vm_id)
{
    const struct config_vm vm = {
        .id = vm_id, .priority = 1, .weight_hundredths = 5000, .pool = "A"};

    return gpu_seat(bench->gpu, &vm, &bench->accounts);
}

/* Channel i on the seat of a VM. */
static void seat_at(struct bench *bench, int i, uint32_t vm_id)
{
    struct seat *seat = seat_of_vm(bench, vm_id);

    assert_non_null(seat);
    lease_channel_add(seat, bench->channels[i]);
}

static void needs(struct bench *bench, int i, bool need)
{
    bench->reports[i]->need = need;
    lease_channel_reported(bench->channels[i]);
}

static bool granted(const struct bench *bench, int i)
{
    return bench->channels[i]->lease->turn & VGPU_TURN_GRANTED;
}

static bool contended(const struct bench *bench, int i)
{
    return bench->channels[i]->lease->contended;
}

/* The worker carries out what its lease page says. */
static void drains(struct bench *bench, int i)
{
    bench->reports[i]->turn_done = bench->channels[i]->lease->turn;
    lease_channel_reported(bench->channels[i]);
}

static void pass(struct bench *bench, uint64_t ns)
{
    uint64_t end = bench->now_ns + ns;

    while (loop_next_due(bench->loop) <= end) {
        if (bench->now_ns < loop_next_due(bench->loop))
            bench->now_ns = loop_next_due(bench->loop);
        loop_turn(bench->loop, false);
    }
    bench->now_ns = end;
}

static void test_lease_is_granted_at_once(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    assert_false(granted(bench, 0));
    needs(bench, 0, true);
    assert_true(granted(bench, 0));
    assert_false(contended(bench, 0));
}

static void test_lease_stays_with_lone_vm(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    needs(bench, 0, true);
    for (int i = 0; i < 100; i++) {
        bench->reports[0]->jobs_taken++; /* it works */
        pass(bench, VGPU_NS_PER_S);
    }
    assert_true(granted(bench, 0));
    assert_null(bench->killed);
}

static void test_lease_idle_turn_is_taken_back(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    needs(bench, 0, true);
    needs(bench, 0, false);
    pass(bench, 61 * VGPU_NS_PER_S);
    assert_false(granted(bench, 0));
    drains(bench, 0);
    /* Nothing is set any more: an idle system does not wake up. */
    assert_int_equal(loop_next_due(bench->loop), UINT64_MAX);
    needs(bench, 0, true);
    assert_true(granted(bench, 0));
}

static void test_lease_is_taken_turns_at(void **state)
{
    struct bench *bench = *state;
    int turns[2] = {0, 0};

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    assert_true(granted(bench, 0) && contended(bench, 0));
    assert_false(granted(bench, 1));
    for (int i = 0; i < 400; i++) {
        pass(bench, MS);
        for (int c = 0; c < 2; c++) {
            struct channel *channel = bench->channels[c];

            if (!granted(bench, c) && channel->revoked) {
                drains(bench, c);
                turns[c]++;
            }
        }
        assert_true(granted(bench, 0) != granted(bench, 1));
    }
    assert_in_range(turns[0], 15, 25); /* 400 ms of slices of 10 ms */
    assert_in_range(turns[1], 15, 25);
}

static void test_lease_moves_when_holder_was_idle_unseen(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    bench->reports[0]->need = VGPU_NEED_NOTHING; /* alone, it does not kick */
    needs(bench, 1, true);
    assert_false(granted(bench, 0)); /* no slice is waited for */
    drains(bench, 0);
    assert_true(granted(bench, 1));
    assert_false(contended(bench, 1));
}

static void test_lease_charges_idle_lone_vm_little(void **state)
{
    struct bench *bench = *state;
    struct sched_vm_stats stats;
    struct seat *seat;

    seat_at(bench, 0, 1);
    seat = gpu_find_seat(bench->gpu, 1);
    needs(bench, 0, true);
    pass(bench, VGPU_NS_PER_S);
    bench->reports[0]->busy_ns = 5 * MS;
    seat_charge(seat);
    sched_vm_stats(bench->gpu->sched, seat->handle, bench->now_ns, &stats);
    assert_int_equal(stats.charged_ns, 5 * MS);
}

static void test_lease_does_not_believe_busy_time_when_contended(void **state)
{
    struct bench *bench = *state;
    struct sched_vm_stats stats;
    struct seat *seat;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    bench->reports[0]->busy_ns = 0; /* it claims to have done nothing */
    pass(bench, 4 * MS);
    seat = gpu_find_seat(bench->gpu, 1);
    seat_charge(seat);
    sched_vm_stats(bench->gpu->sched, seat->handle, bench->now_ns, &stats);
    assert_in_range(stats.charged_ns, 4 * MS, 5 * MS);
}

static void test_lease_channels_rotate(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < 3; i++) {
        seat_at(bench, i, 1);
        needs(bench, i, true);
    }
    for (int round = 0; round < 9; round++) {
        int holder = round % 3;

        assert_true(granted(bench, holder) && contended(bench, holder));
        pass(bench, 11 * MS);
        assert_false(granted(bench, holder));
        drains(bench, holder);
    }
}

static void test_lease_idle_channel_passes_the_turn(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 1);
    needs(bench, 0, true);
    needs(bench, 1, true);
    needs(bench, 0, false);
    assert_false(granted(bench, 0));
    drains(bench, 0);
    assert_true(granted(bench, 1));
}

static void test_lease_undrained_turn_kills(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    pass(bench, 500 * MS);
    assert_true(granted(bench, 1)); /* beside the overrunner */
    assert_null(bench->killed);
    pass(bench, 2 * VGPU_NS_PER_S);
    assert_ptr_equal(bench->killed, bench->channels[0]);
    assert_int_equal(bench->killed_status, VGPU_KILLED);
    lease_channel_gone(bench->channels[0]);
}

static void test_lease_long_job_may_drain(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    bench->reports[0]->oldest_issued_ns = bench->now_ns;
    needs(bench, 1, true);
    pass(bench, 20 * VGPU_NS_PER_S);
    assert_null(bench->killed);
    drains(bench, 0);
    /* Beside another VM it had half of the GPU; alone it would have had its 30 s. */
    bench->reports[1]->need = VGPU_NEED_GPU;
    assert_null(bench->killed);
}

static void test_lease_hostile_clock_does_not_save_a_job(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    for (int i = 0; i < 7000 && !bench->killed; i++) {
        bench->reports[0]->oldest_issued_ns = bench->now_ns; /* always a new job */
        pass(bench, 10 * MS);
    }
    assert_ptr_equal(bench->killed, bench->channels[0]);
    lease_channel_gone(bench->channels[0]);
}

static void test_lease_job_times_out_alone(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    needs(bench, 0, true);
    pass(bench, 3 * VGPU_NS_PER_S);
    bench->reports[0]->oldest_issued_ns = bench->now_ns;
    pass(bench, 29 * VGPU_NS_PER_S);
    assert_null(bench->killed);
    pass(bench, 2 * VGPU_NS_PER_S);
    assert_ptr_equal(bench->killed, bench->channels[0]);
    assert_int_equal(bench->killed_status, VGPU_TIMEOUT);
    lease_channel_gone(bench->channels[0]);
}

static void test_lease_dead_worker_frees_the_gpu(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    lease_channel_gone(bench->channels[0]);
    assert_true(granted(bench, 1));
}

static void test_lease_dead_worker_passes_to_neighbour(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 1);
    needs(bench, 0, true);
    needs(bench, 1, true);
    lease_channel_gone(bench->channels[0]);
    assert_true(granted(bench, 1));
}

static void test_lease_holder_is_adopted(void **state)
{
    struct bench *bench = *state;
    struct seat *seat;

    /* As a mediator left them that was killed: 0 has the turn, 1 waits. */
    channel_set_turn(bench->channels[0], true);
    bench->reports[0]->turn_done = bench->channels[0]->turn;
    bench->reports[0]->need = bench->reports[1]->need = VGPU_NEED_GPU;
    gpu_pause(bench->gpu, true);
    seat = seat_of_vm(bench, 2);
    lease_channel_adopt(seat, bench->channels[1]);
    assert_false(granted(bench, 1));
    seat = seat_of_vm(bench, 1);
    lease_channel_adopt(seat, bench->channels[0]);
    gpu_pause(bench->gpu, false);
    assert_true(granted(bench, 0) && contended(bench, 0));
    assert_false(granted(bench, 1));
    pass(bench, 15 * MS);
    drains(bench, 0);
    assert_true(granted(bench, 1));
}

static void test_lease_draining_worker_is_adopted(void **state)
{
    struct bench *bench = *state;
    struct seat *seat;

    channel_set_turn(bench->channels[0], true);
    channel_set_turn(bench->channels[0], false); /* and not carried out yet */
    bench->reports[0]->need = bench->reports[1]->need = VGPU_NEED_GPU;
    gpu_pause(bench->gpu, true);
    seat = seat_of_vm(bench, 1);
    lease_channel_adopt(seat, bench->channels[0]);
    seat = seat_of_vm(bench, 2);
    lease_channel_adopt(seat, bench->channels[1]);
    gpu_pause(bench->gpu, false);
    assert_true(granted(bench, 1));
    drains(bench, 0);
    pass(bench, 15 * MS);
    drains(bench, 1);
    assert_true(granted(bench, 0));
}

static void test_lease_is_called_back_and_given_again(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    assert_true(granted(bench, 0));
    gpu_pause(bench->gpu, true);
    assert_true(granted(bench, 0)); /* a pause alone takes nothing away */
    gpu_call_back(bench->gpu);
    gpu_call_back(bench->gpu);
    assert_false(granted(bench, 0));
    drains(bench, 0);
    pass(bench, 100 * MS);
    assert_false(granted(bench, 0) || granted(bench, 1));
    assert_null(bench->killed);
    assert_int_equal(gpu_holder_vm(bench->gpu), 0);
    gpu_pause(bench->gpu, false);
    assert_true(granted(bench, 0) != granted(bench, 1));
}

static void test_lease_of_a_lone_idle_vm_is_called_back(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    needs(bench, 0, true);
    needs(bench, 0, false);
    gpu_pause(bench->gpu, true);
    gpu_call_back(bench->gpu);
    assert_false(granted(bench, 0));
    drains(bench, 0);
    needs(bench, 0, true);
    pass(bench, 100 * MS);
    assert_false(granted(bench, 0));
    gpu_pause(bench->gpu, false);
    assert_true(granted(bench, 0));
}

static void test_lease_that_is_called_back_and_kept_ends_in_a_kill(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    needs(bench, 0, true);
    gpu_pause(bench->gpu, true);
    gpu_call_back(bench->gpu);
    pass(bench, bench->settings.drain_ns);
    assert_ptr_equal(bench->killed, bench->channels[0]);
    assert_int_equal(bench->killed_kind, FAULT_KEPT);
}

/* Charged so far, by the mediator's clock. */
static uint64_t charged(const struct bench *bench, uint32_t vm_id)
{
    struct seat *seat = gpu_find_seat(bench->gpu, vm_id);
    struct sched_vm_stats stats;

    seat_charge(seat);
    assert_int_equal(sched_vm_stats(bench->gpu->sched, seat->handle, bench->now_ns, &stats), 0);
    return stats.charged_ns;
}

/* How long channel i waits, from now on, until it has the turn. */
static uint64_t wait_for_turn(struct bench *bench, int i, uint64_t most_ns)
{
    uint64_t start = bench->now_ns;

    while (!granted(bench, i) && bench->now_ns - start < most_ns)
        pass(bench, MS / 10);
    assert_true(granted(bench, i));
    return bench->now_ns - start;
}

/* Its kernel never ends; its worker says so, and drains never. */
static void hangs(struct bench *bench, int i)
{
    bench->reports[i]->jobs_taken++;
    bench->reports[i]->oldest_issued_ns = bench->now_ns;
    needs(bench, i, true);
}

static void test_lease_endless_kernel_stalls_who_waits_20_ms_at_most(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    hangs(bench, 0);
    pass(bench, 100 * MS); /* alone, it has run for longer than a slice */
    needs(bench, 1, true);
    assert_true(wait_for_turn(bench, 1, 100 * MS) <= 4 * MS);
    assert_false(granted(bench, 0));
    assert_null(bench->killed);
}

static void test_lease_kernel_that_begins_in_its_turn_stalls_20_ms_at_most(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    hangs(bench, 0);
    assert_true(wait_for_turn(bench, 1, 100 * MS) <= 20 * MS);
    assert_null(bench->killed);
}

/* What is in flight at a revoke drains within the grace. */
static void test_lease_in_flight_follows_the_grace(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    needs(bench, 0, true);
    assert_int_equal(bench->channels[0]->lease->inflight_max_ns, 2500 * VGPU_NS_PER_US);
}

/* The first VM's work is in flight, the second waits, and the first was told to give way. */
static void revoked_for_another(struct bench *bench)
{
    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    hangs(bench, 0);
    needs(bench, 1, true);
    while (!bench->channels[0]->revoked)
        pass(bench, MS / 10);
}

static void is_ending(struct bench *bench, int i)
{
    bench->reports[i]->turn_ending = bench->channels[i]->lease->turn;
    lease_channel_reported(bench->channels[i]);
}

static void test_lease_next_begins_when_the_drain_is_nearly_over(void **state)
{
    struct bench *bench = *state;

    revoked_for_another(bench);
    assert_false(granted(bench, 1));
    is_ending(bench, 0);
    assert_true(granted(bench, 1));
    is_ending(bench, 0); /* once more says nothing new */
    assert_true(granted(bench, 1));
    drains(bench, 0);
    assert_true(granted(bench, 1));
    assert_null(bench->killed);
}

/* An old word, or one of a worker that was not told to stop. */
static void test_lease_ending_of_another_turn_is_nothing(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    hangs(bench, 0);
    needs(bench, 1, true);
    is_ending(bench, 0);
    assert_true(granted(bench, 0));
    while (!bench->channels[0]->revoked)
        pass(bench, MS / 10);
    lease_channel_reported(bench->channels[0]);
    assert_false(granted(bench, 1));
}

/* Who says so and goes on is the one overrunner of its GPU, and pays as one. */
static void test_lease_ending_that_does_not_end_pays(void **state)
{
    struct bench *bench = *state;
    uint64_t before;

    revoked_for_another(bench);
    is_ending(bench, 0);
    before = charged(bench, 1);
    bench->reports[0]->busy_ns = 0;
    pass(bench, 1000 * MS);
    assert_in_range(charged(bench, 1) - before, 480 * MS, 520 * MS);
}

/* The neighbour comes back again and again beside it, and waits for nobody. */
static void test_lease_neighbour_of_an_overrunner_is_not_stalled_again(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    hangs(bench, 0);
    needs(bench, 1, true);
    wait_for_turn(bench, 1, 100 * MS);
    for (int round = 0; round < 50; round++) {
        needs(bench, 1, false);
        if (bench->channels[1]->revoked)
            drains(bench, 1);
        pass(bench, 20 * MS);
        needs(bench, 1, true);
        assert_true(wait_for_turn(bench, 1, 100 * MS) <= MS);
    }
    assert_null(bench->killed);
}

/* A second one is ended after its grace of own GPU time, long before the job timeout. */
static void test_lease_second_overrunner_is_ended(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    seat_at(bench, 2, 3);
    hangs(bench, 0);
    hangs(bench, 1);
    needs(bench, 2, true);
    wait_for_turn(bench, 1, 100 * MS);
    pass(bench, 3800 * MS); /* half of it is its own */
    assert_null(bench->killed);
    pass(bench, 400 * MS);
    assert_ptr_equal(bench->killed, bench->channels[1]);
    assert_int_equal(bench->killed_kind, FAULT_OVERRUN);
    lease_channel_gone(bench->channels[1]);
    assert_true(granted(bench, 2));
    /* And the first one at its timeout: 30 s of its own. */
    bench->killed = NULL;
    pass(bench, 50 * VGPU_NS_PER_S);
    assert_null(bench->killed);
    for (int i = 0; i < 130 && !bench->killed; i++)
        pass(bench, 100 * MS);
    assert_ptr_equal(bench->killed, bench->channels[0]);
    assert_int_equal(bench->killed_kind, FAULT_TIMEOUT);
    lease_channel_gone(bench->channels[0]);
}

/* Who is to be killed may say what it likes: it holds up the turn no longer than that takes. */
static void test_lease_ending_of_one_to_be_killed_is_nothing(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < 3; i++)
        seat_at(bench, i, (uint32_t)i + 1);
    hangs(bench, 0);
    hangs(bench, 1);
    needs(bench, 2, true);
    while (!bench->killed)
        pass(bench, 10 * MS);
    assert_ptr_equal(bench->killed, bench->channels[1]);
    is_ending(bench, 1);
    pass(bench, 30 * MS);
    assert_true(granted(bench, 2));
}

static void test_lease_overrunner_pays_for_all_it_held(void **state)
{
    struct bench *bench = *state;
    uint64_t before;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    hangs(bench, 0);
    before = charged(bench, 1);
    wait_for_turn(bench, 1, 100 * MS);
    assert_in_range(charged(bench, 1) - before, 5 * MS, 14 * MS); /* its slice and the grace */
    before = charged(bench, 1);
    bench->reports[0]->busy_ns = 0; /* whatever it says */
    pass(bench, 1000 * MS);
    /* Beside the other it has half of the GPU, and pays for that. */
    assert_in_range(charged(bench, 1) - before, 480 * MS, 520 * MS);
    drains(bench, 0);
}

static void test_lease_idle_holder_loses_it_at_once(void **state)
{
    struct bench *bench = *state;
    uint64_t before;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    needs(bench, 1, true);
    pass(bench, 2 * MS);
    before = charged(bench, 1);
    needs(bench, 0, false);
    assert_false(granted(bench, 0));
    pass(bench, MS); /* nothing is in flight: what it takes to say so is not charged */
    drains(bench, 0);
    assert_true(granted(bench, 1));
    assert_in_range(charged(bench, 1) - before, 0, MS / 10);
}

/* Neither credit for having slept nor debt for having had the GPU alone. */
static void test_lease_sleeper_has_neither_credit_nor_debt(void **state)
{
    struct bench *bench = *state;
    uint64_t had[2], part;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    needs(bench, 0, true);
    for (int i = 0; i < 100; i++) { /* alone, and always busy */
        bench->reports[0]->busy_ns += 100 * MS;
        bench->reports[0]->jobs_taken++;
        pass(bench, 100 * MS);
    }
    needs(bench, 1, true);
    had[0] = charged(bench, 1);
    had[1] = charged(bench, 2);
    for (int i = 0; i < 1000; i++) {
        pass(bench, MS);
        for (int c = 0; c < 2; c++)
            if (!granted(bench, c) && bench->channels[c]->revoked)
                drains(bench, c);
    }
    had[0] = charged(bench, 1) - had[0];
    had[1] = charged(bench, 2) - had[1];
    part = had[1] * 100 / (had[0] + had[1]);
    assert_in_range(part, 47, 53);
}

static void test_lease_job_timeout_is_found_within_100_ms(void **state)
{
    struct bench *bench = *state;
    uint64_t start;

    seat_at(bench, 0, 1);
    seat_set_timeout(gpu_find_seat(bench->gpu, 1), 500 * MS);
    needs(bench, 0, true);
    pass(bench, 333 * MS); /* the watchdog was set before the job began */
    hangs(bench, 0);
    start = bench->now_ns;
    pass(bench, 499 * MS);
    assert_null(bench->killed);
    while (!bench->killed && bench->now_ns - start < VGPU_NS_PER_S)
        pass(bench, MS);
    assert_true(bench->now_ns - start <= 600 * MS);
    assert_int_equal(bench->killed_status, VGPU_TIMEOUT);
    assert_int_equal(bench->killed_kind, FAULT_TIMEOUT);
    lease_channel_gone(bench->channels[0]);
}

static void test_lease_job_timeout_changes_live(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    hangs(bench, 0);
    pass(bench, 10 * VGPU_NS_PER_S);
    seat_set_timeout(gpu_find_seat(bench->gpu, 1), 20 * VGPU_NS_PER_S);
    pass(bench, 5 * VGPU_NS_PER_S);
    assert_null(bench->killed);
    seat_set_timeout(gpu_find_seat(bench->gpu, 1), 5 * VGPU_NS_PER_S);
    pass(bench, 10 * MS);
    assert_ptr_equal(bench->killed, bench->channels[0]);
    lease_channel_gone(bench->channels[0]);
}

/* A job ends just before it is looked at: its worker has the time to say so. */
static void test_lease_job_that_has_just_ended_is_no_kept_turn(void **state)
{
    struct bench *bench = *state;

    seat_at(bench, 0, 1);
    seat_at(bench, 1, 2);
    hangs(bench, 0);
    pass(bench, 20 * MS);
    needs(bench, 1, true);
    pass(bench, 2 * VGPU_NS_PER_S - MS);
    bench->reports[0]->oldest_issued_ns = 0;
    pass(bench, VGPU_NS_PER_S);
    assert_null(bench->killed);
    pass(bench, 1100 * MS); /* but not for ever */
    assert_ptr_equal(bench->killed, bench->channels[0]);
    assert_int_equal(bench->killed_kind, FAULT_KEPT);
    lease_channel_gone(bench->channels[0]);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_lease_is_granted_at_once),
        CASE(test_lease_stays_with_lone_vm),
        CASE(test_lease_idle_turn_is_taken_back),
        CASE(test_lease_is_taken_turns_at),
        CASE(test_lease_moves_when_holder_was_idle_unseen),
        CASE(test_lease_charges_idle_lone_vm_little),
        CASE(test_lease_does_not_believe_busy_time_when_contended),
        CASE(test_lease_channels_rotate),
        CASE(test_lease_idle_channel_passes_the_turn),
        CASE(test_lease_undrained_turn_kills),
        CASE(test_lease_long_job_may_drain),
        CASE(test_lease_hostile_clock_does_not_save_a_job),
        CASE(test_lease_job_times_out_alone),
        CASE(test_lease_dead_worker_frees_the_gpu),
        CASE(test_lease_dead_worker_passes_to_neighbour),
        CASE(test_lease_holder_is_adopted),
        CASE(test_lease_draining_worker_is_adopted),
        CASE(test_lease_is_called_back_and_given_again),
        CASE(test_lease_of_a_lone_idle_vm_is_called_back),
        CASE(test_lease_that_is_called_back_and_kept_ends_in_a_kill),
        CASE(test_lease_endless_kernel_stalls_who_waits_20_ms_at_most),
        CASE(test_lease_kernel_that_begins_in_its_turn_stalls_20_ms_at_most),
        CASE(test_lease_in_flight_follows_the_grace),
        CASE(test_lease_next_begins_when_the_drain_is_nearly_over),
        CASE(test_lease_ending_of_another_turn_is_nothing),
        CASE(test_lease_ending_that_does_not_end_pays),
        CASE(test_lease_neighbour_of_an_overrunner_is_not_stalled_again),
        CASE(test_lease_second_overrunner_is_ended),
        CASE(test_lease_ending_of_one_to_be_killed_is_nothing),
        CASE(test_lease_overrunner_pays_for_all_it_held),
        CASE(test_lease_idle_holder_loses_it_at_once),
        CASE(test_lease_sleeper_has_neither_credit_nor_debt),
        CASE(test_lease_job_timeout_is_found_within_100_ms),
        CASE(test_lease_job_timeout_changes_live),
        CASE(test_lease_job_that_has_just_ended_is_no_kept_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
