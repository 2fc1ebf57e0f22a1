/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/fake_host.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fdpass.h"
#include "common/flag.h"
#include "cuda/cuda_abi.h"
#include "guest/libvgpu/fake_relay.h"
#include "ring/pages.h"

bool fake_mirrored, fake_window, fake_granted;

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fake host: %s\n", what);
    abort();
}

static void kick(int fd)
{
    uint64_t one = 1;

    check(write(fd, &one, sizeof(one)) == sizeof(one), "kick");
}

uint8_t *fake_device(struct fake_host *host, uint64_t address)
{
    if (host->unified && address - FAKE_UNIFIED_AT < host->geometry.data_bytes)
        return host->base + host->geometry.data_offset + (address - FAKE_UNIFIED_AT);
    check(address >= FAKE_DEVICE_BASE && address < FAKE_DEVICE_BASE + FAKE_DEVICE_BYTES,
          "a device address outside of the memory");
    return host->device + (address - FAKE_DEVICE_BASE);
}

void fake_complete(struct fake_host *host, const struct vgpu_completion *completion)
{
    void *entry;
    int status;

    pthread_mutex_lock(&host->lock);
    while ((status = ring_reserve(&host->completions, completion->size_bytes, &entry)) == -EAGAIN)
        sched_yield();
    check(status == 0, "a completion that does not fit");
    memcpy(entry, completion, completion->size_bytes);
    if (ring_publish(&host->completions))
        kick(host->completion_kick);
    pthread_mutex_unlock(&host->lock);
}

void fake_kick(struct fake_host *host)
{
    kick(host->completion_kick);
}

void fake_reply(struct fake_host *host, uint64_t seq, int32_t result)
{
    struct vgpu_completion completion = {
        .size_bytes = sizeof(completion),
        .kind = VGPU_COMPLETION_REPLY,
        .seq = seq,
        .result = result,
    };

    fake_complete(host, &completion);
}

/* An answer with `fixed` bytes of fields, and one blob behind them. */
static void reply_blob(struct fake_host *host, const struct vgpu_record *record, size_t fixed,
                       size_t blob_at, const void *blob, uint32_t bytes)
{
    _Alignas(8) uint8_t answer[VGPU_RECORD_MAX_BYTES] = {0};
    struct vgpu_completion *head = (struct vgpu_completion *)(void *)answer;
    struct vgpu_blob place = {.offset = fixed, .size_bytes = bytes};

    head->kind = VGPU_COMPLETION_REPLY;
    head->seq = record->seq;
    head->size_bytes = (uint32_t)((fixed + bytes + 7) & ~(size_t)7);
    memcpy(answer + blob_at, &place, sizeof(place));
    memcpy(answer + fixed, blob, bytes);
    fake_complete(host, head);
}

static void reply_device(struct fake_host *host, const struct vgpu_record *record)
{
    struct cuda_device_info info = {
        .driver_version = 12040,
        .attribute_count = CUDA_DEVICE_ATTRIBUTE_MAX,
        .total_memory_bytes = FAKE_DEVICE_BYTES,
        .least_priority = 0,
        .greatest_priority = -5,
        .module_loading_mode = CU_MODULE_LAZY_LOADING,
        .uuid = {1, 2, 3},
        .name = "fake",
        .pci_bus_id = "0000:3B:00.0",
    };

    for (int i = 0; i < VGPU_DEVICE_ATTRIBUTES; i++)
        info.attributes[i] = VGPU_ATTRIBUTE_UNKNOWN;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = 1024;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X] = 1024;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y] = 1024;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z] = 64;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X] = INT32_MAX;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y] = 65535;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z] = 65535;
    info.attributes[CU_DEVICE_ATTRIBUTE_WARP_SIZE] = 32;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_PITCH] = INT32_MAX;
    info.attributes[CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH] = host->clusters;
    info.attributes[CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED] = host->clusters;
    info.attributes[CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT] = 4;
    info.attributes[CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR] = 2048;
    info.attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR] = 9;
    info.attributes[CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR] = 0;
    info.attributes[CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING] = 1;
    info.attributes[CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY] = 1;
    info.attributes[CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH] = 1;
    reply_blob(host, record, sizeof(struct cuda_re_device_info),
               offsetof(struct cuda_re_device_info, info), &info, sizeof(info));
}

