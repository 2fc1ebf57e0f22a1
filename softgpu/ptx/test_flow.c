/* SPDX-License-Identifier: Apache-2.0 */
/* Divergence, loops, calls, recursion, indexed branches, progress of lanes that wait. */
#include "softgpu/ptx/test_kit.h"

#include <string.h>

/* An entry k(out) with %out, %t (thread), and some registers; text must set %v, which is stored. */
#define ENTRY(decls, text)                                                                         \
    decls ".visible .entry k(.param .u64 out)\n{\n"                                                \
          ".reg .u64 %out, %o, %l<8>;\n.reg .u32 %t, %v, %r<16>;\n.reg .pred %p<8>;\n"             \
          "ld.param.u64 %out, [out];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %o, %t, 4;\n"              \
          "add.u64 %out, %out, %o;\nmov.u32 %v, 0;\n" text "st.global.u32 [%out], %v;\nret;\n}\n"

static uint32_t *run(struct kit *kit, const char *text, unsigned threads)
{
    uint32_t *out;
    uint64_t params[1];

    kit_load(kit, text);
    params[0] = kit_alloc(kit, threads * 4, &out);
    kit_run_ok(kit, "k", 1, threads, params, 1);
    return out;
}

static void test_flow_if_else_meets_again(void **state)
{
    /* activemask behind the join tells whether the warp met again. */
    uint32_t *out = run(*state,
                        ENTRY("", "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra even;\n"
                                  "mov.u32 %r2, 100;\nbra.uni join;\neven:\nmov.u32 %r2, 200;\n"
                                  "join:\nactivemask.b32 %r3;\npopc.b32 %r3, %r3;\n"
                                  "add.u32 %v, %r2, %r3;\n"),
                        32);

    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(out[i], (i & 1 ? 100 : 200) + 32);
}

/* A cold block at the end of the text: the order of blocks must still let the warp meet. */
static void test_flow_cold_block_meets_again(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("", "setp.lt.u32 %p1, %t, 5;\n@%p1 bra cold;\nback:\n"
                                  "activemask.b32 %r3;\npopc.b32 %r3, %r3;\nadd.u32 %v, %v, %r3;\n"
                                  "bra end;\ncold:\nmov.u32 %v, 1000;\nbra back;\nend:\n"),
                        32);

    for (unsigned i = 0; i < 32; i++)
        assert_int_equal(out[i], (i < 5 ? 1000 : 0) + 32);
}

static void test_flow_loops_of_different_length(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("", "mov.u32 %r1, 0;\nouter:\nsetp.ge.u32 %p1, %r1, %t;\n"
                                  "@%p1 bra done;\nmov.u32 %r2, 0;\ninner:\nadd.u32 %v, %v, 1;\n"
                                  "add.u32 %r2, %r2, 1;\nsetp.le.u32 %p2, %r2, %r1;\n"
                                  "setp.ge.u32 %p3, %v, 100;\n@%p3 bra done;\n@%p2 bra inner;\n"
                                  "add.u32 %r1, %r1, 1;\nbra outer;\ndone:\n"
                                  "activemask.b32 %r3;\nsetp.ne.u32 %p4, %r3, -1;\n"
                                  "@%p4 mov.u32 %v, 99999;\n"),
                        32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i * (i + 1) / 2 < 100 ? i * (i + 1) / 2 : 100);
}

/* Two entries into a loop. */
static void test_flow_irreducible_loop(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY("", "and.b32 %r1, %t, 1;\nmov.u32 %r2, %t;\nsetp.eq.u32 %p1, %r1, 0;\n"
                      "@%p1 bra second;\nfirst:\nadd.u32 %v, %v, 1;\n"
                      "second:\nadd.u32 %v, %v, 100;\nsetp.eq.u32 %p2, %r2, 0;\n"
                      "sub.u32 %r2, %r2, 1;\n@!%p2 bra first;\n"),
            40);

    for (uint32_t i = 0; i < 40; i++)
        assert_int_equal(out[i], (i + 1) * 100 + i + (i & 1));
}

