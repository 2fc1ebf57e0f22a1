/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/helper.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"

struct helper_pending {
    struct helper_pending *next;
    uint64_t id, due_ns;
    helper_reply_fn *reply; /* NULL: nobody waits any more */
    void *context;
};

static void __attribute__((noreturn)) child_run(const struct helper *helper, int sock)
{
    sigset_t none;

    /* dup2 clears CLOEXEC; all other descriptors but stderr have it. */
    if (dup2(sock, STDIN_FILENO) < 0 || dup2(sock, STDOUT_FILENO) < 0)
        _exit(127);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(helper->argv[0], (char *const *)(uintptr_t)helper->argv);
    _exit(127);
}

/* Tells askers that nothing will come: all, or those whose time is over. */
static void fail_pending(struct helper *helper, uint64_t until_ns)
{
    for (struct helper_pending *p = helper->pending; p; p = p->next) {
        helper_reply_fn *reply = p->reply;

        if (p->due_ns > until_ns || !reply)
            continue;
        p->reply = NULL;
        reply(p->context, NULL);
    }
}

static void drop_pending(struct helper *helper)
{
    fail_pending(helper, UINT64_MAX);
    while (helper->pending) {
        struct helper_pending *p = helper->pending;

        helper->pending = p->next;
        free(p);
    }
    helper->n_pending = 0;
    loop_timer_clear(helper->loop, &helper->deadline);
}

static void set_deadline(struct helper *helper)
{
    loop_timer_clear(helper->loop, &helper->deadline);
    for (struct helper_pending *p = helper->pending; p; p = p->next) {
        if (!p->reply)
            continue;
        loop_timer_set(helper->loop, &helper->deadline, p->due_ns);
        return; /* in the order of arrival, so this one is due first */
    }
}

static void deadline_passed(void *context)
{
    struct helper *helper = context;

    vgpu_log(VGPU_LOG_WARN, "helper-slow", "helper=%s", helper->name);
    fail_pending(helper, loop_now(helper->loop));
    set_deadline(helper);
}

/* Answers come in order, so the first pending request is the one, or the line is nobody's. */
static void answer(struct helper *helper, json_t *line)
{
    struct helper_pending *p = helper->pending;
    json_t *id = json_object_get(line, "id");
    helper_reply_fn *reply;
    void *context;

    if (!p || !json_is_integer(id) || (uint64_t)json_integer_value(id) != p->id)
        return;
    helper->backoff_ns = HELPER_BACKOFF_NS;
    helper->pending = p->next;
    helper->n_pending--;
    reply = p->reply;
    context = p->context;
    free(p);
    set_deadline(helper);
    if (reply)
        reply(context, line);
}

static void take_line(void *context, char *text)
{
    struct helper *helper = context;
    json_t *line = json_loads(text, 0, NULL);

    if (!json_is_object(line)) {
        vgpu_log(VGPU_LOG_ERROR, "helper-nonsense", "helper=%s", helper->name);
        kill(helper->pid, SIGKILL);
        json_decref(line);
        return;
    }
    if (helper->heard)
        helper->heard(helper->context, line);
    answer(helper, line);
    json_decref(line);
}

/* Its socket is at its end; SIGCHLD tells the rest. */
static void stream_ended(void *context, int error)
{
    struct helper *helper = context;

    stream_release(&helper->stream);
    if (error && helper->pid)
        kill(helper->pid, SIGKILL);
    drop_pending(helper);
}

static int launch(struct helper *helper, struct vgpu_err *err)
{
    _cleanup_close_ int ours = -1, theirs = -1;
    int ends[2], rc;
    pid_t pid;

    if (access(helper->argv[0], X_OK) < 0)
        return vgpu_err_set(err, errno, "cannot run '%s': %s", helper->argv[0], strerror(errno));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return vgpu_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
    ours = ends[0];
    theirs = ends[1];
    pid = fork();
    if (pid < 0)
        return vgpu_err_set(err, errno, "cannot fork: %s", strerror(errno));
    if (pid == 0)
        child_run(helper, theirs);
    helper->pid = pid;
    helper->starts++;
    rc = stream_init(&helper->stream, helper->loop, vgpu_steal_fd(&ours), HELPER_REPLY_BYTES,
                     HELPER_REPLY_BYTES, take_line, stream_ended, helper);
    if (rc < 0)
        return vgpu_err_set(err, -rc, "cannot watch a descriptor: %s", strerror(-rc));
    return 0;
}

