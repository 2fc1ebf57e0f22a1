#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The device for XCP-ng's QEMU 4.2.1, which no package archive of ours has as source: for whoever
# rebuilds XCP-ng's qemu RPM (docs/xcp-ng.md).
#
# Usage: tools/qemu-xcp-ng.sh patch          one patch on standard output, for the RPM's spec: the
#                                            device's files and qemu/patches/qemu-4.2.1-xcp-ng.patch
#        tools/qemu-xcp-ng.sh build TREE     puts the device into an unpacked tree with XCP-ng's own
#                                            patches, and builds its QEMU in TREE/vgpu-build
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
work=

usage()
{
    echo "usage: $0 patch | build TREE" >&2
    exit 2
}

# put DIRECTORY: the device's files, as they lie in QEMU's tree.
put()
{
    local to=$1/hw/misc/vgpu file
    mkdir -p "$to/shared/vgpu" "$to/shared/ring"
    for file in "$here"/qemu/*.[ch]; do
        case $(basename "$file") in
        test_* | fuzz_*) ;;
        *) cp "$file" "$to/" ;;
        esac
    done
    cp "$here/qemu/Makefile.objs" "$here/qemu/Kconfig" "$to/"
    cp "$here"/include/vgpu/*.h "$to/shared/vgpu/"
    cp "$here/ring/ring.c" "$here/ring/ring.h" "$here/ring/pages.h" "$to/shared/ring/"
}

write_patch()
{
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/a"
    put "$work/b"
    echo "Adds the PCI device vgpu-stub, from qemu/ of the project vgpu (GPL-2.0-or-later)."
    echo
    cat "$here/qemu/patches/qemu-4.2.1-xcp-ng.patch"
    # One status for files that differ, another for trouble. No times: the same tree, the same patch.
    (cd "$work" && LC_ALL=C diff -ruN a b | sed -E 's/^(---|\+\+\+) ([^\t]*)\t.*/\1 \2/') ||
        [ "${PIPESTATUS[0]}" -le 1 ]
}

# As XCP-ng's spec has it, without what only its own packages offer; ours with warnings as errors.
build()
{
    local tree=$1 log=$1/vgpu-build.log
    grep -q '^4\.2\.' "$tree/VERSION" || {
        echo "$0: no QEMU 4.2 in $tree" >&2
        exit 1
    }
    [ -e "$tree/hw/misc/vgpu/Kconfig" ] ||
        patch -d "$tree" -p1 -s -N <"$here/qemu/patches/qemu-4.2.1-xcp-ng.patch"
    put "$tree"
    mkdir -p "$tree/vgpu-build"
    cd "$tree/vgpu-build"
    [ -e config-host.mak ] || ../configure --cc="${CC:-gcc}" --cxx=/dev/null --enable-xen \
        --target-list=i386-softmmu --disable-werror --disable-kvm --disable-tcg --disable-docs \
        --disable-guest-agent --disable-sdl --disable-curses --disable-curl --disable-gtk \
        --disable-bzip2 --disable-gnutls --disable-nettle --disable-gcrypt --disable-vhost-net \
        --disable-vhost-scsi --disable-vhost-vsock --disable-vhost-user --disable-lzo \
        --disable-virtfs --disable-replication --disable-slirp --audio-drv-list= \
        --disable-live-block-migration --disable-capstone --disable-fdt --disable-opengl \
        --disable-tools --without-default-devices --enable-seccomp >"$log" 2>&1
    make -j"${VGPU_JOBS:-$(nproc)}" >>"$log" 2>&1 || {
        grep -m 5 'error:' "$log" >&2
        exit 1
    }
    rm -f hw/misc/vgpu/*.o
    make QEMU_CFLAGS="$(sed -n 's/^QEMU_CFLAGS=//p' config-host.mak) -Werror" \
        >>"$log" 2>&1 || {
        grep -m 5 'error:' "$log" >&2
        exit 1
    }
    echo "$tree/vgpu-build/i386-softmmu/qemu-system-i386"
}

case "${1-}" in
patch)
    [ $# = 1 ] || usage
    write_patch
    ;;
build)
    { [ $# = 2 ] && [ -d "$2" ]; } || usage
    build "$(cd "$2" && pwd)"
    ;;
*) usage ;;
esac
