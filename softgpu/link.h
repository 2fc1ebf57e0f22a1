/* SPDX-License-Identifier: Apache-2.0 */
/* Link states (cuLink*): inputs are collected, compiled together, and packed into one image. */
#ifndef SOFTGPU_LINK_H
#define SOFTGPU_LINK_H

struct context;

/* Ends all link states of a context. Needs gpu.lock. */
void link_end_all(struct context *context);

#endif
