/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/complete.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/parse.h"
#include "admin/top_cell.h"
#include "store/threshold.h"

#define LIVE_TIMEOUT_S 2 /* who presses Tab waits */

/* The line as the parser would see it. */
struct words {
    char **all; /* all[0] is the program */
    size_t n, at;
    bool bash;
    char quote;   /* that the last piece is in, or 0 */
    size_t fixed; /* bytes of the word with the cursor that the shell keeps */
};

/* What was found before the word with the cursor. */
struct context {
    const struct command *command;
    const struct command_option *option; /* whose value the word is */
    const char *shared_metavar;          /* the same of a shared option; NULL: it is none */
    const char *shared_name;
    size_t n_positional;
    const char *socket_path;
    const char *prefix; /* what of the word's value is typed */
};

/* Words */

static bool is_break(const char *text)
{
    return text[0] && strspn(text, "=:") == strlen(text);
}

/* Takes quotes and backslashes away, as bash would; *ret_quote: the one that is still open. */
static char *unquote(const char *text, char *ret_quote)
{
    char *plain = malloc(strlen(text) + 1), *to = plain, quote = 0;

    for (; plain && *text; text++) {
        if (quote ? *text == quote : *text == '\'' || *text == '"')
            quote = quote ? 0 : *text;
        else if (*text == '\\' && quote != '\'' && text[1])
            *to++ = *++text;
        else
            *to++ = *text;
    }
    if (plain)
        *to = '\0';
    *ret_quote = quote;
    return plain;
}

/* Adds a piece to the end of a word; both are taken over. */
static char *join(char *word, char *piece)
{
    char *joined = NULL;

    if (!word)
        return piece;
    if (!piece || asprintf(&joined, "%s%s", word, piece) < 0)
        joined = NULL;
    free(word);
    free(piece);
    return joined;
}

/*
 * bash splits "--pool=A" into three: a piece that is a separator, and the one behind it, belong to
 * the word before. (That there were spaces between them is not known, and not usual.)
 */
static int read_words(int n_words, char **words, size_t cursor, struct words *to)
{
    bool joins = false;

    to->all = calloc((size_t)n_words + 1, sizeof(*to->all));
    for (int i = 0; to->all && i < n_words; i++) {
        bool separator = to->bash && to->n > 1 && is_break(words[i]);
        char quote = 0;
        char *piece = to->bash ? unquote(words[i], &quote) : strdup(words[i]);
        size_t before;

        if (!separator && !joins)
            to->n++;
        before = to->all[to->n - 1] ? strlen(to->all[to->n - 1]) : 0;
        to->all[to->n - 1] = join(to->all[to->n - 1], piece);
        if (!to->all[to->n - 1])
            return -ENOMEM;
        joins = separator;
        if ((size_t)i != cursor)
            continue;
        to->at = to->n - 1;
        to->quote = quote;
        to->fixed = !to->bash ? 0 : separator ? strlen(to->all[to->at]) : before;
        return 0; /* what stands behind the cursor says nothing */
    }
    return to->all ? -EINVAL : -ENOMEM;
}

static void release_words(struct words *words)
{
    for (size_t i = 0; words->all && i < words->n; i++)
        free(words->all[i]);
    free(words->all);
}

/* Candidates */

struct offer {
    const struct words *words;
    const char *word; /* with the cursor */
    bool ends_in_value;
};

/* One that the shell puts in place of the last piece. */
static void print_for_bash(const struct words *words, const char *text)
{
    static const char special[] = " \t\"'\\$`!&|;<>()[]{}*?#~^";

    for (; *text; text++) {
        if (words->quote ? *text == words->quote || (words->quote == '"' && strchr("\"\\$`", *text))
                         : strchr(special, *text) != NULL)
            putchar('\\');
        putchar(*text);
    }
    putchar('\n');
}

/* Prints it if it goes on from what is typed; before: "--pool=" where that is in the word. */
static void offer(const struct offer *to, const char *before, const char *text, const char *what)
{
    _cleanup_free_ char *whole = NULL;

    if (asprintf(&whole, "%s%s", before, text) < 0) {
        whole = NULL;
        return;
    }
    if (strncmp(whole, to->word, strlen(to->word)) != 0 || strpbrk(whole, "\n\t"))
        return;
    if (!to->words->bash)
        printf("%s\t%s\n", whole, what ? what : "");
    else if (to->words->quote != '\'' || !strchr(whole, '\''))
        print_for_bash(to->words, whole + to->words->fixed);
}

static void offer_list(const struct offer *to, const char *before, const char *const *texts)
{
    for (; *texts; texts++)
        offer(to, before, *texts, NULL);
}

static void offer_commands(const struct offer *to)
{
    for (const struct command *const *command = commands; *command; command++)
        offer(to, "", (*command)->name, (*command)->summary);
}

static void offer_option(const struct offer *to, const char *name, bool has_value, const char *help)
{
    char text[64];

    snprintf(text, sizeof(text), "--%s%s", name, has_value ? "=" : "");
    offer(to, "", text, help);
}

