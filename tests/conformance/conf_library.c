/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API around libraries and kernels, which belong to no context. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

/* Writes counter[0] + 1 to its output and to the counter. */
static const char counting_ptx[] = CONF_HEADER
    ".visible .global .align 4 .u32 counter = 40;\n" CONF_ENTRY
    ".shared .align 4 .b8 fixed[64];\nmov.u32 %r0, fixed;\nst.shared.u32 [%r0], 1;\n"
    "ld.global.u32 %r1, [counter];\nadd.u32 %r1, %r1, 1;\nst.global.u32 [counter], %r1;\n"
    "st.global.u32 [%out], %r1;\nret;\n}\n"
    ".visible .entry other()\n{\nret;\n}\n";

struct counting {
    CUlibrary library;
    CUkernel kernel;
};

static enum conf_result load_counting(struct conf *conf, struct counting *counting)
{
    CONF_CALL(conf,
              cuLibraryLoadData(&counting->library, counting_ptx, NULL, NULL, 0, NULL, NULL, 0));
    CONF_CALL(conf, cuLibraryGetKernel(&counting->kernel, counting->library, "k"));
    return CONF_PASS;
}

/* Launches in the current context. */
static enum conf_result count(struct conf *conf, CUfunction function, uint32_t *ret_value)
{
    CUdeviceptr device;
    void *args[] = {&device, &device};

    CONF_CALL(conf, cuMemAlloc(&device, 4));
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(ret_value, device, 4));
    CONF_CALL(conf, cuMemFree(device));
    return CONF_PASS;
}

/* A kernel is launched as a function is, and is the same state as the function behind it. */
static enum conf_result launch_kernel(struct conf *conf)
{
    struct counting counting;
    CUfunction function;
    uint32_t value;

    CONF_TRY(load_counting(conf, &counting));
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &value));
    CONF_TRUE(conf, value == 41);
    CONF_CALL(conf, cuKernelGetFunction(&function, counting.kernel));
    CONF_TRY(count(conf, function, &value));
    CONF_TRUE(conf, value == 42);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

static enum conf_result kernel_queries(struct conf *conf)
{
    struct counting counting;
    CUlibrary library = NULL;
    CUkernel again = NULL, other = NULL;
    const char *name = NULL;
    size_t offset = 99, bytes = 99;
    int value = -1;

    CONF_TRY(load_counting(conf, &counting));
    CONF_CALL(conf, cuLibraryGetKernel(&again, counting.library, "k"));
    CONF_TRUE(conf, again == counting.kernel);
    CONF_CALL(conf, cuLibraryGetKernel(&other, counting.library, "other"));
    CONF_TRUE(conf, other != counting.kernel);
    CONF_EXPECT(conf, cuLibraryGetKernel(&other, counting.library, "absent"), CUDA_ERROR_NOT_FOUND);
    CONF_CALL(conf, cuKernelGetLibrary(&library, counting.kernel));
    CONF_TRUE(conf, library == counting.library);
    CONF_CALL(conf, cuKernelGetName(&name, counting.kernel));
    CONF_TRUE(conf, strcmp(name, "k") == 0);
    CONF_CALL(conf, cuKernelGetParamInfo(counting.kernel, 1, &offset, &bytes));
    CONF_TRUE(conf, offset == 8 && bytes == 8);
    CONF_CALL(conf, cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
                                         counting.kernel, 0));
    CONF_TRUE(conf, value >= 64 && value < 4096);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* What launches, and what tells of launches, takes a kernel in place of a function. */
