/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random copies and sets of one to three dimensions against a model on the CPU. A set of buffers
 * (device, page-locked, registered, pageable) moves between threads and streams; events order the
 * streams, a lock the threads. Each operation is applied to the model in the order of issue; host
 * memory is looked at, and written, only when the set's stream is idle.
 *
 * Synchronous calls work in the legacy stream, so they are used on blocking streams only, which
 * order with it; what CUDA documents for pageable memory (settled when the call returns) is relied
 * on, and nothing more.
 */
#include <stdarg.h>
#include <string.h>

#include "tests/proof/proof.h"

#define AREAS       8
#define SETS        4
#define MAX_THREADS 3
#define NOTES       12

enum kind { DEVICE, PINNED, REGISTERED, PAGEABLE, KINDS };

static const char *const kind_names[KINDS] = {"device", "pinned", "registered", "pageable"};

struct area {
    enum kind kind;
    uint8_t *host; /* NULL: the device's */
    CUdeviceptr device;
    uint8_t *model;
    size_t bytes;
};

struct set {
    pthread_mutex_t lock;
    struct area areas[AREAS]; /* two of each kind */
    CUevent last;             /* recorded behind the last operation */
    CUstream stream;          /* where that was */
    uint8_t *scratch;
    char notes[NOTES][160]; /* the last operations, for a failure's message */
    unsigned noted;
};

struct bulk {
    struct proof *proof;
    struct set sets[SETS];
    bool unified;
    uint64_t until_ns;
};

struct hand {
    struct bulk *bulk;
    uint64_t random;
    CUstream streams[2]; /* blocking, non-blocking */
    uint64_t operations, bytes, looks;
    pthread_t thread;
};

/* A box in an area, and how its rows lie. */
struct box {
    size_t base, pitch, rows; /* rows of a slice */
    size_t x, y, z;
};

static size_t below(struct hand *hand, size_t limit)
{
    return (size_t)(proof_random(&hand->random) >> 11) % limit;
}

/* 1 to limit; small as often as large. */
static size_t some_size(struct hand *hand, size_t limit)
{
    unsigned bits = 0;

    while (limit >> bits > 1)
        bits++;
    return 1 + below(hand, (size_t)1 << below(hand, bits + 1)) % limit;
}

__attribute__((format(printf, 2, 3))) static void note(struct set *set, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(set->notes[set->noted++ % NOTES], sizeof(set->notes[0]), format, arguments);
    va_end(arguments);
}

static void differs(struct set *set, const struct area *area, const uint8_t *got)
{
    size_t at = 0, count = 0;

    while (at < area->bytes && got[at] == area->model[at])
        at++;
    for (size_t i = at; i < area->bytes; i++)
        count += got[i] != area->model[i];
    fprintf(stderr, "area %d (%s, %zu bytes) differs at %zu, in %zu bytes: %#x, not %#x\n",
            (int)(area - set->areas), kind_names[area->kind], area->bytes, at, count, got[at],
            area->model[at]);
    for (unsigned i = set->noted > NOTES ? set->noted - NOTES : 0; i < set->noted; i++)
        fprintf(stderr, "  %s\n", set->notes[i % NOTES]);
    CHECK(!"memory as the model has it");
}

static void open_area(struct proof *proof, struct area *area, enum kind kind, size_t bytes)
{
    void *memory = NULL;

    *area = (struct area){.kind = kind, .bytes = bytes, .model = malloc(bytes)};
    if (proof->pageable && kind != DEVICE)
        area->kind = PAGEABLE;
    switch (area->kind) {
    case DEVICE:
        OK(proof, cuMemAlloc(&area->device, bytes));
        OK(proof, cuMemsetD8(area->device, 0x40, bytes));
        break;
    case PINNED:
        OK(proof, cuMemHostAlloc(&memory, bytes, 0));
        break;
    case REGISTERED:
        CHECK(posix_memalign(&memory, 4096, (bytes + 4095) / 4096 * 4096) == 0);
        OK(proof, cuMemHostRegister(memory, (bytes + 4095) / 4096 * 4096, 0));
        break;
    default:
        memory = malloc(bytes);
        break;
    }
    area->host = memory;
    if (memory)
        memset(memory, 0x40, bytes);
    memset(area->model, 0x40, bytes);
}

