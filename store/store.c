/* SPDX-License-Identifier: Apache-2.0 */
/* Opens and closes a store: lock, inspection without writing, upgrade, settings of SQLite. */
#include "store/store.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "store/backup.h"
#include "store/database.h"
#include "store/gpu.h"
#include "store/migration.h"
#include "store/pool.h"
#include "store/pool_gpu.h"
#include "store/text.h"
#include "store/threshold_row.h"
#include "store/vm.h"

static int64_t system_now_s(void)
{
    return (int64_t)time(NULL);
}

static struct store *store_new(const struct store_options *options)
{
    struct store *store = calloc(1, sizeof(*store));

    if (store) {
        store->lock.fd = -1;
        store->now_s = options->now_s ? options->now_s : system_now_s;
    }
    return store;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    /* SQLite moves the log into the database when its last connection closes. */
    sqlite3_close(store->db);
    store_lock_release(&store->lock);
    free(store->backup_path);
    free(store);
}

const char *store_backup_path(const struct store *store)
{
    return store->backup_path;
}

/*
 * *ret_real is path without symbolic links, so that one database has one lock. With create, an
 * empty file is made where there is none.
 */
static int find_file(const char *path, bool create, char **ret_real, bool *ret_created,
                     struct vgpu_err *err)
{
    _cleanup_free_ char *real = NULL;
    _cleanup_close_ int fd = -1;
    struct stat st;

    *ret_created = false;
    if (create) {
        fd = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        *ret_created = fd >= 0;
        if (fd < 0 && errno != EEXIST)
            return vgpu_err_set(err, errno, "cannot create the database %s: %s", path,
                                strerror(errno));
    }
    real = realpath(path, NULL);
    if (!real && errno == ENOENT)
        return vgpu_err_set(err, ENOENT,
                            "the database %s does not exist; make a new one with "
                            "--create, or name yours with --database",
                            path);
    if (!real || stat(real, &st) < 0)
        return vgpu_err_set(err, errno, "cannot open the database %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return vgpu_err_set(err, EINVAL, "the database %s is not a regular file", path);
    *ret_real = vgpu_steal_ptr(&real);
    return 0;
}

/* Looks at the file through a connection that cannot write. */
static int inspect(const char *path, unsigned wait_ms, int *ret_version, struct vgpu_err *err)
{
    sqlite3 *db = NULL;
    int rc;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        rc = database_error(db, "open it", err);
    else {
        sqlite3_busy_timeout(db, (int)wait_ms);
        rc = database_check_sound(db, err);
    }
    if (rc == 0)
        rc = migration_recognise(db, ret_version, err);
    sqlite3_close(db);
    if (rc == -EUCLEAN)
        vgpu_err_prefix(err, "the database %s is not a sound SQLite database; not touched", path);
    if (rc == -EROFS)
        return vgpu_err_set(err, EROFS,
                            "the database %s has an unfinished transaction of the program that "
                            "wrote it last; let that program, or sqlite3, open it once; not "
                            "touched",
                            path);
    if (rc < 0 && rc != -EUCLEAN)
        vgpu_err_prefix(err, "the database %s", path);
    return rc;
}

static int settle(sqlite3 *db, const char *sql, const char *expected, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(db, &row, err, sql, "");

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc < 0)
        return rc;
    if (expected && (!rc || strcmp(statement_text(row, 0), expected) != 0))
        return vgpu_err_set(err, ENOTSUP, "SQLite refuses: %s", sql);
    return 0;
}

/* A change is durable when it is answered (FULL), and readers never wait for it (WAL). */
static int configure(struct store *store, struct vgpu_err *err)
{
    int rc;

    if ((rc = settle(store->db, "PRAGMA journal_mode = WAL", "wal", err)) < 0 ||
        (rc = settle(store->db, "PRAGMA synchronous = FULL", NULL, err)) < 0 ||
        (rc = settle(store->db, "PRAGMA foreign_keys = ON", NULL, err)) < 0)
        return rc;
    return settle(store->db, "PRAGMA foreign_keys", "1", err);
}

static int begin(sqlite3 *db, struct vgpu_err *err)
{
    return database_run(db, err, "BEGIN IMMEDIATE", "");
}

