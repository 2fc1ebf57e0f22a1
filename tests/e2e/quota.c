/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of a VM that takes GPU memory as its standard input says, for tests/e2e/test_quota.py:
 * one command a line, one answer a line.
 *
 *   info           "free total device", as cuMemGetInfo and cuDeviceTotalMem tell them
 *   plain BYTES    cuMemAlloc
 *   pitch BYTES    rows of 512 bytes
 *   managed BYTES  cuMemAllocManaged, which is no device memory
 *   virtual BYTES  cuMemCreate
 *   pool BYTES     cuMemAllocAsync
 *   own BYTES      from a pool of its own
 *   module BYTES   a PTX text with a variable of that size
 *   library BYTES  the same as a library
 *   graph NODES    an executable graph of empty nodes
 *   context        cuCtxCreate; it is not made current
 *   heap BYTES, printf BYTES, stack BYTES   cuCtxSetLimit
 *   fill BYTES     as many of that size as there are; answers their number
 *   back           the last thing that was taken is given back; pools are trimmed
 *   check          a copy to and from 4 KiB that were there from the start
 *
 * Others answer the CUresult as a number.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/program.h"

#define MOST 65536

enum kind { PLAIN, VIRTUAL, POOLED, MODULE, LIBRARY, GRAPH, CONTEXT };

static struct taken {
    enum kind kind;
    union {
        CUdeviceptr address;
        CUmemGenericAllocationHandle memory;
        CUmodule module;
        CUlibrary library;
        CUgraphExec graph;
        CUcontext context;
    };
} taken[MOST];
static unsigned n_taken;

static CUdeviceptr page;
static CUmemoryPool own_pool;

static struct taken *slot(enum kind kind)
{
    if (n_taken == MOST) {
        fprintf(stderr, "more than %d are taken\n", MOST);
        exit(1);
    }
    taken[n_taken].kind = kind;
    return &taken[n_taken];
}

static CUresult got(CUresult result)
{
    n_taken += result == CUDA_SUCCESS;
    return result;
}

static CUresult take_virtual(uint64_t bytes)
{
    const CUmemAllocationProp props = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                       .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};

    return got(cuMemCreate(&slot(VIRTUAL)->memory, bytes, &props, 0));
}

static CUresult take_own(uint64_t bytes)
{
    const CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED,
                                  .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};

    if (!own_pool)
        must(cuMemPoolCreate(&own_pool, &props), "cuMemPoolCreate");
    return got(cuMemAllocFromPoolAsync(&slot(POOLED)->address, bytes, own_pool, NULL));
}

static const char *image_of(uint64_t bytes)
{
    static char text[256];

    snprintf(text, sizeof(text),
             ".version 7.0\n.target sm_70\n.address_size 64\n"
             ".visible .global .align 8 .b8 room[%llu];\n",
             (unsigned long long)bytes);
    return text;
}

static CUresult take_graph(uint64_t nodes)
{
    CUgraph graph;
    CUgraphNode node;
    CUresult result;

    must(cuGraphCreate(&graph, 0), "cuGraphCreate");
    for (uint64_t i = 0; i < nodes; i++)
        must(cuGraphAddEmptyNode(&node, graph, NULL, 0), "cuGraphAddEmptyNode");
    result = got(cuGraphInstantiateWithFlags(&slot(GRAPH)->graph, graph, 0));
    cuGraphDestroy(graph);
    return result;
}

static CUresult take_context(void)
{
    CUcontext other;
    CUresult result = got(cuCtxCreate_v2(&slot(CONTEXT)->context, 0, 0));

    if (result == CUDA_SUCCESS)
        cuCtxPopCurrent_v2(&other);
    return result;
}

