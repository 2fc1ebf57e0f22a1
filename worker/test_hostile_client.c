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
 * Fields: 1-9 a handle of that kind, x a context, seldom there, A-I a new one, P a new pool, r one
 * or 0, M new memory, m some, S one of a stream, s that or a default stream, n a count, g and h a
 * multiple of 2 MiB, e the size of an element, 4 a number, 8 a size, t a pitch, k a few, u a few
 * more, j room, y a choice best left 0, c a token, f a reserved address, a a device address, p a
 * place, l a slice, z a reserved word; b a name, i an image, o options, v numbers, q parameters, w
 * nodes of a graph, W one, T attributes of a launch, K which attribute of a stream, X a tensor, Y a
 * map of one. test_shapes.c compares them with cuda.spec.
 */
const struct hostile_shape hostile_shapes[] = {
    {CUDA_OP_DEVICE_INFO, ""},
    {CUDA_OP_THREAD_EXIT, ""},
    {CUDA_OP_PROCESS, "4z8"},
    {CUDA_OP_JOB_VECTOR_ADD, "nzvv"},
    {CUDA_OP_CONTEXT_RETAIN, "A4"},
    {CUDA_OP_CONTEXT_RELEASE, "1z"},
    {CUDA_OP_CONTEXT_CREATE, "A4"},
    {CUDA_OP_CONTEXT_DESTROY, "1z"},
    {CUDA_OP_CONTEXT_RESET, "xz"},
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
    {CUDA_OP_MEMORY_ALLOC, "j"},
    {CUDA_OP_MEMORY_ALLOC_PITCH, "tkez"},
    {CUDA_OP_MEMORY_FREE, "a"},
    {CUDA_OP_MEMORY_INFO, ""},
    {CUDA_OP_HOST_REGISTER, "l4z"},
    {CUDA_OP_HOST_UNREGISTER, "l"},
    {CUDA_OP_POOL_ALLOC, "jsr"},
    {CUDA_OP_POOL_FREE, "asz"},
    {CUDA_OP_POOL_CREATE, "Pz8"},
    {CUDA_OP_POOL_DESTROY, "rz"},
    {CUDA_OP_POOL_SET_ATTRIBUTE, "r48"},
    {CUDA_OP_POOL_GET_ATTRIBUTE, "r4"},
    {CUDA_OP_POOL_TRIM, "rz8"},
    {CUDA_OP_MEMORY_GRANULARITY, ""},
    {CUDA_OP_MEMORY_CREATE, "Mzg"},
    {CUDA_OP_MEMORY_RELEASE, "mz"},
    {CUDA_OP_ADDRESS_RESERVE, "gyy"},
    {CUDA_OP_ADDRESS_FREE, "fg"},
    {CUDA_OP_MEMORY_MAP, "fghmz"},
    {CUDA_OP_MEMORY_UNMAP, "fg"},
    {CUDA_OP_MEMORY_SET_ACCESS, "fg4z"},
    {CUDA_OP_COPY, "pp8sz"},
    {CUDA_OP_COPY_3D, "ppttuukkksz"},
    {CUDA_OP_FILL, "atkke4sz"},
    {CUDA_OP_UPLOAD, "avsz"},
    {CUDA_OP_DATA_AREA, ""},
    {CUDA_OP_STREAM_CREATE, "D44z"},
    {CUDA_OP_STREAM_DESTROY, "Sz"},
    {CUDA_OP_STREAM_WAIT_EVENT, "s54z"},
    {CUDA_OP_STREAM_QUERY, "sz"},
    {CUDA_OP_STREAM_SYNC, "sz"},
    {CUDA_OP_HOST_FUNCTION, "szc"},
    {CUDA_OP_HOST_FUNCTION_DONE, "c"},
    {CUDA_OP_EVENT_CREATE, "E4"},
    {CUDA_OP_EVENT_DESTROY, "5z"},
    {CUDA_OP_EVENT_RECORD, "5s4z"},
    {CUDA_OP_EVENT_QUERY, "5z"},
    {CUDA_OP_EVENT_SYNC, "5z"},
    {CUDA_OP_EVENT_ELAPSED, "55"},
    {CUDA_OP_LAUNCH, "3s######444zq"},
    {CUDA_OP_LAUNCH_EX, "3s######4zTq"},
    {CUDA_OP_OCCUPANCY_CLUSTERS, "344444444zT"},
    {CUDA_OP_STREAM_SET_ATTRIBUTE, "sK8"},
    {CUDA_OP_STREAM_WRITE_VALUE, "a8es"},
    {CUDA_OP_TENSOR_MAP_ENCODE, "X"},
    {CUDA_OP_TENSOR_MAP_REPLACE, "8Y"},
    {CUDA_OP_GRAPH_CREATE, "Izw"},
    {CUDA_OP_GRAPH_DESTROY, "9z"},
    {CUDA_OP_GRAPH_LAUNCH, "9s"},
    {CUDA_OP_GRAPH_SET_NODE, "94W"},
};
const size_t hostile_shapes_count = sizeof(hostile_shapes) / sizeof(hostile_shapes[0]);

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
    const struct hostile_live *live = &hostile->live[kind];

    if (hostile->gentle && word % 16 && live->count > 0)
        return live->handles[(word >> 8) % live->count];
    if (hostile->gentle && word % 64 != 63)
        return VGPU_HANDLE(kind, 1, hostile->next[kind] ? (word >> 16) % hostile->next[kind] : 0);
    /* Few of each kind, so that they meet; at times one that cannot be. */
    if (word % 64 == 63)
        return word;
    return VGPU_HANDLE(kind, 1 + (word >> 8) % 2, (word >> 16) % 3);
}

