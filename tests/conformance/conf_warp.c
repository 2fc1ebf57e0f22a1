/* SPDX-License-Identifier: Apache-2.0 */
/* What the lanes of a warp do together: shuffles, votes, matches, reductions; special registers. */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define THREADS 64
#define WARP    32

/* Runs a kernel of two warps in which each thread writes 32 bits. */
static enum conf_result lanes(struct conf *conf, const char *ptx, uint32_t *out)
{
    struct conf_launch launch = {
        .ptx = ptx, .block = {THREADS}, .out = out, .out_bytes = THREADS * sizeof(*out)};

    return conf_launch(conf, &launch);
}

enum shuffle { UP, DOWN, BFLY, IDX };
static const char *const shuffle_names[] = {"up", "down", "bfly", "idx"};

/* As the PTX ISA's pseudo-code: where a lane reads, and whether that is in range. */
static uint32_t shuffle_source(int mode, uint32_t lane, uint32_t b, uint32_t c, bool *ret_valid)
{
    uint32_t clamp = c & 31, segments = c >> 8 & 31;
    uint32_t max = (lane & segments) | (clamp & ~segments), min = lane & segments;
    int32_t source;

    switch (mode) {
    case UP:
        source = (int32_t)lane - (int32_t)b;
        *ret_valid = source >= (int32_t)max;
        break;
    case DOWN:
        source = (int32_t)(lane + b);
        *ret_valid = source <= (int32_t)max;
        break;
    case BFLY:
        source = (int32_t)(lane ^ b);
        *ret_valid = source <= (int32_t)max;
        break;
    default:
        source = (int32_t)(min | (b & ~segments));
        *ret_valid = source <= (int32_t)max;
    }
    return *ret_valid ? (uint32_t)source & 31 : lane;
}

/* One combination of mode, distance and c operand. */
static enum conf_result shuffle_once(struct conf *conf, int mode, uint32_t b, uint32_t c)
{
    uint32_t out[THREADS];
    char ptx[2048];

    snprintf(ptx, sizeof(ptx),
             "%smad.lo.u32 %%r0, %%gid, 3, 5;\n"
             "shfl.sync.%s.b32 %%r1|%%p0, %%r0, %u, %u, 0xffffffff;\n"
             "selp.u32 %%r2, 1000, 0, %%p0;\nadd.u32 %%r1, %%r1, %%r2;\n"
             "st.global.u32 [%%o], %%r1;\nret;\n}\n",
             CONF_HEADER CONF_ENTRY CONF_OWN_32, shuffle_names[mode], b, c);
    CONF_TRY(lanes(conf, ptx, out));
    for (uint32_t i = 0; i < THREADS; i++) {
        bool valid;
        uint32_t source = shuffle_source(mode, i % WARP, b, c, &valid) + i / WARP * WARP;
        uint32_t want = 3 * source + 5 + (valid ? 1000 : 0);

        if (out[i] != want)
            return conf_fail(conf, "shfl.%s b=%u c=%#x, thread %u: got %u, expected %u",
                             shuffle_names[mode], b, c, i, out[i], want);
    }
    return CONF_PASS;
}

/* Distances within and beyond the warp, whole and in segments of 16 and 8. */
static enum conf_result shuffles(struct conf *conf, int mode)
{
    static const uint32_t distances[] = {0, 1, 5, 16, 31};
    uint32_t clamp = mode == UP ? 0 : 31;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(distances); i++) {
        CONF_TRY(shuffle_once(conf, mode, distances[i], clamp));
        CONF_TRY(shuffle_once(conf, mode, distances[i], clamp | 16 << 8));
        CONF_TRY(shuffle_once(conf, mode, distances[i], clamp | 24 << 8));
    }
    return mode == UP ? CONF_PASS : shuffle_once(conf, mode, 4, 20);
}

static enum conf_result shuffle_up(struct conf *conf)
{
    return shuffles(conf, UP);
}

static enum conf_result shuffle_down(struct conf *conf)
{
    return shuffles(conf, DOWN);
}

static enum conf_result shuffle_butterfly(struct conf *conf)
{
    return shuffles(conf, BFLY);
}

static enum conf_result shuffle_index(struct conf *conf)
{
    return shuffles(conf, IDX);
}

/* The lane to read from is a register, another in each lane. */
static const char shuffle_register_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, %laneid;\nmul.lo.u32 %r1, %r0, 7;\nmov.u32 %r2, 31;\nmov.u32 %r3, -1;\n"
    "shfl.sync.idx.b32 %r4, %gid, %r1, %r2, %r3;\nst.global.u32 [%o], %r4;\nret;\n}\n";

static enum conf_result shuffle_register(struct conf *conf)
{
    uint32_t out[THREADS];

    CONF_TRY(lanes(conf, shuffle_register_ptx, out));
    for (uint32_t i = 0; i < THREADS; i++)
        CONF_TRUE(conf, out[i] == i % WARP * 7 % WARP + i / WARP * WARP);
    return CONF_PASS;
}

