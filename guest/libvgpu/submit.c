/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way in: implements cuda/sender.h. One lock orders all submissions; a job first waits, outside
 * of that lock, until the worker's credit covers it, so that records which open the way (an event,
 * a host function that is done) are never stuck behind it.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/flag.h"
#include "cuda/sender.h"
#include "guest/libvgpu/callback.h"
#include "guest/libvgpu/data.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/thread.h"
#include "ring/pages.h"

/* Blobs up to this go into the record; larger ones into the data area. */
#define INLINE_MAX_BYTES 8192u

/*
 * Credit also grows with the mediator's clock, and a worker need not notice that at once: how often
 * to look without a kick.
 */
#define CREDIT_LOOK_NS (5 * VGPU_NS_PER_MS)

int sender_init(struct sender *sender, const struct channel_mapping *map, int submit_kick,
                int completion_kick)
{
    const struct vgpu_channel_geometry *g = &map->geometry;
    int status;

    memset(sender, 0, sizeof(*sender));
    sender->own_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sender->own_kick < 0)
        return -errno;
    sender->map = *map;
    sender->submit_kick = submit_kick;
    sender->device = -1;
    sender->completion_kick = completion_kick;
    sender->spins = sender->may_spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    ring_producer_init(&sender->submission, &map->page->submission, map->submission,
                       g->sub_granules, 0);
    ring_consumer_init(&sender->completion, &map->page->completion, map->completion,
                       g->comp_granules, 0);
    status = data_init(sender);
    if (status < 0) {
        close(sender->own_kick);
        return status;
    }
    pthread_mutex_init(&sender->submit_lock, NULL);
    pthread_mutex_init(&sender->wait_lock, NULL);
    return 0;
}

int sender_init_device(struct sender *sender, const struct channel_mapping *map, int device,
                       uint32_t *doorbell)
{
    int status = sender_init(sender, map, -1, device);

    if (status < 0)
        return status;
    sender->device = device;
    sender->doorbell = doorbell;
    return 0;
}

void sender_release(struct sender *sender)
{
    data_release(sender);
    mirror_release(sender);
    pthread_mutex_destroy(&sender->submit_lock);
    pthread_mutex_destroy(&sender->wait_lock);
    channel_mapping_release(&sender->map);
    close(sender->own_kick);
    if (sender->submit_kick >= 0)
        close(sender->submit_kick);
    close(sender->completion_kick);
}

void sender_kick(struct sender *sender)
{
    uint64_t one = 1;
    ssize_t n;

    if (sender->doorbell) {
        /* Behind what it tells of. */
        page_store_u32(sender->doorbell, 1);
        return;
    }
    n = write(sender->submit_kick >= 0 ? sender->submit_kick : sender->device, &one, sizeof(one));
    (void)n; /* a full counter wakes as well */
}

static uint32_t pad8(uint32_t bytes)
{
    return (bytes + 7u) & ~7u;
}

static void drop_blobs(struct sender *sender, struct guest_thread *thread)
{
    for (uint32_t i = 0; i < thread->n_blobs; i++)
        data_give(sender, thread->blobs[i].offset, thread->blobs[i].bytes);
    thread->n_blobs = 0;
}

CUresult sender_begin(struct sender *sender, struct sender_wait *wait, uint16_t op, uint16_t flags,
                      uint32_t fixed_bytes)
{
    struct guest_thread *thread = thread_self();

    if (!thread)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!sender)
        return CUDA_ERROR_NOT_INITIALIZED;
    memset(wait, 0, sizeof(*wait));
    wait->sender = sender;
    wait->op = op;
    wait->flags = flags;
    wait->fixed_bytes = fixed_bytes;
    wait->private_state = thread;
    wait->began_ns = stages_begin(&thread->untimed);
    thread->n_blobs = 0;
    return CUDA_SUCCESS;
}

static CUresult place_in_data(struct sender_wait *wait, struct guest_thread *thread,
                              const void *data, uint32_t bytes)
{
    uint64_t offset;
    CUresult result = data_take(wait->sender, bytes, &offset);

    if (result != CUDA_SUCCESS) {
        drop_blobs(wait->sender, thread);
        thread->deferred = NULL;
        return result;
    }
    memcpy(wait->sender->map.data + offset, data, bytes);
    mirror_upload(wait->sender, offset, bytes);
    thread->blobs[thread->n_blobs++] = (struct vgpu_slice){.offset = offset, .bytes = bytes};
    wait->placed[wait->n_blobs++] =
        (struct vgpu_blob){.offset = offset, .size_bytes = bytes, .place = VGPU_BLOB_DATA};
    return CUDA_SUCCESS;
}

