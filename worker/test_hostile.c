/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client against a real vgpu-worker on softgpu, beside a neighbour whose results are
 * checked. VGPU_HOSTILE_CASES: how many records, 3000 by default; VGPU_HOSTILE_SEED repeats a run.
 * A worker may end its channel with BAD_RECORD; it may not die of a signal, hang, or disturb.
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
#define CASES_A_WORKER  64 /* then it must still answer */
#define CHECK_NEIGHBOUR 8  /* channels */

#define MODULE   VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define FUNCTION VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)

static struct client_options options = {
    .sub_granules = 256, .comp_granules = 256, .data_bytes = 65536};

static uint64_t random_state;
static unsigned channels, channels_ended;

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
    if (WEXITSTATUS(status) != 3)
        fail("the worker ended with another exit status than 3", client);
    close(client->lifeline[0]);
}

static bool has_ended(const struct client *client)
{
    return page_load_u32(&client->page->notice.state) == VGPU_CHANNEL_ENDED;
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
        if (waitpid(client->pid, NULL, WNOHANG | WNOWAIT) == client->pid && !has_ended(client))
            break;
        if (vgpu_clock_ns() > deadline)
            fail("the worker hangs", client);
        client_run(client);
    }
}

/* Returns how many records it sent. */
static uint64_t attack(uint64_t cases, bool racing)
{
    struct client_options own = options;
    struct hostile hostile = {.gentle = channels % 2};
    struct racer racer = {.state = random_state};
    bool ended;

    own.mirrored = channels % 4 > 1;
    racer.client = hostile.client = client_open(&own);
    learn_foreign(&hostile);
    if (racing && !hostile.gentle)
        pthread_create(&racer.thread, NULL, race, &racer);
    for (uint64_t i = 0; i < cases && !has_ended(hostile.client); i++) {
        struct hostile_command command = random_command();

        hostile_do(&hostile, &command);
        if (i % 8 == 0) {
            client_run(hostile.client);
            hostile_learn(&hostile);
        }
    }
    must_still_live(&hostile);
    page_store_u32(&racer.stop, 1);
    if (racing && !hostile.gentle)
        pthread_join(racer.thread, NULL);
    ended = has_ended(hostile.client);
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
    open_neighbour(&neighbour);
    for (uint64_t done = 0; done < cases;) {
        done += attack(CASES_A_WORKER, random_word() % 4 == 0);
        if (channels % CHECK_NEIGHBOUR == 0)
            check_neighbour(&neighbour);
    }
    check_neighbour(&neighbour);
    printf("hostile: %u channels, %u of them ended by a record\n", channels, channels_ended);
    client_close(neighbour.client);
    return 0;
}
