/* SPDX-License-Identifier: Apache-2.0 */
#include "store/migration.h"

#include <stdio.h>
#include <string.h>

#include "store/phase2.h"
#include "store/text.h"

/* Limits as in store.h; sizes in bytes, hence the casts. */
static const char schema_3[] =
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
    " after TEXT);";

/*
 * Limits of VMs, scheduling of pools, faults and quarantine. A setting of 0 is the default, or no
 * limit. vm_faults keeps the last faults of each VM; those up to vms.faults_from are forgiven.
 */
#define SETTING(name, least, most)                                                                 \
    " ADD COLUMN " name " INTEGER NOT NULL DEFAULT 0 CHECK (typeof(" name ") = 'integer'"          \
    " AND (" name " = 0 OR " name " BETWEEN " least " AND " most "))"

/* clang-format off */
static const char schema_4[] =
    "ALTER TABLE vms" SETTING("rate_per_s", "1", "1000000000") ";"
    "ALTER TABLE vms ADD COLUMN burst INTEGER NOT NULL DEFAULT 0 CHECK (typeof(burst) ="
    " 'integer' AND burst BETWEEN 0 AND 1000000000 AND (burst = 0) = (rate_per_s = 0));"
    "ALTER TABLE vms" SETTING("depth", "1", "65536") ";"
    "ALTER TABLE vms" SETTING("bytes_in_flight", "1048576", "1099511627776") ";"
    "ALTER TABLE vms" SETTING("job_timeout_ms", "10", "86400000") ";"
    "ALTER TABLE vms" SETTING("memory_bytes", "1048576", "17592186044416") ";"
    "ALTER TABLE vms" SETTING("process_memory_bytes", "1048576", "17592186044416") ";"
    "ALTER TABLE vms" SETTING("fault_threshold", "1", "1000") ";"
    "ALTER TABLE vms" SETTING("fault_window_s", "1", "31536000") ";"
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
    "ALTER TABLE pools" SETTING("weight_hundredths", "100", "10000") ";"
    "ALTER TABLE pools" SETTING("slice_us", "100", "10000000") ";"
    "ALTER TABLE pools" SETTING("grace_us", "1", "10000000") ";"
    "ALTER TABLE pools" SETTING("max_wait_ms", "1", "86400000") ";"
    "ALTER TABLE pools" SETTING("urgency_us", "1", "10000000") ";";
/* clang-format on */

/*
 * Revisions, of which each change of a row makes a new one; what a scan knows of a GPU besides;
 * draining; thresholds of health, where an administrator changed a default.
 */
#define REVISION                                                                                   \
    " ADD COLUMN revision INTEGER NOT NULL DEFAULT 1 CHECK (typeof(revision) = 'integer'"          \
    " AND revision >= 1);"

/* clang-format off */
static const char schema_5[] =
    "ALTER TABLE gpus" REVISION
    "ALTER TABLE gpus ADD COLUMN numa_node INTEGER CHECK (numa_node IS NULL OR"
    " (typeof(numa_node) = 'integer' AND numa_node BETWEEN 0 AND 65535));"
    "ALTER TABLE gpus ADD COLUMN mig_mode TEXT CHECK (mig_mode IS NULL OR mig_mode IN"
    " ('disabled', 'enabled'));"
    "ALTER TABLE gpus ADD COLUMN driver TEXT CHECK (driver IS NULL OR"
    " length(CAST(driver AS BLOB)) BETWEEN 1 AND 64);"
    "ALTER TABLE gpus ADD COLUMN source TEXT NOT NULL DEFAULT 'nvml' CHECK (source IN"
    " ('nvml', 'pci'));"
    "ALTER TABLE gpus ADD COLUMN drained INTEGER NOT NULL DEFAULT 0 CHECK (typeof(drained) ="
    " 'integer' AND drained IN (0, 1));"
    "ALTER TABLE gpus ADD COLUMN drain_reason TEXT CHECK (drain_reason IS NULL OR (drained = 1"
    " AND length(CAST(drain_reason AS BLOB)) BETWEEN 1 AND 256));"
    "ALTER TABLE pools" REVISION
    "ALTER TABLE pools" SETTING("max_vms", "1", "1024") ";"
    "ALTER TABLE vms" REVISION
    "CREATE TABLE thresholds ( name TEXT PRIMARY KEY NOT NULL CHECK (length(CAST(name AS BLOB))"
    " BETWEEN 1 AND 64), value REAL CHECK (value IS NULL OR typeof(value) = 'real'), action TEXT"
    " NOT NULL CHECK (action IN ('ignore', 'warn', 'stop', 'drain')));"
    "CREATE INDEX audit_log_by_object ON audit_log (object, object_key, seq);"
    "ALTER TABLE vm_faults ADD COLUMN ref TEXT CHECK (ref IS NULL OR"
    " length(CAST(ref AS BLOB)) BETWEEN 1 AND 64);"
    "CREATE UNIQUE INDEX vm_faults_by_ref ON vm_faults (vm_id, ref);";
