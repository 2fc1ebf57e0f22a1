/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan is read, its files are opened and the real driver is loaded in a constructor: a worker's
 * sandbox is not closed yet then, and nothing is opened later. Calls come from any thread; `lock`
 * guards the counts and is never held while a fault happens.
 *
 * What workers share is the page of the plan's `state` file, written by several processes at once:
 * its words are changed by single atomic operations, and no order between them is promised.
 */
#include "fault/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fault/plan.h"
#include "fault/state.h"

static const char lost_line[] = "lost 1\n";

static struct {
    pthread_mutex_t lock;
    struct fault_plan plan;
    uint64_t counts[FAULT_MAX_RULES]; /* calls that each rule has met in this process */
    uint64_t told;                    /* a bit for each rule that has been named in the log */
    uint64_t *rules_of;               /* of each call: a bit for each rule that is about it */
    struct fault_state *state;        /* the plan's, or own_state */
    struct fault_state own_state;
    int health; /* -1: none */
    uint32_t vm;
    bool has_vm;
    bool ready;
    void *library;
    CUresult (*launch_host)(CUstream stream, CUhostFn function, void *data);
} layer = {.lock = PTHREAD_MUTEX_INITIALIZER, .health = -1};

static int read_plan(const char *path, struct vgpu_err *err)
{
    static char text[FAULT_MAX_BYTES + 1];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t bytes = 0;
    ssize_t n = 1;

    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot open: %s", strerror(errno));
    while (n > 0 && bytes < sizeof(text)) {
        n = read(fd, text + bytes, sizeof(text) - bytes);
        if (n < 0)
            return vgpu_err_set(err, errno, "cannot read: %s", strerror(errno));
        bytes += (size_t)n;
    }
    return fault_plan_parse(&layer.plan, text, bytes, err);
}