/* Each function takes an 8-byte pointer and a 4-byte count. */
static void reply_function(struct fake_host *host, const struct vgpu_record *record)
{
    struct {
        struct cuda_function_info info;
        struct cuda_param_info params[2];
    } details = {
        .info = {.param_count = 2, .param_bytes = 12, .params_known = 1},
        .params = {{0, 8}, {8, 4}},
    };

    if (host->large_params)
        details.info.param_bytes = VGPU_LAUNCH_PARAM_BYTES;
    details.info.attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK] = 512;
    details.info.attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES] = 49152;
    reply_blob(host, record, sizeof(struct cuda_re_module_get_function),
               offsetof(struct cuda_re_module_get_function, details), &details, sizeof(details));
}

/* Three functions; the first answer has room for two of their names. */
static void reply_functions(struct fake_host *host, const struct vgpu_record *record)
{
    static const struct {
        const char *names;
        uint32_t bytes;
    } answers[] = {{"first\0second", 13}, {"", 0}, {"third", 6}, {"", 0}};
    uint32_t first = ((const struct cuda_op_module_functions *)record)->first;
    uint32_t which = first < 3 ? first : 3;
    struct {
        struct cuda_re_module_functions fixed;
        char names[16];
    } answer = {
        .fixed = {.head = {.kind = VGPU_COMPLETION_REPLY,
                           .seq = record->seq,
                           .size_bytes = sizeof(answer)},
                  .count = 3,
                  .names = {.offset = sizeof(answer.fixed), .size_bytes = answers[which].bytes}}};

    memcpy(answer.names, answers[which].names, answers[which].bytes);
    fake_complete(host, &answer.fixed.head);
}

static void reply_module(struct fake_host *host, const struct vgpu_record *record)
{
    static const char text[] = "ptxas info: nothing to say";
    const struct cuda_op_module_load *op = (const void *)record;

    reply_blob(host, record, sizeof(struct cuda_re_module_load),
               offsetof(struct cuda_re_module_load, info_log), text,
               op->info_log_bytes < sizeof(text) ? op->info_log_bytes : sizeof(text));
}

static void reply_u64(struct fake_host *host, const struct vgpu_record *record, uint64_t first,
                      uint64_t second, bool two)
{
    struct {
        struct vgpu_completion head;
        uint64_t values[2];
    } answer = {
        .head = {.size_bytes = two ? 56 : 48, .kind = VGPU_COMPLETION_REPLY, .seq = record->seq},
        .values = {first, second},
    };

    fake_complete(host, &answer.head);
}

static void reply_alloc(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_memory_alloc *op = (const void *)record;
    uint64_t address = FAKE_DEVICE_BASE + host->device_used;

    if (host->device_used + op->bytes > FAKE_DEVICE_BYTES) {
        fake_reply(host, record->seq, CUDA_ERROR_OUT_OF_MEMORY);
        return;
    }
    host->device_used += (op->bytes + 511) & ~511ull;
    if (vgpu_flag_get(&host->bad_addresses) > 0) {
        vgpu_flag_set(&host->bad_addresses, vgpu_flag_get(&host->bad_addresses) - 1);
        address = (uintptr_t)host->base;
    }
    reply_u64(host, record, address, 0, false);
}

static uint8_t *place(struct fake_host *host, const struct vgpu_place *at, uint64_t bytes)
{
    if (at->place == VGPU_PLACE_DEVICE)
        return fake_device(host, at->address);
    check(at->address + bytes <= host->geometry.data_bytes, "a copy beyond the data area");
    return host->base + host->geometry.data_offset + at->address;
}

/* What a copy has brought to the data area of a mirrored channel. */
static void tell_written(struct fake_host *host, const struct vgpu_place *target,
                         const struct vgpu_written *part)
{
    struct {
        struct vgpu_completion head;
        struct vgpu_written written;
    } told = {
        .head = {.size_bytes = sizeof(told), .kind = VGPU_COMPLETION_WRITTEN},
        .written = *part,
    };

    told.written.offset = target->address;
    if (host->relay && target->place == VGPU_PLACE_DATA)
        fake_complete(host, &told.head);
}

static void copy_line(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_copy *op = (const void *)record;

    memmove(place(host, &op->target, op->bytes), place(host, &op->source, op->bytes), op->bytes);
    tell_written(host, &op->target,
                 &(struct vgpu_written){.row_bytes = op->bytes,
                                        .pitch_bytes = op->bytes,
                                        .slice_pitch_bytes = op->bytes,
                                        .rows = 1,
                                        .slices = 1});
}

