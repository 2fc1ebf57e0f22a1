/* SPDX-License-Identifier: Apache-2.0 */
#include "store/phase2.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "store/pool.h"
#include "store/text.h"
#include "store/vm.h"

#define SPELLINGS_MAX 4
#define SQL_BYTES     1024

enum pool_column {
    POOL_ID,
    POOL_NAME,
    POOL_DESCRIPTION,
    POOL_ENABLED,
    POOL_CREATED,
    POOL_UPDATED,
    POOL_COLUMNS
};

enum vm_column {
    VM_ID,
    VM_UUID,
    VM_NAME,
    VM_POOL,
    VM_PRIORITY,
    VM_WEIGHT,
    VM_RATE,
    VM_DEPTH,
    VM_QUARANTINED,
    VM_ERRORS,
    VM_CREATED,
    VM_UPDATED,
    VM_COLUMNS
};

/* must: the only value (besides NULL) that a column may have whose meaning we cannot carry over. */
struct column_rule {
    const char *spellings[SPELLINGS_MAX];
    bool required;
    bool is_time;
    const char *must;
};

struct table_rule {
    const char *noun;
    const char *spellings[SPELLINGS_MAX];
    const struct column_rule *columns;
    int n_columns;
};

static const struct column_rule pool_columns[POOL_COLUMNS] = {
    [POOL_ID] = {{"pool_id", "id", "pool"}, .required = true},
    [POOL_NAME] = {{"pool_name", "name"}},
    [POOL_DESCRIPTION] = {{"description", "comment"}},
    [POOL_ENABLED] = {{"enabled"}, .must = "1"},
    [POOL_CREATED] = {{"created_at", "created"}, .is_time = true},
    [POOL_UPDATED] = {{"updated_at", "updated"}, .is_time = true},
};

static const struct column_rule vm_columns[VM_COLUMNS] = {
    [VM_ID] = {{"vm_id", "id"}, .required = true},
    [VM_UUID] = {{"uuid", "vm_uuid"}},
    [VM_NAME] = {{"name", "vm_name", "name_label"}},
    [VM_POOL] = {{"pool_id", "pool", "pool_name"}, .required = true},
    [VM_PRIORITY] = {{"priority", "prio"}, .required = true},
    /* Some Phase 2 databases were given columns in advance. */
    [VM_WEIGHT] = {{"weight"}},
    [VM_RATE] = {{"max_jobs_per_sec"}},
    [VM_DEPTH] = {{"max_queue_depth"}},
    [VM_QUARANTINED] = {{"quarantined"}},
    [VM_ERRORS] = {{"error_count"}},
    [VM_CREATED] = {{"created_at", "created"}, .is_time = true},
    [VM_UPDATED] = {{"updated_at", "updated"}, .is_time = true},
};

static const struct table_rule pool_rule = {"pools", {"pools", "pool"}, pool_columns, POOL_COLUMNS};
static const struct table_rule vm_rule = {
    "VMs", {"vms", "vm", "virtual_machines"}, vm_columns, VM_COLUMNS};

struct phase2_pool {
    char id[STORE_NAME_BYTES + 1]; /* as the VMs refer to it */
    char pool[STORE_NAME_BYTES + 1];
    char description[STORE_DESCRIPTION_BYTES + 1];
    int64_t created, updated; /* 0: not known */
};

struct phase2_vm {
    int64_t vm_id;
    char uuid[STORE_UUID_BYTES + 1]; /* empty: none */
    char name[STORE_NAME_BYTES + 1]; /* empty: none */
    size_t pool;                     /* index of its pool */
    const char *priority;
    int64_t weight_hundredths;
    int64_t rate_per_s, depth, quarantined, faults_total;
    int64_t created, updated; /* 0: not known */
};

struct phase2 {
    const char *pool_table, *vm_table; /* as spelled in the rules */
    size_t n_pools, n_vms;
    struct phase2_pool pools[STORE_POOLS_MAX];
    struct phase2_vm vms[STORE_VMS_MAX];
};

static const char *spelling(const char *const spellings[SPELLINGS_MAX], const char *name)
{
    for (int i = 0; i < SPELLINGS_MAX && spellings[i]; i++)
        if (strcasecmp(spellings[i], name) == 0)
            return spellings[i];
    return NULL;
}

