/* SPDX-License-Identifier: Apache-2.0 */
/* What only the mediator knows of the pools' capacity: whether their GPUs are well. */
#ifndef VGPU_MEDIATOR_CAPACITY_H
#define VGPU_MEDIATOR_CAPACITY_H

#include <jansson.h>

#include "mediator/mediator.h"

/*
 * Puts gpus_healthy into the pools of the store's answer to "capacity", and refuses one more VM
 * where none is. An answer that is not understood stays as it is.
 */
void capacity_fill(const struct mediator *mediator, json_t *result);

#endif
