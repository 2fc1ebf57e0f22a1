/* SPDX-License-Identifier: Apache-2.0 */
/* The driver API around modules, functions, devices, contexts and errors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"

static const char plain_ptx[] = CONF_HEADER
    ".visible .global .align 4 .u32 counter[3] = {7, 8, 9};\n.visible .const .u32 limit = "
    "5;\n" CONF_ENTRY
    ".shared .align 4 .b8 fixed[1000];\nmov.u32 %r0, fixed;\nst.shared.u32 [%r0], 1;\n"
    "ld.global.u32 %r1, [counter+4];\nld.const.u32 %r2, [limit];\nadd.u32 %r1, %r1, %r2;\n"
    "st.global.u32 [%out], %r1;\nret;\n}\n";

struct plain {
    CUmodule module;
    CUfunction function;
};

static enum conf_result load_plain(struct conf *conf, struct plain *plain)
{
    CONF_TRY(conf_load(conf, plain_ptx, &plain->module));
    CONF_CALL(conf, cuModuleGetFunction(&plain->function, plain->module, "k"));
    return CONF_PASS;
}

static enum conf_result globals(struct conf *conf)
{
    uint32_t words[3], limit = 100, out;
    CUdeviceptr counter, constant, device;
    size_t bytes;
    struct plain plain;
    void *args[] = {&device, &device};

    CONF_TRY(load_plain(conf, &plain));
    CONF_CALL(conf, cuModuleGetGlobal(&counter, &bytes, plain.module, "counter"));
    CONF_TRUE(conf, bytes == 12);
    CONF_CALL(conf, cuMemcpyDtoH(words, counter, 12));
    CONF_TRUE(conf, words[0] == 7 && words[1] == 8 && words[2] == 9);
    words[1] = 1000;
    CONF_CALL(conf, cuMemcpyHtoD(counter, words, 12));
    CONF_CALL(conf, cuModuleGetGlobal(&constant, &bytes, plain.module, "limit"));
    CONF_TRUE(conf, bytes == 4);
    CONF_CALL(conf, cuMemcpyHtoD(constant, &limit, 4));
    CONF_CALL(conf, cuModuleGetGlobal(NULL, &bytes, plain.module, "limit"));
    CONF_EXPECT(conf, cuModuleGetGlobal(&counter, &bytes, plain.module, "absent"),
                CUDA_ERROR_NOT_FOUND);
    CONF_CALL(conf, cuMemAlloc(&device, 4));
    CONF_CALL(conf, cuLaunchKernel(plain.function, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(&out, device, 4));
    CONF_TRUE(conf, out == 1100);
    CONF_CALL(conf, cuMemFree(device));
    CONF_CALL(conf, cuModuleUnload(plain.module));
    return CONF_PASS;
}

/* Two modules from one image have variables of their own. */
static enum conf_result two_modules(struct conf *conf)
{
    struct plain first, second;
    CUdeviceptr a, b;

    CONF_TRY(load_plain(conf, &first));
    CONF_TRY(load_plain(conf, &second));
    CONF_CALL(conf, cuModuleGetGlobal(&a, NULL, first.module, "counter"));
    CONF_CALL(conf, cuModuleGetGlobal(&b, NULL, second.module, "counter"));
    CONF_TRUE(conf, a != b);
    CONF_TRUE(conf, first.module != second.module);
    CONF_CALL(conf, cuModuleUnload(first.module));
    CONF_CALL(conf, cuModuleUnload(second.module));
    return CONF_PASS;
}

static enum conf_result bad_images(struct conf *conf)
{
    CUmodule module;
    CUfunction function;
    struct plain plain;
    char log[512] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    CUresult result;

    CONF_EXPECT(conf,
                cuModuleLoadDataEx(&module, CONF_HEADER ".entry k() { frobnicate.u32 %r0; }", 2,
                                   options, values),
                CUDA_ERROR_INVALID_PTX);
    CONF_TRUE(conf, log[0] != '\0');
    result = conf->cu->cuModuleLoadData(&module, "this is no image");
    CONF_TRUE(conf, result == CUDA_ERROR_INVALID_IMAGE || result == CUDA_ERROR_INVALID_PTX);
    CONF_EXPECT(conf, cuModuleLoad(&module, "/nonexistent.ptx"), CUDA_ERROR_FILE_NOT_FOUND);
    CONF_TRY(load_plain(conf, &plain));
    CONF_EXPECT(conf, cuModuleGetFunction(&function, plain.module, "absent"), CUDA_ERROR_NOT_FOUND);
    CONF_CALL(conf, cuModuleUnload(plain.module));
    return CONF_PASS;
}

