/* SPDX-License-Identifier: Apache-2.0 */
/* See capture.h. The lock of all graphs guards what is here. */
#include "cuda/capture.h"

#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_api.h"
#include "cuda/exports.h"
#include "cuda/graph_api.h"
#include "cuda/library.h"

/* Nodes that what comes next depends on. */
struct frontier {
    CUgraphNode *nodes;
    size_t count;
};

struct capture;

struct captured_stream {
    struct captured_stream *next;
    CUstream handle;
    pthread_t thread; /* of a per-thread stream */
    struct capture *capture;
    struct frontier frontier;
};

struct captured_event {
    struct captured_event *next;
    CUevent event;
    struct capture *capture;
    struct frontier frontier;
};

struct capture {
    struct capture *next;
    uint64_t id;
    CUstreamCaptureMode mode;
    pthread_t thread;
    CUcontext context;
    struct graph *graph;
    bool borrowed; /* the program's own graph */
    bool blocking; /* the legacy default stream would wait for it */
    bool invalid;
    struct captured_stream *origin;
};

static struct captured_stream *streams;
static struct captured_event *events;
static struct capture *captures;
static unsigned stream_count;
static uint64_t last_id;
static uint32_t active; /* captures; read without the lock */
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

/* A stream that this thread captures is seen by it; for others the order is the program's. */
bool capture_any(void)
{
    return __atomic_load_n(&active, __ATOMIC_ACQUIRE) != 0;
}

static CUresult frontier_set(struct frontier *frontier, const CUgraphNode *nodes, size_t count)
{
    CUgraphNode *copy = calloc(count + 1, sizeof(*copy));

    if (!copy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (count > 0)
        memcpy(copy, nodes, count * sizeof(*copy));
    free(frontier->nodes);
    *frontier = (struct frontier){copy, count};
    return CUDA_SUCCESS;
}

static CUresult frontier_add(struct frontier *frontier, const CUgraphNode *nodes, size_t count)
{
    CUgraphNode *all = calloc(frontier->count + count + 1, sizeof(*all));
    size_t used = frontier->count;

    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (used > 0)
        memcpy(all, frontier->nodes, used * sizeof(*all));
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        while (at < used && all[at] != nodes[i])
            at++;
        all[at] = nodes[i];
        used += at == used;
    }
    free(frontier->nodes);
    *frontier = (struct frontier){all, used};
    return CUDA_SUCCESS;
}

static CUstream resolve(CUstream stream)
{
    if (stream)
        return stream;
    return capture_per_thread() ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
}

static struct captured_stream *find_stream(CUstream stream)
{
    CUstream handle = resolve(stream);

    for (struct captured_stream *found = streams; found; found = found->next)
        if (found->handle == handle &&
            (handle != CU_STREAM_PER_THREAD || pthread_equal(found->thread, pthread_self())))
            return found;
    return NULL;
}

static struct captured_event *find_event(CUevent event)
{
    struct captured_event *found = events;

    while (found && found->event != event)
        found = found->next;
    return found;
}

static CUresult join(struct capture *capture, CUstream stream, const struct frontier *frontier,
                     struct captured_stream **ret_stream)
{
    struct captured_stream *joined;
    unsigned int flags = 0;
    CUresult result = cuStreamGetFlags(stream, &flags);

