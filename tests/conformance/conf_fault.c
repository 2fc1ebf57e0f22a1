/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults and device output. A fault is sticky: every later call of the context gives the same
 * error. Each runs in a process of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

/* Launches one warp and expects that synchronising, and all that follows, gives one of two errors.
 */
static enum conf_result expect_either(struct conf *conf, const char *ptx, CUresult expected,
                                      CUresult also)
{
    CUdeviceptr out, other;
    CUmodule module;
    CUfunction function;
    CUresult result;
    uint32_t word;
    void *args[] = {&out, &out};

    CONF_TRY(conf_load(conf, ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_CALL(conf, cuMemAlloc(&out, 4096));
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, args, NULL));
    result = conf->cu->cuCtxSynchronize();
    if (result != expected && result != also)
        return conf_fail(conf, "cuCtxSynchronize: %s, not %s", conf_name(conf, result),
                         conf_name(conf, expected));
    CONF_EXPECT(conf, cuCtxSynchronize(), result);
    CONF_EXPECT(conf, cuMemAlloc(&other, 4096), result);
    CONF_EXPECT(conf, cuMemcpyDtoH(&word, out, 4), result);
    CONF_EXPECT(conf, cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, NULL, args, NULL), result);
    CONF_EXPECT(conf, cuMemsetD8(out, 0, 4), result);
    return CONF_PASS;
}

static enum conf_result expect(struct conf *conf, const char *ptx, CUresult expected)
{
    return expect_either(conf, ptx, expected, expected);
}

static enum conf_result null_load(struct conf *conf)
{
    return expect(conf,
                  CONF_HEADER CONF_ENTRY "mov.u64 %rd0, 0;\nld.global.u32 %r0, [%rd0];\n"
                                         "st.global.u32 [%out], %r0;\nret;\n}\n",
                  CUDA_ERROR_ILLEGAL_ADDRESS);
}

static enum conf_result far_store(struct conf *conf)
{
    return expect(conf,
                  CONF_HEADER CONF_ENTRY "mov.u64 %rd0, 0x100000000000;\nadd.u64 %rd0, %out, %rd0;"
                                         "\nst.global.u32 [%rd0], 1;\nret;\n}\n",
                  CUDA_ERROR_ILLEGAL_ADDRESS);
}

