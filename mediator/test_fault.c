/* SPDX-License-Identifier: Apache-2.0 */
/* Faults by themselves, in virtual time, while the store's helper is down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <vgpu/launch.h>

#include "common/clock.h"
#include "mediator/doubt.h"
#include "mediator/hash.h"
#include "mediator/mediator.h"

struct bench {
    uint64_t now_ns;
    struct mediator mediator;
    struct vm vm;
    int page;
};

static uint64_t clock_of(void *context)
{
    return ((struct bench *)context)->now_ns;
}

/* A mediator with a VM, and the page that the launcher holds. */
static void begin(struct bench *bench)
{
    memset(&bench->mediator, 0, sizeof(bench->mediator));
    bench->mediator.loop = loop_new(clock_of, bench, NULL);
    bench->mediator.store.stream.fd = -1;
    assert_int_equal(events_init(&bench->mediator.events, bench->mediator.loop), 0);
    assert_int_equal(accounts_init(&bench->mediator.accounts, bench->page, NULL), 0);
    bench->vm = (struct vm){.mediator = &bench->mediator,
                            .config = {.id = 7, .pool = "A", .fault_threshold = 1000}};
}

static void end(struct bench *bench)
{
    faults_free(&bench->vm);
    assert_int_equal(loop_next_due(bench->mediator.loop), UINT64_MAX);
    events_release(&bench->mediator.events);
    accounts_release(&bench->mediator.accounts);
    loop_free(bench->mediator.loop);
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->now_ns = VGPU_NS_PER_S;
    bench->page = memfd_create("accounts", MFD_CLOEXEC);
    assert_int_equal(ftruncate(bench->page, VGPU_ACCOUNTS_BYTES), 0);
    begin(bench);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    end(bench);
    close(bench->page);
    free(bench);
    return 0;
}

static struct accounts_record record_of(struct bench *bench)
{
    struct accounts_record record;

    accounts_load(accounts_slot(&bench->mediator.accounts, 7, ACCOUNTS_OF_VM), &record);
    return record;
}

/* The second one came while the first was waiting to be told again. */
static void test_fault_while_another_waits_keeps_its_timer(void **state)
{
    struct bench *bench = *state;

    fault_note(&bench->vm, FAULT_GPU, "one");
    assert_int_not_equal(loop_next_due(bench->mediator.loop), UINT64_MAX);
    fault_note(&bench->vm, FAULT_GPU, "two");
    faults_free(&bench->vm);
    assert_int_equal(loop_next_due(bench->mediator.loop), UINT64_MAX);
}

static void test_fault_serials_go_on_after_a_restart(void **state)
{
    struct bench *bench = *state;
    uint64_t id = bench->mediator.accounts.page->id;

    assert_int_not_equal(id, 0);
    fault_note(&bench->vm, FAULT_GPU, "one");
    fault_note(&bench->vm, FAULT_TIMEOUT, "two");
    assert_int_equal(record_of(bench).fault_serial, 2);
    end(bench);
    begin(bench);
    assert_int_equal(bench->mediator.accounts.page->id, id);
    faults_recover(&bench->vm);
    assert_int_equal(faults_counted(&bench->vm), 2);
    assert_int_equal(record_of(bench).fault_serial, 2); /* the same two */
    fault_note(&bench->vm, FAULT_GPU, "three");
    assert_int_equal(record_of(bench).fault_serial, 3);
}

/* With nothing to be told again the number must not begin anew either. */
static void test_fault_serials_go_on_when_all_is_stored(void **state)
{
    struct bench *bench = *state;
    struct accounts_slot *slot = accounts_slot(&bench->mediator.accounts, 7, ACCOUNTS_OF_VM);
    struct accounts_record record = {.fault_serial = 41};

    accounts_save(slot, &record);
    faults_recover(&bench->vm);
    assert_int_equal(faults_counted(&bench->vm), 0);
    fault_note(&bench->vm, FAULT_GPU, "next");
    assert_int_equal(record_of(bench).fault_serial, 42);
}

#define DOUBTS 8

static int stop(struct bench *bench)
{
    struct helper *nvml = &bench->mediator.nvml;

    doubt_release(&bench->mediator);
    HASH_CLEAR(hh, bench->mediator.vms_by_id);
    helper_stop(nvml);
    return waitpid(nvml->pid, NULL, 0) == nvml->pid ? 0 : -1;
}

/* An NVML helper that answers each request with itself: nothing is wrong with the GPU. */
static void test_fault_doubts_share_a_sample(void **state)
{
    struct bench *bench = *state;
    struct mediator *mediator = &bench->mediator;
    uint64_t asked;

    HASH_ADD(hh, mediator->vms_by_id, config.id, sizeof(bench->vm.config.id), &bench->vm);
    mediator->has_nvml = true;
    mediator->nvml = (struct helper){.name = "cat", .argv = {"/bin/cat"}, .stream.fd = -1};
    assert_int_equal(helper_start(&mediator->nvml, mediator->loop, NULL), 0);
    asked = mediator->nvml.next_id;
    for (int i = 0; i < DOUBTS; i++)
        doubt_note(&bench->vm, 0, FAULT_GPU, "a kernel failed");
    assert_int_equal(mediator->nvml.n_pending, 1);
    assert_int_equal(faults_counted(&bench->vm), 0);
    while (faults_counted(&bench->vm) < DOUBTS)
        assert_true(loop_turn(mediator->loop, true) >= 0);
    /* The first's, which may have been begun before the others came about, and one for those. */
    assert_int_equal(mediator->nvml.next_id - asked, 2);
    assert_null(mediator->doubts);
    assert_int_equal(stop(bench), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_while_another_waits_keeps_its_timer),
        TEST(test_fault_serials_go_on_after_a_restart),
        TEST(test_fault_serials_go_on_when_all_is_stored),
        TEST(test_fault_doubts_share_a_sample),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
