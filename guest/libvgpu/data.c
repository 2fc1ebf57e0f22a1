/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/data.h"

#include <errno.h>
#include <string.h>
#include <vgpu/ioctl.h>

#include "common/clock.h"
#include "common/flag.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/receive.h"
#include "ring/pages.h"

#define PAGE_BYTES        4096u
#define CHUNK_MAX_BYTES   (8u << 20)
#define STAGING_MAX_BYTES (64u << 20)

/* `issued` grows without a kick: how soon to look again while a blob waits for it. */
#define ISSUED_LOOK_NS VGPU_NS_PER_MS

static uint64_t page_floor(uint64_t bytes)
{
    return bytes & ~(uint64_t)(PAGE_BYTES - 1);
}

int data_init(struct sender *sender)
{
    uint64_t bytes = sender->map.geometry.data_bytes;
    uint64_t staging = bytes / 2 < STAGING_MAX_BYTES ? bytes / 2 : STAGING_MAX_BYTES;
    uint64_t chunk = page_floor(staging / 8);

    if (chunk < PAGE_BYTES)
        chunk = PAGE_BYTES;
    if (chunk > CHUNK_MAX_BYTES)
        chunk = CHUNK_MAX_BYTES;
    if (bytes < 4 * PAGE_BYTES)
        return -EPROTO;
    sender->chunk_bytes = chunk;
    sender->staging_max_bytes = staging;
    sender->staging_eager_max_bytes = staging / 2;
    sender->host_max_bytes = bytes - staging;
    pthread_mutex_init(&sender->data_lock, NULL);
    return area_init(&sender->area, bytes);
}

void data_release(struct sender *sender)
{
    area_release(&sender->area);
    pthread_mutex_destroy(&sender->data_lock);
}

/* The functions named *_locked are called with data_lock held. */

static void drop_slot_locked(struct sender *sender, struct staging_slot *slot)
{
    area_give(&sender->area, slot->offset, slot->bytes);
    sender->staging_bytes -= slot->bytes;
    if (slot->eager)
        sender->staging_eager_bytes -= slot->bytes;
    slot->used = false;
}

/* Uploads that are done come back. */
static void reap_staging_locked(struct sender *sender)
{
    for (size_t i = 0; i < STAGING_SLOTS && sender->staging_loose > 0; i++) {
        struct staging_slot *slot = &sender->staging[i];

        if (slot->used && !slot->owned && receive_is_done(sender, &slot->ticket)) {
            sender->staging_loose--;
            drop_slot_locked(sender, slot);
        }
    }
}

static void reap_posted_locked(struct sender *sender)
{
    uint64_t issued = page_load_u64(&sender->map.page->notice.issued);
    size_t kept = 0;

    for (size_t i = 0; i < sender->posted_count; i++) {
        struct posted_blob *blob = &sender->posted[i];

        if (blob->seq <= issued)
            area_give(&sender->area, blob->offset, blob->bytes);
        else
            sender->posted[kept++] = *blob;
    }
    sender->posted_count = kept;
}

static struct staging_slot *free_slot_locked(struct sender *sender)
{
    for (size_t i = 0; i < STAGING_SLOTS; i++)
        if (!sender->staging[i].used)
            return &sender->staging[i];
    return NULL;
}

static struct staging_slot *try_staging_locked(struct sender *sender, uint64_t bytes,
                                               enum staging_use use, bool *ret_no_memory)
{
    bool eager = use == STAGING_EAGER;
    struct staging_slot *slot = free_slot_locked(sender);
    uint64_t offset;

    if (!slot || sender->staging_bytes + bytes > sender->staging_max_bytes)
        return NULL;
    if (eager && sender->staging_eager_bytes + bytes > sender->staging_eager_max_bytes)
        return NULL;
    if (area_take(&sender->area, bytes, AREA_UNIT, AREA_FIRST, &offset) < 0)
        return NULL;
    if (!mirror_populate_locked(sender, offset, bytes)) {
        area_give(&sender->area, offset, bytes);
        *ret_no_memory = true;
        return NULL;
    }
    memset(&slot->ticket, 0, sizeof(slot->ticket));
    slot->offset = offset;
    slot->bytes = bytes;
    slot->used = true;
    /* Owned until sent: an upload lets go in staging_sent. */
    slot->owned = true;
    slot->eager = eager;
    sender->staging_bytes += bytes;
    if (eager)
        sender->staging_eager_bytes += bytes;
    return slot;
}

/* What came back is taken before what was never touched. */
static struct staging_slot *try_staging(struct sender *sender, uint64_t bytes, enum staging_use use,
                                        bool *ret_no_memory)
{
    struct staging_slot *slot;

    pthread_mutex_lock(&sender->data_lock);
    reap_staging_locked(sender);
    slot = try_staging_locked(sender, bytes, use, ret_no_memory);
    pthread_mutex_unlock(&sender->data_lock);
    return slot;
}

struct staging_slot *staging_try(struct sender *sender, uint64_t bytes, enum staging_use use)
{
    bool no_memory = false;

    receive_poll(sender);
    return try_staging(sender, bytes, use, &no_memory);
}

