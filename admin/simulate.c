/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-admin simulate: plays a described workload (docs/spec/scheduling.md) against the scheduler
 * in virtual time, for planning. Needs neither mediator nor database. The engine is sched/sim.c,
 * sched/sim_host.c divides a host's VMs among its GPUs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/client.h"
#include "admin/commands.h"
#include "admin/simulation.h"

static int read_text(const char *path, char **ret_text, size_t *ret_bytes, struct vgpu_err *err)
{
    bool standard_input = strcmp(path, "-") == 0;
    _cleanup_fclose_ FILE *opened = standard_input ? NULL : fopen(path, "re");
    FILE *file = standard_input ? stdin : opened;
    _cleanup_free_ char *text = NULL;
    size_t bytes;

    if (!file)
        return vgpu_err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    text = malloc(SIM_TEXT_BYTES + 1);
    if (!text)
        return vgpu_err_set(err, ENOMEM, "out of memory");
    bytes = fread(text, 1, SIM_TEXT_BYTES + 1, file);
    if (ferror(file))
        return vgpu_err_set(err, EIO, "cannot read %s: %s", path, strerror(errno));
    *ret_text = vgpu_steal_ptr(&text);
    *ret_bytes = bytes;
    return 0;
}

static int draw(const char *path, const struct sim_host *host, struct vgpu_err *err)
{
    FILE *file = fopen(path, "we");
    bool failed;

    if (!file)
        return vgpu_err_set(err, errno, "cannot make %s: %s", path, strerror(errno));
    simulation_draw(file, host);
    failed = ferror(file) != 0;
    failed = fclose(file) != 0 || failed;
    return failed ? vgpu_err_set(err, EIO, "cannot write %s", path) : 0;
}

static int show(const struct invocation *invocation, const struct sim_host *host,
                struct vgpu_err *err)
{
    const char *svg = json_string_value(json_object_get(invocation->local, "svg"));
    _cleanup_json_ json_t *json = NULL;

    if (invocation->json) {
        json = simulation_json(host);
        if (!json)
            return vgpu_err_set(err, ENOMEM, "out of memory");
        client_print_json(json);
    } else {
        simulation_print(host);
    }
    return svg ? draw(svg, host, err) : 0;
}

static int run(const struct invocation *invocation, struct vgpu_err *err)
{
    const char *path = json_string_value(json_object_get(invocation->args, "file"));
    _cleanup_free_ char *text = NULL;
    struct sim_spec spec;
    struct sim_host host;
    size_t bytes = 0;
    int rc = read_text(path, &text, &bytes, err);

    if (rc < 0)
        return rc;
    rc = sim_parse(text, bytes, &spec, err);
    if (rc < 0)
        return rc;
    rc = sim_host_run(&spec, 0, &host, err);
    if (rc == 0) {
        rc = show(invocation, &host, err);
        sim_host_release(&host);
    }
    sim_spec_release(&spec);
    return rc;
}

static const struct command_option options[] = {
    {.name = "file",
     .kind = OPTION_TEXT,
     .metavar = "FILE",
     .key = "file",
     .help = "the workload (docs/spec/scheduling.md); -: standard input",
     .required = true},
    {.name = "svg",
     .kind = OPTION_TEXT,
     .metavar = "FILE",
     .key = "svg",
     .help = "draw shares, lags and waits into this file",
     .local = true},
    {.name = NULL},
};

const struct command command_simulate = {
    .name = "simulate",
    .summary = "play a described workload against the scheduler, for planning",
    .positional = {"file"},
    .options = options,
    .run = run,
};
