/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-client vector-add A B: the classic explicit job, over the wire as one record; in a virtual
 * machine without our driver, or with --bar0, by the device's registers.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include <vgpu/pci_regs.h>

#include "guest/client/attempt.h"
#include "guest/client/client.h"
#include "guest/client/job_window.h"
#include "guest/client/number.h"
#include "guest/client/output.h"

struct job {
    int32_t a[VGPU_VECTOR_ADD_COUNT], b[VGPU_VECTOR_ADD_COUNT], sum[VGPU_VECTOR_ADD_COUNT];
    uint32_t count;
    struct job_window window; /* registers NULL: by the library */
    char path[256];
};

static enum vgpu_status try_job(void *argument, struct vgpu_failure *failure)
{
    struct job *job = argument;

    return vgpu_job_vector_add(job->a, job->b, job->sum, job->count, failure);
}

static enum vgpu_status try_window(void *argument, struct vgpu_failure *failure)
{
    struct job *job = argument;
    enum vgpu_status status = VGPU_OK;

    if (!job->window.registers)
        status = job_window_open(&job->window, job->path, failure);
    if (status == VGPU_OK)
        status = job_window_vector_add(&job->window, job->a, job->b, job->sum, job->count, failure);
    return status;
}

/* Asked for, or the only way there is. */
static bool by_window(const struct client_options *options, struct job *job)
{
    if (options->bar0)
        return true;
    if (options->socket || options->driver || access(VGPU_DEFAULT_DEVICE, F_OK) == 0 ||
        access(VGPU_DEFAULT_SOCKET, F_OK) == 0)
        return false;
    return job_window_find(JOB_WINDOW_DEVICES, job->path, sizeof(job->path));
}

static int run_by_window(struct client *client, struct job *job)
{
    int status;

    if (!job_window_find(JOB_WINDOW_DEVICES, job->path, sizeof(job->path))) {
        client_complain("there is no device of ours (%04x:%04x) in this machine", VGPU_PCI_VENDOR,
                        VGPU_PCI_DEVICE);
        return CLIENT_REFUSED;
    }
    status = attempt(try_window, job, "vector-add", &client->failure);
    job_window_close(&job->window);
    return status;
}

static int run_by_library(struct client *client, struct job *job)
{
    int status = client_open(client);

    return status == CLIENT_OK ? attempt(try_job, job, "vector-add", &client->failure) : status;
}

static int read_vectors(struct job *job, const char *a, const char *b)
{
    size_t count_a = number_list(a, job->a, VGPU_VECTOR_ADD_COUNT);
    size_t count_b = number_list(b, job->b, VGPU_VECTOR_ADD_COUNT);

    if (count_a == 0 || count_b == 0) {
        client_complain("'%.40s' is not a list of 1 to %d 32-bit integers", count_a ? b : a,
                        VGPU_VECTOR_ADD_COUNT);
        return CLIENT_USAGE;
    }
    if (count_a != count_b) {
        client_complain("the vectors differ in length: %zu and %zu", count_a, count_b);
        return CLIENT_USAGE;
    }
    job->count = (uint32_t)count_a;
    return CLIENT_OK;
}

static void print(const struct job *job, bool as_json)
{
    _cleanup_json_ json_t *sum = json_array();

    for (uint32_t i = 0; i < job->count; i++) {
        if (as_json)
            json_array_append_new(sum, json_integer(job->sum[i]));
        else
            printf("%s%" PRId32, i ? "," : "", job->sum[i]);
    }
    if (as_json) {
        _cleanup_json_ json_t *all = json_pack("{s:O}", "sum", sum);

        output_json(all);
    } else {
        putchar('\n');
    }
}

static bool is_right(const struct job *job)
{
    for (uint32_t i = 0; i < job->count; i++)
        if ((uint32_t)job->sum[i] != (uint32_t)job->a[i] + (uint32_t)job->b[i])
            return false;
    return true;
}

int client_vector_add(struct client *client, int argc, char **argv)
{
    static struct job job = {.window = {.fd = -1}};
    int status = read_vectors(&job, argv[0], argv[1]);

    if (status == CLIENT_OK)
        status = by_window(client->options, &job) ? run_by_window(client, &job)
                                                  : run_by_library(client, &job);
    if (status != CLIENT_OK)
        return status;
    print(&job, client->options->json);
    if (is_right(&job))
        return CLIENT_OK;
    client_complain("the sum is wrong");
    return CLIENT_WRONG;
}
