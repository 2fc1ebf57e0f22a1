/* SPDX-License-Identifier: Apache-2.0 */
/* Launch attributes in and out: what is carried comes out as it went in, the rest is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cuda/launch_attributes.h"

static CUresult take(struct vgpu_launch_attributes *attributes, CUlaunchAttributeID id,
                     const void *value, size_t bytes)
{
    CUlaunchAttributeValue whole;

    memset(&whole, 0, sizeof(whole));
    memcpy(&whole, value, bytes);
    return launch_attribute_read(id, &whole, attributes);
}

#define TAKE(attributes, id, type, ...) take(attributes, id, &(type){__VA_ARGS__}, sizeof(type))

struct cluster {
    unsigned int x, y, z;
};

static void test_launch_attributes_come_out_as_they_went_in(void **state)
{
    struct vgpu_launch_attributes attributes = {0}, again = {0};
    CUlaunchAttribute written[LAUNCH_MAX_ATTRIBUTES];
    unsigned int count;

    (void)state;
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, int, 7), CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, struct cluster, 2, 3, 1),
        CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION, struct cluster, 4, 3, 1),
        CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE, int, 2),
        CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, int, 1),
        CUDA_SUCCESS);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PRIORITY, int, -3), CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, CUlaunchMemSyncDomainMap, 1, 2),
        CUDA_SUCCESS);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN, int, 1), CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, int, -1),
        CUDA_SUCCESS);
    assert_int_equal(attributes.given, VGPU_LAUNCH_ATTRIBUTES);
    assert_true(launch_attributes_valid(&attributes));
    assert_int_equal(launch_cluster_blocks(&attributes), 6);
    count = launch_attributes_write(&attributes, written);
    assert_int_equal(count, LAUNCH_MAX_ATTRIBUTES);
    for (unsigned int i = 0; i < count; i++)
        assert_int_equal(launch_attribute_read(written[i].id, &written[i].value, &again),
                         CUDA_SUCCESS);
    assert_memory_equal(&attributes, &again, sizeof(again));
}

static void test_launch_attributes_that_say_no_are_not_set(void **state)
{
    struct vgpu_launch_attributes attributes = {0};
    CUlaunchAttribute written[LAUNCH_MAX_ATTRIBUTES];

    (void)state;
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, int, 1), CUDA_SUCCESS);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, int, 0), CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, int, 0),
        CUDA_SUCCESS);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, struct cluster, 0, 0, 0),
        CUDA_SUCCESS);
    assert_int_equal(launch_attributes_write(&attributes, written), 0);
    assert_int_equal(launch_cluster_blocks(&attributes), 1);
}

static void test_launch_attributes_hints_have_no_effect(void **state)
{
    struct vgpu_launch_attributes attributes = {0};

    (void)state;
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, int, 1),
                     CUDA_SUCCESS);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_IGNORE, int, 1), CUDA_SUCCESS);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING, int, 1),
                     CUDA_SUCCESS);
    assert_int_equal(attributes.given, 0);
}

/* A refusal leaves what was there. */
static void test_launch_attributes_refused(void **state)
{
    struct vgpu_launch_attributes attributes = {0};

    (void)state;
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, struct cluster, 2, 0, 1),
        CUDA_ERROR_INVALID_CLUSTER_SIZE);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE, int, 3),
        CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN, int, 2),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(
        TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, int, 101),
        CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, int, 1),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(TAKE(&attributes, (CUlaunchAttributeID)99, int, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT, int, 1),
                     LAUNCH_NOT_CARRIED);
    assert_int_equal(TAKE(&attributes, CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT, int, 1),
                     LAUNCH_NOT_CARRIED);
    assert_int_equal(attributes.given, 0);
}

/* What comes over the wire: nothing that reading could not give. */
static void test_launch_attributes_wire_is_checked(void **state)
{
    const struct vgpu_launch_attributes bad[] = {
        {.given = 1u << 7},
        {.given = VGPU_LAUNCH_COOPERATIVE},
        {.given = VGPU_LAUNCH_COOPERATIVE, .cooperative = 2},
        {.cooperative = 1},
        {.priority = 1},
        {.given = VGPU_LAUNCH_CLUSTER, .cluster = {1, 1, 0}},
        {.cluster = {1, 1, 1}},
        {.given = VGPU_LAUNCH_PREFERRED_CLUSTER},
        {.given = VGPU_LAUNCH_SERIALIZATION, .serialization = 2},
        {.given = VGPU_LAUNCH_DOMAIN_MAP, .domain_default = 256},
        {.given = VGPU_LAUNCH_DOMAIN_MAP, .domain_remote = 256},
        {.given = VGPU_LAUNCH_DOMAIN, .domain = 2},
        {.given = VGPU_LAUNCH_CLUSTER_POLICY, .cluster_policy = 3},
        {.given = VGPU_LAUNCH_CARVEOUT, .carveout = 101},
        {.given = VGPU_LAUNCH_CARVEOUT, .carveout = -2},
        {.reserved = 1},
    };

    (void)state;
    assert_true(launch_attributes_valid(&(struct vgpu_launch_attributes){0}));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(launch_attributes_valid(&bad[i]));
}

static void test_launch_attributes_cluster_does_not_overflow(void **state)
{
    const struct vgpu_launch_attributes attributes = {
        .given = VGPU_LAUNCH_CLUSTER, .cluster = {UINT32_MAX, UINT32_MAX, UINT32_MAX}};

    (void)state;
    assert_true(launch_attributes_valid(&attributes));
    assert_true(launch_cluster_blocks(&attributes) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_launch_attributes_come_out_as_they_went_in),
        cmocka_unit_test(test_launch_attributes_that_say_no_are_not_set),
        cmocka_unit_test(test_launch_attributes_hints_have_no_effect),
        cmocka_unit_test(test_launch_attributes_refused),
        cmocka_unit_test(test_launch_attributes_wire_is_checked),
        cmocka_unit_test(test_launch_attributes_cluster_does_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
