/* SPDX-License-Identifier: Apache-2.0 */
/* The objects of library.h: handles, references, and modules in contexts. */
#include "cuda/library.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"

/* A handle: what it is in the top byte, which no address has; then generation and index. */
#define TAG_SHIFT       56
#define TAG_LIBRARY     0x4cu
#define TAG_KERNEL      0x4bu
#define INDEX_BITS      16
#define GENERATION_MASK ((UINT64_C(1) << (TAG_SHIFT - INDEX_BITS)) - 1)

_Static_assert(LIBRARY_MAX_OBJECTS == 1u << INDEX_BITS, "an index has room in a handle");

struct slot {
    void *object; /* NULL: free */
    uint64_t handle;
    uint64_t generation;
    uint32_t next_free;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t library_changed = PTHREAD_COND_INITIALIZER;
static struct slot *slots;
static uint32_t slots_count, slots_used, first_free; /* first_free: index + 1 */

void library_lock(void)
{
    pthread_mutex_lock(&lock);
}

void library_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static bool make_room(void)
{
    uint32_t wanted = slots_count ? slots_count * 2 : 64;
    struct slot *grown;

    if (first_free || slots_used < slots_count)
        return true;
    if (wanted > LIBRARY_MAX_OBJECTS)
        return false;
    grown = realloc(slots, wanted * sizeof(*slots));
    if (!grown)
        return false;
    memset(grown + slots_count, 0, (wanted - slots_count) * sizeof(*slots));
    slots = grown;
    slots_count = wanted;
    return true;
}

/* 0: too many, or out of memory. */
static uint64_t put(uint64_t tag, void *object)
{
    struct slot *slot;
    uint32_t index;

    if (!make_room())
        return 0;
    index = first_free ? first_free - 1 : slots_used++;
    slot = &slots[index];
    if (first_free)
        first_free = slot->next_free;
    slot->object = object;
    slot->generation = (slot->generation + 1) & GENERATION_MASK;
    slot->handle = tag << TAG_SHIFT | slot->generation << INDEX_BITS | index;
    return slot->handle;
}

static struct slot *find(uint64_t tag, const void *handle)
{
    uint64_t value = (uintptr_t)handle;
    uint32_t index = (uint32_t)(value & (LIBRARY_MAX_OBJECTS - 1));

    if (value >> TAG_SHIFT != tag || index >= slots_used || !slots[index].object ||
        slots[index].handle != value)
        return NULL;
    return &slots[index];
}

static void drop(uint64_t tag, const void *handle)
{
    struct slot *slot = find(tag, handle);

    if (!slot)
        return;
    slot->object = NULL;
    slot->next_free = first_free;
    first_free = (uint32_t)(slot - slots) + 1;
}

struct library *library_new(const void *image, size_t bytes)
{
    struct library *library = calloc(1, sizeof(*library));

    if (!library)
        return NULL;
    library->references = 1;
    library->image = malloc(bytes);
    if (library->image) {
        memcpy(library->image, image, bytes);
        library_lock();
        library->handle = (CUlibrary)(uintptr_t)put(TAG_LIBRARY, library);
        library_unlock();
    }
    if (!library->handle) {
        free(library->image);
        free(library);
        return NULL;
    }
    return library;
}

static void free_kernel(struct kernel *kernel)
{
    struct kernel_function *function;
    struct kernel_setting *setting;

    while ((function = kernel->functions)) {
        kernel->functions = function->next;
        free(function);
    }
    while ((setting = kernel->settings)) {
        kernel->settings = setting->next;
        free(setting);
    }
    free(kernel);
}

void library_release(struct library *library)
{
    struct kernel *kernel;
    bool last;

    library_lock();
    last = --library->references == 0;
    library_unlock();
    if (!last)
        return;
    while ((kernel = library->kernels)) {
        library->kernels = kernel->next;
        free_kernel(kernel);
    }
    library_modules_free(library->modules);
    free(library->image);
    free(library);
}

struct library *library_hold(CUlibrary handle)
{
    const struct slot *slot = find(TAG_LIBRARY, handle);
    struct library *library = slot ? slot->object : NULL;

    if (library)
        library->references++;
    return library;
}

struct kernel *kernel_find(const void *handle)
{
    const struct slot *slot = find(TAG_KERNEL, handle);

    return slot ? slot->object : NULL;
}

struct kernel *kernel_hold(const void *handle)
{
    struct kernel *kernel = kernel_find(handle);

