/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream capture: between cuStreamBeginCapture and cuStreamEndCapture the calls that put work into
 * a stream add nodes to a graph instead. Each such function of a library asks here first, with
 * CAPTURED; while nothing captures that costs one load.
 *
 * States of a capture: active; invalidated (by a call that cannot be captured, or by an end that
 * another than its first stream asks for: every later call answers INVALIDATED); ended. Streams
 * join a capture by waiting for an event that was recorded in it, and must be joined back to its
 * first stream before it ends.
 */
#ifndef VGPU_CUDA_CAPTURE_H
#define VGPU_CUDA_CAPTURE_H

#include <stdbool.h>

#include "cuda/cuda_abi.h"

/* Not captured: the call goes on as usual. */
#define CAPTURE_PASS ((CUresult)0x7fff0010)

#define CAPTURE_MAX_STREAMS 1024u /* in all captures of the process */

/* True while any stream of the process captures. */
bool capture_any(void);

#define CAPTURED(call)                                                                             \
    do {                                                                                           \
        CUresult captured_ = capture_any() ? (call) : CAPTURE_PASS;                                \
                                                                                                   \
        if (captured_ != CAPTURE_PASS)                                                             \
            return captured_;                                                                      \
    } while (0)

CUresult capture_kernel(const CUlaunchConfig *config, CUfunction function, void **params,
                        void **extra);
CUresult capture_copy(const CUDA_MEMCPY3D *copy, CUstream stream);
CUresult capture_bytes(CUmemorytype to_type, CUdeviceptr to, CUmemorytype from_type,
                       CUdeviceptr from, size_t bytes, CUstream stream);
CUresult capture_rows(const CUDA_MEMCPY2D *copy, CUstream stream);
CUresult capture_fill(const CUDA_MEMSET_NODE_PARAMS *fill, CUstream stream);
CUresult capture_host(CUhostFn function, void *data, CUstream stream);
CUresult capture_record(CUevent event, CUstream stream, unsigned int flags);
CUresult capture_wait(CUevent event, CUstream stream, unsigned int flags);

/* Calls that no stream in capture takes, on a stream (synchronize, query, callbacks), on an event,
 * or on no stream in particular (allocations, cuCtxSynchronize). */
CUresult capture_refuse_stream(CUstream stream);
CUresult capture_refuse_event(CUevent event);
CUresult capture_refuse(void);

/* Queries: an event or a stream that is not captured is one of the last kind. */
CUresult capture_refuse_query_event(CUevent event);
CUresult capture_refuse_query_stream(CUstream stream);

/*
 * A stream, or all of a context, is about to be destroyed: what it captured ends without a graph,
 * and a capture that it had joined can end no more.
 */
void capture_stream_gone(CUstream stream);
void capture_context_gone(CUcontext context);

struct graph;

/* The launch of an executable graph: `graph` is its own copy. */
CUresult capture_graph(const struct graph *graph, CUstream stream);

/* Provided by the library: this call's stream 0 is the thread's own. */
bool capture_per_thread(void);

#endif
