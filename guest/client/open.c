/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client: the way to a driver, and what is said when it fails. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "guest/client/attempt.h"
#include "guest/client/client.h"

void client_complain(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fputs("vgpu-client: ", stderr);
    for (const char *c = text; *c; c++)
        fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c, stderr);
    fputc('\n', stderr);
}

int client_cuda_failed(const struct client *client, CUresult result, const char *what)
{
    const char *text = NULL;

    if (!client->options->driver && vgpu_channel_status() != VGPU_OK) {
        struct vgpu_failure failure;

        vgpu_last_error(&failure);
        client_complain("%s: the channel has ended: %s", what, failure.text);
        return CLIENT_GONE;
    }
    if (!client->cu.cuGetErrorString || client->cu.cuGetErrorString(result, &text) != CUDA_SUCCESS)
        text = "unknown error";
    client_complain("%s: %s (CUDA error %d)", what, text, (int)result);
    return CLIENT_FAILED;
}

static enum vgpu_status try_connect(void *argument, struct vgpu_failure *failure)
{
    const struct client_options *options = argument;
    const struct vgpu_options wanted = {.data_bytes = options->data_bytes};

    return vgpu_connect(options->socket, &wanted, failure);
}

static int open_native(struct client *client)
{
    struct vgpu_err err;

    if (cuda_driver_load(&client->cu, client->options->driver, &err) < 0) {
        client_complain("%s", err.text);
        return CLIENT_FAILED;
    }
    return CLIENT_OK;
}

int client_open(struct client *client)
{
    struct client_options options = *client->options;
    CUresult result;
    int status;

    if (options.driver) {
        status = open_native(client);
    } else {
        cuda_driver_linked(&client->cu);
        status = attempt(try_connect, &options, "cannot connect", &client->failure);
    }
    if (status != CLIENT_OK)
        return status;
    result = client->cu.cuInit(0);
    return result == CUDA_SUCCESS ? CLIENT_OK : client_cuda_failed(client, result, "cuInit");
}

int client_open_context(struct client *client)
{
    CUresult result;
    int status = client_open(client);

    if (status != CLIENT_OK)
        return status;
    result = client->cu.cuDevicePrimaryCtxRetain(&client->context, 0);
    if (result == CUDA_SUCCESS)
        result = client->cu.cuCtxSetCurrent(client->context);
    return result == CUDA_SUCCESS ? CLIENT_OK
                                  : client_cuda_failed(client, result, "cannot make a context");
}

void client_close(struct client *client)
{
    if (client->context && client->options->driver)
        client->cu.cuDevicePrimaryCtxRelease(0);
    vgpu_disconnect();
    if (client->options->driver)
        cuda_driver_unload(&client->cu);
}
