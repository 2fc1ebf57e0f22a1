/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a record's time goes on this side of the ring, and all stages as text: for people, by
 * VGPU_STATS (man/libvgpu.7). One record of STAGES_SAMPLE is timed, and every wait for room.
 */
#ifndef VGPU_LIBVGPU_STAGES_H
#define VGPU_LIBVGPU_STAGES_H

#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"

/* Odd: a program that repeats a few calls has each of them timed. */
#define STAGES_SAMPLE 61u

struct sender;

/* Guarded by submit_lock. */
struct guest_stages {
    uint64_t records;
    uint64_t timed, encode_ns; /* from the encoder's start to publication, waits apart */
    uint64_t room_ns;          /* all waits for room or credit */
};

/* 0: this record is not timed. *untimed is the thread's. */
static inline uint64_t stages_begin(unsigned *untimed)
{
    return (*untimed)++ % STAGES_SAMPLE ? 0 : vgpu_clock_ns();
}

/* It is about to be published; waited_ns of the time went by waiting for room. */
static inline void stages_end(struct guest_stages *stages, uint64_t began_ns, uint64_t waited_ns)
{
    stages->records++;
    stages->room_ns += waited_ns;
    if (began_ns == 0)
        return;
    stages->timed++;
    stages->encode_ns += vgpu_clock_ns() - began_ns - waited_ns;
}

#define STAGES_TEXT_BYTES 512

/*
 * One line of JSON, with its newline: records, and ns of each stage for one record. Returns its
 * length. In a mirrored channel the worker's stages are not there, and 0.
 */
size_t stages_text(struct sender *sender, char text[STAGES_TEXT_BYTES]);

#endif
