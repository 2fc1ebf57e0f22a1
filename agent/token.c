/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/token.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/crypto.h>

#include "common/cleanup.h"

static const char *const role_names[] = {"none", "read", "operate", "admin"};

const char *role_name(enum role role)
{
    return role_names[role];
}

enum role role_of(const char *name)
{
    for (int i = ROLE_READ; i <= ROLE_ADMIN; i++)
        if (strcmp(role_names[i], name) == 0)
            return (enum role)i;
    return ROLE_NONE;
}

bool token_name_ok(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return length > 0 && length <= TOKEN_NAME_BYTES && name[length] == '\0';
}

static const struct token *by_name(const struct tokens *tokens, const char *name)
{
    for (unsigned i = 0; i < tokens->n; i++)
        if (strcmp(tokens->rows[i].name, name) == 0)
            return &tokens->rows[i];
    return NULL;
}

static bool hash_from_hex(const char *text, uint8_t *hash)
{
    if (strlen(text) != 2 * TOKEN_HASH_BYTES || strspn(text, "0123456789abcdef") != strlen(text))
        return false;
    for (size_t i = 0; i < TOKEN_HASH_BYTES; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        hash[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static void hex_from_bytes(const uint8_t *bytes, size_t size, char *text)
{
    for (size_t i = 0; i < size; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
}

static bool parse_line(struct tokens *tokens, const char *line)
{
    struct token *token = &tokens->rows[tokens->n];
    char name[TOKEN_NAME_BYTES + 2], role[16], hash[2 * TOKEN_HASH_BYTES + 2], more[2];
    int64_t created;

    if (sscanf(line, "%33s %15s %65s %18" SCNd64 " %1s", name, role, hash, &created, more) != 4 ||
        !token_name_ok(name) || role_of(role) == ROLE_NONE || !hash_from_hex(hash, token->hash) ||
        created < 0 || by_name(tokens, name))
        return false;
    strcpy(token->name, name);
    token->role = role_of(role);
    token->created = created;
    tokens->n++;
    return true;
}

int tokens_parse(struct tokens *tokens, const char *text, struct vgpu_err *err)
{
    char line[256];
    unsigned number = 0;

    tokens->n = 0;
    while (*text) {
        size_t length = strcspn(text, "\n");

        number++;
        if (length >= sizeof(line))
            return vgpu_err_set(err, EINVAL, "line %u is too long", number);
        memcpy(line, text, length);
        line[length] = '\0';
        text += length + (text[length] == '\n');
        if (line[0] == '#' || line[strspn(line, " \t\r")] == '\0')
            continue;
        if (tokens->n == TOKENS_MAX)
            return vgpu_err_set(err, ENOSPC, "line %u is one token more than %d", number,
                                TOKENS_MAX);
        if (!parse_line(tokens, line))
            return vgpu_err_set(err, EINVAL, "line %u is no token: NAME ROLE SHA-256 CREATED",
                                number);
    }
    return 0;
}

static int check_mode(int fd, const char *path, struct vgpu_err *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return vgpu_err_set(err, errno, "cannot look at '%s': %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return vgpu_err_set(err, EINVAL, "'%s' is no file", path);
    if (status.st_mode & 0027)
        return vgpu_err_set(err, EPERM, "'%s' is open to others (mode %03o): chmod 0600 it", path,
                            (unsigned)status.st_mode & 0777);
    return 0;
}

int tokens_load(struct tokens *tokens, const char *path, struct vgpu_err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
    _cleanup_free_ char *text = malloc(TOKEN_FILE_BYTES + 1);
    size_t used = 0;
    ssize_t got;
    int rc;

    tokens->n = 0;
    if (!text)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot open the tokens in '%s': %s", path,
                            strerror(errno));
    if ((rc = check_mode(fd, path, err)) < 0)
        return rc;
    while ((got = read(fd, text + used, TOKEN_FILE_BYTES + 1 - used)) > 0)
        if ((used += (size_t)got) > TOKEN_FILE_BYTES)
            return vgpu_err_set(err, EINVAL, "'%s' is longer than %d bytes", path,
                                TOKEN_FILE_BYTES);
    if (got < 0)
        return vgpu_err_set(err, errno, "cannot read '%s': %s", path, strerror(errno));
    text[used] = '\0';
    rc = tokens_parse(tokens, text, err);
    return rc < 0 ? vgpu_err_prefix(err, "'%s'", path) : 0;
}

static int write_rows(const struct tokens *tokens, int fd)
{
    char hash[2 * TOKEN_HASH_BYTES + 1];

    if (dprintf(fd, "# NAME ROLE SHA-256 CREATED, of vgpu-agent\n") < 0)
        return -errno;
    for (unsigned i = 0; i < tokens->n; i++) {
        const struct token *token = &tokens->rows[i];

        hex_from_bytes(token->hash, sizeof(token->hash), hash);
        if (dprintf(fd, "%s %s %s %" PRId64 "\n", token->name, role_name(token->role), hash,
                    token->created) < 0)
            return -errno;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* The agent's user reads what root has written. */
static int give_away(const char *path, int fd)
{
    _cleanup_free_ char *directory = strdup(path);
    char *slash = directory ? strrchr(directory, '/') : NULL;
    struct stat status;

    if (geteuid() != 0)
        return 0;
    if (slash)
        slash[slash == directory] = '\0';
    if (!directory || stat(slash ? directory : ".", &status) < 0 ||
        fchown(fd, status.st_uid, status.st_gid) < 0)
        return -errno;
    return 0;
}

int tokens_save(const struct tokens *tokens, const char *path, struct vgpu_err *err)
{
    _cleanup_free_ char *temporary = NULL;
    _cleanup_close_ int fd = -1;
    int rc;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot write beside '%s': %s", path, strerror(errno));
    if ((rc = write_rows(tokens, fd)) < 0 || (rc = give_away(path, fd)) < 0 ||
        (rc = rename(temporary, path) < 0 ? -errno : 0) < 0) {
        unlink(temporary);
        return vgpu_err_set(err, -rc, "cannot write '%s': %s", path, strerror(-rc));
    }
    return 0;
}

static int hash_secret(const char *secret, uint8_t *hash)
{
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, strlen(secret), hash);
}

int tokens_add(struct tokens *tokens, const char *name, enum role role, int64_t now,
               char secret[TOKEN_SECRET_BYTES + 1], struct vgpu_err *err)
{
    uint8_t random[TOKEN_RANDOM_BYTES];
    struct token token = {.role = role, .created = now};

    if (!token_name_ok(name))
        return vgpu_err_set(err, EINVAL, "a name is 1 to %d of a-z, A-Z, 0-9, '.', '_', '-'",
                            TOKEN_NAME_BYTES);
    if (by_name(tokens, name))
        return vgpu_err_set(err, EEXIST, "there is a token '%s' already; remove it first", name);
    if (tokens->n == TOKENS_MAX)
        return vgpu_err_set(err, ENOSPC, "there are %d tokens already", TOKENS_MAX);
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return vgpu_err_set(err, EIO, "cannot get random bytes: %s", strerror(errno));
    strcpy(secret, TOKEN_PREFIX);
    hex_from_bytes(random, sizeof(random), secret + strlen(TOKEN_PREFIX));
    if (hash_secret(secret, token.hash) < 0)
        return vgpu_err_set(err, EIO, "cannot hash the token");
    strcpy(token.name, name);
    tokens->rows[tokens->n++] = token;
    return 0;
}

int tokens_remove(struct tokens *tokens, const char *name, struct vgpu_err *err)
{
    for (unsigned i = 0; i < tokens->n; i++)
        if (strcmp(tokens->rows[i].name, name) == 0) {
            tokens->rows[i] = tokens->rows[--tokens->n];
            return 0;
        }
    return vgpu_err_set(err, ENOENT, "there is no token '%s'", name);
}

const struct token *tokens_find(const struct tokens *tokens, const char *secret)
{
    const struct token *found = NULL;
    uint8_t hash[TOKEN_HASH_BYTES];

    if (strlen(secret) != TOKEN_SECRET_BYTES || hash_secret(secret, hash) < 0)
        return NULL;
    for (unsigned i = 0; i < tokens->n; i++) {
        uint8_t difference = 0;

        for (size_t j = 0; j < sizeof(hash); j++)
            difference |= (uint8_t)(hash[j] ^ tokens->rows[i].hash[j]);
        if (difference == 0)
            found = &tokens->rows[i];
    }
    return found;
}
