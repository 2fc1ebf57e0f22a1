/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks: the token of a request, looked up in the token file. The file is read again when it has
 * changed, so that a token that was added or removed counts at once. A file that cannot be read
 * lets nobody in.
 */
#ifndef VGPU_AGENT_AUTH_H
#define VGPU_AGENT_AUTH_H

#include <pthread.h>
#include <sys/stat.h>

#include "agent/call.h"
#include "agent/token.h"

struct auth {
    pthread_mutex_t lock;
    const char *path;
    struct stat seen; /* of the file that `tokens` is from */
    struct tokens tokens;
    bool complained;
};

/* -ENOENT where there is no file yet, and other errors; the tokens are then none. */
int auth_init(struct auth *auth, const char *path, struct vgpu_err *err);
void auth_release(struct auth *auth);

/* header: the value of Authorization, or NULL. False: nobody's. */
bool auth_check(struct auth *auth, const char *header, struct principal *ret);

/* True while the token that the principal came with is there, with the same role. */
bool auth_still(struct auth *auth, const struct principal *who);

unsigned auth_count(struct auth *auth);

#endif
