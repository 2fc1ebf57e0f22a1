/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Colours in what vgpu-admin prints: decided once, by main(), and asked for by meaning. No other
 * file of it knows an escape sequence; the live screen (top_screen.c) has curses's own.
 */
#ifndef VGPU_ADMIN_COLOUR_H
#define VGPU_ADMIN_COLOUR_H

#include <stdbool.h>
#include <stdio.h>

#include "common/err.h"

enum colour { COLOUR_PLAIN, COLOUR_TITLE, COLOUR_DIM, COLOUR_GOOD, COLOUR_WARN, COLOUR_BAD };

/* What --color was given as (NULL: not at all), and what speaks for and against. */
struct colour_wish {
    const char *when;     /* "always", "never", "auto" */
    const char *no_color; /* the environment's NO_COLOR */
    const char *term;     /* the environment's TERM */
    bool terminal;        /* standard output is one */
};

/* Decides for the whole program. -EINVAL: a word that is none of the three. */
int colour_choose(const struct colour_wish *wish, struct vgpu_err *err);

/* True if colours were decided for. */
bool colour_on(void);

/* What a word for a state (of a GPU, a VM, an event ...) means. */
enum colour colour_of_state(const char *word);

/* Between begin and end the text is of that colour; nothing is written where there are none. */
void colour_begin(FILE *file, enum colour colour);
void colour_end(FILE *file, enum colour colour);

#endif
