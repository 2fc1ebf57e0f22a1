/* SPDX-License-Identifier: Apache-2.0 */
/* The admin socket, live configuration, start and stop of the mediator, and what it costs. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "mediator/test_support.h"

static const char *error_code(const json_t *reply)
{
    assert_true(json_is_false(json_object_get(reply, "ok")));
    return json_string_value(json_object_get(json_object_get(reply, "error"), "code"));
}

static bool socket_exists(const struct host *host, unsigned vm_id)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/vm/%u.sock", host->run, vm_id);
    return access(path, F_OK) == 0;
}

static void test_register_makes_socket_live(void **state)
{
    struct guest guest;

    assert_false(socket_exists(*state, 7));
    json_decref(admin_ok(*state, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": 7}"));
    assert_true(socket_exists(*state, 7));
    guest = guest_hello(*state, 7);
    guest_close(&guest);
}

static void test_remove_ends_everything_live(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;
    union message message;

    guest_open(&guest, &channel);
    json_decref(admin_ok(*state, "\"remove-vm\", \"args\": {\"vm_id\": 1}"));
    assert_false(socket_exists(*state, 1));
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    assert_int_equal(message.gone.status, VGPU_REMOVED);
    guest_expect_end(&guest);
    assert_int_equal(workers(*state), 0);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_remove_and_register_again(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel, next;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_DEAF, 0, 0); /* the old VM lingers until it is killed */
    json_decref(admin_ok(*state, "\"remove-vm\", \"args\": {\"vm_id\": 1}"));
    json_decref(admin_ok(*state, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": 1}"));
    channel_forget(&channel);
    guest_close(&guest);
    guest = guest_hello(*state, 1);
    guest_open(&guest, &next);
    channel_order(&next, FAKE_OBEY, 5, 10);
    AWAIT(channel_done(&next) == 5);
    AWAIT(workers(*state) == 1);
    channel_forget(&next);
    guest_close(&guest);
}

static void test_changes_are_told_to_guests(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    union message message;

    json_decref(admin_ok(*state, "\"set-priority\", \"args\": {\"vm_id\": 1, "
                                 "\"priority\": \"high\"}"));
    guest_expect(&guest, VGPU_MSG_STATE, &message);
    assert_int_equal(message.head.size_bytes, sizeof(message.state));
    assert_int_equal(message.state.priority, 2);
    json_decref(admin_ok(*state, "\"set-weight\", \"args\": {\"vm_id\": 1, \"weight\": 12.5}"));
    guest_expect(&guest, VGPU_MSG_STATE, &message);
    assert_int_equal(message.state.weight_hundredths, 1250);
    assert_string_equal(message.state.pool, "A");
    guest_close(&guest);
}

static void test_dry_run_is_not_in_force(void **state)
{
    json_t *result = admin_ok(
        *state, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": 7}, \"dry_run\": true");

    assert_true(json_is_true(json_object_get(result, "dry_run")));
    assert_int_equal(json_array_size(json_object_get(result, "changes")), 1);
    json_decref(result);
    assert_false(socket_exists(*state, 7));
    result = admin(*state, "\"scan-gpus\", \"if_revision\": 1");
    assert_string_equal(error_code(result), "invalid");
    json_decref(result);
    result = admin_ok(*state, "\"scan-gpus\", \"dry_run\": true");
    assert_true(json_is_true(json_object_get(result, "dry_run")));
    json_decref(result);
    json_decref(admin_ok(*state, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": 7}"));
    assert_true(socket_exists(*state, 7));
}

static void test_second_of_two_administrators_is_told(void **state)
{
    static const char change[] = "\"set-weight\", \"args\": {\"vm_id\": 1, \"weight\": 12.5}, "
                                 "\"if_revision\": 1";
    json_t *reply, *error;

    json_decref(admin_ok(*state, change));
    reply = admin(*state, change);
    error = json_object_get(reply, "error");
    assert_string_equal(error_code(reply), "conflict");
    assert_int_equal(json_integer_value(json_object_get(error, "errno")), ESTALE);
    assert_non_null(strstr(json_string_value(json_object_get(error, "text")),
                           "VM 1 has revision 2, not 1; changed by: uid="));
    json_decref(reply);
}

