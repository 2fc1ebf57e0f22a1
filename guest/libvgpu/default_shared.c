/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared library's defaults. It stands in for a driver under programs that know nothing of it,
 * so that its environment is the only place where a user can name the socket, and ask for figures.
 */
#include <stdio.h>
#include <stdlib.h>

#include "guest/libvgpu/guest.h"
#include "guest/libvgpu/session.h"
#include "guest/libvgpu/vgpu.h"

static void tell(const char *name)
{
    fprintf(stderr, "vgpu: %s is not supported\n", name);
}

void (*const guest_default_unsupported)(const char *name) = tell;

const char *guest_default_socket(void)
{
    const char *path = getenv("VGPU_SOCKET");

    return path && path[0] ? path : NULL;
}

/* VGPU_STATS names a file: a line for each process that used a channel, at its end. */
__attribute__((destructor)) static void write_stages(void)
{
    const char *path = secure_getenv("VGPU_STATS");
    char text[STAGES_TEXT_BYTES];
    size_t length;
    FILE *file;

    if (!path || !path[0] || !session_sender() || session_is_forked())
        return;
    file = fopen(path, "ae");
    if (!file)
        return;
    length = stages_text(session_sender(), text);
    fwrite(text, 1, length, file);
    fclose(file);
}
