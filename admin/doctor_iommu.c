/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of vgpu-admin doctor: what confines the GPUs' DMA, and that no guest has a PCI device of
 * its own (docs/security.md says what follows). What is not so is a warning, and a failure where
 * the host's policy demands it: /etc/vgpu/policy.conf, or --require-iommu.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "admin/child.h"
#include "admin/doctor.h"

#define XL_TIMEOUT_S    10
#define XL_OUTPUT_BYTES (1024 * 1024)
#define POLICY_PATH     "/etc/vgpu/policy.conf"
#define LISTED_MAX      4 /* PCI devices that are named in one finding */

enum strictness { STRICT_UNKNOWN, STRICT_YES, STRICT_NO, STRICT_OFF };

/* One line of the file; the whole file is small. Returns false, with the finding, if it is wrong.
 */
static bool policy_line(struct doctor *doctor, char *line, struct finding *finding)
{
    char key[64], value[64], rest;
    int n;

    line[strcspn(line, "#")] = '\0';
    if (line[strspn(line, " \t\r")] == '\0')
        return true;
    n = sscanf(line, " %63[a-z-] = %63s %c", key, value, &rest);
    if (n == 2 && strcmp(key, "require-iommu") == 0 &&
        (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)) {
        doctor->require_iommu |= strcmp(value, "true") == 0;
        return true;
    }
    doctor_find(finding, OUTCOME_FAILED, "%s is not understood: %s", POLICY_PATH, line);
    return false;
}

void doctor_policy(struct doctor *doctor, struct finding *finding)
{
    char text[4096], *at = text, *line;

    if (doctor_read(doctor, POLICY_PATH, text, sizeof(text)))
        while ((line = strsep(&at, "\n")))
            if (!policy_line(doctor, line, finding)) {
                doctor->require_iommu = true; /* what it demands is not known */
                return;
            }
    doctor_find(finding, OUTCOME_OK,
                doctor->require_iommu ? "an IOMMU is required" : "an IOMMU is not required");
}

static enum outcome bad(const struct doctor *doctor)
{
    return doctor->require_iommu ? OUTCOME_FAILED : OUTCOME_WARNING;
}

static bool on_xen(const struct doctor *doctor)
{
    char type[16];
    struct stat st;

    return doctor_exists(doctor, "/proc/xen/capabilities", &st) ||
           (doctor_read(doctor, "/sys/hypervisor/type", type, sizeof(type)) &&
            strcmp(type, "xen") == 0);
}

/* What xl says, for free(); NULL, with the finding, if it cannot be asked. */
static char *ask_xl(const struct doctor *doctor, const char *what, struct finding *finding)
{
    const char *argv[] = {doctor->xl, what, NULL};
    const struct child child = {.argv = argv,
                                .name = doctor->xl,
                                .most_bytes = XL_OUTPUT_BYTES,
                                .timeout_s = XL_TIMEOUT_S,
                                .take_errors = true};
    struct child_result result;
    struct vgpu_err err = {.code = 0};

    if (child_run(&child, &result, &err) < 0) {
        doctor_find(finding, bad(doctor), "%s", err.text);
    } else if (result.status != 0) {
        doctor_find(finding, bad(doctor), "%s %s failed: %s", doctor->xl, what,
                    result.errors[0] ? result.errors : "it says nothing");
        free(result.text);
    } else {
        return result.text;
    }
    doctor_advise(finding, "run this as root in the control domain");
    return NULL;
}

/* The value behind "key   : " at the start of a line of xl info; "" without. Cuts text there. */
static const char *value_of(char *text, const char *key)
{
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, strlen(key)) == 0) {
            char *value = line + strlen(key);

            value += strspn(value, " \t");
            if (*value != ':')
                continue;
            value += 1 + strspn(value + 1, " \t");
            value[strcspn(value, "\n")] = '\0';
            return value;
        }
    }
    return "";
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

