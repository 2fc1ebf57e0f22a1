/* SPDX-License-Identifier: Apache-2.0 */
/* State spaces, vectors, atomics, initialisers, and faults of memory. */
#include "softgpu/ptx/test_kit.h"

#include <stdio.h>
#include <string.h>

#define ENTRY(decls, text)                                                                         \
    decls ".visible .entry k(.param .u64 out)\n{\n"                                                \
          ".reg .u64 %out, %o, %l<8>;\n.reg .u32 %t, %v, %r<16>;\n.reg .f32 %f<8>;\n"              \
          ".reg .b16 %h<8>;\n.reg .pred %p<8>;\n.reg .f64 %d<4>;\n.reg .b128 %q<3>;\n"             \
          "ld.param.u64 %out, [out];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %o, %t, 4;\n"              \
          "add.u64 %out, %out, %o;\nmov.u32 %v, 0;\n" text "st.global.u32 [%out], %v;\nret;\n}\n"

static uint32_t *run(struct kit *kit, const char *text, unsigned blocks, unsigned threads)
{
    uint32_t *out;
    uint64_t params[1];

    kit_load(kit, text);
    params[0] = kit_alloc(kit, threads * 4, &out);
    kit_run_ok(kit, "k", blocks, threads, params, 1);
    return out;
}

static enum ptx_fault_kind fault_of(struct kit *kit, const char *text)
{
    uint64_t params[1];

    kit_load(kit, text);
    params[0] = kit_alloc(kit, 256, NULL);
    return kit_run(kit, "k", 1, 64, params, 1);
}

static void test_memory_vectors_and_widths(void **state)
{
    uint32_t *out = run(*state,
                        ENTRY(".visible .shared .align 16 .b8 s[2048];\n",
                              "mov.u32 %r1, s;\nmad.lo.u32 %r1, %t, 16, %r1;\nadd.u32 %r2, %t, 1;\n"
                              "st.shared.v4.u32 [%r1], {%t, %r2, 3, 4};\n"
                              "ld.shared.v2.u64 {%l1, %l2}, [%r1];\nshr.u64 %l1, %l1, 32;\n"
                              "cvt.u32.u64 %v, %l1;\nst.shared.u8 [%r1+1], %r2;\n"
                              "ld.shared.s8 %r3, [%r1+1];\nld.shared.u16 %r4, [%r1];\n"
                              "shr.u32 %r4, %r4, 8;\nsub.u32 %r3, %r3, %r4;\nadd.u32 %v, %v, %r3;\n"
                              "ld.shared.v4.u8 {%h1,%h2,%h3,_}, [%r1+8];\ncvt.u32.u16 %r5, %h1;\n"
                              "mad.lo.u32 %v, %r5, 1000, %v;\n"),
                        1, 64);

    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(out[i], i + 1 + 3000);
}

static void test_memory_128_bits(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY(".visible .shared .align 16 .b8 s[1024];\n",
                  "mov.u32 %r1, s;\nmad.lo.u32 %r1, %t, 16, %r1;\ncvt.u64.u32 %l1, %t;\n"
                  "mov.u64 %l2, 77;\nmov.b128 %q1, {%l1, %l2};\nst.shared.b128 [%r1], %q1;\n"
                  "ld.shared.b128 %q2, [%r1];\nmov.b128 {%l3, %l4}, %q2;\n"
                  "add.u64 %l3, %l3, %l4;\ncvt.u32.u64 %v, %l3;\n"),
            1, 64);

    assert_int_equal(out[5], 82);
}

static void test_memory_generic_addresses(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY(".visible .shared .u32 s[64];\n.visible .const .u32 c[2] = {11, 22};\n",
                  ".local .align 4 .b8 depot[16];\nmov.u64 %l1, depot;\n"
                  "cvta.local.u64 %l1, %l1;\nst.u32 [%l1+4], %t;\nmov.u64 %l2, s;\n"
                  "cvta.shared.u64 %l2, %l2;\nmul.wide.u32 %l3, %t, 4;\n"
                  "add.u64 %l2, %l2, %l3;\nst.u32 [%l2], %t;\nsetp.lt.u32 %p1, %t, 9;\n"
                  "selp.b64 %l4, %l1, %l2, %p1;\nselp.u32 %r1, 4, 0, %p1;\n"
                  "cvt.u64.u32 %l5, %r1;\nadd.u64 %l4, %l4, %l5;\nld.u32 %v, [%l4];\n"
                  "isspacep.shared %p2, %l4;\n@%p2 add.u32 %v, %v, 100;\n"
                  "isspacep.local %p3, %l4;\n@%p3 add.u32 %v, %v, 200;\n"
                  "mov.u64 %l6, c;\ncvta.const.u64 %l6, %l6;\nld.u32 %r2, [%l6+4];\n"
                  "add.u32 %v, %v, %r2;\nisspacep.const %p4, %l6;\n"
                  "@%p4 add.u32 %v, %v, 1000;\n"),
            1, 64);

    for (uint32_t i = 0; i < 64; i++)
        assert_int_equal(out[i], i + (i < 9 ? 200 : 100) + 22 + 1000);
}