static enum conf_result function_attributes(struct conf *conf)
{
    struct plain plain;
    int value;

    CONF_TRY(load_plain(conf, &plain));
    CONF_CALL(conf,
              cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, plain.function));
    CONF_TRUE(conf, value >= 1000 && value < 4096);
    CONF_CALL(conf,
              cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, plain.function));
    CONF_TRUE(conf, value >= 32 && value <= 1024);
    CONF_CALL(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, plain.function));
    CONF_TRUE(conf, value > 0 && value <= 255);
    CONF_CALL(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, plain.function));
    CONF_TRUE(conf, value >= 0);
    CONF_CALL(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, plain.function));
    CONF_TRUE(conf, value == 70);
    CONF_CALL(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                       plain.function));
    CONF_TRUE(conf, value >= 0 && value <= 49152);
    CONF_CALL(conf, cuFuncSetAttribute(plain.function,
                                       CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 60000));
    CONF_CALL(conf, cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                       plain.function));
    CONF_TRUE(conf, value == 60000);
    CONF_EXPECT(conf,
                cuFuncSetAttribute(plain.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                   100 << 20),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuModuleUnload(plain.module));
    return CONF_PASS;
}

static enum conf_result parameter_info(struct conf *conf)
{
    struct plain plain;
    size_t offset = 99, bytes = 99;

    CONF_TRY(load_plain(conf, &plain));
    CONF_CALL(conf, cuFuncGetParamInfo(plain.function, 1, &offset, &bytes));
    CONF_TRUE(conf, offset == 8 && bytes == 8);
    CONF_EXPECT(conf, cuFuncGetParamInfo(plain.function, 2, &offset, &bytes),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuModuleUnload(plain.module));
    return CONF_PASS;
}

static enum conf_result occupancy(struct conf *conf)
{
    struct plain plain;
    int small, large, with_shared, grid, block;

    CONF_TRY(load_plain(conf, &plain));
    CONF_CALL(conf, cuOccupancyMaxActiveBlocksPerMultiprocessor(&small, plain.function, 32, 0));
    CONF_CALL(conf, cuOccupancyMaxActiveBlocksPerMultiprocessor(&large, plain.function, 1024, 0));
    CONF_CALL(conf,
              cuOccupancyMaxActiveBlocksPerMultiprocessor(&with_shared, plain.function, 32, 40000));
    CONF_TRUE(conf, small >= large && large >= 1 && small <= 64);
    CONF_TRUE(conf, with_shared >= 1 && with_shared <= small);
    CONF_CALL(conf, cuOccupancyMaxPotentialBlockSize(&grid, &block, plain.function, NULL, 0, 0));
    CONF_TRUE(conf, grid >= 1 && block >= 32 && block <= 1024 && block % 32 == 0);
    CONF_EXPECT(conf, cuOccupancyMaxActiveBlocksPerMultiprocessor(NULL, plain.function, 32, 0),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuModuleUnload(plain.module));
    return CONF_PASS;
}

static enum conf_result bad_launches(struct conf *conf)
{
    struct plain plain;
    CUdeviceptr out = 0;
    void *args[] = {&out, &out};

