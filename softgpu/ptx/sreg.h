/* SPDX-License-Identifier: Apache-2.0 */
/* Special registers. */
#ifndef SOFTGPU_PTX_SREG_H
#define SOFTGPU_PTX_SREG_H

#include <stdbool.h>
#include <stdint.h>

enum sreg {
    SREG_NONE,
    SREG_TID_X,
    SREG_TID_Y,
    SREG_TID_Z,
    SREG_NTID_X,
    SREG_NTID_Y,
    SREG_NTID_Z,
    SREG_CTAID_X,
    SREG_CTAID_Y,
    SREG_CTAID_Z,
    SREG_NCTAID_X,
    SREG_NCTAID_Y,
    SREG_NCTAID_Z,
    SREG_LANEID,
    SREG_WARPID,
    SREG_NWARPID,
    SREG_SMID,
    SREG_NSMID,
    SREG_GRIDID,
    SREG_LANEMASK_EQ,
    SREG_LANEMASK_LE,
    SREG_LANEMASK_LT,
    SREG_LANEMASK_GE,
    SREG_LANEMASK_GT,
    SREG_CLOCK,
    SREG_CLOCK_HI,
    SREG_CLOCK64,
    SREG_GLOBALTIMER,
    SREG_GLOBALTIMER_LO,
    SREG_GLOBALTIMER_HI,
    SREG_DYNAMIC_SMEM_SIZE,
    SREG_TOTAL_SMEM_SIZE,
    SREG_AGGR_SMEM_SIZE,
    SREG_PM,
    SREG_ZERO, /* of clusters: each block is one of its own */
    SREG_ONE,
    SREG_NOWHERE, /* reserved shared memory: there is none, and use of it faults */
    SREG_ENVREG = 64, /* + 0 .. 31 */
};

/* Finds a special register by its name, "%tid" with suffix "x" or "" (component 0 otherwise).
 * *ret_wide: it is 64 bits. SREG_NONE if there is no such register. */
enum sreg sreg_find(const char *name, uint32_t length, const char *suffix, uint32_t suffix_length,
                    bool *ret_wide);

bool sreg_is_vector(const char *name, uint32_t length);

#endif
