/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a mediator and a worker in the test's own process. The mediator listens on a socket
 * and hands a channel out; the worker is a thread that takes the records and answers them, from a
 * small memory of its own. A test may look at each record first, hold answers back, and write
 * completions itself.
 */
#ifndef VGPU_LIBVGPU_FAKE_HOST_H
#define VGPU_LIBVGPU_FAKE_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <vgpu/ring.h>
#include <vgpu/wire.h>

#include "cuda/cuda_ops.h"
#include "ring/ring.h"

#define FAKE_DEVICE_BASE  0x7f0000000000ull
#define FAKE_DEVICE_BYTES (8u << 20)
#define FAKE_HOST_VIEW    0x100000000ull /* page-locked memory for the device, if not unified */
#define FAKE_UNIFIED_AT   (VGPU_BAND_START + (4ull << 32))
#define FAKE_MAX_RECORDS  65536

/*
 * Hosts that are started are behind a device that copies, or behind one with a window,
 * or have mapped what the guest granted (fake_relay.h). Set before.
 */
extern bool fake_mirrored, fake_window, fake_granted;

struct fake_host;
struct fake_relay;

/* True: the test has dealt with it, and answers itself if an answer is due. */
typedef bool (*fake_record_fn)(struct fake_host *host, const struct vgpu_record *record);

struct fake_host {
    char path[100]; /* what to connect to */
    uint32_t sub_granules, comp_granules;
    uint64_t data_bytes;
    uint64_t credit;        /* added to the jobs taken; UINT64_MAX: no limit */
    uint32_t refuse_status; /* OPEN is refused with this, if not 0 */
    bool unified;           /* answers the data area's address, as a worker does */
    uint32_t bad_addresses; /* so many allocations lie where the test's process has something */
    bool large_params;      /* functions take as many bytes as a launch can have */
    bool clusters;          /* the device takes launches in clusters, and maps of tensors */
    fake_record_fn on_record;

    struct fake_relay *relay; /* NULL: there is a socket */

    int listener, connection;
    int memory, submit_kick, completion_kick;
    uint8_t *base;
    uint64_t total_bytes;
    struct vgpu_channel_page *page;
    struct vgpu_channel_geometry geometry;
    struct ring_producer completions;
    struct ring_consumer submissions;
    pthread_mutex_t lock; /* completions, and what tests read */
    pthread_cond_t changed;
    pthread_t mediator, worker;
    bool mediator_runs, worker_runs, stopping;
    unsigned resumes, closes, hellos;

    uint8_t *device; /* FAKE_DEVICE_BYTES */
    uint64_t device_used;
    uint64_t jobs;
    uint16_t seen[FAKE_MAX_RECORDS]; /* op of each record, by sequence number */
    uint64_t seen_count;
    uint32_t last_thread;
    _Alignas(8) uint8_t last_launch[VGPU_RECORD_MAX_BYTES];
};

/* Starts with the sizes that are set in host; 0: defaults. */
void fake_host_start(struct fake_host *host);
void fake_host_stop(struct fake_host *host);

/* The mediator goes away, its connection with it; fake_host_return brings it back. */
void fake_host_vanish(struct fake_host *host);
void fake_host_return(struct fake_host *host);

/* Answers a record with a plain result. */
void fake_reply(struct fake_host *host, uint64_t seq, int32_t result);

/* Writes any completion; size_bytes must be set. */
void fake_complete(struct fake_host *host, const struct vgpu_completion *completion);

/* Kicks the guest, with nothing behind it. */
void fake_kick(struct fake_host *host);

/* Sends a message on the connection. */
void fake_message(struct fake_host *host, const struct vgpu_msg *message);

/* Tells that the channel has ended. */
void fake_gone(struct fake_host *host, uint32_t status, const char *text);

/* Does what a record asks for, and answers it if it waits. */
void fake_carry_out(struct fake_host *host, const struct vgpu_record *record);

/*
 * What was stored in the worker's page is in the library's now; and worker and caller see what the
 * other did to the device's memory before (the rings say so as well, but by two mappings of their
 * lines, which a thread sanitizer does not know for one).
 */
void fake_settle(struct fake_host *host);

/* Waits until `count` records of that op were taken. */
void fake_await_op(struct fake_host *host, uint16_t op, unsigned count);
unsigned fake_count_op(struct fake_host *host, uint16_t op);

/* The thread that submitted the last record. */
uint32_t fake_last_thread(struct fake_host *host);

/* A byte of the device's memory. */
uint8_t *fake_device(struct fake_host *host, uint64_t address);

#endif
