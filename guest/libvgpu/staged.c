/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/staged.h"

#include "guest/libvgpu/crew.h"
#include "guest/libvgpu/data.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/stream_rows.h"

/*
 * Pieces: small ones make the most of a short copy, large ones cost fewer calls. All that are under
 * way together stay within a processor's cache, and within what is page-locked early.
 */
#define PIECE_MIN_BYTES (128u << 10)
#define PIECE_MAX_BYTES (512u << 10)
#define FLIGHTS         32u

/* Uploads of this size that go past the cache reach the device sooner: it need not ask for them. */
#define STREAM_MIN_BYTES (32u << 10)

/* An upload of up to this takes one slot for all, and only its last piece is answered. */
#define ONE_SLOT_BYTES (2u << 20)

/* Where a device copies between two memories, pieces are large, and so are few. */
#define MIRROR_FLIGHTS 4u

/* Copies that are larger than this go past the cache. */
#define CACHE_BYTES (8u << 20)

/* The next part of a box that fits into one chunk: some rows of a slice, or a piece of a row. */
struct piece {
    uint64_t x, y, z;
    uint64_t width, rows;
};

/* A piece on its way, in three steps: taken, then sent (or copied out), then over. */
struct flight {
    struct staging_slot *slot;
    struct piece piece;
    struct crew_job job;
};

/* One copy. Flights are a ring: those from `first` have taken the second step, those from `second`
 * only the first. */
struct staged {
    const struct copy_box *box;
    struct sender *sender;
    struct crew *crew;
    uint64_t chunk_bytes;
    unsigned most; /* flights at once */
    struct piece next;
    bool more; /* `next` is yet to start */
    enum staging_use use;
    unsigned first, second, count;
    struct flight flights[FLIGHTS];
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

static uint64_t piece_bytes(uint64_t total)
{
    uint64_t bytes = (total / 4 + 4095) & ~4095ull;

    if (bytes < PIECE_MIN_BYTES)
        bytes = PIECE_MIN_BYTES;
    return bytes < PIECE_MAX_BYTES ? bytes : PIECE_MAX_BYTES;
}

static void begin(struct staged *staged, const struct copy_box *box, enum staging_use use)
{
    struct sender *sender = guest_sender();
    uint64_t total = box->width * box->height * box->depth;

    *staged = (struct staged){.box = box, .sender = sender, .use = use};
    staged->chunk_bytes = sender->chunk_bytes;
    staged->most = MIRROR_FLIGHTS;
    if (!sender->mirror) {
        uint64_t bytes = piece_bytes(total);

        staged->most = FLIGHTS;
        if (bytes < staged->chunk_bytes)
            staged->chunk_bytes = bytes;
        if (total > 2 * staged->chunk_bytes)
            staged->crew = crew_new(crew_size(total));
    }
    staged->more = next_piece(box, staged->chunk_bytes, &staged->next);
}

static struct flight *flight_at(struct staged *staged, unsigned number)
{
    return &staged->flights[number % FLIGHTS];
}

static bool has_room(const struct staged *staged)
{
    return staged->more && staged->count - staged->first < staged->most;
}

/* The record for one piece: packed at `offset` of the data area, in place at `device`. */
static CUresult send_piece(const struct copy_box *box, const struct piece *piece, uint64_t offset,
                           bool upload, uint16_t flags)
{
    const struct copy_side *device = upload ? &box->target : &box->source;
    struct copy_box part = {
        .width = piece->width, .height = piece->rows, .depth = 1, .stream = box->stream};
    struct vgpu_place there = {.address = device->address + piece->x +
                                          copy_row_offset(device, piece->y, piece->z),
                               .place = VGPU_PLACE_DEVICE};
    struct vgpu_place here = {.address = offset, .place = VGPU_PLACE_DATA};

    part.target.slice_rows = piece->rows;
    part.source.slice_rows = piece->rows;
    if (upload)
        return copy_send(&part, there, device->pitch, here, piece->width, flags);
    return copy_send(&part, here, piece->width, there, device->pitch, flags);
}

static CUresult send_flight(struct staged *staged, const struct flight *flight, bool upload)
{
    thread_self()->deferred = &flight->slot->ticket;
    return send_piece(staged->box, &flight->piece, flight->slot->offset, upload, VGPU_RECORD_WAIT);
}

static uint8_t *piece_host(const struct copy_side *side, const struct piece *piece)
{
    return (uint8_t *)(uintptr_t)side->address + piece->x +
           copy_row_offset(side, piece->y, piece->z);
}

/* A slot for the next piece, whose flight is then the newest. */
static struct flight *take_flight(struct staged *staged, struct staging_slot *slot)
{
    struct flight *flight = flight_at(staged, staged->count++);

