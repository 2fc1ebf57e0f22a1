/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/driver_check.h"

#include <dlfcn.h>
#include <errno.h>

json_t *driver_check(const char *path, struct vgpu_err *err)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int (*get_version)(int *version) = NULL;
    int version = 0, result;

    if (!library) {
        vgpu_err_set(err, ENOENT, "cannot load it: %s", dlerror());
        return NULL;
    }
    *(void **)&get_version = dlsym(library, "cuDriverGetVersion");
    if (!get_version || !dlsym(library, "cuInit")) {
        vgpu_err_set(err, EINVAL, "'%s' is no CUDA driver: it lacks cuInit", path);
        return NULL;
    }
    result = get_version(&version);
    if (result != 0) {
        vgpu_err_set(err, EIO, "cuDriverGetVersion of '%s' failed with %d", path, result);
        return NULL;
    }
    return json_pack("{s:s, s:i}", "path", path, "cuda_version", version);
}
