/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest and a worker that are both hostile: the input writes to the memory of either
 * between turns. Whatever they write, a turn ends, moves no more than it may, and stays
 * in its memory.
 *
 * Input: steps of 8 bytes, (what, where: 16 bits, five bytes of value). What of 0 is a
 * turn.
 */
#include <stdlib.h>
#include <string.h>

#include "test_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEP_BYTES 8u

/* The words that decide most, so that the fuzzer finds them soon. */
static void write_word(Rig *rig, unsigned what, uint32_t value)
{
    struct vgpu_channel_page *guest = rig->page, *host = rig->host_page;
    uint32_t *const words[] = {
        &guest->submission.producer.head,
        &guest->submission.producer.waiting,
        &guest->completion.consumer.tail,
        &guest->completion.consumer.parked,
        &rig->transfers->head,
        &host->submission.consumer.tail,
        &host->submission.consumer.parked,
        &host->completion.producer.head,
        &host->completion.producer.waiting,
        &host->notice.state,
    };

    *words[what % (sizeof(words) / sizeof(words[0]))] += value;
}

static void write_at(uint8_t *base, size_t bytes, uint32_t where, const uint8_t *value)
{
    memcpy(base + (size_t)where * 4 % (bytes - 8), value, 5);
}

static void step(Rig *rig, const uint8_t *bytes, bool *ret_over)
{
    uint32_t where = bytes[1] | (uint32_t)bytes[2] << 8;
    uint64_t moved =
        rig->counters[VGPU_COUNT_UPLOAD_BYTES] + rig->counters[VGPU_COUNT_DOWNLOAD_BYTES];
    uint32_t value;

    memcpy(&value, bytes + 3, sizeof(value));
    switch (bytes[0] % 8) {
    case 0:
        *ret_over = vgpu_relay_core_turn(rig->core) > VGPU_TURN_AGAIN;
        if (rig->counters[VGPU_COUNT_UPLOAD_BYTES] +
                rig->counters[VGPU_COUNT_DOWNLOAD_BYTES] - moved >
            VGPU_TURN_BYTES) {
            __builtin_trap();
        }
        break;
    case 1:
    case 2:
        write_word(rig, where, value);
        break;
    case 3: /* what the guest's rings, transfers and page say */
        write_at((uint8_t *)rig->page, rig->geometry.data_offset, where, bytes + 3);
        break;
    case 4:
        write_at((uint8_t *)rig->transfers, sizeof(*rig->transfers), where, bytes + 3);
        break;
    case 5: /* the guest's tables and its directory */
        write_at(rig->memory, (size_t)rig->first * 4096, where, bytes + 3);
        break;
    case 6:
        write_at(rig->host, rig->geometry.data_offset, where, bytes + 3);
        break;
    default:
        write_at(rig->host + rig->geometry.comp_offset,
                 (size_t)rig->geometry.comp_granules * 64, where, bytes + 3);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    RigOptions options = {0};
    const char *why;
    bool over = false;
    Rig *rig;

    if (size < STEP_BYTES) {
        return 0;
    }
    options.sub_granules = 2u << data[0] % 6;
    options.comp_granules = 2u << data[1] % 6;
    options.sparse = data[2] & 1;
    memcpy(&options.start, data + 4, sizeof(options.start));
    rig = rig_new(&options);
    if (vgpu_relay_core_attach(rig->core, rig_directory(rig), &why) != VGPU_OK) {
        __builtin_trap();
    }
    for (size_t at = STEP_BYTES; at + STEP_BYTES <= size && !over; at += STEP_BYTES) {
        step(rig, data + at, &over);
    }
    if (!over) {
        vgpu_relay_core_gone(rig->core);
        for (unsigned i = 0; vgpu_relay_core_turn(rig->core) == VGPU_TURN_AGAIN; i++) {
            if (i > 100000) {
                __builtin_trap();
            }
        }
    }
    rig_free(rig);
    return 0;
}
