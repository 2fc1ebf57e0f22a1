/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vprintf and __assertfail, as device code calls them. The arguments of vprintf lie in a buffer in
 * the caller's local memory, each aligned to its size. Every specification is rebuilt from what was
 * understood, so that nothing of the kernel's reaches the host's printf unchecked.
 */
#include "softgpu/ptx/exec.h"

#include <stdio.h>
#include <string.h>

#define OUTPUT_BYTES_MAX 8192
#define STRING_BYTES_MAX 4096
#define FIELD_MAX        1024

struct printer {
    struct warp *w;
    unsigned lane;
    uint64_t format; /* generic address of what is next */
    uint64_t args;
    uint32_t n_args;
    char text[OUTPUT_BYTES_MAX];
    size_t used;
    enum ptx_fault_kind kind;
    uint64_t bad_address;
    bool bad;
};

static bool printer_read(struct printer *p, uint64_t address, void *data, uint32_t size)
{
    if (!p->bad && access_read(p->w, SP_GENERIC, p->lane, address, size, data, &p->kind))
        return true;
    if (!p->bad)
        p->bad_address = address;
    p->bad = true;
    memset(data, 0, size);
    return false;
}

static char format_next(struct printer *p)
{
    char c = '\0';

    printer_read(p, p->format++, &c, 1);
    return c;
}

static uint64_t next_arg(struct printer *p, uint32_t size)
{
    uint64_t value = 0;

    p->args = (p->args + size - 1) & ~(uint64_t)(size - 1);
    printer_read(p, p->args, &value, size);
    p->args += size;
    p->n_args++;
    return value;
}

static void put(struct printer *p, const char *text, size_t length)
{
    size_t room = sizeof(p->text) - p->used;

    if (length > room)
        length = room;
    memcpy(p->text + p->used, text, length);
    p->used += length;
}

struct spec {
    char flags[8];
    int width, precision; /* -1: none */
    unsigned longs;       /* 0, 1 or 2: l or ll; also j z t */
    unsigned halves;      /* h, hh */
    char conversion;
};

/* A number in a specification, or * from the arguments. */
static int parse_number(struct printer *p, char *c)
{
    int number = 0;

    if (*c == '*') {
        number = (int)(uint32_t)next_arg(p, 4);
        *c = format_next(p);
    }
    while (*c >= '0' && *c <= '9') {
        if (number < FIELD_MAX)
            number = number * 10 + (*c - '0');
        *c = format_next(p);
    }
    return number;
}

static void parse_spec(struct printer *p, struct spec *ret)
{
    char c = format_next(p);
    unsigned n = 0;

    memset(ret, 0, sizeof(*ret));
    ret->width = ret->precision = -1;
    while (c && strchr("-+ #0", c)) {
        if (n < sizeof(ret->flags) - 2 && !strchr(ret->flags, c))
            ret->flags[n++] = c;
        c = format_next(p);
    }
    if (c == '*' || (c >= '1' && c <= '9')) {
        ret->width = parse_number(p, &c);
        if (ret->width < 0) {
            ret->width = ret->width < -FIELD_MAX ? FIELD_MAX : -ret->width;
            if (!strchr(ret->flags, '-'))
                ret->flags[n] = '-';
        }
    }
    if (c == '.') {
        c = format_next(p);
        ret->precision = parse_number(p, &c);
    }
    for (; c && strchr("hljztL", c); c = format_next(p)) {
        if (c == 'h')
            ret->halves++;
        else if (c != 'L')
            ret->longs += c == 'l' ? 1 : 2;
    }
    ret->conversion = c;
    if (ret->width > FIELD_MAX)
        ret->width = FIELD_MAX;
    if (ret->precision > FIELD_MAX)
        ret->precision = FIELD_MAX;
}

/* "%", flags, width, precision, length, conversion, for the host's snprintf. */
static void build_spec(const struct spec *spec, const char *length, char *ret, size_t size)
{
    char width[16] = "", precision[16] = "";

    if (spec->width >= 0)
        snprintf(width, sizeof(width), "%d", spec->width);
    if (spec->precision >= 0)
        snprintf(precision, sizeof(precision), ".%d", spec->precision);
    snprintf(ret, size, "%%%s%s%s%s%c", spec->flags, width, precision, length, spec->conversion);
}

static uint64_t integer_arg(struct printer *p, const struct spec *spec)
{
    bool is_signed = spec->conversion == 'd' || spec->conversion == 'i';
    uint64_t value = next_arg(p, spec->longs ? 8 : 4);

    if (spec->longs)
        return value;
    if (spec->halves >= 2)
        return is_signed ? (uint64_t)(int64_t)(int8_t)value : (uint8_t)value;
    if (spec->halves == 1)
        return is_signed ? (uint64_t)(int64_t)(int16_t)value : (uint16_t)value;
    return is_signed ? (uint64_t)(int64_t)(int32_t)value : (uint32_t)value;
}

