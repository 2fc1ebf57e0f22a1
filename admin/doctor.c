/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin doctor: what is wrong with this host, and what to do about it. The table of checks is
 * here; a new one is a function and a row.
 */
#include "admin/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/nvml_helper.h"
#include "admin/show.h"
#include "admin/table.h"

#define DEFAULT_DRIVER   "libcuda.so.1"
#define DEFAULT_QEMU     "qemu-system-x86_64"
#define ANSWER_TIMEOUT_S 5
#define SCAN_TIMEOUT_S   30 /* a driver may have to be loaded first */
#define WORD_BYTES       12
#define NAME_WIDTH       12
#define OUTCOME_WIDTH    7

struct check {
    const char *group, *name;
    doctor_check_fn *run;
    const char *advice; /* where it is not ok and has no better one */
};

static const struct check checks[] = {
    {"host", "kernel", doctor_kernel, "use Linux 4.19 or later"},
    {"host", "cores", doctor_cores, "give the host two cores or more besides those of its VMs"},
    {"host", "memory", doctor_memory, "give the host more memory, or its VMs less"},
    {"host", "cgroup", doctor_cgroup,
     "mount cgroup version 2 (systemd.unified_cgroup_hierarchy=1) with the memory controller"},
    {"host", "kvm", doctor_kvm, "load kvm_intel or kvm_amd, and let QEMU's user open /dev/kvm"},
    {"driver", "nvml", doctor_nvml,
     "install NVIDIA's driver with its libraries, load it, and see dmesg"},
    {"driver", "module", doctor_module,
     "load NVIDIA's kernel module (modprobe nvidia) of the same version as its libraries"},
    {"driver", "cards", doctor_cards,
     "take the card from the driver that has it and load NVIDIA's, or leave it to that"},
    {"driver", "cuda", doctor_cuda,
     "install NVIDIA's CUDA driver library, or name yours: --driver"},
    {"driver", "hmm", doctor_hmm,
     "options nvidia_uvm uvm_disable_hmm=1 in /etc/modprobe.d, and load the module anew"},
    {"driver", "devices", doctor_devices,
     "run nvidia-modprobe -u -c=0, and give the devices' group to vgpu-launcher: --gpu-gid"},
    {"driver", "persistence", doctor_persistence,
     "start nvidia-persistenced, or nvidia-smi -pm 1: an idle GPU takes seconds to start"},
    {"qemu", "qemu", doctor_qemu,
     "install the QEMU with vgpu-stub, or name yours: --qemu. Containers of this host need none"},
    {"qemu", "vgpu-stub", doctor_stub, "build QEMU with the device: tools/qemu-build.sh"},
    {"service", "run-dir", doctor_run_dir,
     "let the mediator's user own it, and nobody else write to it (chmod 0755)"},
    {"service", "mediator", doctor_mediator, "start vgpu-mediator, and see its log"},
    {"service", "admin-socket", doctor_admin_socket,
     "give it to the administrators' group, mode 0660: who can open it decides all"},
    {"service", "launcher", doctor_launcher, "start vgpu-launcher, and see its log"},
    {"service", "vm-sockets", doctor_vm_sockets,
     "let QEMU's user open its VM's socket and nobody else (mode 0660), and see the mediator's "
     "log"},
    {"database", "database", doctor_database,
     "put back a backup, or, where there is none yet: vgpu-mediator --create-database"},
    {"database", "foreign-keys", doctor_keys,
     "something else wrote to the database: put back a backup"},
    {"database", "lock", doctor_lock, "end the program that has it, or start the mediator"},
    {"database", "disk", doctor_disk, "make room on the database's file system"},
    {"gpus", "gpus", doctor_gpus,
     "put the card back, or take it out of its pools: vgpu-admin unassign-gpu; see list-gpus"},
    {"gpus", "pools", doctor_pools, "give the pool a GPU: vgpu-admin assign-gpu"},
};

static const char *const outcome_names[] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_WARNING] = "warning",
    [OUTCOME_FAILED] = "failed",
    [OUTCOME_SKIPPED] = "skipped",
};

static const struct command_option options[] = {
    {.name = "driver",
     .kind = OPTION_TEXT,
     .metavar = "PATH",
     .key = "driver",
     .help = "the CUDA driver that workers load (" DEFAULT_DRIVER ")",
     .local = true},
    {.name = "qemu",
     .kind = OPTION_TEXT,
     .metavar = "PATH",
     .key = "qemu",
     .help = "the QEMU that runs the VMs (" DEFAULT_QEMU ")",
     .local = true},
    {.name = "nvml-helper",
     .kind = OPTION_TEXT,
     .metavar = "PATH",
     .key = "nvml_helper",
     .help = "the program to ask NVML with (vgpu-nvml, beside this one)",
     .local = true},
    {.name = "root",
     .kind = OPTION_TEXT,
     .metavar = "DIR",
     .key = "root",
     .help = "where /proc, /sys and /dev are, for tests",
     .local = true},
    {.name = NULL},
};

