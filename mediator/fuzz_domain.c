/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a packet of vgpu-xenbus. What is let through has its size and ends its text. */
#include <string.h>

#include "mediator/domain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vgpu_domain_set set;

    if (domain_check(data, size, NULL) < 0)
        return 0;
    memset(&set, 0xff, sizeof(set));
    memcpy(&set, data, size < sizeof(set) ? size : sizeof(set));
    if (set.head.size_bytes != size)
        __builtin_trap();
    if (set.head.type == VGPU_DOMAIN_SET && !memchr(set.vm, '\0', sizeof(set.vm)))
        __builtin_trap();
    return 0;
}
