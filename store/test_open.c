/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of opening: new, missing, corrupt, foreign and future databases, upgrades from Phase 2 in
 * its several shapes, and the lock. What is refused must be left byte by byte as it was.
 */
#include "store/test_support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define UUID_1 "11111111-2222-3333-4444-555555555555"

/* The reference shape (vgpu-store(5)). */
#define REFERENCE                                                                                  \
    "CREATE TABLE pools (pool_id TEXT PRIMARY KEY, description TEXT);"                             \
    "CREATE TABLE vms (vm_id INTEGER PRIMARY KEY, uuid TEXT UNIQUE, name TEXT,"                    \
    " pool_id TEXT REFERENCES pools (pool_id), priority INTEGER);"

#define REFERENCE_ROWS                                                                             \
    "INSERT INTO pools VALUES ('A', 'first'), ('B', NULL);"                                        \
    "INSERT INTO vms VALUES (1, '" UUID_1 "', 'web', 'A', 2), (7, NULL, NULL, 'B', 0);"

static json_t *snapshot_of(struct fixture *fixture)
{
    json_t *snapshot = NULL;

    assert_int_equal(store_snapshot(fixture->store, &snapshot, NULL), 0);
    return snapshot;
}

static const json_t *item(const json_t *snapshot, const char *list, size_t i)
{
    return json_array_get(json_object_get(snapshot, list), i);
}

static void assert_text(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));

    assert_string_equal(value ? value : "(null)", text);
}

/* Opening fails with that code, says that text, and leaves the file as it is. */
static void refuse_open(struct fixture *fixture, bool create, int code, const char *text)
{
    struct vgpu_err err = {.code = 0};
    size_t size_before, size_after;
    _cleanup_free_ char *before = test_read_file(fixture->path, &size_before);
    _cleanup_free_ char *after = NULL;

    assert_int_equal(test_open(fixture, create, &err), -code);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, text))
        fail_msg("'%s' is not in '%s'", text, err.text);
    after = test_read_file(fixture->path, &size_after);
    assert_int_equal(size_before, size_after);
    assert_memory_equal(before, after, size_before);
}

static void refuse_phase2(void **state, const char *script, const char *text)
{
    struct fixture *fixture = *state;
    char backup[128];

    test_script(fixture, script);
    refuse_open(fixture, false, EPROTO, text);
    snprintf(backup, sizeof(backup), "%s.v2.bak", fixture->path);
    assert_int_equal(access(backup, F_OK), -1);
}

static json_t *upgrade(void **state, const char *script)
{
    struct fixture *fixture = *state;
    struct vgpu_err err = {.code = 0};

    test_script(fixture, script);
    if (test_open(fixture, false, &err) < 0)
        fail_msg("%s", err.text);
    return snapshot_of(fixture);
}

static void test_open_missing_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct vgpu_err err;

    assert_int_equal(test_open(fixture, false, &err), -ENOENT);
    assert_non_null(strstr(err.text, "does not exist; make a new one with --create"));
    assert_int_equal(access(fixture->path, F_OK), -1);
}

static void test_open_creates_when_told(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    assert_int_equal(test_count(fixture->store, "PRAGMA user_version"), STORE_SCHEMA_VERSION);
    assert_int_equal(test_count(fixture->store, "PRAGMA application_id"), STORE_APPLICATION_ID);
    assert_int_equal(test_count(fixture->store, "PRAGMA foreign_keys"), 1);
    assert_int_equal(test_count(fixture->store, "PRAGMA synchronous"), 2);
}

#ifndef TEST_SQLITE_VERSION
#define TEST_SQLITE_VERSION SQLITE_VERSION
#endif

/* tests/store-sqlite-3717.sh says which version it must be. */
static void test_open_runs_on_the_sqlite_it_was_built_for(void **state)
{
    assert_string_equal(sqlite3_libversion(), TEST_SQLITE_VERSION);
    assert_string_equal(SQLITE_VERSION, TEST_SQLITE_VERSION);
}