/* Of the command, or (NULL) those before it. */
static void offer_options(const struct offer *to, const struct command *command)
{
    struct parse_shared shared;

    for (const struct command_option *option = command ? command->options : NULL;
         option && option->name; option++)
        offer_option(to, option->name, option->kind != OPTION_FLAG && !option->bare, option->help);
    for (size_t i = 0; parse_shared_option(i, &shared); i++)
        if (!command || shared.effect <= command->effect)
            offer_option(to, shared.name, shared.metavar != NULL, shared.help);
}

/* The result of a command of the mediator's, which is asked briefly; NULL: there is none. */
static json_t *ask(const struct context *context, const char *command)
{
    _cleanup_json_ json_t *args = json_object();
    struct vgpu_err err = {.code = 0};
    struct client client;
    json_t *result = NULL;

    if (client_connect(&client, context->socket_path, LIVE_TIMEOUT_S, &err) < 0)
        return NULL;
    if (client_call(&client, command, args, &result, &err) < 0)
        result = NULL;
    client_close(&client);
    return result;
}

/* A member of each object of the result's array; numbers as text. */
static void offer_member(const struct offer *to, const char *before, const json_t *rows,
                         const char *key, const char *what_key)
{
    const json_t *row;
    size_t i;

    json_array_foreach (rows, i, row) {
        const json_t *value = json_object_get(row, key);
        const char *text = json_string_value(value);
        const char *what = json_string_value(json_object_get(row, what_key));
        char number[24];

        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
        if (text || json_is_integer(value))
            offer(to, before, text ? text : number, what);
    }
}

static void offer_pools(const struct offer *to, const char *before, const struct context *context)
{
    _cleanup_json_ json_t *result = ask(context, "list-pools");

    offer_member(to, before, json_object_get(result, "pools"), "pool", "description");
}

static void offer_gpus(const struct offer *to, const char *before, const struct context *context)
{
    _cleanup_json_ json_t *result = ask(context, "list-gpus");

    offer_member(to, before, json_object_get(result, "gpus"), "gpu_id", "model");
}

/* keys: which of id, UUID and name may stand there. */
static void offer_vms(const struct offer *to, const char *before, const struct context *context,
                      const char *const *keys)
{
    _cleanup_json_ json_t *result = ask(context, "list-vms");

    for (; *keys; keys++)
        offer_member(to, before, json_object_get(result, "vms"), *keys,
                     strcmp(*keys, "name") == 0 ? "uuid" : "name");
}

static void offer_columns(const struct offer *to, const char *before)
{
    for (const struct top_column *column = top_columns[TOP_VMS]; column->title; column++)
        offer(to, before, column->title, column->help);
}

static void offer_thresholds(const struct offer *to, const char *before)
{
    for (size_t i = 0; i < THRESHOLD_N; i++)
        offer(to, before, thresholds[i].name, thresholds[i].title);
}

/* Values of options that have few, whatever command has them. */
static const struct {
    const char *key;
    const char *const values[16];
} few[] = {
    {"priority", {"low", "medium", "high"}},         {"policy", {"wfq", "strict"}},
    {"color", {"always", "never", "auto"}},          {"shell", {"bash", "zsh"}},
    {"action", {"ignore", "warn", "stop", "drain"}}, {"object", {"gpu", "pool", "vm"}},
};

static bool offer_few(const struct offer *to, const char *before, const char *key)
{
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(few); i++)
        if (strcmp(few[i].key, key) == 0) {
            offer_list(to, before, few[i].values);
            return true;
        }
    return false;
}

static int offer_value(const struct offer *to, const char *before, const struct context *context)
{
    static const char *const any[] = {"vm_id", "name", NULL};
    const struct command_option *option = context->option;
    const char *key = option->key;
    bool makes_pool = strcmp(context->command->name, "create-pool") == 0;

    if (strcmp(option->metavar, "FILE") == 0 || strcmp(option->metavar, "PATH") == 0)
        return COMPLETE_FILES;
    if (offer_few(to, before, key))
        return EXIT_SUCCESS;
    if (strcmp(key, "kind") == 0)
        offer_list(to, before, event_kinds);
    else if (strcmp(key, "sort") == 0)
        offer_columns(to, before);
    else if (strcmp(key, "gpu_id") == 0)
        offer_gpus(to, before, context);
    else if (strcmp(key, "pool") == 0 && !makes_pool) /* a new name has nothing to go on from */
        offer_pools(to, before, context);
    else if (strcmp(key, "vm") == 0)
        offer_vms(to, before, context, any);
    else if (strcmp(context->command->name, "set-threshold") == 0 && strcmp(key, "name") == 0)
        offer_thresholds(to, before);
    else if (context->command->names_vm &&
             (strcmp(key, "vm_id") == 0 || strcmp(key, "uuid") == 0 || strcmp(key, "name") == 0))
        offer_vms(to, before, context, (const char *const[]){key, NULL});
    return EXIT_SUCCESS;
}

/* The line before the cursor */

