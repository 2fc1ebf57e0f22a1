/* SPDX-License-Identifier: Apache-2.0 */
/* See test_kit.h. */
#include "softgpu/ptx/test_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER ".version 8.4\n.target sm_90\n.address_size 64\n"

static bool kit_find(void *ctx, uint64_t address, struct ptx_range *ret)
{
    struct kit *kit = ctx;

    if (address < KIT_BASE || address >= KIT_BASE + kit->used)
        return false;
    *ret = (struct ptx_range){.base = KIT_BASE, .size_bytes = kit->used, .host = kit->arena};
    return true;
}

static void kit_print(void *ctx, const char *text, size_t size)
{
    struct kit *kit = ctx;
    size_t room = sizeof(kit->printed) - 1 - kit->n_printed;

    if (size > room)
        size = room;
    memcpy(kit->printed + kit->n_printed, text, size);
    kit->n_printed += size;
    kit->printed[kit->n_printed] = '\0';
}

int kit_setup(void **state)
{
    struct kit *kit = calloc(1, sizeof(*kit));

    if (!kit)
        return -1;
    kit->pool = ptx_pool_new(2);
    kit->arena = aligned_alloc(256, KIT_BYTES);
    *state = kit;
    return kit->pool && kit->arena ? 0 : -1;
}

int kit_teardown(void **state)
{
    struct kit *kit = *state;

    ptx_program_free(kit->program);
    ptx_pool_free(kit->pool);
    free(kit->addresses);
    free(kit->arena);
    free(kit);
    return 0;
}

void kit_reset(struct kit *kit)
{
    kit->used = 0;
    kit->n_printed = 0;
    kit->printed[0] = '\0';
    memset(&kit->launch, 0, sizeof(kit->launch));
}

uint64_t kit_alloc(struct kit *kit, size_t size_bytes, void *ret_host)
{
    uint64_t at = (kit->used + 255) & ~UINT64_C(255);

    assert_true(at + size_bytes <= KIT_BYTES);
    kit->used = at + size_bytes;
    memset(kit->arena + at, 0, size_bytes);
    if (ret_host)
        *(void **)ret_host = kit->arena + at;
    return KIT_BASE + at;
}

void kit_write(struct kit *kit, const char *variable, const char *text)
{
    long index = ptx_program_find_variable(kit->program, variable);

    assert_true(index >= 0);
    strcpy((char *)kit->arena + (kit->addresses[index] - KIT_BASE), text);
}

static void place_variables(struct kit *kit)
{
    size_t n = ptx_program_n_variables(kit->program);

    free(kit->addresses);
    kit->addresses = calloc(n + 1, sizeof(*kit->addresses));
    for (size_t i = 0; i < n; i++) {
        struct ptx_variable variable;

        ptx_program_variable(kit->program, i, &variable);
        kit->addresses[i] = kit_alloc(kit, variable.size_bytes, NULL);
    }
    for (size_t i = 0; i < n; i++)
        ptx_variable_init(kit->program, i, kit->addresses,
                          kit->arena + (kit->addresses[i] - KIT_BASE));
}

enum ptx_status kit_compile_all(struct kit *kit, const char *const *texts, size_t n)
{
    struct ptx_source sources[PTX_MAX_SOURCES + 1] = {0};
    char *copies[PTX_MAX_SOURCES + 1] = {0};
    struct ptx_log log = {.text = kit->log, .size_bytes = sizeof(kit->log)};
    enum ptx_status status;

    kit_reset(kit);
    ptx_program_free(kit->program);
    kit->program = NULL;
    for (size_t i = 0; i < n; i++) {
        bool whole = strstr(texts[i], ".version");
        size_t size = strlen(texts[i]) + (whole ? 0 : strlen(HEADER));

        /* No NUL behind it: the engine must not need one. */
        copies[i] = malloc(size + 1);
        snprintf(copies[i], size + 1, "%s%s", whole ? "" : HEADER, texts[i]);
        copies[i] = realloc(copies[i], size ? size : 1);
        sources[i] = (struct ptx_source){.text = copies[i], .size_bytes = size};
    }
    status = ptx_program_new(sources, n, &log, &kit->program);
    for (size_t i = 0; i < n; i++)
        free(copies[i]);
    if (status == PTX_OK)
        place_variables(kit);
    return status;
}

enum ptx_status kit_compile(struct kit *kit, const char *text)
{
    return kit_compile_all(kit, &text, 1);
}

void kit_load(struct kit *kit, const char *text)
{
    enum ptx_status status = kit_compile(kit, text);

    if (status != PTX_OK)
        fail_msg("%s: %s", ptx_status_text(status), kit->log);
}

