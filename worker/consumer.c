/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/consumer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/pages.h"
#include "worker/beside.h"
#include "worker/channel.h"
#include "worker/rest.h"

/*
 * Records issued before marks and helpers are looked at again; more while nobody waits for what
 * that would show.
 */
#define ROUND_RECORDS      32
#define ROUND_RECORDS_MOST 128

/* Records that may share one reading of the clock. */
#define TIMED_RECORDS 4

/* Room is given back when that part of the ring was taken, at the end of each round anyway. */
#define ROOM_PART 8
/* What part of the ring, or of the credit, a sleeping guest is woken for. */
#define WAKE_PART 4

/* After the last progress, batches are closed: sooner where others wait. */
#define COVER_NS           (10 * VGPU_NS_PER_US)
#define COVER_CONTENDED_NS (4 * VGPU_NS_PER_US)

#define JOB_ESTIMATE_NS (30 * VGPU_NS_PER_US)

static struct item *make_item(struct channel *channel, const struct taken *taken)
{
    const struct vgpu_record *record = taken_record(taken);
    struct item *item = item_new(channel);

    if (!item) {
        channel_end(channel, VGPU_NO_MEMORY, "no memory for a call");
        return NULL;
    }
    item->call.row = taken->row;
    item->call.seq = record->seq;
    item->call.taken_ns = taken->taken_ns;
    item->call.thread = record->thread;
    item->call.context_handle = record->context;
    item->call.flags = record->flags;
    item->counted = taken->job != 0;
    return item;
}

/* A record's head, as far as no op is concerned. Returns its row, or NULL: the channel ended. */
static const struct cuda_op_row *check_head(struct channel *channel,
                                            const struct vgpu_record *record, size_t size)
{
    const struct cuda_op_row *row;
    bool waits;

    if (size < sizeof(*record) || record->seq != channel->next_seq) {
        channel_end(channel, VGPU_BAD_RECORD, "record %llu: bad size or sequence number",
                    (unsigned long long)channel->next_seq);
        return NULL;
    }
    channel->next_seq++;
    row = cuda_op_row(record->op);
    if (!row) {
        channel_end(channel, VGPU_BAD_RECORD, "record %llu: unknown op 0x%04x",
                    (unsigned long long)record->seq, record->op);
        return NULL;
    }
    waits = record->flags & VGPU_RECORD_WAIT;
    if ((record->flags & ~VGPU_RECORD_FLAGS) || record->reserved || record->thread == 0 ||
        (waits && (row->flags & CUDA_OPF_POST)) || (!waits && (row->flags & CUDA_OPF_WAIT)) ||
        ((record->flags & VGPU_RECORD_EXPLICIT) && (!waits || !(row->flags & CUDA_OPF_JOB)))) {
        border_malformed(channel, row->name, "head");
        return NULL;
    }
    if (waits && ++channel->replies.waiting > WORKER_MAX_WAITS) {
        channel_end(channel, VGPU_BAD_RECORD, "record %llu: more than %u wait for an answer",
                    (unsigned long long)record->seq, WORKER_MAX_WAITS);
        return NULL;
    }
    return row;
}

static void refuse(struct channel *channel, const struct taken *taken, enum admission admission)
{
    struct item *item = make_item(channel, taken);

    if (!item)
        return;
    item->context = handle_get(channel->handles, CUDA_KIND_CONTEXT, item->call.context_handle);
    if (admission == REFUSE_QUARANTINED) {
        item_refuse(channel, item, VGPU_QUARANTINED, CUDA_ERROR_NOT_PERMITTED);
        return;
    }
    if (admission == REFUSE_NO_GPU) {
        item_refuse(channel, item, VGPU_NO_GPU, CUDA_ERROR_NO_DEVICE);
        return;
    }
    /* What a refused job has waited means nothing: the hint for a retry takes its place. */
    item->call.taken_ns = channel->now_ns - page_load_u64(&channel->map.lease->retry_ns);
    item_refuse(channel, item, VGPU_BUSY, CUDA_ERROR_SYSTEM_NOT_READY);
}

