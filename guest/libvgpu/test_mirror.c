/* SPDX-License-Identifier: Apache-2.0 */
/* libvgpu on a channel that a device copies: what is asked for before each record, and when. */
#include "guest/libvgpu/test_host.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>

#include "common/flag.h"
#include "guest/libvgpu/copy.h"
#include "ring/pages.h"

#define PIECE 4096u

static void fill_bytes(uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 31 + i / 251 + 1);
}

static void test_mirror_host_memory_is_for_copies(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    void *memory;
    unsigned flags;
    int value;

    begin(&host, &context);
    assert_ok(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 0));
    assert_int_equal(value, 0);
    /* As CUDA has it, the flag fails no sooner than the question for the address. */
    assert_ok(cuMemHostAlloc(&memory, 5000, CU_MEMHOSTALLOC_DEVICEMAP));
    assert_int_equal(cuMemHostGetDevicePointer_v2(&pointer, memory, 0), CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cuMemHostGetFlags(&flags, memory));
    assert_int_equal(flags, CU_MEMHOSTALLOC_DEVICEMAP);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_REGISTER), 0);
    assert_ok(cuMemFreeHost(memory));
    assert_int_equal(cuMemFreeHost(memory), CUDA_ERROR_INVALID_VALUE);
    /* Half of the data area is for staging. */
    assert_int_equal(cuMemHostAlloc(&memory, (1u << 19) + 1, 0), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cuMemHostAlloc(&memory, 1u << 19, 0));
    end(&host);
}

static void test_mirror_whole_pages_are_moved(void **state)
{
    const size_t bytes = 2 * PIECE;
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, bytes));
    memset(memory, 0x5a, bytes);
    assert_ok(cuMemHostRegister_v2(memory, bytes, 0));
    assert_true(copy_side_host(memory).place == COPY_PINNED);
    assert_int_equal(memory[bytes - 1], 0x5a);
    memory[PIECE + 5] = 1;
    assert_ok(cuMemcpyHtoD_v2(pointer, memory, bytes));
    fake_settle(&host);
    assert_memory_equal(fake_device(&host, pointer), memory, bytes);
    fake_device(&host, pointer)[0] = 7;
    fake_settle(&host);
    assert_ok(cuMemcpyDtoH_v2(memory, pointer, bytes));
    assert_ok(cuMemHostUnregister(memory));
    assert_int_equal(memory[0], 7);
    assert_int_equal(memory[PIECE + 5], 1);
    munmap(memory, bytes);
    end(&host);
}

/* The area is there already; the driver's file cannot be mapped once more. */
static void test_mirror_pages_that_cannot_move_stay(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    uint8_t *memory = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *other;

    begin(&host, &context);
    assert_ok(cuMemHostAlloc(&other, PIECE, 0));
    assert_ok(cuMemFreeHost(other));
    memset(memory, 0x5a, PIECE);
    vgpu_flag_set(&host.relay->out_of_memory, 1);
    assert_ok(cuMemHostRegister_v2(memory, PIECE, 0));
    vgpu_flag_set(&host.relay->out_of_memory, 0);
    assert_true(copy_side_host(memory).place == COPY_PAGEABLE);
    assert_int_equal(memory[0], 0x5a);
    assert_int_equal(memory[PIECE - 1], 0x5a);
    munmap(memory, PIECE);
    end(&host);
}

static void test_mirror_blob_in_the_data_area(void **state)
{
    struct fake_host host = {0};
    int32_t a[1024], b[1024], sum[1024];

    begin(&host, NULL);
    for (int i = 0; i < 1024; i++) {
        a[i] = i;
        b[i] = 3 * i;
    }
    for (int round = 0; round < 3; round++) {
        a[0] = round;
        assert_int_equal(vgpu_job_vector_add(a, b, sum, 1024, NULL), VGPU_OK);
        assert_int_equal(sum[0], round);
        assert_int_equal(sum[1023], 4 * 1023);
    }
    end(&host);
}

