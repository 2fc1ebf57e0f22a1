/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a run: parameters, inputs, reference, module, memory, then round after round. */
#include "guest/client/workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "guest/client/workload_compare.h"
#include "guest/client/workload_file.h"
#include "guest/client/workload_job.h"

/* Behind each output lies a guard; both are filled with a pattern before each round. */
#define GUARD_BYTES   256
#define DEVICE_POISON 0xa5
#define HOST_POISON   0x5a

size_t workload_type_bytes(enum workload_type type)
{
    switch (type) {
    case WORKLOAD_U8:
        return 1;
    case WORKLOAD_U32:
    case WORKLOAD_F32:
    case WORKLOAD_TEXT_F32:
        return 4;
    case WORKLOAD_I64:
    case WORKLOAD_F64:
        return 8;
    case WORKLOAD_DIGEST:
        return 32;
    }
    abort();
}

uint64_t workload_array_bytes(const struct workload_array *array)
{
    return array->count * workload_type_bytes(array->type);
}

/* Rounded up, so that a kernel may read whole words on the device; never nothing. */
static uint64_t padded_bytes(const struct workload_array *array)
{
    return (workload_array_bytes(array) / 8 + 1) * 8;
}

struct workload_grid workload_grid_for(uint64_t n, unsigned int block)
{
    uint64_t blocks = (n + block - 1) / block;

    return (struct workload_grid){
        .x = blocks ? (unsigned int)blocks : 1, .y = 1, .block_x = block, .block_y = 1};
}

int workload_cuda(struct workload_job *job, CUresult result, const char *call, struct vgpu_err *err)
{
    const char *name = NULL, *text = NULL;

    if (result == CUDA_SUCCESS)
        return 0;
    job->result->cuda_result = result;
    job->cu->cuGetErrorName(result, &name);
    job->cu->cuGetErrorString(result, &text);
    return vgpu_err_set(err, EIO, "%s: %s failed: %s (%s)", job->workload->name, call,
                        name ? name : "unknown error", text ? text : "no text");
}

int workload_launch(struct workload_job *job, unsigned int slot, const char *name,
                    struct workload_grid grid, void **args, struct vgpu_err *err)
{
    const struct cuda_driver *cu = job->cu;
    int r = 0;

    if (!job->functions[slot])
        r = workload_cuda(job, cu->cuModuleGetFunction(&job->functions[slot], job->module, name),
                          "cuModuleGetFunction", err);
    if (r < 0)
        return vgpu_err_prefix(err, "kernel '%s'", name);
    return workload_cuda(job,
                         cu->cuLaunchKernel(job->functions[slot], grid.x, grid.y, 1, grid.block_x,
                                            grid.block_y, 1, grid.shared_bytes, NULL, args, NULL),
                         "cuLaunchKernel", err);
}

int workload_scratch(struct workload_job *job, unsigned int slot, uint64_t bytes,
                     CUdeviceptr *ret_device, struct vgpu_err *err)
{
    if (!job->scratch[slot]) {
        int r = workload_cuda(job, job->cu->cuMemAlloc(&job->scratch[slot], bytes ? bytes : 1),
                              "cuMemAlloc", err);

        if (r < 0)
            return r;
    }
    *ret_device = job->scratch[slot];
    return 0;
}

int workload_copy_in_place(struct workload_job *job, unsigned int in, unsigned int out,
                           struct vgpu_err *err)
{
    return workload_cuda(job,
                         job->cu->cuMemcpyDtoD(job->out[out].device, job->in[in].device,
                                               workload_array_bytes(&job->out[out])),
                         "cuMemcpyDtoD", err);
}

static int no_memory(struct workload_job *job, struct vgpu_err *err)
{
    return vgpu_err_set(err, ENOMEM, "%s: out of memory for a size of %" PRIu64,
                        job->workload->name, job->size);
}

