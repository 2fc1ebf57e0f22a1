/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any sequence of calls, legal or not, at any times, against a scheduler; after each
 * call its promises are checked: one holder, one overrunner, no free GPU while a VM waits, illegal
 * calls refused without effect, virtual time monotone. Each 4 bytes of input are one call.
 */
#include "sched/sched.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VMS 12
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct sched *sched;
    uint32_t vms[MAX_VMS];
    uint64_t now;
    uint64_t virtual_time;
    struct sched_actions out;
    struct sched_account account;
};

static void count_states(const struct world *world, unsigned counts[LEASE_N_STATES])
{
    memset(counts, 0, LEASE_N_STATES * sizeof(counts[0]));
    for (unsigned i = 0; i < MAX_VMS; i++) {
        struct sched_vm_stats stats;

        if (!world->vms[i] || sched_vm_stats(world->sched, world->vms[i], world->now, &stats) < 0)
            continue;
        CHECK((unsigned)stats.state < LEASE_N_STATES);
        CHECK(stats.share_ppm <= 1000000 && stats.entitled_ppm <= 1000000);
        CHECK(stats.has_work == (stats.state != LEASE_NONE && stats.state != LEASE_HELD_IDLE) ||
              stats.state >= LEASE_REVOKING);
        counts[stats.state]++;
    }
}

static void check(struct world *world)
{
    unsigned counts[LEASE_N_STATES];
    struct sched_stats stats;

    sched_stats(world->sched, world->now, &stats);
    count_states(world, counts);
    CHECK(counts[LEASE_HELD] + counts[LEASE_HELD_IDLE] + counts[LEASE_REVOKING] <= 1);
    CHECK(counts[LEASE_OVERRUN] <= 1);
    CHECK((counts[LEASE_OVERRUN] == 1) == (stats.overrunner != 0));
    CHECK(counts[LEASE_WAITING] == stats.waiting);
    CHECK(stats.paused || !stats.waiting || stats.holder);
    CHECK((int64_t)(stats.virtual_time - world->virtual_time) >= 0);
    CHECK(world->out.count <= SCHED_ACTIONS_MAX);
    world->virtual_time = stats.virtual_time;
}

static struct sched_vm_params params_of(uint8_t a, uint8_t b)
{
    struct sched_vm_params params = {
        .tag = a,
        .pool_id = a % 4,
        .priority = (enum sched_priority)(b % 4),
        .weight_milli = 500 + (uint32_t)b * 397,
    };

    return params;
}

static void configure(struct world *world, uint8_t a, uint8_t b)
{
    struct sched_config config;

    sched_get_config(world->sched, &config);
    config.policy = (enum sched_policy)(a % 3);
    config.slice_ns = (uint64_t)b * 200000;
    config.urgency_ns = (uint64_t)(a % 7) * 5000000;
    config.max_wait_ns = (uint64_t)(b % 5) * 50000000;
    config.second_grace_ns = (uint64_t)(a % 11) * 1000000;
    config.preempt_interval_ns = (uint64_t)(b % 3) * 1000000;
    sched_configure(world->sched, &config, world->now, &world->out, NULL);
}

static void change(struct world *world, uint8_t op, uint8_t a, uint8_t b)
{
    uint32_t *vm = &world->vms[a % MAX_VMS];
    struct sched_vm_params params = params_of(a, b);

    switch (op % 9) {
    case 0:
        if (!*vm)
            sched_vm_add(world->sched, &params, world->now, vm);
        break;
    case 1:
        if (sched_vm_remove(world->sched, *vm, world->now, &world->out) == 0)
            *vm = 0;
        break;
    case 2:
        sched_vm_update(world->sched, *vm, &params, world->now, &world->out);
        break;
    case 3:
        configure(world, a, b);
        break;
    case 4:
        sched_pool_add(world->sched, a % 4, b % 2 ? 1000 + b * 100U : 0, world->now, &world->out);
        break;
    case 5:
        sched_pool_set_weight(world->sched, a % 4, b % 2 ? 1000 + b * 100U : 0, world->now,
                              &world->out);
        break;
    case 6:
        sched_pool_remove(world->sched, a % 4, world->now, &world->out);
        break;
    case 7:
        sched_pause(world->sched, b % 2, world->now, &world->out);
        break;
    default:
        if (b % 2)
            sched_vm_save(world->sched, *vm, world->now, &world->account);
        else
            sched_vm_load(world->sched, *vm, &world->account);
    }
}

static void call(struct world *world, const uint8_t *in)
{
    uint32_t vm = world->vms[in[1] % MAX_VMS];
    uint64_t amount = (uint64_t)in[2] << (in[3] % 28);

    switch (in[0] % 13) {
    case 0:
    case 1:
        sched_vm_has_work(world->sched, vm, world->now, &world->out);
        break;
    case 2:
        sched_vm_idle(world->sched, vm, world->now, &world->out);
        break;
    case 3:
    case 4:
        sched_lease_released(world->sched, vm, world->now, amount, in[3], &world->out);
        break;
    case 5:
        sched_worker_gone(world->sched, vm, world->now, amount, &world->out);
        break;
    case 6:
        sched_charge(world->sched, vm, world->now, amount, in[3]);
        break;
    case 7:
        if (in[2] & 1) {
            sched_vm_backlog(world->sched, vm, in[2], amount, world->now, NULL);
            sched_tick(world->sched, world->now, &world->out);
        } else {
            sched_vm_backlog(world->sched, vm, in[2], amount, world->now, &world->out);
        }
        break;
    case 8:
        sched_lease_started(world->sched, vm, world->now);
        break;
    case 9:
        sched_adopt(world->sched, vm, (enum lease_state)(in[2] % (LEASE_N_STATES + 1)),
                    world->now - (amount < world->now ? amount : 0), world->now, &world->out);
        break;
    case 10:
        change(world, in[3], in[1], in[2]);
        break;
    case 11:
        sched_lease_ending(world->sched, vm, world->now, &world->out);
        break;
    default:
        world->now += amount;
        sched_tick(world->sched, world->now, &world->out);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.now = 1};
    struct sched_config config;

    sched_config_default(&config);
    world.sched = sched_new(&config, NULL);
    CHECK(world.sched);
    for (uint32_t p = 0; p < 2; p++)
        sched_pool_add(world.sched, p, 0, world.now, &world.out);
    for (uint8_t i = 0; i < 5; i++) {
        struct sched_vm_params params = params_of(i % 2, (uint8_t)(i * 51));

        sched_vm_add(world.sched, &params, world.now, &world.vms[i]);
    }
    for (; size >= 4; data += 4, size -= 4) {
        call(&world, data);
        check(&world);
    }
    sched_free(world.sched);
    return 0;
}
