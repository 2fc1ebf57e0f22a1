/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order among the waiting VMs, and the choice of the next; see state.h for the calls.
 *
 * wfq: earliest deadline among the eligible. The deadline is position + request / weight, less
 * urgency. Two things may come ahead of that order, both bounded: a VM of higher priority that has
 * just woken and owes nothing (its outstanding early turns are kept under half of urgency_ns), and
 * a VM that has waited for max_wait_ns (it gets slice_min_ns).
 * strict: priority, then arrival; who has waited for aging_ns counts as a level higher.
 *
 * A waiting VM is in exactly one deadline or arrival tree, and in the list of its priority.
 */
#include "sched/state.h"

#include <assert.h>

#define AGE_PER_DECISION  4 /* VMs that get the urgency of a long wait at once */
#define LOOK_PER_PRIORITY 4 /* waking VMs that are looked at */
#define DEBTOR_WAITS      10

static void list_append(struct vm_list *list, struct sched_vm *vm)
{
    vm->prev = list->last;
    vm->next = NULL;
    if (list->last)
        list->last->next = vm;
    else
        list->first = vm;
    list->last = vm;
    if (!list->aging)
        list->aging = vm;
    list->waking += vm->waking;
}

static void list_remove(struct vm_list *list, struct sched_vm *vm)
{
    if (list->aging == vm)
        list->aging = vm->next;
    if (vm->prev)
        vm->prev->next = vm->next;
    else
        list->first = vm->next;
    if (vm->next)
        vm->next->prev = vm->prev;
    else
        list->last = vm->prev;
    vm->prev = vm->next = NULL;
    list->waking -= vm->waking;
}

/*
 * Urgency is a distance in virtual time that never exceeds (urgency_ns / 2) / (weight of all VMs
 * here): a quarter of urgency_ns from depth, a quarter from waiting, the other half being for early
 * turns. Moving deadlines by at most D / (all weights) can add at most D to anybody's lag.
 */
static uint64_t urgency(const struct sched *sched, const struct sched_vm *vm)
{
    uint64_t registered = sched->pools_weighted ? vm->pool->registered : sched->registered;
    uint64_t part_ns = sched->config.urgency_ns / 4, ns = 0;
    uint32_t full = sched->config.urgency_depth;

    if (!part_ns || !registered)
        return 0;
    if (full)
        ns += vm->depth >= full ? part_ns : part_ns / full * vm->depth;
    if (vm->long_wait)
        ns += part_ns;
    return ns ? fairq_distance(ns, registered) : 0;
}

static uint64_t deadline(const struct sched *sched, const struct sched_vm *vm, uint64_t v)
{
    return v + fairq_distance(charge_request(sched, vm), vm->entity.weight) - urgency(sched, vm);
}

static void tree_enter(struct sched *sched, struct sched_vm *vm)
{
    struct fairq *queue = sched_queue_of(sched, vm);
    struct sched_pool *pool = vm->pool;

    if (!sched_is_fair(sched)) {
        vm->entity.wait.key = vm->arrival_ns;
        vm->entity.wait.seq = vm->seq;
        vm->entity.wait.v = 0;
        tree_insert(&sched->strict[vm->params.priority], &vm->entity.wait);
        return;
    }
    fairq_enqueue(queue, &vm->entity, deadline(sched, vm, vm->entity.v), vm->seq);
    if (sched->pools_weighted && !pool->entity.wait.height)
        fairq_enqueue(&sched->root, &pool->entity,
                      pool->entity.v + fairq_distance(sched->config.slice_ns, pool->entity.weight),
                      vm->seq);
}

static void tree_exit(struct sched *sched, struct sched_vm *vm)
{
    struct fairq *queue = sched_queue_of(sched, vm);

    if (!sched_is_fair(sched)) {
        tree_remove(&sched->strict[vm->params.priority], &vm->entity.wait);
        return;
    }
    fairq_dequeue(queue, &vm->entity);
    if (sched->pools_weighted && !queue->waiting.count)
        fairq_dequeue(&sched->root, &vm->pool->entity);
}

void choose_enqueue(struct sched *sched, struct sched_vm *vm, uint64_t now_ns)
{
    uint64_t limit = sched->config.slice_max_ns + sched->config.grace_ns + vm->over_ns;
    uint64_t time = charge_time(sched, sched_queue_of(sched, vm), now_ns);

    vm->seq = ++sched->seq;
    vm->wait_since_ns = now_ns;
    vm->arrival_ns = vm->oldest_ns ? vm->oldest_ns : now_ns;
    vm->long_wait = false;
    vm->forced = false;
    if (fairq_lag_ns(time, vm->entity.v, vm->entity.weight) >= -(int64_t)limit)
        vm->paying = false;
    list_append(&sched->waiters[vm->params.priority], vm);
    tree_enter(sched, vm);
    sched->waiting++;
}

