/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels in a guest's window, by a raw guest: which place each gets, until when it is held, and
 * what happens where there is none.
 */
#include <signal.h>
#include <string.h>
#include <vgpu/pci_regs.h>

#include "mediator/test_support.h"

static struct guest guest_hello_window(const struct host *host, uint32_t vm_id, uint32_t mib)
{
    struct guest guest = guest_connect(host, vm_id);
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    hello.carrier = VGPU_CARRIER_WINDOW;
    hello.window_mib = mib;
    guest_send(&guest, &hello, sizeof(hello));
    guest_expect(&guest, VGPU_MSG_WELCOME, &message);
    assert_true(message.welcome.features & VGPU_FEATURE_WINDOW);
    return guest;
}

/* Opened, in the window or not: channel->window says. */
static void guest_open_window(struct guest *guest, uint64_t data_bytes,
                              struct guest_channel *channel)
{
    struct vgpu_msg_open open = good_open(guest);
    int fds[3] = {-1, -1, -1};
    union message message;

    open.head.flags = VGPU_MSG_OPEN_WINDOW;
    open.data_bytes = data_bytes;
    guest_send(guest, &open, sizeof(open));
    assert_true(guest_receive(guest, &message, fds) > 0);
    if (message.head.type == VGPU_MSG_REFUSED)
        fail_msg("refused: %s", message.refused.text);
    assert_int_equal(message.head.type, VGPU_MSG_OPENED);
    guest_take_opened(&message, fds, channel);
}

static void guest_close_channel(struct guest *guest, const struct guest_channel *channel)
{
    struct vgpu_msg_channel ask = {
        {sizeof(ask), VGPU_MSG_CLOSE, 0, ++guest->tag, 0}, channel->number, 0};
    union message message;

    guest_send(guest, &ask, sizeof(ask));
    guest_expect(guest, VGPU_MSG_CLOSED, &message);
    assert_int_equal(message.head.tag, ask.head.tag);
}

static void refuses_open(struct guest *guest, struct vgpu_msg_open open, uint32_t status)
{
    union message message;

    open.head.tag = ++guest->tag;
    guest_send(guest, &open, sizeof(open));
    guest_expect_refused(guest, guest->tag, status, &message);
}

static void test_window_size_is_checked(void **state)
{
    const uint32_t least = VGPU_WINDOW_MIN_BYTES >> 20, most = VGPU_WINDOW_MAX_BYTES >> 20;
    const uint32_t wrong[] = {0, 1, least / 2, least + 1, least * 3, most + 1, most * 2};
    struct guest guest = {.tag = 0};
    struct vgpu_msg_hello hello = good_hello(&guest);
    union message message;

    hello.carrier = VGPU_CARRIER_WINDOW;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        hello.window_mib = wrong[i];
        guest = guest_connect(*state, 1);
        guest_send(&guest, &hello, sizeof(hello));
        guest_expect_refused(&guest, hello.head.tag, VGPU_BAD_MESSAGE, &message);
        guest_close(&guest);
    }
    guest = guest_hello_window(*state, 1, most);
    guest_close(&guest);
    guest = guest_hello_window(*state, 1, least);
    guest_close(&guest);
}

static void test_window_channels_have_places(void **state)
{
    struct guest guest = guest_hello_window(*state, 1, 8);
    struct guest_channel channel[4], more, large;

    for (unsigned i = 0; i < 4; i++) {
        guest_open_window(&guest, 8192, &channel[i]);
        assert_int_equal(channel[i].window, 1 + i * 512);
        assert_int_equal(channel_flags(&channel[i]), 0);
    }
    /* Full: relayed. */
    guest_open_window(&guest, 8192, &more);
    assert_int_equal(more.window, 0);
    assert_int_equal(channel_flags(&more), VGPU_CHANNEL_MIRRORED);
    guest_close_channel(&guest, &channel[1]);
    guest_close_channel(&guest, &channel[2]);
    guest_open_window(&guest, 3 << 20, &large);
    assert_int_equal(large.window, 1 + 512);
    guest_close(&guest);
    for (unsigned i = 0; i < 4; i++)
        channel_forget(&channel[i]);
    channel_forget(&more);
    channel_forget(&large);
}

static void test_window_is_not_used_unasked(void **state)
{
    struct guest guest = guest_hello_window(*state, 1, 64);
    struct guest_channel channel;

    guest_open(&guest, &channel);
    assert_int_equal(channel.window, 0);
    assert_int_equal(channel_flags(&channel), VGPU_CHANNEL_MIRRORED);
    channel_forget(&channel);
    guest_close(&guest);
}

static void test_window_default_leaves_room_for_eight(void **state)
{
    struct guest guest = guest_hello_window(*state, 1, 256);
    struct guest_channel channel[9];

    for (unsigned i = 0; i < 8; i++) {
        guest_open_window(&guest, 0, &channel[i]);
        assert_int_equal(channel[i].window, 1 + i * (32 << 8));
        assert_int_equal(channel[i].geometry.total_bytes, 32 << 20);
    }
    guest_open_window(&guest, 0, &channel[8]);
    assert_int_equal(channel[8].window, 0);
    for (unsigned i = 0; i < 9; i++)
        channel_forget(&channel[i]);
    guest_close(&guest);
}