/* Votes by a whole warp and by the lanes of a divergent branch. */
static const char vote_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, %laneid;\nsetp.lt.u32 %p0, %r0, 5;\nsetp.lt.u32 %p1, %r0, 32;\n"
    "vote.sync.ballot.b32 %r1, %p0, 0xffffffff;\n"
    "vote.sync.all.pred %p2, %p0, 0xffffffff;\nvote.sync.all.pred %p3, %p1, 0xffffffff;\n"
    "vote.sync.any.pred %p4, %p0, 0xffffffff;\nvote.sync.any.pred %p5, !%p1, 0xffffffff;\n"
    "vote.sync.uni.pred %p6, %p0, 0xffffffff;\nvote.sync.uni.pred %p7, %p1, 0xffffffff;\n"
    "selp.u32 %r2, 0x100, 0, %p2;\nselp.u32 %r3, 0x200, 0, %p3;\nselp.u32 %r4, 0x400, 0, %p4;\n"
    "selp.u32 %r5, 0x800, 0, %p5;\nselp.u32 %r6, 0x1000, 0, %p6;\n"
    "selp.u32 %r7, 0x2000, 0, %p7;\nor.b32 %r1, %r1, %r2;\nor.b32 %r1, %r1, %r3;\n"
    "or.b32 %r1, %r1, %r4;\nor.b32 %r1, %r1, %r5;\nor.b32 %r1, %r1, %r6;\n"
    "or.b32 %r1, %r1, %r7;\nand.b32 %r8, %r0, 1;\nsetp.eq.u32 %p0, %r8, 0;\n@!%p0 bra odd;\n"
    "setp.gt.u32 %p1, %r0, 7;\nvote.sync.ballot.b32 %r9, %p1, 0x55555555;\n"
    "activemask.b32 %r10;\nbra end;\nodd:\nvote.sync.ballot.b32 %r9, 1, 0xaaaaaaaa;\n"
    "activemask.b32 %r10;\nend:\nxor.b32 %r1, %r1, %r9;\nst.global.u32 [%o], %r1;\nret;\n}\n";

static enum conf_result votes(struct conf *conf)
{
    uint32_t out[THREADS];

    CONF_TRY(lanes(conf, vote_ptx, out));
    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t branch = i % 2 ? 0xaaaaaaaa : 0x55555500;

        CONF_TRUE(conf, out[i] == ((0x1f | 0x200 | 0x400 | 0x2000) ^ branch));
    }
    return CONF_PASS;
}

/* Lanes with equal values find each other; all equal is told by a predicate. */
static const char match_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, %laneid;\nrem.u32 %r1, %r0, 3;\nmatch.any.sync.b32 %r2, %r1, 0xffffffff;\n"
    "cvt.u64.u32 %rd0, %r1;\nshl.b64 %rd0, %rd0, 40;\n"
    "match.any.sync.b64 %r3, %rd0, 0xffffffff;\nxor.b32 %r4, %r2, %r3;\n"
    "match.all.sync.b32 %r5|%p0, %r1, 0xffffffff;\nmov.u32 %r6, 9;\n"
    "match.all.sync.b32 %r7|%p1, %r6, 0xffffffff;\nor.b32 %r4, %r4, %r5;\nnot.b32 %r7, %r7;\n"
    "or.b32 %r4, %r4, %r7;\nselp.u32 %r8, 1, 0, %p0;\nselp.u32 %r9, 0, 1, %p1;\n"
    "or.b32 %r4, %r4, %r8;\nor.b32 %r4, %r4, %r9;\n" /* all of it should be 0 */
    "xor.b32 %r2, %r2, %r4;\nst.global.u32 [%o], %r2;\nret;\n}\n";

static enum conf_result matches(struct conf *conf)
{
    uint32_t out[THREADS];

    CONF_TRY(lanes(conf, match_ptx, out));
    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t want = 0;

        for (uint32_t k = 0; k < WARP; k++)
            want |= (uint32_t)(k % 3 == i % WARP % 3) << k;
        CONF_TRUE(conf, out[i] == want);
    }
    return CONF_PASS;
}

static const char redux_ptx[] = CONF_HEADER_80 CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, %laneid;\nsub.u32 %r1, %r0, 10;\nredux.sync.add.s32 %r2, %r1, 0xffffffff;\n"
    "redux.sync.min.s32 %r3, %r1, 0xffffffff;\nredux.sync.max.u32 %r4, %r1, 0xffffffff;\n"
    "redux.sync.and.b32 %r5, %r1, 0xffffffff;\nredux.sync.or.b32 %r6, %r0, 0xffffffff;\n"
    "redux.sync.xor.b32 %r7, %r0, 0xffffffff;\nmad.lo.u32 %r2, %r2, 31, %r3;\n"
    "mad.lo.u32 %r2, %r2, 31, %r4;\nmad.lo.u32 %r2, %r2, 31, %r5;\n"
    "mad.lo.u32 %r2, %r2, 31, %r6;\nmad.lo.u32 %r2, %r2, 31, %r7;\n"
    "st.global.u32 [%o], %r2;\nret;\n}\n";

