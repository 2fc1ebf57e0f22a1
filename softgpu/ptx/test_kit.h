/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engine's tests share: a device with one arena of memory, programs from strings, and a
 * way to run a few lines of PTX once per thread on arrays of operands.
 */
#ifndef SOFTGPU_PTX_TEST_KIT_H
#define SOFTGPU_PTX_TEST_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "softgpu/ptx/ptx.h"

#define KIT_BASE  UINT64_C(0x700000000)
#define KIT_BYTES (4u << 20)

struct kit {
    struct ptx_pool *pool;
    struct ptx_program *program;
    uint8_t *arena; /* device memory from KIT_BASE on */
    uint64_t used;
    uint64_t *addresses; /* of the program's variables */
    char log[2000];
    char printed[20000];
    size_t n_printed;
    struct ptx_fault fault;
    uint64_t instructions;
    struct ptx_launch launch; /* further settings for kit_run: stack, dynamic shared, stop ... */
};

/* cmocka setup and teardown for a group whose state is a struct kit. */
int kit_setup(void **state);
int kit_teardown(void **state);

/* Compiles text (a version header is put in front if it has none), replacing the program. */
enum ptx_status kit_compile(struct kit *kit, const char *text);
/* The same, and fails the test with the log unless it compiles. */
void kit_load(struct kit *kit, const char *text);
/* Several texts. */
enum ptx_status kit_compile_all(struct kit *kit, const char *const *texts, size_t n);

/* Device memory, zeroed; *ret_host is where it is. */
uint64_t kit_alloc(struct kit *kit, size_t size_bytes, void *ret_host);
/* Copies a string with its NUL to the program's variable of that name. */
void kit_write(struct kit *kit, const char *variable, const char *text);
/* Forgets all allocations. */
void kit_reset(struct kit *kit);

/* Runs an entry with 64-bit parameters. */
enum ptx_fault_kind kit_run(struct kit *kit, const char *entry, unsigned blocks, unsigned threads,
                            const uint64_t *params, size_t n_params);
/* The same, and fails the test on a fault. */
void kit_run_ok(struct kit *kit, const char *entry, unsigned blocks, unsigned threads,
                const uint64_t *params, size_t n_params);

/*
 * Runs instructions over n operand rows, one thread each. Types are PTX's ("u32"). Operands are in
 * %a, %b, %c, %e as declared by the letters' types ("" for none), the result is %d. Values travel
 * as 64 bits each; f32 and others in the low bits.
 */
struct kit_ops {
    const char *d, *a, *b, *c, *e;
    const char *code;
};
void kit_map(struct kit *kit, const struct kit_ops *ops, const uint64_t *rows, size_t n,
             uint64_t *results);

#endif
