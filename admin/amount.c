/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/amount.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DIGITS_MAX 20
#define AMOUNT_MAX 9.0e15 /* below 2^53: a double has each integer up to here */

struct suffix {
    const char *text;
    double factor;
};

#define SUFFIXES_MAX 6

/* What each unit takes, and in a message; the first of each is what a bare number means. */
static const struct unit {
    const char *wanted;
    struct suffix suffixes[SUFFIXES_MAX]; /* rising; those of size 0 are unused */
} units[] = {
    [SETTING_COUNT] = {"a whole number", {{"", 1}}},
    [SETTING_PER_S] = {"a whole number a second", {{"", 1}, {"/s", 1}}},
    [SETTING_BYTES] = {"a whole number of bytes, or of K, M, G or T",
                       {{"", 1},
                        {"K", 1024.0},
                        {"M", 1024.0 * 1024},
                        {"G", 1024.0 * 1024 * 1024},
                        {"T", 1024.0 * 1024 * 1024 * 1024}}},
    [SETTING_US] = {"a time in us, ms or s", {{"us", 1}, {"ms", 1e3}, {"s", 1e6}}},
    [SETTING_MS] = {"a time in ms, s, m or h", {{"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}}},
    [SETTING_S] = {"a time in s, m, h or d", {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}}},
    [SETTING_HUNDREDTHS] = {"a number with at most two decimals", {{"", 100}}},
};

const struct setting *amount_setting(const char *name)
{
    const struct setting *setting = setting_find(vm_settings, name);

    return setting ? setting : setting_find(pool_settings, name);
}

static const char *word_for_0(const struct setting *setting)
{
    return setting->fallback ? "default" : "none";
}

/* 0: there is no such suffix. */
static double factor_of(const struct unit *unit, const char *text)
{
    size_t size = strlen(text);

    if (size == 0)
        return unit->suffixes[0].factor;
    /* GiB is the same as G. */
    if (unit == &units[SETTING_BYTES] && size == 3 && strcasecmp(text + 1, "iB") == 0)
        size = 1;
    for (size_t i = 0; i < SUFFIXES_MAX; i++) {
        const struct suffix *suffix = &unit->suffixes[i];

        if (suffix->text && strlen(suffix->text) == size &&
            strncasecmp(suffix->text, text, size) == 0)
            return suffix->factor;
    }
    return 0;
}

/* A decimal number, followed by a suffix of the unit. */
static bool parse(const struct unit *unit, const char *text, double *ret_amount)
{
    size_t digits = strspn(text, "0123456789.");
    char number[DIGITS_MAX + 1];
    double amount;
    char *end;

    if (digits == 0 || digits > DIGITS_MAX)
        return false;
    snprintf(number, sizeof(number), "%.*s", (int)digits, text);
    amount = strtod(number, &end) * factor_of(unit, text + digits);
    *ret_amount = round(amount);
    /* 1.1 s is 1100 ms, though 1.1 has no exact double. */
    return *end == '\0' && end[-1] != '.' && number[0] != '.' &&
           factor_of(unit, text + digits) > 0 && fabs(amount - *ret_amount) < 1e-6 &&
           amount < AMOUNT_MAX;
}

int amount_parse(const struct setting *setting, const char *text, int64_t *ret_amount,
                 struct vgpu_err *err)
{
    const struct unit *unit = &units[setting->unit];
    double amount = 0;

    if (strcmp(text, word_for_0(setting)) != 0 && !parse(unit, text, &amount))
        return vgpu_err_set(err, EINVAL, "the %s is %s, or '%s'", setting->title, unit->wanted,
                            word_for_0(setting));
    *ret_amount = (int64_t)amount;
    return 0;
}

/* To three decimals: 1.2 MiB has more, and nobody reads them. */
static double rounded(double number)
{
    return round(number * 1e3) / 1e3;
}

/* In the largest suffix that leaves it at 1 or more. */
static void show(const struct setting *setting, int64_t amount, char text[AMOUNT_BYTES])
{
    const struct unit *unit = &units[setting->unit];
    const struct suffix *best = &unit->suffixes[0];

    for (size_t i = 0; i < SUFFIXES_MAX && unit->suffixes[i].text; i++)
        if ((double)amount >= unit->suffixes[i].factor)
            best = &unit->suffixes[i];
    snprintf(text, AMOUNT_BYTES, "%.10g%s%s%s", rounded((double)amount / best->factor),
             best->text[0] && best->text[0] != '/' ? " " : "", best->text,
             setting->unit == SETTING_BYTES ? best->text[0] ? "iB" : " B" : "");
}

const char *amount_show(const struct setting *setting, int64_t amount, char text[AMOUNT_BYTES])
{
    if (amount != 0) {
        show(setting, amount, text);
    } else if (setting->fallback) {
        show(setting, setting->fallback, text);
        snprintf(text + strlen(text), AMOUNT_BYTES - strlen(text), " (default)");
    } else {
        snprintf(text, AMOUNT_BYTES, "%s",
                 setting->unit == SETTING_HUNDREDTHS ? "none" : "no limit");
    }
    return text;
}
