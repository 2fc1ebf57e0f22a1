/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client vector-add A B: the classic explicit job, over the wire as one record. */
#include <inttypes.h>
#include <stdio.h>

#include "guest/client/attempt.h"
#include "guest/client/client.h"
#include "guest/client/number.h"
#include "guest/client/output.h"

struct job {
    int32_t a[VGPU_VECTOR_ADD_COUNT], b[VGPU_VECTOR_ADD_COUNT], sum[VGPU_VECTOR_ADD_COUNT];
    uint32_t count;
};

static enum vgpu_status try_job(void *argument, struct vgpu_failure *failure)
{
    struct job *job = argument;

    return vgpu_job_vector_add(job->a, job->b, job->sum, job->count, failure);
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
    static struct job job;
    int status = read_vectors(&job, argv[0], argv[1]);

    if (status == CLIENT_OK)
        status = client_open(client);
    if (status == CLIENT_OK)
        status = attempt(try_job, &job, "vector-add", &client->failure);
    if (status != CLIENT_OK)
        return status;
    print(&job, client->options->json);
    if (is_right(&job))
        return CLIENT_OK;
    client_complain("the sum is wrong");
    return CLIENT_WRONG;
}
