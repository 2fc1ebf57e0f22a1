/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_worker [--rounds N] [--only NAME]: the worker's own cost, with no GPU and no driver. The
 * worker's core runs on a double whose calls return at once ("drain", "flood"), or take as long as
 * they do on an H200 and whose GPU is a clock (the others), so that what is left is the worker's.
 *
 *   drain    N launches that lie in the ring already; one thread
 *   flood    N launches from another thread, which waits for room and credit as the library does
 *   paced    the same with calls of 2.5 us: what the worker adds where the driver is the limit
 *   sync     launch and synchronise, one after the other
 *   copy4    4 bytes page-locked, each waited for
 *   copy1g   1 GiB page-locked
 *
 * Prints for each: median and least over the rounds, in ns (of a record, or of a call), and of one
 * record the worker's stages (worker/stages.h), which hold one reading of the clock each.
 */
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, 0)
#define STREAM VGPU_HANDLE(CUDA_KIND_STREAM, 1, 0)

#define RING_GRANULES 8192u
#define DEPTH_MAX     4096u
#define MAX_ROUNDS    64u
#define MAX_CALLS     2000u
#define DRAINED       (RING_GRANULES / 2 - 2) /* all that the ring holds */
#define FLOODED       20000u
#define PARAMS        3u
#define GIB           (1ull << 30)

/* As measured on an H200. */
#define LAUNCH_CALL_NS 2500u
#define KERNEL_NS      1800u
#define RECORD_CALL_NS 900u
#define QUERY_CALL_NS  250u
#define COPY_CALL_NS   3000u
#define COPY_START_NS  1500u
#define BYTES_PER_US   55600u

/* The driver double: one engine whose end is a time. */
static struct {
    struct cuda_driver test; /* the tests' double, which does as it is told: for the start */
    bool live;               /* the start is over */
    bool timed;
    uint64_t busy_until_ns;
    struct CUevent_st *events;
} gpu;

struct CUevent_st {
    uint64_t due_ns;
    struct CUevent_st *next;
};

static void spend(uint64_t ns)
{
    uint64_t end = vgpu_clock_ns() + ns;

    while (vgpu_clock_ns() < end)
        ;
}

static void give_work(uint64_t call_ns, uint64_t work_ns)
{
    uint64_t now;

    if (!gpu.timed)
        return;
    spend(call_ns);
    now = vgpu_clock_ns();
    gpu.busy_until_ns = (now > gpu.busy_until_ns ? now : gpu.busy_until_ns) + work_ns;
}

static CUresult launch_kernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                              unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z,
                              unsigned shared, CUstream stream, void **params, void **extra)
{
    if (!gpu.live)
        return gpu.test.cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                                       shared, stream, params, extra);
    give_work(LAUNCH_CALL_NS, KERNEL_NS);
    return CUDA_SUCCESS;
}

static CUresult copy_to_device(CUdeviceptr to, const void *source, size_t bytes, CUstream stream)
{
    if (!gpu.live)
        return gpu.test.cuMemcpyHtoDAsync(to, source, bytes, stream);
    give_work(COPY_CALL_NS, COPY_START_NS + bytes * VGPU_NS_PER_US / BYTES_PER_US);
    return CUDA_SUCCESS;
}

static CUresult param_info(CUfunction function, size_t index, size_t *offset, size_t *size)
{
    if (index >= PARAMS)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = index * sizeof(uint64_t);
    *size = sizeof(uint64_t);
    return CUDA_SUCCESS;
}

static CUresult event_create(CUevent *event, unsigned flags)
{
    *event = calloc(1, sizeof(**event));
    (*event)->next = gpu.events;
    gpu.events = *event;
    return CUDA_SUCCESS;
}

static CUresult event_destroy(CUevent event)
{
    return CUDA_SUCCESS;
}

static CUresult event_record(CUevent event, CUstream stream)
{
    if (gpu.timed)
        spend(RECORD_CALL_NS);
    event->due_ns = gpu.busy_until_ns;
    return CUDA_SUCCESS;
}

static CUresult event_query(CUevent event)
{
    if (gpu.timed)
        spend(QUERY_CALL_NS);
    return !gpu.timed || vgpu_clock_ns() >= event->due_ns ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

static void replace_calls(struct cuda_driver *driver)
{
    gpu.test = *driver;
    driver->cuLaunchKernel = launch_kernel;
    driver->cuMemcpyHtoDAsync = copy_to_device;
    driver->cuFuncGetParamInfo = param_info;
    driver->cuEventCreate = event_create;
    driver->cuEventDestroy = event_destroy;
    driver->cuEventRecord = event_record;
    driver->cuEventQuery = event_query;
}

/* The guest. */
static struct client *client;
static uint64_t target;
static uint64_t jobs;

static void must(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "bench_worker: %s\n", what);
    exit(1);
}