static void test_open_uses_wal(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_statement_ sqlite3_stmt *row = NULL;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    assert_int_equal(statement_open(fixture->store->db, &row, NULL, "PRAGMA journal_mode", ""), 0);
    assert_int_equal(statement_step(row, NULL), 1);
    assert_string_equal(statement_text(row, 0), "wal");
}

static void test_open_creating_keeps_what_is_there(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    test_ok(fixture->store, "{'command': 'create-pool', 'args': {'pool': 'A'}}");
    store_close(fixture->store);
    assert_int_equal(test_open(fixture, true, NULL), 0);
    assert_int_equal(test_count(fixture->store, "SELECT count(*) FROM pools"), 1);
}

static void test_open_in_missing_directory_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct vgpu_err err;

    snprintf(fixture->path, sizeof(fixture->path), "%s/none/vgpu.db", fixture->directory);
    assert_int_equal(test_open(fixture, true, &err), -ENOENT);
    assert_non_null(strstr(err.text, "cannot create the database"));
}

static void test_open_directory_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct vgpu_err err;

    snprintf(fixture->path, sizeof(fixture->path), "%s", fixture->directory);
    assert_int_equal(test_open(fixture, false, &err), -EINVAL);
    assert_non_null(strstr(err.text, "is not a regular file"));
}

