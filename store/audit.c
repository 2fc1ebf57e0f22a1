/* SPDX-License-Identifier: Apache-2.0 */
#include "store/audit.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/json.h"

/* A copy of the object without the members that the other has alike; NULL: memory. */
static json_t *rest_of(json_t *object, const json_t *other)
{
    json_t *rest = json_copy(object);
    const json_t *value;
    const char *key;
    void *next;

    if (rest && other)
        json_object_foreach_safe (rest, next, key, value)
            if (json_equal(json_object_get(other, key), value))
                json_object_del(rest, key);
    return rest;
}

static char *dump(json_t *object, const json_t *other)
{
    _cleanup_json_ json_t *rest = rest_of(object, other);

    return rest ? json_dumps(rest, STORE_JSON_FLAGS) : NULL;
}

static int insert(struct store_call *call, const char *object, const char *key, json_t *from,
                  json_t *to, struct vgpu_err *err)
{
    _cleanup_free_ char *from_text = from ? dump(from, to) : NULL;
    _cleanup_free_ char *to_text = to ? dump(to, from) : NULL;

    if ((from && !from_text) || (to && !to_text))
        return database_no_memory(err);
    return database_run(call->store->db, err,
                        "INSERT INTO audit_log (time, who, command, object, object_key, before,"
                        " after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        "issssss", call->now, call->who, call->command, object, key, from_text,
                        to_text);
}

/* Faults come from guests: they make room for each other, before they crowd out administrators. */
static int make_room(struct store *store, struct vgpu_err *err)
{
    int rc = database_run(store->db, err,
                          "DELETE FROM audit_log WHERE command = 'record-fault' AND seq <="
                          " (SELECT seq FROM audit_log WHERE command = 'record-fault'"
                          "  ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
                          "i", (int64_t)STORE_AUDIT_FAULT_ROWS_MAX);

    if (rc < 0)
        return rc;
    return database_run(store->db, err,
                        "DELETE FROM audit_log WHERE seq <= (SELECT max(seq) FROM audit_log) - ?1",
                        "i", (int64_t)STORE_AUDIT_ROWS_MAX);
}

static json_t *change_json(const struct store_call *call, const char *object, const char *key,
                           json_t *from, json_t *to)
{
    bool brief = call->brief && from && to;

    return json_pack("{s:s, s:s, s:o?, s:o?}", "object", object, "key", key, "from",
                     brief ? rest_of(from, to) : json_incref(from), "to",
                     brief ? rest_of(to, from) : json_incref(to));
}

int audit_record(struct store_call *call, const char *object, const char *key, json_t *from,
                 json_t *to, struct vgpu_err *err)
{
    int rc;

    if (json_array_append_new(call->changes, change_json(call, object, key, from, to)) < 0)
        return database_no_memory(err);
    rc = insert(call, object, key, from, to, err);
    if (rc < 0)
        return rc;
    return make_room(call->store, err);
}

/*
 * The rows of one object (?1, ?2), and of those the ones that raised its revision. What "pool-gpu"
 * logs is about a pool and a GPU both; a pool's name may have a '/', an id has none. Within JSON's
 * texts a quotation mark has a backslash before it, so that no name is taken for a member.
 */
#define ABOUT_PAIR                                                                                 \
    "(object = 'pool-gpu' AND CASE ?1"                                                             \
    "  WHEN 'pool' THEN rtrim(object_key, '0123456789') = ?2 || '/'"                               \
    "  WHEN 'gpu' THEN substr(object_key, -1 - length(?2)) = '/' || ?2 END)"
#define ABOUT "((object = ?1 AND object_key = ?2) OR " ABOUT_PAIR ")"
#define RAISED                                                                                     \
    "((object = ?1 AND object_key = ?2 AND (before IS NULL OR after IS NULL OR after LIKE"         \
    "  '%\"revision\":%')) OR " ABOUT_PAIR ")"

/* "weight 50.0 to 60.0, pool \"A\" to \"B\"", without what every change changes. */
static void describe_members(const json_t *from, json_t *to, struct text_list *list)
{
    char whole[4 * TEXT_SHOWN_BYTES], shown[TEXT_SHOWN_BYTES];
    json_t *value;
    const char *key;

    json_object_foreach (to, key, value) {
        _cleanup_free_ char *was = NULL;
        _cleanup_free_ char *is = NULL;

        if (strcmp(key, "revision") == 0 || strcmp(key, "updated") == 0)
            continue;
        was = json_dumps(json_object_get(from, key), STORE_JSON_FLAGS | JSON_ENCODE_ANY);
        is = json_dumps(value, STORE_JSON_FLAGS | JSON_ENCODE_ANY);
        snprintf(whole, sizeof(whole), "%s %s to %s", key, was ? was : "none", is ? is : "none");
        text_clean(whole, shown, sizeof(shown));
        text_list_add(list, shown);
    }
}

static void describe(sqlite3_stmt *row, char *text, size_t size)
{
    const char *before = statement_text(row, 3), *after = statement_text(row, 4);
    _cleanup_json_ json_t *from = before ? json_loads(before, 0, NULL) : NULL;
    _cleanup_json_ json_t *to = after ? json_loads(after, 0, NULL) : NULL;
    struct text_list members = {.used = 0};
    char whole[sizeof(members.text) + STORE_WHO_BYTES + 64];

    if (from && to)
        describe_members(from, to, &members);
    snprintf(whole, sizeof(whole), "%s at %s UTC (%s%s%s)", statement_text(row, 0),
             statement_text(row, 1), statement_text(row, 2), members.items ? ": " : "",
             members.items ? text_list_end(&members) : "");
    text_clean(whole, text, size);
}

