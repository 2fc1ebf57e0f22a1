/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs: the blocks of a launch spread over the threads of a pool and the caller.
 *
 * Each thread takes blocks in order and runs one at a time; it takes on further ones beside it
 * when that one seems to wait for blocks that have not begun. A cooperative launch has all blocks
 * begun at once. The caller always works on its own run, so that each makes progress.
 */
#include "softgpu/ptx/exec.h"
#include "common/overflow.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rounds of quanta after which a thread takes another block beside those it has. */
#define PATIENCE_ROUNDS     64
#define RESIDENT_MAX        32
#define STACK_BYTES_DEFAULT 1024

struct run {
    struct grid grid;
    uint64_t n_blocks;
    uint64_t next_block;   /* atomic */
    uint64_t instructions; /* atomic */
    uint32_t ended;        /* atomic: a fault, or stopped */
    pthread_mutex_t lock;  /* of fault and print */
    struct ptx_fault fault;
    /* Under the pool's lock. */
    uint32_t helpers_wanted, helpers;
    struct run *next;
};

struct ptx_pool {
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct run *runs; /* that want helpers */
    bool closing;
    uint32_t n_threads; /* beside callers */
    pthread_t threads[];
};

/* The blocks that one thread runs beside each other. */
struct resident {
    struct block **blocks;
    uint32_t n, limit, cap;
    struct block *spare;
    uint32_t rounds;
};

void run_print(struct run *run, const char *text, size_t size_bytes)
{
    const struct ptx_launch *launch = &run->grid.launch;

    if (!launch->print || !size_bytes)
        return;
    pthread_mutex_lock(&run->lock);
    launch->print(launch->print_ctx, text, size_bytes);
    pthread_mutex_unlock(&run->lock);
}

static void run_fault(struct run *run, const struct ptx_fault *fault)
{
    pthread_mutex_lock(&run->lock);
    if (run->fault.kind == PTX_FAULT_NONE)
        run->fault = *fault;
    pthread_mutex_unlock(&run->lock);
    __atomic_store_n(&run->ended, 1, __ATOMIC_RELEASE);
}

static void run_fault_kind(struct run *run, enum ptx_fault_kind kind)
{
    struct ptx_fault fault = {.kind = kind};

    snprintf(fault.text, sizeof(fault.text), "%s", ptx_fault_text(kind));
    run_fault(run, &fault);
}

static bool run_ended(struct run *run)
{
    const struct ptx_launch *launch = &run->grid.launch;

    if (__atomic_load_n(&run->ended, __ATOMIC_ACQUIRE))
        return true;
    if (launch->stop && __atomic_load_n(launch->stop, __ATOMIC_ACQUIRE)) {
        run_fault_kind(run, PTX_FAULT_STOPPED);
        return true;
    }
    if (launch->max_instructions &&
        __atomic_load_n(&run->instructions, __ATOMIC_RELAXED) > launch->max_instructions) {
        run_fault_kind(run, PTX_FAULT_LIMIT);
        return true;
    }
    return false;
}

static bool resident_room(struct resident *resident)
{
    uint32_t cap = resident->cap ? resident->cap * 2 : 4;
    struct block **grown;

    if (resident->n < resident->cap)
        return true;
    grown = realloc(resident->blocks, cap * sizeof(struct block *));
    if (!grown)
        return false;
    resident->blocks = grown;
    resident->cap = cap;
    return true;
}

/* Begins the next block of the grid. False if there is none, or no memory. */
static bool take_block(struct run *run, struct resident *resident, struct worker *worker)
{
    const uint32_t *grid = run->grid.launch.grid;
    uint64_t index = __atomic_fetch_add(&run->next_block, 1, __ATOMIC_RELAXED);
    struct block *block = resident->spare;
    uint32_t id[3];

    if (index >= run->n_blocks)
        return false;
    resident->spare = NULL;
    if (!block)
        block = block_new(&run->grid);
    if (!block || !resident_room(resident)) {
        block_free(block);
        run_fault_kind(run, PTX_FAULT_NO_MEMORY);
        return false;
    }
    id[0] = (uint32_t)(index % grid[0]);
    id[1] = (uint32_t)(index / grid[0] % grid[1]);
    id[2] = (uint32_t)(index / grid[0] / grid[1]);
    resident->blocks[resident->n++] = block;
    if (!block_start(block, worker, id)) {
        run_fault_kind(run, PTX_FAULT_NO_MEMORY);
        return false;
    }
    return true;
}

