/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of upgrades from our own earlier versions: everything carried over, a backup beside it, the
 * schema of a new database afterwards; what was altered by hand is left untouched.
 */
#include "store/test_support.h"

#include <stdio.h>
#include <string.h>

/* Version 3 as its program wrote it. */
static const char version_3[] =
    "CREATE TABLE gpus ("
    " gpu_id INTEGER PRIMARY KEY NOT NULL CHECK (gpu_id BETWEEN 0 AND 63),"
    " uuid TEXT NOT NULL UNIQUE CHECK (length(CAST(uuid AS BLOB)) BETWEEN 1 AND 64),"
    " pci TEXT NOT NULL CHECK (length(CAST(pci AS BLOB)) BETWEEN 1 AND 32),"
    " model TEXT NOT NULL CHECK (length(CAST(model AS BLOB)) BETWEEN 1 AND 64),"
    " memory_bytes INTEGER NOT NULL"
    "  CHECK (typeof(memory_bytes) = 'integer' AND memory_bytes >= 0),"
    " device_index INTEGER CHECK (device_index IS NULL OR device_index BETWEEN 0 AND 65535),"
    " state TEXT NOT NULL CHECK (state IN ('present', 'missing')),"
    " first_seen INTEGER NOT NULL,"
    " last_seen INTEGER NOT NULL);"
    "CREATE TABLE pools ("
    " pool TEXT PRIMARY KEY NOT NULL CHECK (length(CAST(pool AS BLOB)) BETWEEN 1 AND 64),"
    " policy TEXT NOT NULL DEFAULT 'wfq' CHECK (policy IN ('wfq', 'strict')),"
    " description TEXT NOT NULL DEFAULT '' CHECK (length(CAST(description AS BLOB)) <= 256),"
    " created INTEGER NOT NULL,"
    " updated INTEGER NOT NULL);"
    "CREATE TABLE pool_gpus ("
    " pool TEXT NOT NULL REFERENCES pools (pool),"
    " gpu_id INTEGER NOT NULL REFERENCES gpus (gpu_id),"
    " PRIMARY KEY (pool, gpu_id));"
    "CREATE INDEX pool_gpus_by_gpu ON pool_gpus (gpu_id);"
    "CREATE TABLE vms ("
    " vm_id INTEGER PRIMARY KEY NOT NULL CHECK (vm_id BETWEEN 1 AND 2147483647),"
    " uuid TEXT UNIQUE CHECK (uuid IS NULL OR length(uuid) = 36),"
    " name TEXT CHECK (name IS NULL OR length(CAST(name AS BLOB)) BETWEEN 1 AND 64),"
    " pool TEXT NOT NULL REFERENCES pools (pool),"
    " priority TEXT NOT NULL DEFAULT 'medium' CHECK (priority IN ('low', 'medium', 'high')),"
    " weight_hundredths INTEGER NOT NULL DEFAULT 5000"
    "  CHECK (typeof(weight_hundredths) = 'integer' AND weight_hundredths BETWEEN 100 AND 10000),"
    " created INTEGER NOT NULL,"
    " updated INTEGER NOT NULL);"
    "CREATE INDEX vms_by_pool ON vms (pool);"
    "CREATE INDEX vms_by_name ON vms (name);"
    "CREATE TABLE audit_log ("
    " seq INTEGER PRIMARY KEY NOT NULL,"
    " time INTEGER NOT NULL,"
    " who TEXT NOT NULL,"
    " command TEXT NOT NULL,"
    " object TEXT NOT NULL,"
    " object_key TEXT NOT NULL,"
    " before TEXT,"
    " after TEXT);"
    "PRAGMA user_version = 3; PRAGMA application_id = 1984385109;"
    "INSERT INTO gpus VALUES (0, 'GPU-0', 'pci', 'M', 42, 0, 'present', 5, 6);"
    "INSERT INTO pools VALUES ('A', 'strict', 'first', 7, 8);"
    "INSERT INTO pool_gpus VALUES ('A', 0);"
    "INSERT INTO vms VALUES (7, '11111111-2222-3333-4444-555555555555', 'web', 'A', 'high', 3333, "
    "9,"
    " 10);"
    "INSERT INTO audit_log VALUES (41, 1, 'uid=0', 'set-weight', 'vm', '7', '{}', '{}');";

