/* SPDX-License-Identifier: Apache-2.0 */
#include "xenbus/store.h"

bool store_number(const char *text, uint32_t most, uint32_t *ret)
{
    uint64_t value = 0;
    int i = 0;

    for (; text[i] >= '0' && text[i] <= '9' && i < 10; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    if (i == 0 || text[i] != '\0' || value > most)
        return false;
    *ret = (uint32_t)value;
    return true;
}
