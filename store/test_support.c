/* SPDX-License-Identifier: Apache-2.0 */
#include "store/test_support.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int64_t now_s(void)
{
    return TEST_NOW;
}

int test_setup_directory(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->directory, "/tmp/vgpu-store-test-XXXXXX");
    if (!mkdtemp(fixture->directory))
        return -1;
    snprintf(fixture->path, sizeof(fixture->path), "%s/vgpu.db", fixture->directory);
    *state = fixture;
    return 0;
}

int test_open(struct fixture *fixture, bool create, struct vgpu_err *err)
{
    const struct store_options options = {.create = create, .holder = "a test", .now_s = now_s};

    return store_open(fixture->path, &options, &fixture->store, err);
}

int test_setup_store(void **state)
{
    if (test_setup_directory(state) < 0)
        return -1;
    return test_open(*state, true, NULL);
}

int test_teardown(void **state)
{
    struct fixture *fixture = *state;
    DIR *directory = opendir(fixture->directory);
    const struct dirent *entry;

    store_close(fixture->store);
    while (directory && (entry = readdir(directory)))
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    rmdir(fixture->directory);
    free(fixture);
    return 0;
}

static json_t *parse(const char *format, va_list args)
{
    _cleanup_free_ char *text = NULL;
    json_error_t error;
    json_t *request;

    assert_true(vasprintf(&text, format, args) >= 0);
    for (char *at = text; *at; at++)
        if (*at == '\'')
            *at = '"';
    request = json_loads(text, 0, &error);
    if (!request)
        fail_msg("%s: %s", text, error.text);
    return request;
}

static json_t *do_va(struct store *store, const char *format, va_list args)
{
    _cleanup_json_ json_t *request = parse(format, args);
    _cleanup_json_ json_t *reply = NULL;
    struct vgpu_err err = {.code = 0};

    if (store_execute(store, request, "tester", &reply, &err) < 0)
        fail_msg("%s: %s", json_string_value(json_object_get(request, "command")), err.text);
    return json_incref(json_object_get(reply, "result"));
}

json_t *test_do(struct store *store, const char *format, ...)
{
    json_t *result;
    va_list args;

    va_start(args, format);
    result = do_va(store, format, args);
    va_end(args);
    return result;
}

void test_ok(struct store *store, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    json_decref(do_va(store, format, args));
    va_end(args);
}

static json_t *everything(struct store *store)
{
    json_t *snapshot = NULL;

    assert_int_equal(store_snapshot(store, &snapshot, NULL), 0);
    json_object_set_new(snapshot, "audit",
                        json_integer(test_count(store, "SELECT count(*) FROM audit_log")));
    return snapshot;
}

void test_refuse(struct store *store, int code, const char *text, const char *format, ...)
{
    _cleanup_json_ json_t *before = everything(store);
    _cleanup_json_ json_t *after = NULL;
    _cleanup_json_ json_t *request = NULL;
    _cleanup_json_ json_t *reply = NULL;
    struct vgpu_err err = {.code = 0};
    va_list args;

    va_start(args, format);
    request = parse(format, args);
    va_end(args);
    assert_int_equal(store_execute(store, request, "tester", &reply, &err), -code);
    assert_null(reply);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, text))
        fail_msg("'%s' is not in '%s'", text, err.text);
    after = everything(store);
    assert_true(json_equal(before, after));
}

int64_t test_count(struct store *store, const char *sql)
{
    int64_t value = -1;

    assert_int_equal(database_integer(store->db, &value, NULL, sql, ""), 0);
    return value;
}

char *test_repeat(char c, size_t size)
{
    char *text = malloc(size + 1);

    memset(text, c, size);
    text[size] = '\0';
    return text;
}

void test_script(const struct fixture *fixture, const char *sql)
{
    char *message = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(fixture->path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

char *test_read_file(const char *path, size_t *ret_size)
{
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    struct stat st;
    char *data;

    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    data = malloc((size_t)st.st_size + 1);
    *ret_size = fread(data, 1, (size_t)st.st_size, file);
    assert_int_equal(*ret_size, st.st_size);
    return data;
}