static int map_state(const char *path, struct vgpu_err *err)
{
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat stat;
    void *page;

    if (fd < 0 || fstat(fd, &stat) < 0)
        return vgpu_err_set(err, errno, "cannot open the state '%s': %s", path, strerror(errno));
    if (stat.st_size < (off_t)sizeof(*layer.state))
        return vgpu_err_set(err, EINVAL, "the state '%s' has fewer than %zu bytes", path,
                            sizeof(*layer.state));
    page = mmap(NULL, sizeof(*layer.state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return vgpu_err_set(err, errno, "cannot map the state '%s': %s", path, strerror(errno));
    layer.state = page;
    return 0;
}

static int open_health(const char *path, struct vgpu_err *err)
{
    layer.health = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    return layer.health < 0
               ? vgpu_err_set(err, errno, "cannot open '%s': %s", path, strerror(errno))
               : 0;
}

static int read_vm(const char *text, struct vgpu_err *err)
{
    char *rest;
    unsigned long value;

    if (!text)
        return 0;
    errno = 0;
    value = strtoul(text, &rest, 10);
    if (text[0] < '0' || text[0] > '9' || errno || *rest || value > UINT32_MAX)
        return vgpu_err_set(err, EINVAL, "VGPU_FAULT_VM is no number of a VM: '%.40s'", text);
    layer.vm = (uint32_t)value;
    layer.has_vm = true;
    return 0;
}

static int index_rules(struct vgpu_err *err)
{
    layer.rules_of = calloc(fault_n_calls, sizeof(*layer.rules_of));
    if (!layer.rules_of)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    for (unsigned i = 0; i < layer.plan.n_rules; i++) {
        const struct fault_rule *rule = &layer.plan.rules[i];

        for (unsigned j = 0; j < fault_n_calls; j++) {
            if (fault_rule_covers(rule, &fault_call_names[j]) &&
                (!rule->has_vm || (layer.has_vm && rule->vm == layer.vm)))
                layer.rules_of[j] |= UINT64_C(1) << i;
        }
    }
    return 0;
}

static int find_launch_host(void)
{
    for (unsigned i = 0; i < fault_n_calls; i++) {
        if (strcmp(fault_call_names[i].name, "cuLaunchHostFunc") == 0)
            layer.launch_host = fault_real[i];
    }
    return layer.launch_host ? 0 : -ENOENT;
}

static int load(const char *path, struct vgpu_err *err)
{
    int status = read_plan(path, err);

    layer.state = &layer.own_state;
    if (status == 0)
        status = read_vm(getenv("VGPU_FAULT_VM"), err);
    if (status == 0 && layer.plan.state[0])
        status = map_state(layer.plan.state, err);
    if (status == 0 && layer.plan.health[0])
        status = open_health(layer.plan.health, err);
    if (status == 0)
        status = index_rules(err);
    if (status == 0)
        status = cuda_symbols_load(fault_real, &layer.library, fault_symbols, fault_n_calls,
                                   layer.plan.driver, err);
    if (status == 0 && find_launch_host() < 0)
        status = vgpu_err_set(err, ENOENT, "the driver has no cuLaunchHostFunc");
    return status;
}

static void __attribute__((constructor)) start(void)
{
    const char *path = getenv("VGPU_FAULT_PLAN");
    struct vgpu_err err = {.code = 0};

    if (!path) {
        dprintf(STDERR_FILENO, "vgpu-fault: VGPU_FAULT_PLAN is not set; this library only makes "
                               "a driver fail, for tests\n");
        return;
    }
    layer.ready = load(path, &err) == 0;
    if (!layer.ready)
        dprintf(STDERR_FILENO, "vgpu-fault: %s: %s\n", path, err.text);
}

static uint32_t load_word(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* Counts the call, and says whether the rule holds for it. The lock is held. */
static bool meets(unsigned index)
{
    const struct fault_rule *rule = &layer.plan.rules[index];
    uint64_t count;

    if (rule->gated && load_word(&layer.state->gate) == 0)
        return false;
    count = ++layer.counts[index];
    switch (rule->when) {
    case FAULT_AT:
        if (count != rule->count)
            return false;
        break;
    case FAULT_FROM:
        if (count < rule->count)
            return false;
        break;
    case FAULT_EVERY:
        if (count % rule->count != 0)
            return false;
        break;
    }
    if (!rule->once)
        __atomic_fetch_add(&layer.state->fired[index], 1, __ATOMIC_RELAXED);
    else if (__atomic_exchange_n(&layer.state->fired[index], 1, __ATOMIC_RELAXED) != 0)
        return false;
    return true;
}

/* All rules of the call count it; the first that holds, delays apart, is what happens. */
static int choose(unsigned number, uint64_t *ret_delay_ns)
{
    uint64_t rules = layer.rules_of[number];
    int chosen = -1;

    *ret_delay_ns = 0;
    pthread_mutex_lock(&layer.lock);
    for (unsigned i = 0; i < layer.plan.n_rules; i++) {
        if (!(rules >> i & 1) || !meets(i))
            continue;
        if (layer.plan.rules[i].verb == FAULT_DELAY)
            *ret_delay_ns += layer.plan.rules[i].delay_ns;
        else if (chosen < 0)
            chosen = (int)i;
    }
    pthread_mutex_unlock(&layer.lock);
    return chosen;
}

static void rest(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

    while (nanosleep(&time, &time) < 0 && errno == EINTR)
        continue;
}

static void __attribute__((noreturn)) never(void *unused)
{
    (void)unused;
    for (;;)
        rest(FAULT_MAX_DELAY_NS);
}

/*
 * The stream waits for a function that does not return, and what is submitted to it from now on
 * behind it: to the program, a kernel that never ends. Without a stream the call itself hangs.
 */
static CUresult hang(const struct fault_call *call)
{
    CUstream stream = call->stream;

    if (!call->has_stream)
        never(NULL);
    if (!stream && call->per_thread)
        stream = CU_STREAM_PER_THREAD;
    return layer.launch_host(stream, never, NULL);
}

static void __attribute__((noreturn)) die(const struct fault_rule *rule)
{
    switch (rule->death) {
    case FAULT_ABORT:
        abort();
    case FAULT_KILL:
        raise(SIGKILL);
        break;
    case FAULT_SEGV:
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        break;
    case FAULT_EXIT:
        break;
    }
    _exit(rule->exit_status);
}

static CUresult lose(const struct fault_rule *rule)
{
    ssize_t n = 0;

    __atomic_store_n(&layer.state->lost, (uint32_t)rule->result, __ATOMIC_RELAXED);
    if (layer.health >= 0)
        n = write(layer.health, lost_line, sizeof(lost_line) - 1);
    if (n < 0)
        dprintf(STDERR_FILENO, "vgpu-fault: cannot write the health file: %s\n", strerror(errno));
    return rule->result;
}

/* Once for each rule in a process: one that holds for every call would fill the log. */
static void tell(unsigned index, const struct fault_call *call)
{
    uint64_t bit = UINT64_C(1) << index;

    if (__atomic_fetch_or(&layer.told, bit, __ATOMIC_RELAXED) & bit)
        return;
    dprintf(STDERR_FILENO, "vgpu-fault: rule=%u call=%s\n", index + 1,
            fault_call_names[call->number].name);
}

/* True if this is the call's end. */
static bool happen(unsigned index, struct fault_call *call, CUresult *ret_result)
{
    const struct fault_rule *rule = &layer.plan.rules[index];

    tell(index, call);
    switch (rule->verb) {
    case FAULT_FAIL:
        *ret_result = rule->result;
        return true;
    case FAULT_HANG:
        *ret_result = hang(call);
        return *ret_result != CUDA_SUCCESS;
    case FAULT_DIE:
        die(rule);
    case FAULT_LOSE:
        *ret_result = lose(rule);
        return true;
    case FAULT_CORRUPT:
        call->corrupting = (int)index;
        return false;
    case FAULT_DELAY:
        break;
    }
    return false;
}

static bool is_lost(CUresult *ret_result)
{
    *ret_result = (CUresult)load_word(&layer.state->lost);
    return *ret_result != CUDA_SUCCESS;
}

bool fault_before(struct fault_call *call, CUresult *ret_result)
{
    uint64_t delay_ns;
    int chosen;

    call->corrupting = -1;
    if (!layer.ready) {
        *ret_result = CUDA_ERROR_NO_DEVICE;
        return true;
    }
    if (is_lost(ret_result))
        return true;
    if (!layer.rules_of[call->number])
        return false;
    chosen = choose(call->number, &delay_ns);
    if (delay_ns > 0)
        rest(delay_ns);
    return chosen >= 0 && happen((unsigned)chosen, call, ret_result);
}

void fault_after(const struct fault_call *call, CUresult result, void *const *arguments)
{
    const struct fault_call_name *name = &fault_call_names[call->number];
    const struct fault_rule *rule;

    if (call->corrupting < 0 || result != CUDA_SUCCESS)
        return;
    rule = &layer.plan.rules[call->corrupting];
    for (unsigned i = 0; i < name->n_arguments; i++) {
        unsigned char *bytes = arguments[i];

        if (!bytes || strcmp(name->arguments[i].name, rule->argument) != 0)
            continue;
        for (size_t j = 0; j < name->arguments[i].bytes && j < sizeof(rule->mask); j++)
            bytes[j] ^= (unsigned char)(rule->mask >> (8 * j));
    }
}

void fault_wrap(void **function)
{
    for (unsigned i = 0; function && *function && i < fault_n_calls; i++) {
        if (fault_real[i] == *function) {
            *function = fault_own[i];
            return;
        }
    }
}