static void copy_box(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_copy_3d *op = (const void *)record;
    uint8_t *target = place(host, &op->target, op->width_bytes);
    const uint8_t *source = place(host, &op->source, op->width_bytes);

    for (uint64_t z = 0; z < op->depth; z++)
        for (uint64_t y = 0; y < op->height; y++)
            memmove(target + (z * op->target_slice_rows + y) * op->target_pitch,
                    source + (z * op->source_slice_rows + y) * op->source_pitch, op->width_bytes);
    tell_written(host, &op->target,
                 &(struct vgpu_written){
                     .row_bytes = op->width_bytes,
                     .pitch_bytes = op->target_pitch,
                     .slice_pitch_bytes = op->target_slice_rows * op->target_pitch,
                     .rows = (uint32_t)op->height,
                     .slices = (uint32_t)op->depth,
                 });
}

static void fill(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_fill *op = (const void *)record;

    for (uint64_t y = 0; y < op->height; y++)
        for (uint64_t x = 0; x < op->width; x++)
            memcpy(fake_device(host, op->target + y * op->pitch_bytes + x * op->element_bytes),
                   &op->value, op->element_bytes);
}

static void read_blob(struct fake_host *host, const struct vgpu_record *record,
                      const struct vgpu_blob *blob, void *target)
{
    const uint8_t *base = blob->place == VGPU_BLOB_INLINE ? (const uint8_t *)record
                                                          : host->base + host->geometry.data_offset;

    memcpy(target, base + blob->offset, blob->size_bytes);
}

static void upload(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_upload *op = (const void *)record;

    read_blob(host, record, &op->data, fake_device(host, op->target));
}

static void reply_sum(struct fake_host *host, const struct vgpu_record *record)
{
    const struct cuda_op_job_vector_add *op = (const void *)record;
    uint32_t a[1024], b[1024];

    read_blob(host, record, &op->a, a);
    read_blob(host, record, &op->b, b);
    for (uint32_t i = 0; i < op->count; i++)
        a[i] += b[i];
    reply_blob(host, record, sizeof(struct cuda_re_job_vector_add),
               offsetof(struct cuda_re_job_vector_add, sum), a, op->count * 4);
}

/* False: an answer is due. */
static bool carry_out(struct fake_host *host, const struct vgpu_record *record)
{
    switch (record->op) {
    case CUDA_OP_COPY:
        copy_line(host, record);
        return false;
    case CUDA_OP_COPY_3D:
        copy_box(host, record);
        return false;
    case CUDA_OP_FILL:
        fill(host, record);
        return false;
    case CUDA_OP_UPLOAD:
        upload(host, record);
        return false;
    case CUDA_OP_DEVICE_INFO:
        reply_device(host, record);
        return true;
    case CUDA_OP_MODULE_LOAD:
        reply_module(host, record);
        return true;
    case CUDA_OP_MODULE_GET_FUNCTION:
        reply_function(host, record);
        return true;
    case CUDA_OP_MODULE_FUNCTIONS:
        reply_functions(host, record);
        return true;
    case CUDA_OP_MODULE_GET_GLOBAL:
        reply_u64(host, record, FAKE_DEVICE_BASE + FAKE_DEVICE_BYTES - 64, 64, true);
        return true;
    case CUDA_OP_MEMORY_ALLOC:
    case CUDA_OP_POOL_ALLOC: /* these begin alike */
    case CUDA_OP_ADDRESS_RESERVE:
        reply_alloc(host, record);
        return true;
    case CUDA_OP_MEMORY_GRANULARITY:
        reply_u64(host, record, 4096, 8192, true);
        return true;
    case CUDA_OP_POOL_GET_ATTRIBUTE:
        reply_u64(host, record, 5, 0, false);
        return true;
    case CUDA_OP_MEMORY_INFO:
        reply_u64(host, record, FAKE_DEVICE_BYTES - host->device_used, FAKE_DEVICE_BYTES, true);
        return true;
    case CUDA_OP_HOST_REGISTER:
        reply_u64(host, record,
                  (host->unified ? FAKE_UNIFIED_AT : FAKE_HOST_VIEW) +
                      ((const struct cuda_op_host_register *)record)->area.offset,
                  0, false);
        return true;
    case CUDA_OP_DATA_AREA:
        reply_u64(host, record, host->unified ? FAKE_UNIFIED_AT : 0, 0, false);
        return true;
    case CUDA_OP_JOB_VECTOR_ADD:
        reply_sum(host, record);
        return true;
    case CUDA_OP_OCCUPANCY_BLOCKS:
    case CUDA_OP_OCCUPANCY_CLUSTERS:
        reply_u64(host, record, 2, 0, false);
        return true;
    case CUDA_OP_LINK_COMPLETE:
        reply_blob(host, record, sizeof(struct cuda_re_link_complete),
                   offsetof(struct cuda_re_link_complete, info_log), "", 0);
        return true;
    default:
        return false;
    }
}

