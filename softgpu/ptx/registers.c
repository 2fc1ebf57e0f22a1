/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives the virtual registers of a function their places in the frame: liveness over blocks, then
 * a linear scan, so that a frame stays in the nearest caches. Lanes are columns of their own, so
 * that liveness along each lane's path is all that counts, also when a warp diverges.
 *
 * Then the constants are laid out, and the finished code is handed to the function.
 */
#include "softgpu/ptx/parse.h"

#include <string.h>

/* Words of bit sets, and word steps of the data flow, beyond which registers that are used in
 * several blocks are kept for the whole function. */
#define LIVE_WORDS_MAX (16u << 20)
#define LIVE_STEPS_MAX (128u << 20)
/* Bytes of constants of a program, each spread over 32 lanes. */
#define CONSTANTS_MAX (64u << 20)

struct vreg {
    uint32_t start, end; /* positions: 2 * op for reads, + 1 for writes */
    uint32_t block;      /* the one it is used in */
    uint32_t global;     /* its bit, or UINT32_MAX if one block has all of it */
    uint32_t slot;
    uint32_t next; /* with the same start, or the same end */
    bool seen;
};

struct segment {
    uint32_t first, end; /* ops */
};

struct scan {
    struct parser *p;
    struct body *body;
    struct vreg *vregs;
    ARRAY(struct segment) segments;
    uint32_t *segment_of; /* by first op */
    uint32_t at;          /* the segment at hand */
    uint32_t n_global;
    uint32_t words;
    uint64_t *in, *out, *use, *def; /* bit sets by segment */
    uint32_t n_slots[N_CLASSES];
};

/* --- visiting the registers of an op --- */

struct access {
    uint32_t refs[8];
    unsigned n;
};

static void add_ref(struct access *access, uint32_t ref)
{
    if (ref != REF_NONE && !(ref & REF_CONST))
        access->refs[access->n++] = ref;
}

static void reads_of(const struct op *op, struct access *ret)
{
    ret->n = 0;
    add_ref(ret, op->a);
    add_ref(ret, op->b);
    add_ref(ret, op->c);
    add_ref(ret, op->s);
    if (op->flags & OPF_COND) {
        add_ref(ret, op->d);
        add_ref(ret, op->e);
    }
}

static void writes_of(const struct op *op, struct access *ret)
{
    ret->n = 0;
    add_ref(ret, op->d);
    add_ref(ret, op->e);
}

/* Calls visit for each register of op: reads first. */
static void visit_op(struct scan *s, uint32_t i,
                     void (*visit)(struct scan *s, uint32_t op, uint32_t reg, bool write))
{
    const struct op *op = &s->body->ops.at[i];
    const uint32_t *more = NULL;
    struct access access;

    if (op->flags & OPF_MORE)
        more = &s->body->function->more.at[op->ext];
    reads_of(op, &access);
    for (unsigned k = 0; k < access.n; k++)
        visit(s, i, access.refs[k], false);
    for (uint32_t k = 0; more && k < more[0] + more[1]; k++)
        if ((k >= more[0] || (op->flags & OPF_COND)) && !(more[2 + k] & REF_CONST))
            visit(s, i, more[2 + k], false);
    writes_of(op, &access);
    for (unsigned k = 0; k < access.n; k++)
        visit(s, i, access.refs[k], true);
    for (uint32_t k = 0; more && k < more[0]; k++)
        visit(s, i, more[2 + k], true);
}

/* --- blocks --- */

static bool find_segments(struct scan *s)
{
    struct body *body = s->body;
    struct segment segment = {0, 0};

    s->segment_of = calloc(body->ops.n + 1ul, sizeof(*s->segment_of));
    if (!s->segment_of)
        return false;
    for (uint32_t i = 0; i < body->ops.n; i++) {
        if (!(body->ops.at[i].flags & OPF_TERM))
            continue;
        segment.end = i + 1;
        s->segment_of[segment.first] = s->segments.n;
        if (!array_push(&s->segments, segment))
            return false;
        segment.first = i + 1;
    }
    return true;
}

/* --- which registers live across blocks --- */

