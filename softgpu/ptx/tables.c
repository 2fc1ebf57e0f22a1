/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of handlers, one per instruction set that exec_*.c were compiled for. */
#include "softgpu/ptx/exec.h"
#include "softgpu/ptx/handlers.h"

#define DECLARE(name, isa) const struct op *op_##name##_##isa(struct warp *w, const struct op *op);

#define TABLE(isa, name) [OPC_##name] = op_##name##_##isa,

#ifdef PTX_HAVE_ISAS
#define EACH(name) DECLARE(name, base) DECLARE(name, v3) DECLARE(name, v4)
#else
#define EACH(name) DECLARE(name, base)
#endif

#define OP1(name, td, ta, expr)             EACH(name)
#define OP2(name, td, ta, tb, expr)         EACH(name)
#define OP3(name, td, ta, tb, tc, expr)     EACH(name)
#define OP4(name, td, ta, tb, tc, ts, expr) EACH(name)
#define SETP(name, t, expr)                 EACH(name)
#define SELP(name, t)                       EACH(name)
#define HAND(name)                          EACH(name)
#include "softgpu/ptx/opcodes.def"

static const handler table_base[N_OPCODES] = {
#define OP1(name, td, ta, expr)             TABLE(base, name)
#define OP2(name, td, ta, tb, expr)         TABLE(base, name)
#define OP3(name, td, ta, tb, tc, expr)     TABLE(base, name)
#define OP4(name, td, ta, tb, tc, ts, expr) TABLE(base, name)
#define SETP(name, t, expr)                 TABLE(base, name)
#define SELP(name, t)                       TABLE(base, name)
#define HAND(name)                          TABLE(base, name)
#define FLOW(name)                          [OPC_##name] = op_flow_##name,
#include "softgpu/ptx/opcodes.def"
};

#ifdef PTX_HAVE_ISAS
static const handler table_v3[N_OPCODES] = {
#define OP1(name, td, ta, expr)             TABLE(v3, name)
#define OP2(name, td, ta, tb, expr)         TABLE(v3, name)
#define OP3(name, td, ta, tb, tc, expr)     TABLE(v3, name)
#define OP4(name, td, ta, tb, tc, ts, expr) TABLE(v3, name)
#define SETP(name, t, expr)                 TABLE(v3, name)
#define SELP(name, t)                       TABLE(v3, name)
#define HAND(name)                          TABLE(v3, name)
#define FLOW(name)                          [OPC_##name] = op_flow_##name,
#include "softgpu/ptx/opcodes.def"
};

static const handler table_v4[N_OPCODES] = {
#define OP1(name, td, ta, expr)             TABLE(v4, name)
#define OP2(name, td, ta, tb, expr)         TABLE(v4, name)
#define OP3(name, td, ta, tb, tc, expr)     TABLE(v4, name)
#define OP4(name, td, ta, tb, tc, ts, expr) TABLE(v4, name)
#define SETP(name, t, expr)                 TABLE(v4, name)
#define SELP(name, t)                       TABLE(v4, name)
#define HAND(name)                          TABLE(v4, name)
#define FLOW(name)                          [OPC_##name] = op_flow_##name,
#include "softgpu/ptx/opcodes.def"
};

const handler *exec_table(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd"))
        return table_v4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        return table_v3;
    return table_base;
}
#else
const handler *exec_table(void)
{
    return table_base;
}
#endif
