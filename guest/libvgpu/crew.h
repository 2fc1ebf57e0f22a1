/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that copy rows for one large copy (staged.c): started for it, gone with it, so that
 * nothing is left when no copy runs, and a fork leaves nothing behind. They touch memory only; the
 * channel is the caller's.
 */
#ifndef VGPU_LIBVGPU_CREW_H
#define VGPU_LIBVGPU_CREW_H

#include <stdbool.h>
#include <stdint.h>

struct crew;

/* Rows to copy; the giver's memory until it is done. */
struct crew_job {
    struct crew_job *next;
    uint8_t *target;
    const uint8_t *source;
    uint64_t target_pitch, source_pitch;
    uint64_t width, rows;
    bool past_cache; /* the target is not read soon */
    bool done;
};

/* How many threads a copy of that size is worth: never more than the processors less one. */
unsigned crew_size(uint64_t bytes);

/* NULL, for no threads or where none can be had, is a crew too: the caller copies all. */
struct crew *crew_new(unsigned threads);

/* All jobs must be done. */
void crew_free(struct crew *crew);

/* Jobs are taken up in the order in which they are given. */
void crew_give(struct crew *crew, struct crew_job *job);

bool crew_is_done(struct crew *crew, const struct crew_job *job);

/* Copies one of the jobs that nobody has taken up; false if there is none. */
bool crew_help(struct crew *crew);

/* Helps, and waits, until the job is done. */
void crew_await(struct crew *crew, struct crew_job *job);

#endif