/* The guest's answer to a host function orders with nothing, and what is held waits for it. */
static void hear_host_function(struct channel *channel, const struct taken *taken)
{
    struct item *item = make_item(channel, taken);

    if (!item)
        return;
    if (taken->row->check(channel, &item->call, taken_record(taken), &item->in) < 0)
        item_free(channel, item);
    else
        item_finish(channel, item, taken->row->execute(channel, &item->call, &item->in, NULL));
}

/* True if the record was dealt with as it was taken. */
static bool dealt_with(struct channel *channel, struct taken *taken)
{
    bool is_explicit = taken_record(taken)->flags & VGPU_RECORD_EXPLICIT;

    taken->job = 0;
    if (taken->row->flags & CUDA_OPF_JOB) {
        enum admission admission = turn_admit(channel, is_explicit, &taken->job);

        if (admission == ADMIT || admission == ADMIT_LATER)
            return false;
        refuse(channel, taken, admission);
        return true;
    }
    if (taken->row->code == CUDA_OP_HOST_FUNCTION_DONE) {
        hear_host_function(channel, taken);
        return true;
    }
    return false;
}

/*
 * Wakes a guest that waits for room or credit. That costs a system call, and a guest that sleeps
 * has posted what keeps the worker busy for a while: not before it got a good part of either, or
 * there is nothing else to do.
 */
static void wake_guest(struct channel *channel, bool waits, bool idle)
{
    struct gain *gain = &channel->gain;

    if (waits && !idle && gain->granules < channel->submission.granules / WAKE_PART &&
        gain->credit < page_load_u32(&channel->map.lease->depth_max) / WAKE_PART)
        return;
    channel->replies.kick |= waits;
    *gain = (struct gain){0};
}

/* Gives the guest the room of all that was taken, and the credit of all that is done. */
static void give_back(struct channel *channel, bool idle)
{
    struct ring_consumer *ring = &channel->submission;
    struct gain *gain = &channel->gain;

    gain->granules += ring_unreleased(ring);
    gain->credit += turn_tell_credit(channel);
    ring_release(ring);
    if (gain->granules == 0 && gain->credit == 0)
        return;
    /* Full fence: pairs with ring_producer_want_kick; both are visible before waiting is read. */
    page_fence();
    wake_guest(channel, page_load_u32(&ring->state->producer.waiting), idle);
}

/* The clock, at most some records old; a record that somebody waits for is timed exactly. */
static uint64_t time_of(struct channel *channel, const struct vgpu_record *record)
{
    if ((record->flags & VGPU_RECORD_WAIT) || ++channel->untimed >= TIMED_RECORDS) {
        channel->untimed = 0;
        channel->now_ns = vgpu_clock_ns();
    }
    return channel->now_ns;
}

/* Takes the next record that has to be issued. False: there is none, or none may be read. */
static bool take(struct channel *channel, struct taken *taken)
{
    while (!channel->ended && !channel->stopping && turn_may_read(channel)) {
        size_t size = 0;
        uint32_t before = channel->submission.tail;
        int status = ring_take(&channel->submission, taken->bytes, sizeof(taken->bytes), &size);

        channel->stages.sum.granules += channel->submission.tail - before;
        if (ring_unreleased(&channel->submission) > channel->submission.granules / ROOM_PART)
            give_back(channel, false);
        if (status < 0)
            channel_end(channel, VGPU_BAD_RECORD, "record %llu: the ring is malformed",
                        (unsigned long long)channel->next_seq);
        if (status <= 0)
            return false;
        taken->row = check_head(channel, taken_record(taken), size);
        if (!taken->row)
            return false;
        taken->taken_ns = time_of(channel, taken_record(taken));
        if (!dealt_with(channel, taken))
            return true;
        stages_end(&channel->stages);
    }
    return false;
}

static uint64_t estimate_launch(const struct function *function)
{
    return function ? function->estimate_ns : 0;
}

static uint64_t estimate_bytes(const struct channel *channel, uint64_t bytes)
{
    return turn_copy_estimate(channel, bytes < WORKER_CHUNK_BYTES ? bytes : WORKER_CHUNK_BYTES);
}

