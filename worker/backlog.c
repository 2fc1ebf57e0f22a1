/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/backlog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "worker/limits.h"

/* An entry: this, then the record. size 0: the rest of the buffer is skipped. */
struct entry {
    const struct cuda_op_row *row;
    uint64_t taken_ns;
    uint64_t job;
    uint64_t size;
};

#define ENTRY_MAX (sizeof(struct entry) + VGPU_RECORD_MAX_BYTES)

int backlog_init(struct backlog *backlog)
{
    memset(backlog, 0, sizeof(*backlog));
    backlog->buffer = malloc(WORKER_MAX_BACKLOG_BYTES);
    return backlog->buffer ? 0 : -ENOMEM;
}

void backlog_free(struct backlog *backlog)
{
    free(backlog->buffer);
}

bool backlog_has_room(const struct backlog *backlog)
{
    /* Twice: one of them may be lost at the end of the buffer. */
    return backlog->used + 2 * ENTRY_MAX <= WORKER_MAX_BACKLOG_BYTES;
}

void backlog_push(struct backlog *backlog, const struct taken *taken)
{
    uint64_t size = taken_record(taken)->size_bytes;
    struct entry entry = {taken->row, taken->taken_ns, taken->job, size};

    if (WORKER_MAX_BACKLOG_BYTES - backlog->head < sizeof(entry) + size) {
        size_t rest = WORKER_MAX_BACKLOG_BYTES - backlog->head;

        memset(backlog->buffer + backlog->head, 0, rest < sizeof(entry) ? rest : sizeof(entry));
        backlog->used += rest;
        backlog->head = 0;
    }
    memcpy(backlog->buffer + backlog->head, &entry, sizeof(entry));
    memcpy(backlog->buffer + backlog->head + sizeof(entry), taken->bytes, size);
    backlog->head += sizeof(entry) + size;
    backlog->used += sizeof(entry) + size;
    backlog->count++;
}

/* The first entry, with the skipped end of the buffer given back. */
static struct entry first_entry(const struct backlog *backlog, size_t *ret_tail)
{
    struct entry entry = {0};
    size_t tail = backlog->tail;

    if (WORKER_MAX_BACKLOG_BYTES - tail >= sizeof(entry))
        memcpy(&entry, backlog->buffer + tail, sizeof(entry));
    if (entry.size == 0) {
        tail = 0;
        memcpy(&entry, backlog->buffer, sizeof(entry));
    }
    *ret_tail = tail;
    return entry;
}

uint64_t backlog_first_seq(const struct backlog *backlog)
{
    struct vgpu_record record;
    size_t tail;

    first_entry(backlog, &tail);
    memcpy(&record, backlog->buffer + tail + sizeof(struct entry), sizeof(record));
    return record.seq;
}

void backlog_pop(struct backlog *backlog, struct taken *ret_taken)
{
    size_t tail;
    struct entry entry = first_entry(backlog, &tail);

    if (tail != backlog->tail)
        backlog->used -= WORKER_MAX_BACKLOG_BYTES - backlog->tail;
    ret_taken->row = entry.row;
    ret_taken->taken_ns = entry.taken_ns;
    ret_taken->job = entry.job;
    memcpy(ret_taken->bytes, backlog->buffer + tail + sizeof(entry), entry.size);
    backlog->tail = tail + sizeof(entry) + entry.size;
    backlog->used -= sizeof(entry) + entry.size;
    backlog->count--;
}