static void close_area(struct proof *proof, struct area *area)
{
    switch (area->kind) {
    case DEVICE:
        OK(proof, cuMemFree(area->device));
        break;
    case PINNED:
        OK(proof, cuMemFreeHost(area->host));
        break;
    case REGISTERED:
        OK(proof, cuMemHostUnregister(area->host));
        free(area->host);
        break;
    default:
        free(area->host);
        break;
    }
    free(area->model);
}

static void open_set(struct proof *proof, struct set *set, size_t bytes)
{
    memset(set, 0, sizeof(*set));
    pthread_mutex_init(&set->lock, NULL);
    for (unsigned i = 0; i < AREAS; i++)
        open_area(proof, &set->areas[i], (enum kind)(i % KINDS), bytes + 977 * i);
    set->scratch = malloc(bytes + 977 * AREAS);
    OK(proof, cuEventCreate(&set->last, CU_EVENT_DISABLE_TIMING));
}

static void close_set(struct proof *proof, struct set *set)
{
    for (unsigned i = 0; i < AREAS; i++)
        close_area(proof, &set->areas[i]);
    free(set->scratch);
    OK(proof, cuEventDestroy(set->last));
}

/* Two areas that a copy goes between; never the same. */
static void choose_areas(struct hand *hand, struct set *set, struct area **to, struct area **from)
{
    size_t first = below(hand, AREAS), second = (first + 1 + below(hand, AREAS - 1)) % AREAS;

    *to = &set->areas[first];
    *from = &set->areas[second];
}

static CUdeviceptr address(const struct area *area, size_t at)
{
    return area->host ? (CUdeviceptr)(uintptr_t)(area->host + at) : area->device + at;
}

/* Copies between host areas are done by the host at once, so the stream must be idle. */
static bool settle_host_copy(struct hand *hand, CUstream stream, const struct area *to,
                             const struct area *from)
{
    if (!to->host || !from->host)
        return false;
    OK(hand->bulk->proof, cuStreamSynchronize(stream));
    return true;
}

static void linear(struct hand *hand, struct set *set, CUstream stream, bool blocking)
{
    struct proof *proof = hand->bulk->proof;
    struct area *to, *from;
    size_t bytes, at, source;
    bool now = blocking && below(hand, 3) == 0, any = hand->bulk->unified && below(hand, 3) == 0;

    choose_areas(hand, set, &to, &from);
    if (to->host && from->host && !any)
        return;
    bytes = some_size(hand, to->bytes < from->bytes ? to->bytes : from->bytes);
    at = below(hand, to->bytes - bytes + 1);
    source = below(hand, from->bytes - bytes + 1);
    note(set, "%s%s %zu bytes: %d(%s)+%zu from %d(%s)+%zu", any ? "any " : "",
         now ? "now" : "async", bytes, (int)(to - set->areas), kind_names[to->kind], at,
         (int)(from - set->areas), kind_names[from->kind], source);
    if (settle_host_copy(hand, stream, to, from))
        OK(proof, cuMemcpy(address(to, at), address(from, source), bytes));
    else if (any && now)
        OK(proof, cuMemcpy(address(to, at), address(from, source), bytes));
    else if (any)
        OK(proof, cuMemcpyAsync(address(to, at), address(from, source), bytes, stream));
    else if (to->host && now)
        OK(proof, cuMemcpyDtoH(to->host + at, address(from, source), bytes));
    else if (to->host)
        OK(proof, cuMemcpyDtoHAsync(to->host + at, address(from, source), bytes, stream));
    else if (from->host && now)
        OK(proof, cuMemcpyHtoD(address(to, at), from->host + source, bytes));
    else if (from->host)
        OK(proof, cuMemcpyHtoDAsync(address(to, at), from->host + source, bytes, stream));
    else if (now)
        OK(proof, cuMemcpyDtoD(address(to, at), address(from, source), bytes));
    else
        OK(proof, cuMemcpyDtoDAsync(address(to, at), address(from, source), bytes, stream));
    memcpy(to->model + at, from->model + source, bytes);
    hand->bytes += bytes;
}

