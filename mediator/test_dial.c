/* SPDX-License-Identifier: Apache-2.0 */
/* The mediator connects to devices that listen (--device-dir). */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "mediator/test_support.h"

/* Longer than the mediator waits before it tries again. */
#define SOME_TURNS_MS 1600

struct device {
    char dir[96], path[112];
    int listener;
};

static const char *const *dir_options(const struct device *device)
{
    static const char *options[3];

    options[0] = "--device-dir";
    options[1] = device->dir;
    return options;
}

static void device_dir(struct device *device, const struct host *host)
{
    snprintf(device->dir, sizeof(device->dir), "%s/devices", host->dir);
    snprintf(device->path, sizeof(device->path), "%s/1.sock", device->dir);
    assert_int_equal(mkdir(device->dir, 0755), 0);
    device->listener = -1;
}

static void device_bind(struct device *device, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_true(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path) + 1);
    device->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(device->listener, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void device_listen_at(struct device *device, const char *path)
{
    device_bind(device, path);
    assert_int_equal(listen(device->listener, 1), 0);
}

static bool device_is_dialled(const struct device *device, int timeout_ms)
{
    struct pollfd listener = {.fd = device->listener, .events = POLLIN};

    return poll(&listener, 1, timeout_ms) == 1;
}

static struct guest device_accept(const struct device *device)
{
    struct guest guest = {.sock = -1};

    assert_true(device_is_dialled(device, TIMEOUT_MS));
    guest.sock = accept4(device->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(guest.sock >= 0);
    return guest;
}

static void device_greet(struct guest *guest)
{
    struct vgpu_msg_hello hello = good_hello(guest);
    union message message;

    hello.carrier = VGPU_CARRIER_RELAY;
    guest_send(guest, &hello, sizeof(hello));
    guest_expect(guest, VGPU_MSG_WELCOME, &message);
    assert_int_equal(message.welcome.vm_id, 1);
}

static void device_end(struct device *device)
{
    vgpu_close(&device->listener);
    unlink(device->path);
    assert_int_equal(rmdir(device->dir), 0);
}

/* A mediator that looks at the device's directory; the fixture's has been ended. */
static void start_with(struct host *host, const struct device *device)
{
    host_kill(&host->mediator, SIGTERM);
    host_start_mediator(host, dir_options(device));
}

/* A device that listens, met by a mediator that starts after it. */
static struct guest met(struct device *device, struct host *host)
{
    struct guest guest;

    device_dir(device, host);
    device_listen_at(device, device->path);
    start_with(host, device);
    guest = device_accept(device);
    device_greet(&guest);
    return guest;
}

static void test_dial_greets_a_device_that_listens(void **state)
{
    struct device device;
    struct guest guest;

    guest = met(&device, *state);
    guest_close(&guest);
    device_end(&device);
}

static void test_dial_finds_a_device_that_comes_later(void **state)
{
    struct device device;
    struct guest guest;

    device_dir(&device, *state);
    start_with(*state, &device);
    device_listen_at(&device, device.path);
    guest = device_accept(&device);
    device_greet(&guest);
    guest_close(&guest);
    device_end(&device);
}

static void test_dial_again_when_the_connection_is_lost(void **state)
{
    struct device device;
    struct guest guest;

    guest = met(&device, *state);
    guest_close(&guest);
    guest = device_accept(&device);
    device_greet(&guest);
    guest_close(&guest);
    device_end(&device);
}

static void test_dial_resumes_channels_after_a_restart(void **state)
{
    struct host *host = *state;
    struct device device;
    struct guest guest;
    struct guest_channel channel;
    struct vgpu_msg_channel resume_id;
    struct vgpu_msg_resume resume = {0};
    union message message;

    guest = met(&device, host);
    guest_open(&guest, &channel);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, dir_options(&device));
    guest = device_accept(&device);
    device_greet(&guest);
    resume_id.channel = channel.number;
    resume.channel = resume_id.channel;
    memcpy(resume.token, channel.token, sizeof(resume.token));
    resume.head = (struct vgpu_msg){sizeof(resume), VGPU_MSG_RESUME, 0, ++guest.tag, 0};
    guest_send(&guest, &resume, sizeof(resume));
    guest_expect(&guest, VGPU_MSG_RESUMED, &message);
    channel_forget(&channel);
    guest_close(&guest);
    AWAIT(workers(host) == 0);
    device_end(&device);
}

static void test_dial_keeps_to_one_connection(void **state)
{
    struct device device;
    struct guest guest;

    guest = met(&device, *state);
    assert_false(device_is_dialled(&device, SOME_TURNS_MS));
    guest_close(&guest);
    device_end(&device);
}

static void test_dial_follows_no_symbolic_link(void **state)
{
    struct host *host = *state;
    struct device device;
    char elsewhere[112];

    device_dir(&device, host);
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere.sock", host->dir);
    device_listen_at(&device, elsewhere);
    assert_int_equal(symlink(elsewhere, device.path), 0);
    start_with(host, &device);
    assert_false(device_is_dialled(&device, SOME_TURNS_MS));
    unlink(elsewhere);
    device_end(&device);
}

static void test_dial_takes_no_link_for_its_directory(void **state)
{
    struct host *host = *state;
    struct device device;
    const char *options[] = {"--device-dir", NULL, NULL};
    char link[112];

    device_dir(&device, host);
    snprintf(link, sizeof(link), "%s/link", host->dir);
    assert_int_equal(symlink(device.dir, link), 0);
    options[1] = link;
    host_kill(&host->mediator, SIGTERM);
    assert_int_not_equal(wait_exit(host_spawn_mediator(host, options)), 0);
    unlink(link);
    device_end(&device);
    host_start_mediator(host, NULL);
}

static void test_dial_ignores_what_is_no_socket(void **state)
{
    struct host *host = *state;
    struct device device;
    struct guest guest;
    int file;

    device_dir(&device, host);
    file = open(device.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(file >= 0);
    close(file);
    start_with(host, &device);
    unlink(device.path);
    device_listen_at(&device, device.path);
    guest = device_accept(&device);
    device_greet(&guest);
    guest_close(&guest);
    device_end(&device);
}

/* Only root can be somebody else. */
static void test_dial_refuses_another_user(void **state)
{
    struct device device;
    struct guest guest;
    union message message;

    if (geteuid() != 0)
        skip();
    device_dir(&device, *state);
    device_bind(&device, device.path);
    /* The peer's user is who called listen(). */
    assert_int_equal(seteuid(12345), 0);
    assert_int_equal(listen(device.listener, 1), 0);
    assert_int_equal(seteuid(0), 0);
    start_with(*state, &device);
    guest = device_accept(&device);
    guest_expect_refused(&guest, 0, VGPU_NOT_CONFIGURED, &message);
    guest_expect_end(&guest);
    guest_close(&guest);
    device_end(&device);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_1, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_dial_greets_a_device_that_listens),
        CASE(test_dial_finds_a_device_that_comes_later),
        CASE(test_dial_again_when_the_connection_is_lost),
        CASE(test_dial_resumes_channels_after_a_restart),
        CASE(test_dial_keeps_to_one_connection),
        CASE(test_dial_follows_no_symbolic_link),
        CASE(test_dial_takes_no_link_for_its_directory),
        CASE(test_dial_ignores_what_is_no_socket),
        CASE(test_dial_refuses_another_user),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
