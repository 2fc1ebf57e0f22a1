/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-nvml by its own protocol, on softgpu's NVML, whose state the test writes: what it says of a
 * GPU's health. Arguments: the program, the NVML library.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

static const char *program, *library;

struct helper {
    char dir[64];
    pid_t pid;
    FILE *lines;
};

static void write_file(const struct helper *helper, const char *name, const char *mode,
                       const char *text)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", helper->dir, name);
    file = fopen(path, mode);
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    struct helper *helper = calloc(1, sizeof(*helper));
    int ends[2];

    strcpy(helper->dir, "/tmp/vgpu-nvml-XXXXXX");
    if (!mkdtemp(helper->dir) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    helper->pid = fork();
    if (helper->pid == 0) {
        setenv("SOFTGPU_STATE_DIR", helper->dir, 1);
        setenv("SOFTGPU_DEVICES", "2", 1);
        dup2(ends[1], 0);
        dup2(ends[1], 1);
        execl(program, program, "--nvml", library, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    helper->lines = fdopen(ends[0], "r+");
    *state = helper;
    return helper->lines ? 0 : -1;
}

static int teardown(void **state)
{
    struct helper *helper = *state;
    char command[96];
    int status, rc;

    fclose(helper->lines);
    waitpid(helper->pid, &status, 0);
    snprintf(command, sizeof(command), "rm -rf '%s'", helper->dir);
    rc = system(command);
    free(helper);
    return rc || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static json_t *ask(const struct helper *helper, const char *members)
{
    char line[65536];
    json_t *reply;

    fprintf(helper->lines, "{\"id\": 1, %s}\n", members);
    fflush(helper->lines);
    assert_non_null(fgets(line, sizeof(line), helper->lines));
    reply = json_loads(line, 0, NULL);
    assert_non_null(reply);
    return reply;
}

/* The object of a GPU in the reply to a sample; the caller's. */
static json_t *sample(const struct helper *helper, size_t index)
{
    json_t *reply = ask(helper, "\"command\": \"sample\"");
    json_t *gpu = json_array_get(json_object_get(json_object_get(reply, "result"), "gpus"), index);

    assert_true(json_is_object(gpu));
    json_incref(gpu);
    json_decref(reply);
    return gpu;
}

static json_int_t number(const json_t *gpu, const char *key)
{
    assert_true(json_is_integer(json_object_get(gpu, key)));
    return json_integer_value(json_object_get(gpu, key));
}

static bool null_in(const json_t *gpu, const char *key)
{
    return json_is_null(json_object_get(gpu, key));
}

static void test_nvml_helper_tells_health(void **state)
{
    struct helper *helper = *state;
    json_t *gpu;

    write_file(helper, "gpu1.state", "w",
               "temperature_celsius 91\nmemory_temperature_celsius 97\npower_milliwatts 512500\n"
               "ecc_corrected 7\necc_uncorrected 3\nremapped_corrected 1\nremapped_uncorrected 2\n"
               "remap_pending 1\nthrottle_reasons 64\nrecovery_action 4\n");
    gpu = sample(helper, 1);
    assert_int_equal(number(gpu, "temperature"), 91);
    assert_int_equal(number(gpu, "temperature_memory"), 97);
    assert_true(json_real_value(json_object_get(gpu, "power_w")) == 512.5);
    assert_int_equal(number(gpu, "clock_sm_mhz"), 1980);
    assert_int_equal(number(gpu, "clock_memory_mhz"), 3201);
    assert_int_equal(number(gpu, "ecc_corrected"), 7);
    assert_int_equal(number(gpu, "ecc_uncorrected"), 3);
    assert_int_equal(number(gpu, "remapped_rows"), 3);
    assert_true(json_is_true(json_object_get(gpu, "remap_pending")));
    assert_true(json_is_false(json_object_get(gpu, "remap_failure")));
    assert_int_equal(json_array_size(json_object_get(gpu, "throttle")), 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(gpu, "throttle"), 0)),
                        "hardware-thermal");
    assert_string_equal(json_string_value(json_object_get(gpu, "recovery")), "drain-and-reset");
    assert_true(json_is_false(json_object_get(gpu, "lost")));
    json_decref(gpu);
}

static void test_nvml_helper_tells_what_is_not_known_as_null(void **state)
{
    struct helper *helper = *state;
    json_t *gpu;

    write_file(helper, "gpu0.state", "w", "memory_temperature_celsius 0\nrecovery_action 77\n");
    gpu = sample(helper, 0);
    assert_true(null_in(gpu, "temperature_memory"));
    assert_true(null_in(gpu, "recovery"));
    json_decref(gpu);
}

static void test_nvml_helper_tells_each_xid_once_and_of_its_gpu(void **state)
{
    struct helper *helper = *state;
    json_t *gpu = sample(helper, 0);

    assert_int_equal(json_array_size(json_object_get(gpu, "xids")), 0);
    json_decref(gpu);
    write_file(helper, "gpu1.xid", "a", "79\n13\n");
    gpu = sample(helper, 0);
    assert_int_equal(json_array_size(json_object_get(gpu, "xids")), 0);
    json_decref(gpu);
    write_file(helper, "gpu1.xid", "a", "48\n");
    gpu = sample(helper, 1);
    /* The two before came in the answer in which nobody looked at this GPU. */
    assert_int_equal(json_array_size(json_object_get(gpu, "xids")), 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(gpu, "xids"), 0)), 48);
    json_decref(gpu);
}

