/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload-config: the store is asked for the whole configuration anew, and what differs from the one
 * in force is put in force. Nothing should: each change comes with its answer. It is for a database
 * that somebody changed behind the store's back, and for whoever wants to be sure.
 */
#ifndef VGPU_MEDIATOR_RELOAD_H
#define VGPU_MEDIATOR_RELOAD_H

#include <jansson.h>

#include "common/err.h"

struct mediator;

/*
 * Takes the store's answer to "snapshot" (result) in; *ret_result is the answer to reload-config
 * (docs/spec/admin.md). who: for the event; NULL: nothing is put in force. -EPROTO: it is not
 * understood, and nothing is changed.
 */
int reload_take(struct mediator *mediator, const json_t *snapshot, const char *who,
                json_t **ret_result, struct vgpu_err *err);

#endif