/* A place for a box of this size; false if there is none that way. */
static bool place_box(struct hand *hand, const struct area *area, const size_t size[3],
                      struct box *box)
{
    size_t extent;

    box->x = below(hand, 2) ? below(hand, 40) : 0;
    box->y = below(hand, 2) ? below(hand, 5) : 0;
    box->z = size[2] > 1 && below(hand, 2) ? below(hand, 3) : 0;
    box->pitch = box->x + size[0] + (below(hand, 2) ? below(hand, 70) : 0);
    box->rows = box->y + size[1] + (below(hand, 2) ? below(hand, 4) : 0);
    extent =
        ((box->z + size[2] - 1) * box->rows + box->y + size[1] - 1) * box->pitch + box->x + size[0];
    if (extent > area->bytes)
        return false;
    box->base = below(hand, area->bytes - extent + 1);
    return true;
}

static size_t box_at(const struct box *box, size_t z, size_t y)
{
    return box->base + ((box->z + z) * box->rows + box->y + y) * box->pitch + box->x;
}

static CUDA_MEMCPY2D copy_2d(const struct area *to, const struct box *at, const struct area *from,
                             const struct box *source, const size_t size[3])
{
    CUDA_MEMCPY2D copy = {.srcXInBytes = source->x,
                          .srcY = source->y,
                          .srcPitch = source->pitch,
                          .dstXInBytes = at->x,
                          .dstY = at->y,
                          .dstPitch = at->pitch,
                          .WidthInBytes = size[0],
                          .Height = size[1]};

    copy.srcMemoryType = from->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    copy.dstMemoryType = to->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    copy.srcHost = from->host ? from->host + source->base : NULL;
    copy.dstHost = to->host ? to->host + at->base : NULL;
    copy.srcDevice = from->host ? 0 : from->device + source->base;
    copy.dstDevice = to->host ? 0 : to->device + at->base;
    return copy;
}

static CUDA_MEMCPY3D copy_3d(const struct area *to, const struct box *at, const struct area *from,
                             const struct box *source, const size_t size[3])
{
    CUDA_MEMCPY3D copy = {.srcXInBytes = source->x,
                          .srcY = source->y,
                          .srcZ = source->z,
                          .srcPitch = source->pitch,
                          .srcHeight = source->rows,
                          .dstXInBytes = at->x,
                          .dstY = at->y,
                          .dstZ = at->z,
                          .dstPitch = at->pitch,
                          .dstHeight = at->rows,
                          .WidthInBytes = size[0],
                          .Height = size[1],
                          .Depth = size[2]};

    copy.srcMemoryType = from->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    copy.dstMemoryType = to->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
    copy.srcHost = from->host ? from->host + source->base : NULL;
    copy.dstHost = to->host ? to->host + at->base : NULL;
    copy.srcDevice = from->host ? 0 : from->device + source->base;
    copy.dstDevice = to->host ? 0 : to->device + at->base;
    return copy;
}

