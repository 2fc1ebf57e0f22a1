/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cleanup attributes: `_cleanup_free_ char *text = NULL;` releases at the end of the scope.
 * vgpu_steal_fd/_ptr hand ownership on to the caller.
 */
#ifndef VGPU_COMMON_CLEANUP_H
#define VGPU_COMMON_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void vgpu_cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void vgpu_cleanup_close(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

static inline void vgpu_cleanup_fclose(FILE **file)
{
    if (*file)
        fclose(*file);
}

#define _cleanup_(f)     __attribute__((cleanup(f)))
#define _cleanup_free_   _cleanup_(vgpu_cleanup_free)
#define _cleanup_close_  _cleanup_(vgpu_cleanup_close)
#define _cleanup_fclose_ _cleanup_(vgpu_cleanup_fclose)

static inline int vgpu_steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}

#define vgpu_steal_ptr(p)                                                                          \
    ({                                                                                             \
        __typeof__(*(p)) stolen_ = *(p);                                                           \
        *(p) = NULL;                                                                               \
        stolen_;                                                                                   \
    })

/* Closes *fd if it is open and marks it closed. */
static inline void vgpu_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

#define VGPU_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
