/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes vm_set_parse(): a set is in order, within its limits, and reads the same when written. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/vm_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_set(const struct vm_set *set, char text[VM_SET_TEXT_BYTES])
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < set->n; i++)
        used += (size_t)snprintf(text + used, VM_SET_TEXT_BYTES - used, "%s%d", i ? "," : "",
                                 (int)set->ids[i]);
    assert(used < VM_SET_TEXT_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm_set set, again;
    static char written[VM_SET_TEXT_BYTES];
    struct vgpu_err err = {.code = 0};
    _cleanup_free_ char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (vm_set_parse(text, &set, &err) < 0) {
        assert(err.code == EINVAL || err.code == ENOSPC);
        assert(err.text[0]);
        return 0;
    }
    assert(set.n >= 1 && set.n <= STORE_VMS_MAX && set.ids[0] >= STORE_VM_ID_MIN);
    for (size_t i = 1; i < set.n; i++)
        assert(set.ids[i - 1] < set.ids[i]);
    write_set(&set, written);
    assert(vm_set_parse(written, &again, NULL) == 0);
    assert(again.n == set.n && memcmp(again.ids, set.ids, set.n * sizeof(set.ids[0])) == 0);
    return 0;
}
