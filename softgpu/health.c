/* SPDX-License-Identifier: Apache-2.0 */
/* The state that NVML reports; see health.h. */
#include "softgpu/health.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define MAX_WORD_BYTES 64

static const struct {
    const char *key;
    size_t offset;
} keys[] = {
#define KEY(name)                                                                                  \
    {                                                                                              \
#name, offsetof(struct health, name)                                                       \
    }
    KEY(temperature_celsius),
    KEY(power_milliwatts),
    KEY(power_limit_milliwatts),
    KEY(sm_clock_mhz),
    KEY(memory_clock_mhz),
    KEY(utilization_percent),
    KEY(memory_utilization_percent),
    KEY(memory_used_bytes),
    KEY(ecc_corrected),
    KEY(ecc_uncorrected),
    KEY(ecc_corrected_total),
    KEY(ecc_uncorrected_total),
    KEY(retired_single_bit),
    KEY(retired_double_bit),
    KEY(retirement_pending),
    KEY(memory_temperature_celsius),
    KEY(throttle_reasons),
    KEY(remapped_corrected),
    KEY(remapped_uncorrected),
    KEY(remap_pending),
    KEY(remap_failure),
    KEY(recovery_action),
    KEY(lost),
    KEY(reset_required),
    KEY(delay_ms),
    KEY(absent),
    KEY(pci_bus),
    KEY(numa_node),
    KEY(mig_mode),
    KEY(persistence_mode),
#undef KEY
};

void health_default(struct health *ret)
{
    *ret = (struct health){
        .temperature_celsius = 40,
        .memory_temperature_celsius = 45,
        .power_milliwatts = 75000,
        .power_limit_milliwatts = 700000,
        .sm_clock_mhz = 1980,
        .memory_clock_mhz = 3201,
        .utilization_percent = UINT64_MAX,
        .memory_used_bytes = UINT64_MAX,
        .pci_bus = UINT64_MAX,
        .numa_node = UINT64_MAX,
        .persistence_mode = 1,
    };
}

/* Copies the next word of the line into word; false if there is none or it is too long. */
static bool next_word(const char **line, const char *end, char word[MAX_WORD_BYTES])
{
    size_t n = 0;

    while (*line < end && isspace((unsigned char)**line))
        (*line)++;
    while (*line < end && !isspace((unsigned char)**line)) {
        if (n == MAX_WORD_BYTES - 1)
            return false;
        word[n++] = *(*line)++;
    }
    word[n] = '\0';
    return n > 0;
}

static bool next_number(const char **line, const char *end, uint64_t *ret)
{
    char word[MAX_WORD_BYTES], *rest;

    if (!next_word(line, end, word) || !isdigit((unsigned char)word[0]))
        return false;
    errno = 0;
    *ret = strtoull(word, &rest, 10);
    return *rest == '\0' && errno == 0;
}

static bool parse_line(struct health *health, const char *line, const char *end)
{
    char key[MAX_WORD_BYTES], extra[MAX_WORD_BYTES];
    uint64_t value, bytes;

    if (!next_word(&line, end, key))
        return true; /* empty */
    if (!next_number(&line, end, &value))
        return false;
    if (strcmp(key, "process") == 0) {
        if (!next_number(&line, end, &bytes) || health->n_processes == HEALTH_MAX_PROCESSES)
            return false;
        health->processes[health->n_processes++] = (struct health_process){value, bytes};
        return true;
    }
    if (next_word(&line, end, extra))
        return false;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(keys); i++) {
        if (strcmp(key, keys[i].key) == 0) {
            memcpy((char *)health + keys[i].offset, &value, sizeof(value));
            return true;
        }
    }
    return false;
}

size_t health_parse(struct health *health, const char *text, size_t size_bytes)
{
    const char *end = text + size_bytes;
    size_t n_wrong = 0;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *line_end = newline ? newline : end;
        const char *comment = memchr(text, '#', (size_t)(line_end - text));

        n_wrong += !parse_line(health, text, comment ? comment : line_end);
        text = line_end + 1;
    }
    return n_wrong;
}

/* The file's text, for the caller to free; NULL if there is none. */
static char *read_text(const char *dir, unsigned index, size_t *ret_bytes)
{
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int fd = -1;
    ssize_t n;

    if (!dir || asprintf(&path, "%s/gpu%u.state", dir, index) < 0)
        return NULL;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    text = malloc(HEALTH_MAX_BYTES);
    if (fd < 0 || !text || (n = read(fd, text, HEALTH_MAX_BYTES)) < 0)
        return NULL;
    *ret_bytes = (size_t)n;
    return vgpu_steal_ptr(&text);
}

void health_read(struct health *ret, const char *dir, unsigned index)
{
    size_t size_bytes = 0;
    _cleanup_free_ char *text = read_text(dir, index, &size_bytes);

    health_default(ret);
    if (text)
        health_parse(ret, text, size_bytes);
}

static bool ends_with_reset(const char *line, const char *end)
{
    static const char *const gone[] = {
        "lost",          "reset_required",    "recovery_action", "ecc_corrected", "ecc_uncorrected",
        "remap_pending", "retirement_pending"};
    char key[MAX_WORD_BYTES];

    if (!next_word(&line, end, key))
        return false;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(gone); i++)
        if (strcmp(key, gone[i]) == 0)
            return true;
    return false;
}

/* The lines that a reset leaves as they are. */
static void write_rest(FILE *file, const char *text, const char *end)
{
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *next = newline ? newline + 1 : end;

        if (!ends_with_reset(text, next))
            fwrite(text, 1, (size_t)(next - text), file);
        text = next;
    }
}

int health_reset(const char *dir, unsigned index)
{
    size_t size_bytes = 0;
    _cleanup_free_ char *text = read_text(dir, index, &size_bytes);
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ char *fresh = NULL;
    FILE *file;

    if (!dir || asprintf(&path, "%s/gpu%u.state", dir, index) < 0 ||
        asprintf(&fresh, "%s.new", path) < 0)
        return -ENOMEM;
    if (!text)
        return 0;
    file = fopen(fresh, "we");
    if (!file)
        return -errno;
    write_rest(file, text, text + size_bytes);
    if (fclose(file) != 0 || rename(fresh, path) < 0)
        return -errno;
    return 0;
}