void choose_dequeue(struct sched *sched, struct sched_vm *vm)
{
    tree_exit(sched, vm);
    list_remove(&sched->waiters[vm->params.priority], vm);
    sched->waiting--;
}

void choose_requeue(struct sched *sched, struct sched_vm *vm)
{
    tree_exit(sched, vm);
    vm->arrival_ns = vm->oldest_ns ? vm->oldest_ns : vm->wait_since_ns;
    tree_enter(sched, vm);
}

void choose_refill(struct sched *sched)
{
    for (unsigned p = 0; p < SCHED_N_PRIORITIES; p++) {
        struct vm_list *list = &sched->waiters[p];

        list->aging = list->first;
        for (struct sched_vm *vm = list->first; vm; vm = vm->next) {
            vm->long_wait = false;
            tree_enter(sched, vm);
        }
    }
}

void choose_set_priority(struct sched *sched, struct sched_vm *vm, enum sched_priority priority)
{
    struct vm_list *list = &sched->waiters[priority];
    struct sched_vm *after = list->last;

    if (vm->state != LEASE_WAITING || priority == vm->params.priority) {
        vm->params.priority = priority;
        return;
    }
    list_remove(&sched->waiters[vm->params.priority], vm);
    vm->params.priority = priority;
    while (after && after->seq > vm->seq)
        after = after->prev;
    vm->prev = after;
    vm->next = after ? after->next : list->first;
    *(vm->prev ? &vm->prev->next : &list->first) = vm;
    *(vm->next ? &vm->next->prev : &list->last) = vm;
    list->waking += vm->waking;
}

void choose_age(struct sched *sched, uint64_t now_ns)
{
    unsigned left = AGE_PER_DECISION;

    if (!sched_is_fair(sched) || !sched->config.urgency_ns)
        return;
    for (int p = SCHED_N_PRIORITIES - 1; p >= 0; p--) {
        struct vm_list *list = &sched->waiters[p];

        while (left && list->aging &&
               now_ns - list->aging->wait_since_ns >= sched->config.urgency_wait_ns) {
            struct sched_vm *vm = list->aging;

            vm->long_wait = true;
            choose_requeue(sched, vm);
            list->aging = vm->next;
            left--;
        }
    }
}

/*
 * Who owes much for an overrun is not paid back for it at once; but nobody waits for ever. Debts
 * from turns that max_wait itself has given do not count: a small share would never repay them.
 */
static bool is_due(const struct sched *sched, const struct sched_vm *vm, uint64_t now_ns)
{
    uint64_t patience = sched->config.max_wait_ns * (vm->paying ? DEBTOR_WAITS : 1);

    return now_ns - vm->wait_since_ns >= patience;
}

/* The VM that has waited longest, if that is as long as anybody may. */
static struct sched_vm *overdue(struct sched *sched, uint64_t now_ns)
{
    struct sched_vm *found = NULL;

    if (!sched->config.max_wait_ns)
        return NULL;
    for (unsigned p = 0; p < SCHED_N_PRIORITIES; p++) {
        struct sched_vm *vm = sched->waiters[p].first;

        for (unsigned i = 0; vm && vm->paying && !is_due(sched, vm, now_ns); i++)
            vm = i < LOOK_PER_PRIORITY ? vm->next : NULL;
        if (!vm || !is_due(sched, vm, now_ns))
            continue;
        if (!found || vm->seq < found->seq)
            found = vm;
    }
    return found;
}

static struct sched_vm *overdue_strict(struct sched *sched, uint64_t now_ns)
{
    struct sched_vm *found = NULL;
    unsigned best = 0;

    for (unsigned p = 0; p < SCHED_PRIORITY_HIGH; p++) {
        struct sched_vm *vm = sched->waiters[p].first;
        uint64_t level;

        if (!vm)
            continue;
        level = p + (now_ns - vm->wait_since_ns) / sched->config.aging_ns;
        if (level > SCHED_PRIORITY_HIGH)
            level = SCHED_PRIORITY_HIGH;
        if (level > p && (!found || level > best || (level == best && vm->seq < found->seq))) {
            found = vm;
            best = (unsigned)level;
        }
    }
    for (unsigned p = best + 1; found && p < SCHED_N_PRIORITIES; p++) {
        if (sched->strict[p].count)
            return NULL;
    }
    return found;
}

