/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/attempt.h"

#include <errno.h>
#include <time.h>

#include "common/clock.h"
#include "guest/client/backoff.h"

static void wait_ns(uint64_t ns)
{
    struct timespec left = {.tv_sec = (time_t)(ns / VGPU_NS_PER_S),
                            .tv_nsec = (long)(ns % VGPU_NS_PER_S)};

    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

static int exit_status(const struct vgpu_failure *failure)
{
    if (failure->retryable)
        return CLIENT_BUSY;
    switch ((enum vgpu_status)failure->status) {
    case VGPU_FAILED:
    case VGPU_NO_MEMORY:
    case VGPU_INTERNAL:
        return CLIENT_FAILED;
    case VGPU_GONE:
    case VGPU_KILLED:
    case VGPU_TIMEOUT:
        return CLIENT_GONE;
    default:
        return CLIENT_REFUSED;
    }
}

int attempt(enum vgpu_status (*act)(void *argument, struct vgpu_failure *failure), void *argument,
            const char *what, struct vgpu_failure *failure)
{
    struct backoff backoff = {0};
    uint64_t pause;

    while (act(argument, failure) != VGPU_OK) {
        if (!failure->retryable || !backoff_next(&backoff, failure->retry_ns, &pause)) {
            client_complain("%s: %s", what, failure->text);
            return exit_status(failure);
        }
        client_complain("%s: %s; attempt %u of %d in %.1f s", what, failure->text,
                        backoff.attempts + 1, BACKOFF_ATTEMPTS, (double)pause / 1e9);
        wait_ns(pause);
    }
    return CLIENT_OK;
}