/* Runs each resident block for a round; those that are done leave. */
static void round_robin(struct run *run, struct resident *resident)
{
    for (uint32_t i = 0; i < resident->n;) {
        struct block *block = resident->blocks[i];
        uint64_t instructions = 0;
        enum block_state state = block_run(block, &instructions);

        __atomic_fetch_add(&run->instructions, instructions, __ATOMIC_RELAXED);
        if (state == BLOCK_FAULT) {
            run_fault(run, &block->fault);
            return;
        }
        if (state == BLOCK_RUNNING) {
            i++;
            continue;
        }
        resident->blocks[i] = resident->blocks[--resident->n];
        resident->rounds = 0;
        if (!resident->spare)
            resident->spare = block;
        else
            block_free(block);
    }
    resident->rounds++;
}

static void run_work(struct run *run, uint32_t index)
{
    bool together = run->grid.launch.cooperative;
    struct resident resident = {.limit = together ? UINT32_MAX : 1};
    struct worker *worker = calloc(1, sizeof(*worker));
    fenv_t environment;

    if (!worker) {
        run_fault_kind(run, PTX_FAULT_NO_MEMORY);
        return;
    }
    worker->index = index;
    fegetenv(&environment);
    fesetenv(FE_DFL_ENV);
    while (!run_ended(run)) {
        while (resident.n < resident.limit && take_block(run, &resident, worker))
            ;
        if (resident.n == 0)
            break;
        round_robin(run, &resident);
        if (!together) {
            if (resident.rounds == 0 || resident.n < resident.limit)
                resident.limit = resident.n > 1 ? resident.n : 1;
            if (resident.rounds > PATIENCE_ROUNDS && resident.limit < RESIDENT_MAX) {
                resident.limit++;
                resident.rounds = 1;
            }
        }
    }
    for (uint32_t i = 0; i < resident.n; i++) {
        block_abandon(resident.blocks[i]);
        block_free(resident.blocks[i]);
    }
    fesetenv(&environment);
    block_free(resident.spare);
    free(resident.blocks);
    worker_release(worker);
    free(worker);
}

/* --- the pool --- */

