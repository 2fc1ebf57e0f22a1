/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers JOBS AHEAD SOCKET: submits explicit jobs by the ring itself, without libvgpu, and keeps
 * the books: which job was answered, how, how often. At most AHEAD are unanswered at a time. It
 * ends after JOBS (0: no end), at SIGTERM once all are answered, or when the channel is ended, and
 * then prints one line of JSON; a mediator that goes away is met again. tests/e2e/test_faults.py
 * judges. A job's final answer is its completion; without one it is the end of the channel, told
 * with its reason.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carrier/local.h"
#include "carrier/mapping.h"
#include "common/clock.h"
#include "common/status.h"
#include "cuda/cuda_ops.h"
#include "ring/ring.h"

#define MAX_JOBS    16000000u
#define MAX_AHEAD   256u
#define COUNT       16u /* elements of a job */
#define PATIENCE_NS (120 * VGPU_NS_PER_S)
#define RESUME_NS   (20 * VGPU_NS_PER_S)
#define GONE_MS     5000 /* for the reason, after the worker has said the end */

struct job_record {
    struct cuda_op_job_vector_add op;
    uint32_t a[COUNT], b[COUNT];
};

struct books {
    uint32_t submitted, answered, right, failed, busy, refused;
    uint32_t wrong;   /* done, with another sum */
    uint32_t twice;   /* answered again */
    uint32_t unknown; /* answered and never submitted */
    int32_t result;   /* CUresult of the first that failed */
    uint16_t status;  /* likewise, or of the first that was refused */
    uint8_t answers[MAX_JOBS + 1];
};

static struct {
    const char *path;
    struct local_link link;
    struct channel_mapping map;
    struct ring_producer submission;
    struct ring_consumer completion;
    int fds[LOCAL_FDS];
    uint32_t channel;
    uint8_t token[VGPU_TOKEN_BYTES];
    bool gone, mute; /* ended with a reason; the end of the connection came instead */
    uint32_t gone_status;
    char gone_text[512];
} at = {.link = {.sock = -1}};

static struct books books;
static volatile sig_atomic_t stopping;

static void on_term(int number)
{
    (void)number;
    stopping = 1;
}

static void kick(void)
{
    const uint64_t one = 1;
    ssize_t n = write(at.fds[LOCAL_FD_SUBMIT], &one, sizeof(one));

    (void)n;
}

static void take_message(void *context, const union message *message)
{
    (void)context;
    if (message->head.type != VGPU_MSG_GONE || message->gone.channel != at.channel)
        return;
    at.gone = true;
    at.gone_status = message->gone.status;
    snprintf(at.gone_text, sizeof(at.gone_text), "%.*s", VGPU_STATUS_TEXT_BYTES - 1,
             message->gone.text);
}

static bool open_channel(void)
{
    struct local_refusal refusal = {.status = 0};
    struct vgpu_msg_open ask = {.process = "answers", .data_bytes = 1 << 20};
    struct vgpu_msg_welcome welcome;
    struct vgpu_msg_opened opened;
    struct vgpu_err err = {.text = ""};

    at.link.unasked = take_message;
    if (local_connect(&at.link, at.path, &welcome, &refusal) < 0 ||
        local_open(&at.link, &ask, &opened, at.fds, &refusal) < 0) {
        printf("{\"opened\": false, \"status\": %u, \"text\": \"%s\"}\n", refusal.status,
               refusal.text);
        return false;
    }
    at.channel = opened.channel;
    memcpy(at.token, opened.token, sizeof(at.token));
    if (channel_mapping_init(&at.map, at.fds[LOCAL_FD_MEMORY], &opened.geometry, &err) < 0) {
        fprintf(stderr, "map: %s\n", err.text);
        exit(1);
    }
    ring_producer_init(&at.submission, &at.map.page->submission, at.map.submission,
                       opened.geometry.sub_granules, 0);
    ring_consumer_init(&at.completion, &at.map.page->completion, at.map.completion,
                       opened.geometry.comp_granules, 0);
    return true;
}