static void forget_handle(struct hostile *hostile, unsigned kind, uint32_t handle)
{
    struct hostile_live *live = &hostile->live[kind];

    for (unsigned i = 0; i < live->count; i++)
        if (live->handles[i] == handle)
            live->handles[i--] = live->handles[--live->count];
}

static void learn_handle(struct hostile *hostile, uint32_t handle)
{
    struct hostile_live *live = &hostile->live[VGPU_HANDLE_KIND(handle) % CUDA_KINDS];

    if (live->count < HOSTILE_LIVE)
        live->handles[live->count++] = handle;
}

/* A handle of a call that ends what it names: seldom the context that everything else needs. */
static uint32_t ending_handle(struct hostile *hostile, unsigned kind, uint32_t word)
{
    uint32_t handle = handle_of(hostile, kind, word);

    if (hostile->gentle && handle == CLIENT_CONTEXT && word % 16)
        return VGPU_HANDLE(kind, 1, 1);
    forget_handle(hostile, kind, handle);
    return handle;
}

/* 0 if a gentle client has used all. */
static uint32_t new_handle(struct hostile *hostile, unsigned kind, uint32_t word)
{
    if (!hostile->gentle)
        return handle_of(hostile, kind, word);
    if (hostile->next[kind] == 0 && kind == CUDA_KIND_CONTEXT)
        hostile->next[kind] = 1; /* the client's own */
    if (hostile->next[kind] >= cuda_kind_rows[kind].most)
        return 0;
    return VGPU_HANDLE(kind, 1, hostile->next[kind]++);
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

/* What cuda.spec allows in a field that is a number; as a number it is what it was, if that is. */
static uint64_t keep_rule(const struct hostile_rule *rule, uint64_t value)
{
    if (rule->ones > 0)
        return rule->one[value % rule->ones];
    if (rule->mask != UINT64_MAX)
        return value & rule->mask;
    if (value >= rule->min && value <= rule->max)
        return value;
    return rule->min + value % (rule->max - rule->min + 1);
}

/* A number of 32 bits. Most break no rule of the form: those that do end the channel. */
static uint32_t number_of(const struct hostile *hostile, const struct hostile_rule *rule,
                          uint32_t word)
{
    uint32_t number = small_number(word);

    if (!hostile->gentle && word % 128 == 127)
        return number;
    if (rule->ones > 0)
        return (uint32_t)keep_rule(rule, word >> 3);
    if (hostile->gentle && word % 8 && rule->mask != UINT64_MAX)
        number = 0;
    else if (hostile->gentle && word % 8)
        number = 1 + (word >> 8) % 3;
    return (uint32_t)keep_rule(rule, number);
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
    if (hostile->gentle && word % 8)
        return field == 'g' ? 2u << 20 : 0;
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

static uint64_t reserved_of(const struct hostile *hostile, uint32_t word, uint32_t more)
{
    if (hostile->reserved_count > 0 && word % 8)
        return hostile->reserved[(word >> 8) % hostile->reserved_count];
    return address_of(hostile, word, more);
}

/* What the worker has asked for, once; others are nobody's. */
static uint64_t token_of(struct hostile *hostile, uint32_t word, uint32_t more)
{
    if (hostile->gentle && hostile->token_count > 0)
        return hostile->tokens[--hostile->token_count];
    return hostile->gentle ? word : size_number(word, more);
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
    static const char *const names[] = {"add_one", "add_one", "add_one", "add_one",
                                        "table",   "table",   "missing", ""};
    static const uint32_t magics[] = {0x464c457f, 0xba55ed50, 0x466243b1, 0x72613c21};
    size_t bytes = word % 200;

    memset(text, 0, 1024);
    switch (kind) {
    case 'b':
        bytes = strlen(names[word % 8]);
        memcpy(text, names[word % 8], bytes);
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
    case 'X':
        memset(text, (int)(word >> 24), 184);
        memcpy(text, (const uint32_t[]){word % 4, 0, word >> 3 & (hostile->gentle ? 3 : 7)}, 12);
        text[0] -= word % 4 == 3 && hostile->gentle;
        text[8] += hostile->gentle;
        return word >> 25 == 0 && !hostile->gentle ? word % 192 : 184;
    case 'Y':
        memset(text, (int)(word >> 8), 128);
        return word >> 25 == 0 && !hostile->gentle ? word % 160 : 128;
    case 'T':
        memcpy(text,
               &(struct vgpu_launch_attributes){.given = VGPU_LAUNCH_CLUSTER, .cluster = {1, 1, 1}},
               sizeof(struct vgpu_launch_attributes));
        text[word % 64] ^= word % 4 || hostile->gentle ? 0 : (uint8_t)(word >> 8);
        return word >> 24 == 0 && !hostile->gentle ? word % 64 : 64;
    case 'w':
        return fill_nodes(word, text, hostile);
    case 'W':
        return fill_nodes(word - word % 3, text, hostile);
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
    uint32_t made;        /* the new handle in it */
    bool full;            /* it wanted one, and there is none */
    uint32_t used_handle; /* one that it names */
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

/* A number of 64 bits; most are small, and keep to the form. */
static uint64_t size_of(const struct hostile *hostile, const struct hostile_rule *rule, char field,
                        uint32_t word, uint32_t more)
{
    uint64_t size = size_number(word, more);

    if (!hostile->gentle && word % 128 == 127)
        return size;
    /* What lies outside of the data area ends the channel. */
    if (hostile->gentle && strchr("tuk", field) && word % 64 == 0)
        word++;
    if (field == 't')
        size = word % 64 ? 64 + word / 64 % 64 : size;
    else if (field == 'k')
        size = word % 64 ? 1 + word / 64 % 6 : size;
    else if (field == 'u')
        size = word % 64 ? 6 + word / 64 % 3 : size;
    else if (field == 'j' && hostile->gentle)
        size = word % 64 ? 4096 + more % 65536 : size;
    else if (field == 'y' && hostile->gentle)
        size = word % 8 ? 0 : size;
    else if (hostile->gentle)
        size = word % 64 ? 1 + more % 64 : size;
    return keep_rule(rule, size);
}

static void put_field(struct hostile *hostile, struct writer *writer, char field,
                      const struct hostile_rule *rule, struct source *source)
{
    uint32_t word = field == 'z' ? 0 : next_word(source);
    uint32_t more = strchr("apl8tkujycf", field) ? next_word(source) : 0;
    struct vgpu_place place;

    switch (field) {
    case 'z':
        put_32(writer, 0);
        return;
    case 'K':
        put_32(writer, 8 + word % (hostile->gentle ? 3 : 4));
        return;
    case 'n':
        put_32(writer, hostile->gentle && word % 8 ? 4 : number_of(hostile, rule, word));
        return;
    case '#': /* none that makes a kernel run for minutes */
        put_32(writer, word % 16 ? 1 + word / 16 % 3 : UINT32_MAX + word / 16 % 2);
        return;
    case '4':
    case 'e':
        put_32(writer, number_of(hostile, rule, word));
        return;
    case 's':
        writer->used_handle = handle_of(hostile, CUDA_KIND_STREAM, word);
        put_32(writer, word % 4 ? writer->used_handle : (word >> 8) % 3);
        return;
    case 'c':
        put_64(writer, token_of(hostile, word, more));
        return;
    case 'f':
        put_64(writer, reserved_of(hostile, word, more));
        return;
    case '8':
    case 't':
    case 'k':
    case 'u':
    case 'j':
    case 'y':
        put_64(writer, size_of(hostile, rule, field, word, more));
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
    if (rule->what == 'n') {
        writer->made = new_handle(hostile, rule->kind, word);
        writer->full = writer->made == 0;
        put_32(writer, writer->made);
        return;
    }
    if (field == 'x' && hostile->gentle && word % 32) {
        put_32(writer, VGPU_HANDLE(CUDA_KIND_CONTEXT, 2, 0));
        return;
    }
    if (rule->what == 'd') {
        put_32(writer, ending_handle(hostile, rule->kind, word));
        return;
    }
    if (rule->what == 'h') {
        writer->used_handle =
            field == 'r' && word % 4 == 0 ? 0 : handle_of(hostile, rule->kind, word);
        put_32(writer, writer->used_handle);
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
        if (hostile->gentle)
            memcpy(hostile->client->data + blob.offset, text, bytes);
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

static const struct hostile_rules *rules_of(uint16_t code)
{
    for (size_t i = 0; i < hostile_rules_count; i++)
        if (hostile_rules[i].code == code)
            return &hostile_rules[i];
    abort();
}

static bool ends_something(uint16_t code)
{
    const struct hostile_rules *rules = rules_of(code);

    for (unsigned i = 0; i < rules->count; i++)
        if (rules->rules[i].what == 'd')
            return true;
    return code == CUDA_OP_MEMORY_FREE || code == CUDA_OP_ADDRESS_FREE ||
           code == CUDA_OP_MEMORY_UNMAP;
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
    hostile->ops[client->seq % HOSTILE_OPS] =
        ((const struct vgpu_record *)(const void *)writer->record)->op;
    hostile->made[client->seq % HOSTILE_OPS] = writer->made;
    hostile->used[client->seq % HOSTILE_OPS] = writer->used_handle;
    hostile->sent++;
    hostile->asked +=
        ((const struct vgpu_record *)(const void *)writer->record)->flags & VGPU_RECORD_WAIT;
    if (ring_publish(&client->submission))
        channel_kick(client->fds[VGPU_FD_SUBMIT_KICK]);
}

static void send_record(struct hostile *hostile, const struct hostile_command *command)
{
    _Alignas(8) uint8_t buffer[8192] = {0};
    struct source source = {.command = command};
    struct writer writer = {.record = buffer, .used = sizeof(struct vgpu_record)};
    struct vgpu_record *head = (struct vgpu_record *)(void *)buffer;
    const struct hostile_shape *shape = &hostile_shapes[command->op % hostile_shapes_count];
    const struct cuda_op_row *row = row_of(shape->code);
    const struct hostile_rule *rule = rules_of(shape->code)->rules;
    bool other_context = command->flags & 0x40 && (!hostile->gentle || command->flags % 8 == 0);

    /* Fewer ends than beginnings, or nothing would be there. */
    if (hostile->gentle && ends_something(shape->code) && command->spoil % 4)
        return;
    for (const char *field = shape->fields; *field; field++)
        put_field(hostile, &writer, *field, rule++, &source);
    if (writer.full && hostile->gentle)
        return;
    for (unsigned i = 0; i < writer.blobs; i++)
        place_blob(hostile, &writer, i, &source);
    *head = (struct vgpu_record){
        .size_bytes = (uint32_t)writer.used,
        .op = row->code,
        .seq = ++hostile->client->seq,
        .thread = 1 + command->flags % 4,
        .context = other_context ? handle_of(hostile, CUDA_KIND_CONTEXT, command->words[0])
                                 : CLIENT_CONTEXT};
    if ((row->flags & CUDA_OPF_WAIT) || ((row->flags & CUDA_OPF_EITHER) && (command->flags & 0x80)))
        head->flags = VGPU_RECORD_WAIT;
    if ((row->flags & CUDA_OPF_JOB) && head->flags && (command->flags & 0x20))
        head->flags |= VGPU_RECORD_EXPLICIT;
    if (command->spoil < 8 && !hostile->gentle)
        spoil(&writer, command);
    if (writer.made && !(row->flags & CUDA_OPF_WAIT))
        learn_handle(hostile, writer.made);
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

/* The answers of these ops start with an address. */
static void learn_address(struct hostile *hostile, uint16_t op, uint64_t address)
{
    switch (op) {
    case CUDA_OP_ADDRESS_RESERVE:
        hostile->reserved[hostile->reserved_count % HOSTILE_LIVE] = address;
        hostile->reserved_count += hostile->reserved_count < HOSTILE_LIVE;
        break;
    case CUDA_OP_MEMORY_ALLOC:
    case CUDA_OP_MEMORY_ALLOC_PITCH:
    case CUDA_OP_POOL_ALLOC:
    case CUDA_OP_HOST_REGISTER:
    case CUDA_OP_MODULE_GET_GLOBAL:
    case CUDA_OP_DATA_AREA:
        break;
    default:
        return;
    }
    hostile->addresses[hostile->count % HOSTILE_ADDRESSES] = address;
    if (hostile->count < HOSTILE_ADDRESSES)
        hostile->count++;
}

static void count_answer(struct hostile *hostile, const struct client_reply *reply)
{
    uint16_t op = hostile->ops[reply->seq % HOSTILE_OPS];
    uint32_t made = hostile->made[reply->seq % HOSTILE_OPS];
    uint32_t used = hostile->used[reply->seq % HOSTILE_OPS];

    hostile->answered++;
    if (reply->result == CUDA_ERROR_INVALID_HANDLE)
        forget_handle(hostile, VGPU_HANDLE_KIND(used) % CUDA_KINDS, used);
    if (reply->result != CUDA_SUCCESS)
        return;
    hostile->succeeded++;
    if (made)
        learn_handle(hostile, made);
    for (size_t i = 0; hostile->succeeded_of && i < hostile_shapes_count; i++)
        hostile->succeeded_of[i] += hostile_shapes[i].code == op;
}

void hostile_learn(struct hostile *hostile)
{
    struct client *client = hostile->client;

    while (client->replies) {
        struct client_reply *reply = client->replies;
        struct cuda_re_memory_alloc answer;

        client->replies = reply->next;
        if (reply->kind == VGPU_COMPLETION_REPLY)
            count_answer(hostile, reply);
        if (reply->kind == VGPU_COMPLETION_CALLBACK && hostile->token_count < HOSTILE_LIVE)
            hostile->tokens[hostile->token_count++] = reply->seq;
        if (reply->kind == VGPU_COMPLETION_REPLY && reply->result == CUDA_SUCCESS &&
            reply->size >= sizeof(answer)) {
            memcpy(&answer, reply->bytes, sizeof(answer));
            learn_address(hostile, hostile->ops[reply->seq % HOSTILE_OPS], answer.address);
        }
        free(reply);
    }
}
