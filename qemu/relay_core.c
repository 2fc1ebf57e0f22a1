/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "relay_core.h"

#include <stddef.h>
#include <string.h>

#define PAGE_BYTES VGPU_CHANNEL_PAGE_BYTES

/* Addresses of single words in the guest's pages. */
#define IN_PAGE(core, field)                                                             \
    ((core)->page_addr + offsetof(struct vgpu_channel_page, field))
#define IN_TRANSFERS(core, field)                                                        \
    ((core)->transfer_addr + offsetof(struct vgpu_transfer_page, field))

/* The host's memory: acquire and release pair with ring/ in the worker. */
static uint32_t load_acquire(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static uint64_t load_acquire64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store_release(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Between what was stored on one side and what is loaded from it next; each peer has its
 * twin. */
static void full_fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static bool broken(VGPURelayCore *core, const char *why)
{
    core->why = why;
    return false;
}

static bool guest_load(VGPURelayCore *core, uint64_t addr, uint32_t *ret)
{
    return core->backend->load32(core->opaque, addr, ret) ||
           broken(core, "the guest's memory cannot be read");
}

static bool guest_store(VGPURelayCore *core, uint64_t addr, uint32_t value)
{
    return core->backend->store32(core->opaque, addr, value) ||
           broken(core, "the guest's memory cannot be written");
}

static bool guest_read(VGPURelayCore *core, uint64_t addr, void *buf, uint32_t len)
{
    return core->backend->read(core->opaque, addr, buf, len) ||
           broken(core, "the guest's memory cannot be read");
}

static bool guest_write(VGPURelayCore *core, uint64_t addr, const void *buf, uint32_t len)
{
    return core->backend->write(core->opaque, addr, buf, len) ||
           broken(core, "the guest's memory cannot be written");
}

static void count(VGPURelayCore *core, enum vgpu_device_counter counter, uint64_t n)
{
    core->backend->count(core->opaque, counter, n);
}

static uint32_t to_granules(uint32_t bytes)
{
    return bytes / VGPU_GRANULE_BYTES + (bytes % VGPU_GRANULE_BYTES != 0);
}

static uint32_t smaller(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* Where pages are
 * ------------------------------------------------------------------------- */

/* Entry `index` of the page of addresses at `addr`, by the copy at *kept if that is not
 * 0. */
static bool read_entry(VGPURelayCore *core, uint64_t addr, uint32_t index, uint64_t *kept)
{
    uint64_t entry;

    if (*kept) {
        return true;
    }
    if (!guest_read(core, addr + index * sizeof(entry), &entry, sizeof(entry))) {
        return false;
    }
    if (entry % PAGE_BYTES) {
        return broken(core, "an address of a page is no multiple of 4096");
    }
    *kept = entry;
    return true;
}

static bool find_table(VGPURelayCore *core, uint32_t number, VGPUTableCopy **ret)
{
    VGPUTableCopy *copy = &core->table[number % VGPU_RELAY_TABLES];

    if (!copy->valid || copy->number != number) {
        memset(copy, 0, sizeof(*copy));
        copy->number = number;
        copy->valid = true;
    }
    *ret = copy;
    return read_entry(core, core->directory_addr, number, &core->directory[number]);
}

/* The guest's address of a page of the channel, 0 if it has none there. */
static bool page_address(VGPURelayCore *core, uint64_t page, uint64_t *ret)
{
    uint32_t number = (uint32_t)(page / VGPU_TABLE_ENTRIES);
    uint32_t index = page % VGPU_TABLE_ENTRIES;
    VGPUTableCopy *table;

    if (page >= VGPU_TABLE_ENTRIES * VGPU_TABLE_ENTRIES) {
        return broken(core, "the channel is larger than a directory reaches");
    }
    if (!find_table(core, number, &table)) {
        return false;
    }
    if (core->directory[number] &&
        !read_entry(core, core->directory[number], index, &table->entry[index])) {
        return false;
    }
    *ret = table->entry[index];
    return true;
}

/* The same for a byte of a ring, which must be there. */
static bool ring_address(VGPURelayCore *core, uint64_t offset, uint64_t *ret)
{
    uint64_t page;

    if (!page_address(core, offset / PAGE_BYTES, &page)) {
        return false;
    }
    if (!page) {
        return broken(core, "a page of the guest's rings is not there");
    }
    *ret = page + offset % PAGE_BYTES;
    return true;
}

/* Rectangles
 * ------------------------------------------------------------------------------ */

/* From the first to the end of the last of `parts`, of `bytes` each and `pitch` apart. */
static bool span_of(uint64_t bytes, uint64_t pitch, uint32_t parts, uint64_t *ret)
{
    uint64_t gaps = (uint64_t)parts - 1; /* none is refused before */

    if (gaps > 0 && (pitch < bytes || pitch > (UINT64_MAX - bytes) / gaps)) {
        return false;
    }
    *ret = gaps * (gaps > 0 ? pitch : 0) + bytes;
    return true;
}

/* Parts that overlap are refused: none can be more work than the data area is large. */
static bool rectangle_ok(const VGPURectangle *r, uint64_t data_bytes)
{
    uint64_t slice, all;

    return r->row_bytes && r->rows && r->slices &&
           span_of(r->row_bytes, r->pitch, r->rows, &slice) &&
           span_of(slice, r->slice_pitch, r->slices, &all) && all <= data_bytes &&
           r->offset <= data_bytes - all;
}

static void rectangle_advance(VGPURectangle *r, uint32_t bytes)
{
    r->at += bytes;
    if (r->at < r->row_bytes) {
        return;
    }
    r->at = 0;
    if (++r->row < r->rows) {
        return;
    }
    r->row = 0;
    r->active = ++r->slice < r->slices;
}

static bool upload_piece(VGPURelayCore *core, uint64_t page, uint64_t offset,
                         uint32_t len)
{
    uint8_t *target = core->channel->data + offset;

    if (!page) {
        memset(target, 0, len); /* a page that the guest never touched */
        return true;
    }
    count(core, VGPU_COUNT_UPLOAD_BYTES, len);
    return guest_read(core, page + offset % PAGE_BYTES, target, len);
}

static bool download_piece(VGPURelayCore *core, uint64_t page, uint64_t offset,
                           uint32_t len)
{
    if (!page) {
        return broken(core, "a copy came back to a page of the guest that is not there");
    }
    count(core, VGPU_COUNT_DOWNLOAD_BYTES, len);
    return guest_write(core, page + offset % PAGE_BYTES, core->channel->data + offset,
                       len);
}

/* Goes on with a rectangle until it is done (no longer active) or the budget is. */
static bool move_rectangle(VGPURelayCore *core, VGPURectangle *r,
                           bool (*piece)(VGPURelayCore *, uint64_t, uint64_t, uint32_t),
                           uint64_t *budget)
{
    uint64_t data_offset = core->channel->geometry.data_offset;

    while (r->active) {
        /* Checked in rectangle_ok(): nothing here overflows. With one part, pitch is
         * unused. */
        uint64_t offset =
            r->offset + r->slice * r->slice_pitch + r->row * r->pitch + r->at;
        uint32_t len = smaller(r->row_bytes - r->at, PAGE_BYTES - offset % PAGE_BYTES);
        uint64_t page;

        if (*budget < len + VGPU_TURN_PIECE_BYTES) {
            return true;
        }
        *budget -= len + VGPU_TURN_PIECE_BYTES;
        if (!page_address(core, (data_offset + offset) / PAGE_BYTES, &page) ||
            !piece(core, page, offset, len)) {
            return false;
        }
        rectangle_advance(r, len);
    }
    return true;
}

/* From the guest
 * -------------------------------------------------------------------------- */

/* What the guest has published; only when all of the last look is done. */
static bool look_at_submission(VGPURelayCore *core)
{
    uint32_t granules = core->channel->geometry.sub_granules;
    uint32_t head, transfers;

    if (core->sub_published != core->sub_target ||
        core->transfer_tail != core->transfer_target) {
        return true;
    }
    /* In this order: a transfer pushed before a record is seen with it. */
    if (!guest_load(core, IN_PAGE(core, submission.producer.head), &head) ||
        !guest_load(core, IN_TRANSFERS(core, head), &transfers)) {
        return false;
    }
    if (head - core->sub_published > granules - (core->sub_published - core->sub_tail)) {
        return broken(core, "the guest's submission ring has a wrong index");
    }
    if (transfers - core->transfer_tail > VGPU_TRANSFERS) {
        return broken(core, "the guest's transfers have a wrong index");
    }
    core->sub_target = head;
    core->transfer_target = transfers;
    return true;
}

static bool begin_upload(VGPURelayCore *core)
{
    uint32_t slot = core->transfer_tail % VGPU_TRANSFERS;
    struct vgpu_transfer transfer;

    if (!guest_read(core, IN_TRANSFERS(core, transfer) + slot * sizeof(transfer),
                    &transfer, sizeof(transfer))) {
        return false;
    }
    core->upload = (VGPURectangle){
        .offset = transfer.offset,
        .row_bytes = transfer.row_bytes,
        .pitch = transfer.rows > 1 ? transfer.pitch_bytes : 0,
        .rows = transfer.rows,
        .slices = 1,
        .active = true,
    };
    if (transfer.reserved ||
        !rectangle_ok(&core->upload, core->channel->geometry.data_bytes)) {
        return broken(core, "a transfer does not lie in the data area");
    }
    return true;
}

static bool do_transfers(VGPURelayCore *core, uint64_t *budget)
{
    uint32_t before = core->transfer_tail;

    while (core->transfer_tail != core->transfer_target) {
        if (!core->upload.active && !begin_upload(core)) {
            return false;
        }
        if (!move_rectangle(core, &core->upload, upload_piece, budget)) {
            return false;
        }
        if (core->upload.active) {
            break;
        }
        core->transfer_tail++;
    }
    return core->transfer_tail == before ||
           guest_store(core, IN_TRANSFERS(core, tail), core->transfer_tail);
}

/* Granules of the submission ring from guest to host, as far as the budget goes. */
static bool copy_records(VGPURelayCore *core, uint64_t *budget)
{
    const struct vgpu_channel_geometry *g = &core->channel->geometry;

    while (core->sub_copied != core->sub_target) {
        uint32_t position = core->sub_copied & (g->sub_granules - 1);
        uint64_t offset = g->sub_offset + (uint64_t)position * VGPU_GRANULE_BYTES;
        uint32_t granules =
            smaller(core->sub_target - core->sub_copied,
                    (PAGE_BYTES - offset % PAGE_BYTES) / VGPU_GRANULE_BYTES);
        uint32_t len;
        uint64_t addr;

        granules = smaller(granules, g->sub_granules - position);
        len = granules * VGPU_GRANULE_BYTES;
        if (*budget < len + VGPU_TURN_PIECE_BYTES) {
            return true;
        }
        *budget -= len + VGPU_TURN_PIECE_BYTES;
        if (!ring_address(core, offset, &addr) ||
            !guest_read(core, addr, core->channel->base + offset, len)) {
            return false;
        }
        count(core, VGPU_COUNT_RING_BYTES, len);
        core->sub_copied += granules;
    }
    return true;
}

/*
 * Records and what they need. A head is published whole or not at all, as an entry that
 * is there in part would be nonsense to the worker.
 */
static bool take_records(VGPURelayCore *core, uint64_t *budget, bool *ret_published)
{
    *ret_published = false;
    if (!look_at_submission(core) || !do_transfers(core, budget)) {
        return false;
    }
    if (core->transfer_tail != core->transfer_target) {
        return true;
    }
    if (!copy_records(core, budget)) {
        return false;
    }
    if (core->sub_copied == core->sub_target && core->sub_published != core->sub_target) {
        core->sub_published = core->sub_target;
        store_release(&core->channel->page->submission.producer.head,
                      core->sub_published);
        *ret_published = true;
    }
    return true;
}

/* The guest's lines that the worker looks at: whether it waits for room, and what it has
 * read. */
static bool mirror_to_worker(VGPURelayCore *core, bool *ret_freed)
{
    struct vgpu_channel_page *page = core->channel->page;
    uint32_t waiting, tail;

    *ret_freed = false;
    if (!guest_load(core, IN_PAGE(core, submission.producer.waiting), &waiting) ||
        !guest_load(core, IN_PAGE(core, completion.consumer.tail), &tail)) {
        return false;
    }
    if (tail - core->comp_tail > core->comp_published - core->comp_tail) {
        return broken(core, "the guest's completion ring has a wrong index");
    }
    if (!!waiting != core->sub_waiting) {
        core->sub_waiting = !!waiting;
        __atomic_store_n(&page->submission.producer.waiting, core->sub_waiting,
                         __ATOMIC_RELAXED);
    }
    if (tail != core->comp_tail) {
        core->comp_tail = tail;
        store_release(&page->completion.consumer.tail, tail);
        *ret_freed = true;
    }
    return true;
}

/* The half of a turn that goes to the worker; it is kicked if it sleeps and has something
 * now. */
static bool serve_worker(VGPURelayCore *core, uint64_t *budget)
{
    struct vgpu_channel_page *page = core->channel->page;
    bool published, freed;

    if (!take_records(core, budget, &published) || !mirror_to_worker(core, &freed)) {
        return false;
    }
    /* Pairs with ring_consumer_arm and ring_producer_arm of the worker, and with its own
     * fences before it reads `waiting`. */
    full_fence();
    if ((published &&
         __atomic_load_n(&page->submission.consumer.parked, __ATOMIC_RELAXED)) ||
        (freed &&
         __atomic_load_n(&page->completion.producer.waiting, __ATOMIC_RELAXED))) {
        count(core, VGPU_COUNT_WORKER_KICKS, 1);
        core->backend->kick(core->opaque);
    }
    return true;
}

/* To the guest
 * ---------------------------------------------------------------------------- */

static bool mirror_sub_tail(VGPURelayCore *core)
{
    uint32_t tail = load_acquire(&core->channel->page->submission.consumer.tail);

    if (tail - core->sub_tail > core->sub_published - core->sub_tail) {
        return broken(core, "the worker's submission ring has a wrong index");
    }
    if (tail == core->sub_tail) {
        return true;
    }
    core->sub_tail = tail;
    core->room = true;
    return guest_store(core, IN_PAGE(core, submission.consumer.tail), tail);
}

/* The worker's notice, each field loaded once. */
static bool load_notice(VGPURelayCore *core, struct vgpu_channel_notice *ret)
{
    const struct vgpu_channel_notice *notice = &core->channel->page->notice;

    memset(ret, 0, sizeof(*ret));
    ret->state = load_acquire(&notice->state);
    ret->issued = load_acquire64(&notice->issued);
    ret->credit = load_acquire64(&notice->credit);
    ret->poisoned = load_acquire(&notice->poisoned);
    return ret->state <= VGPU_CHANNEL_ENDED ||
           broken(core, "the worker's notice has a wrong state");
}

static bool mirror64(VGPURelayCore *core, uint64_t addr, uint64_t value, uint64_t *kept)
{
    if (value == *kept) {
        return true;
    }
    *kept = value;
    core->room = true;
    return core->backend->store64(core->opaque, addr, value) ||
           broken(core, "the guest's memory cannot be written");
}

static bool mirror32(VGPURelayCore *core, uint64_t addr, uint32_t value, uint32_t *kept)
{
    if (value == *kept) {
        return true;
    }
    *kept = value;
    core->news = true;
    return guest_store(core, addr, value);
}

static bool mirror_notice(VGPURelayCore *core, const struct vgpu_channel_notice *notice)
{
    struct vgpu_channel_notice *kept = &core->notice;

    return mirror64(core, IN_PAGE(core, notice.issued), notice->issued, &kept->issued) &&
           mirror64(core, IN_PAGE(core, notice.credit), notice->credit, &kept->credit) &&
           mirror32(core, IN_PAGE(core, notice.poisoned), notice->poisoned,
                    &kept->poisoned) &&
           mirror32(core, IN_PAGE(core, notice.state), notice->state, &kept->state);
}

static uint32_t largest_entry(uint32_t granules)
{
    return smaller(granules / 2 * VGPU_GRANULE_BYTES, VGPU_RECORD_MAX_BYTES);
}

static bool begin_download(VGPURelayCore *core)
{
    struct vgpu_written written;

    if (core->entry_bytes != sizeof(struct vgpu_completion) + sizeof(written)) {
        return broken(core, "the worker told of a copy in a wrong form");
    }
    memcpy(&written, core->entry + sizeof(struct vgpu_completion), sizeof(written));
    core->download = (VGPURectangle){
        .offset = written.offset,
        .row_bytes = written.row_bytes,
        .pitch = written.rows > 1 ? written.pitch_bytes : 0,
        .slice_pitch = written.slices > 1 ? written.slice_pitch_bytes : 0,
        .rows = written.rows,
        .slices = written.slices,
        .active = true,
    };
    return rectangle_ok(&core->download, core->channel->geometry.data_bytes) ||
           broken(core, "the worker told of a copy that does not lie in the data area");
}

/*
 * The next of `used` granules into our own memory: size and kind loaded once, then
 * checked, then the rest. Of a pad only the head is taken, and its place in the guest's
 * ring holds nothing else.
 */
static bool fetch_entry(VGPURelayCore *core, uint32_t used)
{
    uint32_t granules = core->channel->geometry.comp_granules;
    uint32_t position = core->comp_copied & (granules - 1);
    const uint8_t *entry =
        core->channel->completion + (size_t)position * VGPU_GRANULE_BYTES;
    struct {
        uint32_t size_bytes;
        uint16_t kind;
        uint16_t status;
    } head;
    uint32_t need, to_end = granules - position;

    head.size_bytes =
        __atomic_load_n((const uint32_t *)(const void *)entry, __ATOMIC_RELAXED);
    head.kind =
        __atomic_load_n((const uint16_t *)(const void *)(entry + 4), __ATOMIC_RELAXED);
    head.status = 0;
    need = to_granules(head.size_bytes);
    if (head.size_bytes < sizeof(head) || head.size_bytes % 8 || need > used ||
        need > to_end || (head.kind == VGPU_COMPLETION_PAD && need != to_end)) {
        return broken(core, "the worker's completion ring holds a wrong entry");
    }
    core->entry_bytes = head.size_bytes;
    if (head.kind == VGPU_COMPLETION_PAD) {
        memcpy(core->entry, &head, sizeof(head));
        return true;
    }
    if (head.size_bytes < sizeof(struct vgpu_completion) ||
        head.size_bytes > largest_entry(granules)) {
        return broken(core,
                      "the worker's completion ring holds an entry of a wrong size");
    }
    memcpy(core->entry, entry, head.size_bytes);
    memcpy(core->entry, &head, offsetof(struct vgpu_completion, status));
    return head.kind != VGPU_COMPLETION_WRITTEN || begin_download(core);
}

/* What of the entry in our hands goes to the guest: of a pad, nobody reads more than the
 * head. */
static uint32_t bytes_to_deliver(const VGPURelayCore *core)
{
    uint16_t kind;

    memcpy(&kind, core->entry + offsetof(struct vgpu_completion, kind), sizeof(kind));
    return kind == VGPU_COMPLETION_PAD ? 8 : core->entry_bytes;
}

/* The entry in our hands to its place in the guest's ring. */
static bool deliver_entry(VGPURelayCore *core)
{
    const struct vgpu_channel_geometry *g = &core->channel->geometry;
    uint32_t position = core->comp_copied & (g->comp_granules - 1);
    uint64_t offset = g->comp_offset + (uint64_t)position * VGPU_GRANULE_BYTES;
    uint32_t bytes = bytes_to_deliver(core);
    uint32_t done = 0;

    while (done < bytes) {
        uint32_t len = smaller(bytes - done, PAGE_BYTES - (offset + done) % PAGE_BYTES);
        uint64_t addr;

        if (!ring_address(core, offset + done, &addr) ||
            !guest_write(core, addr, core->entry + done, len)) {
            return false;
        }
        done += len;
    }
    count(core, VGPU_COUNT_RING_BYTES, bytes);
    core->comp_copied += to_granules(core->entry_bytes);
    core->entry_bytes = 0;
    return true;
}

static bool charge(uint64_t *budget, uint64_t cost)
{
    if (*budget < cost) {
        return false;
    }
    *budget -= cost;
    return true;
}

/* Entries up to the worker's head, each behind the data it tells of, as far as the budget
 * goes. */
static bool copy_completions(VGPURelayCore *core, uint32_t head, uint64_t *budget)
{
    while (core->comp_copied != head) {
        if (!core->entry_bytes && !fetch_entry(core, head - core->comp_copied)) {
            return false;
        }
        if (!move_rectangle(core, &core->download, download_piece, budget)) {
            return false;
        }
        if (core->download.active ||
            !charge(budget, bytes_to_deliver(core) + VGPU_TURN_PIECE_BYTES)) {
            return true;
        }
        if (!deliver_entry(core)) {
            return false;
        }
    }
    return true;
}

static bool publish_completions(VGPURelayCore *core)
{
    if (core->comp_published == core->comp_copied) {
        return true;
    }
    core->comp_published = core->comp_copied;
    core->news = true;
    return guest_store(core, IN_PAGE(core, completion.producer.head),
                       core->comp_published);
}

/* The half of a turn that goes to the guest. *ret_all: nothing of the worker's is left
 * over. */
static bool serve_guest(VGPURelayCore *core, uint64_t *budget, bool *ret_all)
{
    uint32_t granules = core->channel->geometry.comp_granules;
    struct vgpu_channel_notice notice;
    uint32_t head;

    *ret_all = false;
    /* The notice before the ring: ENDED is told behind the last completion. */
    if (!mirror_sub_tail(core) || !load_notice(core, &notice)) {
        return false;
    }
    head = load_acquire(&core->channel->page->completion.producer.head);
    if (head - core->comp_copied > granules - (core->comp_copied - core->comp_tail)) {
        return broken(core, "the worker's completion ring has a wrong index");
    }
    if (!copy_completions(core, head, budget) || !publish_completions(core)) {
        return false;
    }
    *ret_all = core->comp_copied == head;
    return !*ret_all || mirror_notice(core, &notice);
}

/* Sleep
 * ----------------------------------------------------------------------------------- */

/* Both sides need not wake a device that is awake. */
static bool disarm(VGPURelayCore *core)
{
    if (!core->armed) {
        return true;
    }
    core->armed = false;
    __atomic_store_n(&core->channel->page->completion.consumer.parked, 0,
                     __ATOMIC_RELAXED);
    return guest_store(core, IN_PAGE(core, submission.consumer.parked), 0);
}

/*
 * The worker may have found no room for a completion, by the tail that it knows of, and
 * sleep. Then the guest must ring when it makes room: its page says so while it could be.
 * With a pad, the largest entry needs at most one granule less than twice its own.
 */
static bool worker_could_lack_room(const VGPURelayCore *core)
{
    uint32_t granules = core->channel->geometry.comp_granules;
    uint32_t most = 2 * to_granules(largest_entry(granules)) - 1;

    return core->comp_copied - core->comp_tail > granules - most;
}

static bool arm(VGPURelayCore *core)
{
    uint32_t waiting = worker_could_lack_room(core);

    if (waiting != core->comp_waiting) {
        core->comp_waiting = waiting;
        if (!guest_store(core, IN_PAGE(core, completion.producer.waiting), waiting)) {
            return false;
        }
    }
    core->armed = true;
    __atomic_store_n(&core->channel->page->completion.consumer.parked, 1,
                     __ATOMIC_RELAXED);
    return guest_store(core, IN_PAGE(core, submission.consumer.parked), 1);
}

/* Behind arm() and the fence: is there anything that came before the other side could see
 * it? */
static bool look_again(VGPURelayCore *core, bool *ret_more)
{
    uint32_t head, transfers, tail = core->comp_tail;

    if (!guest_load(core, IN_PAGE(core, submission.producer.head), &head) ||
        !guest_load(core, IN_TRANSFERS(core, head), &transfers)) {
        return false;
    }
    if (core->comp_waiting &&
        !guest_load(core, IN_PAGE(core, completion.consumer.tail), &tail)) {
        return false;
    }
    *ret_more =
        head != core->sub_published || transfers != core->transfer_tail ||
        tail != core->comp_tail ||
        load_acquire(&core->channel->page->completion.producer.head) != core->comp_copied;
    return true;
}

/* Behind the fence: a guest that sleeps is woken if what it sleeps for may have come. */
static bool tell_guest(VGPURelayCore *core)
{
    uint32_t parked = 0, waiting = 0;

    if (core->news &&
        !guest_load(core, IN_PAGE(core, completion.consumer.parked), &parked)) {
        return false;
    }
    if (core->room &&
        !guest_load(core, IN_PAGE(core, submission.producer.waiting), &waiting)) {
        return false;
    }
    if (parked || waiting) {
        core->backend->interrupt(core->opaque);
    }
    return true;
}

/* Turns
 * ----------------------------------------------------------------------------------- */

static bool turn(VGPURelayCore *core, bool *ret_more)
{
    uint64_t budget = VGPU_TURN_BYTES;
    uint64_t uploads =
        budget / 2; /* the rest is for the way back, whatever the guest sends */
    bool all;

    if (!disarm(core) || !serve_worker(core, &uploads)) {
        return false;
    }
    budget -= VGPU_TURN_BYTES / 2 - uploads;
    if (!serve_guest(core, &budget, &all)) {
        return false;
    }
    *ret_more = !all || core->sub_published != core->sub_target ||
                core->transfer_tail != core->transfer_target;
    if (!*ret_more && !arm(core)) {
        return false;
    }
    /* Pairs with the guest's fence behind its publishing and its parking, and with the
     * worker's in ring_publish. */
    full_fence();
    if (!*ret_more && !look_again(core, ret_more)) {
        return false;
    }
    return tell_guest(core);
}

/* The worker is gone: nothing goes to it, what it left goes to the guest, then ENDED. */
static VGPUTurn last_turn(VGPURelayCore *core)
{
    uint64_t budget = VGPU_TURN_BYTES;
    bool all = true;

    if (serve_guest(core, &budget, &all) && !all) {
        full_fence();
        if (tell_guest(core)) {
            return VGPU_TURN_AGAIN;
        }
    }
    vgpu_relay_core_say_ended(core);
    return VGPU_TURN_ENDED;
}

void vgpu_relay_core_wake(VGPURelayCore *core)
{
    if (core->attached && !core->gone) {
        (void)disarm(core); /* memory that cannot be written is the turn's to find */
        core->why = NULL;
    }
}

VGPUTurn vgpu_relay_core_turn(VGPURelayCore *core)
{
    bool more = false;

    count(core, VGPU_COUNT_TURNS, 1);
    core->news = core->room = false;
    if (core->gone) {
        return last_turn(core);
    }
    if (!turn(core, &more)) {
        return VGPU_TURN_BROKEN;
    }
    return more ? VGPU_TURN_AGAIN : VGPU_TURN_SLEEP;
}

void vgpu_relay_core_gone(VGPURelayCore *core)
{
    core->gone = true;
}

void vgpu_relay_core_say_ended(VGPURelayCore *core)
{
    core->backend->store32(core->opaque, IN_PAGE(core, notice.state), VGPU_CHANNEL_ENDED);
    full_fence();
    core->backend->interrupt(core->opaque);
}

/* Attach
 * ---------------------------------------------------------------------------------- */

static bool find_pages(VGPURelayCore *core)
{
    const struct vgpu_channel_geometry *g = &core->channel->geometry;
    uint64_t end = g->comp_offset + (uint64_t)g->comp_granules * VGPU_GRANULE_BYTES;
    uint64_t unused;

    if (!ring_address(core, 0, &core->page_addr)) {
        return false;
    }
    for (uint64_t offset = g->sub_offset; offset < end; offset += PAGE_BYTES) {
        if (!ring_address(core, offset, &unused)) {
            return false;
        }
    }
    if (!ring_address(core, end - 1, &unused)) {
        return false;
    }
    return ring_address(core, g->total_bytes, &core->transfer_addr);
}

/* The guest's channel page as a worker's would be at the start, with the worker's notice.
 */
static bool write_page(VGPURelayCore *core)
{
    struct vgpu_channel_page page = {
        .magic = VGPU_MAGIC,
        .layout = VGPU_LAYOUT_VERSION,
        .geometry = core->channel->geometry,
        .flags = VGPU_CHANNEL_MIRRORED,
    };

    if (!load_notice(core, &core->notice)) {
        return false;
    }
    page.notice = core->notice;
    page.submission.producer.head = page.submission.consumer.tail = core->sub_published;
    page.completion.producer.head = page.completion.consumer.tail = core->comp_published;
    return guest_write(core, core->page_addr, &page, sizeof(page)) &&
           guest_store(core, IN_TRANSFERS(core, tail), 0);
}

uint32_t vgpu_relay_core_attach(VGPURelayCore *core, uint64_t directory,
                                const char **ret_why)
{
    uint32_t status = VGPU_OK;

    if (core->attached) {
        core->why = "the channel has its memory already";
        status = VGPU_BAD_MESSAGE;
    } else if (!directory || directory % PAGE_BYTES) {
        core->why = "the directory's address is no multiple of 4096";
        status = VGPU_BAD_MESSAGE;
    } else if (!(load_acquire(&core->channel->page->flags) & VGPU_CHANNEL_MIRRORED)) {
        core->why = "the host does not know of channels that a device copies";
        status = VGPU_VERSION;
    } else {
        core->directory_addr = directory;
        if (find_pages(core) && write_page(core)) {
            core->attached = true;
        } else {
            memset(core->directory, 0, sizeof(core->directory));
            memset(core->table, 0, sizeof(core->table));
            status = VGPU_BAD_MESSAGE;
        }
    }
    if (status != VGPU_OK) {
        *ret_why = core->why;
    }
    return status;
}

void vgpu_relay_core_init(VGPURelayCore *core, const VGPUChannel *channel,
                          const VGPURelayBackend *backend, void *opaque, uint32_t start)
{
    memset(core, 0, sizeof(*core));
    core->channel = channel;
    core->backend = backend;
    core->opaque = opaque;
    core->sub_tail = core->sub_published = core->sub_copied = core->sub_target = start;
    core->comp_tail = core->comp_published = core->comp_copied = start;
}
