/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) on the CPU: the reference of the sha256 workload. */
#ifndef VGPU_GUEST_CLIENT_SHA256_H
#define VGPU_GUEST_CLIENT_SHA256_H

#include <stddef.h>

#define SHA256_BYTES 32

void sha256(const void *message, size_t bytes, unsigned char digest[SHA256_BYTES]);

#endif
