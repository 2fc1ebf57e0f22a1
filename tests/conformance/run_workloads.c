/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the workloads of guest/client on a driver directly, verified against their CPU references.
 *
 *   run_workloads --driver PATH [--ptx-dir DIR] [--size N] [--rounds N] [NAME...]
 *
 * --ptx-dir takes the images from DIR/KERNEL.ptx (tests/ptx has some) instead of the built-in
 * ones. Ends with `N passed, N failed, N skipped`; exit 1 if any failed, 2 for wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "guest/client/workload.h"
#include "guest/client/workload_file.h"
#include "tests/conformance/driver_open.h"

#define SEED               UINT64_C(20240607)
#define MAX_PTX_FILE_BYTES (1 << 20)

struct options {
    const char *driver, *ptx_dir;
    struct workload_params params;
};

/* The file that a workload's kernels are in is named after it, but for the two reductions. */
static int read_ptx(const char *directory, const char *workload, char **ret_ptx,
                    struct vgpu_err *err)
{
    const char *file = strncmp(workload, "reduce_", 7) == 0 ? "reduce" : workload;
    char path[PATH_MAX];
    uint64_t bytes;

    snprintf(path, sizeof(path), "%s/%s.ptx", directory, file);
    return workload_file_read(path, MAX_PTX_FILE_BYTES, ret_ptx, &bytes, err);
}

static int run_one(const struct cuda_driver *cu, const struct workload *workload,
                   const struct options *options)
{
    struct workload_params params = options->params;
    _cleanup_free_ char *ptx = NULL;
    struct workload_result result;
    struct vgpu_err err = {0};
    int r = 0;

    if (options->ptx_dir)
        r = read_ptx(options->ptx_dir, workload->name, &ptx, &err);
    params.ptx = ptx;
    if (r == 0)
        r = workload_run(cu, workload, &params, &result, &err);
    if (r < 0) {
        printf("FAIL %s\n", err.text);
        return r;
    }
    printf("ok   %-14s %8" PRIu64 " %s: load %.1f ms, upload %.1f ms, kernels %.1f ms, download "
           "%.1f ms, CPU %.1f ms, error %.1e\n",
           workload->name, result.size, workload->size_help, (double)result.load_ns / 1e6,
           (double)result.upload_ns / 1e6, (double)result.kernel_ns / 1e6,
           (double)result.download_ns / 1e6, (double)result.reference_ns / 1e6, result.error);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: run_workloads --driver PATH [--ptx-dir DIR] [--size N] [--rounds N] "
                    "[NAME...]\n");
    return 2;
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {{"driver", required_argument, NULL, 'd'},
                                          {"ptx-dir", required_argument, NULL, 'p'},
                                          {"size", required_argument, NULL, 's'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'd':
            options->driver = optarg;
            break;
        case 'p':
            options->ptx_dir = optarg;
            break;
        case 's':
            options->params.size = strtoull(optarg, NULL, 0);
            break;
        case 'r':
            options->params.rounds = (uint32_t)strtoul(optarg, NULL, 0);
            break;
        default:
            return false;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (!workload_find(argv[i])) {
            fprintf(stderr, "run_workloads: there is no workload '%s'\n", argv[i]);
            return false;
        }
    }
    return options->driver;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct options options = {.params = {.verify = true, .seed = SEED}};
    struct cuda_driver cu;
    struct vgpu_err err = {0};
    unsigned int passed = 0, failed = 0;
    size_t count;
    const struct workload *table = workload_table(&count);

    if (!parse_options(argc, argv, &options))
        return usage();
    if (driver_open(&cu, options.driver, &err) < 0) {
        fprintf(stderr, "run_workloads: %s\n", err.text);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        if (!wanted(table[i].name, argc, argv))
            continue;
        if (run_one(&cu, &table[i], &options) == 0)
            passed++;
        else
            failed++;
        fflush(stdout);
    }
    driver_close(&cu);
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed ? 1 : 0;
}
