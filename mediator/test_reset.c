/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A GPU that NVML cannot reset: the NVML helper lets go, and the launcher runs a program, which
 * here is a script that waits for a file and ends as the file says.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mediator/test_support.h"

static char directory[32];

static void write_file(const char *name, const char *text, int mode)
{
    char path[64], fresh[72];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    file = fopen(fresh, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fchmod(fileno(file), (mode_t)mode), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, path), 0);
}

static bool is_there(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    return access(path, F_OK) == 0;
}

static int setup(void **state)
{
    char path[64], script[400];

    strcpy(directory, "/tmp/vgpu-reset-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(script, sizeof(script),
             "#!/bin/sh\ncd %s || exit 9\necho \"$@\" >began\n"
             "for i in $(seq 1000); do test -e end && break; sleep 0.02; done\n"
             "cat end\ntest ! -s end\n",
             directory);
    write_file("program", script, 0700);
    snprintf(path, sizeof(path), "%s/program", directory);
    setenv("MEDIATOR_TEST_RESET", path, 1);
    return host_setup_1(state);
}

static int teardown(void **state)
{
    char command[64];

    unsetenv("MEDIATOR_TEST_RESET");
    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    return host_teardown(state) || system(command);
}

/* Asks and does not wait; the answer comes on the descriptor. */
static int ask_reset(const struct host *host)
{
    static const char line[] =
        "{\"id\": 1, \"command\": \"reset-gpu\", \"args\": {\"gpu_id\": 0}}\n";
    int sock = admin_connect(host);

    assert_int_equal(write(sock, line, strlen(line)), (ssize_t)strlen(line));
    return sock;
}

static void expect_answer(int sock, const char *part)
{
    char *line = read_line(sock);

    assert_non_null(line);
    if (!strstr(line, part))
        fail_msg("'%s' does not say '%s'", line, part);
    free(line);
    close(sock);
}

/* What the audit log has of resets: so many rows, of who asked, and the last one says that. */
static void expect_audit(const struct host *host, size_t n, const char *part)
{
    json_t *reply = admin(host, "\"list-audit\", \"args\": {\"object\": \"gpu\"}");
    const json_t *list = json_object_get(json_object_get(reply, "result"), "audit"), *row;
    size_t i, found = 0;

    json_array_foreach (list, i, row) {
        const json_t *after = json_object_get(row, "after");

        if (strcmp(json_string_value(json_object_get(row, "command")), "reset-gpu") != 0)
            continue;
        found++;
        assert_non_null(strstr(json_string_value(json_object_get(row, "who")), "uid="));
        assert_non_null(strstr(json_string_value(json_object_get(after, "outcome")), part));
    }
    assert_int_equal(found, n);
    json_decref(reply);
}

static void test_reset_that_is_refused_is_not_recorded(void **state)
{
    struct host *host = *state;
    json_t *reply = admin(host, "\"reset-gpu\", \"args\": {\"gpu_id\": 0}, \"dry_run\": true");

    assert_true(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    reply = admin(host, "\"reset-gpu\", \"args\": {\"gpu_id\": 7}");
    assert_false(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    expect_audit(host, 0, "");
}

static void test_reset_by_the_launcher(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct vgpu_msg_open open = good_open(&guest);
    struct guest_channel channel;
    union message message;
    int sock = ask_reset(host);
    char arguments[80], path[64];
    FILE *file;

    AWAIT(is_there("began"));
    /* Meanwhile the GPU is nobody's, and a second reset waits for nothing. */
    guest_send(&guest, &open, sizeof(open));
    guest_expect_refused(&guest, open.head.tag, VGPU_NO_GPU, &message);
    assert_non_null(strstr(message.refused.text, "is being reset"));
    expect_answer(ask_reset(host), "is being reset already");
    write_file("end", "", 0600);
    expect_answer(sock, "\"ok\":true");
    expect_audit(host, 1, "was reset");
    snprintf(path, sizeof(path), "%s/began", directory);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(arguments, sizeof(arguments), file));
    fclose(file);
    assert_string_equal(arguments, "--gpu-reset -i GPU-00000000-0000-0000-0000-000000000000\n");
    guest_open(&guest, &channel);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_reset_that_fails_says_why(void **state)
{
    struct host *host = *state;
    int sock = ask_reset(host);

    AWAIT(is_there("began"));
    write_file("end", "the GPU is the primary one\n", 0600);
    expect_answer(sock, "GPU 0 was not reset: it ended with 1: the GPU is the primary one");
    expect_audit(host, 1, "was not reset: it ended with 1");
}

static void test_reset_outlives_whoever_asked(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    close(ask_reset(host));
    AWAIT(is_there("began"));
    write_file("end", "", 0600);
    AWAIT(workers(host) == 0);
    for (;;) {
        struct vgpu_msg_open open = good_open(&guest);
        int fds[3] = {-1, -1, -1};
        union message message;

        guest_send(&guest, &open, sizeof(open));
        assert_true(guest_receive(&guest, &message, fds) > 0);
        if (message.head.type == VGPU_MSG_REFUSED)
            continue; /* the reset is not over yet */
        assert_int_equal(message.head.type, VGPU_MSG_OPENED);
        guest_take_opened(&message, fds, &channel);
        break;
    }
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_reset_ends_with_the_launcher(void **state)
{
    struct host *host = *state;
    int sock = ask_reset(host);

    AWAIT(is_there("began"));
    host_kill(&host->launcher, SIGKILL);
    expect_answer(sock, "GPU 0 was not reset: the launcher ended");
    write_file("end", "", 0600);
    host_start_launcher(host, NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_reset_by_the_launcher),
        CASE(test_reset_that_fails_says_why),
        CASE(test_reset_that_is_refused_is_not_recorded),
        CASE(test_reset_outlives_whoever_asked),
        CASE(test_reset_ends_with_the_launcher),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
