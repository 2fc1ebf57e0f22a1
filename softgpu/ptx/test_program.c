/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: syntax errors, refusals, linking, what may be asked of them, limits, launches,
 * printing. */
#include "softgpu/ptx/test_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Status, and that the log says this. */
static void refused(struct kit *kit, const char *text, enum ptx_status status, const char *says)
{
    assert_int_equal(kit_compile(kit, text), status);
    if (!strstr(kit->log, says))
        fail_msg("log is: %s", kit->log);
}

static void test_program_syntax_errors(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"int main(void) { return 0; }", "line 4"},
        {".visible .entry k()\n{\nadd.u32 %r1, %r1, 1;\n}\n", "line 6: '%r1' is not declared"},
        {".entry k()\n{\n.reg .u32 %r<2>;\n.reg .u64 %l;\nadd.u32 %r1, %l, 1;\n}\n", "wrong type"},
        {".entry k()\n{\n.reg .u32 %r<2>;\nadd.u32 %r1, %r1;\n}\n", "number of operands"},
        {".entry k()\n{\nbra nowhere;\n}\n", "'nowhere' is not defined"},
        {".entry k()\n{\nx:\nx:\nret;\n}\n", "defined twice"},
        {".entry k()\n{\nret;\n", "not closed"},
        {".entry k(.param .u32 a)\n{\n.reg .u32 %r;\nld.param.u32 %r, [a+4];\n}\n", "outside"},
        {".entry k()\n{\n}\n.entry k()\n{\n}\n", "defined twice"},
        {".global .u32 x = {1, 2};\n", "initialisers"},
        {".entry k()\n{\n.reg .u32 %r;\nmov.u32 %r, 99999999999999999999;\n}\n", "operand"},
        {".entry k()\n{\n.reg .f32 %f;\nadd.f32 %f, %f, 1;\n}\n", "float is expected"},
        {".entry k()\n{\n.reg .pred %p;\n@%p\n}\n", "instruction"},
        {".func (.param .b32 r) f()\n{\n.reg .b32 %r;\nst.param.b32 %r, 8;\n}\n",
         "expected an address"},
        {".entry k()\n{\n.param .b32 a;\nst.param.b32 a, 8;\n}\n", "read-only"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(*state, cases[i].text, PTX_SYNTAX, cases[i].says);
    refused(*state, ".version 7.0 garbage", PTX_SYNTAX, "line 1");
}

static void test_program_refuses_by_name_and_line(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {".entry k()\n{\nwmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1}, [%r2];\n}\n",
         "line 6: wmma.load.a.sync.aligned.row.m16n16k16.f16: not supported by softgpu"},
        {".entry k()\n{\n.reg .b32 %r<9>;\ntex.2d.v4.f32.f32 {%r1,%r1,%r1,%r1}, [t, "
         "{%r1,%r1}];\n}\n",
         "line 7: tex.2d.v4.f32.f32"},
        {".entry k()\n{\n.reg .u32 %r;\nadd.ftz.u32 %r, %r, %r;\n}\n", "line 7: add.ftz.u32"},
        {".entry k()\n.reqnctapercluster 2, 1, 1\n{\nret;\n}\n", ".reqnctapercluster"},
        {".global .texref t;\n", ".texref"},
        {".entry k()\n{\n.reg .b64 %l;\nmapa.u64 %l, %l, 1;\n}\n", "mapa.u64"},
    };

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        refused(*state, cases[i].text, PTX_UNSUPPORTED, cases[i].says);
}

static void test_program_accepts_what_compilers_write_around(void **state)
{
    kit_load(*state,
             "//\n// Generated\n//\n\n.version 8.0\n.target sm_75, debug\n.address_size 64\n"
             "\t// .globl\tk\n.extern .func  (.param .b32 func_retval0) vprintf\n(\n"
             "\t.param .b64 vprintf_param_0,\n\t.param .b64 vprintf_param_1\n)\n;\n"
             ".file 1 \"/tmp/a.cu\", 123, 456\n"
             ".visible .entry k(.param .u64 .ptr .global .align 4 a, .param .align 8 .b8 s[24])\n"
             ".maxntid 256, 1, 1\n.minnctapersm 2\n{\n.loc 1 5 3, function_name $L__info_string0, "
             "inlined_at 1 2 3\n.pragma \"nounroll\";\n$L__tmp0:\n/* a\n comment */\nret;\n}\n"
             ".section .debug_str\n{\n$L__info_string0:\n.b8 95,90\n.b8 0\n{ }\n}\n"
             ".section .debug_loc { }\n");
}

