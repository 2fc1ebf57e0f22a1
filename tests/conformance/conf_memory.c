/* SPDX-License-Identifier: Apache-2.0 */
/* State spaces: shared, constant, local, parameter, generic addresses, vectors and narrow types. */
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define THREADS 128

static enum conf_result expect_words(struct conf *conf, const struct conf_launch *launch,
                                     const uint32_t *want)
{
    const uint32_t *got = launch->out;

    CONF_TRY(conf_launch(conf, launch));
    for (size_t i = 0; i < launch->out_bytes / 4; i++)
        if (got[i] != want[i])
            return conf_fail(conf, "word %zu: got %#x, expected %#x", i, got[i], want[i]);
    return CONF_PASS;
}

/* Static and dynamic shared memory in one kernel: reversed through both. */
static const char shared_ptx[] = CONF_HEADER
    ".extern .shared .align 16 .b8 dynamic[];\n" CONF_ENTRY CONF_OWN_32
    ".shared .align 4 .b8 fixed[512];\nmov.u32 %r0, fixed;\nmov.u32 %r1, dynamic;\n"
    "mad.lo.u32 %r2, %gid, 4, %r0;\nmul.lo.u32 %r3, %gid, 3;\nst.shared.u32 [%r2], %r3;\n"
    "mad.lo.u32 %r4, %gid, 4, %r1;\nadd.u32 %r5, %gid, 1000;\nst.shared.u32 [%r4], %r5;\n"
    "bar.sync 0;\nsub.u32 %r6, 127, %gid;\nmad.lo.u32 %r2, %r6, 4, %r0;\n"
    "ld.shared.u32 %r3, [%r2];\nmad.lo.u32 %r4, %r6, 4, %r1;\nld.shared.u32 %r5, [%r4];\n"
    "mad.lo.u32 %r3, %r5, 1000, %r3;\nst.global.u32 [%o], %r3;\nret;\n}\n";

static enum conf_result shared(struct conf *conf)
{
    uint32_t out[THREADS], want[THREADS];
    struct conf_launch launch = {.ptx = shared_ptx,
                                 .block = {THREADS},
                                 .shared_bytes = 512,
                                 .out = out,
                                 .out_bytes = sizeof(out)};

    for (uint32_t i = 0; i < THREADS; i++)
        want[i] = (127 - i + 1000) * 1000 + 3 * (127 - i);
    return expect_words(conf, &launch, want);
}

/* Each thread touches the last words of a large dynamic area; its size is a special register. */
static const char large_shared_ptx[] = CONF_HEADER
    ".extern .shared .align 16 .b8 dynamic[];\n" CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, dynamic;\nmov.u32 %r1, %dynamic_smem_size;\nmad.lo.u32 %r2, %gid, 4, 4;\n"
    "sub.u32 %r2, %r1, %r2;\nadd.u32 %r2, %r0, %r2;\nst.shared.u32 [%r2], %gid;\nbar.sync 0;\n"
    "sub.u32 %r3, 127, %gid;\nmad.lo.u32 %r2, %r3, 4, 4;\nsub.u32 %r2, %r1, %r2;\n"
    "add.u32 %r2, %r0, %r2;\nld.shared.u32 %r4, [%r2];\nadd.u32 %r4, %r4, %r1;\n"
    "st.global.u32 [%o], %r4;\nret;\n}\n";

#define LARGE_SHARED (64 * 1024)

static enum conf_result large_shared(struct conf *conf)
{
    uint32_t out[THREADS], want[THREADS];
    struct conf_launch launch = {.ptx = large_shared_ptx,
                                 .block = {THREADS},
                                 .shared_bytes = LARGE_SHARED,
                                 .out = out,
                                 .out_bytes = sizeof(out)};

    for (uint32_t i = 0; i < THREADS; i++)
        want[i] = LARGE_SHARED + 127 - i;
    return expect_words(conf, &launch, want);
}

