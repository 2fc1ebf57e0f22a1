/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of vgpu-admin as its users run it: on a database without a mediator, and against an admin
 * socket that the test itself serves. argv[1]: the program.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "store/line.h"
#include "store/store.h"

#define OUTPUT_BYTES 65536

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}

#define _cleanup_json_ _cleanup_(cleanup_json)

extern char **environ;

static const char *program;

struct fixture {
    char directory[64];
    char database[96];
    int listener; /* -1: no mediator */
    pid_t pid;
    char out[OUTPUT_BYTES], err[OUTPUT_BYTES];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    strcpy(fixture->directory, "/tmp/vgpu-admin-test-XXXXXX");
    if (!mkdtemp(fixture->directory))
        return -1;
    snprintf(fixture->database, sizeof(fixture->database), "%s/vgpu.db", fixture->directory);
    fixture->listener = -1;
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    DIR *directory = opendir(fixture->directory);
    const struct dirent *entry;

    while (directory && (entry = readdir(directory)))
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    rmdir(fixture->directory);
    vgpu_close(&fixture->listener);
    free(fixture);
    return 0;
}

/* Starts the program through a shell, which takes the arguments apart. */
static void start(struct fixture *fixture, const char *arguments)
{
    char command[4096];
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, command, NULL};

    assert_true((size_t)snprintf(command, sizeof(command),
                                 "cd '%s'; export VGPU_RUN_DIR='%s' LC_ALL=C.UTF-8; "
                                 "vgpu() { '%s' --database vgpu.db \"$@\"; }; "
                                 "{ vgpu %s; } >out 2>err",
                                 fixture->directory, fixture->directory, program,
                                 arguments) < sizeof(command));
    assert_int_equal(posix_spawn(&fixture->pid, "/bin/sh", NULL, NULL, argv, environ), 0);
}

static void read_output(const struct fixture *fixture, const char *name, char text[OUTPUT_BYTES])
{
    _cleanup_fclose_ FILE *file = NULL;
    char path[128];
    size_t size;

    snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
    file = fopen(path, "re");
    assert_non_null(file);
    size = fread(text, 1, OUTPUT_BYTES - 1, file);
    text[size] = '\0';
}

static int finish(struct fixture *fixture)
{
    int status;

    assert_int_equal(waitpid(fixture->pid, &status, 0), fixture->pid);
    assert_true(WIFEXITED(status));
    read_output(fixture, "out", fixture->out);
    read_output(fixture, "err", fixture->err);
    return WEXITSTATUS(status);
}

static int run(struct fixture *fixture, const char *arguments)
{
    start(fixture, arguments);
    return finish(fixture);
}

static void expect(struct fixture *fixture, int status, const char *arguments)
{
    int got = run(fixture, arguments);

    if (got != status)
        fail_msg("%s: exit status %d, not %d: %s", arguments, got, status, fixture->err);
}

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in '%s'", part, text);
}

static void assert_has_not(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("'%s' is in '%s'", part, text);
}

/* Takes the place of a mediator. */
static void listen_as_mediator(struct fixture *fixture)
{
    /* A program that never connects must fail its test, not hang it. */
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/admin.sock", fixture->directory);
    fixture->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fixture->listener, 4), 0);
    setsockopt(fixture->listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

/* Accepts one connection, reads one request, and answers with these bytes; then closes. */
static json_t *answer(const struct fixture *fixture, const char *reply)
{
    _cleanup_close_ int fd = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC);
    struct line_reader reader;
    const char *line;
    json_t *request;

    assert_true(fd >= 0);
    line_reader_init(&reader, fd, STORE_REQUEST_BYTES_MAX);
    assert_int_equal(line_read(&reader, &line), 1);
    request = json_loads(line, 0, NULL);
    assert_non_null(request);
    assert_int_equal(write(fd, reply, strlen(reply)), strlen(reply));
    line_reader_release(&reader);
    return request;
}

static int run_online(struct fixture *fixture, const char *arguments, const char *reply)
{
    listen_as_mediator(fixture);
    start(fixture, arguments);
    json_decref(answer(fixture, reply));
    return finish(fixture);
}

/* without a mediator */

static void test_admin_offline_changes_the_database_and_says_so(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool --create --pool=A");
    assert_string_equal(fixture->out, "pool A created, policy wfq\n");
    assert_string_equal(fixture->err,
                        "vgpu-admin: mediator is not running; changed the database only\n");
    expect(fixture, 0, "register-vm --pool=A --priority=high --vm-id=1 --name=web");
    assert_string_equal(fixture->out, "VM 1 (web) registered: pool A, priority high, weight 50\n");
}

