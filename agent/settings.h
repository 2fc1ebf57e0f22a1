/* SPDX-License-Identifier: Apache-2.0 */
/* The command line (man/vgpu-agent.8). */
#ifndef VGPU_AGENT_SETTINGS_H
#define VGPU_AGENT_SETTINGS_H

#include <stdbool.h>

#include "agent/host.h"

#define SETTINGS_LISTEN_MAX 8

struct settings {
    const char *admin_socket, *tokens, *web;
    const char *unix_path; /* NULL: none */
    const char *listen[SETTINGS_LISTEN_MAX];
    unsigned n_listen;
    const char *certificate, *key; /* NULL: no TLS */
    const char *allow_hosts[HOST_NAMES_MAX];
    unsigned n_allow_hosts;
    unsigned rate, max_connections;
    unsigned receive_s; /* for a request to arrive whole */
    bool sandbox, verbose;
};

/* -1: go on; otherwise the exit status. */
int settings_parse(struct settings *settings, int argc, char **argv);

#endif
