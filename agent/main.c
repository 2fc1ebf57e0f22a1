/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-agent: this host's GPUs, pools and VMs over HTTP (man/vgpu-agent.8, docs/spec/rest.md). One
 * process of a user of its own, which knows the mediator's admin socket and nothing else: neither
 * the database nor a GPU. Ending it ends no job.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/http.h"
#include "agent/sandbox.h"
#include "agent/token_command.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

#define PEM_BYTES_MAX 65536

struct servers {
    struct http rows[SETTINGS_LISTEN_MAX + 1];
    unsigned n;
};

/* A text file, or NULL. */
static char *read_text(const char *path, struct vgpu_err *err)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = calloc(1, PEM_BYTES_MAX + 1);
    ssize_t got = fd >= 0 && text ? read(fd, text, PEM_BYTES_MAX + 1) : -1;

    if (got >= 0 && got <= PEM_BYTES_MAX)
        return text;
    vgpu_err_set(err, errno, "cannot read '%s': %s", path,
                 got > PEM_BYTES_MAX ? "it is too long" : strerror(errno));
    free(text);
    return NULL;
}

static int open_listener(const struct settings *settings, const char *address,
                         struct listener *listener, struct vgpu_err *err)
{
    int rc = address ? listener_open_inet(listener, address, err)
                     : listener_open_unix(listener, settings->unix_path, err);

    for (unsigned i = 0; rc == 0 && i < settings->n_allow_hosts; i++)
        host_names_add(&listener->names, settings->allow_hosts[i]);
    return rc;
}

static int start_server(struct servers *servers, struct agent *agent, const char *address,
                        const char *certificate, const char *key, struct vgpu_err *err)
{
    struct listener listener;
    int rc = open_listener(agent->settings, address, &listener, err);

    if (rc < 0)
        return rc;
    rc = http_start(&servers->rows[servers->n], agent, &listener, address ? certificate : NULL,
                    address ? key : NULL, err);
    if (rc < 0)
        close(listener.fd);
    else
        servers->n++;
    return rc;
}

static int start_servers(struct servers *servers, struct agent *agent, struct vgpu_err *err)
{
    const struct settings *settings = agent->settings;
    _cleanup_free_ char *certificate = NULL;
    _cleanup_free_ char *key = NULL;
    int rc = 0;

    if (settings->certificate && (!(certificate = read_text(settings->certificate, err)) ||
                                  !(key = read_text(settings->key, err))))
        return -EIO;
    if (settings->unix_path)
        rc = start_server(servers, agent, NULL, NULL, NULL, err);
    for (unsigned i = 0; i < settings->n_listen && rc == 0; i++)
        rc = start_server(servers, agent, settings->listen[i], certificate, key, err);
    return rc;
}

/* Without a token nobody could do anything; from outside nobody may even try. */
static int check_tokens(struct agent *agent, struct vgpu_err *err)
{
    const struct settings *settings = agent->settings;
    struct vgpu_err why = {.text = "there is none"};
    char quoted[VGPU_ERR_TEXT_BYTES];
    int rc = auth_init(&agent->auth, settings->tokens, &why);
    bool loopback = true;

    if (auth_count(&agent->auth) > 0)
        return 0;
    for (unsigned i = 0; i < settings->n_listen && loopback; i++)
        listener_parse(settings->listen[i], &loopback, err);
    if (!loopback || (rc < 0 && rc != -ENOENT))
        return vgpu_err_set(err, rc < 0 ? -rc : ENOENT,
                            "no tokens in '%s': %s; make one: vgpu-agent token add",
                            settings->tokens, why.text);
    vgpu_log(VGPU_LOG_WARN, "no-tokens", "path=%s hint=\"vgpu-agent token add\"",
             vgpu_log_quote(quoted, sizeof(quoted), settings->tokens));
    return 0;
}

static int start(struct agent *agent, struct servers *servers, struct vgpu_err *err)
{
    int rc;

    if ((rc = sandbox_drop_capabilities(err)) < 0 || (rc = check_tokens(agent, err)) < 0 ||
        (agent->settings->web && (rc = files_load(&agent->files, agent->settings->web, err)) < 0) ||
        (rc = work_start(&agent->work, agent->settings->admin_socket, err)) < 0 ||
        (rc = live_start(&agent->live, err)) < 0 || (rc = start_servers(servers, agent, err)) < 0)
        return rc;
    return agent->settings->sandbox ? sandbox_enter(err) : 0;
}

static void stop(struct agent *agent, struct servers *servers)
{
    work_stop(&agent->work);
    live_stop(&agent->live);
    for (unsigned i = 0; i < servers->n; i++)
        http_stop(&servers->rows[i]);
    live_release(&agent->live);
    files_release(&agent->files);
    guard_release(&agent->guard);
    auth_release(&agent->auth);
}

/* Each connection takes a descriptor. */
static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigprocmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void serve(struct servers *servers, const sigset_t *signals)
{
    const struct timespec second = {.tv_sec = 1};

    while (sigtimedwait(signals, NULL, &second) < 0)
        for (unsigned i = 0; i < servers->n; i++)
            http_sweep(&servers->rows[i]);
}

static int run(const struct settings *settings)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    struct servers *servers = calloc(1, sizeof(*servers));
    struct vgpu_err err = {.text = ""};
    sigset_t signals;
    int rc;

    if (!agent || !servers) {
        fprintf(stderr, "vgpu-agent: out of memory\n");
        return EXIT_FAILURE;
    }
    block_signals(&signals);
    raise_file_limit();
    json_object_seed(0); /* before there are threads */
    agent->settings = settings;
    agent->started_ns = vgpu_clock_ns();
    guard_init(&agent->guard, settings->rate);
    live_init(&agent->live, agent);
    rc = start(agent, servers, &err);
    if (rc == 0)
        serve(servers, &signals);
    else
        fprintf(stderr, "vgpu-agent: %s\n", err.text);
    stop(agent, servers);
    free(servers);
    free(agent);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct settings settings;
    int status;

    if (argc > 1 && strcmp(argv[1], "token") == 0)
        return token_command(argc - 1, argv + 1, "/etc/vgpu/tokens");
    status = settings_parse(&settings, argc, argv);
    if (status >= 0)
        return status;
    vgpu_log_open("vgpu-agent", settings.verbose ? VGPU_LOG_DEBUG : VGPU_LOG_INFO);
    return run(&settings);
}
