/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Executions: copies and fills.
 *
 * A copy goes to the driver in pieces, so that a revoke need not wait for a gigabyte: at most
 * WORKER_CHUNK_BYTES each, and none across the end of a page-locked segment. item->progress counts
 * the bytes that were issued, row by row.
 */
#include <string.h>

#include "ring/pages.h"
#include "worker/channel.h"

struct side {
    struct cuda_place place;
    uint64_t pitch, slice_rows;
};

struct piece {
    uint64_t slice, row, column;
    uint64_t rows;  /* whole ones, if more than 1 */
    uint64_t bytes; /* of a row */
};

static uint64_t at(const struct side *side, const struct piece *piece)
{
    return piece->slice * side->slice_rows * side->pitch + piece->row * side->pitch + piece->column;
}

static uint64_t data_offset(const struct channel *channel, const struct side *side,
                            const struct piece *piece)
{
    return (uint64_t)((const uint8_t *)side->place.host - channel->map.data) + at(side, piece);
}

/* Bytes that one piece may span on this side. */
static uint64_t reach(const struct channel *channel, const struct side *side,
                      const struct piece *piece)
{
    uint64_t base =
        side->place.device ? side->place.address : (uint64_t)(uintptr_t)side->place.host;

    return data_reach(channel, base + at(side, piece));
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many whole rows one piece may take on this side; 0: not even one. */
static uint64_t rows_within(const struct side *side, uint64_t span, uint64_t width)
{
    if (span < width)
        return 0;
    return side->pitch == 0 ? 1 : 1 + (span - width) / side->pitch;
}

static void shape_piece(const struct channel *channel, const struct side *target,
                        const struct side *source, uint64_t width, uint64_t height,
                        uint64_t progress, struct piece *piece)
{
    uint64_t row = progress / width;
    uint64_t span, rows;

    *piece = (struct piece){row / height, row % height, progress % width, 1, 0};
    rows = least(height - piece->row, WORKER_CHUNK_BYTES / width);
    rows = least(rows, rows_within(target, reach(channel, target, piece), width));
    rows = least(rows, rows_within(source, reach(channel, source, piece), width));
    if (piece->column == 0 && rows > 0) {
        piece->rows = rows;
        piece->bytes = width;
        return;
    }
    span = least(reach(channel, target, piece), reach(channel, source, piece));
    piece->bytes = least(least(width - piece->column, span), WORKER_CHUNK_BYTES);
}

static CUresult issue_row(const struct cuda_driver *cu, const struct side *target,
                          const struct side *source, const struct piece *piece, CUstream stream)
{
    uint64_t to = at(target, piece);
    uint64_t from = at(source, piece);
    uint8_t *target_host = target->place.host;
    const uint8_t *source_host = source->place.host;

    if (target->place.device && source->place.device)
        return cu->cuMemcpyDtoDAsync(target->place.address + to, source->place.address + from,
                                     piece->bytes, stream);
    if (target->place.device)
        return cu->cuMemcpyHtoDAsync(target->place.address + to, source_host + from, piece->bytes,
                                     stream);
    if (source->place.device)
        return cu->cuMemcpyDtoHAsync(target_host + to, source->place.address + from, piece->bytes,
                                     stream);
    return cu->cuMemcpyAsync((CUdeviceptr)(uintptr_t)(target_host + to),
                             (CUdeviceptr)(uintptr_t)(source_host + from), piece->bytes, stream);
}

static CUresult issue_rows(const struct cuda_driver *cu, const struct side *target,
                           const struct side *source, const struct piece *piece, CUstream stream)
{
    CUDA_MEMCPY2D copy = {.WidthInBytes = piece->bytes,
                          .Height = piece->rows,
                          .srcPitch = source->pitch,
                          .dstPitch = target->pitch};

    copy.srcMemoryType = source->place.device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
    copy.dstMemoryType = target->place.device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
    if (source->place.device)
        copy.srcDevice = source->place.address + at(source, piece);
    else
        copy.srcHost = (const uint8_t *)source->place.host + at(source, piece);
    if (target->place.device)
        copy.dstDevice = target->place.address + at(target, piece);
    else
        copy.dstHost = (uint8_t *)target->place.host + at(target, piece);
    return cu->cuMemcpy2DAsync(&copy, stream);
}

static void lock_side(struct channel *channel, const struct side *side, const struct piece *piece)
{
    uint64_t span = (piece->rows - 1) * side->pitch + piece->bytes;

    if (!side->place.device)
        data_lock(channel, data_offset(channel, side, piece), span);
}

static void count_bytes(struct channel *channel, const struct side *target,
                        const struct side *source, uint64_t bytes)
{
    struct vgpu_report_page *report = channel->map.report;

    /* Written by this process only, so that reading it back is for the sum alone. */
    if (target->place.device && !source->place.device)
        page_store_u64(&report->bytes_to_device, report->bytes_to_device + bytes);
    if (!target->place.device && source->place.device)
        page_store_u64(&report->bytes_from_device, report->bytes_from_device + bytes);
}

/* In a mirrored channel: what the whole copy writes to the data area, behind its last piece. */
static CUresult follow_written(struct channel *channel, const struct item *item,
                               const struct side *target, uint64_t width, uint64_t height,
                               uint64_t depth)
{
    /* What says nothing in a copy of one row or slice may be any number there. */
    uint64_t pitch = height > 1 || depth > 1 ? target->pitch : width;
    struct vgpu_written what = {
        .row_bytes = width,
        .pitch_bytes = pitch,
        .slice_pitch_bytes = depth > 1 ? pitch * target->slice_rows : pitch * height,
        .rows = (uint32_t)height,
        .slices = (uint32_t)depth,
    };

    if (!channel->written.mirrored || target->place.device)
        return CUDA_SUCCESS;
    what.offset = (uint64_t)((const uint8_t *)target->place.host - channel->map.data);
    return written_follow(channel, item, &what);
}

/* The copy's last piece is in the driver's hands. */
static CUresult all_issued(struct channel *channel, struct item *item)
{
    CUresult result;

    if (!(item->call.flags & VGPU_RECORD_WAIT))
        return CUDA_SUCCESS;
    item_wait_init(item, NULL);
    result = stream_attach(channel, item->stream, &item->wait);
    if (item->wait.result == CUDA_SUCCESS)
        item->wait.result = result;
    return item_wait_begin(channel, item);
}

static CUresult issue_pieces(struct channel *channel, struct item *item, const struct side *target,
                             const struct side *source, uint64_t width, uint64_t height,
                             uint64_t depth)
{
    uint64_t total = width * height * depth; /* fits: both sides' ranges were proved */
    bool first = item->progress == 0 && !item->delayed;
    CUresult followed = CUDA_SUCCESS;

    if (channel->written.mirrored && (height > UINT32_MAX || depth > UINT32_MAX))
        return CUDA_ERROR_NOT_SUPPORTED;
    while (item->progress < total) {
        struct piece piece;
        uint64_t bytes, estimate_ns;
        CUresult result;

        shape_piece(channel, target, source, width, height, item->progress, &piece);
        bytes = piece.bytes * piece.rows;
        estimate_ns = turn_copy_estimate(channel, bytes);
        if (!first && !turn_allows(channel, estimate_ns, 0))
            return CUDA_CALL_AGAIN;
        if (!turn_has_bytes(channel, bytes)) {
            item->delayed = true;
            return CUDA_CALL_AGAIN;
        }
        first = false;
        lock_side(channel, target, &piece);
        lock_side(channel, source, &piece);
        stages_note(&channel->stages, &channel->stages.sum.issue_ns);
        result = piece.rows > 1 ? issue_rows(channel->cu, target, source, &piece, item->stream->cu)
                                : issue_row(channel->cu, target, source, &piece, item->stream->cu);
        stages_note(&channel->stages, &channel->stages.sum.driver_ns);
        if (result != CUDA_SUCCESS)
            return result;
        item->progress += bytes;
        item->batched = item->progress == total;
        count_bytes(channel, target, source, bytes);
        /* Before the stream is covered: the mark must not be done earlier. */
        if (item->batched)
            followed = follow_written(channel, item, target, width, height, depth);
        stream_add_unit(channel, item->stream, NULL, bytes, estimate_ns,
                        item->batched ? item : NULL);
    }
    return followed == CUDA_SUCCESS ? all_issued(channel, item) : followed;
}

CUresult exec_copy(struct channel *channel, const struct cuda_call *call,
                   const struct cuda_in_copy *in)
{
    const struct side target = {.place = in->target};
    const struct side source = {.place = in->source};

    return issue_pieces(channel, item_of(call), &target, &source, in->bytes, 1, 1);
}

CUresult exec_copy_3d(struct channel *channel, const struct cuda_call *call,
                      const struct cuda_in_copy_3d *in)
{
    const struct side target = {in->target, in->target_pitch, in->target_slice_rows};
    const struct side source = {in->source, in->source_pitch, in->source_slice_rows};

    return issue_pieces(channel, item_of(call), &target, &source, in->width_bytes, in->height,
                        in->depth);
}

/* The driver has read the bytes when it returns: they are few, and no memory that it knows of. */
CUresult exec_upload(struct channel *channel, const struct cuda_call *call,
                     const struct cuda_in_upload *in)
{
    struct item *item = item_of(call);
    const struct side target = {.place = {.device = true}};
    const struct side source = {.place = {.device = false}};
    CUresult result = CUDA_SUCCESS;

    stages_note(&channel->stages, &channel->stages.sum.issue_ns);
    if (in->data_bytes > 0)
        result =
            channel->cu->cuMemcpyHtoDAsync(in->target, in->data, in->data_bytes, item->stream->cu);
    stages_note(&channel->stages, &channel->stages.sum.driver_ns);
    if (result != CUDA_SUCCESS)
        return result;
    item->batched = true;
    count_bytes(channel, &target, &source, in->data_bytes);
    stream_add_unit(channel, item->stream, NULL, in->data_bytes,
                    turn_copy_estimate(channel, in->data_bytes), item);
    return CUDA_SUCCESS;
}

static CUresult fill_row(const struct cuda_driver *cu, const struct cuda_in_fill *in,
                         CUstream stream)
{
    switch (in->element_bytes) {
    case 1:
        return cu->cuMemsetD8Async(in->target, (unsigned char)in->value, in->width, stream);
    case 2:
        return cu->cuMemsetD16Async(in->target, (unsigned short)in->value, in->width, stream);
    default:
        return cu->cuMemsetD32Async(in->target, in->value, in->width, stream);
    }
}

static CUresult fill_rows(const struct cuda_driver *cu, const struct cuda_in_fill *in,
                          CUstream stream)
{
    switch (in->element_bytes) {
    case 1:
        return cu->cuMemsetD2D8Async(in->target, in->pitch_bytes, (unsigned char)in->value,
                                     in->width, in->height, stream);
    case 2:
        return cu->cuMemsetD2D16Async(in->target, in->pitch_bytes, (unsigned short)in->value,
                                      in->width, in->height, stream);
    default:
        return cu->cuMemsetD2D32Async(in->target, in->pitch_bytes, in->value, in->width, in->height,
                                      stream);
    }
}

/* Page-locked memory that the device sees too: no call goes beyond the end of a segment. */
static CUresult fill_pieces(struct channel *channel, const struct cuda_in_fill *in, CUstream stream)
{
    const struct side side = {.place = {.device = true, .address = in->target},
                              .pitch = in->pitch_bytes};
    uint64_t width = in->width * in->element_bytes;
    uint64_t progress = 0;
    CUresult result = CUDA_SUCCESS;

    while (result == CUDA_SUCCESS && progress < width * in->height) {
        struct cuda_in_fill one = *in;
        struct piece piece;

        shape_piece(channel, &side, &side, width, in->height, progress, &piece);
        one.target += at(&side, &piece);
        one.width = piece.bytes / in->element_bytes;
        one.height = piece.rows;
        result = piece.rows > 1 ? fill_rows(channel->cu, &one, stream)
                                : fill_row(channel->cu, &one, stream);
        progress += piece.bytes * piece.rows;
    }
    return result;
}

static CUresult issue_fill(struct channel *channel, const struct cuda_in_fill *in, CUstream stream)
{
    bool aligned = in->target % in->element_bytes == 0 &&
                   (in->height == 1 || in->pitch_bytes % in->element_bytes == 0);

    /* What is not aligned the driver refuses. */
    if (aligned && data_reach(channel, in->target) != UINT64_MAX)
        return fill_pieces(channel, in, stream);
    return in->height == 1 ? fill_row(channel->cu, in, stream) : fill_rows(channel->cu, in, stream);
}

CUresult exec_fill(struct channel *channel, const struct cuda_call *call,
                   const struct cuda_in_fill *in)
{
    struct item *item = item_of(call);
    uint64_t bytes = in->width * in->height * in->element_bytes;
    CUresult result = issue_fill(channel, in, item->stream->cu);

    if (result != CUDA_SUCCESS)
        return result;
    item->batched = true;
    /* The estimate of a copy, without teaching it: fills are faster. */
    stream_add_unit(channel, item->stream, NULL, 0, turn_copy_estimate(channel, bytes / 16), item);
    return all_issued(channel, item);
}

CUresult exec_stream_write_value(struct channel *channel, const struct cuda_call *call,
                                 const struct cuda_in_stream_write_value *in)
{
    struct item *item = item_of(call);
    CUresult result;

    if (in->address % in->bytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (in->bytes == 4)
        result = channel->cu->cuStreamWriteValue32(
            item->stream->cu, in->address, (cuuint32_t)in->value, CU_STREAM_WRITE_VALUE_DEFAULT);
    else
        result = channel->cu->cuStreamWriteValue64(item->stream->cu, in->address, in->value,
                                                   CU_STREAM_WRITE_VALUE_DEFAULT);
    if (result != CUDA_SUCCESS)
        return result;
    item->batched = true;
    stream_add_unit(channel, item->stream, NULL, 0, turn_copy_estimate(channel, in->bytes), item);
    return CUDA_SUCCESS;
}
