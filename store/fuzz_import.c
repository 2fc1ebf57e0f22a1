/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes import: the input is a configuration. What is taken is exported, and taken again with
 * pruning changes nothing and is exported alike; what is refused has changed nothing.
 */
#include <assert.h>
#include <string.h>

#include "store/database.h"
#include "store/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the store was before; the input may name all of it. */
static const char *const before[] = {
    "{\"command\": \"create-pool\", \"args\": {\"pool\": \"A\"}}",
    "{\"command\": \"create-pool\", \"args\": {\"pool\": \"B\"}}",
    "{\"command\": \"register-vm\", \"args\": {\"vm_id\": 1, \"pool\": \"A\", \"uuid\":"
    " \"11111111-2222-3333-4444-555555555555\"}}",
    "{\"command\": \"register-vm\", \"args\": {\"vm_id\": 2, \"pool\": \"B\"}}",
    "{\"command\": \"record-gpus\", \"args\": {\"gpus\": [{\"index\": 0, \"uuid\": \"GPU-0\","
    " \"pci\": \"0\", \"model\": \"M\", \"memory_bytes\": 1}, {\"index\": 1, \"uuid\": \"GPU-1\","
    " \"pci\": \"1\", \"model\": \"M\", \"memory_bytes\": 1}]}}",
    "{\"command\": \"assign-gpu\", \"args\": {\"gpu_id\": 0, \"pool\": \"A\"}}",
};

/* Takes the request; gives the result, or NULL where it is refused. */
static json_t *execute(struct store *store, json_t *request)
{
    _cleanup_json_ json_t *taken = request;
    _cleanup_json_ json_t *reply = NULL;
    struct vgpu_err err = {.code = 0};

    assert(taken);
    if (store_execute(store, taken, "fuzzer", &reply, &err) < 0) {
        assert(err.code > 0 && err.text[0] && sqlite3_get_autocommit(store->db));
        return NULL;
    }
    return json_incref(json_object_get(reply, "result"));
}

static char *export_text(struct store *store)
{
    _cleanup_json_ json_t *config = execute(store, json_pack("{s:s}", "command", "export"));
    char *text = json_dumps(config, STORE_JSON_FLAGS);

    assert(text);
    return text;
}

static json_t *import(struct store *store, json_t *config, bool prune)
{
    return execute(store, json_pack("{s:s, s:{s:O, s:b}}", "command", "import", "args", "config",
                                    config, "prune", prune));
}

/* The way round, which must lead to the same place. */
static void check_taken(struct store *store)
{
    _cleanup_free_ char *text = export_text(store);
    _cleanup_free_ char *again = NULL;
    _cleanup_json_ json_t *config = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    _cleanup_json_ json_t *result = import(store, config, true);

    assert(result && json_array_size(json_object_get(result, "changes")) == 0);
    again = export_text(store);
    assert(strcmp(text, again) == 0);
}

static void try(struct store *store, json_t *config, bool prune)
{
    _cleanup_free_ char *was = export_text(store);
    _cleanup_free_ char *is = NULL;
    _cleanup_json_ json_t *result = import(store, config, prune);

    if (result) {
        check_taken(store);
        return;
    }
    is = export_text(store);
    assert(strcmp(was, is) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_json_ json_t *config = json_loadb((const char *)data, size, 0, NULL);
    int64_t broken = 0;
    struct store *store;

    if (!config || store_open_memory(&store, NULL) < 0)
        return 0;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(before); i++)
        json_decref(execute(store, json_loads(before[i], 0, NULL)));
    try(store, config, false);
    try(store, config, true);
    assert(database_integer(store->db, &broken, NULL, "PRAGMA foreign_key_check", "") == 0);
    assert(broken == 0);
    store_close(store);
    return 0;
}
