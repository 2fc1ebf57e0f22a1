/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/snapshot.h"

#include "common/clock.h"
#include "guest/libvgpu/channel.h"
#include "guest/libvgpu/objects.h"
#include "guest/libvgpu/receive.h"
#include "guest/libvgpu/thread.h"
#include "ring/pages.h"

/* How old an answer may get: a part of the time that was spent asking, and never more than this. */
#define REPEAT_PART   8
#define REPEAT_MAX_NS (200 * VGPU_NS_PER_US)

/* Nothing stands in the way of an answer from here. Asked behind the word that it is based on. */
static bool may_answer(const struct sender *sender, enum snapshot_use use)
{
    const struct vgpu_channel_notice *notice = &sender->map.page->notice;
    uint32_t asks =
        use == SNAPSHOT_WAIT ? VGPU_UNHEARD_ERROR | VGPU_UNHEARD_PRINT : VGPU_UNHEARD_ERROR;

    return page_load_u32(&notice->poisoned) == 0 && (page_load_u32(&notice->unheard) & asks) == 0;
}

/* What was sent before the word was told belongs to the answer. */
static bool answer_done(struct sender *sender, enum snapshot_use use, CUresult *ret_result)
{
    if (!may_answer(sender, use) || !receive_caught_up(sender))
        return false;
    *ret_result = receive_late_error(sender);
    return true;
}

bool snapshot_all_done(struct sender *sender, enum snapshot_use use, CUresult *ret_result)
{
    uint64_t work = page_load_u64(&sender->work_seq);
    uint64_t settled = page_load_u64(&sender->map.page->notice.settled);

    return settled != 0 && settled >= work && answer_done(sender, use, ret_result);
}

bool snapshot_event(struct sender *sender, const struct event_object *event, enum snapshot_use use,
                    CUresult *ret_result)
{
    const struct vgpu_channel_page *page = sender->map.page;
    uint32_t index = VGPU_HANDLE_INDEX(event->head.handle);
    bool has_word = event->recorded && index < VGPU_EVENT_WORDS;
    uint64_t settled = page_load_u64(&page->notice.settled);

    if (settled == 0)
        return false;
    if (settled >= event->seq || (has_word && page_load_u64(&page->events[index]) >= event->seq))
        return answer_done(sender, use, ret_result);
    if (use == SNAPSHOT_WAIT || !has_word || !may_answer(sender, use))
        return false;
    *ret_result = CUDA_ERROR_NOT_READY;
    return true;
}

static struct snapshot_asked *slot_of(struct guest_thread *thread, uint32_t handle)
{
    return &thread->asked[handle % SNAPSHOT_ASKED];
}

/* The thread's own answer is the only one, and no word has changed. */
static bool nothing_new(const struct snapshot_asked *asked, uint64_t told, uint64_t answers)
{
    return asked->told == told && asked->answers + 1 == answers;
}

static bool is_fresh(const struct snapshot_asked *asked, uint64_t now)
{
    uint64_t most = (asked->at_ns - asked->since_ns) / REPEAT_PART;

    return now - asked->at_ns <= (most < REPEAT_MAX_NS ? most : REPEAT_MAX_NS);
}

bool snapshot_still_busy(struct sender *sender, struct guest_thread *thread, uint32_t handle,
                         uint64_t other)
{
    struct snapshot_asked *asked = slot_of(thread, handle);
    uint64_t told = page_load_u64(&sender->map.page->notice.told);
    uint64_t answers = page_load_u64(&sender->answers);
    uint64_t now = vgpu_clock_ns();
    bool same = asked->since_ns && asked->handle == handle && asked->other == other;

    if (same && may_answer(sender, SNAPSHOT_QUERY) && nothing_new(asked, told, answers) &&
        is_fresh(asked, now))
        return true;
    /* One that looks only now and then is told the truth each time. */
    if (!same || now - asked->at_ns > 2 * REPEAT_MAX_NS)
        asked->since_ns = now;
    asked->handle = handle;
    asked->other = other;
    asked->at_ns = now;
    asked->told = told;
    asked->answers = answers;
    return false;
}

void snapshot_note(struct guest_thread *thread, uint32_t handle, CUresult result)
{
    if (result != CUDA_ERROR_NOT_READY)
        slot_of(thread, handle)->since_ns = 0;
}
