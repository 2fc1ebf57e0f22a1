/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite for the files of store/: statements that are prepared, bound and stepped with errors as
 * text, and the open store itself. Only API calls that SQLite 3.7.17 has.
 */
#ifndef VGPU_STORE_DATABASE_H
#define VGPU_STORE_DATABASE_H

#include <sqlite3.h>

#include "common/cleanup.h"
#include "store/json.h"
#include "store/lock.h"
#include "store/store.h"

struct store {
    sqlite3 *db;
    struct store_lock lock;
    char *backup_path; /* NULL unless this opening upgraded the database */
    int64_t (*now_s)(void);
};

/* One request being executed: what its table functions need and produce. */
struct store_call {
    struct store *store;
    const char *command;
    const char *who;
    int64_t now;
    const json_t *args; /* an object */
    json_t *result;     /* an object, to be filled */
    json_t *changes;    /* an array, filled by audit_record() */
    bool is_history;    /* what changed is no configuration: a fault */
    bool brief;         /* changes have only what differs, as there can be many */
};

/* Sets err from what SQLite says of db; what: "read the table of pools". Returns -errno. */
int database_error(sqlite3 *db, const char *what, struct vgpu_err *err);

/*
 * Prepares sql and binds the arguments after types to ?1, ?2 ...: 'i' an int64_t, 's' a text or
 * NULL, 'n' SQL NULL (no argument). Texts must outlive the statement.
 */
int statement_open(sqlite3 *db, sqlite3_stmt **ret_statement, struct vgpu_err *err, const char *sql,
                   const char *types, ...);

/* 1: there is a row; 0: no more; or -errno. */
int statement_step(sqlite3_stmt *statement, struct vgpu_err *err);

/* Runs sql, which gives no rows, with arguments as above. */
int database_run(sqlite3 *db, struct vgpu_err *err, const char *sql, const char *types, ...);

/* Runs sql and gives the first column of its first row, 0 if there is none. */
int database_integer(sqlite3 *db, int64_t *ret_value, struct vgpu_err *err, const char *sql,
                     const char *types, ...);

/* -EUCLEAN, with what is wrong, unless SQLite finds the file sound. */
int database_check_sound(sqlite3 *db, struct vgpu_err *err);

/* Text of a column, NULL for SQL NULL; lives until the next step. */
const char *statement_text(sqlite3_stmt *statement, int column);

/* The row as an object: a member for each column, of the column's name and type; NULL: memory. */
json_t *statement_json(sqlite3_stmt *row);

/* Makes the member, 0 or 1, of a row's object true or false; gives the object, NULL: memory. */
json_t *statement_flag(json_t *object, const char *key);

static inline void cleanup_statement(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

#define _cleanup_statement_ _cleanup_(cleanup_statement)

/* A json_pack() and the like that failed can only mean memory. */
int database_no_memory(struct vgpu_err *err);

#endif
