/* SPDX-License-Identifier: Apache-2.0 */
/* The fair queue; see fairq.h. */
#include "sched/fairq.h"

static struct fairq_entity *of_wait(struct tree_node *node)
{
    return node ? (struct fairq_entity *)((char *)node - offsetof(struct fairq_entity, wait))
                : NULL;
}

static struct fairq_entity *of_leave(struct tree_node *node)
{
    return node ? (struct fairq_entity *)((char *)node - offsetof(struct fairq_entity, leave))
                : NULL;
}

/* Sets V = base + sum / weight, normalised. */
static void settle(struct fairq *queue, __int128 sum)
{
    int64_t whole;

    if (!queue->weight) {
        queue->remainder = 0;
        return;
    }
    if (sum >= 0 && sum <= INT64_MAX) {
        whole = (int64_t)((uint64_t)sum / queue->weight);
    } else {
        whole = (int64_t)(sum / (__int128)queue->weight);
        if ((__int128)whole * (__int128)queue->weight > sum)
            whole--;
    }
    queue->base += (uint64_t)whole;
    queue->remainder = (uint64_t)(sum - (__int128)whole * (__int128)queue->weight);
    if (whole < 0)
        queue->shift -= (uint64_t)whole;
}

/* The member's part in the sum: weight x (v - base). */
static __int128 part(const struct fairq *queue, const struct fairq_entity *entity)
{
    return (__int128)(int64_t)(entity->v - queue->base) * (__int128)entity->weight;
}

static void drop(struct fairq *queue, struct fairq_entity *entity)
{
    __int128 sum = (__int128)queue->remainder - part(queue, entity);

    entity->member = false;
    queue->weight -= entity->weight;
    settle(queue, sum);
}

/* Lets go the leaving whom V has reached. Each that goes can only move V on. */
static void expire(struct fairq *queue)
{
    struct fairq_entity *entity;

    while ((entity = of_leave(tree_first(&queue->leaving))) &&
           !tree_before(queue->base, entity->v)) {
        tree_remove(&queue->leaving, &entity->leave);
        drop(queue, entity);
    }
}

void fairq_join_at(struct fairq *queue, struct fairq_entity *entity, uint64_t v)
{
    entity->v = v;
    entity->member = true;
    queue->weight += entity->weight;
    settle(queue, (__int128)queue->remainder + part(queue, entity));
}

void fairq_join(struct fairq *queue, struct fairq_entity *entity, uint64_t time)
{
    if (!entity->member)
        fairq_join_at(queue, entity, time);
    else if (entity->leave.height)
        tree_remove(&queue->leaving, &entity->leave);
    expire(queue);
}

void fairq_leave(struct fairq *queue, struct fairq_entity *entity)
{
    if (!entity->member || entity->leave.height)
        return;
    entity->leave.key = entity->leave.v = entity->v;
    entity->leave.seq = entity->wait.seq;
    tree_insert(&queue->leaving, &entity->leave);
    expire(queue);
}

void fairq_forget(struct fairq *queue, struct fairq_entity *entity)
{
    if (entity->leave.height)
        tree_remove(&queue->leaving, &entity->leave);
    if (entity->member)
        drop(queue, entity);
    expire(queue);
}

void fairq_charge(struct fairq *queue, struct fairq_entity *entity, uint64_t ns)
{
    uint64_t distance = fairq_distance(ns, entity->weight);

    if (!entity->member)
        return;
    entity->v += distance;
    settle(queue, (__int128)queue->remainder + (__int128)distance * (__int128)entity->weight);
    expire(queue);
}

void fairq_enqueue(struct fairq *queue, struct fairq_entity *entity, uint64_t deadline,
                   uint64_t seq)
{
    entity->wait.key = deadline;
    entity->wait.seq = seq;
    entity->wait.v = entity->v;
    tree_insert(&queue->waiting, &entity->wait);
}

void fairq_dequeue(struct fairq *queue, struct fairq_entity *entity)
{
    tree_remove(&queue->waiting, &entity->wait);
}

struct fairq_entity *fairq_pick(const struct fairq *queue, uint64_t time)
{
    struct tree_node *node = tree_first_within(&queue->waiting, time);

    return of_wait(node ? node : tree_lowest(&queue->waiting));
}

void fairq_reset(struct fairq *queue)
{
    queue->remainder = 0;
    queue->weight = 0;
    queue->reset_at = queue->base;
    queue->waiting = (struct tree){0};
    queue->leaving = (struct tree){0};
}
