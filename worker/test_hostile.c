/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client against a real vgpu-worker on softgpu, beside a neighbour whose results are
 * checked. VGPU_HOSTILE_CASES: how many records, 3000 by default; VGPU_HOSTILE_SEED repeats a run.
 * A worker may end its channel with BAD_RECORD; it may not die of a signal, hang, or disturb.
 * Every eighth channel keeps to the form of records, so that calls are reached with what is wrong
 * in other ways; what share of the records was taken, and of the calls worked, has a floor.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring/pages.h"
#include "worker/test_hostile_client.h"

#define DEFAULT_CASES   3000
#define CASES_WILD      64   /* for a worker; then it must still answer */
#define CASES_GENTLE    1024 /* so that the later ones find much that is there */
#define MOST_TURNS      4
#define REACHING_CASES  100000
#define CHECK_NEIGHBOUR 8 /* channels */

#define MODULE   VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define FUNCTION VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)

static struct client_options options = {
    .sub_granules = 256, .comp_granules = 256, .data_bytes = 65536};

static uint64_t random_state;
static unsigned channels, channels_ended;

/* Of the wild channels and of the gentle ones. */
static struct {
    uint64_t sent, taken, answered, succeeded;
} totals[2];
static uint32_t *succeeded_of; /* by shape */

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static uint32_t random_word(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1dull) >> 32);
}

static struct hostile_command random_command(void)
{
    struct hostile_command command;
    uint32_t word = random_word();

    memcpy(&command, &word, sizeof(word));
    command.kind = command.kind % 32 == 0 && word % 3 ? 5 : command.kind;
    for (int i = 0; i < 7; i++)
        command.words[i] = random_word();
    return command;
}

static void fail(const char *what, const struct client *client)
{
    fprintf(stderr, "hostile: %s (report: %s)\n", what, client ? client->report->text : "");
    exit(1);
}

/* Scribbles on what the worker reads while it reads it. */
struct racer {
    pthread_t thread;
    struct client *client;
    uint32_t stop;
    uint64_t state;
};

static void *race(void *argument)
{
    struct racer *racer = argument;
    const struct vgpu_channel_geometry *geometry = &racer->client->geometry;
    uint32_t ring_bytes = geometry->sub_granules * VGPU_GRANULE_BYTES;

    while (!page_load_u32(&racer->stop)) {
        racer->state = racer->state * 6364136223846793005ull + 1442695040888963407ull;
        racer->client->base[geometry->sub_offset + (racer->state >> 40) % ring_bytes] ^=
            (uint8_t)(racer->state >> 33);
        racer->client->data[(racer->state >> 20) % geometry->data_bytes] ^= 1;
        for (int i = 0; i < 200; i++)
            __asm__ volatile("" ::: "memory");
    }
    return NULL;
}

/* What the worker's own memory is: its maps, as its parent can see them. */
static void learn_foreign(struct hostile *hostile)
{
    char path[64], line[512];
    FILE *maps;

    snprintf(path, sizeof(path), "/proc/%d/maps", hostile->client->pid);
    maps = fopen(path, "r");
    hostile->foreign_count = 0;
    while (maps && fgets(line, sizeof(line), maps)) {
        unsigned long long start;

        if (sscanf(line, "%llx-", &start) != 1)
            continue;
        if (strstr(line, "[heap]") || strstr(line, "[stack]") || strstr(line, "channel") ||
            strstr(line, "report") || strstr(line, " 00:00 0"))
            hostile->foreign[hostile->foreign_count++ % HOSTILE_ADDRESSES] = start;
    }
    if (maps)
        fclose(maps);
    if (hostile->foreign_count > HOSTILE_ADDRESSES)
        hostile->foreign_count = HOSTILE_ADDRESSES;
}

/* It has ended its channel, as it may. */
static void reap(struct client *client)
{
    int status = 0;

    if (waitpid(client->pid, &status, 0) != client->pid)
        fail("the worker cannot be reaped", client);
    client->pid = 0;
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "hostile: the worker died of signal %d\n", WTERMSIG(status));
        exit(1);
    }
    if (WEXITSTATUS(status) != 3) {
        fprintf(stderr, "hostile: exit status %d\n", WEXITSTATUS(status));
        fail("the worker ended with another exit status than 3", client);
    }
    close(client->lifeline[0]);
}