static enum conf_result kernel_as_function(struct conf *conf)
{
    struct counting counting;
    CUfunction kernel;
    CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, NULL, NULL, 0};
    CUdeviceptr device;
    void *args[] = {&device, &device};
    uint32_t value = 0;
    size_t bytes = 0;
    int blocks = 0, grid = 0;

    CONF_TRY(load_counting(conf, &counting));
    kernel = (CUfunction)counting.kernel;
    CONF_CALL(conf, cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, 32, 0));
    CONF_TRUE(conf, blocks >= 1);
    CONF_CALL(conf, cuOccupancyMaxPotentialBlockSize(&grid, &blocks, kernel, NULL, 0, 0));
    CONF_TRUE(conf, grid >= 1 && blocks >= 1);
    CONF_CALL(conf, cuOccupancyAvailableDynamicSMemPerBlock(&bytes, kernel, 1, 32));
    CONF_TRUE(conf, bytes > 0);
    CONF_CALL(conf, cuMemAlloc(&device, 4));
    CONF_CALL(conf, cuLaunchCooperativeKernel(kernel, 1, 1, 1, 1, 1, 1, 0, NULL, args));
    CONF_CALL(conf, cuLaunchKernelEx(&config, kernel, args, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(&value, device, 4));
    CONF_TRUE(conf, value == 42);
    CONF_CALL(conf, cuMemFree(device));
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* cuFunc* and a node's `func` do not, whether the kernel was launched before or not. */
static enum conf_result refuse_kernel(struct conf *conf, CUfunction kernel)
{
    const CUfunction_attribute dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    CUfunctionLoadingState state;
    const char *name;
    CUmodule module;
    size_t offset, bytes;
    int value = -7;

    CONF_EXPECT(conf, cuFuncGetAttribute(&value, dynamic, kernel), CUDA_ERROR_INVALID_HANDLE);
    CONF_TRUE(conf, value == -7);
    CONF_EXPECT(conf, cuFuncSetAttribute(kernel, dynamic, 50000), CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncSetCacheConfig(kernel, CU_FUNC_CACHE_PREFER_SHARED),
                CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncGetName(&name, kernel), CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncGetModule(&module, kernel), CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncGetParamInfo(kernel, 0, &offset, &bytes), CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncIsLoaded(&state, kernel), CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncLoad(kernel), CUDA_ERROR_INVALID_HANDLE);
    return CONF_PASS;
}

static enum conf_result kernel_is_no_function(struct conf *conf)
{
    struct counting counting;
    CUfunction kernel, function;
    uint32_t counted;
    int value = -7;

    CONF_TRY(load_counting(conf, &counting));
    kernel = (CUfunction)counting.kernel;
    CONF_TRY(refuse_kernel(conf, kernel));
    CONF_TRY(count(conf, kernel, &counted));
    CONF_TRY(refuse_kernel(conf, kernel));
    CONF_CALL(conf, cuKernelGetFunction(&function, counting.kernel));
    CONF_TRUE(conf, function != kernel);
    CONF_CALL(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function));
    CONF_TRUE(conf, value >= 64 && value < 4096);
    CONF_EXPECT(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, NULL),
                CUDA_ERROR_INVALID_HANDLE);
    CONF_EXPECT(conf, cuFuncGetAttribute(&value, (CUfunction_attribute)99, function),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* Of a node's parameters `kern` names a kernel, and `func` a function. */
static enum conf_result kernel_in_graph(struct conf *conf)
{
    struct counting counting;
    CUDA_KERNEL_NODE_PARAMS params = {.gridDimX = 1,
                                      .gridDimY = 1,
                                      .gridDimZ = 1,
                                      .blockDimX = 1,
                                      .blockDimY = 1,
                                      .blockDimZ = 1};
    CUdeviceptr device;
    void *args[] = {&device, &device};
    CUgraph graph;
    CUgraphExec exec;
    CUgraphNode node;
    CUstream stream;
    uint32_t value = 0;

    CONF_TRY(load_counting(conf, &counting));
    CONF_CALL(conf, cuMemAlloc(&device, 4));
    CONF_CALL(conf, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CONF_CALL(conf, cuGraphCreate(&graph, 0));
    params.kernelParams = args;
    params.func = (CUfunction)counting.kernel;
    CONF_EXPECT(conf, cuGraphAddKernelNode(&node, graph, NULL, 0, &params),
                CUDA_ERROR_INVALID_HANDLE);
    params.func = NULL;
    params.kern = counting.kernel;
    CONF_CALL(conf, cuGraphAddKernelNode(&node, graph, NULL, 0, &params));
    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, graph, 0));
    CONF_CALL(conf, cuGraphLaunch(exec, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    CONF_CALL(conf, cuGraphDestroy(graph));
    /* Captured, it is a launch. */
    CONF_CALL(conf, cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CONF_CALL(conf,
              cuLaunchKernel((CUfunction)counting.kernel, 1, 1, 1, 1, 1, 1, 0, stream, args, NULL));
    CONF_CALL(conf, cuStreamEndCapture(stream, &graph));
    CONF_CALL(conf, cuGraphInstantiateWithFlags(&exec, graph, 0));
    CONF_CALL(conf, cuGraphLaunch(exec, stream));
    CONF_CALL(conf, cuStreamSynchronize(stream));
    CONF_CALL(conf, cuMemcpyDtoH(&value, device, 4));
    CONF_TRUE(conf, value == 42);
    CONF_CALL(conf, cuGraphExecDestroy(exec));
    CONF_CALL(conf, cuGraphDestroy(graph));
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_CALL(conf, cuMemFree(device));
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* Each context has the library's variables for itself. */
static enum conf_result two_contexts(struct conf *conf)
{
    struct counting counting;
    CUdeviceptr first_counter, second_counter;
    CUcontext second;
    size_t bytes = 0;
    uint32_t value;

    CONF_TRY(load_counting(conf, &counting));
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &value));
    CONF_TRUE(conf, value == 41);
    CONF_CALL(conf, cuLibraryGetGlobal(&first_counter, &bytes, counting.library, "counter"));
    CONF_TRUE(conf, bytes == 4);
    CONF_CALL(conf, cuCtxCreate_v2(&second, 0, 0));
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &value));
    CONF_TRUE(conf, value == 41);
    CONF_CALL(conf, cuLibraryGetGlobal(&second_counter, NULL, counting.library, "counter"));
    CONF_TRUE(conf, second_counter != first_counter);
    CONF_CALL(conf, cuCtxDestroy(second));
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &value));
    CONF_TRUE(conf, value == 42);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* What is set of a kernel holds in every context of the device, whenever it is used there. */
