/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/launch_ptx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"

#define LOG_BYTES 4096

/* One argument: a value, or a device buffer with the files around it. */
struct argument {
    union {
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
        CUdeviceptr device;
    } value;
    size_t size_bytes;
    size_t buffer_bytes;
    char *input_path;
    char *output_path;
};

static int cuda_failed(const struct cuda_driver *cu, CUresult result, const char *what,
                       CUresult *ret_result, struct vgpu_err *err)
{
    const char *text = NULL;

    *ret_result = result;
    if (cu->cuGetErrorString(result, &text) != CUDA_SUCCESS || !text)
        text = "unknown error";
    return vgpu_err_set(err, EIO, "%s: %s (%d)", what, text, (int)result);
}

static int read_file(const char *path, size_t most, char **ret_data, size_t *ret_bytes,
                     struct vgpu_err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *data = NULL;
    struct stat info;
    size_t used = 0;

    if (fd < 0 || fstat(fd, &info) < 0)
        return vgpu_err_set(err, errno, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size > most)
        return vgpu_err_set(err, EFBIG, "'%s' is no file of at most %zu bytes", path, most);
    data = malloc((size_t)info.st_size + 1);
    if (!data)
        return vgpu_err_set(err, ENOMEM, "no memory for '%s'", path);
    while (used < (size_t)info.st_size) {
        ssize_t got = read(fd, data + used, (size_t)info.st_size - used);

        if (got < 0)
            return vgpu_err_set(err, errno, "cannot read '%s': %s", path, strerror(errno));
        if (got == 0)
            break;
        used += (size_t)got;
    }
    data[used] = '\0';
    *ret_data = vgpu_steal_ptr(&data);
    *ret_bytes = used;
    return 0;
}

static int write_file(const char *path, const char *data, size_t bytes, struct vgpu_err *err)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0)
        return vgpu_err_set(err, errno, "cannot write '%s': %s", path, strerror(errno));
    while (bytes > 0) {
        ssize_t put = write(fd, data, bytes);

        if (put < 0)
            return vgpu_err_set(err, errno, "cannot write '%s': %s", path, strerror(errno));
        data += put;
        bytes -= (size_t)put;
    }
    return 0;
}

int launch_ptx_parse_shape(const char *text, unsigned int ret_shape[3], struct vgpu_err *err)
{
    unsigned int shape[3] = {1, 1, 1};
    const char *at = text;

    for (int i = 0; i < 3; i++) {
        char *end;
        unsigned long value;

        errno = 0;
        value = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || errno || value == 0 || value > INT32_MAX)
            break;
        shape[i] = (unsigned int)value;
        if (*end == '\0') {
            memcpy(ret_shape, shape, sizeof(shape));
            return 0;
        }
        if (*end != ',')
            break;
        at = end + 1;
    }
    return vgpu_err_set(err, EINVAL, "'%s' is no shape: give X, X,Y or X,Y,Z, each from 1 up",
                        text);
}

/* Numbers: returns false if text is not wholly one of the type's range. */
static bool parse_number(struct argument *argument, const char *type, const char *text)
{
    char *end = NULL;

    errno = 0;
    if (strcmp(type, "f32") == 0 || strcmp(type, "f64") == 0) {
        double value = strtod(text, &end);

        argument->size_bytes = type[1] == '3' ? 4 : 8;
        if (type[1] == '3')
            argument->value.f32 = (float)value;
        else
            argument->value.f64 = value;
    } else if (type[0] == 'u') {
        unsigned long long value = strtoull(text, &end, 0);

        argument->size_bytes = type[1] == '3' ? 4 : 8;
        argument->value.u64 = value;
        if (text[0] == '-' || (type[1] == '3' && value > UINT32_MAX))
            return false;
    } else {
        long long value = strtoll(text, &end, 0);

        argument->size_bytes = type[1] == '3' ? 4 : 8;
        argument->value.i64 = value;
        if (type[1] == '3' && (value > INT32_MAX || value < INT32_MIN))
            return false;
    }
    return end != text && *end == '\0' && errno == 0;
}