/* What made a database of version 3 one of version 4, and what was then set in it. */
static const char version_4[] =
    "ALTER TABLE vms"
    " ADD COLUMN rate_per_s INTEGER NOT NULL DEFAULT 0 CHECK (typeof(rate_per_s) = 'integer'"
    " AND (rate_per_s = 0 OR rate_per_s BETWEEN 1 AND 1000000000));"
    "ALTER TABLE vms ADD COLUMN burst INTEGER NOT NULL DEFAULT 0 CHECK (typeof(burst) ="
    " 'integer' AND burst BETWEEN 0 AND 1000000000 AND (burst = 0) = (rate_per_s = 0));"
    "ALTER TABLE vms"
    " ADD COLUMN depth INTEGER NOT NULL DEFAULT 0 CHECK (typeof(depth) = 'integer'"
    " AND (depth = 0 OR depth BETWEEN 1 AND 65536));"
    "ALTER TABLE vms"
    " ADD COLUMN bytes_in_flight INTEGER NOT NULL DEFAULT 0 CHECK (typeof(bytes_in_flight) = "
    "'integer'"
    " AND (bytes_in_flight = 0 OR bytes_in_flight BETWEEN 1048576 AND 1099511627776));"
    "ALTER TABLE vms"
    " ADD COLUMN job_timeout_ms INTEGER NOT NULL DEFAULT 0 CHECK (typeof(job_timeout_ms) = "
    "'integer'"
    " AND (job_timeout_ms = 0 OR job_timeout_ms BETWEEN 10 AND 86400000));"
    "ALTER TABLE vms"
    " ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0 CHECK (typeof(memory_bytes) = 'integer'"
    " AND (memory_bytes = 0 OR memory_bytes BETWEEN 1048576 AND 17592186044416));"
    "ALTER TABLE vms"
    " ADD COLUMN process_memory_bytes INTEGER NOT NULL DEFAULT 0 CHECK "
    "(typeof(process_memory_bytes) = 'integer'"
    " AND (process_memory_bytes = 0 OR process_memory_bytes BETWEEN 1048576 AND 17592186044416));"
    "ALTER TABLE vms"
    " ADD COLUMN fault_threshold INTEGER NOT NULL DEFAULT 0 CHECK (typeof(fault_threshold) = "
    "'integer'"
    " AND (fault_threshold = 0 OR fault_threshold BETWEEN 1 AND 1000));"
    "ALTER TABLE vms"
    " ADD COLUMN fault_window_s INTEGER NOT NULL DEFAULT 0 CHECK (typeof(fault_window_s) = "
    "'integer'"
    " AND (fault_window_s = 0 OR fault_window_s BETWEEN 1 AND 31536000));"
    "ALTER TABLE vms ADD COLUMN faults_total INTEGER NOT NULL DEFAULT 0 CHECK"
    " (typeof(faults_total) = 'integer' AND faults_total >= 0);"
    "ALTER TABLE vms ADD COLUMN faults_from INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE vms ADD COLUMN quarantine_reason TEXT CHECK (quarantine_reason IS NULL OR"
    " length(CAST(quarantine_reason AS BLOB)) BETWEEN 1 AND 256);"
    "ALTER TABLE vms ADD COLUMN quarantine_time INTEGER CHECK ((quarantine_time IS NULL) ="
    " (quarantine_reason IS NULL));"
    "ALTER TABLE vms ADD COLUMN quarantined_by TEXT CHECK ((quarantined_by IS NULL) ="
    " (quarantine_reason IS NULL));"
    "CREATE TABLE vm_faults ( fault_id INTEGER PRIMARY KEY NOT NULL, vm_id INTEGER NOT NULL"
    " REFERENCES vms (vm_id) ON DELETE CASCADE, time INTEGER NOT NULL CHECK (typeof(time) ="
    " 'integer' AND time >= 0), kind TEXT NOT NULL CHECK (length(CAST(kind AS BLOB)) BETWEEN"
    " 1 AND 32), text TEXT NOT NULL CHECK (length(CAST(text AS BLOB)) BETWEEN 1 AND 256));"
    "CREATE INDEX vm_faults_by_vm ON vm_faults (vm_id, fault_id);"
    "CREATE INDEX audit_log_by_command ON audit_log (command, seq);"
    "ALTER TABLE pools"
    " ADD COLUMN weight_hundredths INTEGER NOT NULL DEFAULT 0 CHECK (typeof(weight_hundredths) = "
    "'integer'"
    " AND (weight_hundredths = 0 OR weight_hundredths BETWEEN 100 AND 10000));"
    "ALTER TABLE pools"
    " ADD COLUMN slice_us INTEGER NOT NULL DEFAULT 0 CHECK (typeof(slice_us) = 'integer'"
    " AND (slice_us = 0 OR slice_us BETWEEN 100 AND 10000000));"
    "ALTER TABLE pools"
    " ADD COLUMN grace_us INTEGER NOT NULL DEFAULT 0 CHECK (typeof(grace_us) = 'integer'"
    " AND (grace_us = 0 OR grace_us BETWEEN 1 AND 10000000));"
    "ALTER TABLE pools"
    " ADD COLUMN max_wait_ms INTEGER NOT NULL DEFAULT 0 CHECK (typeof(max_wait_ms) = 'integer'"
    " AND (max_wait_ms = 0 OR max_wait_ms BETWEEN 1 AND 86400000));"
    "ALTER TABLE pools"
    " ADD COLUMN urgency_us INTEGER NOT NULL DEFAULT 0 CHECK (typeof(urgency_us) = 'integer'"
    " AND (urgency_us = 0 OR urgency_us BETWEEN 1 AND 10000000));"
    "PRAGMA user_version = 4;"
    "UPDATE vms SET rate_per_s = 10, burst = 20, memory_bytes = 1048576, faults_total = 3,"
    " quarantine_reason = 'mines', quarantine_time = 11, quarantined_by = 'uid=0';"
    "UPDATE pools SET slice_us = 5000;"
    "INSERT INTO vm_faults VALUES (1, 7, 12, 'timeout', 'too long');";

