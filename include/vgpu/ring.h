/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * A channel's memory: one sealed memory object that guest and worker share. docs/spec/ring.md is
 * the full text; ring/ is the implementation of both sides.
 *
 *   offset 0      struct vgpu_channel_page: identity, ring states, the worker's notices (4096)
 *   sub_offset    submission ring: records from the guest, sub_granules * 64 bytes
 *   comp_offset   completion ring: completions from the worker, comp_granules * 64 bytes
 *   data_offset   data area: bulk data and page-locked memory, data_bytes
 *
 * All little-endian, naturally aligned. Each line of 64 bytes has one writer. Each side keeps its
 * own index privately; the peer's is loaded once and checked, and nonsense ends the channel.
 */
#ifndef VGPU_RING_H
#define VGPU_RING_H

#include "types.h"
#include "version.h"

#define VGPU_GRANULE_BYTES      64u
#define VGPU_RING_MIN_GRANULES  2u
#define VGPU_RING_MAX_GRANULES  65536u /* 4 MiB; a power of two */
#define VGPU_RECORD_MAX_BYTES   16384u /* a record or completion, head included */
#define VGPU_CHANNEL_PAGE_BYTES 4096u
#define VGPU_DATA_MAX_BYTES     (1ull << 36) /* 64 GiB of address space */
#define VGPU_CHANNEL_MAX_WAITS  1024u        /* records that want an answer and have none yet */
#define VGPU_LAYOUT_VERSION     1u
#define VGPU_EVENT_WORDS        440u /* events that have a word of their own in the page */

/* Where data areas lie in worker and guest, if both can have them there (op data_area). */
#ifndef __SANITIZE_THREAD__
#define VGPU_BAND_START 0x110000000000ull
#define VGPU_BAND_END   0x200000000000ull
#else /* the sanitizer's own memory lies there */
#define VGPU_BAND_START 0x001000000000ull
#define VGPU_BAND_END   0x008000000000ull
#endif

/* Written by the producer of a ring. */
struct vgpu_ring_producer {
    uint32_t head;    /* granules published, free running */
    uint32_t waiting; /* 1: kick me when there is room, or more credit */
    uint8_t reserved[56];
};
VGPU_ASSERT_SIZE(struct vgpu_ring_producer, 64);

/* Written by the consumer of a ring. */
struct vgpu_ring_consumer {
    uint32_t tail;   /* granules consumed, free running */
    uint32_t parked; /* not 0: kick me when there is a record; another number at each park */
    uint8_t reserved[56];
};
VGPU_ASSERT_SIZE(struct vgpu_ring_consumer, 64);

struct vgpu_ring_state {
    struct vgpu_ring_producer producer;
    struct vgpu_ring_consumer consumer;
};
VGPU_ASSERT_SIZE(struct vgpu_ring_state, 128);

/* Written by the worker. */
struct vgpu_channel_notice {
    /* Every record up to this one was handed on: its blobs were copied. Host functions may hold it
     * back from the driver still. */
    uint64_t issued;
    uint64_t credit;   /* job records, explicit and refused ones too, that the guest may have
                        * submitted in all, free running */
    uint32_t poisoned; /* CUresult of a sticky error, or 0 */
    uint32_t state;    /* enum vgpu_channel_state */
    /* Every record up to this one is done, on the GPU too, and its errors are told here. 0: this
     * and what follows, the event words as well, say nothing (mirrored channels). */
    uint64_t settled;
    uint64_t told;    /* goes up before `settled` or an event word does */
    uint32_t unheard; /* VGPU_UNHEARD_* */
    uint8_t reserved[20];
};
VGPU_ASSERT_SIZE(struct vgpu_channel_notice, 64);

/* What only an answer brings: an error of a posted record; what kernels print. */
#define VGPU_UNHEARD_ERROR 0x1u
#define VGPU_UNHEARD_PRINT 0x2u

enum vgpu_channel_state {
    VGPU_CHANNEL_STARTING = 0,
    VGPU_CHANNEL_READY = 1,
    VGPU_CHANNEL_ENDED = 2 /* no further completion will come; the reason comes by the socket */
};

/* Where the parts lie. Travels in VGPU_MSG_OPENED and to the worker; the page has a copy. */
struct vgpu_channel_geometry {
    uint32_t sub_granules;
    uint32_t comp_granules;
    uint64_t sub_offset;
    uint64_t comp_offset;
    uint64_t data_offset;
    uint64_t data_bytes;
    uint64_t total_bytes;
};
VGPU_ASSERT_SIZE(struct vgpu_channel_geometry, 48);

/*
 * Written by the worker, for people: where its time goes, summed since the channel began. What is
 * timed is a sample, so that times are to be divided by the count of the sample beside them.
 */
struct vgpu_channel_stages {
    uint64_t records;         /* taken */
    uint64_t granules;        /* of those */
    uint64_t ring_granule_ns; /* granules in the ring, by the time that they were there */
    uint64_t samples;         /* records that were timed: */
    uint64_t take_ns;         /* copied out, admitted */
    uint64_t check_ns;
    uint64_t issue_ns;  /* the worker's own, around the driver's call */
    uint64_t driver_ns; /* in that call, where it is one that launches or copies */
    uint64_t marks;     /* events recorded to see what is done */
    uint64_t marks_timed, mark_ns;
    uint64_t ends; /* looks at marks that found some done, with the answers that followed */
    uint64_t ends_timed, end_ns;
    uint64_t poll_ns;  /* with nothing to do */
    uint64_t sleep_ns; /* the same, without using a processor */
};
VGPU_ASSERT_SIZE(struct vgpu_channel_stages, 128);