static void write_text(const struct fixture *fixture, const char *name, const char *text)
{
    _cleanup_fclose_ FILE *file = NULL;
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
}

static void test_admin_simulate_refuses_bad_input(void **state)
{
    struct fixture *fixture = *state;

    write_text(fixture, "bad.sim", "duration 1s\nvm a arrive closed 1 job fixed never\n");
    write_text(fixture, "good.sim", "vm a arrive closed 1 job fixed 1ms\n");
    expect(fixture, 2, "simulate");
    assert_has(fixture->err, "--file=FILE is missing");
    expect(fixture, 1, "simulate missing.sim");
    assert_has(fixture->err, "cannot open missing.sim");
    expect(fixture, 1, "simulate .");
    assert_has(fixture->err, "cannot read");
    expect(fixture, 1, "simulate bad.sim");
    assert_has(fixture->err, "line 2");
    assert_string_equal(fixture->out, "");
    expect(fixture, 1, "simulate good.sim --svg=none/x.svg");
    assert_has(fixture->err, "cannot make none/x.svg");
    expect(fixture, 0, "simulate - <good.sim");
    assert_has(fixture->out, "busy 100.000 %");
}

static void test_admin_offline_missing_database(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 1, "list-vms");
    assert_has(fixture->err, "vgpu.db does not exist; make a new one with --create");
    assert_string_equal(fixture->out, "");
    assert_int_equal(access(fixture->database, F_OK), -1);
}

static void test_admin_offline_error_is_one_line(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 1, "register-vm --pool=B --vm-id=1");
    assert_string_equal(fixture->err,
                        "vgpu-admin: register-vm: pool 'B' does not exist (have: A); create it "
                        "with: vgpu-admin create-pool --pool=B\n");
    assert_string_equal(fixture->out, "");
}

static void test_admin_offline_all_settings_of_a_vm(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "create-pool B --policy=strict --description 'for batch'");
    expect(fixture, 0, "register-vm --vm-id 7 --pool A --name db --weight 12.5");
    expect(fixture, 0, "set-priority db --priority=low");
    assert_string_equal(fixture->out, "VM 7 (db) has priority low\n");
    expect(fixture, 0, "set-weight --vm=7 --weight=99.5");
    assert_string_equal(fixture->out, "VM 7 (db) has weight 99.5\n");
    expect(fixture, 0, "set-pool --vm-id=7 --pool=B");
    assert_string_equal(fixture->out, "VM 7 (db) has pool B\n");
    expect(fixture, 0, "list-vms --pool=B");
    assert_string_equal(fixture->out, "ID  NAME  UUID  POOL  PRIORITY  WEIGHT  FAULTS  LIMITS\n"
                                      " 7  db    -     B     low         99.5       0  -\n");
    expect(fixture, 0, "list-pools");
    assert_has(fixture->out, "for batch");
    expect(fixture, 0, "remove-vm --name=db");
    expect(fixture, 0, "remove-pool B");
}

static void make_vm(struct fixture *fixture)
{
    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "register-vm --vm-id 7 --pool A --name db");
}

static void test_admin_offline_limits_of_a_vm(void **state)
{
    static const struct {
        const char *arguments, *out;
    } cases[] = {
        {"set-rate db 100", "VM 7 (db) has rate 100/s, burst 100\n"},
        {"set-rate db 100/s 250", "VM 7 (db) has rate 100/s, burst 250\n"},
        {"set-rate --rate=100 --burst=250 --vm=db",
         "VM 7 (db) already has rate 100/s, burst 250\n"},
        {"set-rate --vm-id=7 none", "VM 7 (db) has rate no limit\n"},
        {"set-depth db 65536", "VM 7 (db) has depth 65536\n"},
        {"set-depth db default", "VM 7 (db) has depth 4096 (default)\n"},
        {"set-bytes db 1.5G", "VM 7 (db) has bytes in flight 1.5 GiB\n"},
        {"set-timeout db 1500", "VM 7 (db) has job timeout 1.5 s\n"},
        {"set-timeout 7 2m", "VM 7 (db) has job timeout 2 m\n"},
        {"set-memory db 4GiB --process=512M",
         "VM 7 (db) has memory 4 GiB, memory of a process 512 MiB\n"},
        {"set-memory db 0", "VM 7 (db) has memory no limit, memory of a process 512 MiB\n"},
        {"set-faults db 3 2h", "VM 7 (db) has fault threshold 3, fault window 2 h\n"},
        {"set-faults db default", "VM 7 (db) has fault threshold 5 (default), fault window 2 h\n"},
    };
    struct fixture *fixture = *state;

    make_vm(fixture);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        expect(fixture, 0, cases[i].arguments);
        assert_string_equal(fixture->out, cases[i].out);
    }
    expect(fixture, 0, "list-vms");
    assert_has(fixture->out, "bytes in flight 1.5 GiB, job timeout 2 m, memory of a process");
}

