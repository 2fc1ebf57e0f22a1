/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the parser of what guests send: a stream of messages, as connection.c takes it. */
#include <stdint.h>
#include <stdlib.h>

#include "mediator/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    union request request;
    struct vgpu_err err;
    uint32_t tag;
    int used;

    while ((used = request_parse(data, size, &request, &tag, &err)) > 0) {
        if ((size_t)used > size || (size_t)used > sizeof(request) || request.head.tag != tag)
            abort();
        data += used;
        size -= (size_t)used;
    }
    return 0;
}
