/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPUs' health in a whole mediator, by its protocols: softgpu's NVML says of two GPUs what a test
 * writes, workers are fakes, guests are raw. NVML is asked each 20 ms.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vgpu/lease.h>

#include "mediator/test_support.h"
#include "ring/pages.h"

#define STATE_DIR "/tmp/vgpu-checkup-XXXXXX"

static const char *const often[] = {"--health-ms=20", NULL};
static char state_dir[sizeof(STATE_DIR)];

static void nvml_says(unsigned gpu, const char *text)
{
    char name[64], fresh[72];
    FILE *file;

    snprintf(name, sizeof(name), "%s/gpu%u.state", state_dir, gpu);
    snprintf(fresh, sizeof(fresh), "%s.new", name);
    file = fopen(fresh, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, name), 0);
}

static int setup(void **state)
{
    struct host *host;

    strcpy(state_dir, STATE_DIR);
    if (!mkdtemp(state_dir))
        return -1;
    setenv("SOFTGPU_STATE_DIR", state_dir, 1);
    setenv("SOFTGPU_DEVICES", "2", 1);
    if (host_setup_2(state) != 0)
        return -1;
    host = *state;
    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, often);
    /* The mediator's own scan comes before this one; XID errors during a scan are not heard. */
    json_decref(admin_ok(host, "\"scan-gpus\""));
    return 0;
}

static int teardown(void **state)
{
    char command[64];

    nvml_says(0, "");
    snprintf(command, sizeof(command), "rm -rf '%s'", state_dir);
    return host_teardown(state) || system(command);
}

/* A GPU's row of `health`; the caller's. */
static json_t *health(const struct host *host, unsigned gpu)
{
    json_t *result = admin_ok(host, "\"health\"");
    json_t *row = json_incref(json_array_get(json_object_get(result, "gpus"), gpu));

    json_decref(result);
    assert_non_null(row);
    return row;
}

static bool is(const struct host *host, unsigned gpu, const char *state)
{
    json_t *row = health(host, gpu);
    bool same = strcmp(json_string_value(json_object_get(row, "state")), state) == 0;

    json_decref(row);
    return same;
}

static json_int_t number(const struct host *host, unsigned gpu, const char *key)
{
    json_t *row = health(host, gpu);
    json_int_t value = json_integer_value(json_object_get(row, key));

    json_decref(row);
    return value;
}

static double celsius(const struct host *host, unsigned gpu)
{
    json_t *row = health(host, gpu);
    double value = json_number_value(json_object_get(row, "temperature"));

    json_decref(row);
    return value;
}

/* The text with which a new channel is refused. */
static void expect_no_gpu(struct guest *guest, const char *part)
{
    struct vgpu_msg_open open = good_open(guest);
    union message message;

    guest_send(guest, &open, sizeof(open));
    guest_expect_refused(guest, open.head.tag, VGPU_NO_GPU, &message);
    if (!strstr(message.refused.text, part))
        fail_msg("'%s' does not say '%s'", message.refused.text, part);
}

