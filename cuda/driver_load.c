/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/driver_load.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "cuda/cuda_abi.h"

/* Stands for any call that the driver lacks; its arguments are ignored. */
static CUresult lacking(void)
{
    return CUDA_ERROR_NOT_SUPPORTED;
}

static void *find(void *library, const struct cuda_symbol *symbol)
{
    for (size_t i = 0; i < sizeof(symbol->names) / sizeof(symbol->names[0]); i++) {
        void *found = symbol->names[i] ? dlsym(library, symbol->names[i]) : NULL;

        if (found)
            return found;
    }
    return (void *)(uintptr_t)lacking;
}

int cuda_symbols_load(void *table, void **ret_library, const struct cuda_symbol *symbols,
                      size_t count, const char *path, struct vgpu_err *err)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return vgpu_err_set(err, ENOENT, "cannot load the CUDA driver '%s': %s", path, dlerror());
    if (!dlsym(library, "cuInit")) {
        dlclose(library);
        return vgpu_err_set(err, ELIBBAD, "'%s' is not a CUDA driver: it has no cuInit", path);
    }
    for (size_t i = 0; i < count; i++) {
        void *function = find(library, &symbols[i]);

        memcpy((char *)table + symbols[i].offset, &function, sizeof(function));
    }
    *ret_library = library;
    return 0;
}

void cuda_symbols_unload(void **library)
{
    if (*library)
        dlclose(*library);
    *library = NULL;
}
