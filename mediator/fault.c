/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "mediator/mediator.h"
#include "store/store.h"

/* Faults that the store has not answered yet. More are counted, but not written. */
#define UNSTORED_MAX 16
#define RETRY_NS     VGPU_NS_PER_S

struct fault {
    enum fault_kind kind;
    bool quarantine;
    int64_t time_s; /* since 1970 */
    uint64_t serial;
    char text[STORE_REASON_BYTES];
};

struct faults {
    struct vm *vm;
    /* Seconds of the loop's clock, oldest first; may be before its beginning. */
    int64_t times[STORE_FAULT_THRESHOLD_MAX];
    unsigned n_times;
    struct fault unstored[UNSTORED_MAX];
    unsigned n_unstored;
    bool asked;      /* the store was asked for the first of them */
    uint64_t serial; /* of the last one, since there is this accounts page */
    struct loop_timer retry;
};

static void send(void *context);

const char *fault_kind_name(enum fault_kind kind)
{
    static const char *const names[FAULT_N_KINDS] = {
        [FAULT_TIMEOUT] = "timeout", [FAULT_KEPT] = "kept",   [FAULT_OVERRUN] = "overrun",
        [FAULT_GPU] = "gpu",         [FAULT_RING] = "ring",   [FAULT_BUDGET] = "budget",
        [FAULT_QUOTA] = "quota",     [FAULT_CRASH] = "crash", [FAULT_STRAY] = "stray",
    };

    return kind < FAULT_N_KINDS ? names[kind] : "unknown";
}

static int64_t now_s(const struct vm *vm)
{
    return (int64_t)(loop_now(vm->mediator->loop) / VGPU_NS_PER_S);
}

static unsigned threshold(const struct vm *vm)
{
    unsigned most = vm->config.fault_threshold;

    return most ? most : STORE_FAULT_THRESHOLD_DEFAULT;
}

static int64_t window_s(const struct vm *vm)
{
    uint32_t window = vm->config.fault_window_s;

    return window ? window : STORE_FAULT_WINDOW_DEFAULT_S;
}

unsigned faults_counted(const struct vm *vm)
{
    unsigned n = 0;

    for (unsigned i = 0; vm->faults && i < vm->faults->n_times; i++)
        n += now_s(vm) - vm->faults->times[i] < window_s(vm);
    return n;
}

static struct faults *make(struct vm *vm)
{
    if (vm->faults || !(vm->faults = calloc(1, sizeof(*vm->faults))))
        return vm->faults;
    vm->faults->vm = vm;
    vm->faults->retry = (struct loop_timer){.fire = send, .context = vm->faults};
    return vm->faults;
}

static void add_time(struct faults *faults, int64_t time_s)
{
    if (faults->n_times == STORE_FAULT_THRESHOLD_MAX) {
        faults->n_times--;
        memmove(faults->times, faults->times + 1, faults->n_times * sizeof(faults->times[0]));
    }
    faults->times[faults->n_times++] = time_s;
}

/* the accounts page */

/* What is unstored, in a word: how many, the kind of the last, whether one quarantines. */
static uint64_t pack(const struct faults *faults)
{
    uint64_t word = faults->n_unstored;

    for (unsigned i = 0; i < faults->n_unstored; i++)
        if (faults->unstored[i].quarantine)
            word |= UINT64_C(1) << 40;
    if (faults->n_unstored)
        word |= (uint64_t)faults->unstored[faults->n_unstored - 1].kind << 32;
    return word;
}

static struct accounts_slot *slot_of(const struct vm *vm)
{
    return accounts_slot(&vm->mediator->accounts, vm->config.id, ACCOUNTS_OF_VM);
}

static void save(const struct faults *faults)
{
    struct accounts_slot *slot = slot_of(faults->vm);
    struct accounts_record record;

    if (!slot)
        return;
    accounts_load(slot, &record);
    record.unstored_faults = pack(faults);
    record.fault_serial = faults->serial;
    record.fault_time_s =
        faults->n_unstored ? (uint64_t)faults->unstored[faults->n_unstored - 1].time_s : 0;
    accounts_save(slot, &record);
}

/* the store */

static void stored(void *context, json_t *reply)
{
    struct faults *faults = context;
    struct vm *vm = faults->vm;
    bool quarantined = faults->unstored[0].quarantine;

    faults->asked = false;
    if (!reply)
        mediator_note_store(vm->mediator, "vgpu-store does not answer");
    /* It may have been written: the store knows it again by its ref. */
    if (!reply || mediator_store_failed(reply)) {
        loop_timer_set(vm->mediator->loop, &faults->retry, loop_now(vm->mediator->loop) + RETRY_NS);
        return;
    }
    if (!json_is_true(json_object_get(reply, "ok")))
        vgpu_log(VGPU_LOG_ERROR, "fault-not-stored", "vm=%" PRIu32 " kind=%s", vm->config.id,
                 fault_kind_name(faults->unstored[0].kind));
    else if (quarantined)
        vm->quarantine_due = false; /* the snapshot that came with the answer has it */
    faults->n_unstored--;
    memmove(faults->unstored, faults->unstored + 1,
            faults->n_unstored * sizeof(faults->unstored[0]));
    save(faults);
    send(faults);
}

/*
 * One ref for a fault, however often the store is asked to record it, by whichever mediator. None
 * where the serial would not be known again.
 */
