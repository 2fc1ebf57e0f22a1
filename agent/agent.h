/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the agent share: settings, and the one of each part. main.c makes it, before
 * there are threads; what changes afterwards has a lock of its own in its part.
 */
#ifndef VGPU_AGENT_AGENT_H
#define VGPU_AGENT_AGENT_H

#include "agent/auth.h"
#include "agent/files.h"
#include "agent/guard.h"
#include "agent/live.h"
#include "agent/settings.h"
#include "agent/work.h"

struct agent {
    const struct settings *settings;
    uint64_t started_ns;
    struct auth auth;
    struct guard guard;
    struct files files;
    struct live live;
    struct work work;
};

#endif
