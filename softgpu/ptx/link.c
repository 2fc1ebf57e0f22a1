/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins the texts of a program: resolves symbols by name, patches ops from symbols to indexes, and
 * works out what each entry needs of shared and local memory.
 */
#include "softgpu/ptx/ir.h"
#include "softgpu/ptx/opcode.h"
#include "softgpu/ptx/scope.h"
#include "common/overflow.h"

#include <stdio.h>
#include <string.h>

/* Steps over functions and shared variables for all entries together. */
#define REACH_STEPS_MAX (32u << 20)

struct linker {
    struct ptx_program *program;
    struct ptx_log *log;
    enum ptx_status status;
    uint64_t steps;
    uint32_t mark;
};

static bool link_error(struct linker *l, enum ptx_status status, const struct symbol *symbol,
                       const char *what)
{
    struct ptx_log *log = l->log;
    size_t room = log && log->size_bytes > log->used_bytes ? log->size_bytes - log->used_bytes : 0;
    int used;

    if (l->status != PTX_OK)
        return false;
    l->status = status;
    if (room < 2)
        return false;
    used = snprintf(log->text + log->used_bytes, room, "%s: line %u: '%.300s' %s\n",
                    l->program->source_names[symbol->source], symbol->line, symbol->name, what);
    log->used_bytes += used < 0 ? 0 : (size_t)used < room ? (size_t)used : room - 1;
    return false;
}

static bool no_memory(struct linker *l)
{
    if (l->status == PTX_OK)
        l->status = PTX_NO_MEMORY;
    return false;
}

static bool is_definition(const struct ptx_program *program, const struct symbol *symbol)
{
    if (symbol->kind == SYM_FUNCTION)
        return program->functions.at[symbol->index]->defined;
    return symbol->index != UINT32_MAX && symbol->linkage != LINK_EXTERN;
}

static uint32_t *name_slot(const struct ptx_program *program, const char *name)
{
    uint32_t at = scope_hash(program->by_name_key, name, (uint32_t)strlen(name));

    while (program->by_name[at & program->by_name_mask]) {
        uint32_t symbol = program->by_name[at & program->by_name_mask] - 1;

        if (!strcmp(program->symbols.at[symbol].name, name))
            break;
        at++;
    }
    return &program->by_name[at & program->by_name_mask];
}

/* Two definitions of a name in different texts: which stays? False if neither gives way. */
static bool choose(struct linker *l, uint32_t *slot, uint32_t fresh)
{
    struct symbol *old = &l->program->symbols.at[*slot - 1];
    struct symbol *symbol = &l->program->symbols.at[fresh];
    bool old_gives = old->linkage == LINK_WEAK || old->linkage == LINK_COMMON;
    bool new_gives = symbol->linkage == LINK_WEAK || symbol->linkage == LINK_COMMON;

    if (old->kind != symbol->kind)
        return link_error(l, PTX_LINK, symbol, "is a function and a variable");
    if (!old_gives && !new_gives)
        return link_error(l, PTX_LINK, symbol, "is defined twice");
    if (old_gives && (!new_gives || (symbol->linkage == LINK_COMMON &&
                                     l->program->variables.at[symbol->index].size_bytes >
                                         l->program->variables.at[old->index].size_bytes)))
        *slot = fresh + 1;
    return true;
}

static bool collect_definitions(struct linker *l)
{
    struct ptx_program *program = l->program;
    uint32_t size = 64;

    while (size < program->symbols.n * 2)
        size *= 2;
    program->by_name = calloc(size, sizeof(*program->by_name));
    if (!program->by_name)
        return no_memory(l);
    program->by_name_mask = size - 1;
    program->by_name_key = scope_key();
    for (uint32_t i = 0; i < program->symbols.n; i++) {
        const struct symbol *symbol = &program->symbols.at[i];
        uint32_t *slot;

        if (symbol->linkage == LINK_LOCAL || !is_definition(program, symbol))
            continue;
        slot = name_slot(program, symbol->name);
        if (!*slot)
            *slot = i + 1;
        else if (!choose(l, slot, i))
            return false;
    }
    return true;
}

