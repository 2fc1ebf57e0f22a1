/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/test_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fdpass.h"
#include "ring/pages.h"
#include "worker/consumer.h"
#include "worker/test_driver.h"

/* A test that waits longer than this has failed. */
#define PATIENCE_NS (20 * VGPU_NS_PER_S)
/* Longer than the consumer leaves batches open. */
#define SETTLE_NS (30 * VGPU_NS_PER_US)

static void die(const char *what)
{
    fprintf(stderr, "test client: %s\n", what);
    abort();
}

static int make_object(const char *name, uint64_t bytes)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        die("cannot make a memory object");
    return fd;
}

static void *map(int fd, uint64_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        die("cannot map");
    return base;
}

static uint64_t pages(uint64_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static void choose_geometry(struct client *client, const struct client_options *options)
{
    struct vgpu_channel_geometry *geometry = &client->geometry;

    geometry->sub_granules = options->sub_granules ? options->sub_granules : 1024;
    geometry->comp_granules = options->comp_granules ? options->comp_granules : 1024;
    geometry->data_bytes = options->data_bytes ? options->data_bytes : CLIENT_DATA_BYTES;
    geometry->sub_offset = VGPU_CHANNEL_PAGE_BYTES;
    geometry->comp_offset =
        geometry->sub_offset + pages((uint64_t)geometry->sub_granules * VGPU_GRANULE_BYTES);
    geometry->data_offset =
        geometry->comp_offset + pages((uint64_t)geometry->comp_granules * VGPU_GRANULE_BYTES);
    geometry->total_bytes = geometry->data_offset + geometry->data_bytes;
}

static void make_objects(struct client *client)
{
    const struct vgpu_channel_geometry *geometry = &client->geometry;

    client->fds[VGPU_FD_MEMORY] = make_object("channel", geometry->total_bytes);
    client->fds[VGPU_FD_LEASE] = make_object("lease", VGPU_LEASE_BYTES);
    client->fds[VGPU_FD_REPORT] = make_object("report", VGPU_REPORT_BYTES);
    client->fds[VGPU_FD_SUBMIT_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->fds[VGPU_FD_COMPLETE_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->fds[VGPU_FD_LEASE_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->fds[VGPU_FD_REPORT_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    client->base = map(client->fds[VGPU_FD_MEMORY], geometry->total_bytes);
    client->page = (struct vgpu_channel_page *)(void *)client->base;
    client->data = client->base + geometry->data_offset;
    client->lease = map(client->fds[VGPU_FD_LEASE], VGPU_LEASE_BYTES);
    client->report = map(client->fds[VGPU_FD_REPORT], VGPU_REPORT_BYTES);
    ring_producer_init(&client->submission, &client->page->submission,
                       client->base + geometry->sub_offset, geometry->sub_granules, 0);
    ring_consumer_init(&client->completion, &client->page->completion,
                       client->base + geometry->comp_offset, geometry->comp_granules, 0);
}

static void fill_lease(struct vgpu_lease_page *lease, bool granted)
{
    lease->magic = VGPU_MAGIC;
    lease->layout = VGPU_LEASE_LAYOUT;
    lease->turn = 2 | (granted ? VGPU_TURN_GRANTED : 0);
    lease->depth_max = 256;
    lease->inflight_max_jobs = 4;
    lease->inflight_max_ns = 10 * VGPU_NS_PER_MS;
    lease->jobs_allowed = UINT64_MAX;
    lease->retry_ns = 5 * VGPU_NS_PER_MS;
}

static void *consume(void *argument)
{
    consumer_run(argument);
    return NULL;
}

static void start_core(struct client *client, const struct client_options *options)
{
    struct vgpu_err err = {0};
    struct channel_config config = {.geometry = client->geometry,
                                    .fds = client->fds,
                                    .lifeline = -1,
                                    .driver = &client->driver};

    test_driver_table(&client->driver);
    if (options->change_driver)
        options->change_driver(&client->driver);
    client->channel = channel_new(&config, &err);
    if (!client->channel || channel_start(client->channel, &err) < 0)
        die(err.text);
    channel_announce(client->channel);
    if (client->threaded)
        pthread_create(&client->consumer, NULL, consume, client->channel);
}

static int read_only_lease(const struct client *client)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", client->fds[VGPU_FD_LEASE]);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The channel's descriptors, or nothing, at 3 and up; the socket behind them. */
static void place_descriptors(struct client *client, bool spare)
{
    int lease = read_only_lease(client), nothing = open("/dev/null", O_RDWR);

    /* Out of the way first: the targets may be among the sources. */
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++) {
        int from = spare ? nothing : i == VGPU_FD_LEASE ? lease : client->fds[i];

        if (dup2(from, 100 + i) < 0)
            _exit(120);
    }
    if (dup2(client->lifeline[1], 107) < 0)
        _exit(120);
    for (int i = 0; i < VGPU_CHANNEL_FDS + 1; i++)
        if (dup2(100 + i, 3 + i) < 0)
            _exit(121);
    for (int i = 100; i < 108; i++)
        close(i);
}

static void exec_worker(struct client *client, const struct client_options *options)
{
    const struct vgpu_channel_geometry *g = &client->geometry;
    char numbers[7][48];
    char driver[512];
    char sandbox[32];
    char *argv[13] = {(char *)(uintptr_t)options->worker, driver, sandbox};

    snprintf(numbers[0], 48, "--sub-granules=%u", g->sub_granules);
    snprintf(numbers[1], 48, "--comp-granules=%u", g->comp_granules);
    snprintf(numbers[2], 48, "--sub-offset=%llu", (unsigned long long)g->sub_offset);
    snprintf(numbers[3], 48, "--comp-offset=%llu", (unsigned long long)g->comp_offset);
    snprintf(numbers[4], 48, "--data-offset=%llu", (unsigned long long)g->data_offset);
    snprintf(numbers[5], 48, "--data-bytes=%llu", (unsigned long long)g->data_bytes);
    snprintf(numbers[6], 48, "--total-bytes=%llu", (unsigned long long)g->total_bytes);
    for (int i = 0; i < 7 && !options->spare; i++)
        argv[3 + i] = numbers[i];
    if (options->spare)
        argv[3] = (char *)(uintptr_t) "--spare";
    snprintf(driver, sizeof(driver), "--driver=%s", options->driver);
    snprintf(sandbox, sizeof(sandbox), "--sandbox=%s", options->sandbox ? options->sandbox : "on");
    place_descriptors(client, options->spare);
    execv(options->worker, argv);
    _exit(122);
}

static void adopt(struct client *client)
{
    struct vgpu_launch_adopt word = {
        .head = {sizeof(word), VGPU_LAUNCH_ADOPT}, .channel = 1, .geometry = client->geometry};
    struct pollfd wait = {.fd = client->lifeline[0], .events = POLLIN};
    struct vgpu_launch ready = {0};
    int fds[VGPU_CHANNEL_FDS];

    if (poll(&wait, 1, (int)(PATIENCE_NS / VGPU_NS_PER_MS)) != 1 ||
        recv(wait.fd, &ready, sizeof(ready), 0) != sizeof(ready) || ready.type != VGPU_LAUNCH_READY)
        die("the spare is not ready");
    memcpy(fds, client->fds, sizeof(fds));
    fds[VGPU_FD_LEASE] = read_only_lease(client);
    if (vgpu_fdpass_send(wait.fd, &word, sizeof(word), fds, VGPU_CHANNEL_FDS) != sizeof(word))
        die("the spare takes no channel");
    close(fds[VGPU_FD_LEASE]);
}

static void start_process(struct client *client, const struct client_options *options)
{
    uint64_t deadline = vgpu_clock_ns() + PATIENCE_NS;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, client->lifeline) < 0)
        die("no socket pair");
    client->pid = fork();
    if (client->pid == 0)
        exec_worker(client, options);
    close(client->lifeline[1]);
    if (options->spare)
        adopt(client);
    while (page_load_u32(&client->page->notice.state) == VGPU_CHANNEL_STARTING) {
        struct pollfd kick = {.fd = client->fds[VGPU_FD_COMPLETE_KICK], .events = POLLIN};

        if (poll(&kick, 1, 1000) == 0 && vgpu_clock_ns() > deadline)
            die("the worker did not start");
        if (waitpid(client->pid, NULL, WNOHANG) == client->pid)
            die("the worker ended at its start");
    }
}

struct client *client_open(const struct client_options *options)
{
    struct client *client = calloc(1, sizeof(*client));

    client->thread = 1;
    client->drains = true;
    client->patience_ms = 5;
    client->threaded = options->threaded;
    choose_geometry(client, options);
    make_objects(client);
    fill_lease(client->lease, !options->no_turn);
    client->page->flags = options->mirrored ? VGPU_CHANNEL_MIRRORED : 0;
    if (options->worker)
        start_process(client, options);
    else
        start_core(client, options);
    if (!options->no_context && client_retain(client, CLIENT_CONTEXT) != CUDA_SUCCESS)
        die("no context");
    if (!options->no_context)
        client->context = CLIENT_CONTEXT;
    return client;
}

void client_close(struct client *client)
{
    if (client->pid) {
        close(client->lifeline[0]);
        kill(client->pid, SIGKILL);
        waitpid(client->pid, NULL, 0);
    }
    if (client->threaded) {
        page_store_u32(&client->lease->flags, VGPU_LEASE_STOP);
        client_kick_lease(client);
        pthread_join(client->consumer, NULL);
    }
    channel_free(client->channel);
    while (client->replies) {
        struct client_reply *next = client->replies->next;

        free(client->replies);
        client->replies = next;
    }
    munmap(client->base, client->geometry.total_bytes);
    munmap(client->lease, VGPU_LEASE_BYTES);
    munmap(client->report, VGPU_REPORT_BYTES);
    for (int i = 0; i < VGPU_CHANNEL_FDS; i++)
        close(client->fds[i]);
    free(client);
}

void client_send_raw(struct client *client, const void *record, size_t size)
{
    uint64_t deadline = vgpu_clock_ns() + PATIENCE_NS;
    void *entry;
    int status;

    while ((status = ring_reserve(&client->submission, size, &entry)) == -EAGAIN) {
        client_run(client);
        if (vgpu_clock_ns() > deadline)
            die("no room in the submission ring");
    }
    if (status < 0)
        die("a record does not fit");
    memcpy(entry, record, size);
    if (ring_publish(&client->submission))
        channel_kick(client->fds[VGPU_FD_SUBMIT_KICK]);
}

uint64_t client_send(struct client *client, uint16_t op, uint16_t flags, void *record, size_t size)
{
    struct vgpu_record *head = record;

    *head = (struct vgpu_record){.size_bytes = (uint32_t)size,
                                 .op = op,
                                 .flags = flags,
                                 .seq = ++client->seq,
                                 .thread = client->thread,
                                 .context = client->context};
    client_send_raw(client, record, size);
    return client->seq;
}

struct vgpu_blob client_blob(void *record, size_t *size, const void *bytes, size_t count)
{
    struct vgpu_blob blob = {.offset = *size, .size_bytes = (uint32_t)count};
    size_t padded = (count + 7) & ~(size_t)7;

    memset((uint8_t *)record + *size, 0, padded);
    if (count > 0)
        memcpy((uint8_t *)record + *size, bytes, count);
    *size += padded;
    return blob;
}

static void keep_reply(struct client *client, const struct vgpu_completion *completion, size_t size)
{
    struct client_reply *reply = malloc(sizeof(*reply) + size);

    reply->next = client->replies;
    reply->seq = completion->seq;
    reply->kind = completion->kind;
    reply->status = completion->status;
    reply->result = completion->result;
    reply->size = (uint32_t)size;
    memcpy(reply->bytes, completion, size);
    client->replies = reply;
}

static void take_completions(struct client *client)
{
    _Alignas(8) static uint8_t buffer[VGPU_RECORD_MAX_BYTES];
    size_t size;
    bool kick;

    while (ring_consume(&client->completion, buffer, sizeof(buffer), &size, &kick) == 1) {
        if (kick)
            channel_kick(client->fds[VGPU_FD_SUBMIT_KICK]);
        keep_reply(client, (const struct vgpu_completion *)(const void *)buffer, size);
    }
}

static void run_process(struct client *client)
{
    struct pollfd kick = {.fd = client->fds[VGPU_FD_COMPLETE_KICK], .events = POLLIN};
    uint64_t count;

    if (client->drains)
        take_completions(client);
    if (ring_consumer_arm(&client->completion) && poll(&kick, 1, client->patience_ms) > 0 &&
        read(kick.fd, &count, sizeof(count)) < 0)
        die("no kick");
    ring_consumer_disarm(&client->completion);
}

static void run_core(struct client *client)
{
    struct channel *channel = client->channel;

    /* One round closes what is open, the next sees it done: whatever the clock does between. */
    for (int idle = 0; idle < 3 && !channel->ended;) {
        if (consumer_round(channel))
            idle = 0;
        else if (vgpu_clock_ns() - channel->progress_ns > SETTLE_NS)
            idle++;
    }
}

void client_grant_memory(struct client *client, uint64_t bytes)
{
    struct vgpu_lease_page *lease = client->lease;

    page_store_u64(&lease->memory_grant_bytes, bytes);
    page_store_u64(&lease->memory_change, lease->memory_change + 1);
    client_kick_lease(client);
}

void client_quota(struct client *client, uint64_t bytes)
{
    client->lendable = bytes;
    page_store_u64(&client->lease->memory_quota_bytes, bytes);
    client_grant_memory(client, 0);
}

/* True if an ask was answered. */
static bool answer_ask(struct client *client)
{
    struct vgpu_lease_page *lease = client->lease;
    uint64_t ask = page_load_u64(&client->report->memory_ask);
    uint64_t wanted = page_load_u64(&client->report->memory_wanted_bytes);
    bool granted = wanted <= client->lendable;

    if (client->silent || ask == lease->memory_answer >> 1)
        return false;
    if (granted && wanted > lease->memory_grant_bytes)
        client_grant_memory(client, wanted);
    page_store_u64(&lease->memory_ceiling_bytes, client->lendable);
    page_store_u64(&lease->memory_answer, ask << 1 | granted);
    client_kick_lease(client);
    return true;
}

static void run_worker(struct client *client)
{
    if (client->channel && !client->threaded)
        run_core(client);
    else
        run_process(client);
}

void client_run(struct client *client)
{
    run_worker(client);
    while (answer_ask(client))
        run_worker(client);
    if (client->drains)
        take_completions(client);
}

const struct client_reply *client_reply(struct client *client, uint64_t seq)
{
    for (const struct client_reply *reply = client->replies; reply; reply = reply->next)
        if (reply->kind == VGPU_COMPLETION_REPLY && reply->seq == seq)
            return reply;
    return NULL;
}

const struct client_reply *client_await(struct client *client, uint64_t seq)
{
    uint64_t deadline = vgpu_clock_ns() + PATIENCE_NS;

    for (;;) {
        const struct client_reply *reply = client_reply(client, seq);

        if (reply)
            return reply;
        if (vgpu_clock_ns() > deadline)
            die("an answer did not come");
        client_run(client);
        if (client->channel && !client->threaded && client->channel->ended)
            die(client->channel->end_text);
        if (page_load_u32(&client->page->notice.state) == VGPU_CHANNEL_ENDED)
            die(client->report->text);
    }
}

uint32_t client_await_end(struct client *client)
{
    uint64_t deadline = vgpu_clock_ns() + PATIENCE_NS;

    if (client->channel && !client->threaded) {
        client_run(client);
        return client->channel->ended ? (uint32_t)client->channel->end_status : UINT32_MAX;
    }
    while (page_load_u32(&client->page->notice.state) != VGPU_CHANNEL_ENDED) {
        if (vgpu_clock_ns() > deadline)
            return UINT32_MAX;
        client_run(client);
    }
    return page_load_u32(&client->report->reason);
}

CUresult client_call(struct client *client, uint16_t op, void *record, size_t size)
{
    uint64_t seq = client_send(client, op, VGPU_RECORD_WAIT, record, size);

    return (CUresult)client_await(client, seq)->result;
}

void client_kick_lease(struct client *client)
{
    channel_kick(client->fds[VGPU_FD_LEASE_KICK]);
}

void client_grant(struct client *client)
{
    uint64_t turn = client->lease->turn;

    page_store_u64(&client->lease->turn, (((turn >> 1) + 1) << 1) | VGPU_TURN_GRANTED);
    client_kick_lease(client);
}

void client_revoke(struct client *client)
{
    uint64_t turn = client->lease->turn;

    page_store_u64(&client->lease->turn, ((turn >> 1) + 1) << 1);
    client_kick_lease(client);
}

CUresult client_retain(struct client *client, uint32_t context)
{
    struct cuda_op_context_retain op = {.context = context};

    return client_call(client, CUDA_OP_CONTEXT_RETAIN, &op, sizeof(op));
}

uint64_t client_alloc(struct client *client, uint64_t bytes)
{
    struct cuda_op_memory_alloc op = {.bytes = bytes};
    uint64_t seq = client_send(client, CUDA_OP_MEMORY_ALLOC, VGPU_RECORD_WAIT, &op, sizeof(op));
    const struct client_reply *reply = client_await(client, seq);
    struct cuda_re_memory_alloc answer;

    if (reply->result != CUDA_SUCCESS)
        return 0;
    memcpy(&answer, reply->bytes, sizeof(answer));
    return answer.address;
}

CUresult client_module(struct client *client, uint32_t module, const char *ptx)
{
    _Alignas(8) uint8_t buffer[8192];
    struct cuda_op_module_load *op = (struct cuda_op_module_load *)(void *)buffer;
    size_t size = sizeof(*op);

    memset(op, 0, sizeof(*op));
    op->module = module;
    op->image = client_blob(op, &size, ptx, strlen(ptx) + 1);
    op->options = client_blob(op, &size, "", 0);
    return client_call(client, CUDA_OP_MODULE_LOAD, op, size);
}

CUresult client_function(struct client *client, uint32_t module, uint32_t function,
                         const char *name)
{
    _Alignas(8) uint8_t buffer[4096];
    struct cuda_op_module_get_function *op = (struct cuda_op_module_get_function *)(void *)buffer;
    size_t size = sizeof(*op);

    memset(op, 0, sizeof(*op));
    op->module = module;
    op->function = function;
    op->name = client_blob(op, &size, name, strlen(name));
    return client_call(client, CUDA_OP_MODULE_GET_FUNCTION, op, size);
}

uint64_t client_launch_with(struct client *client, uint32_t function, uint32_t stream,
                            const void *params, size_t bytes)
{
    _Alignas(8) uint8_t buffer[4096];
    struct cuda_op_launch *op = (struct cuda_op_launch *)(void *)buffer;
    size_t size = sizeof(*op);

    memset(op, 0, sizeof(*op));
    op->function = function;
    op->stream = stream;
    op->grid_x = op->grid_y = op->grid_z = 1;
    op->block_x = 32;
    op->block_y = op->block_z = 1;
    op->params = client_blob(op, &size, params, bytes);
    return client_send(client, CUDA_OP_LAUNCH, 0, op, size);
}

uint64_t client_launch(struct client *client, uint32_t function, uint32_t stream)
{
    return client_launch_with(client, function, stream, "", 0);
}

uint64_t client_stream(struct client *client, uint32_t stream)
{
    struct cuda_op_stream_create op = {.stream = stream};

    return client_send(client, CUDA_OP_STREAM_CREATE, 0, &op, sizeof(op));
}

uint64_t client_event(struct client *client, uint32_t event)
{
    struct cuda_op_event_create op = {.event = event};

    return client_send(client, CUDA_OP_EVENT_CREATE, 0, &op, sizeof(op));
}

uint64_t client_record(struct client *client, uint32_t event, uint32_t stream)
{
    struct cuda_op_event_record op = {.event = event, .stream = stream};

    return client_send(client, CUDA_OP_EVENT_RECORD, 0, &op, sizeof(op));
}

uint64_t client_sync_stream(struct client *client, uint32_t stream)
{
    struct cuda_op_stream_sync op = {.stream = stream};

    return client_send(client, CUDA_OP_STREAM_SYNC, VGPU_RECORD_WAIT, &op, sizeof(op));
}

uint64_t client_sync_context(struct client *client)
{
    struct cuda_op_context_sync op = {0};

    return client_send(client, CUDA_OP_CONTEXT_SYNC, VGPU_RECORD_WAIT, &op, sizeof(op));
}

uint64_t client_copy(struct client *client, uint16_t flags, struct vgpu_place target,
                     struct vgpu_place source, uint64_t bytes, uint32_t stream)
{
    struct cuda_op_copy op = {.target = target, .source = source, .bytes = bytes, .stream = stream};

    return client_send(client, CUDA_OP_COPY, flags, &op, sizeof(op));
}