static void test_unknown_pool_is_refused(void **state)
{
    json_t *reply =
        admin(*state, "\"register-vm\", \"args\": {\"pool\": \"nowhere\", \"vm_id\": 8}");

    assert_string_equal(error_code(reply), "not-found");
    assert_false(socket_exists(*state, 8));
    json_decref(reply);
}

static void test_store_errors_are_passed_on(void **state)
{
    json_t *reply = admin(*state, "\"no-such-command\"");

    assert_string_equal(error_code(reply), "unknown-command");
    json_decref(reply);
    reply = admin(*state, "\"record-gpus\", \"args\": {\"gpus\": []}");
    assert_string_equal(error_code(reply), "unknown-command");
    json_decref(reply);
    reply = admin(*state, "\"record-fault\", \"args\": {\"vm_id\": 1, \"kind\": \"k\", "
                          "\"text\": \"t\"}");
    assert_string_equal(error_code(reply), "unknown-command");
    json_decref(reply);
    reply = admin(*state, "\"status\", \"args\": {\"x\": 1}");
    assert_string_equal(error_code(reply), "invalid");
    json_decref(reply);
}

static void test_scan_and_status_show_gpus(void **state)
{
    json_t *result, *status = admin_ok(*state, "\"status\""), *gpu;

    /* At once after the first scan, whose samples came before their GPUs were known. */
    gpu = json_array_get(json_object_get(status, "gpus"), 0);
    assert_int_equal(json_number_value(json_object_get(gpu, "temperature")), 55);
    json_decref(status);
    result = admin_ok(*state, "\"scan-gpus\"");
    assert_true(json_is_false(json_object_get(result, "changed")));
    json_decref(result);
    status = admin_ok(*state, "\"status\"");
    assert_int_equal(json_array_size(json_object_get(status, "gpus")), 2);
    gpu = json_array_get(json_object_get(status, "gpus"), 0);
    assert_int_equal(json_number_value(json_object_get(gpu, "utilization")), 42);
    assert_int_equal(json_number_value(json_object_get(gpu, "temperature")), 55);
    assert_int_equal(json_integer_value(json_object_get(gpu, "memory_used_bytes")), 1000);
    assert_string_equal(json_string_value(json_object_get(gpu, "state")), "ok");
    assert_string_equal(json_string_value(json_array_get(json_object_get(gpu, "pools"), 0)), "A");
    assert_true(json_is_null(json_object_get(gpu, "holder_vm_id")));
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(status, "mediator"), "driver")), "fake");
    json_decref(status);
}

static void test_status_names_vm_states(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;
    json_t *status;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, UINT64_MAX, 200);
    AWAIT(channel_done(&channel) > 0);
    status = admin_ok(*state, "\"status\"");
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(status, "vms"), 0), "state")),
                        "running");
    assert_int_equal(json_integer_value(json_object_get(
                         json_array_get(json_object_get(status, "gpus"), 0), "holder_vm_id")),
                     1);
    json_decref(status);
    guest_close(&guest);
    channel_forget(&channel);
    AWAIT(workers(*state) == 0);
    status = admin_ok(*state, "\"status\"");
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(status, "vms"), 0), "state")),
                        "disconnected");
    json_decref(status);
}

