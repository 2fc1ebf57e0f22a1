/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   proof --driver PATH [--seed N] [--rounds N] [--seconds N] [--pageable] [--list] [PART...]
 *   proof-channel --driver SOCKET [--data-bytes N] [--granules N] ...
 *
 * Prints a line `ok PART` for each part, what it counted before that; exit 1 with a reason
 * otherwise. The seed is printed first and repeats the choices of a run, not its timing.
 */
#include "tests/proof/proof.h"

#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/conformance/driver_open.h"

static const char *volatile running = "start";
static unsigned long long seed_shown;

static const char step_ptx[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry step(.param .u64 p, .param .u32 to, .param .u32 from, .param .u32 digit)\n{\n"
    ".reg .b64 %p, %a, %b;\n.reg .b32 %r<5>;\n"
    "ld.param.u64 %p, [p];\ncvta.to.global.u64 %p, %p;\n"
    "ld.param.u32 %r0, [to];\nld.param.u32 %r1, [from];\nld.param.u32 %r2, [digit];\n"
    "mad.wide.u32 %a, %r0, 4, %p;\nmad.wide.u32 %b, %r1, 4, %p;\n"
    "ld.global.u32 %r3, [%a];\nld.global.u32 %r4, [%b];\n"
    "mad.lo.u32 %r3, %r3, 31, %r4;\nadd.u32 %r3, %r3, %r2;\nst.global.u32 [%a], %r3;\nret;\n}\n";

void proof_fail(const char *file, int line, const char *what, CUresult result)
{
    fflush(stdout);
    fprintf(stderr, "FAIL %s (seed %llu): %s:%d: %s", running, seed_shown, file, line, what);
    if (result != CUDA_SUCCESS)
        fprintf(stderr, ": CUDA error %d", (int)result);
    fputc('\n', stderr);
    /* Other threads may be in the middle of a call: nothing of theirs is run down. */
    _exit(1);
}

static void too_late(int signal_number)
{
    char text[160];
    int used = snprintf(text, sizeof(text), "FAIL %s (seed %llu): not done by its deadline\n",
                        running, seed_shown);

    if (write(STDERR_FILENO, text, (size_t)used) == used)
        _exit(1);
    _exit(1);
}

uint64_t proof_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

uint64_t proof_seed(const struct proof *proof, unsigned number)
{
    uint64_t state = (proof->seed + 1) * 0x9e3779b97f4a7c15ull + number * 0xbf58476d1ce4e5b9ull;

    state |= 1;
    proof_random(&state);
    return state | 1;
}

uint64_t proof_now_ns(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void *proof_host_new(struct proof *proof, size_t bytes)
{
    void *memory = NULL;

    if (proof->pageable)
        CHECK((memory = malloc(bytes)) != NULL);
    else
        OK(proof, cuMemHostAlloc(&memory, bytes, 0));
    return memory;
}

void proof_host_free(struct proof *proof, void *memory)
{
    if (proof->pageable)
        free(memory);
    else
        OK(proof, cuMemFreeHost(memory));
}

CUfunction proof_step_kernel(struct proof *proof, CUmodule *ret_module)
{
    CUfunction function;

    OK(proof, cuModuleLoadData(ret_module, step_ptx));
    OK(proof, cuModuleGetFunction(&function, *ret_module, "step"));
    return function;
}

static const struct proof_part *const tables[] = {proof_order_parts, proof_wait_parts,
                                                  proof_bulk_parts};

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (strncmp(argv[i], name, strlen(argv[i])) == 0)
            return true;
    return optind == argc;
}

static unsigned run_parts(struct proof *proof, int argc, char **argv)
{
    unsigned count = 0;

    for (size_t table = 0; table < VGPU_ARRAY_SIZE(tables); table++) {
        for (const struct proof_part *part = tables[table]; part->name; part++) {
            uint64_t started = proof_now_ns();

            if (!wanted(part->name, argc, argv))
                continue;
            running = part->name;
            alarm((part->deadline_s ? part->deadline_s : PROOF_DEADLINE_S) + 2 * proof->seconds);
            part->run(proof);
            alarm(0);
            printf("ok %s (%.2f s)\n", part->name, (double)(proof_now_ns() - started) / 1e9);
            fflush(stdout);
            count++;
        }
    }
    return count;
}

static int usage(void)
{
    fputs("usage: proof --driver PATH [--data-bytes N] [--granules N] [--pageable] [--seed N] "
          "[--rounds N] [--seconds N] [--list] [PART...]\n",
          stderr);
    return 2;
}

static int list(void)
{
    for (size_t table = 0; table < VGPU_ARRAY_SIZE(tables); table++)
        for (const struct proof_part *part = tables[table]; part->name; part++)
            puts(part->name);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"driver", required_argument, NULL, 'd'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"seconds", required_argument, NULL, 't'},
                                          {"list", no_argument, NULL, 'l'},
                                          {"data-bytes", required_argument, NULL, 'b'},
                                          {"granules", required_argument, NULL, 'g'},
                                          {"pageable", no_argument, NULL, 'p'},
                                          {0}};
    struct proof proof = {.rounds = 2000, .seconds = 3};
    struct proof_target target = {0};
    struct cuda_driver cu;
    struct vgpu_err err = {0};
    unsigned count;
    int option;

    proof.seed = (uint64_t)time(NULL);
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'd':
            target.path = optarg;
            break;
        case 'b':
            target.data_bytes = strtoull(optarg, NULL, 0);
            break;
        case 'g':
            target.granules = (uint32_t)strtoul(optarg, NULL, 0);
            break;
        case 'p':
            proof.pageable = true;
            break;
        case 's':
            proof.seed = strtoull(optarg, NULL, 0);
            break;
        case 'r':
            proof.rounds = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 't':
            proof.seconds = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'l':
            return list();
        default:
            return usage();
        }
    }
    if (!target.path)
        return usage();
    seed_shown = proof.seed;
    printf("seed %llu\n", seed_shown);
    fflush(stdout);
    /*
     * Parts keep many streams waiting for each other, in the open and by host functions. NVIDIA's
     * driver maps streams to 8 connections to the device by default, and those that share one wait
     * for each other as well, by which such a part hangs. Read by cuInit.
     */
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    signal(SIGALRM, too_late);
    alarm(PROOF_DEADLINE_S);
    if (proof_open(&cu, &target, &err) < 0) {
        fprintf(stderr, "proof: %s\n", err.text);
        return 1;
    }
    proof.cu = &cu;
    OK(&proof, cuCtxGetCurrent(&proof.context));
    count = run_parts(&proof, argc, argv);
    driver_close(&cu);
    if (count == 0)
        return usage();
    printf("%u passed\n", count);
    return 0;
}
