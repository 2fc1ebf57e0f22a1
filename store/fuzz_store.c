/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes store_execute() on a database in memory: each line of the input is a request. Whatever
 * they say, the database stays sound and every answer is a reply or an error with a text.
 */
#include <assert.h>
#include <string.h>

#include "store/database.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void execute(struct store *store, const char *line, size_t size)
{
    _cleanup_json_ json_t *request = json_loadb(line, size, 0, NULL);
    _cleanup_json_ json_t *reply = NULL;
    struct vgpu_err err = {.code = 0};

    if (!request)
        return;
    if (store_execute(store, request, "fuzzer", &reply, &err) < 0) {
        _cleanup_json_ json_t *error = store_error_json(&err);

        assert(!reply && err.code > 0 && err.text[0] && error);
        assert(sqlite3_get_autocommit(store->db));
    } else {
        assert(json_is_object(json_object_get(reply, "result")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    _cleanup_json_ json_t *snapshot = NULL;
    int64_t broken = 0;
    struct store *store;

    if (store_open_memory(&store, NULL) < 0)
        return 0;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;

        execute(store, at, (size_t)(stop - at));
        at = stop + 1;
    }
    assert(store_snapshot(store, &snapshot, NULL) == 0);
    assert(database_integer(store->db, &broken, NULL, "PRAGMA foreign_key_check", "") == 0);
    assert(broken == 0);
    store_close(store);
    return 0;
}