/* Finds the two tables; anything else but indexes is not understood. */
static int find_tables(sqlite3 *db, struct phase2 *content, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(db, &row, err,
                            "SELECT type, name FROM sqlite_master WHERE type <> 'index'"
                            " AND name NOT LIKE 'sqlite!_%' ESCAPE '!'",
                            "");

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        const char *type = statement_text(row, 0), *name = statement_text(row, 1);
        bool table = strcmp(type, "table") == 0;
        const char *pool_table = table ? spelling(pool_rule.spellings, name) : NULL;
        const char *vm_table = table ? spelling(vm_rule.spellings, name) : NULL;
        char shown[TEXT_SHOWN_BYTES];

        if (pool_table && !content->pool_table)
            content->pool_table = pool_table;
        else if (vm_table && !content->vm_table)
            content->vm_table = vm_table;
        else
            return vgpu_err_set(err, EPROTO, "%s %s is not known", type, text_show(shown, name));
    }
    if (rc < 0)
        return rc;
    if (!content->pool_table || !content->vm_table)
        return vgpu_err_set(err, EPROTO, "there is no table of %s",
                            content->pool_table ? vm_rule.noun : pool_rule.noun);
    return 0;
}

/* names[i] becomes the spelling of column i in the table, NULL where it has none. */
static int find_columns(sqlite3 *db, const struct table_rule *rule, const char *table,
                        const char **names, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    char sql[SQL_BYTES], shown[TEXT_SHOWN_BYTES];
    int rc;

    snprintf(sql, sizeof(sql), "PRAGMA table_info(%s)", table);
    if ((rc = statement_open(db, &row, err, sql, "")) < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        const char *name = statement_text(row, 1), *known = NULL;

        for (int i = 0; i < rule->n_columns && !known; i++) {
            known = names[i] ? NULL : spelling(rule->columns[i].spellings, name);
            names[i] = known ? known : names[i];
        }
        if (!known)
            return vgpu_err_set(err, EPROTO, "table '%s': column %s is not known", table,
                                text_show(shown, name));
    }
    for (int i = 0; rc == 0 && i < rule->n_columns; i++)
        if (rule->columns[i].required && !names[i])
            return vgpu_err_set(err, EPROTO, "table '%s': there is no column '%s'", table,
                                rule->columns[i].spellings[0]);
    return rc;
}

/*
 * Selects the columns in the order of the rules, NULL for those that are not there. Times become
 * seconds since 1970, or 'bad' if they are none. The names in it are those of the rules.
 */
static int open_table(sqlite3 *db, const struct table_rule *rule, const char *table,
                      sqlite3_stmt **ret_row, struct vgpu_err *err)
{
    const char *names[VM_COLUMNS] = {NULL};
    char sql[SQL_BYTES] = "SELECT";
    size_t used = strlen(sql);
    int rc = find_columns(db, rule, table, names, err);

    if (rc < 0)
        return rc;
    for (int i = 0; i < rule->n_columns && used < sizeof(sql); i++) {
        const char *separator = i ? "," : "";
        const char *name = names[i] ? names[i] : "NULL";

        if (names[i] && rule->columns[i].is_time)
            used += (size_t)snprintf(sql + used, sizeof(sql) - used,
                                     "%s CASE typeof(\"%s\") WHEN 'integer' THEN \"%s\""
                                     " WHEN 'null' THEN NULL"
                                     " ELSE coalesce(CAST(strftime('%%s', \"%s\") AS INTEGER),"
                                     " 'bad') END",
                                     separator, name, name, name);
        else
            used += (size_t)snprintf(sql + used, sizeof(sql) - used,
                                     names[i] ? "%s \"%s\"" : "%s %s", separator, name);
    }
    if (used < sizeof(sql))
        used += (size_t)snprintf(sql + used, sizeof(sql) - used, " FROM \"%s\"", table);
    if (used >= sizeof(sql))
        return vgpu_err_set(err, EIO, "the statement that reads table '%s' is too long", table);
    return statement_open(db, ret_row, err, sql, "");
}

