/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's notices in the channel page, as the guest's side reads them: each field loaded once.
 * Nothing here is proved; a hostile worker can only mislead its own guest.
 */
#ifndef VGPU_RING_NOTICE_H
#define VGPU_RING_NOTICE_H

#include <vgpu/ring.h>

/* Acquire: pairs with the worker's release; what it did before is done. */
static inline uint64_t ring_notice_issued(const struct vgpu_channel_page *page)
{
    return __atomic_load_n(&page->notice.issued, __ATOMIC_ACQUIRE);
}

static inline uint64_t ring_notice_credit(const struct vgpu_channel_page *page)
{
    return __atomic_load_n(&page->notice.credit, __ATOMIC_ACQUIRE);
}

static inline uint32_t ring_notice_poisoned(const struct vgpu_channel_page *page)
{
    return __atomic_load_n(&page->notice.poisoned, __ATOMIC_ACQUIRE);
}

static inline uint32_t ring_notice_state(const struct vgpu_channel_page *page)
{
    return __atomic_load_n(&page->notice.state, __ATOMIC_ACQUIRE);
}

#endif
