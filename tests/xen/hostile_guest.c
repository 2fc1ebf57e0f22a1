/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/types.h>
/* evtchn.h names it for a structure that is not used here. */
typedef __u16 domid_t;
#include <xen/evtchn.h>
#include <xen/gntalloc.h>
#include <xen/io/xs_wire.h>

#include "cuda/cuda_ops.h"
#include "ring/pages.h"

#define DEVICE "device/vgpu/0/"
#define COUNT  64u /* of a job's integers */

struct set control_set;
uint32_t control_port, backend_domid;
static int grants, events, keys;
static uint32_t last_tag;
static char backend_path[256];

/* Words and time */

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

void must(bool fine, const char *what)
{
    if (fine)
        return;
    say("failed: %s (%s)", what, strerror(errno));
    exit(1);
}

uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void pause_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* xenstore: one request, one answer; nothing is watched */

static void take(void *to, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = read(keys, (char *)to + got, size - got);

        must(n > 0, "read from xenstore");
        got += (size_t)n;
    }
}

/* Its answer, ended by NUL; false if it was refused. */
static bool ask_store(uint32_t type, const char *bytes, size_t size, char answer[ANSWER_BYTES])
{
    struct xsd_sockmsg head = {.type = type, .len = (uint32_t)size};
    char request[4096];

    must(sizeof(head) + size <= sizeof(request), "a request of a page at most");
    memcpy(request, &head, sizeof(head));
    memcpy(request + sizeof(head), bytes, size);
    must(write(keys, request, sizeof(head) + size) == (ssize_t)(sizeof(head) + size),
         "write to xenstore");
    take(&head, sizeof(head));
    must(head.len < ANSWER_BYTES, "xenstore's answer");
    take(answer, head.len);
    answer[head.len] = '\0';
    return head.type != XS_ERROR;
}

static bool read_key(const char *path, char answer[ANSWER_BYTES])
{
    return ask_store(XS_READ, path, strlen(path) + 1, answer);
}

/* A key of the device's own directory. */
bool write_key(const char *key, const char *value)
{
    char bytes[3000], answer[ANSWER_BYTES];
    int n = snprintf(bytes, sizeof(bytes), DEVICE "%s%c%s", key, 0, value);

    return ask_store(XS_WRITE, bytes, (size_t)n, answer);
}

bool remove_key(const char *key)
{
    char path[256], answer[ANSWER_BYTES];

    snprintf(path, sizeof(path), DEVICE "%s", key);
    return ask_store(XS_RM, path, strlen(path) + 1, answer);
}

static void write_number(const char *key, uint32_t number)
{
    char text[16];

    snprintf(text, sizeof(text), "%" PRIu32, number);
    must(write_key(key, text), "write a key");
}

void read_backend(const char *key, char answer[ANSWER_BYTES])
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", backend_path, key);
    if (!read_key(path, answer))
        answer[0] = '\0';
}

int backend_state(void)
{
    char answer[ANSWER_BYTES];

    read_backend("state", answer);
    return atoi(answer);
}

