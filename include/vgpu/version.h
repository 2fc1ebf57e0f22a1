/* SPDX-License-Identifier: GPL-2.0-or-later OR Apache-2.0 */
/*
 * What two sides exchange first: magic, version, feature bits. A major version that differs is
 * refused; a minor one only adds what a feature bit announces. Numbers are never reused.
 */
#ifndef VGPU_VERSION_H
#define VGPU_VERSION_H

#define VGPU_MAGIC         0x55504756u /* "VGPU", little-endian */
#define VGPU_VERSION_MAJOR 1u
#define VGPU_VERSION_MINOR 0u

/* Feature bits. A side offers what it can do; both use what both offer. */
#define VGPU_FEATURE_JOB     (1ull << 0) /* explicit jobs (vector-add) */
#define VGPU_FEATURE_RESUME  (1ull << 1) /* channels outlive the mediator */
#define VGPU_FEATURE_WINDOW  (1ull << 2) /* channels in a window of the guest's device */
#define VGPU_FEATURE_MONITOR (1ull << 3) /* a VM's view of its GPUs, without a channel */
#define VGPU_FEATURE_GRANT   (1ull << 4) /* channels in pages that a Xen guest grants */
#define VGPU_FEATURE_DRAIN   (1ull << 5) /* waiting for the end of what others have opened */
#define VGPU_FEATURES_KNOWN                                                                        \
    (VGPU_FEATURE_JOB | VGPU_FEATURE_RESUME | VGPU_FEATURE_WINDOW | VGPU_FEATURE_MONITOR |         \
     VGPU_FEATURE_GRANT | VGPU_FEATURE_DRAIN)

/* Asserts a size once, with the text that docs/spec gives. Usable in C11, C++ and the kernel. */
#define VGPU_ASSERT_SIZE(type, bytes)                                                              \
    _Static_assert(sizeof(type) == (bytes), #type " is " #bytes " bytes")

#endif