static void send_text(int sock, const char *text)
{
    assert_int_equal(send(sock, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static json_t *next_reply(int sock)
{
    char *line = read_line(sock);
    json_t *reply;

    assert_non_null(line);
    reply = json_loads(line, 0, NULL);
    assert_non_null(reply);
    free(line);
    return reply;
}

/* Status is sent in parts; what else is asked for comes between them. */
static void test_status_of_many_vms_is_whole(void **state)
{
    int sock = admin_connect(*state);
    json_t *reply, *vms, *vm;
    size_t i;

    for (unsigned id = 2; id <= 50; id++)
        json_decref(
            admin_ok(*state, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": %u}", id));
    send_text(sock,
              "{\"id\": \"a\", \"command\": \"status\"}\n{\"id\": 2, \"command\": \"status\"}\n");
    for (int n = 0; n < 2; n++) {
        reply = next_reply(sock);
        vms = json_object_get(json_object_get(reply, "result"), "vms");
        assert_int_equal(json_array_size(vms), 50);
        json_array_foreach (vms, i, vm)
            assert_int_equal(json_integer_value(json_object_get(vm, "vm_id")), i + 1);
        json_decref(reply);
    }
    /* Gone in the middle of an answer. */
    send_text(sock, "{\"id\": 3, \"command\": \"status\"}\n");
    close(sock);
    json_decref(admin_ok(*state, "\"list-pools\""));
}

static void test_replies_come_in_order(void **state)
{
    int sock = admin_connect(*state);

    send_text(sock, "{\"id\": 1, \"command\": \"list-vms\"}\n{\"id\": \"two\", \"command\": "
                    "\"status\"}\n{\"id\": 3, \"command\": \"list-pools\"}\n");
    for (int i = 1; i <= 3; i++) {
        json_t *reply = next_reply(sock), *id = json_object_get(reply, "id");

        assert_true(json_is_true(json_object_get(reply, "ok")));
        if (i == 2)
            assert_string_equal(json_string_value(id), "two");
        else
            assert_int_equal(json_integer_value(id), i);
        json_decref(reply);
    }
    close(sock);
}

static void test_nonsense_is_answered(void **state)
{
    int sock = admin_connect(*state);
    json_t *reply;

    send_text(sock, "nonsense\n[1]\n{\"command\": \"status\"}\n{\"id\": 4}\n");
    for (int i = 0; i < 4; i++) {
        reply = next_reply(sock);
        assert_string_equal(error_code(reply), "invalid");
        assert_true(i == 3 || json_is_null(json_object_get(reply, "id")));
        json_decref(reply);
    }
    send_text(sock, "{\"id\": 5, \"command\": \"status\"}\n");
    reply = next_reply(sock);
    assert_true(json_is_true(json_object_get(reply, "ok")));
    json_decref(reply);
    close(sock);
}

static void test_long_line_is_refused(void **state)
{
    int sock = admin_connect(*state);
    size_t size = (2 << 20) + 1, sent = 0;
    char *line = malloc(size);
    json_t *reply;

    memset(line, ' ', size);
    while (sent < size) {
        ssize_t n = send(sock, line + sent, size - sent, MSG_NOSIGNAL);

        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    reply = next_reply(sock);
    assert_string_equal(error_code(reply), "too-large");
    json_decref(reply);
    assert_null(read_line(sock));
    free(line);
    close(sock);
}

#define CLIENTS_MAX 32

static void test_clients_are_limited(void **state)
{
    int socks[CLIENTS_MAX], more;
    json_t *reply;

    for (int i = 0; i < CLIENTS_MAX; i++) {
        socks[i] = admin_connect(*state);
        send_text(socks[i], "{\"id\": 1, \"command\": \"list-pools\"}\n");
        json_decref(next_reply(socks[i]));
    }
    more = admin_connect(*state);
    reply = next_reply(more);
    assert_string_equal(error_code(reply), "unavailable");
    json_decref(reply);
    close(more);
    for (int i = 0; i < CLIENTS_MAX; i++)
        close(socks[i]);
}

static void test_slow_client_blocks_nobody(void **state)
{
    int slow = admin_connect(*state);

    /* Asks for more than the socket holds, and reads nothing. */
    for (int i = 0; i < 2000; i++)
        if (send(slow, "{\"id\": 1, \"command\": \"status\"}\n", 31, MSG_NOSIGNAL | MSG_DONTWAIT) <
            0)
            break;
    for (int i = 0; i < 5; i++)
        json_decref(admin_ok(*state, "\"status\""));
    close(slow);
}

/* events */

static void quarantine(const struct host *host, const char *reason)
{
    json_decref(
        admin_ok(host, "\"quarantine\", \"args\": {\"vm_id\": 1, \"reason\": \"%s\"}", reason));
}

/* Of the last event that there is of that kind after `after`; NULL: none. The caller's. */
static json_t *find_event(const struct host *host, const char *kind, json_int_t after)
{
    json_t *result = admin_ok(host, "\"events\", \"args\": {\"after\": %lld, \"wait_ms\": 2000}",
                              (long long)after);
    json_t *found = NULL, *event;
    size_t i;

    json_array_foreach (json_object_get(result, "events"), i, event)
        if (strcmp(json_string_value(json_object_get(event, "kind")), kind) == 0)
            found = event;
    json_incref(found);
    json_decref(result);
    return found;
}

static void assert_event(const struct host *host, const char *kind, const char *text)
{
    json_t *event = NULL;

    AWAIT((event = find_event(host, kind, 0)));
    if (!strstr(json_string_value(json_object_get(event, "text")), text))
        fail_msg("%s: %s", kind, json_string_value(json_object_get(event, "text")));
    json_decref(event);
}

static void test_events_tell_what_happened(void **state)
{
    struct guest guest = guest_hello(*state, 1);

    assert_event(*state, "mediator-started", "0 channels adopted");
    assert_event(*state, "vm-connected", "process ");
    guest_close(&guest);
    assert_event(*state, "vm-disconnected", "process ");
    json_decref(admin_ok(*state, "\"set-weight\", \"args\": {\"vm_id\": 1, \"weight\": 12.5}"));
    assert_event(*state, "config-changed", "vm 1: weight 50.0 -> 12.5 by uid=");
    quarantine(*state, "mining");
    assert_event(*state, "vm-quarantined", "mining");
    json_decref(admin_ok(*state, "\"unquarantine\", \"args\": {\"vm_id\": 1}"));
    assert_event(*state, "vm-released", "released");
}

static void test_events_are_waited_for(void **state)
{
    json_t *first = admin_ok(*state, "\"events\", \"args\": {\"after\": 0}");
    json_int_t last = json_integer_value(json_object_get(first, "next"));
    int waiting = admin_connect(*state), gone = admin_connect(*state);
    struct pollfd ready = {.fd = waiting, .events = POLLIN};
    struct guest guest;
    char line[160];
    json_t *reply;

    assert_true(last > 0);
    snprintf(line, sizeof(line),
             "{\"id\": 1, \"command\": \"events\", \"args\": {\"after\": %lld, "
             "\"wait_ms\": 30000}}\n",
             (long long)last);
    send_text(waiting, line);
    send_text(gone, line);
    json_decref(admin_ok(*state, "\"status\"")); /* both were read before this */
    assert_int_equal(poll(&ready, 1, 0), 0);
    close(gone);
    guest = guest_hello(*state, 1);
    reply = next_reply(waiting);
    assert_string_equal(
        json_string_value(json_object_get(
            json_array_get(json_object_get(json_object_get(reply, "result"), "events"), 0),
            "kind")),
        "vm-connected");
    json_decref(reply);
    json_decref(first);
    close(waiting);
    guest_close(&guest);
}

static void test_events_arguments_are_checked(void **state)
{
    static const char *const good[] = {"\"limit\": 1", "\"limit\": 256",
                                       "\"wait_ms\": 0, \"after\": 0", "\"after\": null"};
    static const char *const bad[] = {"\"limit\": 0",     "\"limit\": 257", "\"wait_ms\": 30001",
                                      "\"wait_ms\": -1",  "\"after\": -1",  "\"after\": 1.5",
                                      "\"after\": \"1\"", "\"x\": 1"};
    json_t *reply;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(good); i++)
        json_decref(admin_ok(*state, "\"events\", \"args\": {%s}", good[i]));
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++) {
        reply = admin(*state, "\"events\", \"args\": {%s}", bad[i]);
        assert_string_equal(error_code(reply), "invalid");
        json_decref(reply);
    }
}

static void test_dead_store_helper_is_replaced(void **state)
{
    struct host *host = *state;
    char path[64], text[128] = "", name[32] = "";
    int first = 0, second = 0, pid;
    json_t *reply;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)host->mediator,
             (int)host->mediator);
    file = fopen(path, "r");
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_int_equal(sscanf(text, "%d %d", &first, &second), 2);
    snprintf(path, sizeof(path), "/proc/%d/comm", first);
    file = fopen(path, "r");
    assert_non_null(fgets(name, sizeof(name), file));
    fclose(file);
    pid = strcmp(name, "vgpu-store\n") == 0 ? first : second;
    kill(pid, SIGKILL);
    AWAIT(({
        bool ok;

        reply = admin(host, "\"list-pools\"");
        ok = json_is_true(json_object_get(reply, "ok"));
        if (!ok)
            assert_string_equal(error_code(reply), "unavailable");
        json_decref(reply);
        ok;
    }));
    assert_event(host, "helper-lost", "vgpu-store has ended");
    assert_event(host, "helper-back", "vgpu-store answers again");
}

