/* SPDX-License-Identifier: Apache-2.0 */
/* JSON Merge Patch (RFC 7396). */
#ifndef VGPU_AGENT_MERGE_H
#define VGPU_AGENT_MERGE_H

#include <jansson.h>

/* The target as the patch makes it: a new value, the caller's. NULL: out of memory. */
json_t *merge_patch(const json_t *target, json_t *patch);

#endif