static bool same_shape(const struct ptx_program *program, const struct symbol *a,
                       const struct symbol *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == SYM_FUNCTION)
        return program->functions.at[a->index]->signature_hash ==
               program->functions.at[b->index]->signature_hash;
    return program->variables.at[a->index].space == program->variables.at[b->index].space;
}

static bool resolve_symbol(struct linker *l, uint32_t i)
{
    struct ptx_program *program = l->program;
    struct symbol *symbol = &program->symbols.at[i];
    bool defined = is_definition(program, symbol);
    uint32_t found;

    if (symbol->alias_of != UINT32_MAX) {
        symbol->resolved = symbol->alias_of;
        return true;
    }
    symbol->resolved = i;
    if (defined && symbol->linkage == LINK_LOCAL)
        return true;
    found = *name_slot(program, symbol->name);
    if (found) {
        symbol->resolved = found - 1;
        if (!same_shape(program, symbol, &program->symbols.at[found - 1]))
            return link_error(l, PTX_LINK, symbol, "is defined differently from its declaration");
        return true;
    }
    if (symbol->kind == SYM_FUNCTION && program->functions.at[symbol->index]->builtin)
        return true;
    if (symbol->kind == SYM_VARIABLE && program->variables.at[symbol->index].dynamic)
        return true;
    if (!symbol->referenced)
        return true;
    return link_error(l, PTX_LINK, symbol,
                      "is not defined in any of the texts, nor provided by softgpu");
}

static bool resolve_symbols(struct linker *l)
{
    struct ptx_program *program = l->program;

    for (uint32_t i = 0; i < program->symbols.n; i++)
        if (!resolve_symbol(l, i))
            return false;
    /* Aliases name functions that may be resolved elsewhere: one hop more. */
    for (uint32_t i = 0; i < program->symbols.n; i++) {
        struct symbol *symbol = &program->symbols.at[i];

        if (symbol->alias_of == UINT32_MAX)
            continue;
        symbol->resolved = program->symbols.at[symbol->alias_of].alias_of == UINT32_MAX
                               ? program->symbols.at[symbol->alias_of].resolved
                               : UINT32_MAX;
        if (symbol->resolved == UINT32_MAX ||
            !same_shape(program, symbol, &program->symbols.at[symbol->resolved]))
            return link_error(l, PTX_LINK, symbol, "is an alias of something that does not fit");
    }
    return true;
}

/* Gives variables their public indexes, and shared ones theirs. */
static bool place_variables(struct linker *l)
{
    struct ptx_program *program = l->program;

    for (uint32_t i = 0; i < program->variables.n; i++) {
        struct variable *variable = &program->variables.at[i];
        const struct symbol *symbol = &program->symbols.at[variable->symbol];

        if (symbol->resolved != variable->symbol ||
            (!is_definition(program, symbol) && !variable->dynamic))
            continue;
        if (variable->space == SP_SHARED) {
            variable->place = program->shared.n;
            if (!array_push(&program->shared, i))
                return no_memory(l);
            continue;
        }
        variable->place = program->placed.n;
        if (!array_push(&program->placed, i))
            return no_memory(l);
        if (variable->space == SP_CONST)
            program->const_bytes += (uint32_t)variable->size_bytes;
    }
    return true;
}

static bool check_relocs(struct linker *l)
{
    struct ptx_program *program = l->program;

    for (uint32_t i = 0; i < program->variables.n; i++) {
        const struct variable *variable = &program->variables.at[i];

        for (uint32_t k = 0; k < variable->relocs.n; k++) {
            const struct symbol *symbol = &program->symbols.at[variable->relocs.at[k].symbol];
            const struct symbol *target = &program->symbols.at[symbol->resolved];

            if (target->kind == SYM_VARIABLE &&
                program->variables.at[target->index].space == SP_SHARED)
                return link_error(l, PTX_LINK, target, "is shared: its address is no constant");
        }
    }
    return true;
}

