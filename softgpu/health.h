/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What softgpu's NVML reports of a device beyond its identity: temperature, power, clocks, ECC
 * counters and so on. The values are constants unless the file SOFTGPU_STATE_DIR/gpu<INDEX>.state
 * says otherwise; a test writes it (docs/spec/softgpu.md gives the keys).
 */
#ifndef SOFTGPU_HEALTH_H
#define SOFTGPU_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEALTH_MAX_BYTES     65536 /* of the file; what follows is not read */
#define HEALTH_MAX_PROCESSES 64    /* named in the file */

struct health_process {
    uint64_t pid;
    uint64_t memory_bytes;
};

struct health {
    uint64_t temperature_celsius;
    uint64_t power_milliwatts;
    uint64_t power_limit_milliwatts;
    uint64_t sm_clock_mhz;
    uint64_t memory_clock_mhz;
    uint64_t utilization_percent; /* UINT64_MAX: as measured */
    uint64_t memory_utilization_percent;
    uint64_t memory_used_bytes;              /* UINT64_MAX: as accounted */
    uint64_t ecc_corrected, ecc_uncorrected; /* since the driver was loaded */
    uint64_t ecc_corrected_total, ecc_uncorrected_total;
    uint64_t retired_single_bit, retired_double_bit; /* pages */
    uint64_t retirement_pending;
    uint64_t memory_temperature_celsius;
    uint64_t throttle_reasons;                         /* NVML_CLOCKS_* */
    uint64_t remapped_corrected, remapped_uncorrected; /* rows */
    uint64_t remap_pending, remap_failure;
    uint64_t recovery_action; /* NVML_GPU_RECOVERY_ACTION_* */
    uint64_t lost;            /* not 0: every call on the device answers that the GPU is lost */
    uint64_t reset_required;  /* the same, that it requires a reset */
    uint64_t delay_ms;        /* every call on the device takes this long first */
    /* What nvmlInit finds: not 0: no such device; the bus, UINT64_MAX: by its index. */
    uint64_t absent, pci_bus;
    uint64_t numa_node; /* UINT64_MAX: not known */
    uint64_t mig_mode, persistence_mode;
    struct health_process processes[HEALTH_MAX_PROCESSES];
    size_t n_processes;
};

/* The constants. */
void health_default(struct health *ret);

/*
 * Changes *health as the text says: lines of key and value, or `process PID BYTES`; '#' begins a
 * comment. Lines that are not understood are left out. Returns how many of those there were.
 */
size_t health_parse(struct health *health, const char *text, size_t size_bytes);

/* Reads the file of a device; the constants if dir is NULL or there is no file. */
void health_read(struct health *ret, const char *dir, unsigned index);

/*
 * Takes out of the file what a reset of the device ends: that it is lost or needs a reset, counters
 * since the start, what waits for a reset. The rest stays. 0 or -errno.
 */
int health_reset(const char *dir, unsigned index);

#endif
