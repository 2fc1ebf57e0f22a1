/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One object of a configuration that is imported. Members that are left out stay as they are, or
 * are what they are of a new object; errors name the member, and import_place() the object.
 */
#ifndef VGPU_STORE_IMPORT_ROW_H
#define VGPU_STORE_IMPORT_ROW_H

#include "store/database.h"
#include "store/intent.h"

/* Whether the pools and VMs of the configuration must be there already. */
enum import_there { IMPORT_ANY, IMPORT_OLD, IMPORT_NEW };

struct import {
    struct store_call *call;
    enum import_there there;
    json_t *freed; /* VMs without their UUIDs, as they were; by id */
};

int import_pool(struct import *import, const json_t *given, struct vgpu_err *err);

/* Takes the UUID from a VM that is to have another, so that others can have it. */
int import_vm_free_uuid(struct import *import, const json_t *given, struct vgpu_err *err);
int import_vm(struct import *import, const json_t *given, struct vgpu_err *err);

/* Puts "vms[3]" before an error's text; rc, unless there is no err. */
int import_place(const struct intent *intent, size_t i, int rc, struct vgpu_err *err);

/*
 * What is wanted of an object: what it is by old (NULL: by fresh, where settings are 0), with what
 * is given. Takes fresh, which may be NULL where old is not.
 */
int import_wanted(const struct intent *intent, const json_t *given, const json_t *old,
                  json_t *fresh, json_t **ret_wanted, struct vgpu_err *err);

#endif