static void test_checkup_stopped_gpu_gives_no_turn_until_it_is_better(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, 5, 10);
    AWAIT(channel_done(&channel) == 5);
    nvml_says(0, "temperature_celsius 120\n");
    AWAIT(is(host, 0, "stopped"));
    AWAIT(page_load_u32(&channel.orders->flags) & VGPU_LEASE_NO_GPU);
    channel_order(&channel, FAKE_OBEY, 10, 10);
    expect_no_gpu(&guest, "GPU 0 is stopped: temperature: 120 C");
    assert_int_equal(channel_done(&channel), 5);
    nvml_says(0, "");
    AWAIT(channel_done(&channel) == 10);
    AWAIT(!(page_load_u32(&channel.orders->flags) & VGPU_LEASE_NO_GPU));
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_checkup_new_channels_go_to_the_well_gpu(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    json_decref(admin_ok(host, "\"assign-gpu\", \"args\": {\"gpu_id\": 1, \"pool\": \"A\"}"));
    nvml_says(0, "remap_failure 1\n");
    AWAIT(is(host, 0, "draining"));
    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_HANG, 1, 10);
    AWAIT(vm_number(host, 1, "gpu_id") == 1);
    nvml_says(1, "recovery_action 2\n");
    AWAIT(is(host, 1, "unhealthy"));
    expect_no_gpu(&guest, "GPU 0 is draining");
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_checkup_thresholds_are_in_force_at_once(void **state)
{
    struct host *host = *state;

    nvml_says(0, "temperature_celsius 70\n");
    AWAIT(celsius(host, 0) == 70);
    assert_true(is(host, 0, "ok"));
    json_decref(admin_ok(host, "\"set-threshold\", \"args\": {\"name\": \"temperature-hot\", "
                               "\"value\": 60, \"action\": \"drain\"}"));
    AWAIT(is(host, 0, "draining"));
    json_decref(admin_ok(host, "\"set-threshold\", \"args\": {\"name\": \"temperature-hot\", "
                               "\"action\": \"ignore\"}"));
    assert_true(is(host, 0, "ok"));
}

static void test_checkup_silent_nvml_is_unknown_and_stops_nobody(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;

    AWAIT(is(host, 0, "ok"));
    nvml_says(0, "delay_ms 400\n");
    AWAIT(is(host, 0, "unknown"));
    assert_true(is(host, 1, "unknown"));
    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, 5, 10);
    AWAIT(channel_done(&channel) == 5);
    nvml_says(0, "");
    AWAIT(is(host, 0, "ok"));
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_checkup_reset_is_for_nobodys_gpu(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello(host, 1);
    struct guest_channel channel;
    union message message;
    json_t *reply;

    guest_open(&guest, &channel);
    reply = admin(host, "\"reset-gpu\", \"args\": {\"gpu_id\": 0}");
    assert_string_equal(json_string_value(json_object_get(json_object_get(reply, "error"), "code")),
                        "in-use");
    json_decref(reply);
    nvml_says(0, "reset_required 1\n");
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_NO_GPU);
    channel_forget(&channel);
    reply = admin_ok(host, "\"reset-gpu\", \"args\": {\"gpu_id\": 0}, \"dry_run\": true");
    assert_true(json_is_true(json_object_get(reply, "dry_run")));
    json_decref(reply);
    assert_true(is(host, 0, "unhealthy"));
    json_decref(admin_ok(host, "\"reset-gpu\", \"args\": {\"gpu_id\": 0}"));
    assert_false(is(host, 0, "unhealthy"));
    AWAIT(is(host, 0, "ok"));
    assert_int_equal(number(host, 0, "resets"), 1);
    guest_open(&guest, &channel);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_checkup_reset_asks_for_one_gpu(void **state)
{
    static const struct {
        const char *args, *code;
    } wrong[] = {
        {"{}", "invalid"},
        {"{\"gpu_id\": 64}", "invalid"},
        {"{\"gpu_id\": -1}", "invalid"},
        {"{\"gpu_id\": null}", "invalid"},
        {"{\"gpu_id\": \"0\"}", "invalid"},
        {"{\"gpu_id\": 0, \"force\": true}", "invalid"},
        {"{\"gpu_id\": 2}", "not-found"},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        json_t *reply = admin(*state, "\"reset-gpu\", \"args\": %s", wrong[i].args);
        const json_t *error = json_object_get(reply, "error");

        assert_string_equal(json_string_value(json_object_get(error, "code")), wrong[i].code);
        json_decref(reply);
    }
}

static bool told(const struct host *host, const char *kind, const char *part)
{
    json_t *result = admin_ok(host, "\"events\", \"args\": {\"after\": 0}"), *event;
    bool found = false;
    size_t i;

    json_array_foreach (json_object_get(result, "events"), i, event)
        found = found || (strcmp(json_string_value(json_object_get(event, "kind")), kind) == 0 &&
                          strstr(json_string_value(json_object_get(event, "text")), part));
    json_decref(result);
    return found;
}

