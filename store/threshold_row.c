/* SPDX-License-Identifier: Apache-2.0 */
#include "store/threshold_row.h"

#include <math.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/text.h"
#include "store/threshold.h"

/* What is in force: the table's, or what an administrator has made of it. */
struct version {
    struct threshold_rule rule;
    int64_t revision;
};

static int load(struct store *store, enum threshold_id id, struct version *ret_version,
                struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    struct version version = {.rule = thresholds[id].rule, .revision = 1};
    enum threshold_action action;
    int rc = statement_open(store->db, &row, err,
                            "SELECT value, action, revision FROM thresholds WHERE name = ?1", "s",
                            thresholds[id].name);

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        if (sqlite3_column_type(row, 0) != SQLITE_NULL)
            version.rule.value = sqlite3_column_double(row, 0);
        action = threshold_action_find(statement_text(row, 1));
        if (action < THRESHOLD_N_ACTIONS)
            version.rule.action = action;
        version.revision = sqlite3_column_int64(row, 2);
    }
    *ret_version = version;
    return 0;
}

static bool same(const struct threshold_rule *a, const struct threshold_rule *b)
{
    return a->value == b->value && a->action == b->action;
}

static json_t *version_json(enum threshold_id id, const struct version *version)
{
    const struct threshold *t = &thresholds[id];
    const struct threshold_rule *rule = &version->rule;

    return json_pack("{s:s, s:s, s:s, s:f, s:s, s:f, s:s, s:b, s:I}", "name", t->name, "title",
                     t->title, "unit", t->unit, "value", rule->value, "action",
                     threshold_action_name(rule->action), "default_value", t->rule.value,
                     "default_action", threshold_action_name(t->rule.action), "is_default",
                     same(rule, &t->rule), "revision", (json_int_t)version->revision);
}

int threshold_list(struct store *store, json_t **ret_thresholds, struct vgpu_err *err)
{
    _cleanup_json_ json_t *list = json_array();

    for (int id = 0; id < THRESHOLD_N; id++) {
        struct version version;
        int rc = load(store, (enum threshold_id)id, &version, err);

        if (rc < 0)
            return rc;
        if (json_array_append_new(list, version_json((enum threshold_id)id, &version)) < 0)
            return database_no_memory(err);
    }
    *ret_thresholds = vgpu_steal_ptr(&list);
    return 0;
}

int threshold_command_list(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {NULL};
    json_t *list = NULL;
    int rc = args_known(call->args, known, err);

    if (rc == 0)
        rc = threshold_list(call->store, &list, err);
    if (rc < 0)
        return rc;
    return json_object_set_new(call->result, "thresholds", list) < 0 ? database_no_memory(err) : 0;
}

static int read_name(const json_t *args, enum threshold_id *ret_id, struct vgpu_err *err)
{
    struct text_list have = {.used = 0};
    char shown[TEXT_SHOWN_BYTES];
    const char *name = NULL;
    int rc = args_text(args, "name", true, &name, err);

    if (rc < 0)
        return rc;
    *ret_id = threshold_find(name);
    if (*ret_id < THRESHOLD_N)
        return 0;
    for (int id = 0; id < THRESHOLD_N; id++)
        text_list_add(&have, thresholds[id].name);
    return vgpu_err_set(err, ENOENT, "there is no threshold %s (have: %s)", text_show(shown, name),
                        text_list_end(&have));
}

/* What is left out stays. */
static int read_rule(const json_t *args, enum threshold_id id, struct threshold_rule *rule,
                     struct vgpu_err *err)
{
    static const char *const actions[] = {"ignore", "warn", "drain", "stop", NULL};
    const struct threshold *t = &thresholds[id];
    const char *action = NULL;
    double value = NAN;
    int rc;

    if ((rc = args_number(args, "value", false, t->least, t->most, &value, err)) < 0 ||
        (rc = args_word(args, "action", false, actions, &action, err)) < 0)
        return rc;
    if (!isnan(value) && strcmp(t->unit, "count") == 0 && value != (double)(int64_t)value)
        return vgpu_err_set(err, EINVAL, "%s is a count: 'value' must be whole", t->name);
    if (!isnan(value))
        rule->value = value;
    if (action)
        rule->action = threshold_action_find(action);
    return 0;
}

static int write_version(struct store *store, enum threshold_id id, const struct version *version,
                         struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(store->db, &row, err,
                            "INSERT OR REPLACE INTO thresholds (name, action, revision, value)"
                            " VALUES (?1, ?2, ?3, ?4)",
                            "ssi", thresholds[id].name, threshold_action_name(version->rule.action),
                            version->revision);

    if (rc == 0 && sqlite3_bind_double(row, 4, version->rule.value) != SQLITE_OK)
        rc = database_error(store->db, "write a threshold", err);
    return rc < 0 ? rc : statement_step(row, err);
}

int threshold_set(struct store_call *call, const json_t *args, json_t **ret_rule,
                  struct vgpu_err *err)
{
    _cleanup_json_ json_t *from = NULL;
    _cleanup_json_ json_t *to = NULL;
    struct version old = {.revision = 0}, version;
    enum threshold_id id;
    int rc;

    if ((rc = read_name(args, &id, err)) < 0 || (rc = load(call->store, id, &old, err)) < 0)
        return rc;
    version = old;
    if ((rc = read_rule(args, id, &version.rule, err)) < 0)
        return rc;
    if (!same(&version.rule, &old.rule)) {
        version.revision++;
        if ((rc = write_version(call->store, id, &version, err)) < 0)
            return rc;
    }
    from = version_json(id, &old);
    to = version_json(id, &version);
    if (!from || !to)
        return database_no_memory(err);
    if (ret_rule)
        *ret_rule = json_incref(to);
    return version.revision == old.revision
               ? 0
               : audit_record(call, "threshold", thresholds[id].name, from, to, err);
}

int threshold_load(struct store *store, const json_t *args, json_t **ret_threshold,
                   struct vgpu_err *err)
{
    struct version version;
    enum threshold_id id;
    int rc;

    if ((rc = read_name(args, &id, err)) < 0 || (rc = load(store, id, &version, err)) < 0)
        return rc;
    *ret_threshold = version_json(id, &version);
    return *ret_threshold ? 0 : database_no_memory(err);
}

static bool is_given(const json_t *args, const char *key)
{
    const json_t *value = json_object_get(args, key);

    return value && !json_is_null(value);
}

int threshold_command_set(struct store_call *call, struct vgpu_err *err)
{
    static const char *const known[] = {"name", "value", "action", NULL};
    enum threshold_id id;
    json_t *rule = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 || (rc = read_name(call->args, &id, err)) < 0)
        return rc;
    if (!is_given(call->args, "value") && !is_given(call->args, "action"))
        return vgpu_err_set(err, EINVAL, "neither 'value' nor 'action' is given");
    if ((rc = threshold_set(call, call->args, &rule, err)) < 0)
        return rc;
    return json_object_set_new(call->result, "threshold", rule) < 0 ? database_no_memory(err) : 0;
}
