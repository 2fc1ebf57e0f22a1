/* SPDX-License-Identifier: Apache-2.0 */
/* States, commands, keys and the control page, against a xenstore in memory and the double of Xen.
 * The mediator's part is in tests/xenbus/. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "carrier/fake_xen.h"
#include "common/cleanup.h"
#include "xenbus/command.h"
#include "xenbus/fake_store.h"
#include "xenbus/server.h"
#include "xenbus/toolstack.h"

#define DOMID 5u
#define PORT  9u
#define BACK  "/local/domain/0/backend/vgpu/5/0/"
#define FRONT "/local/domain/5/device/vgpu/0/"

struct setting {
    struct store store;
    struct fake_xen xen;
    struct backend backend;
    struct server server;
    struct vgpu_xen_control *control;
    struct grant_ops ops;
    struct store_ops store_ops;
};

static const char *value(const struct setting *setting, const char *path)
{
    const struct fake_node *node = fake_store_node(&setting->store, path);

    return node ? node->value : "";
}

static void turn(struct setting *setting)
{
    for (int i = 0; i < 4; i++) {
        assert_int_equal(server_turn(&setting->server, 0), 0);
        fake_xen_turn(&setting->xen, 0);
        fake_xen_turn(&setting->xen, 0);
    }
}

static void guest_says(struct setting *setting, const char *key, const char *text)
{
    char path[STORE_PATH_BYTES];

    snprintf(path, sizeof(path), "%s%s", FRONT, key);
    fake_store_ops.write(&setting->store, path, text);
}

static void guest_number(struct setting *setting, const char *key, uint32_t number)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    guest_says(setting, key, text);
}

static struct fake_xen *the_xen;

/* To ask Xen would be to wait for this very thread. */
static int bind_at_once(int events, uint32_t domid, uint32_t port, uint32_t *ret_port)
{
    assert_int_equal(domid, DOMID);
    *ret_port = fake_xen_bind(the_xen, 0, port);
    return 0;
}

static unsigned n_listed;

static int list_and_count(struct store *store, const char *path, uint32_t *ret, unsigned most)
{
    n_listed++;
    return fake_store_ops.numbers(store, path, ret, most);
}

static void guest_connects(struct setting *setting)
{
    uint32_t first;

    setting->control =
        (struct vgpu_xen_control *)(void *)fake_xen_pages(&setting->xen, VGPU_XEN_PAGES, &first);
    setting->control->magic = VGPU_GRANT_MAGIC;
    setting->control->version = VGPU_GRANT_VERSION;
    guest_number(setting, "ring-ref", fake_xen_directory(&setting->xen, first, VGPU_XEN_PAGES));
    guest_number(setting, "event-channel", PORT);
    guest_says(setting, "state", "3");
    turn(setting);
}

static int set_up(void **state)
{
    struct setting *setting = calloc(1, sizeof(*setting));
    struct vgpu_err err;

    fake_store_init(&setting->store);
    fake_xen_init(&setting->xen);
    the_xen = &setting->xen;
    setting->ops = grant_ops;
    setting->ops.bind = bind_at_once;
    setting->store_ops = fake_store_ops;
    setting->store_ops.numbers = list_and_count;
    setting->backend = (struct backend){
        .store = &setting->store,
        .store_ops = &setting->store_ops,
        .grants = &setting->ops,
        .memory = grant_ops.open_memory(setting->xen.memory_path),
        .events = grant_ops.open_events(setting->xen.events, 0),
        .run_dir = "/nonexistent",
    };
    assert_true(setting->backend.memory >= 0 && setting->backend.events >= 0);
    fake_xen_turn(&setting->xen, 0); /* the connection of events */
    assert_int_equal(server_init(&setting->server, &setting->backend, &err), 0);
    assert_int_equal(toolstack_attach(&setting->backend, DOMID, 0, "vm", &err), 0);
    turn(setting);
    *state = setting;
    return 0;
}

static int tear_down(void **state)
{
    struct setting *setting = *state;

    server_release(&setting->server);
    close(setting->backend.memory);
    close(setting->backend.events);
    fake_xen_release(&setting->xen);
    fake_store_release(&setting->store);
    free(setting);
    return 0;
}

static struct vgpu_device_command *command(struct setting *setting, uint32_t slot)
{
    return (struct vgpu_device_command *)(void *)((uint8_t *)setting->control + 4096 +
                                                  (size_t)slot * 1024);
}

