/* SPDX-License-Identifier: Apache-2.0 */
/* vgpu-client launch FILE KERNEL [TYPE:VALUE...]: one launch of a kernel from a module file. */
#include <stdio.h>
#include <string.h>

#include "guest/client/client.h"
#include "guest/client/number.h"

#define MAX_ARGUMENTS 64

/* The driver's own words of what is wrong with the file, if it had any. */
static int load(struct client *client, const char *path, CUmodule *ret_module)
{
    static char log[2048];
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(sizeof(log))};
    _Alignas(8) static char image[16 << 20];
    FILE *file = fopen(path, "rb");
    char what[300];
    size_t bytes;
    CUresult result;

    if (!file) {
        client_complain("cannot open '%s'", path);
        return CLIENT_FAILED;
    }
    bytes = fread(image, 1, sizeof(image) - 1, file);
    image[bytes] = '\0';
    fclose(file);
    if (bytes == sizeof(image) - 1) {
        client_complain("'%s' is larger than 16 MiB", path);
        return CLIENT_FAILED;
    }
    result = client->cu.cuModuleLoadDataEx(ret_module, image, 2, options, values);
    if (result == CUDA_SUCCESS)
        return CLIENT_OK;
    snprintf(what, sizeof(what), "cannot load '%.200s'", path);
    log[strcspn(log, "\n")] = '\0';
    if (log[0])
        client_complain("%s: %s", what, log);
    return client_cuda_failed(client, result, what);
}

static int check_arguments(const struct client *client, CUfunction function, const char *name,
                           const struct number_argument *given, int count)
{
    size_t offset, size;
    int wanted = 0;

    while (client->cu.cuFuncGetParamInfo(function, (size_t)wanted, &offset, &size) ==
           CUDA_SUCCESS) {
        if (wanted < count && given[wanted].size != size) {
            client_complain("argument %d is a %s of %zu bytes, and '%s' takes %zu", wanted + 1,
                            given[wanted].type, given[wanted].size, name, size);
            return CLIENT_USAGE;
        }
        wanted++;
    }
    if (wanted == count)
        return CLIENT_OK;
    client_complain("'%s' takes %d argument%s, and %d %s given", name, wanted,
                    wanted == 1 ? "" : "s", count, count == 1 ? "is" : "are");
    return CLIENT_USAGE;
}

static int read_arguments(int argc, char **argv, struct number_argument *ret, void **ret_params)
{
    if (argc > MAX_ARGUMENTS) {
        client_complain("more than %d arguments", MAX_ARGUMENTS);
        return CLIENT_USAGE;
    }
    for (int i = 0; i < argc; i++) {
        if (!number_argument(argv[i], &ret[i])) {
            client_complain("argument %d, '%.60s', is not TYPE:VALUE, as u32:1 or f64:0.5", i + 1,
                            argv[i]);
            return CLIENT_USAGE;
        }
        ret_params[i] = ret[i].bytes;
    }
    return CLIENT_OK;
}

int client_launch(struct client *client, int argc, char **argv)
{
    static struct number_argument given[MAX_ARGUMENTS];
    const struct client_options *options = client->options;
    void *params[MAX_ARGUMENTS];
    CUmodule module;
    CUfunction function;
    CUresult result;
    char what[300];
    int status = read_arguments(argc - 2, argv + 2, given, params);

    if (status == CLIENT_OK)
        status = client_open_context(client);
    if (status == CLIENT_OK)
        status = load(client, argv[0], &module);
    if (status != CLIENT_OK)
        return status;
    result = client->cu.cuModuleGetFunction(&function, module, argv[1]);
    snprintf(what, sizeof(what), "kernel '%.200s'", argv[1]);
    if (result != CUDA_SUCCESS)
        return client_cuda_failed(client, result, what);
    status = check_arguments(client, function, argv[1], given, argc - 2);
    if (status != CLIENT_OK)
        return status;
    result = client->cu.cuLaunchKernel(function, options->grid[0], options->grid[1],
                                       options->grid[2], options->block[0], options->block[1],
                                       options->block[2], (unsigned)options->shared_bytes, NULL,
                                       argc > 2 ? params : NULL, NULL);
    if (result == CUDA_SUCCESS)
        result = client->cu.cuCtxSynchronize();
    return result == CUDA_SUCCESS ? CLIENT_OK : client_cuda_failed(client, result, what);
}