static int parse_buffer(struct argument *argument, const char *type, const char *rest,
                        const char *whole, struct vgpu_err *err)
{
    const char *colon = strchr(rest, ':');

    argument->size_bytes = sizeof(CUdeviceptr);
    if (strcmp(type, "in") == 0) {
        argument->input_path = strdup(rest);
        return argument->input_path ? 0 : vgpu_err_set(err, ENOMEM, "no memory");
    }
    if (!colon)
        return vgpu_err_set(err, EINVAL, "'%s' lacks its output file: %s:…:FILE", whole, type);
    argument->output_path = strdup(colon + 1);
    if (strcmp(type, "inout") == 0)
        argument->input_path = strndup(rest, (size_t)(colon - rest));
    if (!argument->output_path || (strcmp(type, "inout") == 0 && !argument->input_path))
        return vgpu_err_set(err, ENOMEM, "no memory");
    if (strcmp(type, "out") == 0) {
        char *end;
        unsigned long long bytes;

        errno = 0;
        bytes = strtoull(rest, &end, 10);
        if (end != colon || *rest == '-' || errno || bytes == 0 ||
            bytes > LAUNCH_PTX_MAX_BUFFER_BYTES)
            return vgpu_err_set(err, EINVAL, "'%s': the size is a number of bytes from 1 to %llu",
                                whole, (unsigned long long)LAUNCH_PTX_MAX_BUFFER_BYTES);
        argument->buffer_bytes = (size_t)bytes;
    }
    return 0;
}

static int parse_argument(struct argument *argument, const char *text, struct vgpu_err *err)
{
    static const char *const numbers[] = {"u32", "i32", "u64", "i64", "f32", "f64"};
    static const char *const buffers[] = {"in", "out", "inout"};
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;

    for (size_t i = 0; colon && i < VGPU_ARRAY_SIZE(numbers); i++) {
        if (strlen(numbers[i]) != length || strncmp(text, numbers[i], length) != 0)
            continue;
        if (!parse_number(argument, numbers[i], colon + 1))
            return vgpu_err_set(err, EINVAL, "'%s': '%s' is no %s", text, colon + 1, numbers[i]);
        return 0;
    }
    for (size_t i = 0; colon && i < VGPU_ARRAY_SIZE(buffers); i++) {
        if (strlen(buffers[i]) == length && strncmp(text, buffers[i], length) == 0)
            return parse_buffer(argument, buffers[i], colon + 1, text, err);
    }
    return vgpu_err_set(
        err, EINVAL,
        "argument '%s' has no type: u32: i32: u64: i64: f32: f64: in: out: inout:", text);
}

/* The argument list must be the kernel's: same count, same sizes. */
static int check_arguments(const struct cuda_driver *cu, CUfunction function,
                           const struct launch_ptx *request, const struct argument *arguments,
                           struct vgpu_err *err)
{
    size_t offset, size, count = 0;

    while (count <= LAUNCH_PTX_MAX_ARGUMENTS &&
           cu->cuFuncGetParamInfo(function, count, &offset, &size) == CUDA_SUCCESS) {
        if (count < request->n_arguments && arguments[count].size_bytes != size)
            return vgpu_err_set(
                err, EINVAL, "argument %zu of kernel '%s' takes %zu bytes, '%s' has %zu", count + 1,
                request->kernel, size, request->arguments[count], arguments[count].size_bytes);
        count++;
    }
    if (count != request->n_arguments)
        return vgpu_err_set(err, EINVAL, "kernel '%s' takes %zu arguments, %zu were given",
                            request->kernel, count, request->n_arguments);
    return 0;
}

static int upload(const struct cuda_driver *cu, struct argument *argument, CUresult *ret_result,
                  struct vgpu_err *err)
{
    _cleanup_free_ char *data = NULL;
    CUresult result;
    int status;

    if (argument->input_path) {
        status = read_file(argument->input_path, LAUNCH_PTX_MAX_BUFFER_BYTES, &data,
                           &argument->buffer_bytes, err);
        if (status < 0)
            return status;
        if (argument->buffer_bytes == 0)
            return vgpu_err_set(err, EINVAL, "'%s' is empty", argument->input_path);
    }
    result = cu->cuMemAlloc(&argument->value.device, argument->buffer_bytes);
    if (result != CUDA_SUCCESS)
        return cuda_failed(cu, result, "device memory for an argument", ret_result, err);
    result = data ? cu->cuMemcpyHtoD(argument->value.device, data, argument->buffer_bytes)
                  : cu->cuMemsetD8(argument->value.device, 0, argument->buffer_bytes);
    if (result != CUDA_SUCCESS)
        return cuda_failed(cu, result, "filling an argument's buffer", ret_result, err);
    return 0;
}

