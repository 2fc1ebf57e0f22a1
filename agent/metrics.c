/* SPDX-License-Identifier: Apache-2.0 */
/* /metrics, for Prometheus: what the mediator measures, rendered as vgpu-admin metrics does. */
#include <errno.h>
#include <string.h>

#include "agent/resource.h"
#include "metrics/render.h"

/* Where metrics_collect() asks; the error is kept for the reply. */
struct asker {
    struct call *call;
    struct backend_error error;
};

static int ask(void *context, json_t *args, json_t **ret_page, struct vgpu_err *err)
{
    struct asker *asker = context;
    json_t *request = json_pack("{s:s, s:o}", "command", "metrics", "args", args);
    int rc = backend_ask(asker->call->backend, request, ret_page, &asker->error);

    json_decref(request);
    return rc < 0 ? vgpu_err_set(err, -rc, "%s", asker->error.text) : 0;
}

static void render(struct call *call, const struct metrics_snapshot *snapshot)
{
    struct metrics_text text = {.data = NULL};

    if (metrics_render_prometheus(snapshot, &text) < 0) {
        text_release(&text);
        return;
    }
    reply_text(&call->reply, 200, METRICS_CONTENT_TYPE, text.data, text.used);
}

/* A mediator that is down is something to be measured, too. */
void metrics_get(struct call *call)
{
    struct metrics_snapshot snapshot = {.begun = false};
    struct asker asker = {.call = call};
    struct vgpu_err err;
    int rc = metrics_collect(&snapshot, ask, &asker, &err);

    if (rc < 0 && asker.error.down) {
        metrics_snapshot_release(&snapshot);
        memset(&snapshot, 0, sizeof(snapshot));
        rc = metrics_down(&snapshot);
    }
    if (rc == 0)
        render(call, &snapshot);
    else
        reply_failure(&call->reply, asker.error.code[0] ? asker.error.code : "not-understood",
                      asker.error.code[0] ? asker.error.text : err.text);
    metrics_snapshot_release(&snapshot);
}
