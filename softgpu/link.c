/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuLink*; see link.h. What cuLinkComplete returns is a container of the PTX texts (fatbin.h) that
 * have been found to link; loading it compiles them again.
 */
#include "softgpu/link.h"

#include <stdlib.h>
#include <string.h>

#include "softgpu/context.h"
#include "softgpu/handle.h"
#include "softgpu/jit.h"

struct link_state {
    CUlinkState handle;
    unsigned refs;
    bool busy; /* a thread works on it without the lock; others are refused meanwhile */
    struct link_state *next; /* in its context's list */
    struct context *context; /* not a reference: the state ends with it */
    struct jit jit;
    struct image image; /* all of its texts are owned */
    struct fatbin_writer output;
};

static void link_unref(struct link_state *state)
{
    if (--state->refs > 0)
        return;
    for (size_t i = 0; i < state->image.n_sources; i++)
        free((void *)(uintptr_t)state->image.sources[i].name);
    image_release(&state->image);
    free(state->output.data);
    free(state);
}

static void link_end(struct link_state *state)
{
    for (struct link_state **link = &state->context->links; *link; link = &(*link)->next) {
        if (*link == state) {
            *link = state->next;
            break;
        }
    }
    handle_free(state->handle);
    link_unref(state);
}

/*
 * Compiling may take long: the lock is released meanwhile. The state is kept, and this thread has
 * it alone, until link_leave; it may have ended by then. Programs that share one between threads
 * get ILLEGAL_STATE.
 */
static CUresult link_enter(CUlinkState handle, struct link_state **ret_state)
{
    struct link_state *state = handle_get(HANDLE_LINK, handle);

    if (!state)
        return CUDA_ERROR_INVALID_HANDLE;
    if (state->busy)
        return CUDA_ERROR_ILLEGAL_STATE;
    state->busy = true;
    state->refs++;
    pthread_mutex_unlock(&gpu.lock);
    *ret_state = state;
    return CUDA_SUCCESS;
}

static void link_leave(struct link_state *state)
{
    pthread_mutex_lock(&gpu.lock);
    state->busy = false;
    link_unref(state);
}

void link_end_all(struct context *context)
{
    while (context->links)
        link_end(context->links);
}

CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option *options, void **optionValues,
                         CUlinkState *stateOut)
{
    _scope_ struct scope scope = scope_context();
    struct link_state *state;
    struct jit jit;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!stateOut)
        return CUDA_ERROR_INVALID_VALUE;
    result = jit_begin(&jit, numOptions, options, optionValues);
    if (result != CUDA_SUCCESS)
        return result;
    state = calloc(1, sizeof(*state));
    if (state)
        state->handle = handle_new(HANDLE_LINK, state);
    if (!state || !state->handle) {
        free(state);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    state->refs = 1;
    state->jit = jit;
    state->context = scope.context;
    state->next = scope.context->links;
    scope.context->links = state;
    *stateOut = state->handle;
    return CUDA_SUCCESS;
}

/* Compiles a text by itself, to report now what is wrong with it; it may lack symbols. */
static CUresult check_text(struct link_state *state, const struct ptx_source *source)
{
    struct ptx_program *program = NULL;
    enum ptx_status status = ptx_program_new(source, 1, NULL, &program);
    struct image image = {.n_sources = 1};

    if (status == PTX_OK)
        ptx_program_free(program);
    if (status == PTX_OK || status == PTX_LINK)
        return CUDA_SUCCESS;
    image.sources[0] = *source;
    return jit_compile(&state->jit, &image, &program); /* once more, for the log */
}

