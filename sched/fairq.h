/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fair queue: virtual time, eligibility and deadlines over entities (VMs, or whole pools).
 * Used by sched/ only; docs/spec/scheduling.md has the theory.
 *
 * Each member has a position v, its service divided by its weight, in units of 2^-20 ns per
 * 1/1000 of weight. The virtual time V is the mean of the members' positions, weighted by their
 * weights: a member with v < V is owed weight x (V - v), one with v > V owes. Invariant: the lags
 * of all members add up to 0 (exactly: V is kept with its remainder). V never goes back by what
 * happens here except in fairq_forget(), and there `shift` hides it from those who read V.
 *
 * A member that runs out of work while it owes stays a member ("leaving") until V has reached it,
 * just as it would still be served in the fluid system; one that is owed forfeits it. That is why
 * neither sleeping nor coming back gives credit.
 */
#ifndef VGPU_SCHED_FAIRQ_H
#define VGPU_SCHED_FAIRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sched/tree.h"

#define FAIRQ_UNIT_BITS 20

struct fairq_entity {
    struct tree_node wait;  /* in fairq.waiting, or in a strict queue */
    struct tree_node leave; /* in fairq.leaving */
    uint64_t v;
    uint64_t weight;
    bool member;
    bool pool; /* part of a struct sched_pool, else of a struct sched_vm */
};

struct fairq {
    uint64_t base;       /* V, rounded down */
    uint64_t remainder;  /* of V, in 1/weight: 0 <= remainder < weight */
    uint64_t weight;     /* of all members */
    uint64_t shift;      /* added to V where it is shown */
    uint64_t reset_at;   /* V at the last fairq_reset() */
    struct tree waiting; /* by deadline */
    struct tree leaving; /* by v */
};

/* ns of service as a distance in virtual time. */
static inline uint64_t fairq_distance(uint64_t ns, uint64_t weight)
{
    if (ns >> (64 - FAIRQ_UNIT_BITS))
        return (uint64_t)(((unsigned __int128)ns << FAIRQ_UNIT_BITS) / weight);
    return (ns << FAIRQ_UNIT_BITS) / weight;
}

/* V if unsettled_ns of service, not charged yet, were charged to members now. */
static inline uint64_t fairq_time(const struct fairq *queue, uint64_t unsettled_ns)
{
    if (!unsettled_ns || !queue->weight)
        return queue->base;
    return queue->base + fairq_distance(unsettled_ns, queue->weight);
}

/* Service that an entity at v is owed at virtual time `time`. */
static inline int64_t fairq_lag_ns(uint64_t time, uint64_t v, uint64_t weight)
{
    return (int64_t)(((__int128)(int64_t)(time - v) * (__int128)weight) >> FAIRQ_UNIT_BITS);
}

/* Becomes a member at time, or where it stands already if it is still leaving. */
void fairq_join(struct fairq *queue, struct fairq_entity *entity, uint64_t time);
/* Becomes a member at v, wherever that is. */
void fairq_join_at(struct fairq *queue, struct fairq_entity *entity, uint64_t v);
/* Has no more work: leaves now, or once V has reached it. Not while in the waiting tree. */
void fairq_leave(struct fairq *queue, struct fairq_entity *entity);
/* No longer exists here; takes its lag along. */
void fairq_forget(struct fairq *queue, struct fairq_entity *entity);
void fairq_charge(struct fairq *queue, struct fairq_entity *entity, uint64_t ns);

void fairq_enqueue(struct fairq *queue, struct fairq_entity *entity, uint64_t deadline,
                   uint64_t seq);
void fairq_dequeue(struct fairq *queue, struct fairq_entity *entity);
/* Earliest deadline among those with v up to time; if none, the smallest v. NULL: nobody waits. */
struct fairq_entity *fairq_pick(const struct fairq *queue, uint64_t time);

/* Empties the queue: every member must be joined anew. V stays. */
void fairq_reset(struct fairq *queue);

#endif
