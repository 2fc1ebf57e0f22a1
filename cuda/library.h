/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries and kernels: images that belong to no context. Written once on top of the driver API's
 * modules, and compiled into each library that implements it: a library keeps its image and loads
 * it as a module in each context at the first use there; a kernel stands for the function of that
 * name in the context that is current.
 *
 * A handle is a number that is never given twice. A context is known by its id, which is never
 * given twice either, so that what belonged to a dead context is found by nobody. The lock is never
 * held while another function of the driver API is called; what is used meanwhile is held by a
 * reference (library_hold), and is freed with the last one.
 */
#ifndef VGPU_CUDA_LIBRARY_H
#define VGPU_CUDA_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/cuda_abi.h"

#define LIBRARY_MAX_OBJECTS 65536u /* libraries and kernels that live */
#define LIBRARY_MAX_OPTIONS 64u

/* The library as a module in one context. */
struct library_module {
    struct library_module *next;
    CUcontext context;
    unsigned long long context_id;
    CUmodule module;
    bool loading; /* by another thread: wait for library_changed */
};

/* The kernel in one context. */
struct kernel_function {
    struct kernel_function *next;
    unsigned long long context_id;
    CUfunction function;
    unsigned settings; /* how many of the kernel's settings it has */
};

#define KERNEL_CACHE_CONFIG (-1) /* as the attribute of a setting: cuKernelSetCacheConfig */

struct kernel_setting {
    struct kernel_setting *next; /* the order in which they were made */
    CUdevice device;
    int attribute, value;
};

struct kernel {
    CUkernel handle;
    struct kernel *next; /* of its library */
    struct library *library;
    struct kernel_function *functions;
    struct kernel_setting *settings;
    unsigned settings_count; /* grows with each one that is made or changed */
    char name[];
};

struct library {
    CUlibrary handle;
    unsigned references;
    void *image; /* its own copy */
    CUjit_option options[LIBRARY_MAX_OPTIONS];
    void *values[LIBRARY_MAX_OPTIONS];
    unsigned options_count;
    struct library_module *modules;
    struct kernel *kernels;
};

/* --- library.c: what there is. All but library_new and library_module need the lock. --- */

void library_lock(void);
void library_unlock(void);

/* One reference, the caller's; the image is copied. NULL: out of memory, or too many. */
struct library *library_new(const void *image, size_t bytes);

/* Drops a reference. Called without the lock. */
void library_release(struct library *library);

/* The live object of a handle, with a reference to the library; NULL if there is none. */
struct library *library_hold(CUlibrary handle);
struct kernel *kernel_hold(const void *handle);

/*
 * No handle finds the library or its kernels any more; its modules are the caller's, to unload and
 * to give to library_modules_free. Waits for loads, the lock released meanwhile. False if another
 * thread has done it.
 */
bool library_end(struct library *library, struct library_module **ret_modules);
void library_modules_free(struct library_module *modules);

/* A kernel of the library: the one of that name, or a new one; NULL: out of memory, or ended. */
struct kernel *kernel_make(struct library *library, const char *name);

/* The kernel of a handle, or NULL; no reference. */
struct kernel *kernel_find(const void *handle);

/*
 * The library's module in the current context, loaded if it is not. The options are used in place
 * of the library's own if count > 0. Called without the lock, as the library is held.
 */
CUresult library_module(struct library *library, unsigned count, CUjit_option *options,
                        void **values, CUmodule *ret_module);

/* Forgets what the library has in the context of that id. */
void library_forget(struct library *library, unsigned long long context_id);

/* --- library_kernel.c --- */

/*
 * The function that a kernel's handle stands for in the current context. CUDA_ERROR_INVALID_HANDLE
 * if it is no kernel. For launches and occupancy, which take a kernel in place of a function: no
 * other call does. Called without any lock.
 */
CUresult library_function(const void *handle, CUfunction *ret_function);

#endif
