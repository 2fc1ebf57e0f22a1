/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the reader of pages: JSON texts, one a line, and what is rendered from what they say. */
#include <stdlib.h>
#include <string.h>

#include "metrics/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is rendered as JSON is JSON. */
static void render(const struct metrics_snapshot *snapshot)
{
    struct metrics_text text = {0};
    json_t *json;

    if (metrics_render_json(snapshot, &text) < 0)
        abort();
    json = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    if (!json)
        abort();
    json_decref(json);
    text_release(&text);
    if (metrics_render_prometheus(snapshot, &text) < 0 || strlen(text.data) != text.used)
        abort();
    text_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metrics_snapshot snapshot = {0};
    const uint8_t *end;
    int rc = 0;

    for (; size > 0 && rc == 0; data = end + 1) {
        struct vgpu_err err = {0};
        uint32_t next;
        json_t *page;

        end = memchr(data, '\n', size);
        if (!end)
            end = data + size - 1;
        page = json_loadb((const char *)data, (size_t)(end - data) + 1, 0, NULL);
        size -= (size_t)(end - data) + 1;
        rc = metrics_take_page(&snapshot, page, &next, &err);
        if (rc < 0 && !err.text[0])
            abort();
        json_decref(page);
    }
    if (rc == 0)
        render(&snapshot);
    metrics_snapshot_release(&snapshot);
    return 0;
}
