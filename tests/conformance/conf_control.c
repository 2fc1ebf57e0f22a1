/* SPDX-License-Identifier: Apache-2.0 */
/* Control flow: divergence, brx.idx, calls, recursion, function pointers, barriers. */
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define THREADS 256

/* Runs a kernel of one block in which each thread writes 32 bits, and compares with `want`. */
static enum conf_result each_thread(struct conf *conf, const char *ptx,
                                    uint32_t (*want)(uint32_t thread))
{
    uint32_t out[THREADS];
    struct conf_launch launch = {
        .ptx = ptx, .block = {THREADS}, .out = out, .out_bytes = sizeof(out)};

    CONF_TRY(conf_launch(conf, &launch));
    for (uint32_t i = 0; i < THREADS; i++)
        if (out[i] != want(i))
            return conf_fail(conf, "thread %u: got %#x, expected %#x", i, out[i], want(i));
    return CONF_PASS;
}

/* Collatz steps: every lane leaves the loop at another time. */
static const char loop_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "add.u32 %r0, %gid, 1;\nmov.u32 %r1, 0;\n"
    "loop:\nsetp.eq.u32 %p0, %r0, 1;\n@%p0 bra done;\nadd.u32 %r1, %r1, 1;\n"
    "and.b32 %r2, %r0, 1;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra even;\n"
    "mad.lo.u32 %r0, %r0, 3, 1;\nbra loop;\neven:\nshr.u32 %r0, %r0, 1;\nbra.uni loop;\n"
    "done:\nst.global.u32 [%o], %r1;\nret;\n}\n";

static uint32_t collatz(uint32_t thread)
{
    uint32_t steps = 0;

    for (uint32_t n = thread + 1; n != 1; n = n % 2 ? 3 * n + 1 : n / 2)
        steps++;
    return steps;
}

static enum conf_result divergent_loop(struct conf *conf)
{
    return each_thread(conf, loop_ptx, collatz);
}

/* After divergent branches and early exits the remaining lanes still meet at the warp barrier. */
static const char exits_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "st.global.u32 [%o], 7;\nand.b32 %r0, %gid, 3;\nsetp.eq.u32 %p0, %r0, 0;\n@%p0 exit;\n"
    "setp.eq.u32 %p1, %r0, 1;\n@%p1 bra one;\nmov.u32 %r1, 20;\nbra join;\n"
    "one:\nmov.u32 %r1, 10;\njoin:\nbar.warp.sync 0xeeeeeeee;\n"
    "shfl.sync.idx.b32 %r2, %r1, 1, 31, 0xeeeeeeee;\nadd.u32 %r1, %r1, %r2;\n"
    "st.global.u32 [%o], %r1;\nret;\n}\n";

static uint32_t exits_want(uint32_t thread)
{
    return thread % 4 == 0 ? 7 : thread % 4 == 1 ? 20 : 30;
}

static enum conf_result early_exits(struct conf *conf)
{
    return each_thread(conf, exits_ptx, exits_want);
}

static const char brx_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "and.b32 %r0, %gid, 3;\nmov.u32 %r1, 1;\n"
    "targets: .branchtargets L0, L1, L2, L3;\nbrx.idx %r0, targets;\n"
    "L0:\nmov.u32 %r1, 100;\nbra end;\nL1:\nmov.u32 %r1, 200;\n" /* falls through */
    "L2:\nadd.u32 %r1, %r1, 3;\nbra end;\nL3:\nmov.u32 %r1, 400;\n"
    "end:\nst.global.u32 [%o], %r1;\nret;\n}\n";

static uint32_t brx_want(uint32_t thread)
{
    static const uint32_t values[] = {100, 203, 4, 400};

    return values[thread % 4];
}

static enum conf_result indexed_branch(struct conf *conf)
{
    return each_thread(conf, brx_ptx, brx_want);
}

