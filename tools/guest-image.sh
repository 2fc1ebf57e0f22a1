#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Makes the image that the test guests boot: busybox, our driver and programs with their libraries,
# lspci; everything in memory, no disk. Called by quickstart and the tests in tests/vm.
#
#   tools/guest-image.sh [--xen] BUILD    BUILD: a meson build directory
#
# Prints KERNEL=... and INITRD=..., the files to boot. The image is BUILD/guest/image/image.cpio, and
# is made anew only when something in it has changed. The kernel is tools/kernel.sh's; with --xen it is
# tools/xen.sh's, which boots in each kind of Xen's guests, and the image is in BUILD/guest/image-xen.
set -euo pipefail
flavour=
if [ "${1:-}" = --xen ]; then
    flavour=-xen
    shift
fi
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: $0 [--xen] BUILD-DIRECTORY" >&2
    exit 2
fi
build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/needs.sh
. "$here/tools/needs.sh"

out=$build/guest/image$flavour
mkdir -p "$out"
exec 9>"$out/lock"
flock 9

say()
{
    echo "guest-image: $*" >&2
}

# Programs of ours. Those that this build does not have are left out.
programs=(tools/guest/guest-exec bench/path_jobs guest/client/vgpu-client tests/isolation tests/flood tests/copies
    tests/stress guest/driver/test_driver tests/nvml_show)
[ -z "$flavour" ] || programs+=(tests/hostile_grants)
libraries=(guest/libvgpu/libcuda.so.1 guest/libnvml/libnvidia-ml.so.1)

# shellcheck disable=SC2119
kernel_lines()
{
    if [ -n "$flavour" ]; then
        "$here/tools/xen.sh"
    else
        "$here/tools/kernel.sh"
    fi
}

# The driver's module for this kernel, built in a copy: the checkout stays as it is.
driver()
{
    local work=$out/driver
    [ -e "$here/guest/driver/Makefile" ] || return 0
    mkdir -p "$work/guest/driver" "$work/include"
    cp -pu "$here"/guest/driver/{Kbuild,Makefile,*.c,*.h} "$work/guest/driver/"
    cp -rpu "$here/include/vgpu" "$work/include/"
    make -s -C "$work/guest/driver" KDIR="$KDIR" CC="${KERNEL_CC:-gcc}" >"$out/driver.log" 2>&1 || {
        tail -n 20 "$out/driver.log" >&2
        say "the driver does not build for $RELEASE; the log is $out/driver.log"
        exit 1
    }
    strip -g -o "$out/vgpu.ko" "$work/guest/driver/vgpu.ko"
}

# What the device's classes are called: lspci reads this at each call, so no more than needed.
pci_names()
{
    local file
    for file in /usr/share/misc/pci.ids /usr/share/misc/pci.ids.gz; do
        [ -e "$file" ] || continue
        zcat -f "$file" | awk '/^[0-9a-f]/ { on = $1 == "8086" || $1 == "1af4" || $1 == "1b36" }
            /^C / { on = 1 } /^\t\t/ { next } on && !/^#/'
        return
    done
}

# Each file that goes in, one a line.
inputs()
{
    local name
    for name in "${programs[@]}" "${libraries[@]}"; do
        [ -e "$build/$name" ] && echo "$build/$name"
    done
    [ -e "$out/vgpu.ko" ] && echo "$out/vgpu.ko"
    printf '%s\n' "$(command -v busybox)" "$(command -v lspci)" "$here/tools/guest/init" \
        "$here/tools/guest-image.sh" "$KERNEL"
}

# libraries_of FILE...: what the loader needs for them.
libraries_of()
{
    ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }' |
        sort -u
}

install_programs()
{
    local root=$1 name files=()
    for name in "${programs[@]}"; do
        [ -e "$build/$name" ] && files+=("$build/$name")
    done
    files+=("$(command -v lspci)")
    install -m 755 -s "${files[@]}" "$root/bin/"
    for name in "${libraries[@]}"; do
        [ -e "$build/$name" ] && files+=("$build/$name") && install -m 755 -s "$build/$name" "$root/lib/"
    done
    libraries_of "${files[@]}" | while read -r name; do
        [ -e "$root/lib/$(basename "$name")" ] || install -m 755 -s "$name" "$root/lib/"
    done
    ln -s lib "$root/lib64"
}

# What a guest of Xen tries to forge keys with.
install_xenstore()
{
    local from=$XEN_TREE/usr/lib/x86_64-linux-gnu
    install -m 755 -s "$XEN_TREE/usr/bin/xenstore-write" "$XEN_TREE/usr/bin/xenstore-read" "$1/bin/"
    install -m 755 -s "$from"/libxenstore.so.4 "$from"/libxentoolcore.so.1 "$1/lib/"
}

# Where modprobe and lspci look for it, and as /lib/vgpu.ko.
install_module()
{
    local modules=$1/lib/modules/$RELEASE
    mkdir -p "$modules"
    if [ -e "$out/vgpu.ko" ]; then
        cp "$out/vgpu.ko" "$modules/"
        ln -s "modules/$RELEASE/vgpu.ko" "$1/lib/vgpu.ko"
    fi
    # A block device in memory, for the driver's test of direct I/O.
    # shellcheck disable=SC2153  # kernel.sh says it
    cp "$MODULES/kernel/drivers/block/brd.ko" "$1/lib/"
    # Grants and event channels from user space, for what a hostile guest does with them.
    if [ -n "$flavour" ]; then
        cp "$MODULES"/kernel/drivers/xen/xen-{evtchn,gntdev,gntalloc}.ko "$modules/"
        install_xenstore "$1"
    fi
    : >"$modules/modules.order"
    : >"$modules/modules.builtin"
    : >"$modules/modules.builtin.modinfo"
    PATH=$PATH:/sbin:/usr/sbin depmod -b "$1" "$RELEASE"
}

assemble()
{
    local root=$out/root name
    rm -rf "$root"
    mkdir -p "$root"/{bin,dev,etc,lib,proc,sys,tmp,usr/share/misc}
    install -m 755 "$(command -v busybox)" "$root/bin/"
    for name in $("$root/bin/busybox" --list); do
        [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
    done
    rm -f "$root/bin/lspci"
    install_programs "$root"
    pci_names >"$root/usr/share/misc/pci.ids"
    install_module "$root"
    install -m 755 "$here/tools/guest/init" "$root/init"
    cat >"$root/etc/motd" <<'TEXT'

A guest with a vgpu-stub device. Try:
  lspci
  vgpu-client run --all
  vgpu-client vector-add 1,2,3 10,20,30
TEXT
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    (cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --quiet) >"$out/new.cpio"
    mv "$out/new.cpio" "$out/image.cpio"
    rm -rf "$root"
}

# shellcheck disable=SC2086
needs_packages $NEEDS_GUESTS >&2
eval "$(kernel_lines)"
driver
mapfile -t all < <(inputs)
stamp=$(sha256sum "${all[@]}" | sha256sum)
if [ ! -e "$out/image.cpio" ] || [ "$stamp" != "$(cat "$out/stamp" 2>/dev/null)" ]; then
    say "assembling $out/image.cpio"
    assemble
    echo "$stamp" >"$out/stamp"
fi
echo "KERNEL=$KERNEL"
echo "INITRD=$out/image.cpio"
