/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: making and freeing them, and what the caller may ask of them. See ptx.h. */
#include "softgpu/ptx/ir.h"
#include "softgpu/ptx/opcode.h"
#include "softgpu/ptx/parse.h"

#include <string.h>

const char *ptx_status_text(enum ptx_status status)
{
    switch (status) {
    case PTX_OK:
        return "success";
    case PTX_SYNTAX:
        return "syntax error";
    case PTX_UNSUPPORTED:
        return "not supported";
    case PTX_LINK:
        return "link error";
    case PTX_NO_MEMORY:
        return "out of memory";
    case PTX_TOO_LARGE:
        return "too large";
    }
    return "unknown";
}

static void function_free(struct ptx_function *function)
{
    free(function->signature.rets.at);
    free(function->signature.params.at);
    free(function->code);
    free(function->more.at);
    free(function->constants);
    free(function->callees.at);
    free(function->shared.at);
    free(function->shared_places.at);
    free(function);
}

void ptx_program_free(struct ptx_program *program)
{
    if (!program)
        return;
    for (uint32_t i = 0; i < program->symbols.n; i++)
        free(program->symbols.at[i].name);
    for (uint32_t i = 0; i < program->variables.n; i++) {
        free(program->variables.at[i].init);
        free(program->variables.at[i].relocs.at);
    }
    for (uint32_t i = 0; i < program->functions.n; i++)
        function_free(program->functions.at[i]);
    for (uint32_t i = 0; i < program->n_sources; i++)
        free(program->source_names[i]);
    free(program->symbols.at);
    free(program->variables.at);
    free(program->functions.at);
    free(program->placed.at);
    free(program->shared.at);
    free(program->entries.at);
    free(program->source_names);
    free(program->by_name);
    free(program);
}

static bool copy_names(struct ptx_program *program, const struct ptx_source *sources, size_t n)
{
    program->source_names = calloc(n, sizeof(*program->source_names));
    if (!program->source_names)
        return false;
    program->n_sources = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        program->source_names[i] = strndup(sources[i].name ? sources[i].name : "ptx", 200);
        if (!program->source_names[i])
            return false;
    }
    return true;
}

static enum ptx_status compile(struct ptx_program *program, const struct ptx_source *sources,
                               size_t n, struct ptx_log *log)
{
    struct words words;
    enum ptx_status status = PTX_OK;

    if (!copy_names(program, sources, n))
        return PTX_NO_MEMORY;
    words_init(&words);
    for (size_t i = 0; i < n && status == PTX_OK; i++)
        status = parse_source(program, &words, &sources[i], (uint32_t)i, log);
    return status == PTX_OK ? link_program(program, log) : status;
}

enum ptx_status ptx_program_new(const struct ptx_source *sources, size_t n, struct ptx_log *log,
                                struct ptx_program **ret_program)
{
    struct ptx_program *program;
    enum ptx_status status;
    uint64_t bytes = 0;

    if (log && log->size_bytes > log->used_bytes)
        log->text[log->used_bytes] = '\0';
    if (n == 0)
        return PTX_SYNTAX;
    if (n > PTX_MAX_SOURCES)
        return PTX_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        if (sources[i].size_bytes > PTX_MAX_SOURCE_BYTES)
            return PTX_TOO_LARGE;
        bytes += sources[i].size_bytes;
    }
    if (bytes > PTX_MAX_SOURCE_BYTES)
        return PTX_TOO_LARGE;
    program = calloc(1, sizeof(*program));
    if (!program)
        return PTX_NO_MEMORY;
    status = compile(program, sources, n, log);
    if (status != PTX_OK) {
        ptx_program_free(program);
        return status;
    }
    *ret_program = program;
    return PTX_OK;
}

size_t ptx_program_n_variables(const struct ptx_program *program)
{
    return program->placed.n;
}

void ptx_program_variable(const struct ptx_program *program, size_t index, struct ptx_variable *ret)
{
    const struct variable *variable = &program->variables.at[program->placed.at[index]];
    const struct symbol *symbol = &program->symbols.at[variable->symbol];

    *ret = (struct ptx_variable){
        .name = symbol->name,
        .space = variable->space == SP_CONST ? PTX_SPACE_CONST : PTX_SPACE_GLOBAL,
        .size_bytes = variable->size_bytes,
        .align_bytes = variable->align_bytes,
        .has_init = variable->has_init,
        .is_local = symbol->linkage == LINK_LOCAL,
        .is_managed = variable->managed,
    };
}

