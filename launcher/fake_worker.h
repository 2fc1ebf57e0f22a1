/* SPDX-License-Identifier: Apache-2.0 */
/* What the launcher's test and its fake worker tell each other. */
#ifndef VGPU_LAUNCHER_FAKE_WORKER_H
#define VGPU_LAUNCHER_FAKE_WORKER_H

#include <stdint.h>

/* Values written to the submission kick; 1..40: exit with that status. */
#define FAKE_CRASH        50
#define FAKE_CLOSE_SOCKET 51
#define FAKE_HANG         52

/* In the report page. */
struct fake_report {
    uint32_t uid, gid, groups, memory_magic;
    uint32_t lease_readable, lease_writable, lease_reopened, fds_above;
    uint32_t session, no_new_privs, death_signal;
    char text[3000]; /* arguments, then the environment, a line each */
};

#endif
