/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of vgpu-admin doctor: the QEMU that runs the VMs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/child.h"
#include "admin/doctor.h"

#define QEMU_TIMEOUT_S    20
#define QEMU_OUTPUT_BYTES (256 * 1024)
/* The oldest that the device is written for. */
#define QEMU_MAJOR 4
#define QEMU_MINOR 2

/*
 * A host whose clients are containers alone has no QEMU, and needs none.
 * What it prints, for free(); NULL, with the finding, if it cannot be run.
 */
static char *run(const struct doctor *doctor, const char *const *options, struct finding *finding)
{
    const char *argv[] = {doctor->qemu, options[0], options[1], NULL};
    const struct child child = {.argv = argv,
                                .name = doctor->qemu,
                                .most_bytes = QEMU_OUTPUT_BYTES,
                                .timeout_s = QEMU_TIMEOUT_S,
                                .take_errors = true};
    struct child_result result;
    struct vgpu_err err = {.code = 0};

    if (child_run(&child, &result, &err) < 0) {
        bool is_missing = err.code == ENOENT && !doctor->names_qemu;

        doctor_find(finding, is_missing ? OUTCOME_WARNING : OUTCOME_FAILED, "%s", err.text);
        return NULL;
    }
    if (result.status != 0) {
        doctor_find(finding, OUTCOME_FAILED, "%s failed: %s", doctor->qemu,
                    result.errors[0] ? result.errors : "it says nothing");
        free(result.text);
        return NULL;
    }
    return result.text;
}

void doctor_qemu(struct doctor *doctor, struct finding *finding)
{
    static const char *const options[] = {"--version", NULL};
    static const char words[] = "version ";
    _cleanup_free_ char *text = run(doctor, options, finding);
    const char *version = text ? strstr(text, words) : NULL;
    unsigned major = 0, minor = 0;

    if (!text)
        return;
    if (!version || sscanf(version + strlen(words), "%u.%u", &major, &minor) != 2) {
        doctor_find(finding, OUTCOME_FAILED, "%s does not tell a version", doctor->qemu);
        return;
    }
    version += strlen(words);
    text[strcspn(text, "\n")] = '\0';
    if (major < QEMU_MAJOR || (major == QEMU_MAJOR && minor < QEMU_MINOR))
        doctor_find(finding, OUTCOME_FAILED, "%s is version %s, older than %d.%d", doctor->qemu,
                    version, QEMU_MAJOR, QEMU_MINOR);
    else
        doctor_find(finding, OUTCOME_OK, "%s is version %s", doctor->qemu, version);
}

void doctor_stub(struct doctor *doctor, struct finding *finding)
{
    static const char *const options[] = {"-device", "help"};
    struct finding failure;
    _cleanup_free_ char *text = run(doctor, options, &failure);

    if (!text)
        doctor_find(finding, OUTCOME_SKIPPED, "QEMU cannot be asked");
    else if (strstr(text, "\"vgpu-stub\""))
        doctor_find(finding, OUTCOME_OK, "QEMU has the device");
    else
        doctor_find(finding, OUTCOME_FAILED, "QEMU does not have the device vgpu-stub");
}