static void patch_op(struct ptx_program *program, struct op *op)
{
    const struct symbol *symbol;

    if (op->code == OPC_call) {
        symbol = &program->symbols.at[program->symbols.at[op->imm].resolved];
        op->imm = symbol->index;
    } else if (op->code == OPC_addr_variable || op->code == OPC_addr_shared) {
        symbol = &program->symbols.at[program->symbols.at[op->ext].resolved];
        op->x = symbol->kind == SYM_FUNCTION;
        op->ext = op->x ? symbol->index : program->variables.at[symbol->index].place;
    }
}

static void patch_functions(struct ptx_program *program)
{
    for (uint32_t i = 0; i < program->functions.n; i++) {
        struct ptx_function *function = program->functions.at[i];
        uint32_t slot = 0;

        for (uint32_t k = 0; k < function->n_ops; k++) {
            struct op *op = &function->code[k];

            patch_op(program, op);
            if (!(op->flags & OPF_TERM))
                op->n = slot++;
        }
        for (uint32_t k = 0; k < function->callees.n; k++) {
            uint32_t resolved = program->symbols.at[function->callees.at[k]].resolved;

            function->callees.at[k] = program->symbols.at[resolved].index;
        }
        for (uint32_t k = 0; k < function->shared.n; k++) {
            const struct variable *variable = &program->variables.at[function->shared.at[k]];

            function->shared.at[k] =
                program->symbols.at[program->symbols.at[variable->symbol].resolved].index;
        }
    }
}

/* --- what entries need --- */

static uint32_t frame_cost(const struct ptx_function *function)
{
    return function->local_bytes > CALL_BYTES_MIN ? function->local_bytes : CALL_BYTES_MIN;
}

enum { LOCAL_NEW, LOCAL_OPEN, LOCAL_DONE };

/* Local memory of each function with what it calls, depth first without a recursion. */
static bool measure_local(struct linker *l, struct ptx_function *root)
{
    struct ptx_program *program = l->program;
    ARRAY(struct ptx_function *) path = {0};
    bool good = root->link_mark != LOCAL_NEW || array_push(&path, root);

    while (good && path.n) {
        struct ptx_function *function = path.at[path.n - 1];
        struct ptx_function *callee;

        if (function->link_mark == LOCAL_NEW) {
            function->link_mark = LOCAL_OPEN;
            function->link_next = 0;
            function->total_local_bytes = 0;
            function->unbounded = function->calls_indirect;
        }
        if (function->link_next == function->callees.n) {
            uint64_t total = (uint64_t)function->total_local_bytes + frame_cost(function);

            function->total_local_bytes = total < UINT32_MAX ? (uint32_t)total : UINT32_MAX;
            function->link_mark = LOCAL_DONE;
            path.n--;
            continue;
        }
        callee = program->functions.at[function->callees.at[function->link_next]];
        if (callee->link_mark == LOCAL_NEW) {
            good = array_push(&path, callee);
            continue;
        }
        function->link_next++;
        if (callee->link_mark == LOCAL_OPEN) {
            function->unbounded = true;
            continue;
        }
        function->unbounded |= callee->unbounded;
        if (function->total_local_bytes < callee->total_local_bytes)
            function->total_local_bytes = callee->total_local_bytes;
    }
    free(path.at);
    return good || no_memory(l);
}

struct reach {
    ARRAY(uint32_t) functions;
    bool indirect;
};

static bool reach_add(struct linker *l, struct reach *reach, uint32_t index)
{
    struct ptx_function *function = l->program->functions.at[index];

    l->steps++;
    if (function->link_mark == l->mark)
        return true;
    function->link_mark = l->mark;
    return array_push(&reach->functions, index) || no_memory(l);
}

