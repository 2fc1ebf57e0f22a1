/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vgpu-client: numbers as a user writes them. All are strict: the whole text must be the number,
 * and fit.
 */
#ifndef VGPU_GUEST_CLIENT_NUMBER_H
#define VGPU_GUEST_CLIENT_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal or 0x hexadecimal, with an optional K, M or G (powers of 1024). */
bool number_u64(const char *text, uint64_t *ret);

/* A comma list of 32-bit integers, signed or unsigned. Returns how many; 0: none or too many. */
size_t number_list(const char *text, int32_t *ret, size_t most);

/* "X", "X,Y" or "X,Y,Z", each at least 1; the rest become 1. */
bool number_triple(const char *text, uint32_t ret[3]);

/* A kernel's argument "TYPE:VALUE": u8…u64, s8…s64, f32, f64, as bytes. */
struct number_argument {
    char type[4];
    uint8_t bytes[8];
    size_t size;
};
bool number_argument(const char *text, struct number_argument *ret);

#endif