static void xen_iommu(struct doctor *doctor, struct finding *finding)
{
    _cleanup_free_ char *info = NULL;
    const char *caps;

    doctor_advise(finding,
                  "enable VT-d or AMD-Vi in the firmware, and leave iommu=off out of Xen's "
                  "command line");
    info = ask_xl(doctor, "info", finding);
    if (!info)
        return;
    caps = value_of(info, "virt_caps");
    if (has_word(caps, "hvm_directio") || has_word(caps, "pv_directio"))
        doctor_find(finding, OUTCOME_OK, "Xen uses the IOMMU");
    else
        doctor_find(finding, bad(doctor), "Xen uses no IOMMU (virt_caps: %.64s)", caps);
}

/* How many entries of a directory below the root, the first of them in name. */
static unsigned entries(const struct doctor *doctor, const char *path, char *name, size_t size)
{
    const struct dirent *entry;
    unsigned count = 0;
    char whole[512];
    DIR *directory;

    doctor_path(doctor, path, whole, sizeof(whole));
    directory = opendir(whole);
    while (directory && (entry = readdir(directory)))
        if (entry->d_name[0] != '.' && count++ == 0)
            snprintf(name, size, "%s", entry->d_name);
    if (directory)
        closedir(directory);
    return count;
}

void doctor_iommu(struct doctor *doctor, struct finding *finding)
{
    char name[256];

    if (on_xen(doctor)) {
        xen_iommu(doctor, finding);
    } else if (entries(doctor, "/sys/class/iommu", name, sizeof(name)) > 0) {
        doctor_find(finding, OUTCOME_OK, "Linux uses the IOMMU (%s)", name);
    } else {
        doctor_find(finding, bad(doctor), "Linux uses no IOMMU");
    }
}

/* 1 or 0 for "name", "no-name" and "name=VALUE"; -1: the option is another. */
static int boolean(const char *option, size_t length, const char *name)
{
    static const char *const off[] = {"=0", "=no", "=off", "=false", "=disable"};
    size_t named = strlen(name);

    if (length == named + 3 && strncmp(option, "no-", 3) == 0 &&
        strncmp(option + 3, name, named) == 0)
        return 0;
    if (length < named || strncmp(option, name, named) != 0 ||
        (length > named && option[named] != '='))
        return -1;
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(off); i++)
        if (length - named == strlen(off[i]) &&
            strncmp(option + named, off[i], strlen(off[i])) == 0)
            return 0;
    return 1;
}

/* What one part of iommu= or dom0-iommu= says; later ones win. */
static void read_option(const char *option, size_t length, bool dom0, enum strictness *strict)
{
    int passthrough = boolean(option, length, dom0 ? "passthrough" : "dom0-passthrough");
    int is_strict = boolean(option, length, dom0 ? "strict" : "dom0-strict");

    if (is_strict >= 0)
        *strict = is_strict ? STRICT_YES : STRICT_NO;
    if (passthrough > 0)
        *strict = STRICT_OFF;
}

/* By Xen's command line: false is the default of strict for a PV dom0, and PVH is always strict. */
static enum strictness by_command_line(const char *line)
{
    enum strictness strict = STRICT_NO;
    bool pvh = false;

    for (size_t length; *line; line += length + (line[length] == ' ')) {
        bool dom0 = strncmp(line, "dom0-iommu=", 11) == 0;
        size_t skip = dom0 ? 11 : strncmp(line, "iommu=", 6) == 0 ? 6 : 0;

        length = strcspn(line, " ");
        if (strncmp(line, "dom0=", 5) == 0)
            pvh = memmem(line, length, "pvh", 3) != NULL;
        for (size_t at = skip, part; skip && at < length; at += part + 1) {
            part = strcspn(line + at, ", ");
            read_option(line + at, part, dom0, &strict);
        }
    }
    return pvh && strict == STRICT_NO ? STRICT_YES : strict;
}

/* By what Xen said at its start, while its log still has that. */
static enum strictness by_log(const char *log)
{
    static const char words[] = "Dom0 mode: ";
    const char *mode = log ? strstr(log, words) : NULL;

    if (!mode)
        return STRICT_UNKNOWN;
    mode += strlen(words);
    return strncmp(mode, "Strict", 6) == 0    ? STRICT_YES
           : strncmp(mode, "Relaxed", 7) == 0 ? STRICT_NO
                                              : STRICT_OFF;
}

