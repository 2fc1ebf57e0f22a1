/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

void request_release(struct request *request)
{
    free(request->target);
    json_decref(request->body);
    *request = (struct request){.method = REQUEST_OTHER};
}

enum request_method request_method_of(const char *text)
{
    static const char *const names[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(names); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum request_method)i;
    /* libmicrohttpd leaves the body of the answer to HEAD out. */
    return strcmp(text, "HEAD") == 0 ? REQUEST_GET : REQUEST_OTHER;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

static size_t utf8_length(const unsigned char *text)
{
    size_t n = text[0] < 0x80                       ? 1
               : text[0] >= 0xc2 && text[0] <= 0xdf ? 2
               : (text[0] & 0xf0) == 0xe0           ? 3
               : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4
                                                    : 0;

    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return n;
}

static bool readable(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        size_t n = utf8_length(at);

        if (n == 0 || *at < 0x20 || *at == 0x7f || (n == 2 && at[0] == 0xc2 && at[1] < 0xa0))
            return false;
        at += n;
    }
    return true;
}

/* Undoes percent-encoding in place. False: a bad escape, or not readable text. */
static bool decode(char *text, bool plus_is_space)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        int high, low;

        if (*from != '%') {
            *to++ = *from == '+' && plus_is_space ? ' ' : *from;
            continue;
        }
        high = hex(from[1]);
        low = high < 0 ? -1 : hex(from[2]);
        if (low < 0 || high * 16 + low == 0)
            return false;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return readable(text);
}

static int bad_path(struct vgpu_err *err)
{
    return vgpu_err_set(err, EINVAL, "the path is malformed");
}

static int set_path(struct request *request, char *path, struct vgpu_err *err)
{
    char *next = path + 1;

    if (path[0] != '/')
        return bad_path(err);
    while (next && *next) {
        char *segment = next;

        next = strchr(segment, '/');
        if (next)
            *next++ = '\0';
        if (request->n_segments == REQUEST_SEGMENTS_MAX || !decode(segment, false) || !*segment ||
            strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0)
            return bad_path(err);
        request->segments[request->n_segments++] = segment;
    }
    request->directory = next != NULL;
    return 0;
}

static int set_query(struct request *request, char *query, struct vgpu_err *err)
{
    char *save = NULL;

    for (char *name = strtok_r(query, "&", &save); name; name = strtok_r(NULL, "&", &save)) {
        char *value = strchr(name, '=');

        if (value)
            *value++ = '\0';
        if (request->n_query == REQUEST_QUERY_MAX || !decode(name, true) ||
            (value && !decode(value, true)))
            return vgpu_err_set(err, EINVAL, "the query is malformed");
        if (request_query(request, name))
            return vgpu_err_set(err, EINVAL, "a parameter of the query is there twice");
        request->query[request->n_query++] = (struct request_parameter){name, value ? value : ""};
    }
    return 0;
}

int request_set_target(struct request *request, const char *target, struct vgpu_err *err)
{
    char *query;
    int rc;

    if (strlen(target) > REQUEST_TARGET_BYTES)
        return vgpu_err_set(err, E2BIG, "the path and query are longer than %d bytes",
                            REQUEST_TARGET_BYTES);
    request->target = strdup(target);
    if (!request->target)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    query = strchr(request->target, '?');
    if (query)
        *query++ = '\0';
    rc = set_path(request, request->target, err);
    return rc < 0 || !query ? rc : set_query(request, query, err);
}

int request_set_if_match(struct request *request, const char *value, struct vgpu_err *err)
{
    size_t length = value ? strlen(value) : 0;

    if (!value)
        return 0;
    if (strcmp(value, "*") == 0) {
        request->if_match = REQUEST_MATCH_ANY;
        return 0;
    }
    if (length < 3 || length - 2 >= sizeof(request->tag) || value[0] != '"' ||
        strchr(value + 1, '"') != value + length - 1)
        return vgpu_err_set(err, EINVAL, "If-Match must be \"*\" or one entity tag in quotes");
    request->if_match = REQUEST_MATCH_TAG;
    memcpy(request->tag, value + 1, length - 2);
    request->tag[length - 2] = '\0';
    return 0;
}

int request_set_if_none_match(struct request *request, const char *value, struct vgpu_err *err)
{
    request->must_be_new = value && strcmp(value, "*") == 0;
    if (value && !request->must_be_new)
        return vgpu_err_set(err, EINVAL, "If-None-Match must be \"*\"");
    return 0;
}

bool request_type_is(const char *content_type, const char *wanted)
{
    size_t length = strlen(wanted);

    if (!content_type || strncasecmp(content_type, wanted, length) != 0)
        return false;
    content_type += length + strspn(content_type + length, " \t");
    return *content_type == '\0' || *content_type == ';';
}

/* jansson recurses up to 2048 levels: a bound of our own, before it parses. */
static bool too_deep(const char *text, size_t size)
{
    bool quoted = false;
    int depth = 0;

    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > REQUEST_JSON_DEPTH)
            return true;
    }
    return false;
}

int request_set_body(struct request *request, const char *text, size_t size, struct vgpu_err *err)
{
    json_error_t error;

    if (too_deep(text, size))
        return vgpu_err_set(err, EINVAL, "the body is nested more than %d levels deep",
                            REQUEST_JSON_DEPTH);
    request->body = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!request->body)
        return vgpu_err_set(err, EINVAL, "the body is not JSON: line %d, column %d: %s", error.line,
                            error.column, error.text);
    return 0;
}

const char *request_query(const struct request *request, const char *name)
{
    for (unsigned i = 0; i < request->n_query; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

int request_query_known(const struct request *request, const char *const *known,
                        struct vgpu_err *err)
{
    for (unsigned i = 0; i < request->n_query; i++) {
        const char *const *at = known;

        while (*at && strcmp(*at, request->query[i].name) != 0)
            at++;
        if (!*at)
            return vgpu_err_set(err, EINVAL, "there is no parameter '%.64s' here",
                                request->query[i].name);
    }
    return 0;
}

bool request_decimal(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    int64_t value = 0;

    if (!*text || strlen(text) > 18 || (text[0] == '0' && text[1]))
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (*text - '0');
    }
    if (value < min || value > max)
        return false;
    *ret = value;
    return true;
}

int request_query_integer(const struct request *request, const char *name, int64_t min, int64_t max,
                          int64_t *value, struct vgpu_err *err)
{
    const char *text = request_query(request, name);

    if (text && !request_decimal(text, min, max, value))
        return vgpu_err_set(err, EINVAL, "%s must be a number from %lld to %lld", name,
                            (long long)min, (long long)max);
    return 0;
}

int request_query_flag(const struct request *request, const char *name, bool *value,
                       struct vgpu_err *err)
{
    const char *text = request_query(request, name);

    if (text && strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return vgpu_err_set(err, EINVAL, "%s must be true or false", name);
    if (text)
        *value = text[0] == 't';
    return 0;
}
