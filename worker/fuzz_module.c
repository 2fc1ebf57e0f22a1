/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Module images: what their headers claim, and how much device memory they are expected to take.
 * As the worker has them: a copy with a NUL behind, and nothing after that.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "worker/image.h"
#include "worker/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *image = malloc(size + 1);
    enum image_kind kind;

    if (!image)
        return 0;
    memcpy(image, data, size);
    image[size] = 0;
    kind = image_check(image, size);
    if (kind != IMAGE_BAD) {
        uint64_t bytes = image_device_bytes(image, size, kind);

        assert(bytes % VGPU_ALLOCATION_GRAIN == 0 && bytes <= UINT64_C(1) << 50);
    }
    free(image);
    return 0;
}
