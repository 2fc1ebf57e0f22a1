/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the relay's tests have in common: a rig that is attached, turns, and entries of
 * the rings that say which they are.
 */
#ifndef HW_MISC_VGPU_TEST_RELAY_STEPS_H
#define HW_MISC_VGPU_TEST_RELAY_STEPS_H

#include "test_rig.h"

Rig *relay_attached(const RigOptions *options);
Rig *relay_small(void);

VGPUTurn relay_turn(Rig *rig);
void assert_sleeps(Rig *rig);

/* The turn breaks the channel and says that part; frees the rig. */
void assert_broken(Rig *rig, const char *part);

/* An entry of a size, whose words say which it is. */
void relay_fill(void *entry, uint32_t size, uint64_t seq);
void assert_entry(const uint8_t *entry, size_t size, uint64_t seq);

/* False if there is no room, or nothing. */
bool relay_push(struct ring_producer *producer, uint32_t size, uint64_t seq);
bool relay_pop(struct ring_consumer *consumer, uint64_t seq);

/* More bytes than one turn takes. */
#define RELAY_MUCH (3u << 20)

/* The guest asks for a transfer; the worker says what it has written. */
void relay_transfer(Rig *rig, uint64_t offset, uint64_t row_bytes, uint64_t pitch,
                    uint32_t rows);
void relay_written(Rig *rig, const struct vgpu_written *what);

#endif