/* A box of 3 slices of 5 rows of 40 bytes, page-locked on one side. */
static CUDA_MEMCPY3D strided_box(void *pinned, CUdeviceptr device)
{
    return (CUDA_MEMCPY3D){
        .srcMemoryType = CU_MEMORYTYPE_HOST,
        .srcHost = pinned,
        .srcPitch = 100,
        .srcHeight = 8,
        .srcXInBytes = 7,
        .srcY = 2,
        .dstMemoryType = CU_MEMORYTYPE_DEVICE,
        .dstDevice = device,
        .dstPitch = 64,
        .dstHeight = 5,
        .WidthInBytes = 40,
        .Height = 5,
        .Depth = 3,
    };
}

static size_t pinned_at(int x, int y, int z)
{
    return (size_t)((z * 8 + y + 2) * 100 + x + 7);
}

static size_t device_at(int x, int y, int z)
{
    return (size_t)((z * 5 + y) * 64 + x);
}

static void test_mirror_strided_upload(void **state)
{
    struct fake_host host = {0};
    CUDA_MEMCPY3D box;
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t *pinned;

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 4096));
    assert_ok(cuMemHostAlloc((void **)&pinned, 4096, 0));
    fill_bytes(pinned, 4096);
    box = strided_box(pinned, pointer);
    assert_ok(cuMemcpy3D_v2(&box));
    fake_settle(&host);
    for (int z = 0; z < 3; z++)
        for (int y = 0; y < 5; y++)
            for (int x = 0; x < 40; x++)
                assert_int_equal(fake_device(&host, pointer)[device_at(x, y, z)],
                                 pinned[pinned_at(x, y, z)]);
    end(&host);
}

/* What lies between the rows is the program's, and was changed behind the device's back. */
static void test_mirror_strided_download_keeps_the_gaps(void **state)
{
    struct fake_host host = {0};
    CUDA_MEMCPY3D box, back = {0};
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t *pinned, *expected = malloc(4096);

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, 4096));
    assert_ok(cuMemHostAlloc((void **)&pinned, 4096, 0));
    fill_bytes(fake_device(&host, pointer), 4096);
    fake_settle(&host);
    memset(pinned, 0xee, 4096);
    memset(expected, 0xee, 4096);
    for (int z = 0; z < 3; z++)
        for (int y = 0; y < 5; y++)
            memcpy(expected + pinned_at(0, y, z), fake_device(&host, pointer) + device_at(0, y, z),
                   40);
    box = strided_box(pinned, pointer);
    back.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    back.srcDevice = pointer;
    back.srcPitch = box.dstPitch;
    back.srcHeight = box.dstHeight;
    back.dstMemoryType = CU_MEMORYTYPE_HOST;
    back.dstHost = pinned;
    back.dstPitch = box.srcPitch;
    back.dstHeight = box.srcHeight;
    back.dstXInBytes = box.srcXInBytes;
    back.dstY = box.srcY;
    back.WidthInBytes = box.WidthInBytes;
    back.Height = box.Height;
    back.Depth = box.Depth;
    assert_ok(cuMemcpy3D_v2(&back));
    assert_memory_equal(pinned, expected, 4096);
    free(expected);
    end(&host);
}

/* VGPU_TRANSFERS copies of a page each, and one more of another thread. */
struct uploader {
    pthread_t thread;
    CUcontext context;
    CUdeviceptr device;
    uint8_t *pinned;
    CUresult result;
};

static CUresult upload_piece(struct uploader *self, unsigned i)
{
    return cuMemcpyHtoDAsync_v2(self->device + i * PIECE, self->pinned + i * PIECE, PIECE, NULL);
}

static void *upload_last(void *argument)
{
    struct uploader *self = argument;

    assert_ok(cuCtxSetCurrent(self->context));
    self->result = upload_piece(self, VGPU_TRANSFERS);
    return NULL;
}

