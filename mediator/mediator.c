/* SPDX-License-Identifier: Apache-2.0 */
#include "mediator/mediator.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/status.h"
#include "mediator/doubt.h"
#include "mediator/status.h"
#include "sched/place.h"

#define LOG_BURST       50
#define LOG_INTERVAL_NS (100 * VGPU_NS_PER_MS)
#define STOP_PATIENCE   (5 * VGPU_NS_PER_S)

bool mediator_may_log(struct mediator *mediator)
{
    uint32_t held_back = 0;

    if (!vgpu_log_allowed(&mediator->guest_log, loop_now(mediator->loop), LOG_BURST,
                          LOG_INTERVAL_NS, &held_back))
        return false;
    if (held_back)
        vgpu_log(VGPU_LOG_INFO, "log-held-back", "lines=%" PRIu32, held_back);
    return true;
}

/* Channels */

static struct channel *find_channel(struct mediator *mediator, uint32_t number)
{
    for (struct vm *vm = mediator->vms; vm; vm = vm->next) {
        struct channel *channel = vm_channel(vm, number);

        if (channel)
            return channel;
    }
    return NULL;
}

uint32_t mediator_new_channel(struct mediator *mediator)
{
    do
        mediator->last_channel++;
    while (mediator->last_channel == 0 || find_channel(mediator, mediator->last_channel));
    return mediator->last_channel;
}

static int push_spawn(struct mediator *mediator, struct channel *channel)
{
    const struct config_gpu *gpu = config_gpu(mediator->config, channel->gpu_id);
    struct vgpu_launch_spawn spawn = {
        .head = {sizeof(spawn), VGPU_LAUNCH_SPAWN},
        .channel = channel->number,
        .geometry = channel->geometry,
        .keep = {.vm_id = channel->vm->config.id,
                 .gpu_id = channel->gpu_id,
                 .window = channel->window,
                 .domid = channel->granted.domid},
        .grant = channel->granted,
    };

    memcpy(spawn.keep.token, channel->token, sizeof(spawn.keep.token));
    memcpy(spawn.keep.process, channel->process, sizeof(spawn.keep.process));
    if (gpu)
        snprintf(spawn.gpu_uuid, sizeof(spawn.gpu_uuid), "%.*s", (int)sizeof(spawn.gpu_uuid) - 1,
                 gpu->uuid);
    return link_spawn(&mediator->link, &spawn, channel->fds);
}

void mediator_push(struct mediator *mediator, struct channel *channel)
{
    int rc = 0;

    if (channel->spawn_unsent && (rc = push_spawn(mediator, channel)) == 0)
        channel->spawn_unsent = false;
    if (rc == 0 && channel->kill_unsent && link_kill(&mediator->link, channel->number) == 0)
        channel->kill_unsent = false;
}

static bool takes_channels(const struct mediator *mediator, uint32_t gpu_id)
{
    return health_takes_channels(mediator->health[gpu_id].state) &&
           !(mediator->resetting >> gpu_id & 1);
}

/* Spares */

