/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/times.h"

#include <stdlib.h>

#include "common/overflow.h"
#include "ring/pages.h"

struct times_seen *times_seen_new(uint64_t now_ns)
{
    struct times_seen *seen = calloc(1, sizeof(*seen));

    if (seen)
        seen->sums_ns = seen->counts_ns = now_ns;
    return seen;
}

void times_seen_free(struct times_seen *seen)
{
    if (!seen)
        return;
    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++)
        for (int what = 0; what < VGPU_TIMES; what++)
            for (unsigned block = 0; block < VGPU_TIMES_BLOCKS; block++)
                free(seen->blocks[kind][what][block]);
    free(seen);
}

void times_release(struct times *times)
{
    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++)
        for (int what = 0; what < VGPU_TIMES; what++)
            lately_release(&times->lately[kind][what]);
}

/* Of so many more, as many as can be true; the rest is dropped. */
static uint64_t believe(struct times *times, uint64_t more, uint64_t *most)
{
    uint64_t believed = more < *most ? more : *most;

    *most -= believed;
    if (times)
        times->dropped += more - believed;
    return believed;
}

static void add_block(struct times *times, struct lately *lately, uint32_t *seen,
                      const uint32_t *counts, uint32_t first, uint64_t *most, uint64_t now_ns)
{
    for (uint32_t i = 0; i < VGPU_TIMES_BLOCK_COUNTS; i++) {
        uint32_t count = __atomic_load_n(&counts[i], __ATOMIC_RELAXED);
        uint64_t more;

        if (count == seen[i])
            continue;
        more = believe(times, (uint32_t)(count - seen[i]), most);
        seen[i] = count;
        if (times && more)
            lately_count(lately, now_ns, vgpu_times_lowest_ns(first + i), more);
    }
}

static void add_counts(struct times *times, struct times_seen *seen,
                       const struct vgpu_times_page *page, int kind, int what, uint64_t most,
                       uint64_t now_ns)
{
    uint32_t blocks = page_load_u32(&page->heads[kind].blocks[what]);

    for (uint32_t block = 0; block < VGPU_TIMES_BLOCKS; block++) {
        uint32_t **kept = &seen->blocks[kind][what][block];
        uint32_t first = block << VGPU_TIMES_BLOCK_SHIFT;

        if (!(blocks >> block & 1))
            continue;
        if (!*kept)
            *kept = calloc(VGPU_TIMES_BLOCK_COUNTS, sizeof(**kept));
        if (*kept)
            add_block(times, times ? &times->lately[kind][what] : NULL, *kept,
                      &page->counts[kind][what][first], first, &most, now_ns);
    }
}

/* A sum that has grown by more than its jobs can have taken has grown by that. */
static void add_sum(uint64_t *sum, uint64_t *seen, uint64_t now, uint64_t jobs)
{
    uint64_t more = now - *seen, most;

    *seen = now;
    if (!vgpu_mul_u64(jobs, VGPU_TIMES_HIGHEST_NS, &most))
        most = UINT64_MAX;
    if (sum)
        *sum += more < most ? more : most;
}

/* As many jobs as there can have been since then. */
static uint64_t most_since(uint64_t then_ns, uint64_t now_ns)
{
    return (now_ns - then_ns) / TIMES_JOB_NS + TIMES_SLACK;
}

static void add_sums(struct times *times, struct times_seen *seen,
                     const struct vgpu_times_head *head, int kind, uint64_t most)
{
    uint64_t jobs = page_load_u64(&head->jobs), more;

    if (jobs == seen->jobs[kind])
        return;
    more = believe(times, jobs - seen->jobs[kind], &most);
    seen->jobs[kind] = jobs;
    if (times)
        times->jobs[kind] += more;
    add_sum(times ? &times->wait_ns[kind] : NULL, &seen->wait_ns[kind],
            page_load_u64(&head->wait_ns), more);
    add_sum(times ? &times->run_ns[kind] : NULL, &seen->run_ns[kind], page_load_u64(&head->run_ns),
            more);
}

void times_add_sums(struct times *times, struct times_seen *seen,
                    const struct vgpu_times_page *page, uint64_t now_ns)
{
    uint64_t most = most_since(seen->sums_ns, now_ns);

    seen->sums_ns = now_ns;
    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++)
        add_sums(times, seen, &page->heads[kind], kind, most);
}

void times_add_counts(struct times *times, struct times_seen *seen,
                      const struct vgpu_times_page *page, uint64_t now_ns)
{
    uint64_t most = most_since(seen->counts_ns, now_ns);

    seen->counts_ns = now_ns;
    for (int kind = 0; kind < VGPU_JOB_KINDS; kind++) {
        uint64_t jobs = page_load_u64(&page->heads[kind].jobs); /* before what it counts */

        for (int what = 0; what < VGPU_TIMES && jobs != seen->counted[kind]; what++)
            add_counts(times, seen, page, kind, what, most, now_ns);
        seen->counted[kind] = jobs;
    }
}
