/* SPDX-License-Identifier: Apache-2.0 */
/* Named maxima of what one guest process can make its worker keep; each has a test at maximum + 1.
 */
#ifndef VGPU_WORKER_LIMITS_H
#define VGPU_WORKER_LIMITS_H

#include <vgpu/ring.h>

#define WORKER_MAX_WAITS          1024u      /* records that want an answer and have none yet */
#define WORKER_MAX_THREAD_STREAMS 1024u      /* per-thread default streams */
#define WORKER_MAX_HELD           4096u      /* calls behind host functions */
#define WORKER_MAX_BACKLOG_BYTES  (1u << 20) /* records read ahead while the turn is elsewhere */
#define WORKER_MAX_BLOB_BYTES     (512ull << 20) /* private copies of blobs, all together */
#define WORKER_MAX_ALLOCATIONS    (1u << 20)
#define WORKER_MAX_GRAPH_NODES    (1u << 18)  /* in all executable graphs */
#define WORKER_GRAPH_BYTES        (64u << 10) /* what a graph is taken to cost of the device, */
#define WORKER_GRAPH_NODE_BYTES   1024u       /* and each of its nodes */
#define VGPU_ALLOCATION_GRAIN     512u        /* the least that a driver gives */
#define WORKER_MAX_HELPERS        16u
#define WORKER_MAX_UNITS          512u          /* pieces of work in the driver's queues */
#define WORKER_MAX_WRITTEN        512u          /* copies to a mirrored data area, not told yet */
#define WORKER_MAX_PRINT_BYTES    (64u << 10)   /* kernel output forwarded at one synchronisation */
#define WORKER_CHUNK_BYTES        (32ull << 20) /* copies are cut here; data area is locked so */

/* The data area's first segments are smaller: what the first copies use is page-locked at the
 * start.
 */
#define WORKER_FIRST_SEGMENT_BYTES  (2ull << 20)
#define WORKER_SECOND_SEGMENT_BYTES (6ull << 20)

/* In flight by estimated time while nobody else waits: the GPU never idles, a revoke is soon done.
 */
#define WORKER_ALONE_INFLIGHT_NS (20 * VGPU_NS_PER_MS)

#endif