static bool may_have_spares(const struct mediator *mediator, const struct config_gpu *gpu)
{
    const struct config *config = mediator->config;

    if (!gpu->present || !gpu->uuid[0] || strlen(gpu->uuid) >= VGPU_GPU_UUID_BYTES ||
        !takes_channels(mediator, gpu->id))
        return false;
    /* The launcher takes no other characters. */
    for (const char *c = gpu->uuid; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-')
            return false;
    for (unsigned i = 0; i < config->n_pools; i++)
        if (config->pools[i].gpus >> gpu->id & 1)
            return true;
    return false;
}

/* The whole wish: of each GPU that a pool has. Again from `writable` where there is no room. */
static void push_spares(struct mediator *mediator)
{
    struct vgpu_launch_spares wish = {.head = {sizeof(wish), VGPU_LAUNCH_SPARES},
                                      .spares = mediator->settings->spares};
    const struct config *config = mediator->config;

    mediator->spared_gpus = 0;
    for (unsigned i = 0; config && i < config->n_gpus && wish.n_gpus < VGPU_LAUNCH_MAX_GPUS; i++) {
        if (wish.spares == 0 || !may_have_spares(mediator, &config->gpus[i]))
            continue;
        strcpy(wish.gpu_uuid[wish.n_gpus++], config->gpus[i].uuid);
        mediator->spared_gpus |= UINT64_C(1) << config->gpus[i].id;
    }
    mediator->spares_unsent = link_spares(&mediator->link, &wish) == -EAGAIN;
}

void mediator_update_spares(struct mediator *mediator)
{
    uint64_t wished = 0;

    for (unsigned i = 0; mediator->config && i < mediator->config->n_gpus; i++)
        if (may_have_spares(mediator, &mediator->config->gpus[i]))
            wished |= UINT64_C(1) << mediator->config->gpus[i].id;
    if (mediator->in_charge && mediator->settings->spares > 0 && wished != mediator->spared_gpus)
        push_spares(mediator);
}

static void link_spare_state(void *context, const struct vgpu_launch_spare_state *state)
{
    struct mediator *mediator = context;
    const struct config *config = mediator->config;

    for (unsigned i = 0; config && i < config->n_gpus; i++)
        if (strncmp(config->gpus[i].uuid, state->gpu_uuid, sizeof(state->gpu_uuid)) == 0)
            mediator->spares[config->gpus[i].id] = (struct gpu_spares){
                .ready = state->ready, .failures = state->failures, .adopted = state->adopted};
}

static void writable(void *context)
{
    struct mediator *mediator = context;

    if (mediator->spares_unsent)
        push_spares(mediator);
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        for (struct channel *c = vm->channels; c; c = c->next)
            if (channel_has_worker(c))
                mediator_push(mediator, c);
}

/* GPUs */

struct gpu *mediator_gpu(struct mediator *mediator, uint32_t gpu_id)
{
    struct vgpu_err err;

    if (gpu_id >= MEDIATOR_GPUS_MAX)
        return NULL;
    if (!mediator->gpus[gpu_id]) {
        mediator->gpus[gpu_id] = gpu_new(mediator->loop, &mediator->settings->lease, gpu_id, &err);
        if (mediator->gpus[gpu_id] && mediator->config)
            gpu_configure(mediator->gpus[gpu_id], mediator->config);
        if (mediator->gpus[gpu_id])
            checkup_apply(mediator, mediator->gpus[gpu_id]);
    }
    return mediator->gpus[gpu_id];
}

bool mediator_gpu_ok(const struct mediator *mediator, uint32_t gpu_id)
{
    /* Without a configuration nothing is known against it. */
    return !mediator->config || !health_is_suspect(&mediator->health[gpu_id]);
}

/* What the placement knows of a GPU. */
static struct place_gpu weigh(const struct mediator *mediator, const struct config_gpu *config)
{
    const struct gpu *gpu = mediator->gpus[config->id];
    const struct gpu_sample *sample = &mediator->samples[config->id];
    struct place_gpu place = {.usable = takes_channels(mediator, config->id) &&
                                        strlen(config->uuid) < VGPU_GPU_UUID_BYTES,
                              .free_bytes = config->memory_bytes};
    struct sched_stats stats;

    if (sample->known && sample->memory_used_bytes < place.free_bytes)
        place.free_bytes -= sample->memory_used_bytes;
    if (!gpu)
        return place;
    sched_stats(gpu->sched, loop_now(mediator->loop), &stats);
    place.load_ppm =
        (uint32_t)(stats.window_ns / (SCHED_WINDOW_BUCKETS * SCHED_WINDOW_BUCKET_NS / 1000000));
    for (const struct seat *seat = gpu->seats; seat; seat = seat->next) {
        struct sched_vm_stats vm;

        if (!seat->channels ||
            sched_vm_stats(gpu->sched, seat->handle, loop_now(mediator->loop), &vm) < 0)
            continue;
        place.weight += (uint64_t)vm.weight_milli * sched_priority_multiplier(vm.priority);
        for (const struct channel *c = seat->channels; c; c = c->seat_next)
            place.channels++;
    }
    return place;
}

int mediator_place(struct mediator *mediator, const struct vm *vm, uint32_t *ret_gpu_id,
                   struct vgpu_err *err)
{
    const struct config_pool *pool = config_pool(mediator->config, vm->config.pool);
    struct place_gpu gpus[MEDIATOR_GPUS_MAX];
    uint32_t ids[MEDIATOR_GPUS_MAX], n = 0, index;
    char text[HEALTH_REASON_BYTES];

    for (unsigned i = 0; pool && i < mediator->config->n_gpus; i++) {
        const struct config_gpu *gpu = &mediator->config->gpus[i];

        if (!(pool->gpus >> gpu->id & 1))
            continue;
        ids[n] = gpu->id;
        gpus[n++] = weigh(mediator, gpu);
    }
    if (n == 0)
        return vgpu_err_set(err, ENODEV, "pool '%s' has no GPU assigned; see vgpu-admin assign-gpu",
                            vm->config.pool);
    /* What the VM may take at most is not promised to it: a GPU without that much will do. */
    if (place_channel(gpus, n, vm->config.memory_bytes, &index) < 0 &&
        place_channel(gpus, n, 0, &index) < 0)
        return vgpu_err_set(
            err, ENODEV, "no GPU of pool '%s' takes new channels; GPU %" PRIu32 " is %s",
            vm->config.pool, ids[0],
            mediator->resetting >> ids[0] & 1 ? "being reset"
                                              : checkup_text(mediator, ids[0], text));
    *ret_gpu_id = ids[index];
    return 0;
}

/* Configuration */

/* Those that serve a pool, and those that are in use already. */
static void configure_gpus(struct mediator *mediator)
{
    const struct config *config = mediator->config;

    for (uint32_t id = 0; id < MEDIATOR_GPUS_MAX; id++) {
        bool serves = false;

        for (unsigned i = 0; i < config->n_pools; i++)
            serves = serves || (config->pools[i].gpus >> id & 1);
        if (mediator->gpus[id])
            gpu_configure(mediator->gpus[id], config);
        else if (serves)
            mediator_gpu(mediator, id);
    }
}

static void listen_vm(struct vm *vm)
{
    char quoted[VGPU_ERR_TEXT_BYTES];
    struct vgpu_err err;

    if (vm_listen(vm, &err) < 0)
        vgpu_log(VGPU_LOG_ERROR, "vm-socket", "vm=%" PRIu32 " reason=%s", vm->config.id,
                 vgpu_log_quote(quoted, sizeof(quoted), err.text));
}

static void remove_missing(struct mediator *mediator)
{
    struct vm *next;

    for (struct vm *vm = mediator->vms; vm; vm = next) {
        uint32_t id = vm->config.id;

        next = vm->next;
        if (vm->state == VM_REMOVED || config_vm(mediator->config, id))
            continue;
        vgpu_log(VGPU_LOG_INFO, "vm-remove", "vm=%" PRIu32, id);
        accounts_forget(&mediator->accounts, id);
        vm_remove(vm);
    }
}

static void configure_vms(struct mediator *mediator)
{
    remove_missing(mediator);
    for (unsigned i = 0; i < mediator->config->n_vms; i++) {
        const struct config_vm *config = &mediator->config->vms[i];
        struct vm *vm;

        if (!config->changed && !mediator->config->host_changed)
            continue;
        vm = vm_find(mediator, config->id);
        if (vm)
            vm_update(vm, config);
        else
            vm = vm_new(mediator, config);
        if (vm && mediator->in_charge)
            listen_vm(vm);
    }
}

void mediator_apply(struct mediator *mediator, struct config *config)
{
    config_free(mediator->config);
    mediator->config = config;
    if (config->host_changed) {
        checkup_configured(mediator);
        configure_gpus(mediator);
    }
    configure_vms(mediator);
    if (config->host_changed && link_ready(&mediator->link))
        push_spares(mediator);
    monitor_learn(mediator);
    vgpu_log(VGPU_LOG_INFO, "configure", "gpus=%u pools=%u vms=%u", config->n_gpus, config->n_pools,
             config->n_vms);
}

/* The launcher */

static void link_welcome(void *context, int accounts)
{
    struct mediator *mediator = context;
    struct vgpu_err err;

    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++)
        for (struct seat *s = mediator->gpus[i] ? mediator->gpus[i]->seats : NULL; s; s = s->next)
            s->slot = NULL; /* of a page that is unmapped now */
    if (accounts_init(&mediator->accounts, accounts, &err) < 0)
        vgpu_log(VGPU_LOG_ERROR, "accounts", "reason=\"%s\"", err.text);
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        if (vm->state != VM_REMOVED)
            faults_recover(vm);
    checkup_recover(mediator);
}

