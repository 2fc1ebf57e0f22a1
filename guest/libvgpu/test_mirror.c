/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mirrored channel: a thread plays the device, which hears the doorbell, does transfers and
 * wakes the worker. Here both sides are one memory, so that what is asked for and when is what
 * counts; tests/e2e/copies.c moves real bytes.
 */
#include <pthread.h>
#include <unistd.h>

#include "common/flag.h"
#include "guest/libvgpu/channel.h"
#include "guest/libvgpu/mirror.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/session.h"
#include "guest/libvgpu/test_host.h"
#include "ring/pages.h"

static struct vgpu_transfer_page page;
static volatile uint32_t doorbell;
static uint32_t stop, stalled;
static unsigned unasked; /* copies from the data area that no transfer preceded */
static pthread_t device;

static bool was_transferred(uint64_t offset, uint64_t bytes)
{
    uint32_t head = page_load_u32(&page.head);

    for (uint32_t i = 0; i < VGPU_TRANSFERS && i < head; i++) {
        const struct vgpu_transfer *transfer = &page.transfer[(head - 1 - i) % VGPU_TRANSFERS];

        if (transfer->offset == offset && transfer->row_bytes * transfer->rows >= bytes)
            return true;
    }
    return false;
}

/* The worker's thread: looks at each record before it is carried out. */
static bool check_copies(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_copy *op = (const void *)record;
    const struct cuda_op_host_function *function = (const void *)record;
    struct vgpu_completion completion = {.size_bytes = sizeof(completion),
                                         .kind = VGPU_COMPLETION_CALLBACK};

    if (record->op == CUDA_OP_COPY && op->source.place == VGPU_PLACE_DATA)
        unasked += !was_transferred(op->source.address, op->bytes);
    if (record->op != CUDA_OP_HOST_FUNCTION)
        return false;
    completion.seq = function->token;
    fake_complete(host, &completion);
    return true;
}

static void *play_device(void *argument)
{
    struct fake_host *host = argument;
    uint64_t one = 1;

    while (!vgpu_flag_get(&stop)) {
        if (!vgpu_flag_get(&stalled))
            page_store_u32(&page.tail, page_load_u32(&page.head));
        if (doorbell) {
            doorbell = 0;
            assert_int_equal(write(host->submit_kick, &one, sizeof(one)), sizeof(one));
        }
        usleep(50);
    }
    return NULL;
}

static void begin_mirrored(struct fake_host *host)
{
    CUcontext context;

    host->on_record = check_copies;
    memset(&page, 0, sizeof(page));
    stop = stalled = unasked = 0;
    begin(host, &context);
    assert_int_equal(mirror_init(session_sender(), &page, &doorbell, -1), 0);
    assert_int_equal(pthread_create(&device, NULL, play_device, host), 0);
}

static void end_mirrored(struct fake_host *host)
{
    vgpu_disconnect();
    vgpu_flag_set(&stop, 1);
    pthread_join(device, NULL);
    fake_host_stop(host);
}

static void test_mirror_uploads_come_before_their_records(void **state)
{
    static uint8_t bytes[300000];
    struct fake_host host = {0};
    CUdeviceptr at;
    void *pinned;

    begin_mirrored(&host);
    assert_ok(cuMemAlloc_v2(&at, sizeof(bytes)));
    assert_ok(cuMemHostAlloc(&pinned, 8192, 0));
    for (int i = 0; i < 50; i++) {
        assert_ok(cuMemcpyHtoD_v2(at, bytes, sizeof(bytes)));
        assert_ok(cuMemcpyHtoDAsync_v2(at, (uint8_t *)pinned + 64 * i, 64, NULL));
    }
    assert_ok(cuCtxSynchronize());
    assert_true(fake_count_op(&host, CUDA_OP_COPY) >= 100);
    assert_int_equal(unasked, 0);
    end_mirrored(&host);
}

static void test_mirror_large_blobs_are_uploaded(void **state)
{
    static char ptx[20000] = ".version 7.0\n";
    struct fake_host host = {0};
    CUmodule module;
    uint32_t before;

    memset(ptx + strlen(ptx), '\n', sizeof(ptx) - strlen(ptx) - 1);
    begin_mirrored(&host);
    before = page_load_u32(&page.head);
    assert_ok(cuModuleLoadData(&module, ptx));
    assert_int_equal(page_load_u32(&page.head) - before, 1);
    assert_true(page.transfer[before].row_bytes >= sizeof(ptx) - 1);
    end_mirrored(&host);
}

static void nothing(void *argument)
{
}

