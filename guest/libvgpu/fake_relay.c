/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/fake_relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/flag.h"
#include "guest/libvgpu/fake_host.h"
#include "ring/pages.h"

#define PAGE_BYTES 4096u

/* A doorbell is a store, which wakes nobody: how soon it is noticed. */
#define DOORBELL_LOOK_NS 50000

/* The one that the driver's file leads to. */
static struct fake_relay *current;

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fake relay: %s\n", what);
    abort();
}

static void kick(int fd)
{
    uint64_t one = 1;

    check(write(fd, &one, sizeof(one)) == sizeof(one), "kick");
}

static uint8_t *worker_data(const struct fake_relay *relay)
{
    return relay->host->base + relay->geometry.data_offset;
}

static void copy_row(struct fake_relay *relay, uint64_t offset, uint64_t bytes, bool to_worker)
{
    uint8_t *here = relay->base + relay->geometry.data_offset + offset;
    uint8_t *there = worker_data(relay) + offset;

    check(bytes <= relay->geometry.data_bytes && offset <= relay->geometry.data_bytes - bytes,
          "a transfer beyond the data area");
    for (uint64_t page = offset / PAGE_BYTES; page <= (offset + bytes - 1) / PAGE_BYTES; page++)
        check(vgpu_flag_get(&relay->populated[page]),
              "a transfer of memory that was not asked for");
    if (to_worker)
        memcpy(there, here, bytes);
    else
        memcpy(here, there, bytes);
}

static void upload(struct fake_relay *relay)
{
    struct vgpu_transfer_page *page = relay->transfers;
    uint32_t head = page_load_u32(&page->head);

    check(head - relay->transfer_tail <= VGPU_TRANSFERS, "more transfers than there is room for");
    while (relay->transfer_tail != head) {
        struct vgpu_transfer transfer = page->transfer[relay->transfer_tail % VGPU_TRANSFERS];

        check(transfer.rows > 0 && transfer.row_bytes > 0 && transfer.reserved == 0,
              "a transfer of nothing");
        for (uint32_t y = 0; y < transfer.rows; y++)
            copy_row(relay, transfer.offset + y * transfer.pitch_bytes, transfer.row_bytes, true);
        page_store_u32(&page->tail, ++relay->transfer_tail);
    }
}

static void download(struct fake_relay *relay, const struct vgpu_completion *completion)
{
    struct vgpu_written written;

    check(completion->size_bytes == sizeof(*completion) + sizeof(written), "a wrong WRITTEN");
    memcpy(&written, completion + 1, sizeof(written));
    for (uint32_t z = 0; z < written.slices; z++)
        for (uint32_t y = 0; y < written.rows; y++)
            copy_row(relay,
                     written.offset + z * written.slice_pitch_bytes + y * written.pitch_bytes,
                     written.row_bytes, false);
}

static void copy_granules(uint8_t *target, const uint8_t *source, uint64_t ring, uint32_t granules,
                          uint32_t from, uint32_t to)
{
    for (; from != to; from++) {
        uint64_t at = ring + (uint64_t)(from & (granules - 1)) * VGPU_GRANULE_BYTES;

        memcpy(target + at, source + at, VGPU_GRANULE_BYTES);
    }
}

/* Records and what belongs to them. The head is read before the transfers: as the device does. */
static void serve_worker(struct fake_relay *relay)
{
    const struct vgpu_channel_geometry *g = &relay->geometry;
    struct vgpu_channel_page *here = relay->page, *there = relay->host->page;
    uint32_t head = page_load_u32(&here->submission.producer.head);

    check(head - relay->sub_copied <= g->sub_granules, "the submission ring's index is nonsense");
    upload(relay);
    copy_granules(relay->host->base, relay->base, g->sub_offset, g->sub_granules, relay->sub_copied,
                  head);
    relay->sub_copied = head;
    page_store_u32(&there->submission.producer.waiting,
                   page_load_u32(&here->submission.producer.waiting));
    page_store_u32(&there->submission.producer.head, head);
    page_fence();
    if (page_load_u32(&there->submission.consumer.parked))
        kick(relay->host->submit_kick);
}

