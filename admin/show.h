/* SPDX-License-Identifier: Apache-2.0 */
/* How GPUs, pools and VMs are called in vgpu-admin's sentences. */
#ifndef VGPU_ADMIN_SHOW_H
#define VGPU_ADMIN_SHOW_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#define SHOW_BYTES          128
#define SHOW_SENTENCE_BYTES 320

/* "VM 1 (web)"; returns text. */
const char *show_vm(const json_t *vm, char text[SHOW_BYTES]);

/* A member as text, "-" if it is null or not there; returns text. */
const char *show_member(const json_t *object, const char *key, char text[SHOW_BYTES]);

/* The same for a member that may be a sentence, with control characters as '?'; returns text. */
const char *show_sentence(const json_t *object, const char *key, char text[SHOW_SENTENCE_BYTES]);

/* "79.6 GiB", or "-" if value is no number; returns text. */
const char *show_bytes(const json_t *value, char text[SHOW_BYTES]);

/* "2026-09-21 13:33:20 UTC", or "-" if value is no number; returns text. */
const char *show_time(const json_t *value, char text[SHOW_BYTES]);

/* True if a member is this text. */
bool show_is(const json_t *object, const char *key, const char *text);

/* "" if the result says that something changed, " already" if not. */
const char *show_already(const json_t *result);

#endif
