/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a module image: what is measured lies within them. */
#include <stdlib.h>
#include <string.h>

#include "cuda/image_measure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    const void *found;
    size_t bytes;

    if (!copy)
        abort();
    memcpy(copy, data, size);
    /* A wrapper holds an address, which only the program itself can vouch for. */
    if (size >= 4 && memcmp(copy, "\xb1\x43\x62\x46", 4) == 0)
        copy[0] = 0;
    if (image_measure(copy, size, &found, &bytes) == CUDA_SUCCESS &&
        (found != copy || bytes == 0 || bytes > size))
        __builtin_trap();
    free(copy);
    return 0;
}
