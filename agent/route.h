/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of operations: method, path, the least role, who handles it. agent/openapi.json has the
 * same ones; a test compares the two.
 */
#ifndef VGPU_AGENT_ROUTE_H
#define VGPU_AGENT_ROUTE_H

#include "agent/call.h"

#define ROUTE_API_SEGMENTS 2 /* api, v1 */
#define ROUTE_QUERY_MAX    5

enum route_kind {
    ROUTE_CALL,   /* handled by a worker */
    ROUTE_DIRECT, /* waits for nothing: handled at once */
    ROUTE_STREAM  /* server-sent events */
};

enum route_body { ROUTE_NO_BODY, ROUTE_JSON, ROUTE_MERGE_PATCH };

struct route {
    enum request_method method;
    const char *pattern; /* segments; "*" is one of any content */
    enum role role;      /* ROLE_NONE: needs no token */
    enum route_kind kind;
    enum route_body body;
    size_t body_bytes;
    void (*handle)(struct call *call);
    const char *query[ROUTE_QUERY_MAX + 1];
};

/* True if the path is one of the API's, rather than a file of the panel. */
bool route_is_api(const struct request *request);

/*
 * NULL: no operation has this path and method; *ret_allow is then the methods that it has, for
 * Allow, or NULL where it has none.
 */
const struct route *route_find(const struct request *request, const char **ret_allow);

/* By number; NULL: there are no more. */
const struct route *route_at(size_t i);

#endif
