/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The library's side of a channel: struct sender, shared by submit.c (the way in), receive.c (the
 * way back) and data.c (the data area).
 *
 * Locks, in the order in which they nest: submit_lock, data_lock, wait_lock. submit_lock is held
 * from sender_reserve to sender_commit only, and never while waiting for anything. wait_lock is
 * held for dispatching one completion at a time. The completion ring has one reader, the leader:
 * any waiting thread that finds none.
 */
#ifndef VGPU_LIBVGPU_CHANNEL_H
#define VGPU_LIBVGPU_CHANNEL_H

#include <pthread.h>
#include <stdbool.h>
#include <vgpu/ring.h>

#include "carrier/mapping.h"
#include "cuda/cuda_abi.h"
#include "guest/libvgpu/area.h"
#include "guest/libvgpu/stages.h"
#include "guest/libvgpu/patience.h"
#include "ring/ring.h"

#define STAGING_SLOTS 64
#define POSTED_SLOTS  64

/* A thread that sleeps in receive_until; each thread has one. */
/* What is waited for is told apart by its op, with collisions; wait_lock guards what is learnt. */
#define PATIENCE_KINDS  64u
#define PATIENCE_STAGED 0u /* a part of the data area on its way */

struct waiter {
    struct waiter *next;
    pthread_cond_t cond;
    bool on_progress; /* wake for any progress, not only for its ticket */
    uint64_t began_ns;
    struct patience patience; /* of what it waits for, when it began */
};

/* An answer that is to come. Lives until done; the owner's memory. wait_lock guards all of it. */
struct ticket {
    struct ticket *next; /* in sender.open */
    uint64_t seq;
    bool done;
    bool posted; /* nobody waits: an error is kept for the next report */
    uint16_t status;
    CUresult result;
    uint64_t wait_ns, run_ns;
    uint8_t *answer; /* VGPU_RECORD_MAX_BYTES, or NULL: only the result is kept */
    uint32_t answer_bytes;
    struct waiter *waiter;
};

/* A part of the data area that is on its way to or from the device. */
struct staging_slot {
    struct ticket ticket;
    uint64_t offset, bytes;
    bool used;
    bool owned; /* its taker gives it back; else it comes back when the ticket is done */
    bool eager; /* taken before its stream was known to be idle */
};

/* A blob of a posted record: free again once `seq` was issued. */
struct posted_blob {
    uint64_t seq;
    uint64_t offset, bytes;
};

struct callback_queue;
struct mirror;

struct sender {
    struct channel_mapping map;
    int submit_kick;       /* eventfd: wakes the worker; -1 in a virtual machine: */
    uint32_t *doorbell;    /* the device's; the owner unmaps it. NULL: `device` is written to */
    int device;            /* the driver's file, which maps parts anew; -1: mappings can be moved */
    int completion_kick;   /* read like an eventfd: the worker wakes the leader */
    int own_kick;          /* eventfd: threads of this process wake the leader */
    struct mirror *mirror; /* NULL: the worker sees this very memory */

    pthread_mutex_t submit_lock;
    struct ring_producer submission;
    uint64_t last_seq;
    uint64_t work_seq; /* of the last record that is no query; read without the lock */
    uint64_t jobs_sent;
    uint32_t room_waiters;
    struct guest_stages stages;

    pthread_mutex_t wait_lock;
    struct ring_consumer completion;
    bool leading;          /* some thread reads the completion ring */
    struct waiter *leader; /* whose */
    struct waiter *waiters;
    struct ticket *open;
    uint32_t open_count; /* at most VGPU_CHANNEL_MAX_WAITS */
    uint64_t progress;   /* grows whenever a waiter should look again */
    uint64_t answers;    /* dispatched: replies, host functions due; read without the lock */
    uint32_t dispatched; /* flag: the completion ring's index behind the last that was */
    uint32_t late;       /* flag: late_error is set */
    CUresult late_error; /* of a posted ticket; told by the next report */
    struct callback_queue *callbacks;
    uint32_t gone;        /* flag: the channel has ended */
    CUresult gone_result; /* set before gone */
    bool may_spin;        /* there is another processor for the worker */
    bool spins;           /* the last answers came soon: worth a spin */
    unsigned spin_misses;
    struct patience patience[PATIENCE_KINDS];           /* by receive_await()'s kind */
    _Alignas(8) uint8_t scratch[VGPU_RECORD_MAX_BYTES]; /* the leader's */

    pthread_mutex_t data_lock;
    struct area area;
    struct staging_slot staging[STAGING_SLOTS];
    uint32_t staging_loose; /* slots that come back by themselves */
    uint64_t staging_bytes, staging_eager_bytes;
    uint64_t staging_max_bytes, staging_eager_max_bytes, chunk_bytes;
    uint64_t host_bytes, host_max_bytes;
    struct posted_blob posted[POSTED_SLOTS];
    size_t posted_count;
};

/* Takes map and descriptors over on success. Returns 0 or -errno. */
int sender_init(struct sender *sender, const struct channel_mapping *map, int submit_kick,
                int completion_kick);

/* The same by the driver of a virtual machine: its file, and the doorbell or NULL, which stays the
 * caller's. */
int sender_init_device(struct sender *sender, const struct channel_mapping *map, int device,
                       uint32_t *doorbell);

/* Wakes who reads the submission ring. */
void sender_kick(struct sender *sender);

/* No other thread may use the sender any more. */
void sender_release(struct sender *sender);

#endif
