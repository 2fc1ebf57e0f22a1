/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps of the tests that drive a channel round by round on the driver double, whose streams go
 * only as far as each test lets them.
 */
#ifndef VGPU_WORKER_TEST_STEPS_H
#define VGPU_WORKER_TEST_STEPS_H

#include "worker/test_client.h"
#include "worker/test_driver.h"

#define MODULE    VGPU_HANDLE(CUDA_KIND_MODULE, 1, 0)
#define KERNEL(n) VGPU_HANDLE(CUDA_KIND_FUNCTION, 1, n)
#define STREAM(n) VGPU_HANDLE(CUDA_KIND_STREAM, 1, n)
#define EVENT(n)  VGPU_HANDLE(CUDA_KIND_EVENT, 1, n)

/* A client with kernels "k0" to "k3", streams and events 0 to 3; nothing completes by itself. */
static inline struct client *open_with(const struct client_options *options)
{
    struct client *client;

    test_driver_reset();
    client = client_open(options);
    assert_int_equal(client_module(client, MODULE, "ptx"), CUDA_SUCCESS);
    for (uint32_t i = 0; i < 4; i++) {
        const char name[] = {'k', (char)('0' + i), 0};

        assert_int_equal(client_function(client, MODULE, KERNEL(i), name), CUDA_SUCCESS);
        client_stream(client, STREAM(i));
        client_event(client, EVENT(i));
    }
    client_run(client);
    test_driver_hold();
    return client;
}

static inline struct client *open_client(void)
{
    const struct client_options options = {0};

    return open_with(&options);
}

static inline void close_client(struct client *client)
{
    assert_false(client->channel->ended);
    test_driver_release();
    client_close(client);
}

static inline bool answered(struct client *client, uint64_t seq)
{
    client_run(client);
    return client_reply(client, seq) != NULL;
}

static inline uint64_t host_function(struct client *client, uint32_t stream, uint64_t token)
{
    struct cuda_op_host_function op = {.stream = stream, .token = token};

    return client_send(client, CUDA_OP_HOST_FUNCTION, 0, &op, sizeof(op));
}

static inline uint64_t host_function_done(struct client *client, uint64_t token)
{
    struct cuda_op_host_function_done op = {.token = token};

    return client_send(client, CUDA_OP_HOST_FUNCTION_DONE, 0, &op, sizeof(op));
}

static inline bool called_back(struct client *client, uint64_t token)
{
    client_run(client);
    for (const struct client_reply *reply = client->replies; reply; reply = reply->next)
        if (reply->kind == VGPU_COMPLETION_CALLBACK && reply->seq == token)
            return true;
    return false;
}

static inline uint64_t wait_event(struct client *client, uint32_t stream, uint32_t event)
{
    struct cuda_op_stream_wait_event op = {.stream = stream, .event = event};

    return client_send(client, CUDA_OP_STREAM_WAIT_EVENT, 0, &op, sizeof(op));
}

static inline uint64_t event_sync(struct client *client, uint32_t event)
{
    struct cuda_op_event_sync op = {.event = event};

    return client_send(client, CUDA_OP_EVENT_SYNC, VGPU_RECORD_WAIT, &op, sizeof(op));
}

static inline uint64_t stream_query(struct client *client, uint32_t stream)
{
    struct cuda_op_stream_query op = {.stream = stream};

    return client_send(client, CUDA_OP_STREAM_QUERY, VGPU_RECORD_WAIT, &op, sizeof(op));
}

/* Only so many copies in flight: what is behind them is taken, and kept. */
static inline struct client *open_contended(uint32_t jobs)
{
    struct client *client = open_client();

    client->lease->contended = 1;
    client->lease->inflight_max_jobs = jobs;
    client->lease->inflight_max_ns = UINT64_MAX / 2;
    return client;
}

#endif