static void ring(struct setting *setting, uint32_t slot)
{
    setting->control->doorbell[slot] = command(setting, slot)->tag;
    fake_xen_send(&setting->xen, PORT);
    turn(setting);
}

/* States */

static void test_state_never_leaves_the_table(void **state)
{
    for (int ours = XENBUS_INITIALISING; ours < XENBUS_N_STATES; ours++)
        for (int theirs = 0; theirs < XENBUS_N_STATES; theirs++)
            for (int flags = 0; flags < 4; flags++) {
                enum xenbus_state next = xenbus_next(ours, theirs, flags & 1, flags & 2);

                assert_in_range(next, XENBUS_INITIALISING, XENBUS_RECONFIGURED);
                if (ours == XENBUS_CONNECTED) /* by way of Closing only */
                    assert_true(next == XENBUS_CONNECTED || next == XENBUS_CLOSING);
                if (next == XENBUS_CONNECTED && ours != XENBUS_CONNECTED)
                    assert_true(ours == XENBUS_INIT_WAIT && (flags & 1));
            }
}

static void test_state_closes_when_drained(void **state)
{
    assert_int_equal(xenbus_next(XENBUS_CLOSING, XENBUS_CLOSED, true, false), XENBUS_CLOSING);
    assert_int_equal(xenbus_next(XENBUS_CLOSING, XENBUS_CLOSED, true, true), XENBUS_CLOSED);
    assert_int_equal(xenbus_next(XENBUS_CLOSED, XENBUS_INITIALISING, true, true), XENBUS_INIT_WAIT);
    assert_int_equal(xenbus_next(XENBUS_CLOSED, XENBUS_INITIALISING, false, true), XENBUS_CLOSED);
}

static void test_number_is_decimal_and_bounded(void **state)
{
    uint32_t n;

    assert_true(store_number("0", 9, &n) && n == 0);
    assert_true(store_number("4294967295", UINT32_MAX, &n) && n == UINT32_MAX);
    assert_false(store_number("4294967296", UINT32_MAX, &n));
    assert_true(store_number("9", 9, &n));
    assert_false(store_number("10", 9, &n));
    assert_false(store_number("", 9, &n));
    assert_false(store_number("-1", 9, &n));
    assert_false(store_number("1 ", 9, &n));
    assert_false(store_number("00000000001", 9, &n));
}

static void test_device_waits_for_its_guest(void **state)
{
    struct setting *setting = *state;

    assert_string_equal(value(setting, BACK "state"), "2");
    assert_string_equal(value(setting, BACK "version"), "1");
    assert_string_equal(value(setting, BACK "max-pages"), "65536");
}

static void test_keys_belong_to_their_sides(void **state)
{
    const struct setting *setting = *state;
    const struct fake_node *back =
        fake_store_node(&setting->store, "/local/domain/0/backend/vgpu/5/0");
    const struct fake_node *front =
        fake_store_node(&setting->store, "/local/domain/5/device/vgpu/0");

    assert_int_equal(back->owner, 0);
    assert_int_equal(back->reader, DOMID);
    assert_int_equal(fake_store_node(&setting->store, "/local/domain/0/backend/vgpu/5")->owner, 0);
    assert_int_equal(fake_store_node(&setting->store, "/local/domain/0/backend/vgpu/5")->reader,
                     DOMID);
    assert_int_equal(front->owner, DOMID);
    assert_int_equal(front->reader, 0);
}

static void test_device_connects(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    assert_string_equal(value(setting, BACK "state"), "4");
    assert_non_null(fake_xen_bound(&setting->xen, PORT));
    assert_int_equal(setting->control->status, VGPU_DEVICE_DISCONNECTED);
    assert_int_equal(setting->control->features, VGPU_DEVICE_GRANT | VGPU_DEVICE_MONITOR);
    assert_int_equal(setting->control->generation % 2, 0);
    assert_true(fake_xen_bound(&setting->xen, PORT)->notified > 0);
}

static void test_device_closes_and_comes_back(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    guest_says(setting, "state", "5");
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "6");
    assert_null(fake_xen_bound(&setting->xen, PORT));
    assert_null(setting->server.devices->pages.at);
    guest_says(setting, "state", "1");
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "2");
    guest_connects(setting);
    assert_string_equal(value(setting, BACK "state"), "4");
}

