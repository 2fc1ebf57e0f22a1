/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mediator as the agent sees it: one connection to the admin socket (docs/spec/admin.md), used
 * by one thread, made when it is needed and again when the mediator has restarted.
 *
 * A request that was sent and not answered is never sent again: it may have been done.
 */
#ifndef VGPU_AGENT_BACKEND_H
#define VGPU_AGENT_BACKEND_H

#include <stdbool.h>

#include <jansson.h>

#include "store/line.h"

#define BACKEND_CODE_BYTES 32
#define BACKEND_TEXT_BYTES 600

struct backend {
    const char *path;
    unsigned timeout_s; /* for an answer */
    int fd;             /* -1: not connected */
    struct line_reader reader;
    json_int_t next_id;
};

struct backend_error {
    char code[BACKEND_CODE_BYTES]; /* of docs/spec/admin.md */
    char text[BACKEND_TEXT_BYTES];
    bool down; /* the mediator is not there, or did not answer */
};

void backend_init(struct backend *backend, const char *path, unsigned timeout_s);
void backend_release(struct backend *backend);

/*
 * Sends the request ({"command", "args", ...}; its id is set here) and waits for the answer.
 * *ret_result is the caller's. -EPROTO and others with *error filled.
 */
int backend_ask(struct backend *backend, json_t *request, json_t **ret_result,
                struct backend_error *error);

#endif