CUresult sender_blob(struct sender_wait *wait, const void *data, uint32_t bytes)
{
    size_t most = ring_entry_max(wait->sender->submission.granules);
    uint32_t before = wait->fixed_bytes + wait->inline_bytes;

    if (most > INLINE_MAX_BYTES)
        most = INLINE_MAX_BYTES;
    if (bytes > most || before + pad8(bytes) > most)
        return place_in_data(wait, wait->private_state, data, bytes);
    wait->data[wait->n_blobs] = data;
    wait->placed[wait->n_blobs++] =
        (struct vgpu_blob){.offset = before, .size_bytes = bytes, .place = VGPU_BLOB_INLINE};
    wait->inline_bytes += pad8(bytes);
    return CUDA_SUCCESS;
}

/* A job that may be posted waits for credit; an explicit one is answered BUSY instead. */
static bool needs_credit(const struct sender_wait *wait)
{
    return (wait->flags & SENDER_JOB) && !(wait->flags & VGPU_RECORD_EXPLICIT);
}

static bool may_submit(const struct sender_wait *wait)
{
    struct sender *sender = wait->sender;

    if (needs_credit(wait) && sender->jobs_sent >= page_load_u64(&sender->map.page->notice.credit))
        return false;
    return !(wait->flags & VGPU_RECORD_WAIT) || receive_may_open(sender);
}

/*
 * Tries to reserve, with submit_lock held on return of CUDA_SUCCESS only. CUDA_ERROR_NOT_READY: no
 * credit or no room yet.
 */
static CUresult try_reserve(struct sender_wait *wait, uint32_t bytes)
{
    struct sender *sender = wait->sender;
    void *record = NULL;
    int status = -EAGAIN;

    pthread_mutex_lock(&sender->submit_lock);
    if (vgpu_flag_get(&sender->gone)) {
        pthread_mutex_unlock(&sender->submit_lock);
        return sender->gone_result;
    }
    if (may_submit(wait))
        status = ring_reserve(&sender->submission, bytes, &record);
    if (status == 0) {
        wait->record = record;
        return CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&sender->submit_lock);
    if (status == -EAGAIN)
        return CUDA_ERROR_NOT_READY;
    return status == -EMSGSIZE ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_UNKNOWN;
}

/* Asks for a kick on room or credit; with submit_lock held. */
static void want_kick_locked(struct sender *sender)
{
    sender->room_waiters++;
    ring_producer_want_kick(&sender->submission);
}

static void need_no_kick_locked(struct sender *sender)
{
    if (--sender->room_waiters == 0)
        ring_producer_disarm(&sender->submission);
}

/* As try_reserve, but waits for room and credit. */
static CUresult reserve_waiting(struct sender_wait *wait, uint32_t bytes)
{
    struct sender *sender = wait->sender;
    CUresult result = try_reserve(wait, bytes);
    uint64_t began_ns;

    if (result != CUDA_ERROR_NOT_READY)
        return result;
    began_ns = vgpu_clock_ns();
    pthread_mutex_lock(&sender->submit_lock);
    want_kick_locked(sender);
    pthread_mutex_unlock(&sender->submit_lock);
    for (;;) {
        uint64_t seen = receive_progress(sender);

        result = try_reserve(wait, bytes);
        if (result != CUDA_ERROR_NOT_READY)
            break;
        receive_await_progress(sender, seen, CREDIT_LOOK_NS);
    }
    if (result != CUDA_SUCCESS)
        pthread_mutex_lock(&sender->submit_lock);
    need_no_kick_locked(sender);
    if (result != CUDA_SUCCESS)
        pthread_mutex_unlock(&sender->submit_lock);
    wait->waited_ns = vgpu_clock_ns() - began_ns;
    return result;
}