static void *pool_thread(void *argument)
{
    struct ptx_pool *pool = argument;

    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        struct run *run = pool->runs;
        uint32_t index;

        if (!run) {
            pthread_cond_wait(&pool->work, &pool->lock);
            continue;
        }
        index = ++run->helpers;
        if (--run->helpers_wanted == 0)
            pool->runs = run->next;
        pthread_mutex_unlock(&pool->lock);
        run_work(run, index);
        pthread_mutex_lock(&pool->lock);
        run->helpers--;
        pthread_cond_broadcast(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static bool start_threads(struct ptx_pool *pool, uint32_t wanted)
{
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool->n_threads < wanted &&
           pthread_create(&pool->threads[pool->n_threads], NULL, pool_thread, pool) == 0)
        pool->n_threads++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pool->n_threads == wanted;
}

struct ptx_pool *ptx_pool_new(unsigned threads)
{
    struct ptx_pool *pool;
    long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (threads == 0)
        threads = online > 0 ? (unsigned)online : 1;
    if (threads > 1024)
        threads = 1024;
    pool = calloc(1, sizeof(*pool) + (threads - 1) * sizeof(pool->threads[0]));
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    if (!start_threads(pool, threads - 1)) {
        ptx_pool_free(pool);
        return NULL;
    }
    return pool;
}

void ptx_pool_free(struct ptx_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    free(pool);
}

static void call_helpers(struct ptx_pool *pool, struct run *run)
{
    uint64_t wanted = run->n_blocks - 1;
    struct run **end = &pool->runs;

    if (wanted > pool->n_threads)
        wanted = pool->n_threads;
    if (!wanted)
        return;
    pthread_mutex_lock(&pool->lock);
    run->helpers_wanted = (uint32_t)wanted;
    while (*end)
        end = &(*end)->next;
    *end = run;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

/* No helper is in the run any more, and none will come. */
static void dismiss_helpers(struct ptx_pool *pool, struct run *run)
{
    pthread_mutex_lock(&pool->lock);
    if (run->helpers_wanted) {
        struct run **at = &pool->runs;

        while (*at != run)
            at = &(*at)->next;
        *at = run->next;
        run->helpers_wanted = 0;
    }
    while (run->helpers)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

/* --- launches --- */

static const char *check_shape(const struct ptx_launch *launch)
{
    const struct ptx_function *function = launch->function;
    const uint32_t *required = function->required_block;
    uint64_t threads = (uint64_t)launch->block[0] * launch->block[1];

    if (!launch->grid[0] || !launch->grid[1] || !launch->grid[2] ||
        launch->grid[0] > PTX_MAX_GRID_X || launch->grid[1] > PTX_MAX_GRID_YZ ||
        launch->grid[2] > PTX_MAX_GRID_YZ)
        return "bad grid size";
    if (!threads || !launch->block[2] || launch->block[2] > PTX_MAX_BLOCK_Z ||
        threads > PTX_MAX_BLOCK_THREADS || threads * launch->block[2] > function->max_threads)
        return "bad block size";
    if (required[0] && memcmp(required, launch->block, sizeof(function->required_block)))
        return "the entry requires another block size";
    return NULL;
}

static const char *check_launch(const struct ptx_launch *launch)
{
    const struct ptx_function *function = launch->function;
    const char *wrong;
    uint64_t threads;

    if (!function || function->program != launch->program || !function->is_entry)
        return "no entry of this program";
    wrong = check_shape(launch);
    if (wrong)
        return wrong;
    threads = (uint64_t)launch->block[0] * launch->block[1] * launch->block[2];
    if ((uint64_t)function->static_shared_bytes + launch->dynamic_shared_bytes >
        PTX_MAX_SHARED_BYTES)
        return "too much shared memory";
    if (launch->params_bytes < function->params_bytes ||
        (function->params_bytes && !launch->params))
        return "too few parameters";
    if (launch->program->placed.n && !launch->variable_addresses)
        return "no addresses of variables";
    if (function->total_local_bytes > PTX_MAX_LOCAL_BYTES ||
        launch->stack_bytes > PTX_MAX_LOCAL_BYTES)
        return "too much local memory";
    if (launch->cooperative &&
        threads * launch->grid[0] > PTX_MAX_COOPERATIVE / launch->grid[1] / launch->grid[2])
        return "too many threads for a cooperative launch";
    return NULL;
}

static uint32_t stack_for(const struct ptx_launch *launch)
{
    const struct ptx_function *function = launch->function;
    uint64_t bytes = function->total_local_bytes;

    if (function->unbounded)
        bytes += launch->stack_bytes ? launch->stack_bytes : STACK_BYTES_DEFAULT;
    bytes = (bytes + 15) & ~UINT64_C(15);
    return (uint32_t)(bytes < PTX_MAX_LOCAL_BYTES ? bytes : PTX_MAX_LOCAL_BYTES);
}

/* Parameters with room for the widest access behind them, and where shared variables lie. */
static bool grid_init(struct grid *grid, const struct ptx_launch *launch, struct run *run,
                      uint32_t n_processors)
{
    const struct ptx_function *function = launch->function;

    grid->launch = *launch;
    grid->program = launch->program;
    grid->function = function;
    grid->table = exec_table();
    grid->run = run;
    grid->n_processors = n_processors;
    grid->shared_bytes = function->static_shared_bytes + launch->dynamic_shared_bytes;
    grid->stack_bytes = stack_for(launch);
    grid->block_threads = launch->block[0] * launch->block[1] * launch->block[2];
    grid->n_warps = (grid->block_threads + LANES - 1) / LANES;
    grid->params = aligned_alloc(64, ((size_t)function->params_bytes + 127) & ~(size_t)63);
    grid->shared_offsets = calloc(launch->program->shared.n + 1ul, sizeof(uint32_t));
    if (!grid->params || !grid->shared_offsets)
        return false;
    memset(grid->params, 0, ((size_t)function->params_bytes + 127) & ~(size_t)63);
    if (function->params_bytes)
        memcpy(grid->params, launch->params, function->params_bytes);
    for (uint32_t i = 0; i < function->shared_places.n; i++)
        grid->shared_offsets[function->shared_places.at[i].shared] =
            function->shared_places.at[i].offset;
    return true;
}

static void run_all(struct ptx_pool *pool, struct run *run)
{
    pthread_mutex_init(&run->lock, NULL);
    call_helpers(pool, run);
    run_work(run, 0);
    dismiss_helpers(pool, run);
    pthread_mutex_destroy(&run->lock);
}

enum ptx_fault_kind ptx_run(struct ptx_pool *pool, const struct ptx_launch *launch,
                            struct ptx_fault *ret_fault, uint64_t *ret_instructions)
{
    const char *wrong = check_launch(launch);
    struct run *run = calloc(1, sizeof(*run));
    struct ptx_fault fault = {.kind = PTX_FAULT_NONE};

    if (ret_instructions)
        *ret_instructions = 0;
    if (!run) {
        fault.kind = PTX_FAULT_NO_MEMORY;
    } else if (wrong) {
        fault.kind = PTX_FAULT_LAUNCH;
        snprintf(fault.text, sizeof(fault.text), "bad launch: %s", wrong);
    } else if (!grid_init(&run->grid, launch, run, pool->n_threads + 1)) {
        fault.kind = PTX_FAULT_NO_MEMORY;
    } else {
        run->n_blocks = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
        run_all(pool, run);
        fault = run->fault;
        if (ret_instructions)
            *ret_instructions = run->instructions;
    }
    if (fault.kind != PTX_FAULT_NONE && !fault.text[0])
        snprintf(fault.text, sizeof(fault.text), "%s", ptx_fault_text(fault.kind));
    if (run) {
        free(run->grid.params);
        free(run->grid.shared_offsets);
        free(run);
    }
    if (ret_fault)
        *ret_fault = fault;
    return fault.kind;
}
