/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/exports.h"

#include <stdbool.h>
#include <string.h>

/* The first row whose base name is symbol, or cuda_exports_count. */
static size_t first_row(const char *symbol)
{
    size_t low = 0;
    size_t high = cuda_exports_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(cuda_exports[middle].base, symbol) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < cuda_exports_count && strcmp(cuda_exports[low].base, symbol) == 0)
        return low;
    return cuda_exports_count;
}

static CUresult answer(void **ret_function, void *function, CUdriverProcAddressQueryResult status,
                       CUdriverProcAddressQueryResult *ret_status)
{
    *ret_function = function;
    if (ret_status)
        *ret_status = status;
    return function || ret_status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuda_exports_find(const char *symbol, void **ret_function, int version, uint64_t flags,
                           CUdriverProcAddressQueryResult *ret_status)
{
    const uint64_t known =
        CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    bool per_thread = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    void *found = NULL;
    size_t row;

    if (!symbol || !ret_function || (flags & ~known) || (flags & known) == known)
        return CUDA_ERROR_INVALID_VALUE;
    row = first_row(symbol);
    if (row == cuda_exports_count)
        return answer(ret_function, NULL, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND, ret_status);
    for (; row < cuda_exports_count && strcmp(cuda_exports[row].base, symbol) == 0; row++) {
        const struct cuda_export *export = &cuda_exports[row];

        if (export->version > version)
            continue;
        found = per_thread && export->twin && export->twin_version <= version ? export->twin
                                                                              : export->function;
    }
    return answer(ret_function, found,
                  found ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT,
                  ret_status);
}
