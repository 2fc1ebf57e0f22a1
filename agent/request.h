/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as the agent understands it: target, query, preconditions and body, taken apart once
 * and strictly. Knows nothing of sockets; http.c feeds it, the handlers of resources read it.
 *
 * Invariants: segments and query values are UTF-8 without control characters; no segment is empty,
 * "." or "..".
 */
#ifndef VGPU_AGENT_REQUEST_H
#define VGPU_AGENT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "common/err.h"

#define REQUEST_TARGET_BYTES 4096 /* path and query, as sent */
#define REQUEST_SEGMENTS_MAX 8
#define REQUEST_QUERY_MAX    8
#define REQUEST_TAG_BYTES    72
#define REQUEST_JSON_DEPTH   16

enum request_method {
    REQUEST_GET,
    REQUEST_POST,
    REQUEST_PUT,
    REQUEST_PATCH,
    REQUEST_DELETE,
    REQUEST_OTHER
};

struct request_parameter {
    const char *name, *value;
};

enum request_match { REQUEST_MATCH_NONE, REQUEST_MATCH_ANY, REQUEST_MATCH_TAG };

struct request {
    enum request_method method;
    char *target; /* decoded in place: what segments and query point into */
    const char *segments[REQUEST_SEGMENTS_MAX];
    unsigned n_segments;
    bool directory; /* the path ended with a slash */
    struct request_parameter query[REQUEST_QUERY_MAX];
    unsigned n_query;
    enum request_match if_match;
    char tag[REQUEST_TAG_BYTES]; /* of If-Match, without quotes */
    bool must_be_new;            /* If-None-Match: * */
    json_t *body;                /* NULL: none */
};

void request_release(struct request *request);

enum request_method request_method_of(const char *text);

/* -EINVAL with the cause, or -E2BIG: longer than REQUEST_TARGET_BYTES. */
int request_set_target(struct request *request, const char *target, struct vgpu_err *err);

/* The value of a header, or NULL for none. */
int request_set_if_match(struct request *request, const char *value, struct vgpu_err *err);
int request_set_if_none_match(struct request *request, const char *value, struct vgpu_err *err);

/* True if the content type is `wanted`, whatever its parameters. */
bool request_type_is(const char *content_type, const char *wanted);

/* JSON without duplicate members, at most REQUEST_JSON_DEPTH deep. */
int request_set_body(struct request *request, const char *text, size_t size, struct vgpu_err *err);

/* NULL if it is not there. */
const char *request_query(const struct request *request, const char *name);
/* An error if a parameter is none of known (NULL-terminated). */
int request_query_known(const struct request *request, const char *const *known,
                        struct vgpu_err *err);
/* Untouched where it is not there. */
int request_query_integer(const struct request *request, const char *name, int64_t min, int64_t max,
                          int64_t *value, struct vgpu_err *err);
int request_query_flag(const struct request *request, const char *name, bool *value,
                       struct vgpu_err *err);

/* A decimal number without sign and leading zeros, in [min, max]. */
bool request_decimal(const char *text, int64_t min, int64_t max, int64_t *ret);

#endif
