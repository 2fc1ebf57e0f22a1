/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launch calls of CUDA 3 and before keep by function. For the libraries that implement the
 * driver API: each says which of its functions are gone.
 */
#ifndef VGPU_CUDA_LEGACY_LAUNCH_H
#define VGPU_CUDA_LEGACY_LAUNCH_H

#include "cuda/cuda_abi.h"

#define LEGACY_PARAM_BYTES 4096u /* what a function's parameters may take by these calls */

/*
 * The function has ended with its module or context: nothing that was set for it is kept, nor found
 * by a later function of the same handle. Any lock may be held; no other function is called.
 */
void legacy_launch_forget(CUfunction function);

#endif
