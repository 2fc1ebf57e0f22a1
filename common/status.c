/* SPDX-License-Identifier: Apache-2.0 */
#include "common/status.h"

#include <errno.h>
#include <stddef.h>

#include "common/cleanup.h"

struct status_row {
    const char *name;
    const char *text;
    bool retryable;
};

static const struct status_row rows[] = {
#define STATUS_ROW(id, value, retry, words) [value] = {#id, words, retry},
    VGPU_STATUSES(STATUS_ROW)
#undef STATUS_ROW
};

const char *vgpu_status_name(uint32_t status)
{
    return status < VGPU_ARRAY_SIZE(rows) ? rows[status].name : "UNKNOWN";
}

const char *vgpu_status_text(uint32_t status)
{
    return status < VGPU_ARRAY_SIZE(rows) ? rows[status].text : "a status of a newer version";
}

bool vgpu_status_retryable(uint32_t status)
{
    return status < VGPU_ARRAY_SIZE(rows) && rows[status].retryable;
}

enum vgpu_status vgpu_status_from_errno(int error)
{
    switch (error < 0 ? -error : error) {
    case 0:
        return VGPU_OK;
    case EAGAIN:
    case EBUSY:
        return VGPU_BUSY;
    case EACCES:
    case EPERM:
        return VGPU_QUARANTINED;
    case ENODEV:
        return VGPU_NO_GPU;
    case ENOENT:
        return VGPU_NOT_CONFIGURED;
    case EPROTONOSUPPORT:
        return VGPU_VERSION;
    case EPROTO:
    case EBADMSG:
        return VGPU_BAD_MESSAGE;
    case E2BIG:
    case EOVERFLOW:
    case ERANGE:
        return VGPU_LIMIT;
    case ETIMEDOUT:
        return VGPU_TIMEOUT;
    case ENOMEM:
        return VGPU_NO_MEMORY;
    default:
        return VGPU_INTERNAL;
    }
}
