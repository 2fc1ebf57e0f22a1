/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of what a kernel did wrong: the first of a block is kept, with its place and a text. */
#include "softgpu/ptx/exec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ptx_fault_text(enum ptx_fault_kind kind)
{
    static const char *const texts[] = {
        [PTX_FAULT_NONE] = "no fault",
        [PTX_FAULT_ADDRESS] = "illegal address",
        [PTX_FAULT_MISALIGNED] = "misaligned address",
        [PTX_FAULT_READ_ONLY] = "write to read-only memory",
        [PTX_FAULT_PC] = "invalid program counter",
        [PTX_FAULT_STACK] = "stack overflow",
        [PTX_FAULT_BARRIER] = "barrier misuse",
        [PTX_FAULT_ASSERT] = "assertion failed",
        [PTX_FAULT_TRAP] = "trap",
        [PTX_FAULT_STOPPED] = "stopped",
        [PTX_FAULT_LAUNCH] = "bad launch",
        [PTX_FAULT_NO_MEMORY] = "out of host memory",
        [PTX_FAULT_LIMIT] = "instruction limit",
    };

    return (unsigned)kind < sizeof(texts) / sizeof(texts[0]) ? texts[kind] : "unknown";
}

const struct op *fault_raise(struct warp *w, const struct op *op, uint32_t mask,
                             enum ptx_fault_kind kind, uint64_t address, uint32_t size,
                             const char *format, ...)
{
    struct ptx_fault *fault = &w->block->fault;
    unsigned lane = mask ? (unsigned)__builtin_ctz(mask) : 0;
    const struct ptx_program *program = w->grid->program;
    va_list args;
    int used;

    w->event = EVENT_FAULT;
    if (fault->kind != PTX_FAULT_NONE)
        return NULL;
    fault->kind = kind;
    fault->address = address;
    fault->size_bytes = size;
    memcpy(fault->block, w->block->id, sizeof(fault->block));
    for (int i = 0; i < 3; i++)
        fault->thread[i] = w->tid[i][lane];
    fault->line = op->line;
    used = snprintf(fault->text, sizeof(fault->text), "%s: ", ptx_fault_text(kind));
    va_start(args, format);
    vsnprintf(fault->text + used, sizeof(fault->text) - (size_t)used, format, args);
    va_end(args);
    used = (int)strlen(fault->text);
    snprintf(
        fault->text + used, sizeof(fault->text) - (size_t)used,
        ", in '%.100s' at line %u, block (%u,%u,%u) thread (%u,%u,%u)",
        program->symbols.at[w->frame ? w->frame->function->symbol : w->grid->function->symbol].name,
        op->line, fault->block[0], fault->block[1], fault->block[2], fault->thread[0],
        fault->thread[1], fault->thread[2]);
    return NULL;
}