static void boxes(struct hand *hand, struct set *set, CUstream stream, bool blocking, bool deep)
{
    struct proof *proof = hand->bulk->proof;
    struct area *to, *from;
    struct box at = {0}, source = {0};
    size_t size[3], most;
    bool now = blocking && below(hand, 3) == 0;

    choose_areas(hand, set, &to, &from);
    most = to->bytes < from->bytes ? to->bytes : from->bytes;
    size[0] = some_size(hand, most / 4 < 8192 ? most / 4 : 8192);
    size[1] = some_size(hand, most / size[0] < 300 ? most / size[0] : 300);
    size[2] = deep ? some_size(hand, 9) : 1;
    if (!place_box(hand, to, size, &at) || !place_box(hand, from, size, &source))
        return;
    note(set,
         "%s %zux%zux%zu: %d(%s) %zu:%zu/%zu/%zu p%zu r%zu from %d(%s) %zu:%zu/%zu/%zu p%zu "
         "r%zu",
         now ? "now" : "async", size[0], size[1], size[2], (int)(to - set->areas),
         kind_names[to->kind], at.base, at.x, at.y, at.z, at.pitch, at.rows,
         (int)(from - set->areas), kind_names[from->kind], source.base, source.x, source.y,
         source.z, source.pitch, source.rows);
    now |= settle_host_copy(hand, stream, to, from);
    if (deep) {
        CUDA_MEMCPY3D copy = copy_3d(to, &at, from, &source, size);

        if (now)
            OK(proof, cuMemcpy3D(&copy));
        else
            OK(proof, cuMemcpy3DAsync(&copy, stream));
    } else {
        CUDA_MEMCPY2D copy = copy_2d(to, &at, from, &source, size);

        if (now)
            OK(proof, cuMemcpy2DUnaligned(&copy));
        else
            OK(proof, cuMemcpy2DAsync(&copy, stream));
    }
    for (size_t z = 0; z < size[2]; z++)
        for (size_t y = 0; y < size[1]; y++)
            memcpy(to->model + box_at(&at, z, y), from->model + box_at(&source, z, y), size[0]);
    hand->bytes += size[0] * size[1] * size[2];
}

static void fill_model(struct area *area, size_t at, size_t count, const void *value, size_t width)
{
    for (size_t i = 0; i < count; i++)
        memcpy(area->model + at + i * width, value, width);
}

/* Sets of elements of 1, 2 or 4 bytes. */
static void sets(struct hand *hand, struct set *set, CUstream stream, bool blocking)
{
    struct proof *proof = hand->bulk->proof;
    struct area *area = &set->areas[below(hand, 2) * KINDS + DEVICE];
    size_t width = (size_t)1 << below(hand, 3), elements = area->bytes / width;
    size_t count = some_size(hand, elements), at = below(hand, elements - count + 1) * width;
    uint32_t value = (uint32_t)proof_random(&hand->random);
    bool now = blocking && below(hand, 3) == 0;
    CUdeviceptr to = area->device + at;

    note(set, "%s set of %zu x %zu bytes at %d+%zu to %#x", now ? "now" : "async", count, width,
         (int)(area - set->areas), at, value);
    if (width == 1 && now)
        OK(proof, cuMemsetD8(to, (unsigned char)value, count));
    else if (width == 1)
        OK(proof, cuMemsetD8Async(to, (unsigned char)value, count, stream));
    else if (width == 2 && now)
        OK(proof, cuMemsetD16(to, (unsigned short)value, count));
    else if (width == 2)
        OK(proof, cuMemsetD16Async(to, (unsigned short)value, count, stream));
    else if (now)
        OK(proof, cuMemsetD32(to, value, count));
    else
        OK(proof, cuMemsetD32Async(to, value, count, stream));
    fill_model(area, at, count, &value, width);
    hand->bytes += count * width;
}