static void test_second_mediator_is_refused(void **state)
{
    struct host *host = *state;
    struct host other = *host;

    assert_int_equal(wait_exit(host_spawn_mediator(host, NULL)), 1);
    json_decref(admin_ok(host, "\"status\""));
    /* Elsewhere on the host, with a database of its own: the launcher serves one. */
    snprintf(other.run, sizeof(other.run), "%s/other", host->dir);
    snprintf(other.database, sizeof(other.database), "%s/other.db", host->dir);
    assert_int_equal(wait_exit(host_spawn_mediator(&other, NULL)), 1);
    json_decref(admin_ok(host, "\"status\""));
}

static void test_admin_socket_in_use_is_refused(void **state)
{
    struct host *host = *state;
    char path[128], pid_file[128];

    /* Its lock is gone with the file, but it still listens. */
    snprintf(pid_file, sizeof(pid_file), "%s/mediator.pid", host->run);
    snprintf(path, sizeof(path), "%s/x", host->dir);
    assert_int_equal(rename(pid_file, path), 0);
    snprintf(host->database, sizeof(host->database), "%s/other.db", host->dir);
    assert_int_equal(wait_exit(host_spawn_mediator(host, NULL)), 1);
    json_decref(admin_ok(host, "\"status\""));
}

static void test_missing_database_is_refused(void **state)
{
    struct host *host = *state, other = *host;
    static const char *const none[] = {"--database", "/nonexistent/vgpu.db", NULL};

    snprintf(other.run, sizeof(other.run), "%s/other", host->dir);
    assert_int_equal(wait_exit(host_spawn_mediator(&other, none)), 1);
    assert_int_equal(rmdir(other.run), 0); /* nothing is left in it */
}