static void note_block(struct scan *s, uint32_t op, uint32_t reg, bool write)
{
    struct vreg *vreg = &s->vregs[reg];

    if (!vreg->seen) {
        vreg->seen = true;
        vreg->block = s->at;
        vreg->global = write ? UINT32_MAX : 0;
    } else if (vreg->block != s->at) {
        vreg->global = 0;
    }
    (void)op;
}

static void number_globals(struct scan *s)
{
    for (uint32_t k = 0; k < s->segments.n; k++) {
        s->at = k;
        for (uint32_t i = s->segments.at[k].first; i < s->segments.at[k].end; i++)
            visit_op(s, i, note_block);
    }
    s->n_global = 0;
    for (uint32_t r = 0; r < s->body->classes.n; r++)
        if (s->vregs[r].seen && s->vregs[r].global != UINT32_MAX)
            s->vregs[r].global = s->n_global++;
        else
            s->vregs[r].global = UINT32_MAX;
    s->words = (s->n_global + 63) / 64;
}

/* --- data flow --- */

static uint64_t *row(const struct scan *s, uint64_t *set, uint32_t segment)
{
    return set + (size_t)segment * s->words;
}

static void note_use_def(struct scan *s, uint32_t op, uint32_t reg, bool write)
{
    uint32_t bit = s->vregs[reg].global;
    uint64_t mask = UINT64_C(1) << (bit & 63);
    uint64_t *use, *def;

    if (bit == UINT32_MAX)
        return;
    use = row(s, s->use, s->segment_of[op]);
    def = row(s, s->def, s->segment_of[op]);
    if (write)
        def[bit / 64] |= mask;
    else if (!(def[bit / 64] & mask))
        use[bit / 64] |= mask;
}

/* out |= in of a successor; then in = use | (out & ~def). Returns whether in grew. */
static void join_successor(struct scan *s, uint32_t segment, uint32_t op)
{
    uint64_t *out = row(s, s->out, segment);
    const uint64_t *in = row(s, s->in, s->segment_of[op]);

    for (uint32_t w = 0; w < s->words; w++)
        out[w] |= in[w];
}

static bool flow_segment(struct scan *s, uint32_t segment)
{
    const struct op *last = &s->body->ops.at[s->segments.at[segment].end - 1];
    uint64_t *in = row(s, s->in, segment);
    uint64_t *out = row(s, s->out, segment);
    const uint64_t *use = row(s, s->use, segment);
    const uint64_t *def = row(s, s->def, segment);
    bool grew = false;

    if (last->code == OPC_bra || last->code == OPC_jmp)
        join_successor(s, segment, last->ext);
    if (last->code == OPC_bra || last->code == OPC_join)
        join_successor(s, segment, s->segments.at[segment].end);
    if (last->code == OPC_brx)
        for (uint32_t k = 0; k < last->imm; k++)
            join_successor(s, segment, s->body->function->more.at[last->ext + k]);
    for (uint32_t w = 0; w < s->words; w++) {
        uint64_t fresh = use[w] | (out[w] & ~def[w]);

        grew |= fresh != in[w];
        in[w] = fresh;
    }
    return grew;
}

/* False if it would cost too much: the caller then assumes the worst. */
static bool solve_liveness(struct scan *s)
{
    uint64_t size = (uint64_t)s->words * s->segments.n;
    uint64_t steps = 0;
    bool grew = true;

    if (size == 0)
        return true;
    if (size > LIVE_WORDS_MAX / 4)
        return false;
    s->in = calloc(size * 4, sizeof(*s->in));
    if (!s->in)
        return false;
    s->out = s->in + size;
    s->use = s->out + size;
    s->def = s->use + size;
    for (uint32_t k = s->segments.n; k-- > 0;) {
        uint32_t first = s->segments.at[k].first;

        for (uint32_t i = first; i < s->segments.at[k].end; i++) {
            s->segment_of[i] = k;
            visit_op(s, i, note_use_def);
        }
    }
    while (grew) {
        grew = false;
        for (uint32_t k = s->segments.n; k-- > 0;)
            grew |= flow_segment(s, k);
        steps += size * 3;
        if (grew && steps > LIVE_STEPS_MAX)
            return false;
    }
    return true;
}

/* --- intervals --- */

static void extend(struct vreg *vreg, uint32_t position)
{
    if (position < vreg->start)
        vreg->start = position;
    if (position > vreg->end)
        vreg->end = position;
}

