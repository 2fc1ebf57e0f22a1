/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/copy.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_send.h"
#include "cuda/extent.h"
#include "guest/libvgpu/callback.h"
#include "guest/libvgpu/data.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/unified.h"

/* Downloads under way at once: enough that copying out overlaps with the device's next. */
#define DOWNLOADS 4

struct copy_side copy_side_device(CUdeviceptr address)
{
    return (struct copy_side){.place = COPY_DEVICE, .address = address};
}

struct copy_side copy_side_host(const void *address)
{
    struct copy_side side = {.place = COPY_PAGEABLE, .address = (uint64_t)(uintptr_t)address};
    const struct range *range;

    guest_lock();
    range = ranges_find(&guest.host, side.address);
    if (range && range_is_pinned(range)) {
        side.place = COPY_PINNED;
        side.area = range->area + (side.address - range->start);
    }
    side.registered = range && range->what == RANGE_REGISTERED;
    /* Device memory, given as host memory: one address space tells what it is. */
    if (!range && unified_holds() && ranges_find(&guest.device, side.address))
        side.place = COPY_DEVICE;
    guest_unlock();
    return side;
}

struct copy_side copy_side_unified(CUdeviceptr address)
{
    const struct range *range;
    bool device;

    guest_lock();
    range = ranges_find(&guest.device, address);
    device = range != NULL;
    /* Page-locked memory is the host's, also where the device's address of it was given. */
    if (range && range->what == RANGE_HOST_VIEW && unified_holds()) {
        address = range->other + (address - range->start);
        device = false;
    }
    guest_unlock();
    return device ? copy_side_device(address) : copy_side_host((const void *)(uintptr_t)address);
}

/* Waits until the stream is idle. */
static CUresult copy_settle(uint32_t stream)
{
    return cuda_send_stream_sync(guest_sender(), &(struct cuda_args_stream_sync){.stream = stream});
}

static uint64_t side_extent(const struct copy_side *side, const struct copy_box *box)
{
    return cuda_extent_3d(side->pitch, side->slice_rows, box->width, box->height, box->depth);
}

static uint64_t row_offset(const struct copy_side *side, uint64_t y, uint64_t z)
{
    return (z * side->slice_rows + y) * side->pitch;
}

static struct vgpu_place direct_place(const struct copy_side *side)
{
    struct vgpu_place place = {.address = side->address, .place = VGPU_PLACE_DEVICE};

    if (side->place == COPY_PINNED) {
        place.address = side->area;
        place.place = VGPU_PLACE_DATA;
    }
    return place;
}

static bool is_flat(const struct copy_side *side, const struct copy_box *box)
{
    return (box->height == 1 || side->pitch == box->width) &&
           (box->depth == 1 || (side->pitch == box->width && side->slice_rows == box->height));
}

/* A box without gaps on either side is a row. */
static void flatten(struct copy_box *box)
{
    if (!is_flat(&box->target, box) || !is_flat(&box->source, box))
        return;
    box->width *= box->height * box->depth;
    box->height = 1;
    box->depth = 1;
}

static CUresult send_box(const struct copy_box *box, struct vgpu_place target,
                         uint64_t target_pitch, struct vgpu_place source, uint64_t source_pitch,
                         uint16_t flags)
{
    if (box->height == 1 && box->depth == 1)
        return cuda_send_copy(
            guest_sender(), flags,
            &(struct cuda_args_copy){
                .target = target, .source = source, .bytes = box->width, .stream = box->stream});
    return cuda_send_copy_3d(
        guest_sender(), flags,
        &(struct cuda_args_copy_3d){.target = target,
                                    .source = source,
                                    .target_pitch = target_pitch,
                                    .source_pitch = source_pitch,
                                    .target_slice_rows = box->target.slice_rows,
                                    .source_slice_rows = box->source.slice_rows,
                                    .width_bytes = box->width,
                                    .height = box->height,
                                    .depth = box->depth,
                                    .stream = box->stream});
}