static void test_corrupt_database_is_refused(void **state)
{
    struct host *host = *state, other = *host;
    char junk[4096];
    int fd;

    snprintf(other.run, sizeof(other.run), "%s/other", host->dir);
    snprintf(other.database, sizeof(other.database), "%s/junk.db", host->dir);
    memset(junk, 0x5a, sizeof(junk));
    fd = open(other.database, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    assert_int_equal(wait_exit(host_spawn_mediator(&other, NULL)), 1);
}

static void expect_quarantined(const struct host *host, uint32_t vm_id)
{
    struct guest guest = guest_connect(host, vm_id);
    struct vgpu_msg_hello hello = good_hello(&guest);
    struct vgpu_msg_open open_one;
    union message message;

    guest_send(&guest, &hello, sizeof(hello));
    guest_expect(&guest, VGPU_MSG_WELCOME, &message);
    assert_int_equal(message.welcome.quarantined, 1);
    open_one = good_open(&guest);
    guest_send(&guest, &open_one, sizeof(open_one));
    guest_expect_refused(&guest, open_one.head.tag, VGPU_QUARANTINED, &message);
    guest_close(&guest);
}

static void test_quarantine_is_told_before_it_is_answered(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct pollfd readable = {.fd = guest.sock, .events = POLLIN};
    union message message;

    quarantine(*state, "mining");
    assert_int_equal(poll(&readable, 1, 0), 1);
    guest_expect(&guest, VGPU_MSG_STATE, &message);
    assert_int_equal(message.state.quarantined, 1);
    json_decref(admin_ok(*state, "\"unquarantine\", \"args\": {\"vm_id\": 1}"));
    assert_int_equal(poll(&readable, 1, 0), 1);
    guest_expect(&guest, VGPU_MSG_STATE, &message);
    assert_int_equal(message.state.quarantined, 0);
    guest_close(&guest);
}

/* The mediator again, with the tests' own user as the agent's, or with another. */
static void restart_with_agent(struct host *host, unsigned uid)
{
    char text[16];
    const char *const options[] = {"--agent-uid", text, NULL};

    snprintf(text, sizeof(text), "%u", uid);
    host_kill(&host->mediator, SIGKILL);
    host_start_mediator(host, options);
}

#define QUARANTINE_FOR                                                                             \
    "\"quarantine\", \"args\": {\"vm_id\": 1, \"reason\": \"x\"}, \"on_behalf\": "

static void test_agent_says_for_whom_it_asks(void **state)
{
    json_t *result;

    restart_with_agent(*state, getuid());
    result = admin_ok(*state, QUARANTINE_FOR "\"Ann.o-k_1\"");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(result, "vm"), "quarantined_by")),
        "agent:Ann.o-k_1");
    json_decref(result);
}

