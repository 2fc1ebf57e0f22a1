/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiled program: symbols, variables, functions and their internal code.
 *
 * Built by the parser and the lowering, completed by flow.c, registers.c and link.c, and
 * read-only from then on: any number of runs share it.
 */
#ifndef SOFTGPU_PTX_IR_H
#define SOFTGPU_PTX_IR_H

#include "softgpu/ptx/array.h"
#include "softgpu/ptx/ptx.h"
#include "softgpu/ptx/types.h"

/*
 * An operand of an op. While lowering: a virtual register, or REF_CONST | constant index, or
 * REF_NONE. After register assignment: the byte offset in the frame, or in the function's
 * constants with bit 0 set (offsets are even).
 */
#define REF_NONE  UINT32_MAX
#define REF_CONST UINT32_C(0x80000000)

enum op_flag {
    OPF_TERM = 1, /* ends a block */
    OPF_COND = 2, /* runs under the guard before it: its results may be kept */
    OPF_SELF = 4, /* results must not share a register with operands */
    OPF_MORE = 8, /* ext is a list in `more` */
};

/*
 * One step of the interpreter. d and e are written, a b c s are read; further ones are in the
 * function's `more` list at `ext`: count written, count read, then references.
 */
struct op {
    uint16_t code; /* enum opcode */
    uint8_t flags;
    uint8_t x;  /* meaning is per opcode */
    uint32_t n; /* terminators: PTX instructions in the block */
    uint64_t imm;
    uint32_t ext; /* list in `more`, or a branch target, or a cache slot */
    uint32_t d, e, a, b, c, s;
    uint32_t line;
};

enum linkage { LINK_LOCAL, LINK_VISIBLE, LINK_WEAK, LINK_COMMON, LINK_EXTERN };
enum symbol_kind { SYM_FUNCTION, SYM_VARIABLE };

struct symbol {
    char *name;
    enum symbol_kind kind;
    enum linkage linkage;
    uint32_t source; /* index of its text */
    uint32_t line;
    uint32_t index;    /* in functions or variables */
    uint32_t resolved; /* the symbol that defines it, after linking */
    uint32_t alias_of; /* symbol, or UINT32_MAX */
    bool referenced;
};

struct reloc {
    uint64_t offset;
    uint32_t symbol;
    uint8_t size_bytes;
    uint8_t shift; /* bits to shift the address right by, for byte-wise initialisers */
    int64_t addend;
};

enum space { SP_GENERIC, SP_GLOBAL, SP_CONST, SP_SHARED, SP_LOCAL, SP_PARAM };

struct variable {
    uint32_t symbol;
    enum space space; /* SP_GLOBAL, SP_CONST or SP_SHARED */
    bool dynamic;     /* extern .shared array without size */
    bool managed;
    bool has_init;
    uint64_t size_bytes;
    uint64_t align_bytes;
    uint8_t *init;
    uint64_t init_bytes; /* of init; the rest is zero */
    ARRAY(struct reloc) relocs;
    uint32_t link_mark; /* of the entry that link.c last placed it for */
    uint32_t place;     /* public index of global and const ones; index among shared ones */
};

/* A parameter or return value. offset: in the entry's parameters, or in a function's frame. */
struct param {
    uint32_t offset, size_bytes, align_bytes;
    uint8_t type; /* enum type of a scalar or of the elements */
    uint8_t is_reg;
    uint32_t reg;
};

/* Layout of what is passed, for calls through pointers: callee and prototype must agree. */
struct signature {
    ARRAY(struct param) rets;
    ARRAY(struct param) params;
    uint32_t end_bytes; /* behind the last that was placed */
};

/* Where a shared variable lies in the blocks of an entry. */
struct shared_place {
    uint32_t shared; /* index among the program's shared variables */
    uint32_t offset;
};

struct ptx_function {
    struct ptx_program *program;
    uint32_t symbol;
    bool is_entry;
    bool defined;
    bool address_taken;
    uint32_t builtin; /* enum builtin, or 0 */
    struct signature signature;
    uint64_t signature_hash;
    uint32_t params_bytes;

    struct op *code;
    uint32_t n_ops;
    ARRAY(uint32_t) more;
    uint8_t *constants; /* 64-byte aligned: each value repeated for the 32 lanes */
    uint32_t constants_bytes;

    uint32_t frame_bytes;             /* registers of a warp */
    uint32_t class_at[N_CLASSES + 1]; /* where each class begins in the frame: 128, 64 ... */
    uint32_t local_bytes;             /* of one thread in one call */
    uint32_t register_words;          /* 32-bit registers of a thread */

    ARRAY(uint32_t) callees; /* symbols */
    ARRAY(uint32_t) shared;  /* variable indexes */
    bool calls_indirect;

    uint32_t max_threads;
    uint32_t required_block[3];

    /* Set by link.c for entries. */
    uint32_t static_shared_bytes;
    uint32_t total_local_bytes;
    bool unbounded;
    bool uses_dynamic_shared;
    ARRAY(struct shared_place) shared_places;
    uint32_t link_mark;
    uint32_t link_next; /* callee to look at */
};

enum builtin { BUILTIN_NONE, BUILTIN_VPRINTF, BUILTIN_ASSERTFAIL };

struct ptx_program {
    ARRAY(struct symbol) symbols;
    ARRAY(struct variable) variables;
    ARRAY(struct ptx_function *) functions;
    ARRAY(uint32_t) placed;  /* variables of the public list */
    ARRAY(uint32_t) shared;  /* shared variables */
    ARRAY(uint32_t) entries; /* functions */
    char **source_names;
    uint32_t n_sources;
    uint32_t *by_name; /* hash of definitions to be found by name: symbol + 1 */
    uint32_t by_name_mask;
    uint64_t by_name_key;
    uint64_t n_instructions;
    uint64_t n_registers; /* declared */
    uint64_t n_targets;   /* of indexed branches */
    uint64_t init_bytes;
    uint64_t constants_bytes;
    uint32_t const_bytes;
    uint32_t ptx_version, target_sm; /* the highest of the texts */
};

/* link.c: resolves symbols, patches code, and sizes what entries need. */
enum ptx_status link_program(struct ptx_program *program, struct ptx_log *log);

/* The least that a call takes of a thread's local memory: it bounds recursion. */
#define CALL_BYTES_MIN 16u

/* Generic address of a function. */
#define CODE_BYTES_EACH 16u

#endif
