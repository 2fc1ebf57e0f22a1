/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/libvgpu/stream_rows.h"

#include <string.h>

void copy_rows(uint8_t *target, uint64_t target_pitch, const uint8_t *source, uint64_t source_pitch,
               uint64_t width, uint64_t rows)
{
    for (uint64_t y = 0; y < rows; y++)
        memmove(target + y * target_pitch, source + y * source_pitch, width);
}

#if defined(__SSE2__)
#include <emmintrin.h>

#define LINE_BYTES 64u

/* Whole lines at a time: a part of one would be read first. */
static void stream_bytes(uint8_t *target, const uint8_t *source, uint64_t bytes)
{
    uint64_t head = -(uintptr_t)target % LINE_BYTES;

    if (bytes < 4 * LINE_BYTES) {
        memcpy(target, source, bytes);
        return;
    }
    memcpy(target, source, head);
    for (target += head, source += head, bytes -= head; bytes >= LINE_BYTES;
         target += LINE_BYTES, source += LINE_BYTES, bytes -= LINE_BYTES) {
        const __m128i *from = (const __m128i *)(const void *)source;
        __m128i *to = (__m128i *)(void *)target;
        __m128i a = _mm_loadu_si128(from);
        __m128i b = _mm_loadu_si128(from + 1);
        __m128i c = _mm_loadu_si128(from + 2);
        __m128i d = _mm_loadu_si128(from + 3);

        _mm_stream_si128(to, a);
        _mm_stream_si128(to + 1, b);
        _mm_stream_si128(to + 2, c);
        _mm_stream_si128(to + 3, d);
    }
    memcpy(target, source, bytes);
}

void stream_rows(uint8_t *target, uint64_t target_pitch, const uint8_t *source,
                 uint64_t source_pitch, uint64_t width, uint64_t rows)
{
    for (uint64_t y = 0; y < rows; y++)
        stream_bytes(target + y * target_pitch, source + y * source_pitch, width);
    /* Such stores are ordered with nothing: whoever hears that the job is done sees them. */
    _mm_sfence();
}
#else
void stream_rows(uint8_t *target, uint64_t target_pitch, const uint8_t *source,
                 uint64_t source_pitch, uint64_t width, uint64_t rows)
{
    copy_rows(target, target_pitch, source, source_pitch, width, rows);
}
#endif
