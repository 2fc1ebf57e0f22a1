/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest may know without asking (docs/spec/ring.md): up to which record all is done, and
 * of each event the last record that is done. Nothing of it is told in mirrored channels.
 *
 * An event is in its stream's list, in the order of the records, until its last record was seen
 * done; the first of each list is looked at. What a completion could reveal is told before it, and
 * whatever came before something that is told, is told before that: a guest that knows one thing
 * done never reads of what it implies that it is not.
 */
#ifndef VGPU_WORKER_SNAPSHOT_H
#define VGPU_WORKER_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>
#include <vgpu/ring.h>

struct channel;
struct event;
struct stream;

struct event_list {
    struct event *first, *last;
};

struct snapshot {
    bool off;               /* the guest's page is a copy elsewhere */
    uint32_t recorded;      /* events in the streams' lists */
    struct event_list done; /* to be told, ascending by record */
    uint64_t told, settled;
    uint64_t events[VGPU_EVENT_WORDS]; /* as they were told */
};

/* The event's record `seq` is in the stream; or the driver refused it, and it is as it was. */
void snapshot_recorded(struct channel *channel, struct event *event, struct stream *stream,
                       uint64_t seq);
void snapshot_refused(struct channel *channel, struct event *event, uint64_t seq);

/* The event goes. */
void snapshot_forget(struct channel *channel, struct event *event);

/* The stream has done all that it was given. */
void snapshot_stream_done(struct channel *channel, struct stream *stream);

/* Looks at the events in flight and tells which are done; true if any was. */
bool snapshot_tell_events(struct channel *channel);

/* Tells that all is done if it is. After the records of a round. */
void snapshot_tell_settled(struct channel *channel);

/* Tells of errors that nobody has heard of, and whether kernels may print. */
void snapshot_tell_unheard(struct channel *channel);

#endif
