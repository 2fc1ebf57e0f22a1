/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-nvml, the mediator's NVML helper: NVML calls can hang, so they are made here. It answers
 * JSON lines on descriptors 0 and 1 (the framing of docs/spec/admin.md) until end of file, or with
 * --scan prints what a scan finds and ends. Commands: "sample" lists the GPUs that NVML has, "scan"
 * starts NVML anew, so that it looks for them, and asks the PCI bus too; "reset" resets a GPU;
 * "release" and "acquire" let others do that.
 *
 * NVML need not be there, nor come: each request tries again.
 */
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/err.h"
#include "mediator/driver_check.h"
#include "mediator/nvml_calls.h"
#include "mediator/nvml_health.h"
#include "mediator/pci.h"
#include "store/line.h"
#include "store/store.h"

#define EXIT_USAGE    2
#define DEFAULT_NVML  "libnvidia-ml.so.1"
#define GPUS_MAX      NVML_GPUS_MAX
#define PROCESSES_MAX 4096u

static const char usage[] =
    "usage: vgpu-nvml [--nvml PATH] [--pci DIR] [--scan | --check-driver PATH]\n"
    "The NVML helper of vgpu-mediator: JSON lines on descriptors 0 and 1.\n"
    "  --nvml PATH          the NVML library (default: $VGPU_NVML, or " DEFAULT_NVML ")\n"
    "  --pci DIR            the PCI bus in sysfs (default: $VGPU_PCI, or " PCI_DEFAULT_PATH ")\n"
    "  --scan               print as JSON what a scan finds, and end\n"
    "  --check-driver PATH  load this CUDA driver library, print its CUDA version, and end\n"
    "  --help, --version\n";

struct nvml {
    const char *path, *pci;
    void *library; /* NULL: not loaded */
    bool started;
    bool released; /* others have the GPUs, until "acquire" */
#define NVML_MEMBER(result, name, arguments) result(*name) arguments;
    NVML_CALLS(NVML_MEMBER)
    NVML_OPTIONAL_CALLS(NVML_MEMBER)
#undef NVML_MEMBER
    struct nvml_health *health;
    unsigned int count; /* of the GPUs at the last look */
};

/* What a GPU was when it could tell: one that is lost cannot. */
struct identity {
    char uuid[NVML_DEVICE_UUID_BUFFER_SIZE]; /* "": nobody knows */
    char name[NVML_DEVICE_NAME_BUFFER_SIZE];
    nvmlPciInfo_t pci;
    nvmlDevice_t device;
    unsigned long long memory_bytes;
};

static struct identity identities[GPUS_MAX]; /* by NVML's index */

static int nvml_failed(const struct nvml *nvml, const char *call, nvmlReturn_t result,
                       struct vgpu_err *err)
{
    return vgpu_err_set(err, EIO, "%s: %s", call, nvml->nvmlErrorString(result));
}

