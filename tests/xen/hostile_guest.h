/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frontend without our driver, from user space: what hostile_grants.c does is made of this. Pages
 * are granted by /dev/xen/gntalloc, ports are of /dev/xen/evtchn, keys are written by
 * /dev/xen/xenbus; all three end with the process.
 *
 * It waits by looking, never for an event; where what must come does not, it says so and the
 * process ends.
 */
#ifndef VGPU_TESTS_XEN_HOSTILE_GUEST_H
#define VGPU_TESTS_XEN_HOSTILE_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/grant.h>

#include "ring/ring.h"

#define PATIENCE_MS  120000u
#define ANSWER_BYTES 4096u /* xenstore's longest, and the NUL behind it */

enum { INITIALISING = 1, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED };

/* Granted pages, side by side. */
struct pages {
    uint8_t *at; /* NULL: none */
    uint32_t n;
    uint64_t index;
    uint32_t ref[VGPU_GRANT_TABLE_ENTRIES + 64];
};

/* A set as a driver grants it: the directory is a page of its own, the tables are two at most. */
struct set {
    struct pages pages, tables, directory;
};

struct channel {
    uint32_t slot, port;
    struct vgpu_channel_geometry geometry;
    struct set set;
    struct ring_producer submission;
    struct ring_consumer completion;
    uint64_t seq;
};

/* The device of the process, and whom it grants to. */
extern struct set control_set;
extern uint32_t control_port, backend_domid;

/* A line for the test. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void must(bool fine, const char *what);
uint64_t now_ms(void);
void pause_ms(uint64_t ms);

#define AWAIT(check)                                                                               \
    do {                                                                                           \
        uint64_t until_ = now_ms() + PATIENCE_MS;                                                  \
        while (!(check)) {                                                                         \
            must(now_ms() < until_, "not in time: " #check);                                       \
            pause_ms(5);                                                                           \
        }                                                                                          \
    } while (0)

/* Each process has devices of its own, so that what it granted ends with it. */
void open_devices(void);

/* Keys in the device's own directory; false: xenstore refuses. */
bool write_key(const char *key, const char *value);
bool remove_key(const char *key);
/* "" where there is none. */
void read_backend(const char *key, char answer[ANSWER_BYTES]);
int backend_state(void);

/* To whom it likes, for writing or for reading only. */
void grant(struct pages *ret, uint32_t n, uint32_t domid, bool write);
/* What the peer has mapped Linux takes back as soon as Xen lets it. */
void end_grants(struct pages *pages);
struct vgpu_grant_directory *directory_of(const struct set *set);
struct vgpu_grant_table *table_of(const struct set *set, uint32_t i);
uint32_t new_port(uint32_t domid);
void close_port(uint32_t port);
void kick(uint32_t port);

/* Control pages and port; then the keys that tell of them, and Initialised. */
void make_control(void);
void free_control(void);
void say_where(void);
/* All of that, until the device is ready. */
void connect_device(void);
/* To InitWait, from wherever it is; then no worker of ours lives, and nothing is mapped. */
void leave(void);

struct vgpu_xen_control *control(void);
struct vgpu_device_command *command_of(uint32_t slot);
bool is_gone(uint32_t slot);
/* Puts it there, with a tag of its own and its doorbell, which is returned; nobody is kicked. */
uint32_t put_command(uint32_t slot, const struct vgpu_device_command *wanted);
/* Waits for the answer; its status. */
uint32_t end_command(uint32_t slot, uint32_t tag);
uint32_t give(uint32_t slot, const struct vgpu_device_command *wanted);

/* A channel by steps: OPEN, its pages and port, ATTACH. */
struct vgpu_device_command good_open(uint64_t data_bytes);
void open_slot(struct channel *channel, uint32_t slot, uint64_t data_bytes);
void make_channel(struct channel *channel);
uint32_t begin_attach(uint32_t slot, uint32_t directory, uint32_t port);
uint32_t attach(const struct channel *channel);
void close_slot(uint32_t slot);
void free_channel(struct channel *channel);
/* All of them, which must not be refused. */
void begin_channel(struct channel *channel, uint32_t slot, uint64_t data_bytes);
void end_channel(struct channel *channel);

/* Submits one; false: the ring has no room, or the other side's index is nonsense. */
bool try_job(struct channel *channel);
void submit_job(struct channel *channel);
/* Submits one and compares its sums. */
void run_job(struct channel *channel);

#endif