/* Fibonacci with a stack of its own for every lane. */
static const char recursion_ptx[] = CONF_HEADER
    ".func (.param .b32 result) fib(.param .b32 n)\n{\n"
    ".reg .b32 %a, %b, %c;\n.reg .pred %p;\nld.param.u32 %a, [n];\nsetp.lt.u32 %p, %a, 2;\n"
    "@%p bra small;\nsub.u32 %b, %a, 1;\n"
    "{\n.param .b32 arg;\n.param .b32 ret;\nst.param.b32 [arg], %b;\n"
    "call.uni (ret), fib, (arg);\nld.param.b32 %c, [ret];\n}\n"
    "sub.u32 %b, %a, 2;\n"
    "{\n.param .b32 arg;\n.param .b32 ret;\nst.param.b32 [arg], %b;\n"
    "call.uni (ret), fib, (arg);\nld.param.b32 %b, [ret];\n}\n"
    "add.u32 %c, %c, %b;\nst.param.b32 [result], %c;\nret;\n"
    "small:\nst.param.b32 [result], %a;\nret;\n}\n" CONF_ENTRY CONF_OWN_32 "and.b32 %r0, %gid, 7;\n"
    "{\n.param .b32 arg;\n.param .b32 ret;\nst.param.b32 [arg], %r0;\n"
    "call (ret), fib, (arg);\nld.param.b32 %r1, [ret];\n}\n"
    "st.global.u32 [%o], %r1;\nret;\n}\n";

static uint32_t fibonacci(uint32_t thread)
{
    static const uint32_t values[] = {0, 1, 1, 2, 3, 5, 8, 13};

    return values[thread % 8];
}

static enum conf_result recursion(struct conf *conf)
{
    return each_thread(conf, recursion_ptx, fibonacci);
}

/* A table of functions in global memory; lanes of a warp call different ones. */
static const char pointers_ptx[] = CONF_HEADER
    ".func (.param .b32 r) twice(.param .b32 x)\n{\n.reg .b32 %a;\nld.param.b32 %a, [x];\n"
    "add.u32 %a, %a, %a;\nst.param.b32 [r], %a;\nret;\n}\n"
    ".func (.param .b32 r) square(.param .b32 x)\n{\n.reg .b32 %a;\nld.param.b32 %a, [x];\n"
    "mul.lo.u32 %a, %a, %a;\nst.param.b32 [r], %a;\nret;\n}\n"
    ".global .align 8 .u64 functions[2] = {twice, square};\n" CONF_ENTRY CONF_OWN_32
    "and.b32 %r0, %gid, 1;\nmov.u64 %rd0, functions;\nmad.wide.u32 %rd0, %r0, 8, %rd0;\n"
    "ld.global.u64 %rd1, [%rd0];\n"
    "{\n.param .b32 arg;\n.param .b32 ret;\nst.param.b32 [arg], %gid;\n"
    "prototype: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
    "call (ret), %rd1, (arg), prototype;\nld.param.b32 %r1, [ret];\n}\n"
    "st.global.u32 [%o], %r1;\nret;\n}\n";

static uint32_t twice_or_square(uint32_t thread)
{
    return thread % 2 ? thread * thread : 2 * thread;
}

static enum conf_result function_pointers(struct conf *conf)
{
    return each_thread(conf, pointers_ptx, twice_or_square);
}

