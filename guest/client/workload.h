/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels that this project carries, each with inputs, a CPU reference and a comparison: what
 * `vgpu-client run`, the quick start and tests/conformance run on a driver.
 *
 * Called by vgpu-client and by run_workloads; any driver will do, as a table of functions. The
 * caller has a CUDA context current. Generated inputs depend on the seed alone.
 */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_H
#define VGPU_GUEST_CLIENT_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "cuda/cuda_driver.h"

#define WORKLOAD_MAX_ARRAYS 3
#define WORKLOAD_MAX_FILES  64
#define WORKLOAD_MAX_ROUNDS 1000000
#define WORKLOAD_MAX_WORK   (1u << 30)

struct workload_params {
    uint64_t size;   /* elements, as size_help says; 0 for the default */
    uint32_t rounds; /* how often the device runs it; 0 for once */
    uint32_t work;   /* steps per element where work_help says so; 0 for the default */
    uint64_t seed;   /* of generated inputs */
    bool verify;     /* compute the CPU reference and compare each round's outputs */
    const char *const *input_files; /* none: inputs are generated */
    size_t input_file_count;
    const char *output_file; /* NULL: outputs are dropped */
    const char *ptx;         /* NULL: the image that is built in */
};

struct workload_result {
    bool verified;      /* verify was asked for and every round agreed */
    uint64_t size;      /* elements */
    uint64_t in_bytes;  /* copied to the device, each round */
    uint64_t out_bytes; /* copied from it, each round */
    uint64_t load_ns;   /* wall time: loading the module */
    uint64_t upload_ns; /* summed over the rounds, as the next two */
    uint64_t kernel_ns; /* from the first launch until the device is idle */
    uint64_t download_ns;
    uint64_t reference_ns; /* the CPU reference, once */
    double error;          /* the largest relative difference that was seen */
    CUresult cuda_result;  /* of the call that failed, set on failure as well; else CUDA_SUCCESS */
};

struct workload {
    const char *name;
    const char *help;        /* one line */
    const char *size_help;   /* what size counts */
    const char *work_help;   /* NULL: takes no work parameter */
    const char *input_help;  /* what input files hold; NULL: takes none */
    const char *output_help; /* what the output file holds */
    uint64_t default_size, min_size, max_size;
    uint32_t default_work;
    const struct workload_ops *ops;
};

/* All workloads in a fixed order; sets *ret_count. */
const struct workload *workload_table(size_t *ret_count);

/* NULL if there is none of that name. */
const struct workload *workload_find(const char *name);

/*
 * Runs a workload on the current context of driver cu. Returns 0 if it ran and, where verify was
 * asked for, agreed with the reference; -EBADMSG if it did not agree; -EINVAL for parameters or
 * input files that cannot be; -ENOMEM; other errno values for files; -EIO if a CUDA call failed,
 * which result->cuda_result then tells. *result is always set.
 */
int workload_run(const struct cuda_driver *cu, const struct workload *workload,
                 const struct workload_params *params, struct workload_result *result,
                 struct vgpu_err *err);

#endif