/* Each on a processor of its own: a scheduler that puts both on one would be measured. */
static void part_threads(void)
{
    cpu_set_t own;

    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        return;
    for (int i = 0; i < 2; i++) {
        CPU_ZERO(&own);
        CPU_SET(i, &own);
        pthread_setaffinity_np(i == 0 ? pthread_self() : client->consumer, sizeof(own), &own);
    }
}

static void open_client(bool threaded, bool timed)
{
    const struct client_options options = {.sub_granules = RING_GRANULES,
                                           .comp_granules = RING_GRANULES,
                                           .data_bytes = 2 * GIB,
                                           .threaded = threaded,
                                           .change_driver = replace_calls};

    test_driver_reset();
    gpu.live = gpu.timed = false;
    client = client_open(&options);
    if (threaded)
        part_threads();
    client->lease->depth_max = DEPTH_MAX;
    must(client_module(client, MODULE, "ptx") == CUDA_SUCCESS, "no module");
    must(client_function(client, MODULE, KERNEL, "nothing") == CUDA_SUCCESS, "no function");
    client_stream(client, STREAM);
    target = client_alloc(client, GIB);
    must(target != 0, "no memory");
    gpu.live = true;
    gpu.timed = timed;
    jobs = 0;
}

static void close_client(void)
{
    gpu.timed = false;
    client_close(client);
    while (gpu.events) {
        struct CUevent_st *next = gpu.events->next;

        free(gpu.events);
        gpu.events = next;
    }
}

/* Sleeps as the library does: until a kick, or for 5 ms. */
static void await_kick(void)
{
    struct pollfd kick = {.fd = client->fds[VGPU_FD_COMPLETE_KICK], .events = POLLIN};
    uint64_t count;

    if (poll(&kick, 1, 5) > 0)
        must(read(kick.fd, &count, sizeof(count)) == sizeof(count), "no kick");
}

static void await_credit(void)
{
    if (jobs < page_load_u64(&client->page->notice.credit))
        return;
    ring_producer_want_kick(&client->submission);
    while (jobs >= page_load_u64(&client->page->notice.credit))
        await_kick();
    ring_producer_disarm(&client->submission);
}

static void launch(void)
{
    static const uint64_t params[PARAMS] = {1, 2, 3};

    await_credit();
    jobs++;
    client_launch_with(client, KERNEL, STREAM, params, sizeof(params));
}

/* Spins for the answer, then sleeps. */
static void await_answer(uint64_t seq)
{
    _Alignas(8) uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    const struct vgpu_completion *answer = (const void *)buffer;
    uint64_t spin_end = vgpu_clock_ns() + 20 * VGPU_NS_PER_US;
    size_t size;
    bool kick;

    for (;;) {
        if (ring_consume(&client->completion, buffer, sizeof(buffer), &size, &kick) == 1) {
            must(answer->result == CUDA_SUCCESS, "a call failed");
            if (answer->seq == seq)
                return;
        } else if (vgpu_clock_ns() > spin_end) {
            if (ring_consumer_arm(&client->completion))
                await_kick();
            ring_consumer_disarm(&client->completion);
        }
    }
}

static void synchronise(void)
{
    await_answer(client_sync_stream(client, STREAM));
}

static void copy(uint64_t bytes)
{
    jobs++;
    await_answer(client_copy(client, VGPU_RECORD_WAIT, client_device(target), client_data(GIB),
                             bytes, STREAM));
}

/* The measurements: each returns ns of one record or call. */

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* The median of calls: what else the machine does hits some of them, and not half. */
static double median_of(unsigned calls, uint64_t (*timed)(void))
{
    static double times[MAX_CALLS];

    for (unsigned n = 0; n < calls; n++)
        times[n] = (double)timed();
    qsort(times, calls, sizeof(*times), compare);
    return times[calls / 2];
}

static uint64_t drain_once(void)
{
    uint64_t began, ns;

    for (unsigned n = 0; n < DRAINED; n++)
        launch();
    began = vgpu_clock_ns();
    while (ring_ready(&client->channel->submission) || client->channel->current.row)
        consumer_round(client->channel);
    ns = vgpu_clock_ns() - began;
    client_run(client);
    return ns;
}

