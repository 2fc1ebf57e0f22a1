/* SPDX-License-Identifier: Apache-2.0 */
/* How the settings of VMs and pools (store/setting.h) are shown. */
#ifndef VGPU_ADMIN_SETTINGS_H
#define VGPU_ADMIN_SETTINGS_H

#include <jansson.h>

#include "store/setting.h"

/* After a command of settings.c: what it set and what that now is. */
void settings_print(const char *command, const json_t *result);

/*
 * Those that a VM or a pool has set, in at most size bytes (at least 16): "rate 100/s, memory 4
 * GiB"; "-" if none, "…" for those that do not fit.
 */
void settings_summary(const struct setting *settings, const json_t *object, char *text,
                      size_t size);

#endif
