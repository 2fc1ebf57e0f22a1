/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that misbehaves by grants (test_xen_hostile.py). It runs in a guest of Xen without our
 * driver, is the frontend of the guest's device by itself (hostile_guest.h), and connects to the
 * real vgpu-xenbus; then it does what no driver does. docs/spec/grant.md says what is to come of
 * it.
 *
 *   hostile_grants SCENARIO [NEIGHBOUR]    NEIGHBOUR: another guest's domain
 *
 * What it sees goes to standard output, a line each; the test judges it. Floods end with a line of
 * the test's. Each scenario leaves the device as it found it: InitWait. Exit status: 0, or 1 where
 * the host did not answer.
 */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/cuda_ops.h"
#include "hostile_guest.h"
#include "ring/pages.h"

#define SMALL_DATA 65536u
#define LARGE_DATA (4u << 20) /* with the rings more pages than a table has entries */
#define ROUNDS     6u
#define KEYS       64u
#define SCRIBBLERS 8u
#define NOWHERE    0x7fffffffu /* a reference beyond any grant table */

/* Revoking */

/* Until the test says so. */
static void await_line(void)
{
    char line[64];

    must(fgets(line, sizeof(line), stdin) != NULL, "a line of the test's");
}

/* Its grants are ended while all of them are mapped. */
static void revoke_mapped(uint32_t unused)
{
    struct channel channel;

    connect_device();
    begin_channel(&channel, 0, SMALL_DATA);
    run_job(&channel);
    say("attached %" PRIu32, channel.set.pages.n + VGPU_XEN_PAGES);
    await_line();
    free_channel(&channel);
    free_control();
    say("revoked");
    await_line();
    leave();
    say("done");
}

/* Sooner and later in the time that an attachment takes; it maps in the first half of that. */
static void revoke_attaching(uint32_t unused)
{
    struct channel channel;
    uint64_t start, whole_ms;
    uint32_t tag, refused = 0;

    connect_device();
    open_slot(&channel, 0, LARGE_DATA);
    make_channel(&channel);
    start = now_ms();
    must(attach(&channel) == VGPU_OK, "ATTACH");
    whole_ms = now_ms() - start;
    end_channel(&channel);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        open_slot(&channel, 0, LARGE_DATA);
        make_channel(&channel);
        tag = begin_attach(0, channel.set.directory.ref[0], channel.port);
        pause_ms(whole_ms * i * i / (2 * ROUNDS * ROUNDS));
        free_channel(&channel);
        if (end_command(0, tag) != VGPU_OK) {
            refused++;
            say("refused %" PRIu32 " %s", command_of(0)->status, command_of(0)->text);
        }
        close_slot(0);
    }
    begin_channel(&channel, 0, SMALL_DATA);
    run_job(&channel);
    end_channel(&channel);
    leave();
    free_control();
    say("done %u rounds of %" PRIu64 " ms, refused %" PRIu32, ROUNDS, whole_ms, refused);
}

/* As a process of its own, killed after a while; returns how long it would have taken in all. */
static uint64_t killed_after(void (*what)(int tell), uint64_t ms)
{
    uint64_t start = now_ms(), whole_ms;
    int ends[2], status;
    char byte;
    pid_t child;

    must(pipe(ends) == 0, "a pipe");
    child = fork();
    must(child >= 0, "a process");
    if (child == 0) {
        open_devices();
        what(ends[1]);
        pause();
        _exit(1);
    }
    close(ends[1]);
    if (ms)
        pause_ms(ms);
    else
        must(read(ends[0], &byte, 1) == 1, "it comes to its end");
    whole_ms = now_ms() - start;
    close(ends[0]);
    must(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child, "kill it");
    leave();
    return whole_ms;
}

static void to_connected(int tell)
{
    connect_device();
    must(write(tell, "c", 1) == 1, "tell");
}

static void to_attached(int tell)
{
    struct channel channel;

    connect_device();
    begin_channel(&channel, 0, LARGE_DATA);
    must(write(tell, "a", 1) == 1, "tell");
}

