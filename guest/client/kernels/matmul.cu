// SPDX-License-Identifier: Apache-2.0
// C = A * B, row-major, A is rows x inner, B is inner x columns; any sizes. A block of 16 x 16
// threads makes a 16 x 16 tile of C from tiles in shared memory. Host side: workload_matmul.c.

#define TILE 16

extern "C" __global__ void matmul(const float *__restrict__ a, const float *__restrict__ b,
                                  float *__restrict__ c, unsigned int rows, unsigned int inner,
                                  unsigned int columns)
{
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE];
    unsigned int x = threadIdx.x, y = threadIdx.y;
    unsigned int row = blockIdx.y * TILE + y;
    unsigned int column = blockIdx.x * TILE + x;
    float sum = 0.0f;

    for (unsigned int base = 0; base < inner; base += TILE) {
        a_tile[y][x] = row < rows && base + x < inner ? a[row * inner + base + x] : 0.0f;
        b_tile[y][x] = column < columns && base + y < inner ? b[(base + y) * columns + column]
                                                            : 0.0f;
        __syncthreads();
        for (unsigned int k = 0; k < TILE; k++)
            sum = __fmaf_rn(a_tile[y][k], b_tile[k][x], sum);
        __syncthreads();
    }
    if (row < rows && column < columns)
        c[row * columns + column] = sum;
}
