/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client run: the kernels that come with the program, verified against the CPU. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "guest/client/client.h"
#include "guest/client/output.h"
#include "guest/client/workload.h"

static int list(const struct client_options *options)
{
    _cleanup_json_ json_t *all = json_array();
    size_t count;
    const struct workload *table = workload_table(&count);

    for (size_t i = 0; i < count; i++) {
        if (options->json)
            json_array_append_new(
                all, json_pack("{s:s, s:s, s:s, s:I, s:s?, s:s}", "name", table[i].name, "help",
                               table[i].help, "size", table[i].size_help, "default_size",
                               (json_int_t)table[i].default_size, "input", table[i].input_help,
                               "output", table[i].output_help));
        else
            printf("%-16s %s; size: %s (%" PRIu64 ")\n", table[i].name, table[i].help,
                   table[i].size_help, table[i].default_size);
    }
    if (options->json)
        output_json(all);
    return CLIENT_OK;
}

static double milliseconds(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_result(const struct client_options *options, const struct workload *workload,
                         const struct workload_result *result)
{
    if (options->json) {
        _cleanup_json_ json_t *json =
            json_pack("{s:s, s:I, s:b, s:f, s:f, s:f, s:f, s:I, s:I}", "kernel", workload->name,
                      "size", (json_int_t)result->size, "verified", (int)result->verified,
                      "load_ms", milliseconds(result->load_ns), "upload_ms",
                      milliseconds(result->upload_ns), "kernel_ms", milliseconds(result->kernel_ns),
                      "download_ms", milliseconds(result->download_ns), "in_bytes",
                      (json_int_t)result->in_bytes, "out_bytes", (json_int_t)result->out_bytes);

        output_json(json);
        return;
    }
    printf("%-16s %10" PRIu64 "  %s  upload %.2f ms, kernel %.2f ms, download %.2f ms\n",
           workload->name, result->size, result->verified ? "verified    " : "not verified",
           milliseconds(result->upload_ns), milliseconds(result->kernel_ns),
           milliseconds(result->download_ns));
}

/* Why a run did not succeed, as text and exit status. */
static int run_failed(const struct client *client, const struct workload *workload, int status,
                      const struct workload_result *result, const struct vgpu_err *err)
{
    if (status == -EIO && result->cuda_result != CUDA_SUCCESS) {
        int code = client_cuda_failed(client, result->cuda_result, workload->name);

        if (code != CLIENT_GONE)
            client_complain("%s: %s", workload->name, err->text);
        return code;
    }
    client_complain("%s: %s", workload->name, err->text);
    if (status == -EBADMSG)
        return CLIENT_WRONG;
    return status == -EINVAL ? CLIENT_USAGE : CLIENT_FAILED;
}

static int run_one(const struct client *client, const struct workload *workload, bool defaults,
                   uint64_t seed)
{
    const struct client_options *options = client->options;
    struct workload_params params = {.seed = seed, .verify = !options->no_verify};
    struct workload_result result = {0};
    struct vgpu_err err = {0};
    int status;

    if (!defaults) {
        params.size = options->size;
        params.rounds = (uint32_t)options->rounds;
        params.work = (uint32_t)options->work;
        params.input_files = options->inputs;
        params.input_file_count = options->input_count;
        params.output_file = options->output;
        params.ptx = options->ptx;
    }
    status = workload_run(&client->cu, workload, &params, &result, &err);
    if (status < 0)
        return run_failed(client, workload, status, &result, &err);
    print_result(options, workload, &result);
    return CLIENT_OK;
}

/* Each kernel of the list once, and again and again while there is time. */
static int run_list(const struct client *client, const struct workload *list, size_t count,
                    bool defaults)
{
    const struct client_options *options = client->options;
    uint64_t began = vgpu_clock_ns();
    uint64_t end = began + options->seconds * VGPU_NS_PER_S;
    size_t runs = 0;

    do {
        for (size_t i = 0; i < count; i++) {
            int status = run_one(client, &list[i], defaults, options->seed + runs);

            if (status != CLIENT_OK)
                return status;
            runs++;
            if (runs >= count && vgpu_clock_ns() >= end)
                break;
        }
    } while (vgpu_clock_ns() < end);
    if (!options->json && runs > 1)
        printf("%zu kernel%s, %zu runs in %.1f s, %s\n", count, count == 1 ? "" : "s", runs,
               (double)(vgpu_clock_ns() - began) / 1e9,
               options->no_verify ? "not verified" : "all verified");
    return CLIENT_OK;
}

static int check_numbers(const struct client_options *options)
{
    if (options->rounds <= WORKLOAD_MAX_ROUNDS && options->work <= WORKLOAD_MAX_WORK)
        return CLIENT_OK;
    client_complain("--rounds takes at most %d, --work at most %u", WORKLOAD_MAX_ROUNDS,
                    WORKLOAD_MAX_WORK);
    return CLIENT_USAGE;
}

int client_run(struct client *client, int argc, char **argv)
{
    const struct client_options *options = client->options;
    const struct workload *workloads = NULL;
    size_t count = 1;
    int status = check_numbers(options);

    if (status != CLIENT_OK)
        return status;
    if (options->list)
        return list(options);
    if (argc != (options->all ? 0 : 1)) {
        client_complain("run takes one kernel, or --all, or --list");
        return CLIENT_USAGE;
    }
    if (options->all) {
        workloads = workload_table(&count);
    } else {
        workloads = workload_find(argv[0]);
        if (!workloads) {
            client_complain("there is no kernel '%.60s'; see vgpu-client run --list", argv[0]);
            return CLIENT_USAGE;
        }
    }
    status = client_open_context(client);
    if (status != CLIENT_OK)
        return status;
    return run_list(client, workloads, count, options->all);
}