/* What a guest does to its own device makes nobody look at those of others. */
static void test_guest_that_comes_and_goes_makes_no_scan(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    n_listed = 0;
    for (int i = 0; i < 20; i++) {
        guest_says(setting, "state", "5");
        turn(setting);
        assert_string_equal(value(setting, BACK "state"), "6");
        guest_says(setting, "state", "1");
        turn(setting);
        assert_string_equal(value(setting, BACK "state"), "2");
        guest_says(setting, "state", "3");
        turn(setting);
    }
    assert_int_equal(n_listed, 0);
}

/* The changes that a turn takes are bounded, and many of one device are one look. */
static void test_flood_of_changes_is_taken_in_turns(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    for (int i = 0; i < FAKE_STORE_CHANGES - 1; i++)
        fake_store_fire(&setting->store, FRONT "state");
    assert_int_equal(server_turn(&setting->server, 0), 0);
    assert_true(setting->store.n_changes > 0);
    for (int i = 0; i < FAKE_STORE_CHANGES && setting->store.n_changes > 0; i++)
        assert_int_equal(server_turn(&setting->server, 0), 0);
    assert_string_equal(value(setting, BACK "state"), "4");
}

static void test_toolstack_takes_it_away(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    fake_store_ops.write(&setting->store, BACK "online", "0");
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "6");
    fake_store_ops.remove(&setting->store, "/local/domain/0/backend/vgpu/5/0");
    turn(setting);
    assert_int_equal(setting->server.n_devices, 0);
}

static void test_end_of_domain_takes_all_along(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    setting->store.dead = DOMID;
    fake_store_fire(&setting->store, "@releaseDomain");
    turn(setting);
    assert_int_equal(setting->server.n_devices, 0);
    assert_null(fake_xen_bound(&setting->xen, PORT));
    assert_null(fake_store_node(&setting->store, BACK "state"));
}

/* A driver domain is told neither of the end of a domain nor whether one lives. */
static void tell_nothing(struct setting *setting)
{
    setting->store.tells_nobody = true;
    setting->server.scan = true;
    turn(setting);
}

static void test_guest_of_a_driver_domain_is_not_taken_for_dead(void **state)
{
    struct setting *setting = *state;

    tell_nothing(setting);
    assert_int_equal(setting->server.n_devices, 1);
    assert_string_equal(value(setting, BACK "state"), "2");
    guest_connects(setting);
    assert_string_equal(value(setting, BACK "state"), "4");
}

static void test_end_of_domain_is_seen_in_a_driver_domain(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    tell_nothing(setting);
    assert_string_equal(value(setting, BACK "state"), "4");
    fake_store_ops.remove(&setting->store, "/local/domain/5");
    fake_store_fire(&setting->store, FRONT "state"); /* Xen's fires for all that is removed */
    turn(setting);
    assert_null(fake_xen_bound(&setting->xen, PORT));
    assert_null(setting->server.devices->pages.at);
    setting->server.repeat_ns = 0; /* some seconds later */
    turn(setting);
    assert_int_equal(setting->server.n_devices, 0);
    assert_null(fake_store_node(&setting->store, BACK "state"));
}

static void test_toolstack_makes_a_device_once(void **state)
{
    struct setting *setting = *state;
    struct vgpu_err err;
    char name[STORE_VALUE_BYTES + 1];

    assert_int_equal(toolstack_attach(&setting->backend, DOMID, 0, "vm", &err), -EEXIST);
    memset(name, 'a', sizeof(name));
    name[STORE_VALUE_BYTES - 1] = '\0';
    assert_int_equal(toolstack_attach(&setting->backend, DOMID, 1, name, &err), 0);
    name[STORE_VALUE_BYTES - 1] = 'a';
    name[STORE_VALUE_BYTES] = '\0';
    assert_int_equal(toolstack_attach(&setting->backend, DOMID, 2, name, &err), -EINVAL);
    setting->store.dead = 6;
    assert_int_equal(toolstack_attach(&setting->backend, 6, 0, "vm", &err), -ENOENT);
    assert_int_equal(toolstack_detach(&setting->backend, 7, 0, 0, &err), -ENOENT);
    guest_connects(setting);
    assert_int_equal(toolstack_detach(&setting->backend, DOMID, 0, 0, &err), -ETIMEDOUT);
}

static struct setting *attached_to;

/* A backend that is quicker than the toolstack: it looks after each key. */
static int write_to_be_seen(struct store *store, const char *path, const char *text)
{
    int rc = fake_store_ops.write(store, path, text);

    turn(attached_to);
    return rc;
}

static int own_to_be_seen(struct store *store, const char *path, uint32_t owner, uint32_t reader)
{
    int rc = fake_store_ops.own(store, path, owner, reader);

    turn(attached_to);
    return rc;
}

