/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the consumer's time goes, by stage, for struct vgpu_channel_stages of the channel's page.
 *
 * It costs nothing worth naming: one record of STAGES_SAMPLE is timed at each of its stages, one
 * mark and one look at marks of STAGES_SAMPLE_FEW; everything else adds up readings of the clock
 * that are made anyway. Whoever reads the page scales by the counts that stand beside the times.
 */
#ifndef VGPU_WORKER_STAGES_H
#define VGPU_WORKER_STAGES_H

#include <stdbool.h>
#include <vgpu/ring.h>

#include "common/clock.h"

/* Odd: a program that repeats a few calls has each of them timed. */
#define STAGES_SAMPLE     61u
#define STAGES_SAMPLE_FEW 13u

struct stages {
    struct vgpu_channel_stages sum;
    uint32_t until_record, until_mark, until_end; /* samples, as a count down */
    bool timing;                                  /* the present record */
    bool changed;                                 /* since they were told */
    uint64_t at_ns;                               /* of the record that is timed */
    uint64_t round_ns, rest_ns;                   /* when the round, the rest began; 0: none */
    uint32_t left; /* granules in the ring at the end of the last round */
};

/* A record may be taken now. */
static inline void stages_begin(struct stages *stages)
{
    if (stages->until_record > 0)
        return;
    stages->timing = true;
    stages->at_ns = vgpu_clock_ns();
}

/* What the present record did since the last stage was this one, one of stages->sum. */
static inline void stages_note(struct stages *stages, uint64_t *stage_ns)
{
    uint64_t now_ns;

    if (!stages->timing)
        return;
    now_ns = vgpu_clock_ns();
    *stage_ns += now_ns - stages->at_ns;
    stages->at_ns = now_ns;
}

/* None was taken. */
static inline void stages_cancel(struct stages *stages)
{
    stages->timing = false;
}

/* One was taken, of so many granules, and is dealt with. */
static inline void stages_end(struct stages *stages)
{
    stages->sum.records++;
    if (stages->until_record-- > 0)
        return;
    stages->until_record = STAGES_SAMPLE - 1;
    stages->sum.samples += stages->timing;
    stages->timing = false;
    stages->changed = true;
}

/* 0: not timed. */
static inline uint64_t stages_mark_begin(struct stages *stages)
{
    stages->sum.marks++;
    if (stages->until_mark-- > 0)
        return 0;
    stages->until_mark = STAGES_SAMPLE_FEW - 1;
    return vgpu_clock_ns();
}

static inline void stages_mark_end(struct stages *stages, uint64_t began_ns)
{
    if (began_ns == 0)
        return;
    stages->sum.marks_timed++;
    stages->sum.mark_ns += vgpu_clock_ns() - began_ns;
}

/* A look at what is in flight, which began at began_ns, found something done. */
static inline void stages_found(struct stages *stages, uint64_t began_ns)
{
    stages->sum.ends++;
    if (stages->until_end-- > 0)
        return;
    stages->until_end = STAGES_SAMPLE_FEW - 1;
    stages->sum.ends_timed++;
    stages->sum.end_ns += vgpu_clock_ns() - began_ns;
}

/* A round begins, with so many granules in the ring, and ends. */
void stages_round(struct stages *stages, uint64_t now_ns, uint32_t granules);
void stages_round_end(struct stages *stages, uint32_t granules);

/* The consumer rests from now on, and has slept. */
void stages_rest(struct stages *stages, uint64_t now_ns);
void stages_slept(struct stages *stages, uint64_t now_ns);

/* Stores the sums where the guest can read them. */
void stages_tell(struct stages *stages, struct vgpu_channel_page *page);

#endif
