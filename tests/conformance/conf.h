/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite: cases grouped in files by area, each with its PTX and its own expectation.
 * ptx_conformance.c runs them on the driver that it was given; conf_*.c are the groups.
 *
 * A case returns CONF_PASS, or CONF_FAIL or CONF_SKIP after conf_fail or conf_skip has said why. It
 * finds a context current, and leaves it usable, unless it is an `isolated` case: those run in a
 * process of their own and may break it.
 */
#ifndef VGPU_TESTS_CONFORMANCE_CONF_H
#define VGPU_TESTS_CONFORMANCE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/cuda_driver.h"

enum conf_result { CONF_PASS, CONF_FAIL, CONF_SKIP };

struct conf {
    const struct cuda_driver *cu;
    int compute_major, compute_minor;
    char text[1024]; /* why it failed or was skipped */
};

struct conf_case {
    const char *name;
    enum conf_result (*run)(struct conf *conf);
    bool isolated;
};

/* A group enumerates its cases: calls `visit` for each. Scalar groups make theirs from tables. */
typedef void (*conf_visit)(void *context, const char *group, const char *name,
                           enum conf_result (*run)(struct conf *conf, const void *data),
                           const void *data, bool isolated);

/* Visits a plain array of cases. */
void conf_visit_cases(const char *group, const struct conf_case *cases, size_t count,
                      conf_visit visit, void *context);

void conf_integer_cases(conf_visit visit, void *context);
void conf_float_cases(conf_visit visit, void *context);
void conf_half_cases(conf_visit visit, void *context);
void conf_convert_cases(conf_visit visit, void *context);
void conf_compare_cases(conf_visit visit, void *context);
void conf_approx_cases(conf_visit visit, void *context);
void conf_atomic_cases(conf_visit visit, void *context);
void conf_control_cases(conf_visit visit, void *context);
void conf_memory_cases(conf_visit visit, void *context);
void conf_warp_cases(conf_visit visit, void *context);
void conf_fault_cases(conf_visit visit, void *context);
void conf_library_cases(conf_visit visit, void *context);
void conf_module_cases(conf_visit visit, void *context);
void conf_copy_cases(conf_visit visit, void *context);
void conf_pool_cases(conf_visit visit, void *context);
void conf_virtual_cases(conf_visit visit, void *context);
void conf_stream_cases(conf_visit visit, void *context);
void conf_graph_cases(conf_visit visit, void *context);
void conf_unified_cases(conf_visit visit, void *context);
void conf_launch_cases(conf_visit visit, void *context);

enum conf_result conf_fail(struct conf *conf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum conf_result conf_skip(struct conf *conf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *conf_name(struct conf *conf, CUresult result);

/* Leaves the case with a failure that names the call. */
#define CONF_CALL(conf, call)                                                                      \
    do {                                                                                           \
        CUresult result_ = (conf)->cu->call;                                                       \
                                                                                                   \
        if (result_ != CUDA_SUCCESS)                                                               \
            return conf_fail(conf, "%s:%d: %s: %s", __FILE__, __LINE__, #call,                     \
                             conf_name(conf, result_));                                            \
    } while (0)

#define CONF_EXPECT(conf, call, expected)                                                          \
    do {                                                                                           \
        CUresult result_ = (conf)->cu->call;                                                       \
                                                                                                   \
        if (result_ != (expected))                                                                 \
            return conf_fail(conf, "%s:%d: %s: %s, not %s", __FILE__, __LINE__, #call,             \
                             conf_name(conf, result_), #expected);                                 \
    } while (0)

#define CONF_TRUE(conf, condition)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return conf_fail(conf, "%s:%d: not so: %s", __FILE__, __LINE__, #condition);           \
    } while (0)

#define CONF_TRY(expression)                                                                       \
    do {                                                                                           \
        enum conf_result result_ = (expression);                                                   \
                                                                                                   \
        if (result_ != CONF_PASS)                                                                  \
            return result_;                                                                        \
    } while (0)

/* What one launch needs. The kernel takes the addresses of the output and of the input buffer. */
struct conf_launch {
    const char *ptx, *kernel;
    unsigned int grid[3], block[3]; /* 0 counts as 1 */
    unsigned int shared_bytes;      /* dynamic; over 48 KiB the attribute is set as well */
    const void *in;
    size_t in_bytes;
    void *out; /* filled from the device, where it is first filled with 0xa5 */
    size_t out_bytes;
    bool keep_out; /* the output buffer starts with what out holds instead */
};

/* Loads, copies, launches, synchronises, copies back, releases. */
enum conf_result conf_launch(struct conf *conf, const struct conf_launch *launch);

/* Loads PTX; a refusal fails with the JIT's log. */
enum conf_result conf_load(struct conf *conf, const char *ptx, CUmodule *ret_module);

/* The next of a fixed sequence of pseudo-random numbers. */
uint64_t conf_random(uint64_t *state);

/* The start of most modules. */
#define CONF_HEADER    ".version 7.0\n.target sm_70\n.address_size 64\n"
#define CONF_HEADER_80 ".version 7.0\n.target sm_80\n.address_size 64\n"
/* An entry k(out, in) with the addresses in %out and %in, and the thread's index in %tid. */
#define CONF_ENTRY                                                                                 \
    ".visible .entry k(.param .u64 p_out, .param .u64 p_in)\n{\n"                                  \
    ".reg .b64 %out, %in, %o, %i, %rd<16>;\n.reg .b32 %gid, %r<32>;\n.reg .b16 %h<16>;\n"          \
    ".reg .f32 %f<16>;\n.reg .f64 %d<8>;\n.reg .pred %p<8>;\n"                                     \
    "ld.param.u64 %out, [p_out];\nld.param.u64 %in, [p_in];\n"                                     \
    "cvta.to.global.u64 %out, %out;\ncvta.to.global.u64 %in, %in;\n"                               \
    "mov.u32 %gid, %tid.x;\nmov.u32 %r31, %ctaid.x;\nmov.u32 %r30, %ntid.x;\n"                     \
    "mad.lo.u32 %gid, %r31, %r30, %gid;\n"
/* %o and %i: the thread's own 4 or 8 bytes. */
#define CONF_OWN_32 "mad.wide.u32 %o, %gid, 4, %out;\nmad.wide.u32 %i, %gid, 4, %in;\n"
#define CONF_OWN_64 "mad.wide.u32 %o, %gid, 8, %out;\nmad.wide.u32 %i, %gid, 8, %in;\n"

#endif