static void write_file(const struct fixture *fixture, const char *data, size_t size)
{
    _cleanup_fclose_ FILE *file = fopen(fixture->path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
}

static void test_open_empty_file_needs_create(void **state)
{
    struct fixture *fixture = *state;

    write_file(fixture, "", 0);
    refuse_open(fixture, false, ENOENT, "is empty; make a new one of it with --create");
    assert_int_equal(test_open(fixture, true, NULL), 0);
}

static void test_open_what_is_no_database_is_refused(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_free_ char *text = test_repeat('x', 8192);

    write_file(fixture, text, 8192);
    refuse_open(fixture, false, EUCLEAN, "is not a sound SQLite database; not touched");
    refuse_open(fixture, true, EUCLEAN, "is not a sound SQLite database; not touched");
}

static void test_open_damaged_database_is_refused(void **state)
{
    struct fixture *fixture = *state;
    int fd;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    store_close(fixture->store);
    fixture->store = NULL;
    fd = open(fixture->path, O_WRONLY | O_CLOEXEC);
    for (off_t page = 1; page < 8; page++)
        assert_int_equal(pwrite(fd, "\377\377\377\377\377\377\377\377", 8, page * 4096), 8);
    close(fd);
    refuse_open(fixture, false, EUCLEAN, "is not a sound SQLite database; not touched");
}

static void test_open_truncated_database_is_refused(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    store_close(fixture->store);
    fixture->store = NULL;
    assert_int_equal(truncate(fixture->path, 6000), 0);
    refuse_open(fixture, false, EUCLEAN, "not touched");
}

static void test_open_future_version_is_refused(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    store_close(fixture->store);
    fixture->store = NULL;
    test_script(fixture, "PRAGMA user_version = 7");
    refuse_open(fixture, false, EPROTO, "has schema version 7, this program knows 6 at most");
}

static void test_open_past_version_that_never_was_is_refused(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    store_close(fixture->store);
    fixture->store = NULL;
    test_script(fixture, "PRAGMA user_version = 1");
    refuse_open(fixture, false, EPROTO, "has schema version 1, which never was");
}

static void test_open_other_programs_database_is_refused(void **state)
{
    struct fixture *fixture = *state;

    test_script(fixture, "PRAGMA application_id = 252006674; CREATE TABLE vms (vm_id)");
    refuse_open(fixture, false, EPROTO, "belongs to another program (application id 0x0f055112)");
}

static void test_open_altered_schema_is_refused(void **state)
{
    static const char *const changes[] = {
        "ALTER TABLE vms ADD COLUMN extra TEXT", "CREATE TABLE notes (text)",
        "CREATE TRIGGER t AFTER INSERT ON vms BEGIN DELETE FROM audit_log; END",
        "DROP TABLE audit_log"};
    static const char *const texts[] = {"table 'vms' differs from", "table 'notes' does not belong",
                                        "trigger 't' does not belong",
                                        "index 'audit_log_by_command' is missing from"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(changes); i++) {
        assert_int_equal(test_open(fixture, true, NULL), 0);
        store_close(fixture->store);
        fixture->store = NULL;
        test_script(fixture, changes[i]);
        refuse_open(fixture, false, EPROTO, texts[i]);
        assert_int_equal(unlink(fixture->path), 0);
    }
}

/* Phase 2 */

static void test_phase2_reference_is_upgraded(void **state)
{
    _cleanup_json_ json_t *snapshot = upgrade(state, REFERENCE REFERENCE_ROWS);
    const json_t *vm = item(snapshot, "vms", 0);

    assert_int_equal(json_array_size(json_object_get(snapshot, "pools")), 2);
    assert_text(item(snapshot, "pools", 0), "pool", "A");
    assert_text(item(snapshot, "pools", 0), "description", "first");
    assert_text(item(snapshot, "pools", 0), "policy", "wfq");
    assert_int_equal(json_integer_value(json_object_get(vm, "vm_id")), 1);
    assert_text(vm, "uuid", UUID_1);
    assert_text(vm, "name", "web");
    assert_text(vm, "pool", "A");
    assert_text(vm, "priority", "high");
    assert_true(json_real_value(json_object_get(vm, "weight")) == 50.0);
    assert_text(item(snapshot, "vms", 1), "priority", "low");
    assert_int_equal(json_integer_value(json_object_get(vm, "revision")), 1);
    assert_int_equal(json_integer_value(json_object_get(item(snapshot, "pools", 0), "revision")),
                     1);
}

static void test_phase2_upgrade_gives_the_schema_of_a_new_database(void **state)
{
    struct fixture *fixture = *state;

    json_decref(upgrade(state, REFERENCE REFERENCE_ROWS));
    store_close(fixture->store);
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_null(store_backup_path(fixture->store));
}

static void test_phase2_upgrade_leaves_a_backup(void **state)
{
    struct fixture *fixture = *state;
    int64_t count = 0;
    sqlite3 *db;

    json_decref(upgrade(state, REFERENCE REFERENCE_ROWS));
    assert_non_null(store_backup_path(fixture->store));
    assert_int_equal(sqlite3_open(store_backup_path(fixture->store), &db), SQLITE_OK);
    assert_int_equal(
        database_integer(db, &count, NULL, "SELECT count(*) FROM vms WHERE priority = 2", ""), 0);
    assert_int_equal(count, 1);
    sqlite3_close(db);
}

static void test_phase2_backup_never_overwrites(void **state)
{
    struct fixture *fixture = *state;
    char taken[128];
    FILE *file;

    snprintf(taken, sizeof(taken), "%s.v2.bak", fixture->path);
    file = fopen(taken, "we");
    assert_non_null(file);
    fputs("mine", file);
    fclose(file);
    json_decref(upgrade(state, REFERENCE));
    assert_non_null(strstr(store_backup_path(fixture->store), ".v2.bak.1"));
    file = fopen(taken, "re");
    assert_non_null(fgets(taken, sizeof(taken), file));
    fclose(file);
    assert_string_equal(taken, "mine");
}

static void test_phase2_vm_columns_spelled_otherwise(void **state)
{
    _cleanup_json_ json_t *snapshot =
        upgrade(state, "CREATE TABLE pool (id TEXT PRIMARY KEY, name TEXT);"
                       "CREATE TABLE virtual_machines (ID INTEGER PRIMARY KEY, VM_UUID TEXT,"
                       " name_label TEXT, pool TEXT, prio TEXT);"
                       "INSERT INTO pool VALUES ('A', 'Pool A');"
                       "INSERT INTO virtual_machines VALUES (3, '', 'db', 'A', 'Medium')");

    assert_text(item(snapshot, "pools", 0), "description", "Pool A");
    assert_text(item(snapshot, "vms", 0), "name", "db");
    assert_text(item(snapshot, "vms", 0), "priority", "medium");
    assert_true(json_is_null(json_object_get(item(snapshot, "vms", 0), "uuid")));
}

static void test_phase2_numbered_pools_go_by_name(void **state)
{
    _cleanup_json_ json_t *snapshot =
        upgrade(state, "CREATE TABLE pools (id INTEGER PRIMARY KEY, name TEXT);"
                       "CREATE TABLE vms (id INTEGER PRIMARY KEY, pool_id INTEGER, priority);"
                       "INSERT INTO pools VALUES (10, 'gold'), (11, NULL);"
                       "INSERT INTO vms VALUES (1, 10, 'low'), (2, 11, 1)");

    assert_text(item(snapshot, "vms", 0), "pool", "gold");
    assert_text(item(snapshot, "vms", 1), "pool", "11");
}

static void test_phase2_with_all_known_columns(void **state)
{
    _cleanup_json_ json_t *snapshot = upgrade(
        state,
        "CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY, pool_name TEXT NOT NULL, description"
        " TEXT, enabled INTEGER DEFAULT 1, created_at TIMESTAMP, updated_at TIMESTAMP);"
        "CREATE TABLE vms (vm_id INTEGER NOT NULL UNIQUE, vm_uuid TEXT UNIQUE NOT NULL, vm_name"
        " TEXT, pool_id CHAR(1) NOT NULL REFERENCES pools (pool_id), priority INTEGER NOT NULL,"
        " weight REAL, max_jobs_per_sec INTEGER DEFAULT 0, max_queue_depth INTEGER DEFAULT 0,"
        " quarantined INTEGER DEFAULT 0, error_count INTEGER DEFAULT 0, created_at TIMESTAMP,"
        " updated_at TIMESTAMP);"
        "CREATE INDEX idx_vm_pool ON vms (pool_id);"
        "INSERT INTO pools VALUES ('A', 'Pool A', 'main', 1, '2023-11-14 22:13:20', NULL);"
        "INSERT INTO vms VALUES (5, '" UUID_1 "', 'x', 'A', 1, 12.5, 0, 0, 0, 0, 1600000000,"
        " '2023-11-14 22:13:21')");
    const json_t *pool = item(snapshot, "pools", 0), *vm = item(snapshot, "vms", 0);

    assert_text(pool, "description", "Pool A: main");
    assert_int_equal(json_integer_value(json_object_get(pool, "created")), 1700000000);
    assert_int_equal(json_integer_value(json_object_get(pool, "updated")), TEST_NOW);
    assert_true(json_real_value(json_object_get(vm, "weight")) == 12.5);
    assert_int_equal(json_integer_value(json_object_get(vm, "created")), 1600000000);
    assert_int_equal(json_integer_value(json_object_get(vm, "updated")), 1700000001);
}

static void test_phase2_in_wal_mode_is_upgraded(void **state)
{
    _cleanup_json_ json_t *snapshot = upgrade(
        state, "PRAGMA journal_mode = WAL; PRAGMA user_version = 2;" REFERENCE REFERENCE_ROWS);

    assert_int_equal(json_array_size(json_object_get(snapshot, "vms")), 2);
}

static void test_phase2_unknown_column_is_refused(void **state)
{
    refuse_phase2(state, REFERENCE REFERENCE_ROWS "ALTER TABLE vms ADD COLUMN colour TEXT",
                  "table 'vms': column 'colour' is not known");
}

static void test_phase2_unknown_pool_column_is_refused(void **state)
{
    refuse_phase2(state, REFERENCE "ALTER TABLE pools ADD COLUMN owner TEXT",
                  "table 'pools': column 'owner' is not known");
}

static void test_phase2_one_meaning_twice_is_refused(void **state)
{
    refuse_phase2(state, REFERENCE "ALTER TABLE vms ADD COLUMN vm_name TEXT",
                  "table 'vms': column 'vm_name' is not known");
}

static void test_phase2_unknown_table_is_refused(void **state)
{
    refuse_phase2(state, REFERENCE "CREATE TABLE jobs (id)", "table 'jobs' is not known");
}

static void test_phase2_trigger_is_refused(void **state)
{
    refuse_phase2(state,
                  REFERENCE "CREATE TRIGGER t AFTER INSERT ON vms BEGIN DELETE FROM pools; END",
                  "trigger 't' is not known");
}

static void test_phase2_missing_table_is_refused(void **state)
{
    refuse_phase2(state, "CREATE TABLE pools (pool_id TEXT)", "there is no table of VMs");
}

static void test_phase2_missing_column_is_refused(void **state)
{
    refuse_phase2(state,
                  "CREATE TABLE pools (pool_id TEXT);"
                  "CREATE TABLE vms (vm_id INTEGER, pool_id TEXT)",
                  "table 'vms': there is no column 'priority'");
}

static void test_phase2_bad_rows_are_refused(void **state)
{
    static const struct {
        const char *row, *text;
    } cases[] = {
        {"(1, NULL, NULL, 'A', 3)", "table 'vms', row '1': the priority '3' is none of"},
        {"(1, NULL, NULL, 'A', NULL)", "the priority 'NULL'"},
        {"(1, NULL, NULL, 'Z', 1)", "its pool 'Z' is not in table 'pools'"},
        {"(1, NULL, NULL, NULL, 1)", "its pool 'NULL'"},
        {"(0, NULL, NULL, 'A', 1)", "the id is not an integer from 1"},
        {"(2147483648, NULL, NULL, 'A', 1)", "the id is not an integer from 1"},
        {"(1, 'nonsense', NULL, 'A', 1)", "'nonsense' is not a UUID"},
        {"(1, NULL, 'a' || char(27), 'A', 1)", "control character"},
        {"(1, NULL, CAST(X'ff' AS TEXT), 'A', 1)", "is not UTF-8"},
    };
    struct fixture *fixture = *state;
    char script[1024];

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        snprintf(script, sizeof(script),
                 REFERENCE "INSERT INTO pools VALUES ('A', NULL); INSERT INTO vms VALUES %s",
                 cases[i].row);
        refuse_phase2(state, script, cases[i].text);
        assert_int_equal(unlink(fixture->path), 0);
    }
}

