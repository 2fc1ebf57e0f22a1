/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads workload descriptions for the simulator; the format is in docs/spec/scheduling.md.
 *
 * One statement a line, words separated by blanks, '#' starts a comment. Everything is bounded by
 * the SIM_*_MAX of sim.h; nothing is guessed: what is not understood is refused with its line.
 */
#include "sched/sim.h"

#include "common/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 64

struct words {
    char line[SIM_LINE_BYTES];
    char *word[WORDS_MAX];
    unsigned count, next, number;
    struct vgpu_err *err;
};

#define FAIL(words, ...) (vgpu_err_set((words)->err, EINVAL, __VA_ARGS__), fail_at(words), -EINVAL)

static void fail_at(struct words *words)
{
    vgpu_err_prefix(words->err, "line %u", words->number);
}

static int split(struct words *words, const char *line, size_t bytes)
{
    char *save = NULL;

    words->count = words->next = 0;
    if (bytes >= sizeof(words->line))
        return FAIL(words, "longer than %d bytes", SIM_LINE_BYTES - 1);
    if (memchr(line, 0, bytes))
        return FAIL(words, "contains a zero byte");
    memcpy(words->line, line, bytes);
    words->line[bytes] = 0;
    words->line[strcspn(words->line, "#")] = 0;
    for (char *w = strtok_r(words->line, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
        if (words->count == WORDS_MAX)
            return FAIL(words, "more than %d words", WORDS_MAX);
        words->word[words->count++] = w;
    }
    return 0;
}

static int take_word(struct words *words, const char *what, const char **ret)
{
    if (words->next == words->count)
        return FAIL(words, "%s is missing at the end of the line", what);
    *ret = words->word[words->next++];
    return 0;
}

static bool take_if(struct words *words, const char *word)
{
    if (words->next == words->count || strcmp(words->word[words->next], word))
        return false;
    words->next++;
    return true;
}

/* A decimal number as an integer of thousandths; at most 12 digits before the point, 3 after. */
static bool scan_milli(const char *text, uint64_t *ret_milli, const char **ret_rest)
{
    uint64_t value = 0;
    unsigned digits = 0;

    for (; isdigit((unsigned char)*text); text++) {
        if (++digits > 12)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    if (!digits)
        return false;
    value *= 1000;
    if (*text == '.') {
        uint64_t place = 100;

        if (!isdigit((unsigned char)*++text))
            return false;
        for (; isdigit((unsigned char)*text); text++, place /= 10) {
            if (!place)
                return false;
            value += place * (uint64_t)(*text - '0');
        }
    }
    *ret_milli = value;
    *ret_rest = text;
    return true;
}

static int take_number(struct words *words, const char *what, uint64_t min, uint64_t max,
                       uint64_t *ret)
{
    const char *word, *rest;
    uint64_t milli;
    int r = take_word(words, what, &word);

    if (r < 0)
        return r;
    if (!scan_milli(word, &milli, &rest) || *rest || milli % 1000)
        return FAIL(words, "%s: '%s' is not a whole number", what, word);
    if (milli / 1000 < min || milli / 1000 > max)
        return FAIL(words, "%s is %s: it must be %llu to %llu", what, word, (unsigned long long)min,
                    (unsigned long long)max);
    *ret = milli / 1000;
    return 0;
}

static int take_time(struct words *words, const char *what, uint64_t min, uint64_t max,
                     uint64_t *ret)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"min", 60000000000}};
    const char *word, *rest;
    uint64_t milli;
    int r = take_word(words, what, &word);

    if (r < 0)
        return r;
    if (!scan_milli(word, &milli, &rest))
        return FAIL(words, "%s: '%s' is not a time, such as 10ms", what, word);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(units); i++) {
        unsigned __int128 scaled = (unsigned __int128)milli * units[i].ns / 1000;

        if (!strcmp(rest, units[i].name)) {
            if (scaled < min || scaled > max)
                return FAIL(words, "%s is %s: it must be %llu to %llu ns", what, word,
                            (unsigned long long)min, (unsigned long long)max);
            *ret = (uint64_t)scaled;
            return 0;
        }
    }
    return FAIL(words, "%s: '%s' needs a unit: ns, us, ms, s or min", what, word);
}