    CONF_TRY(load_plain(conf, &plain));
    CONF_EXPECT(conf, cuLaunchKernel(plain.function, 0, 1, 1, 1, 1, 1, 0, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuLaunchKernel(plain.function, 1, 1, 1, 0, 1, 1, 0, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuLaunchKernel(plain.function, 1, 1, 1, 1025, 1, 1, 0, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuLaunchKernel(plain.function, 1, 1, 1, 1, 1, 65, 0, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuLaunchKernel(plain.function, 1, 65536, 1, 1, 1, 1, 0, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_EXPECT(conf, cuLaunchKernel(plain.function, 1, 1, 1, 1, 1, 1, 10 << 20, NULL, args, NULL),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuCtxSynchronize());
    CONF_CALL(conf, cuModuleUnload(plain.module));
    return CONF_PASS;
}

/* A function that is declared in one input and defined in another. */
static const char caller_ptx[] = CONF_HEADER
    ".extern .func (.param .b32 r) elsewhere(.param .b32 x);\n" CONF_ENTRY
    "{\n.param .b32 x;\n.param .b32 r;\nst.param.b32 [x], 20;\ncall (r), elsewhere, (x);\n"
    "ld.param.b32 %r0, [r];\n}\nst.global.u32 [%out], %r0;\nret;\n}\n";
static const char callee_ptx[] =
    CONF_HEADER ".visible .func (.param .b32 r) elsewhere(.param .b32 x)\n{\n.reg .b32 %a;\n"
                "ld.param.b32 %a, [x];\nadd.u32 %a, %a, 22;\nst.param.b32 [r], %a;\nret;\n}\n";

static enum conf_result link_two(struct conf *conf, void **ret_image, size_t *ret_bytes,
                                 CUlinkState *ret_state)
{
    char caller[sizeof(caller_ptx)], callee[sizeof(callee_ptx)];

    memcpy(caller, caller_ptx, sizeof(caller));
    memcpy(callee, callee_ptx, sizeof(callee));
    CONF_CALL(conf, cuLinkCreate(0, NULL, NULL, ret_state));
    CONF_CALL(conf, cuLinkAddData(*ret_state, CU_JIT_INPUT_PTX, caller, sizeof(caller), "caller", 0,
                                  NULL, NULL));
    CONF_CALL(conf, cuLinkAddData(*ret_state, CU_JIT_INPUT_PTX, callee, sizeof(callee), "callee", 0,
                                  NULL, NULL));
    CONF_CALL(conf, cuLinkComplete(*ret_state, ret_image, ret_bytes));
    CONF_TRUE(conf, *ret_bytes > 0);
    return CONF_PASS;
}

/* The linked image is copied, as numba does, and loaded after the link state is gone. */
static enum conf_result linking(struct conf *conf)
{
    _cleanup_free_ void *copy = NULL;
    void *image;
    size_t bytes;
    CUlinkState state;
    CUmodule module;
    CUfunction function;
    CUdeviceptr device;
    uint32_t out;
    void *args[] = {&device, &device};

    CONF_TRY(link_two(conf, &image, &bytes, &state));
    copy = malloc(bytes);
    CONF_TRUE(conf, copy);
    memcpy(copy, image, bytes);
    CONF_CALL(conf, cuLinkDestroy(state));
    CONF_CALL(conf, cuModuleLoadData(&module, copy));
    CONF_CALL(conf, cuModuleGetFunction(&function, module, "k"));
    CONF_CALL(conf, cuMemAlloc(&device, 4));
    CONF_CALL(conf, cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
    CONF_CALL(conf, cuMemcpyDtoH(&out, device, 4));
    CONF_TRUE(conf, out == 42);
    CONF_CALL(conf, cuMemFree(device));
    CONF_CALL(conf, cuModuleUnload(module));
    return CONF_PASS;
}

static enum conf_result error_strings(struct conf *conf)
{
    const char *name = NULL, *text = NULL;

    CONF_CALL(conf, cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &name));
    CONF_TRUE(conf, strcmp(name, "CUDA_ERROR_OUT_OF_MEMORY") == 0);
    CONF_CALL(conf, cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
    CONF_TRUE(conf, strcmp(text, "out of memory") == 0);
    CONF_CALL(conf, cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    CONF_TRUE(conf, strcmp(text, "an illegal memory access was encountered") == 0);
    CONF_CALL(conf, cuGetErrorName(CUDA_SUCCESS, &name));
    CONF_TRUE(conf, strcmp(name, "CUDA_SUCCESS") == 0);
    CONF_EXPECT(conf, cuGetErrorString((CUresult)12345, &text), CUDA_ERROR_INVALID_VALUE);
    CONF_TRUE(conf, !text);
    return CONF_PASS;
}

static enum conf_result device_queries(struct conf *conf)
{
    CUdevice device;
    size_t total, free_bytes, total_bytes;
    char name[128] = "";
    int count, value, version;

    CONF_CALL(conf, cuDeviceGetCount(&count));
    CONF_TRUE(conf, count >= 1);
    CONF_CALL(conf, cuDeviceGet(&device, 0));
    CONF_EXPECT(conf, cuDeviceGet(&device, count), CUDA_ERROR_INVALID_DEVICE);
    CONF_EXPECT(conf, cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
    CONF_CALL(conf, cuDeviceGetName(name, sizeof(name), 0));
    CONF_TRUE(conf, strlen(name) > 0);
    CONF_CALL(conf, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0));
    CONF_TRUE(conf, value == 32);
    CONF_CALL(conf, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 0));
    CONF_TRUE(conf, value == 1024);
    CONF_CALL(conf, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    CONF_TRUE(conf, value >= 1);
    CONF_EXPECT(conf, cuDeviceGetAttribute(&value, (CUdevice_attribute)100000, 0),
                CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuDeviceTotalMem(&total, 0));
    CONF_CALL(conf, cuMemGetInfo(&free_bytes, &total_bytes));
    CONF_TRUE(conf, free_bytes <= total_bytes && total_bytes <= total);
    CONF_CALL(conf, cuDriverGetVersion(&version));
    CONF_TRUE(conf, version >= 11000);
    return CONF_PASS;
}

static enum conf_result contexts(struct conf *conf)
{
    CUcontext first, second, now;
    unsigned int flags;
    CUdevice device = -1;
    int active;

    CONF_CALL(conf, cuCtxGetCurrent(&first));
    CONF_CALL(conf, cuDevicePrimaryCtxGetState(0, &flags, &active));
    CONF_TRUE(conf, active == 1);
    CONF_CALL(conf, cuCtxCreate_v2(&second, 0, 0));
    CONF_CALL(conf, cuCtxGetCurrent(&now));
    CONF_TRUE(conf, now == second && second != first);
    CONF_CALL(conf, cuCtxGetDevice(&device));
    CONF_TRUE(conf, device == 0);
    CONF_CALL(conf, cuCtxPopCurrent(&now));
    CONF_TRUE(conf, now == second);
    CONF_CALL(conf, cuCtxGetCurrent(&now));
    CONF_TRUE(conf, now == first);
    CONF_CALL(conf, cuCtxPushCurrent(second));
    CONF_CALL(conf, cuCtxDestroy(second));
    CONF_CALL(conf, cuCtxSetCurrent(first));
    return CONF_PASS;
}

/* How the host waits may be changed in a context of one's own. */
static enum conf_result context_flags(struct conf *conf)
{
    CUcontext context;
    CUdevice device = -1;
    CUstream stream;
    unsigned flags = 0;

    CONF_CALL(conf, cuCtxCreate_v2(&context, CU_CTX_SCHED_SPIN, 0));
    CONF_CALL(conf, cuCtxSetFlags(CU_CTX_SCHED_BLOCKING_SYNC));
    CONF_CALL(conf, cuCtxGetFlags(&flags));
    CONF_TRUE(conf, (flags & CU_CTX_SCHED_MASK) == CU_CTX_SCHED_BLOCKING_SYNC);
    CONF_EXPECT(conf, cuCtxSetFlags(0x10000), CUDA_ERROR_INVALID_VALUE);
    CONF_CALL(conf, cuStreamCreate(&stream, 0));
    CONF_CALL(conf, cuStreamGetDevice(stream, &device));
    CONF_TRUE(conf, device == 0);
    CONF_CALL(conf, cuStreamDestroy(stream));
    CONF_CALL(conf, cuCtxResetPersistingL2Cache());
    CONF_CALL(conf, cuCtxDestroy(context));
    return CONF_PASS;
}

static enum conf_result limits(struct conf *conf)
{
    size_t stack = 0, value = 0;

    CONF_CALL(conf, cuCtxGetLimit(&stack, CU_LIMIT_STACK_SIZE));
    CONF_TRUE(conf, stack >= 512);
    CONF_CALL(conf, cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 8192));
    CONF_CALL(conf, cuCtxGetLimit(&value, CU_LIMIT_STACK_SIZE));
    CONF_TRUE(conf, value >= 8192);
    CONF_CALL(conf, cuCtxSetLimit(CU_LIMIT_STACK_SIZE, stack));
    CONF_TRUE(conf, conf->cu->cuCtxGetLimit(&value, (CUlimit)99) != CUDA_SUCCESS);
    return CONF_PASS;
}

static enum conf_result proc_address(struct conf *conf)
{
    CUdriverProcAddressQueryResult status;
    void *function = NULL;

    CONF_CALL(conf, cuGetProcAddress("cuMemAlloc", &function, 12000, 0, &status));
    CONF_TRUE(conf, function && status == CU_GET_PROC_ADDRESS_SUCCESS);
    CONF_CALL(conf, cuGetProcAddress("cuNoSuchCall", &function, 12000, 0, &status));
    CONF_TRUE(conf, !function && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    return CONF_PASS;
}

static const struct conf_case cases[] = {
    {"globals and constants", globals, false},
    {"two modules of one image", two_modules, false},
    {"bad images and names", bad_images, false},
    {"function attributes", function_attributes, false},
    {"function parameters", parameter_info, false},
    {"occupancy", occupancy, false},
    {"bad launch shapes", bad_launches, false},
    {"linking", linking, false},
    {"error names and texts", error_strings, false},
    {"device queries", device_queries, false},
    {"contexts", contexts, false},
    {"context flags", context_flags, false},
    {"limits", limits, false},
    {"cuGetProcAddress", proc_address, false},
};

void conf_module_cases(conf_visit visit, void *context)
{
    conf_visit_cases("module", cases, VGPU_ARRAY_SIZE(cases), visit, context);
}
