/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API: linking. The finished image is copied here and lives as long as its link. */
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "cuda/cuda_api.h"
#include "cuda/cuda_send.h"
#include "cuda/exports.h"
#include "guest/libvgpu/data.h"
#include "cuda/image_measure.h"
#include "cuda/image_file.h"
#include "guest/libvgpu/jit.h"
#include "guest/libvgpu/lookup.h"

#define NAME_MAX_BYTES 1024u

static CUresult lookup_link(CUlinkState state, struct link_object *ret)
{
    const struct link_object *link;

    guest_lock();
    link = object_find(CUDA_KIND_LINK, state);
    if (link)
        *ret = *link;
    guest_unlock();
    return link ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static uint32_t add_link(const struct guest_thread *thread, const struct jit_logs *logs)
{
    struct link_object *link;
    uint32_t handle = 0;

    guest_lock();
    link = object_new(CUDA_KIND_LINK, thread_context(thread));
    if (link) {
        link->logs = *logs;
        handle = link->head.handle;
    }
    guest_unlock();
    return handle;
}

CUresult cuLinkCreate_v2(unsigned int numOptions, CUjit_option *options, void **optionValues,
                         CUlinkState *stateOut)
{
    struct guest_thread *thread;
    struct jit_request jit;
    struct cuda_args_link_create args = {0};
    CUresult result = guest_enter_context(&thread);

    if (result != CUDA_SUCCESS)
        return result;
    if (!stateOut)
        return CUDA_ERROR_INVALID_VALUE;
    result = jit_request_init(&jit, numOptions, options, optionValues);
    if (result != CUDA_SUCCESS)
        return result;
    args.link = add_link(thread, &jit.logs);
    if (!args.link)
        return CUDA_ERROR_OUT_OF_MEMORY;
    args.options = jit.options;
    args.options_bytes = jit.count * (uint32_t)sizeof(jit.options[0]);
    args.info_log_bytes = jit_info_bytes(&jit.logs);
    args.error_log_bytes = jit_error_bytes(&jit.logs);
    result = cuda_send_link_create(guest_sender(), &args);
    if (result == CUDA_SUCCESS) {
        *stateOut = (CUlinkState)(uintptr_t)args.link;
        return CUDA_SUCCESS;
    }
    guest_lock();
    object_drop(CUDA_KIND_LINK, args.link);
    guest_unlock();
    return result;
}

static CUresult add(CUlinkState state, CUjitInputType type, const void *data, size_t bytes,
                    const char *name, unsigned int num_options)
{
    struct link_object link;
    struct cuda_out_link_add out;
    struct cuda_args_link_add args = {.type = (uint32_t)type, .image = data};
    CUresult result = lookup_link(state, &link);

    if (result != CUDA_SUCCESS)
        return result;
    if (!data || bytes == 0 || bytes > IMAGE_MAX_BYTES || (unsigned)type >= CU_JIT_NUM_INPUT_TYPES)
        return CUDA_ERROR_INVALID_VALUE;
    if (type == CU_JIT_INPUT_NVVM || num_options > 0)
        return cuda_unsupported("cuLinkAddData of NVVM, or with options of its own");
    args.link = link.head.handle;
    args.image_bytes = (uint32_t)bytes;
    args.name = name ? name : "";
    args.name_bytes = (uint32_t)strnlen(args.name, NAME_MAX_BYTES);
    memset(&out, 0, sizeof(out));
    result = cuda_send_link_add(guest_sender(), &args, &out);
    jit_return(&link.logs, out.info_log, out.info_log_bytes, out.error_log, out.error_log_bytes, 0);
    return result;
}

CUresult cuLinkAddData_v2(CUlinkState state, CUjitInputType type, void *data, size_t size,
                          const char *name, unsigned int numOptions, CUjit_option *options,
                          void **optionValues)
{
    CUresult result = guest_enter_context(NULL);

    return result == CUDA_SUCCESS ? add(state, type, data, size, name, numOptions) : result;
}

CUresult cuLinkAddFile_v2(CUlinkState state, CUjitInputType type, const char *path,
                          unsigned int numOptions, CUjit_option *options, void **optionValues)
{
    _cleanup_free_ void *data = NULL;
    struct link_object link;
    size_t bytes;
    CUresult result = guest_enter_context(NULL);

    if (result != CUDA_SUCCESS)
        return result;
    result = lookup_link(state, &link);
    if (result == CUDA_SUCCESS && !path)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = image_file_read(path, &data, &bytes);
    return result == CUDA_SUCCESS ? add(state, type, data, bytes, path, numOptions) : result;
}

/* Fetches the finished image by way of the data area. */
static CUresult fetch_image(struct sender *sender, uint32_t link, uint8_t *image, uint64_t bytes)
{
    CUresult result = CUDA_SUCCESS;

    for (uint64_t done = 0; done < bytes && result == CUDA_SUCCESS;) {
        uint64_t part = bytes - done < sender->chunk_bytes ? bytes - done : sender->chunk_bytes;
        struct cuda_args_link_image args = {.link = link, .offset = done, .target.bytes = part};

        result = data_take(sender, part, &args.target.offset);
        if (result != CUDA_SUCCESS)
            break;
        result = cuda_send_link_image(sender, &args);
        if (result == CUDA_SUCCESS)
            memcpy(image + done, sender->map.data + args.target.offset, part);
        data_give(sender, args.target.offset, part);
        done += part;
    }
    return result;
}

/* The link keeps the image; an earlier one is freed. */
static bool keep_image(uint32_t handle, void *image)
{
    struct link_object *link;

    guest_lock();
    link = object_at(CUDA_KIND_LINK, handle);
    if (link) {
        free(link->image);
        link->image = image;
    }
    guest_unlock();
    return link != NULL;
}

CUresult cuLinkComplete(CUlinkState state, void **cubinOut, size_t *sizeOut)
{
    _cleanup_free_ uint8_t *image = NULL;
    struct link_object link;
    struct cuda_out_link_complete out;
    CUresult result = guest_enter_context(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_link(state, &link);
    if (result != CUDA_SUCCESS)
        return result;
    if (!cubinOut)
        return CUDA_ERROR_INVALID_VALUE;
    memset(&out, 0, sizeof(out));
    result = cuda_send_link_complete(
        guest_sender(), &(struct cuda_args_link_complete){.link = link.head.handle}, &out);
    jit_return(&link.logs, out.info_log, out.info_log_bytes, out.error_log, out.error_log_bytes,
               out.wall_time_ms);
    if (result != CUDA_SUCCESS)
        return result;
    if (out.image_bytes > IMAGE_MAX_BYTES)
        return CUDA_ERROR_UNKNOWN;
    image = calloc(1, out.image_bytes + 1);
    if (!image)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = fetch_image(guest_sender(), link.head.handle, image, out.image_bytes);
    if (result != CUDA_SUCCESS)
        return result;
    *cubinOut = image;
    if (sizeOut)
        *sizeOut = out.image_bytes;
    if (!keep_image(link.head.handle, image))
        return CUDA_ERROR_INVALID_HANDLE;
    image = NULL;
    return CUDA_SUCCESS;
}

CUresult cuLinkDestroy(CUlinkState state)
{
    struct link_object link;
    CUresult result = guest_enter_context(NULL);

    if (result == CUDA_SUCCESS)
        result = lookup_link(state, &link);
    if (result != CUDA_SUCCESS)
        return result;
    result = cuda_send_link_destroy(guest_sender(),
                                    &(struct cuda_args_link_destroy){.link = link.head.handle});
    guest_lock();
    object_drop(CUDA_KIND_LINK, link.head.handle);
    guest_unlock();
    return result;
}
