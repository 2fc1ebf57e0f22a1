/* SPDX-License-Identifier: Apache-2.0 */
/* The CPU reference of the Black-Scholes workload, for its own test against known prices. */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_BLACK_SCHOLES_H
#define VGPU_GUEST_CLIENT_WORKLOAD_BLACK_SCHOLES_H

/* Call and put at the workload's rate (5 %) and volatility (20 %). */
void workload_black_scholes_price(double spot, double strike, double years, double *ret_call,
                                  double *ret_put);

#endif