static enum conf_result far_atomic(struct conf *conf)
{
    return expect(conf,
                  CONF_HEADER CONF_ENTRY "mov.u64 %rd0, 0x100000000000;\nadd.u64 %rd0, %out, %rd0;"
                                         "\nred.global.add.u32 [%rd0], 1;\nret;\n}\n",
                  CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* Only one lane of a divergent branch faults. */
static enum conf_result one_lane(struct conf *conf)
{
    return expect(conf,
                  CONF_HEADER CONF_ENTRY "setp.ne.u32 %p0, %gid, 17;\nmov.u64 %rd0, 64;\n"
                                         "@%p0 bra end;\nst.global.u32 [%rd0], 1;\nend:\nret;\n}\n",
                  CUDA_ERROR_ILLEGAL_ADDRESS);
}

static enum conf_result misaligned(struct conf *conf)
{
    return expect(conf,
                  CONF_HEADER CONF_ENTRY "ld.global.u32 %r0, [%out+2];\n"
                                         "st.global.u32 [%out], %r0;\nret;\n}\n",
                  CUDA_ERROR_MISALIGNED_ADDRESS);
}

static enum conf_result misaligned_vector(struct conf *conf)
{
    return expect(conf,
                  CONF_HEADER CONF_ENTRY "ld.global.v2.u32 {%r0, %r1}, [%out+4];\n"
                                         "xor.b32 %r0, %r0, %r1;\n" /* both are wanted */
                                         "st.global.u32 [%out], %r0;\nret;\n}\n",
                  CUDA_ERROR_MISALIGNED_ADDRESS);
}

static enum conf_result shared_outside(struct conf *conf)
{
    return expect_either(conf,
                         CONF_HEADER CONF_ENTRY ".shared .u32 s;\nmov.u32 %r0, s;\n"
                                                "add.u32 %r0, %r0, 0x800000;\n"
                                                "st.shared.u32 [%r0], 1;\nret;\n}\n",
                         CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_FAILED);
}

static enum conf_result trap(struct conf *conf)
{
    return expect_either(conf, CONF_HEADER CONF_ENTRY "trap;\nret;\n}\n", CUDA_ERROR_LAUNCH_FAILED,
                         CUDA_ERROR_ILLEGAL_INSTRUCTION);
}

/* As nvcc emits a failing assert(): __assertfail(message, file, line, function, character size). */
static const char assert_ptx[] = CONF_HEADER
    ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 u,"
    " .param .b64 c);\n"
    ".global .align 1 .b8 message[6] = {120, 32, 62, 32, 51, 0};\n"
    ".global .align 1 .b8 file[5] = {97, 46, 99, 117, 0};\n"
    ".global .align 1 .b8 name[2] = {107, 0};\n" CONF_ENTRY
    "setp.ne.u32 %p0, %gid, 3;\n@%p0 bra end;\n"
    "mov.u64 %rd0, message;\ncvta.global.u64 %rd0, %rd0;\nmov.u64 %rd1, file;\n"
    "cvta.global.u64 %rd1, %rd1;\nmov.u64 %rd2, name;\ncvta.global.u64 %rd2, %rd2;\n"
    "{\n.param .b64 m;\n.param .b64 f;\n.param .b32 l;\n.param .b64 u;\n.param .b64 c;\n"
    "st.param.b64 [m], %rd0;\nst.param.b64 [f], %rd1;\nst.param.b32 [l], 42;\n"
    "st.param.b64 [u], %rd2;\nst.param.b64 [c], 1;\n"
    "call.uni __assertfail, (m, f, l, u, c);\n}\nend:\nret;\n}\n";

static const char assert_want[] = "a.cu:42: k: block: [0,0,0], thread: [3,0,0] Assertion `x > 3` "
                                  "failed.\n";

/* What it says is on standard error by the time that the error is known. */
static enum conf_result assertion(struct conf *conf)
{
    _cleanup_fclose_ FILE *file = tmpfile();
    enum conf_result result;
    char text[256] = "";
    size_t bytes;
    int saved;

    if (!file)
        return conf_fail(conf, "no temporary file");
    saved = dup(2);
    dup2(fileno(file), 2);
    result = expect(conf, assert_ptx, CUDA_ERROR_ASSERT);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    if (result != CONF_PASS)
        return result;
    rewind(file);
    bytes = fread(text, 1, sizeof(text) - 1, file);
    text[bytes] = '\0';
    if (strcmp(text, assert_want) != 0)
        return conf_fail(conf, "said '%s', expected '%s'", text, assert_want);
    return CONF_PASS;
}

/* vprintf(format, arguments): the arguments lie in local memory, each aligned to its size. */
static const char printf_ptx[] = CONF_HEADER
    ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
    ".global .align 1 .b8 format[44] = \n"
    /* "%d %u %x %c %s %5.2f %lld %% %08x %-4d|\n" */
    "{37,100,32,37,117,32,37,120,32,37,99,32,37,115,32,37,53,46,50,102,32,37,108,108,100,32,37,37,"
    "32,37,48,56,120,32,37,45,52,100,124,10,0};\n"
    ".global .align 1 .b8 word[4] = {97, 98, 99, 0};\n" CONF_ENTRY
    ".local .align 8 .b8 args[64];\nmov.u64 %rd0, args;\ncvta.local.u64 %rd1, %rd0;\n"
    "st.local.u32 [%rd0], -7;\nst.local.u32 [%rd0+4], 4000000000;\nst.local.u32 [%rd0+8], 48879;\n"
    "st.local.u32 [%rd0+12], 90;\nmov.u64 %rd2, word;\ncvta.global.u64 %rd2, %rd2;\n"
    "st.local.u64 [%rd0+16], %rd2;\nmov.f64 %d0, 0d400921FB54442D18;\n"
    "st.local.f64 [%rd0+24], %d0;\nst.local.u64 [%rd0+32], -1234567890123;\n"
    "st.local.u32 [%rd0+40], 2748;\nst.local.u32 [%rd0+44], 5;\nmov.u64 %rd3, format;\n"
    "cvta.global.u64 %rd3, %rd3;\n"
    "{\n.param .b64 f;\n.param .b64 a;\n.param .b32 r;\nst.param.b64 [f], %rd3;\n"
    "st.param.b64 [a], %rd1;\ncall.uni (r), vprintf, (f, a);\nld.param.b32 %r0, [r];\n}\n"
    "st.global.u32 [%out], %r0;\nret;\n}\n";

static const char printf_want[] =
    "-7 4000000000 beef Z abc  3.14 -1234567890123 % 00000abc 5   |\n";

/* Standard output goes to a file while the kernel runs. */
static enum conf_result print_into(struct conf *conf, FILE *file)
{
    uint32_t out[1];
    struct conf_launch launch = {.ptx = printf_ptx, .out = out, .out_bytes = sizeof(out)};
    int saved = dup(1);
    enum conf_result result;

    fflush(stdout);
    dup2(fileno(file), 1);
    result = conf_launch(conf, &launch);
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    return result;
}

static enum conf_result printing(struct conf *conf)
{
    _cleanup_fclose_ FILE *file = tmpfile();
    char text[256] = "";
    size_t bytes;

    if (!file)
        return conf_fail(conf, "no temporary file");
    CONF_TRY(print_into(conf, file));
    rewind(file);
    bytes = fread(text, 1, sizeof(text) - 1, file);
    text[bytes] = '\0';
    if (strcmp(text, printf_want) != 0)
        return conf_fail(conf, "printed '%s', expected '%s'", text, printf_want);
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"load from address 0", null_load, true},
    {"store beyond all memory", far_store, true},
    {"atomic beyond all memory", far_atomic, true},
    {"one lane faults", one_lane, true},
    {"misaligned load", misaligned, true},
    {"misaligned vector load", misaligned_vector, true},
    {"store beyond shared memory", shared_outside, true},
    {"trap", trap, true},
    {"assert", assertion, true},
    {"vprintf", printing, true},
};

void conf_fault_cases(conf_visit visit, void *context)
{
    conf_visit_cases("fault", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
