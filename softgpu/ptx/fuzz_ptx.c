/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: hostile PTX through parser, linker and a run with a small budget. */
#include "softgpu/ptx/ptx.h"

#include <stdlib.h>
#include <string.h>

#define BASE         PTX_DEVICE_BASE
#define MEMORY_BYTES 65536u
#define PARAM_BYTES  256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *memory;
static uint64_t used;

static bool find(void *ctx, uint64_t address, struct ptx_range *ret)
{
    (void)ctx;
    if (address < BASE || address - BASE >= MEMORY_BYTES)
        return false;
    *ret = (struct ptx_range){.base = BASE, .size_bytes = MEMORY_BYTES, .host = memory};
    return true;
}

/* Places what fits into the memory; false if something does not. */
static bool place(const struct ptx_program *program, uint64_t *addresses)
{
    used = 4096;
    for (size_t i = 0; i < ptx_program_n_variables(program); i++) {
        struct ptx_variable variable;

        ptx_program_variable(program, i, &variable);
        used = (used + variable.align_bytes - 1) & ~(variable.align_bytes - 1);
        if (variable.size_bytes > MEMORY_BYTES - used)
            return false;
        addresses[i] = BASE + used;
        used += variable.size_bytes;
    }
    for (size_t i = 0; i < ptx_program_n_variables(program); i++)
        ptx_variable_init(program, i, addresses, memory + (addresses[i] - BASE));
    return true;
}

static void run(struct ptx_pool *pool, const struct ptx_program *program, const uint64_t *addresses)
{
    static uint64_t params[PARAM_BYTES / 8];

    for (size_t i = 0; i < PARAM_BYTES / 8; i++)
        params[i] = BASE + i * 64;
    for (size_t i = 0; i < ptx_program_n_entries(program) && i < 4; i++) {
        struct ptx_launch launch = {.program = program,
                                    .function = ptx_program_entry(program, i),
                                    .grid = {2, 1, 1},
                                    .block = {48, 1, 1},
                                    .dynamic_shared_bytes = 256,
                                    .params = params,
                                    .params_bytes = PARAM_BYTES,
                                    .variable_addresses = addresses,
                                    .memory = {.find = find},
                                    .max_instructions = 20000};
        struct ptx_fault fault;

        ptx_run(pool, &launch, &fault, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ptx_pool *pool;
    char *text = malloc(size ? size : 1);
    struct ptx_source source = {.text = text, .size_bytes = size};
    char log_text[256];
    struct ptx_log log = {.text = log_text, .size_bytes = sizeof(log_text)};
    struct ptx_program *program;

    if (!pool) {
        pool = ptx_pool_new(1);
        memory = aligned_alloc(256, MEMORY_BYTES);
    }
    if (!pool || !memory || !text)
        abort();
    memcpy(text, data, size);
    if (ptx_program_new(&source, 1, &log, &program) == PTX_OK) {
        uint64_t *addresses = calloc(ptx_program_n_variables(program) + 1, sizeof(*addresses));

        if (addresses && place(program, addresses))
            run(pool, program, addresses);
        free(addresses);
        ptx_program_free(program);
    }
    free(text);
    return 0;
}
