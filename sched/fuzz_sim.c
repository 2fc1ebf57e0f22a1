/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: the parser of workload descriptions, and a short run of what it accepts, in which no
 * time may be idle while a VM has work.
 */
#include "sched/sim.h"

#include <stdlib.h>

#define STEPS      500
#define VMS_PLAYED 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_spec spec;
    struct sim_result result;
    struct vgpu_err err = {0};

    if (sim_parse((const char *)data, size, &spec, &err) < 0) {
        if (!err.text[0])
            abort();
        return 0;
    }
    if (spec.n_vms <= VMS_PLAYED && sim_run(&spec, NULL, STEPS, &result, &err) == 0) {
        if (result.idle_with_work_ns)
            abort();
        sim_result_release(&result);
    }
    sim_spec_release(&spec);
    return 0;
}
