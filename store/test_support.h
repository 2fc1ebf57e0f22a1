/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a directory of their own, requests as text, whole files. */
#ifndef VGPU_STORE_TEST_SUPPORT_H
#define VGPU_STORE_TEST_SUPPORT_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "store/database.h"

#define TEST_NOW 1700000000

struct fixture {
    char directory[64];
    char path[96]; /* of a database that is not there yet */
    struct store *store;
};

/* Setups for cmocka: a directory, and (the second) a new database that is open. */
int test_setup_directory(void **state);
int test_setup_store(void **state);
int test_teardown(void **state);

/* Opens or creates the fixture's database. */
int test_open(struct fixture *fixture, bool create, struct vgpu_err *err);

/*
 * Executes a request, written with ' for ", as printf() has it. test_do() must succeed and gives
 * the reply's "result"; test_refuse() must fail with that code, say that text, and change nothing.
 */
json_t *test_do(struct store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));
void test_ok(struct store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));
void test_refuse(struct store *store, int code, const char *text, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* An integer that sql gives. */
int64_t test_count(struct store *store, const char *sql);

/* A text of size times c; the caller frees it. */
char *test_repeat(char c, size_t size);

/* Runs a script on the fixture's database with SQLite alone. */
void test_script(const struct fixture *fixture, const char *sql);

/* The whole file; the caller frees it. */
char *test_read_file(const char *path, size_t *ret_size);

#endif
