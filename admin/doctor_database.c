/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of vgpu-admin doctor: the database, and what is configured in it. */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "admin/doctor.h"
#include "admin/show.h"

/* Of the database, its log and a backup there may be tens of MiB. */
#define FREE_LEAST_MIB 100
#define FREE_FAILS_MIB 10

void doctor_database(struct doctor *doctor, struct finding *finding)
{
    if (doctor_inspect(doctor) < 0) {
        doctor_find(finding, OUTCOME_FAILED, "%s", doctor->inspect_err.text);
    } else if (doctor->report.schema_version != STORE_SCHEMA_VERSION) {
        doctor_find(finding, OUTCOME_WARNING, "%s has schema %d; this program's is %d",
                    doctor->database, doctor->report.schema_version, STORE_SCHEMA_VERSION);
        doctor_advise(finding, "start the mediator, which upgrades it and keeps a backup");
    } else {
        doctor_find(finding, OUTCOME_OK, "%s is sound, schema %d", doctor->database,
                    STORE_SCHEMA_VERSION);
    }
}

void doctor_keys(struct doctor *doctor, struct finding *finding)
{
    long long dangling = (long long)doctor->report.dangling;

    if (doctor_inspect(doctor) < 0)
        doctor_find(finding, OUTCOME_SKIPPED, "the database cannot be read");
    else if (dangling > 0)
        doctor_find(finding, OUTCOME_FAILED, "%lld rows name what does not exist", dangling);
    else
        doctor_find(finding, OUTCOME_OK, "all rows name what exists");
}

void doctor_lock(struct doctor *doctor, struct finding *finding)
{
    const char *holder = doctor->report.holder;

    if (doctor_inspect(doctor) < 0 && !holder[0])
        doctor_find(finding, OUTCOME_SKIPPED, "the database cannot be read");
    else if (doctor_ask(doctor) && !holder[0])
        doctor_find(finding, OUTCOME_FAILED,
                    "a mediator runs, but not on %s, which nobody has open", doctor->database);
    else if (!doctor_ask(doctor) && holder[0])
        doctor_find(finding, OUTCOME_WARNING, "no mediator answers, but %s has it open", holder);
    else
        doctor_find(finding, OUTCOME_OK, "%s%s", holder[0] ? "held by " : "nobody has it open",
                    holder);
    if (finding->outcome == OUTCOME_FAILED)
        doctor_advise(finding, "say which database the mediator has: --database");
}

void doctor_disk(struct doctor *doctor, struct finding *finding)
{
    const char *slash = strrchr(doctor->database, '/');
    char directory[512];
    struct statvfs vfs;
    unsigned long long mib;

    snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - doctor->database) : 1,
             slash ? doctor->database : ".");
    if (statvfs(directory[0] ? directory : "/", &vfs) < 0) {
        doctor_find(finding, OUTCOME_FAILED, "there is no %s", directory);
        doctor_advise(finding, "make it, for the mediator's user, or say where it is: --database");
        return;
    }
    mib = (unsigned long long)vfs.f_bavail * vfs.f_frsize >> 20;
    doctor_find(finding,
                mib < FREE_FAILS_MIB   ? OUTCOME_FAILED
                : mib < FREE_LEAST_MIB ? OUTCOME_WARNING
                                       : OUTCOME_OK,
                "%llu MiB are free in %s", mib, directory);
}

/* In a list of a mediator's a GPU has its pools; a snapshot lists the pairs apart. */
static bool serves_a_pool(struct doctor *doctor, const json_t *gpu)
{
    const json_t *pairs = json_object_get(doctor->report.snapshot, "pool_gpus"), *pair;
    size_t i;

    if (json_object_get(gpu, "pools"))
        return json_array_size(json_object_get(gpu, "pools")) > 0;
    json_array_foreach (pairs, i, pair)
        if (json_equal(json_object_get(pair, "gpu_id"), json_object_get(gpu, "gpu_id")))
            return true;
    return false;
}

void doctor_gpus(struct doctor *doctor, struct finding *finding)
{
    const json_t *gpus = doctor_configuration(doctor, "gpus"), *gpu;
    size_t i, n = 0;

    if (!gpus) {
        doctor_find(finding, OUTCOME_SKIPPED, "the configuration is not known");
        return;
    }
    json_array_foreach (gpus, i, gpu) {
        char seen[SHOW_BYTES], uuid[SHOW_BYTES];

        if (!serves_a_pool(doctor, gpu))
            continue;
        n++;
        if (!show_is(gpu, "state", "missing"))
            continue;
        doctor_find(
            finding, OUTCOME_FAILED, "GPU %lld (%s) serves a pool and is missing, last seen %s",
            (long long)json_integer_value(json_object_get(gpu, "gpu_id")),
            show_member(gpu, "uuid", uuid), show_time(json_object_get(gpu, "last_seen"), seen));
        return;
    }
    if (json_array_size(gpus) == 0) {
        doctor_find(finding, OUTCOME_WARNING, "none is known");
        doctor_advise(finding, "look for them: vgpu-admin scan-gpus");
    } else {
        doctor_find(finding, OUTCOME_OK, "%zu of %zu serve pools, and are there", n,
                    json_array_size(gpus));
    }
}

/* How many GPUs a pool has. */
static size_t gpus_of_pool(struct doctor *doctor, const json_t *pool)
{
    const json_t *pairs = json_object_get(doctor->report.snapshot, "pool_gpus"), *pair;
    size_t i, n = 0;

    if (json_object_get(pool, "gpus"))
        return json_array_size(json_object_get(pool, "gpus"));
    json_array_foreach (pairs, i, pair)
        n += json_equal(json_object_get(pair, "pool"), json_object_get(pool, "pool"));
    return n;
}

static size_t vms_of_pool(struct doctor *doctor, const json_t *pool)
{
    const json_t *vms = doctor_configuration(doctor, "vms"), *vm;
    size_t i, n = 0;

    json_array_foreach (vms, i, vm)
        n += json_equal(json_object_get(vm, "pool"), json_object_get(pool, "pool"));
    return n;
}

void doctor_pools(struct doctor *doctor, struct finding *finding)
{
    const json_t *pools = doctor_configuration(doctor, "pools"), *pool;
    size_t i;

    if (!pools) {
        doctor_find(finding, OUTCOME_SKIPPED, "the configuration is not known");
        return;
    }
    json_array_foreach (pools, i, pool) {
        size_t vms = vms_of_pool(doctor, pool);
        char name[SHOW_BYTES];

        if (vms == 0 || gpus_of_pool(doctor, pool) > 0)
            continue;
        doctor_find(finding, OUTCOME_WARNING, "pool %s has %zu VMs and no GPU",
                    show_member(pool, "pool", name), vms);
        return;
    }
    doctor_find(finding, json_array_size(pools) ? OUTCOME_OK : OUTCOME_SKIPPED, "%zu",
                json_array_size(pools));
}
