/* SPDX-License-Identifier: Apache-2.0 */
/* Names of special registers; see sreg.h. */
#include "softgpu/ptx/sreg.h"

#include <string.h>

static const struct {
    const char *name;
    uint8_t sreg;
    uint8_t vector;
    uint8_t wide;
} sregs[] = {
    {"tid", SREG_TID_X, 1, 0},
    {"ntid", SREG_NTID_X, 1, 0},
    {"ctaid", SREG_CTAID_X, 1, 0},
    {"nctaid", SREG_NCTAID_X, 1, 0},
    {"clusterid", SREG_CTAID_X, 1, 0},
    {"nclusterid", SREG_NCTAID_X, 1, 0},
    {"cluster_ctarank", SREG_ZERO, 0, 0},
    {"cluster_nctarank", SREG_ONE, 0, 0},
    {"reserved_smem_offset_begin", SREG_NOWHERE, 0, 0},
    {"reserved_smem_offset_end", SREG_NOWHERE, 0, 0},
    {"reserved_smem_offset_cap", SREG_NOWHERE, 0, 0},
    {"reserved_smem_offset_0", SREG_NOWHERE, 0, 0},
    {"reserved_smem_offset_1", SREG_NOWHERE, 0, 0},
    {"laneid", SREG_LANEID, 0, 0},
    {"warpid", SREG_WARPID, 0, 0},
    {"nwarpid", SREG_NWARPID, 0, 0},
    {"smid", SREG_SMID, 0, 0},
    {"nsmid", SREG_NSMID, 0, 0},
    {"gridid", SREG_GRIDID, 0, 1},
    {"lanemask_eq", SREG_LANEMASK_EQ, 0, 0},
    {"lanemask_le", SREG_LANEMASK_LE, 0, 0},
    {"lanemask_lt", SREG_LANEMASK_LT, 0, 0},
    {"lanemask_ge", SREG_LANEMASK_GE, 0, 0},
    {"lanemask_gt", SREG_LANEMASK_GT, 0, 0},
    {"clock", SREG_CLOCK, 0, 0},
    {"clock_hi", SREG_CLOCK_HI, 0, 0},
    {"clock64", SREG_CLOCK64, 0, 1},
    {"globaltimer", SREG_GLOBALTIMER, 0, 1},
    {"globaltimer_lo", SREG_GLOBALTIMER_LO, 0, 0},
    {"globaltimer_hi", SREG_GLOBALTIMER_HI, 0, 0},
    {"dynamic_smem_size", SREG_DYNAMIC_SMEM_SIZE, 0, 0},
    {"total_smem_size", SREG_TOTAL_SMEM_SIZE, 0, 0},
    {"aggr_smem_size", SREG_AGGR_SMEM_SIZE, 0, 0},
    {"pm0", SREG_PM, 0, 0},
    {"pm1", SREG_PM, 0, 0},
    {"pm2", SREG_PM, 0, 0},
    {"pm3", SREG_PM, 0, 0},
};

static enum sreg envreg_find(const char *name, uint32_t length)
{
    uint32_t number = 0;

    if (length < 8 || length > 9 || memcmp(name, "%envreg", 7))
        return SREG_NONE;
    for (uint32_t i = 7; i < length; i++) {
        if (name[i] < '0' || name[i] > '9')
            return SREG_NONE;
        number = number * 10 + (uint32_t)(name[i] - '0');
    }
    return number < 32 ? (enum sreg)(SREG_ENVREG + number) : SREG_NONE;
}

enum sreg sreg_find(const char *name, uint32_t length, const char *suffix, uint32_t suffix_length,
                    bool *ret_wide)
{
    *ret_wide = false;
    for (unsigned i = 0; i < sizeof(sregs) / sizeof(sregs[0]); i++) {
        if (strlen(sregs[i].name) + 1 != length || memcmp(sregs[i].name, name + 1, length - 1))
            continue;
        *ret_wide = sregs[i].wide;
        if (!sregs[i].vector)
            return suffix_length ? SREG_NONE : (enum sreg)sregs[i].sreg;
        if (suffix_length != 1 || suffix[0] < 'x' || suffix[0] > 'z')
            return SREG_NONE;
        return (enum sreg)(sregs[i].sreg + (suffix[0] - 'x'));
    }
    return suffix_length ? SREG_NONE : envreg_find(name, length);
}

bool sreg_is_vector(const char *name, uint32_t length)
{
    for (unsigned i = 0; i < sizeof(sregs) / sizeof(sregs[0]); i++)
        if (strlen(sregs[i].name) + 1 == length && !memcmp(sregs[i].name, name + 1, length - 1))
            return sregs[i].vector;
    return false;
}
