/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text that says which calls of a driver go wrong, and how (docs/spec/fault.md). Parsed by
 * layer.c when the library is loaded, and by a fuzz target. What is not understood is refused.
 */
#ifndef VGPU_FAULT_PLAN_H
#define VGPU_FAULT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "cuda/cuda_abi.h"

#define FAULT_MAX_BYTES    65536 /* of a plan */
#define FAULT_MAX_RULES    64
#define FAULT_MAX_COUNT    UINT32_MAX /* of calls, in a rule */
#define FAULT_MAX_DELAY_NS (UINT64_C(3600) * 1000000000)
#define FAULT_PATH_BYTES   1024
#define FAULT_NAME_BYTES   64

/* What a call of the driver API is named, and what it writes: made from cuda.spec. */
struct fault_argument {
    const char *name;
    size_t bytes; /* of what it points to */
};

struct fault_call_name {
    const char *name; /* as exported */
    const char *base; /* of all its versions and twins */
    const struct fault_argument *arguments;
    unsigned n_arguments;
};

extern const struct fault_call_name fault_call_names[];
extern const unsigned fault_n_calls;

enum fault_verb { FAULT_FAIL, FAULT_DELAY, FAULT_HANG, FAULT_DIE, FAULT_CORRUPT, FAULT_LOSE };
enum fault_when { FAULT_AT, FAULT_FROM, FAULT_EVERY };
enum fault_death { FAULT_ABORT, FAULT_KILL, FAULT_SEGV, FAULT_EXIT };

struct fault_rule {
    enum fault_verb verb;
    char call[FAULT_NAME_BYTES]; /* a name, or the beginning of one and '*' */
    enum fault_when when;
    uint64_t count; /* of the calls that the rule is about, from 1 */
    bool gated;     /* counts only while the gate is open */
    bool once;      /* for one process of all that share the state */
    bool has_vm;
    uint32_t vm;     /* for workers of this VM only */
    CUresult result; /* FAIL, LOSE */
    uint64_t delay_ns;
    enum fault_death death;
    int exit_status;
    char argument[FAULT_NAME_BYTES]; /* CORRUPT: what is changed, by exclusive or with: */
    uint64_t mask;
};

struct fault_plan {
    char driver[FAULT_PATH_BYTES]; /* the real one */
    char state[FAULT_PATH_BYTES];  /* "": none */
    char health[FAULT_PATH_BYTES]; /* "": none; softgpu's NVML reads it */
    struct fault_rule rules[FAULT_MAX_RULES];
    unsigned n_rules;
};

/* Returns 0, or -EINVAL with the line and what is wrong with it in err. */
int fault_plan_parse(struct fault_plan *ret_plan, const char *text, size_t bytes,
                     struct vgpu_err *err);

/* True if the rule is about this call. */
bool fault_rule_covers(const struct fault_rule *rule, const struct fault_call_name *call);

#endif
