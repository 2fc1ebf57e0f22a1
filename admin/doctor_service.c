/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of vgpu-admin doctor: mediator and launcher, and who may open their sockets. */
#include <stdio.h>
#include <string.h>

#include "admin/doctor.h"

#define SOCKET_LISTENS 0x10000 /* __SO_ACCEPTCON, among the flags in /proc/net/unix */
#define LINE_BYTES     512

void doctor_run_dir(struct doctor *doctor, struct finding *finding)
{
    char mode[64];
    struct stat st;

    if (stat(doctor->run_dir, &st) < 0) {
        doctor_find(finding, OUTCOME_FAILED, "there is no %s", doctor->run_dir);
        doctor_advise(finding, "start vgpu-mediator, which makes it, or say where it is: --socket");
        return;
    }
    doctor_show_mode(&st, mode, sizeof(mode));
    if (!S_ISDIR(st.st_mode))
        doctor_find(finding, OUTCOME_FAILED, "%s is no directory", doctor->run_dir);
    else if (st.st_mode & S_IWOTH)
        doctor_find(finding, OUTCOME_FAILED, "%s is %s: anybody can put sockets there",
                    doctor->run_dir, mode);
    else
        doctor_find(finding, OUTCOME_OK, "%s, %s", doctor->run_dir, mode);
}

void doctor_mediator(struct doctor *doctor, struct finding *finding)
{
    const json_t *about;
    const char *version;

    if (!doctor_ask(doctor)) {
        doctor_find(finding, OUTCOME_FAILED, "%s", doctor->mediator_err.text);
        return;
    }
    about = json_object_get(doctor->status, "mediator");
    version = json_string_value(json_object_get(about, "version"));
    if (!version || strcmp(version, VGPU_PROGRAM_VERSION) != 0) {
        doctor_find(finding, OUTCOME_WARNING, "it is version %s, vgpu-admin " VGPU_PROGRAM_VERSION,
                    version ? version : "?");
        doctor_advise(finding, "restart it: kill -HUP leaves jobs running");
        return;
    }
    doctor_find(finding, OUTCOME_OK, "version %s, pid %lld, up %.0f s, %lld workers", version,
                (long long)json_integer_value(json_object_get(about, "pid")),
                json_number_value(json_object_get(about, "uptime_s")),
                (long long)json_integer_value(json_object_get(about, "workers")));
}

/* Both are told as findings where a socket is not there, or anybody may open it. */
static bool socket_ok(const char *path, mode_t forbidden, struct finding *finding)
{
    char mode[64];
    struct stat st;

    if (stat(path, &st) < 0) {
        doctor_find(finding, OUTCOME_FAILED, "there is no %s", path);
        doctor_advise(finding, "start the program that makes it, and see its log");
        return false;
    }
    doctor_show_mode(&st, mode, sizeof(mode));
    if (!S_ISSOCK(st.st_mode)) {
        doctor_find(finding, OUTCOME_FAILED, "%s is no socket", path);
        return false;
    }
    if (st.st_mode & forbidden) {
        doctor_find(finding, OUTCOME_FAILED, "%s is %s: too many may open it", path, mode);
        return false;
    }
    doctor_find(finding, OUTCOME_OK, "%s, %s", path, mode);
    return true;
}

void doctor_admin_socket(struct doctor *doctor, struct finding *finding)
{
    socket_ok(doctor->socket_path, S_IRWXO, finding);
}

/* True if somebody listens at the path. Nobody is connected to: the launcher has one client. */
static bool listened_to(const struct doctor *doctor, const char *path)
{
    _cleanup_fclose_ FILE *file = NULL;
    char line[LINE_BYTES], whole[512];

    doctor_path(doctor, "/proc/net/unix", whole, sizeof(whole));
    file = fopen(whole, "re");
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long flags = 0;
        int at = -1;

        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%*x: %*x %*x %lx %*x %*x %*u %n", &flags, &at) == 1 && at > 0 &&
            flags & SOCKET_LISTENS && strcmp(line + at, path) == 0)
            return true;
    }
    return false;
}

void doctor_launcher(struct doctor *doctor, struct finding *finding)
{
    char path[300];
    struct stat st;

    snprintf(path, sizeof(path), "%s/launcher.sock", doctor->run_dir);
    if (stat(path, &st) < 0 && doctor_ask(doctor)) {
        doctor_find(finding, OUTCOME_SKIPPED,
                    "it is not at %s; the mediator runs, perhaps with --launcher-socket", path);
        return;
    }
    if (!socket_ok(path, S_IRWXG | S_IRWXO, finding))
        return;
    if (!listened_to(doctor, path))
        doctor_find(finding, OUTCOME_FAILED, "nobody listens at %s", path);
}

void doctor_vm_sockets(struct doctor *doctor, struct finding *finding)
{
    const json_t *vm;
    size_t i, n = 0;

    if (!doctor_ask(doctor)) {
        doctor_find(finding, OUTCOME_SKIPPED, "the mediator makes them, and does not answer");
        return;
    }
    json_array_foreach (doctor->vms, i, vm) {
        char path[320];

        snprintf(path, sizeof(path), "%s/vm/%lld.sock", doctor->run_dir,
                 (long long)json_integer_value(json_object_get(vm, "vm_id")));
        if (!socket_ok(path, S_IRWXO, finding))
            return;
        n++;
    }
    if (n == 0)
        doctor_find(finding, OUTCOME_SKIPPED, "no VM is registered");
    else
        doctor_find(finding, OUTCOME_OK, "%zu, one for each VM", n);
}
