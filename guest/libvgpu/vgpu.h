/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What libvgpu offers beside the CUDA driver API: the connection, and why something failed. For
 * programs that link the library itself (vgpu-client, tests); man/libvgpu.7 is the full text.
 *
 * A process has one connection and one channel. All functions are thread-safe, except that no call
 * of the driver API may be under way in vgpu_connect and vgpu_disconnect.
 */
#ifndef VGPU_LIBVGPU_VGPU_H
#define VGPU_LIBVGPU_VGPU_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/status.h>

#define VGPU_DEFAULT_DEVICE   "/dev/vgpu0"
#define VGPU_DEFAULT_SOCKET   "/run/vgpu/vm.sock"
#define VGPU_FAILURE_BYTES    512
#define VGPU_VECTOR_ADD_COUNT 1024 /* most elements of an explicit job */

/* Why something was refused or ended. */
struct vgpu_failure {
    uint32_t status;   /* enum vgpu_status; VGPU_OK: nothing failed yet */
    bool retryable;    /* the same may succeed later */
    uint64_t retry_ns; /* the host's hint when; 0: none */
    char text[VGPU_FAILURE_BYTES];
};

/* 0 in a field: the host's default. */
struct vgpu_options {
    uint64_t data_bytes; /* of the data area: page-locked memory and staging */
    uint32_t ring_granules;
    const char *process; /* name for the administrator; NULL: the program's */
};

/* The VM as the host knows it. */
struct vgpu_identity {
    uint32_t vm_id;
    uint32_t channel;
    uint32_t priority; /* 0 low, 1 medium, 2 high */
    uint32_t weight_hundredths;
    bool quarantined;
    bool relayed; /* by a device that copies: page-locked memory is for copies only */
    bool window;  /* of a device: its memory is the worker's own */
    bool granted; /* by Xen: its memory is this machine's, which the worker has mapped */
    uint64_t data_bytes;
    char pool[72];
    char name[72];
};

/*
 * Opens a channel, which cuInit then uses: by the driver in a virtual machine (path is a device),
 * or by the VM's socket on the host. NULL: VGPU_DEFAULT_DEVICE where it exists, else
 * VGPU_DEFAULT_SOCKET. options and failure may be NULL. Returns VGPU_OK, or the status that failure
 * also carries.
 */
enum vgpu_status vgpu_connect(const char *path, const struct vgpu_options *options,
                              struct vgpu_failure *failure);

/*
 * Closes the channel; all handles and device memory are gone, and page-locked memory with it. A
 * program whose channel ended may then connect anew.
 */
void vgpu_disconnect(void);

/* False if there is no connection. */
bool vgpu_get_identity(struct vgpu_identity *ret);

/* VGPU_OK while the channel lives, else why it ended. */
enum vgpu_status vgpu_channel_status(void);

/* The last failure that the host or the library told of. */
void vgpu_last_error(struct vgpu_failure *ret);

/*
 * The classic explicit job: sum[i] = a[i] + b[i] with wrap-around, for 1 to VGPU_VECTOR_ADD_COUNT
 * elements. Never waits for a limit: over one it is refused with VGPU_BUSY. Needs cuInit.
 */
enum vgpu_status vgpu_job_vector_add(const int32_t *a, const int32_t *b, int32_t *sum,
                                     uint32_t count, struct vgpu_failure *failure);

/* Calls `tell` once for each call of the driver API that is not supported and was made. */
void vgpu_on_unsupported(void (*tell)(const char *name));

#endif
