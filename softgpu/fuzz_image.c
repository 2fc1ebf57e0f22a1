/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: a module image of any form, of exactly the bytes given. */
#include <stddef.h>
#include <stdint.h>

#include "softgpu/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image = {0};

    if (image_read(&image, data, size) == CUDA_SUCCESS && image.n_sources == 0)
        __builtin_trap();
    image_release(&image);
    return 0;
}
