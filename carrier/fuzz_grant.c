/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a guest's pages of references: the first page is the directory (reference 1), the
 * others follow. What is mapped in the end must have been granted, and nothing else stays mapped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "carrier/grant.h"

#define PAGES 8u /* of a guest: references 1 to PAGES */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t memory[PAGES + 1][VGPU_GRANT_PAGE_BYTES];
static int mapped;
static uint8_t whole;

static int map(int fd, uint32_t domid, const uint32_t *refs, uint32_t n, bool write, void *at,
               struct grant_map *ret)
{
    for (uint32_t i = 0; i < n; i++) {
        if (refs[i] == 0)
            __builtin_trap();
        if (refs[i] > PAGES)
            return -EINVAL;
    }
    mapped++;
    *ret = (struct grant_map){.at = write ? &whole : memory[refs[0]], .pages = n};
    return 0;
}

static void unmap(int fd, struct grant_map *grants)
{
    /* A guest writes while it is looked at, and after. */
    memset(grants->at, 0xff, VGPU_GRANT_PAGE_BYTES);
    mapped--;
    *grants = (struct grant_map){0};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct grant_ops ops = {.map = map, .unmap = unmap};
    struct grant_set set = {.domid = 1, .directory = 1};
    struct grant_map grants = {0};
    int rc;

    memset(memory, 0, sizeof(memory));
    if (size > sizeof(memory) - VGPU_GRANT_PAGE_BYTES)
        size = sizeof(memory) - VGPU_GRANT_PAGE_BYTES;
    memcpy(memory[1], data, size);
    memcpy(&set.pages, memory[1] + 8, sizeof(set.pages)); /* else little is let through */
    mapped = 0;
    rc = grant_map_set(&ops, &set, NULL, &grants, NULL);
    if (mapped != (rc == 0) || (rc == 0 && grants.pages != set.pages))
        __builtin_trap();
    return 0;
}