static void test_memory_local_arrays_by_lane(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY("", ".local .align 8 .b8 a[128];\nmov.u64 %l1, a;\nmov.u32 %r1, 0;\nl:\n"
                      "mul.wide.u32 %l2, %r1, 4;\nadd.u64 %l2, %l1, %l2;\n"
                      "mul.lo.u32 %r2, %r1, %t;\nst.local.u32 [%l2], %r2;\n"
                      "add.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, 32;\n@%p1 bra l;\n"
                      "and.b32 %r3, %t, 31;\nmul.wide.u32 %l3, %r3, 4;\n"
                      "add.u64 %l3, %l1, %l3;\nld.local.u32 %v, [%l3];\n"
                      "ld.local.u8 %r4, [%l3];\nsub.u32 %v, %v, %r4;\n"),
            1, 64);

    for (uint32_t i = 0; i < 64; i++) {
        uint32_t value = i * (i & 31);

        assert_int_equal(out[i], value - (value & 255));
    }
}

static void test_memory_dynamic_shared_to_the_limit(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    uint32_t *out;

    kit_load(kit, ENTRY(".extern .shared .align 16 .b8 dyn[];\n.shared .align 4 .b8 fixed[20];\n",
                        "mov.u32 %r1, dyn;\nmov.u32 %r2, fixed;\nst.shared.u32 [%r2], %t;\n"
                        "mov.u32 %r3, %dynamic_smem_size;\nadd.u32 %r4, %r1, %r3;\n"
                        "st.shared.u32 [%r4+-4], %r3;\nld.shared.u32 %v, [%r4+-4];\n"));
    params[0] = kit_alloc(kit, 4, &out);
    kit->launch.dynamic_shared_bytes = PTX_MAX_SHARED_BYTES - 32;
    kit_run_ok(kit, "k", 2, 1, params, 1);
    assert_int_equal(out[0], PTX_MAX_SHARED_BYTES - 32);
    kit->launch.dynamic_shared_bytes++;
    assert_int_equal(kit_run(kit, "k", 1, 1, params, 1), PTX_FAULT_LAUNCH);
}

static void test_memory_initialisers_with_addresses(void **state)
{
    struct kit *kit = *state;
    uint32_t *out = run(kit,
                        ENTRY(".global .u32 value = 42;\n.global .u64 pointer = generic(value);\n"
                              ".const .align 8 .b8 bytes[8] = {0xff(value), 0xff00(value), "
                              "0xff0000(value), 0xff000000(value), 0xff00000000(value), "
                              "0xff0000000000(value), 0xff000000000000(value), "
                              "0xff00000000000000(value)};\n"
                              ".global .f32 f[2][3] = {{1.5, 2.0}, {0f40400000, 4.0, 5.0}};\n"
                              ".global .u64 second = f+4;\n",
                              "ld.global.u64 %l1, [pointer];\nld.u32 %v, [%l1];\n"
                              "ld.const.u64 %l2, [bytes];\nld.global.u32 %r1, [%l2];\n"
                              "add.u32 %v, %v, %r1;\nld.global.f32 %f1, [f+16];\n"
                              "cvt.rzi.u32.f32 %r2, %f1;\nadd.u32 %v, %v, %r2;\n"
                              "ld.global.u64 %l3, [second];\nld.global.f32 %f2, [%l3];\n"
                              "cvt.rzi.u32.f32 %r3, %f2;\nadd.u32 %v, %v, %r3;\n"),
                        1, 1);

    assert_int_equal(out[0], 42 + 42 + 4 + 2);
    assert_int_equal(ptx_program_n_variables(kit->program), 5);
}

