/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handles of graphs, nodes, executable graphs and user objects: index and generation of a slot
 * in a table, so that any value that a program passes can be looked up, and one that was freed
 * stays invalid. The caller holds the lock of all graphs.
 */
#ifndef VGPU_CUDA_GRAPH_TABLE_H
#define VGPU_CUDA_GRAPH_TABLE_H

enum graph_kind { GRAPH_KIND_GRAPH = 1, GRAPH_KIND_NODE, GRAPH_KIND_EXEC, GRAPH_KIND_USER };

#define GRAPH_MAX_HANDLES (1u << 20)

/* NULL: no memory, or GRAPH_MAX_HANDLES live. */
void *graph_table_add(enum graph_kind kind, void *object);

/* NULL if it is not a live handle of that kind. */
void *graph_table_get(enum graph_kind kind, const void *handle);

/* NULL is allowed. */
void graph_table_drop(const void *handle);

#endif