static void test_agent_that_names_nobody_is_itself(void **state)
{
    json_t *result;

    restart_with_agent(*state, getuid());
    result = admin_ok(*state, "\"quarantine\", \"args\": {\"vm_id\": 1, \"reason\": \"x\"}");
    assert_memory_equal(
        json_string_value(json_object_get(json_object_get(result, "vm"), "quarantined_by")),
        "uid=", 4);
    json_decref(result);
}

static void test_nobody_else_says_for_whom_it_asks(void **state)
{
    json_t *reply = admin(*state, QUARANTINE_FOR "\"ann\"");

    assert_string_equal(error_code(reply), "denied");
    json_decref(reply);
    restart_with_agent(*state, getuid() + 1);
    reply = admin(*state, QUARANTINE_FOR "\"ann\"");
    assert_string_equal(error_code(reply), "denied");
    json_decref(reply);
    reply = admin_ok(*state, "\"show-vm\", \"args\": {\"vm_id\": 1}");
    assert_true(json_is_false(json_object_get(json_object_get(reply, "vm"), "quarantined")));
    json_decref(reply);
}

static void test_bad_names_of_the_agent_are_refused(void **state)
{
    static const char *const bad[] = {
        "\"\"", "7", "null", "\"a b\"", "\"a\\u0000\"", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\""};

    restart_with_agent(*state, getuid());
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++) {
        json_t *reply = admin(*state, QUARANTINE_FOR "%s", bad[i]);

        assert_string_equal(error_code(reply), "invalid");
        json_decref(reply);
    }
}

static void test_quarantine_outlives_the_mediator(void **state)
{
    struct host *host = *state;
    struct guest guest;
    struct guest_channel channel;

    quarantine(host, "mining");
    host_kill(&host->mediator, SIGKILL);
    host_start_mediator(host, NULL);
    expect_quarantined(host, 1);
    json_decref(admin_ok(host, "\"unquarantine\", \"args\": {\"vm_id\": 1}"));
    guest = guest_hello(host, 1);
    guest_open(&guest, &channel);
    channel_forget(&channel);
    guest_close(&guest);
}

/* "live" of show-vm, checked to be an object; to be released. */
static json_t *live_of(const struct host *host)
{
    json_t *result = admin_ok(host, "\"show-vm\", \"args\": {\"vm_id\": 1}");
    json_t *live = json_incref(json_object_get(result, "live"));

    json_decref(result);
    assert_true(json_is_object(live));
    return live;
}

