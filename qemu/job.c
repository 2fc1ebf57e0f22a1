/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job window: registers by which a guest without any driver gives one vector
 * addition, which goes to a worker by a channel of the device's own. Called by
 * vgpu_stub.c.
 *
 * The channel is opened at the first job and closed when none came for a while, or when a
 * job failed, so that the next one finds a sound context. Each job that is begun gets one
 * answer, from the worker or from the link. Registers only note what is wanted; the rest
 * runs from the bottom half, the timer, or the link's callbacks.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "job_ring.h"
#include "vgpu.h"

#define IDLE_CLOSE_MS 5000

struct VGPUJob {
    VGPUStub *device;
    VGPULink *link;
    QEMUBH *work;
    QEMUTimer *idle;

    /* Registers. */
    uint32_t op;
    uint32_t count;
    uint32_t a[VGPU_JOB_ELEMENTS];
    uint32_t b[VGPU_JOB_ELEMENTS];
    enum vgpu_job_state state;
    uint64_t retry_ns;
    VGPUJobAnswer answer; /* of the last job */

    /* The job that runs, as it was at GO. */
    uint32_t job_count;
    uint32_t job_a[VGPU_JOB_ELEMENTS];
    uint32_t job_b[VGPU_JOB_ELEMENTS];
    bool submitted;

    VGPULinkChannel *at_mediator; /* from the wish to open until we give it up */
    VGPUChannel *channel;         /* NULL until it is open */
    VGPUJobRing ring;
};

static void job_drop_channel(VGPUJob *job)
{
    VGPULinkChannel *at_mediator = job->at_mediator;

    timer_del(job->idle);
    if (job->channel) {
        qemu_set_fd_handler(job->channel->completion_kick, NULL, NULL, NULL);
        vgpu_channel_free(job->channel);
        job->channel = NULL;
    }
    job->at_mediator = NULL;
    if (at_mediator) {
        vgpu_link_close(at_mediator);
    }
}

static void job_finish(VGPUJob *job, const VGPUJobAnswer *answer, uint64_t retry_ns)
{
    job->answer = *answer;
    job->retry_ns = retry_ns;
    job->submitted = false;
    job->state = VGPU_JOB_DONE;
    vgpu_interrupt(job->device, VGPU_IRQ_JOB);
}

static void job_fail(VGPUJob *job, uint32_t status, uint64_t retry_ns)
{
    VGPUJobAnswer answer = {.status = status};

    job_finish(job, &answer, retry_ns);
}

/* A refusal says in wait_ns when to come again, and has not waited. */
static void job_answered(VGPUJob *job, VGPUJobAnswer *answer)
{
    bool refused = answer->status == VGPU_BUSY || answer->status == VGPU_STARTING ||
                   answer->status == VGPU_QUARANTINED;
    uint64_t retry_ns = 0;

    if (refused) {
        retry_ns = answer->wait_ns;
        answer->wait_ns = 0;
    }
    if (refused || answer->status == VGPU_OK) {
        timer_mod(job->idle, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + IDLE_CLOSE_MS);
    } else {
        job_drop_channel(job);
    }
    job_finish(job, answer, retry_ns);
}

static void job_kick(VGPUJob *job)
{
    vgpu_count(job->device, VGPU_COUNT_WORKER_KICKS, 1);
    vgpu_channel_kick(job->channel);
}

/* False once there is no more to do: it was answered, or the worker kicks when it has
 * something. */
static bool job_look(VGPUJob *job)
{
    VGPUJobAnswer answer;
    bool kick = false;
    VGPUJobTake take = vgpu_job_ring_take(&job->ring, &answer, &kick);

    if (kick) {
        job_kick(job);
    }
    switch (take) {
    case VGPU_JOB_AGAIN:
        return true;
    case VGPU_JOB_SLEEP:
        return false;
    case VGPU_JOB_ANSWER:
        job_answered(job, &answer);
        return false;
    case VGPU_JOB_NONSENSE:
        break;
    }
    job_drop_channel(job);
    job_fail(job, VGPU_BAD_RECORD, 0);
    return false;
}

static void job_submit(VGPUJob *job)
{
    bool kick = false;

    timer_del(job->idle);
    if (vgpu_job_ring_submit(&job->ring, job->job_count, job->job_a, job->job_b, &kick) <
        0) {
        job_drop_channel(job);
        job_fail(job, VGPU_INTERNAL, 0);
        return;
    }
    job->submitted = true;
    if (kick) {
        job_kick(job);
    }
    qemu_bh_schedule(job->work);
}

/* From the link */

static void job_kicked(void *opaque)
{
    VGPUJob *job = opaque;

    if (vgpu_channel_take_kick(job->channel)) {
        vgpu_count(job->device, VGPU_COUNT_WORKER_WAKES, 1);
        qemu_bh_schedule(job->work);
    }
}

static void job_opened(void *opaque, const struct vgpu_msg_opened *msg, int fds[3])
{
    VGPUJob *job = opaque;
    const char *why;

    job->channel = vgpu_channel_new(&msg->geometry, fds, &why);
    if (!job->channel) {
        job_drop_channel(job);
        job_fail(job, VGPU_INTERNAL, 0);
        return;
    }
    vgpu_job_ring_init(&job->ring, job->channel);
    qemu_set_fd_handler(job->channel->completion_kick, job_kicked, NULL, job);
    qemu_bh_schedule(job->work);
}

static void job_refused(void *opaque, uint32_t status, uint64_t retry_ns,
                        const char *text)
{
    VGPUJob *job = opaque;

    job->at_mediator = NULL;
    job_fail(job, status, retry_ns);
}

