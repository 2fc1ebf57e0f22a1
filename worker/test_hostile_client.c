/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/test_hostile_client.h"

#include <stdlib.h>
#include <string.h>

#include "ring/pages.h"

const char hostile_ptx[] = ".version 6.4\n.target sm_75\n.address_size 64\n"
                           ".visible .global .u32 table[16];\n"
                           ".visible .entry add_one(.param .u64 p)\n{\n"
                           ".reg .b64 %rd<3>;\n.reg .b32 %r<3>;\n"
                           "ld.param.u64 %rd1, [p];\ncvta.to.global.u64 %rd2, %rd1;\n"
                           "ld.global.u32 %r1, [%rd2];\nadd.u32 %r2, %r1, 1;\n"
                           "st.global.u32 [%rd2], %r2;\nret;\n}\n";

/*
 * Fields: 1-9 a handle of that kind, A-I a new one, P a new pool, r one or 0, M new memory, m some,
 * S one of a stream, s that or a default stream, n a count, g and h a multiple of 2 MiB, e the size
 * of an element, 4 a number, 8 a size, a a device address, p a place, l a slice, z a reserved word;
 * b a name, i an image, o options, v numbers, q parameters, w nodes of a graph.
 */
static const struct {
    uint16_t code;
    const char *fields;
} shapes[] = {
    {CUDA_OP_DEVICE_INFO, ""},
    {CUDA_OP_THREAD_EXIT, ""},
    {CUDA_OP_PROCESS, "4z8"},
    {CUDA_OP_JOB_VECTOR_ADD, "nzvv"},
    {CUDA_OP_CONTEXT_RETAIN, "A4"},
    {CUDA_OP_CONTEXT_RELEASE, "1z"},
    {CUDA_OP_CONTEXT_CREATE, "A4"},
    {CUDA_OP_CONTEXT_DESTROY, "1z"},
    {CUDA_OP_CONTEXT_RESET, "1z"},
    {CUDA_OP_CONTEXT_SYNC, ""},
    {CUDA_OP_CONTEXT_SET_LIMIT, "4z8"},
    {CUDA_OP_CONTEXT_GET_LIMIT, "4z"},
    {CUDA_OP_CONTEXT_SET_CACHE_CONFIG, "4z"},
    {CUDA_OP_MODULE_LOAD, "Bzio44"},
    {CUDA_OP_MODULE_UNLOAD, "2z"},
    {CUDA_OP_MODULE_GET_FUNCTION, "2Cb"},
    {CUDA_OP_MODULE_GET_GLOBAL, "2zb"},
    {CUDA_OP_MODULE_FUNCTIONS, "24"},
    {CUDA_OP_LINK_CREATE, "Fzo44"},
    {CUDA_OP_LINK_ADD, "64ib"},
    {CUDA_OP_LINK_COMPLETE, "6z"},
    {CUDA_OP_LINK_IMAGE, "6z8l"},
    {CUDA_OP_LINK_DESTROY, "6z"},
    {CUDA_OP_FUNCTION_SET_ATTRIBUTE, "344z"},
    {CUDA_OP_FUNCTION_SET_CACHE_CONFIG, "34"},
    {CUDA_OP_OCCUPANCY_BLOCKS, "344z8"},
    {CUDA_OP_OCCUPANCY_SHARED, "344z"},
    {CUDA_OP_MEMORY_ALLOC, "8"},
    {CUDA_OP_MEMORY_ALLOC_PITCH, "88ez"},
    {CUDA_OP_MEMORY_FREE, "a"},
    {CUDA_OP_MEMORY_INFO, ""},
    {CUDA_OP_HOST_REGISTER, "l4z"},
    {CUDA_OP_HOST_UNREGISTER, "l"},
    {CUDA_OP_POOL_ALLOC, "8sr"},
    {CUDA_OP_POOL_FREE, "asz"},
    {CUDA_OP_POOL_CREATE, "Pz8"},
    {CUDA_OP_POOL_DESTROY, "rz"},
    {CUDA_OP_POOL_SET_ATTRIBUTE, "r48"},
    {CUDA_OP_POOL_GET_ATTRIBUTE, "r4"},
    {CUDA_OP_POOL_TRIM, "rz8"},
    {CUDA_OP_MEMORY_GRANULARITY, ""},
    {CUDA_OP_MEMORY_CREATE, "Mzg"},
    {CUDA_OP_MEMORY_RELEASE, "mz"},
    {CUDA_OP_ADDRESS_RESERVE, "g88"},
    {CUDA_OP_ADDRESS_FREE, "ag"},
    {CUDA_OP_MEMORY_MAP, "aghmz"},
    {CUDA_OP_MEMORY_UNMAP, "ag"},
    {CUDA_OP_MEMORY_SET_ACCESS, "ag4z"},
    {CUDA_OP_COPY, "pp8sz"},
    {CUDA_OP_COPY_3D, "pp8888888sz"},
    {CUDA_OP_FILL, "a888e4sz"},
    {CUDA_OP_UPLOAD, "avsz"},
    {CUDA_OP_DATA_AREA, ""},
    {CUDA_OP_STREAM_CREATE, "D44z"},
    {CUDA_OP_STREAM_DESTROY, "Sz"},
    {CUDA_OP_STREAM_WAIT_EVENT, "s54z"},
    {CUDA_OP_STREAM_QUERY, "sz"},
    {CUDA_OP_STREAM_SYNC, "sz"},
    {CUDA_OP_HOST_FUNCTION, "sz8"},
    {CUDA_OP_HOST_FUNCTION_DONE, "8"},
    {CUDA_OP_EVENT_CREATE, "E4"},
    {CUDA_OP_EVENT_DESTROY, "5z"},
    {CUDA_OP_EVENT_RECORD, "5s4z"},
    {CUDA_OP_EVENT_QUERY, "5z"},
    {CUDA_OP_EVENT_SYNC, "5z"},
    {CUDA_OP_EVENT_ELAPSED, "55"},
    {CUDA_OP_LAUNCH, "3s44444444zq"},
    {CUDA_OP_GRAPH_CREATE, "Izw"},
    {CUDA_OP_GRAPH_DESTROY, "9z"},
    {CUDA_OP_GRAPH_LAUNCH, "9s"},
    {CUDA_OP_GRAPH_SET_NODE, "94w"},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* Words of the command, used round and round. */
struct source {
    const struct hostile_command *command;
    unsigned at;
};

static uint32_t next_word(struct source *source)
{
    unsigned at = source->at++;

    /* Turned a little each time round, so that fields do not repeat. */
    return source->command->words[at % 7] + (at / 7) * 0x9e3779b9u;
}

static uint32_t handle_of(const struct hostile *hostile, unsigned kind, uint32_t word)
{
    if (hostile->gentle && word % 64 != 63)
        return VGPU_HANDLE(kind, 1, hostile->next[kind] ? (word >> 16) % hostile->next[kind] : 0);
    /* Few of each kind, so that they meet; at times one that cannot be. */
    if (word % 64 == 63)
        return word;
    return VGPU_HANDLE(kind, 1 + (word >> 8) % 2, (word >> 16) % 3);
}

static uint32_t new_handle(struct hostile *hostile, unsigned kind, uint32_t word)
{
    if (!hostile->gentle)
        return handle_of(hostile, kind, word);
    if (hostile->next[kind] == 0 && kind == CUDA_KIND_CONTEXT)
        hostile->next[kind] = 1; /* the client's own */
    return VGPU_HANDLE(kind, 1, hostile->next[kind]++ % cuda_kind_rows[kind].most);
}

static uint32_t small_number(uint32_t word)
{
    switch (word >> 29) {
    case 0:
    case 1:
    case 2:
        return word % 16 ? 0 : 1;
    case 3:
        return 1 + word % 4;
    case 4:
        return 1u << word % 32;
    case 5:
        return word % 4096;
    case 6:
        return UINT32_MAX - word % 4;
    default:
        return word;
    }
}

static uint64_t size_number(uint32_t word, uint32_t more)
{
    switch (word >> 29) {
    case 0:
    case 1:
    case 2:
        return 1 + word % 64;
    case 3:
        return 4096u << word % 8;
    case 4:
        return 1ull << word % 64;
    case 5:
        return UINT64_MAX - word % 64;
    case 6:
        return word;
    default:
        return (uint64_t)more << 32 | word;
    }
}

/* A multiple of what memory is mapped in ('g': not 0), most of the time. */
static uint64_t granular_number(const struct hostile *hostile, char field, uint32_t word)
{
    if (word % 16 == 15 && !hostile->gentle)
        return size_number(word, word);
    return (word % 4 + (field == 'g' && word % 4 == 0)) * (2u << 20);
}

static uint64_t address_of(const struct hostile *hostile, uint32_t word, uint32_t more)
{
    if (word % 8 < 5 && hostile->count > 0)
        return hostile->addresses[(word >> 8) % hostile->count] + (more % 8 == 0 ? more % 8192 : 0);
    if (word % 8 < 7 && hostile->foreign_count > 0)
        return hostile->foreign[(word >> 8) % hostile->foreign_count] + more % 4096;
    return size_number(more, word);
}

static uint64_t offset_of(const struct hostile *hostile, uint32_t word, uint32_t more)
{
    uint64_t bytes = hostile->client->geometry.data_bytes;

    if (word % 16 < 12 || hostile->gentle)
        return more % 4096 * 8 % bytes;
    return word % 16 < 15 ? bytes - more % 64 : size_number(more, word);
}

/* A few nodes, each behind the one before, at times with a byte that is not right. */
static size_t fill_nodes(uint32_t word, uint8_t *bytes, const struct hostile *hostile)
{
    uint64_t address = address_of(hostile, word, word >> 3);
    const struct vgpu_graph_kernel kernel = {.function =
                                                 handle_of(hostile, CUDA_KIND_FUNCTION, word),
                                             .grid = {1, 1, 1},
                                             .block = {1, 1, 1},
                                             .params_bytes = 8};
    const struct vgpu_graph_copy copy = {
        address, address_of(hostile, word >> 5, word), 8, 8, 1, 1, 8, 1, 1};
    const struct vgpu_graph_fill fill = {address, 16, 4, 1, 4, word};
    size_t used = 0;

    for (uint32_t i = 0; i < 1 + word % 3; i++) {
        uint32_t type = (word >> (4 + 2 * i)) % 4;
        size_t body = (const size_t[]){0, sizeof(kernel), sizeof(copy), sizeof(fill)}[type];
        struct vgpu_graph_node head = {.type = type, .enabled = 1, .need_count = i > 0};
        uint8_t *at = bytes + used;

        head.size_bytes = (uint32_t)(sizeof(head) + body + (i > 0) * 8 + (type == 1) * 8);
        memset(at, 0, head.size_bytes);
        memcpy(at, &head, sizeof(head));
        memcpy(at + sizeof(head), (const void *const[]){&kernel, &kernel, &copy, &fill}[type],
               body);
        if (i > 0)
            memcpy(at + sizeof(head) + body, &(uint32_t){i - 1}, 4);
        if (type == 1)
            memcpy(at + head.size_bytes - 8, &address, 8);
        used += head.size_bytes;
    }
    if (word >> 24 == 0 && !hostile->gentle)
        bytes[word % used] ^= (uint8_t)(word >> 8);
    return used;
}

static size_t fill_text(char kind, uint32_t word, uint8_t *text, const struct hostile *hostile)
{
    static const char *const names[] = {"add_one", "table", "missing", ""};
    static const uint32_t magics[] = {0x464c457f, 0xba55ed50, 0x466243b1, 0x72613c21};
    size_t bytes = word % 200;

    memset(text, 0, 1024);
    switch (kind) {
    case 'b':
        bytes = strlen(names[word % 4]);
        memcpy(text, names[word % 4], bytes);
        return bytes;
    case 'i':
        if (word % 4) {
            memcpy(text, hostile_ptx, sizeof(hostile_ptx));
            text[word / 4 % 4 ? sizeof(hostile_ptx) - 1 : word / 16 % sizeof(hostile_ptx)] ^=
                word / 4 % 4 ? 0 : (uint8_t)(word >> 16);
            return sizeof(hostile_ptx);
        }
        memcpy(text, &magics[word / 4 % 4], 4);
        for (size_t i = 4; i < bytes; i++)
            text[i] = (uint8_t)(word >> i % 24) & (i % 8 ? 0x0f : 0xff);
        return bytes < 4 ? 4 : bytes;
    case 'o':
        memcpy(text, (const uint32_t[]){word % 40, word % 64 == 0, word >> 28, 0}, 16);
        return word % 4 ? 0 : 16;
    case 'w':
        return fill_nodes(word, text, hostile);
    case 'v':
        return word % 8 ? 16 : word % 1024;
    default:
        if (hostile->count > 0)
            memcpy(text, &hostile->addresses[word % hostile->count], 8);
        return word % 8 ? 8 : word % 64;
    }
}

struct writer {
    uint8_t *record;
    size_t used;
    size_t blob_at[4];
    char blob_kind[4];
    unsigned blobs;
};

static void put(struct writer *writer, const void *bytes, size_t size)
{
    memcpy(writer->record + writer->used, bytes, size);
    writer->used += size;
}

static void put_32(struct writer *writer, uint32_t value)
{
    put(writer, &value, sizeof(value));
}

static void put_64(struct writer *writer, uint64_t value)
{
    put(writer, &value, sizeof(value));
}

/* Of the letters for handles. */
static unsigned kind_of(char field)
{
    switch (field) {
    case 'M':
    case 'm':
        return CUDA_KIND_MEMORY;
    case 'P':
    case 'r':
        return CUDA_KIND_POOL;
    default:
        return (unsigned)(field - 'A') + 1;
    }
}

static void put_field(struct hostile *hostile, struct writer *writer, char field,
                      struct source *source)
{
    uint32_t word = field == 'z' ? 0 : next_word(source);
    uint32_t more = strchr("apl8", field) ? next_word(source) : 0;
    struct vgpu_place place;

    switch (field) {
    case 'z':
        put_32(writer, 0);
        return;
    case '4':
        put_32(writer, hostile->gentle ? 0 : small_number(word));
        return;
    case 'n':
    case 'e':
        put_32(writer, hostile->gentle ? 4 : small_number(word));
        return;
    case 's':
        put_32(writer, word % 4 ? handle_of(hostile, CUDA_KIND_STREAM, word) : (word >> 8) % 3);
        return;
    case '8':
        put_64(writer, hostile->gentle ? 1 + word % 64 : size_number(word, more));
        return;
    case 'g':
    case 'h':
        put_64(writer, granular_number(hostile, field, word));
        return;
    case 'a':
        put_64(writer, address_of(hostile, word, more));
        return;
    case 'p':
        place = word & 0x8000 ? client_data(offset_of(hostile, word, more))
                              : client_device(address_of(hostile, word, more));
        put(writer, &place, sizeof(place));
        return;
    case 'l':
        put_64(writer, offset_of(hostile, word, more) & (word & 1 ? ~0ull : ~4095ull));
        put_64(writer, hostile->gentle ? more % 4096 : size_number(more, word));
        return;
    default:
        break;
    }
    if ((field >= 'A' && field <= 'I') || field == 'P' || field == 'M') {
        put_32(writer, new_handle(hostile, kind_of(field), word));
        return;
    }
    if (field == 'm') {
        put_32(writer, handle_of(hostile, kind_of(field), word));
        return;
    }
    if (field == 'r') {
        put_32(writer, word % 4 ? handle_of(hostile, kind_of(field), word) : 0);
        return;
    }
    if (field == 'S' || (field >= '1' && field <= '9' && field != '4' && field != '8')) {
        unsigned kind = field == 'S' ? CUDA_KIND_STREAM : (unsigned)(field - '0');

        put_32(writer, handle_of(hostile, kind, word));
        return;
    }
    writer->blob_kind[writer->blobs] = field;
    writer->blob_at[writer->blobs++] = writer->used;
    put(writer, (const uint8_t[16]){0}, 16);
}

static void place_blob(struct hostile *hostile, struct writer *writer, unsigned index,
                       struct source *source)
{
    uint32_t word = next_word(source);
    uint8_t text[1024];
    size_t bytes = fill_text(writer->blob_kind[index], word, text, hostile);
    struct vgpu_blob blob = {.offset = writer->used, .size_bytes = (uint32_t)bytes};

    if (word >> 28 == 0) {
        blob.place = VGPU_BLOB_DATA;
        blob.offset = offset_of(hostile, word, word >> 8);
    } else {
        memcpy(writer->record + writer->used, text, (bytes + 7) & ~(size_t)7);
        writer->used += (bytes + 7) & ~(size_t)7;
    }
    if (word >> 26 == 63 && !hostile->gentle)
        blob.size_bytes = small_number(word << 3);
    memcpy(writer->record + writer->blob_at[index], &blob, sizeof(blob));
}

/* Overwrites something, in one of eight records. */
static void spoil(struct writer *writer, const struct hostile_command *command)
{
    struct vgpu_record *head = (struct vgpu_record *)(void *)writer->record;
    uint32_t word = command->words[6];

    switch (command->spoil) {
    case 0:
        head->seq += word % 3;
        break;
    case 1:
        head->flags ^= (uint16_t)(1u << word % 16);
        break;
    case 2:
        head->size_bytes = small_number(word);
        break;
    case 3:
        head->op = (uint16_t)word;
        break;
    case 4:
    case 5:
        memcpy(writer->record + word % (writer->used - 3), &command->words[5], 4);
        break;
    case 6:
        head->thread = small_number(word);
        break;
    case 7:
        head->reserved = word;
        break;
    default:
        break;
    }
}

static const struct cuda_op_row *row_of(uint16_t code)
{
    for (size_t i = 0; i < cuda_op_rows_count; i++)
        if (cuda_op_rows[i].code == code)
            return &cuda_op_rows[i];
    abort();
}

static void submit(struct hostile *hostile, const struct writer *writer)
{
    struct client *client = hostile->client;
    void *entry;

    if (ring_reserve(&client->submission, writer->used, &entry) != 0) {
        hostile->dropped++;
        client->seq--;
        return;
    }
    memcpy(entry, writer->record, writer->used);
    hostile->sent++;
    if (ring_publish(&client->submission))
        channel_kick(client->fds[VGPU_FD_SUBMIT_KICK]);
}

static void send_record(struct hostile *hostile, const struct hostile_command *command)
{
    _Alignas(8) uint8_t buffer[8192] = {0};
    struct source source = {.command = command};
    struct writer writer = {.record = buffer, .used = sizeof(struct vgpu_record)};
    struct vgpu_record *head = (struct vgpu_record *)(void *)buffer;
    const struct cuda_op_row *row = row_of(shapes[command->op % SHAPES].code);
    const char *fields = shapes[command->op % SHAPES].fields;

    for (const char *field = fields; *field; field++)
        put_field(hostile, &writer, *field, &source);
    for (unsigned i = 0; i < writer.blobs; i++)
        place_blob(hostile, &writer, i, &source);
    *head = (struct vgpu_record){
        .size_bytes = (uint32_t)writer.used,
        .op = row->code,
        .seq = ++hostile->client->seq,
        .thread = 1 + command->flags % 4,
        .context = command->flags & 0x40 ? handle_of(hostile, CUDA_KIND_CONTEXT, command->words[0])
                                         : CLIENT_CONTEXT};
    if ((row->flags & CUDA_OPF_WAIT) || ((row->flags & CUDA_OPF_EITHER) && (command->flags & 0x80)))
        head->flags = VGPU_RECORD_WAIT;
    if ((row->flags & CUDA_OPF_JOB) && head->flags && (command->flags & 0x20))
        head->flags |= VGPU_RECORD_EXPLICIT;
    if (command->spoil < 8 && !hostile->gentle)
        spoil(&writer, command);
    submit(hostile, &writer);
}

static void scribble(struct hostile *hostile, const struct hostile_command *command)
{
    struct client *client = hostile->client;
    const struct vgpu_channel_geometry *geometry = &client->geometry;
    uint64_t at = geometry->sub_offset +
                  command->words[0] % (geometry->sub_granules * VGPU_GRANULE_BYTES - 4);

    memcpy(client->base + at, &command->words[1], 4);
    memcpy(client->data + command->words[2] % (geometry->data_bytes - 4), &command->words[3], 4);
    if (command->flags % 16 == 0)
        page_store_u32(&client->page->submission.producer.head, command->words[4]);
    if (command->flags % 16 == 1)
        page_store_u32(&client->page->completion.consumer.tail, command->words[4]);
    if (command->flags % 16 == 2)
        page_store_u32(&client->page->submission.producer.waiting, command->words[4]);
}

static void mediate(struct hostile *hostile, const struct hostile_command *command)
{
    struct client *client = hostile->client;
    struct vgpu_lease_page *lease = client->lease;

    switch (command->flags % 6) {
    case 0:
        client_revoke(client);
        break;
    case 1:
        page_store_u32(&lease->contended, command->words[0] % 2);
        break;
    case 2:
        page_store_u32(&lease->depth_max, 1 + command->words[0] % 64);
        break;
    case 3:
        page_store_u32(&lease->inflight_max_jobs, command->words[0] % 8);
        break;
    case 4:
        page_store_u32(&lease->flags, command->words[0] % 16 == 0 ? VGPU_LEASE_QUARANTINED : 0);
        break;
    default:
        break;
    }
    if (command->flags % 6 != 0)
        client_grant(client);
    client_kick_lease(client);
}

void hostile_do(struct hostile *hostile, const struct hostile_command *command)
{
    switch (command->kind % 32) {
    case 0:
        mediate(hostile, command);
        break;
    case 1:
        if (command->spoil < 8 && !hostile->gentle)
            scribble(hostile, command);
        break;
    default:
        send_record(hostile, command);
    }
}

static void learn_address(struct hostile *hostile, uint64_t address)
{
    hostile->addresses[hostile->count % HOSTILE_ADDRESSES] = address;
    if (hostile->count < HOSTILE_ADDRESSES)
        hostile->count++;
}

void hostile_learn(struct hostile *hostile)
{
    struct client *client = hostile->client;

    while (client->replies) {
        struct client_reply *reply = client->replies;
        struct cuda_re_memory_alloc answer;

        client->replies = reply->next;
        /* The sizes of these answers are all the same: an address first. */
        if (reply->result == CUDA_SUCCESS && reply->size >= sizeof(answer) && reply->size <= 56) {
            memcpy(&answer, reply->bytes, sizeof(answer));
            learn_address(hostile, answer.address);
        }
        free(reply);
    }
}