/* Checks the columns that may have one value only, and those that are times. */
static int check_fixed(sqlite3_stmt *row, const struct table_rule *rule, const char *table,
                       struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];

    for (int i = 0; i < rule->n_columns; i++) {
        const struct column_rule *column = &rule->columns[i];
        bool bad_time = column->is_time && sqlite3_column_type(row, i) == SQLITE_TEXT;
        const char *value = statement_text(row, i);

        if (!value || (!bad_time && (!column->must || strcmp(value, column->must) == 0)))
            continue;
        return vgpu_err_set(
            err, EPROTO, "table '%s': column '%s' of %s %s: %s", table, column->spellings[0],
            rule->noun, text_show(shown, statement_text(row, 0) ? statement_text(row, 0) : ""),
            bad_time ? "this time cannot be read" : "this value cannot be carried over");
    }
    return 0;
}

/* Adds which row of which table it was, and makes the error one of what is not understood. */
static int bad_row(const char *table, sqlite3_stmt *row, struct vgpu_err *err)
{
    const char *id = statement_text(row, 0);
    char shown[TEXT_SHOWN_BYTES];

    if (err) {
        vgpu_err_prefix(err, "table '%s', row %s", table, text_show(shown, id ? id : "NULL"));
        err->code = EPROTO;
    }
    return -EPROTO;
}

/* The name, if it says more than the pool's own, and the description. */
static int describe_pool(struct phase2_pool *pool, const char *name, const char *description,
                         struct vgpu_err *err)
{
    const char *parts[2] = {name && strcmp(name, pool->pool) != 0 ? name : "",
                            description ? description : ""};
    const char *separator = parts[0][0] && parts[1][0] ? ": " : "";
    int size = snprintf(pool->description, sizeof(pool->description), "%s%s%s", parts[0], separator,
                        parts[1]);

    if (size > STORE_DESCRIPTION_BYTES)
        return vgpu_err_set(err, EPROTO,
                            "name and description have %d bytes; at most %d are "
                            "allowed",
                            size, STORE_DESCRIPTION_BYTES);
    return 0;
}

static int parse_pool(sqlite3_stmt *row, struct phase2_pool *pool, struct vgpu_err *err)
{
    const char *id = statement_text(row, POOL_ID);
    const char *name = statement_text(row, POOL_NAME);
    bool numbered = sqlite3_column_type(row, POOL_ID) == SQLITE_INTEGER;
    struct pool_row check = {.pool = pool->pool, .description = pool->description};
    const char *pool_name = numbered && name && name[0] ? name : id;
    int rc;

    if (!id)
        return vgpu_err_set(err, EPROTO, "the pool has no id");
    if ((rc = text_check("the id", id, STORE_NAME_BYTES, err)) < 0 ||
        (rc = text_check("the name", pool_name, STORE_NAME_BYTES, err)) < 0)
        return rc;
    memcpy(pool->id, id, strlen(id) + 1);
    memcpy(pool->pool, pool_name, strlen(pool_name) + 1);
    if ((rc = describe_pool(pool, name, statement_text(row, POOL_DESCRIPTION), err)) < 0)
        return rc;
    pool->created = sqlite3_column_int64(row, POOL_CREATED);
    pool->updated = sqlite3_column_int64(row, POOL_UPDATED);
    return pool_check(&check, err);
}

static int read_pools(sqlite3 *db, struct phase2 *content, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = open_table(db, &pool_rule, content->pool_table, &row, err);

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        struct phase2_pool *pool = &content->pools[content->n_pools];

        if (content->n_pools == STORE_POOLS_MAX)
            return vgpu_err_set(err, EPROTO, "table '%s': more than %d pools", content->pool_table,
                                STORE_POOLS_MAX);
        if ((rc = check_fixed(row, &pool_rule, content->pool_table, err)) < 0)
            return rc;
        if (parse_pool(row, pool, err) < 0)
            return bad_row(content->pool_table, row, err);
        for (size_t i = 0; i < content->n_pools; i++)
            if (strcmp(pool->id, content->pools[i].id) == 0 ||
                strcmp(pool->pool, content->pools[i].pool) == 0)
                return vgpu_err_set(err, EPROTO, "table '%s': two pools are called '%s'",
                                    content->pool_table, pool->pool);
        content->n_pools++;
    }
    return rc;
}

