/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/times.h"

#include "cuda/cuda_in.h"
#include "ring/pages.h"
#include "worker/channel.h"

static uint32_t kind_of(const struct item *item)
{
    if (item->call.flags & VGPU_RECORD_EXPLICIT)
        return VGPU_JOB_EXPLICIT;
    switch (item->call.row->code) {
    case CUDA_OP_LAUNCH:
    case CUDA_OP_LAUNCH_EX:
        return VGPU_JOB_LAUNCH;
    case CUDA_OP_GRAPH_LAUNCH:
        return VGPU_JOB_GRAPH;
    case CUDA_OP_COPY:
    case CUDA_OP_COPY_3D:
    case CUDA_OP_UPLOAD:
        return VGPU_JOB_COPY;
    case CUDA_OP_FILL:
        return VGPU_JOB_MEMSET;
    case CUDA_OP_JOB_VECTOR_ADD:
        return VGPU_JOB_EXPLICIT;
    default:
        return VGPU_JOB_OTHER;
    }
}

/* Nobody else writes there: no read-modify-write is needed. */
static void count(struct vgpu_times_page *page, uint32_t kind, enum vgpu_job_time what, uint64_t ns,
                  uint32_t jobs)
{
    uint32_t index = vgpu_times_index(ns), block = 1u << (index >> VGPU_TIMES_BLOCK_SHIFT);
    uint32_t *counted = &page->counts[kind][what][index], *blocks = &page->heads[kind].blocks[what];

    page_store_u32(counted, *counted + jobs);
    if (!(*blocks & block))
        page_store_u32(blocks, *blocks | block);
}

static void count_jobs(struct channel *channel, uint32_t kind, uint32_t jobs, uint64_t wait_ns,
                       uint64_t run_ns)
{
    struct vgpu_times_page *page = channel->map.times;
    struct vgpu_times_head *head = &page->heads[kind];

    count(page, kind, VGPU_TIME_WAIT, wait_ns, jobs);
    count(page, kind, VGPU_TIME_RUN, run_ns, jobs);
    count(page, kind, VGPU_TIME_TOTAL, wait_ns + run_ns, jobs);
    page_store_u64(&head->wait_ns, head->wait_ns + wait_ns * jobs);
    page_store_u64(&head->run_ns, head->run_ns + run_ns * jobs);
    page_store_u64(&head->jobs, head->jobs + jobs);
}

static struct times_note *take_note(struct times *times)
{
    struct times_note *note = times->spare;

    if (note)
        times->spare = note->next;
    else if (times->used < WORKER_MAX_UNITS)
        note = &times->notes[times->used++];
    return note;
}

void times_add(struct channel *channel, struct batch *batch, const struct item *item)
{
    uint32_t kind = kind_of(item);
    struct times_note *note = batch->times;

    if (note && note->issued_ns == item->call.issued_ns && note->taken_ns == item->call.taken_ns &&
        note->kind == kind) {
        note->jobs++;
        return;
    }
    note = take_note(&channel->times);
    if (!note) {
        count_jobs(channel, kind, 1, item->call.issued_ns - item->call.taken_ns, 0);
        return;
    }
    *note = (struct times_note){.next = batch->times,
                                .taken_ns = item->call.taken_ns,
                                .issued_ns = item->call.issued_ns,
                                .kind = kind,
                                .jobs = 1};
    batch->times = note;
}

void times_done(struct channel *channel, const struct batch *batch)
{
    struct times_note *note = batch->times, *next;

    for (; note; note = next) {
        next = note->next;
        count_jobs(channel, note->kind, note->jobs, note->issued_ns - note->taken_ns,
                   channel->now_ns > note->issued_ns ? channel->now_ns - note->issued_ns : 0);
        note->next = channel->times.spare;
        channel->times.spare = note;
    }
}

void times_over(struct channel *channel, const struct item *item)
{
    uint64_t now_ns = channel->now_ns, taken_ns = item->call.taken_ns;
    uint64_t issued_ns = item->call.issued_ns ? item->call.issued_ns : now_ns;

    count_jobs(channel, kind_of(item), 1, issued_ns > taken_ns ? issued_ns - taken_ns : 0,
               now_ns > issued_ns ? now_ns - issued_ns : 0);
}
