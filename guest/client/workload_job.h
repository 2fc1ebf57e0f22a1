/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of one workload, as the workload_<area>.c files see it. workload.c owns the job: it
 * plans, fills or reads inputs, copies, calls ops->run, compares. The areas only describe.
 */
#ifndef VGPU_GUEST_CLIENT_WORKLOAD_JOB_H
#define VGPU_GUEST_CLIENT_WORKLOAD_JOB_H

#include "guest/client/workload.h"
#include "guest/client/workload_random.h"

#define WORKLOAD_MAX_SCRATCH   12
#define WORKLOAD_MAX_FUNCTIONS 4

enum workload_type {
    WORKLOAD_U8,
    WORKLOAD_U32,
    WORKLOAD_I64,
    WORKLOAD_F32,
    WORKLOAD_F64,
    WORKLOAD_TEXT_F32, /* as F32, but files hold decimal text */
    WORKLOAD_DIGEST,   /* 32 bytes; files hold a line of 64 hexadecimal digits each */
};

struct workload_array {
    enum workload_type type;
    uint64_t count; /* of elements */
    void *host;     /* inputs: what is uploaded; outputs: what came back */
    void *want;     /* outputs only: the reference */
    CUdeviceptr device;
};

struct workload_job {
    const struct cuda_driver *cu;
    const struct workload *workload;
    const struct workload_params *params;
    struct workload_result *result;
    uint64_t size;
    uint32_t work;
    struct workload_array in[WORKLOAD_MAX_ARRAYS];
    struct workload_array out[WORKLOAD_MAX_ARRAYS];
    CUmodule module;
    CUfunction functions[WORKLOAD_MAX_FUNCTIONS]; /* looked up once, by slot */
    CUdeviceptr scratch[WORKLOAD_MAX_SCRATCH];
};

struct workload_ops {
    const char *ptx;
    size_t in_count, out_count;
    /* |got - want| may be absolute + relative * |want|; both 0: bit for bit. */
    double relative, absolute;
    /* The size that `elements` of the first input file make; NULL: the same number. */
    int (*size_of)(uint64_t elements, uint64_t *ret_size);
    /* Sets type and count of each array from job->size. */
    void (*plan)(struct workload_job *job);
    /* Makes the inputs. */
    void (*fill)(struct workload_job *job, struct workload_random *random);
    /* Reads the inputs, sets job->size and allocates; NULL: raw arrays, one a file. */
    int (*load)(struct workload_job *job, struct vgpu_err *err);
    /* Launches; need not wait. */
    int (*run)(struct workload_job *job, struct vgpu_err *err);
    /* Computes out[].want from in[].host, on the CPU. */
    int (*reference)(struct workload_job *job, struct vgpu_err *err);
};

struct workload_grid {
    unsigned int x, y, block_x, block_y, shared_bytes;
};

/* The size of an element in memory. */
size_t workload_type_bytes(enum workload_type type);
uint64_t workload_array_bytes(const struct workload_array *array);

/* A one-dimensional grid of as many blocks as n threads need. */
struct workload_grid workload_grid_for(uint64_t n, unsigned int block);

/* Launches function `name` of the job's module on the default stream. Slot: where its handle is
 * kept between launches. */
int workload_launch(struct workload_job *job, unsigned int slot, const char *name,
                    struct workload_grid grid, void **args, struct vgpu_err *err);

/* Device memory that lives as long as the job; the same slot is given again. */
int workload_scratch(struct workload_job *job, unsigned int slot, uint64_t bytes,
                     CUdeviceptr *ret_device, struct vgpu_err *err);

/* Device-to-device copy of an input over an output, for kernels that work in place. */
int workload_copy_in_place(struct workload_job *job, unsigned int in, unsigned int out,
                           struct vgpu_err *err);

/* Turns a CUresult into 0 or -EIO with a text that names the call. */
int workload_cuda(struct workload_job *job, CUresult result, const char *call,
                  struct vgpu_err *err);

extern const struct workload_ops workload_vector_add, workload_saxpy, workload_spin,
    workload_matmul, workload_reduce_tree, workload_reduce_shuffle, workload_scan,
    workload_histogram, workload_mandelbrot, workload_black_scholes, workload_nbody,
    workload_bitonic_sort, workload_radix_sort, workload_sha256;

#endif