static void test_device_that_is_being_made_is_left_alone(void **state)
{
    struct setting *setting = attached_to = *state;
    struct store_ops seen = fake_store_ops;
    struct backend toolstack = setting->backend;
    struct vgpu_err err;

    seen.write = write_to_be_seen;
    seen.own = own_to_be_seen;
    toolstack.store_ops = &seen;
    assert_int_equal(toolstack_attach(&toolstack, DOMID, 1, "vm", &err), 0);
    assert_string_equal(value(setting, "/local/domain/0/backend/vgpu/5/1/state"), "2");
    assert_int_equal(setting->server.n_devices, 2);
}

static int own_to_be_listed(struct store *store, const char *path, uint32_t owner, uint32_t reader)
{
    attached_to->server.scan = true;
    return own_to_be_seen(store, path, owner, reader);
}

/* A guest of which there is nothing yet is not taken for dead there, and its keys removed again. */
static void test_driver_domain_sees_the_keys_only_when_they_are_made(void **state)
{
    struct setting *setting = *state;
    struct backend toolstack = setting->backend;
    struct store_ops seen = fake_store_ops;
    const struct fake_node *dir;
    struct vgpu_err err;

    attached_to = setting;
    setting->store.tells_nobody = true;
    seen.write = write_to_be_seen;
    seen.own = own_to_be_listed;
    toolstack.store_ops = &seen;
    assert_int_equal(toolstack_attach(&toolstack, 6, 0, "vm", &err), 0);
    assert_string_equal(value(setting, "/local/domain/0/backend/vgpu/6/0/state"), "2");
    dir = fake_store_node(&setting->store, "/local/domain/0/backend/vgpu/6");
    assert_non_null(dir);
    assert_int_equal(dir->reader, 6);
}

/* Nobody is there whose channels would have to end first. */
static void test_toolstack_detaches_what_a_dead_domain_left(void **state)
{
    struct setting *setting = *state;
    struct vgpu_err err;

    guest_connects(setting);
    setting->store.dead = DOMID;
    assert_int_equal(toolstack_detach(&setting->backend, DOMID, 0, 0, &err), 0);
    assert_null(fake_store_node(&setting->store, BACK "state"));
    turn(setting);
    assert_int_equal(setting->server.n_devices, 0);
}

/* A driver domain takes its keys along; the guest's stay, and no other device can take their place.
 */
static void test_toolstack_detaches_what_a_dead_backend_left(void **state)
{
    struct setting *setting = *state;
    struct vgpu_err err;

    fake_store_ops.remove(&setting->store, "/local/domain/0");
    assert_int_equal(toolstack_detach(&setting->backend, DOMID, 0, 0, &err), 0);
    assert_null(fake_store_node(&setting->store, FRONT "state"));
    assert_int_equal(toolstack_detach(&setting->backend, DOMID, 0, 0, &err), -ENOENT);
    guest_says(setting, "backend", "/local/domain/7/backend/vgpu/5/0");
    assert_int_equal(toolstack_detach(&setting->backend, DOMID, 0, 0, &err), -ENOENT);
    assert_non_null(fake_store_node(&setting->store, FRONT "backend"));
}

/* Hostile keys and pages: the device is refused with a reason, and nothing stays. */
static void expect_refused(struct setting *setting)
{
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "6");
    assert_true(value(setting, BACK "error")[0] != '\0');
    assert_null(setting->server.devices->pages.at);
    guest_says(setting, "state", "1");
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "2");
}

static void test_hostile_keys_are_refused(void **state)
{
    static const char *const refs[] = {
        "", "0", "-1", "4294967296", "1x", "99999999999999999999999", "8192"};
    struct setting *setting = *state;
    char longest[200];

    guest_number(setting, "event-channel", PORT);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(refs); i++) {
        guest_says(setting, "ring-ref", refs[i]);
        guest_says(setting, "state", "3");
        expect_refused(setting);
    }
    memset(longest, '1', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    guest_says(setting, "ring-ref", longest);
    guest_says(setting, "state", "3");
    expect_refused(setting);
}

static void test_control_page_without_magic_is_refused(void **state)
{
    struct setting *setting = *state;
    uint32_t first;

    fake_xen_pages(&setting->xen, VGPU_XEN_PAGES, &first);
    guest_number(setting, "ring-ref", fake_xen_directory(&setting->xen, first, VGPU_XEN_PAGES));
    guest_number(setting, "event-channel", PORT);
    guest_says(setting, "state", "4");
    expect_refused(setting);
}