static void killed_anywhere(uint32_t unused)
{
    void (*const what[])(int) = {to_connected, to_attached};

    for (size_t k = 0; k < 2; k++) {
        uint64_t whole_ms = killed_after(what[k], 0);

        for (uint32_t i = 1; i <= ROUNDS; i++)
            killed_after(what[k], 1 + whole_ms * i / ROUNDS);
        say("killed %u times within %" PRIu64 " ms", ROUNDS + 1, whole_ms);
    }
    say("done");
}

/* In mid-handshake: before it says where its pages are, at once afterwards, and ever later. */
static void revoke_handshake(uint32_t unused)
{
    char error[ANSWER_BYTES];

    for (uint32_t i = 0; i <= 2 * ROUNDS; i++) {
        AWAIT(backend_state() == INIT_WAIT);
        make_control();
        if (i == 0)
            free_control();
        say_where();
        if (i > 0) {
            pause_ms((i - 1) * 3);
            free_control();
        }
        AWAIT(backend_state() > INIT_WAIT);
        if (i == 0) {
            AWAIT(backend_state() > CONNECTED);
            read_backend("error", error);
            say("refused %s", error);
        }
        leave();
    }
    say("done");
}

/* Granting what is not one's own, or has been granted already */

static void same_twice(uint32_t unused)
{
    struct channel first, second, third;

    connect_device();
    begin_channel(&first, 0, SMALL_DATA);
    open_slot(&second, 1, SMALL_DATA);
    second.set = first.set;
    second.port = new_port(backend_domid);
    say("same pages %" PRIu32 " %s", attach(&second), command_of(1)->text);
    open_slot(&third, 2, SMALL_DATA);
    third.set = first.set;
    third.port = first.port;
    say("same port %" PRIu32 " %s", attach(&third), command_of(2)->text);
    /* Whatever becomes of these two, which write over each other, is between them. */
    for (uint32_t i = 0; i < 8 && try_job(&first); i++)
        kick(second.port);
    close_slot(0);
    close_slot(1);
    free_channel(&first);
    close_port(second.port);
    begin_channel(&first, 0, SMALL_DATA);
    run_job(&first);
    end_channel(&first);
    leave();
    free_control();
    say("done");
}

/* Lies of an attachment, each told of an otherwise good one. */
struct lie {
    const char *name;
    uint64_t data_bytes;
    void (*tell)(struct channel *channel, struct pages *other, uint32_t neighbour);
};

#define LIE(name) static void name(struct channel *channel, struct pages *other, uint32_t neighbour)

LIE(page_nowhere)
{
    table_of(&channel->set, 0)->ref[3] = NOWHERE;
}

LIE(page_unused)
{
    grant(other, 1, backend_domid, true);
    table_of(&channel->set, 0)->ref[3] = other->ref[0];
    end_grants(other);
}

LIE(page_neighbours)
{
    grant(other, 1, neighbour, true);
    table_of(&channel->set, 0)->ref[3] = other->ref[0];
}

LIE(page_read_only)
{
    grant(other, 1, backend_domid, false);
    table_of(&channel->set, 0)->ref[3] = other->ref[0];
}

LIE(table_neighbours)
{
    grant(other, 1, neighbour, true);
    memcpy(other->at, channel->set.tables.at, VGPU_GRANT_PAGE_BYTES);
    directory_of(&channel->set)->table[0] = other->ref[0];
}

LIE(table_nowhere)
{
    directory_of(&channel->set)->table[0] = NOWHERE;
}

LIE(directory_neighbours)
{
    grant(other, 1, neighbour, true);
    memcpy(other->at, channel->set.directory.at, VGPU_GRANT_PAGE_BYTES);
    channel->set.directory.ref[0] = other->ref[0];
}

LIE(directory_nowhere)
{
    channel->set.directory.ref[0] = NOWHERE;
}

LIE(port_neighbours)
{
    close_port(channel->port);
    channel->port = new_port(neighbour);
}