void doctor_find(struct finding *finding, enum outcome outcome, const char *format, ...)
{
    va_list args;

    finding->outcome = outcome;
    va_start(args, format);
    vsnprintf(finding->found, sizeof(finding->found), format, args);
    va_end(args);
}

void doctor_advise(struct finding *finding, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(finding->advice, sizeof(finding->advice), format, args);
    va_end(args);
}

void doctor_path(const struct doctor *doctor, const char *path, char *text, size_t size)
{
    if (snprintf(text, size, "%s%s", doctor->root, path) >= (int)size)
        text[0] = '\0';
}

bool doctor_read(const struct doctor *doctor, const char *path, char *text, size_t size)
{
    _cleanup_fclose_ FILE *file = NULL;
    char whole[512];
    size_t used;

    doctor_path(doctor, path, whole, sizeof(whole));
    file = fopen(whole, "re");
    used = file ? fread(text, 1, size - 1, file) : 0;
    while (used > 0 && text[used - 1] == '\n')
        used--;
    text[used] = '\0';
    return file && !ferror(file);
}

bool doctor_exists(const struct doctor *doctor, const char *path, struct stat *ret_st)
{
    char whole[512];

    doctor_path(doctor, path, whole, sizeof(whole));
    return stat(whole, ret_st) == 0;
}

void doctor_show_mode(const struct stat *st, char *text, size_t size)
{
    snprintf(text, size, "%u:%u %04o", (unsigned)st->st_uid, (unsigned)st->st_gid,
             (unsigned)st->st_mode & 07777);
}

static void ask(struct client *client, struct doctor *doctor)
{
    static const char *const lists[] = {"gpus", "pools", "vms"};
    json_t **const to[] = {&doctor->gpus, &doctor->pools, &doctor->vms};
    _cleanup_json_ json_t *args = json_object();
    json_t *result = NULL;

    if (client_call(client, "status", args, &doctor->status, &doctor->mediator_err) < 0)
        return;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(lists); i++) {
        char command[32];

        snprintf(command, sizeof(command), "list-%s", lists[i]);
        if (client_call(client, command, args, &result, &doctor->mediator_err) < 0)
            return;
        *to[i] = json_incref(json_object_get(result, lists[i]));
        json_decref(result);
    }
}

bool doctor_ask(struct doctor *doctor)
{
    struct client client;

    if (!doctor->asked && client_connect(&client, doctor->socket_path, ANSWER_TIMEOUT_S,
                                         &doctor->mediator_err) == 0) {
        ask(&client, doctor);
        client_close(&client);
    }
    doctor->asked = true;
    return doctor->status && doctor->vms;
}

bool doctor_lacks_helper(struct doctor *doctor, const struct vgpu_err *err)
{
    return !doctor->helper && err->code == ENOENT && doctor_ask(doctor);
}

/* A scan without the GPUs that the store alone still knows, as vgpu-nvml would give it. */
static json_t *without_missing(json_t *result)
{
    json_t *scan = json_copy(result), *present = json_array(), *gpu;
    size_t i;

    json_array_foreach (json_object_get(result, "gpus"), i, gpu)
        if (show_is(gpu, "state", "present"))
            json_array_append(present, gpu);
    json_object_set_new(scan, "gpus", present);
    return scan;
}

/* Its helper looks, and nothing is recorded. */
static void scan_by_mediator(struct doctor *doctor)
{
    const struct invocation look = {.dry_run = true};
    _cleanup_json_ json_t *args = json_object();
    _cleanup_json_ json_t *result = NULL;
    struct client client;

    if (client_connect(&client, doctor->socket_path, SCAN_TIMEOUT_S, &doctor->scan_err) < 0)
        return;
    if (client_change(&client, &look, "scan-gpus", args, &result, &doctor->scan_err) == 0)
        doctor->scan = without_missing(result);
    client_close(&client);
}

const json_t *doctor_scan(struct doctor *doctor)
{
    if (!doctor->scanned &&
        nvml_helper_scan(doctor->helper, &doctor->scan, &doctor->scan_err) < 0 &&
        doctor_lacks_helper(doctor, &doctor->scan_err))
        scan_by_mediator(doctor);
    doctor->scanned = true;
    return doctor->scan;
}

int doctor_inspect(struct doctor *doctor)
{
    if (!doctor->inspected)
        doctor->inspect_rc = store_inspect(doctor->database, &doctor->report, &doctor->inspect_err);
    doctor->inspected = true;
    return doctor->inspect_rc;
}