static void link_entry(void *context, const struct vgpu_launch_entry *entry, const int *fds)
{
    struct mediator *mediator = context;
    struct vm *vm = vm_find(mediator, entry->keep.vm_id);
    struct channel *channel;
    struct vgpu_err err;

    if (entry->channel > mediator->last_channel)
        mediator->last_channel = entry->channel;
    if (channel_adopt(entry, fds, &channel, &err) < 0) {
        vgpu_log(VGPU_LOG_ERROR, "adopt", "channel=%" PRIu32 " reason=\"%s\"", entry->channel,
                 err.text);
        link_kill(&mediator->link, entry->channel);
        return;
    }
    if (!vm || entry->keep.gpu_id >= MEDIATOR_GPUS_MAX) {
        vgpu_log(VGPU_LOG_WARN, "adopt", "channel=%" PRIu32 " reason=\"no such VM\"",
                 entry->channel);
        link_kill(&mediator->link, entry->channel);
        channel_free(channel);
        return;
    }
    vm_adopt(vm, channel);
}

/*
 * What VMs without a channel have had so far: their counters must not fall to nothing, and rise
 * again with the next channel. Only on GPUs of their pools.
 */
static void restore_seats(struct mediator *mediator)
{
    const struct accounts_page *page = mediator->accounts.page;

    for (uint32_t i = 0; page && i < page->used; i++) {
        const struct accounts_slot *slot = &page->slots[i];
        struct vm *vm = slot->vm_id ? vm_find(mediator, slot->vm_id) : NULL;
        const struct config_pool *pool = vm ? config_pool(mediator->config, vm->config.pool) : NULL;
        struct gpu *gpu;

        if (!pool || slot->gpu_id >= MEDIATOR_GPUS_MAX || !(pool->gpus >> slot->gpu_id & 1))
            continue;
        gpu = mediator_gpu(mediator, slot->gpu_id);
        if (gpu)
            gpu_seat(gpu, &vm->config, &mediator->accounts);
    }
}

