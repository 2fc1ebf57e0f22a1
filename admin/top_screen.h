/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal of `vgpu-admin top`: curses in top_screen.c, or, in a build without it,
 * top_no_screen.c, whose top_screen_open() says so.
 */
#ifndef VGPU_ADMIN_TOP_SCREEN_H
#define VGPU_ADMIN_TOP_SCREEN_H

#include "admin/top_canvas.h"
#include "common/err.h"

/* Takes the terminal over. -ENOTTY, -EOPNOTSUPP: it cannot be. */
int top_screen_open(bool colours, struct vgpu_err *err);
/* Gives it back as it was. */
void top_screen_close(void);

/* How large the terminal is now. */
void top_screen_measure(size_t *ret_width, size_t *ret_height);
void top_screen_show(const struct top_canvas *canvas);
/* As enum top_key has it; TOP_KEY_NONE: no more keys for now. */
unsigned top_screen_key(void);

#endif