static void test_memory_atomics_of_many_blocks(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    struct {
        uint32_t add, max, inc, or_bits;
        uint64_t wide;
        float real;
        uint32_t cas;
        double precise;
        uint32_t half, min;
    } * sum;

    kit_load(kit, ".visible .entry k(.param .u64 out)\n{\n.reg .u64 %o;\n.reg .u32 %t, "
                  "%r<8>;\n.reg .b32 %w;\n"
                  ".reg .f32 %f;\n.reg .u64 %l;\n.reg .pred %p;\n.reg .f64 %d;\n"
                  "ld.param.u64 %o, [out];\nmov.u32 %t, %tid.x;\nmov.u32 %r1, %ctaid.x;\n"
                  "mov.u32 %r2, %ntid.x;\nmad.lo.u32 %t, %r1, %r2, %t;\n"
                  "atom.global.add.u32 %r3, [%o], %t;\nred.global.max.u32 [%o+4], %t;\n"
                  "atom.global.inc.u32 %r3, [%o+8], 99;\nand.b32 %r4, %t, 31;\nmov.u32 %r5, 1;\n"
                  "shl.b32 %r5, %r5, %r4;\nred.global.or.b32 [%o+12], %r5;\n"
                  "red.global.add.u64 [%o+16], 1;\nmov.f32 %f, 0f3F800000;\n"
                  "red.global.add.f32 [%o+24], %f;\nl:\nld.volatile.global.u32 %r6, [%o+28];\n"
                  "add.u32 %r7, %r6, 2;\natom.global.cas.b32 %r3, [%o+28], %r6, %r7;\n"
                  "setp.ne.u32 %p, %r3, %r6;\n@%p bra l;\nmov.f64 %d, 0d3FE0000000000000;\n"
                  "atom.add.f64 %d, [%o+32], %d;\nmov.b32 %w, 0x3c003c00;\n"
                  "atom.global.add.noftz.f16x2 %w, [%o+40], %w;\nneg.s32 %r3, %t;\n"
                  "red.global.min.s32 [%o+44], %r3;\nret;\n}\n");
    params[0] = kit_alloc(kit, sizeof(*sum), &sum);
    kit_run_ok(kit, "k", 16, 64, params, 1);
    assert_int_equal(sum->add, 1023 * 1024 / 2);
    assert_int_equal(sum->max, 1023);
    assert_int_equal(sum->inc, 1024 % 100);
    assert_int_equal(sum->or_bits, 0xffffffff);
    assert_int_equal(sum->wide, 1024);
    assert_true(sum->real > 1023.5f && sum->real < 1024.5f);
    assert_int_equal(sum->cas, 2048);
    assert_true(sum->precise > 511.9 && sum->precise < 512.1);
    assert_int_equal(sum->half, 0x64006400);
    assert_int_equal((int)sum->min, -1023);
}

static void test_memory_atomics_on_shared(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY(".shared .u32 s[2];\n",
                  "mov.u32 %r1, 0;\nst.shared.u32 [s], %r1;\nbar.sync 0;\n"
                  "atom.shared.add.u32 %r2, [s], 3;\nmov.u64 %l1, s;\n"
                  "cvta.shared.u64 %l1, %l1;\natom.add.u32 %r2, [%l1], 1;\nbar.sync 0;\n"
                  "ld.shared.u32 %v, [s];\n"),
            4, 96);

    assert_int_equal(out[0], 96 * 4);
}

static void test_memory_16_bit_cas(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY(".global .align 4 .b8 g[4];\n",
                  "mov.b16 %h1, 0;\nmov.b16 %h2, 9;\nl:\n"
                  "atom.global.cas.b16 %h3, [g+2], %h1, %h2;\nld.global.u32 %v, [g];\n"),
            1, 1);

    assert_int_equal(out[0], 9 << 16);
}

static void test_memory_cp_async(void **state)
{
    uint32_t *out =
        run(*state,
            ENTRY(".global .align 16 .u32 g[4] = {1, 2, 3, 4};\n.shared .align 16 .u32 s[4];\n",
                  "mov.u32 %r1, s;\nmov.u64 %l1, g;\n"
                  "cp.async.ca.shared.global [%r1], [%l1], 16, 12;\n"
                  "cp.async.commit_group;\ncp.async.wait_group 0;\n"
                  "ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];\n"
                  "add.u32 %v, %r2, %r3;\nadd.u32 %v, %v, %r4;\nadd.u32 %v, %v, %r5;\n"),
            1, 1);

    assert_int_equal(out[0], 6);
}

