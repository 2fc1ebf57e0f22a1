/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command record-gpus: what a scan found becomes the table gpus. Called by execute.c.
 *
 * A row is one UUID for ever: no card takes another's row, id or pools. A GPU that only the PCI bus
 * shows has a UUID that its address and kind make up, and so a row of its own.
 */
#include "store/gpu.h"

#include <stdio.h>
#include <string.h>

#include "store/args.h"
#include "store/audit.h"
#include "store/text.h"

#define DEVICE_INDEX_MAX 65535
#define NUMA_NODE_MAX    65535
#define ERROR_BYTES      256
#define PCI_UUID         "PCI-"
#define DRIVER_NVIDIA    "nvidia"
#define UNKNOWN          (-1)

/* One GPU of a scan, checked. Numbers may be UNKNOWN, mig_mode and driver NULL. */
struct found {
    int64_t index;
    const char *uuid;
    const char *pci;
    const char *model;
    int64_t memory_bytes;
    int64_t numa_node;
    const char *mig_mode;
    const char *driver; /* the kernel's */
    bool by_pci;        /* NVML does not see it */
};

struct scan {
    struct found found[STORE_GPUS_MAX];
    size_t count;
    bool has_nvml, has_pci; /* they could be asked */
};

static int check_texts(const struct found *found, struct vgpu_err *err)
{
    int rc;

    if ((rc = text_check("the UUID of the GPU", found->uuid, STORE_GPU_UUID_BYTES, err)) < 0 ||
        (rc = text_check("the PCI address", found->pci, STORE_PCI_BYTES, err)) < 0 ||
        (rc = text_check("the model", found->model, STORE_NAME_BYTES, err)) < 0 ||
        (found->driver &&
         (rc = text_check("the kernel driver", found->driver, STORE_NAME_BYTES, err)) < 0))
        return rc;
    if (found->by_pci != (strncmp(found->uuid, PCI_UUID, strlen(PCI_UUID)) == 0))
        return vgpu_err_set(err, EINVAL,
                            "UUIDs that start with " PCI_UUID " are those of GPUs "
                            "that only the PCI bus shows");
    return 0;
}

static int read_found(const json_t *item, struct found *ret_found, struct vgpu_err *err)
{
    static const char *const sources[] = {"nvml", "pci", NULL};
    static const char *const modes[] = {"disabled", "enabled", NULL};
    struct found found = {.index = UNKNOWN, .memory_bytes = UNKNOWN, .numa_node = UNKNOWN};
    const char *source = sources[0];
    int rc;

    if (!json_is_object(item))
        return vgpu_err_set(err, EINVAL, "an element of 'gpus' is not an object");
    if ((rc = args_word(item, "source", false, sources, &source, err)) < 0)
        return rc;
    found.by_pci = strcmp(source, "pci") == 0;
    if ((rc = args_integer(item, "index", !found.by_pci, 0, DEVICE_INDEX_MAX, &found.index, err)) <
            0 ||
        (rc = args_text(item, "uuid", true, &found.uuid, err)) < 0 ||
        (rc = args_text(item, "pci", true, &found.pci, err)) < 0 ||
        (rc = args_text(item, "model", true, &found.model, err)) < 0 ||
        (rc = args_integer(item, "memory_bytes", false, 0, INT64_MAX, &found.memory_bytes, err)) <
            0 ||
        (rc = args_integer(item, "numa_node", false, 0, NUMA_NODE_MAX, &found.numa_node, err)) <
            0 ||
        (rc = args_word(item, "mig_mode", false, modes, &found.mig_mode, err)) < 0 ||
        (rc = args_text(item, "driver", false, &found.driver, err)) < 0 ||
        (rc = check_texts(&found, err)) < 0)
        return rc;
    *ret_found = found;
    return 0;
}

/* Why one of the two could not be asked; goes on into the result. */
static int read_error(struct store_call *call, const char *key, bool *ret_has, struct vgpu_err *err)
{
    const char *text = NULL;
    char clean[ERROR_BYTES];
    int rc = args_text(call->args, key, false, &text, err);

    if (rc < 0)
        return rc;
    *ret_has = !text;
    if (text)
        text_clean(text, clean, sizeof(clean));
    return json_object_set_new(call->result, key, text ? json_string(clean) : json_null()) < 0
               ? database_no_memory(err)
               : 0;
}

