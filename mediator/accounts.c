/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/accounts.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <vgpu/launch.h>

#include "ring/pages.h"

int accounts_init(struct accounts *accounts, int fd, struct vgpu_err *err)
{
    struct accounts_page *page;

    accounts_release(accounts);
    page = mmap(NULL, VGPU_ACCOUNTS_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return vgpu_err_set(err, errno, "cannot map the accounts page: %s", strerror(errno));
    accounts->max = (VGPU_ACCOUNTS_BYTES - sizeof(*page)) / sizeof(struct accounts_slot);
    if (page->magic != VGPU_MAGIC || page->layout != ACCOUNTS_LAYOUT ||
        page->used > accounts->max) {
        page->used = 0;
        page->id = 0;
        page->layout = ACCOUNTS_LAYOUT;
        page_store_u32(&page->magic, VGPU_MAGIC);
    }
    while (page->id == 0)
        if (getrandom(&page->id, sizeof(page->id), 0) != sizeof(page->id))
            page->id = (uint64_t)time(NULL); /* no random numbers here: at least not those before */
    accounts->page = page;
    return 0;
}

void accounts_release(struct accounts *accounts)
{
    if (accounts->page)
        munmap(accounts->page, VGPU_ACCOUNTS_BYTES);
    accounts->page = NULL;
}

struct accounts_slot *accounts_slot(struct accounts *accounts, uint32_t vm_id, uint32_t gpu_id)
{
    struct accounts_page *page = accounts->page;
    struct accounts_slot *free_slot = NULL;

    if (!page)
        return NULL;
    for (uint32_t i = 0; i < page->used; i++) {
        struct accounts_slot *slot = &page->slots[i];

        if (slot->vm_id == vm_id && slot->gpu_id == gpu_id)
            return slot;
        if (slot->vm_id == 0 && !free_slot)
            free_slot = slot;
    }
    if (!free_slot) {
        if (page->used >= accounts->max)
            return NULL;
        free_slot = &page->slots[page->used];
        free_slot->vm_id = 0;
        page_store_u32(&page->used, page->used + 1);
    }
    memset(free_slot, 0, sizeof(*free_slot));
    free_slot->gpu_id = gpu_id;
    page_store_u32(&free_slot->vm_id, vm_id);
    return free_slot;
}

void accounts_forget(struct accounts *accounts, uint32_t vm_id)
{
    for (uint32_t i = 0; accounts->page && i < accounts->page->used; i++)
        if (accounts->page->slots[i].vm_id == vm_id)
            page_store_u32(&accounts->page->slots[i].vm_id, 0);
}

void accounts_load(const struct accounts_slot *slot, struct accounts_record *ret)
{
    *ret = slot->records[slot->current & 1];
}

void accounts_save(struct accounts_slot *slot, const struct accounts_record *record)
{
    uint64_t next = (slot->current & 1) ^ 1;

    slot->records[next] = *record;
    page_store_u64(&slot->current, next);
}
