/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/fork.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/libvgpu/guest.h"

struct copy {
    void *start; /* where the program has it */
    void *fresh; /* private memory with the same contents; MAP_FAILED: there was none */
    size_t bytes;
};

static struct copy *copies;
static size_t copy_count;

static void add_copy(const struct range *range)
{
    struct copy *copy = &copies[copy_count++];

    copy->start = (void *)(uintptr_t)range->start;
    copy->bytes = range->bytes;
    copy->fresh =
        mmap(NULL, copy->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy->fresh != MAP_FAILED)
        memcpy(copy->fresh, copy->start, copy->bytes);
}

void fork_prepare(void)
{
    copy_count = 0;
    copies = calloc(guest.host.count + 1, sizeof(*copies));
    if (!copies)
        return;
    for (size_t i = 0; i < guest.host.count; i++)
        if (guest.host.at[i].what == RANGE_MOVED)
            add_copy(&guest.host.at[i]);
}

static void forget_copies(void)
{
    free(copies);
    copies = NULL;
    copy_count = 0;
}

void fork_in_parent(void)
{
    for (size_t i = 0; i < copy_count; i++)
        if (copies[i].fresh != MAP_FAILED)
            munmap(copies[i].fresh, copies[i].bytes);
    forget_copies();
}

/* Without a copy nothing is there: better than the parent's own pages. */
void fork_in_child(void)
{
    for (size_t i = 0; i < copy_count; i++) {
        const struct copy *copy = &copies[i];

        if (copy->fresh == MAP_FAILED ||
            mremap(copy->fresh, copy->bytes, copy->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                   copy->start) == MAP_FAILED)
            munmap(copy->start, copy->bytes);
    }
    forget_copies();
}