static int read_gpus(const json_t *gpus, struct scan *scan, struct vgpu_err *err)
{
    char shown[TEXT_SHOWN_BYTES];
    const json_t *item;
    size_t i;
    int rc;

    if (!json_is_array(gpus))
        return vgpu_err_set(err, EINVAL, "the argument 'gpus' is not an array");
    if (json_array_size(gpus) > STORE_GPUS_MAX)
        return vgpu_err_set(err, ENOSPC, "the scan has %zu GPUs; at most %d are allowed",
                            json_array_size(gpus), STORE_GPUS_MAX);
    json_array_foreach (gpus, i, item) {
        if ((rc = read_found(item, &scan->found[i], err)) < 0)
            return rc;
        for (size_t j = 0; j < i; j++)
            if (strcmp(scan->found[i].uuid, scan->found[j].uuid) == 0)
                return vgpu_err_set(err, EINVAL, "the scan has the UUID %s twice",
                                    text_show(shown, scan->found[i].uuid));
    }
    scan->count = json_array_size(gpus);
    return 0;
}

/* Reads all before anything is written, and refuses a scan that names a UUID twice. */
static int read_scan(struct store_call *call, struct scan *scan, struct vgpu_err *err)
{
    static const char *const known[] = {"gpus", "driver_version", "nvml_error", "pci_error", NULL};
    const char *version = NULL;
    int rc;

    if ((rc = args_known(call->args, known, err)) < 0 ||
        (rc = read_gpus(json_object_get(call->args, "gpus"), scan, err)) < 0 ||
        (rc = args_text(call->args, "driver_version", false, &version, err)) < 0 ||
        (version &&
         (rc = text_check("the driver's version", version, STORE_NAME_BYTES, err)) < 0) ||
        (rc = read_error(call, "nvml_error", &scan->has_nvml, err)) < 0 ||
        (rc = read_error(call, "pci_error", &scan->has_pci, err)) < 0)
        return rc;
    return json_object_set_new(call->result, "driver_version",
                               version ? json_string(version) : json_null()) < 0
               ? database_no_memory(err)
               : 0;
}

static const char *text_of(const json_t *gpu, const char *key)
{
    return json_string_value(json_object_get(gpu, key));
}

/* Both NULL counts as equal. */
static bool text_differs(const json_t *gpu, const char *key, const char *value)
{
    const char *old = text_of(gpu, key);

    return old && value ? strcmp(old, value) != 0 : old != value;
}

/* value may be UNKNOWN, which is null there. */
static bool integer_differs(const json_t *gpu, const char *key, int64_t value)
{
    const json_t *old = json_object_get(gpu, key);

    return json_is_integer(old) ? json_integer_value(old) != value : value != UNKNOWN;
}

static bool is_present(const json_t *gpu)
{
    return !text_differs(gpu, "state", "present");
}

static bool seen_by_pci(const json_t *gpu)
{
    return !text_differs(gpu, "source", "pci");
}

static const struct found *found_at(const struct scan *scan, const char *pci)
{
    for (size_t i = 0; i < scan->count; i++)
        if (strcmp(scan->found[i].pci, pci) == 0)
            return &scan->found[i];
    return NULL;
}

/*
 * While NVML cannot be asked, a card that NVIDIA's kernel driver has is the GPU that was known at
 * its address, for all that anybody can tell, and no other.
 */
static void drop_unjudged(struct scan *scan, const json_t *gpus)
{
    const json_t *gpu;
    size_t i;

    json_array_foreach (gpus, i, gpu) {
        const struct found *found = found_at(scan, text_of(gpu, "pci"));

        if (scan->has_nvml || !found || !is_present(gpu) || seen_by_pci(gpu) || !found->driver ||
            strcmp(found->driver, DRIVER_NVIDIA) != 0)
            continue;
        scan->count--;
        memmove(&scan->found[found - scan->found], found + 1,
                (size_t)(&scan->found[scan->count] - found) * sizeof(*found));
    }
}

