/* SPDX-License-Identifier: Apache-2.0 */
#include "store/database.h"

#include <stdarg.h>
#include <string.h>

static int errno_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EUCLEAN;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return EINVAL;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return EACCES;
    default:
        return EIO;
    }
}

int database_error(sqlite3 *db, const char *what, struct vgpu_err *err)
{
    int code = db ? sqlite3_errcode(db) : SQLITE_NOMEM;

    return vgpu_err_set(err, errno_of(code), "cannot %s: %s", what,
                        db ? sqlite3_errmsg(db) : "out of memory");
}

int database_no_memory(struct vgpu_err *err)
{
    return vgpu_err_set(err, ENOMEM, "out of memory");
}

static int bind_one(sqlite3_stmt *statement, int position, char type, va_list *args)
{
    const char *text;

    switch (type) {
    case 'i':
        return sqlite3_bind_int64(statement, position, va_arg(*args, int64_t));
    case 's':
        text = va_arg(*args, const char *);
        return sqlite3_bind_text(statement, position, text, -1, SQLITE_STATIC);
    default:
        return sqlite3_bind_null(statement, position);
    }
}

static int open_va(sqlite3 *db, sqlite3_stmt **ret_statement, struct vgpu_err *err, const char *sql,
                   const char *types, va_list *args)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return database_error(db, "prepare a statement", err);
    for (int i = 0; types[i]; i++)
        if (bind_one(statement, i + 1, types[i], args) != SQLITE_OK)
            return database_error(db, "bind a value", err);
    *ret_statement = vgpu_steal_ptr(&statement);
    return 0;
}

int statement_open(sqlite3 *db, sqlite3_stmt **ret_statement, struct vgpu_err *err, const char *sql,
                   const char *types, ...)
{
    va_list args;
    int rc;

    va_start(args, types);
    rc = open_va(db, ret_statement, err, sql, types, &args);
    va_end(args);
    return rc;
}

int statement_step(sqlite3_stmt *statement, struct vgpu_err *err)
{
    int code = sqlite3_step(statement);

    if (code == SQLITE_ROW)
        return 1;
    if (code == SQLITE_DONE)
        return 0;
    return database_error(sqlite3_db_handle(statement), "execute a statement", err);
}

int database_run(sqlite3 *db, struct vgpu_err *err, const char *sql, const char *types, ...)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    va_list args;
    int rc;

    va_start(args, types);
    rc = open_va(db, &statement, err, sql, types, &args);
    va_end(args);
    if (rc < 0)
        return rc;
    do
        rc = statement_step(statement, err);
    while (rc > 0);
    return rc;
}

int database_integer(sqlite3 *db, int64_t *ret_value, struct vgpu_err *err, const char *sql,
                     const char *types, ...)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    va_list args;
    int rc;

    va_start(args, types);
    rc = open_va(db, &statement, err, sql, types, &args);
    va_end(args);
    if (rc < 0)
        return rc;
    rc = statement_step(statement, err);
    if (rc < 0)
        return rc;
    *ret_value = rc ? sqlite3_column_int64(statement, 0) : 0;
    return 0;
}

const char *statement_text(sqlite3_stmt *statement, int column)
{
    return (const char *)sqlite3_column_text(statement, column);
}

static json_t *column_json(sqlite3_stmt *row, int column)
{
    switch (sqlite3_column_type(row, column)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(row, column));
    case SQLITE_FLOAT:
        return json_real(sqlite3_column_double(row, column));
    case SQLITE_NULL:
        return json_null();
    default:
        return json_string(statement_text(row, column));
    }
}

json_t *statement_json(sqlite3_stmt *row)
{
    json_t *object = json_object();

    for (int i = 0; object && i < sqlite3_column_count(row); i++) {
        if (json_object_set_new(object, sqlite3_column_name(row, i), column_json(row, i)) < 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

json_t *statement_flag(json_t *object, const char *key)
{
    bool flag = json_integer_value(json_object_get(object, key)) != 0;

    if (object && json_object_set_new(object, key, json_boolean(flag)) == 0)
        return object;
    json_decref(object);
    return NULL;
}

int database_check_sound(sqlite3 *db, struct vgpu_err *err)
{
    _cleanup_statement_ sqlite3_stmt *row = NULL;
    int rc = statement_open(db, &row, err, "PRAGMA quick_check(1)", "");

    if (rc == 0)
        rc = statement_step(row, err);
    if (rc < 0)
        return rc;
    if (!rc || strcmp(statement_text(row, 0), "ok") != 0)
        return vgpu_err_set(err, EUCLEAN, "%s", rc ? statement_text(row, 0) : "no answer");
    return 0;
}