static int check_size(const struct workload *workload, uint64_t size, struct vgpu_err *err)
{
    if (size < workload->min_size || size > workload->max_size)
        return vgpu_err_set(
            err, EINVAL, "%s: a size of %" PRIu64 " (%s) is not between %" PRIu64 " and %" PRIu64,
            workload->name, size, workload->size_help, workload->min_size, workload->max_size);
    return 0;
}

static int check_params(const struct workload *workload, const struct workload_params *params,
                        struct vgpu_err *err)
{
    if (params->rounds > WORKLOAD_MAX_ROUNDS)
        return vgpu_err_set(err, EINVAL, "%u rounds are more than %d", params->rounds,
                            WORKLOAD_MAX_ROUNDS);
    if (params->work && !workload->work_help)
        return vgpu_err_set(err, EINVAL, "%s takes no amount of work", workload->name);
    if (params->work > WORKLOAD_MAX_WORK)
        return vgpu_err_set(err, EINVAL, "%s: %u (%s) is more than %u", workload->name,
                            params->work, workload->work_help, WORKLOAD_MAX_WORK);
    if (params->input_file_count && !workload->input_help)
        return vgpu_err_set(err, EINVAL, "%s takes no input files", workload->name);
    if (params->input_file_count > WORKLOAD_MAX_FILES)
        return vgpu_err_set(err, EINVAL, "%zu input files are more than %d",
                            params->input_file_count, WORKLOAD_MAX_FILES);
    return 0;
}

static int generate_inputs(struct workload_job *job, struct vgpu_err *err)
{
    struct workload_random random = {.state = job->params->seed};
    const struct workload *workload = job->workload;
    int r;

    job->size = job->params->size ? job->params->size : workload->default_size;
    r = check_size(workload, job->size, err);
    if (r < 0)
        return r;
    workload->ops->plan(job);
    for (size_t i = 0; i < workload->ops->in_count; i++) {
        job->in[i].host = calloc(1, padded_bytes(&job->in[i]));
        if (!job->in[i].host)
            return no_memory(job, err);
    }
    if (workload->ops->fill)
        workload->ops->fill(job, &random);
    return 0;
}

/* Input file i has what input i holds at the job's size, which the first file decides. */
static int adopt_input(struct workload_job *job, size_t i, struct workload_array *read,
                       struct vgpu_err *err)
{
    const struct workload *workload = job->workload;
    const char *path = job->params->input_files[i];

    if (i == 0) {
        job->size = read->count;
        if (workload->ops->size_of && workload->ops->size_of(read->count, &job->size) < 0)
            return vgpu_err_set(err, EINVAL,
                                "%s: input file '%s' has %" PRIu64
                                " elements, which make no whole input (%s)",
                                workload->name, path, read->count, workload->input_help);
        if (check_size(workload, job->size, err) < 0)
            return vgpu_err_prefix(err, "input file '%s'", path);
        workload->ops->plan(job);
    }
    if (read->count != job->in[i].count)
        return vgpu_err_set(err, EINVAL,
                            "%s: input file '%s' has %" PRIu64 " elements where %" PRIu64
                            " are needed to go with '%s'",
                            workload->name, path, read->count, job->in[i].count,
                            job->params->input_files[0]);
    job->in[i].host = vgpu_steal_ptr(&read->host);
    return 0;
}

static int load_arrays(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_ops *ops = job->workload->ops;

    if (job->params->input_file_count != ops->in_count)
        return vgpu_err_set(err, EINVAL, "%s: %zu input files were given, but it takes %zu (%s)",
                            job->workload->name, job->params->input_file_count, ops->in_count,
                            job->workload->input_help);
    job->size = job->workload->min_size;
    ops->plan(job); /* for the types, until the first file tells the size */
    for (size_t i = 0; i < ops->in_count; i++) {
        struct workload_array read = {.type = job->in[i].type};
        int r = workload_array_read(job->params->input_files[i], &read, err);

        if (r == 0)
            r = adopt_input(job, i, &read, err);
        free(read.host);
        if (r < 0)
            return r;
    }
    return 0;
}

