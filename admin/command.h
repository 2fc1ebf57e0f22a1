/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a subcommand of vgpu-admin is: its options, as a table that parsing, help and the test of
 * the man page read, and the function that runs it.
 *
 * Each subcommand is a file named after it that defines one `const struct command`.
 */
#ifndef VGPU_ADMIN_COMMAND_H
#define VGPU_ADMIN_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "store/json.h"

#define EXIT_USAGE        2
#define COMMAND_WORDS_MAX 3

/*
 * OPTION_SETTING: key is one of store/setting.h, whose unit says what is taken (admin/amount.h).
 * OPTION_FLAG has no value, and is true where it is given.
 */
enum option_kind { OPTION_TEXT, OPTION_INTEGER, OPTION_NUMBER, OPTION_SETTING, OPTION_FLAG };

struct command_option {
    const char *name; /* without dashes; NULL ends a table */
    enum option_kind kind;
    const char *metavar;
    const char *key; /* in invocation->args, or in ->local */
    const char *help;
    bool required;
    bool local;       /* for vgpu-admin itself, not for the mediator */
    const char *bare; /* the value where it is given without one; NULL: it needs one */
};

/* COMMAND_CHANGES has --dry-run; COMMAND_REVISES, which changes one object, --if-revision too. */
enum command_effect { COMMAND_SHOWS, COMMAND_CHANGES, COMMAND_REVISES };

struct invocation;

struct command {
    const char *name;
    const char *summary;
    /* Keys of the options that may be given as plain words, in this order; NULL: no more. */
    const char *positional[COMMAND_WORDS_MAX];
    bool needs_mediator; /* the database alone cannot tell */
    bool names_vm;       /* one of vm, vm_id, uuid, name must be given */
    enum command_effect effect;
    const struct command_option *options;
    /* Prints the result of the request that has the command's name and arguments; NULL: what it
     * sets now is so (settings_print()) ... */
    void (*print)(const json_t *result);
    /* ... and, where there is more to do, this does it all, printing included. 0 or -errno. */
    int (*run)(const struct invocation *invocation, struct vgpu_err *err);
};

struct invocation {
    const struct command *command;
    const char *socket_path;
    const char *database;
    const char *color; /* --color; NULL: not given */
    bool json;
    bool help;
    bool version;
    bool create;
    bool dry_run;
    const char *if_revision; /* as typed; NULL: any */
    int64_t revision;        /* what it says; 0: any */
    json_t *args;            /* what goes into the request */
    json_t *local;           /* what stays here */
};

/* The four ways to name a VM; for the start of an option table. */
#define COMMAND_VM_OPTIONS                                                                         \
    {.name = "vm",                                                                                 \
     .kind = OPTION_TEXT,                                                                          \
     .metavar = "VM",                                                                              \
     .key = "vm",                                                                                  \
     .help = "the VM, by id, UUID or name"},                                                       \
        {.name = "vm-id",                                                                          \
         .kind = OPTION_INTEGER,                                                                   \
         .metavar = "ID",                                                                          \
         .key = "vm_id",                                                                           \
         .help = "the VM, by its numeric id only"},                                                \
        {.name = "uuid",                                                                           \
         .kind = OPTION_TEXT,                                                                      \
         .metavar = "UUID",                                                                        \
         .key = "uuid",                                                                            \
         .help = "the VM, by its UUID only"},                                                      \
    {                                                                                              \
        .name = "name", .kind = OPTION_TEXT, .metavar = "NAME", .key = "name",                     \
        .help = "the VM, by its name only"                                                         \
    }

/* For commands about one GPU. */
#define COMMAND_GPU_OPTION                                                                         \
    {                                                                                              \
        .name = "gpu-id", .kind = OPTION_INTEGER, .metavar = "ID", .key = "gpu_id",                \
        .help = "the GPU, by the id that list-gpus shows", .required = true                        \
    }

#define COMMAND_REASON_OPTION                                                                      \
    {                                                                                              \
        .name = "reason", .kind = OPTION_TEXT, .metavar = "TEXT", .key = "reason",                 \
        .help = "why, for who reads it later: at most 256 bytes", .required = true                 \
    }

/* For commands about one pool. */
#define COMMAND_POOL_OPTION                                                                        \
    {                                                                                              \
        .name = "pool", .kind = OPTION_TEXT, .metavar = "POOL", .key = "pool", .help = "the pool", \
        .required = true                                                                           \
    }

/* All subcommands, by name; NULL ends it. */
extern const struct command *const commands[];

#endif
