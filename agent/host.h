/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host and Origin: a page of another site must not reach the agent through the administrator's
 * browser, not even under a name that it has made point here (DNS rebinding).
 *
 * Names are compared, ports are not: a tunnel may end at any port. An Origin must be the Host, port
 * included.
 */
#ifndef VGPU_AGENT_HOST_H
#define VGPU_AGENT_HOST_H

#include <stdbool.h>

#define HOST_NAME_BYTES 256
#define HOST_NAMES_MAX  24

struct host_names {
    char names[HOST_NAMES_MAX][HOST_NAME_BYTES];
    unsigned n;
};

/* False: not a host name or address, or too many. Addresses of IPv6 come with or without []. */
bool host_names_add(struct host_names *names, const char *name);

bool host_allowed(const struct host_names *names, const char *host);
bool host_origin_allowed(const char *host, const char *origin);

#endif