static const struct command_option *find_option(const struct command *command, const char *name,
                                                size_t size)
{
    for (const struct command_option *option = command ? command->options : NULL;
         option && option->name; option++)
        if (strlen(option->name) == size && strncmp(option->name, name, size) == 0)
            return option;
    return NULL;
}

static const struct command_option *find_key(const struct command *command, const char *key)
{
    const struct command_option *option = command->options;

    while (option->name && strcmp(option->key, key) != 0)
        option++;
    return option->name ? option : NULL;
}

static bool find_shared(const char *name, size_t size, struct parse_shared *ret)
{
    for (size_t i = 0; parse_shared_option(i, ret); i++)
        if (strlen(ret->name) == size && strncmp(ret->name, name, size) == 0)
            return true;
    return false;
}

/* Makes the word after this option (text is behind the dashes) its value, or takes it in. */
static void see_option(struct context *context, const char *text)
{
    size_t size = strcspn(text, "=");
    const char *value = text[size] == '=' ? text + size + 1 : NULL;
    struct parse_shared shared;

    context->option = NULL;
    context->shared_metavar = NULL;
    if (find_shared(text, size, &shared)) {
        context->shared_metavar = shared.metavar;
        context->shared_name = shared.name;
        if (value && strcmp(shared.name, "socket") == 0)
            context->socket_path = value;
    } else {
        context->option = find_option(context->command, text, size);
        if (context->option && (context->option->kind == OPTION_FLAG || context->option->bare))
            context->option = NULL;
    }
    context->prefix = value;
}

static void see_word(struct context *context, const char *word)
{
    bool was_value = (context->option || context->shared_metavar) && !context->prefix;

    if (was_value && context->shared_metavar && strcmp(context->shared_name, "socket") == 0)
        context->socket_path = word;
    context->option = NULL;
    context->shared_metavar = NULL;
    context->prefix = NULL;
    if (was_value)
        return;
    if (strncmp(word, "--", 2) == 0) {
        see_option(context, word + 2);
        if (context->prefix) { /* it has its value: the next word is another's */
            context->option = NULL;
            context->shared_metavar = NULL;
            context->prefix = NULL;
        }
        return;
    }
    if (context->command) {
        context->n_positional++;
        return;
    }
    for (const struct command *const *command = commands; *command; command++)
        if (strcmp((*command)->name, word) == 0)
            context->command = *command;
}

static int offer_shared_value(const struct offer *to, const char *before,
                              const struct context *context)
{
    if (strcmp(context->shared_metavar, "PATH") == 0)
        return COMPLETE_FILES;
    offer_few(to, before, context->shared_name);
    return EXIT_SUCCESS;
}

/* A plain word: for the next of the command's places, or an option. */
static int offer_positional(const struct offer *to, struct context *context)
{
    const struct command *command = context->command;
    const char *key = context->n_positional < COMMAND_WORDS_MAX
                          ? command->positional[context->n_positional]
                          : NULL;

    context->option = key ? find_key(command, key) : NULL;
    if (context->option)
        return offer_value(to, "", context);
    offer_options(to, command);
    return EXIT_SUCCESS;
}

/* "--pool=" of a word that has it, for free(). */
static char *option_part(const char *word)
{
    const char *equals = strchr(word, '=');

    return strndup(word, equals ? (size_t)(equals - word) + 1 : 0);
}

static int offer_all(const struct words *words, struct context *context)
{
    const struct offer to = {.words = words, .word = words->all[words->at]};
    _cleanup_free_ char *before = option_part(to.word);

    for (size_t i = 1; i < words->at; i++)
        see_word(context, words->all[i]);
    if (context->option)
        return offer_value(&to, "", context);
    if (context->shared_metavar)
        return offer_shared_value(&to, "", context);
    if (strncmp(to.word, "--", 2) == 0 && strchr(to.word, '=')) {
        see_option(context, to.word + 2);
        if (context->option)
            return offer_value(&to, before ? before : "", context);
        return context->shared_metavar ? offer_shared_value(&to, before ? before : "", context)
                                       : EXIT_SUCCESS;
    }
    if (to.word[0] == '-')
        offer_options(&to, context->command);
    else if (context->command)
        return offer_positional(&to, context);
    else
        offer_commands(&to);
    return EXIT_SUCCESS;
}

int complete(int n_words, char **texts)
{
    _cleanup_free_ char *socket_path = client_socket_path();
    struct words words = {.bash = n_words > 0 && strcmp(texts[0], "bash") == 0};
    struct context context = {.socket_path = socket_path};
    char *end = NULL;
    long cursor = n_words > 1 ? strtol(texts[1], &end, 10) : -1;
    int status = EXIT_FAILURE;

    if (!socket_path || n_words < 3 || *end || cursor < 1 || cursor > n_words - 3)
        return EXIT_USAGE;
    if (read_words(n_words - 2, texts + 2, (size_t)cursor, &words) == 0)
        status = offer_all(&words, &context);
    release_words(&words);
    return status;
}