const json_t *doctor_configuration(struct doctor *doctor, const char *what)
{
    if (doctor_ask(doctor))
        return strcmp(what, "gpus") == 0    ? doctor->gpus
               : strcmp(what, "pools") == 0 ? doctor->pools
                                            : doctor->vms;
    doctor_inspect(doctor);
    return json_object_get(doctor->report.snapshot, what);
}

static void release(struct doctor *doctor)
{
    json_decref(doctor->scan);
    json_decref(doctor->status);
    json_decref(doctor->gpus);
    json_decref(doctor->pools);
    json_decref(doctor->vms);
    json_decref(doctor->report.snapshot);
}

static const char *text_or(const struct invocation *invocation, const char *key,
                           const char *otherwise)
{
    const char *text = json_string_value(json_object_get(invocation->local, key));

    return text ? text : otherwise;
}

static void init(struct doctor *doctor, const struct invocation *invocation)
{
    const char *slash = strrchr(invocation->socket_path, '/');

    *doctor = (struct doctor){.root = text_or(invocation, "root", ""),
                              .socket_path = invocation->socket_path,
                              .database = invocation->database,
                              .driver = text_or(invocation, "driver", DEFAULT_DRIVER),
                              .qemu = text_or(invocation, "qemu", DEFAULT_QEMU),
                              .names_qemu = json_object_get(invocation->local, "qemu") != NULL,
                              .helper = text_or(invocation, "nvml_helper", NULL)};
    snprintf(doctor->run_dir, sizeof(doctor->run_dir), "%.*s",
             slash ? (int)(slash - invocation->socket_path) : 1,
             slash ? invocation->socket_path : ".");
}

static bool needs_advice(const struct finding *finding)
{
    return finding->outcome == OUTCOME_WARNING || finding->outcome == OUTCOME_FAILED;
}

static int add_json(json_t *list, const struct check *check, const struct finding *finding)
{
    return json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:s, s:s?}", "group", check->group, "check", check->name,
                        "outcome", outcome_names[finding->outcome], "found", finding->found,
                        "advice", needs_advice(finding) ? finding->advice : NULL));
}

static void print(const struct check *check, const struct finding *finding, bool new_group)
{
    if (new_group)
        printf("%s\n", check->group);
    printf("  %-*s  %-*s  %s\n", OUTCOME_WIDTH, outcome_names[finding->outcome], NAME_WIDTH,
           check->name, finding->found);
    if (needs_advice(finding))
        printf("  %*s  %*s  -> %s\n", OUTCOME_WIDTH, "", NAME_WIDTH, "", finding->advice);
}

/* Each check's outcome is counted in counts. */
static int run_all(struct doctor *doctor, json_t *list, bool quiet, int counts[4])
{
    const char *group = "";

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(checks); i++) {
        struct finding finding = {.outcome = OUTCOME_SKIPPED};

        checks[i].run(doctor, &finding);
        if (!finding.advice[0])
            doctor_advise(&finding, "%s", checks[i].advice);
        table_clean(finding.found);
        table_clean(finding.advice);
        counts[finding.outcome]++;
        if (add_json(list, &checks[i], &finding) < 0)
            return -ENOMEM;
        if (!quiet)
            print(&checks[i], &finding, strcmp(group, checks[i].group) != 0);
        group = checks[i].group;
    }
    return 0;
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    _cleanup_json_ json_t *result = NULL;
    json_t *list = json_array();
    int counts[VGPU_ARRAY_SIZE(outcome_names)] = {0};
    struct doctor doctor;
    int rc;

    init(&doctor, invocation);
    rc = run_all(&doctor, list, invocation->json, counts);
    release(&doctor);
    result = json_pack("{s:o, s:i, s:i, s:i, s:i}", "checks", list, "ok", counts[OUTCOME_OK],
                       "warnings", counts[OUTCOME_WARNING], "failed", counts[OUTCOME_FAILED],
                       "skipped", counts[OUTCOME_SKIPPED]);
    if (rc < 0 || !result)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    if (invocation->json)
        client_print_json(result);
    else
        printf("ok: %d, warnings: %d, failed: %d, skipped: %d\n", counts[OUTCOME_OK],
               counts[OUTCOME_WARNING], counts[OUTCOME_FAILED], counts[OUTCOME_SKIPPED]);
    if (counts[OUTCOME_FAILED] > 0)
        return vgpu_err_set(err, EIO, "%d of %zu checks failed", counts[OUTCOME_FAILED],
                            VGPU_ARRAY_SIZE(checks));
    return 0;
}

const struct command command_doctor = {
    .name = "doctor",
    .summary = "find out what is wrong with this host, and what to do",
    .options = options,
    .run = run,
};
