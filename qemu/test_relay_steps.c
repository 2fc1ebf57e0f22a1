/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "test_relay_steps.h"

Rig *relay_attached(const RigOptions *options)
{
    Rig *rig = rig_new(options);
    const char *why = NULL;

    assert_int_equal(vgpu_relay_core_attach(rig->core, rig_directory(rig), &why),
                     VGPU_OK);
    assert_null(why);
    return rig;
}

Rig *relay_small(void)
{
    return relay_attached(&(RigOptions){0});
}

VGPUTurn relay_turn(Rig *rig)
{
    return vgpu_relay_core_turn(rig->core);
}

void assert_sleeps(Rig *rig)
{
    assert_int_equal(relay_turn(rig), VGPU_TURN_SLEEP);
}

void assert_broken(Rig *rig, const char *part)
{
    assert_int_equal(relay_turn(rig), VGPU_TURN_BROKEN);
    assert_non_null(rig->core->why);
    if (!strstr(rig->core->why, part)) {
        fail_msg("\"%s\" does not say \"%s\"", rig->core->why, part);
    }
    rig_free(rig);
}

void relay_fill(void *entry, uint32_t size, uint64_t seq)
{
    memset(entry, (int)(seq * 37 + 5), size);
    *(struct vgpu_completion *)entry = (struct vgpu_completion){
        .size_bytes = size,
        .kind = VGPU_COMPLETION_REPLY,
        .seq = seq,
    };
}

void assert_entry(const uint8_t *entry, size_t size, uint64_t seq)
{
    _Alignas(8) uint8_t expected[VGPU_RECORD_MAX_BYTES];

    relay_fill(expected, (uint32_t)size, seq);
    assert_memory_equal(entry, expected, size);
}

bool relay_push(struct ring_producer *producer, uint32_t size, uint64_t seq)
{
    void *entry;

    if (ring_reserve(producer, size, &entry) < 0) {
        return false;
    }
    relay_fill(entry, size, seq);
    ring_publish(producer);
    return true;
}

bool relay_pop(struct ring_consumer *consumer, uint64_t seq)
{
    uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;
    bool kick;
    int status = ring_consume(consumer, buffer, sizeof(buffer), &size, &kick);

    assert_true(status >= 0);
    if (status == 1) {
        assert_entry(buffer, size, seq);
    }
    return status == 1;
}

void relay_transfer(Rig *rig, uint64_t offset, uint64_t row_bytes, uint64_t pitch,
                    uint32_t rows)
{
    rig->transfers->transfer[rig->transfers->head % VGPU_TRANSFERS] =
        (struct vgpu_transfer){
            .offset = offset,
            .row_bytes = row_bytes,
            .pitch_bytes = pitch,
            .rows = rows,
        };
    rig->transfers->head++;
}

void relay_written(Rig *rig, const struct vgpu_written *what)
{
    void *entry;

    assert_int_equal(ring_reserve(&rig->answer, 80, &entry), 0);
    *(struct vgpu_completion *)entry =
        (struct vgpu_completion){.size_bytes = 80, .kind = VGPU_COMPLETION_WRITTEN};
    memcpy((uint8_t *)entry + 40, what, sizeof(*what));
    ring_publish(&rig->answer);
}
