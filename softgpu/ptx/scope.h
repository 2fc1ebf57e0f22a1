/* SPDX-License-Identifier: Apache-2.0 */
/* Names in nested scopes, for one text: a keyed hash whose entries are popped with their scope. */
#ifndef SOFTGPU_PTX_SCOPE_H
#define SOFTGPU_PTX_SCOPE_H

#include "softgpu/ptx/array.h"

enum name_kind {
    NAME_NONE,
    NAME_REG,       /* a: virtual register */
    NAME_REG_RANGE, /* a: first virtual register, b: count */
    NAME_LOCAL,     /* a: offset in the frame, b: size; .local and .param variables */
    NAME_KPARAM,    /* a: offset in the entry's parameters, b: size */
    NAME_SYMBOL,    /* a: symbol */
    NAME_LABEL,     /* a: label */
    NAME_PENDING,   /* a: label, used and not yet defined in this scope */
    NAME_TARGETS,   /* a: index of a list of branch targets */
    NAME_PROTOTYPE, /* a: index of a prototype */
};

struct name {
    const char *text;
    uint32_t length;
    uint32_t next; /* in the bucket, index + 1 */
    uint32_t bucket;
    uint16_t depth;
    uint8_t kind;
    uint32_t a, b;
};

struct scope {
    ARRAY(struct name) names;
    uint32_t *buckets;
    uint32_t mask;
    uint32_t depth;
    uint64_t key;
};

bool scope_init(struct scope *scope, uint64_t size_hint);
void scope_release(struct scope *scope);

/* Innermost entry of that name and of one of the kinds in the mask (1 << kind), or NULL. */
struct name *scope_find(struct scope *scope, const char *text, uint32_t length, uint32_t kinds);

/* Adds to the innermost scope. NULL if out of memory; duplicates are the caller's to check. */
struct name *scope_add(struct scope *scope, const char *text, uint32_t length, enum name_kind kind,
                       uint32_t a, uint32_t b);

uint64_t scope_key(void);
uint32_t scope_hash(uint64_t key, const char *text, uint32_t length);

#endif
