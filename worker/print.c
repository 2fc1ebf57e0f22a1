/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/print.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/channel.h"

#define PRINT_PIECE 4096u

/* Where standard error was, and what it is now: for pour_out. */
static int outer_error = -1, inner_error = -1;

/* The last words of a worker that aborts belong into the log, not to a guest. */
static void pour_out(int number)
{
    char text[PRINT_PIECE];
    ssize_t n;

    for (off_t at = 0; (n = pread(inner_error, text, sizeof(text), at)) > 0; at += n)
        if (write(outer_error, text, (size_t)n) < 0)
            return;
}

/* Sanitizers, where they are linked in, report past the C library. */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static int keep_outer_error(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (fd < 0)
        return -errno;
    outer_error = fd;
    vgpu_log_to(fd);
    if (__sanitizer_set_report_fd)
        __sanitizer_set_report_fd((void *)(intptr_t)fd);
    return 0;
}

static int capture(int descriptor, int *ret_file)
{
    int file = memfd_create("vgpu-print", MFD_CLOEXEC);

    if (file < 0)
        return -errno;
    if (dup2(file, descriptor) < 0) {
        close(file);
        return -errno;
    }
    *ret_file = file;
    return 0;
}

int print_capture(struct print *print)
{
    int status = capture(STDOUT_FILENO, &print->file);

    if (status == 0)
        status = keep_outer_error();
    if (status == 0)
        status = capture(STDERR_FILENO, &print->error_file);
    if (status == 0) {
        inner_error = print->error_file;
        signal(SIGABRT, pour_out);
    }
    return status;
}

/* dup2 shares the offset: what is written next starts at 0 again. */
static void empty(int file)
{
    if (ftruncate(file, 0) == 0)
        lseek(file, 0, SEEK_SET);
}

static void forward(struct channel *channel, int file, enum vgpu_completion_kind kind)
{
    struct print *print = &channel->print;
    size_t piece = ring_entry_max(channel->replies.ring.granules);
    uint64_t bytes, most, sent = 0;
    struct stat status;
    char text[PRINT_PIECE];

    if (file < 0 || fstat(file, &status) < 0 || status.st_size <= 0)
        return;
    bytes = (uint64_t)status.st_size;
    most = bytes < WORKER_MAX_PRINT_BYTES ? bytes : WORKER_MAX_PRINT_BYTES;
    piece = piece > sizeof(struct vgpu_completion) ? piece - sizeof(struct vgpu_completion) : 0;
    if (piece > sizeof(text))
        piece = sizeof(text);
    while (piece >= 8 && sent < most) {
        size_t want = most - sent < piece ? most - sent : piece;
        ssize_t n = pread(file, text, want, (off_t)sent);

        if (n <= 0 || !reply_send_print(channel, kind, text, (uint32_t)n))
            break;
        sent += (uint64_t)n;
    }
    print->dropped_bytes += bytes - sent;
    empty(file);
}

void print_failed(struct channel *channel, struct context *context)
{
    if (channel->print.error_file < 0)
        return;
    /* NVIDIA's driver writes when it synchronises; in a broken context that does not block. */
    context_enter(channel, context);
    channel->cu->cuCtxSynchronize();
    fflush(stderr);
    forward(channel, channel->print.error_file, VGPU_COMPLETION_PRINT_ERROR);
}

void print_flush(struct channel *channel, struct context *context, struct stream *stream)
{
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
    forward(channel, channel->print.file, VGPU_COMPLETION_PRINT);
}
