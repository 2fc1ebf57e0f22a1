/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/client/backoff.h"

static uint64_t bounded(uint64_t ns)
{
    return ns < BACKOFF_MOST_NS ? ns : BACKOFF_MOST_NS;
}

bool backoff_next(struct backoff *backoff, uint64_t hint_ns, uint64_t *ret_wait_ns)
{
    if (++backoff->attempts >= BACKOFF_ATTEMPTS)
        return false;
    backoff->wait_ns =
        backoff->wait_ns ? bounded(backoff->wait_ns * BACKOFF_FACTOR) : BACKOFF_FIRST_NS;
    *ret_wait_ns = backoff->wait_ns;
    if (hint_ns > *ret_wait_ns)
        *ret_wait_ns = bounded(hint_ns);
    return true;
}