static void test_nvml_helper_tells_sixteen_xids_at_most(void **state)
{
    struct helper *helper = *state;

    json_decref(sample(helper, 0));
    for (int i = 1; i <= 17; i++) {
        char line[16];

        snprintf(line, sizeof(line), "%d\n", i);
        write_file(helper, "gpu0.xid", "a", line);
    }
    for (int asked = 0; asked < 2; asked++) {
        json_t *gpu = sample(helper, 0), *xids = json_object_get(gpu, "xids");

        assert_int_equal(json_array_size(xids), asked ? 0 : 16);
        json_decref(gpu);
    }
}

static void test_nvml_helper_knows_a_lost_gpu_by_what_it_was(void **state)
{
    struct helper *helper = *state;
    json_t *before = sample(helper, 1), *gpu;

    write_file(helper, "gpu1.state", "w", "lost 1\n");
    gpu = sample(helper, 1);
    assert_true(json_is_true(json_object_get(gpu, "lost")));
    assert_true(json_is_false(json_object_get(gpu, "reset_required")));
    assert_true(json_equal(json_object_get(gpu, "uuid"), json_object_get(before, "uuid")));
    assert_true(
        json_equal(json_object_get(gpu, "memory_bytes"), json_object_get(before, "memory_bytes")));
    assert_true(null_in(gpu, "temperature"));
    assert_true(null_in(gpu, "ecc_uncorrected"));
    json_decref(gpu);
    write_file(helper, "gpu1.state", "w", "reset_required 1\n");
    gpu = sample(helper, 1);
    assert_true(json_is_true(json_object_get(gpu, "reset_required")));
    assert_true(json_is_false(json_object_get(gpu, "lost")));
    json_decref(gpu);
    write_file(helper, "gpu1.state", "w", "");
    gpu = sample(helper, 1);
    assert_true(json_is_false(json_object_get(gpu, "reset_required")));
    assert_int_equal(number(gpu, "temperature"), 40);
    json_decref(gpu);
    json_decref(before);
}

static void test_nvml_helper_leaves_out_who_was_lost_before_it_came(void **state)
{
    struct helper *helper = *state;
    json_t *reply, *gpus;

    write_file(helper, "gpu0.state", "w", "lost 1\n");
    reply = ask(helper, "\"command\": \"sample\"");
    gpus = json_object_get(json_object_get(reply, "result"), "gpus");
    assert_int_equal(json_array_size(gpus), 1);
    assert_int_equal(number(json_array_get(gpus, 0), "index"), 1);
    json_decref(reply);
}

static void test_nvml_helper_resets_a_gpu(void **state)
{
    struct helper *helper = *state;
    json_t *gpu = sample(helper, 1), *reply;
    char request[160];

    write_file(helper, "gpu1.state", "w", "ecc_uncorrected 3\nlost 1\n");
    snprintf(request, sizeof(request), "\"command\": \"reset\", \"uuid\": \"%s\"",
             json_string_value(json_object_get(gpu, "uuid")));
    json_decref(gpu);
    reply = ask(helper, request);
    assert_true(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    gpu = sample(helper, 1);
    assert_true(json_is_false(json_object_get(gpu, "lost")));
    assert_int_equal(number(gpu, "ecc_uncorrected"), 0);
    json_decref(gpu);
}

static void test_nvml_helper_lets_go_of_nvml(void **state)
{
    struct helper *helper = *state;
    json_t *reply;

    json_decref(sample(helper, 0));
    reply = ask(helper, "\"command\": \"release\"");
    assert_true(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    reply = ask(helper, "\"command\": \"sample\"");
    assert_string_equal(json_string_value(json_object_get(json_object_get(reply, "error"), "code")),
                        "unavailable");
    json_decref(reply);
    json_decref(ask(helper, "\"command\": \"acquire\""));
    json_decref(sample(helper, 0));
}

static void test_nvml_helper_resets_no_gpu_that_is_not_there(void **state)
{
    static const char *const requests[] = {"\"command\": \"reset\"",
                                           "\"command\": \"reset\", \"uuid\": \"\"",
                                           "\"command\": \"reset\", \"uuid\": \"GPU-0\""};

    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        json_t *reply = ask(*state, requests[i]);
        const json_t *error = json_object_get(reply, "error");

        assert_string_equal(json_string_value(json_object_get(error, "code")), "not-found");
        json_decref(reply);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nvml_helper_tells_health, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_tells_what_is_not_known_as_null, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_tells_each_xid_once_and_of_its_gpu, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_tells_sixteen_xids_at_most, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_knows_a_lost_gpu_by_what_it_was, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_leaves_out_who_was_lost_before_it_came,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_resets_a_gpu, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_lets_go_of_nvml, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvml_helper_resets_no_gpu_that_is_not_there, setup,
                                        teardown),
    };

    if (argc != 3)
        return 2;
    program = argv[1];
    library = argv[2];
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