LIE(pages_none)
{
    directory_of(&channel->set)->pages = 0;
}

LIE(pages_one_more)
{
    directory_of(&channel->set)->pages++;
}

LIE(pages_limit)
{
    directory_of(&channel->set)->pages = VGPU_GRANT_MAX_PAGES;
}

LIE(pages_over_limit)
{
    directory_of(&channel->set)->pages = VGPU_GRANT_MAX_PAGES + 1;
}

LIE(tables_none)
{
    directory_of(&channel->set)->tables = 0;
}

LIE(tables_over_limit)
{
    directory_of(&channel->set)->tables = VGPU_GRANT_TABLES + 1;
}

LIE(directory_loops)
{
    directory_of(&channel->set)->table[0] = channel->set.directory.ref[0];
}

LIE(table_twice)
{
    directory_of(&channel->set)->table[1] = directory_of(&channel->set)->table[0];
}

LIE(page_missing)
{
    table_of(&channel->set, 0)->ref[3] = 0;
}

LIE(page_too_many)
{
    table_of(&channel->set, 0)->ref[VGPU_GRANT_TABLE_ENTRIES - 1] = channel->set.pages.ref[0];
}

static const struct lie grant_lies[] = {
    {"page-nowhere", SMALL_DATA, page_nowhere},
    {"page-unused", SMALL_DATA, page_unused},
    {"page-neighbours", SMALL_DATA, page_neighbours},
    {"page-read-only", SMALL_DATA, page_read_only},
    {"table-neighbours", SMALL_DATA, table_neighbours},
    {"table-nowhere", SMALL_DATA, table_nowhere},
    {"directory-neighbours", SMALL_DATA, directory_neighbours},
    {"directory-nowhere", SMALL_DATA, directory_nowhere},
    {"port-neighbours", SMALL_DATA, port_neighbours},
    {NULL},
};

static const struct lie size_lies[] = {
    {"pages-none", SMALL_DATA, pages_none},
    {"pages-one-more", SMALL_DATA, pages_one_more},
    {"pages-limit", SMALL_DATA, pages_limit},
    {"pages-over-limit", SMALL_DATA, pages_over_limit},
    {"tables-none", SMALL_DATA, tables_none},
    {"tables-over-limit", SMALL_DATA, tables_over_limit},
    {"directory-loops", SMALL_DATA, directory_loops},
    {"table-twice", LARGE_DATA, table_twice},
    {"page-missing", SMALL_DATA, page_missing},
    {"page-too-many", SMALL_DATA, page_too_many},
    {NULL},
};

static void tell_lie(const struct lie *lie, uint32_t neighbour)
{
    struct channel channel;
    struct pages other = {0};
    uint32_t status;

    open_slot(&channel, 5, lie->data_bytes);
    make_channel(&channel);
    lie->tell(&channel, &other, neighbour);
    status = attach(&channel);
    say("%s %" PRIu32 " %s", lie->name, status, command_of(5)->text);
    close_slot(5);
    end_grants(&other);
    free_channel(&channel);
}

/* One honest channel of the same guest works before and after each of them. */
static void tell_lies(const struct lie *lies, uint32_t neighbour)
{
    struct channel honest;

    connect_device();
    begin_channel(&honest, 0, SMALL_DATA);
    for (; lies->name; lies++) {
        run_job(&honest);
        tell_lie(lies, neighbour);
    }
    run_job(&honest);
    end_channel(&honest);
}

static void lie_about_grants(uint32_t neighbour)
{
    tell_lies(grant_lies, neighbour);
    leave();
    free_control();
    say("done");
}

/* Of OPEN: what the slot's command itself says. */
static void lie_in_open(void)
{
    struct vgpu_device_command asks[5];

    for (size_t i = 0; i < 5; i++)
        asks[i] = good_open(SMALL_DATA);
    asks[0].data_bytes = VGPU_GRANT_MAX_DATA_BYTES + 4096;
    asks[1].sub_granules = VGPU_RING_MAX_GRANULES * 2;
    asks[2].comp_granules = 0;
    asks[3].data_bytes = UINT64_MAX - 4095;
    asks[4].data_bytes = SMALL_DATA + 1;
    for (size_t i = 0; i < 5; i++)
        say("open %" PRIu32 " %s", give(6, &asks[i]), command_of(6)->text);
}

