/* SPDX-License-Identifier: Apache-2.0 */
#include "store/vm_set.h"

#include <errno.h>
#include <string.h>

#include "store/text.h"

/* Where the id is, or would be put. */
static size_t place_of(const struct vm_set *set, int32_t vm_id)
{
    size_t low = 0, high = set->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->ids[middle] < vm_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool vm_set_has(const struct vm_set *set, int32_t vm_id)
{
    size_t place = place_of(set, vm_id);

    return place < set->n && set->ids[place] == vm_id;
}

static bool add(struct vm_set *set, int32_t vm_id)
{
    size_t place = place_of(set, vm_id);

    if (place < set->n && set->ids[place] == vm_id)
        return true;
    if (set->n == STORE_VMS_MAX)
        return false;
    memmove(&set->ids[place + 1], &set->ids[place], (set->n - place) * sizeof(set->ids[0]));
    set->ids[place] = vm_id;
    set->n++;
    return true;
}

static int bad_place(const char *at, const char *what, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];

    if (*at == '\0')
        return vgpu_err_set(err, EINVAL, "%s is missing at the end; as in 1-7,9", what);
    return vgpu_err_set(err, EINVAL, "%s is missing at %s; as in 1-7,9", what,
                        text_show(shown, at));
}

/* Moves *at past the id. */
static int read_id(const char **at, int32_t *ret_vm_id, struct vgpu_err *err)
{
    const char *start = *at;
    int64_t vm_id = 0;

    if (*start < '0' || *start > '9')
        return bad_place(start, "the id of a VM", err);
    for (; **at >= '0' && **at <= '9'; ++*at) {
        vm_id = vm_id * 10 + (**at - '0');
        if (vm_id > STORE_VM_ID_MAX)
            break;
    }
    if (vm_id < STORE_VM_ID_MIN || vm_id > STORE_VM_ID_MAX || *start == '0') {
        char shown[TEXT_SHOWN_BYTES];

        return vgpu_err_set(err, EINVAL, "%s is out of range: ids are %d to %d",
                            text_show(shown, start), STORE_VM_ID_MIN, STORE_VM_ID_MAX);
    }
    *ret_vm_id = (int32_t)vm_id;
    return 0;
}

/* One id, or a range. */
static int read_part(const char **at, struct vm_set *set, struct vgpu_err *err)
{
    int32_t first = 0, last;
    int rc = read_id(at, &first, err);

    if (rc < 0)
        return rc;
    last = first;
    if (**at == '-') {
        ++*at;
        if ((rc = read_id(at, &last, err)) < 0)
            return rc;
        if (last < first)
            return vgpu_err_set(err, EINVAL, "the range %d-%d runs backwards", (int)first,
                                (int)last);
    }
    for (int64_t vm_id = first; vm_id <= last; vm_id++)
        if (!add(set, (int32_t)vm_id))
            return vgpu_err_set(err, ENOSPC, "these are more than %d VMs, the most there can be",
                                STORE_VMS_MAX);
    return 0;
}

int vm_set_parse(const char *text, struct vm_set *ret_set, struct vgpu_err *err)
{
    const char *at = text;
    int rc;

    ret_set->n = 0;
    if (strlen(text) > VM_SET_TEXT_BYTES)
        return vgpu_err_set(err, EINVAL, "the list of VMs has %zu bytes; at most %d are allowed",
                            strlen(text), VM_SET_TEXT_BYTES);
    for (;;) {
        if ((rc = read_part(&at, ret_set, err)) < 0)
            return rc;
        if (*at == '\0')
            return 0;
        if (*at != ',')
            return bad_place(at, "a comma", err);
        at++;
    }
}
