/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests of the workloads: the CPU references against published values, files, comparison,
 * parameter limits, and what is said of a driver that fails or computes nothing. That the kernels
 * are right is tests/conformance's business.
 */
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "guest/client/sha256.h"
#include "guest/client/workload_black_scholes.h"
#include "guest/client/workload_compare.h"
#include "guest/client/workload_file.h"

static void assert_sha256(const char *message, size_t bytes, const char *hex)
{
    unsigned char digest[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];

    sha256(message, bytes, digest);
    for (unsigned int i = 0; i < SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

/* The examples that NIST publishes with FIPS 180-4. */
static void test_workload_sha256_known_digests(void **state)
{
    _cleanup_free_ char *million = malloc(1000000);

    memset(million, 'a', 1000000);
    assert_sha256("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sha256("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_sha256(million, 1000000,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Spot 100, strike 100, one year, 5 %, 20 %: 10.4506 and 5.5735 in the textbooks. */
static void test_workload_black_scholes_known_prices(void **state)
{
    double call, put;

    workload_black_scholes_price(100, 100, 1, &call, &put);
    assert_true(fabs(call - 10.450583572185565) < 1e-12);
    assert_true(fabs(put - 5.573526022256971) < 1e-12);
}

static uint64_t parse(const char *text, float **values, struct vgpu_err *err)
{
    uint64_t count = 0;

    return workload_text_parse(text, strlen(text), values, &count, err) < 0 ? 0 : count;
}

static void test_workload_text_numbers(void **state)
{
    _cleanup_free_ float *values = NULL;

    assert_int_equal(parse(" 1 -2.5\n3e2,,4\t", &values, NULL), 4);
    assert_true(values[0] == 1.0f && values[1] == -2.5f && values[2] == 300.0f &&
                values[3] == 4.0f);
}

static void test_workload_text_refused(void **state)
{
    static const char *const bad[] = {"",    " \n,", "1 x", "1;2",  "1 nan",
                                      "inf", "1e99", "0x",  "1.2.3"};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++) {
        struct vgpu_err err = {0};
        float *values = NULL;

        assert_int_equal(parse(bad[i], &values, &err), 0);
        assert_int_equal(err.code, EINVAL);
        assert_null(values);
    }
}

/* 64 characters are the longest number: one more is refused. */
static void test_workload_text_number_too_long(void **state)
{
    _cleanup_free_ float *values = NULL;
    struct vgpu_err err = {0};
    char text[66] = {0};

    memset(text, '0', 65);
    assert_int_equal(parse(text, &values, &err), 0);
    assert_int_equal(err.code, EINVAL);
    text[64] = '\0';
    assert_int_equal(parse(text, &values, &err), 1);
}

static int compare_floats(float got, float want, double relative, double absolute)
{
    struct workload_array array = {.type = WORKLOAD_F32, .count = 1, .host = &got, .want = &want};
    double error = 0;

    return workload_compare(&array, relative, absolute, &error, NULL);
}

static void test_workload_compare_tolerance(void **state)
{
    assert_int_equal(compare_floats(1.0f, 1.0f, 0, 0), 0);
    assert_int_equal(compare_floats(1.0f, 1.0f + FLT_EPSILON, 0, 0), -EBADMSG);
    assert_int_equal(compare_floats(1.0f, 1.0f + FLT_EPSILON, 1e-6, 0), 0);
    assert_int_equal(compare_floats(1.0f, 1.1f, 1e-6, 0), -EBADMSG);
    assert_int_equal(compare_floats(0.001f, 0.0f, 0.1, 0.01), 0);
    assert_int_equal(compare_floats(0.0f, -0.0f, 0, 0), -EBADMSG);
    assert_int_equal(compare_floats(NAN, 1.0f, 1, 1), -EBADMSG);
    assert_int_equal(compare_floats(1.0f, NAN, 1, 1), -EBADMSG);
    assert_int_equal(compare_floats(INFINITY, 1.0f, 1e-6, 0), -EBADMSG);
}

static void test_workload_compare_names_first(void **state)
{
    uint32_t got[] = {1, 2, 3, 4}, want[] = {1, 2, 4, 5};
    struct workload_array array = {.type = WORKLOAD_U32, .count = 4, .host = got, .want = want};
    struct vgpu_err err = {0};
    double error = 0;

    assert_int_equal(workload_compare(&array, 1, 1, &error, &err), -EBADMSG);
    assert_string_equal(err.text, "2 of 4 elements are wrong; the first, element 2, is 3 where the "
                                  "reference has 4");
}

/* A driver with memory, whose kernels do nothing. */
static CUresult fake_alloc(CUdeviceptr *ret, size_t bytes)
{
    *ret = (CUdeviceptr)(uintptr_t)malloc(bytes);
    return CUDA_SUCCESS;
}

static CUresult fake_free(CUdeviceptr p)
{
    free((void *)(uintptr_t)p);
    return CUDA_SUCCESS;
}

static CUresult fake_to_device(CUdeviceptr to, const void *from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, from, bytes);
    return CUDA_SUCCESS;
}

static CUresult fake_to_host(void *to, CUdeviceptr from, size_t bytes)
{
    memcpy(to, (void *)(uintptr_t)from, bytes);
    return CUDA_SUCCESS;
}

static CUresult fake_on_device(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
    return CUDA_SUCCESS;
}

static CUresult fake_set8(CUdeviceptr to, unsigned char value, size_t count)
{
    memset((void *)(uintptr_t)to, value, count);
    return CUDA_SUCCESS;
}

static CUresult fake_set32(CUdeviceptr to, unsigned int value, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((unsigned int *)(uintptr_t)to)[i] = value;
    return CUDA_SUCCESS;
}

static CUresult fake_load(CUmodule *ret, const void *image)
{
    *ret = (CUmodule)(uintptr_t)1;
    return CUDA_SUCCESS;
}

static CUresult fake_unload(CUmodule module)
{
    return CUDA_SUCCESS;
}

static CUresult fake_function(CUfunction *ret, CUmodule module, const char *name)
{
    *ret = (CUfunction)(uintptr_t)2;
    return CUDA_SUCCESS;
}

static CUresult fake_launch(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                            unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
                            CUstream stream, void **params, void **extra)
{
    return CUDA_SUCCESS;
}

static CUresult fake_synchronize(void)
{
    return CUDA_SUCCESS;
}

static CUresult failing_synchronize(void)
{
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

static CUresult fake_error_text(CUresult error, const char **ret)
{
    *ret = "the text";
    return CUDA_SUCCESS;
}

static const struct cuda_driver idle_driver = {
    .cuMemAlloc = fake_alloc,
    .cuMemFree = fake_free,
    .cuMemcpyHtoD = fake_to_device,
    .cuMemcpyDtoH = fake_to_host,
    .cuMemcpyDtoD = fake_on_device,
    .cuMemsetD8 = fake_set8,
    .cuMemsetD32 = fake_set32,
    .cuModuleLoadData = fake_load,
    .cuModuleUnload = fake_unload,
    .cuModuleGetFunction = fake_function,
    .cuLaunchKernel = fake_launch,
    .cuCtxSynchronize = fake_synchronize,
    .cuGetErrorName = fake_error_text,
    .cuGetErrorString = fake_error_text,
};

/* No workload takes memory that nobody computed for a result, in none of its outputs. */
static void test_workload_idle_device_is_noticed(void **state)
{
    size_t count;
    const struct workload *table = workload_table(&count);

    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        struct workload_params params = {.verify = true, .size = 50};
        struct workload_result result;
        struct vgpu_err err = {0};

        assert_int_equal(workload_run(&idle_driver, &table[i], &params, &result, &err), -EBADMSG);
        assert_false(result.verified);
        assert_non_null(strstr(err.text, table[i].name));
    }
}

static void test_workload_driver_error_is_reported(void **state)
{
    struct cuda_driver cu = idle_driver;
    struct workload_params params = {.verify = true};
    struct workload_result result;
    struct vgpu_err err = {0};

    cu.cuCtxSynchronize = failing_synchronize;
    assert_int_equal(workload_run(&cu, workload_find("scan"), &params, &result, &err), -EIO);
    assert_int_equal(result.cuda_result, CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_string_equal(err.text, "scan: cuCtxSynchronize failed: the text (the text)");
}

static void assert_refused(const char *name, struct workload_params params)
{
    struct workload_result result;
    struct vgpu_err err = {0};

    assert_int_equal(workload_run(&idle_driver, workload_find(name), &params, &result, &err),
                     -EINVAL);
    assert_int_equal(err.code, EINVAL);
}

static void test_workload_limits(void **state)
{
    static const char *const files[WORKLOAD_MAX_FILES + 1] = {"a", "b", "c"};
    size_t count;
    const struct workload *table = workload_table(&count);

    for (size_t i = 0; i < count; i++)
        assert_refused(table[i].name, (struct workload_params){.size = table[i].max_size + 1});
    assert_refused("saxpy", (struct workload_params){.rounds = WORKLOAD_MAX_ROUNDS + 1});
    assert_refused("spin", (struct workload_params){.work = WORKLOAD_MAX_WORK + 1});
    assert_refused("saxpy", (struct workload_params){.work = 1});
    assert_refused("mandelbrot",
                   (struct workload_params){.input_files = files, .input_file_count = 1});
    assert_refused("saxpy", (struct workload_params){.input_files = files, .input_file_count = 3});
    assert_refused("sha256", (struct workload_params){.input_files = files,
                                                      .input_file_count = WORKLOAD_MAX_FILES + 1});
    assert_null(workload_find("no such workload"));
}

struct scratch_file {
    char path[32];
};

static void write_file(struct scratch_file *file, const void *data, size_t bytes)
{
    int fd;

    strcpy(file->path, "/tmp/test_workload.XXXXXX");
    fd = mkstemp(file->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    close(fd);
}

static int run_on_files(const char *name, const void *a, size_t a_bytes, const void *b,
                        size_t b_bytes, uint64_t size, struct workload_result *result)
{
    struct scratch_file in[2], out;
    const char *files[] = {in[0].path, in[1].path};
    struct workload_params params = {
        .size = size, .input_files = files, .input_file_count = 2, .output_file = out.path};
    int r;

    write_file(&in[0], a, a_bytes);
    write_file(&in[1], b, b_bytes);
    write_file(&out, "", 0);
    r = workload_run(&idle_driver, workload_find(name), &params, result, NULL);
    unlink(in[0].path);
    unlink(in[1].path);
    unlink(out.path);
    return r;
}

static void test_workload_files_decide_size(void **state)
{
    static const float matrix[16] = {1, 2, 3};
    struct workload_result result;

    assert_int_equal(run_on_files("vector_add", "1 2 3", 5, "4 5 6\n", 6, 0, &result), 0);
    assert_int_equal(result.size, 3);
    assert_int_equal(run_on_files("matmul", matrix, 64, matrix, 64, 4, &result), 0);
    assert_int_equal(result.size, 4);
    assert_int_equal(run_on_files("sha256", "", 0, "abc", 3, 0, &result), 0);
    assert_int_equal(result.size, 2);
}

static void test_workload_files_that_do_not_fit(void **state)
{
    static const float numbers[16] = {1, 2, 3};
    struct workload_result result;

    /* Unequal lengths, another size than asked for, no square, no whole body, half an element. */
    assert_int_equal(run_on_files("vector_add", "1 2 3", 5, "4 5", 3, 0, &result), -EINVAL);
    assert_int_equal(run_on_files("vector_add", "1 2", 3, "4 5", 3, 5, &result), -EINVAL);
    assert_int_equal(run_on_files("matmul", numbers, 60, numbers, 60, 0, &result), -EINVAL);
    assert_int_equal(run_on_files("nbody", numbers, 60, numbers, 60, 0, &result), -EINVAL);
    assert_int_equal(run_on_files("saxpy", numbers, 63, numbers, 63, 0, &result), -EINVAL);
    assert_int_equal(run_on_files("saxpy", numbers, 0, numbers, 0, 0, &result), -EINVAL);
}

static void test_workload_missing_file(void **state)
{
    const char *const files[] = {"/nonexistent/a", "/nonexistent/b"};
    struct workload_params params = {.input_files = files, .input_file_count = 2};
    struct workload_result result;
    struct vgpu_err err = {0};

    assert_int_equal(workload_run(&idle_driver, workload_find("saxpy"), &params, &result, &err),
                     -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/a"));
}

static void test_workload_file_too_long(void **state)
{
    struct scratch_file file;
    struct vgpu_err err = {0};
    char *data = NULL;
    uint64_t bytes;

    write_file(&file, "12345678", 8);
    assert_int_equal(workload_file_read(file.path, 7, &data, &bytes, &err), -EFBIG);
    assert_int_equal(workload_file_read(file.path, 8, &data, &bytes, &err), 0);
    assert_int_equal(bytes, 8);
    free(data);
    unlink(file.path);
}

static void test_workload_digests_as_lines(void **state)
{
    unsigned char digests[64];
    struct workload_array array = {.type = WORKLOAD_DIGEST, .count = 2, .host = digests};
    _cleanup_free_ char *text = NULL;
    size_t bytes = 0;
    FILE *file = open_memstream(&text, &bytes);

    for (unsigned int i = 0; i < 64; i++)
        digests[i] = (unsigned char)i;
    assert_int_equal(workload_array_write(file, &array), 0);
    fclose(file);
    assert_string_equal(text, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
                              "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workload_sha256_known_digests),
        cmocka_unit_test(test_workload_black_scholes_known_prices),
        cmocka_unit_test(test_workload_text_numbers),
        cmocka_unit_test(test_workload_text_refused),
        cmocka_unit_test(test_workload_text_number_too_long),
        cmocka_unit_test(test_workload_compare_tolerance),
        cmocka_unit_test(test_workload_compare_names_first),
        cmocka_unit_test(test_workload_idle_device_is_noticed),
        cmocka_unit_test(test_workload_driver_error_is_reported),
        cmocka_unit_test(test_workload_limits),
        cmocka_unit_test(test_workload_files_decide_size),
        cmocka_unit_test(test_workload_files_that_do_not_fit),
        cmocka_unit_test(test_workload_missing_file),
        cmocka_unit_test(test_workload_file_too_long),
        cmocka_unit_test(test_workload_digests_as_lines),
    };

    return cmocka_run_group_tests_name("workload", tests, NULL, NULL);
}
