/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client hold: keeps a channel and a context, and does nothing until a signal ends it. */
#include <signal.h>
#include <stdio.h>

#include "guest/client/client.h"

int client_hold(struct client *client, int argc, char **argv)
{
    sigset_t ends;
    int signal_number;
    int status;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    status = client_open_context(client);
    if (status != CLIENT_OK)
        return status;
    puts("holding a channel; SIGINT or SIGTERM ends it");
    fflush(stdout);
    sigwait(&ends, &signal_number);
    return CLIENT_OK;
}
