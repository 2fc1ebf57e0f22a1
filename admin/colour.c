/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/colour.h"

#include <string.h>

#include "common/cleanup.h"

static bool is_on;

int colour_choose(const struct colour_wish *wish, struct vgpu_err *err)
{
    const char *when = wish->when ? wish->when : "auto";

    if (strcmp(when, "always") == 0)
        is_on = true;
    else if (strcmp(when, "never") == 0)
        is_on = false;
    else if (strcmp(when, "auto") == 0)
        /* https://no-color.org: where it is set to anything, it asks for none. */
        is_on = wish->terminal && !(wish->no_color && wish->no_color[0]) && wish->term &&
                strcmp(wish->term, "dumb") != 0;
    else
        return vgpu_err_set(err, EINVAL, "--color=%s is not one of: always, never, auto", when);
    return 0;
}

bool colour_on(void)
{
    return is_on;
}

enum colour colour_of_state(const char *word)
{
    static const struct {
        const char *word;
        enum colour colour;
    } words[] = {
        {"ok", COLOUR_GOOD},      {"present", COLOUR_GOOD},    {"running", COLOUR_GOOD},
        {"waiting", COLOUR_WARN}, {"warning", COLOUR_WARN},    {"draining", COLOUR_WARN},
        {"drained", COLOUR_WARN}, {"no driver", COLOUR_WARN},  {"stopped", COLOUR_WARN},
        {"missing", COLOUR_BAD},  {"unhealthy", COLOUR_BAD},   {"error", COLOUR_BAD},
        {"failed", COLOUR_BAD},   {"quarantined", COLOUR_BAD}, {"disconnected", COLOUR_DIM},
        {"unknown", COLOUR_DIM},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(words); i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].colour;
    return COLOUR_PLAIN;
}

void colour_begin(FILE *file, enum colour colour)
{
    static const char *const sequences[] = {
        [COLOUR_TITLE] = "\033[1m", [COLOUR_DIM] = "\033[2m",  [COLOUR_GOOD] = "\033[32m",
        [COLOUR_WARN] = "\033[33m", [COLOUR_BAD] = "\033[31m",
    };

    if (is_on && colour != COLOUR_PLAIN)
        fputs(sequences[colour], file);
}

void colour_end(FILE *file, enum colour colour)
{
    if (is_on && colour != COLOUR_PLAIN)
        fputs("\033[0m", file);
}
