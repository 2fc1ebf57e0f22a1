/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One VM: its socket, who is connected to it, its channels. The identity of whoever connects is the
 * socket; what a guest says of itself changes nothing.
 *
 * Channels are made by vm_open() for a connection, ended by vm_end_channel(), and gone when the
 * launcher says that the worker is.
 */
#ifndef VGPU_MEDIATOR_VM_H
#define VGPU_MEDIATOR_VM_H

#include "common/log.h"
#include "mediator/budget.h"
#include "mediator/channel.h"
#include "mediator/config.h"
#include "mediator/connection.h"
#include "mediator/fault.h"
#include "mediator/hash.h"
#include "mediator/loop.h"
#include "mediator/metrics.h"
#include "mediator/request.h"

struct mediator;

enum vm_state {
    VM_SERVING,
    VM_QUARANTINED, /* connections stay, no channel is opened, no job is taken */
    VM_REMOVED,     /* no socket any more; waits for the end of its workers */
    VM_N_STATES
};

enum vm_event { VM_EV_QUARANTINE, VM_EV_CLEAR, VM_EV_REMOVE, VM_N_EVENTS };

/* The state after event, or VM_N_STATES where the move is illegal. */
enum vm_state vm_next(enum vm_state state, enum vm_event event);

struct vm {
    struct vm *next;
    UT_hash_handle hh; /* in the mediator's vms_by_id, unless it is removed */
    struct mediator *mediator;
    struct config_vm config;
    enum vm_state state;
    char path[108]; /* of its socket */
    int listener;   /* -1: none */
    struct loop_watch watch;
    struct connection *connections;
    unsigned n_connections;
    struct channel *channels;
    struct loop_timer memory_timer; /* memory.c's: an ask waits for other channels */
    uint64_t memory_asks;
    struct budget budget;
    struct vm_metrics metrics;
    struct faults *faults; /* NULL: there were none */
    struct vgpu_log_limit event_limit;
    uint32_t domid;        /* the Xen domain that it is; domain.c's; 0: not known */
    bool domain_confirmed; /* by the present connection of vgpu-xenbus */
    bool quarantine_due;   /* in force here; the store has not answered yet */
};

/* Added to the mediator's list. Without a socket yet. NULL when out of memory. */
struct vm *vm_new(struct mediator *mediator, const struct config_vm *config);
/* It must have no channels. Ends its connections. */
void vm_free(struct vm *vm);
/* The mediator ends: frees it with its channels, whose workers stay with the launcher. */
void vm_abandon(struct vm *vm);
/* Takes no further connection. */
void vm_deafen(struct vm *vm);
/* A VM that is not removed. */
struct vm *vm_find(struct mediator *mediator, uint32_t vm_id);

/* Makes its socket. */
int vm_listen(struct vm *vm, struct vgpu_err *err);
/* Another configuration of the same VM; its guests are told. */
void vm_update(struct vm *vm, const struct config_vm *config);
/* In force at once, until the store has it and says otherwise. */
void vm_quarantine(struct vm *vm, const char *reason);
/* Ends its connections and channels; it is freed when the last worker is gone. */
void vm_remove(struct vm *vm);
/* Removed, and nothing of it left? Then frees it. */
void vm_collect(struct vm *vm);

/* Requests of a guest, proved by request.c. Each is answered, now or later. */
void vm_open(struct vm *vm, struct connection *connection, const struct vgpu_msg_open *open);
void vm_close(struct vm *vm, struct connection *connection, const struct vgpu_msg_channel *close);
void vm_resume(struct vm *vm, struct connection *connection, const struct vgpu_msg_resume *resume);
void vm_grant(struct vm *vm, struct connection *connection, const struct vgpu_msg_grant *grant);
/* The connection ends: its channels are told to end. */
void vm_disconnect(struct vm *vm, struct connection *connection);

/* What the launcher says of a channel. */
void vm_adopt(struct vm *vm, struct channel *channel);
void vm_spawned(struct channel *channel, int32_t pid, int error, const char *text);
void vm_exited(struct channel *channel, const struct vgpu_launch_exited *exited);
void vm_launcher_lost(struct channel *channel);

/* Makes its lease page say whether its VM is quarantined, and whether its GPU runs nothing. */
void vm_flag_channel(struct channel *channel);

/* Tells the worker to end, kills it if it does not, and notes why. */
void vm_end_channel(struct channel *channel, enum vgpu_status status, const char *text);
void vm_kill_channel(struct channel *channel, enum vgpu_status status, const char *text);

/* The same, and it is held against the VM, unless its GPU is lost. */
void vm_fault_channel(struct channel *channel, enum fault_kind kind, enum vgpu_status status,
                      const char *text);

struct channel *vm_channel(const struct vm *vm, uint32_t number);
/* Channels with a worker. */
unsigned vm_living(const struct vm *vm);

#endif
