/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: the text file from which NVML's answers come. */
#include <stddef.h>
#include <stdint.h>

#include "softgpu/health.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct health health;

    health_default(&health);
    health_parse(&health, (const char *)data, size);
    if (health.n_processes > HEALTH_MAX_PROCESSES)
        __builtin_trap();
    return 0;
}
