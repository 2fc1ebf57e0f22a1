// SPDX-License-Identifier: Apache-2.0
// Arithmetic only: `rounds` steps of a xorshift generator (Marsaglia 2003) a thread, whose last state is
// stored. A job whose length is chosen freely. Host side: workload_linear.c.

extern "C" __global__ void spin(unsigned int *__restrict__ state, unsigned int n,
                                unsigned int rounds)
{
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i >= n)
        return;

    unsigned int x = state[i];

    for (unsigned int k = 0; k < rounds; k++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
    }
    state[i] = x;
}
