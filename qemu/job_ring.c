/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "job_ring.h"

#include <string.h>

/* Entries that one look takes. */
#define TAKE_ENTRIES 64u

void vgpu_job_ring_init(VGPUJobRing *ring, const VGPUChannel *channel)
{
    const struct vgpu_channel_geometry *g = &channel->geometry;

    memset(ring, 0, sizeof(*ring));
    ring_producer_init(&ring->submit, &channel->page->submission, channel->submission,
                       g->sub_granules, 0);
    ring_consumer_init(&ring->complete, &channel->page->completion, channel->completion,
                       g->comp_granules, 0);
}

/* Appends inline bytes at *size, padded to 8. */
static struct vgpu_blob append(uint8_t *record, uint32_t *size, const uint32_t *values,
                               uint32_t bytes)
{
    struct vgpu_blob blob = {
        .offset = *size,
        .size_bytes = bytes,
        .place = VGPU_BLOB_INLINE,
    };

    memcpy(record + *size, values, bytes);
    *size += (bytes + 7) / 8 * 8;
    return blob;
}

int vgpu_job_ring_submit(VGPUJobRing *ring, uint32_t count, const uint32_t *a,
                         const uint32_t *b, bool *ret_kick)
{
    _Alignas(8) uint8_t bytes[sizeof(struct vgpu_job_record) + 2 * 4 * VGPU_JOB_ELEMENTS];
    struct vgpu_job_record record = {
        .head =
            {
                .op = VGPU_JOB_OP,
                .flags = VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT,
                .seq = ring->seq + 1,
                .thread = 1,
            },
        .count = count,
    };
    uint32_t size = sizeof(record);
    void *entry;
    int status;

    memset(bytes, 0, sizeof(bytes));
    record.a = append(bytes, &size, a, count * 4);
    record.b = append(bytes, &size, b, count * 4);
    record.head.size_bytes = size;
    memcpy(bytes, &record, sizeof(record));
    status = ring_reserve(&ring->submit, size, &entry);
    if (status < 0) {
        return status;
    }
    memcpy(entry, bytes, size);
    ring->seq++;
    ring->count = count;
    *ret_kick = ring_publish(&ring->submit);
    return 0;
}

/* False if the sum is not where an answer has it. */
static bool copy_sum(const VGPUJobRing *ring, const uint8_t *entry, size_t size,
                     uint32_t *sum)
{
    struct vgpu_job_reply reply;
    uint32_t bytes = ring->count * 4;

    if (size < sizeof(reply)) {
        return false;
    }
    memcpy(&reply, entry, sizeof(reply));
    if (reply.sum.place != VGPU_BLOB_INLINE || reply.sum.size_bytes != bytes ||
        reply.sum.offset < sizeof(reply) || reply.sum.offset > size ||
        bytes > size - reply.sum.offset) {
        return false;
    }
    memcpy(sum, entry + reply.sum.offset, bytes);
    return true;
}

static VGPUJobTake read_answer(const VGPUJobRing *ring, const uint8_t *entry, size_t size,
                               VGPUJobAnswer *ret)
{
    VGPUJobAnswer answer = {0};
    struct vgpu_completion head;

    if (size < sizeof(head)) {
        return VGPU_JOB_NONSENSE;
    }
    memcpy(&head, entry, sizeof(head));
    if (head.kind != VGPU_COMPLETION_REPLY || head.seq != ring->seq) {
        return VGPU_JOB_AGAIN; /* of no interest here */
    }
    if (head.status >= VGPU_STATUS_COUNT) {
        return VGPU_JOB_NONSENSE;
    }
    answer.status = head.status;
    answer.result = head.result;
    answer.wait_ns = head.wait_ns;
    answer.run_ns = head.run_ns;
    if (answer.status == VGPU_OK && answer.result != 0) {
        answer.status = VGPU_FAILED;
    }
    if (answer.status == VGPU_OK && !copy_sum(ring, entry, size, answer.sum)) {
        return VGPU_JOB_NONSENSE;
    }
    *ret = answer;
    return VGPU_JOB_ANSWER;
}

VGPUJobTake vgpu_job_ring_take(VGPUJobRing *ring, VGPUJobAnswer *ret, bool *ret_kick)
{
    _Alignas(8) uint8_t entry[VGPU_RECORD_MAX_BYTES];
    VGPUJobTake take = VGPU_JOB_AGAIN;

    *ret_kick = false;
    ring_consumer_disarm(&ring->complete);
    for (unsigned i = 0; i < TAKE_ENTRIES && take == VGPU_JOB_AGAIN; i++) {
        size_t size;
        bool kick;
        int status = ring_consume(&ring->complete, entry, sizeof(entry), &size, &kick);

        *ret_kick |= kick;
        if (status < 0) {
            take = VGPU_JOB_NONSENSE;
        } else if (status == 1) {
            take = read_answer(ring, entry, size, ret);
        } else if (ring_consumer_arm(&ring->complete)) {
            take = VGPU_JOB_SLEEP;
        }
    }
    return take;
}
