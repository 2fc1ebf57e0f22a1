/* SPDX-License-Identifier: Apache-2.0 */
/* The state of everything, for those that show it. */
#ifndef VGPU_ADMIN_STATUS_H
#define VGPU_ADMIN_STATUS_H

#include "admin/client.h"

/* As docs/spec/schema/status.json has it; live members are null where no mediator runs. */
int status_get(struct client *client, json_t **ret_status, struct vgpu_err *err);

#endif
