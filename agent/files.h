/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The panel's files, read into memory at the start: what is served afterwards is looked up by name
 * among them, so that no path of a request ever reaches the file system. Links and names that begin
 * with a dot are left out.
 */
#ifndef VGPU_AGENT_FILES_H
#define VGPU_AGENT_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/request.h"
#include "common/err.h"

#define FILES_MAX         256
#define FILES_BYTES_MAX   (16 * 1024 * 1024) /* of all together */
#define FILES_DEPTH_MAX   4
#define FILES_NAME_BYTES  256
#define FILES_HASH_DIGITS 32

struct file {
    char name[FILES_NAME_BYTES]; /* below the directory: "assets/app.js" */
    char tag[FILES_HASH_DIGITS + 1];
    const char *type;
    char *data;
    size_t size;
};

struct files {
    struct file rows[FILES_MAX];
    unsigned n;
    size_t bytes;
};

/* -ENOENT: there is no such directory. */
int files_load(struct files *files, const char *directory, struct vgpu_err *err);
void files_release(struct files *files);

/* NULL: there is none. */
const struct file *files_find(const struct files *files, const struct request *request);

/* True if If-None-Match (NULL: not sent) names the file as it is. */
bool file_is_known(const struct file *file, const char *if_none_match);

#endif