static void mirror_notice(struct fake_relay *relay)
{
    struct vgpu_channel_notice *here = &relay->page->notice, *there = &relay->host->page->notice;

    if (page_load_u64(&here->issued) != page_load_u64(&there->issued) ||
        page_load_u64(&here->credit) != page_load_u64(&there->credit))
        relay->room_moved = true;
    page_store_u64(&here->issued, page_load_u64(&there->issued));
    page_store_u64(&here->credit, page_load_u64(&there->credit));
    page_store_u32(&here->poisoned, page_load_u32(&there->poisoned));
    page_store_u32(&here->state, page_load_u32(&there->state));
}

/* False: the worker's ring is nonsense. */
static bool serve_guest(struct fake_relay *relay)
{
    const struct vgpu_channel_geometry *g = &relay->geometry;
    struct vgpu_channel_page *here = relay->page, *there = relay->host->page;
    uint32_t head = page_load_u32(&there->completion.producer.head);
    uint32_t from = relay->comp_copied;

    if (head - from > g->comp_granules)
        return false;
    while (relay->comp_copied != head) {
        const struct vgpu_completion *completion =
            (const void *)(relay->host->base + g->comp_offset +
                           (uint64_t)(relay->comp_copied & (g->comp_granules - 1)) *
                               VGPU_GRANULE_BYTES);

        if (completion->kind == VGPU_COMPLETION_WRITTEN)
            download(relay, completion);
        relay->comp_copied +=
            (completion->size_bytes + VGPU_GRANULE_BYTES - 1) / VGPU_GRANULE_BYTES;
    }
    copy_granules(relay->base, relay->host->base, g->comp_offset, g->comp_granules, from, head);
    relay->news_moved = head != from;
    relay->room_moved = page_load_u32(&here->submission.consumer.tail) !=
                        page_load_u32(&there->submission.consumer.tail);
    page_store_u32(&here->submission.consumer.tail,
                   page_load_u32(&there->submission.consumer.tail));
    mirror_notice(relay);
    page_store_u32(&here->completion.producer.head, head);
    page_store_u32(&there->completion.consumer.tail,
                   page_load_u32(&here->completion.consumer.tail));
    return true;
}

/* Behind the fence: only who sleeps for what came is woken. */
static void tell_guest(struct fake_relay *relay)
{
    struct vgpu_channel_page *here = relay->page;

    if ((relay->news_moved && page_load_u32(&here->completion.consumer.parked)) ||
        (relay->room_moved && page_load_u32(&here->submission.producer.waiting)))
        kick(relay->interrupt);
}

/* The guest rings when it has made room that the worker may lack. */
static void arm(struct fake_relay *relay, uint32_t parked)
{
    uint32_t granules = relay->geometry.comp_granules;
    uint32_t most = 2 * (uint32_t)(ring_entry_max(granules) / VGPU_GRANULE_BYTES) - 1;
    uint32_t used = relay->comp_copied - page_load_u32(&relay->page->completion.consumer.tail);

    page_store_u32(&relay->page->completion.producer.waiting, used > granules - most);
    page_store_u32(&relay->page->submission.consumer.parked, parked);
    page_store_u32(&relay->host->page->completion.consumer.parked, parked);
}

static bool more(const struct fake_relay *relay)
{
    return page_load_u32(&relay->page->submission.producer.head) != relay->sub_copied ||
           page_load_u32(&relay->transfers->head) != relay->transfer_tail ||
           page_load_u32(&relay->page->completion.consumer.tail) !=
               page_load_u32(&relay->host->page->completion.consumer.tail) ||
           page_load_u32(&relay->host->page->completion.producer.head) != relay->comp_copied;
}

static void turns(struct fake_relay *relay)
{
    do {
        arm(relay, 0);
        serve_worker(relay);
        if (!serve_guest(relay)) {
            fake_relay_gone(relay, VGPU_BAD_RECORD, "the worker's ring is nonsense");
            return;
        }
        arm(relay, 1);
        page_fence();
        tell_guest(relay);
    } while (more(relay));
    __atomic_add_fetch(&relay->turns, 1, __ATOMIC_SEQ_CST);
}

/* Of a window: who sleeps is woken, and nothing is copied. */
static void pass_on(struct fake_relay *relay)
{
    if (relay->rung)
        kick(relay->host->submit_kick);
    if (relay->woken)
        kick(relay->interrupt);
    __atomic_add_fetch(&relay->turns, 1, __ATOMIC_SEQ_CST);
}

