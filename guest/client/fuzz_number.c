/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as each of the numbers that the command line takes. */
#include <string.h>

#include "guest/client/number.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[256];
    int32_t list[16];
    uint32_t triple[3];
    uint64_t value;
    struct number_argument argument;
    size_t length = size < sizeof(text) - 1 ? size : sizeof(text) - 1;

    memcpy(text, data, length);
    text[length] = '\0';
    number_u64(text, &value);
    if (number_list(text, list, 16) > 16)
        __builtin_trap();
    if (number_triple(text, triple) && (!triple[0] || !triple[1] || !triple[2]))
        __builtin_trap();
    if (number_argument(text, &argument) && (argument.size == 0 || argument.size > 8))
        __builtin_trap();
    return 0;
}
