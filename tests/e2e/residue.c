/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one process leaves on a GPU, and whether another finds it; for tests/e2e/test_residue.py.
 *
 * residue search PATTERN MIB SOCKET: looks at memory that nobody in this process has written to
 * (device memory, plain and of a pool; page-locked memory; the shared memory of all
 * multiprocessors; local memory) and counts the words of 8 bytes that are the pattern; then writes
 * it there and counts again, to show that it can find. One line of JSON.
 *
 * residue write PATTERN MIB SOCKET: does the same, and holds it all until its input ends.
 *
 * MIB: of device memory; 0: all that there is.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/program.h"

#define CHUNK_BYTES   ((size_t)32 << 20)
#define HOST_BYTES    ((size_t)4 << 20)
#define MAX_CHUNKS    8192u
#define SPARED_CHUNKS 16u
#define THREADS       256u
#define LOCAL_BYTES   4096u /* of a thread; as in the image */
#define LOCAL_WORDS   (LOCAL_BYTES / 8)

/*
 * memory: each thread takes every total-th word of [p, p + 8 n). shared, local: each block, each
 * thread its own. mode 0 counts the words that are the pattern, 1 writes it. The local array is
 * addressed by what only the launch knows, and read as volatile, which takes a generic address:
 * nothing may be left out.
 */
