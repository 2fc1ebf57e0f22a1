/* SPDX-License-Identifier: Apache-2.0 */
/* An answer before it is sent: status, body, and what headers go with it. */
#ifndef VGPU_AGENT_REPLY_H
#define VGPU_AGENT_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "agent/request.h"

struct reply {
    unsigned status; /* 0: nothing yet */
    const char *type;
    char *body; /* NULL: none */
    size_t size;
    bool body_static;            /* the body is not the reply's */
    char tag[REQUEST_TAG_BYTES]; /* ETag, without quotes; "": none */
    unsigned retry_after_s;
    const char *allow;         /* of a 405 */
    const char *cache_control; /* NULL: no-store */
};

void reply_release(struct reply *reply);

/* Takes the value. */
void reply_json(struct reply *reply, unsigned status, json_t *value);
/* Takes the text, which malloc() made. */
void reply_text(struct reply *reply, unsigned status, const char *type, char *text, size_t size);

/* problem+json (RFC 9457) in the place of what was there. */
void reply_problem(struct reply *reply, unsigned status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The problem that a code of the admin protocol stands for. */
void reply_failure(struct reply *reply, const char *code, const char *text);

void reply_set_revision(struct reply *reply, const json_t *object);

#endif
