/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pid_namespace.h"

#include <sys/stat.h>

uint64_t vgpu_pid_namespace(void)
{
    struct stat status;

    return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t)status.st_ino : 0;
}
