/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/plan.h"

#include <errno.h>

static json_t *preset(const struct plan_member *member)
{
    return member->preset ? json_loads(member->preset, JSON_DECODE_ANY, NULL) : json_null();
}

#define EACH_MEMBER(groups, group, member)                                                         \
    for (const struct plan_group *group = groups; group->command; group++)                         \
        for (const struct plan_member *member = group->members;                                    \
             member < group->members + PLAN_MEMBERS_MAX && member->name; member++)

json_t *plan_complete(const struct plan_group *groups, const json_t *wanted)
{
    json_t *complete = json_object();

    EACH_MEMBER(groups, group, member)
    {
        json_t *value = json_object_get(wanted, member->name);

        value = value && !json_is_null(value) ? json_incref(value) : preset(member);
        if (json_object_set_new(complete, member->name, value) < 0) {
            json_decref(complete);
            return NULL;
        }
    }
    return complete;
}

json_t *plan_settings_of(const struct plan_group *groups, const json_t *object)
{
    json_t *settings = json_object();

    EACH_MEMBER(groups, group, member)
    {
        json_t *value = json_object_get(object, member->name);

        if (value && json_object_set(settings, member->name, value) < 0) {
            json_decref(settings);
            return NULL;
        }
    }
    return settings;
}

/* 50 and 50.0 are one value. */
static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b) && (json_is_real(a) || json_is_real(b)))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static bool is_default(const struct plan_member *member, const json_t *value)
{
    json_t *usual = preset(member);
    bool is = same(usual, value);

    json_decref(usual);
    return is;
}

static bool differs(const struct plan_group *group, const json_t *current, const json_t *wanted)
{
    for (int i = 0; i < PLAN_MEMBERS_MAX && group->members[i].name; i++) {
        const struct plan_member *member = &group->members[i];
        const json_t *value = json_object_get(wanted, member->name);

        if (current ? !same(json_object_get(current, member->name), value)
                    : !is_default(member, value))
            return true;
    }
    return false;
}

int plan_add(json_t *commands, const char *command, json_t *args)
{
    json_t *one = json_pack("{s:s, s:o}", "command", command, "args", args);

    return json_array_append_new(commands, one) < 0 ? -ENOMEM : 0;
}

static int add_group(const struct plan_group *group, json_t *naming, const json_t *wanted,
                     json_t *commands)
{
    json_t *args = json_copy(naming);

    for (int i = 0; i < PLAN_MEMBERS_MAX && group->members[i].name; i++) {
        const struct plan_member *member = &group->members[i];

        if (json_object_set(args, member->argument ? member->argument : member->name,
                            json_object_get(wanted, member->name)) < 0) {
            json_decref(args);
            return -ENOMEM;
        }
    }
    return plan_add(commands, group->command, args);
}

int plan_settings(const struct plan_group *groups, json_t *naming, const json_t *current,
                  const json_t *wanted, json_t *commands)
{
    int rc = 0;

    for (const struct plan_group *group = groups; group->command && rc == 0; group++)
        if (!(group->at_birth && !current) && differs(group, current, wanted))
            rc = add_group(group, naming, wanted, commands);
    return rc;
}