static void test_states_that_mean_nothing_are_left_alone(void **state)
{
    static const char *const states[] = {"0", "2", "7", "8", "9", "-3", "", "44"};
    struct setting *setting = *state;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(states); i++) {
        guest_says(setting, "state", states[i]);
        turn(setting);
        assert_string_equal(value(setting, BACK "state"), "2");
    }
}

/* Commands */

static void test_open_without_mediator_is_answered(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    *command(setting, 3) = (struct vgpu_device_command){.op = VGPU_COMMAND_OPEN,
                                                        .tag = 7,
                                                        .sub_granules = 64,
                                                        .comp_granules = 64,
                                                        .flags = VGPU_OPEN_GRANT};
    ring(setting, 3);
    assert_int_equal(command(setting, 3)->done, 7);
    assert_int_equal(command(setting, 3)->status, VGPU_STARTING);
    assert_true(command(setting, 3)->retry_ns > 0);
}

static void test_command_is_taken_once(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    *command(setting, 0) = (struct vgpu_device_command){.op = VGPU_COMMAND_CLOSE, .tag = 7};
    ring(setting, 0);
    assert_int_equal(command(setting, 0)->done, 7);
    command(setting, 0)->done = 0;
    ring(setting, 0);
    assert_int_equal(command(setting, 0)->done, 0);
}

static struct vgpu_device_command good_open(void)
{
    return (struct vgpu_device_command){.op = VGPU_COMMAND_OPEN,
                                        .tag = 1,
                                        .sub_granules = VGPU_RING_MAX_GRANULES,
                                        .comp_granules = VGPU_RING_MIN_GRANULES,
                                        .data_bytes = VGPU_GRANT_MAX_DATA_BYTES,
                                        .flags = VGPU_OPEN_GRANT,
                                        .process = "p"};
}

static void restart(struct setting *setting)
{
    server_release(&setting->server); /* the process ends, and another one comes */
    fake_xen_turn(&setting->xen, 0);
    assert_int_equal(server_init(&setting->server, &setting->backend, NULL), 0);
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "4");
}

static void test_command_in_wait_is_taken_after_a_restart(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    *command(setting, 0) = (struct vgpu_device_command){.op = VGPU_COMMAND_CLOSE, .tag = 7};
    ring(setting, 0);
    *command(setting, 1) = good_open();
    command(setting, 1)->tag = 8;
    command(setting, 1)->data_bytes = 4096;
    setting->control->doorbell[1] = 8;
    command(setting, 0)->text[0] = 'x';
    restart(setting);
    assert_int_equal(command(setting, 1)->done, 8);
    assert_int_equal(command(setting, 1)->status, VGPU_STARTING);
    assert_int_equal(command(setting, 0)->text[0], 'x');
}

/* There is no mediator that could say that no worker is left. */
static void test_restart_alone_ends_nothing(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    *command(setting, 0) = (struct vgpu_device_command){.op = VGPU_COMMAND_CLOSE, .tag = 7};
    setting->control->doorbell[0] = 7;
    restart(setting);
    assert_int_equal(command(setting, 0)->done, 0);
    assert_int_equal(command(setting, 0)->gone, 0);
    guest_says(setting, "state", "5");
    turn(setting);
    assert_string_equal(value(setting, BACK "state"), "5");
}

static void test_flood_of_doorbells_is_bounded(void **state)
{
    struct setting *setting = *state;

    guest_connects(setting);
    for (uint32_t i = 1; i < 300; i++) {
        for (uint32_t slot = 0; slot < VGPU_SLOTS; slot++) {
            *command(setting, slot) =
                (struct vgpu_device_command){.op = VGPU_COMMAND_CLOSE, .tag = i};
            setting->control->doorbell[slot] = i;
        }
        fake_xen_send(&setting->xen, PORT);
        turn(setting);
        assert_int_equal(command(setting, VGPU_SLOTS - 1)->done, i);
    }
}

static enum vgpu_status taken(const struct vgpu_device_command *from)
{
    struct command command;
    const char *text;
    enum vgpu_status status = command_take(0, from, &command, &text);

    assert_int_equal(status == VGPU_OK, text[0] == '\0' || status == VGPU_OK);
    assert_int_equal(command.tag, from->tag);
    return status;
}

#define REFUSES(expected, assignment)                                                              \
    do {                                                                                           \
        struct vgpu_device_command bad = good_open();                                              \
        bad.assignment;                                                                            \
        assert_int_equal(taken(&bad), expected);                                                   \
    } while (0)