static void test_admin_offline_scheduling_of_a_pool(void **state)
{
    static const struct {
        const char *arguments, *out;
    } cases[] = {
        {"set-policy A strict", "pool A has policy strict\n"},
        {"set-policy --pool=A --policy=strict", "pool A already has policy strict\n"},
        {"set-slice A 5000", "pool A has slice 5 ms, grace 3 ms (default), longest wait 10 s "
                             "(default), urgency 10 ms (default)\n"},
        {"set-slice A 100us --grace=1.5ms --max-wait=2s --urgency=default",
         "pool A has slice 100 us, grace 1.5 ms, longest wait 2 s, urgency 10 ms (default)\n"},
        {"set-pool-weight A 33.33", "pool A has weight 33.33\n"},
        {"set-pool-weight A none", "pool A has weight none\n"},
    };
    struct fixture *fixture = *state;

    make_vm(fixture);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        expect(fixture, 0, cases[i].arguments);
        assert_string_equal(fixture->out, cases[i].out);
    }
    expect(fixture, 0, "list-pools");
    assert_has(fixture->out, "slice 100 us, grace 1.5 ms, longest wait 2 s");
}

static void test_admin_offline_quarantine(void **state)
{
    struct fixture *fixture = *state;

    make_vm(fixture);
    expect(fixture, 0, "quarantine db --reason='it mines'");
    assert_string_equal(fixture->out, "VM 7 (db) is quarantined: it mines\n");
    expect(fixture, 0, "list-vms");
    assert_has(fixture->out, "quarantined");
    expect(fixture, 0, "status");
    assert_has(fixture->out, "\nVM 7 (db) is quarantined: it mines\n");
    expect(fixture, 0, "clear-faults db");
    assert_string_equal(fixture->out, "VM 7 (db) already has no faults; it still is quarantined\n");
    expect(fixture, 0, "unquarantine db");
    assert_string_equal(fixture->out, "VM 7 (db) is not quarantined\n");
    expect(fixture, 0, "unquarantine db");
    assert_string_equal(fixture->out, "VM 7 (db) already is not quarantined\n");
    expect(fixture, 2, "quarantine db");
    assert_has(fixture->err, "--reason=TEXT is missing");
}

static void test_admin_offline_status_names_few_in_quarantine(void **state)
{
    struct fixture *fixture = *state;
    char arguments[64];

    make_vm(fixture);
    for (int vm = 11; vm <= 16; vm++) {
        snprintf(arguments, sizeof(arguments), "register-vm --vm-id=%d --pool=A", vm);
        expect(fixture, 0, arguments);
        snprintf(arguments, sizeof(arguments), "quarantine %d --reason=r%d", vm, vm);
        expect(fixture, 0, arguments);
    }
    expect(fixture, 0, "status");
    assert_has(fixture->out, "VM 15 is quarantined: r15\n… and 1 more\n");
    assert_has_not(fixture->out, "r16");
}

static void test_admin_offline_show_vm(void **state)
{
    struct fixture *fixture = *state;

    make_vm(fixture);
    expect(fixture, 0, "set-memory db 2G");
    expect(fixture, 0, "quarantine db --reason='it mines'");
    expect(fixture, 0, "show-vm db");
    assert_has(fixture->out, "VM 7 (db)\n");
    assert_has(fixture->out, "  memory                 2 GiB\n");
    assert_has(fixture->out, "  depth                  4096 (default)\n");
    assert_has(fixture->out, "  faults                 0 that count, 0 in all\n");
    assert_has(fixture->out, " offline: it mines\n");
    assert_has(fixture->out, "now: no mediator runs\n");
}

static void test_admin_offline_same_again_is_said(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "register-vm --vm-id 7 --pool A");
    expect(fixture, 0, "set-weight 7 --weight=50");
    assert_string_equal(fixture->out, "VM 7 already has weight 50\n");
    assert_has(fixture->err, "the database is as asked already");
}

static void test_admin_offline_ambiguous_name_lists_candidates(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "register-vm --vm-id 1 --pool A --name web");
    expect(fixture, 0, "register-vm --vm-id 2 --pool A --name web");
    expect(fixture, 1, "remove-vm web");
    assert_has(fixture->err, "'web' fits 2 VMs: 1 ('web'), 2 ('web'); choose one with --vm-id");
}

