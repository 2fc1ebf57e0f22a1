/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/stages.h"

#include <stdio.h>

#include "guest/libvgpu/channel.h"
#include "ring/pages.h"

/* Loaded once each: the worker goes on writing them. */
static struct vgpu_channel_stages load(const struct sender *sender)
{
    struct vgpu_channel_stages stages;
    const uint64_t *from = (const uint64_t *)&sender->map.page->stages;
    uint64_t *to = (uint64_t *)&stages;

    for (size_t i = 0; i < sizeof(stages) / sizeof(*to); i++)
        to[i] = page_load_u64(&from[i]);
    return stages;
}

static double part(uint64_t ns, uint64_t count)
{
    return count ? (double)ns / (double)count : 0;
}

/* Of `all` things one in some was timed: the whole, for one record. */
static double scaled(uint64_t ns, uint64_t timed, uint64_t all, uint64_t records)
{
    return part(ns, timed) * part(all, records);
}

size_t stages_text(struct sender *sender, char text[STAGES_TEXT_BYTES])
{
    struct vgpu_channel_stages worker = load(sender);
    struct guest_stages guest;
    int length;

    pthread_mutex_lock(&sender->submit_lock);
    guest = sender->stages;
    pthread_mutex_unlock(&sender->submit_lock);
    length = snprintf(
        text, STAGES_TEXT_BYTES,
        "{\"records\": %llu, \"encode\": %.1f, \"room\": %.1f, \"ring\": %.1f, \"take\": %.1f, "
        "\"check\": %.1f, \"issue\": %.1f, \"driver\": %.1f, \"mark\": %.1f, \"complete\": %.1f, "
        "\"poll\": %.1f, \"sleep\": %.1f}\n",
        (unsigned long long)guest.records, part(guest.encode_ns, guest.timed),
        part(guest.room_ns, guest.records), part(worker.ring_granule_ns, worker.granules),
        part(worker.take_ns, worker.samples), part(worker.check_ns, worker.samples),
        part(worker.issue_ns, worker.samples), part(worker.driver_ns, worker.samples),
        scaled(worker.mark_ns, worker.marks_timed, worker.marks, worker.records),
        scaled(worker.end_ns, worker.ends_timed, worker.ends, worker.records),
        part(worker.poll_ns, worker.records), part(worker.sleep_ns, worker.records));
    return length < STAGES_TEXT_BYTES ? (size_t)length : STAGES_TEXT_BYTES - 1;
}