struct vgpu_channel_page {
    uint32_t magic;
    uint32_t layout; /* VGPU_LAYOUT_VERSION */
    struct vgpu_channel_geometry geometry;
    uint32_t flags; /* VGPU_CHANNEL_MIRRORED; set before anyone else sees the page */
    uint8_t reserved0[4];
    struct vgpu_ring_state submission;
    struct vgpu_ring_state completion;
    struct vgpu_channel_notice notice;
    /* Written by the worker, by the event's index: the last record of that event that is done. */
    uint64_t events[VGPU_EVENT_WORDS];
    uint8_t reserved1[4096 - 64 - 128 - 128 - 64 - 8 * VGPU_EVENT_WORDS - 128];
    struct vgpu_channel_stages stages;
};
VGPU_ASSERT_SIZE(struct vgpu_channel_page, 4096);

/*
 * The guest's side is a copy elsewhere (relay): the worker says by VGPU_COMPLETION_WRITTEN what it
 * wrote to the data area, and maps none of it for the GPU.
 */
#define VGPU_CHANNEL_MIRRORED      0x1u
#define VGPU_MIRRORED_MIN_GRANULES 4u /* of the completion ring: VGPU_COMPLETION_WRITTEN fits */

/* Op codes below this one are the ring's own; cuda.spec's start at 0x0100. */
#define VGPU_OP_PAD 0x0000u /* skips to the end of the ring; only its size is read */

/* Flags of a record. Unknown ones end the channel. */
#define VGPU_RECORD_WAIT     0x0001u /* the guest waits for a completion with this sequence number */
#define VGPU_RECORD_EXPLICIT 0x0002u /* an explicit job: refused with BUSY when over a limit */
#define VGPU_RECORD_FLAGS    (VGPU_RECORD_WAIT | VGPU_RECORD_EXPLICIT)

/* Opens each record. size_bytes counts head, fields and inline bytes; a multiple of 8. */
struct vgpu_record {
    uint32_t size_bytes;
    uint16_t op;
    uint16_t flags;
    uint64_t seq;     /* 1 for the first record of the channel, then one more each */
    uint32_t thread;  /* the guest's number for the submitting thread, from 1 */
    uint32_t context; /* handle of the context current in that thread, or 0 */
    uint64_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_record, 32);

enum vgpu_completion_kind {
    VGPU_COMPLETION_PAD = 0,        /* skips to the end of the ring */
    VGPU_COMPLETION_REPLY = 1,      /* answers the record `seq` */
    VGPU_COMPLETION_CALLBACK = 2,   /* run host function `seq` (its token), then say so */
    VGPU_COMPLETION_PRINT = 3,      /* text that a kernel printed follows, padded with NULs to 8 */
    VGPU_COMPLETION_WRITTEN = 4,    /* struct vgpu_written follows; in mirrored channels only */
    VGPU_COMPLETION_PRINT_ERROR = 5 /* as PRINT, for standard error: a kernel's failed assertion */
};

/* Opens each completion. size_bytes as in a record. */
struct vgpu_completion {
    uint32_t size_bytes;
    uint16_t kind;
    uint16_t status; /* enum vgpu_status */
    uint64_t seq;
    int32_t result; /* CUresult */
    uint32_t reserved;
    uint64_t wait_ns; /* from taking the record to handing it to the driver; BUSY: retry hint */
    uint64_t run_ns;  /* from there to its end */
};
VGPU_ASSERT_SIZE(struct vgpu_completion, 40);

/* A part of the data area that a copy has filled; comes before any answer that could tell of it. */
struct vgpu_written {
    uint64_t offset;
    uint64_t row_bytes;
    uint64_t pitch_bytes;       /* from row to row */
    uint64_t slice_pitch_bytes; /* from slice to slice */
    uint32_t rows;              /* of a slice */
    uint32_t slices;
};
VGPU_ASSERT_SIZE(struct vgpu_written, 40);

/* Bytes of variable length: inside the record, or in the data area. */
#define VGPU_BLOB_INLINE 0u /* offset counts from the start of the record; a multiple of 8 */
#define VGPU_BLOB_DATA   1u /* offset counts from the start of the data area */
struct vgpu_blob {
    uint64_t offset;
    uint32_t size_bytes;
    uint32_t place;
};
VGPU_ASSERT_SIZE(struct vgpu_blob, 16);

/* A part of the data area. */
struct vgpu_slice {
    uint64_t offset;
    uint64_t bytes;
};
VGPU_ASSERT_SIZE(struct vgpu_slice, 16);

/* One side of a copy. */
#define VGPU_PLACE_DEVICE 0u /* address: a device address */
#define VGPU_PLACE_DATA   1u /* address: an offset in the data area */
struct vgpu_place {
    uint64_t address;
    uint32_t place;
    uint32_t reserved;
};
VGPU_ASSERT_SIZE(struct vgpu_place, 16);

#endif