/* The mediator is gone: the channel is taken to the next one. */
static void resume(void)
{
    uint64_t deadline = vgpu_clock_ns() + RESUME_NS;
    struct local_refusal refusal = {.status = 0};
    struct vgpu_msg_welcome welcome;

    while (vgpu_clock_ns() < deadline) {
        local_release(&at.link);
        if (local_connect(&at.link, at.path, &welcome, &refusal) == 0 &&
            local_resume(&at.link, at.channel, at.token, &refusal) == 0)
            return;
        if (!vgpu_status_retryable(refusal.status)) {
            at.gone = true;
            at.gone_status = refusal.status;
            snprintf(at.gone_text, sizeof(at.gone_text), "%s", refusal.text);
            return;
        }
        poll(NULL, 0, 10); /* until it listens again */
    }
    at.gone = at.mute = true;
}

static uint32_t value(uint64_t seq, uint32_t i)
{
    return (uint32_t)seq * 2654435761u + i;
}

/* False if the ring has no room. */
static bool submit(void)
{
    uint64_t seq = books.submitted + 1;
    struct job_record record;
    void *entry;

    memset(&record, 0, sizeof(record));
    record.op.head = (struct vgpu_record){.size_bytes = sizeof(record),
                                          .op = CUDA_OP_JOB_VECTOR_ADD,
                                          .flags = VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT,
                                          .seq = seq,
                                          .thread = 1};
    record.op.count = COUNT;
    record.op.a = (struct vgpu_blob){offsetof(struct job_record, a), sizeof(record.a), 0};
    record.op.b = (struct vgpu_blob){offsetof(struct job_record, b), sizeof(record.b), 0};
    for (uint32_t i = 0; i < COUNT; i++) {
        record.a[i] = value(seq, i);
        record.b[i] = ~value(seq, 3 * i);
    }
    if (ring_reserve(&at.submission, sizeof(record), &entry) < 0)
        return false;
    memcpy(entry, &record, sizeof(record));
    books.submitted++;
    if (ring_publish(&at.submission))
        kick();
    return true;
}

static bool is_right(const uint8_t *bytes, size_t size, uint64_t seq)
{
    struct cuda_re_job_vector_add answer;
    uint32_t sum[COUNT];

    if (size < sizeof(answer))
        return false;
    memcpy(&answer, bytes, sizeof(answer));
    if (answer.sum.size_bytes != sizeof(sum) || answer.sum.offset > size ||
        size - answer.sum.offset < sizeof(sum))
        return false;
    memcpy(sum, bytes + answer.sum.offset, sizeof(sum));
    for (uint32_t i = 0; i < COUNT; i++) {
        if (sum[i] != value(seq, i) + ~value(seq, 3 * i))
            return false;
    }
    return true;
}

static void enter(const uint8_t *bytes, size_t size)
{
    struct vgpu_completion head;

    memcpy(&head, bytes, sizeof(head));
    if (head.kind != VGPU_COMPLETION_REPLY)
        return;
    if (head.seq == 0 || head.seq > books.submitted) {
        books.unknown++;
        return;
    }
    if (books.answers[head.seq]++ > 0) {
        books.twice++;
        return;
    }
    books.answered++;
    if (head.status == VGPU_OK && head.result == 0) {
        bool right = is_right(bytes, size, head.seq);

        books.right += right;
        books.wrong += !right;
        return;
    }
    if (books.status == 0) {
        books.status = head.status;
        books.result = head.result;
    }
    books.busy += head.status == VGPU_BUSY;
    books.failed += head.status == VGPU_FAILED;
    books.refused += head.status != VGPU_BUSY && head.status != VGPU_FAILED;
}