/* What the worker still answered counts; else the job ends as the worker did. */
static void job_gone(void *opaque, uint32_t status, const char *text)
{
    VGPUJob *job = opaque;

    if (job->submitted) {
        job_look(job);
    }
    job_drop_channel(job);
    if (job->state == VGPU_JOB_RUNNING) {
        job_fail(job, status == VGPU_OK ? VGPU_GONE : status, 0);
    }
}

static void job_closed(void *opaque)
{
}

static void job_open(VGPUJob *job)
{
    const VGPUOpen open = {
        .ask =
            {
                .sub_granules = VGPU_JOB_GRANULES,
                .comp_granules = VGPU_JOB_GRANULES,
                .data_bytes = VGPU_CHANNEL_PAGE_BYTES,
                .process = "job window",
            },
        .opened = job_opened,
        .refused = job_refused,
        .gone = job_gone,
        .closed = job_closed,
        .opaque = job,
    };

    job->at_mediator = vgpu_link_open(job->link, &open);
}

static void job_work(void *opaque)
{
    VGPUJob *job = opaque;

    if (job->state != VGPU_JOB_RUNNING) {
        return;
    }
    if (!job->at_mediator) {
        job_open(job);
    } else if (job->channel && !job->submitted) {
        job_submit(job);
    } else if (job->submitted && job_look(job)) {
        qemu_bh_schedule(job->work);
    }
}

static void job_idle(void *opaque)
{
    VGPUJob *job = opaque;

    if (job->state != VGPU_JOB_RUNNING) {
        job_drop_channel(job);
    }
}

/* Registers */

static void job_go(VGPUJob *job)
{
    if (job->state == VGPU_JOB_RUNNING) {
        return;
    }
    if (job->op != VGPU_JOB_VECTOR_ADD) {
        job_fail(job, VGPU_BAD_MESSAGE, 0);
        return;
    }
    if (job->count < 1 || job->count > VGPU_JOB_ELEMENTS) {
        job_fail(job, VGPU_LIMIT, 0);
        return;
    }
    job->job_count = job->count;
    memcpy(job->job_a, job->a, sizeof(job->job_a));
    memcpy(job->job_b, job->b, sizeof(job->job_b));
    job->state = VGPU_JOB_RUNNING;
    qemu_bh_schedule(job->work);
}

/* The word of an array of VGPU_JOB_ELEMENTS at `base`, NULL if the offset is not in it.
 */
static uint32_t *job_element(uint32_t *array, uint32_t base, uint32_t offset)
{
    if (offset < base || offset - base >= VGPU_JOB_ELEMENTS * 4) {
        return NULL;
    }
    return &array[(offset - base) / 4];
}

static uint32_t in_us(uint64_t ns)
{
    uint64_t us = ns / 1000 + (ns % 1000 != 0);

    return MIN(us, UINT32_MAX);
}

static uint32_t job_read_array(VGPUJob *job, uint32_t offset)
{
    const uint32_t *element = job_element(job->a, VGPU_REG_JOB_A, offset);

    if (!element) {
        element = job_element(job->b, VGPU_REG_JOB_B, offset);
    }
    if (!element) {
        element = job_element(job->answer.sum, VGPU_REG_JOB_SUM, offset);
    }
    return element ? *element : 0;
}

uint32_t vgpu_job_read(VGPUJob *job, uint32_t offset)
{
    switch (offset) {
    case VGPU_REG_JOB_OP:
        return job->op;
    case VGPU_REG_JOB_COUNT:
        return job->count;
    case VGPU_REG_JOB_STATE:
        return job->state;
    case VGPU_REG_JOB_STATUS:
        return job->answer.status;
    case VGPU_REG_JOB_RESULT:
        return job->answer.result;
    case VGPU_REG_JOB_RETRY_US:
        return in_us(job->retry_ns);
    case VGPU_REG_JOB_WAIT_US:
        return in_us(job->answer.wait_ns);
    case VGPU_REG_JOB_RUN_US:
        return in_us(job->answer.run_ns);
    default:
        return job_read_array(job, offset);
    }
}

void vgpu_job_write(VGPUJob *job, uint32_t offset, uint32_t value)
{
    uint32_t *element;

    switch (offset) {
    case VGPU_REG_JOB_OP:
        job->op = value;
        return;
    case VGPU_REG_JOB_COUNT:
        job->count = value;
        return;
    case VGPU_REG_JOB_GO:
        if (value == 1) {
            job_go(job);
        }
        return;
    }
    element = job_element(job->a, VGPU_REG_JOB_A, offset);
    if (!element) {
        element = job_element(job->b, VGPU_REG_JOB_B, offset);
    }
    if (element) {
        *element = value;
    }
}

void vgpu_job_reset(VGPUJob *job)
{
    qemu_bh_cancel(job->work);
    job_drop_channel(job);
    job->op = 0;
    job->count = 0;
    memset(job->a, 0, sizeof(job->a));
    memset(job->b, 0, sizeof(job->b));
    memset(&job->answer, 0, sizeof(job->answer));
    job->retry_ns = 0;
    job->submitted = false;
    job->state = VGPU_JOB_IDLE;
}

VGPUJob *vgpu_job_new(VGPUStub *s, VGPULink *link)
{
    VGPUJob *job = g_new0(VGPUJob, 1);

    job->device = s;
    job->link = link;
    job->work = qemu_bh_new(job_work, job);
    job->idle = timer_new_ms(QEMU_CLOCK_REALTIME, job_idle, job);
    return job;
}

void vgpu_job_free(VGPUJob *job)
{
    if (!job) {
        return;
    }
    vgpu_job_reset(job);
    qemu_bh_delete(job->work);
    timer_del(job->idle);
    timer_free(job->idle);
    g_free(job);
}
