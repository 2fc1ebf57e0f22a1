/* SPDX-License-Identifier: Apache-2.0 */
/* VMs: registration, settings, quarantine, faults. */
#include <string.h>

#include "agent/object.h"
#include "agent/resource.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1024

static const struct object_member vm_members[] = {
    {"pool", NULL},
    {"name", "null"},
    {"uuid", "null"},
    {"priority", "\"medium\""},
    {"weight", "50.0"},
    {"rate_per_s", "0"},
    {"burst", NULL},
    {"depth", "0"},
    {"bytes_in_flight", "0"},
    {"job_timeout_ms", "0"},
    {"memory_bytes", "0"},
    {"process_memory_bytes", "0"},
    {"fault_threshold", "0"},
    {"fault_window_s", "0"},
    {NULL},
};

static json_t *naming_of(int64_t vm_id)
{
    return json_pack("{s:I}", "vm_id", (json_int_t)vm_id);
}

/* From the first VM after `after`, at most `limit`; says in "next" where to go on. */
static json_t *page_of(const json_t *vms, int64_t after, int64_t limit)
{
    json_t *page = json_array(), *next = json_null(), *vm;
    size_t i;

    json_array_foreach (vms, i, vm) {
        if (json_integer_value(json_object_get(vm, "vm_id")) <= after)
            continue;
        if (json_array_size(page) == (size_t)limit) {
            next = json_object_get(json_array_get(page, (size_t)limit - 1), "vm_id");
            break;
        }
        json_array_append(page, vm);
    }
    return json_pack("{s:o, s:O}", "vms", page, "next", next);
}

void vm_list(struct call *call)
{
    const char *pool = request_query(&call->request, "pool");
    int64_t limit = LIMIT_DEFAULT, after = 0;
    struct vgpu_err err;
    json_t *result;

    if (request_query_integer(&call->request, "limit", 1, LIMIT_MAX, &limit, &err) < 0 ||
        request_query_integer(&call->request, "after", 0, INT32_MAX, &after, &err) < 0) {
        reply_problem(&call->reply, 400, "invalid", "%s", err.text);
        return;
    }
    if (!call_ask(call, "list-vms", pool ? json_pack("{s:s}", "pool", pool) : NULL, &result))
        return;
    reply_json(&call->reply, 200, page_of(json_object_get(result, "vms"), after, limit));
    json_decref(result);
}

void vm_get(struct call *call)
{
    json_t *result, *vm;
    int64_t vm_id;

    if (!call_vm_id(call, &vm_id) || !call_ask(call, "show-vm", naming_of(vm_id), &result))
        return;
    vm = json_copy(json_object_get(result, "vm"));
    json_object_set(vm, "last_faults", json_object_get(result, "last_faults"));
    json_object_set(vm, "live", json_object_get(result, "live"));
    json_decref(result);
    reply_json(&call->reply, 200, json_incref(vm));
    reply_set_revision(&call->reply, vm);
    json_decref(vm);
}

/* False: the reply says why. *ret_vm is the caller's; NULL: it is not registered. */
static bool find(struct call *call, int64_t vm_id, json_t **ret_vm)
{
    json_t *result;

    *ret_vm = NULL;
    if (call_ask(call, "show-vm", naming_of(vm_id), &result)) {
        *ret_vm = json_incref(json_object_get(result, "vm"));
        json_decref(result);
        return true;
    }
    if (call->reply.status != 404)
        return false;
    reply_release(&call->reply);
    return true;
}

static json_t *find_present(struct call *call, int64_t vm_id)
{
    json_t *vm = NULL;

    if (find(call, vm_id, &vm) && !vm)
        reply_problem(&call->reply, 404, "not-found", "VM %lld is not registered",
                      (long long)vm_id);
    return vm;
}

/* burst follows the rate where it is not given, as with set-rate; the store sees to that. */
static void drop_no_burst(json_t *wanted, const json_t *vm)
{
    if (!json_is_null(json_object_get(wanted, "burst")))
        return;
    json_object_del(wanted, "burst");
    if (!json_object_get(wanted, "rate_per_s"))
        json_object_set(wanted, "burst", json_object_get(vm, "rate_per_s"));
}

/* Brings it to what the body asks for; vm: as it is, or NULL. */
static void import(struct call *call, int64_t vm_id, bool whole, const json_t *vm)
{
    json_t *wanted = object_of(vm_members, call->request.body, whole);

    drop_no_burst(wanted, vm);
    json_object_set_new(wanted, "vm_id", json_integer(vm_id));
    object_import(call, "vms", wanted, vm != NULL, "vm");
}

static bool names_pool(struct call *call)
{
    if (json_is_string(json_object_get(call->request.body, "pool")))
        return true;
    reply_problem(&call->reply, 400, "invalid", "a VM needs a pool");
    return false;
}

void vm_put(struct call *call)
{
    json_t *vm = NULL;
    int64_t vm_id;

    if (call_vm_id(call, &vm_id) && object_check_body(call, vm_members) && names_pool(call) &&
        find(call, vm_id, &vm) && call_may_write(call, vm))
        import(call, vm_id, true, vm);
    json_decref(vm);
}

void vm_patch(struct call *call)
{
    json_t *vm = NULL;
    int64_t vm_id;

    if (call_vm_id(call, &vm_id) && object_check_body(call, vm_members) &&
        (vm = find_present(call, vm_id)) && call_wants_match(call))
        import(call, vm_id, false, vm);
    json_decref(vm);
}

void vm_delete(struct call *call)
{
    json_t *vm;
    int64_t vm_id;

    if (!call_vm_id(call, &vm_id) || !(vm = find_present(call, vm_id)))
        return;
    if (call_wants_match(call))
        call_change_reply(call, "remove-vm", naming_of(vm_id), true, NULL);
    json_decref(vm);
}

void vm_quarantine(struct call *call)
{
    static const char *const known[] = {"reason", NULL};
    int64_t vm_id;

    if (call_vm_id(call, &vm_id) && call_body_members(call, known))
        call_change_reply(call, "quarantine",
                          json_pack("{s:I, s:O?}", "vm_id", (json_int_t)vm_id, "reason",
                                    json_object_get(call->request.body, "reason")),
                          true, "vm");
}

void vm_release(struct call *call)
{
    int64_t vm_id;

    if (call_vm_id(call, &vm_id))
        call_change_reply(call, "unquarantine", naming_of(vm_id), true, "vm");
}

void vm_clear_faults(struct call *call)
{
    int64_t vm_id;

    if (call_vm_id(call, &vm_id))
        call_change_reply(call, "clear-faults", naming_of(vm_id), true, "vm");
}