    if (result != CUDA_SUCCESS)
        return result;
    if (stream_count >= CAPTURE_MAX_STREAMS)
        return CUDA_ERROR_OUT_OF_MEMORY;
    joined = calloc(1, sizeof(*joined));
    if (!joined || frontier_set(&joined->frontier, frontier->nodes, frontier->count)) {
        free(joined);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    joined->handle = resolve(stream);
    joined->thread = pthread_self();
    joined->capture = capture;
    joined->next = streams;
    streams = joined;
    stream_count++;
    capture->blocking |= !(flags & CU_STREAM_NON_BLOCKING);
    if (ret_stream)
        *ret_stream = joined;
    return CUDA_SUCCESS;
}

/* The capture is over: its streams and events are as before. */
static void forget(struct capture *capture)
{
    for (struct captured_stream **at = &streams; *at;) {
        struct captured_stream *stream = *at;

        if (stream->capture != capture) {
            at = &stream->next;
            continue;
        }
        *at = stream->next;
        free(stream->frontier.nodes);
        free(stream);
        stream_count--;
    }
    for (struct captured_event **at = &events; *at;) {
        struct captured_event *event = *at;

        if (event->capture != capture) {
            at = &event->next;
            continue;
        }
        *at = event->next;
        free(event->frontier.nodes);
        free(event);
    }
    for (struct capture **at = &captures; *at; at = &(*at)->next)
        if (*at == capture) {
            *at = capture->next;
            break;
        }
    free(capture);
    __atomic_sub_fetch(&active, 1, __ATOMIC_RELEASE);
}

/* Ends without a graph. */
static void abandon(struct capture *capture)
{
    capture->graph->captured_into = false;
    if (!capture->borrowed)
        graph_free(capture->graph);
    forget(capture);
}

/* Work in the legacy default stream would order with streams that capture. */
static CUresult check_legacy(CUstream stream, CUcontext context)
{
    CUresult result = CAPTURE_PASS;

    if (resolve(stream) != CU_STREAM_LEGACY)
        return CAPTURE_PASS;
    for (struct capture *capture = captures; capture; capture = capture->next)
        if (capture->blocking && capture->context == context) {
            capture->invalid = true;
            result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    return result;
}

/* The capture that a call in this stream adds to, or why the call does not go on as usual. */
static CUresult enter(const struct graph_scope *scope, CUstream stream,
                      struct captured_stream **ret_stream)
{
    struct captured_stream *found;

    if (scope->result != CUDA_SUCCESS)
        return CAPTURE_PASS; /* the call itself says so */
    found = find_stream(stream);
    if (!found)
        return check_legacy(stream, scope->context);
    if (found->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *ret_stream = found;
    return CUDA_SUCCESS;
}

/* Adds a node behind what the stream has done; frees params if it cannot. */
static CUresult add(struct captured_stream *stream, CUresult read, struct graph_params *params)
{
    struct graph_node *node, **needs;
    CUresult result = read;

    if (result != CUDA_SUCCESS)
        return result;
    result = graph_nodes_of(stream->capture->graph, stream->frontier.nodes, stream->frontier.count,
                            &needs);
    if (result == CUDA_SUCCESS) {
        result = graph_add(stream->capture->graph, params, needs, stream->frontier.count, &node);
        free(needs);
    }
    if (result != CUDA_SUCCESS) {
        graph_params_release(params);
        stream->capture->invalid = true;
        return result;
    }
    return frontier_set(&stream->frontier, (CUgraphNode[]){node->handle}, 1);
}

/* A launch takes a kernel of a library, which a node's parameters have a place of its own for. */
static bool is_kernel(const void *handle)
{
    bool found;

    library_lock();
    found = kernel_find(handle);
    library_unlock();
    return found;
}

CUresult capture_kernel(const CUlaunchConfig *config, CUfunction function, void **params,
                        void **extra)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *stream;
    struct graph_params node;
    CUDA_KERNEL_NODE_PARAMS kernel;
    CUresult result;

    if (!config || (config->numAttrs > 0 && !config->attrs))
        return CAPTURE_PASS;
    result = enter(&scope, config->hStream, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    kernel = (CUDA_KERNEL_NODE_PARAMS){.func = is_kernel(function) ? NULL : function,
                                       .kern = (CUkernel)function,
                                       .gridDimX = config->gridDimX,
                                       .gridDimY = config->gridDimY,
                                       .gridDimZ = config->gridDimZ,
                                       .blockDimX = config->blockDimX,
                                       .blockDimY = config->blockDimY,
                                       .blockDimZ = config->blockDimZ,
                                       .sharedMemBytes = config->sharedMemBytes,
                                       .kernelParams = params,
                                       .extra = extra};
    result = graph_read_kernel(scope.context, &kernel, &node);
    for (unsigned int i = 0; i < config->numAttrs && result == CUDA_SUCCESS; i++) {
        result = graph_read_attribute(config->attrs[i].id, &config->attrs[i].value, &node.kernel);
        if (result != CUDA_SUCCESS)
            graph_params_release(&node);
    }
    return add(stream, result, &node);
}

CUresult capture_copy(const CUDA_MEMCPY3D *copy, CUstream stream)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *found;
    struct graph_params node;
    CUresult result = enter(&scope, stream, &found);

    if (result != CUDA_SUCCESS)
        return result;
    if (copy && (copy->WidthInBytes == 0 || copy->Height == 0 || copy->Depth == 0))
        return CUDA_SUCCESS;
    return add(found, graph_read_copy(scope.context, copy, &node), &node);
}

CUresult capture_bytes(CUmemorytype to_type, CUdeviceptr to, CUmemorytype from_type,
                       CUdeviceptr from, size_t bytes, CUstream stream)
{
    const CUDA_MEMCPY3D copy = {.srcMemoryType = from_type,
                                .srcHost = (const void *)(uintptr_t)from,
                                .srcDevice = from,
                                .srcPitch = bytes,
                                .srcHeight = 1,
                                .dstMemoryType = to_type,
                                .dstHost = (void *)(uintptr_t)to,
                                .dstDevice = to,
                                .dstPitch = bytes,
                                .dstHeight = 1,
                                .WidthInBytes = bytes,
                                .Height = 1,
                                .Depth = 1};

    return capture_copy(&copy, stream);
}

CUresult capture_rows(const CUDA_MEMCPY2D *copy, CUstream stream)
{
    CUDA_MEMCPY3D all;

    if (!copy)
        return CAPTURE_PASS;
    all = (CUDA_MEMCPY3D){.srcXInBytes = copy->srcXInBytes,
                          .srcY = copy->srcY,
                          .srcMemoryType = copy->srcMemoryType,
                          .srcHost = copy->srcHost,
                          .srcDevice = copy->srcDevice,
                          .srcPitch = copy->srcPitch,
                          .dstXInBytes = copy->dstXInBytes,
                          .dstY = copy->dstY,
                          .dstMemoryType = copy->dstMemoryType,
                          .dstHost = copy->dstHost,
                          .dstDevice = copy->dstDevice,
                          .dstPitch = copy->dstPitch,
                          .WidthInBytes = copy->WidthInBytes,
                          .Height = copy->Height,
                          .Depth = 1};
    return capture_copy(&all, stream);
}

CUresult capture_fill(const CUDA_MEMSET_NODE_PARAMS *fill, CUstream stream)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *found;
    struct graph_params node;
    CUresult result = enter(&scope, stream, &found);

    if (result != CUDA_SUCCESS)
        return result;
    if (fill->width == 0 || fill->height == 0)
        return CUDA_SUCCESS;
    return add(found, graph_read_fill(scope.context, fill, &node), &node);
}

CUresult capture_host(CUhostFn function, void *data, CUstream stream)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const CUDA_HOST_NODE_PARAMS call = {function, data};
    struct captured_stream *found;
    struct graph_params node;
    CUresult result = enter(&scope, stream, &found);

