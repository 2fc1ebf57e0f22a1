/* SPDX-License-Identifier: Apache-2.0 */
#include "fault/plan.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

/* What is left of a line, and the word that was taken from it last. */
struct line {
    const char *at, *end;
    unsigned number;
    char word[FAULT_PATH_BYTES];
};

static const char *const verbs[] = {"fail", "delay", "hang", "die", "corrupt", "lose"};
static const char *const whens[] = {"at", "from", "every"};
static const char *const deaths[] = {"abort", "kill", "segv", "exit"};

static const struct {
    const char *name;
    CUresult value;
} results[] = {
#define RESULT(name, value, text) {#name, name},
    CUDA_RESULTS(RESULT)
#undef RESULT
};

static int __attribute__((format(printf, 3, 4)))
wrong(const struct line *line, struct vgpu_err *err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vgpu_err_setv(err, EINVAL, format, args);
    va_end(args);
    if (err)
        vgpu_err_prefix(err, "line %u", line->number);
    return -EINVAL;
}

/* True if there was a word; a longer one than fits, or one with a NUL inside, is none. */
static bool next_word(struct line *line)
{
    size_t n = 0;

    while (line->at < line->end && isspace((unsigned char)*line->at))
        line->at++;
    while (line->at < line->end && !isspace((unsigned char)*line->at)) {
        if (n == sizeof(line->word) - 1 || *line->at == '\0')
            n = sizeof(line->word);
        if (n < sizeof(line->word))
            line->word[n++] = *line->at;
        line->at++;
    }
    if (n >= sizeof(line->word))
        n = 0;
    line->word[n] = '\0';
    return n > 0;
}

static bool is(const struct line *line, const char *word)
{
    return strcmp(line->word, word) == 0;
}

/* Index of the word among names, or -1. */
static int which(const struct line *line, const char *const *names, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (is(line, names[i]))
            return (int)i;
    }
    return -1;
}

/* The number at the beginning of the word, in [min, max], and what follows it. */
static bool number(const struct line *line, uint64_t min, uint64_t max, uint64_t *ret,
                   const char **ret_rest)
{
    char *rest;
    unsigned long long value;

    if (!isdigit((unsigned char)line->word[0]))
        return false;
    errno = 0;
    value = strtoull(line->word, &rest, 10);
    if (errno || value < min || value > max || (!ret_rest && *rest))
        return false;
    *ret = value;
    if (ret_rest)
        *ret_rest = rest;
    return true;
}

static int take_number(struct line *line, const char *what, uint64_t min, uint64_t max,
                       uint64_t *ret, struct vgpu_err *err)
{
    if (next_word(line) && number(line, min, max, ret, NULL))
        return 0;
    return wrong(line, err, "%s must be a number from %llu to %llu and not '%.40s'", what,
                 (unsigned long long)min, (unsigned long long)max, line->word);
}

static int take_word(struct line *line, const char *what, char *ret, size_t size,
                     struct vgpu_err *err)
{
    if (!next_word(line) || strlen(line->word) >= size)
        return wrong(line, err, "%s is missing or too long", what);
    memcpy(ret, line->word, strlen(line->word) + 1);
    return 0;
}

static int take_path(struct line *line, char ret[FAULT_PATH_BYTES], struct vgpu_err *err)
{
    if (ret[0])
        return wrong(line, err, "said twice");
    if (take_word(line, "a path", ret, FAULT_PATH_BYTES, err) < 0)
        return -EINVAL;
    return ret[0] == '/' ? 0 : wrong(line, err, "a path must begin with '/': '%.40s'", ret);
}

bool fault_rule_covers(const struct fault_rule *rule, const struct fault_call_name *call)
{
    size_t bytes = strlen(rule->call);

    if (bytes > 0 && rule->call[bytes - 1] == '*')
        return strncmp(call->name, rule->call, bytes - 1) == 0;
    return strcmp(call->name, rule->call) == 0 || strcmp(call->base, rule->call) == 0;
}

static int check_call(const struct line *line, const struct fault_rule *rule, struct vgpu_err *err)
{
    for (unsigned i = 0; i < fault_n_calls; i++) {
        if (fault_rule_covers(rule, &fault_call_names[i]))
            return 0;
    }
    return wrong(line, err, "no call of the driver API is named '%s'", rule->call);
}