static void test_flow_brx_idx(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("", "and.b32 %r1, %t, 3;\nlist: .branchtargets a, b, c, b;\n"
                                  "brx.idx %r1, list;\na:\nmov.u32 %v, 10;\nbra e;\nb:\n"
                                  "mov.u32 %v, 20;\nbra e;\nc:\nmov.u32 %v, 30;\ne:\n"
                                  "add.u32 %v, %v, %r1;\n"),
                        64);

    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(out[i], ((uint32_t[]){10, 21, 32, 23})[i & 3]);
}

static void test_flow_brx_out_of_range_is_reported(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];

    kit_load(kit, ENTRY("", "list: .branchtargets a, b;\nbrx.idx %t, list;\na:\nb:\n"));
    params[0] = kit_alloc(kit, 128, NULL);
    assert_int_equal(kit_run(kit, "k", 1, 32, params, 1), PTX_FAULT_PC);
    assert_int_equal(kit->fault.thread[0], 2);
}

#define FIB                                                                                        \
    ".visible .func (.param .b32 ret) fib(.param .b32 n)\n{\n.reg .u32 %a<6>;\n.reg .pred %p;\n"   \
    "ld.param.u32 %a1, [n];\nsetp.lt.u32 %p, %a1, 2;\n@%p bra small;\nsub.u32 %a2, %a1, 1;\n"      \
    "{\n.param .b32 p0;\n.param .b32 r0;\nst.param.b32 [p0+0], %a2;\n"                             \
    "call.uni (r0), fib, (p0);\nld.param.b32 %a3, [r0+0];\n}\nsub.u32 %a2, %a1, 2;\n"              \
    "{\n.param .b32 p0;\n.param .b32 r0;\nst.param.b32 [p0+0], %a2;\n"                             \
    "call.uni (r0), fib, (p0);\nld.param.b32 %a4, [r0+0];\n}\nadd.u32 %a1, %a3, %a4;\n"            \
    "small:\nst.param.b32 [ret+0], %a1;\nret;\n}\n"

static uint32_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void test_flow_recursion(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY(FIB, "and.b32 %r1, %t, 15;\ncall (%v), fib, (%r1);\n"
                                   "activemask.b32 %r3;\nsetp.ne.u32 %p4, %r3, -1;\n"
                                   "@%p4 mov.u32 %v, 99999;\n"),
                        64);

    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(out[i], fib(i & 15));
}

static void test_flow_endless_recursion_is_a_stack_overflow(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];

    kit_load(kit, ENTRY(".func (.param .b32 r) f(.param .b32 n)\n{\n.reg .u32 %a<3>;\n"
                        "ld.param.u32 %a1, [n];\ncall (%a2), f, (%a1);\n"
                        "st.param.b32 [r], %a2;\nret;\n}\n",
                        "call (%v), f, (%t);\n"));
    params[0] = kit_alloc(kit, 128, NULL);
    assert_int_equal(kit_run(kit, "k", 1, 32, params, 1), PTX_FAULT_STACK);
    kit->launch.stack_bytes = 65536;
    assert_int_equal(kit_run(kit, "k", 1, 32, params, 1), PTX_FAULT_STACK);
}

#define ADDERS                                                                                     \
    ".visible .func (.param .b32 r) plus1(.param .b32 a)\n{\n.reg .u32 %a<3>;\n"                   \
    "ld.param.u32 %a1, [a];\nadd.u32 %a1, %a1, 1;\nst.param.b32 [r], %a1;\nret;\n}\n"              \
    ".visible .func (.param .b32 r) twice(.param .b32 a)\n{\n.reg .u32 %a<3>;\n"                   \
    "ld.param.u32 %a1, [a];\nadd.u32 %a1, %a1, %a1;\nst.param.b32 [r], %a1;\nret;\n}\n"            \
    ".visible .func other(.param .b64 a)\n{\nret;\n}\n"                                            \
    ".visible .global .align 8 .u64 table[3] = {plus1, twice, other};\n"