void fake_carry_out(struct fake_host *host, const struct vgpu_record *record)
{
    if (!carry_out(host, record) && (record->flags & VGPU_RECORD_WAIT))
        fake_reply(host, record->seq, CUDA_SUCCESS);
}

static void take_record(struct fake_host *host, const struct vgpu_record *record)
{
    bool job = record->op == CUDA_OP_LAUNCH || record->op == CUDA_OP_LAUNCH_EX ||
               record->op == CUDA_OP_COPY || record->op == CUDA_OP_COPY_3D ||
               record->op == CUDA_OP_FILL || record->op == CUDA_OP_UPLOAD ||
               record->op == CUDA_OP_JOB_VECTOR_ADD;

    pthread_mutex_lock(&host->lock);
    check(record->seq == host->seen_count + 1, "a sequence number is wrong");
    host->seen[host->seen_count++ % FAKE_MAX_RECORDS] = record->op;
    host->last_thread = record->thread;
    host->jobs += job;
    if (record->op == CUDA_OP_LAUNCH || record->op == CUDA_OP_LAUNCH_EX ||
        record->op == CUDA_OP_STREAM_SET_ATTRIBUTE)
        memcpy(host->last_launch, record, record->size_bytes);
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->lock);
    if (host->on_record && host->on_record(host, record))
        return;
    fake_carry_out(host, record);
    page_store_u64(&host->page->notice.issued, record->seq);
}

static void *worker_main(void *argument)
{
    struct fake_host *host = argument;
    _Alignas(8) static __thread uint8_t record[VGPU_RECORD_MAX_BYTES];

    while (!__atomic_load_n(&host->stopping, __ATOMIC_ACQUIRE)) {
        size_t size;
        bool wake;
        int status = ring_consume(&host->submissions, record, sizeof(record), &size, &wake);

        check(status >= 0, "the guest's ring is nonsense");
        if (wake)
            kick(host->completion_kick);
        if (status > 0) {
            take_record(host, (const struct vgpu_record *)(const void *)record);
            continue;
        }
        if (ring_consumer_arm(&host->submissions)) {
            struct pollfd event = {.fd = host->submit_kick, .events = POLLIN};
            uint64_t count;

            poll(&event, 1, -1);
            check(read(host->submit_kick, &count, sizeof(count)) == sizeof(count), "read");
        }
        ring_consumer_disarm(&host->submissions);
    }
    return NULL;
}

