/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/parse.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "admin/amount.h"
#include "admin/suggest.h"
#include "store/text.h"

#define WORD_SHOWN_BYTES 64 /* of a mistyped option, in messages */

/*
 * Options that each subcommand has whose effect is this one at least; field: a bool, or (with a
 * metavar) a text.
 */
static const struct global_option {
    const char *name;
    const char *metavar;
    size_t field;
    const char *help;
    enum command_effect effect;
} global_options[] = {
    {"dry-run", NULL, offsetof(struct invocation, dry_run),
     "check it and say what would change, and change nothing", COMMAND_CHANGES},
    {"if-revision", "REVISION", offsetof(struct invocation, if_revision),
     "only if what it changes has this revision; else say who changed it", COMMAND_REVISES},
    {"socket", "PATH", offsetof(struct invocation, socket_path),
     "the mediator's admin socket (/run/vgpu/admin.sock, or admin.sock in $VGPU_RUN_DIR)"},
    {"database", "PATH", offsetof(struct invocation, database),
     "the database, used while no mediator runs (/var/lib/vgpu/vgpu.db)"},
    {"create", NULL, offsetof(struct invocation, create),
     "make a new database if there is none and no mediator runs"},
    {"json", NULL, offsetof(struct invocation, json), "print JSON"},
    {"color", "WHEN", offsetof(struct invocation, color),
     "always, never, or auto: on a terminal, without $NO_COLOR (auto)"},
    {"help", NULL, offsetof(struct invocation, help), "print help, also for one command"},
    {"version", NULL, offsetof(struct invocation, version), "print the version"},
};

bool parse_shared_option(size_t i, struct parse_shared *ret)
{
    if (i >= VGPU_ARRAY_SIZE(global_options))
        return false;
    *ret = (struct parse_shared){.name = global_options[i].name,
                                 .metavar = global_options[i].metavar,
                                 .help = global_options[i].help,
                                 .effect = global_options[i].effect};
    return true;
}

/* Where parsing stands. */
struct parser {
    int argc;
    char **argv;
    int next;
    struct invocation *invocation;
    const char *words[COMMAND_WORDS_MAX];
    size_t n_words;
    bool seen[VGPU_ARRAY_SIZE(global_options)];
};

static int usage(struct vgpu_err *err, const char *what, const char *text, const char *nearest)
{
    return vgpu_err_set(err, EINVAL, nearest ? "%s '%s'; did you mean '%s'?" : "%s '%s'", what,
                        text, nearest);
}

static int unknown_command(const char *name, struct vgpu_err *err)
{
    struct suggestion suggestion = {.typed = name};

    for (const struct command *const *command = commands; *command; command++)
        suggestion_offer(&suggestion, (*command)->name);
    return usage(err, "unknown command", name, suggestion.nearest);
}

static int unknown_option(const struct command *command, const char *name, struct vgpu_err *err)
{
    struct suggestion suggestion = {.typed = name};
    char shown[WORD_SHOWN_BYTES + 2], nearest[WORD_SHOWN_BYTES + 2];

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(global_options); i++)
        suggestion_offer(&suggestion, global_options[i].name);
    if (command)
        for (const struct command_option *option = command->options; option->name; option++)
            suggestion_offer(&suggestion, option->name);
    snprintf(shown, sizeof(shown), "--%.*s", WORD_SHOWN_BYTES - 1, name);
    if (suggestion.nearest)
        snprintf(nearest, sizeof(nearest), "--%s", suggestion.nearest);
    return usage(err, "unknown option", shown, suggestion.nearest ? nearest : NULL);
}

/* The value after '=', the next word, or bare. */
static int take_value(struct parser *parser, const char *name, const char *inlined,
                      const char *bare, const char **ret_value, struct vgpu_err *err)
{
    if (!inlined && !bare && parser->next == parser->argc)
        return vgpu_err_set(err, EINVAL, "the option --%s needs a value", name);
    *ret_value = inlined ? inlined : bare ? bare : parser->argv[parser->next++];
    return 0;
}

static json_t *convert(enum option_kind kind, const char *text)
{
    char *end;

    errno = 0;
    if (kind == OPTION_TEXT)
        return json_string(text);
    if (kind == OPTION_FLAG)
        return json_true();
    if (text[0] == '\0' || strchr(" \t\n\v\f\r", text[0]))
        return NULL;
    if (kind == OPTION_INTEGER) {
        long long integer = strtoll(text, &end, 10);

        return errno == 0 && *end == '\0' ? json_integer(integer) : NULL;
    } else {
        double number = strtod(text, &end);

        return *end == '\0' && isfinite(number) ? json_real(number) : NULL;
    }
}

static int convert_setting(const struct command_option *option, const char *text,
                           json_t **ret_value, struct vgpu_err *err)
{
    int64_t amount = 0;
    int rc = amount_parse(amount_setting(option->key), text, &amount, err);

    if (rc < 0)
        vgpu_err_prefix(err, "--%s=%s", option->name, text);
    else
        *ret_value = json_integer(amount);
    return rc;
}