/* Of the control pages: the device is refused, and comes again. */
static void lie_in_control(const char *name, uint32_t *word, uint32_t value)
{
    char error[ANSWER_BYTES];
    uint32_t was = *word;

    *word = value;
    say_where();
    AWAIT(backend_state() > CONNECTED);
    read_backend("error", error);
    say("%s 0 %s", name, error);
    leave();
    *word = was;
}

static void lie_about_control(void)
{
    struct vgpu_grant_directory *directory;

    make_control();
    directory = directory_of(&control_set);
    lie_in_control("control-none", &directory->pages, 0);
    lie_in_control("control-too-few", &directory->pages, VGPU_XEN_PAGES - 1);
    lie_in_control("control-over-limit", &directory->pages, VGPU_GRANT_MAX_PAGES + 1);
    lie_in_control("control-loops", &directory->table[0], control_set.directory.ref[0]);
    lie_in_control("control-nowhere", &table_of(&control_set, 0)->ref[17], NOWHERE);
    lie_in_control("control-ring-ref", &control_set.directory.ref[0], NOWHERE);
    lie_in_control("control-no-port", &control_port, 0);
    lie_in_control("control-port", &control_port, NOWHERE);
    lie_in_control("control-magic", &control()->magic, 0);
    free_control();
}

static void lie_about_sizes(uint32_t neighbour)
{
    tell_lies(size_lies, neighbour);
    lie_in_open();
    leave();
    free_control();
    lie_about_control();
    say("done");
}

/* Rings */

static struct vgpu_channel_page *page_of(const struct channel *channel)
{
    return (struct vgpu_channel_page *)(void *)channel->set.pages.at;
}

static void head_far_away(struct channel *channel)
{
    page_store_u32(&page_of(channel)->submission.producer.head, 0x80000000u);
}

/* The worker looks there when the ring seems full; ours is full when it looks no more. */
static void tail_far_away(struct channel *channel)
{
    page_store_u32(&page_of(channel)->completion.consumer.tail, 0x80000000u);
    AWAIT(!try_job(channel) && is_gone(channel->slot));
}

static void size_out_of_ring(struct channel *channel)
{
    struct vgpu_record *record;
    void *to;

    must(ring_reserve(&channel->submission, sizeof(*record), &to) == 0, "room");
    record = to;
    *record = (struct vgpu_record){.size_bytes = 0x7ffffff8u, .op = CUDA_OP_JOB_VECTOR_ADD};
    ring_publish(&channel->submission);
}

static void lie_in_ring(uint32_t unused)
{
    void (*const lies[])(struct channel *) = {head_far_away, tail_far_away, size_out_of_ring};
    struct channel honest, other;

    connect_device();
    begin_channel(&honest, 0, SMALL_DATA);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        begin_channel(&other, 1, SMALL_DATA);
        run_job(&other);
        lies[i](&other);
        kick(other.port);
        AWAIT(is_gone(1));
        say("gone %" PRIu32 " %s", command_of(1)->gone_status, command_of(1)->gone_text);
        end_channel(&other);
        run_job(&honest);
        must(!is_gone(0), "the other channel stays");
    }
    end_channel(&honest);
    leave();
    free_control();
    say("done");
}

/* Floods */

static uint32_t dice_state = 2463534242u;

static uint32_t dice(void)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 17;
    dice_state ^= dice_state << 5;
    return dice_state;
}

/* A command that nobody waits for: true ones, refused ones and nonsense, each with its doorbell. */
static void throw_command(uint32_t slot)
{
    struct vgpu_device_command ask = good_open(SMALL_DATA);

    ask.op = dice() % 6;
    if (ask.op != VGPU_COMMAND_OPEN || dice() % 2)
        ask.sub_granules = ask.flags = ask.process[0] = 0;
    put_command(slot, &ask);
}