static void test_show_vm_has_what_is_so_now(void **state)
{
    struct guest guest = guest_hello(*state, 1);
    struct guest_channel channel;
    json_t *live;

    guest_open(&guest, &channel);
    channel_order(&channel, FAKE_OBEY, 3, 200);
    AWAIT(channel_done(&channel) == 3);
    live = live_of(*state);
    assert_int_equal(json_integer_value(json_object_get(live, "channels")), 1);
    assert_int_equal(json_integer_value(json_object_get(live, "connections")), 1);
    json_decref(live);
    quarantine(*state, "mining");
    live = live_of(*state);
    assert_string_equal(json_string_value(json_object_get(live, "state")), "quarantined");
    json_decref(live);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_show_vm_of_nobody_is_refused(void **state)
{
    json_t *reply = admin(*state, "\"show-vm\", \"args\": {\"vm_id\": 99}");

    assert_string_equal(error_code(reply), "not-found");
    json_decref(reply);
}

static void test_status_has_the_reason_of_a_quarantine(void **state)
{
    json_t *status;

    quarantine(*state, "mining");
    status = admin_ok(*state, "\"status\"");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(json_object_get(status, "vms"), 0),
                                          "quarantine_reason")),
        "mining");
    json_decref(status);
}

static void test_bad_options_are_refused(void **state)
{
    static const char *const bad[][4] = {
        {"--drain-ms", "0", NULL},         {"--drain-ms", "86400001", NULL},
        {"--max-data-mib", "65537", NULL}, {"--max-data-mib", "x", NULL},
        {"--no-such-option", NULL},        {"operand", NULL}};

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(bad); i++)
        assert_int_equal(wait_exit(host_spawn_mediator(*state, bad[i])), 2);
}

static long rss_kib(pid_t pid)
{
    char path[64], line[128];
    long kib = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

#define MANY 30

static void test_thirty_vms_fit_in_16_mib(void **state)
{
    struct host *host = *state;
    struct guest guests[MANY];
    struct guest_channel channels[MANY];
    long kib;

    for (unsigned i = 0; i < MANY; i++) {
        json_decref(
            admin_ok(host, "\"register-vm\", \"args\": {\"pool\": \"A\", \"vm_id\": %u}", 100 + i));
        guests[i] = guest_hello(host, 100 + i);
        guest_open(&guests[i], &channels[i]);
    }
    for (unsigned i = 0; i < MANY; i++)
        channel_order(&channels[i], FAKE_OBEY, 20, 100);
    for (unsigned i = 0; i < MANY; i++)
        AWAIT(channel_done(&channels[i]) == 20);
    kib = rss_kib(host->mediator);
    print_message("resident with %d VMs: %ld KiB\n", MANY, kib);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(kib > 0 && kib < 16 * 1024);
#endif
    for (unsigned i = 0; i < MANY; i++) {
        channel_forget(&channels[i]);
        guest_close(&guests[i]);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_1, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_register_makes_socket_live),
        CASE(test_remove_ends_everything_live),
        CASE(test_remove_and_register_again),
        CASE(test_changes_are_told_to_guests),
        CASE(test_dry_run_is_not_in_force),
        CASE(test_second_of_two_administrators_is_told),
        CASE(test_unknown_pool_is_refused),
        CASE(test_store_errors_are_passed_on),
        CASE(test_scan_and_status_show_gpus),
        CASE(test_status_names_vm_states),
        CASE(test_status_of_many_vms_is_whole),
        CASE(test_replies_come_in_order),
        CASE(test_nonsense_is_answered),
        CASE(test_long_line_is_refused),
        CASE(test_clients_are_limited),
        CASE(test_slow_client_blocks_nobody),
        CASE(test_events_tell_what_happened),
        CASE(test_events_are_waited_for),
        CASE(test_events_arguments_are_checked),
        CASE(test_dead_store_helper_is_replaced),
        CASE(test_second_mediator_is_refused),
        CASE(test_admin_socket_in_use_is_refused),
        CASE(test_missing_database_is_refused),
        CASE(test_corrupt_database_is_refused),
        CASE(test_bad_options_are_refused),
        CASE(test_thirty_vms_fit_in_16_mib),
        CASE(test_quarantine_is_told_before_it_is_answered),
        CASE(test_agent_says_for_whom_it_asks),
        CASE(test_agent_that_names_nobody_is_itself),
        CASE(test_nobody_else_says_for_whom_it_asks),
        CASE(test_bad_names_of_the_agent_are_refused),
        CASE(test_quarantine_outlives_the_mediator),
        CASE(test_show_vm_has_what_is_so_now),
        CASE(test_show_vm_of_nobody_is_refused),
        CASE(test_status_has_the_reason_of_a_quarantine),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
