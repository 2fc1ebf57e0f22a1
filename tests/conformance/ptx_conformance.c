/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a CUDA driver: PTX instruction by instruction, faults, and the driver API's behaviour.
 *
 *   ptx_conformance --driver PATH [--list] [--only TEXT]...
 *
 * Prints each case, and at the end `N passed, N failed, N skipped`; exit 1 if any failed, 2 for
 * wrong usage. --only takes the cases whose "group/name" has TEXT in it. Isolated cases, which may
 * break their context, run in a child process: the same program with --case.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/conformance/conf.h"
#include "tests/conformance/driver_open.h"

#define MAX_ONLY     16
#define MAX_ID_BYTES 256
#define CHILD_RESULT 10 /* exit codes 10, 11, 12: enum conf_result */

extern char **environ;

struct suite {
    const char *driver;
    const char *only[MAX_ONLY];
    size_t only_count;
    const char *exactly; /* in a child: the one case to run */
    bool list;
    struct cuda_driver cu;
    struct conf conf;
    unsigned int counts[3];
};

static void (*const groups[])(conf_visit visit, void *context) = {
    conf_integer_cases, conf_float_cases,   conf_half_cases,    conf_convert_cases,
    conf_compare_cases, conf_approx_cases,  conf_atomic_cases,  conf_control_cases,
    conf_memory_cases,  conf_warp_cases,    conf_fault_cases,   conf_module_cases,
    conf_copy_cases,    conf_stream_cases,  conf_unified_cases, conf_pool_cases,
    conf_graph_cases,   conf_virtual_cases, conf_library_cases, conf_launch_cases,
};

static bool wanted(const struct suite *suite, const char *id)
{
    if (suite->exactly)
        return strcmp(suite->exactly, id) == 0;
    for (size_t i = 0; i < suite->only_count; i++)
        if (strstr(id, suite->only[i]))
            return true;
    return suite->only_count == 0;
}

/* Runs this program for one case; what it prints becomes the case's text. */
static enum conf_result run_child(struct suite *suite, const char *id)
{
    char program[] = "ptx_conformance", driver[] = "--driver", exactly[] = "--case";
    char path[PATH_MAX], name[MAX_ID_BYTES];
    char *const argv[] = {program, driver, path, exactly, name, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2], status = 0, error;
    size_t used = 0;
    ssize_t got;
    pid_t pid;

    snprintf(path, sizeof(path), "%s", suite->driver);
    snprintf(name, sizeof(name), "%s", id);
    if (pipe(fds) < 0)
        return conf_fail(&suite->conf, "cannot make a pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], 2);
    posix_spawn_file_actions_addclose(&actions, fds[0]);
    error = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (error) {
        close(fds[0]);
        return conf_fail(&suite->conf, "cannot start a child: %s", strerror(error));
    }
    /* What does not fit is read all the same, so that the child never waits for us. */
    for (;;) {
        char drain[256];
        bool room = used + 1 < sizeof(suite->conf.text);

        got = read(fds[0], room ? suite->conf.text + used : drain,
                   room ? sizeof(suite->conf.text) - 1 - used : sizeof(drain));
        if (got <= 0)
            break;
        if (room)
            used += (size_t)got;
    }
    suite->conf.text[used] = '\0';
    close(fds[0]);
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) < CHILD_RESULT ||
        WEXITSTATUS(status) > CHILD_RESULT + CONF_SKIP)
        return conf_fail(&suite->conf, "the child ended with status %#x", (unsigned int)status);
    return (enum conf_result)(WEXITSTATUS(status) - CHILD_RESULT);
}

static void visit(void *context, const char *group, const char *name,
                  enum conf_result (*run)(struct conf *conf, const void *data), const void *data,
                  bool isolated)
{
    static const char *const words[] = {"ok  ", "FAIL", "skip"};
    struct suite *suite = context;
    enum conf_result result;
    char id[MAX_ID_BYTES];

    snprintf(id, sizeof(id), "%s/%s", group, name);
    if (!wanted(suite, id))
        return;
    if (suite->list) {
        puts(id);
        return;
    }
    suite->conf.text[0] = '\0';
    if (isolated && !suite->exactly)
        result = run_child(suite, id);
    else
        result = run(&suite->conf, data);
    suite->counts[result]++;
    if (suite->exactly) {
        fputs(suite->conf.text, stderr);
        return;
    }
    printf("%s %s%s%s\n", words[result], id, result == CONF_PASS ? "" : ": ",
           result == CONF_PASS ? "" : suite->conf.text);
    fflush(stdout);
}

static bool parse_options(int argc, char **argv, struct suite *suite)
{
    static const struct option longs[] = {{"driver", required_argument, NULL, 'd'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"case", required_argument, NULL, 'c'},
                                          {"list", no_argument, NULL, 'l'},
                                          {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (option == 'd')
            suite->driver = optarg;
        else if (option == 'o' && suite->only_count < MAX_ONLY)
            suite->only[suite->only_count++] = optarg;
        else if (option == 'c')
            suite->exactly = optarg;
        else if (option == 'l')
            suite->list = true;
        else
            return false;
    }
    return optind == argc && (suite->driver || suite->list);
}

static int open_driver(struct suite *suite)
{
    struct vgpu_err err = {0};
    CUdevice device = 0;

    if (driver_open(&suite->cu, suite->driver, &err) < 0) {
        fprintf(stderr, "ptx_conformance: %s\n", err.text);
        return -1;
    }
    suite->conf.cu = &suite->cu;
    suite->cu.cuDeviceGetAttribute(&suite->conf.compute_major,
                                   CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    suite->cu.cuDeviceGetAttribute(&suite->conf.compute_minor,
                                   CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    return 0;
}

static int child_code(const struct suite *suite)
{
    for (int result = CONF_PASS; result <= CONF_SKIP; result++)
        if (suite->counts[result])
            return CHILD_RESULT + result;
    return 2;
}

int main(int argc, char **argv)
{
    static struct suite suite;

    if (!parse_options(argc, argv, &suite)) {
        fprintf(stderr, "usage: ptx_conformance --driver PATH [--list] [--only TEXT]...\n");
        return 2;
    }
    if (!suite.list && open_driver(&suite) < 0)
        return 1;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(groups); i++)
        groups[i](visit, &suite);
    if (suite.list)
        return 0;
    if (suite.exactly)
        _exit(child_code(&suite)); /* the context may be broken: nothing to release */
    driver_close(&suite.cu);
    printf("%u passed, %u failed, %u skipped\n", suite.counts[CONF_PASS], suite.counts[CONF_FAIL],
           suite.counts[CONF_SKIP]);
    return suite.counts[CONF_FAIL] ? 1 : 0;
}
