/* SPDX-License-Identifier: Apache-2.0 */
/* What a softgpu multiprocessor and a launch may have: those of compute capability 9.0. */
#ifndef SOFTGPU_CAPABILITY_H
#define SOFTGPU_CAPABILITY_H

#define LIMIT_WARP                  32
#define LIMIT_BLOCK_THREADS         1024
#define LIMIT_BLOCK_X               1024
#define LIMIT_BLOCK_Y               1024
#define LIMIT_BLOCK_Z               64
#define LIMIT_GRID_X                2147483647
#define LIMIT_GRID_YZ               65535
#define LIMIT_BLOCK_SHARED_BYTES    (48u << 10)
#define LIMIT_BLOCK_SHARED_OPTIN    (227u << 10)
#define LIMIT_RESERVED_SHARED_BYTES 1024u
#define LIMIT_SM_SHARED_BYTES       (228u << 10)
#define LIMIT_SM_THREADS            2048
#define LIMIT_SM_BLOCKS             32
#define LIMIT_SM_REGISTERS          65536
#define LIMIT_WARP_REGISTERS_UNIT   256
#define LIMIT_CONST_BYTES           65536
#define LIMIT_PITCH_BYTES           2147483647
#define LIMIT_STACK_BYTES           (512u << 10) /* CU_LIMIT_STACK_SIZE is below it */
#define LIMIT_PRINTF_MIN            (512u << 10)
#define LIMIT_PRINTF_MAX            (1u << 30)
#define LIMIT_HEAP_MIN              (4u << 20)
#define LIMIT_L2_FETCH_BYTES        128
#define LIMIT_LAUNCH_ATTRIBUTES     64

#endif
