/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 of many messages: in[0] holds their bytes, in[1] where each starts and the last ends. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "guest/client/sha256.h"
#include "guest/client/workload_file.h"
#include "guest/client/workload_job.h"
#include "guest/client/workload_ptx.h"

#define BLOCK             64
#define MAX_MESSAGE_BYTES 200 /* of generated messages: one to four blocks, padded */

static void plan(struct workload_job *job)
{
    job->in[0] =
        (struct workload_array){.type = WORKLOAD_U8, .count = job->size * MAX_MESSAGE_BYTES};
    job->in[1] = (struct workload_array){.type = WORKLOAD_U32, .count = job->size + 1};
    job->out[0] = (struct workload_array){.type = WORKLOAD_DIGEST, .count = job->size};
}

/* Every length up to the maximum occurs, the empty message as well. */
static void fill(struct workload_job *job, struct workload_random *random)
{
    unsigned char *bytes = job->in[0].host;
    uint32_t *offsets = job->in[1].host;
    uint32_t at = 0;

    for (uint64_t i = 0; i < job->in[0].count; i++)
        bytes[i] = (unsigned char)(workload_random_u64(random) >> 56);
    for (uint64_t i = 0; i < job->size; i++) {
        offsets[i] = at;
        at += (uint32_t)(i % (MAX_MESSAGE_BYTES + 1));
    }
    offsets[job->size] = at;
}

/* Adds one file's bytes to in[0]. */
static int append(struct workload_job *job, const char *path, struct vgpu_err *err)
{
    struct workload_array *messages = &job->in[0];
    _cleanup_free_ char *data = NULL;
    uint64_t bytes;
    char *grown;
    int r = workload_file_read(path, WORKLOAD_MAX_FILE_BYTES - messages->count, &data, &bytes, err);

    if (r < 0)
        return r;
    grown = realloc(messages->host, messages->count + bytes + 8);
    if (!grown)
        return vgpu_err_set(err, ENOMEM, "cannot read '%s': out of memory", path);
    memcpy(grown + messages->count, data, bytes);
    messages->host = grown;
    messages->count += bytes;
    return 0;
}

/* Each input file is one message. */
static int load(struct workload_job *job, struct vgpu_err *err)
{
    const struct workload_params *params = job->params;
    uint32_t *offsets = calloc(params->input_file_count + 1, sizeof(*offsets));

    job->size = params->input_file_count;
    plan(job);
    job->in[1].host = offsets;
    job->in[0].count = 0;
    if (!offsets)
        return vgpu_err_set(err, ENOMEM, "cannot read inputs: out of memory");
    for (size_t i = 0; i < params->input_file_count; i++) {
        int r = append(job, params->input_files[i], err);

        if (r < 0)
            return r;
        offsets[i + 1] = (uint32_t)job->in[0].count;
    }
    return 0;
}

static int run(struct workload_job *job, struct vgpu_err *err)
{
    uint32_t n = (uint32_t)job->size;
    void *args[] = {&job->in[0].device, &job->in[1].device, &job->out[0].device, &n};

    return workload_launch(job, 0, "sha256", workload_grid_for(n, BLOCK), args, err);
}

static int reference(struct workload_job *job, struct vgpu_err *err)
{
    const unsigned char *bytes = job->in[0].host;
    const uint32_t *offsets = job->in[1].host;

    for (uint64_t i = 0; i < job->size; i++)
        sha256(bytes + offsets[i], offsets[i + 1] - offsets[i],
               (unsigned char *)job->out[0].want + SHA256_BYTES * i);
    return 0;
}

const struct workload_ops workload_sha256 = {
    .ptx = workload_ptx_sha256,
    .in_count = 2,
    .out_count = 1,
    .plan = plan,
    .fill = fill,
    .load = load,
    .run = run,
    .reference = reference,
};
