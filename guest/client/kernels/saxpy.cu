// SPDX-License-Identifier: Apache-2.0
// y[i] = alpha * x[i] + y[i] with one rounding, over a grid-stride loop. Host side:
// workload_linear.c.

extern "C" __global__ void saxpy(float alpha, const float *__restrict__ x, float *__restrict__ y,
                                 unsigned int n)
{
    unsigned int stride = gridDim.x * blockDim.x;

    for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride)
        y[i] = __fmaf_rn(alpha, x[i], y[i]);
}
