// SPDX-License-Identifier: Apache-2.0
// Counts of each byte value: every block counts by atomics in shared memory, then adds its counts
// to the 256 global bins, which the host has set to 0. The host passes whole 32-bit words and the
// number of bytes, which need not be a multiple of 4. Host side: workload_histogram.c.

#define BINS 256

extern "C" __global__ void histogram(const unsigned int *__restrict__ words, unsigned int bytes,
                                     unsigned int *__restrict__ bins)
{
    __shared__ unsigned int counts[BINS];
    unsigned int stride = gridDim.x * blockDim.x;
    unsigned int whole = bytes / 4;

    for (unsigned int i = threadIdx.x; i < BINS; i += blockDim.x)
        counts[i] = 0;
    __syncthreads();
    for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < whole; i += stride) {
        unsigned int word = words[i];

        atomicAdd(&counts[word & 255], 1u);
        atomicAdd(&counts[word >> 8 & 255], 1u);
        atomicAdd(&counts[word >> 16 & 255], 1u);
        atomicAdd(&counts[word >> 24], 1u);
    }
    if (blockIdx.x == 0 && threadIdx.x < bytes % 4)
        atomicAdd(&counts[words[whole] >> 8 * threadIdx.x & 255], 1u);
    __syncthreads();
    for (unsigned int i = threadIdx.x; i < BINS; i += blockDim.x)
        if (counts[i])
            atomicAdd(&bins[i], counts[i]);
}
