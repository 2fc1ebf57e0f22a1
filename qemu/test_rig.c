/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "test_rig.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* The device's side
 * ----------------------------------------------------------------------- */

/* An access stays within its page, or is no RAM. */
static uint8_t *locate(Rig *rig, uint64_t addr, uint32_t len)
{
    uint64_t at = addr - RIG_BASE;

    if (addr < RIG_BASE || at / PAGE >= rig->pages || at % PAGE + len > PAGE ||
        (rig->forbidden && addr / PAGE == rig->forbidden / PAGE)) {
        return NULL;
    }
    return rig->memory + (uint64_t)rig->number[at / PAGE] * PAGE + at % PAGE;
}

static bool rig_read(void *opaque, uint64_t addr, void *buf, uint32_t len)
{
    const uint8_t *at = locate(opaque, addr, len);

    if (at) {
        memcpy(buf, at, len);
    }
    return at;
}

static bool rig_write(void *opaque, uint64_t addr, const void *buf, uint32_t len)
{
    uint8_t *at = locate(opaque, addr, len);

    if (at) {
        memcpy(at, buf, len);
    }
    return at;
}

static bool rig_load32(void *opaque, uint64_t addr, uint32_t *ret)
{
    void *at = locate(opaque, addr, sizeof(*ret));

    if (at) {
        *ret = __atomic_load_n((uint32_t *)at, __ATOMIC_ACQUIRE);
    }
    return at;
}

static bool rig_store32(void *opaque, uint64_t addr, uint32_t value)
{
    Rig *rig = opaque;
    void *at = locate(rig, addr, sizeof(value));

    if (!at) {
        return false;
    }
    __atomic_store_n((uint32_t *)at, value, __ATOMIC_RELEASE);
    if (rig->stored) {
        rig->stored(rig, addr, value);
    }
    return true;
}

static bool rig_store64(void *opaque, uint64_t addr, uint64_t value)
{
    void *at = locate(opaque, addr, sizeof(value));

    if (at) {
        __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELEASE);
    }
    return at;
}

static void rig_kick(void *opaque)
{
    Rig *rig = opaque;

    rig->kicks++;
    vgpu_channel_kick(rig->channel);
}

static void rig_interrupt(void *opaque)
{
    Rig *rig = opaque;
    uint64_t one = 1;

    rig->interrupts++;
    if (rig->interrupt_fd >= 0) {
        must(write(rig->interrupt_fd, &one, sizeof(one)) == sizeof(one));
    }
}

static void rig_count(void *opaque, enum vgpu_device_counter counter, uint64_t n)
{
    Rig *rig = opaque;

    rig->counters[counter] += n;
}

static const VGPURelayBackend rig_backend = {
    .read = rig_read,
    .write = rig_write,
    .load32 = rig_load32,
    .store32 = rig_store32,
    .store64 = rig_store64,
    .kick = rig_kick,
    .interrupt = rig_interrupt,
    .count = rig_count,
};

/* The guest
 * ------------------------------------------------------------------------------- */

/* Page 0 is the directory, then its tables, then the channel and the page of transfers.
 */
static uint32_t table_count(const Rig *rig)
{
    uint64_t pages = rig->geometry.total_bytes / PAGE + 1;

    return (uint32_t)((pages + VGPU_TABLE_ENTRIES - 1) / VGPU_TABLE_ENTRIES);
}

static uint64_t address_of(const Rig *rig, uint32_t number)
{
    return RIG_BASE + (uint64_t)((number * 7u + 3u) & (rig->pages - 1)) * PAGE;
}

uint64_t rig_directory(const Rig *rig)
{
    return address_of(rig, 0);
}

uint64_t rig_page_address(const Rig *rig, uint64_t page)
{
    return address_of(rig, rig->first + (uint32_t)page);
}

uint64_t *rig_entry(const Rig *rig, uint64_t page)
{
    return (uint64_t *)(void *)(rig->memory + PAGE) + page; /* tables lie side by side */
}

void rig_populate(const Rig *rig, uint64_t offset, uint64_t bytes)
{
    uint64_t first = (rig->geometry.data_offset + offset) / PAGE;
    uint64_t end = (rig->geometry.data_offset + offset + bytes + PAGE - 1) / PAGE;

    for (uint64_t page = first; page < end; page++) {
        *rig_entry(rig, page) = rig_page_address(rig, page);
    }
}