/* Without the attribute a launch with over 48 KiB is refused, and the context lives on. */
static enum conf_result large_shared_refused(struct conf *conf)
{
    CUmodule module;
    CUfunction function;
    CUdeviceptr p = 0;
    void *args[] = {&p, &p};

    CONF_TRY(conf_load(conf, large_shared_ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_EXPECT(conf, cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, LARGE_SHARED, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuModuleUnload(module));
    return CONF_PASS;
}

/* Constants of each width, and an address constant with an offset. */
static const char constant_ptx[] = CONF_HEADER
    ".const .align 4 .u32 table[4] = {11, 22, 33, 44};\n.const .align 1 .b8 bytes[3] = {250, 5, "
    "9};\n"
    ".const .f64 pi = 0d400921FB54442D18;\n.const .u64 pointer = generic(table)+8;\n"
    ".const .s16 negative = -3;\n" CONF_ENTRY CONF_OWN_32
    "and.b32 %r0, %gid, 3;\nmov.u64 %rd0, table;\nmad.wide.u32 %rd0, %r0, 4, %rd0;\n"
    "ld.const.u32 %r1, [%rd0];\nld.const.u8 %r2, [bytes];\nld.const.s8 %r3, [bytes];\n"
    "ld.const.f64 %d0, [pi];\ncvt.rzi.s32.f64 %r4, %d0;\nld.const.u64 %rd1, [pointer];\n"
    "ld.u32 %r5, [%rd1];\nld.const.s16 %r6, [negative];\n"
    "add.u32 %r1, %r1, %r2;\nadd.u32 %r1, %r1, %r3;\nadd.u32 %r1, %r1, %r4;\n"
    "add.u32 %r1, %r1, %r5;\nadd.u32 %r1, %r1, %r6;\nst.global.u32 [%o], %r1;\nret;\n}\n";

static enum conf_result constants(struct conf *conf)
{
    uint32_t out[THREADS], want[THREADS];
    struct conf_launch launch = {
        .ptx = constant_ptx, .block = {THREADS}, .out = out, .out_bytes = sizeof(out)};

    for (uint32_t i = 0; i < THREADS; i++)
        want[i] = 11 * (i % 4 + 1) + 250 - 6 + 3 + 33 - 3;
    return expect_words(conf, &launch, want);
}

/* An array in local memory, indexed by data: an insertion of ten values, then read in reverse. */
static const char local_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    ".local .align 8 .b8 stack[80];\nmov.u64 %rd0, stack;\nmov.u32 %r0, 0;\n"
    "fill:\nmul.lo.u32 %r1, %r0, 7;\nrem.u32 %r1, %r1, 10;\nmad.wide.u32 %rd1, %r1, 8, %rd0;\n"
    "mad.lo.u32 %r2, %gid, 10, %r0;\ncvt.u64.u32 %rd2, %r2;\nst.local.u64 [%rd1], %rd2;\n"
    "add.u32 %r0, %r0, 1;\nsetp.lt.u32 %p0, %r0, 10;\n@%p0 bra fill;\n"
    "mov.u32 %r3, 0;\nread:\nsub.u32 %r0, %r0, 1;\nmad.wide.u32 %rd1, %r0, 8, %rd0;\n"
    "cvta.local.u64 %rd3, %rd1;\nld.u64 %rd2, [%rd3];\ncvt.u32.u64 %r2, %rd2;\n"
    "mad.lo.u32 %r3, %r3, 31, %r2;\nsetp.ne.u32 %p0, %r0, 0;\n@%p0 bra read;\n"
    "st.global.u32 [%o], %r3;\nret;\n}\n";

static enum conf_result local(struct conf *conf)
{
    uint32_t out[THREADS], want[THREADS];
    struct conf_launch launch = {
        .ptx = local_ptx, .block = {THREADS}, .out = out, .out_bytes = sizeof(out)};

    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t stack[10];

        for (uint32_t k = 0; k < 10; k++)
            stack[7 * k % 10] = 10 * i + k;
        want[i] = 0;
        for (uint32_t k = 10; k-- > 0;)
            want[i] = 31 * want[i] + stack[k];
    }
    return expect_words(conf, &launch, want);
}

/* Vectors of 2 and 4, of each width, loaded and stored reversed. */
static const char vector_ptx[] = CONF_HEADER CONF_ENTRY
    "ld.global.v4.u8 {%h0, %h1, %h2, %h3}, [%in];\nst.global.v4.u8 [%out], {%h3, %h2, %h1, %h0};\n"
    "ld.global.v2.u16 {%h0, %h1}, [%in+4];\nst.global.v2.u16 [%out+4], {%h1, %h0};\n"
    "ld.global.v4.u16 {%h0, %h1, %h2, %h3}, [%in+8];\n"
    "st.global.v4.u16 [%out+8], {%h3, %h2, %h1, %h0};\n"
    "ld.global.v2.f32 {%f0, %f1}, [%in+16];\nst.global.v2.f32 [%out+16], {%f1, %f0};\n"
    "ld.global.nc.v2.u32 {%r0, %r1}, [%in+24];\nst.global.v2.b32 [%out+24], {%r1, %r0};\n"
    "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%in+32];\n"
    "st.global.v4.u32 [%out+32], {%r3, %r2, %r1, %r0};\n"
    "ld.global.v2.f64 {%d0, %d1}, [%in+48];\nst.global.v2.f64 [%out+48], {%d1, %d0};\n"
    "ld.global.v2.u64 {%rd0, %rd1}, [%in+64];\nst.global.v2.u64 [%out+64], {%rd1, %rd0};\n"
    "ret;\n}\n";

static void reverse(uint8_t *to, const uint8_t *from, size_t count, size_t bytes)
{
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * bytes, from + (count - 1 - i) * bytes, bytes);
}

