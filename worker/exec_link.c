/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: linking. One call at a time runs beside the consumer for each link. */
#include <stdlib.h>
#include <string.h>

#include "common/overflow.h"
#include "worker/blob.h"
#include "worker/channel.h"
#include "worker/exec.h"
#include "worker/jit.h"

/* What a completed link may give: kept until the link is destroyed, as the driver does. */
#define LINK_IMAGE_MAX_BYTES 268435456u

CUresult exec_link_create(struct channel *channel, const struct cuda_call *call,
                          const struct cuda_in_link_create *in)
{
    struct link *link = calloc(1, sizeof(*link));
    CUresult result;

    if (!link)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* Options and logs live as long as the link: the driver keeps pointers to them. */
    result = jit_init(&link->jit, in->options, in->options_bytes, link->info_log,
                      in->info_log_bytes, link->error_log, in->error_log_bytes);
    if (result == CUDA_SUCCESS)
        result = channel->cu->cuLinkCreate(link->jit.count, link->jit.options, link->jit.values,
                                           &link->cu);
    if (result != CUDA_SUCCESS) {
        free(link);
        return result;
    }
    link->handle = in->link_handle;
    link->context = item_of(call)->context;
    link->info_bytes = in->info_log_bytes;
    link->error_bytes = in->error_log_bytes;
    if (handle_put(channel->handles, in->link_handle, link) < 0) {
        channel->cu->cuLinkDestroy(link->cu);
        free(link);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

CUresult prepare_link(struct channel *channel, struct item *item)
{
    if (item->link->busy)
        return CUDA_ERROR_ILLEGAL_STATE;
    item->link->busy = true;
    item->context = item->link->context;
    return CUDA_SUCCESS;
}

void settle_link(struct channel *channel, struct item *item)
{
    struct link *link = item->link;

    link->busy = false;
    if (!link->doomed)
        return;
    channel->cu->cuLinkDestroy(link->cu);
    free(link);
}

static uint32_t copy_log(uint8_t *target, const char *log, uint32_t room)
{
    uint32_t bytes = jit_log_bytes(log, room);

    memcpy(target, log, bytes);
    return bytes;
}

/* Bytes that the driver is told to parse; a fatbin's wrapper holds a pointer. */
static bool image_is_fit(CUjitInputType type, const void *image, size_t bytes)
{
    enum image_kind kind = image_check(image, bytes);

    switch (type) {
    case CU_JIT_INPUT_PTX:
        return kind == IMAGE_PTX;
    case CU_JIT_INPUT_CUBIN:
    case CU_JIT_INPUT_OBJECT:
        return kind == IMAGE_ELF;
    case CU_JIT_INPUT_FATBINARY:
        return kind == IMAGE_FATBIN || kind == IMAGE_ELF;
    case CU_JIT_INPUT_LIBRARY:
        return bytes >= 8 && memcmp(image, "!<arch>\n", 8) == 0;
    default:
        return false;
    }
}

CUresult exec_link_add(struct channel *channel, const struct cuda_call *call,
                       const struct cuda_in_link_add *in, struct cuda_out_link_add *out)
{
    struct link *link = item_of(call)->link;
    CUjitInputType type = (CUjitInputType)in->type;
    size_t bytes = in->image_bytes;
    CUresult result;

    if (!image_is_fit(type, in->image, bytes))
        return CUDA_ERROR_INVALID_IMAGE;
    /* PTX is text with its NUL; the copy has one behind. */
    if (type == CU_JIT_INPUT_PTX && ((const char *)in->image)[bytes - 1] != 0)
        bytes++;
    result = channel->cu->cuLinkAddData(link->cu, type, (void *)(uintptr_t)in->image, bytes,
                                        in->name, 0, NULL, NULL);
    out->info_log_bytes = copy_log(out->info_log, link->info_log, link->info_bytes);
    out->error_log_bytes = copy_log(out->error_log, link->error_log, link->error_bytes);
    return result;
}

CUresult exec_link_complete(struct channel *channel, const struct cuda_call *call,
                            const struct cuda_in_link_complete *in,
                            struct cuda_out_link_complete *out)
{
    struct link *link = item_of(call)->link;
    void *image = NULL;
    size_t bytes = 0;
    CUresult result = channel->cu->cuLinkComplete(link->cu, &image, &bytes);

    if (result == CUDA_SUCCESS && bytes > LINK_IMAGE_MAX_BYTES)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) {
        link->image = image;
        link->image_bytes = bytes;
    }
    out->image_bytes = link->image_bytes;
    out->wall_time_ms = jit_wall_time(&link->jit);
    out->info_log_bytes = copy_log(out->info_log, link->info_log, link->info_bytes);
    out->error_log_bytes = copy_log(out->error_log, link->error_log, link->error_bytes);
    return result;
}

CUresult exec_link_image(struct channel *channel, const struct cuda_call *call,
                         const struct cuda_in_link_image *in)
{
    const struct link *link = item_of(call)->link;

    if (link->busy || !link->image)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (!vgpu_range_within(in->offset, in->target_bytes, link->image_bytes))
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(in->target, (const char *)link->image + in->offset, in->target_bytes);
    if (channel->written.mirrored && in->target_bytes > 0)
        reply_send_written(channel, call->seq,
                           &(struct vgpu_written){
                               .offset = (uint64_t)((uint8_t *)in->target - channel->map.data),
                               .row_bytes = in->target_bytes,
                               .rows = 1,
                               .slices = 1,
                           });
    return CUDA_SUCCESS;
}

CUresult exec_link_destroy(struct channel *channel, const struct cuda_call *call,
                           const struct cuda_in_link_destroy *in)
{
    struct link *link = item_of(call)->link;
    CUresult result;

    if (link->busy) {
        link->doomed = true;
        return CUDA_SUCCESS;
    }
    result = channel->cu->cuLinkDestroy(link->cu);
    free(link);
    return result;
}