    if (result != CUDA_SUCCESS)
        return result;
    return add(found, graph_read_host(scope.context, &call, &node), &node);
}

/* An event node for an event outside of the capture. */
static CUresult add_event(const struct graph_scope *scope, struct captured_stream *stream,
                          CUgraphNodeType type, CUevent event)
{
    struct graph_params node;

    return add(stream, graph_read_event(scope->context, type, event, &node), &node);
}

static void forget_event(CUevent handle)
{
    for (struct captured_event **at = &events; *at; at = &(*at)->next) {
        struct captured_event *event = *at;

        if (event->event != handle)
            continue;
        *at = event->next;
        free(event->frontier.nodes);
        free(event);
        return;
    }
}

CUresult capture_record(CUevent handle, CUstream stream, unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *found;
    struct captured_event *event;
    CUresult result = enter(&scope, stream, &found);

    if (result == CAPTURE_PASS && scope.result == CUDA_SUCCESS)
        forget_event(handle); /* recorded anew, outside */
    if (result != CUDA_SUCCESS)
        return result;
    if (flags == CU_EVENT_RECORD_EXTERNAL)
        return add_event(&scope, found, CU_GRAPH_NODE_TYPE_EVENT_RECORD, handle);
    if (flags != CU_EVENT_RECORD_DEFAULT)
        return CUDA_ERROR_INVALID_VALUE;
    result = find_event(handle) ? CUDA_SUCCESS : graph_query_event(handle);
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY)
        return result;
    forget_event(handle);
    event = calloc(1, sizeof(*event));
    if (!event || frontier_set(&event->frontier, found->frontier.nodes, found->frontier.count)) {
        free(event);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    event->event = handle;
    event->capture = found->capture;
    event->next = events;
    events = event;
    return CUDA_SUCCESS;
}