static enum conf_result vectors(struct conf *conf)
{
    uint8_t in[80];
    uint32_t out[20], want[20];
    uint8_t *to = (uint8_t *)want;
    struct conf_launch launch = {
        .ptx = vector_ptx, .in = in, .in_bytes = sizeof(in), .out = out, .out_bytes = sizeof(out)};

    for (unsigned int i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(7 * i + 1);
    reverse(to, in, 4, 1);
    reverse(to + 4, in + 4, 2, 2);
    reverse(to + 8, in + 8, 4, 2);
    reverse(to + 16, in + 16, 2, 4);
    reverse(to + 24, in + 24, 2, 4);
    reverse(to + 32, in + 32, 4, 4);
    reverse(to + 48, in + 48, 2, 8);
    reverse(to + 64, in + 64, 2, 8);
    return expect_words(conf, &launch, want);
}

/* Narrow loads extend by their type to the register; narrow stores cut. */
static const char narrow_ptx[] = CONF_HEADER CONF_ENTRY
    "ld.global.s8 %r0, [%in];\nst.global.u32 [%out], %r0;\n"
    "ld.global.u8 %r0, [%in];\nst.global.u32 [%out+4], %r0;\n"
    "ld.global.s16 %r0, [%in+2];\nst.global.u32 [%out+8], %r0;\n"
    "ld.global.u16 %r0, [%in+2];\nst.global.u32 [%out+12], %r0;\n"
    "ld.global.s8 %rd0, [%in];\nst.global.u64 [%out+16], %rd0;\n"
    "ld.global.s32 %rd0, [%in+4];\nst.global.u64 [%out+24], %rd0;\n"
    "ld.global.u32 %r0, [%in+4];\nst.global.u8 [%out+32], %r0;\nst.global.u8 [%out+33], %r0;\n"
    "st.global.u16 [%out+34], %r0;\nret;\n}\n";

static enum conf_result narrow(struct conf *conf)
{
    static const uint32_t in[2] = {0x8001ff80, 0x91234567};
    static const uint32_t want[9] = {0xffffff80, 0x80,       0xffff8001, 0x8001,    0xffffff80,
                                     0xffffffff, 0x91234567, 0xffffffff, 0x45676767};
    uint32_t out[9];
    struct conf_launch launch = {
        .ptx = narrow_ptx, .in = in, .in_bytes = sizeof(in), .out = out, .out_bytes = sizeof(out)};

