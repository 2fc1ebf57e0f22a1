/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listener and its server of connections (libmicrohttpd, one thread). Each request is checked as
 * soon as its headers are there: target, Host, Origin, rate, route, token, role, length, type; only
 * then is a body read, and only when it is whole does a worker (work.c) execute the call, while the
 * connection is suspended.
 */
#ifndef VGPU_AGENT_HTTP_H
#define VGPU_AGENT_HTTP_H

#include <microhttpd.h>

#include "agent/agent.h"
#include "agent/connections.h"
#include "agent/listener.h"

struct http {
    struct agent *agent;
    struct listener listener;
    struct connections connections;
    struct MHD_Daemon *daemon;
};

/* Takes the listener. certificate, key: PEM texts, or NULL for a listener without TLS. */
int http_start(struct http *http, struct agent *agent, const struct listener *listener,
               const char *certificate, const char *key, struct vgpu_err *err);
/* After work_stop() and live_stop(): nothing may be suspended any more. */
void http_stop(struct http *http);
void http_sweep(struct http *http);

#endif