static const char indirect[] =
    ENTRY(ADDERS, "and.b32 %r1, %t, 1;\nmul.wide.u32 %l1, %r1, 8;\nmov.u64 %l2, table;\n"
                  "add.u64 %l1, %l1, %l2;\nld.global.u64 %l3, [%l1];\n{\n.param .b32 p0;\n"
                  ".param .b32 r0;\nst.param.b32 [p0], %t;\n"
                  "proto: .callprototype (.param .b32 _) _ (.param .b32 _);\n"
                  "call (r0), %l3, (p0), proto;\nld.param.b32 %v, [r0];\n}\n");

static void test_flow_call_through_pointer(void **state)
{
    uint32_t *out = run(*state, indirect, 64);

    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(out[i], i & 1 ? i * 2 : i + 1);
}

static void test_flow_bad_pointer_is_reported(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    uint64_t *table;

    kit_load(kit, indirect);
    params[0] = kit_alloc(kit, 256, NULL);
    table = (uint64_t *)(void *)(kit->arena + (kit->addresses[0] - KIT_BASE));
    table[1] = table[2];
    assert_int_equal(kit_run(kit, "k", 1, 32, params, 1), PTX_FAULT_PC);
    table[1] = 0x1234;
    assert_int_equal(kit_run(kit, "k", 1, 32, params, 1), PTX_FAULT_PC);
    assert_int_equal(kit->fault.address, 0x1234);
}

/* Lanes of one warp fight for a lock: each must get it in the end. */
static void test_flow_spin_lock_between_lanes(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY(".visible .global .u32 lock;\n.visible .global .u32 count;\n",
                              "try:\natom.global.cas.b32 %r1, [lock], 0, 1;\n"
                              "setp.ne.u32 %p1, %r1, 0;\n@%p1 bra try;\n"
                              "ld.volatile.global.u32 %v, [count];\nadd.u32 %v, %v, 1;\n"
                              "st.volatile.global.u32 [count], %v;\nmembar.gl;\n"
                              "atom.global.exch.b32 %r2, [lock], 0;\n"),
                        64);
    uint64_t seen = 0;

    for (uint32_t i = 0; i < 64; i++) {
        assert_in_range(out[i], 1, 64);
        seen |= UINT64_C(1) << (out[i] - 1);
    }
    assert_int_equal(seen, UINT64_MAX);
}

/* A lane waits for a value that a lane behind it in the text stores. */
static void test_flow_lane_waits_for_lane(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY(".visible .shared .u32 flag;\n",
                              "st.shared.u32 [flag], 0;\nbar.sync 0;\nsetp.eq.u32 %p1, %t, 7;\n"
                              "@%p1 bra setter;\nwait:\nld.volatile.shared.u32 %v, [flag];\n"
                              "setp.eq.u32 %p2, %v, 0;\n@%p2 bra wait;\nbra end;\nsetter:\n"
                              "mov.u32 %r1, 5;\nst.volatile.shared.u32 [flag], %r1;\nend:\n"),
                        96);

    for (uint32_t i = 0; i < 96; i++)
        assert_int_equal(out[i], i == 7 ? 0 : 5);
}

/* Both sides of a branch call a function in which all lanes shuffle: one instruction, two calls. */
static void test_flow_shuffle_across_calls(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY(".func (.param .b32 r) rot(.param .b32 a)\n{\n.reg .u32 %a<3>;\n"
                              "ld.param.u32 %a1, [a];\n"
                              "shfl.sync.bfly.b32 %a2, %a1, 1, 31, -1;\n"
                              "st.param.b32 [r], %a2;\nret;\n}\n",
                              "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra even;\n"
                              "add.u32 %r2, %t, 1000;\ncall (%v), rot, (%r2);\nbra end;\neven:\n"
                              "add.u32 %r2, %t, 2000;\ncall (%v), rot, (%r2);\nend:\n"),
                        32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], (i ^ 1) + (i & 1 ? 2000 : 1000));
}

