/* SPDX-License-Identifier: Apache-2.0 */
/* What lanes and warps do together: shuffles, votes, matches, reductions, barriers. */
#include "softgpu/ptx/test_kit.h"

#include <string.h>

#define ENTRY(text)                                                                                \
    ".visible .shared .align 8 .b8 buffer[4096];\n"                                                \
    ".visible .entry k(.param .u64 out)\n{\n"                                                      \
    ".reg .u64 %out, %o, %l<8>;\n.reg .u32 %t, %v, %r<16>;\n.reg .pred %p<8>;\n"                   \
    "ld.param.u64 %out, [out];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %o, %t, 4;\n"                    \
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

static void test_warp_shuffle_modes(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("shfl.sync.up.b32 %v|%p1, %t, 3, 0, -1;\n"
                              "@!%p1 add.u32 %v, %v, 1000;\n"),
                        32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i < 3 ? i + 1000 : i - 3);
    out = run(*state, ENTRY("shfl.sync.down.b32 %v|%p1, %t, 5, 31, -1;\n@!%p1 mov.u32 %v, 77;\n"),
              32);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i + 5 > 31 ? 77 : i + 5);
    out = run(*state, ENTRY("shfl.sync.bfly.b32 %v, %t, 9, 31, -1;\n"), 32);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i ^ 9);
    /* Segments of 8: c = (32 - 8) << 8 | 31. */
    out = run(*state, ENTRY("shfl.sync.idx.b32 %v, %t, 2, 6175, -1;\n"), 32);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], (i & 24) + 2);
    out = run(*state, ENTRY("shfl.sync.down.b32 %v|%p1, %t, 1, 6151, -1;\n@!%p1 mov.u32 %v, 99;\n"),
              32);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], (i & 7) == 7 ? 99 : i + 1);
}

static void test_warp_shuffle_of_some_lanes(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("setp.ge.u32 %p1, %t, 16;\n@%p1 bra end;\n"
                              "shfl.sync.bfly.b32 %v, %t, 1, 31, 0xffff;\nend:\n"),
                        32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i < 16 ? i ^ 1 : 0);
}

/* Lanes arrive at the same shuffle by different ways, one after the other. */
static void test_warp_sync_waits_for_named_lanes(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("mov.u32 %r1, 0;\nl:\nadd.u32 %r1, %r1, 1;\n"
                              "setp.le.u32 %p1, %r1, %t;\n@%p1 bra l;\n"
                              "shfl.sync.idx.b32 %v, %r1, 31, 31, -1;\n"),
                        32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], 32);
}

static void test_warp_sync_of_two_branches(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("setp.lt.u32 %p1, %t, 16;\nmov.u32 %r1, buffer;\n"
                              "shl.b32 %r2, %t, 2;\nadd.u32 %r1, %r1, %r2;\n@%p1 bra low;\n"
                              "st.shared.u32 [%r1], %t;\nbar.warp.sync -1;\nmov.u32 %v, 5;\n"
                              "bra end;\nlow:\nbar.warp.sync -1;\n"
                              "ld.shared.u32 %v, [%r1+64];\nend:\n"),
                        32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i < 16 ? i + 16 : 5);
}

static void test_warp_sync_deadlock_is_reported(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];

    kit_load(kit, ENTRY("setp.lt.u32 %p1, %t, 16;\n@%p1 bra low;\nbar.warp.sync -1;\nbra end;\n"
                        "low:\nbar.sync 0;\nend:\n"));
    params[0] = kit_alloc(kit, 128, NULL);
    assert_int_equal(kit_run(kit, "k", 1, 32, params, 1), PTX_FAULT_BARRIER);
}

static void test_warp_votes(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("setp.lt.u32 %p1, %t, 5;\nvote.sync.ballot.b32 %v, %p1, -1;\n"
                              "vote.sync.any.pred %p2, %p1, -1;\n@%p2 add.u32 %v, %v, 100;\n"
                              "vote.sync.all.pred %p3, %p1, -1;\n@%p3 add.u32 %v, %v, 1000;\n"
                              "vote.sync.uni.pred %p4, %p1, -1;\n@%p4 add.u32 %v, %v, 5000;\n"
                              "vote.sync.all.pred %p3, !%p1, 0xffffffe0;\n"
                              "@%p3 add.u32 %v, %v, 10000;\n"),
                        32);

    assert_int_equal(out[7], 31 + 100 + 10000);
}

static void test_warp_match(void **state)
{
    uint32_t *out =
        run(*state, ENTRY("and.b32 %r1, %t, 3;\nmatch.any.sync.b32 %v, %r1, -1;\n"), 32);

    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], 0x11111111u << (i & 3));
    out = run(*state,
              ENTRY("cvt.u64.u32 %l1, %t;\nshr.u64 %l1, %l1, 5;\n"
                    "match.all.sync.b64 %v|%p1, %l1, -1;\n@!%p1 mov.u32 %v, 1;\n"),
              32);
    assert_int_equal(out[0], 0xffffffff);
    out = run(*state, ENTRY("match.all.sync.b32 %v|%p1, %t, -1;\n@!%p1 add.u32 %v, %v, 3;\n"), 32);
    assert_int_equal(out[0], 3);
}

static void test_warp_redux_and_elect(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("sub.u32 %r1, %t, 3;\nredux.sync.min.s32 %r2, %r1, -1;\n"
                              "redux.sync.add.u32 %r3, %t, -1;\n"
                              "redux.sync.xor.b32 %r4, %t, 0x7;\n"
                              "elect.sync %r5|%p1, 0xff0;\nadd.u32 %v, %r2, %r3;\n"
                              "mad.lo.u32 %v, %r5, 10000, %v;\n@%p1 add.u32 %v, %v, 7;\n"),
                        32);

    assert_int_equal(out[4], (uint32_t)(-3 + 496 + 40000 + 7));
    assert_int_equal(out[5], (uint32_t)(-3 + 496 + 40000));
}

