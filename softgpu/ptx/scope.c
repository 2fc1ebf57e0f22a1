/* SPDX-License-Identifier: Apache-2.0 */
/* Scoped names; see scope.h. The key makes hash collisions unpredictable to the text's author. */
#include "softgpu/ptx/scope.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

uint64_t scope_key(void)
{
    uint64_t key;

    if (getrandom(&key, sizeof(key), GRND_NONBLOCK) != (ssize_t)sizeof(key))
        key = (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15);
    return key | 1;
}

uint32_t scope_hash(uint64_t key, const char *text, uint32_t length)
{
    uint64_t hash = key ^ length;

    while (length >= 8) {
        uint64_t part;

        memcpy(&part, text, 8);
        hash = (hash ^ part) * (key ^ UINT64_C(0xd6e8feb86659fd93));
        hash ^= hash >> 29;
        text += 8;
        length -= 8;
    }
    if (length) {
        uint64_t part = 0;

        memcpy(&part, text, length);
        hash = (hash ^ part) * (key ^ UINT64_C(0xd6e8feb86659fd93));
        hash ^= hash >> 29;
    }
    hash *= UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash >> 32);
}

bool scope_init(struct scope *scope, uint64_t size_hint)
{
    uint64_t n = 256;

    while (n < size_hint / 64 && n < UINT64_C(1) << 20)
        n *= 2;
    memset(scope, 0, sizeof(*scope));
    scope->buckets = calloc(n, sizeof(*scope->buckets));
    scope->mask = (uint32_t)n - 1;
    scope->key = scope_key();
    return scope->buckets;
}

void scope_release(struct scope *scope)
{
    free(scope->buckets);
    free(scope->names.at);
}

struct name *scope_find(struct scope *scope, const char *text, uint32_t length, uint32_t kinds)
{
    uint32_t at = scope->buckets[scope_hash(scope->key, text, length) & scope->mask];

    while (at) {
        struct name *name = &scope->names.at[at - 1];

        if (name->length == length && (kinds >> name->kind & 1) &&
            !memcmp(name->text, text, length))
            return name;
        at = name->next;
    }
    return NULL;
}

struct name *scope_add(struct scope *scope, const char *text, uint32_t length, enum name_kind kind,
                       uint32_t a, uint32_t b)
{
    struct name name = {.text = text, .length = length, .kind = (uint8_t)kind, .a = a, .b = b};

    name.bucket = scope_hash(scope->key, text, length) & scope->mask;
    name.next = scope->buckets[name.bucket];
    name.depth = (uint16_t)scope->depth;
    if (!array_push(&scope->names, name))
        return NULL;
    scope->buckets[name.bucket] = scope->names.n;
    return &scope->names.at[scope->names.n - 1];
}
