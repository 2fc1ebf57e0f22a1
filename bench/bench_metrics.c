/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_metrics [VMS [BUSY]]: what metrics cost the mediator, without workers: their pages are
 * written here, as workers would. Eight GPUs, one channel a VM, half of the jobs launches and half
 * copies, of times over four orders of magnitude.
 *
 *   scrape   VMS VMs (1000), all with new jobs since the last one: pages, the longest page (what
 * the loop is kept for), all of them together, and then reading and rendering them as the asker
 * does, in another process idle     the same without anything new busy     BUSY VMs (30) of them at
 * work for a minute: what looking at them every two seconds and a scrape each 15 seconds took of
 * one processor turn     what the measuring of one turn of the loop takes
 *
 * Prints those in processor time, and memory kept for a busy VM. Exits 1 where a scrape took more
 * than 50 ms, a page more than 1 ms or the busy minute more than 0.5 %, each by the least of some
 * rounds, unless
 * --no-limits is given.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "mediator/mediator.h"
#include "metrics/render.h"

#define GPUS         8u
#define VMS_MAX      4096u
#define ROUNDS       10u
#define JOBS_A_ROUND 200u
#define MINUTE_S     60u
#define SCRAPE_S     15u

struct host {
    struct mediator mediator;
    struct mediator_settings settings;
    struct config config;
    unsigned n_vms;
    struct vm *vms[VMS_MAX];
    struct vgpu_report_page *reports[VMS_MAX];
    uint64_t ahead_ns; /* of the clock: what time was skipped */
    uint64_t seed;
};

static struct host host;

static uint64_t now_of(void *context)
{
    return vgpu_clock_ns() + host.ahead_ns;
}

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "bench_metrics: cannot %s\n", what);
    exit(1);
}

static struct vgpu_times_page *times_of(unsigned i)
{
    return (void *)((uint8_t *)host.reports[i] + VGPU_TIMES_OFFSET);
}

static void add_vm(unsigned i)
{
    const struct channel_ask ask = {.number = i + 1,
                                    .gpu_id = i % GPUS,
                                    .sub_granules = 2,
                                    .comp_granules = 2,
                                    .data_bytes = 4096,
                                    .process = "bench"};
    struct config_vm *config = &host.config.vms[i];
    struct channel *channel;
    struct gpu *gpu = mediator_gpu(&host.mediator, ask.gpu_id);
    struct seat *seat;

    *config = (struct config_vm){.id = i + 1,
                                 .priority = i % 3,
                                 .weight_hundredths = 5000,
                                 .depth = 64,
                                 .memory_bytes = UINT64_C(1) << 32,
                                 .pool = "A"};
    host.vms[i] = vm_new(&host.mediator, config);
    seat = gpu && host.vms[i] ? gpu_seat(gpu, config, &host.mediator.accounts) : NULL;
    must(seat && channel_new(&ask, &channel, NULL) == 0, "make a VM");
    host.reports[i] = mmap(NULL, VGPU_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                           channel->fds[VGPU_FD_REPORT], 0);
    must(host.reports[i] != MAP_FAILED, "map a page");
    channel->vm = host.vms[i];
    channel->state = CHANNEL_OPEN;
    channel_close_handed(channel);
    host.vms[i]->channels = channel;
    lease_channel_add(seat, channel);
    metrics_channel_started(channel);
}

static void make_host(unsigned n_vms)
{
    static struct config_pool pool = {.name = "A", .gpus = (1u << GPUS) - 1};
    static struct config_gpu gpus[GPUS];

    host.settings = (struct mediator_settings){
        .lease = {.job_timeout_ns = VGPU_NS_PER_S, .drain_ns = VGPU_NS_PER_S}};
    host.mediator.settings = &host.settings;
    host.mediator.loop = loop_new(now_of, NULL, NULL);
    host.mediator.store.stream.fd = host.mediator.nvml.stream.fd = -1;
    must(host.mediator.loop && events_init(&host.mediator.events, host.mediator.loop) == 0,
         "make a mediator");
    metrics_init(&host.mediator);
    for (unsigned i = 0; i < GPUS; i++)
        gpus[i] = (struct config_gpu){.id = i, .present = true, .memory_bytes = 80ull << 30};
    host.config = (struct config){.n_gpus = GPUS,
                                  .gpus = gpus,
                                  .n_pools = 1,
                                  .pools = &pool,
                                  .n_vms = n_vms,
                                  .vms = calloc(n_vms, sizeof(struct config_vm))};
    must(host.config.vms, "make VMs");
    host.mediator.config = &host.config;
    host.n_vms = n_vms;
    for (unsigned i = 0; i < n_vms; i++)
        add_vm(i);
}

