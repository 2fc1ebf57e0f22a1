// SPDX-License-Identifier: Apache-2.0
// Radix sort of 32-bit keys with 32-bit values, 4 bits a pass, least significant first, stable.
// A pass is radix_count (digits in each block's range), radix_scan (where each block's digits
// start) and radix_scatter. Host side: workload_sort.c.

#define BLOCK 256
#define WARPS (BLOCK / 32)
#define ROUNDS 4
#define RANGE (BLOCK * ROUNDS)
#define DIGITS 16

// counts[digit * gridDim.x + block]: digit-major, so that a plain scan gives the places.
extern "C" __global__ void radix_count(const unsigned int *__restrict__ keys,
                                       unsigned int *__restrict__ counts, unsigned int n,
                                       unsigned int shift)
{
    __shared__ unsigned int digits[DIGITS];
    unsigned int t = threadIdx.x;

    if (t < DIGITS)
        digits[t] = 0;
    __syncthreads();
    for (unsigned int round = 0; round < ROUNDS; round++) {
        unsigned int i = blockIdx.x * RANGE + round * BLOCK + t;

        if (i < n)
            atomicAdd(&digits[keys[i] >> shift & (DIGITS - 1)], 1u);
    }
    __syncthreads();
    if (t < DIGITS)
        counts[t * gridDim.x + blockIdx.x] = digits[t];
}

// Exclusive scan of `length` counts in place, by one block: shuffles within warps, then over them.
extern "C" __global__ void radix_scan(unsigned int *counts, unsigned int length)
{
    __shared__ unsigned int warps[WARPS];
    unsigned int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned int carry = 0;

    for (unsigned int base = 0; base < length; base += BLOCK) {
        unsigned int i = base + threadIdx.x;
        unsigned int value = i < length ? counts[i] : 0;
        unsigned int sum = value, before = 0, total = 0;

        for (unsigned int offset = 1; offset < 32; offset *= 2) {
            unsigned int other = __shfl_up_sync(0xffffffffu, sum, offset);

            if (lane >= offset)
                sum += other;
        }
        if (lane == 31)
            warps[warp] = sum;
        __syncthreads();
        for (unsigned int w = 0; w < WARPS; w++) {
            before += w < warp ? warps[w] : 0;
            total += warps[w];
        }
        if (i < length)
            counts[i] = carry + before + sum - value;
        carry += total;
        __syncthreads();
    }
}

// Moves each pair to its place. Equal digits of a warp find each other with match.
extern "C" __global__ void radix_scatter(const unsigned int *__restrict__ keys,
                                         const unsigned int *__restrict__ values,
                                         unsigned int *__restrict__ keys_out,
                                         unsigned int *__restrict__ values_out,
                                         const unsigned int *__restrict__ counts, unsigned int n,
                                         unsigned int shift)
{
    __shared__ unsigned int place[DIGITS];
    __shared__ unsigned int warp_digits[WARPS][DIGITS];
    unsigned int t = threadIdx.x, lane = t % 32, warp = t / 32;

    if (t < DIGITS)
        place[t] = counts[t * gridDim.x + blockIdx.x];
    for (unsigned int round = 0; round < ROUNDS; round++) {
        unsigned int i = blockIdx.x * RANGE + round * BLOCK + t;
        unsigned int key = i < n ? keys[i] : 0;
        unsigned int digit = i < n ? key >> shift & (DIGITS - 1) : DIGITS;
        unsigned int peers = __match_any_sync(0xffffffffu, digit);
        unsigned int rank = __popc(peers & ((1u << lane) - 1));

        if (t < WARPS * DIGITS)
            warp_digits[t / DIGITS][t % DIGITS] = 0;
        __syncthreads();
        if (digit < DIGITS && rank == 0)
            warp_digits[warp][digit] = __popc(peers);
        __syncthreads();
        if (digit < DIGITS) {
            unsigned int to = place[digit] + rank;

            for (unsigned int w = 0; w < warp; w++)
                to += warp_digits[w][digit];
            keys_out[to] = key;
            values_out[to] = values[i];
        }
        __syncthreads();
        if (t < DIGITS)
            for (unsigned int w = 0; w < WARPS; w++)
                place[t] += warp_digits[w][t];
    }
}