static void xen_dma(struct doctor *doctor, struct finding *finding)
{
    struct finding unasked = {.outcome = OUTCOME_SKIPPED};
    _cleanup_free_ char *info = NULL, *log = NULL;
    enum strictness strict;

    doctor_advise(finding, "xen-cmdline --set-xen dom0-iommu=strict, or the same in the boot "
                           "loader's configuration, and restart the host");
    info = ask_xl(doctor, "info", finding);
    if (!info)
        return;
    log = ask_xl(doctor, "dmesg", &unasked);
    strict = by_log(log);
    if (strict == STRICT_UNKNOWN)
        strict = by_command_line(value_of(info, "xen_commandline"));
    if (strict == STRICT_YES)
        doctor_find(finding, OUTCOME_OK,
                    "Xen confines dom0's devices to dom0's memory (dom0-iommu=strict)");
    else if (strict == STRICT_NO)
        doctor_find(finding, bad(doctor),
                    "dom0's devices, GPUs too, can reach the memory of all domains (dom0-iommu is "
                    "not strict)");
    else
        doctor_find(finding, bad(doctor), "dom0's devices pass the IOMMU by (dom0 passthrough)");
}

/* NVML's domain has eight digits, that of sysfs four; false: not an address. */
static bool sysfs_address(const char *pci, char *ret_address, size_t size)
{
    unsigned domain, bus, device, function;

    return pci && sscanf(pci, "%x:%x:%x.%x", &domain, &bus, &device, &function) == 4 &&
           snprintf(ret_address, size, "%04x:%02x:%02x.%x", domain, bus, device, function) <
               (int)size;
}

/* The domain's type of a GPU's group. False: the GPU is not on this host's bus. */
static bool group_type(const struct doctor *doctor, const char *address, char *type, size_t size)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", address);
    if (!doctor_exists(doctor, path, &st))
        return false;
    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group/type", address);
    if (!doctor_read(doctor, path, type, size))
        type[0] = '\0';
    return true;
}

static void linux_dma(struct doctor *doctor, struct finding *finding)
{
    const json_t *gpus = json_object_get(doctor_scan(doctor), "gpus"), *gpu;
    unsigned count = 0;
    char address[32], type[32];
    size_t i;

    json_array_foreach (gpus, i, gpu) {
        if (!sysfs_address(json_string_value(json_object_get(gpu, "pci")), address,
                           sizeof(address)) ||
            !group_type(doctor, address, type, sizeof(type)))
            continue;
        count++;
        if (strcmp(type, "DMA") != 0 && strcmp(type, "DMA-FQ") != 0) {
            doctor_find(finding, bad(doctor), "the DMA of GPU %s is not confined (%s)", address,
                        type[0] ? type : "it is in no group of an IOMMU");
            return;
        }
    }
    if (count == 0)
        doctor_find(finding, OUTCOME_SKIPPED, "no GPU is on this host's bus");
    else
        doctor_find(finding, OUTCOME_OK, "the DMA of %u GPUs is confined to what Linux maps for it",
                    count);
}

void doctor_dma(struct doctor *doctor, struct finding *finding)
{
    if (on_xen(doctor))
        xen_dma(doctor, finding);
    else
        linux_dma(doctor, finding);
}

void doctor_assigned(struct doctor *doctor, struct finding *finding)
{
    const char *driver = on_xen(doctor) ? "pciback" : "vfio-pci";
    char path[512], whole[64], listed[LISTED_MAX * 16 + 16] = "";
    const struct dirent *entry;
    unsigned count = 0;
    DIR *directory;

    snprintf(whole, sizeof(whole), "/sys/bus/pci/drivers/%s", driver);
    doctor_path(doctor, whole, path, sizeof(path));
    directory = opendir(path);
    while (directory && (entry = readdir(directory))) {
        if (!isxdigit((unsigned char)entry->d_name[0]) || !strchr(entry->d_name, ':'))
            continue;
        if (count++ < LISTED_MAX)
            snprintf(listed + strlen(listed), sizeof(listed) - strlen(listed), " %.15s",
                     entry->d_name);
    }
    if (directory)
        closedir(directory);
    if (count == 0)
        doctor_find(finding, OUTCOME_OK, "no PCI device is handed to a guest");
    else
        doctor_find(finding, bad(doctor), "%u PCI devices are kept for guests by %s:%s%s", count,
                    driver, listed, count > LISTED_MAX ? " ..." : "");
}