/* All that the launcher holds is known: from here on this mediator decides. */
static void link_listed(void *context)
{
    struct mediator *mediator = context;
    unsigned channels = 0;
    char text[96];
    const struct event event = {
        .kind = EVENT_MEDIATOR_STARTED, .gpu_id = EVENT_NO_GPU, .text = text};

    mediator->in_charge = true;
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++)
        if (mediator->gpus[i])
            checkup_apply(mediator, mediator->gpus[i]);
    memory_adopted(mediator);
    restore_seats(mediator);
    for (struct vm *vm = mediator->vms; vm; vm = vm->next) {
        channels += vm_living(vm);
        if (vm->state != VM_REMOVED)
            listen_vm(vm);
    }
    dial_start(&mediator->dial);
    vgpu_log(VGPU_LOG_INFO, "in-charge", "channels=%u after_us=%" PRIu64, channels,
             (loop_now(mediator->loop) - mediator->started_ns) / VGPU_NS_PER_US);
    snprintf(text, sizeof(text), "version %s in charge, %u channels adopted", VGPU_PROGRAM_VERSION,
             channels);
    events_add(mediator, &event);
    push_spares(mediator);
}

static void link_spawned(void *context, const struct vgpu_launch_answer *answer)
{
    struct mediator *mediator = context;
    struct channel *channel = find_channel(mediator, answer->channel);
    char text[sizeof(answer->text) + 1];

    memcpy(text, answer->text, sizeof(answer->text));
    text[sizeof(answer->text)] = '\0';
    if (channel)
        vm_spawned(channel, answer->pid, answer->result, text);
    mediator_check_stopped(mediator);
}

static void link_exited(void *context, const struct vgpu_launch_exited *exited)
{
    struct mediator *mediator = context;
    struct channel *channel = find_channel(mediator, exited->channel);

    if (channel)
        vm_exited(channel, exited);
    mediator_check_stopped(mediator);
}

static void link_reset_done(void *context, const struct vgpu_launch_reset_done *done)
{
    reset_launcher_done(context, done);
}

