/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of a pool or VM that a request's body may have, and the one object of a
 * configuration
 * (`import`) that it asks for. pool.c and vm.c have the tables.
 */
#ifndef VGPU_AGENT_OBJECT_H
#define VGPU_AGENT_OBJECT_H

#include "agent/call.h"

#define OBJECT_MEMBERS_MAX 24

struct object_member {
    const char *name;   /* NULL ends the table */
    const char *preset; /* the default, as JSON; NULL: there is none, or the store knows it */
};

/* The body must be an object with none but these members; else the reply says so. */
bool object_check_body(struct call *call, const struct object_member *members);

/*
 * What a PUT (whole: what it leaves out is the default) or a merge patch (what it leaves out stays)
 * asks for; null is the default. NULL: out of memory.
 */
json_t *object_of(const struct object_member *members, const json_t *body, bool whole);

/*
 * Has one object (taken), of the configuration's list, made (is_there: false) or brought to what it
 * says, under the revision of If-Match, and replies with the result, whose member `key` it is.
 */
void object_import(struct call *call, const char *list, json_t *object, bool is_there,
                   const char *key);

#endif
