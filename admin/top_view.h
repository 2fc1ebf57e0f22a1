/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How `vgpu-admin top` shows its model: which columns, in which order, from which row on. Keys
 * change it; drawing needs no terminal, so that a test can look at it as well.
 */
#ifndef VGPU_ADMIN_TOP_VIEW_H
#define VGPU_ADMIN_TOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "admin/top_canvas.h"
#include "common/err.h"

#define TOP_FILTER_BYTES 64

enum top_section_id { TOP_GPUS, TOP_POOLS, TOP_VMS, TOP_SECTIONS };

/* Which columns come first where there is not room for all. */
enum top_set { TOP_OVERVIEW, TOP_LATENCY, TOP_LIMITS, TOP_SETS };

/* Keys that are no characters; characters are themselves. */
enum top_key {
    TOP_KEY_NONE,
    TOP_KEY_UP = 0x200000,
    TOP_KEY_DOWN,
    TOP_KEY_LEFT,
    TOP_KEY_RIGHT,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_BACKSPACE,
    TOP_KEY_TAB_BACK,
};

struct top_section {
    size_t sort; /* an index of its columns */
    bool ascending;
    size_t scroll; /* rows above the first that is shown */
    char filter[TOP_FILTER_BYTES];
    size_t matching, shown; /* as last drawn */
};

struct top_view {
    struct top_section sections[TOP_SECTIONS];
    enum top_section_id focus;
    enum top_set set;
    bool typing, help, paused, quit;
    bool ascii;
    size_t width, height; /* height 0: as many lines as it takes, and no line of keys */
    const char *note;     /* shown below the head where something is wrong, or NULL */
    double interval_s;
};

void top_view_init(struct top_view *view);

/* Sorts the VMs by a column's title, in any case, '-' before it for the other direction. */
int top_view_sort(struct top_view *view, const char *title, struct vgpu_err *err);

/* key: an enum top_key or a character. */
void top_view_key(struct top_view *view, unsigned key);

/* Draws the model (NULL: nothing is known yet) on an empty canvas. */
void top_view_draw(struct top_view *view, const json_t *model, struct top_canvas *canvas);

#endif
