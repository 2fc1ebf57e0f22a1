/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration store: GPUs, pools and VMs in an SQLite database.
 *
 * Called by the mediator's store helper (vgpu-store) and, while no mediator runs, by vgpu-admin.
 * Nothing here is ever on a job's path: calls wait for locks and for fsync.
 *
 * Invariants: whoever has a store open holds the lock file beside the database, so there is one
 * writer at a time; each request is one transaction, with its audit rows, or changes nothing; SQL
 * stays in this directory and within SQLite 3.7.17.
 */
#ifndef VGPU_STORE_STORE_H
#define VGPU_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "common/err.h"

#define STORE_SCHEMA_VERSION 6          /* PRAGMA user_version */
#define STORE_APPLICATION_ID 0x76475055 /* PRAGMA application_id: "vGPU" */

/* Named maxima; the CHECK constraints of the schema repeat those of single values. */
#define STORE_GPUS_MAX             64   /* rows, missing ones included; gpu_id 0..63 */
#define STORE_POOLS_MAX            64   /* rows */
#define STORE_VMS_MAX              1024 /* rows */
#define STORE_VM_ID_MIN            1
#define STORE_VM_ID_MAX            2147483647
#define STORE_NAME_BYTES           64 /* pool, VM and GPU model names: UTF-8, no control characters */
#define STORE_DESCRIPTION_BYTES    256 /* UTF-8, no control characters */
#define STORE_GPU_UUID_BYTES       64
#define STORE_PCI_BYTES            32
#define STORE_UUID_BYTES           36 /* of a VM: 8-4-4-4-12 hexadecimal digits, kept in lower case */
#define STORE_WHO_BYTES            128    /* longer ones are cut */
#define STORE_AUDIT_ROWS_MAX       100000 /* the oldest rows make room */
#define STORE_AUDIT_FAULT_ROWS_MAX 10000  /* of those, what record-fault wrote */
#define STORE_FAULTS_KEPT_MIN      16     /* per VM; more where its threshold is higher */
#define STORE_WEIGHT_MIN           1.0
#define STORE_WEIGHT_MAX           100.0
#define STORE_WEIGHT_DEFAULT       50.0 /* weights are kept to hundredths */
#define STORE_REASON_BYTES         256 /* of a quarantine or a fault: UTF-8, no control characters */
#define STORE_FAULT_KIND_BYTES     32  /* a-z, 0-9 and '-' */
#define STORE_FAULT_REF_BYTES      64
#define STORE_DRIVER_BYTES         64 /* of a GPU's kernel driver's name */
#define STORE_NUMA_NODE_MAX        65535
#define STORE_THRESHOLD_BYTES      64 /* of a threshold's name */

/* Ranges and defaults of the settings (setting.c); 0 is allowed besides and means the default. */
#define STORE_RATE_MAX                1000000000
#define STORE_BURST_MAX               1000000000
#define STORE_DEPTH_MAX               65536
#define STORE_DEPTH_DEFAULT           4096
#define STORE_BYTES_MIN               (INT64_C(1) << 20)
#define STORE_BYTES_IN_FLIGHT_MAX     (INT64_C(1) << 40)
#define STORE_MEMORY_MAX              (INT64_C(16) << 40)
#define STORE_JOB_TIMEOUT_MIN_MS      10
#define STORE_JOB_TIMEOUT_MAX_MS      86400000
#define STORE_JOB_TIMEOUT_DEFAULT_MS  30000
#define STORE_FAULT_THRESHOLD_MAX     1000
#define STORE_FAULT_THRESHOLD_DEFAULT 5
#define STORE_FAULT_WINDOW_MAX_S      31536000
#define STORE_FAULT_WINDOW_DEFAULT_S  3600
#define STORE_SLICE_MIN_US            100
#define STORE_SLICE_MAX_US            10000000
#define STORE_GRACE_MAX_US            10000000
#define STORE_MAX_WAIT_MAX_MS         86400000
#define STORE_URGENCY_MAX_US          10000000