static int take_when(struct line *line, struct fault_rule *rule, struct vgpu_err *err)
{
    int when = next_word(line) ? which(line, whens, VGPU_ARRAY_SIZE(whens)) : -1;

    if (when < 0)
        return wrong(line, err, "after the call comes at, from or every, and not '%.40s'",
                     line->word);
    rule->when = (enum fault_when)when;
    return take_number(line, whens[when], 1, FAULT_MAX_COUNT, &rule->count, err);
}

/* Takes words until one that is no limit of the rule, which stays in line->word. */
static int take_limits(struct line *line, struct fault_rule *rule, struct vgpu_err *err)
{
    while (next_word(line)) {
        uint64_t vm;

        if (is(line, "gated")) {
            rule->gated = true;
        } else if (is(line, "once")) {
            rule->once = true;
        } else if (is(line, "vm") && !rule->has_vm) {
            if (take_number(line, "vm", 1, UINT32_MAX, &vm, err) < 0)
                return -EINVAL;
            rule->has_vm = true;
            rule->vm = (uint32_t)vm;
        } else {
            break;
        }
    }
    return 0;
}

static int take_result(struct line *line, CUresult *ret, struct vgpu_err *err)
{
    uint64_t value;

    if (next_word(line) && number(line, 1, 999, &value, NULL)) {
        *ret = (CUresult)value;
        return 0;
    }
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(results); i++) {
        if (is(line, results[i].name) && results[i].value != CUDA_SUCCESS) {
            *ret = results[i].value;
            return 0;
        }
    }
    return wrong(line, err, "'%.60s' is no error of CUDA's: a name or a number from 1 to 999",
                 line->word);
}

static int take_time(struct line *line, uint64_t *ret_ns, struct vgpu_err *err)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    const char *unit;
    uint64_t value;

    if (next_word(line) && number(line, 1, FAULT_MAX_DELAY_NS, &value, &unit)) {
        for (size_t i = 0; i < VGPU_ARRAY_SIZE(units); i++) {
            if (strcmp(unit, units[i].unit) == 0 && value <= FAULT_MAX_DELAY_NS / units[i].ns) {
                *ret_ns = value * units[i].ns;
                return 0;
            }
        }
    }
    return wrong(line, err, "'%.40s' is no time: a number and us, ms or s, an hour at most",
                 line->word);
}

static int take_death(struct line *line, struct fault_rule *rule, struct vgpu_err *err)
{
    int death = next_word(line) ? which(line, deaths, VGPU_ARRAY_SIZE(deaths)) : -1;
    uint64_t status = 0;

    if (death < 0)
        return wrong(line, err, "one dies by abort, kill, segv or exit, and not by '%.40s'",
                     line->word);
    rule->death = (enum fault_death)death;
    if (rule->death == FAULT_EXIT && take_number(line, "exit", 0, 255, &status, err) < 0)
        return -EINVAL;
    rule->exit_status = (int)status;
    return 0;
}

/* The argument must be one that a call of the rule has, and hold as many bytes as are changed. */
static int check_argument(const struct line *line, const struct fault_rule *rule,
                          struct vgpu_err *err)
{
    bool found = false;

    for (unsigned i = 0; i < fault_n_calls; i++) {
        const struct fault_call_name *call = &fault_call_names[i];

        for (unsigned j = 0; fault_rule_covers(rule, call) && j < call->n_arguments; j++) {
            size_t bytes = call->arguments[j].bytes;

            if (strcmp(call->arguments[j].name, rule->argument) != 0)
                continue;
            if (bytes < sizeof(rule->mask) && rule->mask >> (8 * bytes))
                return wrong(line, err, "%s of %s has %zu bytes", rule->argument, call->name,
                             bytes);
            found = true;
        }
    }
    return found ? 0 : wrong(line, err, "%s writes no '%s'", rule->call, rule->argument);
}

static int take_mask(struct line *line, struct fault_rule *rule, struct vgpu_err *err)
{
    char *rest = NULL;

    if (next_word(line) && strncmp(line->word, "0x", 2) == 0 &&
        isxdigit((unsigned char)line->word[2]) && strlen(line->word) <= 2 + 16)
        rule->mask = strtoull(line->word + 2, &rest, 16);
    if (!rest || *rest || rule->mask == 0)
        return wrong(line, err, "'%.40s' is no mask: 0x and up to 16 digits, not all 0",
                     line->word);
    return 0;
}

