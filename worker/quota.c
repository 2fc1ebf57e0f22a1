/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/quota.h"

#include "common/overflow.h"
#include "ring/pages.h"
#include "worker/channel.h"
#include "worker/consumer.h"

/* The driver has that much for each thread from the start: the default of the stack. */
#define LOCAL_FIRST_BYTES 1024u

static uint64_t *charge_word(struct vgpu_report_page *report, enum charge kind)
{
    switch (kind) {
    case CHARGE_CONTEXT:
        return &report->memory_context_bytes;
    case CHARGE_MODULE:
        return &report->memory_module_bytes;
    default:
        return &report->memory_graph_bytes;
    }
}

void quota_charge(struct channel *channel, enum charge kind, uint64_t bytes)
{
    channel->quota.charged[kind] += bytes;
    page_store_u64(charge_word(channel->map.report, kind), channel->quota.charged[kind]);
}

void quota_uncharge(struct channel *channel, enum charge kind, uint64_t bytes)
{
    channel->quota.charged[kind] -= bytes;
    page_store_u64(charge_word(channel->map.report, kind), channel->quota.charged[kind]);
}

uint64_t quota_held(const struct channel *channel)
{
    uint64_t bytes = channel->memory_bytes;

    for (int i = 0; i < CHARGE_KINDS; i++)
        bytes += channel->quota.charged[i];
    return bytes;
}

uint64_t quota_limit(const struct channel *channel)
{
    uint64_t limit = page_load_u64(&channel->map.lease->memory_quota_bytes);

    return limit ? limit : UINT64_MAX;
}

/* The bound first: who sees memory_seen sees the bound of that change, or of a later one. */
static void tell_bound(struct channel *channel, uint64_t change, uint64_t bound, bool kick)
{
    struct vgpu_report_page *report = channel->map.report;
    struct quota *quota = &channel->quota;

    quota->change = change;
    quota->bound = bound;
    page_store_u64(&report->memory_bound_bytes, bound);
    page_store_u64(&report->memory_seen, change);
    if (kick)
        channel_kick(channel->fds[VGPU_FD_REPORT_KICK]);
}

void quota_look(struct channel *channel)
{
    const struct vgpu_lease_page *lease = channel->map.lease;
    struct quota *quota = &channel->quota;
    /* Before the grant: the grant is at least as new as the change that is told. */
    uint64_t change = page_load_u64(&lease->memory_change);
    uint64_t limit = quota_limit(channel);
    uint64_t grant = limit == UINT64_MAX ? limit : page_load_u64(&lease->memory_grant_bytes);
    uint64_t bound = grant > quota_held(channel) ? grant : quota_held(channel);
    /* Others may wait for what it gives up. */
    bool gives = grant < quota->grant || bound < quota->bound;

    quota->limit = limit;
    quota->grant = grant;
    if (change != quota->change || bound != quota->bound)
        tell_bound(channel, change, bound, gives);
}

void quota_init(struct channel *channel)
{
    struct quota *quota = &channel->quota;

    quota->bound = quota->grant = UINT64_MAX;
    quota->context_bytes = page_load_u64(&channel->map.lease->memory_context_bytes);
    quota_charge(channel, CHARGE_CONTEXT, quota->context_bytes);
    quota_look(channel);
}

/* Asks for the first of those that wait. */
static void ask(struct channel *channel)
{
    struct vgpu_report_page *report = channel->map.report;
    const struct item *item = channel->quota.waits;
    uint64_t wanted = item->want_bytes ? quota_held(channel) + item->want_bytes : 0;

    page_store_u64(&report->memory_wanted_bytes, wanted);
    page_store_u64(&report->memory_ask, ++channel->quota.ask);
    channel_kick(channel->fds[VGPU_FD_REPORT_KICK]);
}

static CUresult park(struct channel *channel, struct item *item, uint64_t bytes)
{
    struct item **end = &channel->quota.waits;

    while (*end)
        end = &(*end)->next;
    item->want_bytes = bytes;
    item->next = NULL;
    *end = item;
    if (item->context)
        item->context->helpers++; /* it does not end meanwhile */
    if (channel->quota.waits == item)
        ask(channel);
    return CUDA_CALL_LATER;
}

CUresult quota_want(struct channel *channel, struct item *item, uint64_t bytes)
{
    struct quota *quota = &channel->quota;
    uint64_t total;

    if (quota_limit(channel) == UINT64_MAX)
        return CUDA_SUCCESS;
    quota_look(channel);
    if (!vgpu_add_u64(quota_held(channel), bytes, &total) || total > quota->limit)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (bytes == 0 || total <= quota->grant)
        return CUDA_SUCCESS;
    return item->refused ? CUDA_ERROR_OUT_OF_MEMORY : park(channel, item, bytes);
}

bool quota_fits(struct channel *channel)
{
    quota_look(channel);
    return quota_held(channel) <= channel->quota.grant;
}

CUresult quota_ceiling(struct channel *channel, struct item *item, uint64_t *ret_bytes)
{
    uint64_t ceiling;

    *ret_bytes = UINT64_MAX;
    if (quota_limit(channel) == UINT64_MAX)
        return CUDA_SUCCESS;
    if (!item->answered)
        return park(channel, item, 0);
    quota_look(channel);
    ceiling = page_load_u64(&channel->map.lease->memory_ceiling_bytes);
    *ret_bytes = ceiling < channel->quota.limit ? ceiling : channel->quota.limit;
    return CUDA_SUCCESS;
}

static uint64_t attribute(const struct channel *channel, CUdevice_attribute which)
{
    int value = 0;

    if (channel->cu->cuDeviceGetAttribute(&value, which, channel->device) != CUDA_SUCCESS)
        return 0;
    return value > 0 ? (uint64_t)value : 0;
}

static uint64_t resident_threads(struct channel *channel)
{
    struct quota *quota = &channel->quota;

    if (quota->resident_threads == 0)
        quota->resident_threads =
            attribute(channel, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) *
            attribute(channel, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR);
    return quota->resident_threads;
}

uint64_t quota_local_growth(struct channel *channel, const struct context *context,
                            uint64_t thread_bytes)
{
    uint64_t has =
        context->local_bytes > LOCAL_FIRST_BYTES ? context->local_bytes : LOCAL_FIRST_BYTES;
    uint64_t bytes;

    if (thread_bytes <= has)
        return 0;
    return vgpu_mul_u64(thread_bytes - has, resident_threads(channel), &bytes) ? bytes : UINT64_MAX;
}

bool quota_poll(struct channel *channel)
{
    struct item *item = channel->quota.waits;
    uint64_t answer;

    quota_look(channel);
    if (!item)
        return false;
    answer = page_load_u64(&channel->map.lease->memory_answer);
    if (answer >> 1 != channel->quota.ask)
        return false;
    /* Once more: the grant was stored before the answer. */
    quota_look(channel);
    channel->quota.waits = item->next;
    if (item->context)
        item->context->helpers--;
    item->answered = true;
    item->refused = !(answer & 1);
    if (item->lost != CUDA_SUCCESS)
        item_finish(channel, item, item->lost);
    else
        consumer_issue(channel, item);
    /* What it was granted and has not taken, others may have. */
    page_store_u64(&channel->map.report->memory_done, answer >> 1);
    if (channel->quota.waits && answer >> 1 == channel->quota.ask)
        ask(channel);
    return true;
}

void quota_lose(struct channel *channel, const void *object)
{
    for (struct item *item = channel->quota.waits; item; item = item->next)
        if (item->stream == object || item->pool == object || item->module == object)
            item->lost = CUDA_ERROR_INVALID_HANDLE;
}
