/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin socket (docs/spec/admin.md): takes lines, sends what the store answers to the store
 * helper with the asker's identity, and answers status and scan-gpus itself.
 *
 * One request of a client is in work at a time; its next line is read when that is answered.
 */
#ifndef VGPU_MEDIATOR_ADMIN_H
#define VGPU_MEDIATOR_ADMIN_H

#include <stdbool.h>

#include "common/err.h"
#include "mediator/loop.h"

#define ADMIN_CLIENTS_MAX     32
#define ADMIN_REQUEST_BYTES   (2 * 1024 * 1024)
#define ADMIN_REPLY_BYTES     (16 * 1024 * 1024)
#define ADMIN_ON_BEHALF_BYTES 32

struct mediator;
struct admin_client;

struct admin {
    struct mediator *mediator;
    char path[108];
    int listener;
    struct loop_watch watch;
    struct admin_client *clients;
    unsigned n_clients;
};

/* admin must be zero but for listener = -1. */
int admin_init(struct admin *admin, struct mediator *mediator, struct vgpu_err *err);
void admin_release(struct admin *admin);

#endif