enum ptx_fault_kind kit_run(struct kit *kit, const char *entry, unsigned blocks, unsigned threads,
                            const uint64_t *params, size_t n_params)
{
    struct ptx_launch launch = kit->launch;

    launch.program = kit->program;
    launch.function = ptx_program_find_entry(kit->program, entry);
    assert_non_null(launch.function);
    launch.grid[0] = blocks;
    launch.block[0] = threads;
    launch.grid[1] = launch.grid[1] ? launch.grid[1] : 1;
    launch.grid[2] = launch.grid[2] ? launch.grid[2] : 1;
    launch.block[1] = launch.block[1] ? launch.block[1] : 1;
    launch.block[2] = launch.block[2] ? launch.block[2] : 1;
    launch.params = params;
    launch.params_bytes = n_params * sizeof(*params);
    launch.variable_addresses = kit->addresses;
    launch.memory = (struct ptx_memory){.ctx = kit, .find = kit_find};
    launch.print = kit_print;
    launch.print_ctx = kit;
    return ptx_run(kit->pool, &launch, &kit->fault, &kit->instructions);
}

void kit_run_ok(struct kit *kit, const char *entry, unsigned blocks, unsigned threads,
                const uint64_t *params, size_t n_params)
{
    if (kit_run(kit, entry, blocks, threads, params, n_params) != PTX_FAULT_NONE)
        fail_msg("%s", kit->fault.text);
}

static int declare(char *text, size_t size, const char *type, char name)
{
    if (!type[0])
        return 0;
    return snprintf(text, size, ".reg .%s %%%c;\n", type, name);
}

/* From or to the 64-bit columns: predicates and small types go by an integer register. */
static int transfer(char *text, size_t size, const char *type, char name, unsigned offset,
                    bool load)
{
    unsigned bits = (unsigned)atoi(type + strcspn(type, "0123456789"));

    if (!type[0])
        return 0;
    if (!strcmp(type, "pred"))
        return load ? snprintf(text, size,
                               "ld.global.u32 %%tmp, [%%in+%u];\nsetp.ne.u32 %%%c, %%tmp, 0;\n",
                               offset, name)
                    : snprintf(text, size,
                               "selp.u32 %%tmp, 1, 0, %%%c;\nst.global.u32 [%%out], "
                               "%%tmp;\n",
                               name);
    if (strstr(type, "x2"))
        bits = 32;
    return load ? snprintf(text, size, "ld.global.b%u %%%c, [%%in+%u];\n", bits, name, offset)
                : snprintf(text, size, "st.global.b%u [%%out], %%%c;\n", bits, name);
}

void kit_map(struct kit *kit, const struct kit_ops *ops, const uint64_t *rows, size_t n,
             uint64_t *results)
{
    const char *types[] = {ops->a ? ops->a : "", ops->b ? ops->b : "", ops->c ? ops->c : "",
                           ops->e ? ops->e : ""};
    char text[4000];
    size_t at = 0, width = 0;
    uint64_t params[3];
    uint64_t *in, *out;

    for (unsigned i = 0; i < 4; i++)
        if (types[i][0])
            width = i + 1;
    at +=
        (size_t)snprintf(text, sizeof(text),
                         ".visible .entry map(.param .u64 in, .param .u64 out, .param .u64 n)\n{\n"
                         ".reg .u64 %%in, %%out, %%i, %%n;\n.reg .u32 %%tmp, %%t, %%k, %%m;\n"
                         ".reg .pred %%past, %%p, %%q;\n.reg .b16 %%h<8>;\n.reg .b32 %%w<8>;\n"
                         ".reg .b64 %%l<8>;\n.reg .f32 %%f<4>;\n");
    at += (size_t)declare(text + at, sizeof(text) - at, ops->d, 'd');
    for (unsigned i = 0; i < 4; i++)
        at += (size_t)declare(text + at, sizeof(text) - at, types[i], "abce"[i]);
    at +=
        (size_t)snprintf(text + at, sizeof(text) - at,
                         "mov.u32 %%t, %%tid.x;\nmov.u32 %%k, %%ctaid.x;\nmov.u32 %%m, %%ntid.x;\n"
                         "mad.lo.u32 %%t, %%k, %%m, %%t;\ncvt.u64.u32 %%i, %%t;\n"
                         "ld.param.u64 %%n, [n];\nsetp.ge.u64 %%past, %%i, %%n;\n"
                         "@%%past bra done;\nld.param.u64 %%in, [in];\nld.param.u64 %%out, [out];\n"
                         "mad.lo.u64 %%in, %%i, %zu, %%in;\nmad.lo.u64 %%out, %%i, 8, %%out;\n",
                         width * 8);
    for (unsigned i = 0; i < 4; i++)
        at += (size_t)transfer(text + at, sizeof(text) - at, types[i], "abce"[i], i * 8, true);
    at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\n", ops->code);
    at += (size_t)transfer(text + at, sizeof(text) - at, ops->d, 'd', 0, false);
    snprintf(text + at, sizeof(text) - at, "done:\nret;\n}\n");
    kit_load(kit, text);
    params[0] = kit_alloc(kit, n * (width ? width : 1) * 8, &in);
    params[1] = kit_alloc(kit, n * 8, &out);
    params[2] = n;
    memcpy(in, rows, n * width * 8);
    kit_run_ok(kit, "map", (unsigned)((n + 63) / 64), 64, params, 3);
    memcpy(results, out, n * 8);
}
