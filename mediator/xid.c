/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/xid.h"

#include <stddef.h>

static const struct xid {
    uint32_t xid;
    enum xid_class class;
    const char *text;
} xids[] = {
    {13, XID_APPLICATION, "graphics engine exception"},
    {31, XID_APPLICATION, "memory page fault of a program"},
    {43, XID_APPLICATION, "a program's channel was stopped"},
    {45, XID_APPLICATION, "a program's channels were cleaned up"},
    {46, XID_ERROR, "the GPU stopped processing"},
    {48, XID_ERROR, "double bit ECC error"},
    {61, XID_WARNING, "warning of the internal microcontroller"},
    {62, XID_ERROR, "the internal microcontroller halted"},
    {63, XID_WARNING, "a row is to be remapped"},
    {64, XID_ERROR, "a row could not be remapped"},
    {68, XID_APPLICATION, "video decoder exception"},
    {69, XID_APPLICATION, "graphics engine class error"},
    {74, XID_ERROR, "NVLink error"},
    {79, XID_FATAL, "the GPU has fallen off its bus"},
    {92, XID_WARNING, "high rate of single bit ECC errors"},
    {94, XID_WARNING, "contained memory error"},
    {95, XID_FATAL, "uncontained memory error"},
    {109, XID_ERROR, "context switch timeout"},
    {119, XID_ERROR, "the GPU's system processor does not answer"},
    {120, XID_ERROR, "error of the GPU's system processor"},
    {140, XID_ERROR, "unrecovered ECC error"},
};

static const struct xid *find(uint32_t xid)
{
    for (size_t i = 0; i < sizeof(xids) / sizeof(xids[0]); i++)
        if (xids[i].xid == xid)
            return &xids[i];
    return NULL;
}

enum xid_class xid_class(uint32_t xid)
{
    const struct xid *row = find(xid);

    return row ? row->class : XID_OTHER;
}

const char *xid_text(uint32_t xid)
{
    const struct xid *row = find(xid);

    return row ? row->text : "unknown error";
}
