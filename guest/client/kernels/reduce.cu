// SPDX-License-Identifier: Apache-2.0
// Two reductions. Each block leaves one partial result; the host launches the same kernel again
// on the partial results until one is left. Host side: workload_reduce.c.

#define BLOCK 256
#define FULL_WARP 0xffffffffu

// The sum of floats by a tree in dynamic shared memory (blockDim.x floats, a power of two).
extern "C" __global__ void reduce_tree(const float *__restrict__ in, float *__restrict__ partial,
                                       unsigned int n)
{
    extern __shared__ float sums[];
    unsigned int t = threadIdx.x;
    unsigned int i = blockIdx.x * blockDim.x * 2 + t;
    float sum = 0.0f;

    if (i < n)
        sum = in[i];
    if (i + blockDim.x < n)
        sum += in[i + blockDim.x];
    sums[t] = sum;
    __syncthreads();
    for (unsigned int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half)
            sums[t] += sums[t + half];
        __syncthreads();
    }
    if (t == 0)
        partial[blockIdx.x] = sums[0];
}

static __device__ __forceinline__ long long warp_sum(long long value)
{
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_down_sync(FULL_WARP, value, offset);
    return value;
}

// The sum of 64-bit integers by shuffles: within each warp, then over the warps of the block.
extern "C" __global__ void reduce_shuffle(const long long *__restrict__ in,
                                          long long *__restrict__ partial, unsigned int n)
{
    __shared__ long long warps[BLOCK / 32];
    unsigned int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned int stride = gridDim.x * BLOCK;
    long long sum = 0;

    for (unsigned int i = blockIdx.x * BLOCK + threadIdx.x; i < n; i += stride)
        sum += in[i];
    sum = warp_sum(sum);
    if (lane == 0)
        warps[warp] = sum;
    __syncthreads();
    if (warp != 0)
        return;
    sum = lane < BLOCK / 32 ? warps[lane] : 0;
    sum = warp_sum(sum);
    if (lane == 0)
        partial[blockIdx.x] = sum;
}
