/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/copy.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_send.h"
#include "cuda/extent.h"
#include "guest/libvgpu/callback.h"
#include "guest/libvgpu/lookup.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/staged.h"
#include "guest/libvgpu/stream_rows.h"
#include "guest/libvgpu/unified.h"

/* What the worker keeps without asking for memory. */
#define COPY_INLINE_MAX_BYTES 1008u

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

CUresult copy_settle(uint32_t stream)
{
    return cuda_send_stream_sync(guest_sender(), &(struct cuda_args_stream_sync){.stream = stream});
}

static uint64_t side_extent(const struct copy_side *side, const struct copy_box *box)
{
    return cuda_extent_3d(side->pitch, side->slice_rows, box->width, box->height, box->depth);
}

uint64_t copy_row_offset(const struct copy_side *side, uint64_t y, uint64_t z)
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

CUresult copy_send(const struct copy_box *box, struct vgpu_place target, uint64_t target_pitch,
                   struct vgpu_place source, uint64_t source_pitch, uint16_t flags)
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
    result = copy_send(box, direct_place(&box->target), box->target.pitch,
                       direct_place(&box->source), box->source.pitch, flags);
    if (result != CUDA_SUCCESS && brings)
        mirror_expect_no_more(sender, box->target.area);
    return result;
}

/* Both sides are the program's: after what the stream has before it. */
static CUresult copy_on_host(const struct copy_box *box)
{
    CUresult result = copy_settle(box->stream);

    for (uint64_t z = 0; z < box->depth && result == CUDA_SUCCESS; z++)
        copy_rows((uint8_t *)(uintptr_t)box->target.address + copy_row_offset(&box->target, 0, z),
                  box->target.pitch,
                  (const uint8_t *)(uintptr_t)box->source.address +
                      copy_row_offset(&box->source, 0, z),
                  box->source.pitch, box->width, box->height);
    return result;
}

/* A few bytes travel in the record, and nothing is to come back. */
static CUresult upload_inline(const struct copy_box *box)
{
    return cuda_send_upload(
        guest_sender(), 0,
        &(struct cuda_args_upload){.target = box->target.address,
                                   .data = (const void *)(uintptr_t)box->source.address,
                                   .data_bytes = (uint32_t)box->width,
                                   .stream = box->stream});
}

static CUresult upload(const struct copy_box *box)
{
    CUresult result = CUDA_SUCCESS;

    /* A host function earlier in the stream may still fill what the program page-locked. */
    if (box->async && box->source.registered && callback_any(guest_sender()))
        result = copy_settle(box->stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (box->height == 1 && box->depth == 1 && box->width <= COPY_INLINE_MAX_BYTES)
        return upload_inline(box);
    return staged_upload(box);
}

static CUresult check_sides(const struct copy_box *box)
{
    const struct copy_side *sides[] = {&box->target, &box->source};

    for (int i = 0; i < 2; i++) {
        uint64_t bytes = side_extent(sides[i], box);

        if (bytes == UINT64_MAX)
            return CUDA_ERROR_INVALID_VALUE;
        if (sides[i]->place == COPY_DEVICE &&
            lookup_device_range(sides[i]->address, bytes, NULL) != CUDA_SUCCESS)
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
    return box->target.place == COPY_PAGEABLE ? staged_download(box) : upload(box);
}
