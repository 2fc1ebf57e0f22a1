/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/top_screen.h"

#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin/top_view.h"
#include "common/cleanup.h"

#define ESCAPE_MS 50 /* after Escape, for the rest of a key's sequence */

static SCREEN *screen;
static bool has_pairs;

/* A terminal without that ("dumb") is a typewriter. */
static bool can_move(void)
{
    const char *sequence = tigetstr("cup");

    return sequence && sequence != (const char *)-1;
}

int top_screen_open(bool colours, struct vgpu_err *err)
{
    const char *term = getenv("TERM");

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return vgpu_err_set(err, ENOTTY,
                            "top needs a terminal; without one: vgpu-admin top --once");
    set_escdelay(ESCAPE_MS);
    screen = newterm(NULL, stdout, stdin);
    if (!screen || !can_move()) {
        top_screen_close();
        return vgpu_err_set(err, EOPNOTSUPP,
                            "the terminal (TERM=%s) cannot be drawn on; use: vgpu-admin top --once",
                            term ? term : "");
    }
    cbreak();
    noecho();
    nonl();
    intrflush(stdscr, FALSE);
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    curs_set(0);
    has_pairs = colours && has_colors() && start_color() == OK && use_default_colors() == OK;
    if (has_pairs) {
        init_pair(COLOUR_GOOD, COLOR_GREEN, -1);
        init_pair(COLOUR_WARN, COLOR_YELLOW, -1);
        init_pair(COLOUR_BAD, COLOR_RED, -1);
    }
    return 0;
}

void top_screen_close(void)
{
    if (!screen)
        return;
    endwin();
    delscreen(screen);
    screen = NULL;
}

void top_screen_measure(size_t *ret_width, size_t *ret_height)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0 &&
        (size.ws_col != COLS || size.ws_row != LINES)) {
        resizeterm(size.ws_row, size.ws_col);
        clearok(curscr, TRUE);
    }
    *ret_width = (size_t)COLS;
    *ret_height = (size_t)LINES;
}

static attr_t attributes(struct top_style style)
{
    attr_t found = (style.bold ? A_BOLD : 0) | (style.reverse ? A_REVERSE : 0);

    if (style.colour == COLOUR_DIM)
        found |= A_DIM;
    else if (style.colour >= COLOUR_GOOD && has_pairs)
        found |= (attr_t)COLOR_PAIR(style.colour);
    return found;
}

void top_screen_show(const struct top_canvas *canvas)
{
    erase();
    for (size_t i = 0; i < canvas->n_lines && i < (size_t)LINES; i++) {
        const struct top_line *line = &canvas->lines[i];

        move((int)i, 0);
        for (size_t k = 0; k < line->n_spans; k++) {
            const struct top_span *span = &line->spans[k];

            attrset((int)attributes(span->style));
            addnstr(line->text + span->start, (int)(span->end - span->start));
        }
    }
    attrset(A_NORMAL);
    refresh();
}

static unsigned translate(wint_t key)
{
    static const struct {
        wint_t curses;
        unsigned key;
    } keys[] = {
        {KEY_UP, TOP_KEY_UP},
        {KEY_DOWN, TOP_KEY_DOWN},
        {KEY_LEFT, TOP_KEY_LEFT},
        {KEY_RIGHT, TOP_KEY_RIGHT},
        {KEY_PPAGE, TOP_KEY_PAGE_UP},
        {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
        {KEY_HOME, TOP_KEY_HOME},
        {KEY_END, TOP_KEY_END},
        {KEY_BACKSPACE, TOP_KEY_BACKSPACE},
        {KEY_BTAB, TOP_KEY_TAB_BACK},
        {KEY_ENTER, '\r'},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(keys); i++)
        if (keys[i].curses == key)
            return keys[i].key;
    return TOP_KEY_NONE;
}

unsigned top_screen_key(void)
{
    wint_t key;
    int kind;

    while ((kind = get_wch(&key)) != ERR) {
        unsigned found = kind == KEY_CODE_YES ? translate(key) : (unsigned)key;

        if (found == '\f') /* Ctrl-L */
            clearok(curscr, TRUE);
        else if (found != TOP_KEY_NONE)
            return found;
    }
    return TOP_KEY_NONE;
}
