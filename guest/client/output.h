/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client: JSON on standard output. */
#ifndef VGPU_GUEST_CLIENT_OUTPUT_H
#define VGPU_GUEST_CLIENT_OUTPUT_H

#include <jansson.h>

#include "common/cleanup.h"

static inline void output_cleanup_json(json_t **json)
{
    json_decref(*json);
}

#define _cleanup_json_ _cleanup_(output_cleanup_json)

/* Prints an object and a newline. */
void output_json(const json_t *json);

/* Formats into a static buffer, valid until the next call. */
const char *output_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