static bool reach_from(struct linker *l, struct reach *reach, uint32_t entry)
{
    struct ptx_program *program = l->program;

    reach->functions.n = 0;
    reach->indirect = false;
    l->mark++;
    if (!reach_add(l, reach, entry))
        return false;
    for (uint32_t i = 0; i < reach->functions.n; i++) {
        const struct ptx_function *function = program->functions.at[reach->functions.at[i]];

        for (uint32_t k = 0; k < function->callees.n; k++)
            if (!reach_add(l, reach, function->callees.at[k]))
                return false;
        if (!function->calls_indirect || reach->indirect)
            continue;
        reach->indirect = true;
        for (uint32_t k = 0; k < program->functions.n; k++)
            if (program->functions.at[k]->address_taken && !program->functions.at[k]->is_entry &&
                !reach_add(l, reach, k))
                return false;
    }
    return true;
}

static bool place_shared(struct linker *l, struct ptx_function *entry, uint32_t variable_index,
                         uint64_t *at, bool dynamic)
{
    struct variable *variable = &l->program->variables.at[variable_index];
    struct shared_place place = {.shared = variable->place};

    if (variable->dynamic != dynamic)
        return true;
    l->steps++;
    if (variable->link_mark == l->mark)
        return true;
    variable->link_mark = l->mark;
    if (dynamic)
        entry->uses_dynamic_shared = true;
    if (!vgpu_align_u64(*at, variable->align_bytes, at) || *at + variable->size_bytes > UINT32_MAX)
        return link_error(l, PTX_TOO_LARGE, &l->program->symbols.at[entry->symbol],
                          "declares too much shared memory");
    place.offset = (uint32_t)*at;
    if (!dynamic)
        *at += variable->size_bytes;
    return array_push(&entry->shared_places, place) || no_memory(l);
}

static bool layout_shared(struct linker *l, struct reach *reach, struct ptx_function *entry,
                          uint64_t *at, bool dynamic)
{
    for (uint32_t i = 0; i < reach->functions.n; i++) {
        const struct ptx_function *function = l->program->functions.at[reach->functions.at[i]];

        for (uint32_t k = 0; k < function->shared.n; k++)
            if (!place_shared(l, entry, function->shared.at[k], at, dynamic))
                return false;
        if (l->steps > REACH_STEPS_MAX)
            return link_error(l, PTX_TOO_LARGE, &l->program->symbols.at[entry->symbol],
                              "and other entries reach too many functions");
    }
    return true;
}

static bool size_entries(struct linker *l)
{
    struct ptx_program *program = l->program;
    struct reach reach = {0};
    bool good = true;

    for (uint32_t i = 0; good && i < program->functions.n; i++)
        good = measure_local(l, program->functions.at[i]);
    l->mark = LOCAL_DONE;
    for (uint32_t i = 0; good && i < program->functions.n; i++) {
        struct ptx_function *entry = program->functions.at[i];
        uint64_t at = 0;

        if (!entry->is_entry || !entry->defined ||
            program->symbols.at[program->symbols.at[entry->symbol].resolved].index != i)
            continue;
        good = (array_push(&program->entries, i) || no_memory(l)) && reach_from(l, &reach, i) &&
               layout_shared(l, &reach, entry, &at, false);
        entry->static_shared_bytes = (uint32_t)at;
        good = good && vgpu_align_u64(at, 16, &at) && layout_shared(l, &reach, entry, &at, true);
        if (good && entry->uses_dynamic_shared)
            entry->static_shared_bytes = (uint32_t)at;
    }
    free(reach.functions.at);
    return good;
}

enum ptx_status link_program(struct ptx_program *program, struct ptx_log *log)
{
    struct linker l = {.program = program, .log = log};

    if (collect_definitions(&l) && resolve_symbols(&l) && place_variables(&l) && check_relocs(&l)) {
        patch_functions(program);
        size_entries(&l);
    }
    return l.status;
}
