/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest-exec: runs commands in a test guest for the host at the other end of a serial line.
 *
 * The guest's /init becomes it; tools/guest.py is the host's end. Several commands run at once,
 * each with a number that the host gave, in a process group of its own. Both ways frames travel:
 * a struct frame, then its payload. Whatever is no frame is skipped up to the next one, since a
 * serial line loses what came before somebody had opened it.
 *
 * A PING with another token than before is another host: what the last one had started is killed.
 * Input is taken at the pace at which the host hears of it (TAKEN), so that the kernel's buffers
 * of the line do not overflow. Output needs no such care: the line holds the writer up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAGIC 0x31475856u /* "VXG1" */
#define PAYLOAD_MAX 4096u
#define OUTPUT_MAX  2048u
#define COMMANDS    64

enum frame_type {
    FRAME_PING = 1,   /* 8 bytes token */
    FRAME_RUN = 2,    /* u32 milliseconds (0: for ever), then text for sh -c */
    FRAME_INPUT = 3,  /* for standard input; empty: its end */
    FRAME_SIGNAL = 4, /* u32 number */
    FRAME_PONG = 11,  /* the token */
    FRAME_OUTPUT = 12,
    FRAME_ERRORS = 13,
    FRAME_EXIT = 14,   /* u32 status as of wait, u32 1: timed out */
    FRAME_TAKEN = 15,  /* u32 bytes of input */
    FRAME_REFUSED = 16 /* u32 errno: RUN could not be done */
};

struct frame {
    uint32_t magic;
    uint16_t type;
    uint16_t bytes;
    uint32_t id;
};

struct command {
    bool used;
    bool timed_out;
    uint32_t id;
    pid_t pid;
    int in, out, err; /* pipes, -1: closed */
    uint64_t deadline_ms;
    size_t input_bytes, input_done; /* what the command has not read yet */
    char input[PAYLOAD_MAX];
};

static struct command commands[COMMANDS];
static int line_in, line_out = 1;
static uint64_t host_token;

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void write_all(const void *from, size_t bytes)
{
    const char *next = from;

    while (bytes > 0) {
        ssize_t n = write(line_out, next, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = line_out, .events = POLLOUT};

            poll(&room, 1, -1);
            continue;
        }
        if (n <= 0)
            exit(0); /* nobody is there any more */
        next += n;
        bytes -= (size_t)n;
    }
}

static void send_frame(uint32_t id, uint16_t type, const void *payload, size_t bytes)
{
    char whole[sizeof(struct frame) + PAYLOAD_MAX];
    struct frame frame = {FRAME_MAGIC, type, (uint16_t)bytes, id};

    memcpy(whole, &frame, sizeof(frame));
    if (bytes > 0)
        memcpy(whole + sizeof(frame), payload, bytes);
    write_all(whole, sizeof(frame) + bytes);
}

static void send_number(uint32_t id, uint16_t type, uint32_t number)
{
    send_frame(id, type, &number, sizeof(number));
}

static struct command *find(uint32_t id)
{
    for (int i = 0; i < COMMANDS; i++)
        if (commands[i].used && commands[i].id == id)
            return &commands[i];
    return NULL;
}

static struct command *unused(void)
{
    for (int i = 0; i < COMMANDS; i++)
        if (!commands[i].used)
            return &commands[i];
    return NULL;
}

static void close_pipe(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void become(const char *text, const int in[2], const int out[2], const int err[2])
{
    sigset_t none;

    setsid();
    dup2(in[0], 0);
    dup2(out[1], 1);
    dup2(err[1], 2);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execl("/bin/sh", "sh", "-c", text, (char *)NULL);
    _exit(127);
}

/* All that it started, or, before it has a group of its own, itself. */
static void send_signal(const struct command *command, int number)
{
    if (kill(-command->pid, number) < 0 && errno == ESRCH)
        kill(command->pid, number);
}

static int start(struct command *command, const char *text)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    int result = 0;
    pid_t pid = -1;

    if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0)
        pid = fork();
    if (pid < 0)
        result = errno;
    else if (pid == 0)
        become(text, in, out, err);
    close_pipe(&in[0]);
    close_pipe(&out[1]);
    close_pipe(&err[1]);
    if (result != 0) {
        close_pipe(&in[1]);
        close_pipe(&out[0]);
        close_pipe(&err[0]);
        return result;
    }
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    command->pid = pid;
    command->in = in[1];
    command->out = out[0];
    command->err = err[0];
    return 0;
}