static int download(const struct cuda_driver *cu, const struct argument *argument,
                    CUresult *ret_result, struct vgpu_err *err)
{
    _cleanup_free_ char *data = malloc(argument->buffer_bytes);
    CUresult result;

    if (!data)
        return vgpu_err_set(err, ENOMEM, "no memory for '%s'", argument->output_path);
    result = cu->cuMemcpyDtoH(data, argument->value.device, argument->buffer_bytes);
    if (result != CUDA_SUCCESS)
        return cuda_failed(cu, result, "copying an output back", ret_result, err);
    return write_file(argument->output_path, data, argument->buffer_bytes, err);
}

static int launch(const struct cuda_driver *cu, CUfunction function,
                  const struct launch_ptx *request, struct argument *arguments,
                  CUresult *ret_result, struct vgpu_err *err)
{
    void *params[LAUNCH_PTX_MAX_ARGUMENTS];
    CUresult result;
    int status;

    for (size_t i = 0; i < request->n_arguments; i++) {
        if (arguments[i].input_path || arguments[i].output_path) {
            status = upload(cu, &arguments[i], ret_result, err);
            if (status < 0)
                return status;
        }
        params[i] = &arguments[i].value;
    }
    result = cu->cuLaunchKernel(function, request->grid[0], request->grid[1], request->grid[2],
                                request->block[0], request->block[1], request->block[2],
                                request->shared_bytes, NULL, params, NULL);
    if (result == CUDA_SUCCESS)
        result = cu->cuCtxSynchronize();
    if (result != CUDA_SUCCESS)
        return cuda_failed(cu, result, "launching the kernel", ret_result, err);
    for (size_t i = 0; i < request->n_arguments; i++) {
        if (arguments[i].output_path) {
            status = download(cu, &arguments[i], ret_result, err);
            if (status < 0)
                return status;
        }
    }
    return 0;
}

static int load(const struct cuda_driver *cu, const struct launch_ptx *request,
                CUmodule *ret_module, CUresult *ret_result, struct vgpu_err *err)
{
    _cleanup_free_ char *image = NULL;
    char log[LOG_BYTES] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    size_t bytes;
    CUresult result;
    int status = read_file(request->image_path, LAUNCH_PTX_MAX_IMAGE_BYTES, &image, &bytes, err);

    if (status < 0)
        return status;
    result = cu->cuModuleLoadDataEx(ret_module, image, 2, options, values);
    if (result == CUDA_SUCCESS)
        return 0;
    log[sizeof(log) - 1] = '\0';
    log[strcspn(log, "\n")] = '\0';
    status = cuda_failed(cu, result, log[0] ? log : "the driver refused it", ret_result, err);
    vgpu_err_prefix(err, "cannot load '%s'", request->image_path);
    return status;
}

int launch_ptx_run(const struct cuda_driver *cu, const struct launch_ptx *request,
                   CUresult *ret_result, struct vgpu_err *err)
{
    struct argument arguments[LAUNCH_PTX_MAX_ARGUMENTS] = {0};
    CUmodule module = NULL;
    CUfunction function;
    int status = 0;

    *ret_result = CUDA_SUCCESS;
    if (request->n_arguments > LAUNCH_PTX_MAX_ARGUMENTS)
        return vgpu_err_set(err, E2BIG, "%zu arguments are more than %d", request->n_arguments,
                            LAUNCH_PTX_MAX_ARGUMENTS);
    for (size_t i = 0; i < request->n_arguments && status == 0; i++)
        status = parse_argument(&arguments[i], request->arguments[i], err);
    if (status == 0)
        status = load(cu, request, &module, ret_result, err);
    if (status == 0 && cu->cuModuleGetFunction(&function, module, request->kernel) != CUDA_SUCCESS)
        status = vgpu_err_set(err, ENOENT, "'%s' has no kernel '%s'", request->image_path,
                              request->kernel);
    if (status == 0)
        status = check_arguments(cu, function, request, arguments, err);
    if (status == 0)
        status = launch(cu, function, request, arguments, ret_result, err);
    for (size_t i = 0; i < request->n_arguments; i++) {
        if ((arguments[i].input_path || arguments[i].output_path) && arguments[i].value.device)
            cu->cuMemFree(arguments[i].value.device);
        free(arguments[i].input_path);
        free(arguments[i].output_path);
    }
    if (module)
        cu->cuModuleUnload(module);
    return status;
}
