/* SPDX-License-Identifier: Apache-2.0 */
/* How store and admin write JSON: on one line, and weights as they were given (33.33). */
#ifndef VGPU_STORE_JSON_H
#define VGPU_STORE_JSON_H

#include <jansson.h>

#define STORE_JSON_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(10))

#endif
