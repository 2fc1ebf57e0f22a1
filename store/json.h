/* SPDX-License-Identifier: Apache-2.0 */
/* How store and admin write JSON: on one line, and weights as they were given (33.33). And how all
 * release it. */
#ifndef VGPU_STORE_JSON_H
#define VGPU_STORE_JSON_H

#include <jansson.h>

#include "common/cleanup.h"

#define STORE_JSON_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(10))

static inline void cleanup_json(json_t **json)
{
    json_decref(*json);
}

#define _cleanup_json_ _cleanup_(cleanup_json)

#endif