static void schedule_restart(struct helper *helper)
{
    loop_timer_set(helper->loop, &helper->restart, loop_now(helper->loop) + helper->backoff_ns);
    helper->backoff_ns *= 2;
    if (helper->backoff_ns > HELPER_BACKOFF_MAX)
        helper->backoff_ns = HELPER_BACKOFF_MAX;
}

static void restart(void *context)
{
    struct helper *helper = context;
    char quoted[VGPU_ERR_TEXT_BYTES];
    struct vgpu_err err;

    if (launch(helper, &err) == 0)
        return;
    vgpu_log(VGPU_LOG_ERROR, "helper-start", "helper=%s reason=%s", helper->name,
             vgpu_log_quote(quoted, sizeof(quoted), err.text));
    if (helper->pid == 0)
        schedule_restart(helper);
}

int helper_start(struct helper *helper, struct loop *loop, struct vgpu_err *err)
{
    helper->loop = loop;
    helper->stream.fd = -1;
    helper->backoff_ns = HELPER_BACKOFF_NS;
    helper->restart = (struct loop_timer){.fire = restart, .context = helper};
    helper->deadline = (struct loop_timer){.fire = deadline_passed, .context = helper};
    return launch(helper, err);
}

bool helper_is_up(const struct helper *helper)
{
    return helper->pid != 0 && helper->stream.fd >= 0;
}

int helper_ask(struct helper *helper, json_t *request, helper_reply_fn *reply, void *context)
{
    struct helper_pending *p, **end = &helper->pending;
    int rc = -EAGAIN;

    p = calloc(1, sizeof(*p));
    if (p && helper->stream.fd >= 0 && helper->n_pending < HELPER_PENDING_MAX) {
        *p = (struct helper_pending){.id = ++helper->next_id,
                                     .due_ns = loop_now(helper->loop) + HELPER_DEADLINE_NS,
                                     .reply = reply,
                                     .context = context};
        rc = json_object_set_new(request, "id", json_integer((json_int_t)p->id)) < 0
                 ? -ENOMEM
                 : stream_send(&helper->stream, request);
    }
    json_decref(request);
    if (rc < 0) {
        free(p);
        return -EAGAIN;
    }
    while (*end)
        end = &(*end)->next;
    *end = p;
    helper->n_pending++;
    set_deadline(helper);
    return 0;
}

void helper_forget(struct helper *helper, void *context)
{
    for (struct helper_pending *p = helper->pending; p; p = p->next)
        if (p->context == context)
            p->reply = NULL;
}

void helper_stop(struct helper *helper)
{
    helper->stopping = true;
    loop_timer_clear(helper->loop, &helper->restart);
    stream_release(&helper->stream);
    drop_pending(helper);
}

bool helper_reaped(struct helper *helper, pid_t pid, int status)
{
    if (helper->pid == 0 || pid != helper->pid)
        return false;
    helper->pid = 0;
    /* Its last words may be here and unread: both come in one round of the loop. */
    stream_drain(&helper->stream);
    stream_release(&helper->stream);
    drop_pending(helper);
    if (helper->stopping)
        return true;
    vgpu_log(VGPU_LOG_ERROR, "helper-exit", "helper=%s exit=%d signal=%d", helper->name,
             WIFEXITED(status) ? WEXITSTATUS(status) : -1,
             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    schedule_restart(helper);
    if (helper->ended)
        helper->ended(helper->context, status);
    return true;
}

void helper_release(struct helper *helper)
{
    if (!helper->loop)
        return;
    helper_stop(helper);
}