static int set_option(struct invocation *invocation, const struct command_option *option,
                      const char *text, struct vgpu_err *err)
{
    static const char *const wanted[] = {"UTF-8 text", "an integer", "a number"};
    json_t *object = option->local ? invocation->local : invocation->args;
    json_t *value = NULL;

    if (json_object_get(object, option->key))
        return vgpu_err_set(err, EINVAL, "--%s is given more than once", option->name);
    if (option->kind == OPTION_SETTING) {
        int rc = convert_setting(option, text, &value, err);

        if (rc < 0)
            return rc;
    } else if (!(value = convert(option->kind, text))) {
        return vgpu_err_set(err, EINVAL, "--%s=%s is not %s", option->name, text,
                            wanted[option->kind]);
    }
    return json_object_set_new(object, option->key, value) < 0
               ? vgpu_err_set(err, ENOMEM, "out of memory")
               : 0;
}

static bool name_is(const char *name, size_t size, const char *text)
{
    return strlen(name) == size && strncmp(name, text, size) == 0;
}

/* 1: it was a global option; 0: it is none. */
static int parse_global(struct parser *parser, const char *text, size_t size, const char *inlined,
                        struct vgpu_err *err)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(global_options); i++) {
        const struct global_option *option = &global_options[i];
        char *field = (char *)parser->invocation + option->field;
        int rc = 1;

        if (!name_is(option->name, size, text))
            continue;
        if (parser->seen[i])
            return vgpu_err_set(err, EINVAL, "--%s is given more than once", option->name);
        parser->seen[i] = true;
        if (option->metavar) {
            rc = take_value(parser, option->name, inlined, NULL, (const char **)(void *)field, err);
            return rc < 0 ? rc : 1;
        }
        if (inlined)
            return vgpu_err_set(err, EINVAL, "the option --%s has no value", option->name);
        *(bool *)field = true;
        return rc;
    }
    return 0;
}

static int parse_option(struct parser *parser, const char *text, struct vgpu_err *err)
{
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text);
    const char *inlined = equals ? equals + 1 : NULL, *value = NULL;
    const struct command *command = parser->invocation->command;
    char name[WORD_SHOWN_BYTES];
    int rc = parse_global(parser, text, size, inlined, err);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    for (const struct command_option *option = command ? command->options : NULL;
         option && option->name; option++) {
        if (!name_is(option->name, size, text))
            continue;
        if (option->kind == OPTION_FLAG && inlined)
            return vgpu_err_set(err, EINVAL, "the option --%s has no value", option->name);
        rc = take_value(parser, option->name, inlined,
                        option->kind == OPTION_FLAG ? "" : option->bare, &value, err);
        return rc < 0 ? rc : set_option(parser->invocation, option, value, err);
    }
    snprintf(name, sizeof(name), "%.*s", (int)(size < sizeof(name) ? size : sizeof(name) - 1),
             text);
    return unknown_option(command, name, err);
}

static int unexpected(const char *text, struct vgpu_err *err)
{
    return vgpu_err_set(err, EINVAL, "unexpected argument '%s'", text);
}

static int parse_word(struct parser *parser, const char *text, struct vgpu_err *err)
{
    struct invocation *invocation = parser->invocation;

    if (invocation->command) {
        if (parser->n_words == COMMAND_WORDS_MAX)
            return unexpected(text, err);
        parser->words[parser->n_words++] = text;
        return 0;
    }
    for (const struct command *const *command = commands; *command; command++)
        if (strcmp((*command)->name, text) == 0)
            invocation->command = *command;
    return invocation->command ? 0 : unknown_command(text, err);
}

static const struct command_option *find_option(const struct command *command, const char *key)
{
    const struct command_option *option = command->options;

    while (strcmp(option->key, key) != 0)
        option++;
    return option;
}

/* How many of the places for words, from `first` on, no option has filled. */
static size_t free_places(const struct invocation *invocation, size_t first)
{
    size_t n = 0;

    for (size_t i = first; i < COMMAND_WORDS_MAX && invocation->command->positional[i]; i++)
        n += !json_object_get(invocation->args, invocation->command->positional[i]);
    return n;
}

/* How often the VM is named. */
static int count_names(const struct invocation *invocation)
{
    static const char *const ways[] = {"vm", "vm_id", "uuid", "name"};
    int named = 0;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(ways); i++)
        named += json_object_get(invocation->args, ways[i]) != NULL;
    return named;
}

/*
 * Gives the words to the places that options left, in order. Where an option names the VM already,
 * its place is for a word only if the others do not suffice, which then is one name too many.
 */
static int place_words(struct parser *parser, struct vgpu_err *err)
{
    struct invocation *invocation = parser->invocation;
    const struct command *command = invocation->command;
    size_t next = 0;

    for (size_t i = 0; i < COMMAND_WORDS_MAX && next < parser->n_words; i++) {
        const char *key = command->positional[i];
        int rc;

        if (!key)
            break;
        if (json_object_get(invocation->args, key) ||
            (i == 0 && command->names_vm && count_names(invocation) > 0 &&
             parser->n_words <= free_places(invocation, 1)))
            continue;
        rc = set_option(invocation, find_option(command, key), parser->words[next++], err);
        if (rc < 0)
            return rc;
    }
    return next < parser->n_words ? unexpected(parser->words[next], err) : 0;
}

