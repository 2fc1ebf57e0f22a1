/* SPDX-License-Identifier: Apache-2.0 */
/* Launches with attributes, and attributes of streams. */
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

#define BLOCKS 4u

/* Each block writes its index to its own word. */
static const char blocks_ptx[] = CONF_HEADER CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, %ctaid.x;\nst.global.u32 [%o], %r0;\nret;\n}\n";

/* Each block writes its rank in its cluster, and 16 times the number of blocks in it. */
static const char cluster_ptx[] =
    ".version 7.8\n.target sm_90\n.address_size 64\n" CONF_ENTRY CONF_OWN_32
    "mov.u32 %r0, %cluster_ctarank;\nmov.u32 %r1, %cluster_nctarank;\n"
    "mad.lo.u32 %r0, %r1, 16, %r0;\nst.global.u32 [%o], %r0;\nret;\n}\n";

struct work {
    CUmodule module;
    CUfunction function;
    CUdeviceptr out;
};

static enum conf_result open_work(struct conf *conf, const char *ptx, struct work *work)
{
    CONF_TRY(conf_load(conf, ptx, &work->module));
    CONF_CALL(conf, cuModuleGetFunction(&work->function, work->module, "k"));
    CONF_CALL(conf, cuMemAlloc(&work->out, BLOCKS * 4));
    return CONF_PASS;
}

static enum conf_result close_work(struct conf *conf, struct work *work)
{
    CONF_CALL(conf, cuMemFree(work->out));
    CONF_CALL(conf, cuModuleUnload(work->module));
    return CONF_PASS;
}

static CUresult launch_blocks(struct conf *conf, struct work *work, unsigned blocks,
                              CUlaunchAttribute *attributes, unsigned count)
{
    const CUlaunchConfig config = {.gridDimX = blocks,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = 1,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .attrs = attributes,
                                   .numAttrs = count};
    void *args[] = {&work->out, &work->out};

    return conf->cu->cuLaunchKernelEx(&config, work->function, args, NULL);
}

