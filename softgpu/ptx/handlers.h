/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers that are compiled once: control flow and what lanes do together. */
#ifndef SOFTGPU_PTX_HANDLERS_H
#define SOFTGPU_PTX_HANDLERS_H

#include "softgpu/ptx/exec.h"

#define FLOW_HANDLER(name) const struct op *op_flow_##name(struct warp *w, const struct op *op)

#define FLOW(name) FLOW_HANDLER(name);
#include "softgpu/ptx/opcodes.def"

#endif