/* An error of the commit leaves the transaction open, others may have ended it. */
static int end(sqlite3 *db, int rc, struct vgpu_err *err)
{
    if (rc == 0)
        rc = database_run(db, err, "COMMIT", "");
    if (rc < 0 && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* Inside the transaction: nobody else can have changed what is seen here. */
static int upgrade_locked(struct store *store, const char *path, struct vgpu_err *err)
{
    int version = 0;
    int rc = migration_recognise(store->db, &version, err);

    if (rc < 0 || version == STORE_SCHEMA_VERSION)
        return rc;
    if (version > 0 && (rc = backup_make(path, version, &store->backup_path, err)) < 0)
        return rc;
    return migration_run(store, version, err);
}

static int upgrade(struct store *store, const char *path, struct vgpu_err *err)
{
    /* Off, or dropping a table would delete what refers to it. No effect inside a transaction. */
    int rc = settle(store->db, "PRAGMA foreign_keys = OFF", NULL, err);

    if (rc == 0)
        rc = begin(store->db, err);
    if (rc < 0)
        return rc;
    rc = end(store->db, upgrade_locked(store, path, err), err);
    if (rc < 0 && store->backup_path)
        unlink(store->backup_path);
    return rc;
}

static int open_database(struct store *store, const char *path, const struct store_options *options,
                         struct vgpu_err *err)
{
    int version = 0;
    int rc = inspect(path, options->lock_wait_ms, &version, err);

    if (rc < 0)
        return rc;
    if (version == 0 && !options->create)
        return vgpu_err_set(err, ENOENT,
                            "the database %s is empty; make a new one of it with "
                            "--create",
                            path);
    if (sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return database_error(store->db, "open the database for writing", err);
    sqlite3_busy_timeout(store->db, (int)options->lock_wait_ms);
    if (version != STORE_SCHEMA_VERSION && (rc = upgrade(store, path, err)) < 0) {
        vgpu_err_prefix(err,
                        version ? "cannot upgrade the database %s; not touched"
                                : "cannot set up the database %s",
                        path);
        return rc;
    }
    return configure(store, err);
}

int store_open(const char *path, const struct store_options *options, struct store **ret_store,
               struct vgpu_err *err)
{
    _cleanup_free_ char *real = NULL;
    struct store *store;
    bool created;
    int rc = find_file(path, options->create, &real, &created, err);

    if (rc < 0)
        return rc;
    store = store_new(options);
    if (!store)
        return database_no_memory(err);
    rc = store_lock_take(&store->lock, real, options->holder ? options->holder : "a vgpu program",
                         options->lock_wait_ms, err);
    if (rc == 0 && (rc = open_database(store, real, options, err)) < 0 && created)
        unlink(real);
    if (rc < 0) {
        store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

int store_open_memory(struct store **ret_store, struct vgpu_err *err)
{
    const struct store_options options = {.create = true};
    struct store *store = store_new(&options);
    int rc;

    if (!store)
        return database_no_memory(err);
    if (sqlite3_open(":memory:", &store->db) != SQLITE_OK)
        rc = database_error(store->db, "open a database in memory", err);
    else if ((rc = begin(store->db, err)) == 0 &&
             (rc = end(store->db, migration_run(store, 0, err), err)) == 0)
        rc = settle(store->db, "PRAGMA foreign_keys = ON", NULL, err);
    if (rc < 0) {
        store_close(store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

/* What a host has few of, whole: "schema_version", "gpus", "pools", "pool_gpus", "thresholds". */
static int describe_host(struct store *store, json_t **ret, struct vgpu_err *err)
{
    _cleanup_json_ json_t *gpus = NULL;
    _cleanup_json_ json_t *pools = NULL;
    _cleanup_json_ json_t *pool_gpus = NULL;
    _cleanup_json_ json_t *rules = NULL;
    int rc;

    if ((rc = gpu_list(store, false, &gpus, err)) < 0 ||
        (rc = pool_list(store, false, &pools, err)) < 0 ||
        (rc = pool_gpu_list(store, &pool_gpus, err)) < 0 ||
        (rc = threshold_list(store, &rules, err)) < 0)
        return rc;
    *ret = json_pack("{s:i, s:O, s:O, s:O, s:O}", "schema_version", STORE_SCHEMA_VERSION, "gpus",
                     gpus, "pools", pools, "pool_gpus", pool_gpus, "thresholds", rules);
    return *ret ? 0 : database_no_memory(err);
}

int store_snapshot(struct store *store, json_t **ret_snapshot, struct vgpu_err *err)
{
    _cleanup_json_ json_t *snapshot = NULL;
    json_t *vms;
    int rc;

    if ((rc = describe_host(store, &snapshot, err)) < 0 ||
        (rc = vm_list(store, NULL, &vms, err)) < 0)
        return rc;
    if (json_object_set_new(snapshot, "vms", vms) < 0)
        return database_no_memory(err);
    *ret_snapshot = vgpu_steal_ptr(&snapshot);
    return 0;
}

/* The VM as it is now goes to the one list, or its id to the other. */
static int add_vm(struct store *store, int64_t vm_id, json_t *vms, json_t *gone,
                  struct vgpu_err *err)
{
    json_t *vm = NULL;
    int rc = vm_find(store, vm_id, &vm, err);

    if (rc < 0)
        return rc;
    rc = rc > 0 ? json_array_append_new(vms, vm) : json_array_append_new(gone, json_integer(vm_id));
    return rc < 0 ? database_no_memory(err) : 0;
}

/* What the changes made of VMs. A change may list only the members that differ, and a VM twice. */
static int add_changed_vms(struct store *store, json_t *delta, const json_t *changes,
                           struct vgpu_err *err)
{
    json_t *vms = json_array(), *gone = json_array(), *change;
    const char *last = "";
    size_t i;
    int rc;

    if (json_object_set_new(delta, "vms", vms) < 0 ||
        json_object_set_new(delta, "vms_gone", gone) < 0)
        return database_no_memory(err);
    json_array_foreach (changes, i, change) {
        const char *key = json_string_value(json_object_get(change, "key"));

        if (strcmp(json_string_value(json_object_get(change, "object")), "vm") != 0 ||
            strcmp(key, last) == 0)
            continue;
        last = key;
        if ((rc = add_vm(store, strtoll(key, NULL, 10), vms, gone, err)) < 0)
            return rc;
    }
    return 0;
}

int store_delta(struct store *store, const json_t *changes, json_t **ret_delta,
                struct vgpu_err *err)
{
    _cleanup_json_ json_t *delta = NULL;
    int rc;

    if ((rc = describe_host(store, &delta, err)) < 0 ||
        (rc = add_changed_vms(store, delta, changes, err)) < 0)
        return rc;
    *ret_delta = vgpu_steal_ptr(&delta);
    return 0;
}