    return expect_words(conf, &launch, want);
}

/* Generic addresses of each space: told apart, read, and turned back. */
static const char generic_ptx[] = CONF_HEADER
    ".const .u32 constant = 5;\n.global .u32 variable = 6;\n" CONF_ENTRY
    ".shared .u32 s;\n.local .align 4 .u32 l;\nst.shared.u32 [s], 7;\nst.local.u32 [l], 8;\n"
    "mov.u64 %rd0, constant;\ncvta.const.u64 %rd0, %rd0;\nmov.u64 %rd1, variable;\n"
    "cvta.global.u64 %rd1, %rd1;\nmov.u64 %rd2, s;\ncvta.shared.u64 %rd2, %rd2;\n"
    "mov.u64 %rd3, l;\ncvta.local.u64 %rd3, %rd3;\n"
    "ld.u32 %r0, [%rd0];\nld.u32 %r1, [%rd1];\nld.u32 %r2, [%rd2];\nld.u32 %r3, [%rd3];\n"
    "st.global.v4.u32 [%out], {%r0, %r1, %r2, %r3};\n"
    "isspacep.global %p0, %rd1;\nisspacep.shared %p1, %rd2;\nisspacep.local %p2, %rd3;\n"
    "isspacep.shared %p3, %rd1;\nisspacep.global %p4, %rd2;\nisspacep.local %p5, %rd2;\n"
    "selp.u32 %r4, 1, 0, %p0;\nselp.u32 %r5, 2, 0, %p1;\nselp.u32 %r6, 4, 0, %p2;\n"
    "selp.u32 %r7, 8, 0, %p3;\nselp.u32 %r8, 16, 0, %p4;\nselp.u32 %r9, 32, 0, %p5;\n"
    "or.b32 %r4, %r4, %r5;\nor.b32 %r4, %r4, %r6;\nor.b32 %r4, %r4, %r7;\n"
    "or.b32 %r4, %r4, %r8;\nor.b32 %r4, %r4, %r9;\nst.global.u32 [%out+16], %r4;\n"
    "cvta.to.shared.u64 %rd4, %rd2;\nld.shared.u32 %r10, [%rd4];\n"
    "atom.add.u32 %r11, [%rd2], 3;\nld.shared.u32 %r12, [s];\n"
    "st.global.v2.u32 [%out+24], {%r10, %r12};\nst.global.u32 [%out+20], 0;\nret;\n}\n";

static enum conf_result generic(struct conf *conf)
{
    static const uint32_t want[8] = {5, 6, 7, 8, 7, 0, 7, 10};
    uint32_t out[8];
    struct conf_launch launch = {.ptx = generic_ptx, .out = out, .out_bytes = sizeof(out)};