static void test_admin_offline_values_out_of_range(void **state)
{
    static const char *const arguments[] = {
        "set-weight 1 --weight=0.99", "set-weight 1 --weight=100.01",
        "set-priority 1 --priority=top", "register-vm --pool=A --vm-id=0",
        "register-vm --pool=A --vm-id=1"};
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "register-vm --vm-id 1 --pool A");
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(arguments); i++)
        expect(fixture, 1, arguments[i]);
}

static void test_admin_offline_database_in_use(void **state)
{
    const struct store_options options = {.create = true, .holder = "the mediator's store helper"};
    struct fixture *fixture = *state;
    struct store *store;

    assert_int_equal(store_open(fixture->database, &options, &store, NULL), 0);
    expect(fixture, 1, "create-pool A");
    assert_has(fixture->err, "is in use by the mediator's store helper (pid ");
    store_close(store);
}

static void test_admin_offline_stale_socket_counts_as_none(void **state)
{
    struct fixture *fixture = *state;

    listen_as_mediator(fixture);
    vgpu_close(&fixture->listener);
    expect(fixture, 0, "create-pool A --create");
    assert_has(fixture->err, "mediator is not running");
}

static void test_admin_offline_corrupt_database(void **state)
{
    struct fixture *fixture = *state;

    FILE *file = fopen(fixture->database, "we");

    assert_non_null(file);
    fputs("this is no database, however one looks at it", file);
    fclose(file);
    expect(fixture, 1, "list-vms");
    assert_has(fixture->err, "is not a sound SQLite database; not touched");
}

/* scans without a mediator */

static void write_script(const struct fixture *fixture, const char *text)
{
    char path[128];
    _cleanup_fclose_ FILE *file = NULL;

    snprintf(path, sizeof(path), "%s/nvml", fixture->directory);
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", text);
    assert_int_equal(fchmod(fileno(file), 0700), 0);
}

#define ONE_GPU                                                                                    \
    "{\"index\":0,\"uuid\":\"GPU-1\",\"pci\":\"00000000:65:00.0\",\"model\":\"H200\","             \
    "\"memory_bytes\":1073741824,\"numa_node\":1,\"mig_mode\":\"disabled\",\"driver\":\"nvidia\"," \
    "\"temperature\":40}"
#define OTHER_GPU                                                                                  \
    "{\"index\":0,\"uuid\":\"GPU-2\",\"pci\":\"00000000:65:00.0\",\"model\":\"H200\","             \
    "\"memory_bytes\":1073741824}"
#define BUS_GPU                                                                                    \
    "{\"index\":null,\"uuid\":\"PCI-10de:2335-00000000:66:00.0\",\"pci\":\"00000000:66:00.0\","    \
    "\"model\":\"NVIDIA GH100\",\"memory_bytes\":0,\"driver\":\"vfio-pci\",\"source\":\"pci\"}"

/* A helper that finds these. */
static void write_scan(const struct fixture *fixture, const char *gpus, const char *more)
{
    char script[2048];

    snprintf(script, sizeof(script), "test \"$1\" = --scan && echo '{\"gpus\":[%s]%s}'", gpus,
             more);
    write_script(fixture, script);
}

static void test_admin_scan_offline_asks_the_helper(void **state)
{
    struct fixture *fixture = *state;

    write_scan(fixture, ONE_GPU, "");
    expect(fixture, 0, "scan-gpus --create --nvml-helper=./nvml");
    assert_string_equal(
        fixture->out,
        "ID  MODEL   MEMORY  PCI               NUMA  MIG  DRIVER  STATE    POOLS  UUID\n"
        " 0  H200   1.0 GiB  00000000:65:00.0     1  off  nvidia  present  -      GPU-1\n"
        "new: GPU 0\n");
    expect(fixture, 0, "create-pool A");
    expect(fixture, 0, "assign-gpu --gpu-id=0 --pool=A");
    assert_string_equal(fixture->out, "GPU 0 serves: A\n");
    expect(fixture, 1, "assign-gpu --gpu-id=1 --pool=A");
    assert_has(fixture->err, "GPU 1 does not exist (have: 0)");
    expect(fixture, 0, "unassign-gpu --gpu-id=0");
    assert_string_equal(fixture->out, "GPU 0 serves: -\n");
}