struct staging_slot *staging_take(struct sender *sender, uint64_t bytes, enum staging_use use)
{
    receive_poll(sender);
    for (;;) {
        uint64_t seen = receive_progress(sender);
        bool no_memory = false;
        struct staging_slot *slot = try_staging(sender, bytes, use, &no_memory);

        if (slot || no_memory || vgpu_flag_get(&sender->gone))
            return slot;
        receive_await_progress(sender, seen, RECEIVE_FOREVER);
    }
}

CUresult staging_refused(struct sender *sender)
{
    return vgpu_flag_get(&sender->gone) ? sender->gone_result : CUDA_ERROR_OUT_OF_MEMORY;
}

void staging_sent(struct sender *sender, struct staging_slot *slot)
{
    pthread_mutex_lock(&sender->data_lock);
    slot->owned = false;
    sender->staging_loose++;
    pthread_mutex_unlock(&sender->data_lock);
}

void staging_give(struct sender *sender, struct staging_slot *slot)
{
    pthread_mutex_lock(&sender->data_lock);
    drop_slot_locked(sender, slot);
    pthread_mutex_unlock(&sender->data_lock);
    receive_note_progress(sender);
}

/* True if something that is given back without anyone's doing is still out. */
static bool more_to_come_locked(const struct sender *sender)
{
    return sender->posted_count > 0 || sender->staging_bytes > 0;
}

CUresult data_take(struct sender *sender, uint64_t bytes, uint64_t *ret_offset)
{
    for (;;) {
        uint64_t seen = receive_progress(sender);
        bool more;
        int status;

        pthread_mutex_lock(&sender->data_lock);
        status = area_take(&sender->area, bytes, AREA_UNIT, AREA_FIRST, ret_offset);
        if (status == -ENOSPC) {
            reap_staging_locked(sender);
            reap_posted_locked(sender);
            status = area_take(&sender->area, bytes, AREA_UNIT, AREA_FIRST, ret_offset);
        }
        if (status == 0 && !mirror_populate_locked(sender, *ret_offset, bytes)) {
            area_give(&sender->area, *ret_offset, bytes);
            status = -ENOMEM;
        }
        more = more_to_come_locked(sender);
        pthread_mutex_unlock(&sender->data_lock);
        if (status == 0)
            return CUDA_SUCCESS;
        if (vgpu_flag_get(&sender->gone))
            return sender->gone_result;
        if (!more || status != -ENOSPC || bytes > sender->map.geometry.data_bytes)
            return CUDA_ERROR_OUT_OF_MEMORY;
        receive_await_progress(sender, seen, ISSUED_LOOK_NS);
    }
}

void data_give(struct sender *sender, uint64_t offset, uint64_t bytes)
{
    pthread_mutex_lock(&sender->data_lock);
    area_give(&sender->area, offset, bytes);
    pthread_mutex_unlock(&sender->data_lock);
    receive_note_progress(sender);
}

void data_give_when_issued(struct sender *sender, uint64_t seq, uint64_t offset, uint64_t bytes)
{
    for (;;) {
        bool noted = false;

        pthread_mutex_lock(&sender->data_lock);
        reap_posted_locked(sender);
        if (sender->posted_count < POSTED_SLOTS) {
            sender->posted[sender->posted_count++] =
                (struct posted_blob){.seq = seq, .offset = offset, .bytes = bytes};
            noted = true;
        }
        pthread_mutex_unlock(&sender->data_lock);
        /* On a channel that has ended the area does not matter any more. */
        if (noted || vgpu_flag_get(&sender->gone))
            return;
        receive_await_progress(sender, receive_progress(sender), ISSUED_LOOK_NS);
    }
}

uint64_t data_host_bytes(uint64_t bytes)
{
    return page_floor(bytes + PAGE_BYTES - 1);
}

CUresult data_take_host(struct sender *sender, uint64_t bytes, uint64_t *ret_offset)
{
    int status = -ENOSPC;

    if (bytes > sender->host_max_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    bytes = data_host_bytes(bytes);
    pthread_mutex_lock(&sender->data_lock);
    if (sender->host_bytes + bytes <= sender->host_max_bytes) {
        reap_staging_locked(sender);
        reap_posted_locked(sender);
        status = area_take(&sender->area, bytes, PAGE_BYTES, AREA_LAST, ret_offset);
    }
    if (status == 0 && !mirror_populate_locked(sender, *ret_offset, bytes)) {
        area_give(&sender->area, *ret_offset, bytes);
        status = -ENOMEM;
    }
    if (status == 0)
        sender->host_bytes += bytes;
    pthread_mutex_unlock(&sender->data_lock);
    return status == 0 ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void data_give_host(struct sender *sender, uint64_t offset, uint64_t bytes)
{
    bytes = data_host_bytes(bytes);
    pthread_mutex_lock(&sender->data_lock);
    sender->host_bytes -= bytes;
    area_give(&sender->area, offset, bytes);
    pthread_mutex_unlock(&sender->data_lock);
    receive_note_progress(sender);
}

struct move_file data_file(const struct sender *sender, uint64_t offset)
{
    return (struct move_file){
        .fd = sender->device,
        .offset = VGPU_MMAP_CHANNEL + sender->map.geometry.data_offset + offset,
    };
}
