/* SPDX-License-Identifier: Apache-2.0 */
#include "store/intent.h"

#include <string.h>

#include "store/args.h"
#include "store/pool.h"
#include "store/text.h"
#include "store/vm.h"

static const struct intent_member pool_members[] = {
    {"pool", INTENT_TEXT, .max_bytes = STORE_NAME_BYTES},
    {"policy", INTENT_WORD, .words = pool_policies},
    {"description", INTENT_LINE, .max_bytes = STORE_DESCRIPTION_BYTES},
    {.name = NULL},
};

static const struct intent_member vm_members[] = {
    {"vm_id", INTENT_VM_ID},
    {"uuid", INTENT_UUID, .nullable = true},
    {"name", INTENT_TEXT, .nullable = true, .max_bytes = STORE_NAME_BYTES},
    {"pool", INTENT_TEXT, .max_bytes = STORE_NAME_BYTES},
    {"priority", INTENT_WORD, .words = vm_priorities},
    {"weight", INTENT_WEIGHT},
    {"quarantine_reason", INTENT_TEXT, .nullable = true, .max_bytes = STORE_REASON_BYTES},
    {.name = NULL},
};

static const struct intent_member gpu_members[] = {
    {"uuid", INTENT_TEXT, .max_bytes = STORE_GPU_UUID_BYTES},
    {"pools", INTENT_POOLS},
    {"drained", INTENT_FLAG},
    {"drain_reason", INTENT_TEXT, .nullable = true, .max_bytes = STORE_REASON_BYTES},
    {.name = NULL},
};

static const char *const threshold_actions[] = {"ignore", "warn", "stop", "drain", NULL};

static const struct intent_member threshold_members[] = {
    {"name", INTENT_TEXT, .max_bytes = STORE_THRESHOLD_BYTES},
    {"value", INTENT_NUMBER},
    {"action", INTENT_WORD, .words = threshold_actions},
    {.name = NULL},
};

const struct intent intent_pools = {"pools", pool_members, pool_settings, STORE_POOLS_MAX};
const struct intent intent_vms = {"vms", vm_members, vm_settings, STORE_VMS_MAX};
const struct intent intent_gpus = {"gpus", gpu_members, NULL, STORE_GPUS_MAX};
const struct intent intent_thresholds = {"thresholds", threshold_members, NULL, 64};

json_t *intent_pick(const struct intent *intent, const json_t *row)
{
    json_t *picked = json_object();
    bool good = picked != NULL;

    for (const struct intent_member *m = intent->members; good && m->name; m++)
        good = json_object_set(picked, m->name, json_object_get(row, m->name)) == 0;
    for (const struct setting *s = intent->settings; good && s && s->name; s++)
        good = json_object_set(picked, s->name, json_object_get(row, s->name)) == 0;
    if (good)
        return picked;
    json_decref(picked);
    return NULL;
}

static bool is_known(const struct intent *intent, const char *name)
{
    for (const struct intent_member *m = intent->members; m->name; m++)
        if (strcmp(m->name, name) == 0)
            return true;
    return intent->settings && setting_find(intent->settings, name);
}

static int check_known(const struct intent *intent, const json_t *given, struct vgpu_err *err)
{
    /* jansson's iteration takes a non-const object, and does not change it. */
    json_t *object = (json_t *)(uintptr_t)given;
    char shown[TEXT_SHOWN_BYTES];
    const char *name;
    json_t *value;

    json_object_foreach (object, name, value)
        if (!is_known(intent, name))
            return vgpu_err_set(err, EINVAL, "there is no member %s here", text_show(shown, name));
    return 0;
}

static int take_text(const struct intent_member *m, const json_t *given, json_t **ret_value,
                     struct vgpu_err *err)
{
    char uuid[STORE_UUID_BYTES + 1];
    const char *text = NULL;
    int rc = m->type == INTENT_WORD ? args_word(given, m->name, true, m->words, &text, err)
                                    : args_text(given, m->name, true, &text, err);

    if (rc < 0)
        return rc;
    if (m->type == INTENT_UUID && (rc = text_uuid(text, uuid, err)) < 0)
        return rc;
    if ((m->type == INTENT_TEXT || (m->type == INTENT_LINE && text[0])) &&
        (rc = text_check(m->name, text, m->max_bytes, err)) < 0)
        return rc;
    *ret_value = json_string(m->type == INTENT_UUID ? uuid : text);
    return 0;
}