static void test_admin_scan_tells_who_suffers(void **state)
{
    struct fixture *fixture = *state;

    write_scan(fixture, ONE_GPU, "");
    expect(fixture, 0, "scan-gpus --create --nvml-helper=./nvml");
    expect(fixture, 0, "create-pool A");
    expect(fixture, 0, "assign-gpu --gpu-id=0 --pool=A");
    write_scan(fixture, OTHER_GPU, "");
    expect(fixture, 0, "scan-gpus --nvml-helper=./nvml");
    assert_has(fixture->out, "no longer there: GPU 0\n");
    assert_has(fixture->out, "GPU 1 is in the place of GPU 0, and serves no pool by that");
    expect(fixture, 0, "list-gpus");
    assert_has(fixture->out, "\npool A has 0 of its 1 GPUs; missing: GPU 0 (last seen 2");
    assert_has(fixture->out, " UTC)\n");
}

static void test_admin_scan_tells_of_gpus_without_nvidias_driver(void **state)
{
    struct fixture *fixture = *state;

    write_scan(fixture, BUS_GPU, ",\"nvml_error\":\"no\\u001blibrary\"");
    expect(fixture, 0, "scan-gpus --create --nvml-helper=./nvml");
    assert_has(fixture->out, " 0  NVIDIA GH100       -  00000000:66:00.0     -  -    vfio-pci  "
                             "no driver  -      PCI-10de:2335-00000000:66:00.0\n");
    assert_has(fixture->out, "GPU 0 is seen on the PCI bus only, kernel driver: vfio-pci;");
    assert_has(fixture->out, "NVML could not be asked, its GPUs stay as they were: no?library\n");
    expect(fixture, 0, "create-pool A");
    expect(fixture, 1, "assign-gpu --gpu-id=0 --pool=A");
    assert_has(fixture->err, "the kernel driver vfio-pci has it: take it from that");
}

static void test_admin_scan_offline_bad_helpers(void **state)
{
    static const struct {
        const char *script, *text;
    } cases[] = {
        {"exit 3", "vgpu-nvml failed (exit status 3)"},
        {"kill -9 $$", "vgpu-nvml failed (signal 9)"},
        {"echo vgpu-nvml: no GPU >&2; exit 1", "scan-gpus: no GPU\n"},
        {"echo nonsense", "did not print a JSON object"},
        {"echo '[]'", "did not print a JSON object"},
        {"echo '{\"gpus\":[{}]}'", "the argument 'index' is missing"},
        {"head -c 2097153 /dev/zero", "printed more than 2097152 bytes"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        write_script(fixture, cases[i].script);
        expect(fixture, 1, "scan-gpus --create --nvml-helper=./nvml");
        assert_has(fixture->err, cases[i].text);
    }
}

static void test_admin_scan_offline_without_helper(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 1, "scan-gpus --create --nvml-helper=./none");
    assert_has(fixture->err, "cannot start ./none");
}

/* with a mediator */

static void test_admin_online_sends_the_request(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *expected =
        json_pack("{s:i, s:s, s:{s:i, s:s, s:s, s:f}}", "id", 1, "command", "register-vm", "args",
                  "vm_id", 3, "pool", "A", "priority", "high", "weight", 2.5);
    _cleanup_json_ json_t *request = NULL;

    listen_as_mediator(fixture);
    start(fixture, "register-vm --pool=A --priority=high --vm-id=3 --weight=2.5");
    request = answer(fixture, "{\"id\":1,\"ok\":true,\"result\":{\"changed\":true,\"vm\":{"
                              "\"vm_id\":3,\"pool\":\"A\",\"priority\":\"high\",\"weight\":2.5}}}"
                              "\n");
    assert_int_equal(finish(fixture), 0);
    assert_true(json_equal(request, expected));
    assert_string_equal(fixture->out, "VM 3 registered: pool A, priority high, weight 2.5\n");
    assert_string_equal(fixture->err, "");
    assert_int_equal(access(fixture->database, F_OK), -1);
}