static int parse_priority(const char *text, const char **ret_priority, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];

    for (int i = 0; text && vm_priorities[i]; i++) {
        const char number[] = {(char)('0' + i), '\0'};

        if (strcmp(text, number) == 0 || strcasecmp(text, vm_priorities[i]) == 0) {
            *ret_priority = vm_priorities[i];
            return 0;
        }
    }
    return vgpu_err_set(err, EPROTO,
                        "the priority %s is none of 0, 1, 2 (low, medium, high) or those words",
                        text_show(shown, text ? text : "NULL"));
}

static int parse_vm_pool(const struct phase2 *content, const char *text, size_t *ret_pool,
                         struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];

    for (size_t i = 0; text && i < content->n_pools; i++) {
        if (strcmp(text, content->pools[i].id) == 0 || strcmp(text, content->pools[i].pool) == 0) {
            *ret_pool = i;
            return 0;
        }
    }
    return vgpu_err_set(err, EPROTO, "its pool %s is not in table '%s'",
                        text_show(shown, text ? text : "NULL"), content->pool_table);
}

static int parse_weight(sqlite3_stmt *row, int64_t *ret_hundredths, struct vgpu_err *err)
{
    int type = sqlite3_column_type(row, VM_WEIGHT);
    double weight =
        type == SQLITE_NULL ? STORE_WEIGHT_DEFAULT : sqlite3_column_double(row, VM_WEIGHT);

    if ((type != SQLITE_NULL && type != SQLITE_INTEGER && type != SQLITE_FLOAT) ||
        !(weight >= STORE_WEIGHT_MIN && weight <= STORE_WEIGHT_MAX))
        return vgpu_err_set(err, EPROTO, "its weight is not a number from %.1f to %.1f",
                            STORE_WEIGHT_MIN, STORE_WEIGHT_MAX);
    *ret_hundredths = vm_weight_hundredths(weight);
    return 0;
}

/* The columns that Phase 2 had in advance; 0 where there is none. */
static int parse_limits(sqlite3_stmt *row, struct phase2_vm *vm, struct vgpu_err *err)
{
    const struct limit_column {
        enum vm_column column;
        int64_t most;
        int64_t *ret_value;
    } limits[] = {
        {VM_RATE, STORE_RATE_MAX, &vm->rate_per_s},
        {VM_DEPTH, STORE_DEPTH_MAX, &vm->depth},
        {VM_QUARANTINED, 1, &vm->quarantined},
        {VM_ERRORS, INT64_MAX, &vm->faults_total},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(limits); i++) {
        int column = limits[i].column;
        int64_t value = sqlite3_column_int64(row, column);

        if (sqlite3_column_type(row, column) == SQLITE_NULL)
            continue;
        if (sqlite3_column_type(row, column) != SQLITE_INTEGER || value < 0 ||
            value > limits[i].most)
            return vgpu_err_set(err, EPROTO, "its %s is not an integer from 0 to %lld",
                                vm_columns[column].spellings[0], (long long)limits[i].most);
        *limits[i].ret_value = value;
    }
    return 0;
}

static int parse_vm(const struct phase2 *content, sqlite3_stmt *row, struct phase2_vm *vm,
                    struct vgpu_err *err)
{
    const char *uuid = statement_text(row, VM_UUID);
    const char *name = statement_text(row, VM_NAME);
    int rc;

    vm->vm_id = sqlite3_column_int64(row, VM_ID);
    if (sqlite3_column_type(row, VM_ID) != SQLITE_INTEGER || vm->vm_id < STORE_VM_ID_MIN ||
        vm->vm_id > STORE_VM_ID_MAX)
        return vgpu_err_set(err, EPROTO, "the id is not an integer from %d to %d", STORE_VM_ID_MIN,
                            STORE_VM_ID_MAX);
    if (uuid && uuid[0] && (rc = text_uuid(uuid, vm->uuid, err)) < 0)
        return rc;
    if (name && name[0]) {
        if ((rc = text_check("the name", name, STORE_NAME_BYTES, err)) < 0)
            return rc;
        memcpy(vm->name, name, strlen(name) + 1);
    }
    if ((rc = parse_vm_pool(content, statement_text(row, VM_POOL), &vm->pool, err)) < 0 ||
        (rc = parse_priority(statement_text(row, VM_PRIORITY), &vm->priority, err)) < 0 ||
        (rc = parse_weight(row, &vm->weight_hundredths, err)) < 0 ||
        (rc = parse_limits(row, vm, err)) < 0)
        return rc;
    vm->created = sqlite3_column_int64(row, VM_CREATED);
    vm->updated = sqlite3_column_int64(row, VM_UPDATED);
    return 0;
}