/* What a mirror has to take along before a copy from page-locked memory. */
struct source_part {
    struct sender *sender;
    uint64_t offset, pitch, slice_bytes;
    uint64_t width, height, depth;
};

static void upload_part(const struct source_part *part)
{
    for (uint64_t z = 0; z < part->depth; z++)
        mirror_upload_rows(part->sender, part->offset + z * part->slice_bytes, part->width,
                           part->pitch, part->height);
}

/* As a host function: what the program sees in the stream's order is what is copied. */
static void upload_when_due(CUstream stream, CUresult status, void *argument)
{
    struct source_part *part = argument;

    (void)stream;
    if (status == CUDA_SUCCESS)
        upload_part(part);
    free(part);
}

static CUresult upload_in_stream(uint32_t stream, const struct source_part *part)
{
    struct cuda_args_host_function args = {.stream = stream};
    struct callback callback = {.with_status = upload_when_due, .drop = free};
    struct source_part *kept = malloc(sizeof(*kept));
    CUresult result;

    if (!kept)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *kept = *part;
    callback.user_data = kept;
    result = callback_add(part->sender, &callback, &args.token);
    if (result != CUDA_SUCCESS) {
        free(kept);
        return result;
    }
    result = cuda_send_host_function(part->sender, &args);
    if (result != CUDA_SUCCESS)
        callback_drop(part->sender, args.token);
    return result;
}

/*
 * A host function or a copy that has yet to run may still fill the source: then its turn in the
 * stream is awaited.
 */
static CUresult mirror_source(const struct copy_box *box)
{
    struct sender *sender = guest_sender();
    const struct source_part part = {
        .sender = sender,
        .offset = box->source.area,
        .pitch = box->source.pitch,
        .slice_bytes = box->source.slice_rows * box->source.pitch,
        .width = box->width,
        .height = box->height,
        .depth = box->depth,
    };

    if (!sender->mirror || box->source.place != COPY_PINNED)
        return CUDA_SUCCESS;
    if (callback_any(sender) ||
        mirror_is_expected(sender, part.offset, side_extent(&box->source, box)))
        return upload_in_stream(box->stream, &part);
    upload_part(&part);
    return CUDA_SUCCESS;
}

/*
 * Both sides are where the worker can reach them. Between device addresses nothing is waited for:
 * such a copy is asynchronous to the host in CUDA too.
 */
static CUresult copy_direct(const struct copy_box *box)
{
    bool on_device = box->target.place == COPY_DEVICE && box->source.place == COPY_DEVICE;
    uint16_t flags = box->async || on_device ? 0 : VGPU_RECORD_WAIT;
    struct sender *sender = guest_sender();
    bool brings = sender->mirror && box->target.place == COPY_PINNED && flags == 0;
    CUresult result = mirror_source(box);

    if (result == CUDA_SUCCESS && brings)
        result = mirror_expect(sender, box->target.area, side_extent(&box->target, box));
    if (result != CUDA_SUCCESS)
        return result;
    result = send_box(box, direct_place(&box->target), box->target.pitch,
                      direct_place(&box->source), box->source.pitch, flags);
    if (result != CUDA_SUCCESS && brings)
        mirror_expect_no_more(sender, box->target.area);
    return result;
}

static void copy_rows(uint8_t *target, uint64_t target_pitch, const uint8_t *source,
                      uint64_t source_pitch, uint64_t width, uint64_t rows)
{
    for (uint64_t y = 0; y < rows; y++)
        memmove(target + y * target_pitch, source + y * source_pitch, width);
}

