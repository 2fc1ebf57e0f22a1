/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/workload_file.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "common/cleanup.h"

#define NUMBER_MAX_BYTES 64

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw files are little-endian");

int workload_file_read(const char *path, uint64_t max_bytes, char **ret_data, uint64_t *ret_bytes,
                       struct vgpu_err *err)
{
    _cleanup_fclose_ FILE *file = fopen(path, "rbe");
    _cleanup_free_ char *data = NULL;
    uint64_t used = 0, capacity = 0;

    if (!file)
        return vgpu_err_set(err, errno, "cannot open input file '%s': %s", path, strerror(errno));
    for (;;) {
        size_t got;

        if (used == capacity) {
            char *grown;

            capacity = capacity ? 2 * capacity : 65536;
            grown = realloc(data, capacity + 8);
            if (!grown)
                return vgpu_err_set(err, ENOMEM, "cannot read '%s': out of memory", path);
            data = grown;
        }
        got = fread(data + used, 1, capacity - used, file);
        if (got == 0)
            break;
        used += got;
        if (used > max_bytes)
            return vgpu_err_set(err, EFBIG, "input file '%s' is longer than %" PRIu64 " bytes",
                                path, max_bytes);
    }
    if (ferror(file))
        return vgpu_err_set(err, EIO, "cannot read '%s': %s", path, strerror(errno));
    memset(data + used, 0, 8);
    *ret_data = vgpu_steal_ptr(&data);
    *ret_bytes = used;
    return 0;
}

static bool separates(char c)
{
    return c == ',' || isspace((unsigned char)c);
}

/* Converts text[at..end), one number. */
static int parse_number(const char *text, uint64_t at, uint64_t end, float *ret,
                        struct vgpu_err *err)
{
    char number[NUMBER_MAX_BYTES + 1];
    char *rest;
    float value;

    if (end - at > NUMBER_MAX_BYTES)
        return vgpu_err_set(err, EINVAL, "the number at byte %" PRIu64 " has over %d characters",
                            at, NUMBER_MAX_BYTES);
    memcpy(number, text + at, end - at);
    number[end - at] = '\0';
    value = strtof(number, &rest);
    if (rest != number + (end - at))
        return vgpu_err_set(err, EINVAL, "'%s' at byte %" PRIu64 " is not a number", number, at);
    if (!isfinite(value))
        return vgpu_err_set(err, EINVAL, "'%s' at byte %" PRIu64 " is not a finite float", number,
                            at);
    *ret = value;
    return 0;
}

static uint64_t number_end(const char *text, uint64_t at, uint64_t bytes)
{
    while (at < bytes && !separates(text[at]))
        at++;
    return at;
}

int workload_text_parse(const char *text, uint64_t bytes, float **ret_values, uint64_t *ret_count,
                        struct vgpu_err *err)
{
    /* Each number takes a character and, but for the last, a separator. */
    _cleanup_free_ float *values = malloc((bytes / 2 + 1) * sizeof(float));
    uint64_t count = 0, at = 0;

    if (!values)
        return vgpu_err_set(err, ENOMEM, "cannot parse numbers: out of memory");
    while (at < bytes) {
        uint64_t end = number_end(text, at, bytes);

        if (end > at) {
            int r = parse_number(text, at, end, &values[count], err);

            if (r < 0)
                return r;
            count++;
        }
        at = end + 1;
    }
    if (count == 0)
        return vgpu_err_set(err, EINVAL, "it holds no numbers");
    *ret_values = vgpu_steal_ptr(&values);
    *ret_count = count;
    return 0;
}

int workload_array_read(const char *path, struct workload_array *array, struct vgpu_err *err)
{
    _cleanup_free_ char *data = NULL;
    size_t element = workload_type_bytes(array->type);
    uint64_t bytes;
    float *values;
    int r;

    r = workload_file_read(path, WORKLOAD_MAX_FILE_BYTES, &data, &bytes, err);
    if (r < 0)
        return r;
    if (array->type == WORKLOAD_TEXT_F32) {
        r = workload_text_parse(data, bytes, &values, &array->count, err);
        if (r < 0)
            return vgpu_err_prefix(err, "input file '%s'", path);
        array->host = values;
        return 0;
    }
    if (bytes == 0 || bytes % element)
        return vgpu_err_set(err, EINVAL,
                            "input file '%s' has %" PRIu64 " bytes: not a whole number of %zu-byte"
                            " elements",
                            path, bytes, element);
    array->count = bytes / element;
    array->host = vgpu_steal_ptr(&data);
    return 0;
}

static int write_digests(FILE *file, const struct workload_array *array)
{
    const unsigned char *digest = array->host;

    for (uint64_t i = 0; i < array->count; i++, digest += 32) {
        for (unsigned int k = 0; k < 32; k++)
            fprintf(file, "%02x", digest[k]);
        fputc('\n', file);
    }
    return ferror(file) ? -EIO : 0;
}

int workload_array_write(FILE *file, const struct workload_array *array)
{
    const float *values = array->host;

    switch (array->type) {
    case WORKLOAD_TEXT_F32:
        for (uint64_t i = 0; i < array->count; i++)
            fprintf(file, "%.9g\n", (double)values[i]);
        break;
    case WORKLOAD_DIGEST:
        return write_digests(file, array);
    default:
        fwrite(array->host, workload_type_bytes(array->type), array->count, file);
    }
    return ferror(file) ? -EIO : 0;
}