static int read_vms(sqlite3 *db, struct phase2 *content, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = open_table(db, &vm_rule, content->vm_table, &row, err);

    if (rc < 0)
        return rc;
    while ((rc = statement_step(row, err)) > 0) {
        struct phase2_vm *vm = &content->vms[content->n_vms];

        if (content->n_vms == STORE_VMS_MAX)
            return vgpu_err_set(err, EPROTO, "table '%s': more than %d VMs", content->vm_table,
                                STORE_VMS_MAX);
        if ((rc = check_fixed(row, &vm_rule, content->vm_table, err)) < 0)
            return rc;
        if (parse_vm(content, row, vm, err) < 0)
            return bad_row(content->vm_table, row, err);
        for (size_t i = 0; i < content->n_vms; i++)
            if (vm->vm_id == content->vms[i].vm_id ||
                (vm->uuid[0] && strcmp(vm->uuid, content->vms[i].uuid) == 0))
                return vgpu_err_set(err, EPROTO,
                                    "table '%s': VM %lld has the id or the UUID of another",
                                    content->vm_table, (long long)vm->vm_id);
        content->n_vms++;
    }
    return rc;
}

int phase2_read(sqlite3 *db, struct phase2 **ret_content, struct vgpu_err *err)
{
    struct phase2 *content = calloc(1, sizeof(*content));
    int rc;

    if (!content)
        return database_no_memory(err);
    if ((rc = find_tables(db, content, err)) < 0 || (rc = read_pools(db, content, err)) < 0 ||
        (rc = read_vms(db, content, err)) < 0) {
        phase2_free(content);
        return rc;
    }
    *ret_content = content;
    return 0;
}

void phase2_free(struct phase2 *content)
{
    free(content);
}

int phase2_drop(sqlite3 *db, const struct phase2 *content, struct vgpu_err *err)
{
    char sql[SQL_BYTES];

    snprintf(sql, sizeof(sql), "DROP TABLE \"%s\"; DROP TABLE \"%s\"", content->vm_table,
             content->pool_table);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return database_error(db, "drop the tables of Phase 2", err);
    return 0;
}

static int import_limits(struct store *store, const struct phase2_vm *vm, struct vgpu_err *err)
{
    int rc = database_run(store->db, err,
                          "UPDATE vms SET rate_per_s = ?2, burst = ?2, depth = ?3,"
                          " faults_total = ?4 WHERE vm_id = ?1",
                          "iiii", vm->vm_id, vm->rate_per_s, vm->depth, vm->faults_total);

    if (rc < 0 || !vm->quarantined)
        return rc;
    return database_run(store->db, err,
                        "UPDATE vms SET quarantine_reason = 'in quarantine before the upgrade',"
                        " quarantine_time = ?2, quarantined_by = 'upgrade' WHERE vm_id = ?1",
                        "ii", vm->vm_id, store->now_s());
}

int phase2_import(struct store *store, const struct phase2 *content, struct vgpu_err *err)
{
    int64_t now = store->now_s();
    int rc;

    for (size_t i = 0; i < content->n_pools; i++) {
        const struct phase2_pool *pool = &content->pools[i];
        const struct pool_row row = {.pool = pool->pool,
                                     .policy = "wfq",
                                     .description = pool->description,
                                     .created = pool->created ? pool->created : now,
                                     .updated = pool->updated ? pool->updated : now};

        if ((rc = pool_insert(store, &row, err)) < 0)
            return rc;
    }
    for (size_t i = 0; i < content->n_vms; i++) {
        const struct phase2_vm *vm = &content->vms[i];
        const struct vm_row row = {.vm_id = vm->vm_id,
                                   .uuid = vm->uuid[0] ? vm->uuid : NULL,
                                   .name = vm->name[0] ? vm->name : NULL,
                                   .pool = content->pools[vm->pool].pool,
                                   .priority = vm->priority,
                                   .weight_hundredths = vm->weight_hundredths,
                                   .created = vm->created ? vm->created : now,
                                   .updated = vm->updated ? vm->updated : now};

        if ((rc = vm_insert(store, &row, err)) < 0 || (rc = import_limits(store, vm, err)) < 0)
            return rc;
    }
    return 0;
}
