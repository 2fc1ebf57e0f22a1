/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/test_driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define JOURNAL_MAX 4096
#define NAME_BYTES  32
#define PITCH       512

enum work_kind { WORK_UNIT, WORK_RECORD, WORK_AWAIT, WORK_FREE };

struct work {
    struct work *next;
    enum work_kind kind;
    uint64_t order; /* among units */
    CUevent event;
    uint64_t ticket; /* of the record, or the one that is waited for */
    /* A unit: */
    void *target;
    const void *source;
    void *stage; /* what a copy from memory that is not page-locked has read */
    size_t bytes, rows, target_pitch, source_pitch;
    uint32_t element_bytes, value; /* a fill, if element_bytes */
    bool add;
    uint32_t count;
};

struct CUctx_st {
    CUresult broken;
    bool primary;
};

struct CUstream_st {
    struct CUstream_st *next;
    struct work *first, **last;
    CUcontext context;
    bool dead;
};

struct CUevent_st {
    uint64_t recorded, done; /* tickets */
    CUcontext context;
};

struct CUmod_st {
    struct CUfunc_st *functions;
    unsigned listed; /* functions that it enumerates */
    char global[64];
};

struct CUfunc_st {
    struct CUfunc_st *next;
    char name[NAME_BYTES];
    size_t params;
};

struct CUlinkState_st {
    char image[16];
};

struct CUmemPoolHandle_st {
    struct CUmemPoolHandle_st *next;
    uint64_t used, unused; /* bytes, in whole grains */
    uint64_t unseen;       /* unused too, but no synchronisation has seen it: not given back */
    uint64_t threshold;
    unsigned blocks;
    bool destroyed;
};

struct allocation {
    struct allocation *next;
    CUmemoryPool pool; /* or NULL */
    CUcontext owner;
    uint8_t *base;
    size_t bytes;
};

#define LOCKED_MAX 256

static struct {
    pthread_mutex_t lock;
    pthread_cond_t free_allowed;
    bool held, free_blocked;
    uint64_t units_issued, units_allowed, tickets;
    CUresult break_next, refuse_next;
    struct CUctx_st primary;
    struct CUstream_st *streams;
    struct allocation *allocations;
    size_t allocation_count, largest_copy, journal_count;
    struct {
        uint64_t start, bytes;
    } locked[LOCKED_MAX]; /* the latest */
    size_t locked_count;
    struct CUmemPoolHandle_st default_pool;
    struct CUmemPoolHandle_st *pools;
    unsigned long long memories;
    size_t memories_live;
    size_t pool_grain;
    char journal[JOURNAL_MAX][NAME_BYTES];
} gpu = {.lock = PTHREAD_MUTEX_INITIALIZER, .free_allowed = PTHREAD_COND_INITIALIZER};

static __thread CUcontext current;

/* What the driver made for its user and owns: gone with its context at the latest. */
struct object {
    struct object *next, **at;
    CUcontext owner; /* NULL: a context, which only a reset of the whole double ends */
    _Alignas(16) char body[];
};

static struct object *objects;
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

static void *make(size_t bytes)
{
    struct object *object = calloc(1, sizeof(*object) + bytes);

    pthread_mutex_lock(&objects_lock);
    object->owner = current;
    object->next = objects;
    object->at = &objects;
    if (objects)
        objects->at = &object->next;
    objects = object;
    pthread_mutex_unlock(&objects_lock);
    return object->body;
}

static void unmake(void *body)
{
    struct object *object = (struct object *)(void *)((char *)body - offsetof(struct object, body));

    pthread_mutex_lock(&objects_lock);
    *object->at = object->next;
    if (object->next)
        object->next->at = object->at;
    pthread_mutex_unlock(&objects_lock);
    free(object);
}

static void note(const char *name)
{
    if (gpu.journal_count < JOURNAL_MAX)
        snprintf(gpu.journal[gpu.journal_count++], NAME_BYTES, "%s", name);
}

static void run_unit(CUcontext context, const struct work *work)
{
    if (gpu.break_next != CUDA_SUCCESS) {
        context->broken = gpu.break_next;
        gpu.break_next = CUDA_SUCCESS;
    }
    if (context->broken != CUDA_SUCCESS)
        return;
    if (work->add) {
        const uint32_t *a = work->source;
        uint32_t *sum = work->target;

        for (uint32_t i = 0; i < work->count; i++)
            sum[i] = a[i] + a[1024 + i];
    }
    for (size_t row = 0; row < work->rows; row++) {
        uint8_t *target = (uint8_t *)work->target + row * work->target_pitch;

        if (work->element_bytes == 0) {
            memmove(target, (const uint8_t *)work->source + row * work->source_pitch, work->bytes);
            continue;
        }
        for (size_t i = 0; i < work->bytes; i += work->element_bytes)
            memcpy(target + i, &work->value, work->element_bytes);
    }
}

static uint64_t in_grains(uint64_t bytes)
{
    return (bytes + gpu.pool_grain - 1) / gpu.pool_grain * gpu.pool_grain;
}

