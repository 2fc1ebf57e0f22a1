/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin metrics: all metrics, as a table, as Prometheus takes them (--prometheus), or as JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/table.h"
#include "metrics/render.h"

static int ask(void *context, json_t *args, json_t **ret_page, struct vgpu_err *err)
{
    _cleanup_json_ json_t *taken = args;

    return client_call(context, "metrics", taken, ret_page, err);
}

static int collect(const struct invocation *invocation, struct metrics_snapshot *snapshot,
                   struct vgpu_err *err)
{
    struct client client;
    int rc = client_open_mediator(&client, invocation, err);

    if (rc < 0)
        return rc;
    rc = metrics_collect(snapshot, ask, &client, err);
    client_close(&client);
    return rc;
}

static int print_text(const struct metrics_snapshot *snapshot,
                      int (*render)(const struct metrics_snapshot *, struct metrics_text *),
                      const char *end, struct vgpu_err *err)
{
    struct metrics_text text = {.data = NULL};
    int rc = render(snapshot, &text);

    if (rc == 0 && (fwrite(text.data, 1, text.used, stdout) != text.used || fputs(end, stdout) < 0))
        rc = -EIO;
    text_release(&text);
    return rc < 0 ? vgpu_err_set(err, -rc, "cannot write the metrics: %s", strerror(-rc)) : 0;
}

/* One series a line, as Prometheus has it, without what is said about it. */
static int print_series(const struct metrics_snapshot *snapshot, struct vgpu_err *err)
{
    struct metrics_text text = {.data = NULL};
    int rc = metrics_render_prometheus(snapshot, &text);
    char *line, *rest = text.data;

    if (rc < 0) {
        text_release(&text);
        return vgpu_err_set(err, -rc, "out of memory");
    }
    while ((line = strsep(&rest, "\n")))
        if (line[0] && line[0] != '#')
            printf("%s\n", line);
    text_release(&text);
    return 0;
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    struct metrics_snapshot snapshot = {.begun = false};
    int rc = collect(invocation, &snapshot, err);

    if (rc < 0)
        return rc;
    if (invocation->json)
        rc = print_text(&snapshot, metrics_render_json, "\n", err);
    else if (json_object_get(invocation->local, "prometheus"))
        rc = print_text(&snapshot, metrics_render_prometheus, "", err);
    else
        rc = print_series(&snapshot, err);
    metrics_snapshot_release(&snapshot);
    return rc;
}

static const struct command_option options[] = {
    {.name = "prometheus",
     .key = "prometheus",
     .help = "as Prometheus takes them",
     .local = true,
     .bare = "yes"},
    {.name = NULL},
};

const struct command command_metrics = {
    .name = "metrics",
    .summary = "show what is measured: of the mediator, GPUs, pools and VMs",
    .options = options,
    .run = run,
};
