/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers a VM's MONITOR requests (<vgpu/monitor.h>): what the GPUs of its pool are, and its own
 * use of them. Called by connection.c; mediator.c tells when facts may be missing.
 *
 * An answer is made of the configuration, of what NVML said last, and of the VM's own seat and
 * channels; no other VM's are looked at. It costs no worker and waits for nobody.
 */
#ifndef VGPU_MEDIATOR_MONITOR_H
#define VGPU_MEDIATOR_MONITOR_H

#include <jansson.h>
#include <vgpu/wire.h>

struct connection;
struct mediator;

/* What NVML says of a GPU that does not change; `known` as in struct vgpu_monitor. */
struct gpu_facts {
    uint32_t known, cuda_version, compute_major, compute_minor;
    uint32_t pci_device_id, pci_subsystem_id, max_sm_mhz, max_memory_mhz, ecc_mode;
    char driver[80], pci[32];
};

/* Asks the NVML helper, if a GPU of the configuration has no facts yet. Answers come later. */
void monitor_learn(struct mediator *mediator);
/* One GPU of the helper's answer. What is missing or out of range stays unknown. */
void monitor_take_facts(struct gpu_facts *facts, const json_t *gpu);

void monitor_answer(struct connection *connection, const struct vgpu_msg_monitor *ask);

#endif