static void note_interval(struct scan *s, uint32_t op, uint32_t reg, bool write)
{
    bool early = s->body->ops.at[op].flags & OPF_SELF;

    extend(&s->vregs[reg], 2 * op + (write && !early));
    if (write)
        extend(&s->vregs[reg], 2 * op + 1);
}

static void find_intervals(struct scan *s, bool solved)
{
    uint32_t *by_bit = NULL;

    for (uint32_t r = 0; r < s->body->classes.n; r++) {
        s->vregs[r].start = UINT32_MAX;
        s->vregs[r].end = 0;
    }
    for (uint32_t i = 0; i < s->body->ops.n; i++)
        visit_op(s, i, note_interval);
    if (solved && s->n_global)
        by_bit = malloc(s->n_global * sizeof(*by_bit));
    for (uint32_t r = 0; r < s->body->classes.n; r++) {
        if (s->vregs[r].global == UINT32_MAX)
            continue;
        if (by_bit) {
            by_bit[s->vregs[r].global] = r;
        } else {
            s->vregs[r].start = 0;
            s->vregs[r].end = 2 * s->body->ops.n;
        }
    }
    for (uint32_t k = 0; by_bit && k < s->segments.n; k++) {
        const uint64_t *in = row(s, s->in, k);
        const uint64_t *out = row(s, s->out, k);

        for (uint32_t w = 0; w < s->words; w++) {
            for (uint64_t bits = in[w]; bits; bits &= bits - 1)
                extend(&s->vregs[by_bit[w * 64 + (uint32_t)__builtin_ctzll(bits)]],
                       2 * s->segments.at[k].first);
            for (uint64_t bits = out[w]; bits; bits &= bits - 1)
                extend(&s->vregs[by_bit[w * 64 + (uint32_t)__builtin_ctzll(bits)]],
                       2 * s->segments.at[k].end - 1);
        }
    }
    free(by_bit);
}

/* --- slots --- */

/* Registers go through the lists of those that start and those that end at each position. */
static bool assign_slots(struct scan *s)
{
    uint32_t n = 2 * s->body->ops.n + 2;
    uint32_t *starts = calloc(n, sizeof(*starts));
    uint32_t *ends = calloc(n, sizeof(*ends));
    uint32_t free_slots[N_CLASSES] = {0}; /* lists through by_slot, register + 1 */
    bool good = starts && ends;

    for (uint32_t r = s->body->classes.n; good && r-- > 0;) {
        if (!s->vregs[r].seen)
            continue;
        s->vregs[r].next = starts[s->vregs[r].start];
        starts[s->vregs[r].start] = r + 1;
    }
    for (uint32_t at = 0; good && at < n; at++) {
        uint32_t next;

        for (uint32_t r = starts[at]; r; r = next) {
            struct vreg *vreg = &s->vregs[r - 1];
            unsigned class = s->body->classes.at[r - 1];

            next = vreg->next;
            if (free_slots[class]) {
                const struct vreg *old = &s->vregs[free_slots[class] - 1];

                vreg->slot = old->slot;
                free_slots[class] = old->next;
            } else {
                vreg->slot = s->n_slots[class]++;
            }
            vreg->next = ends[vreg->end];
            ends[vreg->end] = r;
        }
        for (uint32_t r = ends[at]; r; r = next) {
            unsigned class = s->body->classes.at[r - 1];

            next = s->vregs[r - 1].next;
            s->vregs[r - 1].next = free_slots[class];
            free_slots[class] = r;
        }
    }
    free(starts);
    free(ends);
    return good;
}

static bool place_classes(struct scan *s)
{
    struct ptx_function *function = s->body->function;
    uint64_t at = 0;

    for (unsigned class = N_CLASSES; class -- > 0;) {
        function->class_at[class] = (uint32_t)at;
        at += (uint64_t)s->n_slots[class] * class_bytes[class];
        if (at > PTX_MAX_FRAME_BYTES)
            return parse_error(s->p, PTX_TOO_LARGE, s->body->line,
                               "function needs more than %u bytes of registers per warp",
                               PTX_MAX_FRAME_BYTES);
    }
    function->class_at[N_CLASSES] = (uint32_t)at;
    function->frame_bytes = (uint32_t)((at + 63) & ~UINT64_C(63));
    function->register_words = s->n_slots[C_128] * 4 + s->n_slots[C_64] * 2 + s->n_slots[C_32] +
                               (s->n_slots[C_16] + 1) / 2 + 8;
    return true;
}