static struct sched_vm *first_strict(struct sched *sched)
{
    for (int p = SCHED_N_PRIORITIES - 1; p >= 0; p--) {
        struct tree_node *node = tree_first(&sched->strict[p]);

        if (node)
            return sched_vm_of(
                (struct fairq_entity *)((char *)node - offsetof(struct fairq_entity, wait)));
    }
    return NULL;
}

static struct sched_vm *first_fair(struct sched *sched, uint64_t now_ns)
{
    struct fairq_entity *entity =
        fairq_pick(&sched->root, charge_time(sched, &sched->root, now_ns));
    struct fairq *queue;

    if (entity && entity->pool) {
        queue = &sched_pool_of(entity)->queue;
        entity = fairq_pick(queue, charge_time(sched, queue, now_ns));
    }
    return entity ? sched_vm_of(entity) : NULL;
}

uint64_t choose_early_cost(const struct sched *sched, const struct sched_vm *vm)
{
    return sched->config.slice_min_ns + vm->over_ns;
}

static bool anybody_wakes_above(const struct sched *sched, enum sched_priority above)
{
    for (unsigned p = above + 1; p < SCHED_N_PRIORITIES; p++) {
        if (sched->waiters[p].waking)
            return true;
    }
    return false;
}

/* Cost of the early turns that V has not caught up with; forgets the others. */
static uint64_t early_outstanding(struct sched *sched, uint64_t now_ns)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < SCHED_EARLY_MAX; i++) {
        const struct fairq *queue = sched->early[i].queue;

        if (!queue)
            continue;
        if (!tree_before(charge_time(sched, queue, now_ns), sched->early[i].v))
            sched->early[i].queue = NULL;
        else
            sum += sched->early[i].cost_ns;
    }
    return sum;
}

void choose_note_early(struct sched *sched, struct sched_vm *vm, uint64_t cost_ns, uint64_t v)
{
    unsigned at = 0;

    /* The note from the grant, an estimate, gives way to the one of what the turn has cost. */
    while (at < SCHED_EARLY_MAX && sched->early[at].queue && sched->early[at].seq != vm->seq)
        at++;
    if (at == SCHED_EARLY_MAX)
        return;
    sched->early[at].queue = sched_queue_of(sched, vm);
    sched->early[at].seq = vm->seq;
    sched->early[at].v = v;
    sched->early[at].cost_ns = cost_ns;
}

static bool early_full(const struct sched *sched)
{
    for (unsigned i = 0; i < SCHED_EARLY_MAX; i++) {
        if (!sched->early[i].queue)
            return false;
    }
    return true;
}

/*
 * A VM above priority that has just woken and fits into the urgency budget: with what it would
 * cost, neither the sum of the early turns that V has not caught up with nor its own debt exceeds
 * it.
 */
static struct sched_vm *find_urgent(struct sched *sched, enum sched_priority above, uint64_t now_ns)
{
    uint64_t budget = sched->config.urgency_ns / 2, time, outstanding;

    if (sched->pools_weighted || !anybody_wakes_above(sched, above))
        return NULL;
    outstanding = early_outstanding(sched, now_ns);
    if (early_full(sched))
        return NULL;
    time = charge_time(sched, &sched->root, now_ns);
    for (int p = SCHED_PRIORITY_HIGH; p > (int)above; p--) {
        struct sched_vm *vm = sched->waiters[p].waking ? sched->waiters[p].last : NULL;

        for (unsigned i = 0; vm && i < LOOK_PER_PRIORITY; i++, vm = vm->prev) {
            uint64_t cost = choose_early_cost(sched, vm);
            int64_t lag = fairq_lag_ns(time, vm->entity.v, vm->entity.weight);

            if (vm->waking && outstanding + cost <= budget &&
                lag + (int64_t)budget >= (int64_t)cost)
                return vm;
        }
    }
    return NULL;
}

struct sched_vm *choose_next(struct sched *sched, uint64_t now_ns)
{
    struct sched_vm *vm, *urgent;

    if (!sched->waiting)
        return NULL;
    if (!sched_is_fair(sched)) {
        vm = overdue_strict(sched, now_ns);
        if (vm)
            vm->run_level = SCHED_PRIORITY_HIGH;
        else if ((vm = first_strict(sched)))
            vm->run_level = vm->params.priority;
        return vm;
    }
    vm = overdue(sched, now_ns);
    if (vm) {
        vm->forced = true;
        return vm;
    }
    vm = first_fair(sched, now_ns);
    assert(vm);
    urgent = find_urgent(sched, vm->params.priority, now_ns);
    if (!urgent || urgent == vm)
        return vm;
    urgent->early = true;
    return urgent;
}