static void link_refused(void *context, const struct vgpu_launch_answer *answer)
{
    struct mediator *mediator = context;
    char text[sizeof(answer->text) + 1], quoted[sizeof(answer->text) + 64];

    memcpy(text, answer->text, sizeof(answer->text));
    text[sizeof(answer->text)] = '\0';
    vgpu_log(VGPU_LOG_ERROR, "launcher-refused", "errno=%d text=%s", answer->result,
             vgpu_log_quote(quoted, sizeof(quoted), text));
    if (mediator->in_charge)
        return;
    fprintf(stderr, "vgpu-mediator: the launcher refused: %s\n", text);
    mediator->exit_status = EXIT_FAILURE;
    mediator->stopped = true;
}

static void link_lost(void *context)
{
    struct mediator *mediator = context;
    struct vm *next_vm;

    memset(mediator->spares, 0, sizeof(mediator->spares));
    reset_launcher_lost(mediator);
    /* A VM that was removed goes with its last channel, hence both `next` first. */
    for (struct vm *vm = mediator->vms; vm; vm = next_vm) {
        struct channel *next;

        next_vm = vm->next;
        for (struct channel *c = vm->channels; c; c = next) {
            next = c->next;
            vm_launcher_lost(c);
        }
    }
    mediator_check_stopped(mediator);
}

static const struct link_hooks link_hooks = {
    .welcome = link_welcome,
    .entry = link_entry,
    .listed = link_listed,
    .spawned = link_spawned,
    .exited = link_exited,
    .spare_state = link_spare_state,
    .reset_done = link_reset_done,
    .writable = writable,
    .refused = link_refused,
    .lost = link_lost,
};

/* Helpers */

static void give_up(struct mediator *mediator, const char *text)
{
    fprintf(stderr, "vgpu-mediator: %s\n", text);
    mediator->exit_status = EXIT_FAILURE;
    mediator->stopped = true;
}

/* The configuration was understood for the first time: others may come. */
static void begin_service(struct mediator *mediator)
{
    struct vgpu_err err;

    if (admin_init(&mediator->admin, mediator, &err) < 0 ||
        domains_init(&mediator->domains, mediator, &err) < 0) {
        give_up(mediator, err.text);
        return;
    }
    link_connect(&mediator->link);
    scan_start(mediator);
}

/* A snapshot comes with hello, a delta with each answer that changed something. */
static void take_config(struct mediator *mediator, const json_t *snapshot, const json_t *delta)
{
    char quoted[VGPU_ERR_TEXT_BYTES];
    struct vgpu_err err;
    struct config *config;
    bool first = !mediator->config;
    int rc = snapshot ? config_parse(snapshot, &config, &err)
                      : config_change(mediator->config, delta, &config, &err);

    if (rc < 0) {
        vgpu_log(VGPU_LOG_ERROR, "configure", "reason=%s",
                 vgpu_log_quote(quoted, sizeof(quoted), err.text));
        if (first)
            give_up(mediator, err.text);
        return;
    }
    mediator_apply(mediator, config);
    if (first)
        begin_service(mediator);
}

/* The first word of a helper after its end, and its end. */
static void note_helper(struct mediator *mediator, const struct helper *helper, bool *lost,
                        bool is_lost)
{
    struct event event = {.kind = is_lost ? EVENT_HELPER_LOST : EVENT_HELPER_BACK,
                          .severity = is_lost ? EVENT_ERROR : EVENT_INFO,
                          .gpu_id = EVENT_NO_GPU};
    char text[64];

    if (*lost == is_lost || helper->stopping)
        return;
    *lost = is_lost;
    snprintf(text, sizeof(text), "%s %s", helper->name,
             is_lost ? "has ended; it is started again" : "answers again");
    event.text = text;
    events_add(mediator, &event);
}

void mediator_note_store(struct mediator *mediator, const char *problem)
{
    struct event event = {.kind = EVENT_NOT_STORED,
                          .severity = problem ? EVENT_ERROR : EVENT_INFO,
                          .gpu_id = EVENT_NO_GPU};
    char text[EVENT_TEXT_BYTES];

    if (mediator->store_failing == (problem != NULL))
        return;
    mediator->store_failing = problem != NULL;
    snprintf(text, sizeof(text), "%s%.200s",
             problem ? "the database is not written: " : "the database is written again",
             problem ? problem : "");
    event.text = text;
    events_add(mediator, &event);
}

