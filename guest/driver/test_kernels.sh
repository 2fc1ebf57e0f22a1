#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds vgpu.ko, from the tree that DKMS gets, for the oldest kernel that it is for, the newest that
# Debian has, and those between; for one of them once more as a kernel without Xen would take it. A
# warning in our files is a failure.
#
# Usage: test_kernels.sh ROOT DIRECTORY
set -euo pipefail
root=$1
work=$2/driver-kernels
failed=0

for suite in bullseye bookworm bookworm/without-xen bookworm-backports trixie sid; do
    options=()
    [[ $suite != */without-xen ]] || options=(CONFIG_XEN=)
    if ! lines=$("$root/tools/kernel.sh" --suite "${suite%/*}" --headers-only); then
        echo "[  FAILED  ] $suite: no headers"
        failed=1
        continue
    fi
    eval "$lines"
    rm -rf "$work" && mkdir -p "$work"
    make -s -C "$root/guest/driver" dkms-tree DIR="$work"
    if make -C "$work" KDIR="$KDIR" CC="$KERNEL_CC" "${options[@]}" >"$work.log" 2>&1 && [ -e "$work/vgpu.ko" ] &&
        { [[ $suite == */without-xen ]] || [ -e "$work/xenbus.o" ]; } && # and built what it should
        ! grep -E "^($work/)?[a-z]+\.[ch]:[0-9:]+ warning" "$work.log"; then
        echo "[       OK ] $RELEASE ($suite)"
    else
        tail -n 20 "$work.log"
        echo "[  FAILED  ] $RELEASE ($suite)"
        failed=1
    fi
done
exit $failed