static void make_channel(struct fake_host *host)
{
    struct vgpu_channel_geometry *g = &host->geometry;

    *g = (struct vgpu_channel_geometry){
        .sub_granules = host->sub_granules,
        .comp_granules = host->comp_granules,
        .sub_offset = 4096,
        .data_bytes = host->data_bytes,
    };
    g->comp_offset = g->sub_offset + g->sub_granules * VGPU_GRANULE_BYTES;
    g->data_offset = (g->comp_offset + g->comp_granules * VGPU_GRANULE_BYTES + 4095) & ~4095ull;
    g->total_bytes = g->data_offset + g->data_bytes;
    host->total_bytes = g->total_bytes;
    host->memory = memfd_create("fake", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    check(ftruncate(host->memory, (off_t)g->total_bytes) == 0, "ftruncate");
    check(fcntl(host->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0, "seal");
    host->base = mmap(NULL, g->total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, host->memory, 0);
    check(host->base != MAP_FAILED, "mmap");
    host->page = (struct vgpu_channel_page *)(void *)host->base;
    host->page->magic = VGPU_MAGIC;
    host->page->layout = VGPU_LAYOUT_VERSION;
    host->page->geometry = *g;
    host->page->flags = fake_mirrored ? VGPU_CHANNEL_MIRRORED : 0;
    host->page->notice.credit = host->credit;
    host->page->notice.state = VGPU_CHANNEL_READY;
    host->submit_kick = eventfd(0, EFD_CLOEXEC);
    host->completion_kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring_consumer_init(&host->submissions, &host->page->submission, host->base + g->sub_offset,
                       g->sub_granules, 0);
    ring_producer_init(&host->completions, &host->page->completion, host->base + g->comp_offset,
                       g->comp_granules, 0);
}

void fake_message(struct fake_host *host, const struct vgpu_msg *message)
{
    pthread_mutex_lock(&host->lock);
    check(send(host->connection, message, message->size_bytes, MSG_NOSIGNAL) ==
              (ssize_t)message->size_bytes,
          "send");
    pthread_mutex_unlock(&host->lock);
}

void fake_gone(struct fake_host *host, uint32_t status, const char *text)
{
    struct vgpu_msg_gone gone = {
        .head = {.size_bytes = sizeof(gone), .type = VGPU_MSG_GONE},
        .channel = 9,
        .status = status,
    };

    snprintf(gone.text, sizeof(gone.text), "%s", text);
    if (host->relay)
        fake_relay_gone(host->relay, status, text);
    else
        fake_message(host, &gone.head);
}

void fake_settle(struct fake_host *host)
{
    if (host->relay)
        fake_relay_turn(host->relay);
    pthread_mutex_lock(&host->lock);
    pthread_mutex_unlock(&host->lock);
}

static void answer_open(struct fake_host *host, const struct vgpu_msg *ask)
{
    struct vgpu_msg_opened opened = {
        .head = {.size_bytes = sizeof(opened), .type = VGPU_MSG_OPENED, .tag = ask->tag},
        .channel = 9,
        .token = {7},
        .geometry = host->geometry,
    };
    struct vgpu_msg_refused refused = {
        .head = {.size_bytes = sizeof(refused), .type = VGPU_MSG_REFUSED, .tag = ask->tag},
        .status = host->refuse_status,
        .retry_ns = 5,
        .text = "refused by the test",
    };
    int fds[3] = {host->memory, host->submit_kick, host->completion_kick};

    if (host->refuse_status)
        fake_message(host, &refused.head);
    else
        check(vgpu_fdpass_send(host->connection, &opened, sizeof(opened), fds, 3) == sizeof(opened),
              "send descriptors");
}

static void answer_hello(struct fake_host *host, const struct vgpu_msg *ask)
{
    struct vgpu_msg_welcome welcome = {
        .head = {.size_bytes = sizeof(welcome), .type = VGPU_MSG_WELCOME, .tag = ask->tag},
        .magic = VGPU_MAGIC,
        .version_major = VGPU_VERSION_MAJOR,
        .vm_id = 3,
        .priority = 1,
        .weight_hundredths = 5000,
        .max_channels = 8,
        .pool = "A",
        .name = "test",
    };

    fake_message(host, &welcome.head);
}

static void answer_channel(struct fake_host *host, const struct vgpu_msg *ask, uint16_t type)
{
    struct vgpu_msg_channel answer = {
        .head = {.size_bytes = sizeof(answer), .type = type, .tag = ask->tag}, .channel = 9};

    fake_message(host, &answer.head);
}

static void note(struct fake_host *host, unsigned *counter)
{
    pthread_mutex_lock(&host->lock);
    ++*counter;
    pthread_cond_broadcast(&host->changed);
    pthread_mutex_unlock(&host->lock);
}

static void serve(struct fake_host *host)
{
    union {
        struct vgpu_msg head;
        uint8_t bytes[VGPU_MSG_MAX_BYTES];
    } ask;

    while (recv(host->connection, &ask, sizeof(ask.head), MSG_WAITALL) == sizeof(ask.head)) {
        size_t rest = ask.head.size_bytes - sizeof(ask.head);

        check(recv(host->connection, ask.bytes + sizeof(ask.head), rest, MSG_WAITALL) ==
                  (ssize_t)rest,
              "a whole message");
        switch (ask.head.type) {
        case VGPU_MSG_HELLO:
            note(host, &host->hellos);
            answer_hello(host, &ask.head);
            break;
        case VGPU_MSG_OPEN:
            answer_open(host, &ask.head);
            break;
        case VGPU_MSG_RESUME:
            note(host, &host->resumes);
            answer_channel(host, &ask.head, VGPU_MSG_RESUMED);
            break;
        case VGPU_MSG_CLOSE:
            note(host, &host->closes);
            answer_channel(host, &ask.head, VGPU_MSG_CLOSED);
            break;
        default:
            check(false, "a message that a guest may not send");
        }
    }
}

static void *mediator_main(void *argument)
{
    struct fake_host *host = argument;

    for (;;) {
        int connection = accept(host->listener, NULL, NULL);

        if (connection < 0)
            return NULL;
        pthread_mutex_lock(&host->lock);
        host->connection = connection;
        pthread_mutex_unlock(&host->lock);
        serve(host);
        pthread_mutex_lock(&host->lock);
        close(host->connection);
        host->connection = -1;
        pthread_mutex_unlock(&host->lock);
    }
}

static void start_mediator(struct fake_host *host)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", host->path);
    unlink(host->path);
    host->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(bind(host->listener, (void *)&address, sizeof(address)) == 0, "bind");
    check(listen(host->listener, 4) == 0, "listen");
    check(pthread_create(&host->mediator, NULL, mediator_main, host) == 0, "mediator thread");
    host->mediator_runs = true;
}

static void stop_mediator(struct fake_host *host)
{
    if (!host->mediator_runs)
        return;
    shutdown(host->listener, SHUT_RDWR);
    pthread_mutex_lock(&host->lock);
    if (host->connection >= 0)
        shutdown(host->connection, SHUT_RDWR);
    pthread_mutex_unlock(&host->lock);
    pthread_join(host->mediator, NULL);
    close(host->listener);
    unlink(host->path);
    host->mediator_runs = false;
}

void fake_host_start(struct fake_host *host)
{
    static unsigned started;

    snprintf(host->path, sizeof(host->path), "/tmp/vgpu-fake-%d-%u", (int)getpid(), ++started);
    host->sub_granules = host->sub_granules ? host->sub_granules : 1024;
    host->comp_granules = host->comp_granules ? host->comp_granules : 1024;
    host->data_bytes = host->data_bytes ? host->data_bytes : 1u << 20;
    host->credit = host->credit ? host->credit : UINT64_MAX;
    host->connection = -1;
    pthread_mutex_init(&host->lock, NULL);
    pthread_cond_init(&host->changed, NULL);
    host->device = calloc(1, FAKE_DEVICE_BYTES);
    make_channel(host);
    if (fake_mirrored || fake_window || fake_granted)
        host->relay = fake_relay_start(host);
    check(pthread_create(&host->worker, NULL, worker_main, host) == 0, "worker thread");
    if (host->relay)
        snprintf(host->path, sizeof(host->path), FAKE_RELAY_PATH);
    else
        start_mediator(host);
}

void fake_host_vanish(struct fake_host *host)
{
    stop_mediator(host);
}

void fake_host_return(struct fake_host *host)
{
    start_mediator(host);
}

void fake_host_stop(struct fake_host *host)
{
    stop_mediator(host);
    if (host->relay)
        fake_relay_stop(host->relay);
    __atomic_store_n(&host->stopping, true, __ATOMIC_RELEASE);
    kick(host->submit_kick);
    pthread_join(host->worker, NULL);
    munmap(host->base, host->total_bytes);
    close(host->memory);
    close(host->submit_kick);
    close(host->completion_kick);
    free(host->device);
    pthread_mutex_destroy(&host->lock);
    pthread_cond_destroy(&host->changed);
}

static unsigned count_locked(const struct fake_host *host, uint16_t op)
{
    unsigned count = 0;

    for (uint64_t i = 0; i < host->seen_count && i < FAKE_MAX_RECORDS; i++)
        count += host->seen[i] == op;
    return count;
}

unsigned fake_count_op(struct fake_host *host, uint16_t op)
{
    unsigned count;

    pthread_mutex_lock(&host->lock);
    count = count_locked(host, op);
    pthread_mutex_unlock(&host->lock);
    return count;
}

uint32_t fake_last_thread(struct fake_host *host)
{
    uint32_t thread;

    pthread_mutex_lock(&host->lock);
    thread = host->last_thread;
    pthread_mutex_unlock(&host->lock);
    return thread;
}

void fake_await_op(struct fake_host *host, uint16_t op, unsigned count)
{
    pthread_mutex_lock(&host->lock);
    while (count_locked(host, op) < count)
        pthread_cond_wait(&host->changed, &host->lock);
    pthread_mutex_unlock(&host->lock);
}
