/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/nvml_helper.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/child.h"
#include "common/cleanup.h"
#include "store/store.h"

/* A driver that is loaded by the first query takes seconds; one that takes longer hangs. */
#define SCAN_TIMEOUT_S 30

static int find_helper(char path[PATH_MAX], struct vgpu_err *err)
{
    static const char *const places[] = {"vgpu-nvml", "../libexec/vgpu/vgpu-nvml"};
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 1);
    char *slash;

    program[size > 0 ? size : 0] = '\0';
    slash = strrchr(program, '/');
    for (size_t i = 0; slash && i < VGPU_ARRAY_SIZE(places); i++) {
        int used = snprintf(path, PATH_MAX, "%.*s/%s", (int)(slash - program), program, places[i]);

        if (used < PATH_MAX && access(path, X_OK) == 0)
            return 0;
    }
    return vgpu_err_set(err, ENOENT,
                        "the program vgpu-nvml, which could look without a mediator, is not "
                        "installed");
}

/* Its own words, where it has any; they start with its name. */
static int failed(const struct child_result *result, struct vgpu_err *err)
{
    static const char prefix[] = "vgpu-nvml: ";
    const char *text = result->errors;
    int code = result->status;

    if (code == EXIT_FAILURE && strncmp(text, prefix, strlen(prefix)) == 0)
        return vgpu_err_set(err, EIO, "%s", text + strlen(prefix));
    return vgpu_err_set(err, EIO, "vgpu-nvml failed (%s %d)",
                        code < CHILD_SIGNALLED ? "exit status" : "signal",
                        code < CHILD_SIGNALLED ? code : code - CHILD_SIGNALLED);
}

static int run(const char *path, const char *option, const char *value, json_t **ret_found,
               struct vgpu_err *err)
{
    char found[PATH_MAX];
    const char *argv[] = {path ? path : found, option, value, NULL};
    const struct child child = {.argv = argv,
                                .name = "vgpu-nvml",
                                .most_bytes = STORE_REQUEST_BYTES_MAX,
                                .timeout_s = SCAN_TIMEOUT_S,
                                .take_errors = true};
    struct child_result result;
    json_t *object;
    int rc;

    if (!path && (rc = find_helper(found, err)) < 0)
        return rc;
    rc = child_run(&child, &result, err);
    if (rc == -ETIMEDOUT)
        return vgpu_err_set(err, ETIMEDOUT,
                            "vgpu-nvml did not end within %d s; does the driver hang?",
                            SCAN_TIMEOUT_S);
    if (rc < 0)
        return rc;
    object = json_loadb(result.text, result.size, JSON_REJECT_DUPLICATES, NULL);
    if (result.status != 0)
        rc = failed(&result, err);
    else if (!json_is_object(object))
        rc = vgpu_err_set(err, EPROTO, "vgpu-nvml did not print a JSON object");
    free(result.text);
    if (rc < 0)
        json_decref(object);
    else
        *ret_found = object;
    return rc;
}

int nvml_helper_scan(const char *path, json_t **ret_found, struct vgpu_err *err)
{
    return run(path, "--scan", NULL, ret_found, err);
}

int nvml_helper_check_driver(const char *path, const char *driver, json_t **ret_found,
                             struct vgpu_err *err)
{
    return run(path, "--check-driver", driver, ret_found, err);
}