static int take_weight(struct words *words, uint32_t *ret)
{
    const char *word, *rest;
    uint64_t milli;
    int r = take_word(words, "weight", &word);

    if (r < 0)
        return r;
    if (!scan_milli(word, &milli, &rest) || *rest || milli < SCHED_WEIGHT_MIN ||
        milli > SCHED_WEIGHT_MAX)
        return FAIL(words, "weight is %s: it must be 1.0 to 100.0", word);
    *ret = (uint32_t)milli;
    return 0;
}

static int take_choice(struct words *words, const char *what, const char *const *names, unsigned n,
                       unsigned *ret)
{
    const char *word;
    int r = take_word(words, what, &word);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(word, names[i])) {
            *ret = i;
            return 0;
        }
    }
    return FAIL(words, "%s '%s' does not exist", what, word);
}

static int take_priority(struct words *words, unsigned *ret)
{
    static const char *const names[] = {"low", "medium", "high"};

    return take_choice(words, "priority", names, 3, ret);
}

static int take_policy(struct words *words, unsigned *ret)
{
    static const char *const names[] = {"wfq", "strict"};

    return take_choice(words, "policy", names, 2, ret);
}

static int take_dist(struct words *words, const char *what, uint64_t min, struct sim_dist *ret)
{
    static const char *const names[] = {"fixed", "exp", "bimodal"};
    struct sim_dist dist = {0};
    unsigned kind = 0;
    uint64_t percent = 0;
    int r = take_choice(words, what, names, 3, &kind);

    if (r < 0)
        return r;
    dist.kind = (enum sim_dist_kind)kind;
    r = take_time(words, what, min, SIM_JOB_MAX_NS, &dist.ns);
    if (r == 0 && dist.kind == SIM_BIMODAL) {
        r = take_time(words, "the longer time", min, SIM_JOB_MAX_NS, &dist.long_ns);
        if (r == 0)
            r = take_number(words, "percent of the longer", 0, 100, &percent);
        dist.long_ppm = (uint32_t)percent * 10000;
    }
    if (r == 0)
        *ret = dist;
    return r;
}

static int take_name(struct words *words, const char *what, char *ret)
{
    const char *word;
    int r = take_word(words, what, &word);

    if (r < 0)
        return r;
    /* Room is left for ".1023", the number of a copy. */
    if (strlen(word) > SIM_NAME_BYTES - 6)
        return FAIL(words, "%s is longer than %d bytes", what, SIM_NAME_BYTES - 6);
    for (const char *c = word; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
            return FAIL(words, "%s '%s': only letters, digits and . _ - are allowed", what, word);
    }
    memset(ret, 0, SIM_NAME_BYTES);
    memcpy(ret, word, strlen(word));
    return 0;
}

static int find_pool(const struct sim_spec *spec, const char *name, uint32_t *ret)
{
    for (uint32_t i = 0; i < spec->n_pools; i++) {
        if (!strcmp(spec->pools[i].name, name)) {
            *ret = i;
            return 0;
        }
    }
    return -ENOENT;
}

static int parse_pool(struct words *words, struct sim_spec *spec)
{
    struct sim_pool pool = {0}, *pools;
    uint32_t same;
    int r = take_name(words, "pool", pool.name);

    if (r == 0 && take_if(words, "weight"))
        r = take_weight(words, &pool.weight_milli);
    if (r < 0)
        return r;
    if (find_pool(spec, pool.name, &same) == 0)
        return FAIL(words, "pool '%s' exists already", pool.name);
    if (spec->n_pools == SIM_POOLS_MAX)
        return FAIL(words, "more than %d pools", SIM_POOLS_MAX);
    pools = realloc(spec->pools, (spec->n_pools + 1) * sizeof(pool));
    if (!pools)
        return vgpu_err_set(words->err, ENOMEM, "out of memory");
    spec->pools = pools;
    pools[spec->n_pools++] = pool;
    return 0;
}

/* Without "pools" it serves those that are declared by then; with none declared, the one there is.
 */