static void read_string(struct printer *p, uint64_t address, char *text, size_t size)
{
    size_t n = 0;

    while (n + 1 < size && printer_read(p, address + n, &text[n], 1) && text[n])
        n++;
    text[n] = '\0';
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void print_spec(struct printer *p, struct spec *spec)
{
    char form[64], string[STRING_BYTES_MAX], out[2 * FIELD_MAX + STRING_BYTES_MAX];
    double real;
    uint64_t bits;
    int n = 0;

    switch (spec->conversion) {
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        build_spec(spec, "ll", form, sizeof(form));
        n = snprintf(out, sizeof(out), form, (unsigned long long)integer_arg(p, spec));
        break;
    case 'c':
        build_spec(spec, "", form, sizeof(form));
        n = snprintf(out, sizeof(out), form, (int)(uint8_t)next_arg(p, 4));
        break;
    case 'p':
        spec->conversion = 'x';
        spec->flags[0] = '#';
        spec->flags[1] = '\0';
        build_spec(spec, "ll", form, sizeof(form));
        bits = next_arg(p, 8);
        n = bits ? snprintf(out, sizeof(out), form, (unsigned long long)bits)
                 : snprintf(out, sizeof(out), "%*s", spec->width > 0 ? spec->width : 0, "(nil)");
        break;
    case 's':
        read_string(p, next_arg(p, 8), string, sizeof(string));
        build_spec(spec, "", form, sizeof(form));
        n = snprintf(out, sizeof(out), form, string);
        break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case 'a':
    case 'A':
        bits = next_arg(p, 8);
        memcpy(&real, &bits, sizeof(real));
        build_spec(spec, "", form, sizeof(form));
        n = snprintf(out, sizeof(out), form, real);
        break;
    case '%':
        out[0] = '%';
        n = 1;
        break;
    default:
        break;
    }
    if (n > 0)
        put(p, out, (size_t)n < sizeof(out) ? (size_t)n : sizeof(out) - 1);
}
#pragma GCC diagnostic pop

static void print_all(struct printer *p)
{
    while (!p->bad && p->used < sizeof(p->text)) {
        char c = format_next(p);

        if (c == '\0')
            return;
        if (c == '%') {
            struct spec spec;

            parse_spec(p, &spec);
            if (!spec.conversion)
                return;
            print_spec(p, &spec);
        } else {
            put(p, &c, 1);
        }
    }
}

/* One lane's argument of the call, from its place in the frame. */
static uint64_t call_argument(struct warp *w, unsigned lane, uint32_t place, uint32_t size)
{
    enum ptx_fault_kind kind;
    uint64_t value = 0;

    access_read(w, SP_LOCAL, lane, w->frame->local_base + place, size, &value, &kind);
    return value;
}

const struct op *builtin_vprintf(struct warp *w, const struct op *op, const uint32_t *places)
{
    const struct signature *signature = &w->grid->program->functions.at[op->imm]->signature;
    uint32_t n_rets = signature->rets.n;

    if (signature->params.n != 2 || n_rets > 1)
        return fault_raise(w, op, w->mask, PTX_FAULT_PC, 0, 0, "vprintf declared otherwise");
    for (uint32_t lanes = w->mask; lanes; lanes &= lanes - 1) {
        struct printer p = {.w = w, .lane = (unsigned)__builtin_ctz(lanes)};
        enum ptx_fault_kind kind;

        p.format = call_argument(w, p.lane, places[n_rets], 8);
        p.args = call_argument(w, p.lane, places[n_rets + 1], 8);
        print_all(&p);
        if (p.bad)
            return fault_raise(w, op, UINT32_C(1) << p.lane, p.kind, p.bad_address, 1,
                               "vprintf reads %#llx", (unsigned long long)p.bad_address);
        run_print(w->grid->run, p.text, p.used);
        if (n_rets)
            access_write(w, SP_LOCAL, p.lane, w->frame->local_base + places[0], 4, &p.n_args,
                         &kind);
    }
    return op + 1;
}

/* __assertfail(message, file, line, function, char size) */
const struct op *builtin_assertfail(struct warp *w, const struct op *op, const uint32_t *places)
{
    const struct signature *signature = &w->grid->program->functions.at[op->imm]->signature;
    struct printer p = {.w = w, .lane = (unsigned)__builtin_ctz(w->mask)};
    char message[512], file[512], function[256], text[1500];
    uint32_t line;
    int n;

    if (signature->params.n < 4)
        return fault_raise(w, op, w->mask, PTX_FAULT_ASSERT, 0, 0, "assertion failed");
    places += signature->rets.n;
    read_string(&p, call_argument(w, p.lane, places[0], 8), message, sizeof(message));
    read_string(&p, call_argument(w, p.lane, places[1], 8), file, sizeof(file));
    line = (uint32_t)call_argument(w, p.lane, places[2], 4);
    read_string(&p, call_argument(w, p.lane, places[3], 8), function, sizeof(function));
    for (uint32_t lanes = w->mask; lanes; lanes &= lanes - 1) {
        unsigned lane = (unsigned)__builtin_ctz(lanes);

        n = snprintf(text, sizeof(text),
                     "%s:%u: %s: block: [%u,%u,%u], thread: [%u,%u,%u] Assertion `%s` failed.\n",
                     file, line, function, w->block->id[0], w->block->id[1], w->block->id[2],
                     w->tid[0][lane], w->tid[1][lane], w->tid[2][lane], message);
        run_print(w->grid->run, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    }
    return fault_raise(w, op, w->mask, PTX_FAULT_ASSERT, 0, 0, "%s:%u: `%s`", file, line, message);
}
