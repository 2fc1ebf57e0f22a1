/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/suggest.h"

#include <string.h>

#define WORD_BYTES 32 /* longer words are not compared */

static size_t least(size_t a, size_t b, size_t c)
{
    size_t smaller = a < b ? a : b;

    return smaller < c ? smaller : c;
}

/* Levenshtein's distance: insertions, deletions and substitutions, each counting one. */
static size_t distance(const char *a, const char *b)
{
    size_t row[WORD_BYTES + 1], size = strlen(b);

    for (size_t j = 0; j <= size; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= size; j++) {
            size_t above = row[j];

            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[size];
}

void suggestion_offer(struct suggestion *suggestion, const char *candidate)
{
    size_t typed = strlen(suggestion->typed), size = strlen(candidate), found;

    if (typed > WORD_BYTES || size > WORD_BYTES)
        return;
    found = distance(suggestion->typed, candidate);
    /* More than a third of the word wrong is another word. */
    if (found > size / 3 + 1 || found >= size ||
        (suggestion->nearest && found >= suggestion->distance))
        return;
    suggestion->nearest = candidate;
    suggestion->distance = found;
}
