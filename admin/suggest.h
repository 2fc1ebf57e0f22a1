/* SPDX-License-Identifier: Apache-2.0 */
/* Finds what a mistyped word was probably meant to be. */
#ifndef VGPU_ADMIN_SUGGEST_H
#define VGPU_ADMIN_SUGGEST_H

#include <stddef.h>

struct suggestion {
    const char *typed;
    const char *nearest; /* NULL while nothing is near enough */
    size_t distance;
};

/* Offers one candidate; the nearest of those offered stays. */
void suggestion_offer(struct suggestion *suggestion, const char *candidate);

#endif
