/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of vgpu-admin doctor: NVIDIA's driver, or what stands in for it. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "admin/doctor.h"
#include "admin/nvml_helper.h"
#include "admin/show.h"

/* From this kernel on the open kernel modules have heterogeneous memory management. */
#define HMM_KERNEL_MAJOR 6
#define HMM_KERNEL_MINOR 1

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "?";
}

static size_t count_source(const json_t *scan, const char *source)
{
    const json_t *gpus = json_object_get(scan, "gpus"), *gpu;
    size_t i, n = 0;

    json_array_foreach (gpus, i, gpu)
        n += show_is(gpu, "source", source);
    return n;
}

/* The helper itself is not there. */
static void advise_helper(const struct vgpu_err *err, struct finding *finding)
{
    if (err->code == ENOENT)
        doctor_advise(finding, "install vgpu-nvml beside vgpu-admin, or name it: --nvml-helper");
}

void doctor_nvml(struct doctor *doctor, struct finding *finding)
{
    const json_t *scan = doctor_scan(doctor);
    const char *failure = json_string_value(json_object_get(scan, "nvml_error"));
    size_t n = count_source(scan, "nvml");

    if (!scan) {
        doctor_find(finding, OUTCOME_FAILED, "%s", doctor->scan_err.text);
        advise_helper(&doctor->scan_err, finding);
    } else if (failure)
        doctor_find(finding, OUTCOME_FAILED, "%s", failure);
    else if (n == 0)
        doctor_find(finding, OUTCOME_FAILED, "NVML of driver %s shows no GPU",
                    text_of(scan, "driver_version"));
    else
        doctor_find(finding, OUTCOME_OK, "NVML of driver %s shows %zu GPU%s",
                    text_of(scan, "driver_version"), n, n == 1 ? "" : "s");
}

void doctor_module(struct doctor *doctor, struct finding *finding)
{
    const json_t *scan = doctor_scan(doctor);
    const char *library = json_string_value(json_object_get(scan, "driver_version"));
    char module[64];

    if (doctor_read(doctor, "/sys/module/nvidia/version", module, sizeof(module))) {
        if (library && strcmp(library, module) != 0)
            doctor_find(finding, OUTCOME_FAILED, "the kernel module is %s, NVML is %s", module,
                        library);
        else
            doctor_find(finding, OUTCOME_OK, "the kernel module is %s", module);
    } else if (count_source(scan, "nvml") > 0) {
        doctor_find(finding, OUTCOME_SKIPPED, "NVML needs no kernel module here: softgpu");
    } else {
        doctor_find(finding, OUTCOME_FAILED, "NVIDIA's kernel module is not loaded");
    }
}

void doctor_cards(struct doctor *doctor, struct finding *finding)
{
    const json_t *scan = doctor_scan(doctor);
    const char *failure = json_string_value(json_object_get(scan, "pci_error"));
    const json_t *gpus = json_object_get(scan, "gpus"), *gpu;
    size_t i, n = count_source(scan, "pci");

    if (!scan || failure) {
        doctor_find(finding, OUTCOME_SKIPPED, "the PCI bus cannot be looked at: %s",
                    failure ? failure : doctor->scan_err.text);
        return;
    }
    if (n == 0) {
        doctor_find(finding, OUTCOME_OK, "NVML shows all of the PCI bus");
        return;
    }
    json_array_foreach (gpus, i, gpu) {
        char driver[SHOW_BYTES];

        if (!show_is(gpu, "source", "pci"))
            continue;
        doctor_find(finding, OUTCOME_WARNING, "%zu that NVML does not show; %s (%s) has: %s", n,
                    text_of(gpu, "model"), text_of(gpu, "pci"),
                    json_is_string(json_object_get(gpu, "driver"))
                        ? show_member(gpu, "driver", driver)
                        : "no driver");
        return;
    }
}

void doctor_cuda(struct doctor *doctor, struct finding *finding)
{
    struct vgpu_err err = {.code = 0};
    _cleanup_json_ json_t *answer = NULL;
    int version;

    if (nvml_helper_check_driver(doctor->helper, doctor->driver, &answer, &err) < 0) {
        bool has_other = doctor_lacks_helper(doctor, &err);
        const json_t *mediator = json_object_get(doctor->status, "mediator");
        const char *loaded = json_string_value(json_object_get(mediator, "driver"));

        if (has_other && loaded)
            doctor_find(finding, OUTCOME_OK, "the mediator's workers load %s", loaded);
        else if (has_other)
            doctor_find(finding, OUTCOME_SKIPPED,
                        "the mediator does not say which driver its workers load");
        if (has_other)
            return;
        doctor_find(finding, OUTCOME_FAILED, "%s", err.text);
        advise_helper(&err, finding);
        return;
    }
    version = (int)json_integer_value(json_object_get(answer, "cuda_version"));
    doctor_find(finding, OUTCOME_OK, "%s can be loaded, CUDA %d.%d", doctor->driver, version / 1000,
                version % 1000 / 10);
}