static void test_open_is_checked(void **state)
{
    struct vgpu_device_command good = good_open();

    assert_int_equal(taken(&good), VGPU_OK);
    REFUSES(VGPU_LIMIT, sub_granules = 2 * VGPU_RING_MAX_GRANULES);
    REFUSES(VGPU_LIMIT, comp_granules = VGPU_RING_MIN_GRANULES / 2);
    REFUSES(VGPU_LIMIT, sub_granules = 3);
    REFUSES(VGPU_LIMIT, data_bytes = VGPU_GRANT_MAX_DATA_BYTES + 4096);
    REFUSES(VGPU_LIMIT, data_bytes = 4095);
    REFUSES(VGPU_BAD_MESSAGE, flags = 0);
    REFUSES(VGPU_BAD_MESSAGE, flags = VGPU_OPEN_GRANT | VGPU_OPEN_WINDOW);
    REFUSES(VGPU_BAD_MESSAGE, directory = 1);
    REFUSES(VGPU_BAD_MESSAGE, vector = 1);
    REFUSES(VGPU_BAD_MESSAGE, reserved1[47] = 1);
    REFUSES(VGPU_BAD_MESSAGE, op = VGPU_COMMAND_MONITOR);
    memset(good.process, 'a', sizeof(good.process));
    assert_int_equal(taken(&good), VGPU_BAD_MESSAGE);
}

static void test_attach_is_two_numbers(void **state)
{
    const struct vgpu_device_command from = {
        .op = VGPU_COMMAND_ATTACH, .tag = 1, .directory = VGPU_GRANT_ATTACH(8u, 9u)};
    struct command command;
    const char *text;

    assert_int_equal(command_take(0, &from, &command, &text), VGPU_OK);
    assert_int_equal(command.grant.directory, 8);
    assert_int_equal(command.grant.event_port, 9);
}

static void test_monitor_command_is_checked(void **state)
{
    struct vgpu_monitor_command from = {.op = VGPU_COMMAND_MONITOR, .tag = 2, .gpu = 3, .first = 4};
    struct command command;
    const char *text;

    assert_int_equal(command_take(VGPU_MONITOR_SLOT, &from, &command, &text), VGPU_OK);
    assert_int_equal(command.monitor.gpu, 3);
    assert_int_equal(command.monitor.first, 4);
    from.reserved0[0] = 1;
    assert_int_equal(command_take(VGPU_MONITOR_SLOT, &from, &command, &text), VGPU_BAD_MESSAGE);
    from.reserved0[0] = 0;
    from.op = VGPU_COMMAND_OPEN;
    assert_int_equal(command_take(VGPU_MONITOR_SLOT, &from, &command, &text), VGPU_BAD_MESSAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_never_leaves_the_table),
        cmocka_unit_test(test_state_closes_when_drained),
        cmocka_unit_test(test_number_is_decimal_and_bounded),
        cmocka_unit_test(test_open_is_checked),
        cmocka_unit_test(test_attach_is_two_numbers),
        cmocka_unit_test(test_monitor_command_is_checked),
        TEST(test_device_waits_for_its_guest),
        TEST(test_keys_belong_to_their_sides),
        TEST(test_device_connects),
        TEST(test_device_closes_and_comes_back),
        TEST(test_guest_that_comes_and_goes_makes_no_scan),
        TEST(test_flood_of_changes_is_taken_in_turns),
        TEST(test_toolstack_takes_it_away),
        TEST(test_end_of_domain_takes_all_along),
        TEST(test_guest_of_a_driver_domain_is_not_taken_for_dead),
        TEST(test_end_of_domain_is_seen_in_a_driver_domain),
        TEST(test_toolstack_makes_a_device_once),
        TEST(test_device_that_is_being_made_is_left_alone),
        TEST(test_driver_domain_sees_the_keys_only_when_they_are_made),
        TEST(test_toolstack_detaches_what_a_dead_domain_left),
        TEST(test_toolstack_detaches_what_a_dead_backend_left),
        TEST(test_hostile_keys_are_refused),
        TEST(test_control_page_without_magic_is_refused),
        TEST(test_states_that_mean_nothing_are_left_alone),
        TEST(test_open_without_mediator_is_answered),
        TEST(test_command_is_taken_once),
        TEST(test_command_in_wait_is_taken_after_a_restart),
        TEST(test_restart_alone_ends_nothing),
        TEST(test_flood_of_doorbells_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
