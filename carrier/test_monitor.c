/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the host of a VM's GPUs: by a socket that answers, ends, refuses or talks nonsense. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "carrier/fake_monitor.h"
#include "carrier/monitor.h"

struct both {
    struct fake_monitor host;
    struct monitor monitor;
    struct vgpu_monitor got;
    struct local_refusal refusal;
};

static int setup(void **state)
{
    static struct both both;

    memset(&both, 0, sizeof(both));
    fake_monitor_start(&both.host);
    assert_int_equal(monitor_init(&both.monitor, both.host.path), 0);
    *state = &both;
    return 0;
}

static int teardown(void **state)
{
    struct both *both = *state;

    monitor_release(&both->monitor);
    fake_monitor_stop(&both->host);
    return 0;
}

static int ask(struct both *both)
{
    return monitor_ask(&both->monitor, 0, 0, &both->got, &both->refusal);
}

static void test_monitor_keeps_its_connection(void **state)
{
    struct both *both = *state;

    assert_int_equal(ask(both), 0);
    assert_string_equal(both->got.name, "Fake GPU");
    assert_int_equal(ask(both), 0);
    assert_int_equal(fake_monitor_count(&both->host.connections), 1);
    assert_int_equal(fake_monitor_count(&both->host.questions), 2);
}

static void test_monitor_connects_again(void **state)
{
    struct both *both = *state;

    assert_int_equal(ask(both), 0);
    both->host.hang_up = true;
    assert_int_equal(ask(both), 0);
    assert_int_equal(fake_monitor_count(&both->host.connections), 2);
}

/* A host that hangs up on a new connection is not asked for ever. */
static void test_monitor_gives_up(void **state)
{
    struct both *both = *state;

    both->host.hang_up = true;
    assert_int_equal(ask(both), -ECONNRESET);
    assert_int_equal(both->refusal.status, VGPU_STARTING);
    assert_int_equal(fake_monitor_count(&both->host.questions), 1);
}

static void test_monitor_refusal_keeps_the_connection(void **state)
{
    struct both *both = *state;

    both->host.refusals = 1;
    both->host.refusal = VGPU_STARTING;
    assert_int_equal(ask(both), -ECONNREFUSED);
    assert_int_equal(both->refusal.status, VGPU_STARTING);
    assert_int_equal(both->refusal.retry_ns, 1000000);
    assert_int_equal(ask(both), 0);
    assert_int_equal(fake_monitor_count(&both->host.connections), 1);
}

static void test_monitor_nonsense_is_not_taken(void **state)
{
    struct both *both = *state;

    both->host.malformed = true;
    assert_int_equal(ask(both), -EPROTO);
    assert_int_equal(both->refusal.status, VGPU_BAD_MESSAGE);
    both->host.malformed = false;
    assert_int_equal(ask(both), 0);
}

static void test_monitor_old_host(void **state)
{
    struct both *both = *state;

    both->host.features = VGPU_FEATURE_JOB;
    assert_int_equal(ask(both), -EOPNOTSUPP);
    assert_int_equal(both->refusal.status, VGPU_VERSION);
    assert_int_equal(fake_monitor_count(&both->host.questions), 0);
}

/* Two processes on one connection would take each other's answers. */
static void test_monitor_child_has_its_own_connection(void **state)
{
    struct both *both = *state;
    int status = -1;
    pid_t child;

    assert_int_equal(ask(both), 0);
    child = fork();
    if (child == 0)
        _exit(ask(both) == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(fake_monitor_count(&both->host.connections), 2);
    assert_int_equal(ask(both), 0);
    assert_int_equal(fake_monitor_count(&both->host.connections), 2);
}

static void test_monitor_path_too_long(void **state)
{
    struct monitor monitor;
    char path[109];

    memset(path, 'a', 108);
    path[108] = '\0';
    assert_int_equal(monitor_init(&monitor, path), -ENAMETOOLONG);
    path[107] = '\0';
    assert_int_equal(monitor_init(&monitor, path), 0);
}

static void test_monitor_nobody_there(void **state)
{
    struct monitor monitor;
    struct vgpu_monitor got;
    struct local_refusal refusal = {0};

    assert_int_equal(monitor_init(&monitor, "/nonexistent/vgpu.sock"), 0);
    assert_int_equal(monitor_ask(&monitor, 0, 0, &got, &refusal), -ENOENT);
    assert_int_equal(refusal.status, VGPU_STARTING);
}

/* A device without that question: an old driver, or no driver of ours. */
static void test_monitor_old_driver(void **state)
{
    struct monitor monitor;
    struct vgpu_monitor got;
    struct local_refusal refusal = {0};

    assert_int_equal(monitor_init(&monitor, "/dev/null"), 0);
    assert_int_equal(monitor_ask(&monitor, 0, 0, &got, &refusal), -ENOTTY);
    assert_int_equal(refusal.status, VGPU_VERSION);
    monitor_release(&monitor);
}

/* Each field, one beyond what it may be. */
static void test_monitor_limits(void **state)
{
    struct vgpu_monitor good = {.gpus = VGPU_MONITOR_GPUS, .known = VGPU_MONITOR_KNOWN}, m = good;

    assert_int_equal(message_check_monitor(&m), 0);
    m.gpus = VGPU_MONITOR_GPUS + 1;
    assert_int_equal(message_check_monitor(&m), -EPROTO);
    m = good;
    m.known = VGPU_MONITOR_KNOWN + 1;
    assert_int_equal(message_check_monitor(&m), -EPROTO);
    m = good;
    m.process[VGPU_MONITOR_PROCESSES - 1].reserved = 1;
    assert_int_equal(message_check_monitor(&m), -EPROTO);
#define UNENDED(text)                                                                              \
    do {                                                                                           \
        m = good;                                                                                  \
        memset(m.text, 'x', sizeof(m.text) - 1);                                                   \
        assert_int_equal(message_check_monitor(&m), 0);                                            \
        m.text[sizeof(m.text) - 1] = 'x';                                                          \
        assert_int_equal(message_check_monitor(&m), -EPROTO);                                      \
    } while (0)
    UNENDED(uuid);
    UNENDED(name);
    UNENDED(driver);
    UNENDED(pci);
#undef UNENDED
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_monitor_keeps_its_connection),
        CASE(test_monitor_connects_again),
        CASE(test_monitor_gives_up),
        CASE(test_monitor_refusal_keeps_the_connection),
        CASE(test_monitor_nonsense_is_not_taken),
        CASE(test_monitor_old_host),
        CASE(test_monitor_child_has_its_own_connection),
        cmocka_unit_test(test_monitor_path_too_long),
        cmocka_unit_test(test_monitor_nobody_there),
        cmocka_unit_test(test_monitor_old_driver),
        cmocka_unit_test(test_monitor_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