static int note(struct store_call *call, const char *list, int64_t gpu_id, struct vgpu_err *err)
{
    json_t *ids = json_object_get(call->result, list);

    return json_array_append_new(ids, json_integer(gpu_id)) < 0 ? database_no_memory(err) : 0;
}

/* Writes the change that turned old (NULL: nothing) into the row as it is now to the log. */
static int record_change(struct store_call *call, int64_t gpu_id, json_t *old, struct vgpu_err *err)
{
    _cleanup_json_ json_t *new = NULL;
    char key[24];
    int rc = gpu_load(call->store, gpu_id, &new, err);

    if (rc < 0)
        return rc;
    snprintf(key, sizeof(key), "%lld", (long long)gpu_id);
    return audit_record(call, "gpu", key, old, new, err);
}

static int add(struct store_call *call, const struct found *found, struct vgpu_err *err)
{
    int64_t gpu_id;
    int rc =
        database_integer(call->store->db, &gpu_id, err, "SELECT max(gpu_id) + 1 FROM gpus", "");

    if (rc < 0)
        return rc;
    if (gpu_id >= STORE_GPUS_MAX)
        return vgpu_err_set(err, ENOSPC, "%d GPUs have been seen already, the most that are kept",
                            STORE_GPUS_MAX);
    if ((rc = database_run(call->store->db, err,
                           "INSERT INTO gpus (gpu_id, uuid, pci, model, memory_bytes, device_index,"
                           " numa_node, mig_mode, driver, source, state, first_seen, last_seen)"
                           " VALUES (?1, ?2, ?3, ?4, max(?5, 0), nullif(?6, -1), nullif(?7, -1),"
                           " ?8, ?9, ?10, 'present', ?11, ?11)",
                           "isssiiisssi", gpu_id, found->uuid, found->pci, found->model,
                           found->memory_bytes, found->index, found->numa_node, found->mig_mode,
                           found->driver, found->by_pci ? "pci" : "nvml", call->now)) < 0 ||
        (rc = note(call, "added", gpu_id, err)) < 0)
        return rc;
    return record_change(call, gpu_id, NULL, err);
}

/* What NVML's GPU cannot tell now (one that is lost, say) stays as it is known. */
static void keep_known(struct found *found, const json_t *old)
{
    const json_t *node = json_object_get(old, "numa_node");

    if (found->memory_bytes == UNKNOWN)
        found->memory_bytes = json_integer_value(json_object_get(old, "memory_bytes"));
    if (found->by_pci)
        return;
    if (found->numa_node == UNKNOWN && json_is_integer(node))
        found->numa_node = json_integer_value(node);
    if (!found->mig_mode)
        found->mig_mode = text_of(old, "mig_mode");
    if (!found->driver)
        found->driver = text_of(old, "driver");
}

static bool facts_differ(const json_t *old, const struct found *found)
{
    return text_differs(old, "model", found->model) ||
           integer_differs(old, "memory_bytes", found->memory_bytes) ||
           integer_differs(old, "index", found->index) ||
           integer_differs(old, "numa_node", found->numa_node) ||
           text_differs(old, "mig_mode", found->mig_mode) ||
           text_differs(old, "driver", found->driver);
}

static int update(struct store_call *call, json_t *old, struct found *found, struct vgpu_err *err)
{
    int64_t gpu_id = json_integer_value(json_object_get(old, "gpu_id"));
    bool returned = !is_present(old);
    bool moved = text_differs(old, "pci", found->pci);
    bool differs;
    int rc;

    keep_known(found, old);
    differs = returned || moved || facts_differ(old, found);
    rc = database_run(call->store->db, err,
                      "UPDATE gpus SET pci = ?2, model = ?3, memory_bytes = ?4,"
                      " device_index = nullif(?5, -1), numa_node = nullif(?6, -1), mig_mode = ?7,"
                      " driver = ?8, state = 'present', last_seen = ?9, revision = revision + ?10"
                      " WHERE gpu_id = ?1",
                      "issiiissii", gpu_id, found->pci, found->model, found->memory_bytes,
                      found->index, found->numa_node, found->mig_mode, found->driver, call->now,
                      (int64_t)differs);
    if (rc == 0 && returned)
        rc = note(call, "returned", gpu_id, err);
    if (rc == 0 && moved)
        rc = note(call, "moved", gpu_id, err);
    return rc < 0 || !differs ? rc : record_change(call, gpu_id, old, err);
}

