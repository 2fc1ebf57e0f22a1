/* SPDX-License-Identifier: Apache-2.0 */
/* enum opcode: the interpreter's steps, from opcodes.def. */
#ifndef SOFTGPU_PTX_OPCODE_H
#define SOFTGPU_PTX_OPCODE_H

enum opcode {
#define OP1(name, td, ta, expr)             OPC_##name,
#define OP2(name, td, ta, tb, expr)         OPC_##name,
#define OP3(name, td, ta, tb, tc, expr)     OPC_##name,
#define OP4(name, td, ta, tb, tc, ts, expr) OPC_##name,
#define SETP(name, t, expr)                 OPC_##name,
#define SELP(name, t)                       OPC_##name,
#define HAND(name)                          OPC_##name,
#define FLOW(name)                          OPC_##name,
#include "softgpu/ptx/opcodes.def"
    N_OPCODES
};

#endif