static void test_checkup_changes_are_events(void **state)
{
    struct host *host = *state;

    nvml_says(1, "ecc_uncorrected 2\n");
    AWAIT(told(host, "gpu-health", "GPU 1 is draining: uncorrected ECC errors: 2"));
    assert_false(told(host, "gpu-health", "GPU 0"));
    json_decref(admin_ok(host, "\"resume-gpu\", \"args\": {\"gpu_id\": 1}"));
    AWAIT(told(host, "gpu-health", "GPU 1 is ok"));
    json_decref(
        admin_ok(host, "\"drain-gpu\", \"args\": {\"gpu_id\": 0, \"reason\": \"new fans\"}"));
    AWAIT(told(host, "gpu-drained", "GPU 0 is drained: new fans"));
    json_decref(admin_ok(host, "\"resume-gpu\", \"args\": {\"gpu_id\": 0}"));
    AWAIT(told(host, "gpu-resumed", "GPU 0"));
}

static void test_checkup_xid_errors_outlive_the_mediator(void **state)
{
    struct host *host = *state;
    char path[64];
    FILE *file;

    AWAIT(is(host, 0, "ok"));
    snprintf(path, sizeof(path), "%s/gpu0.xid", state_dir);
    file = fopen(path, "ae");
    assert_non_null(file);
    fputs("79\n", file);
    assert_int_equal(fclose(file), 0);
    AWAIT(is(host, 0, "unhealthy"));
    host_kill(&host->mediator, SIGKILL);
    host_start_mediator(host, often);
    AWAIT(is(host, 0, "unhealthy"));
    AWAIT(is(host, 1, "ok"));
    AWAIT(number(host, 0, "sampled") > 0); /* its resumption is only heard while NVML answers */
    json_decref(admin_ok(host, "\"resume-gpu\", \"args\": {\"gpu_id\": 0}"));
    AWAIT(is(host, 0, "ok"));
    host_kill(&host->mediator, SIGKILL);
    host_start_mediator(host, often);
    AWAIT(is(host, 0, "ok"));
}

/* Rows of the audit log that say that errors were accepted. */
static unsigned accepted(const struct host *host)
{
    json_t *result =
        admin_ok(host, "\"list-audit\", \"args\": {\"object\": \"gpu\", \"key\": \"0\"}");
    const json_t *list = json_object_get(result, "audit"), *row;
    unsigned n = 0;
    size_t i;

    json_array_foreach (list, i, row)
        n += strcmp(json_string_value(json_object_get(row, "command")), "resume-gpu") == 0;
    json_decref(result);
    return n;
}

static void test_checkup_dry_run_resumes_nothing(void **state)
{
    struct host *host = *state;

    nvml_says(0, "ecc_uncorrected 2\n");
    AWAIT(is(host, 0, "draining"));
    json_decref(admin_ok(host, "\"resume-gpu\", \"args\": {\"gpu_id\": 0}, \"dry_run\": true"));
    assert_true(is(host, 0, "draining"));
    assert_int_equal(accepted(host), 0);
    json_decref(admin_ok(host, "\"resume-gpu\", \"args\": {\"gpu_id\": 0}"));
    assert_true(is(host, 0, "ok"));
    assert_int_equal(accepted(host), 1);
    json_decref(admin_ok(host, "\"resume-gpu\", \"args\": {\"gpu_id\": 0}"));
    assert_int_equal(accepted(host), 1); /* there was nothing to accept */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_checkup_stopped_gpu_gives_no_turn_until_it_is_better),
        CASE(test_checkup_new_channels_go_to_the_well_gpu),
        CASE(test_checkup_thresholds_are_in_force_at_once),
        CASE(test_checkup_silent_nvml_is_unknown_and_stops_nobody),
        CASE(test_checkup_reset_is_for_nobodys_gpu),
        CASE(test_checkup_reset_asks_for_one_gpu),
        CASE(test_checkup_changes_are_events),
        CASE(test_checkup_xid_errors_outlive_the_mediator),
        CASE(test_checkup_dry_run_resumes_nothing),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