/* Whether an entity that runs, at v with its next deadline at key, is before the best waiting. */
static bool holds_on(uint64_t v, uint64_t key, const struct fairq_entity *best, uint64_t time)
{
    bool eligible = !tree_before(time, v), best_eligible = !tree_before(time, best->v);

    if (eligible != best_eligible)
        return eligible;
    if (!eligible)
        return tree_before(v, best->v);
    return tree_before(key, best->wait.key);
}

static bool vm_holds_on(struct sched *sched, struct sched_vm *holder, uint64_t now_ns)
{
    struct fairq *queue = sched_queue_of(sched, holder);
    uint64_t time = charge_time(sched, queue, now_ns);
    struct fairq_entity *best = fairq_pick(queue, time);
    uint64_t v = holder->entity.v +
                 fairq_distance(charge_unsettled(sched, holder, now_ns), holder->entity.weight);

    return !best || holds_on(v, deadline(sched, holder, v), best, time);
}

/* The pool of the holder against the other pools; its place is out of date while the turn lasts. */
static bool pool_holds_on(struct sched *sched, struct sched_pool *pool, uint64_t now_ns)
{
    bool waits = pool->entity.wait.height != 0;
    uint64_t time = charge_time(sched, &sched->root, now_ns), v;
    struct fairq_entity *best;

    if (waits)
        fairq_dequeue(&sched->root, &pool->entity);
    best = fairq_pick(&sched->root, time);
    if (waits)
        fairq_enqueue(&sched->root, &pool->entity, pool->entity.wait.key, pool->entity.wait.seq);
    v = pool->entity.v +
        fairq_distance(charge_pool_unsettled(sched, pool, now_ns), pool->entity.weight);
    return !best ||
           holds_on(v, v + fairq_distance(sched->config.slice_ns, pool->entity.weight), best, time);
}

static bool successor_strict(struct sched *sched, const struct sched_vm *holder, uint64_t now_ns)
{
    const struct sched_vm *vm = first_strict(sched);

    assert(vm);
    if (overdue_strict(sched, now_ns))
        return true;
    if (vm->params.priority != holder->params.priority)
        return vm->params.priority > holder->params.priority;
    return !holder->oldest_ns || vm->arrival_ns < holder->oldest_ns;
}

bool choose_successor(struct sched *sched, struct sched_vm *holder, uint64_t now_ns)
{
    if (!sched_is_fair(sched))
        return successor_strict(sched, holder, now_ns);
    if (overdue(sched, now_ns) || find_urgent(sched, holder->params.priority, now_ns))
        return true;
    if (sched->pools_weighted && !pool_holds_on(sched, holder->pool, now_ns))
        return true;
    return !vm_holds_on(sched, holder, now_ns);
}

/* One early revoke per preempt_interval_ns in the mean, preempt_burst at once. */
static bool cut_allowed(struct sched *sched, uint64_t now_ns)
{
    uint64_t interval = sched->config.preempt_interval_ns;
    uint64_t at = sched->preempt_ns > now_ns ? sched->preempt_ns : now_ns;

    if (at + interval - now_ns > interval * sched->config.preempt_burst)
        return false;
    sched->preempt_ns = at + interval;
    return true;
}

bool choose_cut(struct sched *sched, struct sched_vm *holder, uint64_t now_ns)
{
    struct sched_vm *vm;

    if (holder->forced || holder->early)
        return false;
    if (!sched_is_fair(sched)) {
        vm = first_strict(sched);
        assert(vm);
        return vm->params.priority > holder->run_level;
    }
    vm = find_urgent(sched, holder->params.priority, now_ns);
    if (!vm && sched->pools_weighted)
        return false;
    if (!vm) {
        vm = first_fair(sched, now_ns);
        assert(vm);
        if (vm->params.priority <= holder->params.priority ||
            tree_before(charge_time(sched, &sched->root, now_ns), vm->entity.v) ||
            !tree_before(vm->entity.wait.key, holder->entity.wait.key))
            return false;
    }
    return cut_allowed(sched, now_ns);
}

void choose_extend(struct sched *sched, struct sched_vm *holder, uint64_t now_ns)
{
    uint64_t v = holder->entity.v +
                 fairq_distance(charge_unsettled(sched, holder, now_ns), holder->entity.weight);

    holder->entity.wait.key = deadline(sched, holder, v);
}

bool choose_cut_later(const struct sched *sched, const struct sched_vm *holder)
{
    if (!sched_is_fair(sched) || sched->pools_weighted)
        return false;
    return anybody_wakes_above(sched, holder->params.priority);
}