/* A structure by value, registers by name, two results through an array parameter. */
static const char parameters_ptx[] = CONF_HEADER
    ".func (.param .align 8 .b8 out[16]) mix(.param .align 8 .b8 in[24], .param .f32 f,"
    " .param .b64 l)\n{\n.reg .b32 %a, %b;\n.reg .b64 %x, %y;\n.reg .f32 %f;\n"
    "ld.param.u8 %a, [in+1];\nld.param.u16 %b, [in+6];\nld.param.u64 %x, [in+16];\n"
    "ld.param.f32 %f, [f];\nld.param.u64 %y, [l];\nadd.u32 %a, %a, %b;\n"
    "cvt.rzi.u32.f32 %b, %f;\nadd.u32 %a, %a, %b;\nadd.u64 %x, %x, %y;\n"
    "st.param.b64 [out+0], %x;\nst.param.b32 [out+8], %a;\nret;\n}\n" CONF_ENTRY CONF_OWN_32
    "cvt.u16.u32 %h0, %gid;\ncvt.rn.f32.u32 %f0, %gid;\ncvt.u64.u32 %rd0, %gid;\n"
    "{\n.param .align 8 .b8 in[24];\n.param .f32 f;\n.param .b64 l;\n"
    ".param .align 8 .b8 out[16];\nst.param.b8 [in+1], %h0;\nst.param.b16 [in+6], %h0;\n"
    "st.param.b64 [in+16], %rd0;\nst.param.f32 [f], %f0;\nst.param.b64 [l], 5;\n"
    "call (out), mix, (in, f, l);\nld.param.b64 %rd1, [out+0];\nld.param.b32 %r1, [out+8];\n}\n"
    "cvt.u32.u64 %r2, %rd1;\nmad.lo.u32 %r1, %r1, 1000, %r2;\nst.global.u32 [%o], %r1;\nret;\n}\n";

static uint32_t parameters_want(uint32_t thread)
{
    return 3 * thread * 1000 + thread + 5;
}

static enum conf_result call_parameters(struct conf *conf)
{
    return each_thread(conf, parameters_ptx, parameters_want);
}

/* Each step reads the neighbour's cell of the step before. */
static const char barrier_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    ".shared .align 4 .b8 cells[1024];\nmov.u32 %r0, cells;\nmad.lo.u32 %r1, %gid, 4, %r0;\n"
    "st.shared.u32 [%r1], %gid;\nadd.u32 %r2, %gid, 1;\nand.b32 %r2, %r2, 255;\n"
    "mad.lo.u32 %r2, %r2, 4, %r0;\nmov.u32 %r3, 0;\n"
    "step:\nbar.sync 0;\nld.shared.u32 %r4, [%r2];\nbar.sync 0;\nst.shared.u32 [%r1], %r4;\n"
    "add.u32 %r3, %r3, 1;\nsetp.lt.u32 %p0, %r3, 10;\n@%p0 bra step;\n"
    "st.global.u32 [%o], %r4;\nret;\n}\n";

static uint32_t tenth_neighbour(uint32_t thread)
{
    return (thread + 10) % THREADS;
}

static enum conf_result barriers(struct conf *conf)
{
    return each_thread(conf, barrier_ptx, tenth_neighbour);
}

/* Two halves of the block on barriers of their own; one half hands over to the other. */
static const char named_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    ".shared .align 4 .b8 cells[512];\nmov.u32 %r0, cells;\nsetp.ge.u32 %p0, %gid, 128;\n"
    "@%p0 bra consumer;\nmad.lo.u32 %r1, %gid, 4, %r0;\nmad.lo.u32 %r2, %gid, 5, 1;\n"
    "st.shared.u32 [%r1], %r2;\nbar.arrive 1, 256;\nbar.sync 2, 128;\n"
    "st.global.u32 [%o], %r2;\nret;\n"
    "consumer:\nbar.sync 1, 256;\nsub.u32 %r1, 255, %gid;\nmad.lo.u32 %r1, %r1, 4, %r0;\n"
    "ld.shared.u32 %r2, [%r1];\nst.global.u32 [%o], %r2;\nret;\n}\n";

static uint32_t handed_over(uint32_t thread)
{
    return 5 * (thread < 128 ? thread : 255 - thread) + 1;
}

static enum conf_result named_barriers(struct conf *conf)
{
    return each_thread(conf, named_ptx, handed_over);
}