static const char image[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".extern .shared .align 8 .b8 dynamic[];\n"
    ".visible .entry memory(.param .u64 p, .param .u64 n, .param .u64 pattern, .param .u64 count,"
    " .param .u32 mode)\n{\n"
    ".reg .b64 %p, %n, %w, %c, %i, %a, %v, %step;\n.reg .b32 %m, %b, %d, %t, %g, %x;\n"
    ".reg .pred %end, %write, %same;\n"
    "ld.param.u64 %p, [p];\nld.param.u64 %n, [n];\nld.param.u64 %w, [pattern];\n"
    "ld.param.u64 %c, [count];\nld.param.u32 %m, [mode];\n"
    "mov.u32 %b, %ctaid.x;\nmov.u32 %d, %ntid.x;\nmov.u32 %t, %tid.x;\nmov.u32 %g, %nctaid.x;\n"
    "mad.lo.u32 %x, %b, %d, %t;\ncvt.u64.u32 %i, %x;\nmul.wide.u32 %step, %g, %d;\n"
    "setp.ne.u32 %write, %m, 0;\n"
    "again:\nsetp.ge.u64 %end, %i, %n;\n@%end bra done;\n"
    "shl.b64 %a, %i, 3;\nadd.u64 %a, %p, %a;\n@%write st.global.u64 [%a], %w;\n"
    "ld.volatile.global.u64 %v, [%a];\nsetp.eq.u64 %same, %v, %w;\n"
    "@%same red.global.add.u32 [%c], 1;\nadd.u64 %i, %i, %step;\nbra again;\n"
    "done:\nret;\n}\n"
    ".visible .entry shared(.param .u64 n, .param .u64 pattern, .param .u64 count,"
    " .param .u32 mode)\n{\n"
    ".reg .b64 %n, %w, %c, %i, %a, %v, %step, %base;\n.reg .b32 %m, %d, %t;\n"
    ".reg .pred %end, %write, %same;\n"
    "ld.param.u64 %n, [n];\nld.param.u64 %w, [pattern];\nld.param.u64 %c, [count];\n"
    "ld.param.u32 %m, [mode];\nmov.u32 %d, %ntid.x;\nmov.u32 %t, %tid.x;\n"
    "cvt.u64.u32 %i, %t;\ncvt.u64.u32 %step, %d;\nmov.u64 %base, dynamic;\n"
    "setp.ne.u32 %write, %m, 0;\n"
    "again:\nsetp.ge.u64 %end, %i, %n;\n@%end bra done;\n"
    "shl.b64 %a, %i, 3;\nadd.u64 %a, %base, %a;\n@%write st.volatile.shared.u64 [%a], %w;\n"
    "ld.volatile.shared.u64 %v, [%a];\nsetp.eq.u64 %same, %v, %w;\n"
    "@%same red.global.add.u32 [%c], 1;\nadd.u64 %i, %i, %step;\nbra again;\n"
    "done:\nret;\n}\n"
    ".visible .entry local(.param .u64 n, .param .u64 pattern, .param .u64 count,"
    " .param .u32 mode)\n{\n"
    ".local .align 8 .b8 depot[4096];\n"
    ".reg .b64 %n, %w, %c, %i, %a, %v, %base;\n.reg .b32 %m;\n.reg .pred %end, %write, %same;\n"
    "ld.param.u64 %n, [n];\nld.param.u64 %w, [pattern];\nld.param.u64 %c, [count];\n"
    "ld.param.u32 %m, [mode];\nmov.u64 %base, depot;\ncvta.local.u64 %base, %base;\n"
    "mov.u64 %i, 0;\n"
    "setp.ne.u32 %write, %m, 0;\n"
    "again:\nsetp.ge.u64 %end, %i, %n;\n@%end bra done;\n"
    "shl.b64 %a, %i, 3;\nadd.u64 %a, %base, %a;\n@%write st.volatile.u64 [%a], %w;\n"
    "ld.volatile.u64 %v, [%a];\nsetp.eq.u64 %same, %v, %w;\n"
    "@%same red.global.add.u32 [%c], 1;\nadd.u64 %i, %i, 1;\nbra again;\n"
    "done:\nret;\n}\n";

enum mode { SEARCH = 0, WRITE = 1 };

static struct {
    CUfunction memory, shared, local;
    CUdeviceptr count;
    uint64_t pattern;
    unsigned blocks;
    unsigned shared_bytes; /* as much as a block may have */
    CUdeviceptr chunks[MAX_CHUNKS];
    unsigned n_chunks;
    CUdeviceptr pooled;
    uint64_t *host;
} at;

static int attribute(CUdevice_attribute which)
{
    int value = 0;

    must(cuDeviceGetAttribute(&value, which, 0), "attribute");
    return value;
}

static void start(const char *path)
{
    CUmodule module;

    program_start(path);
    must(cuModuleLoadData(&module, image), "module");
    must(cuModuleGetFunction(&at.memory, module, "memory"), "memory");
    must(cuModuleGetFunction(&at.shared, module, "shared"), "shared");
    must(cuModuleGetFunction(&at.local, module, "local"), "local");
    must(cuMemAlloc_v2(&at.count, 8), "count");
    /* One block fills a multiprocessor's shared memory; several rounds reach each of them. */
    at.blocks = 8 * (unsigned)attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    at.shared_bytes = (unsigned)attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    must(cuFuncSetAttribute(at.shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                            (int)at.shared_bytes),
         "shared memory by opt-in");
}

/* How many words were the pattern. */
static unsigned run(CUfunction function, unsigned shared_bytes, void **arguments)
{
    unsigned found = 0;

    must(cuMemsetD32_v2(at.count, 0, 2), "clear");
    must(cuLaunchKernel(function, at.blocks, 1, 1, THREADS, 1, 1, shared_bytes, NULL, arguments,
                        NULL),
         "launch");
    must(cuMemcpyDtoH_v2(&found, at.count, sizeof(found)), "count");
    return found;
}

static unsigned in_memory(CUdeviceptr p, size_t bytes, unsigned mode)
{
    uint64_t n = bytes / 8;
    void *arguments[] = {&p, &n, &at.pattern, &at.count, &mode};

    return run(at.memory, 0, arguments);
}

static unsigned in_shared(unsigned mode)
{
    uint64_t n = at.shared_bytes / 8;
    void *arguments[] = {&n, &at.pattern, &at.count, &mode};

    return run(at.shared, at.shared_bytes, arguments);
}

static unsigned in_local(unsigned mode)
{
    uint64_t n = LOCAL_WORDS;
    void *arguments[] = {&n, &at.pattern, &at.count, &mode};

    return run(at.local, 0, arguments);
}

static void take_memory(unsigned mib)
{
    size_t most = mib ? ((size_t)mib << 20) / CHUNK_BYTES : MAX_CHUNKS;
    void *host;

    must(cuMemHostAlloc(&host, HOST_BYTES, 0), "page-locked memory");
    at.host = host;
    must(cuMemAllocAsync(&at.pooled, CHUNK_BYTES, NULL), "memory of a pool");
    while (at.n_chunks < most) {
        CUresult result = cuMemAlloc_v2(&at.chunks[at.n_chunks], CHUNK_BYTES);

        if (result == CUDA_ERROR_OUT_OF_MEMORY && mib == 0)
            break;
        must(result, "alloc");
        at.n_chunks++;
    }
    /* The driver's own needs come later. */
    for (unsigned i = 0; mib == 0 && i < SPARED_CHUNKS && at.n_chunks > 1; i++)
        must(cuMemFree_v2(at.chunks[--at.n_chunks]), "free");
}

static uint64_t in_chunks(unsigned mode)
{
    uint64_t found = 0;

    for (unsigned i = 0; i < at.n_chunks; i++)
        found += in_memory(at.chunks[i], CHUNK_BYTES, mode);
    return found;
}

static unsigned in_host(unsigned mode)
{
    unsigned found = 0;

    for (size_t i = 0; i < HOST_BYTES / 8; i++) {
        if (mode == WRITE)
            at.host[i] = at.pattern;
        found += at.host[i] == at.pattern;
    }
    return found;
}

struct found {
    uint64_t device;
    unsigned pool, host, shared, local;
};

/*
 * Before all memory is taken: the driver needs some for local memory. And before other kernels have
 * run, as they might write over what is there.
 */
static void look_inside(struct found *found, unsigned mode)
{
    found->shared = in_shared(mode);
    found->local = in_local(mode);
}

static void look_outside(struct found *found, unsigned mode)
{
    found->device = in_chunks(mode);
    found->pool = in_memory(at.pooled, CHUNK_BYTES, mode);
    found->host = in_host(mode);
}

static void print(const char *name, const struct found *found)
{
    printf("\"%s\": {\"device\": %" PRIu64
           ", \"pool\": %u, \"host\": %u, \"shared\": %u, \"local\": %u}, ",
           name, found->device, found->pool, found->host, found->shared, found->local);
}

int main(int argc, char **argv)
{
    bool writes = argc == 5 && strcmp(argv[1], "write") == 0;
    struct found first, own;

    if (argc != 5 || (!writes && strcmp(argv[1], "search") != 0)) {
        fprintf(stderr, "usage: residue write|search PATTERN MIB SOCKET\n");
        return 2;
    }
    at.pattern = strtoull(argv[2], NULL, 16);
    start(argv[4]);
    look_inside(&first, SEARCH);
    look_inside(&own, WRITE);
    take_memory((unsigned)strtoul(argv[3], NULL, 10));
    look_outside(&first, SEARCH);
    look_outside(&own, WRITE);
    printf("{");
    print("found", &first);
    print("own", &own);
    printf("\"mib\": %zu}\n", at.n_chunks * CHUNK_BYTES >> 20);
    if (writes) {
        /* And once more, so that these are what ran last. */
        in_local(WRITE);
        in_shared(WRITE);
        fflush(stdout);
        while (getchar() != EOF)
            continue;
    }
    vgpu_disconnect();
    return 0;
}