CUresult capture_wait(CUevent handle, CUstream stream, unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *found = NULL;
    struct captured_event *event;
    CUresult result = enter(&scope, stream, &found);

    if (scope.result != CUDA_SUCCESS || (result != CUDA_SUCCESS && result != CAPTURE_PASS))
        return result;
    if (found && flags == CU_EVENT_WAIT_EXTERNAL)
        return add_event(&scope, found, CU_GRAPH_NODE_TYPE_WAIT_EVENT, handle);
    if (flags != CU_EVENT_WAIT_DEFAULT)
        return found ? CUDA_ERROR_INVALID_VALUE : CAPTURE_PASS;
    event = find_event(handle);
    if (!event && found) {
        found->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (!event)
        return CAPTURE_PASS;
    if (event->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (found && found->capture != event->capture) {
        found->capture->invalid = true;
        event->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (found)
        return frontier_add(&found->frontier, event->frontier.nodes, event->frontier.count);
    if (resolve(stream) == CU_STREAM_LEGACY) {
        event->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
    return join(event->capture, stream, &event->frontier, NULL);
}

CUresult capture_refuse_stream(CUstream stream)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *found;
    CUresult result = enter(&scope, stream, &found);

    if (result != CUDA_SUCCESS)
        return result;
    found->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult capture_refuse_event(CUevent handle)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct captured_event *event;

    if (scope.result != CUDA_SUCCESS)
        return CAPTURE_PASS;
    event = find_event(handle);
    if (!event)
        return CAPTURE_PASS;
    event->capture->invalid = true;
    return CUDA_ERROR_CAPTURED_EVENT;
}

CUresult capture_refuse_query_event(CUevent event)
{
    CUresult result = capture_refuse_event(event);

    return result == CAPTURE_PASS ? capture_refuse() : result;
}

CUresult capture_refuse_query_stream(CUstream stream)
{
    CUresult result = capture_refuse_stream(stream);

    return result == CAPTURE_PASS ? capture_refuse() : result;
}

/* Takes one stream out of its capture. */
static void leave(struct captured_stream *stream)
{
    struct captured_stream **at = &streams;

    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    free(stream->frontier.nodes);
    free(stream);
    stream_count--;
}

void capture_stream_gone(CUstream handle)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *stream;

    if (scope.result != CUDA_SUCCESS)
        return;
    stream = find_stream(handle);
    if (!stream)
        return;
    if (stream == stream->capture->origin) {
        abandon(stream->capture);
        return;
    }
    stream->capture->invalid = true;
    leave(stream);
}

void capture_context_gone(CUcontext context)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct capture *next;

    if (scope.result != CUDA_SUCCESS)
        return;
    for (struct capture *capture = captures; capture; capture = next) {
        next = capture->next;
        if (capture->context == context)
            abandon(capture);
    }
}

/* Whether a call that may be unsafe is forbidden to this thread by that capture. */
static bool forbids(const struct capture *capture)
{
    bool own = pthread_equal(capture->thread, pthread_self());

    if (capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED ||
        thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED)
        return false;
    return own || (capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL &&
                   thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult capture_refuse(void)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    CUresult result = CAPTURE_PASS;

    if (scope.result != CUDA_SUCCESS)
        return CAPTURE_PASS;
    for (struct capture *capture = captures; capture; capture = capture->next)
        if (forbids(capture)) {
            capture->invalid = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    return result;
}

static CUresult begin(const struct graph_scope *scope, CUstream stream, struct graph *graph,
                      const CUgraphNode *nodes, size_t count, CUstreamCaptureMode mode)
{
    const struct frontier frontier = {(CUgraphNode *)(uintptr_t)nodes, count};
    struct capture *capture;
    CUresult result;

    if ((unsigned)mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    if (resolve(stream) == CU_STREAM_LEGACY)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (find_stream(stream))
        return CUDA_ERROR_ILLEGAL_STATE;
    capture = calloc(1, sizeof(*capture));
    if (!capture)
        return CUDA_ERROR_OUT_OF_MEMORY;
    capture->borrowed = graph != NULL;
    capture->graph = graph ? graph : graph_new();
    result = capture->graph ? join(capture, stream, &frontier, &capture->origin)
                            : CUDA_ERROR_OUT_OF_MEMORY;
    if (result != CUDA_SUCCESS) {
        if (!graph)
            graph_free(capture->graph);
        free(capture);
        return result;
    }
    capture->graph->captured_into = true;
    capture->id = ++last_id;
    capture->mode = mode;
    capture->thread = pthread_self();
    capture->context = scope->context;
    capture->next = captures;
    captures = capture;
    __atomic_add_fetch(&active, 1, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode)
{
    _graph_scope_ struct graph_scope scope = graph_enter();

    return scope.result == CUDA_SUCCESS ? begin(&scope, hStream, NULL, NULL, 0, mode)
                                        : scope.result;
}

CUresult cuStreamBeginCapture(CUstream hStream)
{
    return cuStreamBeginCapture_v2(hStream, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

CUresult cuStreamBeginCaptureToGraph(CUstream hStream, CUgraph hGraph,
                                     const CUgraphNode *dependencies,
                                     const CUgraphEdgeData *dependencyData, size_t numDependencies,
                                     CUstreamCaptureMode mode)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct graph_node **nodes;
    struct graph *graph;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    graph = graph_of(hGraph);
    if (!graph || graph->captured_into || dependencyData)
        return CUDA_ERROR_INVALID_VALUE;
    result = graph_nodes_of(graph, dependencies, numDependencies, &nodes);
    if (result != CUDA_SUCCESS)
        return result;
    free(nodes);
    return begin(&scope, hStream, graph, dependencies, numDependencies, mode);
}

/* Marks what marked nodes need, until nothing is new: two passes in a graph that a capture made. */
static void mark_needs(const struct graph *graph)
{
    bool again = true;

    while (again) {
        again = false;
        for (const struct graph_node *node = graph->last; node; node = node->previous)
            for (size_t i = 0; node->unmet && i < node->needs.count; i++) {
                again |= !node->needs.nodes[i]->unmet;
                node->needs.nodes[i]->unmet = 1;
            }
    }
}

/* All that other streams did leads to the first stream. */
static bool is_joined(const struct capture *capture)
{
    for (struct graph_node *node = capture->graph->first; node; node = node->next)
        node->unmet = 0;
    for (size_t i = 0; i < capture->origin->frontier.count; i++)
        graph_node_of(capture->origin->frontier.nodes[i])->unmet = 1;
    mark_needs(capture->graph);
    for (const struct captured_stream *stream = streams; stream; stream = stream->next)
        for (size_t i = 0; stream->capture == capture && i < stream->frontier.count; i++)
            if (!graph_node_of(stream->frontier.nodes[i])->unmet)
                return false;
    return true;
}

CUresult cuStreamEndCapture(CUstream hStream, CUgraph *phGraph)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *stream;
    struct capture *capture;
    CUresult result = CUDA_SUCCESS;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    stream = find_stream(hStream);
    if (!phGraph || !stream)
        return phGraph ? CUDA_ERROR_ILLEGAL_STATE : CUDA_ERROR_INVALID_VALUE;
    capture = stream->capture;
    if (stream != capture->origin) {
        *phGraph = NULL;
        capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    }
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
        !pthread_equal(capture->thread, pthread_self()))
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    *phGraph = NULL;
    if (capture->invalid)
        result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    else if (!is_joined(capture))
        result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    if (result != CUDA_SUCCESS) {
        abandon(capture);
        return result;
    }
    capture->graph->captured_into = false;
    *phGraph = capture->graph->handle;
    forget(capture);
    return CUDA_SUCCESS;
}

static CUstreamCaptureStatus status_of(const struct captured_stream *stream)
{
    if (!stream)
        return CU_STREAM_CAPTURE_STATUS_NONE;
    return stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                    : CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

CUresult cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
                                   cuuint64_t *id_out, CUgraph *graph_out,
                                   const CUgraphNode **dependencies_out,
                                   size_t *numDependencies_out)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    const struct captured_stream *stream;
    unsigned int flags;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    if (!captureStatus_out)
        return CUDA_ERROR_INVALID_VALUE;
    result = cuStreamGetFlags(hStream, &flags);
    if (result != CUDA_SUCCESS)
        return result;
    result = captures ? check_legacy(hStream, scope.context) : CAPTURE_PASS;
    if (result != CAPTURE_PASS)
        return result;
    stream = find_stream(hStream);
    *captureStatus_out = status_of(stream);
    if (*captureStatus_out != CU_STREAM_CAPTURE_STATUS_ACTIVE)
        return CUDA_SUCCESS;
    if (id_out)
        *id_out = stream->capture->id;
    if (graph_out)
        *graph_out = stream->capture->graph->handle;
    if (dependencies_out)
        *dependencies_out = stream->frontier.nodes;
    if (numDependencies_out)
        *numDependencies_out = stream->frontier.count;
    return CUDA_SUCCESS;
}

CUresult cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
                                   cuuint64_t *id_out, CUgraph *graph_out,
                                   const CUgraphNode **dependencies_out,
                                   const CUgraphEdgeData **edgeData_out,
                                   size_t *numDependencies_out)
{
    if (edgeData_out)
        *edgeData_out = NULL; /* all edges are plain ones */
    return cuStreamGetCaptureInfo_v2(hStream, captureStatus_out, id_out, graph_out,
                                     dependencies_out, numDependencies_out);
}

CUresult cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
                                cuuint64_t *id_out)
{
    return cuStreamGetCaptureInfo_v2(hStream, captureStatus_out, id_out, NULL, NULL, NULL);
}

CUresult cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus)
{
    return cuStreamGetCaptureInfo_v2(hStream, captureStatus, NULL, NULL, NULL, NULL);
}

