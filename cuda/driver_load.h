/* SPDX-License-Identifier: Apache-2.0 */
/* Fills a table of function pointers from a shared library; called by the generated loaders. */
#ifndef VGPU_CUDA_DRIVER_LOAD_H
#define VGPU_CUDA_DRIVER_LOAD_H

#include <stddef.h>

#include "common/err.h"

struct cuda_symbol {
    size_t offset;        /* of the pointer in the table */
    const char *names[3]; /* tried in turn until one is there */
};

/*
 * Loads path into *ret_library and sets each pointer of table; those not found answer
 * CUDA_ERROR_NOT_SUPPORTED. Returns 0; -ENOENT if the library does not load, -ELIBBAD if it is no
 * CUDA driver (no cuInit).
 */
int cuda_symbols_load(void *table, void **ret_library, const struct cuda_symbol *symbols,
                      size_t count, const char *path, struct vgpu_err *err);
void cuda_symbols_unload(void **library);

#endif