static uint32_t place_of(const struct scan *s, const uint32_t *constant_at, uint32_t ref)
{
    unsigned class;

    if (ref == REF_NONE)
        return ref;
    if (ref & REF_CONST)
        return constant_at[ref & ~REF_CONST] | 1;
    class = s->body->classes.at[ref];
    return s->body->function->class_at[class] + s->vregs[ref].slot * class_bytes[class];
}

static void fill_constant(uint8_t *to, unsigned class, uint64_t value)
{
    if (class == C_PRED)
        memcpy(to, &value, 4);
    for (unsigned lane = 0; lane < PTX_WARP_LANES && class != C_PRED; lane++)
        memcpy(to + lane * (class_bytes[class] / 32u), &value, class_bytes[class] / 32u);
}

/* Lays out the constants, wide ones first; constant_at receives their offsets. */
static bool place_constants(struct scan *s, uint32_t *constant_at)
{
    struct body *body = s->body;
    uint64_t at = 0;

    for (unsigned class = N_CLASSES; class -- > 0;) {
        for (uint32_t i = 0; i < body->constants.n; i++) {
            if (body->constant_classes.at[i] != class)
                continue;
            constant_at[i] = (uint32_t)at;
            at += class_bytes[class];
        }
        if (s->p->program->constants_bytes + at > CONSTANTS_MAX)
            return parse_error(s->p, PTX_TOO_LARGE, body->line, "too many constants");
    }
    s->p->program->constants_bytes += at;
    at = (at + 127) & ~UINT64_C(63);
    body->function->constants = aligned_alloc(64, at);
    if (!body->function->constants)
        return parse_no_memory(s->p);
    body->function->constants_bytes = (uint32_t)at;
    memset(body->function->constants, 0, at);
    for (uint32_t i = 0; i < body->constants.n; i++)
        fill_constant(body->function->constants + constant_at[i], body->constant_classes.at[i],
                      body->constants.at[i]);
    return true;
}

static bool rewrite(struct scan *s)
{
    struct body *body = s->body;
    struct ptx_function *function = body->function;
    uint32_t *constant_at = calloc(body->constants.n + 1ul, sizeof(*constant_at));

    if (!constant_at || !place_constants(s, constant_at)) {
        free(constant_at);
        return parse_no_memory(s->p);
    }
    for (uint32_t i = 0; i < body->ops.n; i++) {
        struct op *op = &body->ops.at[i];

        op->d = place_of(s, constant_at, op->d);
        op->e = place_of(s, constant_at, op->e);
        op->a = place_of(s, constant_at, op->a);
        op->b = place_of(s, constant_at, op->b);
        op->c = place_of(s, constant_at, op->c);
        op->s = place_of(s, constant_at, op->s);
        if (op->flags & OPF_MORE) {
            uint32_t *more = &function->more.at[op->ext];

            for (uint32_t k = 0; k < more[0] + more[1]; k++)
                more[2 + k] = place_of(s, constant_at, more[2 + k]);
        }
    }
    free(constant_at);
    function->code = realloc(body->ops.at, body->ops.n * sizeof(*body->ops.at));
    if (!function->code)
        return parse_no_memory(s->p);
    function->n_ops = body->ops.n;
    body->ops.at = NULL;
    body->ops.n = body->ops.cap = 0;
    return true;
}

bool registers_assign(struct parser *p)
{
    struct scan s = {.p = p, .body = p->body};
    bool good;

    s.vregs = calloc(p->body->classes.n + 1ul, sizeof(*s.vregs));
    good = s.vregs && find_segments(&s);
    if (good) {
        number_globals(&s);
        find_intervals(&s, solve_liveness(&s));
        good = assign_slots(&s);
    }
    if (!good)
        parse_no_memory(p);
    good = good && place_classes(&s) && rewrite(&s);
    free(s.vregs);
    free(s.segments.at);
    free(s.segment_of);
    free(s.in);
    return good;
}
