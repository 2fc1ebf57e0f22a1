/* SPDX-License-Identifier: Apache-2.0 */
/* Loading, errors and logs, symbols, linking, what is known of functions. */
#include "softgpu/testing.h"

#include <unistd.h>

#define HEAD ".version 7.5\n.target sm_75\n.address_size 64\n"
#define BODY ".visible .entry a() { ret; }\n"

struct log {
    char error[1024], info[1024];
    void *values[5];
};

/* Loads with logs. */
static CUresult load(const void *image, struct log *log)
{
    CUjit_option options[] = {CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_WALL_TIME};
    CUmodule module;

    memset(log->error, 'x', sizeof(log->error));
    memset(log->info, 'x', sizeof(log->info));
    log->values[0] = log->info;
    log->values[1] = (void *)sizeof(log->info);
    log->values[2] = log->error;
    log->values[3] = (void *)sizeof(log->error);
    log->values[4] = NULL;
    return cu.cuModuleLoadDataEx(&module, image, 5, options, log->values);
}

static void test_module_good_text_loads(void **state)
{
    struct log log;

    (void)state;
    assert_ok(load(testing_ptx, &log));
    assert_int_equal((uintptr_t)log.values[3], 0);
    assert_string_equal(log.error, "");
    assert_int_equal(strnlen(log.info, sizeof(log.info)), (uintptr_t)log.values[1]);
    assert_ok(load(HEAD, &log));
    assert_ok(load("// a comment\n" HEAD BODY, &log));
}

static void test_module_bad_images_are_told_apart(void **state)
{
    static const struct {
        const char *image;
        CUresult result;
    } cases[] = {
        {"hello world", CUDA_ERROR_INVALID_IMAGE},
        {"", CUDA_ERROR_INVALID_IMAGE},
        {"x", CUDA_ERROR_INVALID_IMAGE},
        {"   ", CUDA_ERROR_INVALID_IMAGE},
        {".target sm_75\n" BODY, CUDA_ERROR_INVALID_IMAGE},
        {".version 7.5\n" BODY, CUDA_ERROR_INVALID_PTX},
        {HEAD ".visible .entry a() {\n foo.bar;\n ret; }", CUDA_ERROR_INVALID_PTX},
        {HEAD ".visible .entry a() { add.u32 %r1, %r1, 1; ret; }", CUDA_ERROR_INVALID_PTX},
        {HEAD BODY BODY, CUDA_ERROR_INVALID_PTX},
        {HEAD ".extern .func foo();\n.visible .entry a() { call foo; ret; }",
         CUDA_ERROR_INVALID_PTX},
        {".version 8.6\n.target sm_100\n.address_size 64\n" BODY, CUDA_ERROR_INVALID_PTX},
        {".version 8.0\n.target sm_80a\n.address_size 64\n" BODY, CUDA_ERROR_INVALID_PTX},
        {".version 99.0\n.target sm_75\n.address_size 64\n" BODY,
         CUDA_ERROR_UNSUPPORTED_PTX_VERSION},
        {"\177ELF and no more than a few bytes that look like no such file at all, not at all",
         CUDA_ERROR_INVALID_IMAGE},
    };
    struct log log;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(load(cases[i].image, &log), cases[i].result);
}

static void test_module_error_log_names_the_line(void **state)
{
    struct log log;

    (void)state;
    assert_int_equal(load(HEAD ".visible .entry a()\n{\n    foo.bar;\n    ret;\n}\n", &log),
                     CUDA_ERROR_INVALID_PTX);
    assert_non_null(strstr(log.error, "line 6"));
    assert_int_equal((uintptr_t)log.values[3], strlen(log.error));
    assert_true(log.values[4] != NULL);
}

static void test_module_error_log_stays_in_its_buffer(void **state)
{
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    char text[16];
    void *values[] = {text, (void *)8};
    CUmodule module;

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(cu.cuModuleLoadDataEx(&module, "hello", 2, options, values),
                     CUDA_ERROR_INVALID_IMAGE);
    assert_true(strnlen(text, sizeof(text)) < 8);
    assert_int_equal(text[8], 'x');
}