/* Until the thread has rung the doorbell more often than for a record: it waits for room. */
static void await_rings(struct fake_relay *relay)
{
    uint32_t before = __atomic_load_n(&relay->rings, __ATOMIC_SEQ_CST);

    while (__atomic_load_n(&relay->rings, __ATOMIC_SEQ_CST) - before < 4)
        sched_yield();
}

static void fill_transfers(struct fake_host *host, struct uploader *uploader)
{
    begin(host, &uploader->context);
    assert_ok(cuMemAlloc_v2(&uploader->device, (VGPU_TRANSFERS + 1) * PIECE));
    assert_ok(cuMemHostAlloc((void **)&uploader->pinned, (VGPU_TRANSFERS + 1) * PIECE, 0));
    fill_bytes(uploader->pinned, (VGPU_TRANSFERS + 1) * PIECE);
    fake_relay_pause(host->relay, true);
    for (unsigned i = 0; i < VGPU_TRANSFERS; i++)
        assert_ok(upload_piece(uploader, i));
}

static void test_mirror_transfer_is_pushed_before_its_record(void **state)
{
    struct fake_host host = {0};
    struct uploader uploader;
    struct fake_relay *relay;
    uint32_t records;

    fill_transfers(&host, &uploader);
    relay = host.relay;
    records = page_load_u32(&relay->page->submission.producer.head);
    assert_int_equal(pthread_create(&uploader.thread, NULL, upload_last, &uploader), 0);
    await_rings(relay);
    assert_int_equal(page_load_u32(&relay->page->submission.producer.head), records);
    assert_int_equal(page_load_u32(&relay->transfers->head) -
                         page_load_u32(&relay->transfers->tail),
                     VGPU_TRANSFERS);
    fake_relay_pause(relay, false);
    pthread_join(uploader.thread, NULL);
    assert_ok(uploader.result);
    assert_ok(cuCtxSynchronize());
    fake_settle(&host);
    assert_memory_equal(fake_device(&host, uploader.device), uploader.pinned,
                        (VGPU_TRANSFERS + 1) * PIECE);
    end(&host);
}

static void test_mirror_gone_ends_the_wait_for_room(void **state)
{
    struct fake_host host = {0};
    struct uploader uploader;

    fill_transfers(&host, &uploader);
    assert_int_equal(pthread_create(&uploader.thread, NULL, upload_last, &uploader), 0);
    await_rings(host.relay);
    fake_gone(&host, VGPU_KILLED, "killed by the test");
    pthread_join(uploader.thread, NULL);
    assert_int_equal(uploader.result, CUDA_ERROR_DEVICE_UNAVAILABLE);
    assert_int_equal(vgpu_channel_status(), VGPU_KILLED);
    end(&host);
}

/* A stream of the worker that stands until its host functions were run, and copies then. */
static struct {
    uint32_t hold_copies;
    unsigned functions, done, copies;
    uint64_t token[8];
    _Alignas(8) uint8_t copy[8][256];
} stream;

static void call_next(struct fake_host *host)
{
    struct vgpu_completion completion = {.size_bytes = sizeof(completion),
                                         .kind = VGPU_COMPLETION_CALLBACK,
                                         .seq = stream.token[stream.done]};

    fake_complete(host, &completion);
}

static void carry_out_copy(struct fake_host *host, unsigned i)
{
    fake_carry_out(host, (const struct vgpu_record *)(const void *)stream.copy[i]);
}

static bool stand(struct fake_host *host, const struct vgpu_record *record)
{
    switch (record->op) {
    case CUDA_OP_HOST_FUNCTION:
        stream.token[stream.functions++] = ((const struct cuda_op_host_function *)record)->token;
        return true;
    case CUDA_OP_COPY:
        if (!vgpu_flag_get(&stream.hold_copies) && stream.done == stream.functions)
            return false;
        memcpy(stream.copy[stream.copies++], record, record->size_bytes);
        return true;
    case CUDA_OP_HOST_FUNCTION_DONE:
        if (++stream.done < stream.functions)
            call_next(host);
        else if (stream.copies > 0)
            carry_out_copy(host, stream.copies - 1);
        return false;
    default:
        return false;
    }
}