static int parse_gpu(struct words *words, struct sim_spec *spec)
{
    struct sim_gpu gpu = {0}, *gpus;
    char name[SIM_NAME_BYTES];
    uint32_t pool;
    int r = take_name(words, "gpu", gpu.name);

    if (r < 0)
        return r;
    for (uint32_t i = 0; i < spec->n_gpus; i++)
        if (!strcmp(spec->gpus[i].name, gpu.name))
            return FAIL(words, "gpu '%s' exists already", gpu.name);
    if (spec->n_gpus == SIM_GPUS_MAX)
        return FAIL(words, "more than %d GPUs", SIM_GPUS_MAX);
    if (words->next == words->count)
        gpu.pools = spec->n_pools ? (UINT64_MAX >> (64 - spec->n_pools)) : 1;
    else if (!take_if(words, "pools"))
        return FAIL(words, "after 'gpu NAME' comes pools");
    else if (words->next == words->count)
        return FAIL(words, "after 'gpu NAME pools' come names of pools");
    while (words->next < words->count) {
        if ((r = take_name(words, "pool", name)) < 0)
            return r;
        if (find_pool(spec, name, &pool) < 0)
            return FAIL(words, "pool '%s' is not declared above", name);
        gpu.pools |= UINT64_C(1) << pool;
    }
    gpus = realloc(spec->gpus, (spec->n_gpus + 1) * sizeof(gpu));
    if (!gpus)
        return vgpu_err_set(words->err, ENOMEM, "out of memory");
    spec->gpus = gpus;
    gpus[spec->n_gpus++] = gpu;
    return 0;
}

static int parse_arrive(struct words *words, struct sim_vm *vm)
{
    static const char *const names[] = {"closed", "poisson", "periodic"};
    unsigned kind = 0;
    uint64_t value = 0;
    const char *word;
    char *slash;
    int r = take_choice(words, "arrive", names, 3, &kind);

    if (r < 0)
        return r;
    vm->arrivals = (enum sim_arrivals)kind;
    if (vm->arrivals == SIM_CLOSED) {
        r = take_number(words, "depth", 1, SIM_DEPTH_MAX, &value);
        vm->depth = (uint32_t)value;
        if (r == 0 && take_if(words, "think")) {
            vm->thinks = true;
            r = take_dist(words, "think", 0, &vm->think);
        }
        return r;
    }
    if (vm->arrivals == SIM_PERIODIC) {
        r = take_time(words, "period", SIM_JOB_MIN_NS, SIM_JOB_MAX_NS, &vm->gap_ns);
        if (r == 0 && take_if(words, "phase"))
            r = take_time(words, "phase", 0, SIM_JOB_MAX_NS, &vm->phase_ns);
        return r;
    }
    if (words->next < words->count) {
        slash = strstr(words->word[words->next], "/s");
        if (!slash || slash[2])
            return FAIL(words, "rate '%s' must be like 100/s", words->word[words->next]);
        *slash = 0;
    }
    r = take_word(words, "rate", &word);
    if (r < 0)
        return r;
    if (!scan_milli(word, &value, &(const char *){NULL}) || !value ||
        value > SIM_RATE_MAX * UINT64_C(1000))
        return FAIL(words, "rate is %s: it must be 0.001/s to %d/s", word, SIM_RATE_MAX);
    vm->gap_ns = UINT64_C(1000000000000) / value;
    return 0;
}

static int parse_vm_words(struct words *words, const struct sim_spec *spec, struct sim_vm *vm,
                          uint64_t *ret_count)
{
    bool arrive = false, job = false;
    char pool[SIM_NAME_BYTES];
    unsigned priority;
    int r = 0;

    while (r == 0 && words->next < words->count) {
        if (take_if(words, "count")) {
            r = take_number(words, "count", 1, SIM_VMS_MAX, ret_count);
        } else if (take_if(words, "priority")) {
            r = take_priority(words, &priority);
            if (r == 0)
                vm->priority = (enum sched_priority)priority;
        } else if (take_if(words, "weight")) {
            r = take_weight(words, &vm->weight_milli);
        } else if (take_if(words, "pool")) {
            r = take_name(words, "pool", pool);
            if (r == 0 && find_pool(spec, pool, &vm->pool) < 0)
                return FAIL(words, "pool '%s' is not declared above", pool);
        } else if (take_if(words, "arrive")) {
            arrive = true;
            r = parse_arrive(words, vm);
        } else if (take_if(words, "job")) {
            job = true;
            r = take_dist(words, "job", SIM_JOB_MIN_NS, &vm->job);
        } else if (take_if(words, "start")) {
            r = take_time(words, "start", 0, SIM_DURATION_MAX, &vm->start_ns);
        } else if (take_if(words, "stop")) {
            r = take_time(words, "stop", 1, SIM_DURATION_MAX, &vm->stop_ns);
        } else {
            return FAIL(words, "'%s' is not understood", words->word[words->next]);
        }
    }
    if (r == 0 && (!arrive || !job))
        return FAIL(words, "vm '%s' needs 'arrive' and 'job'", vm->name);
    return r;
}

