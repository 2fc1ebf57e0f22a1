/* SPDX-License-Identifier: Apache-2.0 */
/* By number: the C library has no wrappers, and headers of older systems lack the structures. */
#include "worker/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

#define CREATE_RULESET 444
#define ADD_RULE       445
#define RESTRICT_SELF  446

#define VERSION_FLAG  1u
#define PATH_BENEATH  1
#define ACCESS_WRITE  (1ull << 1)
#define ACCESS_READ   (1ull << 2)
#define ACCESS_LIST   (1ull << 3)
#define ACCESS_FIRST  ((1ull << 13) - 1) /* all that the first version knows */
#define ACCESS_IOCTL  (1ull << 15)       /* version 5 */
#define IOCTL_VERSION 5

struct ruleset {
    uint64_t access;
};

struct beneath {
    uint64_t access;
    int32_t parent;
} __attribute__((packed));

static int allow_path(int ruleset, const char *path, uint64_t access)
{
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
    struct beneath rule = {.access = access, .parent = fd};

    if (fd < 0)
        return 0; /* what is not there cannot be opened */
    return syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

static int allow_pattern(int ruleset, const char *pattern, uint64_t access)
{
    glob_t found;
    int status = 0;

    if (glob(pattern, 0, NULL, &found) != 0)
        return 0;
    for (size_t i = 0; i < found.gl_pathc && status == 0; i++)
        status = allow_path(ruleset, found.gl_pathv[i], access);
    globfree(&found);
    return status;
}

static int allow_device(int ruleset, uint64_t ioctl_access)
{
    static const char *const readable[] = {"/proc", "/sys", "/usr", "/lib", "/lib64", "/etc"};
    int status =
        allow_pattern(ruleset, "/dev/nvidia[0-9]*", ACCESS_READ | ACCESS_WRITE | ioctl_access);

    if (status == 0)
        status =
            allow_pattern(ruleset, "/dev/nvidia[cu-]*", ACCESS_READ | ACCESS_WRITE | ioctl_access);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(readable) && status == 0; i++)
        status = allow_path(ruleset, readable[i], ACCESS_READ | ACCESS_LIST);
    return status;
}

int landlock_restrict(bool device)
{
    long version = syscall(CREATE_RULESET, NULL, 0, VERSION_FLAG);
    uint64_t ioctl_access = version >= IOCTL_VERSION ? ACCESS_IOCTL : 0;
    struct ruleset attributes = {.access = ACCESS_FIRST | ioctl_access};
    _cleanup_close_ int ruleset = -1;
    int status = 0;

    if (version < 1)
        return -ENOSYS;
    ruleset = (int)syscall(CREATE_RULESET, &attributes, sizeof(attributes), 0);
    if (ruleset < 0)
        return -errno;
    if (device)
        status = allow_device(ruleset, ioctl_access);
    if (status < 0)
        return status;
    return syscall(RESTRICT_SELF, ruleset, 0) < 0 ? -errno : 0;
}