    if (kernel)
        kernel->library->references++;
    return kernel;
}

static bool loading(const struct library *library)
{
    for (const struct library_module *module = library->modules; module; module = module->next)
        if (module->loading)
            return true;
    return false;
}

bool library_end(struct library *library, struct library_module **ret_modules)
{
    if (!find(TAG_LIBRARY, library->handle))
        return false;
    drop(TAG_LIBRARY, library->handle);
    for (struct kernel *kernel = library->kernels; kernel; kernel = kernel->next)
        drop(TAG_KERNEL, kernel->handle);
    while (loading(library))
        pthread_cond_wait(&library_changed, &lock);
    *ret_modules = library->modules;
    library->modules = NULL;
    return true;
}

void library_modules_free(struct library_module *modules)
{
    while (modules) {
        struct library_module *module = modules;

        modules = module->next;
        free(module);
    }
}

struct kernel *kernel_make(struct library *library, const char *name)
{
    size_t bytes = strlen(name) + 1;
    struct kernel *kernel = library->kernels;

    while (kernel && strcmp(kernel->name, name) != 0)
        kernel = kernel->next;
    if (kernel || !find(TAG_LIBRARY, library->handle))
        return kernel;
    kernel = calloc(1, sizeof(*kernel) + bytes);
    if (!kernel)
        return NULL;
    kernel->library = library;
    memcpy(kernel->name, name, bytes);
    kernel->handle = (CUkernel)(uintptr_t)put(TAG_KERNEL, kernel);
    if (!kernel->handle) {
        free(kernel);
        return NULL;
    }
    kernel->next = library->kernels;
    library->kernels = kernel;
    return kernel;
}

static struct library_module *module_in(struct library *library, unsigned long long context_id)
{
    struct library_module *module = library->modules;

    while (module && module->context_id != context_id)
        module = module->next;
    return module;
}

/* Lock held. The entry of a context that has none. */
static struct library_module *add_module(struct library *library, CUcontext context,
                                         unsigned long long context_id)
{
    struct library_module *module = calloc(1, sizeof(*module));

    if (!module)
        return NULL;
    module->context = context;
    module->context_id = context_id;
    module->loading = true;
    module->next = library->modules;
    library->modules = module;
    return module;
}

/* Lock held. */
static void remove_module(struct library *library, struct library_module *module)
{
    struct library_module **link = &library->modules;

    while (*link && *link != module)
        link = &(*link)->next;
    if (*link)
        *link = module->next;
    free(module);
}

/* Lock held, and released while the driver loads. */
static CUresult load(struct library *library, struct library_module *module, unsigned count,
                     CUjit_option *options, void **values)
{
    CUmodule loaded = NULL;
    CUresult result;

    library_unlock();
    if (count > 0)
        result = cuModuleLoadDataEx(&loaded, library->image, count, options, values);
    else
        result = cuModuleLoadDataEx(&loaded, library->image, library->options_count,
                                    library->options, library->values);
    library_lock();
    module->module = loaded;
    module->loading = false;
    pthread_cond_broadcast(&library_changed);
    return result;
}

CUresult library_module(struct library *library, unsigned count, CUjit_option *options,
                        void **values, CUmodule *ret_module)
{
    struct library_module *module;
    unsigned long long id;
    CUcontext context;
    CUresult result = cuCtxGetId(NULL, &id);

    if (result == CUDA_SUCCESS)
        result = cuCtxGetCurrent(&context);
    if (result != CUDA_SUCCESS)
        return result;
    library_lock();
    while ((module = module_in(library, id)) && module->loading)
        pthread_cond_wait(&library_changed, &lock);
    if (!find(TAG_LIBRARY, library->handle)) {
        result = CUDA_ERROR_INVALID_HANDLE;
    } else if (!module) {
        module = add_module(library, context, id);
        result = module ? load(library, module, count, options, values) : CUDA_ERROR_OUT_OF_MEMORY;
        if (module && result != CUDA_SUCCESS)
            remove_module(library, module);
    }
    if (result == CUDA_SUCCESS)
        *ret_module = module->module;
    library_unlock();
    return result;
}

void library_forget(struct library *library, unsigned long long context_id)
{
    struct library_module *module = module_in(library, context_id);

    if (module && !module->loading)
        remove_module(library, module);
    for (struct kernel *kernel = library->kernels; kernel; kernel = kernel->next) {
        struct kernel_function **link = &kernel->functions;

        while (*link && (*link)->context_id != context_id)
            link = &(*link)->next;
        if (*link) {
            struct kernel_function *function = *link;

            *link = function->next;
            free(function);
        }
    }
}
