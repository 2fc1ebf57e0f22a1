/* SPDX-License-Identifier: Apache-2.0 */
/* VMs: registration, settings, quarantine, faults. */
#include <string.h>

#include "agent/merge.h"
#include "agent/plan.h"
#include "agent/resource.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX     1024

static const struct plan_group groups[] = {
    {"set-pool", true, {{"pool", NULL}}},
    {"set-identity", true, {{"name", "null", "new_name"}, {"uuid", "null", "new_uuid"}}},
    {"set-priority", true, {{"priority", "\"medium\""}}},
    {"set-weight", true, {{"weight", "50.0"}}},
    {"set-rate", false, {{"rate_per_s", "0"}, {"burst", "0"}}},
    {"set-depth", false, {{"depth", "0"}}},
    {"set-bytes", false, {{"bytes_in_flight", "0"}}},
    {"set-timeout", false, {{"job_timeout_ms", "0"}}},
    {"set-memory", false, {{"memory_bytes", "0"}, {"process_memory_bytes", "0"}}},
    {"set-faults", false, {{"fault_threshold", "0"}, {"fault_window_s", "0"}}},
    {NULL},
};

static const char *const known[] = {"pool",
                                    "name",
                                    "uuid",
                                    "priority",
                                    "weight",
                                    "rate_per_s",
                                    "burst",
                                    "depth",
                                    "bytes_in_flight",
                                    "job_timeout_ms",
                                    "memory_bytes",
                                    "process_memory_bytes",
                                    "fault_threshold",
                                    "fault_window_s",
                                    NULL};

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

/* burst follows the rate where it is not given, as with set-rate. */
static json_t *complete(const json_t *wanted)
{
    json_t *all = plan_complete(groups, wanted);
    const json_t *burst = json_object_get(wanted, "burst");

    if (!burst || json_is_null(burst))
        json_object_set(all, "burst", json_object_get(all, "rate_per_s"));
    return all;
}

static void create(struct call *call, int64_t vm_id, const json_t *wanted)
{
    json_t *naming = naming_of(vm_id), *commands = json_array(), *args = naming_of(vm_id);

    for (const struct plan_group *group = groups; group->at_birth; group++)
        for (const struct plan_member *member = group->members; member->name; member++)
            json_object_set(args, member->name, json_object_get(wanted, member->name));
    plan_add(commands, "register-vm", args);
    plan_settings(groups, naming, NULL, wanted, commands);
    json_decref(naming);
    call_batch_reply(call, 201, NULL, commands, "vm", NULL);
}

static void change(struct call *call, int64_t vm_id, const json_t *vm, const json_t *wanted)
{
    json_t *naming = naming_of(vm_id), *commands = json_array();

    plan_settings(groups, naming, vm, wanted, commands);
    call_batch_reply(call, 200, naming, commands, "vm", vm);
}

static bool names_pool(struct call *call, const json_t *settings)
{
    if (json_is_string(json_object_get(settings, "pool")))
        return true;
    reply_problem(&call->reply, 400, "invalid", "a VM needs a pool");
    return false;
}

void vm_put(struct call *call)
{
    json_t *wanted, *vm = NULL;
    int64_t vm_id;

    if (!call_vm_id(call, &vm_id) || !call_body_members(call, known) ||
        !names_pool(call, call->request.body) || !find(call, vm_id, &vm) ||
        !call_may_write(call, vm)) {
        json_decref(vm);
        return;
    }
    wanted = complete(call->request.body);
    if (vm)
        change(call, vm_id, vm, wanted);
    else
        create(call, vm_id, wanted);
    json_decref(wanted);
    json_decref(vm);
}

/* The settings with the patch; a rate alone brings its burst with it. */
static json_t *patched(const json_t *vm, json_t *patch)
{
    json_t *settings = plan_settings_of(groups, vm), *merged, *all;

    if (json_object_get(patch, "rate_per_s") && !json_object_get(patch, "burst"))
        json_object_del(settings, "burst");
    merged = merge_patch(settings, patch);
    all = complete(merged);
    json_decref(settings);
    json_decref(merged);
    return all;
}

void vm_patch(struct call *call)
{
    json_t *wanted, *vm;
    int64_t vm_id;

    if (!call_vm_id(call, &vm_id) || !call_body_members(call, known) ||
        !(vm = find_present(call, vm_id)))
        return;
    if (call_wants_match(call)) {
        wanted = patched(vm, call->request.body);
        if (names_pool(call, wanted))
            change(call, vm_id, vm, wanted);
        json_decref(wanted);
    }
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
    static const char *const members[] = {"reason", NULL};
    int64_t vm_id;

    if (call_vm_id(call, &vm_id) && call_body_members(call, members))
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