static void sets_2d(struct hand *hand, struct set *set, CUstream stream, bool blocking)
{
    struct proof *proof = hand->bulk->proof;
    struct area *area = &set->areas[below(hand, 2) * KINDS + DEVICE];
    size_t width = (size_t)1 << below(hand, 3);
    size_t count = some_size(hand, area->bytes / 8 / width < 4096 ? area->bytes / 8 / width : 4096);
    size_t pitch = (count + (below(hand, 2) ? below(hand, 50) : 0)) * width;
    size_t rows = some_size(hand, area->bytes / pitch < 300 ? area->bytes / pitch : 300);
    size_t at = below(hand, (area->bytes - rows * pitch) / width + 1) * width;
    uint32_t value = (uint32_t)proof_random(&hand->random);
    bool now = blocking && below(hand, 3) == 0;
    CUdeviceptr to = area->device + at;

    note(set, "%s set of %zu rows of %zu x %zu bytes, pitch %zu, at %d+%zu to %#x",
         now ? "now" : "async", rows, count, width, pitch, (int)(area - set->areas), at, value);
    if (width == 1 && now)
        OK(proof, cuMemsetD2D8(to, pitch, (unsigned char)value, count, rows));
    else if (width == 1)
        OK(proof, cuMemsetD2D8Async(to, pitch, (unsigned char)value, count, rows, stream));
    else if (width == 2 && now)
        OK(proof, cuMemsetD2D16(to, pitch, (unsigned short)value, count, rows));
    else if (width == 2)
        OK(proof, cuMemsetD2D16Async(to, pitch, (unsigned short)value, count, rows, stream));
    else if (now)
        OK(proof, cuMemsetD2D32(to, pitch, value, count, rows));
    else
        OK(proof, cuMemsetD2D32Async(to, pitch, value, count, rows, stream));
    for (size_t y = 0; y < rows; y++)
        fill_model(area, at + y * pitch, count, &value, width);
    hand->bytes += rows * count * width;
}

static void operate(struct hand *hand, struct set *set, CUstream stream, bool blocking)
{
    switch (below(hand, 8)) {
    case 0:
        sets(hand, set, stream, blocking);
        break;
    case 1:
        sets_2d(hand, set, stream, blocking);
        break;
    case 2:
        boxes(hand, set, stream, blocking, false);
        break;
    case 3:
        boxes(hand, set, stream, blocking, true);
        break;
    default:
        linear(hand, set, stream, blocking);
        break;
    }
    hand->operations++;
}

/* All areas are compared; the host's are then written anew, in part. */
static void look(struct hand *hand, struct set *set, CUstream stream, bool blocking)
{
    struct proof *proof = hand->bulk->proof;

    if (below(hand, 2)) {
        OK(proof, cuStreamSynchronize(stream));
    } else {
        OK(proof, cuEventRecord(set->last, stream));
        OK(proof, cuEventSynchronize(set->last));
    }
    for (unsigned i = 0; i < AREAS; i++) {
        struct area *area = &set->areas[i];
        const uint8_t *got = area->host;
        size_t bytes = some_size(hand, area->bytes), at = below(hand, area->bytes - bytes + 1);

        if (!got) {
            memset(set->scratch, 0x99, area->bytes);
            if (blocking)
                OK(proof, cuMemcpyDtoH(set->scratch, area->device, area->bytes));
            else {
                OK(proof, cuMemcpyDtoHAsync(set->scratch, area->device, area->bytes, stream));
                OK(proof, cuStreamSynchronize(stream));
            }
            got = set->scratch;
        }
        if (memcmp(got, area->model, area->bytes) != 0)
            differs(set, area, got);
        if (!area->host)
            continue;
        for (size_t j = at; j < at + bytes; j++)
            area->host[j] = area->model[j] = (uint8_t)(hand->random >> j % 50);
    }
    note(set, "a look");
    hand->looks++;
}

static struct set *take_set(struct hand *hand)
{
    for (;;) {
        struct set *set = &hand->bulk->sets[below(hand, SETS)];

        if (pthread_mutex_trylock(&set->lock) == 0)
            return set;
    }
}