int audit_tell(struct store *store, const char *object, const char *key, size_t most,
               struct text_list *list, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    char text[sizeof(list->text) / 2];
    int rc = statement_open(store->db, &row, err,
                            "SELECT who, strftime('%Y-%m-%d %H:%M:%S', time, 'unixepoch'),"
                            " command, before, after FROM audit_log WHERE " RAISED
                            " ORDER BY seq DESC LIMIT ?3",
                            "ssi", object, key, (int64_t)most);

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        describe(row, text, sizeof(text));
        text_list_add(list, text);
    }
    return rc;
}

#define LIST_LIMIT_DEFAULT 100
#define LIST_LIMIT_MAX     1000
/* Of what an answer's rows say; the rest comes with the next request. One row always fits. */
#define LIST_BYTES_MAX (256 * 1024)

struct filter {
    const char *object, *key; /* or NULL */
    int64_t after;            /* -1: the newest */
    int64_t before;
    int64_t limit;
};

static int read_filter(const json_t *args, struct filter *filter, struct vgpu_err *err)
{
    static const char *const known[] = {"after", "before", "limit", "object", "key", NULL};
    static const char *const objects[] = {"gpu", "pool", "pool-gpu", "threshold", "vm", NULL};
    int rc;

    *filter = (struct filter){.after = -1, .before = INT64_MAX, .limit = LIST_LIMIT_DEFAULT};
    if ((rc = args_known(args, known, err)) < 0 ||
        (rc = args_integer(args, "after", false, 0, INT64_MAX, &filter->after, err)) < 0 ||
        (rc = args_integer(args, "before", false, 1, INT64_MAX, &filter->before, err)) < 0 ||
        (rc = args_integer(args, "limit", false, 1, LIST_LIMIT_MAX, &filter->limit, err)) < 0 ||
        (rc = args_word(args, "object", false, objects, &filter->object, err)) < 0 ||
        (rc = args_text(args, "key", false, &filter->key, err)) < 0)
        return rc;
    if (filter->key && !filter->object)
        return vgpu_err_set(err, EINVAL, "a key needs the object that it is of");
    return 0;
}

static int open_list(struct store *store, const struct filter *filter, sqlite3_stmt **ret_row,
                     struct vgpu_err *err)
{
    char sql[1024];

    snprintf(sql, sizeof(sql),
             "SELECT seq, time, who, command, object, object_key AS \"key\", before, after"
             " FROM audit_log WHERE seq > ?3 AND seq < ?5 AND (?1 IS NULL OR (?2 IS NULL AND "
             "object = ?1) OR"
             " " ABOUT ") ORDER BY seq %s LIMIT ?4",
             filter->after < 0 ? "DESC" : "ASC");
    return statement_open(store->db, ret_row, err, sql, "ssiii", filter->object, filter->key,
                          filter->after, filter->limit, filter->before);
}

/* The row with before and after as the objects that they are. */
static json_t *audit_json(sqlite3_stmt *row)
{
    static const char *const objects[] = {"before", "after"};
    json_t *entry = statement_json(row);

    for (size_t i = 0; entry && i < VGPU_ARRAY_SIZE(objects); i++) {
        const char *text = json_string_value(json_object_get(entry, objects[i]));
        json_t *object = text ? json_loads(text, 0, NULL) : NULL;

        if (json_object_set_new(entry, objects[i], object ? object : json_null()) < 0) {
            json_decref(entry);
            return NULL;
        }
    }
    return entry;
}

static size_t row_bytes(sqlite3_stmt *row)
{
    size_t bytes = 0;

    for (int i = 0; i < sqlite3_column_count(row); i++)
        bytes += (size_t)sqlite3_column_bytes(row, i);
    return bytes;
}

/* The newest come backwards, and are put in order. */
static int collect(sqlite3_stmt *row, bool backwards, json_t *list, struct vgpu_err *err)
{
    size_t bytes = 0;
    int rc;

    while ((rc = statement_step(row, err)) > 0) {
        json_t *entry;

        bytes += row_bytes(row);
        if (bytes > LIST_BYTES_MAX && json_array_size(list) > 0)
            return 0;
        entry = audit_json(row);
        if (backwards ? json_array_insert_new(list, 0, entry) < 0
                      : json_array_append_new(list, entry) < 0)
            return database_no_memory(err);
    }
    return rc;
}

int audit_command_list(struct store_call *call, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    const json_t *last;
    struct filter filter;
    json_t *list = json_array();
    json_int_t next;
    int rc;

    if (json_object_set_new(call->result, "audit", list) < 0)
        return database_no_memory(err);
    if ((rc = read_filter(call->args, &filter, err)) < 0 ||
        (rc = open_list(call->store, &filter, &row, err)) < 0 ||
        (rc = collect(row, filter.after < 0, list, err)) < 0)
        return rc;
    last = json_array_get(list, json_array_size(list) - 1);
    next = last               ? json_integer_value(json_object_get(last, "seq"))
           : filter.after < 0 ? 0
                              : filter.after;
    return json_object_set_new(call->result, "next", json_integer(next)) < 0
               ? database_no_memory(err)
               : 0;
}
