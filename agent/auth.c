/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/auth.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"

#define SCHEME "Bearer "

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Under the lock. */
static int refresh(struct auth *auth, struct vgpu_err *err)
{
    struct stat now;
    int rc;

    if (stat(auth->path, &now) < 0)
        memset(&now, 0, sizeof(now));
    else if (same_file(&now, &auth->seen))
        return 0;
    rc = tokens_load(&auth->tokens, auth->path, err);
    if (rc < 0)
        auth->tokens.n = 0;
    auth->seen = now;
    return rc;
}

static void complain(struct auth *auth, const struct vgpu_err *err)
{
    char quoted[VGPU_ERR_TEXT_BYTES];

    if (!auth->complained)
        vgpu_log(VGPU_LOG_WARN, "tokens-unreadable", "reason=%s",
                 vgpu_log_quote(quoted, sizeof(quoted), err->text));
    auth->complained = true;
}

int auth_init(struct auth *auth, const char *path, struct vgpu_err *err)
{
    *auth = (struct auth){.path = path};
    pthread_mutex_init(&auth->lock, NULL);
    return refresh(auth, err);
}

void auth_release(struct auth *auth)
{
    pthread_mutex_destroy(&auth->lock);
}

/* Under the lock. */
static void refresh_logged(struct auth *auth)
{
    struct vgpu_err err;

    if (refresh(auth, &err) < 0)
        complain(auth, &err);
    else
        auth->complained = false;
}

bool auth_check(struct auth *auth, const char *header, struct principal *ret)
{
    const struct token *token = NULL;

    if (!header || strncasecmp(header, SCHEME, strlen(SCHEME)) != 0)
        return false;
    pthread_mutex_lock(&auth->lock);
    refresh_logged(auth);
    token = tokens_find(&auth->tokens, header + strlen(SCHEME));
    if (token) {
        memcpy(ret->name, token->name, sizeof(ret->name));
        memcpy(ret->hash, token->hash, sizeof(ret->hash));
        ret->role = token->role;
    }
    pthread_mutex_unlock(&auth->lock);
    return token != NULL;
}

unsigned auth_count(struct auth *auth)
{
    unsigned n;

    pthread_mutex_lock(&auth->lock);
    n = auth->tokens.n;
    pthread_mutex_unlock(&auth->lock);
    return n;
}

bool auth_still(struct auth *auth, const struct principal *who)
{
    bool found = false;

    pthread_mutex_lock(&auth->lock);
    refresh_logged(auth);
    for (unsigned i = 0; i < auth->tokens.n; i++)
        found = found || (auth->tokens.rows[i].role == who->role &&
                          memcmp(auth->tokens.rows[i].hash, who->hash, sizeof(who->hash)) == 0);
    pthread_mutex_unlock(&auth->lock);
    return found;
}
