// SPDX-License-Identifier: Apache-2.0
// Exclusive prefix sums of 32-bit integers over any number of blocks: scan_blocks scans each
// block's 512 elements and leaves the block's total, the host scans the totals the same way, and
// scan_add adds each block's offset. Host side: workload_scan.c.

#define BLOCK 256

// Shared memory is swept up and down as a balanced tree (Blelloch 1990).
extern "C" __global__ void scan_blocks(const unsigned int *__restrict__ in,
                                       unsigned int *__restrict__ out,
                                       unsigned int *__restrict__ totals, unsigned int n)
{
    __shared__ unsigned int tree[2 * BLOCK];
    unsigned int t = threadIdx.x;
    unsigned int base = blockIdx.x * 2 * BLOCK;
    unsigned int stride = 1;

    tree[t] = base + t < n ? in[base + t] : 0;
    tree[t + BLOCK] = base + t + BLOCK < n ? in[base + t + BLOCK] : 0;
    for (unsigned int active = BLOCK; active > 0; active /= 2) {
        __syncthreads();
        if (t < active)
            tree[stride * (2 * t + 2) - 1] += tree[stride * (2 * t + 1) - 1];
        stride *= 2;
    }
    if (t == 0) {
        totals[blockIdx.x] = tree[2 * BLOCK - 1];
        tree[2 * BLOCK - 1] = 0;
    }
    for (unsigned int active = 1; active <= BLOCK; active *= 2) {
        stride /= 2;
        __syncthreads();
        if (t < active) {
            unsigned int left = stride * (2 * t + 1) - 1;
            unsigned int right = stride * (2 * t + 2) - 1;
            unsigned int value = tree[left];

            tree[left] = tree[right];
            tree[right] += value;
        }
    }
    __syncthreads();
    if (base + t < n)
        out[base + t] = tree[t];
    if (base + t + BLOCK < n)
        out[base + t + BLOCK] = tree[t + BLOCK];
}

extern "C" __global__ void scan_add(unsigned int *__restrict__ out,
                                    const unsigned int *__restrict__ offsets, unsigned int n)
{
    unsigned int i = blockIdx.x * 2 * BLOCK + threadIdx.x;
    unsigned int offset = offsets[blockIdx.x];

    if (i < n)
        out[i] += offset;
    if (i + BLOCK < n)
        out[i + BLOCK] += offset;
}