bool mediator_store_failed(const json_t *reply)
{
    json_int_t code = json_integer_value(json_object_get(json_object_get(reply, "error"), "errno"));

    return code == EIO || code == EROFS || code == ENOMEM || code == EAGAIN;
}

static void note_written(struct mediator *mediator, const json_t *line)
{
    const json_t *result = json_object_get(line, "result");
    const json_t *error = json_object_get(line, "error");

    if (mediator_store_failed(line))
        mediator_note_store(mediator, json_string_value(json_object_get(error, "text")));
    else if (json_is_true(json_object_get(result, "changed")) &&
             !json_object_get(result, "dry_run"))
        mediator_note_store(mediator, NULL);
}

static void store_heard(void *context, json_t *line)
{
    struct mediator *mediator = context;
    const json_t *snapshot = json_object_get(line, "snapshot");
    const json_t *delta = mediator->config ? json_object_get(line, "delta") : NULL;
    const char *backup = json_string_value(json_object_get(line, "backup"));
    const char *text = json_string_value(json_object_get(json_object_get(line, "error"), "text"));
    char quoted[VGPU_ERR_TEXT_BYTES];

    note_helper(mediator, &mediator->store, &mediator->store_lost, false);
    note_written(mediator, line);
    if (backup)
        vgpu_log(VGPU_LOG_INFO, "database-upgraded", "backup=%s",
                 vgpu_log_quote(quoted, sizeof(quoted), backup));
    if (snapshot || delta) {
        take_config(mediator, snapshot, delta);
        events_add_changes(mediator, line);
    } else if (text && !json_object_get(line, "ok")) {
        vgpu_log(VGPU_LOG_ERROR, "store", "reason=%s",
                 vgpu_log_quote(quoted, sizeof(quoted), text));
        if (!mediator->config)
            give_up(mediator, text);
    }
}

static void store_ended(void *context, int status)
{
    struct mediator *mediator = context;

    note_helper(mediator, &mediator->store, &mediator->store_lost, true);
    if (!mediator->config && !mediator->stopped)
        give_up(mediator, "the store helper ended without a word");
}

static void nvml_heard(void *context, json_t *line)
{
    struct mediator *mediator = context;

    note_helper(mediator, &mediator->nvml, &mediator->nvml_lost, false);
    status_take_sample(mediator, line);
}

static void nvml_ended(void *context, int status)
{
    struct mediator *mediator = context;

    note_helper(mediator, &mediator->nvml, &mediator->nvml_lost, true);
}

static int start_store(struct mediator *mediator, struct vgpu_err *err)
{
    const struct mediator_settings *settings = mediator->settings;
    static char program[512];

    if (snprintf(program, sizeof(program), "%s/vgpu-store", settings->helper_dir) >=
        (int)sizeof(program))
        return vgpu_err_set(err, ENAMETOOLONG, "--helper-dir is too long");
    mediator->store = (struct helper){
        .name = "vgpu-store",
        .argv = {program, "--database", settings->database,
                 settings->create_database ? "--create" : NULL},
        .heard = store_heard,
        .ended = store_ended,
        .context = mediator,
    };
    return helper_start(&mediator->store, mediator->loop, err);
}

static int start_nvml(struct mediator *mediator, struct vgpu_err *err)
{
    const struct mediator_settings *settings = mediator->settings;
    static char program[512];

    if (!settings->nvml)
        return 0;
    if (snprintf(program, sizeof(program), "%s/vgpu-nvml", settings->helper_dir) >=
        (int)sizeof(program))
        return vgpu_err_set(err, ENAMETOOLONG, "--helper-dir is too long");
    mediator->nvml = (struct helper){
        .name = "vgpu-nvml",
        .argv = {program, "--nvml", settings->nvml},
        .heard = nvml_heard,
        .ended = nvml_ended,
        .context = mediator,
    };
    mediator->has_nvml = true;
    return helper_start(&mediator->nvml, mediator->loop, err);
}

void mediator_reap(struct mediator *mediator)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (!helper_reaped(&mediator->store, pid, status))
            helper_reaped(&mediator->nvml, pid, status);
    mediator_check_stopped(mediator);
}

