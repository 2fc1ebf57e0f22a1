/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of granted pages: each rule at its limit, and that what was copied counts. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "carrier/grant.h"

#define DOMID     5u
#define DIRECTORY 1u
#define TABLES    2u
#define FIRST     80u /* references of the pages, backwards from here on */

/* A guest with the memory for a set of the largest size, and one page more. */
struct guest {
    int memory;
    uint8_t *pages;
    struct vgpu_grant_directory *directory;
};

static struct vgpu_grant_table *table(const struct guest *guest, uint32_t i)
{
    return (struct vgpu_grant_table *)(void *)(guest->pages + (size_t)(TABLES + i) * 4096);
}

static uint32_t page_ref(uint32_t pages, uint32_t i)
{
    return FIRST + (pages - 1 - i);
}

static void grant(struct guest *guest, uint32_t pages)
{
    uint32_t tables = (pages + VGPU_GRANT_TABLE_ENTRIES - 1) / VGPU_GRANT_TABLE_ENTRIES;

    memset(guest->pages, 0, (size_t)FIRST * 4096);
    *guest->directory = (struct vgpu_grant_directory){
        .magic = VGPU_GRANT_MAGIC, .version = VGPU_GRANT_VERSION, .pages = pages, .tables = tables};
    for (uint32_t i = 0; i < tables; i++)
        guest->directory->table[i] = TABLES + i;
    for (uint32_t i = 0; i < pages; i++)
        table(guest, i / VGPU_GRANT_TABLE_ENTRIES)->ref[i % VGPU_GRANT_TABLE_ENTRIES] =
            page_ref(pages, i);
}

static int set_up(void **state)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    size_t bytes = (size_t)(FIRST + VGPU_GRANT_MAX_PAGES) * 4096;

    guest->memory = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(fcntl(guest->memory, F_SETOWN, getpid()), 0); /* opened here */
    assert_int_equal(ftruncate(guest->memory, (off_t)bytes), 0);
    guest->pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory, 0);
    assert_ptr_not_equal(guest->pages, MAP_FAILED);
    guest->directory =
        (struct vgpu_grant_directory *)(void *)(guest->pages + (size_t)DIRECTORY * 4096);
    *state = guest;
    return 0;
}

static int tear_down(void **state)
{
    struct guest *guest = *state;

    munmap(guest->pages, (size_t)(FIRST + VGPU_GRANT_MAX_PAGES) * 4096);
    close(guest->memory);
    free(guest);
    return 0;
}

static int map_set(const struct guest *guest, uint32_t pages, struct grant_map *ret)
{
    const struct grant_set set = {
        .memory = guest->memory, .domid = DOMID, .directory = DIRECTORY, .pages = pages};
    struct vgpu_err err;

    return grant_map_set(&grant_ops, &set, NULL, ret, &err);
}

static int refused(const struct guest *guest, uint32_t pages)
{
    struct grant_map map = {0};
    int rc = map_set(guest, pages, &map);

    assert_null(map.at);
    return rc;
}

static void test_grant_maps_pages_in_their_order(void **state)
{
    const uint32_t pages = VGPU_GRANT_TABLE_ENTRIES + 3;
    struct guest *guest = *state;
    struct grant_map map = {0};

    grant(guest, pages);
    for (uint32_t i = 0; i < pages; i++)
        memcpy(guest->pages + (size_t)page_ref(pages, i) * 4096, &i, sizeof(i));
    assert_int_equal(map_set(guest, pages, &map), 0);
    for (uint32_t i = 0; i < pages; i++)
        assert_memory_equal(map.at + (size_t)i * 4096, &i, sizeof(i));
    map.at[4096] = 77;
    assert_int_equal(guest->pages[(size_t)page_ref(pages, 1) * 4096], 77);
    grant_ops.unmap(guest->memory, &map);
    assert_null(map.at);
}

static void test_grant_maps_where_it_is_told(void **state)
{
    struct guest *guest = *state;
    const struct grant_set set = {
        .memory = guest->memory, .domid = DOMID, .directory = DIRECTORY, .pages = 2};
    void *at = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct grant_map map = {0};

    grant(guest, 2);
    assert_int_equal(grant_map_set(&grant_ops, &set, at, &map, NULL), 0);
    assert_ptr_equal(map.at, at);
    grant_ops.unmap(guest->memory, &map);
}

/* One change to a good directory, which must make it refused. */
#define REFUSES(pages, change)                                                                     \
    do {                                                                                           \
        grant(guest, pages);                                                                       \
        change;                                                                                    \
        assert_int_equal(refused(guest, pages), -EPROTO);                                          \
    } while (0)

static void test_grant_checks_directory(void **state)
{
    struct guest *guest = *state;
    struct vgpu_grant_directory *directory = guest->directory;

    REFUSES(10, directory->magic ^= 1);
    REFUSES(10, directory->version++);
    REFUSES(10, directory->reserved = 1);
    REFUSES(10, directory->pages = 11);
    REFUSES(10, directory->pages = 9);
    REFUSES(10, directory->tables = 0);
    REFUSES(10, directory->tables = 2);
    REFUSES(10, directory->table[0] = 0);
    REFUSES(10, directory->table[0] = DIRECTORY);
    REFUSES(10, directory->table[1] = TABLES + 1);
    REFUSES(10, directory->table[VGPU_GRANT_TABLES - 1] = 1);
    REFUSES(2000, directory->table[1] = directory->table[0]);
}

static void test_grant_checks_tables(void **state)
{
    struct guest *guest = *state;

    REFUSES(10, table(guest, 0)->ref[9] = 0);
    REFUSES(10, table(guest, 0)->ref[10] = 5);
    REFUSES(10, table(guest, 0)->ref[VGPU_GRANT_TABLE_ENTRIES - 1] = 5);
    REFUSES(VGPU_GRANT_TABLE_ENTRIES + 1, table(guest, 1)->ref[0] = 0);
    REFUSES(VGPU_GRANT_TABLE_ENTRIES + 1, table(guest, 1)->ref[1] = 5);
}

static void test_grant_bounds_pages(void **state)
{
    struct guest *guest = *state;
    struct vgpu_grant_directory directory;
    struct grant_map map = {0};

    grant(guest, VGPU_GRANT_MAX_PAGES);
    directory = *guest->directory;
    assert_int_equal(grant_directory_check(&directory, DIRECTORY, VGPU_GRANT_MAX_PAGES, NULL), 0);
    directory.pages = VGPU_GRANT_MAX_PAGES + 1;
    directory.tables++;
    directory.table[directory.tables - 1] = 70;
    assert_int_equal(grant_directory_check(&directory, DIRECTORY, VGPU_GRANT_MAX_PAGES + 1, NULL),
                     -EPROTO);
    assert_int_equal(map_set(guest, VGPU_GRANT_MAX_PAGES + 1, &map), -ERANGE);
    assert_int_equal(map_set(guest, 0, &map), -ERANGE);
}

static void test_grant_refuses_what_was_not_granted(void **state)
{
    struct guest *guest = *state;

    grant(guest, 10);
    table(guest, 0)->ref[4] = FIRST + VGPU_GRANT_MAX_PAGES;
    assert_int_equal(refused(guest, 10), -EINVAL);
    grant(guest, 10);
    guest->directory->table[0] = UINT32_MAX;
    assert_int_equal(refused(guest, 10), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_grant_maps_pages_in_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grant_maps_where_it_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grant_checks_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grant_checks_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grant_bounds_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_grant_refuses_what_was_not_granted, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