static int add_vm(struct words *words, struct sim_spec *spec, const struct sim_vm *vm)
{
    struct sim_vm *vms;

    for (uint32_t i = 0; i < spec->n_vms; i++) {
        if (!strcmp(spec->vms[i].name, vm->name))
            return FAIL(words, "vm '%s' exists already", vm->name);
    }
    if (spec->n_vms == SIM_VMS_MAX)
        return FAIL(words, "more than %d VMs", SIM_VMS_MAX);
    vms = realloc(spec->vms, (spec->n_vms + 1) * sizeof(*vm));
    if (!vms)
        return vgpu_err_set(words->err, ENOMEM, "out of memory");
    spec->vms = vms;
    vms[spec->n_vms++] = *vm;
    return 0;
}

static int parse_vm(struct words *words, struct sim_spec *spec)
{
    struct sim_vm vm = {.priority = SCHED_PRIORITY_MEDIUM, .weight_milli = SCHED_WEIGHT_DEFAULT};
    char name[SIM_NAME_BYTES];
    uint64_t count = 0;
    int r = take_name(words, "vm", vm.name);

    if (r < 0)
        return r;
    r = parse_vm_words(words, spec, &vm, &count);
    if (r < 0)
        return r;
    if (!count)
        return add_vm(words, spec, &vm);
    memcpy(name, vm.name, sizeof(name));
    for (uint64_t i = 0; r == 0 && i < count; i++) {
        size_t used = strlen(name);

        snprintf(vm.name + used, sizeof(vm.name) - used, ".%u", (unsigned)i);
        r = add_vm(words, spec, &vm);
    }
    return r;
}

/* A VM is named by itself, or with its fellows by the name before ".N" of `count`. */
static bool change_names(const struct sim_spec *spec, uint32_t vm, const char *name)
{
    const char *full = spec->vms[vm].name, *rest = full + strlen(name);

    if (strncmp(full, name, strlen(name)))
        return false;
    return !*rest ||
           (*rest == '.' && rest[1] && strspn(rest + 1, "0123456789") == strlen(rest + 1));
}

static int add_change(struct words *words, struct sim_spec *spec, const struct sim_change *change)
{
    struct sim_change *changes;
    uint32_t at = spec->n_changes;

    if (spec->n_changes == SIM_CHANGES_MAX)
        return FAIL(words, "more than %d changes", SIM_CHANGES_MAX);
    changes = realloc(spec->changes, (spec->n_changes + 1) * sizeof(*change));
    if (!changes)
        return vgpu_err_set(words->err, ENOMEM, "out of memory");
    spec->changes = changes;
    for (; at && changes[at - 1].at_ns > change->at_ns; at--)
        changes[at] = changes[at - 1];
    changes[at] = *change;
    spec->n_changes++;
    return 0;
}

static int take_pool(struct words *words, const struct sim_spec *spec, uint32_t *ret)
{
    char name[SIM_NAME_BYTES];
    int r = take_name(words, "pool", name);

    if (r < 0)
        return r;
    return find_pool(spec, name, ret) < 0 ? FAIL(words, "pool '%s' is not declared above", name)
                                          : 0;
}