/* Only a guess: the record is not checked yet. */
static uint64_t estimate_taken(const struct channel *channel, const struct taken *taken)
{
    const void *record = taken->bytes;

    switch (taken->row->code) {
    case CUDA_OP_LAUNCH: {
        const struct cuda_op_launch *op = record;

        return estimate_launch(handle_get(channel->handles, CUDA_KIND_FUNCTION, op->function));
    }
    case CUDA_OP_LAUNCH_EX: {
        const struct cuda_op_launch_ex *op = record;

        return estimate_launch(handle_get(channel->handles, CUDA_KIND_FUNCTION, op->function));
    }
    case CUDA_OP_GRAPH_LAUNCH: {
        const struct cuda_op_graph_launch *op = record;

        return graph_estimate(handle_get(channel->handles, CUDA_KIND_GRAPH, op->graph));
    }
    case CUDA_OP_COPY: {
        const struct cuda_op_copy *op = record;

        return estimate_bytes(channel, op->bytes);
    }
    default:
        return JOB_ESTIMATE_NS;
    }
}

static bool waits_for_written(const struct channel *channel, const struct cuda_op_row *row)
{
    return (row->code == CUDA_OP_COPY || row->code == CUDA_OP_COPY_3D) && written_full(channel);
}

static bool may_issue_taken(struct channel *channel, const struct taken *taken)
{
    if (channel->partial || hold_full(&channel->hold) || waits_for_written(channel, taken->row))
        return false;
    if (!taken->job)
        return true;
    if (taken->row->code == CUDA_OP_JOB_VECTOR_ADD && !vector_add_has_slot(channel))
        return false;
    return turn_allows(channel, estimate_taken(channel, taken), taken->job);
}

bool consumer_may_issue(struct channel *channel, const struct item *item)
{
    if (channel->partial || waits_for_written(channel, item->call.row))
        return false;
    if (!(item->call.row->flags & CUDA_OPF_JOB))
        return true;
    if (item->call.row->code == CUDA_OP_LAUNCH || item->call.row->code == CUDA_OP_LAUNCH_EX)
        return turn_allows(channel, estimate_launch(item->function), 0);
    if (item->call.row->code == CUDA_OP_GRAPH_LAUNCH)
        return turn_allows(channel, graph_estimate(item->graph), 0);
    return turn_allows(channel, JOB_ESTIMATE_NS, 0);
}

static void settle(struct channel *channel, struct item *item, CUresult result)
{
    if (result == CUDA_CALL_AGAIN)
        channel->partial = item;
    else if (result != CUDA_CALL_LATER)
        item_finish(channel, item, result);
}

static void execute(struct channel *channel, struct item *item)
{
    CUresult result = CUDA_SUCCESS;

    if (item->context && item->context->cu && item->context->cu != channel->entered)
        result = context_enter(channel, item->context);
    if (result == CUDA_SUCCESS)
        result = item->call.row->execute(channel, &item->call, &item->in, item->out);
    settle(channel, item, result);
}

void consumer_issue(struct channel *channel, struct item *item)
{
    /* One that was taken just now carries the time already. */
    if (item->call.taken_ns != channel->now_ns)
        channel->now_ns = vgpu_clock_ns();
    channel->progress_ns = channel->now_ns;
    item->call.issued_ns = channel->now_ns;
    if (item->counted)
        channel->turn.wait_ns += item->call.issued_ns - item->call.taken_ns;
    if (item->call.row->encode && !item->out && !item_make_out(channel, item)) {
        item_finish(channel, item, CUDA_ERROR_OUT_OF_MEMORY);
        return;
    }
    if (item->call.row->flags & CUDA_OPF_BESIDE)
        beside_start(channel, item);
    else
        execute(channel, item);
}

static bool is_query(const struct item *item)
{
    uint16_t code = item->call.row->code;

    return code == CUDA_OP_STREAM_QUERY || code == CUDA_OP_EVENT_QUERY ||
           code == CUDA_OP_EVENT_ELAPSED;
}

/* The record as an item, checked; NULL: it has been dealt with. */
static struct item *checked(struct channel *channel, const struct taken *taken)
{
    struct item *item = make_item(channel, taken);
    int status;

    if (!item)
        return NULL;
    status = taken->row->check(channel, &item->call, taken_record(taken), &item->in);
    stages_note(&channel->stages, &channel->stages.sum.check_ns);
    if (status == 0)
        return item;
    if (status < 0)
        item_free(channel, item);
    else
        item_finish(channel, item, (CUresult)status);
    return NULL;
}