    return expect_words(conf, &launch, want);
}

/* Initialised globals of every kind; a byte array that is a string; zeros where nothing is said. */
static const char globals_ptx[] = CONF_HEADER
    ".visible .global .align 4 .b8 text[6] = {104, 101, 108, 108, 111, 0};\n"
    ".global .align 4 .u32 partly[4] = {1, 2};\n.global .f32 number = 0f3FC00000;\n"
    ".global .align 8 .u64 where[2] = {text, partly+4};\n.global .align 4 .b8 nothing[8];\n"
    ".global .align 4 .s32 matrix[2][2] = {{-1, 2}, {3, -4}};\n" CONF_ENTRY
    "mov.u64 %rd0, where;\nld.global.u64 %rd1, [%rd0];\nld.global.u8 %r0, [%rd1+4];\n"
    "ld.global.u64 %rd2, [where+8];\nld.global.u32 %r1, [%rd2];\nld.global.u32 %r2, [partly+12];\n"
    "st.global.v2.u32 [%out], {%r0, %r1};\nld.global.f32 %f0, [number];\n"
    "st.global.u32 [%out+8], %r2;\nst.global.f32 [%out+12], %f0;\n"
    "ld.global.u32 %r3, [nothing+4];\nld.global.s32 %r4, [matrix+12];\n"
    "st.global.v2.u32 [%out+16], {%r3, %r4};\nret;\n}\n";

static enum conf_result globals(struct conf *conf)
{
    static const uint32_t want[6] = {'o', 2, 0, 0x3fc00000, 0, (uint32_t)-4};
    uint32_t out[6];
    struct conf_launch launch = {.ptx = globals_ptx, .out = out, .out_bytes = sizeof(out)};

    return expect_words(conf, &launch, want);
}

/* Parameters of each type at the offsets that their alignment gives, and a structure by value. */
static const char parameter_ptx[] = CONF_HEADER
    ".visible .entry k(.param .u64 out, .param .u8 a, .param .u16 b, .param .u8 c, .param .f32 d,\n"
    ".param .f64 e, .param .align 8 .b8 s[24], .param .s8 f)\n{\n.reg .b64 %o, %x;\n"
    ".reg .b32 %r<8>;\n.reg .f32 %f;\n.reg .f64 %d;\nld.param.u64 %o, [out];\n"
    "cvta.to.global.u64 %o, %o;\nld.param.u8 %r0, [a];\nld.param.u16 %r1, [b];\n"
    "ld.param.u8 %r2, [c];\nld.param.f32 %f, [d];\nld.param.f64 %d, [e];\n"
    "ld.param.u16 %r3, [s+2];\nld.param.v2.u32 {%r4, %r5}, [s+8];\nld.param.s8 %r6, [f];\n"
    "st.global.u32 [%o], %r0;\nst.global.u32 [%o+4], %r1;\nst.global.u32 [%o+8], %r2;\n"
    "st.global.f32 [%o+12], %f;\nst.global.f64 [%o+16], %d;\nst.global.u32 [%o+24], %r3;\n"
    "st.global.u32 [%o+28], %r4;\nst.global.u32 [%o+32], %r5;\nst.global.u32 [%o+36], %r6;\n"
    "ret;\n}\n";

struct parameters {
    uint64_t out;
    uint8_t a;
    uint16_t b;
    uint8_t c;
    float d;
    double e;
    struct {
        uint16_t x, y;
        uint32_t pad, z, w;
        uint64_t last;
    } s;
    int8_t f;
};

/* p1: through `extra`, as one buffer, instead of one pointer a parameter. */
static enum conf_result pass_parameters(struct conf *conf, bool as_buffer)
{
    struct parameters p = {.a = 1,
                           .b = 2000,
                           .c = 255,
                           .d = 1.5f,
                           .e = -2.5,
                           .s = {.y = 77, .z = 88, .w = 99},
                           .f = -5};
    void *args[] = {&p.out, &p.a, &p.b, &p.c, &p.d, &p.e, &p.s, &p.f};
    size_t bytes = offsetof(struct parameters, f) + 1;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &p, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    static const uint32_t want[10] = {1,          2000, 255, 0x3fc00000, 0,
                                      0xc0040000, 77,   88,  99,         (uint32_t)-5};
    uint32_t out[10];
    CUdeviceptr device;
    CUmodule module;
    CUfunction function;

