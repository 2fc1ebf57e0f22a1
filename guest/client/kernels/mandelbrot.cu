// SPDX-License-Identifier: Apache-2.0
// Iterations until z = z^2 + c leaves the circle of radius 2, at most `limit`, one pixel a thread.
// Every operation names its rounding, so that the compiler fuses none and the CPU's result is the
// same to the last iteration. Host side: workload_mandelbrot.c.

extern "C" __global__ void mandelbrot(unsigned int *__restrict__ out, unsigned int width,
                                      unsigned int height, float left, float top, float step,
                                      unsigned int limit)
{
    unsigned int x = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned int y = blockIdx.y * blockDim.y + threadIdx.y;

    if (x >= width || y >= height)
        return;

    float c_re = __fadd_rn(left, __fmul_rn(step, (float)x));
    float c_im = __fsub_rn(top, __fmul_rn(step, (float)y));
    float re = 0.0f, im = 0.0f;
    unsigned int i = 0;

    for (; i < limit; i++) {
        float re2 = __fmul_rn(re, re), im2 = __fmul_rn(im, im);

        if (__fadd_rn(re2, im2) > 4.0f)
            break;
        im = __fadd_rn(__fmul_rn(__fmul_rn(2.0f, re), im), c_im);
        re = __fadd_rn(__fsub_rn(re2, im2), c_re);
    }
    out[y * width + x] = i;
}