/* "argument NAME xor MASK"; its first word has been taken. */
static int take_argument(struct line *line, struct fault_rule *rule, struct vgpu_err *err)
{
    if (!is(line, "argument"))
        return wrong(line, err, "argument is missing before '%.40s'", line->word);
    if (take_word(line, "an argument", rule->argument, sizeof(rule->argument), err) < 0)
        return -EINVAL;
    if (!next_word(line) || !is(line, "xor"))
        return wrong(line, err, "xor is missing after '%s'", rule->argument);
    if (take_mask(line, rule, err) < 0)
        return -EINVAL;
    return check_argument(line, rule, err);
}

/* What only this verb has; line->word is the word after the limits, or "". */
static int take_rest(struct line *line, struct fault_rule *rule, struct vgpu_err *err)
{
    switch (rule->verb) {
    case FAULT_FAIL:
        return is(line, "with") ? take_result(line, &rule->result, err)
                                : wrong(line, err, "with is missing");
    case FAULT_DELAY:
        return is(line, "by") ? take_time(line, &rule->delay_ns, err)
                              : wrong(line, err, "by is missing");
    case FAULT_DIE:
        return is(line, "by") ? take_death(line, rule, err) : wrong(line, err, "by is missing");
    case FAULT_CORRUPT:
        return take_argument(line, rule, err);
    case FAULT_LOSE:
        rule->result = CUDA_ERROR_DEVICE_UNAVAILABLE;
        if (is(line, "with"))
            return take_result(line, &rule->result, err);
        break;
    case FAULT_HANG:
        break;
    }
    return line->word[0] ? wrong(line, err, "'%.40s' is not understood", line->word) : 0;
}

static int take_rule(struct line *line, struct fault_plan *plan, int verb, struct vgpu_err *err)
{
    struct fault_rule *rule = &plan->rules[plan->n_rules];

    if (plan->n_rules == FAULT_MAX_RULES)
        return wrong(line, err, "more than %d rules", FAULT_MAX_RULES);
    *rule = (struct fault_rule){.verb = (enum fault_verb)verb};
    if (take_word(line, "a call", rule->call, sizeof(rule->call), err) < 0 ||
        check_call(line, rule, err) < 0 || take_when(line, rule, err) < 0 ||
        take_limits(line, rule, err) < 0 || take_rest(line, rule, err) < 0)
        return -EINVAL;
    plan->n_rules++;
    return 0;
}

static int take_line(struct line *line, struct fault_plan *plan, struct vgpu_err *err)
{
    int verb, status;

    if (!next_word(line))
        return line->at == line->end && !line->word[0] ? 0 : wrong(line, err, "a word is too long");
    verb = which(line, verbs, VGPU_ARRAY_SIZE(verbs));
    if (verb >= 0)
        status = take_rule(line, plan, verb, err);
    else if (is(line, "driver"))
        status = take_path(line, plan->driver, err);
    else if (is(line, "state"))
        status = take_path(line, plan->state, err);
    else if (is(line, "health"))
        status = take_path(line, plan->health, err);
    else
        return wrong(line, err, "'%.40s' is not understood", line->word);
    if (status == 0 && next_word(line))
        return wrong(line, err, "'%.40s' is too much", line->word);
    return status;
}

/* What can be said only when all lines are known. */
static int check_whole(const struct fault_plan *plan, struct vgpu_err *err)
{
    if (!plan->driver[0])
        return vgpu_err_set(err, EINVAL, "no line says the driver");
    for (unsigned i = 0; i < plan->n_rules; i++) {
        if ((plan->rules[i].gated || plan->rules[i].once) && !plan->state[0])
            return vgpu_err_set(err, EINVAL, "rule %u is gated or once, and no line says the state",
                                i + 1);
    }
    return 0;
}

int fault_plan_parse(struct fault_plan *ret_plan, const char *text, size_t bytes,
                     struct vgpu_err *err)
{
    const char *end = text + bytes;
    struct line line = {.number = 0};

    *ret_plan = (struct fault_plan){.n_rules = 0};
    if (bytes > FAULT_MAX_BYTES)
        return vgpu_err_set(err, EINVAL, "more than %d bytes", FAULT_MAX_BYTES);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        const char *comment = memchr(text, '#', (size_t)(stop - text));

        line.at = text;
        line.end = comment ? comment : stop;
        line.number++;
        if (take_line(&line, ret_plan, err) < 0)
            return -EINVAL;
        text = newline ? newline + 1 : end;
    }
    return check_whole(ret_plan, err);
}
