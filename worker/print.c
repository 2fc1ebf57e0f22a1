/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/print.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/channel.h"

#define PRINT_PIECE 4096u

int print_capture(struct print *print)
{
    int file = memfd_create("vgpu-print", MFD_CLOEXEC);

    if (file < 0)
        return -errno;
    if (dup2(file, STDOUT_FILENO) < 0) {
        close(file);
        return -errno;
    }
    print->file = file;
    return 0;
}

/* dup2 shares the offset: what is written next starts at 0 again. */
static void empty(const struct print *print)
{
    if (ftruncate(print->file, 0) == 0)
        lseek(print->file, 0, SEEK_SET);
}

static void forward(struct channel *channel, uint64_t bytes)
{
    struct print *print = &channel->print;
    uint64_t most = bytes < WORKER_MAX_PRINT_BYTES ? bytes : WORKER_MAX_PRINT_BYTES;
    size_t piece = ring_entry_max(channel->replies.ring.granules);
    uint64_t sent = 0;
    char text[PRINT_PIECE];

    piece = piece > sizeof(struct vgpu_completion) ? piece - sizeof(struct vgpu_completion) : 0;
    if (piece > sizeof(text))
        piece = sizeof(text);
    while (piece >= 8 && sent < most) {
        size_t want = most - sent < piece ? most - sent : piece;
        ssize_t n = pread(print->file, text, want, (off_t)sent);

        if (n <= 0 || !reply_send_print(channel, text, (uint32_t)n))
            break;
        sent += (uint64_t)n;
    }
    print->dropped_bytes += bytes - sent;
}

void print_flush(struct channel *channel, struct context *context, struct stream *stream)
{
    struct stat status;

    if (channel->print.file < 0 || !context->may_print || context->sticky != CUDA_SUCCESS)
        return;
    /* NVIDIA's driver writes when it synchronises; nothing is in flight, so it does not block. */
    if (stream ? stream_busy(stream) : context->busy_streams > 0)
        return;
    if (context_enter(channel, context) != CUDA_SUCCESS)
        return;
    if (stream)
        channel->cu->cuStreamSynchronize(stream->cu);
    else
        channel->cu->cuCtxSynchronize();
    fflush(stdout);
    if (fstat(channel->print.file, &status) < 0 || status.st_size <= 0)
        return;
    forward(channel, (uint64_t)status.st_size);
    empty(&channel->print);
}
