/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log for the programs: one event is one line of key=value on standard error.
 *
 * Only programs log; libraries return errors. Lines that a guest can cause go through a
 * struct vgpu_log_limit, which lets a burst pass and then counts what it held back.
 */
#ifndef VGPU_COMMON_LOG_H
#define VGPU_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum vgpu_log_level { VGPU_LOG_ERROR, VGPU_LOG_WARN, VGPU_LOG_INFO, VGPU_LOG_DEBUG };

/* program: static string put in each line. level: the most detailed level that is printed. */
void vgpu_log_open(const char *program, enum vgpu_log_level level);

/* Lines go there instead of standard error. The descriptor stays the caller's. */
void vgpu_log_to(int fd);

/* event: a noun-verb token such as "worker-exit"; format: further key=value pairs, or "". */
void vgpu_log(enum vgpu_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Quotes text from outside for use as a value: writes "..." with control characters, quotes and
 * backslashes escaped, cut to fit size bytes. Returns buf.
 */
const char *vgpu_log_quote(char *buf, unsigned size, const char *text);

/* A burst of `burst` lines, then one per `interval_ns`; zero-initialised state is full. */
struct vgpu_log_limit {
    uint64_t last_ns;
    uint32_t spent;
    uint32_t held_back;
};

/* True if a line may be written now; *ret_held_back is then how many were held back before it. */
bool vgpu_log_allowed(struct vgpu_log_limit *limit, uint64_t now_ns, uint32_t burst,
                      uint64_t interval_ns, uint32_t *ret_held_back);

#endif
