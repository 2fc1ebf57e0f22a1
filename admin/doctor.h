/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the checks of vgpu-admin doctor share. doctor.c has their table and runs them in its order;
 * each lies in the doctor_*.c of its subject, looks, changes nothing, and says what it found.
 */
#ifndef VGPU_ADMIN_DOCTOR_H
#define VGPU_ADMIN_DOCTOR_H

#include <sys/stat.h>

#include "admin/command.h"
#include "store/inspect.h"

#define DOCTOR_TEXT_BYTES 320

enum outcome { OUTCOME_OK, OUTCOME_WARNING, OUTCOME_FAILED, OUTCOME_SKIPPED };

struct finding {
    enum outcome outcome;
    char found[DOCTOR_TEXT_BYTES];
    char advice[DOCTOR_TEXT_BYTES]; /* what to do; "": what the table says */
};

/* What was asked for, and what has been found out so far and serves several checks. */
struct doctor {
    const char *root; /* before the paths of /proc, /sys and /dev; "" on a host */
    const char *socket_path, *database, *driver, *qemu;
    const char *helper; /* NULL: the one beside this program */
    bool names_qemu;    /* --qemu was given */
    char run_dir[256];  /* where the socket is */

    bool scanned; /* the NVML helper has been asked */
    json_t *scan; /* NULL: the reason is in scan_err */
    struct vgpu_err scan_err;

    bool asked; /* the mediator has been */
    json_t *status, *gpus, *pools, *vms;
    struct vgpu_err mediator_err;

    bool inspected; /* the database has been */
    int inspect_rc;
    struct store_report report;
    struct vgpu_err inspect_err;
};

typedef void doctor_check_fn(struct doctor *doctor, struct finding *finding);

/* Sets outcome and text. */
void doctor_find(struct finding *finding, enum outcome outcome, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Says something else than the table's advice. */
void doctor_advise(struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Of a file below the root: its first bytes, without what follows a last newline. False: none. */
bool doctor_read(const struct doctor *doctor, const char *path, char *text, size_t size);
/* True if there is something at a path below the root. */
bool doctor_exists(const struct doctor *doctor, const char *path, struct stat *ret_st);
/* The path below the root; "" if it is too long. */
void doctor_path(const struct doctor *doctor, const char *path, char *text, size_t size);

/* True where vgpu-nvml is not installed here, err says, and a mediator that has one answers. */
bool doctor_lacks_helper(struct doctor *doctor, const struct vgpu_err *err);
/* What vgpu-nvml finds, or the mediator's; NULL: neither can be asked, see scan_err. Asked once. */
const json_t *doctor_scan(struct doctor *doctor);
/* True if the mediator answers; fills status, gpus, pools and vms. Asked once. */
bool doctor_ask(struct doctor *doctor);
/* 0, or why the database cannot be read; see inspect_err. Once. */
int doctor_inspect(struct doctor *doctor);
/* GPUs with their pools, pools, VMs: as the mediator says, or the database; NULL: neither does. */
const json_t *doctor_configuration(struct doctor *doctor, const char *what);

/* "uid:gid 0660" of a file. */
void doctor_show_mode(const struct stat *st, char *text, size_t size);

/* doctor_host.c */
doctor_check_fn doctor_kernel, doctor_cores, doctor_memory, doctor_cgroup, doctor_kvm;
/* doctor_driver.c */
doctor_check_fn doctor_nvml, doctor_module, doctor_cards, doctor_cuda, doctor_hmm, doctor_devices,
    doctor_persistence;
/* doctor_qemu.c */
doctor_check_fn doctor_qemu, doctor_stub;
/* doctor_service.c */
doctor_check_fn doctor_run_dir, doctor_admin_socket, doctor_mediator, doctor_launcher,
    doctor_vm_sockets;
/* doctor_database.c */
doctor_check_fn doctor_database, doctor_keys, doctor_lock, doctor_disk, doctor_gpus, doctor_pools;

#endif