static enum conf_result reductions(struct conf *conf)
{
    uint32_t out[THREADS], want, sum = 0, min = (uint32_t)-10, max = 0, all = UINT32_MAX;

    if (conf->compute_major < 8)
        return conf_skip(conf, "needs compute capability 8.0");
    CONF_TRY(lanes(conf, redux_ptx, out));
    for (uint32_t i = 0; i < WARP; i++) {
        uint32_t value = i - 10;

        sum += value;
        max = value > max ? value : max;
        all &= value;
    }
    want = sum;
    want = want * 31 + min;
    want = want * 31 + max;
    want = want * 31 + all;
    want = want * 31 + 31;
    want = want * 31 + 0;
    for (uint32_t i = 0; i < THREADS; i++)
        CONF_TRUE(conf, out[i] == want);
    return CONF_PASS;
}

static const char masks_ptx[] = CONF_HEADER CONF_ENTRY
    "mad.wide.u32 %o, %gid, 32, %out;\nmov.u32 %r0, %laneid;\nmov.u32 %r1, %lanemask_eq;\n"
    "mov.u32 %r2, %lanemask_lt;\nmov.u32 %r3, %lanemask_le;\nmov.u32 %r4, %lanemask_gt;\n"
    "mov.u32 %r5, %lanemask_ge;\nmov.u32 %r6, WARP_SZ;\nmov.u32 %r7, %total_smem_size;\n"
    "st.global.v4.u32 [%o], {%r0, %r1, %r2, %r3};\nst.global.v4.u32 [%o+16], {%r4, %r5, %r6, %r7};"
    "\nret;\n}\n";

static enum conf_result lane_masks(struct conf *conf)
{
    uint32_t out[THREADS][8];
    struct conf_launch launch = {
        .ptx = masks_ptx, .block = {THREADS}, .out = out, .out_bytes = sizeof(out)};

    CONF_TRY(conf_launch(conf, &launch));
    for (uint32_t i = 0; i < THREADS; i++) {
        uint32_t bit = UINT32_C(1) << i % WARP;

        CONF_TRUE(conf, out[i][0] == i % WARP);
        CONF_TRUE(conf, out[i][1] == bit);
        CONF_TRUE(conf, out[i][2] == bit - 1);
        CONF_TRUE(conf, out[i][3] == (bit | (bit - 1)));
        CONF_TRUE(conf, out[i][4] == ~(bit | (bit - 1)));
        CONF_TRUE(conf, out[i][5] == ~(bit - 1));
        CONF_TRUE(conf, out[i][6] == WARP);
    }
    return CONF_PASS;
}

/* Clocks go on: within a thread each reading is at least the one before, and later is later. */
static const char clocks_ptx[] = CONF_HEADER CONF_ENTRY
    "mov.u64 %rd0, %clock64;\nmov.u64 %rd1, %globaltimer;\nmov.u32 %r0, %clock;\n"
    "mov.u32 %r1, 0;\nspin:\nadd.u32 %r1, %r1, 1;\nmov.u64 %rd3, %globaltimer;\n"
    "sub.u64 %rd4, %rd3, %rd1;\nsetp.lt.u64 %p0, %rd4, 100000;\n@%p0 bra spin;\n"
    "mov.u64 %rd2, %clock64;\nmov.u32 %r2, %clock;\nst.global.u64 [%out], %rd0;\n"
    "st.global.u64 [%out+8], %rd2;\nst.global.u64 [%out+16], %rd1;\nst.global.u64 [%out+24], "
    "%rd3;\n"
    "sub.u32 %r2, %r2, %r0;\nst.global.u32 [%out+32], %r2;\nst.global.u32 [%out+36], %r1;\n"
    "ret;\n}\n";

static enum conf_result clocks(struct conf *conf)
{
    struct {
        uint64_t clock[2], timer[2];
        uint32_t clock_low, turns;
    } out;
    struct conf_launch launch = {.ptx = clocks_ptx, .out = &out, .out_bytes = sizeof(out)};

    CONF_TRY(conf_launch(conf, &launch));
    CONF_TRUE(conf, out.clock[1] > out.clock[0]);
    CONF_TRUE(conf, out.timer[1] >= out.timer[0] + 100000);
    CONF_TRUE(conf, out.clock_low > 0);
    CONF_TRUE(conf, out.turns > 0);
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"shfl.up", shuffle_up, false},
    {"shfl.down", shuffle_down, false},
    {"shfl.bfly", shuffle_butterfly, false},
    {"shfl.idx", shuffle_index, false},
    {"shfl with registers", shuffle_register, false},
    {"vote", votes, false},
    {"match", matches, false},
    {"redux", reductions, false},
    {"lane masks", lane_masks, false},
    {"clock, clock64, globaltimer", clocks, false},
};

void conf_warp_cases(conf_visit visit, void *context)
{
    conf_visit_cases("warp", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
