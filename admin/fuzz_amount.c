/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as the amount of each setting; what is taken is shown again, and within what is exact.
 */
#include <errno.h>
#include <string.h>

#include "admin/amount.h"

#define AMOUNT_MOST INT64_C(9000000000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_each(const struct setting *setting, const char *text)
{
    for (; setting->name; setting++) {
        char shown[AMOUNT_BYTES];
        struct vgpu_err err = {.code = 0};
        int64_t amount = -1;

        if (amount_parse(setting, text, &amount, &err) < 0) {
            if (err.code != EINVAL || !err.text[0] || amount != -1)
                __builtin_trap();
        } else if (amount < 0 || amount > AMOUNT_MOST || !amount_show(setting, amount, shown)[0]) {
            __builtin_trap();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[64];
    size_t length = size < sizeof(text) - 1 ? size : sizeof(text) - 1;

    memcpy(text, data, length);
    text[length] = '\0';
    try_each(vm_settings, text);
    try_each(pool_settings, text);
    return 0;
}