static void test_module_options_are_checked(void **state)
{
    CUjit_option unknown = 99, maximum = CU_JIT_MAX_REGISTERS;
    void *value = (void *)32;
    CUmodule module;

    (void)state;
    assert_int_equal(cu.cuModuleLoadDataEx(&module, testing_ptx, 1, &unknown, &value),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuModuleLoadDataEx(&module, testing_ptx, 1, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuModuleLoadDataEx(&module, testing_ptx, 1, &maximum, &value));
    assert_int_equal(cu.cuModuleLoadData(NULL, testing_ptx), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuModuleLoadData(&module, NULL), CUDA_ERROR_INVALID_VALUE);
}

static void test_module_loads_from_a_file(void **state)
{
    char path[] = "/tmp/softgpu-module-XXXXXX";
    int fd = mkstemp(path);
    CUfunction function;
    CUmodule module;

    (void)state;
    assert_int_equal(write(fd, testing_ptx, strlen(testing_ptx)), strlen(testing_ptx));
    close(fd);
    assert_ok(cu.cuModuleLoad(&module, path));
    assert_ok(cu.cuModuleGetFunction(&function, module, "noarg"));
    unlink(path);
    assert_int_equal(cu.cuModuleLoad(&module, path), CUDA_ERROR_FILE_NOT_FOUND);
}

static void test_module_symbols_are_found(void **state)
{
    CUmodule module = testing_module(), again = testing_module();
    CUfunction first, second;
    CUdeviceptr p;
    size_t size;
    int table[3];

    (void)state;
    assert_ptr_not_equal(module, again);
    assert_ok(cu.cuModuleGetFunction(&first, module, "store"));
    assert_ok(cu.cuModuleGetFunction(&second, module, "store"));
    assert_ptr_equal(first, second);
    assert_int_equal(cu.cuModuleGetFunction(&first, module, "absent"), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cu.cuModuleGetFunction(&first, module, ""), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuModuleGetFunction(&first, module, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuModuleGetGlobal(&p, &size, module, "table"));
    assert_int_equal(size, 12);
    assert_ok(cu.cuMemcpyDtoH(table, p, size));
    assert_int_equal(table[2], 3);
    assert_int_equal(cu.cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuModuleGetGlobal(&p, &size, module, "absent"), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cu.cuModuleGetGlobal(NULL, NULL, module, "table"), CUDA_ERROR_INVALID_VALUE);
}

static void test_module_unload_ends_its_functions(void **state)
{
    CUmodule module = testing_module();
    CUfunction function;
    CUdeviceptr p, base;
    size_t size;
    int value;

    (void)state;
    testing_softgpu_only();
    assert_ok(cu.cuModuleGetFunction(&function, module, "store"));
    assert_ok(cu.cuModuleGetGlobal(&p, NULL, module, "table"));
    assert_ok(cu.cuModuleUnload(module));
    assert_int_equal(cu.cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuFuncGetAttribute(&value, 0, function), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cu.cuMemGetAddressRange(&base, &size, p), CUDA_ERROR_NOT_FOUND);
}

static CUlinkState link_new(void)
{
    CUlinkState link;

    assert_ok(cu.cuLinkCreate(0, NULL, NULL, &link));
    return link;
}

static CUresult link_add(CUlinkState link, const char *text)
{
    return cu.cuLinkAddData(link, CU_JIT_INPUT_PTX, (void *)(uintptr_t)text, strlen(text), "text",
                            0, NULL, NULL);
}

static void test_module_link_resolves_across_texts(void **state)
{
    CUlinkState link = link_new();
    CUfunction function;
    CUmodule module;
    void *image, *copy;
    size_t size;

    (void)state;
    assert_ok(link_add(link, HEAD ".extern .func foo();\n.visible .entry a() { call foo; ret; }"));
    assert_ok(link_add(link, HEAD ".visible .func foo() { ret; }"));
    assert_ok(cu.cuLinkComplete(link, &image, &size));
    assert_true(size > 0);
    copy = malloc(size); /* the state may go before its result is loaded */
    memcpy(copy, image, size);
    assert_ok(cu.cuLinkDestroy(link));
    assert_ok(cu.cuModuleLoadData(&module, copy));
    free(copy);
    assert_ok(cu.cuModuleGetFunction(&function, module, "a"));
    assert_ok(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    assert_ok(cu.cuCtxSynchronize());
}

static void test_module_link_errors_are_told_apart(void **state)
{
    CUlinkState link = link_new();
    size_t size;
    void *image;

    (void)state;
    assert_int_equal(link_add(link, "hello"), CUDA_ERROR_INVALID_IMAGE);
    assert_ok(cu.cuLinkDestroy(link));
    link = link_new();
    assert_int_equal(link_add(link, HEAD ".visible .entry a() { foo; }"), CUDA_ERROR_INVALID_PTX);
    assert_ok(cu.cuLinkDestroy(link));
    link = link_new();
    assert_int_equal(link_add(link, ""), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuLinkAddFile(link, CU_JIT_INPUT_PTX, "/nonexistent", 0, NULL, NULL),
                     CUDA_ERROR_FILE_NOT_FOUND);
    assert_ok(link_add(link, HEAD ".extern .func foo();\n.visible .entry a() { call foo; ret; }"));
    assert_int_not_equal(cu.cuLinkComplete(link, &image, &size), CUDA_SUCCESS);
    assert_ok(cu.cuLinkDestroy(link));
}

static void test_module_link_completes_once(void **state)
{
    CUlinkState link = link_new();
    size_t size;
    void *image;

    (void)state;
    assert_ok(link_add(link, HEAD BODY));
    assert_ok(cu.cuLinkComplete(link, &image, &size));
    assert_int_equal(cu.cuLinkComplete(link, &image, &size), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(link_add(link, HEAD BODY), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuLinkDestroy(link));
}

static void test_module_function_attributes_are_told(void **state)
{
    CUfunction function = testing_function("shared");
    int value;

    (void)state;
    assert_ok(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function));
    assert_int_equal(value, 1024);
    assert_ok(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function));
    assert_int_equal(value, TESTING_SHARED_BYTES);
    assert_ok(
        cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function));
    assert_int_equal(value, (48 << 10) - TESTING_SHARED_BYTES);
    assert_ok(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_PTX_VERSION, function));
    assert_int_equal(value, 75);
    assert_ok(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_BINARY_VERSION, function));
    assert_int_equal(value, 90);
    assert_int_equal(cu.cuFuncGetAttribute(&value, CUDA_FUNC_ATTRIBUTE_MAX, function),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                                    testing_function("bounded")));
    assert_int_equal(value, 64);
}