void open_devices(void)
{
    char answer[ANSWER_BYTES];

    grants = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
    events = open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
    keys = open("/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
    must(grants >= 0 && events >= 0 && keys >= 0, "open Xen's devices");
    must(read_key(DEVICE "backend-id", answer), "the backend's domain");
    backend_domid = (uint32_t)atoi(answer);
    must(read_key(DEVICE "backend", answer), "the backend's path");
    snprintf(backend_path, sizeof(backend_path), "%.255s", answer);
}

/* Grants and ports */

void grant(struct pages *ret, uint32_t n, uint32_t domid, bool write)
{
    union {
        struct ioctl_gntalloc_alloc_gref ask;
        uint8_t room[sizeof(struct ioctl_gntalloc_alloc_gref) + sizeof(ret->ref)];
    } request = {
        .ask = {.domid = (uint16_t)domid, .flags = write ? GNTALLOC_FLAG_WRITABLE : 0, .count = n}};

    must(n <= sizeof(ret->ref) / sizeof(ret->ref[0]), "so many pages");
    must(ioctl(grants, IOCTL_GNTALLOC_ALLOC_GREF, &request) == 0, "grant pages");
    ret->n = n;
    ret->index = request.ask.index;
    memcpy(ret->ref, request.ask.gref_ids, n * sizeof(ret->ref[0]));
    ret->at = mmap(NULL, (size_t)n * VGPU_GRANT_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                   grants, (off_t)ret->index);
    must(ret->at != MAP_FAILED, "map granted pages");
    memset(ret->at, 0, (size_t)n * VGPU_GRANT_PAGE_BYTES);
}

void end_grants(struct pages *pages)
{
    struct ioctl_gntalloc_dealloc_gref request = {.index = pages->index, .count = pages->n};

    if (!pages->at)
        return;
    munmap(pages->at, (size_t)pages->n * VGPU_GRANT_PAGE_BYTES);
    must(ioctl(grants, IOCTL_GNTALLOC_DEALLOC_GREF, &request) == 0, "end grants");
    pages->at = NULL;
}

struct vgpu_grant_directory *directory_of(const struct set *set)
{
    return (struct vgpu_grant_directory *)(void *)set->directory.at;
}

struct vgpu_grant_table *table_of(const struct set *set, uint32_t i)
{
    return (struct vgpu_grant_table *)(void *)set->tables.at + i;
}

/* An honest one. Directory and tables are granted for reading only. */
static void make_set(struct set *set, uint32_t n)
{
    uint32_t tables = (n + VGPU_GRANT_TABLE_ENTRIES - 1) / VGPU_GRANT_TABLE_ENTRIES;

    grant(&set->pages, n, backend_domid, true);
    grant(&set->tables, tables, backend_domid, false);
    grant(&set->directory, 1, backend_domid, false);
    *directory_of(set) = (struct vgpu_grant_directory){
        .magic = VGPU_GRANT_MAGIC, .version = VGPU_GRANT_VERSION, .pages = n, .tables = tables};
    for (uint32_t i = 0; i < tables; i++)
        directory_of(set)->table[i] = set->tables.ref[i];
    for (uint32_t i = 0; i < n; i++)
        table_of(set, i / VGPU_GRANT_TABLE_ENTRIES)->ref[i % VGPU_GRANT_TABLE_ENTRIES] =
            set->pages.ref[i];
}

static void revoke_set(struct set *set)
{
    end_grants(&set->pages);
    end_grants(&set->tables);
    end_grants(&set->directory);
}

uint32_t new_port(uint32_t domid)
{
    struct ioctl_evtchn_bind_unbound_port request = {.remote_domain = domid};
    int port = ioctl(events, IOCTL_EVTCHN_BIND_UNBOUND_PORT, &request);

    must(port > 0, "a port");
    return (uint32_t)port;
}

void close_port(uint32_t port)
{
    struct ioctl_evtchn_unbind request = {.port = port};

    must(ioctl(events, IOCTL_EVTCHN_UNBIND, &request) == 0, "close a port");
}

void kick(uint32_t port)
{
    struct ioctl_evtchn_notify request = {.port = port};

    must(ioctl(events, IOCTL_EVTCHN_NOTIFY, &request) == 0, "notify");
}

/* The device */

struct vgpu_xen_control *control(void)
{
    return (struct vgpu_xen_control *)(void *)control_set.pages.at;
}

struct vgpu_device_command *command_of(uint32_t slot)
{
    return (struct vgpu_device_command *)(void *)(control_set.pages.at + VGPU_GRANT_PAGE_BYTES +
                                                  (size_t)1024 * slot);
}

void leave(void)
{
    write_number("state", CLOSING);
    AWAIT(backend_state() == CLOSED);
    write_number("state", INITIALISING);
    AWAIT(backend_state() == INIT_WAIT);
}

void make_control(void)
{
    make_set(&control_set, VGPU_XEN_PAGES);
    control_port = new_port(backend_domid);
    control()->magic = VGPU_GRANT_MAGIC;
    control()->version = VGPU_GRANT_VERSION;
}

void free_control(void)
{
    revoke_set(&control_set);
    close_port(control_port);
}

void say_where(void)
{
    write_number("ring-ref", control_set.directory.ref[0]);
    write_number("event-channel", control_port);
    write_number("state", INITIALISED);
}

void connect_device(void)
{
    AWAIT(backend_state() == INIT_WAIT);
    make_control();
    say_where();
    AWAIT(backend_state() == CONNECTED);
    write_number("state", CONNECTED);
    AWAIT((page_load_u32(&control()->status) & VGPU_STATUS_STATE) == VGPU_DEVICE_READY);
}

uint32_t put_command(uint32_t slot, const struct vgpu_device_command *wanted)
{
    struct vgpu_device_command *to = command_of(slot);

    memcpy(to, wanted, offsetof(struct vgpu_device_command, done));
    to->tag = ++last_tag;
    page_store_u32(&control()->doorbell[slot], last_tag);
    return last_tag;
}

static uint32_t begin_command(uint32_t slot, const struct vgpu_device_command *wanted)
{
    uint32_t tag = put_command(slot, wanted);

    kick(control_port);
    return tag;
}

uint32_t end_command(uint32_t slot, uint32_t tag)
{
    AWAIT(page_load_u32(&command_of(slot)->done) == tag);
    return command_of(slot)->status;
}

uint32_t give(uint32_t slot, const struct vgpu_device_command *wanted)
{
    return end_command(slot, begin_command(slot, wanted));
}

/* Channels */

struct vgpu_device_command good_open(uint64_t data_bytes)
{
    return (struct vgpu_device_command){.op = VGPU_COMMAND_OPEN,
                                        .sub_granules = 64,
                                        .comp_granules = 64,
                                        .data_bytes = data_bytes,
                                        .flags = VGPU_OPEN_GRANT,
                                        .process = "hostile"};
}

/* What is refused for now is asked again, as drivers do. */
void open_slot(struct channel *channel, uint32_t slot, uint64_t data_bytes)
{
    struct vgpu_device_command ask = good_open(data_bytes);
    uint32_t status;

    *channel = (struct channel){.slot = slot};
    AWAIT((status = give(slot, &ask)) != VGPU_STARTING && status != VGPU_BUSY);
    if (status != VGPU_OK)
        say("OPEN: %s", command_of(slot)->text);
    must(status == VGPU_OK, "OPEN");
    must(command_of(slot)->backend_domid == backend_domid, "whom to grant to");
    channel->geometry = command_of(slot)->geometry;
}

void make_channel(struct channel *channel)
{
    const struct vgpu_channel_geometry *geometry = &channel->geometry;
    struct vgpu_channel_page *page;
    uint8_t *memory;

    make_set(&channel->set, (uint32_t)(geometry->total_bytes / VGPU_GRANT_PAGE_BYTES));
    channel->port = new_port(backend_domid);
    memory = channel->set.pages.at;
    page = (struct vgpu_channel_page *)(void *)memory;
    page->magic = VGPU_MAGIC;
    page->layout = VGPU_LAYOUT_VERSION;
    page->geometry = *geometry;
    ring_producer_init(&channel->submission, &page->submission, memory + geometry->sub_offset,
                       geometry->sub_granules, 0);
    ring_consumer_init(&channel->completion, &page->completion, memory + geometry->comp_offset,
                       geometry->comp_granules, 0);
}

void free_channel(struct channel *channel)
{
    revoke_set(&channel->set);
    close_port(channel->port);
}

uint32_t begin_attach(uint32_t slot, uint32_t directory, uint32_t port)
{
    const struct vgpu_device_command ask = {.op = VGPU_COMMAND_ATTACH,
                                            .directory = VGPU_GRANT_ATTACH(directory, port)};

    return begin_command(slot, &ask);
}

uint32_t attach(const struct channel *channel)
{
    return end_command(channel->slot,
                       begin_attach(channel->slot, channel->set.directory.ref[0], channel->port));
}

void close_slot(uint32_t slot)
{
    const struct vgpu_device_command ask = {.op = VGPU_COMMAND_CLOSE};

    must(give(slot, &ask) == VGPU_OK, "CLOSE");
}

void begin_channel(struct channel *channel, uint32_t slot, uint64_t data_bytes)
{
    open_slot(channel, slot, data_bytes);
    make_channel(channel);
    if (attach(channel) == VGPU_OK)
        return;
    say("ATTACH: %s", command_of(slot)->text);
    must(false, "ATTACH");
}

void end_channel(struct channel *channel)
{
    close_slot(channel->slot);
    free_channel(channel);
}

bool is_gone(uint32_t slot)
{
    return page_load_u32(&command_of(slot)->gone) == 1;
}

struct job {
    struct cuda_op_job_vector_add op;
    uint32_t a[COUNT], b[COUNT];
};

bool try_job(struct channel *channel)
{
    struct job job = {.op = {.head = {.size_bytes = sizeof(job),
                                      .op = CUDA_OP_JOB_VECTOR_ADD,
                                      .flags = VGPU_RECORD_WAIT,
                                      .seq = channel->seq + 1,
                                      .thread = 1},
                             .count = COUNT,
                             .a = {offsetof(struct job, a), sizeof(job.a), VGPU_BLOB_INLINE},
                             .b = {offsetof(struct job, b), sizeof(job.b), VGPU_BLOB_INLINE}}};
    void *to;

    for (uint32_t i = 0; i < COUNT; i++) {
        job.a[i] = i;
        job.b[i] = 7 * i;
    }
    if (ring_reserve(&channel->submission, sizeof(job), &to) < 0)
        return false;
    channel->seq++;
    memcpy(to, &job, sizeof(job));
    ring_publish(&channel->submission);
    kick(channel->port);
    return true;
}

void submit_job(struct channel *channel)
{
    must(try_job(channel), "room for a job");
}

static void await_sums(struct channel *channel)
{
    _Alignas(8) uint8_t entry[VGPU_RECORD_MAX_BYTES];
    const struct cuda_re_job_vector_add *answer = (const void *)entry;
    uint32_t sums[COUNT];
    size_t size;
    bool wants_kick;

    AWAIT(ring_consume(&channel->completion, entry, sizeof(entry), &size, &wants_kick) == 1);
    must(answer->head.seq == channel->seq && answer->head.status == VGPU_OK, "a job's answer");
    memcpy(sums, entry + answer->sum.offset, sizeof(sums));
    for (uint32_t i = 0; i < COUNT; i++)
        must(sums[i] == 8 * i, "sums");
}

void run_job(struct channel *channel)
{
    submit_job(channel);
    await_sums(channel);
}