static CUresult give_back(void)
{
    struct taken *last;
    CUresult result = CUDA_SUCCESS;

    if (n_taken == 0)
        return CUDA_ERROR_INVALID_VALUE;
    last = &taken[--n_taken];
    if (last->kind == PLAIN)
        result = cuMemFree_v2(last->address);
    else if (last->kind == VIRTUAL)
        result = cuMemRelease(last->memory);
    else if (last->kind == MODULE)
        result = cuModuleUnload(last->module);
    else if (last->kind == LIBRARY)
        result = cuLibraryUnload(last->library);
    else if (last->kind == GRAPH)
        result = cuGraphExecDestroy(last->graph);
    else if (last->kind == CONTEXT)
        result = cuCtxDestroy_v2(last->context);
    else
        result = cuMemFreeAsync(last->address, NULL);
    return result == CUDA_SUCCESS ? cuCtxSynchronize() : result;
}

static CUresult take(const char *what, uint64_t n)
{
    size_t pitch;

    if (!strcmp(what, "plain"))
        return got(cuMemAlloc_v2(&slot(PLAIN)->address, n));
    if (!strcmp(what, "pitch"))
        return got(cuMemAllocPitch_v2(&slot(PLAIN)->address, &pitch, 512, n / 512, 4));
    if (!strcmp(what, "managed"))
        return got(cuMemAllocManaged(&slot(PLAIN)->address, n, CU_MEM_ATTACH_GLOBAL));
    if (!strcmp(what, "virtual"))
        return take_virtual(n);
    if (!strcmp(what, "pool"))
        return got(cuMemAllocAsync(&slot(POOLED)->address, n, NULL));
    if (!strcmp(what, "own"))
        return take_own(n);
    if (!strcmp(what, "module"))
        return got(cuModuleLoadData(&slot(MODULE)->module, image_of(n)));
    if (!strcmp(what, "library"))
        return got(
            cuLibraryLoadData(&slot(LIBRARY)->library, image_of(n), NULL, NULL, 0, NULL, NULL, 0));
    if (!strcmp(what, "graph"))
        return take_graph(n);
    if (!strcmp(what, "context"))
        return take_context();
    if (!strcmp(what, "heap"))
        return cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, n);
    if (!strcmp(what, "printf"))
        return cuCtxSetLimit(CU_LIMIT_PRINTF_FIFO_SIZE, n);
    if (!strcmp(what, "stack"))
        return cuCtxSetLimit(CU_LIMIT_STACK_SIZE, n);
    if (!strcmp(what, "back"))
        return give_back();
    fprintf(stderr, "no command '%s'\n", what);
    exit(2);
}

static void info(void)
{
    size_t free_bytes, total, device;

    must(cuMemGetInfo_v2(&free_bytes, &total), "cuMemGetInfo");
    must(cuDeviceTotalMem_v2(&device, 0), "cuDeviceTotalMem");
    printf("%zu %zu %zu\n", free_bytes, total, device);
}

static unsigned fill(uint64_t bytes)
{
    unsigned count = 0;

    while (take("plain", bytes) == CUDA_SUCCESS)
        count++;
    return count;
}

static CUresult check(void)
{
    static uint8_t out[4096], in[4096];
    CUresult result;

    memset(out, (int)n_taken | 1, sizeof(out));
    memset(in, 0, sizeof(in));
    result = cuMemcpyHtoD_v2(page, out, sizeof(out));
    if (result == CUDA_SUCCESS)
        result = cuMemcpyDtoH_v2(in, page, sizeof(in));
    return result == CUDA_SUCCESS && memcmp(in, out, sizeof(in)) != 0 ? CUDA_ERROR_UNKNOWN : result;
}

int main(int argc, char **argv)
{
    unsigned long long n;
    char line[128], what[32];

    if (argc != 2)
        return 2;
    program_start(argv[1]);
    must(cuMemAlloc_v2(&page, 4096), "the first page");
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        n = 0;
        if (sscanf(line, "%31s %llu", what, &n) < 1)
            continue;
        if (!strcmp(what, "info"))
            info();
        else if (!strcmp(what, "fill"))
            printf("%u\n", fill(n));
        else
            printf("%d\n", !strcmp(what, "check") ? (int)check() : (int)take(what, n));
        fflush(stdout);
    }
    return 0;
}