static void write_two(void *data)
{
    memset(data, 2, PIECE);
}

static void test_mirror_upload_behind_a_host_function(void **state)
{
    struct fake_host host = {.on_record = stand};
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t *pinned;

    memset(&stream, 0, sizeof(stream));
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, PIECE));
    assert_ok(cuMemHostAlloc((void **)&pinned, PIECE, 0));
    memset(pinned, 1, PIECE);
    assert_ok(cuLaunchHostFunc(NULL, write_two, pinned));
    assert_ok(cuMemcpyHtoDAsync_v2(pointer, pinned, PIECE, NULL));
    /* The program's and the one that uploads. */
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION, 2);
    fake_await_op(&host, CUDA_OP_COPY, 1);
    call_next(&host);
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION_DONE, 2);
    assert_ok(cuCtxSynchronize());
    fake_settle(&host);
    assert_int_equal(fake_device(&host, pointer)[0], 2);
    assert_int_equal(fake_device(&host, pointer)[PIECE - 1], 2);
    end(&host);
}

static void test_mirror_upload_without_host_functions_is_direct(void **state)
{
    struct fake_host host = {.on_record = stand};
    CUcontext context;
    CUdeviceptr pointer;
    uint8_t *pinned;

    memset(&stream, 0, sizeof(stream));
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, PIECE));
    assert_ok(cuMemHostAlloc((void **)&pinned, PIECE, 0));
    memset(pinned, 1, PIECE);
    assert_ok(cuMemcpyHtoDAsync_v2(pointer, pinned, PIECE, NULL));
    assert_ok(cuCtxSynchronize());
    fake_settle(&host);
    assert_int_equal(fake_device(&host, pointer)[PIECE - 1], 1);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_FUNCTION), 0);
    end(&host);
}

static void test_mirror_upload_of_what_a_copy_is_yet_to_bring(void **state)
{
    struct fake_host host = {.on_record = stand};
    CUcontext context;
    CUdeviceptr from, to;
    uint8_t *pinned;

    memset(&stream, 0, sizeof(stream));
    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&from, PIECE));
    assert_ok(cuMemAlloc_v2(&to, PIECE));
    assert_ok(cuMemHostAlloc((void **)&pinned, PIECE, 0));
    memset(fake_device(&host, from), 9, PIECE);
    vgpu_flag_set(&stream.hold_copies, 1);
    assert_ok(cuMemcpyDtoHAsync_v2(pinned, from, PIECE, NULL));
    /* A part of it. */
    assert_ok(cuMemcpyHtoDAsync_v2(to + 64, pinned + 64, 64, NULL));
    fake_await_op(&host, CUDA_OP_COPY, 2);
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION, 1);
    carry_out_copy(&host, 0);
    call_next(&host);
    fake_await_op(&host, CUDA_OP_HOST_FUNCTION_DONE, 1);
    assert_ok(cuCtxSynchronize());
    fake_settle(&host);
    assert_int_equal(fake_device(&host, to)[63], 0);
    assert_int_equal(fake_device(&host, to)[64], 9);
    assert_int_equal(fake_device(&host, to)[127], 9);
    /* It was brought: from now on as ever. */
    vgpu_flag_set(&stream.hold_copies, 0);
    assert_ok(cuMemcpyHtoDAsync_v2(to, pinned, PIECE, NULL));
    assert_ok(cuCtxSynchronize());
    fake_settle(&host);
    assert_int_equal(fake_device(&host, to)[0], 9);
    assert_int_equal(fake_count_op(&host, CUDA_OP_HOST_FUNCTION), 1);
    end(&host);
}

