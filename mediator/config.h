/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as the store's snapshot, and after that its deltas, give it
 * (docs/spec/admin.md), proved and typed. Read by mediator.c, which makes what differs so; never
 * changed in place.
 */
#ifndef VGPU_MEDIATOR_CONFIG_H
#define VGPU_MEDIATOR_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/err.h"
#include "store/threshold.h"

#define CONFIG_NAME_BYTES 65 /* with NUL */
#define CONFIG_UUID_BYTES 65
#define CONFIG_GPUS_MAX   64
#define CONFIG_POOLS_MAX  256
#define CONFIG_VMS_MAX    4096
#define CONFIG_TEXT_BYTES 257

struct config_gpu {
    uint32_t id;
    bool present;
    bool driverless; /* only the PCI bus shows it */
    bool drained;
    uint64_t memory_bytes;
    char drain_reason[CONFIG_TEXT_BYTES];
    char uuid[CONFIG_UUID_BYTES], model[CONFIG_NAME_BYTES];
};

struct config_pool {
    char name[CONFIG_NAME_BYTES];
    bool strict;
    uint64_t gpus; /* a bit per gpu_id */
    /* 0: none, or the scheduler's default. */
    uint32_t weight_hundredths, slice_us, grace_us, max_wait_ms, urgency_us;
};

struct config_vm {
    uint32_t id, priority, weight_hundredths; /* priority: 0 low, 1 medium, 2 high */
    /* 0: no limit, or the default (STORE_*_DEFAULT); burst is not 0 where rate_per_s is not. */
    uint32_t rate_per_s, burst, depth, job_timeout_ms, fault_threshold, fault_window_s;
    uint64_t bytes_in_flight, memory_bytes, process_memory_bytes;
    /* As stored when the snapshot was taken: in the window and not forgiven; ever; s since 1970. */
    uint64_t faults, faults_total, last_fault;
    bool quarantined;
    bool changed;             /* by what made this configuration */
    uint64_t quarantine_time; /* s since 1970; 0: not quarantined */
    char quarantine_reason[CONFIG_TEXT_BYTES];
    char uuid[CONFIG_UUID_BYTES], name[CONFIG_NAME_BYTES], pool[CONFIG_NAME_BYTES];
};

struct config {
    bool host_changed; /* GPUs, pools, or which serves which */
    unsigned n_gpus, n_pools, n_vms;
    struct config_gpu *gpus;
    struct config_pool *pools;
    struct config_vm *vms; /* by id */
    struct threshold_rule rules[THRESHOLD_N];
};

/* -EPROTO: not understood, with the reason. */
int config_parse(const json_t *snapshot, struct config **ret_config, struct vgpu_err *err);
/* The configuration that a delta (docs/spec/admin.md) makes of the old one, which stays. */
int config_change(const struct config *old, const json_t *delta, struct config **ret_config,
                  struct vgpu_err *err);
/*
 * For a configuration that was parsed anew while old was in force: marks as changed just what
 * differs (faults, which are history, aside). True if anything does, VMs that are gone included.
 */
bool config_mark(const struct config *old, struct config *config);
void config_free(struct config *config);

/* NULL if there is none. */
const struct config_gpu *config_gpu(const struct config *config, uint32_t id);
const struct config_pool *config_pool(const struct config *config, const char *name);
const struct config_vm *config_vm(const struct config *config, uint32_t id);

/* "low", "medium", "high". */
const char *config_priority_name(uint32_t priority);

#endif
