/* SPDX-License-Identifier: Apache-2.0 */
/* Module images; see image.h. */
#include "softgpu/image.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "softgpu/identity.h"

#define WRAPPER_MAGIC "\xb1\x43\x62\x46"
#define EM_CUDA       190

/* What nvcc puts into a program's .nvFatBinSegment section. */
struct wrapper {
    uint32_t magic;
    uint32_t version;
    const void *data;
    void *filename_or_fatbins;
};

const void *image_unwrap(const void *data)
{
    struct wrapper wrapper;

    /* Stops at the first byte that differs: a short PTX text may end there. */
    if (strncmp(data, WRAPPER_MAGIC, sizeof(wrapper.magic)) != 0)
        return data;
    memcpy(&wrapper, data, sizeof(wrapper));
    return wrapper.data;
}

void image_release(struct image *image)
{
    for (size_t i = 0; i < image->n_owned; i++)
        free(image->owned[i]);
    image->n_owned = image->n_sources = 0;
}

/* Skips white space and comments. */
static const char *skip_blank(const char *p, const char *end)
{
    while (p < end) {
        if (isspace((unsigned char)*p)) {
            p++;
        } else if (end - p >= 2 && p[0] == '/' && p[1] == '/') {
            while (p < end && *p != '\n')
                p++;
        } else if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
            const char *close = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);

            p = close ? close + 2 : end;
        } else {
            break;
        }
    }
    return p;
}

/* If the text at p is `word` and a blank, returns what follows the blank; else NULL. */
static const char *expect(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(end - p) <= n || memcmp(p, word, n) != 0 || !isspace((unsigned char)p[n]))
        return NULL;
    return skip_blank(p + n, end);
}

static const char *number(const char *p, const char *end, uint32_t *ret)
{
    uint32_t value = 0;

    if (p == end || !isdigit((unsigned char)*p))
        return NULL;
    while (p < end && isdigit((unsigned char)*p) && value < 100000)
        value = value * 10 + (uint32_t)(*p++ - '0');
    *ret = value;
    return p;
}

/* Reads .version and .target, with which every PTX text begins. exact: for that target only. */
static bool read_header(const char *text, size_t size, uint32_t *ret_version, uint32_t *ret_sm,
                        bool *ret_exact)
{
    const char *end = text + size;
    const char *p = expect(skip_blank(text, end), end, ".version");
    uint32_t major, minor;

    if (!p || !(p = number(p, end, &major)) || p == end || *p != '.' ||
        !(p = number(p + 1, end, &minor)) || minor > 9)
        return false;
    *ret_version = major * 10 + minor;
    *ret_sm = 0;
    *ret_exact = false;
    p = expect(skip_blank(p, end), end, ".target");
    if (p && end - p > 3 && memcmp(p, "sm_", 3) == 0)
        p = number(p + 3, end, ret_sm);
    *ret_exact = p && p < end && *p == 'a';
    return true;
}

