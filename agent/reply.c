/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "store/json.h"

#define RETRY_S      1
#define PROBLEM_TYPE "application/problem+json"

static char no_memory[] = "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\","
                          "\"status\":500,\"detail\":\"out of memory\",\"code\":\"failed\"}";

static const struct title {
    unsigned status;
    const char *text;
} titles[] = {
    {400, "Bad Request"},         {401, "Unauthorized"},
    {403, "Forbidden"},           {404, "Not Found"},
    {405, "Method Not Allowed"},  {409, "Conflict"},
    {412, "Precondition Failed"}, {413, "Content Too Large"},
    {414, "URI Too Long"},        {415, "Unsupported Media Type"},
    {421, "Misdirected Request"}, {428, "Precondition Required"},
    {429, "Too Many Requests"},   {500, "Internal Server Error"},
    {501, "Not Implemented"},     {502, "Bad Gateway"},
    {503, "Service Unavailable"},
};

/* The codes of docs/spec/admin.md; what is not here is 500. */
static const struct failure {
    const char *code;
    unsigned status;
} failures[] = {
    {"invalid", 400},         {"not-found", 404},      {"exists", 409},    {"ambiguous", 409},
    {"in-use", 409},          {"limit", 409},          {"conflict", 412},  {"denied", 403},
    {"unknown-command", 501}, {"not-understood", 502}, {"too-large", 413}, {"unavailable", 503},
};

static const char *title_of(unsigned status)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(titles); i++)
        if (titles[i].status == status)
            return titles[i].text;
    return "Error";
}

void reply_release(struct reply *reply)
{
    if (!reply->body_static)
        free(reply->body);
    *reply = (struct reply){.status = 0};
}

void reply_text(struct reply *reply, unsigned status, const char *type, char *text, size_t size)
{
    reply_release(reply);
    if (!text) {
        *reply = (struct reply){.status = 500,
                                .type = PROBLEM_TYPE,
                                .body = no_memory,
                                .size = sizeof(no_memory) - 1,
                                .body_static = true};
        return;
    }
    *reply = (struct reply){.status = status, .type = type, .body = text, .size = size};
}

static void put_json(struct reply *reply, unsigned status, const char *type, json_t *value)
{
    char *text = value ? json_dumps(value, STORE_JSON_FLAGS | JSON_ENCODE_ANY) : NULL;

    reply_text(reply, status, type, text, text ? strlen(text) : 0);
    json_decref(value);
}

void reply_json(struct reply *reply, unsigned status, json_t *value)
{
    put_json(reply, status, "application/json", value);
}

/* What was cut within a character is still to be read. */
static json_t *readable(char *text)
{
    json_t *json = json_string(text);

    if (json)
        return json;
    for (char *at = text; *at; at++)
        if (*at & 0x80)
            *at = '?';
    return json_string(text);
}

void reply_problem(struct reply *reply, unsigned status, const char *code, const char *format, ...)
{
    char detail[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    put_json(reply, status, PROBLEM_TYPE,
             json_pack("{s:s, s:s, s:i, s:o, s:s}", "type", "about:blank", "title",
                       title_of(status), "status", (int)status, "detail", readable(detail), "code",
                       code));
    if (status == 503)
        reply->retry_after_s = RETRY_S;
}

void reply_failure(struct reply *reply, const char *code, const char *text)
{
    unsigned status = 500;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(failures); i++)
        if (strcmp(failures[i].code, code) == 0)
            status = failures[i].status;
    reply_problem(reply, status, code, "%s", text);
}

void reply_set_revision(struct reply *reply, const json_t *object)
{
    const json_t *revision = json_object_get(object, "revision");

    if (json_is_integer(revision))
        snprintf(reply->tag, sizeof(reply->tag), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(revision));
}
