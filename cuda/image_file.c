/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "cuda/image_measure.h"

static CUresult read_all(int fd, uint8_t *data, size_t bytes)
{
    size_t got = 0;

    while (got < bytes) {
        ssize_t n = read(fd, data + got, bytes - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return CUDA_ERROR_OPERATING_SYSTEM;
        got += (size_t)n;
    }
    data[bytes] = '\0';
    return CUDA_SUCCESS;
}

CUresult image_file_read(const char *path, void **ret_data, size_t *ret_bytes)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_free_ uint8_t *data = NULL;
    struct stat status;
    CUresult result;

    if (fd < 0)
        return CUDA_ERROR_FILE_NOT_FOUND;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return CUDA_ERROR_FILE_NOT_FOUND;
    if (status.st_size <= 0 || status.st_size > (off_t)IMAGE_MAX_BYTES - 1)
        return CUDA_ERROR_INVALID_IMAGE;
    data = malloc((size_t)status.st_size + 1);
    if (!data)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = read_all(fd, data, (size_t)status.st_size);
    if (result != CUDA_SUCCESS)
        return result;
    *ret_bytes = (size_t)status.st_size;
    *ret_data = vgpu_steal_ptr(&data);
    return CUDA_SUCCESS;
}
