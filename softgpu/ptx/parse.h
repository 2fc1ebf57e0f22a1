/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of compiling one text: shared by parser*.c, which read it, and lower*.c, which turn each
 * instruction into ops as soon as it is read. The first error sticks; functions return false.
 */
#ifndef SOFTGPU_PTX_PARSE_H
#define SOFTGPU_PTX_PARSE_H

#include "softgpu/ptx/ir.h"
#include "softgpu/ptx/lexer.h"
#include "softgpu/ptx/opcode.h"
#include "softgpu/ptx/scope.h"
#include "softgpu/ptx/sreg.h"

enum operand_kind {
    O_NONE,
    O_REG,     /* reg */
    O_INT,     /* value */
    O_F32,     /* value */
    O_F64,     /* value */
    O_SYMBOL,  /* symbol + value: address of a variable or function */
    O_LOCAL,   /* address `value` in the frame */
    O_KPARAM,  /* address `value` in the entry's parameters */
    O_SREG,    /* value: enum sreg */
    O_ADDRESS, /* [base + value]; base_kind says what the base is */
    O_VECTOR,  /* parts */
    O_LABEL,   /* reg: label */
    O_TARGETS,
    O_PROTOTYPE,
    O_SINK, /* _ */
};

#define VECTOR_MAX    8
#define OPERANDS_MAX  8
#define MODIFIERS_MAX 16

struct part {
    uint8_t kind; /* O_REG, O_INT, O_F32, O_F64 or O_SINK */
    uint32_t reg;
    uint64_t value;
};

struct operand {
    uint8_t kind;
    uint8_t base_kind; /* of an address: O_REG, O_SYMBOL, O_LOCAL, O_KPARAM, O_INT */
    bool inverted;     /* !p */
    bool has_pair;     /* p|q */
    uint32_t reg, pair, symbol;
    uint64_t value;
    uint8_t n_parts;
    struct part parts[VECTOR_MAX];
};

struct inst {
    enum mnemonic mnemonic;
    uint32_t line;
    const char *text; /* where it begins, for messages */
    uint32_t text_bytes;
    uint8_t modifiers[MODIFIERS_MAX];
    uint8_t n_modifiers;
    uint8_t types[4];
    uint8_t n_types;
    struct operand operands[OPERANDS_MAX];
    uint8_t n_operands;
};

struct label_place {
    uint32_t op;    /* index, or UINT32_MAX while undefined */
    uint32_t alias; /* another label that it turned out to be, or UINT32_MAX */
};

struct targets {
    uint32_t first, n; /* in target_labels */
};

/* What is known of the function being compiled. */
struct body {
    struct ptx_function *function;
    ARRAY(struct op) ops;
    ARRAY(uint8_t) classes; /* of virtual registers */
    ARRAY(struct label_place) labels;
    ARRAY(struct targets) targets;
    ARRAY(uint32_t) target_labels;
    ARRAY(struct signature) prototypes;
    ARRAY(uint64_t) constants;
    ARRAY(uint8_t) constant_classes;
    uint32_t *constant_slots; /* hash: index + 1 */
    uint32_t constant_mask;
    uint32_t declared_registers;
    ARRAY(struct part) rets; /* of the call being read */
    ARRAY(struct part) args;
    uint64_t local_now, local_bytes; /* frame: in use in this scope, and the most */
    uint32_t nesting;
    uint32_t line;
    uint32_t n_instructions;
};

struct parser {
    struct ptx_program *program;
    struct ptx_log *log;
    const struct words *words;
    const char *source_name;
    uint32_t source;
    struct lexer lexer;
    struct token token;
    struct scope scope;
    struct body *body; /* NULL outside of functions */
    struct inst inst;
    enum ptx_status status;
    uint32_t version, target;
};

#define DIMENSIONS_MAX 8

/* [a][b]...: open if the first is empty; total is the number of elements, 1 without any. */
struct dimensions {
    uint32_t n;
    bool open;
    uint64_t total;
    uint64_t count[DIMENSIONS_MAX];
};

/* Records the first error, "name: line N: ...", and returns false. */
bool parse_error(struct parser *p, enum ptx_status status, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool parse_unsupported(struct parser *p); /* names the current instruction */
bool parse_no_memory(struct parser *p);

/* Tokens. */
void parse_next(struct parser *p);
bool parse_is(const struct parser *p, char punct);
bool parse_take(struct parser *p, char punct); /* takes it if it is next */
bool parse_expect(struct parser *p, char punct);
bool parse_is_dot(const struct parser *p, const char *word);
bool parse_take_dot(struct parser *p, const char *word);
bool parse_u64(struct parser *p, uint64_t *ret);
bool parse_type(struct parser *p, enum type *ret);

/* parser.c */
enum ptx_status parse_source(struct ptx_program *program, const struct words *words,
                             const struct ptx_source *source, uint32_t index, struct ptx_log *log);

/* parser_variable.c: at a state space; adds one or more variables, through ';'. */
bool parse_module_variable(struct parser *p, enum space space, enum linkage linkage);
bool parse_alignment(struct parser *p, uint64_t *ret);
bool parse_dimensions(struct parser *p, struct dimensions *ret);
bool parse_constant(struct parser *p, uint64_t *ret);

/* parser_function.c: at .entry or .func. */
bool parse_function(struct parser *p, bool is_entry, enum linkage linkage);
bool parse_signature_list(struct parser *p, struct signature *signature, bool rets, bool names);
bool parse_skip_line(struct parser *p); /* .loc and its like */
uint64_t parse_signature_hash(const struct signature *signature);

/* parser_body.c: between { and }. */
bool parse_body(struct parser *p);
bool parse_declare_registers(struct parser *p);
bool parse_frame_variable(struct parser *p, uint64_t size, uint64_t align, uint32_t *ret_offset);
bool parse_enter(struct parser *p); /* a scope */
bool parse_leave(struct parser *p);

/* parser_operand.c */
bool parse_operand(struct parser *p, struct operand *ret);
bool parse_label_reference(struct parser *p, const char *text, uint32_t length, uint32_t *ret);
bool parse_instruction(struct parser *p, const struct token *opcode);
bool parse_guarded(struct parser *p);

/* symbol.c */
bool symbol_declare(struct parser *p, const char *text, uint32_t length, enum symbol_kind kind,
                    enum linkage linkage, uint32_t *ret);

/* lower.c: the instruction in p->inst. */
bool lower_instruction(struct parser *p, uint32_t guard, bool guard_inverted);
bool lower_function_begin(struct parser *p);
bool lower_function_end(struct parser *p);
uint32_t lower_register(struct parser *p, enum type type); /* UINT32_MAX on error */
bool lower_label(struct parser *p, uint32_t label);        /* it is here */
uint32_t lower_new_label(struct parser *p);

/* flow.c, registers.c: complete a function whose ops are all there. */
bool flow_order(struct parser *p);
bool registers_assign(struct parser *p);

#endif