static void test_program_function_info(void **state)
{
    struct kit *kit = *state;
    struct ptx_function_info info;
    struct ptx_param param;
    const struct ptx_function *function;

    kit_load(kit,
             ".version 7.8\n.target sm_86\n.address_size 64\n.shared .align 8 .b8 s[40];\n"
             ".entry k(.param .u8 a, .param .u64 b, .param .align 16 .b8 c[20], .param .u32 d)\n"
             ".maxntid 8, 4\n{\n.reg .u32 %r;\n.local .b8 x[24];\nmov.u32 %r, s;\nret;\n}\n");
    function = ptx_program_find_entry(kit->program, "k");
    ptx_function_info(function, &info);
    assert_int_equal(info.n_params, 4);
    assert_int_equal(info.params_bytes, 40);
    assert_int_equal(info.static_shared_bytes, 40);
    assert_int_equal(info.local_bytes, 32);
    assert_int_equal(info.max_threads, 32);
    assert_int_equal(info.ptx_version, 78);
    assert_int_equal(info.target_sm, 86);
    assert_true(ptx_function_param(function, 2, &param));
    assert_int_equal(param.offset_bytes, 16);
    assert_int_equal(param.size_bytes, 20);
    assert_false(ptx_function_param(function, 4, &param));
    assert_null(ptx_program_find_entry(kit->program, "nothing"));
    assert_int_equal(ptx_program_n_entries(kit->program), 1);
}

static void test_program_links_texts(void **state)
{
    struct kit *kit = *state;
    const char *texts[] = {
        ".version 7.0\n.target sm_70\n.address_size 64\n.extern .global .u32 shared_value;\n"
        ".extern .func (.param .b32 r) f(.param .b32 a);\n.global .u32 own = 1;\n"
        ".visible .entry k(.param .u64 out)\n{\n.reg .u64 %o;\n.reg .u32 %r<4>;\n"
        "ld.param.u64 %o, [out];\nld.global.u32 %r1, [shared_value];\ncall (%r2), f, (%r1);\n"
        "ld.global.u32 %r3, [own];\nadd.u32 %r2, %r2, %r3;\nst.global.u32 [%o], %r2;\nret;\n}\n",
        ".version 7.0\n.target sm_70\n.address_size 64\n.visible .global .u32 shared_value = 20;\n"
        ".global .u32 own = 300;\n.weak .func (.param .b32 r) f(.param .b32 a)\n{\n"
        ".reg .u32 %x<3>;\nld.param.u32 %x1, [a];\nld.global.u32 %x2, [own];\n"
        "add.u32 %x1, %x1, %x2;\nst.param.b32 [r], %x1;\nret;\n}\n"};
    uint64_t params[1];
    uint32_t *out;

    assert_int_equal(kit_compile_all(kit, texts, 2), PTX_OK);
    params[0] = kit_alloc(kit, 4, &out);
    kit_run_ok(kit, "k", 1, 1, params, 1);
    assert_int_equal(out[0], 321);
    assert_int_equal(kit_compile_all(kit, texts, 1), PTX_LINK);
    assert_non_null(strstr(kit->log, "not defined"));
}

