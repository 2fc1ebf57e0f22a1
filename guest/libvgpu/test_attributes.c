/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of launches and of streams: what is told at once, what goes to the host, and how. */
#include "cuda/launch_attributes.h"
#include "guest/libvgpu/test_host.h"

static CUlaunchAttribute cluster_of(unsigned x, unsigned y, unsigned z)
{
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};

    attribute.value.clusterDim.x = x;
    attribute.value.clusterDim.y = y;
    attribute.value.clusterDim.z = z;
    return attribute;
}

static CUresult launch_with(CUfunction function, unsigned grid, CUlaunchAttribute *attribute)
{
    CUdeviceptr pointer = FAKE_DEVICE_BASE;
    void *params[] = {&pointer, &pointer};
    const CUlaunchConfig config = {.gridDimX = grid,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = 1,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .attrs = attribute,
                                   .numAttrs = 1};

    return cuLaunchKernelEx(&config, function, params, NULL);
}

static void test_attributes_clusters_are_sent(void **state)
{
    struct fake_host host = {.clusters = true};
    const struct cuda_op_launch_ex *op = (const void *)host.last_launch;
    CUlaunchAttribute attribute = cluster_of(2, 1, 1);
    struct vgpu_launch_attributes sent;
    CUcontext context;

    begin(&host, &context);
    assert_ok(launch_with(load_function(), 4, &attribute));
    fake_await_op(&host, CUDA_OP_LAUNCH_EX, 1);
    assert_int_equal(op->grid_x, 4);
    assert_int_equal(op->params.size_bytes, 12);
    memcpy(&sent, host.last_launch + op->attributes.offset, sizeof(sent));
    assert_int_equal(sent.given, VGPU_LAUNCH_CLUSTER);
    assert_int_equal(sent.cluster[0], 2);
    assert_true(launch_attributes_valid(&sent));
    end(&host);
}

/* The driver is asked once for each shape; then a loop of launches waits for nobody. */
static void test_attributes_clusters_are_proved_once(void **state)
{
    struct fake_host host = {.clusters = true};
    CUlaunchAttribute attribute = cluster_of(2, 1, 1);
    CUfunction function;
    CUcontext context;

    begin(&host, &context);
    function = load_function();
    for (int i = 0; i < 5; i++)
        assert_ok(launch_with(function, 4, &attribute));
    assert_int_equal(fake_count_op(&host, CUDA_OP_OCCUPANCY_CLUSTERS), 1);
    assert_ok(launch_with(function, 8, &attribute));
    assert_int_equal(fake_count_op(&host, CUDA_OP_OCCUPANCY_CLUSTERS), 2);
    attribute = cluster_of(1, 1, 1);
    assert_ok(launch_with(function, 8, &attribute));
    assert_int_equal(fake_count_op(&host, CUDA_OP_OCCUPANCY_CLUSTERS), 2);
    end(&host);
}

static bool no_cluster_fits(struct fake_host *host, const struct vgpu_record *record)
{
    _Alignas(8) uint8_t answer[sizeof(struct cuda_re_occupancy_clusters)] = {0};
    struct vgpu_completion *head = (void *)answer;

    if (record->op != CUDA_OP_OCCUPANCY_CLUSTERS)
        return false;
    *head = (struct vgpu_completion){
        .size_bytes = sizeof(answer), .kind = VGPU_COMPLETION_REPLY, .seq = record->seq};
    fake_complete(host, head);
    return true;
}

static void test_attributes_clusters_that_cannot_be_are_told_at_once(void **state)
{
    struct fake_host host = {.clusters = true, .on_record = no_cluster_fits};
    CUlaunchAttribute attribute = cluster_of(3, 1, 1);
    CUfunction function;
    CUcontext context;

    begin(&host, &context);
    function = load_function();
    assert_int_equal(launch_with(function, 4, &attribute), CUDA_ERROR_INVALID_CLUSTER_SIZE);
    attribute = cluster_of(0, 1, 1);
    assert_int_equal(launch_with(function, 4, &attribute), CUDA_ERROR_INVALID_CLUSTER_SIZE);
    attribute = cluster_of(16, 1, 1);
    assert_int_equal(launch_with(function, 16, &attribute), CUDA_ERROR_INVALID_CLUSTER_SIZE);
    assert_int_equal(fake_count_op(&host, CUDA_OP_LAUNCH_EX), 0);
    end(&host);
}

static void test_attributes_without_clusters_on_the_device(void **state)
{
    struct fake_host host = {0};
    CUlaunchAttribute attribute = cluster_of(2, 1, 1);
    const CUlaunchConfig config = {.attrs = &attribute, .numAttrs = 1};
    CUfunction function;
    CUcontext context;
    int clusters;

    begin(&host, &context);
    function = load_function();
    assert_int_equal(launch_with(function, 4, &attribute), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuOccupancyMaxActiveClusters(&clusters, function, &config),
                     CUDA_ERROR_NOT_SUPPORTED);
    end(&host);
}

