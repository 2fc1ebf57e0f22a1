/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/settings.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/listener.h"

#define EXIT_USAGE      2
#define DEFAULT_LISTEN  "127.0.0.1:8440"
#define RATE_MAX        100000
#define CONNECTIONS_MIN 16
#define CONNECTIONS_MAX 4096
#define RECEIVE_MAX_S   3600

static const char usage[] =
    "usage: vgpu-agent [OPTION]...\n"
    "       vgpu-agent token add NAME --role read|operate|admin [--tokens PATH]\n"
    "       vgpu-agent token list [--tokens PATH]\n"
    "       vgpu-agent token remove NAME [--tokens PATH]\n"
    "Serves this host's GPUs, pools and VMs over HTTP: REST, the panel, metrics.\n"
    "  --admin-socket PATH    the mediator's (default /run/vgpu/admin.sock)\n"
    "  --tokens PATH          who may ask (default /etc/vgpu/tokens)\n"
    "  --web DIR              the panel's files\n"
    "  --unix PATH            listen there (default /run/vgpu-agent/agent.sock; none: nowhere)\n"
    "  --listen ADDRESS:PORT  listen there; may be repeated (default " DEFAULT_LISTEN
    "; none: nowhere)\n"
    "  --tls-certificate PATH, --tls-key PATH  PEM; TLS on all addresses\n"
    "  --allow-host NAME      a name that requests may come under; may be repeated\n"
    "  --rate N               requests a second, of each address and each token (default 100)\n"
    "  --max-connections N    on each address (default 256)\n"
    "  --receive-s N          for a request to arrive whole (default 10)\n"
    "  --no-sandbox           no system call filter, for debugging\n"
    "  --verbose              log more\n"
    "  --help, --version\n";

enum {
    OPTION_ADMIN_SOCKET = 256,
    OPTION_TOKENS,
    OPTION_WEB,
    OPTION_UNIX,
    OPTION_LISTEN,
    OPTION_CERTIFICATE,
    OPTION_KEY,
    OPTION_ALLOW_HOST,
    OPTION_RATE,
    OPTION_CONNECTIONS,
    OPTION_RECEIVE,
    OPTION_NO_SANDBOX,
    OPTION_VERBOSE,
    OPTION_HELP,
    OPTION_VERSION
};

static const struct option options[] = {
    {"admin-socket", required_argument, NULL, OPTION_ADMIN_SOCKET},
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"web", required_argument, NULL, OPTION_WEB},
    {"unix", required_argument, NULL, OPTION_UNIX},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"tls-certificate", required_argument, NULL, OPTION_CERTIFICATE},
    {"tls-key", required_argument, NULL, OPTION_KEY},
    {"allow-host", required_argument, NULL, OPTION_ALLOW_HOST},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"max-connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"receive-s", required_argument, NULL, OPTION_RECEIVE},
    {"no-sandbox", no_argument, NULL, OPTION_NO_SANDBOX},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL},
};

static int complain(const char *text)
{
    fprintf(stderr, "vgpu-agent: %s\n", text);
    return EXIT_USAGE;
}

static int number(const char *text, unsigned min, unsigned max, unsigned *ret)
{
    unsigned long value;
    char *end;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || *end || value < min || value > max) {
        fprintf(stderr, "vgpu-agent: '%s' is not a number from %u to %u\n", text, min, max);
        return EXIT_USAGE;
    }
    *ret = (unsigned)value;
    return -1;
}

static int add_listen(struct settings *settings, const char *text)
{
    struct vgpu_err err;
    bool loopback;

    if (strcmp(text, "none") == 0)
        return -1;
    if (settings->n_listen == SETTINGS_LISTEN_MAX)
        return complain("more than 8 addresses to listen on");
    if (listener_parse(text, &loopback, &err) < 0)
        return complain(err.text);
    settings->listen[settings->n_listen++] = text;
    return -1;
}

static int add_host(struct settings *settings, const char *name)
{
    struct host_names probe = {.n = 0};

    if (!host_names_add(&probe, name))
        return complain("--allow-host takes a host name or address, without a port");
    if (settings->n_allow_hosts == HOST_NAMES_MAX / 2)
        return complain("more than 12 names in --allow-host");
    settings->allow_hosts[settings->n_allow_hosts++] = name;
    return -1;
}

static const char **path_of(struct settings *settings, int option)
{
    switch (option) {
    case OPTION_ADMIN_SOCKET:
        return &settings->admin_socket;
    case OPTION_TOKENS:
        return &settings->tokens;
    case OPTION_WEB:
        return &settings->web;
    case OPTION_UNIX:
        return &settings->unix_path;
    case OPTION_CERTIFICATE:
        return &settings->certificate;
    case OPTION_KEY:
        return &settings->key;
    default:
        return NULL;
    }
}

/* -1: go on. */
static int take_option(struct settings *settings, int option, const char *value)
{
    const char **path = path_of(settings, option);

    if (path) {
        *path = value;
        return -1;
    }
    switch (option) {
    case OPTION_LISTEN:
        return add_listen(settings, value);
    case OPTION_ALLOW_HOST:
        return add_host(settings, value);
    case OPTION_RATE:
        return number(value, 1, RATE_MAX, &settings->rate);
    case OPTION_CONNECTIONS:
        return number(value, CONNECTIONS_MIN, CONNECTIONS_MAX, &settings->max_connections);
    case OPTION_RECEIVE:
        return number(value, 1, RECEIVE_MAX_S, &settings->receive_s);
    case OPTION_NO_SANDBOX:
        settings->sandbox = false;
        return -1;
    case OPTION_VERBOSE:
        settings->verbose = true;
        return -1;
    case OPTION_HELP:
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    case OPTION_VERSION:
        puts("vgpu-agent " VGPU_PROGRAM_VERSION);
        return EXIT_SUCCESS;
    default:
        return EXIT_USAGE;
    }
}

/* What leaves this host is encrypted. */
static int check_tls(const struct settings *settings)
{
    struct vgpu_err err;
    bool loopback;

    if (!settings->certificate != !settings->key)
        return complain("--tls-certificate and --tls-key go together");
    for (unsigned i = 0; i < settings->n_listen; i++)
        if (listener_parse(settings->listen[i], &loopback, &err) == 0 && !loopback &&
            !settings->certificate) {
            fprintf(stderr,
                    "vgpu-agent: %s is not a loopback address: it needs --tls-certificate and "
                    "--tls-key\n",
                    settings->listen[i]);
            return EXIT_USAGE;
        }
    return -1;
}

int settings_parse(struct settings *settings, int argc, char **argv)
{
    bool listens = false;
    int option, status;

    *settings = (struct settings){.admin_socket = "/run/vgpu/admin.sock",
                                  .tokens = "/etc/vgpu/tokens",
                                  .web = NULL,
                                  .unix_path = "/run/vgpu-agent/agent.sock",
                                  .rate = 100,
                                  .max_connections = 256,
                                  .receive_s = 10,
                                  .sandbox = true};
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        listens = listens || option == OPTION_LISTEN;
        if ((status = take_option(settings, option, optarg)) >= 0)
            return status;
    }
    if (optind < argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (!listens)
        settings->listen[settings->n_listen++] = DEFAULT_LISTEN;
    if (strcmp(settings->unix_path, "none") == 0)
        settings->unix_path = NULL;
    if (!settings->unix_path && settings->n_listen == 0)
        return complain("there is nothing to listen on");
    return check_tls(settings);
}