/* Takes an allocation out; false if there is none at that address. */
static bool drop_allocation(uintptr_t address)
{
    for (struct allocation **at = &gpu.allocations; *at; at = &(*at)->next) {
        struct allocation *allocation = *at;

        if ((uintptr_t)allocation->base != address)
            continue;
        *at = allocation->next;
        if (allocation->pool) {
            allocation->pool->used -= in_grains(allocation->bytes);
            allocation->pool->unseen += in_grains(allocation->bytes);
            allocation->pool->blocks--;
        }
        munmap(allocation->base, allocation->bytes);
        free(allocation);
        gpu.allocation_count--;
        return true;
    }
    return false;
}

/* False if the first work of the stream cannot go on yet. */
static bool advance(struct CUstream_st *stream)
{
    struct work *work = stream->first;

    if (!work)
        return false;
    if (work->kind == WORK_UNIT && gpu.held && work->order > gpu.units_allowed)
        return false;
    if (work->kind == WORK_AWAIT && work->event->done < work->ticket)
        return false;
    if (work->kind == WORK_RECORD && work->event->done < work->ticket)
        work->event->done = work->ticket;
    if (work->kind == WORK_UNIT)
        run_unit(stream->context, work);
    if (work->kind == WORK_FREE)
        drop_allocation((uintptr_t)work->target);
    stream->first = work->next;
    if (!stream->first)
        stream->last = &stream->first;
    free(work->stage);
    free(work);
    return true;
}

static void settle(void)
{
    bool any = true;

    while (any) {
        any = false;
        for (struct CUstream_st *stream = gpu.streams; stream; stream = stream->next)
            while (advance(stream))
                any = true;
    }
}

static void forget_streams(CUcontext owner)
{
    struct CUstream_st **at = &gpu.streams;

    while (*at) {
        struct CUstream_st *stream = *at;

        if (owner && stream->context != owner) {
            at = &stream->next;
            continue;
        }
        *at = stream->next;
        while (stream->first) {
            struct work *next = stream->first->next;

            free(stream->first->stage);
            free(stream->first);
            stream->first = next;
        }
        free(stream);
    }
}

static void forget_allocations(CUcontext owner)
{
    struct allocation **at = &gpu.allocations;

    while (*at) {
        struct allocation *allocation = *at;

        if (owner && allocation->owner != owner) {
            at = &allocation->next;
            continue;
        }
        *at = allocation->next;
        munmap(allocation->base, allocation->bytes);
        free(allocation);
        gpu.allocation_count--;
    }
}

/* All that belongs to a context; owner NULL: everything. */
static void forget(CUcontext owner)
{
    struct object *object = objects;

    forget_streams(owner);
    forget_allocations(owner);
    while (object) {
        struct object *next = object->next;

        if (!owner || object->owner == owner)
            unmake(object->body);
        object = next;
    }
}

void test_driver_reset(void)
{
    pthread_mutex_lock(&gpu.lock);
    forget(NULL);
    gpu.held = gpu.free_blocked = false;
    gpu.break_next = gpu.refuse_next = CUDA_SUCCESS;
    gpu.primary.broken = CUDA_SUCCESS;
    gpu.largest_copy = gpu.journal_count = gpu.locked_count = 0;
    memset(&gpu.default_pool, 0, sizeof(gpu.default_pool));
    gpu.pools = NULL;
    gpu.pool_grain = 512;
    gpu.memories_live = 0;
    pthread_mutex_unlock(&gpu.lock);
}

void test_driver_hold(void)
{
    pthread_mutex_lock(&gpu.lock);
    gpu.held = true;
    gpu.units_allowed = gpu.units_issued;
    gpu.journal_count = 0;
    pthread_mutex_unlock(&gpu.lock);
}

void test_driver_step(unsigned units)
{
    pthread_mutex_lock(&gpu.lock);
    gpu.units_allowed += units;
    settle();
    pthread_mutex_unlock(&gpu.lock);
}

void test_driver_release(void)
{
    pthread_mutex_lock(&gpu.lock);
    gpu.held = false;
    settle();
    pthread_mutex_unlock(&gpu.lock);
}

void test_driver_break(CUresult result)
{
    gpu.break_next = result;
}

void test_driver_refuse(CUresult result)
{
    gpu.refuse_next = result;
}

void test_driver_block_free(bool block)
{
    pthread_mutex_lock(&gpu.lock);
    gpu.free_blocked = block;
    pthread_cond_broadcast(&gpu.free_allowed);
    pthread_mutex_unlock(&gpu.lock);
}

size_t test_driver_journal_count(void)
{
    return gpu.journal_count;
}

const char *test_driver_journal(size_t index)
{
    return index < gpu.journal_count ? gpu.journal[index] : "";
}

size_t test_driver_count(const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < gpu.journal_count; i++)
        count += strcmp(gpu.journal[i], name) == 0;
    return count;
}

size_t test_driver_largest_copy(void)
{
    return gpu.largest_copy;
}

size_t test_driver_locked(void)
{
    return gpu.locked_count;
}

size_t test_driver_memories(void)
{
    return gpu.memories_live;
}

size_t test_driver_allocations(void)
{
    return gpu.allocation_count;
}