static void test_memory_faults(void **state)
{
    struct kit *kit = *state;

    assert_int_equal(fault_of(kit, ENTRY("", "mov.u64 %l1, 0;\nld.global.u32 %v, [%l1];\n")),
                     PTX_FAULT_ADDRESS);
    assert_int_equal(kit->fault.address, 0);
    assert_int_equal(fault_of(kit, ENTRY("", "setp.ne.u32 %p1, %t, 40;\n@%p1 bra x;\n"
                                             "st.global.u32 [%out+100000000], %v;\nx:\n")),
                     PTX_FAULT_ADDRESS);
    assert_int_equal(kit->fault.thread[0], 40);
    assert_true(kit->fault.line > 10);
    assert_non_null(strstr(kit->fault.text, "'k'"));
    assert_int_equal(fault_of(kit, ENTRY("", "ld.global.u64 %l1, [%out+4];\n")),
                     PTX_FAULT_MISALIGNED);
    assert_int_equal(fault_of(kit, ENTRY("", "atom.global.add.u32 %v, [%out+2], 1;\n")),
                     PTX_FAULT_MISALIGNED);
    assert_int_equal(
        fault_of(kit, ENTRY(".shared .u32 s[4];\n", "mov.u32 %r1, s;\nmad.lo.u32 %r1, %t, 4, %r1;\n"
                                                    "ld.shared.u32 %v, [%r1];\n")),
        PTX_FAULT_ADDRESS);
    assert_int_equal(kit->fault.address, 16);
    assert_int_equal(fault_of(kit, ENTRY("", ".local .b8 a[8];\nmov.u64 %l1, a;\n"
                                             "ld.local.u32 %v, [%l1+4096];\n")),
                     PTX_FAULT_ADDRESS);
    assert_int_equal(fault_of(kit, ENTRY("", "mov.u64 %l1, k;\nld.u32 %v, [%l1];\n")),
                     PTX_FAULT_ADDRESS);
    assert_int_equal(fault_of(kit, ENTRY("", "mov.u64 %l1, -4;\nld.u64 %l1, [%l1];\n")),
                     PTX_FAULT_MISALIGNED);
    assert_int_equal(fault_of(kit, ENTRY("", "mov.u64 %l1, -8;\nld.u64 %l1, [%l1];\n")),
                     PTX_FAULT_ADDRESS);
    assert_int_equal(fault_of(kit, ENTRY("", "trap;\n")), PTX_FAULT_TRAP);
}

static bool find_read_only(void *ctx, uint64_t address, struct ptx_range *ret)
{
    *ret = (struct ptx_range){
        .base = KIT_BASE, .size_bytes = 4096, .host = ctx, .flags = PTX_RANGE_READ_ONLY};
    return address >= KIT_BASE && address < KIT_BASE + 4096;
}

static void test_memory_read_only_range(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1] = {KIT_BASE};
    struct ptx_launch launch = {.grid = {1, 1, 1},
                                .block = {32, 1, 1},
                                .params = params,
                                .params_bytes = 8,
                                .memory = {kit->arena, find_read_only}};

    kit_load(kit, ENTRY("", "ld.global.u32 %v, [%out];\n"));
    launch.program = kit->program;
    launch.function = ptx_program_find_entry(kit->program, "k");
    assert_int_equal(ptx_run(kit->pool, &launch, &kit->fault, NULL), PTX_FAULT_READ_ONLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_vectors_and_widths),
        cmocka_unit_test(test_memory_128_bits),
        cmocka_unit_test(test_memory_generic_addresses),
        cmocka_unit_test(test_memory_local_arrays_by_lane),
        cmocka_unit_test(test_memory_dynamic_shared_to_the_limit),
        cmocka_unit_test(test_memory_initialisers_with_addresses),
        cmocka_unit_test(test_memory_atomics_of_many_blocks),
        cmocka_unit_test(test_memory_atomics_on_shared),
        cmocka_unit_test(test_memory_16_bit_cas),
        cmocka_unit_test(test_memory_cp_async),
        cmocka_unit_test(test_memory_faults),
        cmocka_unit_test(test_memory_read_only_range),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
