/* SPDX-License-Identifier: Apache-2.0 */
/* Names, texts and mappings of the statuses in <vgpu/status.h>. */
#ifndef VGPU_COMMON_STATUS_H
#define VGPU_COMMON_STATUS_H

#include <stdbool.h>
#include <vgpu/status.h>

/* The identifier ("NOT_CONFIGURED"); "UNKNOWN" for other numbers. */
const char *vgpu_status_name(uint32_t status);

/* One sentence for a person; never NULL. */
const char *vgpu_status_text(uint32_t status);

/* True if the same request may succeed later. */
bool vgpu_status_retryable(uint32_t status);

/* The one mapping from errno (positive or negative) to the wire. */
enum vgpu_status vgpu_status_from_errno(int error);

#endif
