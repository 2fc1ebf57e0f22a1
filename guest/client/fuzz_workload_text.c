/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the parser of text input files. */
#include <math.h>
#include <stdlib.h>

#include "guest/client/workload_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    float *values = NULL;
    uint64_t count = 0;

    if (workload_text_parse((const char *)data, size, &values, &count, NULL) == 0)
        for (uint64_t i = 0; i < count; i++)
            if (!isfinite(values[i]))
                abort();
    free(values);
    return 0;
}