static void test_phase2_values_that_cannot_be_carried_are_refused(void **state)
{
    refuse_phase2(state,
                  REFERENCE "ALTER TABLE vms ADD COLUMN quarantined INTEGER DEFAULT 0;"
                            "INSERT INTO pools VALUES ('A', NULL);"
                            "INSERT INTO vms VALUES (1, NULL, NULL, 'A', 1, 2)",
                  "table 'vms', row '1': its quarantined is not an integer from 0 to 1");
}

static void test_phase2_limits_and_quarantine_are_carried_over(void **state)
{
    _cleanup_json_ json_t *snapshot =
        upgrade(state, REFERENCE "ALTER TABLE vms ADD COLUMN max_jobs_per_sec INTEGER;"
                                 "ALTER TABLE vms ADD COLUMN max_queue_depth INTEGER;"
                                 "ALTER TABLE vms ADD COLUMN quarantined INTEGER;"
                                 "ALTER TABLE vms ADD COLUMN error_count INTEGER;"
                                 "INSERT INTO pools VALUES ('A', NULL);"
                                 "INSERT INTO vms VALUES (1, NULL, NULL, 'A', 1, 100, 65536, 1, 7),"
                                 " (2, NULL, NULL, 'A', 1, 0, NULL, 0, 0)");
    const json_t *vm = item(snapshot, "vms", 0), *other = item(snapshot, "vms", 1);

    assert_int_equal(json_integer_value(json_object_get(vm, "rate_per_s")), 100);
    assert_int_equal(json_integer_value(json_object_get(vm, "burst")), 100);
    assert_int_equal(json_integer_value(json_object_get(vm, "depth")), 65536);
    assert_int_equal(json_integer_value(json_object_get(vm, "faults_total")), 7);
    assert_true(json_is_true(json_object_get(vm, "quarantined")));
    assert_text(vm, "quarantine_reason", "in quarantine before the upgrade");
    assert_text(vm, "quarantined_by", "upgrade");
    assert_int_equal(json_integer_value(json_object_get(vm, "quarantine_time")), TEST_NOW);
    assert_false(json_is_true(json_object_get(other, "quarantined")));
    assert_int_equal(json_integer_value(json_object_get(other, "rate_per_s")), 0);
}

