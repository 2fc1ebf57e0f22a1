/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/conformance/driver_open.h"

#define DEFAULT_SHARED_BYTES (48 * 1024)
#define LOG_BYTES            600

static void __attribute__((format(printf, 2, 0)))
say(struct conf *conf, const char *format, va_list args)
{
    vsnprintf(conf->text, sizeof(conf->text), format, args);
}

enum conf_result conf_fail(struct conf *conf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(conf, format, args);
    va_end(args);
    return CONF_FAIL;
}

enum conf_result conf_skip(struct conf *conf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(conf, format, args);
    va_end(args);
    return CONF_SKIP;
}

const char *conf_name(struct conf *conf, CUresult result)
{
    return driver_error_name(conf->cu, result);
}

uint64_t conf_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static enum conf_result run_plain(struct conf *conf, const void *data)
{
    return ((const struct conf_case *)data)->run(conf);
}

void conf_visit_cases(const char *group, const struct conf_case *cases, size_t count,
                      conf_visit visit, void *context)
{
    for (size_t i = 0; i < count; i++)
        visit(context, group, cases[i].name, run_plain, &cases[i], cases[i].isolated);
}

enum conf_result conf_load(struct conf *conf, const char *ptx, CUmodule *ret_module)
{
    char log[LOG_BYTES] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof(log)};
    CUresult result = conf->cu->cuModuleLoadDataEx(ret_module, ptx, 2, options, values);

    if (result != CUDA_SUCCESS)
        return conf_fail(conf, "module refused: %s: %s", conf_name(conf, result), log);
    return CONF_PASS;
}

static unsigned int at_least_one(unsigned int n)
{
    return n ? n : 1;
}

static enum conf_result call(struct conf *conf, CUmodule module, const struct conf_launch *launch,
                             CUdeviceptr out, CUdeviceptr in)
{
    const unsigned int *grid = launch->grid, *block = launch->block;
    void *args[] = {&out, &in};
    CUfunction function;

    CONF_CALL(conf, cuModuleGetFunction(&function, module, launch->kernel ? launch->kernel : "k"));
    if (launch->shared_bytes > DEFAULT_SHARED_BYTES)
        CONF_CALL(conf,
                  cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                     (int)launch->shared_bytes));
    CONF_CALL(conf,
              cuLaunchKernel(function, at_least_one(grid[0]), at_least_one(grid[1]),
                             at_least_one(grid[2]), at_least_one(block[0]), at_least_one(block[1]),
                             at_least_one(block[2]), launch->shared_bytes, NULL, args, NULL));
    CONF_CALL(conf, cuCtxSynchronize());
    return CONF_PASS;
}

static enum conf_result exchange(struct conf *conf, CUmodule module,
                                 const struct conf_launch *launch, CUdeviceptr out, CUdeviceptr in)
{
    if (launch->keep_out)
        CONF_CALL(conf, cuMemcpyHtoD(out, launch->out, launch->out_bytes));
    else
        CONF_CALL(conf, cuMemsetD8(out, 0xa5, launch->out_bytes));
    if (launch->in_bytes)
        CONF_CALL(conf, cuMemcpyHtoD(in, launch->in, launch->in_bytes));
    CONF_TRY(call(conf, module, launch, out, in));
    memset(launch->out, 0x5a, launch->out_bytes);
    CONF_CALL(conf, cuMemcpyDtoH(launch->out, out, launch->out_bytes));
    return CONF_PASS;
}

enum conf_result conf_launch(struct conf *conf, const struct conf_launch *launch)
{
    CUdeviceptr out = 0, in = 0;
    CUmodule module = NULL;
    enum conf_result result = conf_load(conf, launch->ptx, &module);

    if (result != CONF_PASS)
        return result;
    CONF_CALL(conf, cuMemAlloc(&out, launch->out_bytes));
    CONF_CALL(conf, cuMemAlloc(&in, launch->in_bytes ? launch->in_bytes : 8));
    result = exchange(conf, module, launch, out, in);
    conf->cu->cuMemFree(out);
    conf->cu->cuMemFree(in);
    conf->cu->cuModuleUnload(module);
    return result;
}
