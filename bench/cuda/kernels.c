/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels: nothing() for the cost of a launch; add(y, x, n), y[i] += x[i]; stencil(to, from,
 * n), one Jacobi step of the five-point Laplace operator on the inside of an n x n grid; product is
 * guest/client/kernels/matmul.cu.
 */
#include "bench/cuda/bench.h"

const char bench_ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry nothing()\n{\nret;\n}\n"
    ".visible .entry add(.param .u64 y, .param .u64 x, .param .u32 n)\n{\n"
    ".reg .pred %p<2>;\n.reg .b32 %r<6>;\n.reg .f32 %f<4>;\n.reg .b64 %d<6>;\n"
    "ld.param.u64 %d1, [y];\nld.param.u64 %d2, [x];\nld.param.u32 %r1, [n];\n"
    "cvta.to.global.u64 %d1, %d1;\ncvta.to.global.u64 %d2, %d2;\n"
    "mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\n"
    "mad.lo.s32 %r5, %r2, %r3, %r4;\nsetp.ge.u32 %p1, %r5, %r1;\n@%p1 bra END;\n"
    "mul.wide.u32 %d3, %r5, 4;\nadd.s64 %d4, %d1, %d3;\nadd.s64 %d5, %d2, %d3;\n"
    "ld.global.f32 %f1, [%d4];\nld.global.f32 %f2, [%d5];\n"
    "add.rn.f32 %f3, %f1, %f2;\nst.global.f32 [%d4], %f3;\nEND:\nret;\n}\n"
    ".visible .entry stencil(.param .u64 to, .param .u64 from, .param .u32 n)\n{\n"
    ".reg .pred %p<5>;\n.reg .b32 %r<14>;\n.reg .f32 %f<9>;\n.reg .b64 %d<10>;\n"
    "ld.param.u64 %d1, [to];\nld.param.u64 %d2, [from];\nld.param.u32 %r1, [n];\n"
    "cvta.to.global.u64 %d1, %d1;\ncvta.to.global.u64 %d2, %d2;\n"
    "mov.u32 %r2, %ctaid.x;\nmov.u32 %r3, %ntid.x;\nmov.u32 %r4, %tid.x;\n"
    "mad.lo.s32 %r5, %r2, %r3, %r4;\n"
    "mov.u32 %r6, %ctaid.y;\nmov.u32 %r7, %ntid.y;\nmov.u32 %r8, %tid.y;\n"
    "mad.lo.s32 %r9, %r6, %r7, %r8;\nsub.s32 %r10, %r1, 1;\n"
    "setp.eq.u32 %p1, %r5, 0;\nsetp.ge.u32 %p2, %r5, %r10;\n"
    "setp.eq.u32 %p3, %r9, 0;\nsetp.ge.u32 %p4, %r9, %r10;\n"
    "@%p1 bra OUT;\n@%p2 bra OUT;\n@%p3 bra OUT;\n@%p4 bra OUT;\n"
    "mad.lo.s32 %r11, %r9, %r1, %r5;\nmul.wide.u32 %d3, %r11, 4;\n"
    "add.s64 %d4, %d2, %d3;\nadd.s64 %d5, %d1, %d3;\nmul.wide.u32 %d6, %r1, 4;\n"
    "sub.s64 %d7, %d4, %d6;\nadd.s64 %d8, %d4, %d6;\n"
    "ld.global.f32 %f1, [%d4+4];\nld.global.f32 %f2, [%d4+-4];\n"
    "ld.global.f32 %f3, [%d7];\nld.global.f32 %f4, [%d8];\n"
    "add.rn.f32 %f5, %f1, %f2;\nadd.rn.f32 %f6, %f3, %f4;\n"
    "add.rn.f32 %f7, %f5, %f6;\nmul.rn.f32 %f8, %f7, 0f3E800000;\n"
    "st.global.f32 [%d5], %f8;\nOUT:\nret;\n}\n";