static void test_attributes_occupancy_of_clusters(void **state)
{
    struct fake_host host = {.clusters = true};
    CUlaunchAttribute attribute = cluster_of(2, 1, 1);
    CUlaunchConfig config = {.gridDimX = 4,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};
    CUfunction function;
    CUcontext context;
    int clusters = 0;

    begin(&host, &context);
    function = load_function();
    assert_ok(cuOccupancyMaxActiveClusters(&clusters, function, &config));
    assert_int_equal(clusters, 2);
    assert_ok(cuOccupancyMaxPotentialClusterSize(&clusters, function, &config));
    assert_int_equal(cuOccupancyMaxActiveClusters(NULL, function, &config),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxActiveClusters(&clusters, function, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    config.attrs = NULL;
    assert_int_equal(cuOccupancyMaxActiveClusters(&clusters, function, &config),
                     CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

static void test_attributes_with_a_meaning_are_refused_by_name(void **state)
{
    struct fake_host host = {0};
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT};
    CUfunction function;
    CUcontext context;

    begin(&host, &context);
    function = load_function();
    assert_int_equal(launch_with(function, 1, &attribute), CUDA_ERROR_NOT_SUPPORTED);
    attribute.id = CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY;
    assert_int_equal(launch_with(function, 1, &attribute), CUDA_ERROR_INVALID_VALUE);
    attribute.id = CU_LAUNCH_ATTRIBUTE_PRIORITY;
    attribute.value.priority = 0;
    assert_ok(launch_with(function, 1, &attribute));
    fake_await_op(&host, CUDA_OP_LAUNCH_EX, 1);
    assert_int_equal(fake_count_op(&host, CUDA_OP_LAUNCH), 0);
    end(&host);
}

/* They are told from here; only what the device has to know is sent. */
static void test_attributes_of_streams(void **state)
{
    struct fake_host host = {0};
    const struct cuda_op_stream_set_attribute *op = (const void *)host.last_launch;
    CUstreamAttrValue value = {.syncPolicy = CU_SYNC_POLICY_SPIN}, out;
    CUcontext context;
    CUstream stream;
    int priority;

    begin(&host, &context);
    assert_ok(cuStreamCreate(&stream, 0));
    assert_ok(cuStreamGetAttribute(stream, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &out));
    assert_int_equal(out.syncPolicy, CU_SYNC_POLICY_AUTO);
    assert_ok(cuStreamSetAttribute(stream, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value));
    assert_int_equal(fake_count_op(&host, CUDA_OP_STREAM_SET_ATTRIBUTE), 0);
    value.priority = -100;
    assert_ok(cuStreamSetAttribute(stream, CU_LAUNCH_ATTRIBUTE_PRIORITY, &value));
    fake_await_op(&host, CUDA_OP_STREAM_SET_ATTRIBUTE, 1);
    assert_int_equal((int)op->value, -5);
    fake_settle(&host); /* what was read lies before the next record */
    assert_ok(cuStreamGetPriority(stream, &priority));
    assert_int_equal(priority, -5);
    value.memSyncDomainMap = (CUlaunchMemSyncDomainMap){2, 3};
    assert_ok(cuStreamSetAttribute(stream, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, &value));
    fake_await_op(&host, CUDA_OP_STREAM_SET_ATTRIBUTE, 2);
    assert_int_equal(op->value, 0x0302);
    fake_settle(&host);
    assert_ok(cuStreamCopyAttributes(NULL, stream));
    assert_ok(cuStreamGetAttribute(NULL, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, &out));
    assert_int_equal(out.memSyncDomainMap.remote, 3);
    assert_ok(
        cuStreamGetAttribute(CU_STREAM_PER_THREAD, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, &out));
    assert_int_equal(out.memSyncDomainMap.remote, 1);
    end(&host);
}

static void test_attributes_streams_do_not_have(void **state)
{
    struct fake_host host = {0};
    CUstreamAttrValue value = {.cooperative = 1};
    CUcontext context;

    begin(&host, &context);
    assert_int_equal(cuStreamSetAttribute(NULL, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamGetAttribute(NULL, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamSetAttribute(NULL, CU_LAUNCH_ATTRIBUTE_PRIORITY, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    value.syncPolicy = (CUsynchronizationPolicy)5;
    assert_int_equal(cuStreamSetAttribute(NULL, CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &value),
                     CUDA_ERROR_INVALID_VALUE);
    value.accessPolicyWindow = (CUaccessPolicyWindow){.hitRatio = 1.5f};
    assert_int_equal(cuStreamSetAttribute(NULL, CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, &value),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamGetAttribute((CUstream)(uintptr_t)0x12345, 3, &value),
                     CUDA_ERROR_INVALID_HANDLE);
    end(&host);
}

static void test_attributes_writes_and_batches(void **state)
{
    struct fake_host host = {0};
    CUstreamBatchMemOpParams ops[3] = {{.operation = CU_STREAM_MEM_OP_WRITE_VALUE_32},
                                       {.operation = CU_STREAM_MEM_OP_BARRIER},
                                       {.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64}};
    CUcontext context;
    CUdeviceptr pointer;

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 16));
    assert_ok(cuStreamWriteValue32_v2(NULL, pointer, 5, CU_STREAM_WRITE_VALUE_DEFAULT));
    assert_int_equal(cuStreamWriteValue32_v2(NULL, pointer + 2, 5, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamWriteValue64_v2(NULL, pointer + 16, 5, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamWriteValue32_v2(NULL, pointer, 5, 2), CUDA_ERROR_INVALID_VALUE);
    ops[0].writeValue.address = pointer;
    ops[2].writeValue.address = pointer + 8;
    assert_ok(cuStreamBatchMemOp_v2(NULL, 3, ops, 0));
    fake_await_op(&host, CUDA_OP_STREAM_WRITE_VALUE, 3);
    /* Nothing of a batch that cannot be done is done. */
    ops[2].operation = CU_STREAM_MEM_OP_WAIT_VALUE_32;
    assert_int_equal(cuStreamBatchMemOp_v2(NULL, 3, ops, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuStreamBatchMemOp_v2(NULL, 257, ops, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(fake_count_op(&host, CUDA_OP_STREAM_WRITE_VALUE), 3);
    end(&host);
}

static bool answer_tensor(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_tensor_map_encode *op = (const void *)record;
    _Alignas(8) uint8_t answer[sizeof(struct cuda_re_tensor_map_encode) + 128] = {0};
    struct cuda_re_tensor_map_encode *re = (void *)answer;

    if (record->op != CUDA_OP_TENSOR_MAP_ENCODE)
        return false;
    re->head = (struct vgpu_completion){
        .size_bytes = sizeof(answer), .kind = VGPU_COMPLETION_REPLY, .seq = record->seq};
    re->map = (struct vgpu_blob){.offset = sizeof(*re), .size_bytes = 128};
    memcpy(re + 1, (const uint8_t *)record + op->tensor.offset, 128);
    fake_complete(host, &re->head);
    return true;
}

static void test_attributes_tensor_maps(void **state)
{
    struct fake_host host = {.clusters = true, .on_record = answer_tensor};
    const cuuint64_t dims[] = {16, 32}, strides[] = {64};
    const cuuint32_t box[] = {8, 4}, ones[] = {1, 1};
    struct vgpu_tensor sent;
    CUtensorMap map;

    begin(&host, NULL);
    assert_ok(cuTensorMapEncodeTiled(
        &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, (void *)(uintptr_t)4096, dims, strides, box, ones,
        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE,
        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
    memcpy(&sent, &map, sizeof(map));
    assert_int_equal(sent.data_type, CU_TENSOR_MAP_DATA_TYPE_FLOAT32);
    assert_int_equal(sent.rank, 2);
    assert_int_equal(sent.address, 4096);
    assert_int_equal(sent.dims[1], 32);
    assert_int_equal(sent.dims[2], 0);
    assert_int_equal(sent.strides[0], 64);
    assert_int_equal(sent.box[0], 8);
    for (unsigned rank = 0; rank <= 6; rank += 6)
        assert_int_equal(cuTensorMapEncodeTiled(
                             &map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, rank, NULL, dims, strides, box,
                             ones, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                             CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                         CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuTensorMapReplaceAddress(NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    end(&host);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest both[] = {
        cmocka_unit_test(test_attributes_clusters_are_sent),
        cmocka_unit_test(test_attributes_clusters_are_proved_once),
        cmocka_unit_test(test_attributes_clusters_that_cannot_be_are_told_at_once),
        cmocka_unit_test(test_attributes_without_clusters_on_the_device),
        cmocka_unit_test(test_attributes_occupancy_of_clusters),
        cmocka_unit_test(test_attributes_with_a_meaning_are_refused_by_name),
        cmocka_unit_test(test_attributes_of_streams),
        cmocka_unit_test(test_attributes_streams_do_not_have),
        cmocka_unit_test(test_attributes_writes_and_batches),
        cmocka_unit_test(test_attributes_tensor_maps),
    };

    return run_both(argc, argv, both, sizeof(both) / sizeof(both[0]), NULL, 0);
}
