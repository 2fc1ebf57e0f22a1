/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: who may ask for what. A file holds one on each line,
 *     NAME ROLE SHA-256 CREATED
 * and never a secret. It is replaced whole, so that a reader sees the old or the new one.
 */
#ifndef VGPU_AGENT_TOKEN_H
#define VGPU_AGENT_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define TOKENS_MAX         64
#define TOKEN_NAME_BYTES   32
#define TOKEN_HASH_BYTES   32
#define TOKEN_RANDOM_BYTES 32
#define TOKEN_PREFIX       "vgpu_"
#define TOKEN_SECRET_BYTES (sizeof(TOKEN_PREFIX) - 1 + 2 * TOKEN_RANDOM_BYTES)
#define TOKEN_FILE_BYTES   (TOKENS_MAX * 160)

enum role { ROLE_NONE, ROLE_READ, ROLE_OPERATE, ROLE_ADMIN };

struct token {
    char name[TOKEN_NAME_BYTES + 1];
    enum role role;
    uint8_t hash[TOKEN_HASH_BYTES];
    int64_t created; /* seconds since 1970 */
};

struct tokens {
    struct token rows[TOKENS_MAX];
    unsigned n;
};

const char *role_name(enum role role);
/* ROLE_NONE: no such role. */
enum role role_of(const char *name);
bool token_name_ok(const char *name);

/* Text of a token file; -EINVAL names the line. Empty lines and those that begin with # count not.
 */
int tokens_parse(struct tokens *tokens, const char *text, struct vgpu_err *err);

/*
 * -ENOENT: there is none. -EPERM: others than its owner may write it, or others than owner and
 * group read it.
 */
int tokens_load(struct tokens *tokens, const char *path, struct vgpu_err *err);
/* A new file belongs to whom its directory belongs to. */
int tokens_save(const struct tokens *tokens, const char *path, struct vgpu_err *err);

/*
 * A new token; secret gets its text and a NUL. It is kept nowhere else. -EEXIST, -ENOSPC, -EINVAL.
 */
int tokens_add(struct tokens *tokens, const char *name, enum role role, int64_t now,
               char secret[TOKEN_SECRET_BYTES + 1], struct vgpu_err *err);
int tokens_remove(struct tokens *tokens, const char *name, struct vgpu_err *err);

/* Whose secret it is, in a time that does not tell how near it comes; NULL: nobody's. */
const struct token *tokens_find(const struct tokens *tokens, const char *secret);

#endif
