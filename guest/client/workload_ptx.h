/* SPDX-License-Identifier: Apache-2.0 */
/* The PTX images that tools/ptx-embed.py puts into the program, each ending in a NUL. */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_PTX_H
#define VGPU_GUEST_CLIENT_WORKLOAD_PTX_H

extern const char workload_ptx_bitonic_sort[], workload_ptx_black_scholes[],
    workload_ptx_histogram[], workload_ptx_mandelbrot[], workload_ptx_matmul[],
    workload_ptx_nbody[], workload_ptx_radix_sort[], workload_ptx_reduce[], workload_ptx_saxpy[],
    workload_ptx_scan[], workload_ptx_sha256[], workload_ptx_spin[], workload_ptx_vector_add[];

#endif