static void test_phase2_limits_out_of_range_are_refused(void **state)
{
    static const char *const values[] = {"1000000001", "-1", "'many'", "1.5"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(values); i++) {
        char script[512];

        snprintf(script, sizeof(script),
                 REFERENCE "ALTER TABLE vms ADD COLUMN max_jobs_per_sec;"
                           "INSERT INTO pools VALUES ('A', NULL);"
                           "INSERT INTO vms VALUES (1, NULL, NULL, 'A', 1, %s)",
                 values[i]);
        refuse_phase2(state, script, "its max_jobs_per_sec is not an integer from 0 to 1000000000");
        assert_int_equal(unlink(fixture->path), 0);
    }
}

static void test_phase2_bad_time_is_refused(void **state)
{
    refuse_phase2(state,
                  REFERENCE "ALTER TABLE pools ADD COLUMN created_at TEXT;"
                            "INSERT INTO pools VALUES ('A', NULL, 'yesterday')",
                  "column 'created_at' of pools 'A': this time cannot be read");
}

static void test_phase2_name_limit(void **state)
{
    _cleanup_free_ char *over = test_repeat('n', STORE_NAME_BYTES + 1);
    char script[1024];

    snprintf(script, sizeof(script),
             REFERENCE "INSERT INTO pools VALUES ('A', NULL);"
                       "INSERT INTO vms VALUES (1, NULL, '%s', 'A', 1)",
             over);
    refuse_phase2(state, script, "row '1': the name has 65 bytes");
}