static void *work(void *argument)
{
    struct hand *hand = argument;
    struct proof *proof = hand->bulk->proof;

    OK(proof, cuCtxSetCurrent(proof->context));
    while (proof_now_ns() < hand->bulk->until_ns) {
        struct set *set = take_set(hand);
        bool blocking = below(hand, 2) == 0;
        CUstream stream = hand->streams[blocking ? 0 : 1];

        if (set->stream != stream)
            OK(proof, cuStreamWaitEvent(stream, set->last, 0));
        set->stream = stream;
        note(set, "taken over by a %s stream", blocking ? "blocking" : "non-blocking");
        for (size_t i = 1 + below(hand, 12); i > 0; i--)
            operate(hand, set, stream, blocking);
        if (below(hand, 3) == 0)
            look(hand, set, stream, blocking);
        OK(proof, cuEventRecord(set->last, stream));
        pthread_mutex_unlock(&set->lock);
    }
    return NULL;
}

static void open_bulk(struct bulk *bulk, struct proof *proof, const size_t *bytes)
{
    int unified = 0;

    *bulk = (struct bulk){.proof = proof};
    OK(proof, cuDeviceGetAttribute(&unified, CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 0));
    bulk->unified = unified;
    for (unsigned i = 0; i < SETS; i++)
        open_set(proof, &bulk->sets[i], bytes[i]);
    OK(proof, cuCtxSynchronize());
    bulk->until_ns = proof_now_ns() + proof->seconds * UINT64_C(1000000000);
}

static void close_bulk(struct bulk *bulk, struct hand *hand)
{
    struct proof *proof = bulk->proof;

    for (unsigned i = 0; i < SETS; i++) {
        if (bulk->sets[i].stream)
            OK(proof, cuStreamWaitEvent(hand->streams[0], bulk->sets[i].last, 0));
        look(hand, &bulk->sets[i], hand->streams[0], true);
        close_set(proof, &bulk->sets[i]);
    }
}

static void run_bulk(struct proof *proof, unsigned threads, const size_t *bytes)
{
    struct bulk *bulk = malloc(sizeof(*bulk));
    struct hand hands[MAX_THREADS];
    uint64_t operations = 0, moved = 0, looks = 0;

    open_bulk(bulk, proof, bytes);
    for (unsigned i = 0; i < threads; i++) {
        hands[i] = (struct hand){.bulk = bulk, .random = proof_seed(proof, 100 + i)};
        OK(proof, cuStreamCreate(&hands[i].streams[0], CU_STREAM_DEFAULT));
        OK(proof, cuStreamCreate(&hands[i].streams[1], CU_STREAM_NON_BLOCKING));
    }
    for (unsigned i = 0; i < threads; i++)
        CHECK(pthread_create(&hands[i].thread, NULL, work, &hands[i]) == 0);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(hands[i].thread, NULL);
        operations += hands[i].operations;
        moved += hands[i].bytes;
        looks += hands[i].looks;
    }
    close_bulk(bulk, &hands[0]);
    for (unsigned i = 0; i < threads; i++)
        for (unsigned j = 0; j < 2; j++)
            OK(proof, cuStreamDestroy(hands[i].streams[j]));
    printf("  %u threads: %llu operations, %.1f MB, %llu looks, %s addressing\n", threads,
           (unsigned long long)operations, (double)moved / 1e6, (unsigned long long)looks,
           bulk->unified ? "unified" : "separate");
    free(bulk);
    /* Far below what any machine does; a test that does nothing proves nothing. */
    CHECK(operations >= 20u * proof->seconds && looks >= proof->seconds);
}

static const size_t small_sets[SETS] = {1021, 4099, 70001, 300007};
static const size_t large_sets[SETS] = {4099, 300007, (1u << 20) + 13, (9u << 20) + 1};

static void one_thread(struct proof *proof)
{
    run_bulk(proof, 1, small_sets);
}

static void three_threads(struct proof *proof)
{
    run_bulk(proof, 3, small_sets);
}

static void larger(struct proof *proof)
{
    run_bulk(proof, 3, large_sets);
}

const struct proof_part proof_bulk_parts[] = {
    {"bulk.one_thread", one_thread, 0},
    {"bulk.three_threads", three_threads, 0},
    {"bulk.larger", larger, 0},
    {0},
};