static int nvml_load(struct nvml *nvml, struct vgpu_err *err)
{
    void *library = dlopen(nvml->path, RTLD_NOW | RTLD_LOCAL);

    if (!library)
        return vgpu_err_set(err, ENOENT, "cannot load NVML: %s", dlerror());
#define NVML_LOOKUP(type, name, arguments)                                                         \
    *(void **)&nvml->name = dlsym(library, #name);                                                 \
    if (!nvml->name) {                                                                             \
        dlclose(library);                                                                          \
        return vgpu_err_set(err, ENOENT, "'%s' is not NVML: it lacks %s", nvml->path, #name);      \
    }
    NVML_CALLS(NVML_LOOKUP)
#undef NVML_LOOKUP
#define NVML_OPTIONAL_LOOKUP(type, name, arguments) *(void **)&nvml->name = dlsym(library, #name);
    NVML_OPTIONAL_CALLS(NVML_OPTIONAL_LOOKUP)
#undef NVML_OPTIONAL_LOOKUP
    nvml_health_load(nvml->health, library);
    nvml->library = library;
    return 0;
}

/* Only where NVML has as many GPUs as before does an index still mean the same one. */
static void begin(struct nvml *nvml)
{
    unsigned int count = 0;
    bool same = nvml->nvmlDeviceGetCount_v2(&count) == NVML_SUCCESS && count == nvml->count;

    if (!same)
        memset(identities, 0, sizeof(identities));
    nvml_health_resume(nvml->health, same);
    nvml->started = true;
}

/* NVML is loaded and started, if it was not yet. */
static int nvml_start(struct nvml *nvml, struct vgpu_err *err)
{
    bool fresh = !nvml->library;
    nvmlReturn_t result;
    int rc;

    if (nvml->started)
        return 0;
    if (nvml->released)
        return vgpu_err_set(err, EAGAIN, "let go of, while a GPU is reset");
    if (fresh && (rc = nvml_load(nvml, err)) < 0)
        return rc;
    result = nvml->nvmlInit_v2();
    if (result == NVML_SUCCESS) {
        begin(nvml);
        return 0;
    }
    rc = nvml_failed(nvml, "nvmlInit_v2", result, err);
    if (fresh) { /* another one may be installed the next time */
        dlclose(nvml->library);
        nvml->library = NULL;
    }
    return rc;
}

static void nvml_stop(struct nvml *nvml)
{
    if (!nvml->started)
        return;
    nvml_health_pause(nvml->health);
    nvml->nvmlShutdown();
    nvml->started = false;
}

/* NVML keeps to the GPUs that it found when it was started. */
static int nvml_look_again(struct nvml *nvml, struct vgpu_err *err)
{
    nvml_stop(nvml);
    return nvml_start(nvml, err);
}

/* What a GPU cannot tell is null: some do not know their utilization. */
static void add_live(const struct nvml *nvml, nvmlDevice_t device, struct identity *identity,
                     json_t *gpu)
{
    nvmlMemory_t memory;
    nvmlUtilization_t utilization;
    unsigned int temperature;
    nvmlReturn_t result;
    bool known = nvml->nvmlDeviceGetMemoryInfo(device, &memory) == NVML_SUCCESS;

    if (known)
        identity->memory_bytes = memory.total;
    json_object_set_new(gpu, "memory_bytes",
                        identity->memory_bytes ? json_integer((json_int_t)identity->memory_bytes)
                                               : json_null());
    json_object_set_new(gpu, "memory_used_bytes",
                        known ? json_integer((json_int_t)memory.used) : json_null());
    known = nvml->nvmlDeviceGetUtilizationRates(device, &utilization) == NVML_SUCCESS;
    json_object_set_new(gpu, "utilization", known ? json_integer(utilization.gpu) : json_null());
    result = nvml->nvmlDeviceGetTemperature(device, NVML_TEMPERATURE_GPU, &temperature);
    known = result == NVML_SUCCESS;
    json_object_set_new(gpu, "temperature", known ? json_integer(temperature) : json_null());
    json_object_set_new(gpu, "lost", json_boolean(result == NVML_ERROR_GPU_IS_LOST));
    json_object_set_new(gpu, "reset_required", json_boolean(result == NVML_ERROR_RESET_REQUIRED));
}

/* Who holds memory of it; null where NVML cannot tell. A size that it does not know is null too. */
static void add_processes(const struct nvml *nvml, nvmlDevice_t device, json_t *gpu)
{
    static nvmlProcessInfo_t infos[PROCESSES_MAX];
    unsigned int count = PROCESSES_MAX;
    json_t *processes;

    if (nvml->nvmlDeviceGetComputeRunningProcesses_v3(device, &count, infos) != NVML_SUCCESS) {
        json_object_set_new(gpu, "processes", json_null());
        return;
    }
    processes = json_array();
    for (unsigned int i = 0; i < count && i < PROCESSES_MAX; i++) {
        bool known = infos[i].usedGpuMemory <= INT64_MAX;

        json_array_append_new(
            processes,
            json_pack("{s:I, s:o}", "pid", (json_int_t)infos[i].pid, "memory_bytes",
                      known ? json_integer((json_int_t)infos[i].usedGpuMemory) : json_null()));
    }
    json_object_set_new(gpu, "processes", processes);
}

static void add_number(json_t *gpu, const char *key, bool known, json_int_t number)
{
    json_object_set_new(gpu, key, known ? json_integer(number) : json_null());
}

/* What does not change, and a VM may know: see mediator/monitor.c. */
static void add_facts(const struct nvml *nvml, nvmlDevice_t device, const nvmlPciInfo_t *pci,
                      json_t *gpu)
{
    int version = 0, major = 0, minor = 0;
    unsigned int clock = 0;
    nvmlEnableState_t ecc = NVML_FEATURE_DISABLED, pending;
    bool known = nvml->nvmlSystemGetCudaDriverVersion_v2(&version) == NVML_SUCCESS;

    add_number(gpu, "cuda_version", known, version);
    known = nvml->nvmlDeviceGetCudaComputeCapability(device, &major, &minor) == NVML_SUCCESS;
    add_number(gpu, "compute_major", known, major);
    add_number(gpu, "compute_minor", known, minor);
    add_number(gpu, "pci_device_id", true, pci->pciDeviceId);
    add_number(gpu, "pci_subsystem_id", true, pci->pciSubSystemId);
    known = nvml->nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_SM, &clock) == NVML_SUCCESS;
    add_number(gpu, "max_sm_mhz", known, clock);
    known = nvml->nvmlDeviceGetMaxClockInfo(device, NVML_CLOCK_MEM, &clock) == NVML_SUCCESS;
    add_number(gpu, "max_memory_mhz", known, clock);
    known = nvml->nvmlDeviceGetEccMode(device, &ecc, &pending) == NVML_SUCCESS;
    add_number(gpu, "ecc_mode", known, ecc);
}

/* What a scan records besides; the PCI bus may know better (mediator/pci_merge.c). */
static void add_scanned(const struct nvml *nvml, nvmlDevice_t device, json_t *gpu)
{
    unsigned int mode = 0, pending = 0, node = 0;
    nvmlEnableState_t persistence = NVML_FEATURE_DISABLED;
    bool known = nvml->nvmlDeviceGetMigMode &&
                 nvml->nvmlDeviceGetMigMode(device, &mode, &pending) == NVML_SUCCESS;

    json_object_set_new(gpu, "mig_mode",
                        known ? json_string(mode == NVML_DEVICE_MIG_ENABLE ? "enabled" : "disabled")
                              : json_null());
    known = nvml->nvmlDeviceGetNumaNodeId &&
            nvml->nvmlDeviceGetNumaNodeId(device, &node) == NVML_SUCCESS;
    add_number(gpu, "numa_node", known, node);
    known = nvml->nvmlDeviceGetPersistenceMode &&
            nvml->nvmlDeviceGetPersistenceMode(device, &persistence) == NVML_SUCCESS;
    json_object_set_new(gpu, "persistence", known ? json_boolean(persistence) : json_null());
    json_object_set_new(gpu, "driver", json_null());
    json_object_set_new(gpu, "source", json_string("nvml"));
}

static json_t *process_of(json_t *processes, unsigned int pid)
{
    json_t *process;
    size_t i;

    json_array_foreach (processes, i, process)
        if (json_integer_value(json_object_get(process, "pid")) == (json_int_t)pid)
            return process;
    return NULL;
}

/* How much of the multiprocessors' time each had since the last sample: its greatest mean. */
static void add_utilization(const struct nvml *nvml, nvmlDevice_t device, unsigned int index,
                            json_t *gpu)
{
    static nvmlProcessUtilizationSample_t samples[PROCESSES_MAX];
    static unsigned long long seen[GPUS_MAX];
    unsigned long long since = seen[index];
    unsigned int count = PROCESSES_MAX;
    json_t *processes = json_object_get(gpu, "processes");

    if (!nvml->nvmlDeviceGetProcessUtilization || !json_is_array(processes) ||
        nvml->nvmlDeviceGetProcessUtilization(device, samples, &count, since) != NVML_SUCCESS)
        return;
    for (unsigned int i = 0; i < count && i < PROCESSES_MAX; i++) {
        json_t *process = process_of(processes, samples[i].pid);
        json_int_t percent = samples[i].smUtil;

        if (samples[i].timeStamp > seen[index])
            seen[index] = samples[i].timeStamp;
        /* The first time it tells of a past that nobody knows anything of. */
        if (since == 0 || !process || samples[i].timeStamp <= since || percent > 100)
            continue;
        if (percent >= json_integer_value(json_object_get(process, "sm_percent")))
            json_object_set_new(process, "sm_percent", json_integer(percent));
    }
}

/* Who the GPU at an index is. One that is lost or must be reset is who it was. */
static nvmlReturn_t identify(const struct nvml *nvml, unsigned int index,
                             struct identity **ret_identity, const char **ret_call)
{
    struct identity found = {.memory_bytes = 0};
    nvmlReturn_t result;

    *ret_identity = &identities[index];
    *ret_call = "nvmlDeviceGetHandleByIndex_v2";
    if ((result = nvml->nvmlDeviceGetHandleByIndex_v2(index, &found.device)) != NVML_SUCCESS)
        return result;
    *ret_call = "nvmlDeviceGetUUID";
    result = nvml->nvmlDeviceGetUUID(found.device, found.uuid, sizeof(found.uuid));
    if (result != NVML_SUCCESS)
        return result;
    *ret_call = "nvmlDeviceGetName";
    result = nvml->nvmlDeviceGetName(found.device, found.name, sizeof(found.name));
    if (result != NVML_SUCCESS)
        return result;
    *ret_call = "nvmlDeviceGetPciInfo_v3";
    result = nvml->nvmlDeviceGetPciInfo_v3(found.device, &found.pci);
    if (result != NVML_SUCCESS)
        return result;
    found.pci.busId[sizeof(found.pci.busId) - 1] = '\0';
    if (strcmp(found.uuid, identities[index].uuid) == 0)
        found.memory_bytes = identities[index].memory_bytes;
    identities[index] = found;
    return NVML_SUCCESS;
}

static int add_gpu(const struct nvml *nvml, unsigned int index, const char *driver, json_t *gpus,
                   struct vgpu_err *err)
{
    struct identity *who;
    const char *call;
    json_t *gpu;
    nvmlReturn_t result = identify(nvml, index, &who, &call);
    bool away = result == NVML_ERROR_GPU_IS_LOST || result == NVML_ERROR_RESET_REQUIRED;

    if (away && !who->uuid[0])
        return 0; /* nobody knows which one it is: it is not there */
    if (result != NVML_SUCCESS && !away)
        return nvml_failed(nvml, call, result, err);
    gpu = json_pack("{s:i, s:s, s:s, s:s, s:s}", "index", (int)index, "uuid", who->uuid, "pci",
                    who->pci.busId, "model", who->name, "driver_version", driver);
    if (!gpu)
        return vgpu_err_set(err, EIO, "GPU %u has a name that is not UTF-8", index);
    add_live(nvml, who->device, who, gpu);
    if (away) {
        json_object_set_new(gpu, "lost", json_boolean(result == NVML_ERROR_GPU_IS_LOST));
        json_object_set_new(gpu, "reset_required",
                            json_boolean(result == NVML_ERROR_RESET_REQUIRED));
    }
    add_processes(nvml, who->device, gpu);
    add_utilization(nvml, who->device, index, gpu);
    add_facts(nvml, who->device, &who->pci, gpu);
    add_scanned(nvml, who->device, gpu);
    nvml_health_add(nvml->health, who->device, index, gpu);
    json_array_append_new(gpus, gpu);
    return 0;
}

/* All that NVML has; ret_version: of the driver. */
static int list_gpus(struct nvml *nvml, json_t *gpus,
                     char ret_version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE], struct vgpu_err *err)
{
    unsigned int count;
    nvmlReturn_t result = nvml->nvmlDeviceGetCount_v2(&count);
    int rc = 0;

    if (result != NVML_SUCCESS)
        return nvml_failed(nvml, "nvmlDeviceGetCount_v2", result, err);
    if (count > GPUS_MAX)
        return vgpu_err_set(err, E2BIG, "%u GPUs are more than %u", count, GPUS_MAX);
    result = nvml->nvmlSystemGetDriverVersion(ret_version, NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE);
    if (result != NVML_SUCCESS)
        return nvml_failed(nvml, "nvmlSystemGetDriverVersion", result, err);
    nvml->count = count;
    nvml_health_poll(nvml->health);
    for (unsigned int i = 0; rc == 0 && i < count; i++)
        rc = add_gpu(nvml, i, ret_version, gpus, err);
    return rc;
}