/* Doubles its rows ten times over, up to 1024, and then adds one. */
#define DOUBLE_VMS                                                                                 \
    "INSERT INTO vms SELECT vm_id + (SELECT max(vm_id) FROM vms), NULL, NULL, 'A', 1 FROM vms;"
#define DOUBLE_POOLS                                                                               \
    "INSERT INTO pools SELECT pool_id + (SELECT count(*) FROM pools), NULL FROM pools;"

static void test_phase2_count_limit_of_pools(void **state)
{
    refuse_phase2(state,
                  REFERENCE "INSERT INTO pools VALUES ('0', NULL);" DOUBLE_POOLS DOUBLE_POOLS
                      DOUBLE_POOLS DOUBLE_POOLS DOUBLE_POOLS DOUBLE_POOLS
                            "INSERT INTO pools VALUES ('one more', NULL)",
                  "table 'pools': more than 64 pools");
}

static void test_phase2_count_limit_of_vms(void **state)
{
    refuse_phase2(state,
                  REFERENCE
                  "INSERT INTO pools VALUES ('A', NULL);"
                  "INSERT INTO vms VALUES (1, NULL, NULL, 'A', 1);" DOUBLE_VMS DOUBLE_VMS DOUBLE_VMS
                      DOUBLE_VMS DOUBLE_VMS DOUBLE_VMS DOUBLE_VMS DOUBLE_VMS DOUBLE_VMS DOUBLE_VMS
                  "INSERT INTO vms VALUES (5000, NULL, NULL, 'A', 1)",
                  "table 'vms': more than 1024 VMs");
}

static void test_phase2_with_version_of_the_future_is_refused(void **state)
{
    refuse_phase2(state, REFERENCE "PRAGMA user_version = 3",
                  "has user_version 3 and no mark of this program");
}

