/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/mirror.h"

#include <errno.h>
#include <stdlib.h>

#include "carrier/device.h"
#include "common/clock.h"
#include "common/flag.h"
#include "guest/libvgpu/channel.h"
#include "guest/libvgpu/receive.h"
#include "ring/pages.h"

/* What is populated at once, and remembered. */
#define BLOCK_BYTES (64u << 10)

/* How soon to look again while the transfers are full. */
#define TAIL_LOOK_NS VGPU_NS_PER_MS

int mirror_init(struct sender *sender, struct vgpu_transfer_page *page)
{
    struct mirror *mirror = calloc(1, sizeof(*mirror));
    uint64_t blocks = sender->map.geometry.data_bytes / BLOCK_BYTES + 1;

    if (mirror)
        mirror->populated = calloc(blocks / 8 + 1, 1);
    if (!mirror || !mirror->populated) {
        free(mirror);
        return -ENOMEM;
    }
    mirror->page = page;
    pthread_mutex_init(&mirror->push_lock, NULL);
    pthread_mutex_init(&mirror->expected_lock, NULL);
    sender->mirror = mirror;
    return 0;
}

void mirror_release(struct sender *sender)
{
    struct mirror *mirror = sender->mirror;

    if (!mirror)
        return;
    pthread_mutex_destroy(&mirror->push_lock);
    pthread_mutex_destroy(&mirror->expected_lock);
    free(mirror->populated);
    free(mirror->expected);
    free(mirror);
    sender->mirror = NULL;
}

static bool has_room(const struct mirror *mirror)
{
    return mirror->head - page_load_u32(&mirror->page->tail) < VGPU_TRANSFERS;
}

/* With the lock held, which others wait for: they need the same. False: the channel is gone. */
static bool await_room(struct sender *sender)
{
    while (!has_room(sender->mirror)) {
        if (vgpu_flag_get(&sender->gone))
            return false;
        receive_await_progress(sender, receive_progress(sender), TAIL_LOOK_NS);
    }
    return true;
}

static void push(struct sender *sender, const struct vgpu_transfer *transfer)
{
    struct mirror *mirror = sender->mirror;

    pthread_mutex_lock(&mirror->push_lock);
    if (await_room(sender)) {
        mirror->page->transfer[mirror->head % VGPU_TRANSFERS] = *transfer;
        mirror->head++;
        /* Release: pairs with the device's load before it reads the transfer. */
        page_store_u32(&mirror->page->head, mirror->head);
    }
    pthread_mutex_unlock(&mirror->push_lock);
}

void mirror_upload_rows(struct sender *sender, uint64_t offset, uint64_t row_bytes,
                        uint64_t pitch_bytes, uint64_t rows)
{
    if (!sender->mirror || row_bytes == 0)
        return;
    while (rows > 0) {
        uint32_t part = rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;

        push(sender, &(struct vgpu_transfer){.offset = offset,
                                             .row_bytes = row_bytes,
                                             .pitch_bytes = pitch_bytes,
                                             .rows = part});
        offset += part * pitch_bytes;
        rows -= part;
    }
}

void mirror_upload(struct sender *sender, uint64_t offset, uint64_t bytes)
{
    mirror_upload_rows(sender, offset, bytes, bytes, 1);
}

static bool make_room(struct mirror *mirror)
{
    size_t room = mirror->expected_room ? mirror->expected_room * 2 : 64;
    struct vgpu_slice *larger;

    if (mirror->expected_count < mirror->expected_room)
        return true;
    larger = realloc(mirror->expected, room * sizeof(*larger));
    if (!larger)
        return false;
    mirror->expected = larger;
    mirror->expected_room = room;
    return true;
}

CUresult mirror_expect(struct sender *sender, uint64_t offset, uint64_t bytes)
{
    struct mirror *mirror = sender->mirror;
    bool noted;

    pthread_mutex_lock(&mirror->expected_lock);
    noted = make_room(mirror);
    if (noted)
        mirror->expected[mirror->expected_count++] =
            (struct vgpu_slice){.offset = offset, .bytes = bytes};
    pthread_mutex_unlock(&mirror->expected_lock);
    return noted ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void mirror_expect_no_more(struct sender *sender, uint64_t offset)
{
    struct mirror *mirror = sender->mirror;

    pthread_mutex_lock(&mirror->expected_lock);
    for (size_t i = 0; i < mirror->expected_count; i++) {
        if (mirror->expected[i].offset == offset) {
            mirror->expected[i] = mirror->expected[--mirror->expected_count];
            break;
        }
    }
    pthread_mutex_unlock(&mirror->expected_lock);
}

bool mirror_is_expected(struct sender *sender, uint64_t offset, uint64_t bytes)
{
    struct mirror *mirror = sender->mirror;
    bool found = false;

    pthread_mutex_lock(&mirror->expected_lock);
    for (size_t i = 0; i < mirror->expected_count && !found; i++) {
        const struct vgpu_slice *slice = &mirror->expected[i];

        found = slice->offset < offset + bytes && offset < slice->offset + slice->bytes;
    }
    pthread_mutex_unlock(&mirror->expected_lock);
    return found;
}

bool mirror_populate_locked(struct sender *sender, uint64_t offset, uint64_t bytes)
{
    struct mirror *mirror = sender->mirror;
    uint64_t data_bytes = sender->map.geometry.data_bytes;

    if (!mirror || bytes == 0)
        return true;
    for (uint64_t i = offset / BLOCK_BYTES; i <= (offset + bytes - 1) / BLOCK_BYTES; i++) {
        uint64_t start = i * BLOCK_BYTES;
        uint64_t part = data_bytes - start < BLOCK_BYTES ? data_bytes - start : BLOCK_BYTES;

        if (mirror->populated[i / 8] & (1u << i % 8))
            continue;
        if (device_populate(sender->device, &sender->map.geometry, start, part) < 0)
            return false;
        mirror->populated[i / 8] |= (uint8_t)(1u << i % 8);
    }
    return true;
}