CUresult image_read_ptx(struct image *image, const char *name, const char *text, size_t size_bytes)
{
    uint32_t version, sm;
    bool exact;

    if (image->n_sources == PTX_MAX_SOURCES) {
        snprintf(image->problem, sizeof(image->problem), "more than %d PTX texts", PTX_MAX_SOURCES);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    while (size_bytes > 0 && text[size_bytes - 1] == '\0')
        size_bytes--;
    if (!read_header(text, size_bytes, &version, &sm, &exact)) {
        snprintf(image->problem, sizeof(image->problem),
                 "the image is neither PTX (it does not begin with .version) nor a fatbinary");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (version > SOFTGPU_PTX_VERSION) {
        snprintf(image->problem, sizeof(image->problem),
                 "PTX version %u.%u is newer than the %d.%d that is supported", version / 10,
                 version % 10, SOFTGPU_PTX_VERSION / 10, SOFTGPU_PTX_VERSION % 10);
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    }
    if (sm == 0) {
        snprintf(image->problem, sizeof(image->problem), ".version is not followed by .target");
        return CUDA_ERROR_INVALID_PTX;
    }
    if (sm > SOFTGPU_SM || (exact && sm != SOFTGPU_SM)) {
        snprintf(image->problem, sizeof(image->problem), ".target sm_%u%s is not for sm_%d", sm,
                 exact ? "a" : "", SOFTGPU_SM);
        return CUDA_ERROR_INVALID_PTX;
    }
    if (sm > image->sm)
        image->sm = sm;
    image->sources[image->n_sources++] = (struct ptx_source){name, text, size_bytes};
    return CUDA_SUCCESS;
}

static CUresult add_entry(struct image *image, const struct fatbin_entry *entry)
{
    size_t size;
    char *text;
    int r;

    if (image->n_owned == PTX_MAX_SOURCES)
        return CUDA_ERROR_INVALID_IMAGE;
    r = fatbin_text(entry, &text, &size);
    if (r == -ENOMEM)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (r < 0)
        return CUDA_ERROR_INVALID_IMAGE;
    image->owned[image->n_owned++] = text;
    return image_read_ptx(image, NULL, text, size);
}

/* Linked entries are taken all; of PTX entries, the newest that this device may run. */
static CUresult read_fatbin(struct image *image, struct fatbin *fatbin)
{
    struct fatbin_entry entry, best = {0};
    bool found = false, linked = false;
    int r;

    while ((r = fatbin_read(fatbin, &entry)) > 0) {
        if (entry.kind == FATBIN_KIND_LINKED) {
            CUresult result = add_entry(image, &entry);

            if (result != CUDA_SUCCESS)
                return result;
            linked = true;
        } else if (entry.kind == FATBIN_KIND_PTX && entry.sm <= SOFTGPU_SM &&
                   (!found || entry.sm > best.sm)) {
            best = entry;
            found = true;
        }
    }
    if (r < 0) {
        snprintf(image->problem, sizeof(image->problem), "the container is damaged");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (linked)
        return CUDA_SUCCESS;
    if (!found) {
        snprintf(image->problem, sizeof(image->problem),
                 "the container holds no PTX for sm_%d or older", SOFTGPU_SM);
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    return add_entry(image, &best);
}

static CUresult read_elf(struct image *image, const uint8_t *data, size_t limit)
{
    Elf64_Ehdr header;

    if (limit < sizeof(header))
        return CUDA_ERROR_INVALID_IMAGE;
    memcpy(&header, data, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_CUDA)
        return CUDA_ERROR_INVALID_IMAGE;
    snprintf(image->problem, sizeof(image->problem),
             "this is machine code for a GPU; softgpu runs PTX only");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult image_read(struct image *image, const void *data, size_t limit)
{
    const uint8_t *bytes = data;
    struct fatbin fatbin;
    size_t size;

    if (limit >= SELFMAG && strncmp(data, ELFMAG, SELFMAG) == 0)
        return read_elf(image, bytes, limit);
    if (fatbin_size(bytes, limit) > 0)
        return fatbin_open(bytes, limit, &fatbin) ? read_fatbin(image, &fatbin)
                                                  : CUDA_ERROR_INVALID_IMAGE;
    if (limit > PTX_MAX_SOURCE_BYTES + 1)
        limit = PTX_MAX_SOURCE_BYTES + 1;
    size = strnlen((const char *)bytes, limit);
    if (size > PTX_MAX_SOURCE_BYTES)
        return CUDA_ERROR_INVALID_IMAGE;
    return image_read_ptx(image, NULL, (const char *)bytes, size);
}

CUresult image_read_file(const char *path, char **ret_data, size_t *ret_bytes)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    _cleanup_free_ char *data = NULL;
    struct stat stat;
    size_t size = 0;

    if (fd < 0 || fstat(fd, &stat) < 0)
        return CUDA_ERROR_FILE_NOT_FOUND;
    if (!S_ISREG(stat.st_mode) || stat.st_size > FATBIN_MAX_BYTES)
        return CUDA_ERROR_INVALID_IMAGE;
    data = malloc((size_t)stat.st_size + 1);
    if (!data)
        return CUDA_ERROR_OUT_OF_MEMORY;
    while (size < (size_t)stat.st_size) {
        ssize_t n = read(fd, data + size, (size_t)stat.st_size - size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    data[size] = '\0';
    *ret_data = vgpu_steal_ptr(&data);
    *ret_bytes = size;
    return CUDA_SUCCESS;
}