static void test_flow_labels_in_scopes(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY("", "{\n.reg .pred p;\nagain:\nadd.u32 %v, %v, 1;\n"
                      "setp.lt.u32 p, %v, 5;\n@p bra again;\nbra done;\ndone:\n}\n"
                      "{\n.reg .pred p;\nagain:\nadd.u32 %v, %v, 10;\n"
                      "setp.lt.u32 p, %v, 50;\n@p bra again;\nbra past;\ndone:\n}\npast:\n"),
            32);

    assert_int_equal(out[0], 55);
}

static void test_flow_early_exit_of_lanes(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    uint32_t *out;

    kit_load(kit, ENTRY("", "and.b32 %r1, %t, 3;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 exit;\n"
                            "bar.sync 0;\nmov.u32 %v, 7;\n"));
    params[0] = kit_alloc(kit, 400, &out);
    kit_run_ok(kit, "k", 1, 100, params, 1);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(out[i], i & 3 ? 7 : 0);
}

static void test_flow_stop_ends_an_endless_loop(void **state)
{
    struct kit *kit = *state;
    uint32_t stop = 1;

    kit_load(kit, ".visible .entry k()\n{\nx:\nbra x;\n}\n");
    kit->launch.stop = &stop;
    assert_int_equal(kit_run(kit, "k", 4, 64, NULL, 0), PTX_FAULT_STOPPED);
    kit->launch.stop = NULL;
    kit->launch.max_instructions = 100000;
    assert_int_equal(kit_run(kit, "k", 4, 64, NULL, 0), PTX_FAULT_LIMIT);
}

/* Blocks wait for each other without being cooperative, as on a GPU with room for all. */
static void test_flow_blocks_wait_for_later_blocks(void **state)
{
    struct kit *kit = *state;

    kit_load(kit, ".visible .global .u32 n;\n.visible .entry k()\n{\n.reg .u32 %r<3>;\n.reg .pred "
                  "%p;\natom.global.add.u32 %r1, [n], 1;\nw:\nld.volatile.global.u32 %r2, [n];\n"
                  "setp.lt.u32 %p, %r2, 12;\n@%p bra w;\nret;\n}\n");
    kit_run_ok(kit, "k", 12, 1, NULL, 0);
}

static void test_flow_counts_instructions(void **state)
{
    struct kit *kit = *state;

    kit_load(kit, ".visible .entry k()\n{\n.reg .u32 %r<3>;\n.reg .pred %p;\nmov.u32 %r1, 10;\n"
                  "l:\nsub.u32 %r1, %r1, 1;\nsetp.ne.u32 %p, %r1, 0;\n@%p bra l;\nret;\n}\n");
    kit_run_ok(kit, "k", 3, 50, NULL, 0);
    assert_int_equal(kit->instructions, 3 * 50 * (1 + 10 * 3 + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow_if_else_meets_again),
        cmocka_unit_test(test_flow_cold_block_meets_again),
        cmocka_unit_test(test_flow_loops_of_different_length),
        cmocka_unit_test(test_flow_irreducible_loop),
        cmocka_unit_test(test_flow_brx_idx),
        cmocka_unit_test(test_flow_brx_out_of_range_is_reported),
        cmocka_unit_test(test_flow_recursion),
        cmocka_unit_test(test_flow_endless_recursion_is_a_stack_overflow),
        cmocka_unit_test(test_flow_call_through_pointer),
        cmocka_unit_test(test_flow_bad_pointer_is_reported),
        cmocka_unit_test(test_flow_spin_lock_between_lanes),
        cmocka_unit_test(test_flow_lane_waits_for_lane),
        cmocka_unit_test(test_flow_shuffle_across_calls),
        cmocka_unit_test(test_flow_labels_in_scopes),
        cmocka_unit_test(test_flow_early_exit_of_lanes),
        cmocka_unit_test(test_flow_stop_ends_an_endless_loop),
        cmocka_unit_test(test_flow_blocks_wait_for_later_blocks),
        cmocka_unit_test(test_flow_counts_instructions),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