/* Each warp writes, all meet, each reads what another wrote; many times. */
static void test_warp_barrier_between_warps(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("mov.u32 %r1, buffer;\nmad.lo.u32 %r2, %t, 4, %r1;\n"
                              "add.u32 %r3, %t, 33;\nand.b32 %r3, %r3, 255;\n"
                              "mad.lo.u32 %r3, %r3, 4, %r1;\nmov.u32 %v, %t;\n"
                              "mov.u32 %r4, 0;\nl:\nst.shared.u32 [%r2], %v;\nbar.sync 0;\n"
                              "ld.shared.u32 %v, [%r3];\nbar.sync 0;\nadd.u32 %r4, %r4, 1;\n"
                              "setp.lt.u32 %p1, %r4, 10;\n@%p1 bra l;\n"),
                        256);

    for (uint32_t i = 0; i < 256; i++)
        assert_int_equal(out[i], (i + 330) & 255);
}

static void test_warp_barrier_reduction(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("setp.lt.u32 %p1, %t, 70;\nbar.red.popc.u32 %v, 0, %p1;\n"
                              "bar.red.and.pred %p2, 1, %p1;\n@%p2 add.u32 %v, %v, 1000;\n"
                              "bar.red.or.pred %p3, 1, %p1;\n@%p3 add.u32 %v, %v, 2000;\n"
                              "barrier.cta.red.popc.aligned.u32 %r1, 2, 96, !%p1;\n"
                              "add.u32 %v, %v, %r1;\n"),
                        96);

    for (uint32_t i = 0; i < 96; i++)
        assert_int_equal(out[i], 70 + 2000 + 26);
}

/* Two producers arrive and go on, one consumer waits: bar.arrive with a count. */
static void test_warp_barrier_arrive_and_sync(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY("mov.u32 %r1, buffer;\nmad.lo.u32 %r2, %t, 4, %r1;\n"
                              "setp.ge.u32 %p1, %t, 64;\n@%p1 bra consumer;\n"
                              "add.u32 %r3, %t, 7;\nst.shared.u32 [%r2], %r3;\n"
                              "bar.arrive 3, 96;\nbra end;\nconsumer:\nbar.sync 3, 96;\n"
                              "ld.shared.u32 %v, [%r2+-256];\nend:\n"),
                        96);

    for (uint32_t i = 64; i < 96; i++)
        assert_int_equal(out[i], i - 64 + 7);
}

static void test_warp_barrier_misuse(void **state)
{
    static const char *const bad[] = {"bar.sync 16;\n", "bar.sync 0, 33;\n", "bar.sync 0, 2048;\n",
                                      "setp.lt.u32 %p1, %t, 32;\n@%p1 bra a;\nbar.sync 1, 64;\n"
                                      "bra b;\na:\nbar.sync 2, 64;\nb:\n"};
    struct kit *kit = *state;
    char text[2000];
    uint64_t params[1];

    for (unsigned i = 0; i < 4; i++) {
        strcpy(text, ".visible .entry k(.param .u64 out)\n{\n.reg .u32 %t;\n.reg .pred %p<4>;\n"
                     "mov.u32 %t, %tid.x;\n");
        strcat(text, bad[i]);
        strcat(text, "ret;\n}\n");
        kit_load(kit, text);
        params[0] = kit_alloc(kit, 256, NULL);
        assert_int_equal(kit_run(kit, "k", 1, 64, params, 1), PTX_FAULT_BARRIER);
    }
}

static void test_warp_special_registers(void **state)
{
    struct kit *kit = *state;
    uint32_t *out;
    uint64_t params[1];

    kit_load(kit,
             ENTRY("mov.u32 %r1, %tid.y;\nmov.u32 %r2, %ntid.x;\nmad.lo.u32 %r3, %r1, %r2, %t;\n"
                   "ld.param.u64 %out, [out];\nmul.wide.u32 %o, %r3, 4;\n"
                   "add.u64 %out, %out, %o;\nmov.u32 %r4, %laneid;\nmov.u32 %r5, %warpid;\n"
                   "mad.lo.u32 %v, %r5, 32, %r4;\nsub.u32 %v, %v, %r3;\n"
                   "mov.u32 %r6, %lanemask_lt;\npopc.b32 %r6, %r6;\nsub.u32 %r6, %r6, %r4;\n"
                   "add.u32 %v, %v, %r6;\nmov.u32 %r7, %nctaid.x;\nadd.u32 %v, %v, %r7;\n"));
    params[0] = kit_alloc(kit, 480, &out);
    kit->launch.block[1] = 6;
    kit_run_ok(kit, "k", 1, 20, params, 1);
    for (uint32_t i = 0; i < 120; i++)
        assert_int_equal(out[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warp_shuffle_modes),
        cmocka_unit_test(test_warp_shuffle_of_some_lanes),
        cmocka_unit_test(test_warp_sync_waits_for_named_lanes),
        cmocka_unit_test(test_warp_sync_of_two_branches),
        cmocka_unit_test(test_warp_sync_deadlock_is_reported),
        cmocka_unit_test(test_warp_votes),
        cmocka_unit_test(test_warp_match),
        cmocka_unit_test(test_warp_redux_and_elect),
        cmocka_unit_test(test_warp_barrier_between_warps),
        cmocka_unit_test(test_warp_barrier_reduction),
        cmocka_unit_test(test_warp_barrier_arrive_and_sync),
        cmocka_unit_test(test_warp_barrier_misuse),
        cmocka_unit_test(test_warp_special_registers),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
