/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/object.h"

#include <assert.h>

bool object_check_body(struct call *call, const struct object_member *members)
{
    const char *known[OBJECT_MEMBERS_MAX + 1] = {NULL};

    for (size_t i = 0; members[i].name; i++) {
        assert(i < OBJECT_MEMBERS_MAX);
        known[i] = members[i].name;
    }
    return call_body_members(call, known);
}

/* A new reference. */
static json_t *value_of(const struct object_member *member, json_t *given)
{
    if (member->preset && (!given || json_is_null(given)))
        return json_loads(member->preset, JSON_DECODE_ANY, NULL);
    return json_incref(given);
}

json_t *object_of(const struct object_member *members, const json_t *body, bool whole)
{
    json_t *object = json_object();

    for (; members->name; members++) {
        json_t *given = json_object_get(body, members->name);

        if (!given && !(whole && members->preset))
            continue;
        if (json_object_set_new(object, members->name, value_of(members, given)) < 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

void object_import(struct call *call, const char *list, json_t *object, bool is_there,
                   const char *key)
{
    json_t *args = json_pack("{s:{s:i, s:[o]}, s:b}", "config", "format", 1, list, object,
                             "existing", is_there);
    json_t *result;

    if (call_change_one(call, "import", args, is_there, &result))
        call_reply_result(call, is_there ? 200 : 201, result, key);
}
