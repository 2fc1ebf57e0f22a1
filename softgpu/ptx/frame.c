/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: the registers of one call for the lanes that made it together. They form a tree, as
 * lanes of a warp may be in different calls; a frame goes when its last lane has left.
 */
#include "softgpu/ptx/exec.h"

#include <stdlib.h>
#include <string.h>

static unsigned size_class(size_t bytes)
{
    return 64 - (unsigned)__builtin_clzl(bytes - 1);
}

static struct frame *frame_take(struct worker *worker, size_t bytes)
{
    unsigned class = size_class(bytes);
    struct frame *frame = worker->free_frames[class];
    size_t rounded = (size_t)1 << class;

    if (frame) {
        worker->free_frames[class] = frame->parent;
        return frame;
    }
    frame = aligned_alloc(64, rounded);
    if (frame)
        memset(frame, 0, rounded);
    return frame;
}

/* live: the lanes that enter. NULL: out of memory. */
struct frame *frame_new(struct warp *w, const struct ptx_function *function, struct frame *parent,
                        const struct op *call, uint32_t live, uint32_t local_base)
{
    size_t header = (sizeof(struct frame) + 63) & ~(size_t)63;
    size_t bytes = header + function->frame_bytes + 64;
    struct frame *frame = frame_take(w->worker, bytes);

    if (!frame)
        return NULL;
    frame->parent = parent;
    frame->function = function;
    frame->call = call;
    frame->live = live;
    frame->local_base = local_base;
    frame->depth = parent ? parent->depth + 1 : 0;
    frame->bytes = bytes;
    frame->registers = (uint8_t *)frame + header;
    frame->newer = NULL;
    frame->older = w->frames;
    if (w->frames)
        w->frames->newer = frame;
    w->frames = frame;
    w->frames_bytes += bytes;
    return frame;
}

static void frame_free(struct warp *w, struct frame *frame)
{
    unsigned class = size_class(frame->bytes);

    if (frame->newer)
        frame->newer->older = frame->older;
    else
        w->frames = frame->older;
    if (frame->older)
        frame->older->newer = frame->newer;
    w->frames_bytes -= frame->bytes;
    frame->parent = w->worker->free_frames[class];
    w->worker->free_frames[class] = frame;
}

void frame_leave(struct warp *w, struct frame *frame, uint32_t lanes)
{
    frame->live &= ~lanes;
    if (!frame->live)
        frame_free(w, frame);
}

void frame_free_all(struct warp *w)
{
    while (w->frames)
        frame_free(w, w->frames);
}

void worker_release(struct worker *worker)
{
    for (unsigned class = 0; class < 32; class ++) {
        while (worker->free_frames[class]) {
            struct frame *frame = worker->free_frames[class];

            worker->free_frames[class] = frame->parent;
            free(frame);
        }
    }
}

void frame_copy(struct warp *w, uint32_t lanes, uint32_t to, uint32_t from, uint32_t bytes)
{
    uint32_t *words = (uint32_t *)w->local;

    if (!((to | from | bytes) & 3)) {
        for (uint32_t k = 0; k < bytes / 4; k++) {
            uint32_t *row = words + (size_t)(to / 4 + k) * LANES;
            const uint32_t *source = words + (size_t)(from / 4 + k) * LANES;

            for (unsigned i = 0; i < LANES; i++)
                row[i] = lanes >> i & 1 ? source[i] : row[i];
        }
        return;
    }
    for (; lanes; lanes &= lanes - 1) {
        unsigned lane = (unsigned)__builtin_ctz(lanes);

        for (uint32_t k = 0; k < bytes; k++) {
            size_t a = ((size_t)((to + k) >> 2) * LANES + lane) * 4 + ((to + k) & 3);
            size_t b = ((size_t)((from + k) >> 2) * LANES + lane) * 4 + ((from + k) & 3);

            w->local[a] = w->local[b];
        }
    }
}