CUresult cuStreamUpdateCaptureDependencies(CUstream hStream, CUgraphNode *dependencies,
                                           size_t numDependencies, unsigned int flags)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *stream;
    struct graph_node **nodes;
    CUresult result;

    if (scope.result != CUDA_SUCCESS)
        return scope.result;
    stream = find_stream(hStream);
    if (!stream || flags > CU_STREAM_SET_CAPTURE_DEPENDENCIES)
        return stream ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_ILLEGAL_STATE;
    if (stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    result = graph_nodes_of(stream->capture->graph, dependencies, numDependencies, &nodes);
    if (result != CUDA_SUCCESS)
        return result;
    free(nodes);
    return flags == CU_STREAM_SET_CAPTURE_DEPENDENCIES
               ? frontier_set(&stream->frontier, dependencies, numDependencies)
               : frontier_add(&stream->frontier, dependencies, numDependencies);
}

CUresult cuStreamUpdateCaptureDependencies_v2(CUstream hStream, CUgraphNode *dependencies,
                                              const CUgraphEdgeData *dependencyData,
                                              size_t numDependencies, unsigned int flags)
{
    for (size_t i = 0; dependencyData && i < numDependencies; i++)
        if (dependencyData[i].from_port || dependencyData[i].to_port || dependencyData[i].type)
            return cuda_unsupported("a programmatic edge of a graph");
    return cuStreamUpdateCaptureDependencies(hStream, dependencies, numDependencies, flags);
}

CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    CUstreamCaptureMode before = thread_mode;

    if (!mode || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}

CUresult capture_graph(const struct graph *graph, CUstream stream)
{
    _graph_scope_ struct graph_scope scope = graph_enter();
    struct captured_stream *found;
    struct graph_params node = {.type = CU_GRAPH_NODE_TYPE_GRAPH, .context = scope.context};
    CUresult result = enter(&scope, stream, &found);

    if (result != CUDA_SUCCESS)
        return result;
    return add(found, graph_clone(graph, &node.child), &node);
}
