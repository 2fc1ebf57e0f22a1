/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Xen does for the grant carrier: mapping of granted pages, and events. `grant_ops` is
 * defined twice: in grant_kernel.c, by Linux' devices, and in fake_grant.c, for tests, by a file
 * and a socket. Which one a program has is decided when it is linked; no option changes that.
 *
 * All return 0 or -errno.
 */
#ifndef VGPU_CARRIER_GRANT_OPS_H
#define VGPU_CARRIER_GRANT_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Granted pages, mapped side by side. */
struct grant_map {
    uint8_t *at; /* NULL: none */
    uint32_t pages;
    uint64_t index; /* the device's name for it */
};

struct grant_ops {
    /* Descriptors, CLOEXEC; events: not blocking, and restricted to domid where that is not 0. */
    int (*open_memory)(const char *path);
    int (*open_events)(const char *path, uint32_t domid);
    /* The device opened anew by this process, or `memory` itself where that is not allowed. */
    int (*own_memory)(int memory);

    /* n pages of domid, at `at` where that is not NULL: whole pages that the caller has reserved.
     */
    int (*map)(int memory, uint32_t domid, const uint32_t *refs, uint32_t n, bool write, void *at,
               struct grant_map *ret);
    void (*unmap)(int memory, struct grant_map *map);

    /* A port of ours for one that domid has allocated for us. */
    int (*bind)(int events, uint32_t domid, uint32_t port, uint32_t *ret_port);
    int (*unbind)(int events, uint32_t port);
    int (*notify)(int events, uint32_t port);
    /* Ports with an event, at most `most`; each is masked until it is unmasked. Returns how many.
     */
    int (*pending)(int events, uint32_t *ret_ports, uint32_t most);
    int (*unmask)(int events, uint32_t port);

    /* The request number of the ioctl that notifies; 0: it is none. For seccomp filters. */
    unsigned long notify_request;
};

extern const struct grant_ops grant_ops;

#endif
