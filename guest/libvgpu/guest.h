/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the library keeps for its process: the channel, the device's snapshot, the program's objects
 * and ranges. Each function of the driver API starts with guest_enter or guest_enter_context, which
 * report what comes before any argument is looked at.
 */
#ifndef VGPU_LIBVGPU_GUEST_H
#define VGPU_LIBVGPU_GUEST_H

#include <pthread.h>

#include "guest/libvgpu/objects.h"
#include "guest/libvgpu/ranges.h"
#include "guest/libvgpu/thread.h"

struct guest {
    pthread_mutex_t lock; /* what follows, and objects.h */
    struct ranges device; /* by device address */
    struct ranges host;   /* by the program's address */
    struct ranges reserved,
        mapped;         /* device addresses without memory; mapped, with access or not */
    uint32_t primary;   /* handle of the primary context since its first use, or 0 */
    bool primary_reset; /* retained, and dead until it is retained again */
    unsigned primary_refs;
    unsigned primary_flags;
    uint64_t last_id; /* of contexts, streams and ranges */
};

extern struct guest guest;

static inline void guest_lock(void)
{
    pthread_mutex_lock(&guest.lock);
}

static inline void guest_unlock(void)
{
    pthread_mutex_unlock(&guest.lock);
}

/* Initialised, not in a callback, the channel lives. ret_thread may be NULL. */
CUresult guest_enter(struct guest_thread **ret_thread);

/* The same, and a live context is current, whose work has not failed. */
CUresult guest_enter_context(struct guest_thread **ret_thread);

/* The sticky error of the channel's work, or CUDA_SUCCESS. */
CUresult guest_poison(void);

/* The channel, or NULL. Valid until vgpu_disconnect. */
struct sender *guest_sender(void);

/* The device's snapshot; all zero before cuInit. */
const struct cuda_device_info *guest_device(void);

/* An attribute as this library has it, or VGPU_ATTRIBUTE_UNKNOWN. */
int guest_attribute(CUdevice_attribute attribute);

/* Connects if there is no connection yet, and fetches the snapshot. */
CUresult guest_prepare(void);
void guest_set_initialised(void);

/* Sets what vgpu_last_error tells. */
void guest_note_failure(uint32_t status, const char *text);

/*
 * Around a fork, in the thread that forks: nobody else holds what guards the library's state, so
 * that a child does not find it held by a thread that it does not have. First and last are the
 * locks of guest_prepare; those of session.c come in between.
 */
void guest_hold_prepare(void);
void guest_let_go_prepare(void);
void guest_hold_state(void);
void guest_let_go_state(void);

/* The session has ended: forgets objects, ranges, and which contexts are current. */
void guest_reset(void);

/* Where cuInit connects to if nobody called vgpu_connect. */
const char *guest_default_socket(void);

/* Told when a call is not supported and nobody set vgpu_on_unsupported; may be NULL. */
extern void (*const guest_default_unsupported)(const char *name);

#endif
