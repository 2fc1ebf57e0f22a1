/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PTX engine: compiles PTX text into an internal code and runs it on the CPU, a warp at a time.
 *
 * The caller (softgpu's driver API, the tests, the benchmark) owns device memory: it chooses the
 * device addresses of allocations and of module variables, and the engine reaches memory only
 * through struct ptx_memory. The engine holds no global state, does not log, exit or read the
 * environment, and depends on libc, libm and pthreads only. Hostile text and hostile kernels end
 * in an error or a reported fault, never in a crash.
 *
 * Order of calls: ptx_program_new; place every variable in device memory (ptx_program_variable,
 * ptx_variable_init); ptx_run for any of its entries, from any threads; ptx_program_free.
 */
#ifndef SOFTGPU_PTX_PTX_H
#define SOFTGPU_PTX_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Address map. Generic addresses below PTX_DEVICE_BASE belong to the engine: windows onto shared,
 * local and parameter memory, and function addresses. The caller's allocations and variables must
 * lie at or above PTX_DEVICE_BASE; 0 is never valid.
 */
#define PTX_SHARED_BASE  UINT64_C(0x01000000)
#define PTX_LOCAL_BASE   UINT64_C(0x02000000)
#define PTX_PARAM_BASE   UINT64_C(0x04000000)
#define PTX_CODE_BASE    UINT64_C(0x08000000)
#define PTX_DEVICE_BASE  UINT64_C(0x100000000)
#define PTX_WINDOW_BYTES UINT64_C(0x01000000) /* of each window but the code window */

/* Limits on a program. At limit + 1, ptx_program_new answers PTX_TOO_LARGE. */
#define PTX_MAX_SOURCES           64
#define PTX_MAX_SOURCE_BYTES      (64u << 20) /* of all sources together */
#define PTX_MAX_NAME_BYTES        4096
#define PTX_MAX_FUNCTIONS         65536
#define PTX_MAX_VARIABLES         65536
#define PTX_MAX_VARIABLE_BYTES    (UINT64_C(1) << 32)
#define PTX_MAX_INIT_BYTES        (256u << 20) /* initialisers of all variables together */
#define PTX_MAX_INSTRUCTIONS      (4u << 20)   /* of all functions together */
#define PTX_MAX_REGISTERS         (1u << 20)   /* of one function, as declared */
#define PTX_MAX_PROGRAM_REGISTERS (32u << 20)  /* of all functions together */
#define PTX_MAX_BRANCH_TARGETS    (4u << 20)   /* of all indexed branches together */
#define PTX_MAX_NESTING           64           /* of { } in a function */
#define PTX_MAX_PARAMS            1024         /* of one function */
#define PTX_MAX_PARAM_BYTES       32764        /* of one function */
#define PTX_MAX_LOCAL_BYTES       (512u << 10) /* of one thread */
#define PTX_MAX_FRAME_BYTES       (8u << 20)   /* registers of one warp in one function */

/* Limits on a launch. At limit + 1, ptx_run answers PTX_FAULT_LAUNCH. */
#define PTX_MAX_BLOCK_THREADS 1024
#define PTX_MAX_BLOCK_Z       64
#define PTX_MAX_GRID_X        2147483647u
#define PTX_MAX_GRID_YZ       65535u
#define PTX_MAX_SHARED_BYTES  (227u << 10) /* static and dynamic together */
#define PTX_MAX_COOPERATIVE   (256u << 10) /* threads of a cooperative grid */

#define PTX_WARP_LANES 32

enum ptx_status {
    PTX_OK = 0,
    PTX_SYNTAX,      /* the text is not PTX, or breaks its typing rules */
    PTX_UNSUPPORTED, /* PTX that this engine lacks; the log names instruction and line */
    PTX_LINK,        /* unresolved, duplicate or mismatching symbol */
    PTX_NO_MEMORY,
    PTX_TOO_LARGE, /* one of the maxima above */
};

/* A short name for a status, such as "syntax error". */
const char *ptx_status_text(enum ptx_status status);

/*
 * A log in memory of the caller's: text receives NUL-terminated lines, cut at size_bytes.
 * used_bytes counts what was written, without the NUL. text may be NULL if size_bytes is 0.
 */
struct ptx_log {
    char *text;
    size_t size_bytes;
    size_t used_bytes;
};

/* One PTX text; name is used in messages ("ptx" if NULL). The text may end with NULs or not. */
struct ptx_source {
    const char *name;
    const char *text;
    size_t size_bytes;
};

struct ptx_program;
struct ptx_function;
struct ptx_pool;

/*
 * Compiles and links n texts into one program; the texts may be freed afterwards. Each .extern
 * that is used must be resolved by one of the texts, save vprintf, __assertfail and dynamic shared
 * memory, which the engine provides. log may be NULL. On success *ret_program is the caller's.
 */
enum ptx_status ptx_program_new(const struct ptx_source *sources, size_t n, struct ptx_log *log,
                                struct ptx_program **ret_program);

/* Frees a program that no ptx_run is using. NULL is allowed. */
void ptx_program_free(struct ptx_program *program);

/* --- Variables: those at module scope in global or constant space. --- */

enum ptx_space { PTX_SPACE_GLOBAL, PTX_SPACE_CONST };

struct ptx_variable {
    const char *name; /* lives as long as the program */
    enum ptx_space space;
    uint64_t size_bytes;  /* > 0 */
    uint64_t align_bytes; /* a power of two: the address chosen must be a multiple of it */
    bool has_init;        /* false: all bytes zero */
    bool is_local;        /* neither .visible, .weak nor .common */
    bool is_managed;      /* .attribute(.managed) */
};

size_t ptx_program_n_variables(const struct ptx_program *program);

/* Fills *ret for variable `index` < ptx_program_n_variables. */
void ptx_program_variable(const struct ptx_program *program, size_t index,
                          struct ptx_variable *ret);

/* Index of a variable by name, or -1. Visible ones come before local ones of the same name. */
long ptx_program_find_variable(const struct ptx_program *program, const char *name);

/*
 * Writes a variable's initial bytes to host (its size_bytes; zeros where there is no
 * initialiser). addresses[i] is the device address of variable i, for all of them: initialisers
 * may hold addresses of variables and functions.
 */
void ptx_variable_init(const struct ptx_program *program, size_t index, const uint64_t *addresses,
                       void *host);

/* --- Functions. Only entries (.entry) are listed. --- */

struct ptx_param {
    uint32_t offset_bytes;
    uint32_t size_bytes;
    uint32_t align_bytes;
};

struct ptx_function_info {
    const char *name; /* lives as long as the program */
    uint32_t n_params;
    uint32_t params_bytes;        /* offset + size of the last parameter; 0 without any */
    uint32_t static_shared_bytes; /* includes that of the functions it may call */
    uint32_t local_bytes;         /* per thread; without recursive and indirect calls */
    uint32_t const_bytes;         /* of user-declared constant variables in the program */
    uint32_t n_registers;         /* 32-bit registers a thread needs; an estimate, <= 255 */
    uint32_t max_threads;         /* per block: .maxntid/.reqntid product, or 1024 */
    uint32_t required_block[3];   /* .reqntid, or zeros */
    uint32_t ptx_version;         /* 10 * major + minor, e.g. 78 */
    uint32_t target_sm;           /* e.g. 75 */
    bool uses_dynamic_shared;     /* has an .extern .shared array */
    bool calls_unbounded;         /* recursion or indirect calls: local_bytes + stack_bytes */
};

size_t ptx_program_n_entries(const struct ptx_program *program);

/* Entry `index` < ptx_program_n_entries, in order of appearance. Never NULL. */
const struct ptx_function *ptx_program_entry(const struct ptx_program *program, size_t index);

/* Entry by name, or NULL. */
const struct ptx_function *ptx_program_find_entry(const struct ptx_program *program,
                                                  const char *name);

void ptx_function_info(const struct ptx_function *function, struct ptx_function_info *ret);

/* Parameter `index` < n_params. False if out of range. */
bool ptx_function_param(const struct ptx_function *function, size_t index, struct ptx_param *ret);

/* --- Memory. --- */

#define PTX_RANGE_READ_ONLY 1u

/* Device addresses [base, base + size_bytes) are host memory at `host`. */
struct ptx_range {
    uint64_t base;
    uint64_t size_bytes;
    void *host;
    uint32_t flags;
};

/*
 * find fills *ret with the range that holds `address` and returns true, or returns false. It is
 * called from several threads at once, and its answers are cached until the run ends: an
 * allocation must stay as long as a kernel runs that may know its address. New allocations may
 * come at any time. base must be aligned as host is, up to 256 bytes.
 */
struct ptx_memory {
    void *ctx;
    bool (*find)(void *ctx, uint64_t address, struct ptx_range *ret);
};

/*
 * --- Running. ---
 * %clock and %clock64 count nanoseconds; %globaltimer is the host's time of day in nanoseconds;
 * %smid is the thread of the pool. Each block is a cluster of its own.
 */

/* A pool of threads that run blocks. threads: in all, the caller of ptx_run included; 0: one per
 * online CPU. Its threads block all signals. NULL if out of memory or threads. */
struct ptx_pool *ptx_pool_new(unsigned threads);

/* Ends the threads. No ptx_run may be using the pool. NULL is allowed. */
void ptx_pool_free(struct ptx_pool *pool);

enum ptx_fault_kind {
    PTX_FAULT_NONE = 0,
    PTX_FAULT_ADDRESS,    /* access outside of any range (CUDA_ERROR_ILLEGAL_ADDRESS) */
    PTX_FAULT_MISALIGNED, /* CUDA_ERROR_MISALIGNED_ADDRESS */
    PTX_FAULT_READ_ONLY,  /* write to a read-only range or to parameters */
    PTX_FAULT_PC,         /* bad indirect call (CUDA_ERROR_INVALID_PC) */
    PTX_FAULT_STACK,      /* local memory exhausted by calls */
    PTX_FAULT_BARRIER,    /* bad id or count, or a deadlock at barriers or .sync instructions */
    PTX_FAULT_ASSERT,     /* device-side assert (CUDA_ERROR_ASSERT) */
    PTX_FAULT_TRAP,       /* trap, brkpt (CUDA_ERROR_ILLEGAL_INSTRUCTION / LAUNCH_FAILED) */
    PTX_FAULT_STOPPED,    /* *stop was set */
    PTX_FAULT_LAUNCH,     /* bad launch parameters: nothing ran */
    PTX_FAULT_NO_MEMORY,  /* the host has no memory for the blocks' state */
    PTX_FAULT_LIMIT,      /* max_instructions exceeded */
};

#define PTX_FAULT_TEXT_BYTES 384

/* The first fault of a run. Other blocks may have gone on for a moment. */
struct ptx_fault {
    enum ptx_fault_kind kind;
    uint64_t address;    /* generic address, or the offset for shared and local space */
    uint32_t size_bytes; /* of the access */
    uint32_t block[3];
    uint32_t thread[3];
    uint32_t line;                   /* in the PTX text; 0 if unknown */
    char text[PTX_FAULT_TEXT_BYTES]; /* all of it, for a person */
};

/* A short name for a kind, such as "illegal address". */
const char *ptx_fault_text(enum ptx_fault_kind kind);

struct ptx_launch {
    const struct ptx_program *program;
    const struct ptx_function *function;
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t dynamic_shared_bytes;

    /* Parameters laid out as ptx_function_param says; at least params_bytes of info. Copied. */
    const void *params;
    size_t params_bytes;

    const uint64_t *variable_addresses; /* as for ptx_variable_init; may be NULL without any */
    struct ptx_memory memory;

    /* Receives text of vprintf and asserts; one call at a time per run. May be NULL. */
    void (*print)(void *ctx, const char *text, size_t size_bytes);
    void *print_ctx;

    /* Set to non-zero by anyone, with __atomic_store_n, to end the run. May be NULL. */
    const uint32_t *stop;

    /* Local memory for recursive and indirect calls, per thread (CU_LIMIT_STACK_SIZE). */
    uint32_t stack_bytes;

    /* All blocks are resident at once, so that they may wait for each other. At most
     * PTX_MAX_COOPERATIVE threads in the grid. (Other launches take on further blocks, up to 32 per
     * thread of the pool, when those at hand do not end.) grid_workspace: device address of zeroed
     * memory of at least 64 bytes for grid-wide barriers (%envreg1:%envreg2), or 0. */
    bool cooperative;
    uint64_t grid_workspace;

    uint64_t grid_id;          /* %gridid */
    uint64_t max_instructions; /* thread-instructions, checked now and then; 0: no limit */
};

/*
 * Runs a launch to its end on the pool and the calling thread. Returns PTX_FAULT_NONE, or the
 * kind of *ret_fault (may be NULL). ret_instructions (may be NULL) receives the number of thread
 * instructions executed, also when it faulted. Several threads may run launches on one pool.
 */
enum ptx_fault_kind ptx_run(struct ptx_pool *pool, const struct ptx_launch *launch,
                            struct ptx_fault *ret_fault, uint64_t *ret_instructions);

#endif