static void test_program_link_conflicts(void **state)
{
    const char *twice[] = {".visible .global .u32 x = 1;\n", ".visible .global .u32 x = 2;\n"};
    const char *weak[] = {".weak .global .u32 x = 1;\n", ".visible .global .u32 x = 2;\n"};
    const char *shape[] = {".extern .func f(.param .b32 a);\n.entry k()\n{\ncall f, (1);\n}\n",
                           ".visible .func f(.param .b64 a)\n{\nret;\n}\n"};
    struct kit *kit = *state;

    assert_int_equal(kit_compile_all(kit, twice, 2), PTX_LINK);
    assert_int_equal(kit_compile_all(kit, weak, 2), PTX_OK);
    assert_int_equal(kit->arena[kit->addresses[0] - KIT_BASE], 2);
    assert_int_equal(kit_compile_all(kit, shape, 2), PTX_LINK);
    refused(kit,
            ".extern .func (.param .b64 r) malloc(.param .b64 n);\n.entry k()\n{\n"
            ".reg .u64 %r;\ncall (%r), malloc, (8);\n}\n",
            PTX_LINK, "'malloc'");
}

static void test_program_alias(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    uint32_t *out;

    kit_load(kit, ".visible .func (.param .b32 r) f()\n{\nst.param.b32 [r], 5;\nret;\n}\n"
                  ".visible .func (.param .b32 r) g();\n.alias g, f;\n"
                  ".visible .entry k(.param .u64 out)\n{\n.reg .u64 %o;\n.reg .u32 %r;\n"
                  "ld.param.u64 %o, [out];\ncall (%r), g;\nst.global.u32 [%o], %r;\nret;\n}\n");
    params[0] = kit_alloc(kit, 4, &out);
    kit_run_ok(kit, "k", 1, 1, params, 1);
    assert_int_equal(out[0], 5);
}

/* n copies of `each` between head and tail. */
static char *repeat(const char *head, const char *each, size_t n, const char *tail)
{
    size_t size = strlen(head) + strlen(each) * n + strlen(tail) + 1;
    char *text = malloc(size);
    char *at = text + sprintf(text, "%s", head);

    for (size_t i = 0; i < n; i++) {
        memcpy(at, each, strlen(each));
        at += strlen(each);
    }
    strcpy(at, tail);
    return text;
}

static void test_program_limits(void **state)
{
    struct kit *kit = *state;
    char text[600];
    char *long_name;

    refused(kit, ".entry k()\n{\n.local .b8 a[524289];\n}\n", PTX_TOO_LARGE, "local");
    refused(kit, ".entry k(.param .b8 a[32765])\n{\n}\n", PTX_TOO_LARGE, "parameter");
    kit_load(kit, ".entry k(.param .b8 a[32764])\n{\n}\n");
    refused(kit, ".entry k(.param .b8 a[32764], .param .b8 b)\n{\n}\n", PTX_TOO_LARGE,
            "parameters");
    snprintf(text, sizeof(text), ".entry k()\n{\n.reg .u32 %%r<%u>;\n}\n", PTX_MAX_REGISTERS + 1);
    refused(kit, text, PTX_TOO_LARGE, "registers");
    snprintf(text, sizeof(text), ".global .b8 x[%llu];\n",
             (unsigned long long)PTX_MAX_VARIABLE_BYTES + 1);
    refused(kit, text, PTX_TOO_LARGE, "too large");
    long_name = repeat(".entry ", "k", PTX_MAX_NAME_BYTES + 1, "()\n{\n}\n");
    refused(kit, long_name, PTX_TOO_LARGE, "name");
    free(long_name);
}

/* Text made by calling a function for each number below n. */
static char *series(const char *head, size_t n, const char *format_a, const char *format_b,
                    const char *tail)
{
    size_t each = strlen(format_a) + strlen(format_b) + 12;
    char *text = malloc(strlen(head) + strlen(tail) + n * each + 1);
    char *at = text + sprintf(text, "%s", head);

    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s%zu%s", format_a, i, format_b);
    strcpy(at, tail);
    return text;
}

static void at_limit(struct kit *kit, char *good, char *bad, const char *says)
{
    kit_load(kit, good);
    refused(kit, bad, PTX_TOO_LARGE, says);
    free(good);
    free(bad);
}