static struct CUstream_st *new_stream(CUcontext context)
{
    struct CUstream_st *stream = calloc(1, sizeof(*stream));

    stream->context = context;
    stream->last = &stream->first;
    stream->next = gpu.streams;
    gpu.streams = stream;
    return stream;
}

/* The context's own for NULL: made once, found by its being the only one without a handle. */
static struct CUstream_st *resolve(CUstream stream)
{

    if (stream)
        return stream;
    for (struct CUstream_st *known = gpu.streams; known; known = known->next)
        if (known->dead && known->context == current)
            return known;
    stream = new_stream(current);
    stream->dead = true;
    return stream;
}

static struct work *push(CUstream stream, enum work_kind kind)
{
    struct CUstream_st *queue = resolve(stream);
    struct work *work = calloc(1, sizeof(*work));

    work->kind = kind;
    if (kind == WORK_UNIT)
        work->order = ++gpu.units_issued;
    *queue->last = work;
    queue->last = &work->next;
    return work;
}

static CUresult refusal(void)
{
    CUresult result = gpu.refuse_next;

    gpu.refuse_next = CUDA_SUCCESS;
    if (result != CUDA_SUCCESS)
        return result;
    return current ? current->broken : CUDA_ERROR_INVALID_CONTEXT;
}

#define LOCKED(statements)                                                                         \
    do {                                                                                           \
        pthread_mutex_lock(&gpu.lock);                                                             \
        statements pthread_mutex_unlock(&gpu.lock);                                                \
    } while (0)

static CUresult init(unsigned int flags)
{
    return CUDA_SUCCESS;
}

static CUresult driver_version(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

static CUresult device_get(CUdevice *device, int ordinal)
{
    *device = 0;
    return CUDA_SUCCESS;
}

static CUresult device_name(char *name, int length, CUdevice device)
{
    snprintf(name, (size_t)length, "test double");
    return CUDA_SUCCESS;
}

static CUresult device_memory(size_t *bytes, CUdevice device)
{
    *bytes = 1u << 30;
    return CUDA_SUCCESS;
}

static CUresult device_attribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    *value = (int)attribute;
    return CUDA_SUCCESS;
}

static CUresult primary_retain(CUcontext *context, CUdevice device)
{
    gpu.primary.broken = CUDA_SUCCESS;
    gpu.primary.primary = true;
    *context = &gpu.primary;
    return CUDA_SUCCESS;
}

static CUresult primary_reset(CUdevice device)
{
    LOCKED(note("reset"); forget(&gpu.primary););
    return CUDA_SUCCESS;
}

static CUresult context_create(CUcontext *context, unsigned int flags, CUdevice device)
{
    current = NULL;
    *context = make(sizeof(**context));
    current = *context;
    return CUDA_SUCCESS;
}

static CUresult context_destroy(CUcontext context)
{
    LOCKED(note("destroy-context"); forget(context););
    unmake(context);
    return CUDA_SUCCESS;
}

static CUresult context_set(CUcontext context)
{
    current = context;
    return CUDA_SUCCESS;
}

static CUresult context_get(CUcontext *context)
{
    *context = current;
    return CUDA_SUCCESS;
}

static CUresult context_pop(CUcontext *context)
{
    *context = current;
    current = NULL;
    return CUDA_SUCCESS;
}

static void see_frees(struct CUmemPoolHandle_st *pool)
{
    pool->unused += pool->unseen;
    pool->unseen = 0;
}

static CUresult context_synchronize(void)
{
    pthread_mutex_lock(&gpu.lock);
    for (struct CUstream_st *stream = gpu.streams; stream; stream = stream->next)
        if (stream->context == current && stream->first)
            abort(); /* the consumer never calls what waits */
    see_frees(&gpu.default_pool);
    for (struct CUmemPoolHandle_st *pool = gpu.pools; pool; pool = pool->next)
        see_frees(pool);
    pthread_mutex_unlock(&gpu.lock);
    return CUDA_SUCCESS;
}

static CUresult set_limit(CUlimit limit, size_t value)
{
    return CUDA_SUCCESS;
}

static CUresult module_load(CUmodule *module, const void *image)
{
    if (strstr(image, "broken"))
        return CUDA_ERROR_INVALID_PTX;
    *module = make(sizeof(**module));
    if (strncmp(image, "functions ", 10) == 0)
        (*module)->listed = (unsigned)atoi((const char *)image + 10);
    return CUDA_SUCCESS;
}

static CUresult module_load_ex(CUmodule *module, const void *image, unsigned int count,
                               CUjit_option *options, void **values)
{
    for (unsigned int i = 0; i < count; i++)
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER && strstr(image, "broken"))
            strcpy(values[i], "line 1: broken");
    return module_load(module, image);
}

static CUresult module_unload(CUmodule module)
{
    LOCKED(note("unload"););
    while (module->functions) {
        struct CUfunc_st *next = module->functions->next;

        unmake(module->functions);
        module->functions = next;
    }
    unmake(module);
    return CUDA_SUCCESS;
}

