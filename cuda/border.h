/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The border between a guest's records and the worker: what the generated checks (cuda_check.c)
 * ask of the worker, and the table that they form. A record reaches a check as a private copy.
 *
 * Three outcomes: a negative value ends the channel (the record was malformed); a CUresult is this
 * call's error (a stale handle, an address outside of any allocation); CUDA_SUCCESS lets it run.
 */
#ifndef VGPU_CUDA_BORDER_H
#define VGPU_CUDA_BORDER_H

#include <stdbool.h>
#include <vgpu/ring.h>

#include "cuda/cuda_abi.h"

struct channel; /* the worker's */
struct cuda_driver;
union cuda_in;
union cuda_out;

/* Flags of an op, as cuda.spec explains them. */
#define CUDA_OPF_POST    0x01u
#define CUDA_OPF_WAIT    0x02u
#define CUDA_OPF_EITHER  0x04u
#define CUDA_OPF_JOB     0x08u
#define CUDA_OPF_BESIDE  0x10u
#define CUDA_OPF_CONTEXT 0x20u
#define CUDA_OPF_REPORT  0x40u
#define CUDA_OPF_QUERY   0x80u

/* Returned by an execution that will answer later. */
#define CUDA_CALL_LATER ((CUresult)0x7fff0001)

struct cuda_op_row;

/* One record on its way through the worker. */
struct cuda_call {
    const struct cuda_op_row *row;
    uint64_t seq;
    uint64_t taken_ns;  /* when the consumer took it */
    uint64_t issued_ns; /* when it was handed to the driver */
    uint32_t thread;
    uint32_t context_handle;
    CUcontext context; /* set by border_context */
    uint16_t flags;    /* VGPU_RECORD_* */
    uint16_t owned;    /* blobs that were copied for this call */
    void *blobs[4];
};

struct cuda_place {
    bool device;
    CUdeviceptr address; /* if device */
    void *host;          /* otherwise: in the data area */
};

struct cuda_op_row {
    uint16_t code;
    uint16_t flags;
    const char *name;
    int (*check)(struct channel *channel, struct cuda_call *call, const struct vgpu_record *record,
                 union cuda_in *in);
    CUresult (*execute)(struct channel *channel, const struct cuda_call *call, union cuda_in *in,
                        union cuda_out *out);
    /* Writes the whole answer, head excluded, to a buffer of VGPU_RECORD_MAX_BYTES; NULL: no
     * results. */
    uint32_t (*encode)(const union cuda_out *out, uint8_t *answer);
    uint32_t out_bytes; /* of the union: what this op's results take */
};

struct cuda_kind_row {
    const char *name;
    uint32_t most;
};

/* Generated; rows are sorted by code. */
extern const struct cuda_op_row cuda_op_rows[];
extern const size_t cuda_op_rows_count;
extern const uint16_t cuda_op_places[];
extern const size_t cuda_op_places_count;
extern const struct cuda_kind_row cuda_kind_rows[];

/* NULL: no such op. */
static inline const struct cuda_op_row *cuda_op_row(uint16_t code)
{
    if (code >= cuda_op_places_count || cuda_op_places[code] == 0)
        return NULL;
    return &cuda_op_rows[cuda_op_places[code] - 1];
}

/* What the worker provides (worker/border.c). */

/* Notes op and field for the reason of the channel's end. Returns -EPROTO. */
int border_malformed(struct channel *channel, const char *op, const char *field);

/* Makes call->context current for this call. CUDA_ERROR_INVALID_CONTEXT if it is none. */
CUresult border_context(struct channel *channel, struct cuda_call *call);

/*
 * The live object behind a handle. null_ok: 0 is allowed, and for streams the special values too
 * (a stream of the call's thread and context is made where they ask for it).
 */
CUresult border_ref(struct channel *channel, struct cuda_call *call, unsigned kind, uint32_t handle,
                    bool null_ok, void **ret_object);

/* The same, and the handle is dead for later records. */
CUresult border_del(struct channel *channel, struct cuda_call *call, unsigned kind, uint32_t handle,
                    bool null_ok, void **ret_object);

/* 0 if the handle is of that kind, within its maximum and free; else negative. */
int border_new(struct channel *channel, unsigned kind, uint32_t handle);

/* [address, address + bytes) lies in one allocation of this channel. */
CUresult border_range(struct channel *channel, uint64_t address, uint64_t bytes);

/* A stream-ordered allocation starts at address; it is dead for later records. */
CUresult border_end(struct channel *channel, struct cuda_call *call, uint64_t address);

/* Both places: negative for offsets outside of the data area, a CUresult for device ranges. */
int border_place(struct channel *channel, const struct vgpu_place *place, uint64_t bytes,
                 struct cuda_place *ret_place);

int border_slice(struct channel *channel, const struct vgpu_slice *slice, void **ret_host);

/*
 * The bytes of a blob, private to the call: -EPROTO if they lie outside of the record or the data
 * area, overlap the fixed part (fixed_bytes) or exceed most; -ENOMEM. A string has no NUL inside
 * and gets one behind. *ret_data is never NULL on success.
 */
int border_blob(struct channel *channel, struct cuda_call *call, const struct vgpu_record *record,
                size_t fixed_bytes, const struct vgpu_blob *blob, uint32_t most, bool string,
                const void **ret_data);

const struct cuda_driver *border_driver(struct channel *channel);

/* Appends bytes at `used`, padded to 8. Returns the new size. */
uint32_t border_encode_blob(uint8_t *answer, uint32_t used, const void *data, uint32_t bytes);

#endif