/* Sleeps until somebody wants a turn. */
static void await_wish(struct fake_relay *relay)
{
    const struct timespec look = {.tv_nsec = DOORBELL_LOOK_NS};
    struct pollfd event = {.fd = relay->host->completion_kick, .events = POLLIN};

    while (!vgpu_flag_get(&relay->stopping)) {
        uint64_t count;

        relay->rung = __atomic_exchange_n(relay->doorbell, 0, __ATOMIC_ACQ_REL) != 0;
        if (relay->rung)
            __atomic_add_fetch(&relay->rings, 1, __ATOMIC_SEQ_CST);
        vgpu_flag_set(&relay->is_paused, vgpu_flag_get(&relay->paused));
        if (vgpu_flag_get(&relay->is_paused)) {
            nanosleep(&look, NULL);
            continue;
        }
        relay->woken = read(event.fd, &count, sizeof(count)) == sizeof(count);
        if (relay->rung || relay->woken)
            return;
        ppoll(&event, 1, &look, NULL);
    }
}

static void *relay_main(void *argument)
{
    struct fake_relay *relay = argument;

    while (!vgpu_flag_get(&relay->stopping)) {
        if (relay->window)
            pass_on(relay);
        else if (!vgpu_flag_get(&relay->ended))
            turns(relay);
        await_wish(relay);
    }
    return NULL;
}

static void make_memory(struct fake_relay *relay)
{
    uint64_t total = relay->geometry.total_bytes, bytes;

    relay->doorbell_at = relay->window ? 0 : total + PAGE_BYTES;
    bytes = relay->doorbell_at + PAGE_BYTES;
    relay->memory = memfd_create("fake guest", MFD_CLOEXEC);
    check(ftruncate(relay->memory, (off_t)bytes) == 0, "ftruncate");
    relay->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, relay->memory, 0);
    check(relay->base != MAP_FAILED, "mmap");
    relay->doorbell = (uint32_t *)(void *)(relay->base + relay->doorbell_at);
    relay->page = relay->host->page;
    if (relay->window)
        return;
    relay->page = (struct vgpu_channel_page *)(void *)relay->base;
    *relay->page = *relay->host->page;
    relay->transfers = (struct vgpu_transfer_page *)(void *)(relay->base + total);
    relay->populated = calloc(relay->geometry.data_bytes / PAGE_BYTES, sizeof(uint32_t));
}

struct fake_relay *fake_relay_start(struct fake_host *host)
{
    struct fake_relay *relay = calloc(1, sizeof(*relay));

    check(relay && !current, "one relay at a time");
    relay->host = host;
    relay->window = fake_window || fake_granted;
    relay->granted = fake_granted;
    relay->geometry = host->geometry;
    relay->file = -1;
    relay->priority = 1;
    relay->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&relay->lock, NULL);
    make_memory(relay);
    current = relay; /* its own thread writes, too, and asks whether that is for a relay */
    check(pthread_create(&relay->thread, NULL, relay_main, relay) == 0, "relay thread");
    return relay;
}

void fake_relay_stop(struct fake_relay *relay)
{
    vgpu_flag_set(&relay->stopping, 1);
    pthread_join(relay->thread, NULL);
    current = NULL;
    munmap(relay->base, relay->doorbell_at + PAGE_BYTES);
    close(relay->memory);
    close(relay->interrupt);
    close(relay->news);
    pthread_mutex_destroy(&relay->lock);
    free(relay->populated);
    free(relay);
}

void fake_relay_turn(struct fake_relay *relay)
{
    uint32_t before = __atomic_load_n(&relay->turns, __ATOMIC_SEQ_CST);

    /* The one that is under way may have read what matters already. */
    while (__atomic_load_n(&relay->turns, __ATOMIC_SEQ_CST) - before < 2) {
        kick(relay->host->completion_kick);
        sched_yield();
    }
}

void fake_relay_pause(struct fake_relay *relay, bool paused)
{
    vgpu_flag_set(&relay->paused, paused);
    if (!paused)
        kick(relay->host->completion_kick);
    while (vgpu_flag_get(&relay->is_paused) != paused)
        sched_yield();
}