static uint64_t populates(struct fake_relay *relay)
{
    uint64_t count;

    pthread_mutex_lock(&relay->lock);
    count = relay->populates;
    pthread_mutex_unlock(&relay->lock);
    return count;
}

static void test_mirror_memory_is_asked_for_once(void **state)
{
    struct fake_host host = {0};
    CUcontext context;
    uint64_t before;
    void *memory;

    begin(&host, &context);
    assert_ok(cuMemHostAlloc(&memory, 100000, 0));
    assert_ok(cuMemFreeHost(memory));
    before = populates(host.relay);
    assert_int_not_equal(before, 0);
    assert_ok(cuMemHostAlloc(&memory, 100000, 0));
    assert_int_equal(populates(host.relay), before);
    end(&host);
}

static void test_mirror_guest_out_of_memory(void **state)
{
    static uint8_t data[300000];
    struct fake_host host = {0};
    CUcontext context;
    CUdeviceptr pointer;
    CUmodule module;
    void *memory;

    begin(&host, &context);
    assert_ok(cuMemAlloc_v2(&pointer, sizeof(data)));
    vgpu_flag_set(&host.relay->out_of_memory, 1);
    assert_int_equal(cuMemHostAlloc(&memory, 4096, 0), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(cuMemcpyHtoD_v2(pointer, data, sizeof(data)), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(cuMemcpyDtoH_v2(data, pointer, sizeof(data)), CUDA_ERROR_OUT_OF_MEMORY);
    /* Too large for a record. */
    memset(data, ' ', sizeof(data) - 1);
    memcpy(data, ".version 7.0", 12);
    assert_int_equal(cuModuleLoadData(&module, data), CUDA_ERROR_OUT_OF_MEMORY);
    vgpu_flag_set(&host.relay->out_of_memory, 0);
    assert_ok(cuModuleLoadData(&module, data));
    assert_ok(cuMemHostAlloc(&memory, 4096, 0));
    assert_ok(cuMemcpyHtoD_v2(pointer, data, sizeof(data)));
    assert_ok(cuCtxSynchronize());
    fake_settle(&host);
    assert_memory_equal(fake_device(&host, pointer), data, sizeof(data));
    end(&host);
}

static void test_mirror_state_is_the_drivers(void **state)
{
    struct fake_host host = {0};
    struct vgpu_identity vm;

    begin(&host, NULL);
    assert_true(vgpu_get_identity(&vm));
    assert_int_equal(vm.vm_id, 3);
    assert_int_equal(vm.priority, 1);
    assert_int_equal(vm.channel, 9);
    assert_string_equal(vm.pool, "A");
    assert_true(vm.relayed);
    fake_relay_prefer(host.relay, 2);
    while (vgpu_get_identity(&vm) && vm.priority != 2)
        sched_yield();
    assert_int_equal(vm.priority, 2);
    assert_int_equal(vgpu_channel_status(), VGPU_OK);
    end(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mirror_host_memory_is_for_copies),
        cmocka_unit_test(test_mirror_whole_pages_are_moved),
        cmocka_unit_test(test_mirror_pages_that_cannot_move_stay),
        cmocka_unit_test(test_mirror_blob_in_the_data_area),
        cmocka_unit_test(test_mirror_strided_upload),
        cmocka_unit_test(test_mirror_strided_download_keeps_the_gaps),
        cmocka_unit_test(test_mirror_transfer_is_pushed_before_its_record),
        cmocka_unit_test(test_mirror_gone_ends_the_wait_for_room),
        cmocka_unit_test(test_mirror_upload_behind_a_host_function),
        cmocka_unit_test(test_mirror_upload_without_host_functions_is_direct),
        cmocka_unit_test(test_mirror_upload_of_what_a_copy_is_yet_to_bring),
        cmocka_unit_test(test_mirror_memory_is_asked_for_once),
        cmocka_unit_test(test_mirror_guest_out_of_memory),
        cmocka_unit_test(test_mirror_state_is_the_drivers),
    };

    fake_mirrored = true;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
