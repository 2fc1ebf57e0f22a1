/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that a plan's `state` file holds: how a test speaks with workers whose sandboxes are
 * closed, and how they tell it what happened. Little-endian words, all 0 at first.
 */
#ifndef VGPU_FAULT_STATE_H
#define VGPU_FAULT_STATE_H

#include <stdint.h>

#include "fault/plan.h"

struct fault_state {
    uint32_t gate; /* by the test: not 0 while gated rules count */
    uint32_t lost; /* not 0: the device is lost to all who share the state, with this CUresult */
    uint32_t fired[FAULT_MAX_RULES]; /* how often each rule has held; once: 1 if it has */
};

#endif