static uint64_t flood_once(void)
{
    uint64_t began = vgpu_clock_ns();

    for (unsigned n = 0; n < FLOODED; n++)
        launch();
    synchronise();
    return vgpu_clock_ns() - began;
}

static uint64_t synchronise_once(void)
{
    uint64_t began = vgpu_clock_ns();

    launch();
    synchronise();
    return vgpu_clock_ns() - began;
}

static uint64_t copy_once(uint64_t bytes)
{
    uint64_t began = vgpu_clock_ns();

    copy(bytes);
    return vgpu_clock_ns() - began;
}

static uint64_t copy_4(void)
{
    return copy_once(4);
}

static uint64_t copy_1g(void)
{
    return copy_once(GIB);
}

/* What the double takes for a launch, with its reading of the clock. */
static double launch_floor(void)
{
    double times[101];

    for (int i = 0; i < 101; i++) {
        uint64_t began = vgpu_clock_ns();

        for (int n = 0; n < 20; n++)
            give_work(gpu.timed ? LAUNCH_CALL_NS : 0, KERNEL_NS);
        times[i] = (double)(vgpu_clock_ns() - began) / 20;
    }
    qsort(times, 101, sizeof(*times), compare);
    return times[50];
}

static double drain(void)
{
    return median_of(100, drain_once) / DRAINED;
}

static double flood(void)
{
    return median_of(20, flood_once) / FLOODED;
}

static double synchronisations(void)
{
    return median_of(MAX_CALLS, synchronise_once);
}

static double copies_of_4(void)
{
    return median_of(MAX_CALLS, copy_4);
}

static double copies_of_1g(void)
{
    return median_of(9, copy_1g);
}

static const struct {
    const char *name;
    bool threaded, timed;
    double (*run)(void);
    /* What the double itself takes; 0: a launch. */
    double floor_ns;
} measurements[] = {
    {"drain", false, false, drain, 0},
    {"flood", true, false, flood, 0},
    {"paced", true, true, flood, 0},
    {"sync", true, true, synchronisations, LAUNCH_CALL_NS + KERNEL_NS},
    {"copy4", true, true, copies_of_4, COPY_CALL_NS + COPY_START_NS},
    {"copy1g", true, true, copies_of_1g,
     COPY_CALL_NS + COPY_START_NS + (double)GIB * 1000 / BYTES_PER_US},
};

static double part(uint64_t ns, uint64_t count)
{
    return count ? (double)ns / (double)count : 0;
}

/* Of one record, as the channel's page tells of them: the warm-up is in it. */
static void print_stages(void)
{
    struct vgpu_channel_stages now = client->page->stages;

    printf("         ring %.0f, take %.1f, check %.1f, issue %.1f, driver %.1f, mark %.1f, "
           "complete %.1f\n",
           part(now.ring_granule_ns, now.granules), part(now.take_ns, now.samples),
           part(now.check_ns, now.samples), part(now.issue_ns, now.samples),
           part(now.driver_ns, now.samples),
           part(now.mark_ns, now.marks_timed) * part(now.marks, now.records),
           part(now.end_ns, now.ends_timed) * part(now.ends, now.records));
}

static void measure(size_t which, unsigned rounds)
{
    double times[MAX_ROUNDS], floor_ns;

    open_client(measurements[which].threaded, measurements[which].timed);
    measurements[which].run(); /* warm */
    for (unsigned i = 0; i < rounds; i++)
        times[i] = measurements[which].run();
    qsort(times, rounds, sizeof(*times), compare);
    floor_ns = measurements[which].floor_ns;
    if (floor_ns <= 0)
        floor_ns = launch_floor();
    printf("%-8s median %10.1f ns, least %10.1f ns, of which the driver %10.1f ns\n",
           measurements[which].name, times[rounds / 2], times[0], floor_ns);
    print_stages();
    close_client();
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
                                            {"only", required_argument, NULL, 'o'},
                                            {NULL, 0, NULL, 0}};
    const char *only = NULL;
    unsigned rounds = 7;
    int key;

    while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (key == 'r')
            rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (key == 'o')
            only = optarg;
        else
            return 2;
    }
    if (rounds == 0 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "bench_worker: --rounds is 1 to %u\n", MAX_ROUNDS);
        return 2;
    }
    for (size_t i = 0; i < sizeof(measurements) / sizeof(measurements[0]); i++)
        if (!only || strcmp(only, measurements[i].name) == 0)
            measure(i, rounds);
    return 0;
}