/* Both sides are the program's: after what the stream has before it. */
static CUresult copy_on_host(const struct copy_box *box)
{
    CUresult result = copy_settle(box->stream);

    for (uint64_t z = 0; z < box->depth && result == CUDA_SUCCESS; z++)
        copy_rows((uint8_t *)(uintptr_t)box->target.address + row_offset(&box->target, 0, z),
                  box->target.pitch,
                  (const uint8_t *)(uintptr_t)box->source.address + row_offset(&box->source, 0, z),
                  box->source.pitch, box->width, box->height);
    return result;
}

/* The next part of a box that fits into one chunk: some rows of a slice, or a piece of a row. */
struct piece {
    uint64_t x, y, z;
    uint64_t width, rows;
};

/* Starts with *piece zero; false behind the last. */
static bool next_piece(const struct copy_box *box, uint64_t chunk, struct piece *piece)
{
    piece->x += piece->width;
    if (piece->x >= box->width) {
        piece->x = 0;
        piece->y += piece->rows;
    }
    if (piece->y >= box->height) {
        piece->y = 0;
        piece->z++;
    }
    if (piece->z >= box->depth)
        return false;
    piece->width = box->width - piece->x < chunk ? box->width - piece->x : chunk;
    piece->rows = 1;
    if (piece->width == box->width) {
        piece->rows = chunk / box->width;
        if (piece->rows > box->height - piece->y)
            piece->rows = box->height - piece->y;
    }
    return true;
}

/* The record for one piece: packed in `slot`, in place at `device`. */
static CUresult send_piece(const struct copy_box *box, const struct copy_side *device,
                           const struct piece *piece, const struct staging_slot *slot, bool upload)
{
    struct copy_box part = {
        .width = piece->width, .height = piece->rows, .depth = 1, .stream = box->stream};
    struct vgpu_place there = {.address = device->address + piece->x +
                                          row_offset(device, piece->y, piece->z),
                               .place = VGPU_PLACE_DEVICE};
    struct vgpu_place here = {.address = slot->offset, .place = VGPU_PLACE_DATA};

    part.target.slice_rows = piece->rows;
    part.source.slice_rows = piece->rows;
    if (upload)
        return send_box(&part, there, device->pitch, here, piece->width, VGPU_RECORD_WAIT);
    return send_box(&part, here, piece->width, there, device->pitch, VGPU_RECORD_WAIT);
}

static uint8_t *piece_host(const struct copy_side *side, const struct piece *piece)
{
    return (uint8_t *)(uintptr_t)side->address + piece->x + row_offset(side, piece->y, piece->z);
}

/* As CUDA, returns when all of the source was read. */
static CUresult upload(const struct copy_box *box)
{
    struct sender *sender = guest_sender();
    struct guest_thread *thread = thread_self();
    struct piece piece = {0};

    while (next_piece(box, sender->chunk_bytes, &piece)) {
        struct staging_slot *slot = staging_take(sender, piece.width * piece.rows, STAGING_UPLOAD);
        CUresult result;

        if (!slot)
            return staging_refused(sender);
        copy_rows(staging_data(sender, slot), piece.width, piece_host(&box->source, &piece),
                  box->source.pitch, piece.width, piece.rows);
        mirror_upload(sender, slot->offset, piece.width * piece.rows);
        slot->ticket.posted = true;
        thread->deferred = &slot->ticket;
        result = send_piece(box, &box->target, &piece, slot, true);
        if (result != CUDA_SUCCESS) {
            staging_give(sender, slot);
            return result;
        }
        staging_sent(sender, slot);
    }
    return CUDA_SUCCESS;
}

struct download {
    struct staging_slot *slot;
    struct piece piece;
};

/* Waits for the oldest download, and copies it out if all went well. */
static CUresult finish_download(const struct copy_box *box, struct download *download,
                                CUresult result)
{
    struct sender *sender = guest_sender();
    const struct piece *piece = &download->piece;

    receive_await(sender, &download->slot->ticket);
    if (result == CUDA_SUCCESS)
        result = download->slot->ticket.result;
    if (result == CUDA_SUCCESS)
        copy_rows(piece_host(&box->target, piece), box->target.pitch,
                  staging_data(sender, download->slot), piece->width, piece->width, piece->rows);
    staging_give(sender, download->slot);
    return result;
}