static bool is_enough(void)
{
    struct pollfd input = {.events = POLLIN};

    return poll(&input, 1, 0) != 0;
}

static void flood_events(uint32_t unused)
{
    uint64_t kicks = 0;
    struct channel channel;

    connect_device();
    begin_channel(&channel, 0, SMALL_DATA);
    run_job(&channel);
    say("flooding");
    for (; !is_enough(); kicks += VGPU_XEN_COMMANDS - 1) {
        for (uint32_t slot = 1; slot < VGPU_XEN_COMMANDS; slot++) {
            throw_command(slot);
            kick(dice() % 2 ? control_port : channel.port);
        }
    }
    say("kicked %" PRIu64, kicks);
    run_job(&channel);
    end_channel(&channel);
    leave();
    free_control();
    say("done");
}

/* One write, or the end of a key: what a backend waits for, and what means nothing. */
static void scribble(void)
{
    static const char *const names[] = {"state", "state", "ring-ref", "event-channel", "x"};
    static const char *const values[] = {
        "0",   "1", "2",  "3",      "4",  "5",   "6",   "7",          "8",
        "99",  "",  "-1", "banana", "3 ", "0x4", "4\n", "4294967297", "18446744073709551620",
        "%s%n"};
    const char *value = values[dice() % (sizeof(values) / sizeof(values[0]))];
    const char *key = names[dice() % 5];
    char longer[2001], name[16];

    snprintf(name, sizeof(name), "%s", key);
    if (key[0] == 'x')
        snprintf(name, sizeof(name), "x%u", dice() % KEYS);
    if (dice() % 16 == 0) {
        memset(longer, '4', sizeof(longer));
        longer[sizeof(longer) - 1] = '\0';
        value = longer;
    }
    if (dice() % 32 == 0)
        remove_key(name);
    else
        write_key(name, value);
}

/* For ever; counts what it did where the parent sees it. */
static pid_t start_scribbler(uint32_t *count)
{
    pid_t child = fork();

    must(child >= 0, "a process");
    if (child)
        return child;
    open_devices();
    dice_state += (uint32_t)getpid();
    for (;;) {
        scribble();
        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
    }
}

static void flood_keys(uint32_t unused)
{
    uint32_t *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t scribblers[SCRIBBLERS];
    char name[16];

    must(count != MAP_FAILED, "a page");
    for (uint32_t i = 0; i < SCRIBBLERS; i++)
        scribblers[i] = start_scribbler(count);
    say("flooding");
    await_line();
    for (uint32_t i = 0; i < SCRIBBLERS; i++)
        must(kill(scribblers[i], SIGKILL) == 0 && waitpid(scribblers[i], NULL, 0) > 0, "end one");
    say("wrote %" PRIu32, page_load_u32(count));
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(name, sizeof(name), "x%u", i);
        remove_key(name);
    }
    leave();
    connect_device();
    leave();
    free_control();
    say("done");
}

/* Of a scenario that was given up. */
static void only_leave(uint32_t unused)
{
    leave();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*play)(uint32_t neighbour);
    } scenarios[] = {
        {"revoke-handshake", revoke_handshake},
        {"revoke-attaching", revoke_attaching},
        {"revoke-mapped", revoke_mapped},
        {"killed", killed_anywhere},
        {"same-twice", same_twice},
        {"grants", lie_about_grants},
        {"sizes", lie_about_sizes},
        {"ring", lie_in_ring},
        {"flood-events", flood_events},
        {"flood-keys", flood_keys},
        {"leave", only_leave},
    };
    uint32_t neighbour = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;

    for (size_t i = 0; argc > 1 && i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            open_devices();
            scenarios[i].play(neighbour);
            return 0;
        }
    fprintf(stderr, "usage: hostile_grants SCENARIO [NEIGHBOUR]\n");
    return 2;
}