void fake_relay_prefer(struct fake_relay *relay, uint32_t priority)
{
    pthread_mutex_lock(&relay->lock);
    relay->priority = priority;
    pthread_mutex_unlock(&relay->lock);
    kick(relay->news);
}

void fake_relay_gone(struct fake_relay *relay, uint32_t status, const char *text)
{
    pthread_mutex_lock(&relay->lock);
    relay->gone_status = status;
    snprintf(relay->gone_text, sizeof(relay->gone_text), "%s", text);
    pthread_mutex_unlock(&relay->lock);
    vgpu_flag_set(&relay->ended, 1);
    page_store_u32(&relay->page->notice.state, VGPU_CHANNEL_ENDED);
    kick(relay->news);
    kick(relay->interrupt);
}

void fake_relay_ring(struct fake_relay *relay)
{
    check(relay->granted, "a write where there is a doorbell");
    page_store_u32(relay->doorbell, 1);
    kick(relay->host->completion_kick); /* so that the thread looks */
}

struct fake_relay *fake_relay_now(void)
{
    return current;
}

struct fake_relay *fake_relay_at(int file)
{
    struct fake_relay *relay = current;

    return relay && file >= 0 && __atomic_load_n(&relay->file, __ATOMIC_SEQ_CST) == file ? relay
                                                                                         : NULL;
}

int fake_relay_open(struct fake_relay *relay)
{
    int file = fcntl(relay->interrupt, F_DUPFD_CLOEXEC, 0);

    __atomic_store_n(&relay->file, file, __ATOMIC_SEQ_CST);
    return file;
}

static int open_channel(struct fake_relay *relay, struct vgpu_ioc_open *open)
{
    check(open->process[sizeof(open->process) - 1] == '\0', "a name without an end");
    open->status = relay->host->refuse_status;
    open->retry_ns = open->status ? 5 : 0;
    open->channel = 9;
    open->geometry = relay->geometry;
    open->flags = relay->granted ? VGPU_OPENED_GRANT : relay->window ? VGPU_OPENED_WINDOW : 0;
    snprintf(open->text, sizeof(open->text), "%s", open->status ? "refused by the test" : "");
    return 0;
}

static int tell_state(struct fake_relay *relay, struct vgpu_ioc_state *state)
{
    uint64_t count;
    ssize_t n = read(relay->news, &count, sizeof(count));

    (void)n; /* without news it is asked as well */
    *state = (struct vgpu_ioc_state){
        .device_state = VGPU_DEVICE_READY,
        .vm_id = 3,
        .weight_hundredths = 5000,
        .max_channels = 8,
        .channel = 9,
        .pool = "A",
        .name = "test",
    };
    pthread_mutex_lock(&relay->lock);
    state->priority = relay->priority;
    state->gone = relay->gone_status != VGPU_OK;
    state->gone_status = relay->gone_status;
    memcpy(state->gone_text, relay->gone_text, sizeof(relay->gone_text));
    pthread_mutex_unlock(&relay->lock);
    return 0;
}

static int populate(struct fake_relay *relay, const struct vgpu_ioc_populate *ask)
{
    uint64_t first = (ask->offset - relay->geometry.data_offset) / PAGE_BYTES;

    check(!relay->window, "memory for what the window has");
    check((ask->offset | ask->bytes) % PAGE_BYTES == 0 &&
              ask->offset >= relay->geometry.data_offset &&
              ask->bytes <= relay->geometry.total_bytes - ask->offset,
          "memory for what is no part of the data area");
    if (vgpu_flag_get(&relay->out_of_memory)) {
        errno = ENOMEM;
        return -1;
    }
    for (uint64_t i = 0; i < ask->bytes / PAGE_BYTES; i++)
        vgpu_flag_set(&relay->populated[first + i], 1);
    pthread_mutex_lock(&relay->lock);
    relay->populates++;
    pthread_mutex_unlock(&relay->lock);
    return 0;
}

int fake_relay_control(struct fake_relay *relay, unsigned long request, void *argument)
{
    switch (request) {
    case VGPU_IOC_OPEN:
        return open_channel(relay, argument);
    case VGPU_IOC_STATE:
        return tell_state(relay, argument);
    case VGPU_IOC_POPULATE:
        return populate(relay, argument);
    default:
        errno = ENOTTY;
        return -1;
    }
}