static void fill_record(struct sender_wait *wait, struct guest_thread *thread, uint32_t bytes)
{
    struct vgpu_record *head = (struct vgpu_record *)(void *)wait->record;

    memset(wait->record, 0, bytes);
    head->size_bytes = bytes;
    head->op = wait->op;
    head->flags = wait->flags & VGPU_RECORD_FLAGS;
    head->seq = wait->seq;
    head->thread = thread->number;
    head->context = thread->context_override ? thread->context_override : thread_context(thread);
    for (uint32_t i = 0; i < wait->n_blobs; i++)
        if (wait->placed[i].place == VGPU_BLOB_INLINE && wait->placed[i].size_bytes > 0)
            memcpy(wait->record + wait->placed[i].offset, wait->data[i],
                   wait->placed[i].size_bytes);
}

CUresult sender_reserve(struct sender_wait *wait, void **ret_record)
{
    struct guest_thread *thread = wait->private_state;
    uint32_t bytes = wait->fixed_bytes + wait->inline_bytes;
    CUresult result;

    thread_number(thread);
    result = reserve_waiting(wait, bytes);
    if (result != CUDA_SUCCESS) {
        drop_blobs(wait->sender, thread);
        thread->deferred = NULL;
        return result;
    }
    wait->seq = wait->sender->last_seq + 1;
    fill_record(wait, thread, bytes);
    *ret_record = wait->record;
    return CUDA_SUCCESS;
}

const struct vgpu_blob *sender_placed(const struct sender_wait *wait, uint32_t index)
{
    return &wait->placed[index];
}

/* Publishes and gives submit_lock back. */
static void publish(struct sender_wait *wait)
{
    struct sender *sender = wait->sender;
    bool wake;

    sender->last_seq = wait->seq;
    ((struct guest_thread *)wait->private_state)->last_seq = wait->seq;
    /* Release: pairs with the acquire of a query, which is behind this call. */
    if (!(wait->flags & SENDER_QUERY))
        page_store_u64(&sender->work_seq, wait->seq);
    if (wait->flags & SENDER_JOB)
        sender->jobs_sent++;
    stages_end(&sender->stages, wait->began_ns, wait->waited_ns);
    wake = sender->mirror ? ring_publish(&sender->submission)
                          : ring_publish_kick_once(&sender->submission);
    pthread_mutex_unlock(&sender->submit_lock);
    if (wake)
        sender_kick(sender);
}

static CUresult commit_posted(struct sender_wait *wait, struct guest_thread *thread)
{
    publish(wait);
    for (uint32_t i = 0; i < thread->n_blobs; i++)
        data_give_when_issued(wait->sender, wait->seq, thread->blobs[i].offset,
                              thread->blobs[i].bytes);
    thread->n_blobs = 0;
    return CUDA_SUCCESS;
}

static CUresult commit_deferred(struct sender_wait *wait, struct guest_thread *thread)
{
    struct ticket *ticket = thread->deferred;

    thread->deferred = NULL;
    receive_open(wait->sender, ticket, wait->seq, NULL, ticket->posted);
    publish(wait);
    return CUDA_SUCCESS;
}

CUresult sender_commit(struct sender_wait *wait)
{
    struct guest_thread *thread = wait->private_state;
    CUresult result;

    if (!(wait->flags & VGPU_RECORD_WAIT))
        return commit_posted(wait, thread);
    if (thread->deferred)
        return commit_deferred(wait, thread);
    receive_open(wait->sender, &thread->ticket, wait->seq, thread->answer, false);
    publish(wait);
    receive_await(wait->sender, &thread->ticket, wait->op);
    wait->answer = thread->answer;
    wait->answer_bytes = thread->ticket.answer_bytes;
    result = thread->ticket.result;
    if (result == CUDA_SUCCESS && (wait->flags & SENDER_REPORT))
        result = receive_late_error(wait->sender);
    return result;
}

bool sender_answer_blob(const struct sender_wait *wait, const struct vgpu_blob *blob, void *target,
                        uint32_t most, uint32_t *ret_bytes)
{
    if (blob->size_bytes == 0) {
        *ret_bytes = 0;
        return true;
    }
    if (blob->place != VGPU_BLOB_INLINE || blob->size_bytes > most ||
        blob->offset > wait->answer_bytes || blob->size_bytes > wait->answer_bytes - blob->offset)
        return false;
    memcpy(target, wait->answer + blob->offset, blob->size_bytes);
    *ret_bytes = blob->size_bytes;
    return true;
}

void sender_end(struct sender_wait *wait)
{
    drop_blobs(wait->sender, wait->private_state);
}
