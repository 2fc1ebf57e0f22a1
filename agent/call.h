/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request on its way through a handler: what was asked, by whom, the connection to the mediator
 * that may be used, and the answer. Handlers run on worker threads and may wait.
 */
#ifndef VGPU_AGENT_CALL_H
#define VGPU_AGENT_CALL_H

#include "agent/backend.h"
#include "agent/reply.h"
#include "agent/request.h"
#include "agent/token.h"

struct agent;
struct route;

struct principal {
    char name[TOKEN_NAME_BYTES + 1];
    enum role role;
    uint8_t hash[TOKEN_HASH_BYTES]; /* of the token */
};

struct call {
    struct agent *agent;
    const struct route *route;
    struct request request;
    struct principal who;
    struct backend *backend;
    struct reply reply;
};

/* Path parameters; the reply is set where they are nonsense. */
bool call_gpu_id(struct call *call, int64_t *ret);
bool call_vm_id(struct call *call, int64_t *ret);
const char *call_pool(const struct call *call);

/*
 * Asks the mediator; args are taken. False: the reply says why. *ret_result is the caller's.
 */
bool call_ask(struct call *call, const char *command, json_t *args, json_t **ret_result);

/*
 * The same for a change: says for whom, whether it is a dry run, and, where `guarded`, which
 * revision If-Match wants.
 */
bool call_change(struct call *call, const char *command, json_t *args, bool guarded,
                 json_t **ret_result);

/* The same with a configuration of one object: what is refused is said without its place there. */
bool call_change_one(struct call *call, const char *command, json_t *args, bool guarded,
                     json_t **ret_result);

/* A change whose result is the reply; object: the member with the revision, or NULL. */
void call_change_reply(struct call *call, const char *command, json_t *args, bool guarded,
                       const char *object);

/* Replies with a result, which this takes; object: the member that has the revision, or NULL. */
void call_reply_result(struct call *call, unsigned status, json_t *result, const char *object);

/* A PUT of an object that is there (NULL: is not): what If-Match and If-None-Match say of it. */
bool call_may_write(struct call *call, const json_t *object);

/* If-Match where the object exists: 428 without. */
bool call_wants_match(struct call *call);

/* False, and the reply says so: the token has a role below that. */
bool call_needs_role(struct call *call, enum role role);

/* The body must be an object with none but these members (NULL-terminated). */
bool call_body_members(struct call *call, const char *const *known);

/* The element of list whose member `key` equals value; borrowed; NULL: none. */
json_t *call_find(const json_t *list, const char *key, const json_t *value);

#endif
