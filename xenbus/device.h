/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vgpu device of one guest, as the backend has it: its keys in xenstore, the control pages that
 * the guest granted, its channels, and the VM's connection to the mediator. To a guest without the
 * PCI device it is what QEMU is to the others. server.c makes devices and tells them what happened.
 *
 * Invariants: pages are mapped and the port is bound in Connected and Closing only. What the guest
 * writes is copied once and judged (command.c); one event makes each slot looked at once. A guest
 * is told that a channel is gone, or the device closed, when no worker has pages of it any more.
 */
#ifndef VGPU_XENBUS_DEVICE_H
#define VGPU_XENBUS_DEVICE_H

#include <vgpu/domain.h>

#include "carrier/grant.h"
#include "common/log.h"
#include "xenbus/link.h"
#include "xenbus/state.h"
#include "xenbus/store.h"

enum slot_state {
    SLOT_FREE,
    SLOT_OPENING,  /* OPEN is asked for */
    SLOT_PROMISED, /* the guest has the geometry */
    SLOT_GRANTING, /* GRANT is asked for */
    SLOT_OPEN,
    SLOT_CLOSING, /* CLOSE is asked for, or will be when the channel is resumed */
    SLOT_LOST,    /* of one that is not ours to claim; it may have a worker */
    SLOT_GONE     /* the mediator has none any more; the guest has been told */
};

struct slot {
    enum slot_state state;
    uint32_t taken;    /* the doorbell that was taken last */
    uint32_t command;  /* tag of the guest's command that is to be answered; 0: none */
    uint32_t wire_tag; /* of the request under way; 0: none */
    bool called_off;   /* CLOSE came while it was opening, or lost */
    uint32_t channel, pages;
    uint8_t token[VGPU_TOKEN_BYTES];
};

/* What all devices share. */
struct backend {
    struct store *store;
    const struct store_ops *store_ops;
    const struct grant_ops *grants;
    int memory, events; /* Xen's devices */
    uint32_t domid;     /* where this runs */
    const char *run_dir;
};

struct device {
    struct device *next;
    const struct backend *backend;
    uint32_t domid, devid;
    char vm[STORE_VALUE_BYTES]; /* as the toolstack says */
    uint32_t vm_id;             /* the mediator's word; 0: it knows none */
    enum xenbus_state state;
    bool online;
    bool dirty;     /* its keys are to be looked at */
    bool seen;      /* by the scan under way */
    bool watched;   /* the frontend's state is */
    bool inherited; /* of another process, which may have left workers */
    struct grant_map pages;
    uint32_t port; /* 0: none is bound */
    struct link link;
    uint32_t last_tag, error;
    uint32_t drain_tag; /* of DRAIN while it waits; 0: none */
    struct vgpu_log_limit log;
    struct vgpu_msg_welcome facts;
    char error_text[VGPU_STATUS_TEXT_BYTES];
    struct slot slots[VGPU_XEN_COMMANDS]; /* the last one is the monitor's */
};

/* NULL: out of memory, or it is still being made: the toolstack writes its `state` last. */
struct device *device_new(const struct backend *backend, uint32_t domid, uint32_t devid);
/* Lets go of all; the guest's domain may be gone. */
void device_free(struct device *device);

void device_backend_path(const struct device *device, const char *key, char path[STORE_PATH_BYTES]);
void device_frontend_path(const struct device *device, const char *key,
                          char path[STORE_PATH_BYTES]);

/* Reads the keys, and follows them. */
void device_look(struct device *device);
/* The mediator's word on who the VM is. */
void device_identify(struct device *device, const struct vgpu_domain_is *is);
/* The guest's port had an event. */
void device_event(struct device *device);
/* The connection is readable, or is to be tried. */
void device_link_ready(struct device *device);
void device_link_try(struct device *device);

#endif
