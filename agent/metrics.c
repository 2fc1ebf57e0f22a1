/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics, for Prometheus. */
#include "agent/resource.h"

void metrics_get(struct call *call)
{
    reply_problem(&call->reply, 501, "unknown-command", "there are no metrics here");
}