    flight->slot = slot;
    flight->piece = staged->next;
    staged->more = next_piece(staged->box, staged->chunk_bytes, &staged->next);
    return flight;
}

static struct staging_slot *take_slot(struct staged *staged)
{
    uint64_t bytes = staged->next.width * staged->next.rows;

    /* Nobody waits for the slots of others while others wait for its own. */
    if (staged->count == staged->first && staged->use != STAGING_EAGER)
        return staging_take(staged->sender, bytes, staged->use);
    return staging_try(staged->sender, bytes, staged->use);
}

static void start_upload(struct staged *staged, struct staging_slot *slot)
{
    struct flight *flight = take_flight(staged, slot);
    const struct copy_side *source = &staged->box->source;

    flight->job = (struct crew_job){
        .target = staging_data(staged->sender, slot),
        .target_pitch = flight->piece.width,
        .source = piece_host(source, &flight->piece),
        .source_pitch = source->pitch,
        .width = flight->piece.width,
        .rows = flight->piece.rows,
    };
    crew_give(staged->crew, &flight->job);
}

/* The oldest piece that is not on its way to the device. */
static CUresult send_upload(struct staged *staged)
{
    struct flight *flight = flight_at(staged, staged->second);
    CUresult result;

    crew_await(staged->crew, &flight->job);
    mirror_upload(staged->sender, flight->slot->offset, flight->piece.width * flight->piece.rows);
    flight->slot->ticket.posted = true;
    result = send_flight(staged, flight, true);
    if (result == CUDA_SUCCESS)
        staged->second++;
    return result;
}

/* What the device has read is free again; what it has not yet is let go of: it comes back. */
static void land_uploads(struct staged *staged, bool all)
{
    while (staged->first < staged->second) {
        struct flight *flight = flight_at(staged, staged->first);

        if (receive_is_done(staged->sender, &flight->slot->ticket))
            staging_give(staged->sender, flight->slot);
        else if (all)
            staging_sent(staged->sender, flight->slot);
        else
            return;
        staged->first++;
    }
}

/* After an error: what was never sent. */
static void drop_unsent(struct staged *staged)
{
    for (; staged->second < staged->count; staged->second++) {
        struct flight *flight = flight_at(staged, staged->second);

        crew_await(staged->crew, &flight->job);
        staging_give(staged->sender, flight->slot);
    }
}

/* One step. What can start comes first, then what can be sent, then what must be waited for. */
static CUresult step_upload(struct staged *staged)
{
    receive_poll(staged->sender);
    land_uploads(staged, false);
    if (has_room(staged)) {
        struct staging_slot *slot = take_slot(staged);

        if (slot) {
            start_upload(staged, slot);
            return CUDA_SUCCESS;
        }
        if (staged->count == staged->first)
            return staging_refused(staged->sender);
    }
    if (staged->second < staged->count)
        return send_upload(staged);
    receive_await(staged->sender, &flight_at(staged, staged->first)->slot->ticket, PATIENCE_STAGED);
    return CUDA_SUCCESS;
}

static CUresult upload_in_flights(const struct copy_box *box)
{
    struct staged staged;
    CUresult result = CUDA_SUCCESS;

    begin(&staged, box, STAGING_UPLOAD);
    while (result == CUDA_SUCCESS && (staged.more || staged.second < staged.count))
        result = step_upload(&staged);
    if (result != CUDA_SUCCESS)
        land_uploads(&staged, true);
    drop_unsent(&staged);
    land_uploads(&staged, true);
    crew_free(staged.crew);
    return result;
}

/* What the stream does with the last piece, it has done with those before. */
static CUresult upload_in_one_slot(const struct copy_box *box, uint64_t total)
{
    struct sender *sender = guest_sender();
    struct staging_slot *slot = staging_take(sender, total, STAGING_UPLOAD);
    struct piece piece = {0}, next = {0};
    uint64_t used = 0;
    CUresult result = CUDA_SUCCESS;
    bool more = next_piece(box, piece_bytes(total), &next);
    void (*copy)(uint8_t *, uint64_t, const uint8_t *, uint64_t, uint64_t, uint64_t) =
        total < STREAM_MIN_BYTES ? copy_rows : stream_rows;

    if (!slot)
        return staging_refused(sender);
    slot->ticket.posted = true;
    while (more && result == CUDA_SUCCESS) {
        uint64_t offset = slot->offset + used;

        piece = next;
        more = next_piece(box, piece_bytes(total), &next);
        copy(sender->map.data + offset, piece.width, piece_host(&box->source, &piece),
             box->source.pitch, piece.width, piece.rows);
        used += piece.width * piece.rows;
        if (!more)
            thread_self()->deferred = &slot->ticket;
        result = send_piece(box, &piece, offset, true, more ? 0 : VGPU_RECORD_WAIT);
    }
    if (result == CUDA_SUCCESS) {
        staging_sent(sender, slot);
        return CUDA_SUCCESS;
    }
    /* Pieces that were sent may still be read. */
    copy_settle(box->stream);
    staging_give(sender, slot);
    return result;
}

CUresult staged_upload(const struct copy_box *box)
{
    uint64_t total = box->width * box->height * box->depth;
    struct sender *sender = guest_sender();

    if (!sender->mirror && total <= ONE_SLOT_BYTES && total <= sender->chunk_bytes)
        return upload_in_one_slot(box, total);
    return upload_in_flights(box);
}

static CUresult start_download(struct staged *staged, struct staging_slot *slot)
{
    CUresult result = send_flight(staged, take_flight(staged, slot), false);

    if (result != CUDA_SUCCESS) {
        staged->count--;
        staging_give(staged->sender, slot);
    }
    return result;
}

/* The oldest piece that is not copied out: waits for the device; meanwhile there may be others. */
static CUresult copy_out(struct staged *staged, CUresult result)
{
    struct flight *flight = flight_at(staged, staged->second);
    const struct copy_side *target = &staged->box->target;
    uint64_t total = staged->box->width * staged->box->height * staged->box->depth;

    while (!receive_is_done(staged->sender, &flight->slot->ticket) && crew_help(staged->crew))
        receive_poll(staged->sender);
    receive_await(staged->sender, &flight->slot->ticket, PATIENCE_STAGED);
    staged->second++;
    if (result == CUDA_SUCCESS)
        result = flight->slot->ticket.result;
    flight->job = (struct crew_job){
        .target = piece_host(target, &flight->piece),
        .target_pitch = target->pitch,
        .source = staging_data(staged->sender, flight->slot),
        .source_pitch = flight->piece.width,
        .width = flight->piece.width,
        .rows = flight->piece.rows,
        .past_cache = total > CACHE_BYTES,
    };
    if (result == CUDA_SUCCESS)
        crew_give(staged->crew, &flight->job);
    else
        flight->job.done = true;
    return result;
}

/* Copied-out pieces give their slots back; with `all`, waits for them. */
static void land_downloads(struct staged *staged, bool all)
{
    while (staged->first < staged->second) {
        struct flight *flight = flight_at(staged, staged->first);

        if (all)
            crew_await(staged->crew, &flight->job);
        else if (!crew_is_done(staged->crew, &flight->job))
            return;
        staging_give(staged->sender, flight->slot);
        staged->first++;
    }
}

static CUresult step_download(struct staged *staged)
{
    land_downloads(staged, false);
    if (has_room(staged)) {
        struct staging_slot *slot = take_slot(staged);

        if (slot)
            return start_download(staged, slot);
        if (staged->count == staged->first) {
            if (staged->use == STAGING_PROVED)
                return staging_refused(staged->sender);
            /* Others hold much: not to hold more while the stream may be blocked on them. */
            staged->use = STAGING_PROVED;
            return copy_settle(staged->box->stream);
        }
    }
    if (staged->second < staged->count)
        return copy_out(staged, CUDA_SUCCESS);
    crew_await(staged->crew, &flight_at(staged, staged->first)->job);
    return CUDA_SUCCESS;
}

CUresult staged_download(const struct copy_box *box)
{
    struct staged staged;
    CUresult result = CUDA_SUCCESS;

    begin(&staged, box, STAGING_EAGER);
    while (result == CUDA_SUCCESS && (staged.more || staged.second < staged.count))
        result = step_download(&staged);
    while (staged.second < staged.count)
        result = copy_out(&staged, result);
    land_downloads(&staged, true);
    crew_free(staged.crew);
    if (result == CUDA_SUCCESS)
        result = receive_late_error(staged.sender);
    return result;
}
