/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other end of fake_grant.c, for tests: a guest's memory, whose page r reference r grants, and
 * Xen's events. Whoever waits for something calls fake_xen_turn() meanwhile.
 */
#ifndef VGPU_CARRIER_FAKE_XEN_H
#define VGPU_CARRIER_FAKE_XEN_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/grant.h>

#define FAKE_XEN_PAGES 8192u
#define FAKE_XEN_CONNS 16u

struct fake_xen_conn {
    int sock;       /* -1: closed by the other side, or none yet */
    uint32_t domid; /* that it is restricted to */
    uint32_t port;  /* of the guest, that is bound; 0: none */
    uint32_t notified;
    bool masked;  /* its event waits to be looked at */
    bool pending; /* one more came meanwhile, and is sent when that has been done */
};

struct fake_xen {
    char events[64], memory_path[64];
    int listener, memory;
    uint8_t *pages;
    uint32_t used;      /* pages of the guest; 0 is nobody's */
    bool refuses_binds; /* does not answer them */
    struct fake_xen_conn conns[FAKE_XEN_CONNS];
    unsigned n_conns;
};

void fake_xen_init(struct fake_xen *xen);
void fake_xen_release(struct fake_xen *xen);

/* Zeroed pages, side by side; the reference of the first is *ret_ref. */
uint8_t *fake_xen_pages(struct fake_xen *xen, uint32_t n, uint32_t *ret_ref);
/* A directory of n pages from first on. Returns its reference. */
uint32_t fake_xen_directory(struct fake_xen *xen, uint32_t first, uint32_t n);

/* Takes what has come, and waits for that up to timeout_ms. */
void fake_xen_turn(struct fake_xen *xen, int timeout_ms);
/* The connection whose process has bound this port of the guest's, or NULL. */
struct fake_xen_conn *fake_xen_bound(struct fake_xen *xen, uint32_t port);
/*
 * Binds a port of the guest's to a connection, without its process asking: for a test in the same
 * thread as who binds. Returns the port of the backend's.
 */
uint32_t fake_xen_bind(struct fake_xen *xen, unsigned conn, uint32_t port);
/* The guest sends an event. While one waits to be looked at, others are kept as one. */
void fake_xen_send(struct fake_xen *xen, uint32_t port);

#endif
