/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: versions, error texts, names of processes, and what there is none of. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "cuda/cuda_abi.h"
#include "guest/libnvml/library.h"
#include "guest/libnvml/nvml_api.h"
#include "guest/libnvml/text.h"

const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
#define TEXT(name, value, text)                                                                    \
    case name:                                                                                     \
        return text;
        NVML_RETURNS(TEXT)
#undef TEXT
    }
    return "Unknown Error";
}

/* Inside: the first device's facts, which are the host's, if they have that. */
static const struct vgpu_monitor *facts_with(uint32_t bit)
{
    const struct vgpu_monitor *facts = &library_device(0)->facts;

    return library_count() > 0 && (facts->known & bit) ? facts : NULL;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    nvmlReturn_t status = library_enter();
    const struct vgpu_monitor *facts;

    if (status != NVML_SUCCESS)
        return status;
    facts = facts_with(VGPU_MONITOR_DRIVER);
    if (!version)
        status = NVML_ERROR_INVALID_ARGUMENT;
    else
        status = facts ? text_give(facts->driver, version, length) : NVML_ERROR_NOT_SUPPORTED;
    library_leave();
    return status;
}

/* As NVIDIA's: NVML's own major version, and the driver's behind it. */
nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    nvmlReturn_t status = library_enter();
    const struct vgpu_monitor *facts;
    char text[NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE + 8];

    if (status != NVML_SUCCESS)
        return status;
    facts = facts_with(VGPU_MONITOR_DRIVER);
    snprintf(text, sizeof(text), "13.%.70s", facts ? facts->driver : "0");
    status = version ? text_give(text, version, length) : NVML_ERROR_INVALID_ARGUMENT;
    library_leave();
    return status;
}

/* The same number as our libcuda.so.1 gives. */
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    nvmlReturn_t status = library_enter();
    const struct vgpu_monitor *facts;

    if (status != NVML_SUCCESS)
        return status;
    facts = facts_with(VGPU_MONITOR_CUDA);
    if (!version)
        status = NVML_ERROR_INVALID_ARGUMENT;
    else if (!facts)
        status = NVML_ERROR_NOT_SUPPORTED;
    else
        *version =
            facts->cuda_version < CUDA_ABI_VERSION ? (int)facts->cuda_version : CUDA_ABI_VERSION;
    library_leave();
    return status;
}

/* The program's path as it was started, else its short name; cropped, as NVML says. */
static nvmlReturn_t read_name(unsigned pid, const char *file, char *name, unsigned length)
{
    _cleanup_close_ int fd = -1;
    char path[64], text[4096];
    ssize_t size;

    snprintf(path, sizeof(path), "/proc/%u/%s", pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? NVML_ERROR_NO_PERMISSION : NVML_ERROR_NOT_FOUND;
    size = read(fd, text, sizeof(text) - 1);
    if (size <= 0)
        return NVML_ERROR_NOT_FOUND;
    text[size] = '\0';
    text[strcspn(text, "\n")] = '\0';
    snprintf(name, length, "%s", text);
    return text[0] ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    library_leave();
    if (!name || length == 0)
        return NVML_ERROR_INVALID_ARGUMENT;
    status = read_name(pid, "cmdline", name, length);
    return status == NVML_ERROR_NOT_FOUND ? read_name(pid, "comm", name, length) : status;
}

static nvmlReturn_t give_none(unsigned int *count)
{
    nvmlReturn_t status = library_enter();

    if (status != NVML_SUCCESS)
        return status;
    library_leave();
    if (!count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *count = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t nvmlUnitGetCount(unsigned int *count)
{
    return give_none(count);
}

nvmlReturn_t nvmlGetExcludedDeviceCount(unsigned int *count)
{
    return give_none(count);
}
