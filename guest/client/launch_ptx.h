/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vgpu-client launch`: one launch of a kernel from the user's own PTX (or cubin, or fatbin), with
 * arguments from the command line. Runs on the current context of any driver.
 */
#ifndef VGPU_GUEST_CLIENT_LAUNCH_PTX_H
#define VGPU_GUEST_CLIENT_LAUNCH_PTX_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "cuda/cuda_driver.h"

#define LAUNCH_PTX_MAX_ARGUMENTS    256
#define LAUNCH_PTX_MAX_IMAGE_BYTES  (64u << 20)
#define LAUNCH_PTX_MAX_BUFFER_BYTES (UINT64_C(1) << 32)

struct launch_ptx {
    const char *image_path;
    const char *kernel;
    unsigned int grid[3];
    unsigned int block[3];
    unsigned int shared_bytes;
    /*
     * u32:N i32:N u64:N i64:N f32:X f64:X, or a device buffer: in:FILE, out:BYTES:FILE (zeroed
     * before), inout:FILE:FILE.
     */
    char *const *arguments;
    size_t n_arguments;
};

/* "X", "X,Y" or "X,Y,Z", each from 1 up; what is absent is 1. -EINVAL. */
int launch_ptx_parse_shape(const char *text, unsigned int ret_shape[3], struct vgpu_err *err);

/*
 * Loads, checks the argument list against the kernel's parameters, launches, waits, and writes the
 * output files. Returns 0; -EINVAL (an argument or the image), -ENOENT (kernel or file), -EIO (a
 * CUDA call; *ret_result tells which result), other errno values of files. Device memory is given
 * back in each case.
 */
int launch_ptx_run(const struct cuda_driver *cu, const struct launch_ptx *request,
                   CUresult *ret_result, struct vgpu_err *err);

#endif