static void test_program_counts_at_their_limits(void **state)
{
    struct kit *kit = *state;

    at_limit(kit, repeat(".entry k()\n{\n", "ret;", PTX_MAX_INSTRUCTIONS, "}\n"),
             repeat(".entry k()\n{\n", "ret;", PTX_MAX_INSTRUCTIONS + 1, "}\n"), "instructions");
    at_limit(kit, series("", PTX_MAX_FUNCTIONS, ".func f", "();", ""),
             series("", PTX_MAX_FUNCTIONS + 1, ".func f", "();", ""), "functions");
    at_limit(kit, series("", 2, ".shared .u8 v", ";", ""),
             series("", PTX_MAX_VARIABLES + 1, ".shared .u8 v", ";", ""), "variables");
    at_limit(kit, series("", 4, ".func f", "()\n{\n.reg .u32 %r<1048576>;\n}\n", ""),
             series("", PTX_MAX_PROGRAM_REGISTERS / PTX_MAX_REGISTERS + 1, ".func f",
                    "()\n{\n.reg .u32 %r<1048576>;\n}\n", ""),
             "registers in all");
    refused(kit, ".global .b8 x[2][300000000] = {{}, {1}};\n", PTX_TOO_LARGE, "initialisers");
}

static void test_program_branch_targets_limit(void **state)
{
    char *list = repeat(".entry k()\n{\n.reg .u32 %r;\nl: .branchtargets x", ", x", 2047, ";\n");
    char *good = repeat(list, "brx.idx %r, l;\n", 2048, "x:\nret;\n}\n");
    char *bad = repeat(list, "brx.idx %r, l;\n", 2049, "x:\nret;\n}\n");

    at_limit(*state, good, bad, "branch targets");
    free(list);
}

/* More registers alive at once than a frame holds. */
static void test_program_frame_limit(void **state)
{
    size_t n = PTX_MAX_FRAME_BYTES / 256;
    char *defs = series(".entry k()\n{\n.reg .u64 %r<40000>;\n", n + 1, "mov.u64 %r", ", 1;\n", "");
    char *bad = series(defs, n + 1, "st.global.u64 [%r0], %r", ";\n", "ret;\n}\n");

    refused(*state, bad, PTX_TOO_LARGE, "registers per warp");
    free(defs);
    free(bad);
}

/* The function's own scope counts as one. */
static void test_program_nesting_limit(void **state)
{
    struct kit *kit = *state;
    char *bad = repeat(".entry k()\n{\n", "{", PTX_MAX_NESTING, "");
    char *open = repeat(".entry k()\n{\n", "{", PTX_MAX_NESTING - 1, "");
    char *good = repeat(open, "}", PTX_MAX_NESTING, "\n");

    refused(kit, bad, PTX_TOO_LARGE, "nested");
    kit_load(kit, good);
    free(bad);
    free(open);
    free(good);
}

static void test_program_source_limits(void **state)
{
    struct ptx_source sources[PTX_MAX_SOURCES + 1] = {{0}};
    struct ptx_program *program;

    assert_int_equal(ptx_program_new(sources, PTX_MAX_SOURCES + 1, NULL, &program), PTX_TOO_LARGE);
    sources[0] = (struct ptx_source){.text = "", .size_bytes = PTX_MAX_SOURCE_BYTES + 1};
    assert_int_equal(ptx_program_new(sources, 1, NULL, &program), PTX_TOO_LARGE);
    sources[0].size_bytes = 0;
    assert_int_equal(ptx_program_new(sources, 1, NULL, &program), PTX_SYNTAX);
}

static void test_program_params_limit(void **state)
{
    struct kit *kit = *state;
    char *good = repeat(".entry k(.param .b8 a", ", .param .b8 a", PTX_MAX_PARAMS - 1, ")\n{\n}\n");
    char *bad = repeat(".entry k(.param .b8 a", ", .param .b8 a", PTX_MAX_PARAMS, ")\n{\n}\n");

    kit_load(kit, good);
    refused(kit, bad, PTX_TOO_LARGE, "parameters");
    free(good);
    free(bad);
}

