/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox from inside: each attempt is made in a child that has entered it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "worker/sandbox.h"

#define NOT_ENTERED 100

#define NOTIFY 0x4504ul /* as an event channel's ioctl may be numbered */

static int try_with_ioctl(enum sandbox_mode mode, unsigned long request, int (*attempt)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        const char *applied;

        _exit(sandbox_enter(mode, request, &applied, NULL) == 0 ? attempt() : NOT_ENTERED);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* The wait status of a child that enters the sandbox and returns what attempt() returns. */
static int try_inside(enum sandbox_mode mode, int (*attempt)(void))
{
    return try_with_ioctl(mode, 0, attempt);
}

static int ask_to_notify(void)
{
    return ioctl(STDIN_FILENO, NOTIFY, 0) < 0 ? errno : 0;
}

static int ask_to_map(void)
{
    return ioctl(STDIN_FILENO, NOTIFY ^ 1, 0) < 0 ? errno : 0;
}

static int do_nothing(void)
{
    return 0;
}

static int open_file(void)
{
    return open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0;
}

static int open_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static int run_program(void)
{
    return execl("/bin/true", "true", (char *)NULL) != 0;
}

static int make_process(void)
{
    return fork() >= 0;
}

static void *nothing(void *argument)
{
    return argument;
}

static int make_thread(void)
{
    pthread_t thread;
    int status = pthread_create(&thread, NULL, nothing, NULL);

    return status ? status : pthread_join(thread, NULL);
}

static int trace_parent(void)
{
    return kill(getppid(), 0) == 0;
}

static void expect_exit(int (*attempt)(void))
{
    int status = try_inside(SANDBOX_ON, attempt);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void expect_death(int (*attempt)(void))
{
    int status = try_inside(SANDBOX_ON, attempt);

    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_sandbox_lets_work(void **state)
{
    expect_exit(do_nothing);
    expect_exit(make_thread);
}

static void test_sandbox_refuses_files(void **state)
{
    expect_exit(open_file);
}

static void test_sandbox_kills(void **state)
{
    expect_death(open_socket);
    expect_death(run_program);
    expect_death(make_process);
    expect_death(trace_parent);
}

static void test_sandbox_log_lets_live(void **state)
{
    int status = try_inside(SANDBOX_LOG, open_socket);

    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_sandbox_leaves_one_ioctl_to_who_needs_it(void **state)
{
    int without = try_inside(SANDBOX_ON, ask_to_notify);
    int with = try_with_ioctl(SANDBOX_ON, NOTIFY, ask_to_notify);
    int other = try_with_ioctl(SANDBOX_ON, NOTIFY, ask_to_map);

    assert_true(WIFEXITED(without) && WIFEXITED(with) && WIFEXITED(other));
    assert_int_equal(WEXITSTATUS(without), EACCES);
    assert_int_equal(WEXITSTATUS(with), ENOTTY);
    assert_int_equal(WEXITSTATUS(other), EACCES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox_leaves_one_ioctl_to_who_needs_it),
        cmocka_unit_test(test_sandbox_lets_work),
        cmocka_unit_test(test_sandbox_refuses_files),
        cmocka_unit_test(test_sandbox_kills),
        cmocka_unit_test(test_sandbox_log_lets_live),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