/* Options that came before the command are seen without knowing whether it has them. */
static int check_effect(const struct parser *parser, struct vgpu_err *err)
{
    struct invocation *invocation = parser->invocation;
    const char *typed = invocation->if_revision;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(global_options); i++)
        if (parser->seen[i] && invocation->command->effect < global_options[i].effect)
            return vgpu_err_set(err, EINVAL, "%s has no option --%s", invocation->command->name,
                                global_options[i].name);
    if (typed && (!text_decimal(typed, &invocation->revision) || invocation->revision < 1))
        return vgpu_err_set(err, EINVAL, "--if-revision=%s is not a revision, 1 or more", typed);
    return 0;
}

static int check_complete(const struct parser *parser, struct vgpu_err *err)
{
    const struct invocation *invocation = parser->invocation;
    const struct command *command = invocation->command;
    int named = count_names(invocation), rc;

    if (invocation->help || invocation->version)
        return 0;
    if (!command)
        return vgpu_err_set(err, EINVAL, "which command? See: vgpu-admin --help");
    if ((rc = check_effect(parser, err)) < 0)
        return rc;
    for (const struct command_option *option = command->options; option->name; option++)
        if (option->required && !json_object_get(invocation->args, option->key))
            return vgpu_err_set(err, EINVAL, "--%s=%s is missing", option->name, option->metavar);
    if (command->names_vm && named != 1)
        return vgpu_err_set(err, EINVAL,
                            named ? "the VM is named more than once"
                                  : "which VM? Give its id, UUID or name");
    return 0;
}

int parse_command_line(int argc, char **argv, struct invocation *invocation, struct vgpu_err *err)
{
    struct parser parser = {.argc = argc, .argv = argv, .next = 1, .invocation = invocation};
    bool words_only = false;
    int rc;

    while (parser.next < argc) {
        const char *text = argv[parser.next++];

        if (!words_only && strcmp(text, "--") == 0) {
            words_only = true;
            continue;
        }
        if (!words_only && strncmp(text, "--", 2) == 0)
            rc = parse_option(&parser, text + 2, err);
        else if (!words_only && text[0] == '-' && text[1])
            rc = usage(err, "unknown option", text, strcmp(text, "-h") == 0 ? "--help" : NULL);
        else
            rc = parse_word(&parser, text, err);
        if (rc < 0)
            return rc;
    }
    if (invocation->command && (rc = place_words(&parser, err)) < 0)
        return rc;
    return check_complete(&parser, err);
}

#define HELP_COLUMN 24

static void print_option(const char *name, const char *metavar, bool bare, const char *help)
{
    char left[64];

    snprintf(left, sizeof(left), "--%s%s%s%s%s", name, bare && metavar ? "[" : "",
             metavar ? "=" : "", metavar ? metavar : "", bare && metavar ? "]" : "");
    printf("  %-*s %s\n", HELP_COLUMN, left, help);
}

static void print_global_options(enum command_effect least, enum command_effect most)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(global_options); i++)
        if (global_options[i].effect >= least && global_options[i].effect <= most)
            print_option(global_options[i].name, global_options[i].metavar, false,
                         global_options[i].help);
}

static void print_program_help(void)
{
    printf("usage: vgpu-admin [OPTIONS] COMMAND [OPTIONS]\n"
           "Shows and changes who may use which GPU, and how much of it.\n\ncommands:\n");
    for (const struct command *const *command = commands; *command; command++)
        printf("  %-*s %s\n", HELP_COLUMN, (*command)->name, (*command)->summary);
    printf("\noptions of commands that change something:\n");
    print_global_options(COMMAND_CHANGES, COMMAND_REVISES);
    printf("\noptions:\n");
    print_global_options(COMMAND_SHOWS, COMMAND_SHOWS);
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage. More: man vgpu-admin\n");
}

void parse_print_help(const struct command *command)
{
    if (!command) {
        print_program_help();
        return;
    }
    printf("usage: vgpu-admin %s", command->name);
    for (size_t i = 0; i < COMMAND_WORDS_MAX && command->positional[i]; i++) {
        const struct command_option *option = find_option(command, command->positional[i]);
        bool needed = i == 0 || option->required;

        printf(" %s%s%s", needed ? "" : "[", option->metavar, needed ? "" : "]");
    }
    printf(" [OPTIONS]\n%s\n\noptions:\n", command->summary);
    for (const struct command_option *option = command->options; option->name; option++)
        print_option(option->name, option->metavar, option->bare != NULL, option->help);
    if (command->effect != COMMAND_SHOWS)
        printf("\noptions of commands that change something:\n");
    print_global_options(COMMAND_CHANGES, command->effect);
    printf("\noptions of all commands:\n");
    print_global_options(COMMAND_SHOWS, COMMAND_SHOWS);
}
