/* SPDX-License-Identifier: Apache-2.0 */
/* European option prices (Black and Scholes 1973), in double. */
#include <math.h>

#include "guest/client/workload_black_scholes.h"
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK      128
#define RATE       0.05
#define VOLATILITY 0.2

static void plan(struct workload_job *job)
{
    for (unsigned int i = 0; i < 3; i++)
        job->in[i] = (struct workload_array){.type = WORKLOAD_F64, .count = job->size};
    for (unsigned int i = 0; i < 2; i++)
        job->out[i] = (struct workload_array){.type = WORKLOAD_F64, .count = job->size};
}

static void fill(struct workload_job *job, struct workload_random *random)
{
    static const double low[] = {5, 1, 0.25}, high[] = {100, 100, 10};

    for (unsigned int i = 0; i < 3; i++)
        for (uint64_t k = 0; k < job->size; k++)
            ((double *)job->in[i].host)[k] = workload_random_f64(random, low[i], high[i]);
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    double rate = RATE, volatility = VOLATILITY;
    uint32_t n = (uint32_t)job->size;
    void *args[] = {&job->in[0].device,  &job->in[1].device,
                    &job->in[2].device,  &job->out[0].device,
                    &job->out[1].device, &rate,
                    &volatility,         &n};

    return workload_launch(job, 0, "black_scholes", workload_grid_for(n, BLOCK), args, err);
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x / sqrt(2.0));
}

void workload_black_scholes_price(double spot, double strike, double years, double *ret_call,
                                  double *ret_put)
{
    double variance = VOLATILITY * VOLATILITY * years;
    double d1 = (log(spot / strike) + RATE * years + variance / 2) / sqrt(variance);
    double d2 = d1 - sqrt(variance);
    double present = strike * exp(-RATE * years);

    *ret_call = spot * normal_cdf(d1) - present * normal_cdf(d2);
    *ret_put = present * normal_cdf(-d2) - spot * normal_cdf(-d1);
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    const double *spot = job->in[0].host, *strike = job->in[1].host, *years = job->in[2].host;
    double *call = job->out[0].want, *put = job->out[1].want;

    for (uint64_t i = 0; i < job->size; i++)
        workload_black_scholes_price(spot[i], strike[i], years[i], &call[i], &put[i]);
    return 0;
}

const struct workload_ops workload_black_scholes = {
    .ptx = workload_ptx_black_scholes,
    .in_count = 3,
    .out_count = 2,
    .relative = 1e-12,
    .absolute = 1e-11, /* out of the money a price is the difference of much larger numbers */
    .plan = plan,
    .fill = fill,
    .run = run,
    .reference = reference,
};
