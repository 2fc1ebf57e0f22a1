/* SPDX-License-Identifier: Apache-2.0 */
#include "store/inspect.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/database.h"
#include "store/migration.h"

static int64_t now_s(void)
{
    return time(NULL);
}

static int count_dangling(sqlite3 *db, int64_t *ret_count, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(db, &row, err, "PRAGMA foreign_key_check", "");

    while (rc >= 0 && (rc = statement_step(row, err)) > 0)
        (*ret_count)++;
    return rc;
}

static int look(sqlite3 *db, struct store_report *report, struct vgpu_err *err)
{
    struct store store = {.db = db, .lock = {.fd = -1}, .now_s = now_s};
    int rc;

    sqlite3_busy_timeout(db, STORE_LOCK_WAIT_MS);
    if ((rc = database_check_sound(db, err)) < 0 ||
        (rc = migration_recognise(db, &report->schema_version, err)) < 0 ||
        (rc = count_dangling(db, &report->dangling, err)) < 0)
        return rc;
    return report->schema_version == STORE_SCHEMA_VERSION
               ? store_snapshot(&store, &report->snapshot, err)
               : 0;
}

/* Adds path to uri, with what means something else there as %XX. */
static void add_escaped(const char *path, char *uri)
{
    for (; *path; path++)
        uri += strchr("%?#", *path) ? sprintf(uri, "%%%02X", (unsigned char)*path)
                                    : sprintf(uri, "%c", *path);
}

/*
 * A database without a log is open nowhere, and was closed as it should be: SQLite is told that it
 * does not change while it is looked at, as it would leave files behind.
 */
static int open_database(const char *path, sqlite3 **ret_db, struct vgpu_err *err)
{
    _cleanup_free_ char *log = NULL;
    _cleanup_free_ char *uri = calloc(strlen(path) + 1, 3);
    _cleanup_free_ char *whole = NULL;
    bool is_still;

    if (!uri || asprintf(&log, "%s-wal", path) < 0)
        return database_no_memory(err);
    is_still = access(log, F_OK) < 0;
    add_escaped(path, uri);
    if (asprintf(&whole, "file:%s%s", uri, is_still ? "?immutable=1" : "") < 0)
        return database_no_memory(err);
    if (sqlite3_open_v2(whole, ret_db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) != SQLITE_OK)
        return database_error(*ret_db, "open it", err);
    return 0;
}

int store_inspect(const char *path, struct store_report *ret_report, struct vgpu_err *err)
{
    sqlite3 *db = NULL;
    int rc;

    *ret_report = (struct store_report){.holder = ""};
    if (access(path, F_OK) < 0)
        return vgpu_err_set(err, errno, "the database %s: %s", path, strerror(errno));
    if ((rc = store_lock_holder(path, ret_report->holder, err)) < 0)
        return rc;
    rc = open_database(path, &db, err);
    if (rc == 0)
        rc = look(db, ret_report, err);
    sqlite3_close(db);
    return rc;
}
