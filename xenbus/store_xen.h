/* SPDX-License-Identifier: Apache-2.0 */
/* xenstore by libxenstore; main.c opens it, before it gives its rights away. */
#ifndef VGPU_XENBUS_STORE_XEN_H
#define VGPU_XENBUS_STORE_XEN_H

#include "common/err.h"
#include "xenbus/store.h"

extern const struct store_ops store_xen_ops;

int store_xen_open(struct store **ret_store, struct vgpu_err *err);
void store_xen_close(struct store *store);

#endif