/* What a host function may yet change is uploaded when it has run: by another one. */
static void test_mirror_source_behind_a_host_function(void **state)
{
    struct fake_host host = {0};
    CUdeviceptr at;
    void *pinned;

    begin_mirrored(&host);
    assert_ok(cuMemAlloc_v2(&at, 4096));
    assert_ok(cuMemHostAlloc(&pinned, 4096, 0));
    assert_ok(cuMemcpyHtoDAsync_v2(at, pinned, 4096, NULL));
    fake_await_op(&host, CUDA_OP_COPY, 1);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_FUNCTION), 0);
    host.on_record = NULL; /* its answer does not come */
    assert_ok(cuLaunchHostFunc(NULL, nothing, NULL));
    assert_ok(cuMemcpyHtoDAsync_v2(at, pinned, 4096, NULL));
    fake_await_op(&host, CUDA_OP_COPY, 2);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_FUNCTION), 2);
    end_mirrored(&host);
}

static void tell_written(struct fake_host *host, uint64_t offset, uint64_t bytes)
{
    struct {
        struct vgpu_completion head;
        struct vgpu_written written;
    } told = {.head = {.size_bytes = sizeof(told), .kind = VGPU_COMPLETION_WRITTEN},
              .written = {.offset = offset, .row_bytes = bytes, .rows = 1, .slices = 1}};

    fake_complete(host, &told.head);
}

/* What a copy is yet to bring is not overwritten by an upload of what was there before. */
static void test_mirror_source_that_a_copy_fills(void **state)
{
    struct fake_host host = {0};
    struct sender *sender;
    uint64_t offset;
    CUdeviceptr at;
    void *pinned;

    begin_mirrored(&host);
    sender = session_sender();
    assert_ok(cuMemAlloc_v2(&at, 4096));
    assert_ok(cuMemHostAlloc(&pinned, 4096, 0));
    offset = (uint64_t)((uint8_t *)pinned - sender->map.data);
    assert_ok(cuMemcpyDtoHAsync_v2(pinned, at, 4096, NULL));
    assert_true(mirror_is_expected(sender, offset + 4095, 1));
    assert_false(mirror_is_expected(sender, offset + 4096, 1));
    assert_ok(cuMemcpyHtoDAsync_v2(at, (uint8_t *)pinned + 100, 8, NULL));
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION_DONE, 1);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_FUNCTION), 1);
    tell_written(&host, offset, 4096);
    assert_ok(cuCtxSynchronize());
    assert_false(mirror_is_expected(sender, offset, 4096));
    assert_ok(cuMemcpyHtoDAsync_v2(at, pinned, 4096, NULL));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_FUNCTION), 1);
    end_mirrored(&host);
}

static void *go_on_later(void *argument)
{
    usleep(20000);
    vgpu_flag_set(&stalled, 0);
    return NULL;
}

static void test_mirror_transfers_wait_for_room(void **state)
{
    struct fake_host host = {0};
    pthread_t thread;
    uint32_t before;

    begin_mirrored(&host);
    vgpu_flag_set(&stalled, 1);
    before = page_load_u32(&page.head);
    for (uint32_t i = 0; i < VGPU_TRANSFERS; i++)
        mirror_upload(session_sender(), 0, 8);
    assert_int_equal(page_load_u32(&page.head) - before, VGPU_TRANSFERS);
    assert_int_equal(pthread_create(&thread, NULL, go_on_later, NULL), 0);
    mirror_upload(session_sender(), 0, 8);
    assert_false(vgpu_flag_get(&stalled));
    assert_int_equal(page_load_u32(&page.head) - before, VGPU_TRANSFERS + 1);
    pthread_join(thread, NULL);
    end_mirrored(&host);
}

static void test_mirror_gone_while_transfers_wait(void **state)
{
    struct fake_host host = {0};

    begin_mirrored(&host);
    vgpu_flag_set(&stalled, 1);
    for (uint32_t i = 0; i < VGPU_TRANSFERS; i++)
        mirror_upload(session_sender(), 0, 8);
    receive_fail(session_sender(), CUDA_ERROR_UNKNOWN);
    mirror_upload(session_sender(), 0, 8);
    assert_int_equal(page_load_u32(&page.head), VGPU_TRANSFERS);
    end_mirrored(&host);
}

static void test_mirror_maps_nothing_for_the_device(void **state)
{
    struct fake_host host = {0};
    CUdeviceptr view;
    void *pinned;

    begin_mirrored(&host);
    assert_ok(cuMemHostAlloc(&pinned, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
    assert_int_equal(cuMemHostGetDevicePointer_v2(&view, pinned, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_REGISTER), 0);
    assert_ok(cuMemFreeHost(pinned));
    end_mirrored(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mirror_uploads_come_before_their_records),
        cmocka_unit_test(test_mirror_large_blobs_are_uploaded),
        cmocka_unit_test(test_mirror_source_behind_a_host_function),
        cmocka_unit_test(test_mirror_source_that_a_copy_fills),
        cmocka_unit_test(test_mirror_transfers_wait_for_room),
        cmocka_unit_test(test_mirror_gone_while_transfers_wait),
        cmocka_unit_test(test_mirror_maps_nothing_for_the_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