static bool has_ended(const struct client *client)
{
    return page_load_u32(&client->page->notice.state) == VGPU_CHANNEL_ENDED;
}

static bool has_died(const struct client *client)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)client->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == client->pid;
}

/* With the turn and no limits, all that can be answered is, host functions aside. */
static void must_still_live(struct hostile *hostile)
{
    struct client *client = hostile->client;
    uint64_t deadline = vgpu_clock_ns() + 20 * VGPU_NS_PER_S;
    uint32_t index = client->submission.head;

    page_store_u32(&client->lease->flags, 0);
    page_store_u32(&client->lease->depth_max, 100000);
    client_grant(client);
    while (!has_ended(client) && page_load_u32(&client->page->submission.consumer.tail) != index) {
        if (has_died(client) && !has_ended(client)) {
            reap(client);
            fail("the worker ended and has not said so", client);
        }
        if (vgpu_clock_ns() > deadline)
            fail("the worker hangs", client);
        client_run(client);
    }
}

/* How many of the channel's records the worker took: all before the one that it names. */
static uint64_t taken_of(const struct hostile *hostile, uint64_t seq_before, bool ended)
{
    unsigned long long named;

    if (!ended || sscanf(hostile->client->report->text, "record %llu:", &named) != 1)
        return hostile->sent;
    named = named > seq_before + 1 ? named - seq_before - 1 : 0;
    return named < hostile->sent ? named : hostile->sent;
}

static void add_up(const struct hostile *hostile, uint64_t taken)
{
    bool gentle = hostile->gentle;

    totals[gentle].sent += hostile->sent;
    totals[gentle].taken += taken;
    totals[gentle].answered += hostile->answered;
    totals[gentle].succeeded += hostile->succeeded;
}

/* A gentle client waits for answers a little: what they bring is what it goes on with. */
static void hear(struct hostile *hostile)
{
    unsigned turns = hostile->gentle ? MOST_TURNS : 1;

    do {
        client_run(hostile->client);
        hostile_learn(hostile);
    } while (hostile->answered < hostile->asked && --turns > 0 && !has_ended(hostile->client));
    /* What has not come waits for a host function, or for ever. */
    hostile->asked = hostile->answered;
}

/* Returns how many records it sent. */
static uint64_t attack(bool racing)
{
    struct client_options own = options;
    struct hostile hostile = {.gentle = channels % 8 == 0, .succeeded_of = succeeded_of};
    uint64_t cases = hostile.gentle ? CASES_GENTLE : CASES_WILD, seq_before;
    struct racer racer = {.state = random_state};
    bool ended;

    own.mirrored = channels / 8 % 2;
    racer.client = hostile.client = client_open(&own);
    seq_before = hostile.client->seq;
    hostile.client->patience_ms = 1;
    learn_foreign(&hostile);
    if (racing && !hostile.gentle)
        pthread_create(&racer.thread, NULL, race, &racer);
    for (uint64_t i = 0; i < cases && !has_ended(hostile.client); i++) {
        struct hostile_command command = random_command();

        hostile_do(&hostile, &command);
        if (i % 8 == 0)
            hear(&hostile);
    }
    must_still_live(&hostile);
    hostile_learn(&hostile);
    page_store_u32(&racer.stop, 1);
    if (racing && !hostile.gentle)
        pthread_join(racer.thread, NULL);
    ended = has_ended(hostile.client);
    add_up(&hostile, taken_of(&hostile, seq_before, ended));
    if (ended)
        reap(hostile.client);
    client_close(hostile.client);
    channels_ended += ended;
    channels++;
    return hostile.sent;
}

struct neighbour {
    struct client *client;
    uint64_t address;
    uint32_t value;
};

static void open_neighbour(struct neighbour *neighbour)
{
    struct client *client = client_open(&options);

    neighbour->client = client;
    neighbour->value = 7;
    neighbour->address = client_alloc(client, 4096);
    if (!neighbour->address || client_module(client, MODULE, hostile_ptx) != CUDA_SUCCESS ||
        client_function(client, MODULE, FUNCTION, "add_one") != CUDA_SUCCESS)
        fail("the neighbour does not start", client);
    memcpy(client->data, &neighbour->value, 4);
    client_copy(client, 0, client_device(neighbour->address), client_data(0), 4,
                VGPU_STREAM_DEFAULT);
}

