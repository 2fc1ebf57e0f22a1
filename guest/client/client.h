/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-client: what its subcommands share. Each is a file named after it that defines a function
 * client_<name>; the table in main.c lists them. man/vgpu-client.1 is the full text.
 */
#ifndef VGPU_GUEST_CLIENT_CLIENT_H
#define VGPU_GUEST_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "cuda/cuda_driver.h"
#include "guest/libvgpu/vgpu.h"

/* Exit status. 75 is sysexits' EX_TEMPFAIL. */
enum client_exit {
    CLIENT_OK = 0,
    CLIENT_FAILED = 1,
    CLIENT_USAGE = 2,
    CLIENT_REFUSED = 3, /* for good: quarantined, not registered, another version */
    CLIENT_GONE = 4,    /* the worker ended in the middle: killed, timed out */
    CLIENT_WRONG = 5,   /* the result is not the expected one */
    CLIENT_BUSY = 75,   /* still over a limit after all attempts */
};

#define CLIENT_MAX_INPUTS 16

struct client_options {
    const char *socket;
    const char *driver; /* path of a driver to use instead of the mediator; NULL: none */
    bool json;
    uint64_t data_bytes;

    bool list, all, no_verify, bar0;
    uint64_t size, rounds, work, seed, seconds;
    const char *inputs[CLIENT_MAX_INPUTS];
    unsigned input_count;
    const char *output;
    const char *ptx;
    uint32_t grid[3], block[3];
    uint64_t shared_bytes;
};

struct client {
    const struct client_options *options;
    struct cuda_driver cu;
    CUcontext context;
    struct vgpu_failure failure; /* why the last function failed */
};

typedef int (*client_command)(struct client *client, int argc, char **argv);

int client_info(struct client *client, int argc, char **argv);
int client_vector_add(struct client *client, int argc, char **argv);
int client_run(struct client *client, int argc, char **argv);
int client_launch(struct client *client, int argc, char **argv);
int client_hold(struct client *client, int argc, char **argv);

/* Connects (with retries) or loads options->driver, and initialises. Returns an exit status. */
int client_open(struct client *client);

/* The same, and makes the primary context current. */
int client_open_context(struct client *client);

void client_close(struct client *client);

/* Tells what went wrong on standard error; without control characters. */
void client_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Tells of a failed CUDA call: of the end of the channel, if that is why. Returns the exit status.
 */
int client_cuda_failed(const struct client *client, CUresult result, const char *what);

#endif