static json_t *sample(struct nvml *nvml, struct vgpu_err *err)
{
    char version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE] = "";
    json_t *gpus = json_array();

    if (nvml_start(nvml, err) == 0 && list_gpus(nvml, gpus, version, err) == 0)
        return json_pack("{s:o}", "gpus", gpus);
    json_decref(gpus);
    return NULL;
}

static int add_pci(const struct nvml *nvml, json_t *gpus, struct vgpu_err *err)
{
    static struct pci_gpu found[PCI_GPUS_MAX];
    unsigned int n = 0;
    int rc = pci_gpu_find(nvml->pci, found, &n, err);

    return rc < 0 ? rc : pci_gpu_merge(gpus, found, n, err);
}

/* What NVML and the PCI bus know; each alone will do. */
static json_t *scan(struct nvml *nvml, struct vgpu_err *err)
{
    char version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE] = "";
    struct vgpu_err nvml_err = {.code = 0}, pci_err = {.code = 0};
    json_t *gpus = json_array();
    bool seen =
        nvml_look_again(nvml, &nvml_err) == 0 && list_gpus(nvml, gpus, version, &nvml_err) == 0;

    if (!seen)
        json_array_clear(gpus);
    if (add_pci(nvml, gpus, &pci_err) < 0 && !seen) {
        json_decref(gpus);
        vgpu_err_set(err, nvml_err.code, "%s; %s", nvml_err.text, pci_err.text);
        return NULL;
    }
    return json_pack("{s:o, s:s?, s:s?, s:s?}", "gpus", gpus, "driver_version",
                     version[0] ? version : NULL, "nvml_error", seen ? NULL : nvml_err.text,
                     "pci_error", pci_err.code ? pci_err.text : NULL);
}

