/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/route.h"

#include <string.h>

#include "agent/resource.h"
#include "common/cleanup.h"

#define BODY_BYTES   (64 * 1024)
#define IMPORT_BYTES (1024 * 1024 - 1024) /* with the rest of a line, what the mediator takes */
#define READ(path, role_, handle_, ...)                                                            \
    {                                                                                              \
        .method = REQUEST_GET, .pattern = path, .role = role_, .handle = handle_, .query = {       \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define CHANGE(method_, path, role_, handle_)                                                      \
    {                                                                                              \
        .method = method_, .pattern = path, .role = role_, .handle = handle_, .query = {           \
            "dry_run"                                                                              \
        }                                                                                          \
    }
#define WRITE(method_, path, role_, body_, handle_)                                                \
    {                                                                                              \
        .method = method_, .pattern = path, .role = role_, .handle = handle_, .body = body_,       \
        .body_bytes = BODY_BYTES, .query = {                                                       \
            "dry_run"                                                                              \
        }                                                                                          \
    }
#define API "api/v1/"

static const struct route routes[] = {
    READ(API "host", ROLE_READ, host_get, NULL),
    READ(API "gpus", ROLE_READ, gpu_list, NULL),
    READ(API "gpus/*", ROLE_READ, gpu_get, NULL),
    WRITE(REQUEST_PUT, API "gpus/*/pools", ROLE_ADMIN, ROUTE_JSON, gpu_put_pools),
    WRITE(REQUEST_PUT, API "gpus/*/drain", ROLE_OPERATE, ROUTE_JSON, gpu_drain),
    CHANGE(REQUEST_DELETE, API "gpus/*/drain", ROLE_OPERATE, gpu_resume),
    {.method = REQUEST_POST,
     .pattern = API "gpus/*/reset",
     .role = ROLE_ADMIN,
     .body = ROUTE_JSON,
     .body_bytes = BODY_BYTES,
     .handle = gpu_reset},
    CHANGE(REQUEST_POST, API "scan", ROLE_OPERATE, gpu_scan),
    READ(API "pools", ROLE_READ, pool_list, NULL),
    READ(API "pools/*", ROLE_READ, pool_get, NULL),
    WRITE(REQUEST_PUT, API "pools/*", ROLE_ADMIN, ROUTE_JSON, pool_put),
    WRITE(REQUEST_PATCH, API "pools/*", ROLE_ADMIN, ROUTE_MERGE_PATCH, pool_patch),
    CHANGE(REQUEST_DELETE, API "pools/*", ROLE_ADMIN, pool_delete),
    WRITE(REQUEST_POST, API "pools/*/vms", ROLE_OPERATE, ROUTE_JSON, pool_assign_vms),
    READ(API "pools/*/capacity", ROLE_READ, pool_capacity, "memory_bytes"),
    READ(API "vms", ROLE_READ, vm_list, "pool", "limit", "after"),
    READ(API "vms/*", ROLE_READ, vm_get, NULL),
    WRITE(REQUEST_PUT, API "vms/*", ROLE_ADMIN, ROUTE_JSON, vm_put),
    WRITE(REQUEST_PATCH, API "vms/*", ROLE_OPERATE, ROUTE_MERGE_PATCH, vm_patch),
    CHANGE(REQUEST_DELETE, API "vms/*", ROLE_ADMIN, vm_delete),
    WRITE(REQUEST_PUT, API "vms/*/quarantine", ROLE_OPERATE, ROUTE_JSON, vm_quarantine),
    CHANGE(REQUEST_DELETE, API "vms/*/quarantine", ROLE_OPERATE, vm_release),
    CHANGE(REQUEST_DELETE, API "vms/*/faults", ROLE_OPERATE, vm_clear_faults),
    READ(API "capacity", ROLE_READ, capacity_get, "memory_bytes"),
    READ(API "status", ROLE_READ, status_get, NULL),
    READ(API "health", ROLE_READ, health_get, NULL),
    READ(API "thresholds", ROLE_READ, threshold_list, NULL),
    READ(API "thresholds/*", ROLE_READ, threshold_get, NULL),
    WRITE(REQUEST_PUT, API "thresholds/*", ROLE_ADMIN, ROUTE_JSON, threshold_put),
    READ(API "audit", ROLE_READ, audit_list, "after", "before", "limit", "object", "key"),
    READ(API "history", ROLE_READ, history_get, "minutes", "step", "vm_id"),
    {.method = REQUEST_GET,
     .pattern = API "events",
     .role = ROLE_READ,
     .kind = ROUTE_STREAM,
     .query = {"states"}},
    READ(API "config", ROLE_ADMIN, config_get, NULL),
    {.method = REQUEST_PUT,
     .pattern = API "config",
     .role = ROLE_ADMIN,
     .body = ROUTE_JSON,
     .body_bytes = IMPORT_BYTES,
     .handle = config_put,
     .query = {"prune", "dry_run"}},
    {.pattern = API "openapi.json", .role = ROLE_READ, .kind = ROUTE_DIRECT, .handle = openapi_get},
    READ("metrics", ROLE_READ, metrics_get, NULL),
    {.pattern = "healthz", .role = ROLE_NONE, .kind = ROUTE_DIRECT, .handle = healthz_get},
};

bool route_is_api(const struct request *request)
{
    return request->n_segments > 0 && (strcmp(request->segments[0], "api") == 0 ||
                                       strcmp(request->segments[0], "metrics") == 0 ||
                                       strcmp(request->segments[0], "healthz") == 0);
}

static bool matches(const struct request *request, const char *pattern)
{
    unsigned i = 0;

    for (; *pattern; i++) {
        size_t length = strcspn(pattern, "/");

        if (i == request->n_segments)
            return false;
        if (strncmp(pattern, "*", length) != 0 &&
            (strlen(request->segments[i]) != length ||
             strncmp(pattern, request->segments[i], length) != 0))
            return false;
        pattern += length + (pattern[length] == '/');
    }
    return i == request->n_segments && !request->directory;
}

/* The methods in `bits`, as Allow has them; each is one static text. */
static const char *allow_of(unsigned bits)
{
    static const struct {
        unsigned bits;
        const char *text;
    } sets[] = {
        {1u << REQUEST_GET, "GET, HEAD"},
        {1u << REQUEST_POST, "POST"},
        {1u << REQUEST_PUT, "PUT"},
        {1u << REQUEST_DELETE, "DELETE"},
        {1u << REQUEST_PUT | 1u << REQUEST_DELETE, "PUT, DELETE"},
        {1u << REQUEST_GET | 1u << REQUEST_PUT, "GET, HEAD, PUT"},
    };

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(sets); i++)
        if (sets[i].bits == bits)
            return sets[i].text;
    return "GET, HEAD, PUT, PATCH, DELETE";
}

const struct route *route_find(const struct request *request, const char **ret_allow)
{
    unsigned bits = 0;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(routes); i++) {
        if (!matches(request, routes[i].pattern))
            continue;
        if (routes[i].method == request->method)
            return &routes[i];
        bits |= 1u << routes[i].method;
    }
    *ret_allow = bits ? allow_of(bits) : NULL;
    return NULL;
}

const struct route *route_at(size_t i)
{
    return i < VGPU_ARRAY_SIZE(routes) ? &routes[i] : NULL;
}
