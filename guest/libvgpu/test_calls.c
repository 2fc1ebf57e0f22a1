/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu: handles, errors at once, launches, modules, memory, against a fake host. */
#include "guest/libvgpu/test_host.h"

#include "guest/libvgpu/copy.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static void test_init_before_connect_has_no_context(void **state)
{
    struct fake_host host = {0};
    CUdeviceptr pointer;

    assert_int_equal(cuMemAlloc_v2(&pointer, 4), CUDA_ERROR_NOT_INITIALIZED);
    begin(&host, NULL);
    assert_int_equal(cuMemAlloc_v2(NULL, 0), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuInit(1), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_device_comes_from_the_snapshot(void **state)
{
    struct fake_host host = {0};
    char name[8];
    int value;
    size_t bytes;

    begin(&host, NULL);
    assert_ok(cuDeviceGetName(name, sizeof(name), 0));
    assert_string_equal(name, "fake");
    assert_ok(cuDeviceTotalMem_v2(&bytes, 0));
    assert_int_equal(bytes, FAKE_DEVICE_BYTES);
    assert_ok(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    assert_int_equal(value, 9);
    /* What this library does not carry is not claimed. */
    assert_ok(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 0));
    assert_int_equal(value, 0);
    assert_int_equal(cuDeviceGetAttribute(&value, (CUdevice_attribute)148, 0),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuDeviceGet(&value, 1), CUDA_ERROR_INVALID_DEVICE);
    assert_ok(cuDeviceGetByPCIBusId(&value, "3b:00.0"));
    assert_int_equal(cuDeviceGetByPCIBusId(&value, "3c:00.0"), CUDA_ERROR_INVALID_DEVICE);
    assert_ok(cuDriverGetVersion(&value));
    assert_int_equal(value, 12040);
    assert_int_equal(fake_count_op(&host, CUDA_OP_DEVICE_INFO), 1);
    end(&host);
}

static void test_handle_stale_is_refused_at_once(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUstream first, second;
    unsigned flags;

    begin(&host, &context);
    assert_ok(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
    assert_ok(cuStreamGetFlags(first, &flags));
    assert_int_equal(flags, CU_STREAM_NON_BLOCKING);
    assert_ok(cuStreamDestroy_v2(first));
    assert_ok(cuStreamCreate(&second, 0));
    assert_ptr_not_equal(first, second);
    assert_int_equal(cuStreamSynchronize(first), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamDestroy_v2(first), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamSynchronize((CUstream)(uintptr_t)0xdeadbeefcafeull),
                     CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventQuery((CUevent)second), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(fake_count_op(&host, CUDA_OP_STREAM_SYNC), 0);
    assert_ok(cuStreamSynchronize(second));
    end(&host);
}

static void test_handle_table_ends_at_its_maximum(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUstream stream;

    begin(&host, &context);
    for (int i = 0; i < CUDA_MAX_STREAMS; i++)
        assert_ok(cuStreamCreate(&stream, 0));
    assert_int_equal(cuStreamCreate(&stream, 0), CUDA_ERROR_OUT_OF_MEMORY);
    end(&host);
}

static void test_context_destroyed_takes_its_objects(void **state)
{
    struct fake_host host = {0};
    CUcontext context, other;
    CUstream stream;
    CUdeviceptr pointer;
    size_t bytes;

    begin(&host, &context);
    assert_ok(cuStreamCreate(&stream, 0));
    assert_ok(cuMemAlloc_v2(&pointer, 64));
    assert_ok(cuCtxDestroy_v2(context));
    assert_int_equal(cuCtxSetCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
    assert_ok(cuCtxCreate_v2(&other, 0, 0));
    assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuMemGetAddressRange_v2(&pointer, &bytes, pointer), CUDA_ERROR_NOT_FOUND);
    end(&host);
}

static void test_context_primary_is_counted(void **state)
{
    struct fake_host host = {0};
    CUcontext first, second, current;
    unsigned flags;
    int active;

    begin(&host, NULL);
    assert_int_equal(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
    assert_ok(cuDevicePrimaryCtxSetFlags_v2(0, CU_CTX_SCHED_YIELD));
    assert_ok(cuDevicePrimaryCtxRetain(&first, 0));
    assert_ok(cuDevicePrimaryCtxRetain(&second, 0));
    assert_ptr_equal(first, second);
    assert_int_equal(fake_count_op(&host, CUDA_OP_CONTEXT_RETAIN), 1);
    assert_ok(cuCtxPushCurrent_v2(first));
    assert_ok(cuDevicePrimaryCtxRelease_v2(0));
    assert_ok(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(active, 1);
    assert_int_equal(flags, CU_CTX_SCHED_YIELD);
    assert_ok(cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(fake_count_op(&host, CUDA_OP_CONTEXT_RELEASE), 1);
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    /* The same handle lives again, and a reset kills it until it is retained. */
    assert_ok(cuDevicePrimaryCtxRetain(&second, 0));
    assert_ptr_equal(first, second);
    assert_ok(cuCtxSynchronize());
    assert_ok(cuDevicePrimaryCtxReset_v2(0));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_ok(cuDevicePrimaryCtxRetain(&second, 0));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&host, CUDA_OP_CONTEXT_RETAIN), 2);
    assert_ok(cuCtxPopCurrent_v2(&current));
    assert_ptr_equal(current, first);
    assert_int_equal(cuCtxPopCurrent_v2(&current), CUDA_ERROR_INVALID_CONTEXT);
    end(&host);
}

static void test_launch_packs_its_parameters(void **state)
{
    struct fake_host host = {0};
    const struct cuda_op_launch *op = (const void *)host.last_launch;
    CUcontext context;
    uint64_t pointer;
    uint32_t count;

    begin(&host, &context);
    assert_ok(launch(load_function(), 3, 64));
    fake_await_op(&host, CUDA_OP_LAUNCH, 1);
    assert_int_equal(op->grid_x, 3);
    assert_int_equal(op->block_x, 64);
    assert_int_equal(op->params.size_bytes, 12);
    memcpy(&pointer, host.last_launch + op->params.offset, 8);
    memcpy(&count, host.last_launch + op->params.offset + 8, 4);
    assert_int_equal(pointer, FAKE_DEVICE_BASE);
    assert_int_equal(count, 7);
    assert_int_equal(op->head.flags, 0);
    assert_int_equal(op->head.context, (uint32_t)(uintptr_t)context);
    end(&host);
}

static void test_launch_wrong_shapes_are_told_at_once(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUfunction function;

    begin(&host, &context);
    function = load_function();
    assert_int_equal(launch(function, 0, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch(function, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch(function, 1, 1025), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch(function, 1, 513), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(function, 1, 65536, 1, 1, 1, 1, 0, NULL, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 49153, NULL, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch(NULL, 1, 1), CUDA_ERROR_INVALID_HANDLE);
    /* 9 blocks, and 2 fit on each of 4 processors. */
    assert_int_equal(cuLaunchCooperativeKernel(function, 9, 1, 1, 1, 1, 1, 0, NULL,
                                               (void *[]){&context, &context}),
                     CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    assert_int_equal(fake_count_op(&host, CUDA_OP_LAUNCH), 0);
    end(&host);
}

static void test_launch_extra_buffer_and_its_limit(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUfunction function;
    static uint8_t buffer[VGPU_LAUNCH_PARAM_BYTES + 1];
    size_t bytes = VGPU_LAUNCH_PARAM_BYTES;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    const struct cuda_op_launch *op = (const void *)host.last_launch;

    begin(&host, &context);
    function = load_function();
    assert_int_equal(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra),
                     CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    bytes = 12;
    assert_ok(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    buffer[7] = 0xff;
    bytes = 8;
    assert_ok(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    fake_await_op(&host, CUDA_OP_LAUNCH, 2);
    assert_int_equal(op->params.size_bytes, 12);
    assert_int_equal(host.last_launch[op->params.offset + 7], 0xff);
    assert_int_equal(host.last_launch[op->params.offset + 8], 0);
    bytes = VGPU_LAUNCH_PARAM_BYTES + 1;
    assert_int_equal(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra),
                     CUDA_ERROR_INVALID_VALUE);
    bytes = 0;
    assert_int_equal(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra),
                     CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

/* Too large for a record: by the data area, and given back, or that would run out. */
static void test_launch_large_parameters_come_back(void **state)
{
    struct fake_host host = {.large_params = true};
    CUcontext context;
    CUfunction function;
    static uint8_t buffer[VGPU_LAUNCH_PARAM_BYTES];
    size_t bytes = sizeof(buffer);
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    const struct cuda_op_launch *op = (const void *)host.last_launch;

    begin(&host, &context);
    function = load_function();
    for (int i = 0; i < 200; i++)
        assert_ok(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, extra));
    fake_await_op(&host, CUDA_OP_LAUNCH, 200);
    assert_int_equal(op->params.place, VGPU_BLOB_DATA);
    assert_int_equal(op->params.size_bytes, VGPU_LAUNCH_PARAM_BYTES);
    end(&host);
}

static void test_launch_of_old_is_a_launch(void **state)
{
    struct fake_host host = {0};
    const struct cuda_op_launch *op = (const void *)host.last_launch;
    CUdeviceptr pointer = FAKE_DEVICE_BASE;
    CUcontext context;
    CUfunction function;
    uint32_t count;

    begin(&host, &context);
    function = load_function();
    assert_int_equal(cuLaunch(function), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuFuncSetBlockShape(function, 64, 2, 1));
    assert_ok(cuFuncSetSharedSize(function, 16));
    assert_ok(cuParamSetv(function, 0, &pointer, sizeof(pointer)));
    assert_ok(cuParamSeti(function, 8, 7));
    assert_int_equal(cuLaunchGrid(function, 3, 1), CUDA_ERROR_INVALID_VALUE); /* no size yet */
    assert_ok(cuParamSetSize(function, 12));
    assert_ok(cuLaunchGrid(function, 3, 4));
    fake_await_op(&host, CUDA_OP_LAUNCH, 1);
    assert_int_equal(op->grid_x, 3);
    assert_int_equal(op->grid_y, 4);
    assert_int_equal(op->block_x, 64);
    assert_int_equal(op->block_y, 2);
    assert_int_equal(op->shared_bytes, 16);
    assert_int_equal(op->params.size_bytes, 12);
    memcpy(&count, host.last_launch + op->params.offset + 8, 4);
    assert_int_equal(count, 7);
    end(&host);
}

/* A function's handle comes again when its generations are through. */
static void test_launch_of_old_ends_with_its_module(void **state)
{
    struct fake_host host = {0};
    CUfunction first, function;
    CUcontext context;
    CUmodule module;
    int rounds = 0;

    begin(&host, &context);
    function = first = load_function();
    assert_ok(cuFuncSetBlockShape(first, 1, 1, 1));
    do {
        assert_ok(cuFuncGetModule(&module, function));
        assert_ok(cuModuleUnload(module));
        assert_int_equal(cuLaunch(function), CUDA_ERROR_INVALID_HANDLE);
        function = load_function();
    } while (function != first && ++rounds < 4096);
    assert_ptr_equal(function, first);
    assert_ok(cuParamSetSize(function, 12));
    assert_int_equal(cuLaunch(function), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_module_functions_and_globals_are_kept(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmodule module;
    CUfunction first, second;
    CUdeviceptr pointer;
    size_t bytes, size;
    int value;
    char name[1026];

    begin(&host, &context);
    assert_ok(cuModuleLoadData(&module, ".version 7.0"));
    assert_ok(cuModuleGetFunction(&first, module, "kernel"));
    assert_ok(cuModuleGetFunction(&second, module, "kernel"));
    assert_ptr_equal(first, second);
    assert_ok(cuModuleGetGlobal_v2(&pointer, &bytes, module, "counter"));
    assert_ok(cuModuleGetGlobal_v2(&pointer, &bytes, module, "counter"));
    assert_int_equal(bytes, 64);
    assert_ok(cuMemsetD8_v2(pointer, 1, 64));
    assert_int_equal(cuMemsetD8_v2(pointer, 1, 65), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MODULE_GET_FUNCTION), 1);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MODULE_GET_GLOBAL), 1);
    assert_ok(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, first));
    assert_int_equal(value, 512);
    assert_ok(cuFuncGetParamInfo(first, 1, &bytes, &size));
    assert_int_equal(bytes, 8);
    assert_int_equal(size, 4);
    assert_int_equal(cuFuncGetParamInfo(first, 2, &bytes, &size), CUDA_ERROR_INVALID_VALUE);
    memset(name, 'a', 1025);
    name[1025] = '\0';
    assert_int_equal(cuModuleGetFunction(&first, module, name), CUDA_ERROR_NOT_FOUND);
    assert_ok(cuModuleUnload(module));
    assert_int_equal(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, second),
                     CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuMemsetD8_v2(pointer, 1, 1), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

/* A kernel costs one load and one look-up in a context, however often it is launched. */
static void test_library_kernel_is_launched_as_a_function(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUlibrary library;
    CUkernel kernel;
    uint64_t first = 1;
    uint32_t second = 2;
    void *params[] = {&first, &second};

    begin(&host, &context);
    assert_ok(cuLibraryLoadData(&library, ".version 7.0", NULL, NULL, 0, NULL, NULL, 0));
    assert_ok(cuLibraryGetKernel(&kernel, library, "kernel"));
    for (int i = 0; i < 3; i++)
        assert_ok(cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    fake_await_op(&host, CUDA_OP_LAUNCH, 3);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MODULE_LOAD), 1);
    assert_int_equal(fake_count_op(&host, CUDA_OP_MODULE_GET_FUNCTION), 1);
    assert_ok(cuLibraryUnload(library));
    assert_int_equal(fake_count_op(&host, CUDA_OP_MODULE_UNLOAD), 1);
    assert_int_equal(cuLaunchKernel((CUfunction)kernel, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL),
                     CUDA_ERROR_INVALID_HANDLE);
    end(&host);
}

static void test_module_functions_are_enumerated(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmodule module;
    CUfunction functions[4] = {NULL}, third;
    CUlibrary library;
    CUkernel kernels[2];
    const char *name;
    unsigned count;

    begin(&host, &context);
    assert_ok(cuModuleLoadData(&module, ".version 7.0"));
    assert_ok(cuModuleGetFunctionCount(&count, module));
    assert_int_equal(count, 3);
    assert_ok(cuModuleGetFunction(&third, module, "third"));
    assert_ok(cuModuleEnumerateFunctions(functions, 4, module));
    assert_ok(cuFuncGetName(&name, functions[1]));
    assert_string_equal(name, "second");
    assert_ptr_equal(functions[2], third);
    assert_null(functions[3]);
    assert_int_equal(cuModuleEnumerateFunctions(functions, 0, module), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuLibraryLoadData(&library, ".version 7.0", NULL, NULL, 0, NULL, NULL, 0));
    assert_ok(cuLibraryEnumerateKernels(kernels, 2, library));
    assert_ok(cuKernelGetName(&name, kernels[0]));
    assert_string_equal(name, "first");
    end(&host);
}

static void test_module_jit_log_comes_back(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmodule module;
    char log[16] = "before";
    CUjit_option options[] = {CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_MAX_REGISTERS};
    void *values[] = {log, (void *)sizeof(log), (void *)32};

    begin(&host, &context);
    assert_ok(cuModuleLoadDataEx(&module, ".version 7.0", 3, options, values));
    assert_string_equal(log, "ptxas info: not");
    assert_int_equal((uintptr_t)values[1], 15);
    end(&host);
}

static void test_module_jit_options_have_limits(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUmodule module;
    CUjit_option options[VGPU_JIT_MAX_OPTIONS + 1] = {CU_JIT_MAX_REGISTERS};
    void *values[VGPU_JIT_MAX_OPTIONS + 1] = {0};

    begin(&host, &context);
    assert_int_equal(
        cuModuleLoadDataEx(&module, ".version 7.0", VGPU_JIT_MAX_OPTIONS + 1, options, values),
        CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuModuleLoadDataEx(&module, ".version 7.0", VGPU_JIT_MAX_OPTIONS, options, values));
    options[0] = (CUjit_option)(CU_JIT_SPLIT_COMPILE + 1);
    assert_int_equal(cuModuleLoadDataEx(&module, ".version 7.0", 1, options, values),
                     CUDA_ERROR_INVALID_VALUE);
    options[0] = CU_JIT_GLOBAL_SYMBOL_NAMES;
    assert_int_equal(cuModuleLoadDataEx(&module, ".version 7.0", 1, options, values),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuModuleLoadData(&module, ""), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(cuModuleLoad(&module, "/nonexistent.ptx"), CUDA_ERROR_FILE_NOT_FOUND);
    end(&host);
}

static void test_memory_is_checked_against_the_table(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer, base;
    size_t bytes;

    begin(&host, &context);
    assert_int_equal(cuMemAlloc_v2(&pointer, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAlloc_v2(&pointer, FAKE_DEVICE_BYTES + 1), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cuMemAlloc_v2(&pointer, 100));
    assert_ok(cuMemGetAddressRange_v2(&base, &bytes, pointer + 99));
    assert_int_equal(base, pointer);
    assert_int_equal(bytes, 100);
    assert_int_equal(cuMemGetAddressRange_v2(&base, &bytes, pointer + 100), CUDA_ERROR_NOT_FOUND);
    assert_ok(cuMemsetD32_v2(pointer, 5, 25));
    assert_int_equal(cuMemsetD32_v2(pointer, 5, 26), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemsetD32_v2(pointer + 2, 5, 1), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemsetD32_v2(pointer, 5, 0));
    assert_int_equal(cuMemcpyHtoD_v2(pointer + 90, &bytes, 11), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFree_v2(pointer + 4), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFree_v2(0));
    assert_ok(cuMemFree_v2(pointer));
    assert_int_equal(cuMemFree_v2(pointer), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_host_memory_has_two_addresses(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    void *memory;
    unsigned flags;
    int type;

    begin(&host, &context);
    assert_ok(cuMemHostAlloc(&memory, 5000, CU_MEMHOSTALLOC_PORTABLE));
    memset(memory, 1, 5000);
    assert_ok(cuMemHostGetDevicePointer_v2(&pointer, (char *)memory + 10, 0));
    assert_int_equal(cuMemHostGetDevicePointer_v2(&pointer, &pointer, 0), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemHostGetFlags(&flags, memory));
    assert_int_equal(flags, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
    assert_ok(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                    (CUdeviceptr)(uintptr_t)memory));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    assert_int_equal(cuMemFreeHost((char *)memory + 1), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFreeHost(memory));
    assert_int_equal(cuMemFreeHost(memory), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemHostAlloc(&memory, 4, 8), CUDA_ERROR_INVALID_VALUE);
    /* Half of the data area is for staging. */
    assert_int_equal(cuMemHostAlloc(&memory, (1u << 19) + 1, 0), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cuMemHostAlloc(&memory, 1u << 19, 0));
    end(&host);
}

static void test_host_registered_memory_is_noted(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    char memory[64];

    begin(&host, &context);
    assert_ok(cuMemHostRegister_v2(memory, 64, 0));
    assert_int_equal(cuMemHostRegister_v2(memory + 63, 1, 0),
                     CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    assert_int_equal(cuMemHostGetDevicePointer_v2(&pointer, memory, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuMemHostRegister_v2(&pointer, 8, CU_MEMHOSTREGISTER_DEVICEMAP),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cuMemHostUnregister(memory));
    assert_int_equal(cuMemHostUnregister(memory), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    end(&host);
}

static void test_host_whole_pages_are_moved(void **state)
{
    const size_t bytes = 2 * 4096;
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *area;
    uint64_t offset;

    begin(&host, &context);
    memset(memory, 0x5a, bytes);
    assert_ok(cuMemHostRegister_v2(memory, bytes, CU_MEMHOSTREGISTER_DEVICEMAP));
    assert_ok(cuMemHostGetDevicePointer_v2(&pointer, memory + 8, 0));
    assert_true(copy_side_host(memory).place == COPY_PINNED);
    offset = copy_side_host(memory + 4096).area;
    area = guest_sender()->map.data + offset;
    assert_int_equal(area[5], 0x5a);
    memory[4096 + 5] = 1;
    assert_int_equal(area[5], 1);
    assert_ok(cuMemHostUnregister(memory));
    area[5] = 2;
    assert_int_equal(memory[4096 + 5], 1);
    assert_int_equal(memory[bytes - 1], 0x5a);
    assert_true(copy_side_host(memory).place == COPY_PAGEABLE);
    munmap(memory, bytes);
    end(&host);
}

static void test_host_shared_memory_is_not_moved(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    begin(&host, &context);
    assert_int_equal(cuMemHostRegister_v2(memory, 4096, CU_MEMHOSTREGISTER_DEVICEMAP),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cuMemHostRegister_v2(memory, 4096, 0));
    assert_true(copy_side_host(memory).place == COPY_PAGEABLE);
    assert_ok(cuMemHostUnregister(memory));
    munmap(memory, 4096);
    end(&host);
}

static void test_pointer_attributes(void **state)
{
    struct fake_host host = {0};
    CUcontext context, owner;
    CUdeviceptr pointer;
    CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_CONTEXT,
                                   CU_POINTER_ATTRIBUTE_RANGE_SIZE};
    int type = 9;
    size_t bytes = 9;
    void *data[] = {&type, &owner, &bytes};

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 100));
    assert_ok(cuPointerGetAttributes(3, asked, data, pointer + 50));
    assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
    assert_ptr_equal(owner, context);
    assert_int_equal(bytes, 100);
    assert_int_equal(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pointer + 100),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuPointerGetAttributes(3, asked, data, (CUdeviceptr)(uintptr_t)&type));
    assert_int_equal(type, 0);
    assert_null(owner);
    end(&host);
}

static void test_event_times_need_a_record(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUevent start, end_event, silent;
    float ms;

    begin(&host, &context);
    assert_ok(cuEventCreate(&start, 0));
    assert_ok(cuEventCreate(&end_event, 0));
    assert_ok(cuEventCreate(&silent, CU_EVENT_DISABLE_TIMING));
    assert_ok(cuEventRecord(start, NULL));
    assert_int_equal(cuEventElapsedTime_v2(&ms, start, end_event), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cuEventRecord(silent, NULL));
    assert_int_equal(cuEventElapsedTime_v2(&ms, start, silent), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventCreate(&silent, CU_EVENT_INTERPROCESS), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuEventCreate(&silent, CU_EVENT_INTERPROCESS | CU_EVENT_DISABLE_TIMING),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuEventCreate(&silent, 8), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_occupancy_seeks_the_best_block(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUfunction function;
    int grid, block;

    begin(&host, &context);
    function = load_function();
    assert_ok(cuOccupancyMaxPotentialBlockSize(&grid, &block, function, NULL, 0, 0));
    assert_int_equal(block, 512);
    assert_int_equal(grid, 8);
    assert_ok(cuOccupancyMaxPotentialBlockSize(&grid, &block, function, NULL, 0, 100));
    assert_int_equal(block, 100);
    end(&host);
}

static unsigned told;

static void count_told(const char *name)
{
    told++;
}

static void test_unsupported_is_told_once(void **state)
{
    struct fake_host host = {0};
    CUresult (*call)(void);
    void *found;
    CUdriverProcAddressQueryResult why;

    begin(&host, NULL);
    vgpu_on_unsupported(count_told);
    assert_ok(cuGetProcAddress_v2("cuGraphAddMemAllocNode", &found, 12000, 0, &why));
    memcpy(&call, &found, sizeof(call));
    assert_int_equal(call(), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(call(), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(told, 1);
    vgpu_on_unsupported(NULL);
    end(&host);
}

static void test_proc_address_versions_and_flags(void **state)
{
    CUdriverProcAddressQueryResult why;
    void *found, *twin;

    assert_ok(cuGetProcAddress_v2("cuCtxCreate", &found, 11000, 0, &why));
    assert_ptr_equal(found, (void *)cuCtxCreate_v2);
    assert_ok(cuGetProcAddress_v2("cuCtxCreate", &found, 13000, 0, &why));
    assert_ptr_equal(found, (void *)cuCtxCreate_v4);
    assert_ok(cuGetProcAddress_v2("cuMemcpyHtoD", &found, 12000, 1, &why));
    assert_ok(cuGetProcAddress_v2("cuMemcpyHtoD", &twin, 12000, 2, &why));
    assert_ptr_equal(found, (void *)cuMemcpyHtoD_v2);
    assert_ptr_not_equal(found, twin);
    /* Who asks for the status is told there; who does not, by the result. */
    assert_ok(cuGetProcAddress_v2("cuCtxCreate", &found, 1000, 0, &why));
    assert_null(found);
    assert_int_equal(why, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    assert_ok(cuGetProcAddress_v2("cuNothing", &found, 13000, 0, &why));
    assert_int_equal(why, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    assert_int_equal(cuGetProcAddress("cuNothing", &found, 13000, 0), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuGetProcAddress_v2("cuInit", &found, 13000, 4, &why),
                     CUDA_ERROR_INVALID_VALUE);
}

static void test_proc_address_of_what_is_not_carried(void **state)
{
    CUdriverProcAddressQueryResult why;
    void *old, *found, *twin;

    /* The version that took 32-bit addresses is another function. */
    assert_ok(cuGetProcAddress_v2("cuMemAlloc", &old, 2000, 0, &why));
    assert_ok(cuGetProcAddress_v2("cuMemAlloc", &found, 13000, 0, &why));
    assert_ptr_equal(found, (void *)cuMemAlloc_v2);
    assert_non_null(old);
    assert_ptr_not_equal(old, found);
    assert_ok(cuGetProcAddress_v2("cuSignalExternalSemaphoresAsync", &found, 13000, 1, &why));
    assert_ok(cuGetProcAddress_v2("cuSignalExternalSemaphoresAsync", &twin, 13000, 2, &why));
    assert_int_equal(why, CU_GET_PROC_ADDRESS_SUCCESS);
    assert_ptr_not_equal(found, twin);
    assert_int_equal(((CUresult(*)(void))(uintptr_t)twin)(), CUDA_ERROR_NOT_SUPPORTED);
}

static void test_per_thread_twin_uses_its_stream(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUresult (*sync)(CUstream);
    void *found;
    CUdriverProcAddressQueryResult why;

    begin(&host, &context);
    assert_ok(cuGetProcAddress_v2("cuMemsetD8Async", &found, 12000, 2, &why));
    assert_ok(cuGetProcAddress_v2("cuStreamSynchronize", &found, 12000, 2, &why));
    memcpy(&sync, &found, sizeof(sync));
    assert_ok(sync(NULL));
    assert_ok(cuStreamSynchronize(NULL));
    end(&host);
}

static void test_error_names(void **state)
{
    const char *text;

    assert_ok(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    assert_ok(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
    assert_string_equal(text, "out of memory");
    assert_int_equal(cuGetErrorName((CUresult)12345, &text), CUDA_ERROR_INVALID_VALUE);
    assert_null(text);
}

static void test_link_without_input_and_with_wrong_type(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUlinkState link;
    char data[] = ".version 7.0";
    void *image;
    size_t bytes = 1;

    begin(&host, &context);
    assert_ok(cuLinkCreate_v2(0, NULL, NULL, &link));
    assert_int_equal(cuLinkAddData_v2(link, CU_JIT_INPUT_NVVM, data, 4, NULL, 0, NULL, NULL),
                     CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuLinkAddData_v2(link, CU_JIT_NUM_INPUT_TYPES, data, 4, NULL, 0, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuLinkAddData_v2(link, CU_JIT_INPUT_PTX, data, 12, "a", 0, NULL, NULL));
    assert_ok(cuLinkComplete(link, &image, &bytes));
    assert_int_equal(bytes, 0);
    assert_ok(cuLinkDestroy(link));
    assert_int_equal(cuLinkDestroy(link), CUDA_ERROR_INVALID_HANDLE);
    end(&host);
}

static void test_vector_add(void **state)
{
    struct fake_host host = {0};
    int32_t a[1024] = {1, INT32_MAX}, b[1024] = {2, 1}, sum[1025];
    struct vgpu_failure failure;

    begin(&host, NULL);
    assert_int_equal(vgpu_job_vector_add(a, b, sum, 2, NULL), VGPU_OK);
    assert_int_equal(sum[0], 3);
    assert_int_equal(sum[1], INT32_MIN);
    assert_int_equal(vgpu_job_vector_add(a, b, sum, 1024, NULL), VGPU_OK);
    assert_int_equal(vgpu_job_vector_add(a, b, sum, 1025, &failure), VGPU_LIMIT);
    assert_int_equal(vgpu_job_vector_add(a, b, sum, 0, &failure), VGPU_LIMIT);
    end(&host);
    assert_int_equal(vgpu_job_vector_add(a, b, sum, 1, &failure), VGPU_GONE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_init_before_connect_has_no_context),
        cmocka_unit_test(test_device_comes_from_the_snapshot),
        cmocka_unit_test(test_handle_stale_is_refused_at_once),
        cmocka_unit_test(test_handle_table_ends_at_its_maximum),
        cmocka_unit_test(test_context_destroyed_takes_its_objects),
        cmocka_unit_test(test_context_primary_is_counted),
        cmocka_unit_test(test_launch_packs_its_parameters),
        cmocka_unit_test(test_launch_wrong_shapes_are_told_at_once),
        cmocka_unit_test(test_launch_extra_buffer_and_its_limit),
        cmocka_unit_test(test_launch_large_parameters_come_back),
        cmocka_unit_test(test_launch_of_old_is_a_launch),
        cmocka_unit_test(test_launch_of_old_ends_with_its_module),
        cmocka_unit_test(test_module_functions_and_globals_are_kept),
        cmocka_unit_test(test_library_kernel_is_launched_as_a_function),
        cmocka_unit_test(test_module_functions_are_enumerated),
        cmocka_unit_test(test_module_jit_log_comes_back),
        cmocka_unit_test(test_module_jit_options_have_limits),
        cmocka_unit_test(test_memory_is_checked_against_the_table),
        cmocka_unit_test(test_host_registered_memory_is_noted),
        cmocka_unit_test(test_host_shared_memory_is_not_moved),
        cmocka_unit_test(test_pointer_attributes),
        cmocka_unit_test(test_event_times_need_a_record),
        cmocka_unit_test(test_occupancy_seeks_the_best_block),
        cmocka_unit_test(test_unsupported_is_told_once),
        cmocka_unit_test(test_proc_address_versions_and_flags),
        cmocka_unit_test(test_proc_address_of_what_is_not_carried),
        cmocka_unit_test(test_per_thread_twin_uses_its_stream),
        cmocka_unit_test(test_error_names),
        cmocka_unit_test(test_link_without_input_and_with_wrong_type),
        cmocka_unit_test(test_vector_add),
    };
    const struct CMUnitTest local[] = {
        cmocka_unit_test(test_host_memory_has_two_addresses),
        cmocka_unit_test(test_host_whole_pages_are_moved),
    };

    return run_both(argc, argv, both, VGPU_ARRAY_SIZE(both), local, VGPU_ARRAY_SIZE(local));
}