#define CONF_LAUNCH(conf, work, attributes, count, expected)                                       \
    do {                                                                                           \
        CUresult launched_ = launch_blocks(conf, work, BLOCKS, attributes, count);                 \
                                                                                                   \
        if (launched_ != (expected))                                                               \
            return conf_fail(conf, "%s:%d: launched: %s, not %s", __FILE__, __LINE__,              \
                             conf_name(conf, launched_), #expected);                               \
    } while (0)

/* The blocks wrote `first` + i * `step`. */
static enum conf_result expect_words(struct conf *conf, struct work *work, const uint32_t *expected)
{
    uint32_t words[BLOCKS];

    CONF_CALL(conf, cuMemcpyDtoH(words, work->out, sizeof(words)));
    CONF_CALL(conf, cuMemsetD32(work->out, 0xa5a5a5a5u, BLOCKS));
    if (memcmp(words, expected, sizeof(words)) != 0)
        return conf_fail(conf, "wrote %x %x %x %x", words[0], words[1], words[2], words[3]);
    return CONF_PASS;
}

static const uint32_t indices[BLOCKS] = {0, 1, 2, 3};

/* Attributes that any device takes: the kernel does what it does without them. */
static enum conf_result harmless(struct conf *conf)
{
    CUlaunchAttribute attributes[5];
    struct work work;
    int least, greatest;

    CONF_CALL(conf, cuCtxGetStreamPriorityRange(&least, &greatest));
    memset(attributes, 0, sizeof(attributes));
    attributes[0].id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    attributes[0].value.priority = greatest;
    attributes[1].id = CU_LAUNCH_ATTRIBUTE_IGNORE;
    attributes[2].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attributes[3].id = CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN;
    attributes[4].id = CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
    attributes[4].value.sharedMemCarveout = 50;
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    for (unsigned i = 0; i < 5; i++) {
        CONF_LAUNCH(conf, &work, &attributes[i], 1, CUDA_SUCCESS);
        CONF_TRY(expect_words(conf, &work, indices));
    }
    CONF_LAUNCH(conf, &work, attributes, 5, CUDA_SUCCESS);
    CONF_TRY(expect_words(conf, &work, indices));
    return close_work(conf, &work);
}

static enum conf_result cooperative(struct conf *conf)
{
    CUlaunchAttribute attribute;
    struct work work;

    memset(&attribute, 0, sizeof(attribute));
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = 1;
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    CONF_LAUNCH(conf, &work, &attribute, 1, CUDA_SUCCESS);
    CONF_TRY(expect_words(conf, &work, indices));
    return close_work(conf, &work);
}

/* A kernel may start before the one ahead has ended, but what it waits for it sees. */
static enum conf_result serialization(struct conf *conf)
{
    CUlaunchAttribute attribute;
    struct work work;

    memset(&attribute, 0, sizeof(attribute));
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    for (int i = 0; i < 20; i++)
        CONF_LAUNCH(conf, &work, &attribute, 1, CUDA_SUCCESS);
    CONF_TRY(expect_words(conf, &work, indices));
    return close_work(conf, &work);
}

static enum conf_result unknown_attribute(struct conf *conf)
{
    CUlaunchAttribute attribute;
    struct work work;

    memset(&attribute, 0, sizeof(attribute));
    attribute.id = (CUlaunchAttributeID)999;
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    CONF_LAUNCH(conf, &work, &attribute, 1, CUDA_ERROR_INVALID_VALUE);
    return close_work(conf, &work);
}

static CUlaunchAttribute cluster_of(unsigned x)
{
    CUlaunchAttribute attribute;

    memset(&attribute, 0, sizeof(attribute));
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = x;
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    return attribute;
}

static enum conf_result has_clusters(struct conf *conf, int *ret)
{
    CUdevice device;

    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_CALL(conf, cuDeviceGetAttribute(ret, CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, device));
    return CONF_PASS;
}

static enum conf_result clusters(struct conf *conf)
{
    static const uint32_t pairs[BLOCKS] = {0x20, 0x21, 0x20, 0x21};
    static const uint32_t four[BLOCKS] = {0x40, 0x41, 0x42, 0x43};
    CUlaunchAttribute attributes[2] = {cluster_of(2)};
    struct work work;
    int have;

    CONF_TRY(has_clusters(conf, &have));
    if (!have)
        return conf_skip(conf, "the device has no clusters");
    attributes[1].id = CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE;
    attributes[1].value.clusterSchedulingPolicyPreference = CU_CLUSTER_SCHEDULING_POLICY_SPREAD;
    CONF_TRY(open_work(conf, cluster_ptx, &work));
    CONF_LAUNCH(conf, &work, attributes, 2, CUDA_SUCCESS);
    CONF_TRY(expect_words(conf, &work, pairs));
    attributes[0] = cluster_of(4);
    CONF_LAUNCH(conf, &work, attributes, 1, CUDA_SUCCESS);
    CONF_TRY(expect_words(conf, &work, four));
    return close_work(conf, &work);
}

/* A cluster of one block is what every launch has. */
static enum conf_result cluster_of_one(struct conf *conf)
{
    CUlaunchAttribute attribute = cluster_of(1);
    struct work work;

    CONF_TRY(open_work(conf, blocks_ptx, &work));
    CONF_LAUNCH(conf, &work, &attribute, 1, CUDA_SUCCESS);
    CONF_TRY(expect_words(conf, &work, indices));
    return close_work(conf, &work);
}

/* Clusters that the grid is no multiple of, that are too large, or that the device lacks. */
static enum conf_result bad_clusters(struct conf *conf)
{
    static const unsigned sizes[] = {3, 0, 1024};
    struct work work;
    int have;

    CONF_TRY(has_clusters(conf, &have));
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    for (unsigned i = 0; i < VGPU_ARRAY_SIZE(sizes); i++) {
        CUlaunchAttribute attribute = cluster_of(sizes[i]);
        CUresult result =
            launch_blocks(conf, &work, sizes[i] == 1024 ? 1024 : BLOCKS, &attribute, 1);

        if (result == CUDA_SUCCESS || (have && result != CUDA_ERROR_INVALID_CLUSTER_SIZE))
            return conf_fail(conf, "a cluster of %u: %s", sizes[i], conf_name(conf, result));
    }
    /* The context is none the worse for it. */
    CONF_CALL(conf, cuCtxSynchronize());
    return close_work(conf, &work);
}

static enum conf_result cluster_occupancy(struct conf *conf)
{
    CUlaunchAttribute attribute = cluster_of(2);
    CUlaunchConfig config = {.gridDimX = 64,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 128,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};
    struct work work;
    int have, count = 0;

    CONF_TRY(has_clusters(conf, &have));
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    if (!have)
        return conf_skip(conf, "the device has no clusters");
    CONF_CALL(conf, cuOccupancyMaxActiveClusters(&count, work.function, &config));
    CONF_TRUE(conf, count > 0);
    config.numAttrs = 0;
    CONF_CALL(conf, cuOccupancyMaxPotentialClusterSize(&count, work.function, &config));
    CONF_TRUE(conf, count >= 8); /* what is portable */
    return close_work(conf, &work);
}

/* What is set is told, copied, and of its own stream alone. */
static enum conf_result stream_attributes(struct conf *conf)
{
    CUstreamAttrValue value, out;
    CUstream first, second;
    int least, greatest, priority;

    CONF_CALL(conf, cuCtxGetStreamPriorityRange(&least, &greatest));
    CONF_CALL(conf, cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
    memset(&value, 0, sizeof(value));
    value.syncPolicy = CU_SYNC_POLICY_YIELD;
    CONF_CALL(conf,
              cuStreamSetAttribute(first, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
    CONF_CALL(conf, cuStreamGetAttribute(first, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &out));
    CONF_TRUE(conf, out.syncPolicy == CU_SYNC_POLICY_YIELD);
    CONF_CALL(conf, cuStreamGetAttribute(second, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &out));
    CONF_TRUE(conf, out.syncPolicy != CU_SYNC_POLICY_YIELD);
    memset(&value, 0, sizeof(value));
    value.priority = greatest;
    CONF_CALL(conf, cuStreamSetAttribute(first, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value));
    CONF_CALL(conf, cuStreamGetPriority(first, &priority));
    CONF_TRUE(conf, priority == greatest);
    CONF_CALL(conf, cuStreamCopyAttributes(second, first));
    CONF_CALL(conf, cuStreamGetAttribute(second, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &out));
    CONF_TRUE(conf, out.syncPolicy == CU_SYNC_POLICY_YIELD);
    CONF_EXPECT(conf, cuStreamGetAttribute(first, (CUstreamAttrID)999, &out),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuStreamDestroy(first));
    CONF_CALL(conf, cuStreamDestroy(second));
    return CONF_PASS;
}

/* A capture keeps a launch's attributes, and a kernel node tells and takes them. */
static enum conf_result graph_attributes(struct conf *conf)
{
    CUkernelNodeAttrValue value;
    CUlaunchAttribute attribute;
    CUgraphExec exec;
    CUgraphNode node;
    CUgraph graph;
    CUstream stream;
    struct work work;
    size_t count = 1;
    int least, greatest;
    void *args[] = {&work.out, &work.out};
    CUlaunchConfig config = {.gridDimX = BLOCKS,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};

    CONF_CALL(conf, cuCtxGetStreamPriorityRange(&least, &greatest));
    memset(&attribute, 0, sizeof(attribute));
    attribute.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    attribute.value.priority = greatest;
    CONF_TRY(open_work(conf, blocks_ptx, &work));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    config.hStream = stream;
    CONF_CALL(conf, cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CONF_CALL(conf, cuLaunchKernelEx(&config, work.function, args, NULL));
    CONF_CALL(conf, cuStreamEndCapture(stream, &graph));
    CONF_CALL(conf, cuGraphGetNodes(graph, &node, &count));
    CONF_CALL(conf, cuGraphKernelNodeGetAttribute(node, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value));
    CONF_TRUE(conf, value.priority == greatest);
    memset(&value, 0, sizeof(value));
    value.priority = least;
    CONF_CALL(conf, cuGraphKernelNodeSetAttribute(node, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value));
    CONF_CALL(conf, cuGraphKernelNodeGetAttribute(node, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value));
    CONF_TRUE(conf, value.priority == least);
    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, graph, 0));
    CONF_CALL(conf, cuGraphLaunch(exec, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_TRY(expect_words(conf, &work, indices));
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    CONF_CALL(conf, cuGraphDestroy(graph));
    CONF_CALL(conf, cuStreamDestroy(stream));
    return close_work(conf, &work);
}

/* old(out, i, f): each thread writes i + its index and, behind those of all threads, f. */
static const char old_ptx[] =
    CONF_HEADER ".extern .shared .align 4 .b8 dynamic[];\n"
                ".visible .entry old(.param .u64 out, .param .u32 i, .param .f32 f)\n{\n"
                ".reg .b64 %out, %o;\n.reg .b32 %gid, %all, %r<4>;\n.reg .f32 %f;\n"
                "ld.param.u64 %out, [out];\ncvta.to.global.u64 %out, %out;\n"
                "ld.param.u32 %r0, [i];\nld.param.f32 %f, [f];\n"
                "mov.u32 %gid, %ctaid.y;\nmov.u32 %r1, %nctaid.x;\nmov.u32 %r2, %ctaid.x;\n"
                "mad.lo.u32 %gid, %gid, %r1, %r2;\n"
                "mov.u32 %r3, %nctaid.y;\nmul.lo.u32 %all, %r1, %r3;\n"
                "mov.u32 %r1, %ntid.x;\nmov.u32 %r2, %tid.x;\nmad.lo.u32 %gid, %gid, %r1, %r2;\n"
                "mul.lo.u32 %all, %all, %r1;\n"
                "mov.u32 %r3, dynamic;\nmad.lo.u32 %r3, %r2, 4, %r3;\n"
                "add.u32 %r0, %r0, %gid;\nst.shared.u32 [%r3], %r0;\nld.shared.u32 %r0, [%r3];\n"
                "mad.wide.u32 %o, %gid, 4, %out;\nst.global.u32 [%o], %r0;\n"
                "mad.wide.u32 %o, %all, 4, %out;\nst.global.f32 [%o], %f;\nret;\n}\n";

#define OLD_THREADS 2u
#define OLD_MOST    (4 * OLD_THREADS + 1)

/* `threads` threads wrote what they had to, and nobody wrote behind it. */
static enum conf_result expect_old(struct conf *conf, CUdeviceptr out, unsigned threads, uint32_t i,
                                   float f)
{
    uint32_t words[OLD_MOST], last;

    memcpy(&last, &f, sizeof(last));
    CONF_CALL(conf, cuMemcpyDtoH(words, out, sizeof(words)));
    CONF_CALL(conf, cuMemsetD32(out, 0xa5a5a5a5u, OLD_MOST));
    for (unsigned at = 0; at < OLD_MOST; at++) {
        uint32_t expected = at < threads ? i + at : at == threads ? last : 0xa5a5a5a5u;

        if (words[at] != expected)
            return conf_fail(conf, "word %u of %u threads is %x, not %x", at, threads, words[at],
                             expected);
    }
    return CONF_PASS;
}

/* What programs of before cuLaunchKernel do; what was set stays set. */
static enum conf_result old_calls(struct conf *conf)
{
    CUfunction old;
    CUmodule module;
    CUdeviceptr out;
    CUstream stream;

    CONF_TRY(conf_load(conf, old_ptx, &module));
    CONF_CALL(conf, cuModuleGetFunction(&old, module, "old"));
    CONF_CALL(conf, cuMemAlloc(&out, OLD_MOST * 4));
    CONF_CALL(conf, cuMemsetD32(out, 0xa5a5a5a5u, OLD_MOST));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuFuncSetBlockShape(old, OLD_THREADS, 1, 1));
    CONF_CALL(conf, cuFuncSetSharedSize(old, OLD_THREADS * 4));
    CONF_CALL(conf, cuParamSetv(old, 0, &out, sizeof(out)));
    CONF_CALL(conf, cuParamSeti(old, 8, 100));
    CONF_CALL(conf, cuParamSetf(old, 12, 1.5f));
    CONF_CALL(conf, cuParamSetSize(old, 16));
    CONF_CALL(conf, cuLaunch(old));
    CONF_TRY(expect_old(conf, out, OLD_THREADS, 100, 1.5f));
    CONF_CALL(conf, cuParamSeti(old, 8, 200));
    CONF_CALL(conf, cuLaunchGrid(old, 2, 2));
    CONF_TRY(expect_old(conf, out, 4 * OLD_THREADS, 200, 1.5f));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuParamSetf(old, 12, -2.0f));
    CONF_CALL(conf, cuLaunchGridAsync(old, 3, 1, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_TRY(expect_old(conf, out, 3 * OLD_THREADS, 200, -2.0f));
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_CALL(conf, cuMemFree(out));
    CONF_CALL(conf, cuModuleUnload(module));
    return CONF_PASS;
}

/* Refused, and the context is none the worse for it. */
static enum conf_result old_calls_refused(struct conf *conf)
{
    struct work work;

    CONF_TRY(open_work(conf, blocks_ptx, &work));
    CONF_EXPECT(conf, cuFuncSetBlockShape(NULL, 1, 1, 1), CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncSetBlockShape(work.function, 0, 1, 1), CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuFuncSetBlockShape(work.function, 1, 1, 1025), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuCtxSynchronize());
    return close_work(conf, &work);
}

/* In the order of the stream, of both sizes, and many at once. */
static enum conf_result write_values(struct conf *conf)
{
    CUstreamBatchMemOpParams ops[3];
    uint32_t words[BLOCKS];
    struct work work;

    CONF_TRY(open_work(conf, blocks_ptx, &work));
    CONF_CALL(conf, cuMemsetD32(work.out, 1, BLOCKS));
    CONF_CALL(conf, cuStreamWriteValue32(NULL, work.out + 4, 0x12345678, 0));
    CONF_CALL(conf, cuStreamWriteValue64(NULL, work.out + 8, 0x1111222233334444ull, 0));
    CONF_CALL(conf, cuMemcpyDtoH(words, work.out, sizeof(words)));
    CONF_TRUE(conf, words[0] == 1 && words[1] == 0x12345678);
    CONF_TRUE(conf, words[2] == 0x33334444 && words[3] == 0x11112222);
    memset(ops, 0, sizeof(ops));
    ops[0].operation = CU_STREAM_MEM_OP_WRITE_VALUE_32;
    ops[0].writeValue.address = work.out;
    ops[0].writeValue.value = 9;
    ops[1].operation = CU_STREAM_MEM_OP_BARRIER;
    ops[2] = ops[0];
    ops[2].writeValue.address = work.out + 12;
    CONF_CALL(conf, cuStreamBatchMemOp(NULL, 3, ops, 0));
    CONF_CALL(conf, cuMemcpyDtoH(words, work.out, sizeof(words)));
    CONF_TRUE(conf, words[0] == 9 && words[1] == 0x12345678 && words[3] == 9);
    CONF_EXPECT(conf, cuStreamWriteValue32(NULL, work.out + 2, 0, 0), CUDA_ERROR_INVALID_VALUE);
    return close_work(conf, &work);
}

static CUresult encode(struct conf *conf, CUtensorMap *map, CUdeviceptr address, unsigned rank)
{
    const cuuint64_t dims[] = {64, 32}, strides[] = {256};
    const cuuint32_t box[] = {16, 8}, ones[] = {1, 1};

    return conf->cu->cuTensorMapEncodeTiled(
        map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, rank, (void *)(uintptr_t)address, dims, strides, box,
        ones, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
        CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/* The same tensor makes the same map; another address makes another, and so does replacing it. */
static enum conf_result tensor_maps(struct conf *conf)
{
    CUtensorMap first, second, other;
    CUdevice device;
    CUdeviceptr memory;
    int have;

    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_CALL(conf,
              cuDeviceGetAttribute(&have, CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED, device));
    if (!have) {
        CONF_TRUE(conf, encode(conf, &first, 4096, 2) != CUDA_SUCCESS);
        return conf_skip(conf, "the device has no maps of tensors");
    }
    CONF_CALL(conf, cuMemAlloc(&memory, 16384));
    CONF_TRUE(conf, encode(conf, &first, memory, 2) == CUDA_SUCCESS);
    CONF_TRUE(conf, encode(conf, &second, memory, 2) == CUDA_SUCCESS);
    CONF_TRUE(conf, encode(conf, &other, memory + 4096, 2) == CUDA_SUCCESS);
    CONF_TRUE(conf, memcmp(&first, &second, sizeof(first)) == 0);
    CONF_TRUE(conf, memcmp(&first, &other, sizeof(first)) != 0);
    CONF_CALL(conf, cuTensorMapReplaceAddress(&first, (void *)(uintptr_t)(memory + 4096)));
    CONF_TRUE(conf, memcmp(&first, &other, sizeof(first)) == 0);
    CONF_TRUE(conf, encode(conf, &first, memory + 1, 2) == CUDA_ERROR_INVALID_VALUE);
    CONF_TRUE(conf, encode(conf, &first, memory, 0) == CUDA_ERROR_INVALID_VALUE);
    CONF_TRUE(conf, encode(conf, &first, memory, 6) == CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuMemFree(memory));
    return CONF_PASS;
}

/* It goes with its last user. */
static enum conf_result old_contexts(struct conf *conf)
{
    CUcontext before, second, same, now;

    CONF_CALL(conf, cuCtxGetCurrent(&before));
    CONF_CALL(conf, cuCtxCreate_v2(&second, 0, 0));
    CONF_CALL(conf, cuCtxAttach(&same, 0));
    CONF_TRUE(conf, same == second);
    CONF_CALL(conf, cuCtxDetach(second));
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuCtxDetach(second));
    CONF_CALL(conf, cuCtxGetCurrent(&now));
    CONF_TRUE(conf, now == before);
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"harmless attributes", harmless, false},
    {"cooperative", cooperative, false},
    {"programmatic stream serialization", serialization, false},
    {"unknown attribute", unknown_attribute, false},
    {"clusters", clusters, false},
    {"cluster of one", cluster_of_one, false},
    {"bad clusters", bad_clusters, false},
    {"occupancy of clusters", cluster_occupancy, false},
    {"attributes of streams", stream_attributes, false},
    {"attributes of graph nodes", graph_attributes, false},
    {"contexts of old", old_contexts, false},
    {"launches of old", old_calls, false},
    {"launches of old that are refused", old_calls_refused, false},
    {"single writes", write_values, false},
    {"maps of tensors", tensor_maps, false},
};

void conf_launch_cases(conf_visit visit, void *context)
{
    conf_visit_cases("launch", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
