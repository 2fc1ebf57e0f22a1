/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES 2048

static const char *log_program = "vgpu";
static enum vgpu_log_level log_level = VGPU_LOG_INFO;
static int log_fd = STDERR_FILENO;

void vgpu_log_open(const char *program, enum vgpu_log_level level)
{
    log_program = program;
    log_level = level;
}

void vgpu_log_to(int fd)
{
    log_fd = fd;
}

/* The part of a line before the caller's pairs. Returns its length. */
static size_t log_head(char *line, size_t size, enum vgpu_log_level level, const char *event)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    struct timespec now;
    struct tm utc;
    size_t used;
    int added;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    used = strftime(line, size, "ts=%Y-%m-%dT%H:%M:%S", &utc);
    added = snprintf(line + used, size - used, ".%03ldZ level=%s prog=%s pid=%d event=%s",
                     now.tv_nsec / 1000000, names[level], log_program, (int)getpid(), event);
    return added < 0 ? used : used + (size_t)added;
}

void vgpu_log(enum vgpu_log_level level, const char *event, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    size_t used;
    va_list args;
    int added;

    if (level > log_level)
        return;
    used = log_head(line, sizeof(line) - 1, level, event);
    if (used > sizeof(line) - 3)
        used = sizeof(line) - 3;
    if (format[0] != '\0') {
        line[used++] = ' ';
        va_start(args, format);
        added = vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
        va_end(args);
        if (added > 0)
            used += (size_t)added;
        if (used > sizeof(line) - 2)
            used = sizeof(line) - 2;
    }
    line[used++] = '\n';
    /* One write, so that lines of several processes do not mix; a lost line is not an error. */
    if (write(log_fd, line, used) < 0)
        return;
}

const char *vgpu_log_quote(char *buf, unsigned size, const char *text)
{
    unsigned used = 0;

    if (size < 3) {
        if (size > 0)
            buf[0] = '\0';
        return buf;
    }
    buf[used++] = '"';
    for (; *text != '\0' && used + 6 < size; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            buf[used++] = '\\';
            buf[used++] = (char)c;
        } else if (c < 0x20 || c == 0x7f) {
            used += (unsigned)snprintf(buf + used, size - used, "\\x%02x", c);
        } else {
            buf[used++] = (char)c;
        }
    }
    buf[used++] = '"';
    buf[used] = '\0';
    return buf;
}

bool vgpu_log_allowed(struct vgpu_log_limit *limit, uint64_t now_ns, uint32_t burst,
                      uint64_t interval_ns, uint32_t *ret_held_back)
{
    uint64_t earned = interval_ns ? (now_ns - limit->last_ns) / interval_ns : burst;

    if (earned > 0) {
        limit->spent = earned >= limit->spent ? 0 : limit->spent - (uint32_t)earned;
        limit->last_ns = now_ns;
    }
    if (limit->spent >= burst) {
        limit->held_back++;
        return false;
    }
    limit->spent++;
    *ret_held_back = limit->held_back;
    limit->held_back = 0;
    return true;
}