static void make_guest(Rig *rig, const RigOptions *options)
{
    const struct vgpu_channel_geometry *g = &rig->geometry;
    uint32_t channel_pages = (uint32_t)(g->total_bytes / PAGE);
    uint64_t *directory;

    rig->first = 1 + table_count(rig);
    rig->pages = 16;
    while (rig->pages < rig->first + channel_pages + 1) {
        rig->pages *= 2;
    }
    rig->memory = mmap(NULL, (size_t)rig->pages * PAGE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rig->number = calloc(rig->pages, sizeof(*rig->number));
    must(rig->memory != MAP_FAILED && rig->number);
    for (uint32_t i = 0; i < rig->pages; i++) {
        rig->number[(address_of(rig, i) - RIG_BASE) / PAGE] = i;
    }
    directory = (uint64_t *)(void *)rig->memory;
    for (uint32_t i = 0; i < table_count(rig); i++) {
        directory[i] = address_of(rig, 1 + i);
    }
    for (uint32_t i = 0; i < g->data_offset / PAGE; i++) {
        *rig_entry(rig, i) = rig_page_address(rig, i);
    }
    if (!options->sparse) {
        rig_populate(rig, 0, g->data_bytes);
    }
    *rig_entry(rig, channel_pages) = rig_page_address(rig, channel_pages);
    rig->page = (void *)(rig->memory + (size_t)rig->first * PAGE);
    rig->data = (uint8_t *)rig->page + g->data_offset;
    rig->transfers = (void *)((uint8_t *)rig->page + g->total_bytes);
    ring_producer_init(&rig->submit, &rig->page->submission,
                       (uint8_t *)rig->page + g->sub_offset, g->sub_granules,
                       options->start);
    ring_consumer_init(&rig->complete, &rig->page->completion,
                       (uint8_t *)rig->page + g->comp_offset, g->comp_granules,
                       options->start);
}

/* The host
 * -------------------------------------------------------------------------------- */

void rig_geometry(struct vgpu_channel_geometry *ret, uint32_t sub_granules,
                  uint32_t comp_granules, uint64_t data_bytes)
{
    uint64_t rings = ((uint64_t)sub_granules + comp_granules) * VGPU_GRANULE_BYTES;

    *ret = (struct vgpu_channel_geometry){
        .sub_granules = sub_granules,
        .comp_granules = comp_granules,
        .sub_offset = PAGE,
        .comp_offset = PAGE + (uint64_t)sub_granules * VGPU_GRANULE_BYTES,
        .data_offset = PAGE + (rings + PAGE - 1) / PAGE * PAGE,
        .data_bytes = data_bytes,
    };
    ret->total_bytes = ret->data_offset + data_bytes;
}

int rig_memory(const struct vgpu_channel_geometry *geometry, uint32_t flags, bool sealed)
{
    int fd = memfd_create("rig", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct vgpu_channel_page page = {
        .magic = VGPU_MAGIC,
        .layout = VGPU_LAYOUT_VERSION,
        .geometry = *geometry,
        .flags = flags,
    };

    must(fd >= 0 && ftruncate(fd, (off_t)geometry->total_bytes) == 0);
    must(pwrite(fd, &page, sizeof(page), 0) == sizeof(page));
    if (sealed) {
        must(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    }
    return fd;
}

static void make_host(Rig *rig, const RigOptions *options)
{
    const struct vgpu_channel_geometry *g = &rig->geometry;
    int memory = rig_memory(g, options->unmirrored ? 0 : VGPU_CHANNEL_MIRRORED, true);
    int fds[3];
    const char *why = NULL;

    rig->host = mmap(NULL, g->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    must(rig->host != MAP_FAILED);
    rig->host_page = (void *)rig->host;
    rig->host_data = rig->host + g->data_offset;
    rig->host_page->submission.producer.head = options->start;
    rig->host_page->submission.consumer.tail = options->start;
    rig->host_page->completion.producer.head = options->start;
    rig->host_page->completion.consumer.tail = options->start;
    ring_consumer_init(&rig->take, &rig->host_page->submission, rig->host + g->sub_offset,
                       g->sub_granules, options->start);
    ring_producer_init(&rig->answer, &rig->host_page->completion,
                       rig->host + g->comp_offset, g->comp_granules, options->start);
    rig->submit_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    rig->completion_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[0] = memory;
    fds[1] = dup(rig->submit_kick);
    fds[2] = dup(rig->completion_kick);
    rig->channel = vgpu_channel_new(g, fds, &why);
    must(rig->channel);
}

Rig *rig_new(const RigOptions *options)
{
    Rig *rig = calloc(1, sizeof(*rig));

    must(rig);
    rig->interrupt_fd = -1;
    rig_geometry(&rig->geometry, options->sub_granules ? options->sub_granules : 64,
                 options->comp_granules ? options->comp_granules : 64,
                 options->data_bytes ? options->data_bytes : 65536);
    make_guest(rig, options);
    make_host(rig, options);
    rig->core = malloc(sizeof(*rig->core));
    must(rig->core);
    vgpu_relay_core_init(rig->core, rig->channel, &rig_backend, rig, options->start);
    return rig;
}

void rig_free(Rig *rig)
{
    vgpu_channel_free(rig->channel);
    munmap(rig->host, rig->geometry.total_bytes);
    munmap(rig->memory, (size_t)rig->pages * PAGE);
    close(rig->submit_kick);
    close(rig->completion_kick);
    free(rig->number);
    free(rig->core);
    free(rig);
}
