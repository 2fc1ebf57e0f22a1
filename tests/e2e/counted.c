/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counted PATH LAUNCHES COPIES MEMSETS JOBS: a guest program that counts what it does itself, for a
 * test that compares metrics with that: so many launches, copies of 4 KiB to the device and half as
 * many of 1 KiB from it, memsets, and explicit jobs one after the other, each with the time that it
 * took as seen from here. Prints bytes copied to and from the device, and of the explicit jobs all
 * their times together and that of which 99 of 100 are no longer, in ns.
 */
#include <stdint.h>
#include <string.h>

#include "common/clock.h"
#include "tests/e2e/program.h"

#define TO_BYTES   4096u
#define FROM_BYTES 1024u
#define JOBS_MAX   100000u

static const char kernel[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
                             ".visible .entry nothing()\n{\nret;\n}\n";

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*end || value > JOBS_MAX) {
        fprintf(stderr, "%s is no number up to %u\n", text, JOBS_MAX);
        exit(2);
    }
    return value;
}

static void launch(unsigned long n)
{
    CUmodule module;
    CUfunction function;

    must(cuModuleLoadData(&module, kernel), "load");
    must(cuModuleGetFunction(&function, module, "nothing"), "function");
    while (n-- > 0)
        must(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), "launch");
}

static void copy(CUdeviceptr memory, unsigned long n)
{
    static uint8_t data[TO_BYTES];
    unsigned long back = n / 2;

    printf("%lu %lu\n", n * TO_BYTES, back * FROM_BYTES);
    while (n-- > 0)
        must(cuMemcpyHtoD_v2(memory, data, TO_BYTES), "copy to");
    while (back-- > 0)
        must(cuMemcpyDtoH_v2(data, memory, FROM_BYTES), "copy from");
}

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static void explicit_jobs(unsigned long n)
{
    static uint64_t took[JOBS_MAX];
    const int32_t a[2] = {1, 2}, b[2] = {3, 4};
    struct vgpu_failure failure;
    uint64_t sum_ns = 0;
    int32_t sum[2];

    for (unsigned long i = 0; i < n; i++) {
        uint64_t before = vgpu_clock_ns();

        if (vgpu_job_vector_add(a, b, sum, 2, &failure) != VGPU_OK) {
            fprintf(stderr, "job: %s\n", failure.text);
            exit(1);
        }
        took[i] = vgpu_clock_ns() - before;
        sum_ns += took[i];
    }
    qsort(took, n, sizeof(took[0]), by_value);
    printf("%llu %llu\n", (unsigned long long)sum_ns,
           (unsigned long long)(n ? took[(n * 99 + 99) / 100 - 1] : 0));
}

int main(int argc, char **argv)
{
    CUdeviceptr memory;

    if (argc != 6) {
        fprintf(stderr, "usage: counted PATH LAUNCHES COPIES MEMSETS JOBS\n");
        return 2;
    }
    program_start(argv[1]);
    must(cuMemAlloc_v2(&memory, TO_BYTES), "allocate");
    launch(number(argv[2]));
    copy(memory, number(argv[3]));
    for (unsigned long n = number(argv[4]); n > 0; n--)
        must(cuMemsetD8_v2(memory, 1, TO_BYTES), "memset");
    must(cuCtxSynchronize(), "synchronize");
    explicit_jobs(number(argv[5]));
    return 0;
}