void doctor_hmm(struct doctor *doctor, struct finding *finding)
{
    unsigned major = 0, minor = 0;
    char value[16], release[128];
    struct stat st;

    if (!doctor_exists(doctor, "/sys/module/nvidia_uvm", &st)) {
        doctor_find(finding, OUTCOME_SKIPPED, "nvidia_uvm is not loaded");
        return;
    }
    if (!doctor_read(doctor, "/sys/module/nvidia_uvm/parameters/uvm_disable_hmm", value,
                     sizeof(value))) {
        doctor_find(finding, OUTCOME_OK, "this nvidia_uvm has no heterogeneous memory management");
        return;
    }
    if (value[0] == 'Y' || value[0] == '1') {
        doctor_find(finding, OUTCOME_OK, "uvm_disable_hmm is on");
        return;
    }
    if (doctor_read(doctor, "/proc/sys/kernel/osrelease", release, sizeof(release)) &&
        sscanf(release, "%u.%u", &major, &minor) == 2 &&
        (major < HMM_KERNEL_MAJOR || (major == HMM_KERNEL_MAJOR && minor < HMM_KERNEL_MINOR)))
        doctor_find(finding, OUTCOME_OK, "uvm_disable_hmm is off; this kernel is too old for it");
    else
        doctor_find(finding, OUTCOME_WARNING,
                    "uvm_disable_hmm is off: a GPU kernel of a guest may reach all memory of its "
                    "worker");
}

/* False, with the finding, if a device file is not as workers need it. */
static bool device_ok(const struct doctor *doctor, const char *name, struct finding *finding)
{
    char path[300], mode[64];
    struct stat st;

    snprintf(path, sizeof(path), "/dev/%s", name);
    if (!doctor_exists(doctor, path, &st)) {
        doctor_find(finding, OUTCOME_FAILED, "there is no %s", path);
        return false;
    }
    if (!S_ISCHR(st.st_mode)) {
        doctor_find(finding, OUTCOME_FAILED, "%s is no device", path);
        return false;
    }
    if ((st.st_mode & 0006) == 0006)
        return true;
    doctor_show_mode(&st, mode, sizeof(mode));
    doctor_find(finding, OUTCOME_WARNING, "%s is %s: workers can open it only in its group, %u",
                path, mode, (unsigned)st.st_gid);
    doctor_advise(finding, "start vgpu-launcher with --gpu-gid=%u, if it is not", st.st_gid);
    return false;
}

static bool is_gpu_device(const char *name)
{
    static const char prefix[] = "nvidia";

    return strncmp(name, prefix, strlen(prefix)) == 0 && name[strlen(prefix)] >= '0' &&
           name[strlen(prefix)] <= '9';
}

void doctor_devices(struct doctor *doctor, struct finding *finding)
{
    char path[512];
    const struct dirent *entry;
    DIR *directory;
    struct stat st;
    unsigned n = 0;
    bool ok = true;

    if (!doctor_exists(doctor, "/sys/module/nvidia", &st)) {
        doctor_find(finding, OUTCOME_SKIPPED, "NVIDIA's kernel module is not loaded");
        return;
    }
    if (!device_ok(doctor, "nvidiactl", finding) || !device_ok(doctor, "nvidia-uvm", finding))
        return;
    doctor_path(doctor, "/dev", path, sizeof(path));
    directory = opendir(path);
    while (ok && directory && (entry = readdir(directory))) {
        if (!is_gpu_device(entry->d_name))
            continue;
        ok = device_ok(doctor, entry->d_name, finding);
        n++;
    }
    if (directory)
        closedir(directory);
    if (ok && n == 0)
        doctor_find(finding, OUTCOME_FAILED, "there is no /dev/nvidia0");
    else if (ok)
        doctor_find(finding, OUTCOME_OK, "nvidiactl, nvidia-uvm and %u of GPUs can be opened", n);
}

void doctor_persistence(struct doctor *doctor, struct finding *finding)
{
    const json_t *gpus = json_object_get(doctor_scan(doctor), "gpus"), *gpu;
    size_t i, known = 0;

    json_array_foreach (gpus, i, gpu) {
        const json_t *persistence = json_object_get(gpu, "persistence");

        known += json_is_boolean(persistence);
        if (json_is_false(persistence)) {
            doctor_find(finding, OUTCOME_WARNING, "persistence mode is off on %s",
                        text_of(gpu, "uuid"));
            return;
        }
    }
    if (known == 0)
        doctor_find(finding, OUTCOME_SKIPPED, "no GPU tells");
    else
        doctor_find(finding, OUTCOME_OK, "persistence mode is on");
}