/* What a relay cannot have is refused, rather than opened where it does not fit. */
static void test_window_full_refuses_what_no_relay_has(void **state)
{
    struct guest guest = guest_hello_window(*state, 1, 2048);
    struct vgpu_msg_open open = good_open(&guest);
    struct guest_channel channel;

    guest_open_window(&guest, 1280 << 20, &channel);
    assert_int_equal(channel.window, 1);
    channel_forget(&channel);
    open.head.flags = VGPU_MSG_OPEN_WINDOW;
    open.data_bytes = VGPU_RELAY_MAX_DATA_BYTES + 4096;
    refuses_open(&guest, open, VGPU_LIMIT);
    guest_open_window(&guest, VGPU_RELAY_MAX_DATA_BYTES, &channel);
    assert_int_equal(channel.window, 0);
    channel_forget(&channel);
    guest_close(&guest);
}

/* The guest's device has it mapped until it says CLOSE: its place is not given to another. */
static void test_window_place_is_held_until_closed(void **state)
{
    struct guest guest = guest_hello_window(*state, 1, 64);
    struct guest_channel first, second, third;
    union message message;

    guest_open_window(&guest, 8192, &first);
    channel_order(&first, FAKE_ABORT, 0, 0);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    guest_open_window(&guest, 8192, &second);
    assert_int_equal(second.window, 1 + 512);
    guest_close_channel(&guest, &first);
    guest_open_window(&guest, 8192, &third);
    assert_int_equal(third.window, 1);
    channel_forget(&first);
    channel_forget(&second);
    channel_forget(&third);
    guest_close(&guest);
}

static void test_window_channels_that_are_gone_count_until_closed(void **state)
{
    struct guest guest = guest_hello_window(*state, 1, 1024);
    struct guest_channel channel, first;
    union message message;

    guest_open_window(&guest, 8192, &first);
    channel_order(&first, FAKE_ABORT, 0, 0);
    guest_expect(&guest, VGPU_MSG_GONE, &message);
    for (unsigned i = 1; i < VGPU_VM_MAX_CHANNELS; i++) {
        guest_open_window(&guest, 8192, &channel);
        channel_forget(&channel);
    }
    refuses_open(&guest, good_open(&guest), VGPU_LIMIT);
    guest_close_channel(&guest, &first);
    guest_open_window(&guest, 8192, &channel);
    channel_forget(&channel);
    channel_forget(&first);
    guest_close(&guest);
}

static void resume(struct guest *guest, const struct guest_channel *channel)
{
    struct vgpu_msg_resume resume = {
        {sizeof(resume), VGPU_MSG_RESUME, 0, ++guest->tag, 0}, channel->number, 0, {0}};

    memcpy(resume.token, channel->token, sizeof(resume.token));
    guest_send(guest, &resume, sizeof(resume));
}

static void test_window_places_outlive_the_mediator(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello_window(host, 1, 64);
    struct guest_channel first, second, third;
    union message message;

    guest_open_window(&guest, 8192, &first);
    guest_open_window(&guest, 8192, &second);
    guest_close_channel(&guest, &first);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    guest = guest_hello_window(host, 1, 64);
    resume(&guest, &second);
    guest_expect(&guest, VGPU_MSG_RESUMED, &message);
    channel_forget(&first);
    guest_open_window(&guest, 8192, &first);
    assert_int_equal(first.window, 1);
    guest_open_window(&guest, 8192, &third);
    assert_int_equal(third.window, 1 + 2 * 512);
    channel_forget(&first);
    channel_forget(&second);
    channel_forget(&third);
    guest_close(&guest);
}

/* Its worker ended between mediator's restart and the guest's return. */
static void test_window_place_is_held_after_a_late_resume(void **state)
{
    struct host *host = *state;
    struct guest guest = guest_hello_window(host, 1, 64);
    struct guest_channel first, second;
    union message message;

    guest_open_window(&guest, 8192, &first);
    host_kill(&host->mediator, SIGKILL);
    guest_close(&guest);
    host_start_mediator(host, NULL);
    /* The VM's socket is there once all is adopted; before that no channel is known. */
    guest = guest_hello_window(host, 1, 64);
    channel_order(&first, FAKE_ABORT, 0, 0);
    AWAIT(vm_number(host, 1, "channels") == 0);
    resume(&guest, &first);
    guest_receive(&guest, &message, NULL);
    assert_int_equal(message.head.type, VGPU_MSG_REFUSED);
    guest_open_window(&guest, 8192, &second);
    assert_int_equal(second.window, 1 + 512);
    channel_forget(&second);
    guest_close_channel(&guest, &first);
    guest_open_window(&guest, 8192, &second);
    assert_int_equal(second.window, 1);
    channel_forget(&first);
    channel_forget(&second);
    guest_close(&guest);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup_1, host_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(test_window_size_is_checked),
        CASE(test_window_channels_have_places),
        CASE(test_window_is_not_used_unasked),
        CASE(test_window_default_leaves_room_for_eight),
        CASE(test_window_full_refuses_what_no_relay_has),
        CASE(test_window_place_is_held_until_closed),
        CASE(test_window_channels_that_are_gone_count_until_closed),
        CASE(test_window_places_outlive_the_mediator),
        CASE(test_window_place_is_held_after_a_late_resume),
    };

    support_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
