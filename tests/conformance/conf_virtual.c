/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual memory management: reservations, memory, mappings, access. */
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

static const CUmemAllocationProp here = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
                                         .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0}};
static const CUmemAccessDesc access_all = {{CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                           CU_MEM_ACCESS_FLAGS_PROT_READWRITE};

static enum conf_result granularity(struct conf *conf, size_t *ret)
{
    int supported = 0;

    CONF_CALL(conf, cuDeviceGetAttribute(
                        &supported, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0));
    if (!supported)
        return conf_skip(conf, "no virtual memory management");
    CONF_CALL(conf, cuMemGetAllocationGranularity(ret, &here, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    CONF_TRUE(conf, *ret > 0 && (*ret & (*ret - 1)) == 0);
    return CONF_PASS;
}

/* A range that grows, as allocators of vectors and tensors do it. */
static enum conf_result growing(struct conf *conf)
{
    CUmemGenericAllocationHandle handles[4];
    CUdeviceptr p;
    uint32_t words[2];
    size_t g;

    CONF_TRY(granularity(conf, &g));
    CONF_CALL(conf, cuMemAddressReserve(&p, 8 * g, 0, 0, 0));
    for (unsigned i = 0; i < 4; i++) {
        CONF_CALL(conf, cuMemCreate(&handles[i], g, &here, 0));
        CONF_CALL(conf, cuMemMap(p + i * g, g, 0, handles[i], 0));
        CONF_CALL(conf, cuMemSetAccess(p + i * g, g, &access_all, 1));
        CONF_CALL(conf, cuMemsetD32(p + i * g, i + 1, g / 4));
    }
    for (unsigned i = 0; i < 3; i++) {
        CONF_CALL(conf, cuMemcpyDtoH(words, p + (i + 1) * g - 4, 8));
        CONF_TRUE(conf, words[0] == i + 1 && words[1] == i + 2);
    }
    CONF_CALL(conf, cuMemcpyDtoD(p, p + 2 * g, 2 * g));
    CONF_CALL(conf, cuMemcpyDtoH(words, p + g - 4, 8));
    CONF_TRUE(conf, words[0] == 3 && words[1] == 4);
    for (unsigned i = 0; i < 4; i++) {
        CONF_CALL(conf, cuMemUnmap(p + i * g, g));
        CONF_CALL(conf, cuMemRelease(handles[i]));
    }
    CONF_CALL(conf, cuMemAddressFree(p, 8 * g));
    return CONF_PASS;
}

static const char add_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "ld.global.u32 %r0, [%i];\nadd.u32 %r0, %r0, 5;\nst.global.u32 [%o], %r0;\nret;\n}\n";

/* Kernels read memory at one address and write it at another. */
static enum conf_result kernels(struct conf *conf)
{
    CUmemGenericAllocationHandle handle;
    CUmodule module;
    CUfunction function;
    CUdeviceptr p, q;
    void *args[] = {&q, &p};
    uint32_t words[64];
    size_t g;

    CONF_TRY(granularity(conf, &g));
    CONF_TRY(conf_load(conf, add_ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_CALL(conf, cuMemAddressReserve(&p, 2 * g, 0, 0, 0));
    q = p + g;
    CONF_CALL(conf, cuMemCreate(&handle, g, &here, 0));
    CONF_CALL(conf, cuMemMap(p, g, 0, handle, 0));
    CONF_CALL(conf, cuMemMap(q, g, 0, handle, 0));
    CONF_CALL(conf, cuMemSetAccess(p, 2 * g, &access_all, 1));
    CONF_CALL(conf, cuMemRelease(handle));
    CONF_CALL(conf, cuMemsetD32(p, 37, 64));
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 64, 1, 1, 0, NULL, args, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuMemcpyDtoH(words, p, sizeof(words)));
    for (unsigned i = 0; i < 64; i++)
        CONF_TRUE(conf, words[i] == 42);
    CONF_CALL(conf, cuMemUnmap(p, g));
    CONF_CALL(conf, cuMemUnmap(q, g));
    CONF_CALL(conf, cuMemAddressFree(p, 2 * g));
    CONF_CALL(conf, cuModuleUnload(module));
    return CONF_PASS;
}

static enum conf_result handles(struct conf *conf)
{
    CUmemGenericAllocationHandle handle, again;
    CUmemAllocationProp prop;
    unsigned long long flags = 9;
    CUdeviceptr p;
    size_t g;

    CONF_TRY(granularity(conf, &g));
    CONF_CALL(conf, cuMemCreate(&handle, g, &here, 0));
    CONF_CALL(conf, cuMemGetAllocationPropertiesFromHandle(&prop, handle));
    CONF_TRUE(conf, prop.type == CU_MEM_ALLOCATION_TYPE_PINNED &&
                        prop.location.type == CU_MEM_LOCATION_TYPE_DEVICE);
    CONF_CALL(conf, cuMemAddressReserve(&p, g, 0, 0, 0));
    CONF_CALL(conf, cuMemMap(p, g, 0, handle, 0));
    CONF_CALL(conf, cuMemSetAccess(p, g, &access_all, 1));
    CONF_CALL(conf, cuMemGetAccess(&flags, &access_all.location, p));
    CONF_TRUE(conf, flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    CONF_CALL(conf, cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)p));
    CONF_TRUE(conf, again == handle);
    CONF_CALL(conf, cuMemRelease(again));
    CONF_CALL(conf, cuMemRelease(handle));
    CONF_CALL(conf, cuMemsetD8(p, 1, g));
    CONF_CALL(conf, cuMemUnmap(p, g));
    CONF_CALL(conf, cuMemAddressFree(p, g));
    return CONF_PASS;
}

static enum conf_result arguments(struct conf *conf)
{
    CUmemGenericAllocationHandle handle;
    CUmemAllocationProp prop = here;
    CUdeviceptr p;
    size_t g;

    CONF_TRY(granularity(conf, &g));
    CONF_EXPECT(conf, cuMemCreate(&handle, g / 2, &here, 0), CUDA_ERROR_INVALID_VALUE);
    prop.type = CU_MEM_ALLOCATION_TYPE_INVALID;
    CONF_EXPECT(conf, cuMemCreate(&handle, g, &prop, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemCreate(&handle, g, &here, 0));
    CONF_CALL(conf, cuMemAddressReserve(&p, 2 * g, 0, 0, 0));
    CONF_CALL(conf, cuMemMap(p, g, 0, handle, 0));
    CONF_EXPECT(conf, cuMemMap(p, g, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemUnmap(p, g));
    CONF_CALL(conf, cuMemRelease(handle));
    CONF_CALL(conf, cuMemAddressFree(p, 2 * g));
    return CONF_PASS;
}

/* A mapping is of all the memory of its handle. */
static enum conf_result parts(struct conf *conf)
{
    CUmemGenericAllocationHandle handle;
    CUdeviceptr p;
    size_t g;

    CONF_TRY(granularity(conf, &g));
    CONF_CALL(conf, cuMemCreate(&handle, 2 * g, &here, 0));
    CONF_CALL(conf, cuMemAddressReserve(&p, 4 * g, 0, 0, 0));
    CONF_EXPECT(conf, cuMemMap(p, g, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, g, g, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, g / 2, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, g, 1, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, 2 * g, g, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, 3 * g, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, 5 * g, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, (size_t)-g, 0, handle, 0), CUDA_ERROR_NOT_SUPPORTED);
    CONF_EXPECT(conf, cuMemMap(p, 0, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemMap(p, 2 * g, 0, handle, 1), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemMap(p + 1, 2 * g, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuMemMap(p + 4 * g, 2 * g, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemMap(p, 2 * g, 0, handle, 0));
    CONF_CALL(conf, cuMemUnmap(p, 2 * g));
    CONF_CALL(conf, cuMemRelease(handle));
    CONF_CALL(conf, cuMemAddressFree(p, 4 * g));
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"a range that grows", growing, false},
    {"kernels and one memory at two addresses", kernels, false},
    {"handles and access", handles, false},
    {"arguments", arguments, false},
    {"parts of memory", parts, false},
};

void conf_virtual_cases(conf_visit visit, void *context)
{
    conf_visit_cases("virtual", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