static enum conf_result kernel_attributes(struct conf *conf)
{
    const CUfunction_attribute dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    struct counting counting;
    CUcontext second;
    CUfunction function;
    int value = 0;

    CONF_TRY(load_counting(conf, &counting));
    CONF_CALL(conf, cuKernelSetAttribute(dynamic, 60000, counting.kernel, 0));
    CONF_CALL(conf, cuKernelGetAttribute(&value, dynamic, counting.kernel, 0));
    CONF_TRUE(conf, value == 60000);
    CONF_EXPECT(conf, cuKernelSetAttribute(dynamic, 100 << 20, counting.kernel, 0),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuKernelSetCacheConfig(counting.kernel, CU_FUNC_CACHE_PREFER_L1, 0));
    /* What is set of the function itself goes before it. */
    CONF_CALL(conf, cuKernelGetFunction(&function, counting.kernel));
    CONF_CALL(conf, cuKernelSetAttribute(dynamic, 60000, counting.kernel, 0));
    CONF_CALL(conf, cuFuncSetAttribute(function, dynamic, 50000));
    CONF_CALL(conf, cuKernelGetFunction(&function, counting.kernel));
    CONF_CALL(conf, cuFuncGetAttribute(&value, dynamic, function));
    CONF_TRUE(conf, value == 50000);
    CONF_CALL(conf, cuCtxCreate_v2(&second, 0, 0));
    value = 0;
    CONF_CALL(conf, cuKernelGetFunction(&function, counting.kernel));
    CONF_CALL(conf, cuFuncGetAttribute(&value, dynamic, function));
    CONF_TRUE(conf, value == 60000);
    CONF_CALL(conf, cuCtxDestroy(second));
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* Loading and finding need no context; using does. */
static enum conf_result without_context(struct conf *conf)
{
    struct counting counting;
    CUcontext context, now = NULL;
    CUfunction function;
    int value = -1;
    uint32_t counted;

    CONF_CALL(conf, cuCtxPopCurrent(&context));
    CONF_TRY(load_counting(conf, &counting));
    CONF_CALL(conf, cuKernelGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
                                         counting.kernel, 0));
    CONF_TRUE(conf, value >= 64);
    CONF_EXPECT(conf, cuKernelGetFunction(&function, counting.kernel), CUDA_ERROR_INVALID_CONTEXT);
    CONF_CALL(conf, cuCtxGetCurrent(&now));
    CONF_TRUE(conf, !now);
    CONF_CALL(conf, cuCtxPushCurrent(context));
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &counted));
    CONF_TRUE(conf, counted == 41);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

/* A driver may tell of a bad image at once, or when its first kernel is asked for. */
static enum conf_result bad_images(struct conf *conf)
{
    CUlibrary library = NULL;
    CUkernel kernel;
    char log[512] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    CUresult result =
        conf->cu->cuLibraryLoadData(&library, CONF_HEADER ".entry k() { frobnicate.u32 %r0; }",
                                    options, values, 2, NULL, NULL, 0);

    if (result == CUDA_SUCCESS)
        result = conf->cu->cuLibraryGetKernel(&kernel, library, "k");
    CONF_TRUE(conf, result == CUDA_ERROR_INVALID_PTX);
    CONF_EXPECT(conf, cuLibraryLoadData(&library, NULL, NULL, NULL, 0, NULL, NULL, 0),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf,
                cuLibraryLoadFromFile(&library, "/nonexistent.ptx", NULL, NULL, 0, NULL, NULL, 0),
                CUDA_ERROR_FILE_NOT_FOUND);
    return CONF_PASS;
}