static int load_inputs(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_ops *ops = job->workload->ops;
    int r = ops->load ? ops->load(job, err) : load_arrays(job, err);

    if (r == 0)
        r = check_size(job->workload, job->size, err);
    if (r == 0 && job->params->size && job->params->size != job->size)
        r = vgpu_err_set(err, EINVAL,
                         "%s: a size of %" PRIu64
                         " was asked for, but the input files make %" PRIu64,
                         job->workload->name, job->params->size, job->size);
    return r;
}

/* Output buffers have room for the guard behind what is planned. */
static int alloc_outputs(struct workload_job *job, struct vgpu_err *err)
{
    for (size_t i = 0; i < job->workload->ops->out_count; i++) {
        struct workload_array *out = &job->out[i];

        out->host = malloc(workload_array_bytes(out) + GUARD_BYTES);
        out->want = calloc(1, padded_bytes(out));
        if (!out->host || !out->want)
            return no_memory(job, err);
    }
    return 0;
}

static int compute_reference(struct workload_job *job, struct vgpu_err *err)
{
    uint64_t start = vgpu_clock_ns();
    int r = job->workload->ops->reference(job, err);

    job->result->reference_ns = vgpu_clock_ns() - start;
    return r;
}

static int load_module(struct workload_job *job, struct vgpu_err *err)
{
    const char *ptx = job->params->ptx ? job->params->ptx : job->workload->ops->ptx;
    uint64_t start = vgpu_clock_ns();
    int r =
        workload_cuda(job, job->cu->cuModuleLoadData(&job->module, ptx), "cuModuleLoadData", err);

    job->result->load_ns = vgpu_clock_ns() - start;
    return r;
}

static int alloc_device(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_ops *ops = job->workload->ops;
    const struct cuda_driver *cu = job->cu;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ops->in_count; i++)
        r = workload_cuda(job, cu->cuMemAlloc(&job->in[i].device, padded_bytes(&job->in[i])),
                          "cuMemAlloc", err);
    for (size_t i = 0; r == 0 && i < ops->out_count; i++)
        r = workload_cuda(
            job,
            cu->cuMemAlloc(&job->out[i].device, workload_array_bytes(&job->out[i]) + GUARD_BYTES),
            "cuMemAlloc", err);
    return r;
}

static int upload(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_ops *ops = job->workload->ops;
    const struct cuda_driver *cu = job->cu;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ops->out_count; i++) {
        uint64_t bytes = workload_array_bytes(&job->out[i]) + GUARD_BYTES;

        memset(job->out[i].host, HOST_POISON, bytes);
        r = workload_cuda(job, cu->cuMemsetD8(job->out[i].device, DEVICE_POISON, bytes),
                          "cuMemsetD8", err);
    }
    for (size_t i = 0; r == 0 && i < ops->in_count; i++) {
        uint64_t bytes = workload_array_bytes(&job->in[i]);

        if (bytes)
            r = workload_cuda(job, cu->cuMemcpyHtoD(job->in[i].device, job->in[i].host, bytes),
                              "cuMemcpyHtoD", err);
    }
    return r;
}

static int download(struct workload_job *job, struct vgpu_err *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < job->workload->ops->out_count; i++)
        r = workload_cuda(job,
                          job->cu->cuMemcpyDtoH(job->out[i].host, job->out[i].device,
                                                workload_array_bytes(&job->out[i]) + GUARD_BYTES),
                          "cuMemcpyDtoH", err);
    return r;
}

static int check_guard(struct workload_job *job, const struct workload_array *out,
                       struct vgpu_err *err)
{
    const unsigned char *guard = (const unsigned char *)out->host + workload_array_bytes(out);

    for (unsigned int i = 0; i < GUARD_BYTES; i++)
        if (guard[i] != DEVICE_POISON)
            return vgpu_err_set(err, EBADMSG, "%s: the device wrote behind its output",
                                job->workload->name);
    return 0;
}

static int verify(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_ops *ops = job->workload->ops;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ops->out_count; i++) {
        r = check_guard(job, &job->out[i], err);
        if (r == 0)
            r = workload_compare(&job->out[i], ops->relative, ops->absolute, &job->result->error,
                                 err);
        if (r < 0)
            return vgpu_err_prefix(err, "%s: output %zu", job->workload->name, i);
    }
    return r;
}