static void test_program_bad_launches(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1] = {0};

    kit_load(kit, ".entry k(.param .u64 a)\n.reqntid 32, 2, 1\n{\nret;\n}\n"
                  ".entry m()\n.maxntid 64\n{\nret;\n}\n.entry c()\n{\nret;\n}\n");
    kit->launch.block[1] = 2;
    kit_run_ok(kit, "k", 1, 32, params, 1);
    assert_int_equal(kit_run(kit, "k", 1, 32, NULL, 0), PTX_FAULT_LAUNCH);
    assert_int_equal(kit_run(kit, "k", 1, 64, params, 1), PTX_FAULT_LAUNCH);
    kit->launch.block[1] = 0;
    assert_int_equal(kit_run(kit, "m", 1, 65, NULL, 0), PTX_FAULT_LAUNCH);
    assert_int_equal(kit_run(kit, "c", 1, 1025, NULL, 0), PTX_FAULT_LAUNCH);
    assert_int_equal(kit_run(kit, "c", 0, 32, NULL, 0), PTX_FAULT_LAUNCH);
    kit->launch.grid[1] = PTX_MAX_GRID_YZ + 1;
    assert_int_equal(kit_run(kit, "c", 1, 32, NULL, 0), PTX_FAULT_LAUNCH);
    kit->launch.grid[1] = 0;
    kit->launch.block[2] = PTX_MAX_BLOCK_Z + 1;
    assert_int_equal(kit_run(kit, "c", 1, 1, NULL, 0), PTX_FAULT_LAUNCH);
    kit->launch.block[2] = 0;
    kit->launch.cooperative = true;
    kit_run_ok(kit, "c", PTX_MAX_COOPERATIVE / 32, 32, NULL, 0);
    assert_int_equal(kit_run(kit, "c", PTX_MAX_COOPERATIVE / 32 + 1, 32, NULL, 0),
                     PTX_FAULT_LAUNCH);
}

#define PRINT(size, fill)                                                                          \
    ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"                       \
    ".global .align 1 .b8 form[200];\n.global .align 1 .b8 word[6];\n"                             \
    ".visible .entry k(.param .u64 out)\n{\n.local .align 8 .b8 depot[" size "];\n"                \
    ".reg .u64 %l<6>;\n.reg .u32 %r<4>;\n.reg .f64 %d;\nmov.u64 %l1, depot;\n"                     \
    "cvta.local.u64 %l1, %l1;\n" fill "mov.u64 %l2, form;\ncvta.global.u64 %l2, %l2;\n"            \
    "{\n.param .b64 p0;\n.param .b64 p1;\n.param .b32 q;\nst.param.b64 [p0], %l2;\n"               \
    "st.param.b64 [p1], %l1;\ncall.uni (q), vprintf, (p0, p1);\nld.param.b32 %r1, [q];\n}\n"       \
    "ld.param.u64 %l3, [out];\nst.global.u32 [%l3], %r1;\nret;\n}\n"

static void test_program_vprintf(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];
    uint32_t *out;

    kit_load(kit,
             PRINT("64", "mov.u32 %r2, -7;\nst.u32 [%l1], %r2;\nmov.f64 %d, 0d400921FB54442D18;\n"
                         "st.f64 [%l1+8], %d;\nmov.u64 %l4, word;\ncvta.global.u64 %l4, %l4;\n"
                         "st.u64 [%l1+16], %l4;\nmov.u64 %l5, 0xabcdef;\nst.u64 [%l1+24], %l5;\n"
                         "mov.u32 %r2, 65;\nst.u32 [%l1+32], %r2;\nst.u32 [%l1+36], -1;\n"
                         "st.u32 [%l1+40], 9;\nst.u32 [%l1+44], 255;\n"));
    kit_write(kit, "form", "%d %5.2f|%-6s|%08llx %c%% %u %+d %x");
    kit_write(kit, "word", "hello");
    params[0] = kit_alloc(kit, 4, &out);
    kit_run_ok(kit, "k", 1, 1, params, 1);
    assert_string_equal(kit->printed, "-7  3.14|hello |00abcdef A% 4294967295 +9 ff");
    assert_int_equal(out[0], 8);
    kit->n_printed = 0;
    kit_run_ok(kit, "k", 2, 33, params, 1);
    assert_int_equal(kit->n_printed, 66 * 44);
}