/* Start and stop */

static int make_directories(const struct mediator_settings *settings, struct vgpu_err *err)
{
    char path[512];

    if (snprintf(path, sizeof(path), "%s/vm", settings->run_dir) >= (int)sizeof(path))
        return vgpu_err_set(err, ENAMETOOLONG, "--run-dir is too long");
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return vgpu_err_set(err, errno, "cannot make '%s': %s", path, strerror(errno));
    return 0;
}

static void stop_late(void *context)
{
    struct mediator *mediator = context;

    vgpu_log(VGPU_LOG_ERROR, "stop-late", "store=%d nvml=%d", (int)mediator->store.pid,
             (int)mediator->nvml.pid);
    mediator->stopped = true;
}

int mediator_init(struct mediator *mediator, const struct mediator_settings *settings,
                  struct loop *loop, struct vgpu_err *err)
{
    int rc;

    *mediator = (struct mediator){.settings = settings,
                                  .loop = loop,
                                  .started_ns = loop_now(loop),
                                  .admin = {.listener = -1},
                                  .domains = {.listener = -1, .sock = -1},
                                  .dial = {.mediator = mediator, .directory = -1},
                                  .stop_timer = {.fire = stop_late, .context = mediator}};
    memory_init(mediator);
    stray_init(mediator);
    checkup_init(mediator);
    scan_init(mediator);
    metrics_init(mediator);
    link_init(&mediator->link, loop, settings->launcher_socket, &link_hooks, mediator);
    rc = events_init(&mediator->events, loop);
    if (rc < 0)
        return vgpu_err_set(err, -rc, "no memory for the events");
    rc = make_directories(settings, err);
    if (rc == 0)
        rc = dial_init(&mediator->dial, mediator, settings->device_dir, err);
    if (rc == 0)
        rc = start_store(mediator, err);
    if (rc == 0)
        rc = start_nvml(mediator, err);
    return rc;
}

void mediator_release(struct mediator *mediator)
{
    char path[512];

    admin_release(&mediator->admin);
    domains_release(&mediator->domains);
    dial_release(&mediator->dial);
    reset_release(mediator);
    doubt_release(mediator);
    helper_release(&mediator->store);
    helper_release(&mediator->nvml);
    link_release(&mediator->link);
    /* First: where workers stay behind, their lease pages must stay as they are. */
    for (unsigned i = 0; i < MEDIATOR_GPUS_MAX; i++) {
        gpu_free(mediator->gpus[i]);
        mediator->gpus[i] = NULL;
    }
    while (mediator->vms)
        vm_abandon(mediator->vms);
    memory_release(mediator);
    stray_release(mediator);
    checkup_release(mediator);
    scan_release(mediator);
    metrics_release(mediator);
    events_release(&mediator->events);
    accounts_release(&mediator->accounts);
    config_free(mediator->config);
    loop_timer_clear(mediator->loop, &mediator->stop_timer);
    snprintf(path, sizeof(path), "%s/vm", mediator->settings->run_dir);
    rmdir(path);
}

void mediator_check_stopped(struct mediator *mediator)
{
    if (!mediator->stopping || mediator->stopped)
        return;
    for (struct vm *vm = mediator->vms; vm; vm = vm->next)
        if (vm_living(vm))
            return;
    helper_stop(&mediator->store);
    helper_stop(&mediator->nvml);
    mediator->stopped = mediator->store.pid == 0 && mediator->nvml.pid == 0;
}

void mediator_stop(struct mediator *mediator)
{
    if (mediator->stopping)
        return;
    mediator->stopping = true;
    admin_release(&mediator->admin);
    domains_release(&mediator->domains);
    loop_timer_set(mediator->loop, &mediator->stop_timer, loop_now(mediator->loop) + STOP_PATIENCE);
    for (struct vm *vm = mediator->vms; vm; vm = vm->next) {
        vm_deafen(vm);
        for (struct channel *c = vm->channels; c; c = c->next)
            vm_end_channel(c, VGPU_KILLED, "the worker was ended: the mediator stops");
    }
    mediator_check_stopped(mediator);
}

void mediator_leave(struct mediator *mediator)
{
    mediator->stopped = true;
}