static int take_number(const struct intent_member *m, const json_t *given, json_t **ret_value,
                       struct vgpu_err *err)
{
    static const double most = 1e300;
    int64_t id = 0;
    double number = 0;
    bool flag = false;
    int rc;

    switch (m->type) {
    case INTENT_VM_ID:
        rc = args_integer(given, m->name, true, STORE_VM_ID_MIN, STORE_VM_ID_MAX, &id, err);
        *ret_value = json_integer(id);
        return rc;
    case INTENT_WEIGHT:
        rc = args_number(given, m->name, true, STORE_WEIGHT_MIN, STORE_WEIGHT_MAX, &number, err);
        *ret_value = json_real((double)vm_weight_hundredths(number) / 100.0);
        return rc;
    case INTENT_NUMBER:
        rc = args_number(given, m->name, true, -most, most, &number, err);
        *ret_value = json_real(number);
        return rc;
    default:
        rc = args_flag(given, m->name, &flag, err);
        *ret_value = json_boolean(flag);
        return rc;
    }
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In order, as the store has them. */
static int take_pools(const struct intent_member *m, const json_t *given, json_t **ret_value,
                      struct vgpu_err *err)
{
    const json_t *list = json_object_get(given, m->name), *item;
    const char *names[STORE_POOLS_MAX];
    size_t n = json_array_size(list), i;
    json_t *value;
    int rc;

    if (!json_is_array(list))
        return vgpu_err_set(err, EINVAL, "%s is not an array", m->name);
    if (n > STORE_POOLS_MAX)
        return vgpu_err_set(err, ENOSPC, "%s has %zu names; at most %d are allowed", m->name, n,
                            STORE_POOLS_MAX);
    json_array_foreach (list, i, item) {
        names[i] = json_string_value(item);
        if (!names[i] || strlen(names[i]) != json_string_length(item))
            return vgpu_err_set(err, EINVAL, "%s[%zu] is not the name of a pool", m->name, i);
        if ((rc = text_check(m->name, names[i], STORE_NAME_BYTES, err)) < 0)
            return rc;
    }
    qsort(names, n, sizeof(names[0]), compare_texts);
    *ret_value = value = json_array();
    for (i = 0; value && i < n; i++) {
        char shown[TEXT_SHOWN_BYTES];

        if (i > 0 && strcmp(names[i - 1], names[i]) == 0)
            return vgpu_err_set(err, EINVAL, "%s has %s twice", m->name,
                                text_show(shown, names[i]));
        if (json_array_append_new(value, json_string(names[i])) < 0)
            return database_no_memory(err);
    }
    return 0;
}

static int take_member(const struct intent_member *m, const json_t *given, json_t *wanted,
                       struct vgpu_err *err)
{
    const json_t *old = json_object_get(given, m->name);
    json_t *value = NULL;
    int rc = 0;

    if (!old)
        return 0;
    if (json_is_null(old) && !m->nullable)
        return vgpu_err_set(err, EINVAL, "%s cannot be null", m->name);
    if (json_is_null(old))
        value = json_null();
    else if (m->type == INTENT_POOLS)
        rc = take_pools(m, given, &value, err);
    else if (m->type <= INTENT_UUID)
        rc = take_text(m, given, &value, err);
    else
        rc = take_number(m, given, &value, err);
    if (rc < 0) {
        json_decref(value);
        return rc;
    }
    return json_object_set_new(wanted, m->name, value) < 0 ? database_no_memory(err) : 0;
}

static int take_setting(const struct setting *setting, const json_t *given, json_t *wanted,
                        struct vgpu_err *err)
{
    int64_t value = 0;
    int rc;

    if (!json_object_get(given, setting->name))
        return 0;
    rc = setting_take(setting, given, true, &value, err);
    if (rc < 0)
        return rc;
    return json_object_set_new(wanted, setting->name, json_integer(value)) < 0
               ? database_no_memory(err)
               : 0;
}

int intent_take(const struct intent *intent, const json_t *given, json_t *wanted,
                struct vgpu_err *err)
{
    int rc = check_known(intent, given, err);

    for (const struct intent_member *m = intent->members; rc == 0 && m->name; m++)
        rc = take_member(m, given, wanted, err);
    for (const struct setting *s = intent->settings; rc == 0 && s && s->name; s++)
        rc = take_setting(s, given, wanted, err);
    return rc;
}