/* The symbol that a name is defined as, for lookups from outside. */
static const struct symbol *find_symbol(const struct ptx_program *program, const char *name,
                                        enum symbol_kind kind)
{
    uint32_t length = (uint32_t)strnlen(name, PTX_MAX_NAME_BYTES + 1);
    uint32_t at = scope_hash(program->by_name_key, name, length);
    uint32_t found;

    for (; (found = program->by_name[at & program->by_name_mask]); at++) {
        const struct symbol *symbol = &program->symbols.at[found - 1];

        if (!strcmp(symbol->name, name))
            return symbol->kind == kind ? symbol : NULL;
    }
    return NULL;
}

long ptx_program_find_variable(const struct ptx_program *program, const char *name)
{
    const struct symbol *symbol = find_symbol(program, name, SYM_VARIABLE);
    const struct variable *variable;

    if (!symbol) {
        /* nvcc leaves static variables without .visible, and the driver finds them all the same. */
        for (uint32_t i = 0; i < program->placed.n; i++)
            if (!strcmp(
                    program->symbols.at[program->variables.at[program->placed.at[i]].symbol].name,
                    name))
                return (long)i;
        return -1;
    }
    variable = &program->variables.at[symbol->index];
    return variable->space == SP_SHARED ? -1 : (long)variable->place;
}

static uint64_t symbol_address(const struct ptx_program *program, uint32_t index,
                               const uint64_t *addresses)
{
    const struct symbol *symbol = &program->symbols.at[program->symbols.at[index].resolved];

    if (symbol->kind == SYM_FUNCTION)
        return PTX_CODE_BASE + (uint64_t)symbol->index * CODE_BYTES_EACH;
    return addresses[program->variables.at[symbol->index].place];
}

void ptx_variable_init(const struct ptx_program *program, size_t index, const uint64_t *addresses,
                       void *host)
{
    const struct variable *variable = &program->variables.at[program->placed.at[index]];
    uint64_t filled =
        variable->init_bytes < variable->size_bytes ? variable->init_bytes : variable->size_bytes;

    if (filled)
        memcpy(host, variable->init, filled);
    memset((uint8_t *)host + filled, 0, variable->size_bytes - filled);
    for (uint32_t i = 0; i < variable->relocs.n; i++) {
        const struct reloc *reloc = &variable->relocs.at[i];
        uint64_t value = symbol_address(program, reloc->symbol, addresses);

        value = (value + (uint64_t)reloc->addend) >> reloc->shift;
        if (reloc->offset + reloc->size_bytes <= variable->size_bytes)
            memcpy((uint8_t *)host + reloc->offset, &value, reloc->size_bytes);
    }
}

size_t ptx_program_n_entries(const struct ptx_program *program)
{
    return program->entries.n;
}

const struct ptx_function *ptx_program_entry(const struct ptx_program *program, size_t index)
{
    return program->functions.at[program->entries.at[index]];
}

const struct ptx_function *ptx_program_find_entry(const struct ptx_program *program,
                                                  const char *name)
{
    const struct symbol *symbol = find_symbol(program, name, SYM_FUNCTION);

    if (symbol && program->functions.at[symbol->index]->is_entry)
        return program->functions.at[symbol->index];
    for (uint32_t i = 0; !symbol && i < program->entries.n; i++) {
        const struct ptx_function *entry = program->functions.at[program->entries.at[i]];

        if (!strcmp(program->symbols.at[entry->symbol].name, name))
            return entry;
    }
    return NULL;
}

void ptx_function_info(const struct ptx_function *function, struct ptx_function_info *ret)
{
    const struct ptx_program *program = function->program;

    *ret = (struct ptx_function_info){
        .name = program->symbols.at[function->symbol].name,
        .n_params = function->signature.params.n,
        .params_bytes = function->params_bytes,
        .static_shared_bytes = function->static_shared_bytes,
        .local_bytes =
            function->local_bytes || function->callees.n ? function->total_local_bytes : 0,
        .const_bytes = program->const_bytes,
        .n_registers = function->register_words < 255 ? function->register_words : 255,
        .max_threads = function->max_threads,
        .ptx_version = program->ptx_version,
        .target_sm = program->target_sm,
        .uses_dynamic_shared = function->uses_dynamic_shared,
        .calls_unbounded = function->unbounded,
    };
    memcpy(ret->required_block, function->required_block, sizeof(ret->required_block));
}

bool ptx_function_param(const struct ptx_function *function, size_t index, struct ptx_param *ret)
{
    const struct param *param;

    if (index >= function->signature.params.n)
        return false;
    param = &function->signature.params.at[index];
    *ret = (struct ptx_param){param->offset, param->size_bytes, param->align_bytes};
    return true;
}