/* The caller's bytes may change after the load, as its file may be gone. */
static enum conf_result copied_image(struct conf *conf)
{
    char path[] = "/tmp/conf-library-XXXXXX";
    char *image = malloc(sizeof(counting_ptx));
    struct counting counting;
    CUcontext second;
    uint32_t value;
    int fd = mkstemp(path);

    CONF_TRUE(conf, image && fd >= 0);
    CONF_TRUE(conf, write(fd, counting_ptx, sizeof(counting_ptx) - 1) ==
                        (ssize_t)sizeof(counting_ptx) - 1);
    close(fd);
    CONF_CALL(conf, cuLibraryLoadFromFile(&counting.library, path, NULL, NULL, 0, NULL, NULL, 0));
    unlink(path);
    CONF_CALL(conf, cuLibraryGetKernel(&counting.kernel, counting.library, "k"));
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    memcpy(image, counting_ptx, sizeof(counting_ptx));
    CONF_CALL(conf, cuLibraryLoadData(&counting.library, image, NULL, NULL, 0, NULL, NULL, 0));
    memset(image, 'x', sizeof(counting_ptx) - 1);
    free(image);
    CONF_CALL(conf, cuLibraryGetKernel(&counting.kernel, counting.library, "k"));
    CONF_CALL(conf, cuCtxCreate_v2(&second, 0, 0));
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &value));
    CONF_TRUE(conf, value == 41);
    CONF_CALL(conf, cuCtxDestroy(second));
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

static enum conf_result module_of_library(struct conf *conf)
{
    struct counting counting;
    CUmodule module, again;
    CUfunction function;
    uint32_t value;

    CONF_TRY(load_counting(conf, &counting));
    CONF_CALL(conf, cuLibraryGetModule(&module, counting.library));
    CONF_CALL(conf, cuLibraryGetModule(&again, counting.library));
    CONF_TRUE(conf, module == again);
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_TRY(count(conf, function, &value));
    CONF_TRUE(conf, value == 41);
    CONF_TRY(count(conf, (CUfunction)counting.kernel, &value));
    CONF_TRUE(conf, value == 42);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

static enum conf_result enumeration(struct conf *conf)
{
    struct counting counting;
    CUfunctionLoadingState state = CU_FUNCTION_LOADING_STATE_UNLOADED;
    CUkernel kernels[2] = {NULL, NULL};
    CUfunction functions[2] = {NULL, NULL}, function;
    CUmodule module;
    unsigned count = 0;

    CONF_TRY(load_counting(conf, &counting));
    CONF_CALL(conf, cuLibraryGetKernelCount(&count, counting.library));
    CONF_TRUE(conf, count == 2);
    CONF_CALL(conf, cuLibraryEnumerateKernels(kernels, 2, counting.library));
    CONF_TRUE(conf, kernels[0] != kernels[1]);
    CONF_TRUE(conf, kernels[0] == counting.kernel || kernels[1] == counting.kernel);
    CONF_CALL(conf, cuLibraryGetModule(&module, counting.library));
    CONF_CALL(conf, cuModuleGetFunctionCount(&count, module));
    CONF_TRUE(conf, count == 2);
    CONF_CALL(conf, cuModuleEnumerateFunctions(functions, 2, module));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_TRUE(conf, functions[0] != functions[1]);
    CONF_TRUE(conf, functions[0] == function || functions[1] == function);
    CONF_CALL(conf, cuFuncLoad(function));
    CONF_CALL(conf, cuFuncIsLoaded(&state, function));
    CONF_TRUE(conf, state == CU_FUNCTION_LOADING_STATE_LOADED);
    CONF_CALL(conf, cuLibraryUnload(counting.library));
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"launch a kernel", launch_kernel, false},
    {"kernel queries", kernel_queries, false},
    {"kernels as functions", kernel_as_function, false},
    {"kernels are no functions", kernel_is_no_function, false},
    {"kernels in graphs", kernel_in_graph, false},
    {"two contexts", two_contexts, false},
    {"kernel attributes", kernel_attributes, false},
    {"without a context", without_context, false},
    {"bad images", bad_images, false},
    {"image is copied", copied_image, false},
    {"enumeration", enumeration, false},
    {"module of a library", module_of_library, false},
};

void conf_library_cases(conf_visit visit, void *context)
{
    conf_visit_cases("library", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
