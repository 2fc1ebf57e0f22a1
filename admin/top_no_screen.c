/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "admin/top_screen.h"
#include "admin/top_view.h"

int top_screen_open(bool colours, struct vgpu_err *err)
{
    return vgpu_err_set(err, EOPNOTSUPP,
                        "this vgpu-admin was built without ncurses; use: vgpu-admin top --once, or "
                        "vgpu-admin status --watch");
}

void top_screen_close(void)
{
}

void top_screen_measure(size_t *ret_width, size_t *ret_height)
{
    *ret_width = *ret_height = 0;
}

void top_screen_show(const struct top_canvas *canvas)
{
}

unsigned top_screen_key(void)
{
    return TOP_KEY_NONE;
}