/* clang-format on */

/* A threshold that was changed has a row from then on, at its default again too: for its revision.
 */
static const char schema_6[] = "ALTER TABLE thresholds" REVISION;

static int run_script(sqlite3 *db, const char *sql, struct vgpu_err *err)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return database_error(db, "change the schema", err);
    return 0;
}

static const struct migration {
    int to;
    const char *script;
} migrations[] = {
    {3, schema_3},
    {4, schema_4},
    {5, schema_5},
    {6, schema_6},
};

_Static_assert(STORE_SCHEMA_VERSION == 6, "the last migration leads to the current version");

static int check_foreign_keys(sqlite3 *db, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(db, &row, err, "PRAGMA foreign_key_check", "");

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc > 0)
        return vgpu_err_set(err, EPROTO,
                            "the upgrade would leave table '%s' with a broken "
                            "reference to table '%s'",
                            statement_text(row, 0), statement_text(row, 2));
    return rc;
}

static int stamp(sqlite3 *db, struct vgpu_err *err)
{
    char sql[96];

    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d; PRAGMA application_id = %d",
             STORE_SCHEMA_VERSION, STORE_APPLICATION_ID);
    return run_script(db, sql, err);
}

/* Runs the scripts after version `from`, up to that of version `to`. */
static int run_scripts(sqlite3 *db, int from, int to, struct vgpu_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < VGPU_ARRAY_SIZE(migrations); i++)
        if (migrations[i].to > from && migrations[i].to <= to)
            rc = run_script(db, migrations[i].script, err);
    return rc;
}

/* What Phase 2 has is taken out, and put into the present tables. */
static int migrate_phase2(struct store *store, struct vgpu_err *err)
{
    struct phase2 *old = NULL;
    int rc;

    if ((rc = phase2_read(store->db, &old, err)) == 0 &&
        (rc = phase2_drop(store->db, old, err)) == 0 &&
        (rc = run_scripts(store->db, MIGRATION_PHASE2, STORE_SCHEMA_VERSION, err)) == 0)
        rc = phase2_import(store, old, err);
    phase2_free(old);
    return rc;
}

int migration_run(struct store *store, int from, struct vgpu_err *err)
{
    int rc = from == MIGRATION_PHASE2 ? migrate_phase2(store, err)
                                      : run_scripts(store->db, from, STORE_SCHEMA_VERSION, err);

    if (rc < 0)
        return rc;
    if ((rc = check_foreign_keys(store->db, err)) < 0)
        return rc;
    return stamp(store->db, err);
}

#define LIST_SCHEMA                                                                                \
    "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!'"         \
    " ORDER BY type, name"

static int differs(const char *type, const char *name, const char *how, int version,
                   struct vgpu_err *err)
{
    return vgpu_err_set(err, EPROTO, "%s '%s' %s the schema of version %d; not touched", type, name,
                        how, version);
}

