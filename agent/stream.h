/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of server-sent events: one connection that is read from as fast as the client takes it,
 * and suspended while there is nothing. It holds at most one text at a time and catches up from
 * what live.c keeps; what is gone by then it says with `gap`. It ends with its token.
 */
#ifndef VGPU_AGENT_STREAM_H
#define VGPU_AGENT_STREAM_H

#include <microhttpd.h>

#include "agent/call.h"

struct live;

/* The response; NULL: there are LIVE_STREAMS_MAX already. last_id: Last-Event-ID, or NULL. */
struct MHD_Response *stream_open(struct live *live, struct MHD_Connection *connection,
                                 const struct principal *who, bool states, const char *last_id);

/* Under live's lock: there is something new, or the end. */
void streams_wake(struct live *live);
/* Under live's lock, each second: heartbeats, and the end of those whose token is gone. */
void streams_tick(struct live *live);

#endif
