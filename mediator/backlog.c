/* SPDX-License-Identifier: Apache-2.0 */
/* When the jobs of a channel arrived; see backlog.h. */
#include "mediator/backlog.h"

#include <string.h>

/* Forgets the marks whose jobs are all done. */
static void drop_done(struct backlog *backlog, uint64_t done)
{
    unsigned gone = 0;

    while (gone < backlog->count && backlog->marks[gone].taken <= done)
        gone++;
    backlog->count -= gone;
    memmove(backlog->marks, backlog->marks + gone, backlog->count * sizeof(backlog->marks[0]));
}

uint64_t backlog_note(struct backlog *backlog, uint64_t taken, uint64_t done, uint64_t now_ns)
{
    unsigned last;

    drop_done(backlog, done);
    last = backlog->count ? backlog->count - 1 : 0;
    if (taken > done && (!backlog->count || taken > backlog->marks[last].taken)) {
        if (backlog->count < BACKLOG_MARKS)
            last = backlog->count++;
        backlog->marks[last].taken = taken;
        backlog->marks[last].seen_ns = now_ns;
    }
    return backlog->count ? backlog->marks[0].seen_ns : 0;
}