static json_t *request_for(const struct vm *vm, const struct fault *fault)
{
    bool known = slot_of(vm) != NULL;
    char ref[48];

    snprintf(ref, sizeof(ref), "%016" PRIx64 "-%" PRIu64,
             known ? vm->mediator->accounts.page->id : 0, fault->serial);
    return json_pack("{s:s, s:s, s:{s:I, s:I, s:s, s:s, s:b, s:s?}}", "command", "record-fault",
                     "who", "vgpu-mediator", "args", "vm_id", (json_int_t)vm->config.id, "time",
                     (json_int_t)fault->time_s, "kind", fault_kind_name(fault->kind), "text",
                     fault->text, "quarantine", fault->quarantine, "ref", known ? ref : NULL);
}

static void send(void *context)
{
    struct faults *faults = context;
    struct mediator *mediator = faults->vm->mediator;
    json_t *request;

    if (faults->asked || faults->n_unstored == 0)
        return;
    request = request_for(faults->vm, &faults->unstored[0]);
    faults->asked = request && helper_ask(&mediator->store, request, stored, faults) == 0;
    if (!faults->asked)
        loop_timer_set(mediator->loop, &faults->retry, loop_now(mediator->loop) + RETRY_NS);
}

/* counting */

static void store_later(struct faults *faults, const struct fault *fault)
{
    /* The last one gives way: that there is a quarantine must be told. */
    if (faults->n_unstored == UNSTORED_MAX)
        faults->n_unstored--;
    faults->unstored[faults->n_unstored++] = *fault;
    save(faults);
    send(faults);
}

void fault_note(struct vm *vm, enum fault_kind kind, const char *text)
{
    struct fault fault = {.kind = kind, .time_s = (int64_t)time(NULL)};
    struct faults *faults;
    unsigned counted;

    if (vm->state == VM_REMOVED || !(faults = make(vm)))
        return;
    add_time(faults, now_s(vm));
    vm->metrics.faults[kind]++;
    fault.serial = ++faults->serial;
    counted = faults_counted(vm);
    fault.quarantine = counted >= threshold(vm) && vm->state == VM_SERVING;
    if (fault.quarantine)
        snprintf(fault.text, sizeof(fault.text), "%u faults within %" PRId64 " s, the last: %s",
                 counted, window_s(vm), text);
    else
        snprintf(fault.text, sizeof(fault.text), "%s", text);
    if (fault.quarantine || mediator_may_log(vm->mediator))
        vgpu_log(VGPU_LOG_WARN, fault.quarantine ? "vm-quarantine" : "vm-fault",
                 "vm=%" PRIu32 " kind=%s faults=%u of=%u", vm->config.id, fault_kind_name(kind),
                 counted, threshold(vm));
    events_add_guest(vm, EVENT_FAULT, EVENT_WARNING, fault.text);
    store_later(faults, &fault);
    if (fault.quarantine)
        vm_quarantine(vm, fault.text);
}

/* An earlier mediator's count, all of it as old as the last one. */
static void seed(struct vm *vm)
{
    int64_t age_s = (int64_t)time(NULL) - (int64_t)vm->config.last_fault;
    uint64_t n = vm->config.faults;

    if (n == 0 || !make(vm))
        return;
    if (n > STORE_FAULT_THRESHOLD_MAX)
        n = STORE_FAULT_THRESHOLD_MAX;
    for (uint64_t i = 0; i < n; i++)
        add_time(vm->faults, now_s(vm) - (age_s > 0 ? age_s : 0));
}

void faults_configured(struct vm *vm, bool first)
{
    if (first)
        seed(vm);
    else if (vm->faults && vm->config.faults == 0 && vm->faults->n_unstored == 0)
        vm->faults->n_times = 0; /* forgiven, or too old */
}

/* n faults that another mediator did not see stored; the record has what is known of them. */
static void recover(struct vm *vm, const struct accounts_record *record, unsigned n)
{
    struct fault fault = {.kind = (enum fault_kind)(record->unstored_faults >> 32 & 0xff),
                          .time_s = (int64_t)record->fault_time_s,
                          .text = "told by the mediator before it restarted"};

    for (; n > 0; n--) {
        fault.serial = record->fault_serial - n + 1;
        fault.quarantine = n == 1 && (record->unstored_faults >> 40 & 1);
        add_time(vm->faults, now_s(vm));
        store_later(vm->faults, &fault);
    }
    if (fault.quarantine)
        vm_quarantine(vm, fault.text);
}

void faults_recover(struct vm *vm)
{
    struct accounts_slot *slot = slot_of(vm);
    struct accounts_record record;
    unsigned n;

    if (vm->faults && vm->faults->n_unstored > 0) { /* another page, the same mediator */
        save(vm->faults);
        return;
    }
    if (!slot)
        return;
    accounts_load(slot, &record);
    n = (unsigned)(record.unstored_faults & UINT32_MAX);
    if ((n == 0 && record.fault_serial == 0) || n > UNSTORED_MAX || !make(vm))
        return;
    /* Or the next fault would be taken for one that is stored. */
    if (vm->faults->serial < record.fault_serial)
        vm->faults->serial = record.fault_serial;
    recover(vm, &record, n);
}

void faults_free(struct vm *vm)
{
    if (!vm->faults)
        return;
    loop_timer_clear(vm->mediator->loop, &vm->faults->retry);
    helper_forget(&vm->mediator->store, vm->faults);
    free(vm->faults);
    vm->faults = NULL;
}