/* Also those that only a later mediator gives. */
static void test_admin_online_show_vm_shows_each_live_member(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(
        run_online(
            fixture, "show-vm 1",
            "{\"id\":1,\"ok\":true,\"result\":{\"vm\":{\"vm_id\":1,\"faults\":2,"
            "\"faults_total\":9,\"quarantined\":true,\"quarantine_time\":1700000000,"
            "\"quarantined_by\":\"vgpu-mediator\",\"quarantine_reason\":\"r\\u001b\"},"
            "\"last_faults\":[{\"time\":1700000000,\"kind\":\"timeout\",\"text\":\"t\"}],"
            "\"live\":{\"state\":\"idle\",\"memory_bytes\":2097152,\"wait_ns\":1500000000,"
            "\"share\":null,\"rest_bytes\":-3145728,\"refused\":{\"rate\":3,\"depth\":4}}}}\n"),
        0);
    assert_has(fixture->out, "  faults                 2 that count, 9 in all\n");
    assert_has(fixture->out, "since 2023-11-14 22:13:20 UTC by vgpu-mediator: r?\n");
    assert_has(fixture->out, "\n  2023-11-14 22:13:20 UTC  timeout: t\n");
    assert_has(fixture->out, "\nnow:\n  state                  idle\n");
    assert_has(fixture->out, "  memory                 2.0 MiB\n");
    assert_has(fixture->out, "  wait                   1.500 s\n");
    assert_has(fixture->out, "  rest                   -3.0 MiB\n");
    assert_has(fixture->out, "  share                  -\n");
    assert_has(fixture->out, "  refused.rate           3\n  refused.depth          4\n");
}

static void test_admin_online_prints_the_mediators_error(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(run_online(fixture, "remove-pool A",
                                "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"in-use\",\"errno\":"
                                "16,\"text\":\"pool 'A' still has 2 VMs\"}}\n"),
                     1);
    assert_string_equal(fixture->err, "vgpu-admin: remove-pool: pool 'A' still has 2 VMs\n");
}

static void test_admin_online_never_passes_on_escapes(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(run_online(fixture, "list-vms",
                                "{\"id\":1,\"ok\":true,\"result\":{\"vms\":[{\"vm_id\":1,\"name\":"
                                "\"a\\u001b[31m\\u009b\",\"pool\":\"A\"}]}}\n"),
                     0);
    assert_has_not(fixture->out, "\033");
    assert_has_not(fixture->out, "\302\233");
    assert_has(fixture->out, "a?[31m??");
}

static void test_admin_online_errors_never_pass_on_escapes(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(run_online(fixture, "list-vms",
                                "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"failed\",\"errno\":"
                                "5,\"text\":\"x\\u001b[2Jy\"}}\n"),
                     1);
    assert_has(fixture->err, "x?[2Jy");
}

static void test_admin_online_bad_answers(void **state)
{
    static const char *const replies[] = {"nonsense\n", "{}\n",
                                          "{\"id\":2,\"ok\":true,\"result\":"
                                          "{}}\n",
                                          "{\"id\":1,\"ok\":true}\n", "{\"id\":1,\"ok\":false}\n"};
    struct fixture *fixture = *state;

    listen_as_mediator(fixture);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(replies); i++) {
        start(fixture, "list-vms");
        json_decref(answer(fixture, replies[i]));
        assert_int_equal(finish(fixture), 1);
        assert_has(fixture->err, "the mediator's answer is not understood");
    }
}

static void test_admin_online_closed_without_an_answer(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(run_online(fixture, "create-pool A --create", ""), 1);
    assert_has(fixture->err, "the mediator closed the connection");
    assert_int_equal(access(fixture->database, F_OK), -1);
}

static void test_admin_online_socket_option(void **state)
{
    struct fixture *fixture = *state;

    listen_as_mediator(fixture);
    start(fixture, "--socket=./admin.sock list-vms");
    json_decref(answer(fixture, "{\"id\":1,\"ok\":true,\"result\":{\"vms\":[]}}\n"));
    assert_int_equal(finish(fixture), 0);
    assert_has(fixture->out, "no VMs; register one with");
}

static void test_admin_socket_path_limit(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 1, "list-vms --socket=$(printf %0108d 0)");
    assert_has(fixture->err, "the socket's path is longer than 107 bytes");
}

#define STATUS                                                                                     \
    "{\"id\":1,\"ok\":true,\"result\":{\"mediator\":{\"version\":\"0.1.0\",\"pid\":77,"            \
    "\"uptime_s\":3723.5,\"driver\":\"softgpu\",\"window_s\":10.0,\"channels\":2,\"workers\":2},"  \
    "\"gpus\":[{\"gpu_id\":0,\"uuid\":\"GPU-1\",\"model\":\"a model with quite a long name\","     \
    "\"memory_total_bytes\":85899345920,\"memory_used_bytes\":1073741824,\"utilization\":97,"      \
    "\"temperature\":61,\"state\":\"ok\",\"pools\":[\"A\",\"B\"],\"holder_vm_id\":7}],"            \
    "\"pools\":[{\"pool\":\"A\",\"policy\":\"wfq\",\"gpus\":[0],\"vms\":1}],"                      \
    "\"vms\":[{\"vm_id\":7,\"uuid\":null,\"name\":\"a name that is as long as names may get, "     \
    "sixty-four bytes..\",\"pool\":\"a pool with a name that is long as well\",\"priority\":"      \
    "\"medium\",\"weight\":33.33,\"state\":\"quarantined\",\"gpu_id\":0,\"channels\":128,"         \
    "\"queue_depth\":10000,\"jobs_done\":123456789,\"jobs_failed\":12345,\"jobs_refused\":1234,"   \
    "\"gpu_time_ns\":1,\"wait_ns\":1,\"share\":0.6667,\"entitlement\":0.5}]}}\n"