static void run(uint32_t id, const char *payload, size_t bytes)
{
    struct command *command = unused();
    char text[PAYLOAD_MAX + 1];
    uint32_t limit_ms;
    int result;

    if (bytes < sizeof(limit_ms) || find(id) || !command) {
        send_number(id, FRAME_REFUSED, command ? EINVAL : EAGAIN);
        return;
    }
    memcpy(&limit_ms, payload, sizeof(limit_ms));
    memcpy(text, payload + sizeof(limit_ms), bytes - sizeof(limit_ms));
    text[bytes - sizeof(limit_ms)] = '\0';
    memset(command, 0, sizeof(*command));
    command->id = id;
    command->deadline_ms = limit_ms ? now_ms() + limit_ms : 0;
    result = start(command, text);
    if (result != 0)
        send_number(id, FRAME_REFUSED, (uint32_t)result);
    else
        command->used = true;
}

/* Gives the command what it takes now. The host sends no more before it has heard TAKEN. */
static void feed(struct command *command)
{
    size_t bytes = command->input_bytes;
    ssize_t n = 0;

    while (command->in >= 0 && command->input_done < bytes) {
        n = write(command->in, command->input + command->input_done, bytes - command->input_done);
        if (n > 0)
            command->input_done += (size_t)n;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            close_pipe(&command->in);
    }
    command->input_bytes = command->input_done = 0;
    send_number(command->id, FRAME_TAKEN, (uint32_t)bytes);
}

static void input(uint32_t id, const char *payload, size_t bytes)
{
    struct command *command = find(id);

    if (!command || command->input_bytes > 0) {
        send_number(id, FRAME_TAKEN, (uint32_t)bytes);
        return;
    }
    if (bytes == 0)
        close_pipe(&command->in);
    memcpy(command->input, payload, bytes);
    command->input_bytes = bytes;
    feed(command);
}

static void ping(const char *payload, size_t bytes)
{
    uint64_t token;

    if (bytes != sizeof(token))
        return;
    memcpy(&token, payload, sizeof(token));
    for (int i = 0; i < COMMANDS && token != host_token; i++) {
        if (!commands[i].used)
            continue;
        send_signal(&commands[i], SIGKILL);
        close_pipe(&commands[i].in);
        close_pipe(&commands[i].out);
        close_pipe(&commands[i].err);
        commands[i].used = false;
    }
    host_token = token;
    send_frame(0, FRAME_PONG, payload, bytes);
}

static void take(const struct frame *frame, const char *payload)
{
    struct command *command;
    uint32_t number;

    switch (frame->type) {
    case FRAME_PING:
        ping(payload, frame->bytes);
        break;
    case FRAME_RUN:
        run(frame->id, payload, frame->bytes);
        break;
    case FRAME_INPUT:
        input(frame->id, payload, frame->bytes);
        break;
    case FRAME_SIGNAL:
        command = find(frame->id);
        if (command && frame->bytes == sizeof(number)) {
            memcpy(&number, payload, sizeof(number));
            send_signal(command, (int)number);
        }
        break;
    default:
        break;
    }
}

/* Takes whole frames from the front of what was read; returns how much of it is done with. */
static size_t take_frames(const char *from, size_t bytes)
{
    size_t at = 0;
    struct frame frame;

    while (bytes - at >= sizeof(frame)) {
        memcpy(&frame, from + at, sizeof(frame));
        if (frame.magic != FRAME_MAGIC || frame.bytes > PAYLOAD_MAX) {
            at++;
            continue;
        }
        if (bytes - at < sizeof(frame) + frame.bytes)
            break;
        take(&frame, from + at + sizeof(frame));
        at += sizeof(frame) + frame.bytes;
    }
    return at;
}

static void read_line(void)
{
    static char buffer[2 * (sizeof(struct frame) + PAYLOAD_MAX)];
    static size_t filled;
    ssize_t n = read(line_in, buffer + filled, sizeof(buffer) - filled);
    size_t done;

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0)
        exit(0);
    filled += (size_t)n;
    done = take_frames(buffer, filled);
    memmove(buffer, buffer + done, filled - done);
    filled -= done;
}

