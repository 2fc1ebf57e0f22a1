/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growing arrays for the compiler: ARRAY(type) name = {0}; array_push(&name, value) returns false
 * when out of memory or past 2^31 elements. Freed by free(name.at).
 */
#ifndef SOFTGPU_PTX_ARRAY_H
#define SOFTGPU_PTX_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define ARRAY(type)                                                                                \
    struct {                                                                                       \
        type *at;                                                                                  \
        uint32_t n, cap;                                                                           \
    }

/* Makes room for one more element. */
static inline bool array_room(void **at, uint32_t n, uint32_t *cap, size_t element_bytes)
{
    uint32_t wanted = *cap ? *cap * 2 : 16;
    void *grown;

    if (n < *cap)
        return true;
    if (*cap >= UINT32_C(1) << 30)
        return false;
    grown = realloc(*at, wanted * element_bytes);
    if (!grown)
        return false;
    *at = grown;
    *cap = wanted;
    return true;
}

#define array_push(array, value)                                                                   \
    (array_room((void **)&(array)->at, (array)->n, &(array)->cap, sizeof(*(array)->at)) &&         \
     ((array)->at[(array)->n++] = (value), true))

#endif
