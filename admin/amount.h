/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes, times, rates and weights as a person writes and reads them, by the unit of the setting
 * (store/setting.h): "4G", "1.5s", "100", "2.5"; "none" or "default" for 0.
 */
#ifndef VGPU_ADMIN_AMOUNT_H
#define VGPU_ADMIN_AMOUNT_H

#include "common/err.h"
#include "store/setting.h"

#define AMOUNT_BYTES 48

/* The setting of that name, of a VM or of a pool; the caller knows that it is there. */
const struct setting *amount_setting(const char *name);

/* -EINVAL with what is wrong and what would be right; the range is for the store to check. */
int amount_parse(const struct setting *setting, const char *text, int64_t *ret_amount,
                 struct vgpu_err *err);

/* "4.0 GiB", "1.5 s", "4096 (default)", "no limit"; returns text. */
const char *amount_show(const struct setting *setting, int64_t amount, char text[AMOUNT_BYTES]);

#endif
