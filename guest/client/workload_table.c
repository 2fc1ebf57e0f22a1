/* SPDX-License-Identifier: Apache-2.0 */
/* The table of workloads. Default sizes take well under a second on softgpu. */
#include <string.h>

#include "common/cleanup.h"
#include "guest/client/workload_job.h"

#define MEBI (UINT64_C(1) << 20)

static const struct workload table[] = {
    {
        .name = "vector_add",
        .help = "adds two vectors of floats",
        .size_help = "elements",
        .input_help = "two text files of decimal numbers, as many in each",
        .output_help = "text, one number a line",
        .default_size = 100000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_vector_add,
    },
    {
        .name = "saxpy",
        .help = "y = 1.75 x + y, in float",
        .size_help = "elements",
        .input_help = "x, y: raw arrays of float",
        .output_help = "y: raw array of float",
        .default_size = 100000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_saxpy,
    },
    {
        .name = "matmul",
        .help = "product of two square matrices of floats, tiled in shared memory",
        .size_help = "rows of each matrix",
        .input_help = "A, B: raw row-major square matrices of float",
        .output_help = "A x B: raw row-major matrix of float",
        .default_size = 200,
        .min_size = 1,
        .max_size = 4096,
        .ops = &workload_matmul,
    },
    {
        .name = "reduce_tree",
        .help = "sum of floats by trees in shared memory",
        .size_help = "elements",
        .input_help = "raw array of float",
        .output_help = "the sum: one raw float",
        .default_size = 300000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_reduce_tree,
    },
    {
        .name = "reduce_shuffle",
        .help = "sum of 64-bit integers by warp shuffles",
        .size_help = "elements",
        .input_help = "raw array of 64-bit integers",
        .output_help = "the sum: one raw 64-bit integer",
        .default_size = 300000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_reduce_shuffle,
    },
    {
        .name = "scan",
        .help = "exclusive prefix sums of 32-bit integers over many blocks",
        .size_help = "elements",
        .input_help = "raw array of 32-bit integers",
        .output_help = "raw array of 32-bit integers",
        .default_size = 300000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_scan,
    },
    {
        .name = "histogram",
        .help = "counts of byte values, by shared and global atomics",
        .size_help = "bytes",
        .input_help = "any file: its bytes are counted",
        .output_help = "256 raw 32-bit counts",
        .default_size = 500001,
        .min_size = 1,
        .max_size = 256 * MEBI,
        .ops = &workload_histogram,
    },
    {
        .name = "mandelbrot",
        .help = "a square picture of the Mandelbrot set",
        .size_help = "pixels a side",
        .work_help = "the most iterations a pixel",
        .output_help = "raw 32-bit iteration counts, row by row",
        .default_size = 200,
        .min_size = 1,
        .max_size = 8192,
        .default_work = 256,
        .ops = &workload_mandelbrot,
    },
    {
        .name = "black_scholes",
        .help = "European option prices in double",
        .size_help = "options",
        .input_help = "spot prices, strike prices, years: raw arrays of double",
        .output_help = "all call prices, then all put prices: raw doubles",
        .default_size = 20000,
        .min_size = 1,
        .max_size = 16 * MEBI,
        .ops = &workload_black_scholes,
    },
    {
        .name = "nbody",
        .help = "gravity between all pairs of bodies",
        .size_help = "bodies",
        .work_help = "time steps of 0.01",
        .input_help = "positions (x, y, z, mass) and velocities (x, y, z, 0): raw arrays of float",
        .output_help = "positions, then velocities: raw arrays of float",
        .default_size = 700,
        .min_size = 1,
        .max_size = 65536,
        .default_work = 3,
        .ops = &workload_nbody,
    },
    {
        .name = "bitonic_sort",
        .help = "sorts 32-bit integers in a bitonic network",
        .size_help = "elements",
        .input_help = "raw array of unsigned 32-bit integers",
        .output_help = "the same, ascending",
        .default_size = 20000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_bitonic_sort,
    },
    {
        .name = "radix_sort",
        .help = "sorts pairs of 32-bit key and value, stable, by radix",
        .size_help = "pairs",
        .input_help = "keys, values: raw arrays of unsigned 32-bit integers",
        .output_help = "all keys, ascending, then their values",
        .default_size = 50000,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .ops = &workload_radix_sort,
    },
    {
        .name = "sha256",
        .help = "SHA-256 of many messages",
        .size_help = "messages",
        .input_help = "each file is one message",
        .output_help = "a line of 64 hexadecimal digits for each message",
        .default_size = 2000,
        .min_size = 1,
        .max_size = 4 * MEBI,
        .ops = &workload_sha256,
    },
    {
        .name = "spin",
        .help = "steps of a xorshift generator: a job as long as is asked for",
        .size_help = "threads",
        .work_help = "steps a thread",
        .input_help = "first states: raw array of unsigned 32-bit integers",
        .output_help = "last states: raw array of unsigned 32-bit integers",
        .default_size = 8192,
        .min_size = 1,
        .max_size = 64 * MEBI,
        .default_work = 512,
        .ops = &workload_spin,
    },
};

const struct workload *workload_table(size_t *ret_count)
{
    *ret_count = VGPU_ARRAY_SIZE(table);
    return table;
}

const struct workload *workload_find(const char *name)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}