static void issue_taken(struct channel *channel, const struct taken *taken)
{
    struct item *item = checked(channel, taken);

    if (!item)
        return;
    if (!hold_active(&channel->hold) || !hold_blocks(channel, item))
        consumer_issue(channel, item);
    else if (is_query(item))
        item_finish(channel, item, CUDA_ERROR_NOT_READY);
    else
        hold_push(channel, item);
}

static bool next_record(struct channel *channel)
{
    if (channel->current.row)
        return true;
    if (channel->backlog.count > 0) {
        backlog_pop(&channel->backlog, &channel->current);
        early_popped(channel, &channel->current);
    } else if (!take(channel, &channel->current)) {
        channel->current.row = NULL;
    }
    return channel->current.row != NULL;
}

/* What need not queue behind what is kept. */
static inline bool issue_early(struct channel *channel)
{
    static struct taken taken; /* the consumer is one thread */
    bool any = false, not_ready;

    while (channel->early.calls && !channel->ended && !hold_full(&channel->hold) &&
           early_next(channel, &taken, &not_ready)) {
        struct item *query = not_ready ? checked(channel, &taken) : NULL;

        if (query)
            item_finish(channel, query, CUDA_ERROR_NOT_READY);
        else if (!not_ready)
            issue_taken(channel, &taken);
        any = true;
    }
    return any;
}

/* The turn is elsewhere, or enough is in flight: records are taken, but kept. */
static bool read_ahead(struct channel *channel)
{
    static struct taken ahead; /* the consumer is one thread */
    bool any = false;

    while (backlog_has_room(&channel->backlog) && take(channel, &ahead)) {
        if (!early_take(channel, &ahead))
            backlog_push(&channel->backlog, &ahead);
        any = true;
    }
    return issue_early(channel) || any;
}

static bool continue_partial(struct channel *channel)
{
    struct item *item = channel->partial;
    uint64_t before;

    if (!item)
        return false;
    before = item->progress;
    channel->partial = NULL;
    channel->hold.dirty = true;
    execute(channel, item);
    return channel->partial != item || item->progress != before;
}

/* After so many records: is it time to look at what else there is? */
static bool round_is_over(const struct channel *channel, unsigned issued)
{
    if (issued % ROUND_RECORDS != 0)
        return false;
    return issued >= ROUND_RECORDS_MOST || channel->replies.waiting > 0 || channel->hold.gates ||
           channel->closing || channel->snapshot.recorded > 0 || channel->written.mirrored ||
           channel->turn.contended || turn_changed(channel);
}

static bool issue_records(struct channel *channel)
{
    bool any = continue_partial(channel);

    if (channel->hold.dirty && channel->hold.items)
        any |= hold_pump(channel);
    for (unsigned issued = 1; !channel->ended && !channel->stopping; issued++) {
        stages_begin(&channel->stages);
        if (!next_record(channel) || !may_issue_taken(channel, &channel->current)) {
            stages_cancel(&channel->stages);
            return (channel->current.row && read_ahead(channel)) || any;
        }
        stages_note(&channel->stages, &channel->stages.sum.take_ns);
        issue_taken(channel, &channel->current);
        stages_note(&channel->stages, &channel->stages.sum.issue_ns);
        stages_end(&channel->stages);
        early_issued(channel, &channel->current);
        channel->current.row = NULL;
        issue_early(channel);
        any = true;
        if (round_is_over(channel, issued))
            break;
    }
    return any;
}

static bool poll_event_waits(struct channel *channel)
{
    struct item **at = &channel->event_waits;
    bool any = false;

    while (*at) {
        struct item *item = *at;
        CUresult result = context_enter(channel, item->body->context);

        if (result == CUDA_SUCCESS)
            result = channel->cu->cuEventQuery(item->body->cu);
        if (result == CUDA_ERROR_NOT_READY) {
            at = &item->next;
            continue;
        }
        *at = item->next;
        event_body_unref(channel, item->body);
        print_flush(channel, item->context, NULL);
        pools_settle(channel);
        item_finish(channel, item, result);
        any = true;
    }
    return any;
}

