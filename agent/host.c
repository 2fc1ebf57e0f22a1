/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/host.h"

#include <stdio.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

/* The length of the name in NAME, NAME:PORT, [ADDRESS] or [ADDRESS]:PORT; 0: it is neither. */
static size_t name_length(const char *host)
{
    size_t length, port;

    if (host[0] == '[') {
        length = 1 + strspn(host + 1, DIGITS "abcdefABCDEF:.");
        if (length < 3 || host[length] != ']')
            return 0;
        length++;
    } else {
        length = strspn(host, LETTERS DIGITS "-._");
    }
    if (length == 0 || length >= HOST_NAME_BYTES)
        return 0;
    if (host[length] == '\0')
        return length;
    port = strspn(host + length + 1, DIGITS);
    if (host[length] != ':' || port < 1 || port > 5 || host[length + 1 + port] != '\0')
        return 0;
    return length;
}

bool host_names_add(struct host_names *names, const char *name)
{
    char bracketed[HOST_NAME_BYTES];

    if (names->n == HOST_NAMES_MAX)
        return false;
    if (name[0] != '[' && strchr(name, ':') != strrchr(name, ':')) {
        if (snprintf(bracketed, sizeof(bracketed), "[%s]", name) >= (int)sizeof(bracketed))
            return false;
        name = bracketed;
    }
    if (strlen(name) >= HOST_NAME_BYTES || name_length(name) != strlen(name))
        return false;
    strcpy(names->names[names->n++], name);
    return true;
}

bool host_allowed(const struct host_names *names, const char *host)
{
    size_t length = name_length(host);

    for (unsigned i = 0; length > 0 && i < names->n; i++)
        if (strlen(names->names[i]) == length && strncasecmp(names->names[i], host, length) == 0)
            return true;
    return false;
}

bool host_origin_allowed(const char *host, const char *origin)
{
    const char *authority = strstr(origin, "://");

    if (!host || !authority ||
        (strncmp(origin, "http:", 5) != 0 && strncmp(origin, "https:", 6) != 0) ||
        (authority != origin + 4 && authority != origin + 5))
        return false;
    return strcasecmp(authority + 3, host) == 0;
}