/* Compares two lists of what a database holds, ordered alike. */
static int compare_schema(sqlite3_stmt *ours, sqlite3_stmt *theirs, int version,
                          struct vgpu_err *err)
{
    for (;;) {
        int have_ours = statement_step(ours, err);
        int have_theirs = have_ours < 0 ? have_ours : statement_step(theirs, err);
        int order;

        if (have_theirs < 0)
            return have_theirs;
        if (!have_ours && !have_theirs)
            return 0;
        order = !have_ours     ? 1
                : !have_theirs ? -1
                               : strcmp(statement_text(ours, 0), statement_text(theirs, 0));
        if (order == 0)
            order = strcmp(statement_text(ours, 1), statement_text(theirs, 1));
        if (order < 0)
            return differs(statement_text(ours, 0), statement_text(ours, 1), "is missing from",
                           version, err);
        if (order > 0)
            return differs(statement_text(theirs, 0), statement_text(theirs, 1),
                           "does not belong to", version, err);
        if (strcmp(statement_text(ours, 2), statement_text(theirs, 2)) != 0)
            return differs(statement_text(ours, 0), statement_text(ours, 1), "differs from",
                           version, err);
    }
}

/* A database that carries our mark must hold exactly what a new one of its version held. */
static int check_schema(sqlite3 *db, int version, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *ours = NULL;
    _cleanup_statement_ sqlite3_stmt *theirs = NULL;
    sqlite3 *fresh = NULL;
    int rc = 0;

    if (sqlite3_open(":memory:", &fresh) != SQLITE_OK)
        rc = database_error(fresh, "open a database in memory", err);
    if (rc == 0 && (rc = run_scripts(fresh, 0, version, err)) == 0 &&
        (rc = statement_open(fresh, &ours, err, LIST_SCHEMA, "")) == 0 &&
        (rc = statement_open(db, &theirs, err, LIST_SCHEMA, "")) == 0)
        rc = compare_schema(ours, theirs, version, err);
    sqlite3_finalize(vgpu_steal_ptr(&ours));
    sqlite3_close(fresh);
    return rc;
}

static int recognise_ours(sqlite3 *db, int version, struct vgpu_err *err)
{
    if (version > STORE_SCHEMA_VERSION)
        return vgpu_err_set(err, EPROTO,
                            "it has schema version %d, this program knows %d at most; "
                            "not touched",
                            version, STORE_SCHEMA_VERSION);
    if (version < migrations[0].to)
        return vgpu_err_set(err, EPROTO,
                            "it has schema version %d, which never was; "
                            "not touched",
                            version);
    return check_schema(db, version, err);
}

/* Not marked as ours: empty, Phase 2, or nothing that we know. */
static int recognise_foreign(sqlite3 *db, int version, int *ret_version, struct vgpu_err *err)
{
    struct phase2 *old = NULL;
    int64_t objects;
    int rc = database_integer(db, &objects, err, "SELECT count(*) FROM sqlite_master", "");

    if (rc < 0)
        return rc;
    if (version > MIGRATION_PHASE2)
        return vgpu_err_set(err, EPROTO,
                            "it has user_version %d and no mark of this program; not "
                            "touched",
                            version);
    if (objects == 0) {
        *ret_version = 0;
        return 0;
    }
    rc = phase2_read(db, &old, err);
    phase2_free(old);
    if (rc < 0) {
        vgpu_err_prefix(err, "not a Phase 2 database that is understood");
        return rc;
    }
    *ret_version = MIGRATION_PHASE2;
    return 0;
}

int migration_recognise(sqlite3 *db, int *ret_version, struct vgpu_err *err)
{
    int64_t version = 0, application = 0;
    int rc;

    if ((rc = database_integer(db, &version, err, "PRAGMA user_version", "")) < 0 ||
        (rc = database_integer(db, &application, err, "PRAGMA application_id", "")) < 0)
        return rc;
    if (application == 0)
        return recognise_foreign(db, (int)version, ret_version, err);
    if (application != STORE_APPLICATION_ID)
        return vgpu_err_set(err, EPROTO,
                            "it belongs to another program (application id 0x%08x); not "
                            "touched",
                            (unsigned)application);
    if ((rc = recognise_ours(db, (int)version, err)) < 0)
        return rc;
    *ret_version = (int)version;
    return 0;
}
