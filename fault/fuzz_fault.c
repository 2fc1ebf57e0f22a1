/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer: plans of faults. What is taken keeps to the limits of plan.h. */
#include <string.h>

#include "fault/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fault_plan plan;
    struct vgpu_err err = {.code = 0};

    if (fault_plan_parse(&plan, (const char *)data, size, &err) < 0) {
        check(err.code > 0 && err.text[0]);
        return 0;
    }
    check(plan.driver[0] == '/' && plan.n_rules <= FAULT_MAX_RULES);
    for (unsigned i = 0; i < plan.n_rules; i++) {
        const struct fault_rule *rule = &plan.rules[i];
        int covered = 0;

        for (unsigned j = 0; j < fault_n_calls; j++)
            covered += fault_rule_covers(rule, &fault_call_names[j]);
        check(covered > 0 && rule->count > 0 && rule->delay_ns <= FAULT_MAX_DELAY_NS);
        check(rule->verb != FAULT_CORRUPT || (rule->mask != 0 && rule->argument[0]));
        check((rule->verb != FAULT_FAIL && rule->verb != FAULT_LOSE) ||
              rule->result != CUDA_SUCCESS);
    }
    return 0;
}