/* Returns whether there was something. */
static bool pass_on(struct command *command, int *fd, uint16_t type)
{
    char buffer[OUTPUT_MAX];
    ssize_t n = *fd < 0 ? 0 : read(*fd, buffer, sizeof(buffer));

    if (n > 0)
        send_frame(command->id, type, buffer, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        close_pipe(fd);
    return n > 0;
}

static void ended(struct command *command, int status)
{
    uint32_t answer[2] = {(uint32_t)status, command->timed_out};

    while (pass_on(command, &command->out, FRAME_OUTPUT))
        ;
    while (pass_on(command, &command->err, FRAME_ERRORS))
        ;
    close_pipe(&command->in);
    close_pipe(&command->out);
    close_pipe(&command->err);
    command->used = false;
    send_frame(command->id, FRAME_EXIT, answer, sizeof(answer));
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; i < COMMANDS; i++)
            if (commands[i].used && commands[i].pid == pid)
                ended(&commands[i], status);
}

/* Kills what is past its time; returns how long poll may sleep. */
static int check_times(void)
{
    uint64_t now = now_ms(), next = UINT64_MAX;

    for (int i = 0; i < COMMANDS; i++) {
        struct command *command = &commands[i];

        if (!command->used || command->deadline_ms == 0 || command->timed_out)
            continue;
        if (command->deadline_ms <= now) {
            command->timed_out = true;
            send_signal(command, SIGKILL);
        } else if (command->deadline_ms < next) {
            next = command->deadline_ms;
        }
    }
    if (next == UINT64_MAX)
        return -1;
    return next - now > 60000 ? 60000 : (int)(next - now);
}

static void watch(struct pollfd fds[3], const struct command *command)
{
    fds[0] = (struct pollfd){command->used ? command->out : -1, POLLIN, 0};
    fds[1] = (struct pollfd){command->used ? command->err : -1, POLLIN, 0};
    fds[2] = (struct pollfd){command->used && command->input_bytes ? command->in : -1, POLLOUT, 0};
}

static void serve(int signals)
{
    struct pollfd fds[2 + 3 * COMMANDS];
    struct signalfd_siginfo info;

    for (;;) {
        int timeout = check_times();

        fds[0] = (struct pollfd){.fd = line_in, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = signals, .events = POLLIN};
        for (int i = 0; i < COMMANDS; i++)
            watch(&fds[2 + 3 * i], &commands[i]);
        if (poll(fds, 2 + 3 * COMMANDS, timeout) < 0)
            continue;
        for (int i = 0; i < COMMANDS; i++) {
            struct pollfd *own = &fds[2 + 3 * i];

            if (own[0].revents)
                pass_on(&commands[i], &commands[i].out, FRAME_OUTPUT);
            if (own[1].revents)
                pass_on(&commands[i], &commands[i].err, FRAME_ERRORS);
            if (own[2].revents)
                feed(&commands[i]);
        }
        if (fds[1].revents && read(signals, &info, sizeof(info)) > 0)
            reap();
        if (fds[0].revents)
            read_line();
    }
}

static int open_line(const char *path)
{
    struct termios raw;
    int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd >= 0 && tcgetattr(fd, &raw) == 0) {
        cfmakeraw(&raw);
        raw.c_cflag |= CLOCAL;
        cfsetspeed(&raw, B115200);
        tcsetattr(fd, TCSANOW, &raw);
    }
    return fd;
}

int main(int argc, char **argv)
{
    sigset_t child;
    int signals;

    if (argc > 2) {
        fprintf(stderr, "usage: guest-exec [SERIAL-LINE]\n");
        return 2;
    }
    if (argc == 2)
        line_in = open_line(argv[1]);
    line_out = argc == 2 ? line_in : 1;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &child, SFD_CLOEXEC);
    if (line_in < 0 || signals < 0) {
        fprintf(stderr, "guest-exec: %s: %s\n", argc == 2 ? argv[1] : "start", strerror(errno));
        return 1;
    }
    serve(signals);
}
