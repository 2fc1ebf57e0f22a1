/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes of one VM, for tests/e2e: `isolation victim SOCKET` holds memory with a pattern and
 * tells its address and handles; `isolation intruder SOCKET ADDRESS STREAM EVENT` tries to reach
 * them by each way that the driver API has. Each prints what it found; exit 0 if they are apart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/program.h"

#define HELD_BYTES   (4u << 20)
#define SEARCH_BYTES (64u << 20)
#define PATTERN      0x5ec4e75au

static const char reader[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                             ".visible .entry peek(.param .u64 from, .param .u64 to)\n{\n"
                             ".reg .b64 %a, %b;\n.reg .b32 %v;\n"
                             "ld.param.u64 %a, [from];\nld.param.u64 %b, [to];\n"
                             "ld.global.u32 %v, [%a];\nst.global.u32 [%b], %v;\nret;\n}\n";

/* True if each word of data is PATTERN. */
static bool all_pattern(const uint32_t *data, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        if (data[i] != PATTERN)
            return false;
    }
    return true;
}

static int victim(const char *path)
{
    uint32_t *copy = malloc(HELD_BYTES);
    CUdeviceptr address;
    CUstream stream;
    CUevent event;
    bool intact;

    program_start(path);
    must(cuMemAlloc_v2(&address, HELD_BYTES), "alloc");
    must(cuMemsetD32_v2(address, PATTERN, HELD_BYTES / 4), "fill");
    must(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
    must(cuEventCreate(&event, 0), "event");
    must(cuCtxSynchronize(), "synchronize");
    printf("%llu %lu %lu\n", address, (unsigned long)stream, (unsigned long)event);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    must(cuMemcpyDtoH_v2(copy, address, HELD_BYTES), "read back");
    intact = all_pattern(copy, HELD_BYTES / 4);
    printf("%s\n", intact ? "intact" : "changed");
    free(copy);
    vgpu_disconnect();
    return intact ? 0 : 1;
}

static int found(const char *how)
{
    printf("reached by %s\n", how);
    return 1;
}

/* Looks for the pattern in as much fresh memory as one allocation gives. */
static int search_fresh_memory(void)
{
    uint32_t *copy = malloc(SEARCH_BYTES);
    CUdeviceptr fresh;
    int status = 0;

    must(cuMemAlloc_v2(&fresh, SEARCH_BYTES), "alloc");
    must(cuMemcpyDtoH_v2(copy, fresh, SEARCH_BYTES), "read");
    for (size_t i = 0; i < SEARCH_BYTES / 4 && status == 0; i++) {
        if (copy[i] == PATTERN)
            status = found("fresh memory");
    }
    must(cuMemFree_v2(fresh), "free");
    free(copy);
    return status;
}

/* A kernel that loads from the address: the pattern must not come back. */
static int peek(CUdeviceptr address)
{
    uint32_t value = 0;
    CUdeviceptr result;
    CUmodule module;
    CUfunction function;
    void *params[] = {&address, &result};

    must(cuMemAlloc_v2(&result, 4), "alloc");
    must(cuModuleLoadData(&module, reader), "module");
    must(cuModuleGetFunction(&function, module, "peek"), "function");
    must(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL), "launch");
    if (cuMemcpyDtoH_v2(&value, result, 4) == CUDA_SUCCESS && value == PATTERN)
        return found("a kernel's load");
    return 0;
}

static int intruder(const char *path, char **words)
{
    CUdeviceptr address = strtoull(words[0], NULL, 10);
    CUstream stream = (CUstream)strtoul(words[1], NULL, 10);
    CUevent event = (CUevent)strtoul(words[2], NULL, 10);
    uint32_t value = 0;

    program_start(path);
    if (cuMemcpyDtoH_v2(&value, address, 4) == CUDA_SUCCESS)
        return found("a copy from its memory");
    if (cuMemcpyHtoD_v2(address, &value, 4) == CUDA_SUCCESS)
        return found("a copy to its memory");
    if (cuMemsetD8_v2(address, 0, 16) == CUDA_SUCCESS)
        return found("a fill of its memory");
    if (cuMemFree_v2(address) == CUDA_SUCCESS)
        return found("freeing its memory");
    if (cuStreamSynchronize(stream) == CUDA_SUCCESS)
        return found("its stream");
    if (cuEventQuery(event) == CUDA_SUCCESS)
        return found("its event");
    if (search_fresh_memory() != 0 || peek(address) != 0)
        return 1;
    printf("apart\n");
    vgpu_disconnect();
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "victim") == 0)
        return victim(argv[2]);
    if (argc == 6 && strcmp(argv[1], "intruder") == 0)
        return intruder(argv[2], argv + 3);
    fprintf(stderr, "usage: isolation victim SOCKET | intruder SOCKET ADDRESS STREAM EVENT\n");
    return 2;
}