static json_t *reset(const struct nvml *nvml, const char *uuid, struct vgpu_err *err)
{
    for (unsigned int i = 0; uuid && uuid[0] && i < GPUS_MAX; i++) {
        if (strcmp(identities[i].uuid, uuid) != 0)
            continue;
        if (nvml_health_reset(nvml->health, identities[i].device, err) < 0)
            return NULL;
        return json_pack("{s:b, s:{}}", "ok", 1, "result");
    }
    vgpu_err_set(err, ENOENT, "NVML shows no such GPU");
    return NULL;
}

/* A GPU is not reset while a process has NVML open. */
static json_t *let_go(struct nvml *nvml, bool release)
{
    nvml->released = release;
    if (release)
        nvml_stop(nvml);
    return json_pack("{s:b, s:{}}", "ok", 1, "result");
}

static json_t *execute(struct nvml *nvml, const json_t *request, struct vgpu_err *err)
{
    const char *command = json_string_value(json_object_get(request, "command"));
    json_t *result;

    if (command && strcmp(command, "reset") == 0)
        return reset(nvml, json_string_value(json_object_get(request, "uuid")), err);
    if (command && (strcmp(command, "release") == 0 || strcmp(command, "acquire") == 0))
        return let_go(nvml, command[0] == 'r');
    if (command && strcmp(command, "scan") == 0) {
        result = scan(nvml, err);
    } else if (command && strcmp(command, "sample") == 0) {
        result = sample(nvml, err);
    } else {
        vgpu_err_set(err, EOPNOTSUPP, "the commands are scan, sample, reset, release and acquire");
        return NULL;
    }
    return result ? json_pack("{s:b, s:o}", "ok", 1, "result", result) : NULL;
}