static CUresult start_download(const struct copy_box *box, struct download *download,
                               enum staging_use *use)
{
    struct sender *sender = guest_sender();
    const struct piece *piece = &download->piece;
    CUresult result;

    download->slot = staging_take(sender, piece->width * piece->rows, *use);
    if (!download->slot && *use == STAGING_EAGER) {
        /* Others hold much: not to hold more while the stream may be blocked on them. */
        result = copy_settle(box->stream);
        if (result != CUDA_SUCCESS)
            return result;
        *use = STAGING_PROVED;
        download->slot = staging_take(sender, piece->width * piece->rows, *use);
    }
    if (!download->slot)
        return staging_refused(sender);
    thread_self()->deferred = &download->slot->ticket;
    result = send_piece(box, &box->source, piece, download->slot, false);
    if (result != CUDA_SUCCESS)
        staging_give(sender, download->slot);
    return result;
}

static CUresult download(const struct copy_box *box)
{
    struct sender *sender = guest_sender();
    struct download flying[DOWNLOADS];
    struct piece piece = {0};
    enum staging_use use = STAGING_EAGER;
    unsigned first = 0, count = 0;
    CUresult result = CUDA_SUCCESS;

    while (result == CUDA_SUCCESS && next_piece(box, sender->chunk_bytes, &piece)) {
        struct download *next;

        if (count == DOWNLOADS) {
            result = finish_download(box, &flying[first], result);
            first = (first + 1) % DOWNLOADS;
            count--;
        }
        if (result != CUDA_SUCCESS)
            break;
        next = &flying[(first + count) % DOWNLOADS];
        next->piece = piece;
        result = start_download(box, next, &use);
        if (result == CUDA_SUCCESS)
            count++;
    }
    for (; count > 0; count--) {
        result = finish_download(box, &flying[first], result);
        first = (first + 1) % DOWNLOADS;
    }
    if (result == CUDA_SUCCESS)
        result = receive_late_error(sender);
    return result;
}

static CUresult check_sides(const struct copy_box *box)
{
    const struct copy_side *sides[] = {&box->target, &box->source};

    for (int i = 0; i < 2; i++) {
        uint64_t bytes = side_extent(sides[i], box);

        if (bytes == UINT64_MAX)
            return CUDA_ERROR_INVALID_VALUE;
        if (sides[i]->place == COPY_DEVICE &&
            lookup_device_range(sides[i]->address, bytes) != CUDA_SUCCESS)
            return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* A copy that starts in page-locked memory and ends beyond it is staged. */
static void demote(struct copy_side *side, const struct copy_box *box)
{
    bool covered;

    if (side->place != COPY_PINNED)
        return;
    guest_lock();
    covered = ranges_cover(&guest.host, side->address, side_extent(side, box)) != NULL;
    guest_unlock();
    if (!covered)
        side->place = COPY_PAGEABLE;
}

CUresult copy_run(struct copy_box *box)
{
    CUresult result;

    flatten(box);
    result = check_sides(box);
    if (result != CUDA_SUCCESS)
        return result;
    demote(&box->target, box);
    demote(&box->source, box);
    if (box->target.place != COPY_DEVICE && box->source.place != COPY_DEVICE)
        return copy_on_host(box);
    if (box->target.place != COPY_PAGEABLE && box->source.place != COPY_PAGEABLE)
        return copy_direct(box);
    if (box->target.place == COPY_PAGEABLE)
        return download(box);
    /* A host function earlier in the stream may still fill what the program page-locked. */
    if (box->async && box->source.registered && callback_any(guest_sender()))
        result = copy_settle(box->stream);
    return result == CUDA_SUCCESS ? upload(box) : result;
}