static void test_admin_status_fits_the_screen(void **state)
{
    struct fixture *fixture = *state;
    char *line;

    assert_int_equal(run_online(fixture, "status", STATUS), 0);
    for (line = strtok(fixture->out, "\n"); line; line = strtok(NULL, "\n")) {
        size_t columns = 0;

        for (const char *at = line; *at; at++)
            columns += (*at & 0xc0) != 0x80;
        if (columns > 100)
            fail_msg("%zu columns: %s", columns, line);
    }
}

static void test_admin_status_shows_what_the_mediator_says(void **state)
{
    static const char *const parts[] = {
        "mediator 0.1.0, pid 77, up 1 h 02 min 03 s, driver softgpu",
        "1.0 GiB / 80.0 GiB",
        "97",
        "61",
        "A,B",
        "quarantined",
        "66.7",
        "50.0",
        "123456789",
        "12345/1234",
        "10000"};
    struct fixture *fixture = *state;

    assert_int_equal(run_online(fixture, "status", STATUS), 0);
    for (size_t i = 0; i < VGPU_ARRAY_SIZE(parts); i++)
        assert_has(fixture->out, parts[i]);
    assert_has_not(fixture->out, "\033");
}

static void test_admin_status_survives_an_empty_answer(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(run_online(fixture, "status",
                                "{\"id\":1,\"ok\":true,\"result\":{\"mediator\":{},\"vms\":[{},7]"
                                ",\"gpus\":7}}\n"),
                     0);
}

static void test_admin_status_offline_shows_the_configuration(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "register-vm --vm-id 7 --pool A --name db");
    expect(fixture, 0, "status");
    assert_has(fixture->out, "no mediator runs: the configuration only\n");
    assert_has(fixture->out, " 7  db    A     medium        50  -       -      -       -     -"
                             "     -         -\n");
}

static void test_admin_status_watch_repeats(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 0, "status --watch=0.1 --json | head -n 3");
    assert_int_equal(fixture->out[0], '{');
    assert_string_equal(strchr(strchr(strchr(fixture->out, '\n') + 1, '\n') + 1, '\n'), "\n");
}

static void test_admin_status_watch_limits(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 1, "status --watch=0.05");
    assert_has(fixture->err, "is out of range: 0.1 to 3600");
    expect(fixture, 1, "status --watch=3601");
}

/* the command line */

static void test_admin_usage_errors(void **state)
{
    static const struct {
        const char *arguments, *text;
    } cases[] = {
        {"", "vgpu-admin: which command? See: vgpu-admin --help\n"},
        {"regster-vm", "vgpu-admin: unknown command 'regster-vm'; did you mean 'register-vm'?\n"},
        {"zzz", "vgpu-admin: unknown command 'zzz'\n"},
        {"set-weight 1 --wieght=2",
         "vgpu-admin: set-weight: unknown option '--wieght'; did you mean '--weight'?\n"},
        {"--jsno list-vms", "unknown option '--jsno'; did you mean '--json'?"},
        {"list-vms --qqqqqqqq", "list-vms: unknown option '--qqqqqqqq'\n"},
        {"list-vms -x", "unknown option '-x'"},
        {"list-vms extra", "unexpected argument 'extra'"},
        {"register-vm --pool=A", "--vm-id=ID is missing"},
        {"register-vm --vm-id=1 --pool", "the option --pool needs a value"},
        {"register-vm --vm-id=1x --pool=A", "--vm-id=1x is not an integer"},
        {"register-vm --vm-id= --pool=A", "--vm-id= is not an integer"},
        {"register-vm --vm-id=99999999999999999999 --pool=A", "is not an integer"},
        {"set-weight 1 --weight=nan", "--weight=nan is not a number"},
        {"set-weight 1 --weight=inf", "--weight=inf is not a number"},
        {"set-weight 1 --weight=' 5'", "is not a number"},
        {"set-weight --weight=5", "which VM? Give its id, UUID or name"},
        {"set-weight 1 --vm-id=1 --weight=5", "the VM is named more than once"},
        {"set-weight 1 --weight=5 --weight=6", "--weight is given more than once"},
        {"set-depth 1 many", "--depth=many: the depth is a whole number, or 'default'"},
        {"set-depth 1 1.5", "--depth=1.5: the depth is a whole number, or 'default'"},
        {"set-rate 1 2 3 4", "set-rate: unexpected argument '4'"},
        {"set-rate 1", "--rate=RATE is missing"},
        {"set-rate --vm-id=1", "--rate=RATE is missing"},
        {"set-depth 1 2 --vm-id=1", "the VM is named more than once"},
        {"set-depth 1 2 --depth=2", "unexpected argument '2'"},
        {"set-slice", "--pool=POOL is missing"},
        {"list-vms --json --json", "--json is given more than once"},
        {"list-vms --json=yes", "the option --json has no value"},
        {"create-pool --pool=$(printf '\\377')", "is not UTF-8 text"},
        {"create-pool -- --pool=A --pool=B", "unexpected argument '--pool=B'"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < VGPU_ARRAY_SIZE(cases); i++) {
        expect(fixture, 2, cases[i].arguments);
        assert_has(fixture->err, cases[i].text);
        assert_string_equal(fixture->out, "");
    }
    assert_int_equal(access(fixture->database, F_OK), -1);
}

static void test_admin_help_and_version(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "--help");
    assert_has(fixture->out, "register-vm");
    expect(fixture, 0, "set-weight --help");
    assert_has(fixture->out, "--weight=WEIGHT");
    expect(fixture, 0, "--version");
    assert_has(fixture->out, "vgpu-admin ");
}