/* Counts over the block, and all and any of a predicate. */
static const char reduction_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "setp.lt.u32 %p0, %gid, 100;\nbar.red.popc.u32 %r0, 0, %p0;\n"
    "bar.red.and.pred %p1, 0, %p0;\nbar.red.or.pred %p2, 0, %p0;\n"
    "bar.red.and.pred %p3, 0, !%p0;\n"
    "selp.u32 %r1, 1000, 0, %p1;\nselp.u32 %r2, 2000, 0, %p2;\nselp.u32 %r3, 4000, 0, %p3;\n"
    "add.u32 %r0, %r0, %r1;\nadd.u32 %r0, %r0, %r2;\nadd.u32 %r0, %r0, %r3;\n"
    "st.global.u32 [%o], %r0;\nret;\n}\n";

static uint32_t counted(uint32_t thread)
{
    return 2100;
}

static enum conf_result barrier_reductions(struct conf *conf)
{
    return each_thread(conf, reduction_ptx, counted);
}

/* Threads that have returned do not hold up a barrier. */
static const char returned_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "st.global.u32 [%o], 1;\nsetp.ge.u32 %p0, %gid, 64;\n@%p0 ret;\nbar.sync 0;\n"
    "st.global.u32 [%o], 2;\nret;\n}\n";

static uint32_t returned_want(uint32_t thread)
{
    return thread < 64 ? 2 : 1;
}

static enum conf_result barrier_after_return(struct conf *conf)
{
    return each_thread(conf, returned_ptx, returned_want);
}

/* Every thread of a three-dimensional grid writes its place. */
static const char shape_ptx[] = CONF_HEADER CONF_ENTRY
    "mov.u32 %r0, %tid.y;\nmov.u32 %r1, %ntid.x;\nmov.u32 %r2, %tid.x;\n"
    "mov.u32 %r3, %tid.z;\nmov.u32 %r4, %ntid.y;\nmad.lo.u32 %r0, %r3, %r4, %r0;\n"
    "mad.lo.u32 %r0, %r0, %r1, %r2;\n" /* within the block */
    "mov.u32 %r5, %ctaid.z;\nmov.u32 %r6, %nctaid.y;\nmov.u32 %r7, %ctaid.y;\n"
    "mad.lo.u32 %r5, %r5, %r6, %r7;\nmov.u32 %r6, %nctaid.x;\nmov.u32 %r7, %ctaid.x;\n"
    "mad.lo.u32 %r5, %r5, %r6, %r7;\nmov.u32 %r8, %ntid.z;\nmul.lo.u32 %r1, %r1, %r4;\n"
    "mul.lo.u32 %r1, %r1, %r8;\nmad.lo.u32 %r5, %r5, %r1, %r0;\n"
    "mad.wide.u32 %o, %r5, 4, %out;\nmov.u32 %r9, %nctaid.z;\nmad.lo.u32 %r5, %r5, 16, %r9;\n"
    "st.global.u32 [%o], %r5;\nret;\n}\n";

static enum conf_result grid_shape(struct conf *conf)
{
    static uint32_t out[5 * 3 * 2 * 7 * 4 * 3];
    struct conf_launch launch = {.ptx = shape_ptx,
                                 .grid = {5, 3, 2},
                                 .block = {7, 4, 3},
                                 .out = out,
                                 .out_bytes = sizeof(out)};

    CONF_TRY(conf_launch(conf, &launch));
    for (uint32_t i = 0; i < VGPU_ARRAY_SIZE(out); i++)
        if (out[i] != 16 * i + 2)
            return conf_fail(conf, "thread %u wrote %u", i, out[i]);
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"divergent loop", divergent_loop, false},
    {"early exits", early_exits, false},
    {"brx.idx", indexed_branch, false},
    {"recursion", recursion, false},
    {"function pointers", function_pointers, false},
    {"call parameters", call_parameters, false},
    {"bar.sync", barriers, false},
    {"named barriers, bar.arrive", named_barriers, false},
    {"bar.red", barrier_reductions, false},
    {"barrier after return", barrier_after_return, false},
    {"grid and block shape", grid_shape, false},
};

void conf_control_cases(conf_visit visit, void *context)
{
    conf_visit_cases("control", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