static void test_program_vprintf_stars_and_odd_formats(void **state)
{
    struct kit *kit = *state;
    uint64_t params[1];

    kit_load(kit,
             PRINT("64",
                   "st.u32 [%l1], 5;\nst.u32 [%l1+4], 42;\nst.u32 [%l1+8], 1;\n"
                   "mov.f64 %d, 0d3FF8000000000000;\nst.f64 [%l1+16], %d;\nst.u32 [%l1+24], 4;\n"
                   "st.u32 [%l1+28], 7;\nst.u32 [%l1+32], 511;\nst.u32 [%l1+36], 66;\n"
                   "st.u32 [%l1+40], 1;\n"));
    kit_write(kit, "form", "[%*d][%.*f][%-*d][%hhd][%5c][%q][%999999999d]");
    params[0] = kit_alloc(kit, 4, NULL);
    kit_run_ok(kit, "k", 1, 1, params, 1);
    assert_memory_equal(kit->printed, "[   42][1.5][7   ][-1][    B][]", 31);
    assert_int_equal(kit->n_printed, 31 + 2 + 1024);
}

static void test_program_assertfail(void **state)
{
    struct kit *kit = *state;

    kit_load(kit, ".extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, "
                  ".param .b64 d, .param .b64 e);\n.global .b8 m[6];\n"
                  ".global .b8 f[5];\n.global .b8 n[4];\n"
                  ".visible .entry k()\n{\n.reg .u64 %l<4>;\n.reg .pred %p;\n.reg .u32 %t;\n"
                  "mov.u32 %t, %tid.x;\nsetp.ne.u32 %p, %t, 3;\n@%p bra ok;\nmov.u64 %l1, m;\n"
                  "mov.u64 %l2, f;\nmov.u64 %l3, n;\ncall __assertfail, (%l1, %l2, 17, %l3, 1);\n"
                  "ok:\nret;\n}\n");
    kit_write(kit, "m", "x > 0");
    kit_write(kit, "f", "a.cu");
    kit_write(kit, "n", "fun");
    assert_int_equal(kit_run(kit, "k", 1, 32, NULL, 0), PTX_FAULT_ASSERT);
    assert_string_equal(kit->printed, "a.cu:17: fun: block: [0,0,0], thread: [3,0,0] Assertion "
                                      "`x > 0` failed.\n");
}

static void test_program_cooperative_grid_meets(void **state)
{
    struct kit *kit = *state;

    kit_load(kit, ".visible .global .u32 n;\n.visible .entry k()\n{\n.reg .u32 %r<4>;\n.reg .pred "
                  "%p;\nmov.u32 %r3, %nctaid.x;\natom.global.add.u32 %r1, [n], 1;\nw:\n"
                  "ld.acquire.gpu.global.u32 %r2, [n];\nsetp.lt.u32 %p, %r2, %r3;\n@%p bra w;\n"
                  "ret;\n}\n");
    kit->launch.cooperative = true;
    kit_run_ok(kit, "k", 100, 1, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_syntax_errors),
        cmocka_unit_test(test_program_refuses_by_name_and_line),
        cmocka_unit_test(test_program_accepts_what_compilers_write_around),
        cmocka_unit_test(test_program_function_info),
        cmocka_unit_test(test_program_links_texts),
        cmocka_unit_test(test_program_link_conflicts),
        cmocka_unit_test(test_program_alias),
        cmocka_unit_test(test_program_limits),
        cmocka_unit_test(test_program_nesting_limit),
        cmocka_unit_test(test_program_counts_at_their_limits),
        cmocka_unit_test(test_program_branch_targets_limit),
        cmocka_unit_test(test_program_frame_limit),
        cmocka_unit_test(test_program_source_limits),
        cmocka_unit_test(test_program_params_limit),
        cmocka_unit_test(test_program_bad_launches),
        cmocka_unit_test(test_program_vprintf),
        cmocka_unit_test(test_program_vprintf_stars_and_odd_formats),
        cmocka_unit_test(test_program_assertfail),
        cmocka_unit_test(test_program_cooperative_grid_meets),
    };

    return cmocka_run_group_tests(tests, kit_setup, kit_teardown);
}
