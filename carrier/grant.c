/* SPDX-License-Identifier: Apache-2.0 */
#include "carrier/grant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

static int wrong(struct vgpu_err *err, const char *what)
{
    return vgpu_err_set(err, EPROTO, "the guest's directory of pages is wrong: %s", what);
}

static uint32_t tables_for(uint32_t pages)
{
    return (pages + VGPU_GRANT_TABLE_ENTRIES - 1) / VGPU_GRANT_TABLE_ENTRIES;
}

static bool is_repeated(const struct vgpu_grant_directory *directory, uint32_t reference,
                        uint32_t index)
{
    if (directory->table[index] == reference)
        return true;
    for (uint32_t i = 0; i < index; i++)
        if (directory->table[i] == directory->table[index])
            return true;
    return false;
}

int grant_directory_check(const struct vgpu_grant_directory *directory, uint32_t reference,
                          uint32_t pages, struct vgpu_err *err)
{
    if (directory->magic != VGPU_GRANT_MAGIC)
        return wrong(err, "magic");
    if (directory->version != VGPU_GRANT_VERSION)
        return wrong(err, "version");
    if (directory->reserved != 0)
        return wrong(err, "reserved field");
    if (pages == 0 || pages > VGPU_GRANT_MAX_PAGES || directory->pages != pages)
        return wrong(err, "number of pages");
    if (directory->tables != tables_for(pages))
        return wrong(err, "number of tables");
    for (uint32_t i = 0; i < VGPU_GRANT_TABLES; i++) {
        bool used = i < directory->tables;

        if (used == (directory->table[i] == 0))
            return wrong(err, used ? "a table is not there" : "a table too many");
        if (used && is_repeated(directory, reference, i))
            return wrong(err, "a table comes twice");
    }
    return 0;
}

int grant_table_check(const struct vgpu_grant_table *table, uint32_t used, struct vgpu_err *err)
{
    for (uint32_t i = 0; i < VGPU_GRANT_TABLE_ENTRIES; i++)
        if ((i < used) == (table->ref[i] == 0))
            return wrong(err, i < used ? "a page is not there" : "a page too many");
    return 0;
}

/* Linux says no more than EINVAL of whatever Xen refuses. */
static const char *why_not_mapped(int rc)
{
    return rc == -EINVAL ? "Xen refuses: a reference is wrong, revoked, or of another domain"
                         : strerror(-rc);
}

/* Copies a page out, once. */
static int fetch(const struct grant_ops *ops, const struct grant_set *set, uint32_t reference,
                 void *ret_page, struct vgpu_err *err)
{
    struct grant_map map = {0};
    int rc = ops->map(set->memory, set->domid, &reference, 1, false, NULL, &map);

    if (rc < 0)
        return vgpu_err_set(err, -rc, "cannot map page %u of the guest's directory: %s", reference,
                            why_not_mapped(rc));
    memcpy(ret_page, map.at, VGPU_GRANT_PAGE_BYTES);
    ops->unmap(set->memory, &map);
    return 0;
}

/* The references of all pages of the set. */
static int collect(const struct grant_ops *ops, const struct grant_set *set, uint32_t *refs,
                   struct vgpu_err *err)
{
    struct vgpu_grant_directory directory;
    struct vgpu_grant_table table;
    int rc = fetch(ops, set, set->directory, &directory, err);

    if (rc == 0)
        rc = grant_directory_check(&directory, set->directory, set->pages, err);
    for (uint32_t i = 0; rc == 0 && i < directory.tables; i++) {
        uint32_t first = i * VGPU_GRANT_TABLE_ENTRIES, used = set->pages - first;

        if (used > VGPU_GRANT_TABLE_ENTRIES)
            used = VGPU_GRANT_TABLE_ENTRIES;
        rc = fetch(ops, set, directory.table[i], &table, err);
        if (rc == 0)
            rc = grant_table_check(&table, used, err);
        if (rc == 0)
            memcpy(&refs[first], table.ref, used * sizeof(*refs));
    }
    return rc;
}

int grant_map_set(const struct grant_ops *ops, const struct grant_set *set, void *at,
                  struct grant_map *ret, struct vgpu_err *err)
{
    _cleanup_free_ uint32_t *refs = NULL;
    int rc;

    if (set->pages == 0 || set->pages > VGPU_GRANT_MAX_PAGES)
        return vgpu_err_set(err, ERANGE, "a set has 1 to %u pages", VGPU_GRANT_MAX_PAGES);
    refs = calloc(set->pages, sizeof(*refs));
    if (!refs)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    rc = collect(ops, set, refs, err);
    if (rc < 0)
        return rc;
    rc = ops->map(set->memory, set->domid, refs, set->pages, true, at, ret);
    if (rc < 0)
        return vgpu_err_set(err, -rc, "cannot map %u pages of domain %u: %s", set->pages,
                            set->domid, why_not_mapped(rc));
    return 0;
}