    CONF_TRY(conf_load(conf, parameter_ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_CALL(conf, cuMemAlloc(&device, sizeof(out)));
    p.out = device;
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, as_buffer ? NULL : args,
                                   as_buffer ? extra : NULL));
    CONF_CALL(conf, cuMemcpyDtoH(out, device, sizeof(out)));
    CONF_CALL(conf, cuMemFree(device));
    CONF_CALL(conf, cuModuleUnload(module));
    for (unsigned int i = 0; i < VGPU_ARRAY_SIZE(want); i++)
        if (out[i] != want[i])
            return conf_fail(conf, "word %u: got %#x, expected %#x", i, out[i], want[i]);
    return CONF_PASS;
}

static enum conf_result parameters(struct conf *conf)
{
    return pass_parameters(conf, false);
}

static enum conf_result parameter_buffer(struct conf *conf)
{
    return pass_parameters(conf, true);
}

/* One block publishes with release, the other waits with acquire. */
static const char ordering_ptx[] = CONF_HEADER CONF_ENTRY
    "mov.u32 %r0, %ctaid.x;\nsetp.ne.u32 %p0, %r0, 0;\n@%p0 bra consumer;\n"
    "st.global.u32 [%out+4], 1234;\nmembar.gl;\nst.release.gpu.global.u32 [%out], 1;\nret;\n"
    "consumer:\nld.acquire.gpu.global.u32 %r1, [%out];\nsetp.eq.u32 %p1, %r1, 0;\n"
    "@%p1 bra consumer;\nfence.acq_rel.gpu;\nld.relaxed.gpu.global.u32 %r2, [%out+4];\n"
    "st.volatile.global.u32 [%out+8], %r2;\nret;\n}\n";

static enum conf_result ordering(struct conf *conf)
{
    static const uint32_t want[3] = {1, 1234, 1234};
    uint32_t out[3] = {0};
    struct conf_launch launch = {
        .ptx = ordering_ptx, .grid = {2}, .out = out, .out_bytes = sizeof(out), .keep_out = true};

    return expect_words(conf, &launch, want);
}

/* Cache operators and prefetches change nothing that can be seen. */
static const char hints_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "prefetch.global.L2 [%i];\nprefetch.global.L1 [%i];\nld.global.ca.u32 %r0, [%i];\n"
    "ld.global.cg.u32 %r1, [%i];\nld.global.cs.u32 %r2, [%i];\nld.global.cv.u32 %r3, [%i];\n"
    "ld.global.nc.u32 %r4, [%i];\nadd.u32 %r0, %r0, %r1;\nadd.u32 %r0, %r0, %r2;\n"
    "add.u32 %r0, %r0, %r3;\nadd.u32 %r0, %r0, %r4;\nst.global.wb.u32 [%o], %r0;\n"
    "ld.global.u32 %r5, [%o];\nst.global.cs.u32 [%o], %r5;\nret;\n}\n";

static enum conf_result hints(struct conf *conf)
{
    uint32_t in[THREADS], out[THREADS], want[THREADS];
    struct conf_launch launch = {.ptx = hints_ptx,
                                 .block = {THREADS},
                                 .in = in,
                                 .in_bytes = sizeof(in),
                                 .out = out,
                                 .out_bytes = sizeof(out)};

    for (uint32_t i = 0; i < THREADS; i++) {
        in[i] = 3 * i + 1;
        want[i] = 5 * in[i];
    }
    return expect_words(conf, &launch, want);
}

static const struct conf_case cases[] = {
    {"shared, static and dynamic", shared, false},
    {"dynamic shared over 48 KiB", large_shared, false},
    {"dynamic shared over 48 KiB without the attribute", large_shared_refused, false},
    {"constants", constants, false},
    {"local", local, false},
    {"vectors", vectors, false},
    {"narrow loads and stores", narrow, false},
    {"generic addresses", generic, false},
    {"initialised globals", globals, false},
    {"parameters", parameters, false},
    {"parameters in one buffer", parameter_buffer, false},
    {"release and acquire between blocks", ordering, false},
    {"cache operators", hints, false},
};

void conf_memory_cases(conf_visit visit, void *context)
{
    conf_visit_cases("memory", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
