/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/reload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "mediator/mediator.h"

#define KEY_BYTES 24

static void add_change(json_t *changes, const char *object, const char *key, const char *change)
{
    json_array_append_new(
        changes, json_pack("{s:s, s:s, s:s}", "object", object, "key", key, "change", change));
}

static void add_numbered(json_t *changes, const char *object, uint32_t id, const char *change)
{
    char key[KEY_BYTES];

    snprintf(key, sizeof(key), "%" PRIu32, id);
    add_change(changes, object, key, change);
}

static void compare_gpus(const struct config *old, const struct config *new, json_t *changes)
{
    for (unsigned i = 0; i < new->n_gpus; i++) {
        const struct config_gpu *before = config_gpu(old, new->gpus[i].id);

        if (!before || memcmp(before, &new->gpus[i], sizeof(*before)) != 0)
            add_numbered(changes, "gpu", new->gpus[i].id, before ? "changed" : "added");
    }
    for (unsigned i = 0; i < old->n_gpus; i++)
        if (!config_gpu(new, old->gpus[i].id))
            add_numbered(changes, "gpu", old->gpus[i].id, "removed");
}

/* Which GPUs serve it is a part of a pool. */
static void compare_pools(const struct config *old, const struct config *new, json_t *changes)
{
    for (unsigned i = 0; i < new->n_pools; i++) {
        const struct config_pool *before = config_pool(old, new->pools[i].name);

        if (!before || memcmp(before, &new->pools[i], sizeof(*before)) != 0)
            add_change(changes, "pool", new->pools[i].name, before ? "changed" : "added");
    }
    for (unsigned i = 0; i < old->n_pools; i++)
        if (!config_pool(new, old->pools[i].name))
            add_change(changes, "pool", old->pools[i].name, "removed");
}

static void compare_vms(const struct config *old, const struct config *new, json_t *changes)
{
    for (unsigned i = 0; i < new->n_vms; i++)
        if (new->vms[i].changed)
            add_numbered(changes, "vm", new->vms[i].id,
                         config_vm(old, new->vms[i].id) ? "changed" : "added");
    for (unsigned i = 0; i < old->n_vms; i++)
        if (!config_vm(new, old->vms[i].id))
            add_numbered(changes, "vm", old->vms[i].id, "removed");
}

static void compare_thresholds(const struct config *old, const struct config *new, json_t *changes)
{
    for (int id = 0; id < THRESHOLD_N; id++)
        if (old->rules[id].value != new->rules[id].value ||
            old->rules[id].action != new->rules[id].action)
            add_change(changes, "threshold", thresholds[id].name, "changed");
}

static void tell(struct mediator *mediator, size_t n, const char *who)
{
    char text[EVENT_TEXT_BYTES];
    const struct event event = {.kind = EVENT_CONFIG_CHANGED,
                                .severity = EVENT_WARNING,
                                .gpu_id = EVENT_NO_GPU,
                                .text = text};

    snprintf(text, sizeof(text),
             "configuration read again by %s: %zu objects differed from what was in force", who, n);
    events_add(mediator, &event);
}

int reload_take(struct mediator *mediator, const json_t *snapshot, const char *who,
                json_t **ret_result, struct vgpu_err *err)
{
    json_t *changes = json_array(), *result;
    const struct config *old = mediator->config;
    struct config *config;
    bool changed;
    int rc = config_parse(snapshot, &config, err);

    if (rc < 0) {
        json_decref(changes);
        return rc;
    }
    changed = config_mark(old, config);
    compare_gpus(old, config, changes);
    compare_pools(old, config, changes);
    compare_thresholds(old, config, changes);
    compare_vms(old, config, changes);
    result =
        json_pack("{s:b, s:i, s:i, s:i, s:o}", "changed", changed, "gpus", (int)config->n_gpus,
                  "pools", (int)config->n_pools, "vms", (int)config->n_vms, "changes", changes);
    if (!result) {
        config_free(config);
        return vgpu_err_set(err, ENOMEM, "out of memory");
    }
    if (!who)
        json_object_set_new(result, "dry_run", json_true());
    if (changed && who) {
        tell(mediator, json_array_size(changes), who);
        mediator_apply(mediator, config);
    } else
        config_free(config);
    *ret_result = result;
    return 0;
}