static uint64_t some_time(void)
{
    host.seed = host.seed * 6364136223846793005u + 1442695040888963407u;
    return (UINT64_C(1000) << (host.seed >> 60)) % 30000000 + (host.seed >> 33) % 1000;
}

static void count(struct vgpu_times_page *page, int kind, int what, uint64_t ns)
{
    uint32_t index = vgpu_times_index(ns);

    page->counts[kind][what][index]++;
    page->heads[kind].blocks[what] |= 1u << (index >> VGPU_TIMES_BLOCK_SHIFT);
}

static void do_jobs(unsigned i, unsigned jobs)
{
    struct vgpu_times_page *page = times_of(i);

    for (unsigned job = 0; job < jobs; job++) {
        int kind = job % 2 ? VGPU_JOB_LAUNCH : VGPU_JOB_COPY;
        uint64_t wait_ns = some_time(), run_ns = some_time();

        count(page, kind, VGPU_TIME_WAIT, wait_ns);
        count(page, kind, VGPU_TIME_RUN, run_ns);
        count(page, kind, VGPU_TIME_TOTAL, wait_ns + run_ns);
        page->heads[kind].wait_ns += wait_ns;
        page->heads[kind].run_ns += run_ns;
        page->heads[kind].jobs++;
    }
    host.reports[i]->jobs_taken += jobs;
    host.reports[i]->jobs_done += jobs;
}

struct scrape {
    unsigned pages;
    size_t bytes, text_bytes;
    double longest_ms, mediator_ms, reader_ms;
};