static int parse_pool_change(struct words *words, struct sim_spec *spec, struct sim_change *change)
{
    uint32_t weight = 0;
    int r = take_pool(words, spec, &change->vm);

    if (r < 0)
        return r;
    change->kind = SIM_SET_POOL_WEIGHT;
    if (!take_if(words, "weight"))
        return FAIL(words, "after 'at TIME pool NAME' comes weight");
    if (!take_if(words, "none"))
        r = take_weight(words, &weight);
    change->value = weight;
    return r < 0 ? r : add_change(words, spec, change);
}

static int parse_vm_change(struct words *words, struct sim_spec *spec, struct sim_change *change)
{
    char name[SIM_NAME_BYTES];
    bool found = false;
    uint32_t weight = 0, pool = 0;
    unsigned priority = 0;
    int r = take_name(words, "vm", name);

    if (r < 0)
        return r;
    if (take_if(words, "weight")) {
        change->kind = SIM_SET_WEIGHT;
        r = take_weight(words, &weight);
        change->value = weight;
    } else if (take_if(words, "priority")) {
        change->kind = SIM_SET_PRIORITY;
        r = take_priority(words, &priority);
        change->value = priority;
    } else if (take_if(words, "pool")) {
        change->kind = SIM_SET_POOL;
        r = take_pool(words, spec, &pool);
        change->value = pool;
    } else {
        return FAIL(words, "after 'at TIME vm NAME' comes weight, priority or pool");
    }
    for (uint32_t i = 0; r == 0 && i < spec->n_vms; i++) {
        if (!change_names(spec, i, name))
            continue;
        found = true;
        change->vm = i;
        r = add_change(words, spec, change);
    }
    if (r == 0 && !found)
        return FAIL(words, "vm '%s' is not declared above", name);
    return r;
}

static int parse_at(struct words *words, struct sim_spec *spec)
{
    struct sim_change change = {0};
    unsigned policy = 0;
    int r = take_time(words, "at", 0, SIM_DURATION_MAX, &change.at_ns);

    if (r < 0)
        return r;
    if (take_if(words, "vm"))
        return parse_vm_change(words, spec, &change);
    if (take_if(words, "pool"))
        return parse_pool_change(words, spec, &change);
    if (take_if(words, "policy")) {
        change.kind = SIM_SET_POLICY;
        r = take_policy(words, &policy);
        change.value = policy;
    } else if (take_if(words, "slice")) {
        change.kind = SIM_SET_SLICE;
        r = take_time(words, "slice", SCHED_SLICE_LIMIT_MIN_NS, SCHED_SLICE_LIMIT_MAX_NS,
                      &change.value);
    } else {
        return FAIL(words, "after 'at TIME' comes vm, pool, policy or slice");
    }
    return r < 0 ? r : add_change(words, spec, &change);
}

static int parse_setting(struct words *words, const char *name, struct sim_spec *spec)
{
    struct sched_config *c = &spec->config;
    const struct {
        const char *name;
        uint64_t *value, min, max;
    } times[] = {
        {"duration", &spec->duration_ns, 1000000, SIM_DURATION_MAX},
        {"switch-cost", &spec->switch_ns, 0, SIM_JOB_MAX_NS},
        {"in-flight", &spec->in_flight_ns, 0, SIM_JOB_MAX_NS},
        {"kill-time", &spec->kill_ns, 0, SIM_JOB_MAX_NS},
        {"slice", &c->slice_ns, SCHED_SLICE_LIMIT_MIN_NS, SCHED_SLICE_LIMIT_MAX_NS},
        {"slice-min", &c->slice_min_ns, SCHED_SLICE_LIMIT_MIN_NS, SCHED_SLICE_LIMIT_MAX_NS},
        {"slice-max", &c->slice_max_ns, SCHED_SLICE_LIMIT_MIN_NS, SCHED_SLICE_LIMIT_MAX_NS},
        {"grace", &c->grace_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"second-grace", &c->second_grace_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"kill-grace", &c->kill_grace_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"max-wait", &c->max_wait_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"urgency", &c->urgency_ns, 0, SCHED_SLICE_LIMIT_MAX_NS},
        {"urgency-wait", &c->urgency_wait_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"preempt-interval", &c->preempt_interval_ns, 0, SCHED_TIME_LIMIT_MAX_NS},
        {"aging", &c->aging_ns, SCHED_SLICE_LIMIT_MIN_NS, SCHED_TIME_LIMIT_MAX_NS},
    };
    uint64_t value = 0;
    int r;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(times); i++) {
        if (!strcmp(name, times[i].name))
            return take_time(words, name, times[i].min, times[i].max, times[i].value);
    }
    if (!strcmp(name, "seed"))
        return take_number(words, name, 0, UINT32_MAX, &spec->seed);
    if (!strcmp(name, "urgency-depth")) {
        r = take_number(words, name, 0, UINT32_MAX, &value);
        c->urgency_depth = (uint32_t)value;
        return r;
    }
    if (!strcmp(name, "preempt-burst")) {
        r = take_number(words, name, 0, UINT32_MAX, &value);
        c->preempt_burst = (uint32_t)value;
        return r;
    }
    return FAIL(words, "'%s' is not understood", name);
}