/* Copies text and name, which then belong to the state. */
static CUresult add_text(struct link_state *state, const struct ptx_source *source,
                         const char *name)
{
    char *text = malloc(source->size_bytes + 1);
    char *name_copy = strdup(name ? name : "ptx");
    size_t before = state->image.n_sources;
    CUresult result;

    if (!text || !name_copy) {
        free(text);
        free(name_copy);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memcpy(text, source->text, source->size_bytes);
    text[source->size_bytes] = '\0';
    result = image_read_ptx(&state->image, name_copy, text, source->size_bytes);
    if (result == CUDA_SUCCESS)
        result = check_text(state, &state->image.sources[before]);
    else
        jit_complain(&state->jit, state->image.problem);
    if (result != CUDA_SUCCESS) {
        state->image.n_sources = before;
        free(text);
        free(name_copy);
        return result;
    }
    state->image.owned[state->image.n_owned++] = text;
    return CUDA_SUCCESS;
}

/* Adds what an image (in any form) holds. */
static CUresult add_image(struct link_state *state, CUjitInputType type, const char *data,
                          size_t size, const char *name)
{
    struct image image = {0};
    CUresult result;

    switch (type) {
    case CU_JIT_INPUT_PTX:
        result = image_read_ptx(&image, NULL, data, strnlen(data, size));
        break;
    case CU_JIT_INPUT_CUBIN:
    case CU_JIT_INPUT_FATBINARY:
        result = image_read(&image, data, size);
        break;
    case CU_JIT_INPUT_OBJECT:
    case CU_JIT_INPUT_LIBRARY:
    case CU_JIT_INPUT_NVVM:
        jit_complain(&state->jit, "object files, libraries and NVVM are not supported as input");
        return CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (image.problem[0])
        jit_complain(&state->jit, image.problem);
    for (size_t i = 0; i < image.n_sources && result == CUDA_SUCCESS; i++)
        result = add_text(state, &image.sources[i], name);
    image_release(&image);
    return result;
}

static CUresult add(CUlinkState handle, CUjitInputType type, const char *data, size_t size,
                    const char *name, unsigned n, const CUjit_option *options, void **values)
{
    _scope_ struct scope scope = scope_context();
    struct link_state *state;
    struct jit ignored;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    result = jit_begin(&ignored, n, options, values);
    if (result == CUDA_SUCCESS)
        result = link_enter(handle, &state);
    if (result != CUDA_SUCCESS)
        return result;
    if (!data || size == 0 || state->output.data)
        result = CUDA_ERROR_INVALID_VALUE;
    else
        result = add_image(state, type, data, size, name);
    link_leave(state);
    return result;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size,
                          const char *name, unsigned int numOptions, CUjit_option *options,
                          void **optionValues)
{
    return add(state, type, data, size, name, numOptions, options, optionValues);
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path,
                          unsigned int numOptions, CUjit_option *options, void **optionValues)
{
    _cleanup_free_ char *data = NULL;
    CUresult result;
    size_t size;

    if (!path)
        return CUDA_ERROR_INVALID_VALUE;
    result = image_read_file(path, &data, &size);
    if (result != CUDA_SUCCESS)
        return result;
    return add(state, type, data, size, path, numOptions, options, optionValues);
}

static CUresult complete(struct link_state *state)
{
    struct ptx_program *program = NULL;
    CUresult result;

    if (state->image.n_sources == 0) {
        jit_complain(&state->jit, "there is nothing to link");
        return CUDA_ERROR_INVALID_VALUE;
    }
    result = jit_compile(&state->jit, &state->image, &program);
    if (result != CUDA_SUCCESS)
        return result;
    ptx_program_free(program);
    for (size_t i = 0; i < state->image.n_sources; i++) {
        const struct ptx_source *source = &state->image.sources[i];

        if (fatbin_write(&state->output, state->image.sm, source->text, source->size_bytes) < 0)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

CUresult cuLinkComplete(CUlinkState handle, void **cubinOut, size_t *sizeOut)
{
    _scope_ struct scope scope = scope_context();
    struct link_state *state;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!cubinOut)
        return CUDA_ERROR_INVALID_VALUE;
    result = link_enter(handle, &state);
    if (result != CUDA_SUCCESS)
        return result;
    if (state->output.data) { /* once only */
        result = CUDA_ERROR_INVALID_HANDLE;
    } else {
        result = complete(state);
        jit_end(&state->jit);
    }
    if (result == CUDA_SUCCESS) {
        *cubinOut = state->output.data;
        if (sizeOut)
            *sizeOut = state->output.size_bytes;
    }
    link_leave(state);
    return result;
}

CUresult cuLinkDestroy(CUlinkState handle)
{
    _scope_ struct scope scope = scope_context_any();
    struct link_state *state;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    state = handle_get(HANDLE_LINK, handle);
    if (!state)
        return CUDA_ERROR_INVALID_HANDLE;
    link_end(state);
    return scope.context->error;
}