static void check_neighbour(struct neighbour *neighbour)
{
    struct client *client = neighbour->client;
    uint32_t value = 0;
    uint64_t seq;

    client_launch_with(client, FUNCTION, VGPU_STREAM_DEFAULT, &neighbour->address, 8);
    seq = client_copy(client, VGPU_RECORD_WAIT, client_data(8), client_device(neighbour->address),
                      4, VGPU_STREAM_DEFAULT);
    if (client_await(client, seq)->result != CUDA_SUCCESS)
        fail("the neighbour's copy failed", client);
    memcpy(&value, client->data + 8, sizeof(value));
    if (value != ++neighbour->value)
        fail("the neighbour's result is wrong", client);
}

/* Floors in percent; about 50 and 30 of wild records, 99 and 50 of gentle ones are usual. */
static void has_reached(bool gentle, unsigned taken_floor, unsigned succeeded_floor)
{
    uint64_t taken = totals[gentle].taken * 100 / (totals[gentle].sent + 1);
    uint64_t succeeded = totals[gentle].succeeded * 100 / (totals[gentle].answered + 1);

    printf("hostile: %s: %llu records, %llu %% taken; %llu answers, %llu %% of calls that worked\n",
           gentle ? "gentle" : "wild", (unsigned long long)totals[gentle].sent,
           (unsigned long long)taken, (unsigned long long)totals[gentle].answered,
           (unsigned long long)succeeded);
    if (taken < taken_floor || succeeded < succeeded_floor)
        fail("too few records get far", NULL);
}

/* softgpu has neither clusters nor maps of tensors. */
static bool is_refused_here(uint16_t code)
{
    return code == CUDA_OP_OCCUPANCY_CLUSTERS || code == CUDA_OP_TENSOR_MAP_ENCODE ||
           code == CUDA_OP_TENSOR_MAP_REPLACE;
}

/* In a run of some length, each call that answers must have worked at times. */
static void each_op_has_worked(void)
{
    for (size_t i = 0; i < hostile_shapes_count; i++)
        for (size_t j = 0; j < cuda_op_rows_count; j++)
            if (cuda_op_rows[j].code == hostile_shapes[i].code &&
                (cuda_op_rows[j].flags & CUDA_OPF_WAIT) && succeeded_of[i] == 0 &&
                !is_refused_here(hostile_shapes[i].code)) {
                fprintf(stderr, "hostile: op 0x%04x has never worked\n", hostile_shapes[i].code);
                fail("an op was not reached", NULL);
            }
}

int main(void)
{
    const char *cases_text = getenv("VGPU_HOSTILE_CASES");
    const char *seed_text = getenv("VGPU_HOSTILE_SEED");
    uint64_t cases = cases_text ? strtoull(cases_text, NULL, 10) : DEFAULT_CASES;
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : vgpu_clock_ns();
    struct neighbour neighbour;

    options.worker = getenv("VGPU_WORKER");
    options.driver = getenv("VGPU_DRIVER");
    if (!options.worker || !options.driver)
        fail("VGPU_WORKER and VGPU_DRIVER are needed", NULL);
    random_state = seed | 1;
    printf("hostile: %llu cases, seed %llu\n", (unsigned long long)cases, (unsigned long long)seed);
    fflush(stdout);
    succeeded_of = calloc(hostile_shapes_count, sizeof(*succeeded_of));
    open_neighbour(&neighbour);
    for (uint64_t done = 0; done < cases;) {
        done += attack(random_word() % 4 == 0);
        if (channels % CHECK_NEIGHBOUR == 0)
            check_neighbour(&neighbour);
    }
    check_neighbour(&neighbour);
    printf("hostile: %u channels, %u of them ended by a record\n", channels, channels_ended);
    client_close(neighbour.client);
    has_reached(false, 25, 10);
    has_reached(true, 80, 25);
    if (cases >= REACHING_CASES)
        each_op_has_worked();
    free(succeeded_of);
    return 0;
}
