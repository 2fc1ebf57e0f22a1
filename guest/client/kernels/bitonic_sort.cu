// SPDX-License-Identifier: Apache-2.0
// Bitonic sort of 32-bit integers, a power of two of at least 1024 (Batcher 1968). Stages that
// stay within 1024 elements run in shared memory, the wider ones as one launch each. Host side:
// workload_sort.c.

#define BLOCK 512
#define SEGMENT (2 * BLOCK)

static __device__ __forceinline__ void order(unsigned int *low, unsigned int *high, bool descending)
{
    unsigned int a = *low, b = *high;

    if ((a > b) != descending) {
        *low = b;
        *high = a;
    }
}

// Compares and exchanges at the distances `distance`, distance/2 ... 1, all within a segment.
static __device__ __forceinline__ void merge_segment(unsigned int *keys, unsigned int offset,
                                                     unsigned int distance, unsigned int sequence)
{
    for (; distance > 0; distance /= 2) {
        unsigned int low = 2 * threadIdx.x - (threadIdx.x & (distance - 1));

        __syncthreads();
        order(&keys[low], &keys[low + distance], (offset + low) & sequence);
    }
}

// Sorts each segment of 1024, alternately up and down.
extern "C" __global__ void bitonic_segments(unsigned int *data)
{
    __shared__ unsigned int keys[SEGMENT];
    unsigned int offset = blockIdx.x * SEGMENT;
    unsigned int t = threadIdx.x;

    keys[t] = data[offset + t];
    keys[t + BLOCK] = data[offset + t + BLOCK];
    for (unsigned int sequence = 2; sequence <= SEGMENT; sequence *= 2)
        merge_segment(keys, offset, sequence / 2, sequence);
    __syncthreads();
    data[offset + t] = keys[t];
    data[offset + t + BLOCK] = keys[t + BLOCK];
}

// One step at a distance of a segment or more, with sequences of `sequence` elements.
extern "C" __global__ void bitonic_step(unsigned int *data, unsigned int distance,
                                        unsigned int sequence)
{
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned int low = 2 * i - (i & (distance - 1));

    order(&data[low], &data[low + distance], low & sequence);
}

// The remaining steps of a sequence once the distance fits into a segment.
extern "C" __global__ void bitonic_finish(unsigned int *data, unsigned int sequence)
{
    __shared__ unsigned int keys[SEGMENT];
    unsigned int offset = blockIdx.x * SEGMENT;
    unsigned int t = threadIdx.x;

    keys[t] = data[offset + t];
    keys[t + BLOCK] = data[offset + t + BLOCK];
    merge_segment(keys, offset, BLOCK, sequence);
    __syncthreads();
    data[offset + t] = keys[t];
    data[offset + t + BLOCK] = keys[t + BLOCK];
}