/* Whether what was not found is gone: known only where whoever saw it before could be asked, or
 * something else is in its place. */
static bool is_gone(const json_t *gpu, const struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++)
        if (!text_differs(gpu, "uuid", scan->found[i].uuid))
            return false;
    return (seen_by_pci(gpu) ? scan->has_pci : scan->has_nvml) ||
           found_at(scan, text_of(gpu, "pci"));
}

/* Tells that another card is where this one was. */
static int note_replaced(struct store_call *call, const json_t *gpu, const struct scan *scan,
                         struct vgpu_err *err)
{
    const struct found *other = found_at(scan, text_of(gpu, "pci"));
    _cleanup_json_ json_t *by = NULL;
    json_t *pair;
    int rc;

    if (!other || other->by_pci || seen_by_pci(gpu))
        return 0;
    if ((rc = gpu_find_uuid(call->store, other->uuid, &by, err)) < 0)
        return rc;
    pair = json_pack("{s:O, s:O}", "gpu_id", json_object_get(gpu, "gpu_id"), "by",
                     json_object_get(by, "gpu_id"));
    return json_array_append_new(json_object_get(call->result, "replaced"), pair) < 0
               ? database_no_memory(err)
               : 0;
}

static int mark_missing(struct store_call *call, json_t *gpu, const struct scan *scan,
                        struct vgpu_err *err)
{
    int64_t gpu_id = json_integer_value(json_object_get(gpu, "gpu_id"));
    int rc = database_run(call->store->db, err,
                          "UPDATE gpus SET state = 'missing', device_index = NULL,"
                          " revision = revision + 1 WHERE gpu_id = ?1",
                          "i", gpu_id);

    if (rc < 0 || (rc = note(call, "missing", gpu_id, err)) < 0 ||
        (rc = note_replaced(call, gpu, scan, err)) < 0)
        return rc;
    return record_change(call, gpu_id, gpu, err);
}

static int by_index(const void *a, const void *b)
{
    const struct found *left = a, *right = b;

    if (left->by_pci != right->by_pci)
        return left->by_pci - right->by_pci;
    return (left->index > right->index) - (left->index < right->index);
}

/* gpus: the table as it was. */
static int record(struct store_call *call, struct scan *scan, json_t *gpus, struct vgpu_err *err)
{
    json_t *gpu;
    size_t i;
    int rc;

    for (i = 0; i < scan->count; i++) {
        _cleanup_json_ json_t *old = NULL;

        if ((rc = gpu_find_uuid(call->store, scan->found[i].uuid, &old, err)) < 0)
            return rc;
        rc = old ? update(call, old, &scan->found[i], err) : add(call, &scan->found[i], err);
        if (rc < 0)
            return rc;
    }
    json_array_foreach (gpus, i, gpu)
        if (is_present(gpu) && is_gone(gpu, scan) && (rc = mark_missing(call, gpu, scan, err)) < 0)
            return rc;
    return 0;
}

int gpu_command_record(struct store_call *call, struct vgpu_err *err)
{
    static const char *const lists[] = {"added", "missing", "returned", "moved", "replaced"};
    _cleanup_json_ json_t *gpus = NULL;
    struct scan scan = {.count = 0};
    int rc;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(lists); i++)
        if (json_object_set_new(call->result, lists[i], json_array()) < 0)
            return database_no_memory(err);
    if ((rc = read_scan(call, &scan, err)) < 0 ||
        (rc = gpu_list(call->store, false, &gpus, err)) < 0)
        return rc;
    drop_unjudged(&scan, gpus);
    qsort(scan.found, scan.count, sizeof(scan.found[0]), by_index);
    rc = record(call, &scan, gpus, err);
    return rc < 0 ? rc : gpu_give_list(call, err);
}