static void test_module_function_shared_memory_opt_in_is_bounded(void **state)
{
    const CUfunction_attribute attribute = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    CUfunction function = testing_function("shared");
    const int most = (227 << 10) - TESTING_SHARED_BYTES;

    (void)state;
    assert_int_equal(cu.cuFuncSetAttribute(function, attribute, -1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuFuncSetAttribute(function, attribute, most + 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 49000, NULL, NULL, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuFuncSetAttribute(function, attribute, most));
    assert_ok(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, (unsigned)most, NULL, NULL, NULL));
    assert_int_equal(
        cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, (unsigned)most + 1, NULL, NULL, NULL),
        CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuCtxSynchronize());
}

static void test_module_function_parameters_are_told(void **state)
{
    CUfunction function = testing_function("store");
    size_t offset, size;
    const char *name;

    (void)state;
    assert_ok(cu.cuFuncGetParamInfo(function, 1, &offset, &size));
    assert_int_equal(offset, 8);
    assert_int_equal(size, 4);
    assert_int_equal(cu.cuFuncGetParamInfo(function, 2, &offset, &size), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuFuncGetParamInfo(function, 0, &offset, NULL));
    assert_ok(cu.cuFuncGetName(&name, function));
    assert_string_equal(name, "store");
}

static void test_module_occupancy_follows_the_block(void **state)
{
    CUfunction function = testing_function("shared");
    int blocks, grid, block;
    size_t size;

    (void)state;
    assert_ok(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 64, 0));
    assert_int_equal(blocks, 32);
    assert_ok(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 96, 0));
    assert_int_equal(blocks, 21);
    assert_ok(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 1024, 0));
    assert_int_equal(blocks, 2);
    assert_ok(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 1025, 0));
    assert_int_equal(blocks, 0);
    assert_int_equal(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 0, 0),
                     CUDA_ERROR_INVALID_VALUE);
    assert_ok(cu.cuOccupancyMaxPotentialBlockSize(&grid, &block, function, NULL, 0, 0));
    assert_int_equal(block, 1024);
    assert_ok(cu.cuOccupancyMaxPotentialBlockSize(&grid, &block, function, NULL, 0, 100));
    assert_int_equal(block, 64);
    assert_ok(cu.cuOccupancyAvailableDynamicSMemPerBlock(&size, function, 1, 64));
    assert_int_equal(size, (48 << 10) - TESTING_SHARED_BYTES);
    assert_int_equal(cu.cuOccupancyAvailableDynamicSMemPerBlock(&size, function, 33, 64),
                     CUDA_ERROR_INVALID_VALUE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_module_##name, testing_open, testing_close)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(good_text_loads),
        TEST(bad_images_are_told_apart),
        TEST(error_log_names_the_line),
        TEST(error_log_stays_in_its_buffer),
        TEST(options_are_checked),
        TEST(loads_from_a_file),
        TEST(symbols_are_found),
        TEST(unload_ends_its_functions),
        TEST(link_resolves_across_texts),
        TEST(link_errors_are_told_apart),
        TEST(link_completes_once),
        TEST(function_attributes_are_told),
        TEST(function_shared_memory_opt_in_is_bounded),
        TEST(function_parameters_are_told),
        TEST(occupancy_follows_the_block),
    };

    testing_load(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
