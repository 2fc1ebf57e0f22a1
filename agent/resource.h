/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers that the table of operations names; one file for each kind of resource. */
#ifndef VGPU_AGENT_RESOURCE_H
#define VGPU_AGENT_RESOURCE_H

#include "agent/call.h"

void host_get(struct call *call);
void healthz_get(struct call *call);
void openapi_get(struct call *call);

void gpu_list(struct call *call);
void gpu_get(struct call *call);
void gpu_put_pools(struct call *call);
void gpu_drain(struct call *call);
void gpu_resume(struct call *call);
void gpu_reset(struct call *call);
void gpu_scan(struct call *call);

void pool_list(struct call *call);
void pool_get(struct call *call);
void pool_put(struct call *call);
void pool_patch(struct call *call);
void pool_delete(struct call *call);
void pool_assign_vms(struct call *call);
void pool_capacity(struct call *call);

void vm_list(struct call *call);
void vm_get(struct call *call);
void vm_put(struct call *call);
void vm_patch(struct call *call);
void vm_delete(struct call *call);
void vm_quarantine(struct call *call);
void vm_release(struct call *call);
void vm_clear_faults(struct call *call);

void capacity_get(struct call *call);
void status_get(struct call *call);
void health_get(struct call *call);
void audit_list(struct call *call);
void config_get(struct call *call);
void config_put(struct call *call);
void threshold_list(struct call *call);
void threshold_get(struct call *call);
void threshold_put(struct call *call);
void history_get(struct call *call);
void metrics_get(struct call *call);

#endif
