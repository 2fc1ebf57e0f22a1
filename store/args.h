/* SPDX-License-Identifier: Apache-2.0 */
/* Takes typed arguments out of a request's "args"; the messages name the argument. */
#ifndef VGPU_STORE_ARGS_H
#define VGPU_STORE_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/err.h"

/* -EINVAL if args has a member that is not one of the names (a NULL-terminated list). */
int args_known(const json_t *args, const char *const *names, struct vgpu_err *err);

/*
 * Each sets *ret only if the argument is there; a missing one is -EINVAL if required, else 0. JSON
 * null counts as missing. A text is borrowed from args and stays as long as they do.
 */
int args_text(const json_t *args, const char *name, bool required, const char **ret_text,
              struct vgpu_err *err);
int args_integer(const json_t *args, const char *name, bool required, int64_t least, int64_t most,
                 int64_t *ret_integer, struct vgpu_err *err);
int args_number(const json_t *args, const char *name, bool required, double least, double most,
                double *ret_number, struct vgpu_err *err);

int args_flag(const json_t *args, const char *name, bool *ret_flag, struct vgpu_err *err);

/* A text that is one of the words (a NULL-terminated list). */
int args_word(const json_t *args, const char *name, bool required, const char *const *words,
              const char **ret_word, struct vgpu_err *err);

#endif