/* Lines of the helper's protocol, newline included. */
#define STORE_REQUEST_BYTES_MAX (2 * 1024 * 1024)
#define STORE_REPLY_BYTES_MAX   (16 * 1024 * 1024)

struct store;

struct store_options {
    /* Makes a new database where there is none, or an empty file; otherwise that is an error. */
    bool create;
    /* Who opens it, as the other side of a lock conflict reads it: "the mediator's store helper".
     * NULL: "a vgpu program". */
    const char *holder;
    /* How long a lock that somebody else holds is waited for, for both kinds of lock. */
    unsigned lock_wait_ms;
    /* Seconds since 1970; NULL: the system's clock. */
    int64_t (*now_s)(void);
};

#define STORE_LOCK_WAIT_MS 2000 /* what the programs pass */

/*
 * Opens the database at path, takes its lock, and upgrades an earlier one in place, with a backup
 * beside it. On error the file is as it was, byte by byte.
 *
 * -ENOENT: no database and no `create`. -EBUSY: somebody else holds the lock; the text says who.
 * -EUCLEAN: not a database, or corrupt. -EPROTO: a schema that is not understood, or one of a
 * later version. Others: as the system reports them.
 */
int store_open(const char *path, const struct store_options *options, struct store **ret_store,
               struct vgpu_err *err);

/* A new database in memory, without file or lock: for tests and the fuzzer. */
int store_open_memory(struct store **ret_store, struct vgpu_err *err);

/* Moves the write-ahead log into the database, releases the lock. NULL is allowed. */
void store_close(struct store *store);

/* Where the copy of the database from before the upgrade lies; NULL if nothing was upgraded. */
const char *store_backup_path(const struct store *store);

/*
 * Executes {"command": "register-vm", "args": {...}} (docs/spec/admin.md lists them) in one
 * transaction; "if_revision" and "dry_run" may stand beside, other members are ignored. who: the
 * administrator, for the audit log. *ret_reply is
 *   {"result": {..., "changed": true,
 *               "changes": [{"object": "vm", "key": "1", "from": null, "to": {...}}]},
 *    "changed": true}
 * and the caller's to release. The result of a command that only reads has neither "changed" nor
 * "changes"; that of a dry run has "dry_run": true. The outer "changed" says whether the snapshot
 * differs: it is false after record-fault without a quarantine too, whose changes are history.
 *
 * On error nothing has changed. -EINVAL: a bad argument; -ENOENT: no such pool, GPU or VM;
 * -EEXIST: already there; -ENOTUNIQ: a name that fits several; -EBUSY: still in use;
 * -ENOSPC: a named maximum is reached; -ESTALE: the object has another revision than if_revision;
 * -EOPNOTSUPP: no such command; -EIO and others: the database.
 */
int store_execute(struct store *store, const json_t *request, const char *who, json_t **ret_reply,
                  struct vgpu_err *err);

/* True if the store has this command (the mediator passes those on to its helper). */
bool store_has_command(const char *command);

/* The name of command number i, and whether it changes something; NULL: there are no more. */
const char *store_command_at(size_t i, bool *ret_writes);

/*
 * The whole configuration, as the command "snapshot" gives it too (docs/spec/admin.md):
 * {"schema_version", "gpus": [], "pools": [], "pool_gpus": [], "thresholds": [], "vms": []},
 * ordered by id or name.
 */
int store_snapshot(struct store *store, json_t **ret_snapshot, struct vgpu_err *err);

/*
 * What a reply's list of changes made of the configuration: the same without the VMs that are as
 * they were, and "vms_gone", the ids of those that were removed. A host has thousands of VMs, and
 * whoever follows the configuration is not to read them all for each change.
 */
int store_delta(struct store *store, const json_t *changes, json_t **ret_delta,
                struct vgpu_err *err);

/* {"code": "not-found", "errno": 2, "text": "..."}; NULL when out of memory. */
json_t *store_error_json(const struct vgpu_err *err);

#endif