static int run_round(struct workload_job *job, struct vgpu_err *err)
{
    struct workload_result *result = job->result;
    uint64_t times[4];
    int r;

    times[0] = vgpu_clock_ns();
    r = upload(job, err);
    times[1] = vgpu_clock_ns();
    if (r == 0)
        r = job->workload->ops->run(job, err);
    if (r == 0)
        r = workload_cuda(job, job->cu->cuCtxSynchronize(), "cuCtxSynchronize", err);
    times[2] = vgpu_clock_ns();
    if (r == 0)
        r = download(job, err);
    times[3] = vgpu_clock_ns();
    if (r < 0)
        return r;
    result->upload_ns += times[1] - times[0];
    result->kernel_ns += times[2] - times[1];
    result->download_ns += times[3] - times[2];
    return job->params->verify ? verify(job, err) : 0;
}

static int write_outputs(struct workload_job *job, struct vgpu_err *err)
{
    const char *path = job->params->output_file;
    FILE *file = fopen(path, "wbe");
    int r = 0;

    if (!file)
        return vgpu_err_set(err, errno, "cannot create output file '%s': %s", path,
                            strerror(errno));
    for (size_t i = 0; r == 0 && i < job->workload->ops->out_count; i++)
        r = workload_array_write(file, &job->out[i]);
    if (fclose(file) != 0 || r < 0)
        return vgpu_err_set(err, EIO, "cannot write output file '%s'", path);
    return 0;
}

/* Errors are of no interest here: after a fault every call of the context fails. */
static void release(struct workload_job *job)
{
    const struct cuda_driver *cu = job->cu;

    for (size_t i = 0; i < WORKLOAD_MAX_ARRAYS; i++) {
        if (job->in[i].device)
            cu->cuMemFree(job->in[i].device);
        if (job->out[i].device)
            cu->cuMemFree(job->out[i].device);
        free(job->in[i].host);
        free(job->out[i].host);
        free(job->out[i].want);
    }
    for (size_t i = 0; i < WORKLOAD_MAX_SCRATCH; i++)
        if (job->scratch[i])
            cu->cuMemFree(job->scratch[i]);
    if (job->module)
        cu->cuModuleUnload(job->module);
}

static int prepare(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_params *params = job->params;
    int r = check_params(job->workload, params, err);

    if (r < 0)
        return r;
    job->work = params->work ? params->work : job->workload->default_work;
    r = params->input_file_count ? load_inputs(job, err) : generate_inputs(job, err);
    if (r == 0)
        r = alloc_outputs(job, err);
    if (r == 0 && params->verify)
        r = compute_reference(job, err);
    return r;
}

static int run_job(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_ops *ops = job->workload->ops;
    uint32_t rounds = job->params->rounds ? job->params->rounds : 1;
    int r = prepare(job, err);

    if (r < 0)
        return r;
    job->result->size = job->size;
    for (size_t i = 0; i < ops->in_count; i++)
        job->result->in_bytes += workload_array_bytes(&job->in[i]);
    for (size_t i = 0; i < ops->out_count; i++)
        job->result->out_bytes += workload_array_bytes(&job->out[i]);
    r = load_module(job, err);
    if (r == 0)
        r = alloc_device(job, err);
    for (uint32_t i = 0; r == 0 && i < rounds; i++)
        r = run_round(job, err);
    if (r == 0 && job->params->output_file)
        r = write_outputs(job, err);
    job->result->verified = r == 0 && job->params->verify;
    return r;
}

int workload_run(const struct cuda_driver *cu, const struct workload *workload,
                 const struct workload_params *params, struct workload_result *result,
                 struct vgpu_err *err)
{
    struct workload_job job = {.cu = cu, .workload = workload, .params = params, .result = result};
    int r;

    memset(result, 0, sizeof(*result));
    r = run_job(&job, err);
    release(&job);
    return r;
}
