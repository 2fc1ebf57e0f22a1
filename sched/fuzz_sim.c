/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the parser of workload descriptions, and a short run of what it accepts, in which no
 * time may be idle while a VM has work.
 */
#include "sched/sim_host.h"

#include <stdlib.h>

#define STEPS      500
#define VMS_PLAYED 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_spec spec;
    struct sim_host host;
    struct vgpu_err err = {0};

    if (sim_parse((const char *)data, size, &spec, &err) < 0) {
        if (!err.text[0])
            abort();
        return 0;
    }
    if (spec.n_vms <= VMS_PLAYED && sim_host_run(&spec, STEPS, &host, &err) == 0) {
        for (uint32_t g = 0; g < host.n_gpus; g++)
            if (host.gpus[g].result.idle_with_work_ns)
                abort();
        sim_host_release(&host);
    }
    sim_spec_release(&spec);
    return 0;
}