static int answer(struct nvml *nvml, const char *line)
{
    json_t *request = json_loads(line, JSON_REJECT_DUPLICATES, NULL), *reply = NULL;
    json_t *id = json_object_get(request, "id");
    struct vgpu_err err = {.code = 0};
    int rc;

    if (!json_is_object(request))
        vgpu_err_set(&err, EINVAL, "the line is not a JSON object");
    else
        reply = execute(nvml, request, &err);
    if (!reply)
        reply = json_pack("{s:b, s:o}", "ok", 0, "error", store_error_json(&err));
    json_object_set(reply, "id", id ? id : json_null());
    rc = line_write(STDOUT_FILENO, reply, STORE_REPLY_BYTES_MAX);
    json_decref(reply);
    json_decref(request);
    return rc;
}

static int serve(struct nvml *nvml)
{
    struct line_reader reader;
    const char *line;
    int rc;

    line_reader_init(&reader, STDIN_FILENO, STORE_REQUEST_BYTES_MAX);
    while ((rc = line_read(&reader, &line)) > 0)
        if ((rc = answer(nvml, line)) < 0)
            break;
    line_reader_release(&reader);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int print(json_t *result, const struct vgpu_err *err)
{
    if (!result) {
        fprintf(stderr, "vgpu-nvml: %s\n", err->text);
        return EXIT_FAILURE;
    }
    json_dumpf(result, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(result);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"nvml", required_argument, NULL, 'n'},
        {"pci", required_argument, NULL, 'p'},
        {"scan", no_argument, NULL, 's'},
        {"check-driver", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL},
    };
    const char *nvml_path = getenv("VGPU_NVML"), *pci_path = getenv("VGPU_PCI"), *driver = NULL;
    static struct nvml_health health;
    struct nvml nvml = {.path = nvml_path ? nvml_path : DEFAULT_NVML,
                        .pci = pci_path ? pci_path : PCI_DEFAULT_PATH,
                        .health = &health};
    struct vgpu_err err = {.code = 0};
    bool once = false;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            nvml.path = optarg;
            break;
        case 'p':
            nvml.pci = optarg;
            break;
        case 'd':
            driver = optarg;
            break;
        case 's':
            once = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        case 'V':
            puts("vgpu-nvml " VGPU_PROGRAM_VERSION);
            return EXIT_SUCCESS;
        default:
            return EXIT_USAGE;
        }
    }
    if (optind != argc || (once && driver)) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal's Ctrl-C ends the mediator, and that ends this */
    if (driver)
        return print(driver_check(driver, &err), &err);
    return once ? print(scan(&nvml, &err), &err) : serve(&nvml);
}
