/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is checked of a request when its headers are there, before a byte of its body is taken.
 * Knows nothing of libmicrohttpd: http.c collects the headers.
 */
#ifndef VGPU_AGENT_CHECK_H
#define VGPU_AGENT_CHECK_H

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/listener.h"

/* NULL: not sent. */
struct headers {
    const char *host, *origin, *authorization, *if_match, *if_none_match, *content_type,
        *content_length, *transfer_encoding, *last_event_id, *fetch_site;
    bool doubled; /* one of them was there twice */
};

/* False: it is none of them. value: kept. */
bool headers_take(struct headers *headers, const char *name, const char *value);

/*
 * Fills call->request, route and who. The reply is set where the request is refused, or the file
 * of the panel is found; otherwise *ret_body_bytes are to be read.
 */
void check_request(struct call *call, const struct listener *listener, const char *peer,
                   const char *method, const char *target, const struct headers *headers,
                   size_t *ret_body_bytes);

/* The body is whole. */
void check_body(struct call *call, const char *body, size_t size);

#endif
