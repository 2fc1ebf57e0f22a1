/* SPDX-License-Identifier: Apache-2.0 */
/* uthash as the mediator uses it: without memory nothing is added, and the program goes on. */
#ifndef VGPU_MEDIATOR_HASH_H
#define VGPU_MEDIATOR_HASH_H

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Adds object, whose member `key` is its key; evaluates to true if it is there then. */
#define HASH_PUT(head, object, key)                                                                \
    ({                                                                                             \
        HASH_ADD(hh, head, key, sizeof((object)->key), object);                                    \
        (object)->hh.tbl != NULL;                                                                  \
    })

#endif