static void test_phase2_in_use_is_refused(void **state)
{
    struct fixture *fixture = *state;
    sqlite3 *db;

    test_script(fixture, REFERENCE REFERENCE_ROWS);
    assert_int_equal(sqlite3_open(fixture->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    refuse_open(fixture, false, EBUSY, "database is locked");
    sqlite3_close(db);
    assert_int_equal(test_open(fixture, false, NULL), 0);
}

/* the lock */

static void test_lock_names_its_holder(void **state)
{
    struct fixture *fixture = *state;
    const struct store_options second = {.holder = "the second"};
    struct store *store = NULL;
    struct vgpu_err err;
    char holder[64];

    assert_int_equal(test_open(fixture, true, NULL), 0);
    assert_int_equal(store_open(fixture->path, &second, &store, &err), -EBUSY);
    snprintf(holder, sizeof(holder), "is in use by a test (pid %ld)", (long)getpid());
    assert_non_null(strstr(err.text, holder));
    assert_null(store);
}

static void test_lock_is_one_for_all_paths(void **state)
{
    struct fixture *fixture = *state;
    const struct store_options second = {.holder = "the second"};
    struct store *store = NULL;
    char link[128];

    assert_int_equal(test_open(fixture, true, NULL), 0);
    snprintf(link, sizeof(link), "%s/link.db", fixture->directory);
    assert_int_equal(symlink(fixture->path, link), 0);
    assert_int_equal(store_open(link, &second, &store, NULL), -EBUSY);
}

static void test_lock_ends_with_its_store(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    store_close(fixture->store);
    assert_int_equal(test_open(fixture, false, NULL), 0);
}

static void test_lock_refused_opening_releases_it(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, false, NULL), -ENOENT);
    assert_int_equal(test_open(fixture, true, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup_directory, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_missing_is_refused),
        TEST(test_open_creates_when_told),
        TEST(test_open_runs_on_the_sqlite_it_was_built_for),
        TEST(test_open_uses_wal),
        TEST(test_open_creating_keeps_what_is_there),
        TEST(test_open_in_missing_directory_is_refused),
        TEST(test_open_empty_file_needs_create),
        TEST(test_open_what_is_no_database_is_refused),
        TEST(test_open_damaged_database_is_refused),
        TEST(test_open_truncated_database_is_refused),
        TEST(test_open_future_version_is_refused),
        TEST(test_open_past_version_that_never_was_is_refused),
        TEST(test_open_other_programs_database_is_refused),
        TEST(test_open_altered_schema_is_refused),
        TEST(test_open_directory_is_refused),
        TEST(test_phase2_reference_is_upgraded),
        TEST(test_phase2_upgrade_gives_the_schema_of_a_new_database),
        TEST(test_phase2_upgrade_leaves_a_backup),
        TEST(test_phase2_backup_never_overwrites),
        TEST(test_phase2_vm_columns_spelled_otherwise),
        TEST(test_phase2_numbered_pools_go_by_name),
        TEST(test_phase2_with_all_known_columns),
        TEST(test_phase2_in_wal_mode_is_upgraded),
        TEST(test_phase2_unknown_column_is_refused),
        TEST(test_phase2_unknown_pool_column_is_refused),
        TEST(test_phase2_one_meaning_twice_is_refused),
        TEST(test_phase2_unknown_table_is_refused),
        TEST(test_phase2_trigger_is_refused),
        TEST(test_phase2_missing_table_is_refused),
        TEST(test_phase2_missing_column_is_refused),
        TEST(test_phase2_bad_rows_are_refused),
        TEST(test_phase2_values_that_cannot_be_carried_are_refused),
        TEST(test_phase2_limits_and_quarantine_are_carried_over),
        TEST(test_phase2_limits_out_of_range_are_refused),
        TEST(test_phase2_bad_time_is_refused),
        TEST(test_phase2_name_limit),
        TEST(test_phase2_count_limit_of_pools),
        TEST(test_phase2_count_limit_of_vms),
        TEST(test_phase2_with_version_of_the_future_is_refused),
        TEST(test_phase2_in_use_is_refused),
        TEST(test_lock_names_its_holder),
        TEST(test_lock_is_one_for_all_paths),
        TEST(test_lock_ends_with_its_store),
        TEST(test_lock_refused_opening_releases_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