static bool collect_helpers(struct channel *channel)
{
    struct item *item;
    bool any = false;

    while ((item = helper_collect(channel))) {
        beside_settle(channel, item);
        any = true;
    }
    return any;
}

/* All records up to this one were handed on, and their blobs copied. */
static void publish_issued(struct channel *channel)
{
    uint64_t issued = channel->next_seq - 1;

    if (channel->partial && channel->partial->call.seq <= issued)
        issued = channel->partial->call.seq - 1;
    else if (channel->current.row)
        issued = taken_record(&channel->current)->seq - 1;
    else if (channel->backlog.count > 0)
        issued = backlog_first_seq(&channel->backlog) - 1;
    if (issued <= channel->issued_told)
        return;
    channel->issued_told = issued;
    page_store_u64(&channel->map.page->notice.issued, issued);
}

/* Nothing new is taken; the channel ends when what was issued is done. */
static void stop(struct channel *channel)
{
    channel->stopping = true;
    if (channel->turn.units > 0 || channel->replies.queue)
        return;
    channel_end(channel, VGPU_OK, "stopped");
}

static uint64_t cover_ns(const struct channel *channel)
{
    return channel->turn.contended ? COVER_CONTENDED_NS : COVER_NS;
}

bool consumer_round(struct channel *channel)
{
    uint64_t first_seq = channel->next_seq;
    uint32_t left;
    bool any;

    channel->now_ns = vgpu_clock_ns();
    channel->untimed = 0;
    stages_round(&channel->stages, channel->now_ns, ring_waiting(&channel->submission));
    any = turn_load(channel);
    any |= collect_helpers(channel);
    any |= streams_poll(channel);
    any |= written_tell(channel);
    any |= poll_event_waits(channel);
    any |= quota_poll(channel);
    any |= beside_poll(channel);
    any |= replies_flush(channel);
    if (any)
        stages_found(&channel->stages, channel->now_ns);
    any |= issue_records(channel);
    any |= channel->next_seq != first_seq;
    if (any)
        channel->progress_ns = channel->now_ns;
    if (!any && channel->now_ns - channel->progress_ns >= cover_ns(channel))
        streams_cover(channel);
    if (!any && channel->turn.units == 0)
        pools_settle(channel);
    if (channel->turn.flags & VGPU_LEASE_STOP)
        stop(channel);
    publish_issued(channel);
    snapshot_tell_settled(channel);
    give_back(channel, !any);
    left = ring_waiting(&channel->submission);
    turn_publish(channel, left == 0 || !turn_may_read(channel));
    replies_kick(channel);
    stages_round_end(&channel->stages, left);
    if (channel->stages.changed)
        stages_tell(&channel->stages, channel->map.page);
    return any;
}

void consumer_run(struct channel *channel)
{
    /* What is current is known for one thread: this one. */
    channel->entered = NULL;
    while (!channel->ended)
        if (!consumer_round(channel) && !channel->ended)
            rest(channel);
    replies_flush(channel);
    channel_tell_end(channel);
}

static void release_list(struct channel *channel, struct item **list)
{
    while (*list) {
        struct item *item = *list;

        *list = item->next;
        if (item->body)
            event_body_unref(channel, item->body);
        item_free(channel, item);
    }
}

static void release_marks(struct channel *channel, struct stream *stream)
{
    for (struct mark *mark = stream->marks; mark; mark = mark->next) {
        while (mark->links) {
            struct wait_link *link = mark->links;

            mark->links = link->next;
            if (--link->wait->remaining == 0)
                item_free(channel, link->wait->item);
            free(link);
        }
    }
    while (stream->marks) {
        struct mark *mark = stream->marks;

        stream->marks = mark->next;
        free(mark);
    }
}

void channel_release_items(struct channel *channel)
{
    for (struct stream *stream = channel->active; stream; stream = stream->next_active)
        release_marks(channel, stream);
    channel->active = NULL;
    release_list(channel, &channel->event_waits);
    release_list(channel, &channel->closing);
    release_list(channel, &channel->quota.waits);
    release_list(channel, &channel->hold.items);
    if (channel->partial)
        item_free(channel, channel->partial);
    channel->partial = NULL;
}