static double cpu_s(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double ms_since(double began_s)
{
    return (cpu_s() - began_s) * 1e3;
}

/* The asker's part: the page's text, as it came. */
static uint32_t read_page(struct metrics_snapshot *snapshot, const struct metrics_text *text)
{
    json_t *page = json_loadb(text->data, text->used, 0, NULL);
    struct vgpu_err err;
    uint32_t next = 0;

    must(page && metrics_take_page(snapshot, page, &next, &err) == 0, "read a page");
    json_decref(page);
    return next;
}

static struct scrape scrape(void)
{
    struct metrics_snapshot snapshot = {.begun = false};
    struct metrics_text rendered = {.data = NULL};
    struct scrape result = {.pages = 0};
    uint32_t after = 0;
    double began_s;

    do {
        struct metrics_text text = {.data = NULL};
        double ms;

        began_s = cpu_s();
        metrics_page(&host.mediator, after, METRICS_LIMIT_MAX, &text);
        ms = ms_since(began_s);
        must(!text.failed, "write a page");
        result.pages++;
        result.bytes += text.used;
        result.mediator_ms += ms;
        result.longest_ms = ms > result.longest_ms ? ms : result.longest_ms;
        began_s = cpu_s();
        after = read_page(&snapshot, &text);
        result.reader_ms += ms_since(began_s);
        text_release(&text);
    } while (after);
    began_s = cpu_s();
    must(metrics_render_prometheus(&snapshot, &rendered) == 0, "render");
    result.reader_ms += ms_since(began_s);
    result.text_bytes = rendered.used;
    text_release(&rendered);
    metrics_snapshot_release(&snapshot);
    return result;
}

static void least(struct scrape *sum, const struct scrape *one)
{
    if (one->mediator_ms < sum->mediator_ms) {
        sum->mediator_ms = one->mediator_ms;
        sum->pages = one->pages;
    }
    sum->longest_ms = one->longest_ms < sum->longest_ms ? one->longest_ms : sum->longest_ms;
    sum->reader_ms = one->reader_ms < sum->reader_ms ? one->reader_ms : sum->reader_ms;
}

static struct scrape measure(const char *name, bool new_jobs)
{
    struct scrape best = {.pages = 0};
    double began_s, look_ms = 1e9;

    for (unsigned round = 0; round < ROUNDS; round++) {
        struct scrape one;

        for (unsigned i = 0; new_jobs && i < host.n_vms; i++)
            do_jobs(i, JOBS_A_ROUND);
        host.ahead_ns += METRICS_SAMPLE_NS;
        began_s = cpu_s();
        loop_turn(host.mediator.loop, false);
        look_ms = ms_since(began_s) < look_ms ? ms_since(began_s) : look_ms;
        one = scrape();
        if (round == 0)
            best = one;
        least(&best, &one);
    }
    printf("look    %u VMs: %.1f ms, %.1f us a VM\n", host.n_vms, look_ms,
           look_ms * 1e3 / host.n_vms);
    printf("%-7s %u VMs: %u pages, the longest %.2f ms, all %.1f ms, %.1f MB; read and rendered in "
           "%.1f ms, %.1f MB\n",
           name, host.n_vms, best.pages, best.longest_ms, best.mediator_ms,
           (double)best.bytes / 1e6, best.reader_ms, (double)best.text_bytes / 1e6);
    return best;
}

/* The timers of a minute, fired one after the other, and what a scraper asks for meanwhile. */
static double busy_minute(unsigned busy)
{
    double spent_s = 0, began_s;

    for (unsigned second = 0; second < MINUTE_S; second++) {
        for (unsigned i = 0; i < busy; i++)
            do_jobs(i, 1000);
        host.ahead_ns += VGPU_NS_PER_S;
        began_s = cpu_s();
        loop_turn(host.mediator.loop, false);
        for (uint32_t after = 0, first = 1; second % SCRAPE_S == 0 && (first || after); first = 0) {
            struct metrics_text text = {.data = NULL};
            const char *next;

            metrics_page(&host.mediator, after, METRICS_LIMIT_MAX, &text);
            next = text.data ? strstr(text.data + text.used - 24, "\"next_vm\":") : NULL;
            must(next, "write a page");
            after = (uint32_t)strtoul(next + strlen("\"next_vm\":"), NULL, 10);
            text_release(&text);
        }
        spent_s += cpu_s() - began_s;
    }
    return spent_s / MINUTE_S * 100;
}

static double turn_ns(void)
{
    const unsigned turns = 200000;
    double began_s = cpu_s(), with_s;

    for (unsigned i = 0; i < turns; i++)
        loop_turn(host.mediator.loop, false);
    with_s = cpu_s() - began_s;
    loop_measure(host.mediator.loop, NULL, NULL);
    began_s = cpu_s();
    for (unsigned i = 0; i < turns; i++)
        loop_turn(host.mediator.loop, false);
    return (with_s - (cpu_s() - began_s)) / turns * 1e9;
}

int main(int argc, char **argv)
{
    bool limits = true;
    unsigned numbers[2] = {1000, 30}, n = 0;
    struct scrape full;
    size_t before;
    double share;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--no-limits") == 0)
            limits = false;
        else if (n < 2)
            numbers[n++] = (unsigned)strtoul(argv[i], NULL, 10);
    }
    if (numbers[0] == 0 || numbers[0] > VMS_MAX || numbers[1] > numbers[0]) {
        fprintf(stderr, "usage: bench_metrics [--no-limits] [VMS [BUSY]]\n");
        return 2;
    }
    make_host(numbers[0]);
    before = mallinfo2().uordblks;
    full = measure("scrape", true);
    printf("memory  %.0f KiB of the mediator's for a VM with jobs of two kinds\n",
           (double)(mallinfo2().uordblks - before) / 1024 / numbers[0]);
    measure("idle", false);
    share = busy_minute(numbers[1]);
    printf("busy    %u of %u VMs: %.3f %% of a processor\n", numbers[1], numbers[0], share);
    printf("turn    %.0f ns more for a turn of the loop\n", turn_ns());
    return limits && (full.mediator_ms > 50 || full.longest_ms > 1 || share > 0.5) ? 1 : 0;
}