static int parse_line(struct words *words, struct sim_spec *spec)
{
    const char *word;
    unsigned policy = 0;
    int r;

    if (!words->count)
        return 0;
    word = words->word[words->next++];
    if (!strcmp(word, "pool")) {
        r = parse_pool(words, spec);
    } else if (!strcmp(word, "gpu")) {
        r = parse_gpu(words, spec);
    } else if (!strcmp(word, "vm")) {
        r = parse_vm(words, spec);
    } else if (!strcmp(word, "at")) {
        r = parse_at(words, spec);
    } else if (!strcmp(word, "policy")) {
        r = take_policy(words, &policy);
        spec->config.policy = (enum sched_policy)policy;
    } else {
        r = parse_setting(words, word, spec);
    }
    if (r == 0 && words->next < words->count)
        return FAIL(words, "'%s' is too much", words->word[words->next]);
    return r;
}

static int finish(struct sim_spec *spec, struct vgpu_err *err)
{
    if (!spec->n_vms)
        return vgpu_err_set(err, EINVAL, "no vm is described");
    if (!spec->n_pools) {
        spec->pools = calloc(1, sizeof(*spec->pools));
        if (!spec->pools)
            return vgpu_err_set(err, ENOMEM, "out of memory");
        strcpy(spec->pools[0].name, "default");
        spec->n_pools = 1;
    }
    if (!spec->n_gpus) {
        spec->gpus = calloc(1, sizeof(*spec->gpus));
        if (!spec->gpus)
            return vgpu_err_set(err, ENOMEM, "out of memory");
        *spec->gpus = (struct sim_gpu){.name = "gpu", .pools = UINT64_MAX};
        spec->n_gpus = 1;
    }
    return sched_config_check(&spec->config, err);
}

int sim_parse(const char *text, size_t bytes, struct sim_spec *ret_spec, struct vgpu_err *err)
{
    struct sim_spec spec = {
        .duration_ns = UINT64_C(10000000000),
        .seed = 1,
        .switch_ns = 140000,
        .in_flight_ns = 1000000,
        .kill_ns = 5000000,
    };
    struct vgpu_err local = {0};
    struct words words = {.err = err ? err : &local};
    const char *end = text + bytes;
    int r = 0;

    sched_config_default(&spec.config);
    if (bytes > SIM_TEXT_BYTES)
        return vgpu_err_set(err, EINVAL, "longer than %d bytes", SIM_TEXT_BYTES);
    while (r == 0 && text < end) {
        const char *eol = memchr(text, '\n', (size_t)(end - text));

        words.number++;
        r = split(&words, text, (size_t)((eol ? eol : end) - text));
        if (r == 0)
            r = parse_line(&words, &spec);
        text = eol ? eol + 1 : end;
    }
    if (r == 0)
        r = finish(&spec, err);
    if (r < 0)
        sim_spec_release(&spec);
    else
        *ret_spec = spec;
    return r;
}

void sim_spec_release(struct sim_spec *spec)
{
    free(spec->gpus);
    free(spec->pools);
    free(spec->vms);
    free(spec->changes);
    spec->gpus = NULL;
    spec->pools = NULL;
    spec->vms = NULL;
    spec->changes = NULL;
    spec->n_gpus = spec->n_pools = spec->n_vms = spec->n_changes = 0;
}