static void test_admin_json_is_whole(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_json_ json_t *json = NULL;

    expect(fixture, 0, "create-pool A --create --json");
    json = json_loads(fixture->out, 0, NULL);
    assert_true(json_is_true(json_object_get(json, "changed")));
}

static void test_admin_full_disk_behind_stdout_is_an_error(void **state)
{
    struct fixture *fixture = *state;

    expect(fixture, 0, "create-pool A --create");
    expect(fixture, 1, "list-vms >/dev/full; exit $?; true");
    assert_has(fixture->err, "cannot write to standard output");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_admin_offline_changes_the_database_and_says_so),
        TEST(test_admin_simulate_refuses_bad_input),
        TEST(test_admin_offline_missing_database),
        TEST(test_admin_offline_error_is_one_line),
        TEST(test_admin_offline_all_settings_of_a_vm),
        TEST(test_admin_offline_limits_of_a_vm),
        TEST(test_admin_offline_scheduling_of_a_pool),
        TEST(test_admin_offline_quarantine),
        TEST(test_admin_offline_status_names_few_in_quarantine),
        TEST(test_admin_offline_show_vm),
        TEST(test_admin_online_show_vm_shows_each_live_member),
        TEST(test_admin_offline_same_again_is_said),
        TEST(test_admin_offline_ambiguous_name_lists_candidates),
        TEST(test_admin_offline_values_out_of_range),
        TEST(test_admin_offline_database_in_use),
        TEST(test_admin_offline_stale_socket_counts_as_none),
        TEST(test_admin_offline_corrupt_database),
        TEST(test_admin_scan_offline_asks_the_helper),
        TEST(test_admin_scan_tells_who_suffers),
        TEST(test_admin_scan_tells_of_gpus_without_nvidias_driver),
        TEST(test_admin_scan_offline_bad_helpers),
        TEST(test_admin_scan_offline_without_helper),
        TEST(test_admin_online_sends_the_request),
        TEST(test_admin_online_prints_the_mediators_error),
        TEST(test_admin_online_never_passes_on_escapes),
        TEST(test_admin_online_errors_never_pass_on_escapes),
        TEST(test_admin_online_bad_answers),
        TEST(test_admin_online_closed_without_an_answer),
        TEST(test_admin_online_socket_option),
        TEST(test_admin_socket_path_limit),
        TEST(test_admin_status_fits_the_screen),
        TEST(test_admin_status_shows_what_the_mediator_says),
        TEST(test_admin_status_survives_an_empty_answer),
        TEST(test_admin_status_offline_shows_the_configuration),
        TEST(test_admin_status_watch_repeats),
        TEST(test_admin_status_watch_limits),
        TEST(test_admin_usage_errors),
        TEST(test_admin_help_and_version),
        TEST(test_admin_json_is_whole),
        TEST(test_admin_full_disk_behind_stdout_is_an_error),
    };

    if (argc != 2)
        return 2;
    program = realpath(argv[1], NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