static CUresult module_function(CUfunction *function, CUmodule module, const char *name)
{
    if (strncmp(name, "missing", 7) == 0)
        return CUDA_ERROR_NOT_FOUND;
    *function = make(sizeof(**function));
    strncpy((*function)->name, name, NAME_BYTES - 1);
    (*function)->params = strncmp(name, "one", 3) == 0;
    (*function)->next = module->functions;
    module->functions = *function;
    return CUDA_SUCCESS;
}

/* As many functions as the image's text says, named f0, f1, ... */
static CUresult module_count(unsigned int *count, CUmodule module)
{
    *count = module->listed;
    return CUDA_SUCCESS;
}

static CUresult module_list(CUfunction *functions, unsigned int count, CUmodule module)
{
    for (unsigned i = 0; i < count; i++) {
        char name[NAME_BYTES];

        snprintf(name, sizeof(name), "f%u", i);
        if (module_function(&functions[i], module, name) != CUDA_SUCCESS)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

static CUresult function_name(const char **name, CUfunction function)
{
    *name = function->name;
    return CUDA_SUCCESS;
}

static CUresult module_global(CUdeviceptr *address, size_t *bytes, CUmodule module,
                              const char *name)
{
    *address = (CUdeviceptr)(uintptr_t)module->global;
    *bytes = sizeof(module->global);
    return CUDA_SUCCESS;
}

static CUresult function_attribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    *value = 1;
    return CUDA_SUCCESS;
}

static CUresult function_set(CUfunction function, CUfunction_attribute attribute, int value)
{
    return CUDA_SUCCESS;
}

static CUresult function_parameter(CUfunction function, size_t index, size_t *offset, size_t *size)
{
    if (index >= function->params)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = index * 8;
    *size = 8;
    return CUDA_SUCCESS;
}

static CUresult link_create(unsigned int count, CUjit_option *options, void **values,
                            CUlinkState *state)
{
    *state = make(sizeof(**state));
    return CUDA_SUCCESS;
}

static CUresult link_add(CUlinkState state, CUjitInputType type, void *data, size_t size,
                         const char *name, unsigned int count, CUjit_option *options, void **values)
{
    return CUDA_SUCCESS;
}

static CUresult link_complete(CUlinkState state, void **image, size_t *size)
{
    *image = state->image;
    *size = sizeof(state->image);
    return CUDA_SUCCESS;
}

static CUresult link_destroy(CUlinkState state)
{
    unmake(state);
    return CUDA_SUCCESS;
}

static CUresult memory_info(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = 1u << 30;
    return CUDA_SUCCESS;
}

static CUresult memory_alloc(CUdeviceptr *address, size_t bytes)
{
    struct allocation *allocation;
    uint8_t *base;

    if (bytes > 1u << 30)
        return CUDA_ERROR_OUT_OF_MEMORY;
    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    allocation = calloc(1, sizeof(*allocation));
    allocation->base = base;
    allocation->bytes = bytes;
    allocation->owner = current;
    LOCKED(allocation->next = gpu.allocations; gpu.allocations = allocation;
           gpu.allocation_count++;);
    *address = (CUdeviceptr)(uintptr_t)base;
    return CUDA_SUCCESS;
}

static CUresult memory_alloc_pitch(CUdeviceptr *address, size_t *pitch, size_t width, size_t height,
                                   unsigned int element_bytes)
{
    *pitch = (width + PITCH - 1) / PITCH * PITCH;
    return memory_alloc(address, *pitch * height);
}

static CUresult memory_free(CUdeviceptr address)
{
    CUresult result;

    pthread_mutex_lock(&gpu.lock);
    while (gpu.free_blocked)
        pthread_cond_wait(&gpu.free_allowed, &gpu.lock);
    note("free");
    result = drop_allocation((uintptr_t)address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static CUresult pool_default(CUmemoryPool *pool, CUdevice device)
{
    *pool = &gpu.default_pool;
    return CUDA_SUCCESS;
}

/* They stay until the test is over: allocations may still be in them. */
static CUresult pool_create(CUmemoryPool *pool, const CUmemPoolProps *props)
{
    CUcontext context = current;

    current = NULL;
    *pool = make(sizeof(**pool));
    current = context;
    LOCKED((*pool)->next = gpu.pools; gpu.pools = *pool;);
    return CUDA_SUCCESS;
}

static CUresult pool_destroy(CUmemoryPool pool)
{
    LOCKED(pool->destroyed = true;);
    return CUDA_SUCCESS;
}

static CUresult pool_alloc(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream)
{
    CUresult result = pool->destroyed ? CUDA_ERROR_INVALID_VALUE : memory_alloc(address, bytes);
    uint64_t grains;

    if (result != CUDA_SUCCESS)
        return result;
    LOCKED(grains = in_grains(bytes); gpu.allocations->pool = pool; pool->used += grains;
           see_frees(pool); pool->unused -= grains < pool->unused ? grains : pool->unused;
           pool->blocks++;);
    return CUDA_SUCCESS;
}

static CUresult pool_free(CUdeviceptr address, CUstream stream)
{
    LOCKED(note("free-async"); push(stream, WORK_FREE)->target = (void *)(uintptr_t)address;
           settle(););
    return CUDA_SUCCESS;
}

static CUresult pool_set_attribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
        memcpy(&pool->threshold, value, sizeof(pool->threshold));
    return CUDA_SUCCESS;
}

static CUresult pool_get_attribute(CUmemoryPool pool, CUmemPool_attribute attribute, void *value)
{
    uint64_t bytes = attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? pool->threshold : pool->used;

    if (attribute <= CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES) {
        *(int *)value = 1;
        return CUDA_SUCCESS;
    }
    LOCKED(if (attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT) bytes =
               pool->used + pool->unused + pool->unseen;);
    memcpy(value, &bytes, sizeof(bytes));
    return CUDA_SUCCESS;
}

static CUresult pool_trim(CUmemoryPool pool, size_t keep)
{
    uint64_t over;

    LOCKED(over = pool->used + pool->unused > keep ? pool->used + pool->unused - keep : 0;
           pool->unused -= over < pool->unused ? over : pool->unused; note("trim"););
    return CUDA_SUCCESS;
}

static CUresult granularity(size_t *bytes, const CUmemAllocationProp *prop,
                            CUmemAllocationGranularity_flags option)
{
    *bytes = TEST_DRIVER_GRANULARITY;
    return CUDA_SUCCESS;
}

/* Handles are numbers: what is mapped has bytes of its own here. */
static CUresult memory_create(CUmemGenericAllocationHandle *handle, size_t bytes,
                              const CUmemAllocationProp *prop, unsigned long long flags)
{
    LOCKED(*handle = ++gpu.memories; gpu.memories_live++;);
    return bytes % TEST_DRIVER_GRANULARITY ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult memory_release(CUmemGenericAllocationHandle handle)
{
    LOCKED(gpu.memories_live--;);
    return CUDA_SUCCESS;
}

static CUresult address_reserve(CUdeviceptr *address, size_t bytes, size_t align, CUdeviceptr hint,
                                unsigned long long flags)
{
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    *address = (CUdeviceptr)(uintptr_t)base;
    return base == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

static CUresult address_free(CUdeviceptr address, size_t bytes)
{
    munmap((void *)(uintptr_t)address, bytes);
    LOCKED(note("address-free"););
    return CUDA_SUCCESS;
}

static CUresult memory_map(CUdeviceptr address, size_t bytes, size_t offset,
                           CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    LOCKED(note("map"););
    return refusal();
}

static CUresult memory_unmap(CUdeviceptr address, size_t bytes)
{
    mmap((void *)(uintptr_t)address, bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    LOCKED(note("unmap"););
    return CUDA_SUCCESS;
}

static CUresult memory_set_access(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *desc,
                                  size_t count)
{
    LOCKED(note("access"););
    mprotect((void *)(uintptr_t)address, bytes, desc->flags ? PROT_READ | PROT_WRITE : PROT_NONE);
    return CUDA_SUCCESS;
}

static CUresult host_alloc(void **host, size_t bytes, unsigned int flags)
{
    CUdeviceptr address;
    CUresult result = memory_alloc(&address, bytes);

    *host = (void *)(uintptr_t)address;
    return result;
}

static CUresult host_register(void *host, size_t bytes, unsigned int flags)
{
    pthread_mutex_lock(&gpu.lock);
    gpu.locked[gpu.locked_count % LOCKED_MAX].start = (uintptr_t)host;
    gpu.locked[gpu.locked_count++ % LOCKED_MAX].bytes = bytes;
    pthread_mutex_unlock(&gpu.lock);
    return CUDA_SUCCESS;
}

static bool is_locked(uint64_t address)
{
    for (size_t i = 0; i < LOCKED_MAX && i < gpu.locked_count; i++)
        if (address - gpu.locked[i].start < gpu.locked[i].bytes)
            return true;
    for (struct allocation *at = gpu.allocations; at; at = at->next)
        if (address - (uintptr_t)at->base < at->bytes)
            return true;
    return false;
}

/* One call goes over one registration. */
static bool leaves_registration(const void *at, size_t pitch, const struct work *shape)
{
    uint64_t span = (shape->rows - 1) * pitch + shape->bytes;

    for (size_t i = 0; i < LOCKED_MAX && i < gpu.locked_count; i++) {
        uint64_t offset = (uintptr_t)at - gpu.locked[i].start;

        if (offset < gpu.locked[i].bytes && span > gpu.locked[i].bytes - offset)
            return true;
    }
    return false;
}

/* As a driver does with a few bytes: they are read at once, and may change then. */
static void stage(struct work *work)
{
    if (work->rows != 1 || work->bytes > 65536 || is_locked((uintptr_t)work->source))
        return;
    work->stage = malloc(work->bytes);
    memcpy(work->stage, work->source, work->bytes);
    work->source = work->stage;
}

static CUresult host_address(CUdeviceptr *address, void *host, unsigned int flags)
{
    *address = (CUdeviceptr)(uintptr_t)host;
    return CUDA_SUCCESS;
}

static CUresult copy_rows(CUstream stream, const struct work *shape, const char *name)
{
    CUresult result;
    struct work *work;

    pthread_mutex_lock(&gpu.lock);
    result = refusal();
    if (leaves_registration(shape->target, shape->target_pitch, shape) ||
        (shape->source && leaves_registration(shape->source, shape->source_pitch, shape)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        work = push(stream, WORK_UNIT);
        work->target = shape->target;
        work->source = shape->source;
        work->bytes = shape->bytes;
        work->rows = shape->rows;
        work->target_pitch = shape->target_pitch;
        work->source_pitch = shape->source_pitch;
        work->element_bytes = shape->element_bytes;
        work->value = shape->value;
        if (work->source)
            stage(work);
        if (!shape->element_bytes && shape->bytes * shape->rows > gpu.largest_copy)
            gpu.largest_copy = shape->bytes * shape->rows;
        note(name);
        settle();
    }
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static CUresult copy(uint64_t target, uint64_t source, size_t bytes, CUstream stream)
{
    struct work shape = {.target = (void *)(uintptr_t)target,
                         .source = (const void *)(uintptr_t)source,
                         .bytes = bytes,
                         .rows = 1};

    return copy_rows(stream, &shape, "copy");
}

static CUresult copy_any(CUdeviceptr target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy(target, source, bytes, stream);
}

static CUresult copy_up(CUdeviceptr target, const void *source, size_t bytes, CUstream stream)
{
    return copy(target, (uintptr_t)source, bytes, stream);
}

static CUresult copy_down(void *target, CUdeviceptr source, size_t bytes, CUstream stream)
{
    return copy((uintptr_t)target, source, bytes, stream);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *copy2d, CUstream stream)
{
    struct work shape = {.bytes = copy2d->WidthInBytes,
                         .rows = copy2d->Height,
                         .target_pitch = copy2d->dstPitch,
                         .source_pitch = copy2d->srcPitch};

    shape.target = copy2d->dstMemoryType == CU_MEMORYTYPE_HOST
                       ? copy2d->dstHost
                       : (void *)(uintptr_t)copy2d->dstDevice;
    shape.source = copy2d->srcMemoryType == CU_MEMORYTYPE_HOST
                       ? copy2d->srcHost
                       : (const void *)(uintptr_t)copy2d->srcDevice;
    return copy_rows(stream, &shape, "copy-rows");
}

static CUresult fill(CUdeviceptr target, size_t pitch, uint32_t value, uint32_t element_bytes,
                     size_t width, size_t height, CUstream stream)
{
    struct work shape = {.target = (void *)(uintptr_t)target,
                         .bytes = width * element_bytes,
                         .rows = height,
                         .target_pitch = pitch,
                         .element_bytes = element_bytes,
                         .value = value};

    return copy_rows(stream, &shape, "fill");
}

static CUresult fill_8(CUdeviceptr target, unsigned char value, size_t count, CUstream stream)
{
    return fill(target, 0, value, 1, count, 1, stream);
}

static CUresult fill_16(CUdeviceptr target, unsigned short value, size_t count, CUstream stream)
{
    return fill(target, 0, value, 2, count, 1, stream);
}

static CUresult fill_32(CUdeviceptr target, unsigned int value, size_t count, CUstream stream)
{
    return fill(target, 0, value, 4, count, 1, stream);
}

static CUresult fill_2d_8(CUdeviceptr target, size_t pitch, unsigned char value, size_t width,
                          size_t height, CUstream stream)
{
    return fill(target, pitch, value, 1, width, height, stream);
}

static CUresult fill_2d_16(CUdeviceptr target, size_t pitch, unsigned short value, size_t width,
                           size_t height, CUstream stream)
{
    return fill(target, pitch, value, 2, width, height, stream);
}

static CUresult fill_2d_32(CUdeviceptr target, size_t pitch, unsigned int value, size_t width,
                           size_t height, CUstream stream)
{
    return fill(target, pitch, value, 4, width, height, stream);
}

static CUresult launch(CUfunction function, unsigned int grid_x, unsigned int grid_y,
                       unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                       unsigned int block_z, unsigned int shared, CUstream stream, void **params,
                       void **extra)
{
    CUresult result;

    pthread_mutex_lock(&gpu.lock);
    result = refusal();
    if (result == CUDA_SUCCESS) {
        struct work *work = push(stream, WORK_UNIT);

        if (strcmp(function->name, "vgpu_vector_add") == 0) {
            uint8_t *buffer = *(uint8_t **)params[0];

            work->add = true;
            work->count = *(uint32_t *)params[1];
            work->source = buffer;
            work->target = buffer + 8192;
        }
        note(function->name);
        settle();
    }
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

CUresult test_driver_unit(CUstream stream, const char *name)
{
    CUresult result;

    LOCKED(result = refusal(); if (result == CUDA_SUCCESS) {
        push(stream, WORK_UNIT);
        note(name);
        settle();
    });
    return result;
}

void test_driver_note(const char *name)
{
    LOCKED(note(name););
}

/* Each attribute is in the journal, before the launch. */
static CUresult launch_ex(const CUlaunchConfig *config, CUfunction function, void **params,
                          void **extra)
{
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttributeValue *value = &config->attrs[i].value;
        char text[32];

        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            snprintf(text, sizeof(text), "cluster %u %u %u", value->clusterDim.x,
                     value->clusterDim.y, value->clusterDim.z);
        else
            snprintf(text, sizeof(text), "attribute %d", (int)config->attrs[i].id);
        LOCKED(note(text););
    }
    return launch(function, 1, 1, 1, 1, 1, 1, 0, config->hStream, params, extra);
}

static CUresult write_32(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned int flags)
{
    return fill(address, 0, value, 4, 1, 1, stream);
}

static CUresult write_64(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned int flags)
{
    return fill(address, 0, (unsigned char)value, 1, 8, 1, stream);
}

static CUresult tensor_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
                             void *address, const cuuint64_t *dims, const cuuint64_t *strides,
                             const cuuint32_t *box, const cuuint32_t *element_strides,
                             CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle,
                             CUtensorMapL2promotion l2, CUtensorMapFloatOOBfill oob)
{
    map->opaque[0] = (uintptr_t)address;
    map->opaque[1] = dims[rank - 1];
    map->opaque[2] = box[rank - 1];
    return CUDA_SUCCESS;
}

static CUresult tensor_replace(CUtensorMap *map, void *address)
{
    map->opaque[0] = (uintptr_t)address;
    return CUDA_SUCCESS;
}

static CUresult active_clusters(int *clusters, CUfunction function, const CUlaunchConfig *config)
{
    *clusters = config->attrs[0].value.clusterDim.x <= 8 ? (int)config->gridDimX : 0;
    return CUDA_SUCCESS;
}

static CUresult largest_cluster(int *blocks, CUfunction function, const CUlaunchConfig *config)
{
    *blocks = 8;
    return CUDA_SUCCESS;
}

static CUresult stream_set(CUstream stream, CUstreamAttrID id, const CUstreamAttrValue *value)
{
    char text[32];

    snprintf(text, sizeof(text), "stream-attribute %d %d %d", (int)id, value->priority & 0xff,
             value->priority >> 8);
    LOCKED(note(text););
    return CUDA_SUCCESS;
}

static CUresult stream_create(CUstream *stream, unsigned int flags)
{
    LOCKED(*stream = new_stream(current););
    return CUDA_SUCCESS;
}

static CUresult stream_create_priority(CUstream *stream, unsigned int flags, int priority)
{
    return stream_create(stream, flags);
}

/* It stays until the test is over: work may still be in it. */
static CUresult stream_destroy(CUstream stream)
{
    LOCKED(note("destroy-stream"););
    return CUDA_SUCCESS;
}

static CUresult stream_query(CUstream stream)
{
    CUresult result = CUDA_SUCCESS;

    LOCKED(if (current->broken) result = current->broken;
           else if (resolve(stream)->first) result = CUDA_ERROR_NOT_READY;);
    return result;
}

/* Only for the warm-up: the consumer never calls what waits. */
static CUresult stream_synchronize(CUstream stream)
{
    if (stream_query(stream) == CUDA_ERROR_NOT_READY)
        abort();
    return CUDA_SUCCESS;
}

static CUresult stream_wait(CUstream stream, CUevent event, unsigned int flags)
{
    LOCKED(struct work *work = push(stream, WORK_AWAIT); work->event = event;
           work->ticket = event->recorded; note("wait-event"); settle(););
    return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *event, unsigned int flags)
{
    *event = make(sizeof(**event));
    (*event)->context = current;
    return CUDA_SUCCESS;
}

static CUresult event_record(CUevent event, CUstream stream)
{
    CUresult result;

    pthread_mutex_lock(&gpu.lock);
    result = current ? current->broken : CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS) {
        struct work *work = push(stream, WORK_RECORD);

        work->event = event;
        work->ticket = event->recorded = ++gpu.tickets;
        settle();
    }
    pthread_mutex_unlock(&gpu.lock);
    return result;
}

static CUresult event_query(CUevent event)
{
    CUresult result;

    LOCKED(result = event->context->broken;
           if (result == CUDA_SUCCESS && event->done < event->recorded) result =
               CUDA_ERROR_NOT_READY;);
    return result;
}

/* Marks are never freed by the worker while a context lives: memory is the test process's. */
static CUresult event_destroy(CUevent event)
{
    bool used = false;

    LOCKED(for (struct CUstream_st *stream = gpu.streams; stream;
                stream = stream->next) for (struct work *work = stream->first; work;
                                            work = work->next) used |= work->event == event;);
    if (!used)
        unmake(event);
    return CUDA_SUCCESS;
}

static CUresult event_elapsed(float *milliseconds, CUevent start, CUevent end)
{
    *milliseconds = 1.5f;
    return event_query(end);
}

static CUresult lacking(void)
{
    return CUDA_ERROR_NOT_SUPPORTED;
}

void test_driver_pool_grain(size_t bytes)
{
    gpu.pool_grain = bytes;
}

void test_driver_without_pools(struct cuda_driver *driver)
{
    *(CUresult(**)(void))(void *)&driver->cuDeviceGetDefaultMemPool = lacking;
    *(CUresult(**)(void))(void *)&driver->cuMemAllocFromPoolAsync = lacking;
}

void test_driver_table(struct cuda_driver *driver)
{
    CUresult (**slots)(void) = (CUresult(**)(void))(void *)driver;

    for (size_t i = offsetof(struct cuda_driver, cuInit) / sizeof(void *);
         i < sizeof(*driver) / sizeof(void *); i++)
        slots[i] = lacking;
    driver->library = NULL;
    driver->cuInit = init;
    driver->cuDriverGetVersion = driver_version;
    driver->cuDeviceGet = device_get;
    driver->cuDeviceGetName = device_name;
    driver->cuDeviceTotalMem = device_memory;
    driver->cuDeviceGetAttribute = device_attribute;
    driver->cuDevicePrimaryCtxRetain = primary_retain;
    driver->cuDevicePrimaryCtxReset = primary_reset;
    driver->cuCtxCreate_v2 = context_create;
    driver->cuCtxDestroy = context_destroy;
    driver->cuCtxSetCurrent = context_set;
    driver->cuCtxGetCurrent = context_get;
    driver->cuCtxPopCurrent = context_pop;
    driver->cuCtxSynchronize = context_synchronize;
    driver->cuCtxSetLimit = set_limit;
    driver->cuModuleLoadData = module_load;
    driver->cuModuleLoadDataEx = module_load_ex;
    driver->cuModuleUnload = module_unload;
    driver->cuModuleGetFunction = module_function;
    driver->cuModuleGetGlobal = module_global;
    driver->cuModuleGetFunctionCount = module_count;
    driver->cuModuleEnumerateFunctions = module_list;
    driver->cuFuncGetName = function_name;
    driver->cuFuncGetAttribute = function_attribute;
    driver->cuFuncSetAttribute = function_set;
    driver->cuFuncGetParamInfo = function_parameter;
    driver->cuLinkCreate = link_create;
    driver->cuLinkAddData = link_add;
    driver->cuLinkComplete = link_complete;
    driver->cuLinkDestroy = link_destroy;
    driver->cuMemGetInfo = memory_info;
    driver->cuMemAlloc = memory_alloc;
    driver->cuMemAllocPitch = memory_alloc_pitch;
    driver->cuMemFree = memory_free;
    driver->cuDeviceGetDefaultMemPool = pool_default;
    driver->cuMemPoolCreate = pool_create;
    driver->cuMemPoolDestroy = pool_destroy;
    driver->cuMemPoolSetAttribute = pool_set_attribute;
    driver->cuMemPoolGetAttribute = pool_get_attribute;
    driver->cuMemPoolTrimTo = pool_trim;
    driver->cuMemAllocFromPoolAsync = pool_alloc;
    driver->cuMemFreeAsync = pool_free;
    driver->cuMemGetAllocationGranularity = granularity;
    driver->cuMemCreate = memory_create;
    driver->cuMemRelease = memory_release;
    driver->cuMemAddressReserve = address_reserve;
    driver->cuMemAddressFree = address_free;
    driver->cuMemMap = memory_map;
    driver->cuMemUnmap = memory_unmap;
    driver->cuMemSetAccess = memory_set_access;
    driver->cuMemHostAlloc = host_alloc;
    driver->cuMemHostRegister = host_register;
    driver->cuMemHostGetDevicePointer = host_address;
    driver->cuMemcpyAsync = copy_any;
    driver->cuMemcpyHtoDAsync = copy_up;
    driver->cuMemcpyDtoHAsync = copy_down;
    driver->cuMemcpyDtoDAsync = copy_any;
    driver->cuMemcpy2DAsync = copy_2d;
    driver->cuMemsetD8Async = fill_8;
    driver->cuMemsetD16Async = fill_16;
    driver->cuMemsetD32Async = fill_32;
    driver->cuMemsetD2D8Async = fill_2d_8;
    driver->cuMemsetD2D16Async = fill_2d_16;
    driver->cuMemsetD2D32Async = fill_2d_32;
    driver->cuLaunchKernel = launch;
    driver->cuLaunchKernelEx = launch_ex;
    driver->cuOccupancyMaxActiveClusters = active_clusters;
    driver->cuOccupancyMaxPotentialClusterSize = largest_cluster;
    driver->cuStreamSetAttribute = stream_set;
    driver->cuStreamWriteValue32 = write_32;
    driver->cuStreamWriteValue64 = write_64;
    driver->cuTensorMapEncodeTiled = tensor_tiled;
    driver->cuTensorMapReplaceAddress = tensor_replace;
    driver->cuStreamCreate = stream_create;
    driver->cuStreamCreateWithPriority = stream_create_priority;
    driver->cuStreamDestroy = stream_destroy;
    driver->cuStreamQuery = stream_query;
    driver->cuStreamSynchronize = stream_synchronize;
    driver->cuStreamWaitEvent = stream_wait;
    driver->cuEventCreate = event_create;
    driver->cuEventRecord = event_record;
    driver->cuEventQuery = event_query;
    driver->cuEventDestroy = event_destroy;
    driver->cuEventElapsedTime = event_elapsed;
    test_driver_graphs(driver);
}