static void take_answers(void)
{
    static _Alignas(8) uint8_t bytes[65536];
    bool wants_kick = false;
    size_t size;
    int status;

    while ((status = ring_consume(&at.completion, bytes, sizeof(bytes), &size, &wants_kick)) > 0) {
        enter(bytes, size);
        if (wants_kick)
            kick();
    }
    if (status < 0) {
        fprintf(stderr, "the completion ring is nonsense\n");
        exit(1);
    }
}

static void listen_for(int timeout_ms)
{
    struct pollfd events[] = {{.fd = at.fds[LOCAL_FD_COMPLETE], .events = POLLIN},
                              {.fd = at.link.sock, .events = POLLIN}};
    union message message;
    uint64_t counter;
    ssize_t n = 0;

    if (poll(events, 2, timeout_ms) <= 0)
        return;
    if (events[0].revents)
        n = read(at.fds[LOCAL_FD_COMPLETE], &counter, sizeof(counter));
    (void)n;
    if (!events[1].revents)
        return;
    if (local_receive(&at.link, &message) == 0)
        take_message(NULL, &message);
    else
        resume();
}

static bool ended_by_worker(void)
{
    return __atomic_load_n(&at.map.page->notice.state, __ATOMIC_ACQUIRE) == VGPU_CHANNEL_ENDED;
}

static void rest(void)
{
    if (ring_consumer_arm(&at.completion) && !ended_by_worker())
        listen_for(100);
    ring_consumer_disarm(&at.completion);
}

static void work(uint32_t jobs, uint32_t ahead)
{
    uint64_t deadline = vgpu_clock_ns() + PATIENCE_NS;

    while (!at.gone && !ended_by_worker()) {
        bool more = !stopping && books.submitted < (jobs ? jobs : MAX_JOBS);

        while (more && books.submitted - books.answered < ahead &&
               books.submitted < (jobs ? jobs : MAX_JOBS) && submit())
            continue;
        take_answers();
        listen_for(0); /* so that the mediator's words are not put off by a busy ring */
        if (!more && books.answered == books.submitted)
            return;
        if (books.submitted - books.answered == ahead || !more)
            rest();
        if (vgpu_clock_ns() > deadline) {
            fprintf(stderr, "no answer for too long\n");
            return;
        }
    }
}

/* Why the channel ended, if it did; then nothing can come any more. */
static void learn_the_end(void)
{
    uint64_t deadline = vgpu_clock_ns() + GONE_MS * VGPU_NS_PER_MS;

    while (!at.gone && ended_by_worker() && vgpu_clock_ns() < deadline)
        listen_for(10);
    take_answers();
}

static void print_books(void)
{
    printf("{\"opened\": true, \"submitted\": %u, \"answered\": %u, \"right\": %u, "
           "\"failed\": %u, \"busy\": %u, \"refused\": %u, \"wrong\": %u, \"twice\": %u, "
           "\"unknown\": %u, \"status\": %u, \"result\": %d, \"gone\": %s, \"mute\": %s, "
           "\"gone_status\": %u, \"gone_text\": \"%s\"}\n",
           books.submitted, books.answered, books.right, books.failed, books.busy, books.refused,
           books.wrong, books.twice, books.unknown, books.status, books.result,
           at.gone ? "true" : "false", at.mute ? "true" : "false", at.gone_status, at.gone_text);
}

int main(int argc, char **argv)
{
    unsigned long jobs = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long ahead = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;

    if (jobs > MAX_JOBS || ahead == 0 || ahead > MAX_AHEAD) {
        fprintf(stderr, "usage: answers JOBS AHEAD SOCKET\n");
        return 2;
    }
    at.path = argv[3];
    signal(SIGTERM, on_term);
    if (!open_channel())
        return 0;
    work((uint32_t)jobs, (uint32_t)ahead);
    learn_the_end();
    if (!at.gone)
        local_close(&at.link, at.channel, 5000);
    print_books();
    local_release(&at.link);
    return 0;
}
