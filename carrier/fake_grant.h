/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants and events without Xen, for tests: `grant_ops` of the programs that are linked with
 * fake_grant.c. The device of grants is a file, whose page r is what reference r grants; the device
 * of events is a SEQPACKET socket on which the test answers for Xen and the guest. As under a PV
 * dom0 before Linux 5.5, only the process that opened the device of grants can map by it.
 */
#ifndef VGPU_CARRIER_FAKE_GRANT_H
#define VGPU_CARRIER_FAKE_GRANT_H

#include <stdint.h>

enum fake_grant_what {
    FAKE_GRANT_OPEN = 1, /* to the test, first: port is the domain that it is restricted to, or 0 */
    FAKE_GRANT_BIND,     /* to the test; answered with the same, port: 0 refuses */
    FAKE_GRANT_NOTIFY,   /* to the test */
    FAKE_GRANT_UNMASK,   /* to the test */
    FAKE_GRANT_UNBIND,   /* to the test */
    FAKE_GRANT_EVENT     /* from the test */
};

struct fake_grant_message {
    uint32_t what, domid, port;
};

#endif