static json_t *upgraded(struct fixture *fixture, int version)
{
    struct vgpu_err err = {.code = 0};
    json_t *snapshot = NULL;

    test_script(fixture, version_3);
    if (version == 4)
        test_script(fixture, version_4);
    if (test_open(fixture, false, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(store_snapshot(fixture->store, &snapshot, NULL), 0);
    return snapshot;
}

static void assert_members(const json_t *object, const char *expected)
{
    _cleanup_json_ json_t *members = json_loads(expected, 0, NULL);
    const json_t *value;
    const char *key;

    assert_non_null(members);
    json_object_foreach (members, key, value)
        if (!json_equal(json_object_get(object, key), value))
            fail_msg("%s is not as expected", key);
}

static void test_upgrade_from_3_keeps_everything(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *snapshot = upgraded(fixture, 3);

    assert_members(json_array_get(json_object_get(snapshot, "vms"), 0),
                   "{\"vm_id\": 7, \"uuid\": \"11111111-2222-3333-4444-555555555555\","
                   " \"name\": \"web\", \"pool\": \"A\", \"priority\": \"high\","
                   " \"weight\": 33.33, \"created\": 9, \"updated\": 10}");
    assert_members(json_array_get(json_object_get(snapshot, "pools"), 0),
                   "{\"pool\": \"A\", \"policy\": \"strict\", \"description\": \"first\","
                   " \"created\": 7, \"updated\": 8}");
    assert_members(json_array_get(json_object_get(snapshot, "gpus"), 0),
                   "{\"gpu_id\": 0, \"uuid\": \"GPU-0\", \"first_seen\": 5}");
    assert_int_equal(json_array_size(json_object_get(snapshot, "pool_gpus")), 1);
    assert_int_equal(test_count(fixture->store, "SELECT seq FROM audit_log"), 41);
}

static void test_upgrade_from_3_sets_no_limit_and_no_fault(void **state)
{
    _cleanup_json_ json_t *snapshot = upgraded(*state, 3);

    assert_members(json_array_get(json_object_get(snapshot, "vms"), 0),
                   "{\"rate_per_s\": 0, \"burst\": 0, \"depth\": 0, \"bytes_in_flight\": 0,"
                   " \"job_timeout_ms\": 0, \"memory_bytes\": 0, \"process_memory_bytes\": 0,"
                   " \"fault_threshold\": 0, \"fault_window_s\": 0, \"faults\": 0,"
                   " \"faults_total\": 0, \"last_fault\": null, \"last_fault_kind\": null,"
                   " \"last_fault_text\": null, \"quarantined\": false,"
                   " \"quarantine_reason\": null, \"quarantine_time\": null,"
                   " \"quarantined_by\": null}");
    assert_members(json_array_get(json_object_get(snapshot, "pools"), 0),
                   "{\"weight_hundredths\": 0, \"slice_us\": 0, \"grace_us\": 0,"
                   " \"max_wait_ms\": 0, \"urgency_us\": 0}");
}

static void test_upgrade_from_3_gives_the_schema_of_a_new_database(void **state)
{
    struct fixture *fixture = *state;

    json_decref(upgraded(fixture, 3));
    store_close(fixture->store);
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_null(store_backup_path(fixture->store));
    assert_int_equal(test_count(fixture->store, "PRAGMA user_version"), STORE_SCHEMA_VERSION);
}

static void test_upgrade_from_3_leaves_a_backup(void **state)
{
    struct fixture *fixture = *state;
    int64_t version = 0, seq = 0;
    sqlite3 *db;

    json_decref(upgraded(fixture, 3));
    assert_non_null(strstr(store_backup_path(fixture->store), ".v3.bak"));
    assert_int_equal(sqlite3_open(store_backup_path(fixture->store), &db), SQLITE_OK);
    assert_int_equal(database_integer(db, &version, NULL, "PRAGMA user_version", ""), 0);
    assert_int_equal(database_integer(db, &seq, NULL, "SELECT seq FROM audit_log", ""), 0);
    sqlite3_close(db);
    assert_int_equal(version, 3);
    assert_int_equal(seq, 41);
}

static void test_upgrade_from_4_keeps_everything(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *snapshot = upgraded(fixture, 4);

    assert_members(json_array_get(json_object_get(snapshot, "vms"), 0),
                   "{\"vm_id\": 7, \"weight\": 33.33, \"rate_per_s\": 10, \"burst\": 20,"
                   " \"memory_bytes\": 1048576, \"faults_total\": 3, \"quarantined\": true,"
                   " \"quarantine_reason\": \"mines\", \"quarantine_time\": 11,"
                   " \"quarantined_by\": \"uid=0\", \"last_fault_kind\": \"timeout\","
                   " \"created\": 9, \"updated\": 10}");
    assert_members(json_array_get(json_object_get(snapshot, "pools"), 0),
                   "{\"pool\": \"A\", \"policy\": \"strict\", \"slice_us\": 5000}");
    assert_int_equal(json_array_size(json_object_get(snapshot, "pool_gpus")), 1);
    assert_int_equal(test_count(fixture->store, "SELECT seq FROM audit_log"), 41);
}

static void test_upgrade_from_4_starts_at_revision_1_and_drains_nothing(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *snapshot = upgraded(fixture, 4);

    assert_members(json_array_get(json_object_get(snapshot, "vms"), 0), "{\"revision\": 1}");
    assert_members(json_array_get(json_object_get(snapshot, "pools"), 0),
                   "{\"revision\": 1, \"max_vms\": 0}");
    assert_members(json_array_get(json_object_get(snapshot, "gpus"), 0),
                   "{\"revision\": 1, \"numa_node\": null, \"mig_mode\": null, \"driver\": null,"
                   " \"source\": \"nvml\", \"drained\": false, \"drain_reason\": null}");
    assert_int_equal(test_count(fixture->store, "SELECT count(*) FROM thresholds"), 0);
}

static void test_upgrade_from_4_gives_the_schema_of_a_new_database(void **state)
{
    struct fixture *fixture = *state;

    json_decref(upgraded(fixture, 4));
    assert_non_null(strstr(store_backup_path(fixture->store), ".v4.bak"));
    store_close(fixture->store);
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_null(store_backup_path(fixture->store));
}

static void test_upgrade_from_4_is_as_one_from_3(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *at_once = upgraded(fixture, 3);
    _cleanup_json_ json_t *in_steps = NULL;

    store_close(fixture->store);
    fixture->store = NULL;
    assert_int_equal(unlink(fixture->path), 0);
    test_script(fixture, version_3);
    test_script(fixture, version_4);
    test_script(fixture, "UPDATE vms SET rate_per_s = 0, burst = 0, memory_bytes = 0,"
                         " faults_total = 0, quarantine_reason = NULL, quarantine_time = NULL,"
                         " quarantined_by = NULL; UPDATE pools SET slice_us = 0;"
                         "DELETE FROM vm_faults");
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_int_equal(store_snapshot(fixture->store, &in_steps, NULL), 0);
    assert_true(json_equal(at_once, in_steps));
}

/* Opening fails with that code, says that text, and leaves the file as it is. */
static void refuse(struct fixture *fixture, int code, const char *text)
{
    _cleanup_free_ char *before = NULL;
    _cleanup_free_ char *after = NULL;
    size_t size_before, size_after;
    struct vgpu_err err = {.code = 0};

    before = test_read_file(fixture->path, &size_before);
    assert_int_equal(test_open(fixture, false, &err), -code);
    if (!strstr(err.text, text))
        fail_msg("'%s' is not in '%s'", text, err.text);
    after = test_read_file(fixture->path, &size_after);
    assert_int_equal(size_before, size_after);
    assert_memory_equal(before, after, size_before);
}

static void assert_no_backup(const struct fixture *fixture)
{
    char backup[128];

    snprintf(backup, sizeof(backup), "%s.v3.bak", fixture->path);
    assert_int_equal(access(backup, F_OK), -1);
}

/* A new database without what version 6 added is one of version 5. */
static void test_upgrade_from_5_gives_thresholds_a_revision(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(test_open(fixture, true, NULL), 0);
    store_close(fixture->store);
    test_script(fixture,
                "DROP TABLE thresholds;"
                "CREATE TABLE thresholds ( name TEXT PRIMARY KEY NOT NULL CHECK"
                " (length(CAST(name AS BLOB)) BETWEEN 1 AND 64), value REAL CHECK (value IS"
                " NULL OR typeof(value) = 'real'), action TEXT NOT NULL CHECK (action IN"
                " ('ignore', 'warn', 'stop', 'drain')));"
                "INSERT INTO thresholds VALUES ('slowdown', 2.0, 'stop');"
                "PRAGMA user_version = 5");
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_non_null(strstr(store_backup_path(fixture->store), ".v5.bak"));
    assert_int_equal(test_count(fixture->store, "SELECT count(*) FROM thresholds WHERE revision = 1"
                                                " AND value = 2.0 AND action = 'stop'"),
                     1);
}

static void test_upgrade_of_an_altered_version_3_is_refused(void **state)
{
    struct fixture *fixture = *state;

    test_script(fixture, version_3);
    test_script(fixture, "ALTER TABLE vms ADD COLUMN rate_per_s INTEGER");
    refuse(fixture, EPROTO, "table 'vms' differs from the schema of version 3; not touched");
    assert_no_backup(fixture);
}

static void test_upgrade_of_an_altered_version_4_is_refused(void **state)
{
    struct fixture *fixture = *state;

    test_script(fixture, version_3);
    test_script(fixture, version_4);
    test_script(fixture, "CREATE TABLE thresholds (name TEXT)");
    refuse(fixture, EPROTO, "table 'thresholds' does not belong to the schema of version 4");
}

static void test_upgrade_of_a_damaged_version_3_is_refused(void **state)
{
    struct fixture *fixture = *state;

    test_script(fixture, version_3);
    assert_int_equal(truncate(fixture->path, 9000), 0);
    refuse(fixture, EUCLEAN, "is not a sound SQLite database; not touched");
    assert_no_backup(fixture);
}

/* What another program's foreign keys, which are off, let it do. */
static void test_upgrade_with_a_broken_reference_is_refused(void **state)
{
    struct fixture *fixture = *state;

    test_script(fixture, version_3);
    test_script(fixture, "DELETE FROM pools");
    refuse(fixture, EPROTO, "cannot upgrade the database");
    assert_no_backup(fixture);
}

#define BACKUPS 1000

static void test_upgrade_without_room_for_a_backup_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char name[160];

    test_script(fixture, version_3);
    for (int i = 0; i < BACKUPS; i++) {
        FILE *file;

        snprintf(name, sizeof(name), i ? "%s.v3.bak.%d" : "%s.v3.bak", fixture->path, i);
        file = fopen(name, "we");
        assert_non_null(file);
        fclose(file);
    }
    refuse(fixture, EEXIST, "cannot upgrade the database");
    assert_int_equal(unlink(name), 0);
    assert_int_equal(test_open(fixture, false, NULL), 0);
    assert_string_equal(store_backup_path(fixture->store), name);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup_directory, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_upgrade_from_3_keeps_everything),
        TEST(test_upgrade_from_3_sets_no_limit_and_no_fault),
        TEST(test_upgrade_from_3_gives_the_schema_of_a_new_database),
        TEST(test_upgrade_from_3_leaves_a_backup),
        TEST(test_upgrade_from_4_keeps_everything),
        TEST(test_upgrade_from_4_starts_at_revision_1_and_drains_nothing),
        TEST(test_upgrade_from_4_gives_the_schema_of_a_new_database),
        TEST(test_upgrade_from_4_is_as_one_from_3),
        TEST(test_upgrade_from_5_gives_thresholds_a_revision),
        TEST(test_upgrade_of_an_altered_version_3_is_refused),
        TEST(test_upgrade_of_an_altered_version_4_is_refused),
        TEST(test_upgrade_of_a_damaged_version_3_is_refused),
        TEST(test_upgrade_with_a_broken_reference_is_refused),
        TEST(test_upgrade_without_room_for_a_backup_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
