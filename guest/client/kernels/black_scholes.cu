// SPDX-License-Identifier: Apache-2.0
// European call and put prices in double (Black and Scholes 1973), one option a thread. Host side:
// workload_black_scholes.c.

static __device__ double normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

extern "C" __global__ void black_scholes(const double *__restrict__ spot,
                                         const double *__restrict__ strike,
                                         const double *__restrict__ years,
                                         double *__restrict__ call, double *__restrict__ put,
                                         double rate, double volatility, unsigned int n)
{
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;

    if (i >= n)
        return;

    double spread = volatility * sqrt(years[i]);
    double d1 = (log(spot[i] / strike[i]) +
                 (rate + 0.5 * volatility * volatility) * years[i]) / spread;
    double d2 = d1 - spread;
    double discounted = strike[i] * exp(-rate * years[i]);

    call[i] = spot[i] * normal_cdf(d1) - discounted * normal_cdf(d2);
    put[i] = discounted * normal_cdf(-d2) - spot[i] * normal_cdf(-d1);
}
