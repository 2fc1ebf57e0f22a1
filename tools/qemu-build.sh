#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Builds QEMU with the device vgpu-stub, from Debian's source package, in the smallest
# configuration that boots a Linux guest (machine `pc`, TCG and KVM, ISA serial ports).
# Called by quickstart, check and the tests of qemu/.
#
# Usage: tools/qemu-build.sh [--sanitize|--xen] [--source-only] [5.2|7.2|10.0]
#
# --xen (7.2 only): qemu-system-i386 as a device model of Xen's, configured as XCP-ng's is (Xen, no
# TCG, no KVM, seccomp), against tools/xen.sh's libraries; it runs in tests/xen's dom0.
#
# The last line on standard output is the path of the binary; progress goes to standard
# error. Everything is kept under .cache/qemu/VERSION/{source,build,firmware} (VGPU_CACHE names
# another place than .cache), and a call with nothing to do takes a second. Two callers wait for
# each other. No setting of this machine is changed; packages are installed as needs.sh does it.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/needs.sh
. "$here/tools/needs.sh"
# shellcheck source=tools/debian-source.sh
. "$here/tools/debian-source.sh"

usage()
{
    echo "usage: $0 [--sanitize|--xen] [--source-only] [5.2|7.2|10.0]" >&2
    exit 2
}

say()
{
    echo "qemu-build: $*" >&2
}

die()
{
    echo "qemu-build: $1" >&2
    shift
    printf '  %s\n' "$@" >&2
    exit 1
}

version=7.2
sanitize=0
xen=0
source_only=0
for argument in "$@"; do
    case "$argument" in
    --sanitize) sanitize=1 ;;
    --xen) xen=1 ;;
    --source-only) source_only=1 ;;
    5.2 | 7.2 | 10.0) version=$argument ;;
    *) usage ;;
    esac
done
case "$version" in
5.2) suite=bullseye ;;
7.2) suite=bookworm ;;
10.0) suite=trixie ;;
esac
[ "$xen" = 0 ] || { [ "$version" = 7.2 ] && [ "$sanitize" = 0 ]; } || usage

cache=${VGPU_CACHE:-$here/.cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
top=$cache/qemu/$version
source=$top/source
build=$top/build
[ "$sanitize" = 1 ] && build=$top/build-sanitize
[ "$xen" = 1 ] && build=$top/build-xen
log=$build.log
firmware=$top/firmware
program=qemu-system-x86_64
[ "$xen" = 1 ] && program=qemu-system-i386
binary=$build/$program

needs()
{
    local names="gcc libc6-dev make ninja-build pkg-config python3 dpkg-dev xz-utils patch
        libglib2.0-dev libpixman-1-dev libfdt-dev zlib1g-dev seabios util-linux"
    case "$version" in
    10.0) names="$names python3-venv python3-pip flex bison" ;;
    *) names="$names meson" ;;
    esac
    # shellcheck disable=SC2086
    needs_packages $names >&2
}

# The source's directory appears when it is complete: unpacked, and patched for our device.
unpack()
{
    local work=$top/fetch dsc
    [ -e "$source/.vgpu-patched" ] && return 0
    if [ ! -e "$source" ]; then
        say "fetching QEMU $version (suite $suite)"
        rm -rf "$work"
        mkdir -p "$work"
        debian_source qemu "$suite" "$work" >"$top/fetch.log" 2>&1 || {
            tail -n 5 "$top/fetch.log" >&2
            die "no source package of QEMU $version; the log is $top/fetch.log" \
                "Is the package archive within reach? Then call this again. Or unpack the sources" \
                "of a QEMU $version as $source, and call this again."
        }
        dsc=$(ls "$work"/qemu_*.dsc)
        say "unpacking $(basename "$dsc" .dsc)"
        dpkg-source --no-check -x "$dsc" "$work/source" >>"$top/fetch.log" 2>&1 ||
            die "unpacking failed; the log is $top/fetch.log" "Is the disk full?"
        mv "$work/source" "$source"
        rm -rf "$work"
    fi
    patch -d "$source" -p1 -s -N <"$here/qemu/patches/qemu-$version.patch" >>"$top/fetch.log" 2>&1 ||
        die "qemu/patches/qemu-$version.patch does not fit; the log is $top/fetch.log" \
            "Remove $top and call this again."
    touch "$source/.vgpu-patched"
}

# What else a device model of Xen's wants from the source: the list of its devices.
patch_xen()
{
    [ ! -e "$source/.vgpu-patched-xen" ] || return 0
    patch -d "$source" -p1 -s -N <"$here/qemu/patches/qemu-$version-xen.patch" >>"$log" 2>&1 ||
        die "qemu/patches/qemu-$version-xen.patch does not fit; the log is $log" \
            "Remove $top and call this again."
    touch "$source/.vgpu-patched-xen"
}

# Xen's libraries and their headers are not installed: pkg-config and the linker are told where.
find_xen()
{
    local said libraries
    said=$("$here/tools/xen.sh") || exit 1
    eval "$said"
    libraries=$XEN_TREE/usr/lib/x86_64-linux-gnu
    export PKG_CONFIG_PATH=$libraries/pkgconfig
    xen_options=("--extra-ldflags=-Wl,-rpath-link,$libraries")
}

# same FILE... DIRECTORY: copies those that differ, so that what has not changed is not rebuilt.
same()
{
    local to=${*: -1} file names
    names=$(printf '%s\n' "${@:1:$#-1}")
    mkdir -p "$to"
    for file in "${@:1:$#-1}"; do
        cmp -s "$file" "$to/$(basename "$file")" || cp "$file" "$to/"
    done
    for file in "$to"/*; do
        # No pipe into grep -q: what it leaves unread ends the writer, and with it the condition.
        [ -d "$file" ] || grep -qx ".*/$(basename "$file")" <<<"$names" || rm "$file"
    done
}

copy_device()
{
    local to=$source/hw/misc/vgpu
    same "$here"/qemu/*.[ch] "$here/qemu/meson.build" "$here/qemu/Kconfig" "$to"
    same "$here"/include/vgpu/*.h "$to/shared/vgpu"
    same "$here/ring/ring.c" "$here/ring/ring.h" "$here/ring/pages.h" "$to/shared/ring"
}

xen_configuration()
{
    printf '%s\n' --target-list=i386-softmmu --without-default-features --without-default-devices \
        --with-devices-i386=vgpu --enable-xen --disable-tcg --disable-kvm --enable-seccomp \
        --enable-vnc --disable-docs --audio-drv-list= --enable-fdt=system \
        "--firmwarepath=/usr/share/qemu" "${xen_options[@]}"
    if command -v ccache >/dev/null 2>&1; then
        echo "--cc=ccache gcc"
    fi
}

configuration()
{
    if [ "$xen" = 1 ]; then
        xen_configuration
        return
    fi
    printf '%s\n' --target-list=x86_64-softmmu --without-default-devices --enable-tcg \
        --enable-kvm --disable-docs --audio-drv-list= --enable-fdt=system \
        "--firmwarepath=$firmware"
    case "$version" in
    5.2)
        printf -- '--disable-%s\n' tools user guest-agent sdl gtk vnc curses slirp curl libssh \
            rbd glusterfs libiscsi libnfs spice usb-redir libusb smartcard opengl virglrenderer \
            gnutls nettle gcrypt seccomp cap-ng attr brlapi vde netmap bzip2 lzo snappy lzfse \
            zstd numa rdma pvrdma xen virtfs mpath libpmem libudev linux-aio linux-io-uring \
            capstone live-block-migration vhost-net vhost-crypto vhost-user
        ;;
    7.2) printf '%s\n' --without-default-features --with-devices-x86_64=vgpu ;;
    10.0)
        # Debian's package has no firmware in it, and this version asks for it.
        printf '%s\n' --without-default-features --with-devices-x86_64=vgpu \
            --disable-install-blobs --disable-download
        ;;
    esac
    if command -v ccache >/dev/null 2>&1; then
        echo "--cc=ccache gcc"
    fi
    [ "$sanitize" = 0 ] || printf '%s\n' --enable-sanitizers --disable-werror
}

# QEMU 10.0 wants a meson newer than Debian 12's, as a wheel beside its sources.
get_meson()
{
    local wheels=$source/python/wheels
    [ "$version" = 10.0 ] && [ -z "$(ls "$wheels"/meson-*.whl 2>/dev/null)" ] || return 0
    python3 -m pip download -q --no-deps -d "$wheels" meson==1.5.0 >>"$log" 2>&1 ||
        die "pip could not get meson 1.5.0; the log is $log" \
            "Put its wheel into $wheels and call this again."
}

configure()
{
    local wanted
    wanted=$(configuration)
    [ -e "$build/build.ninja" ] && [ "$(cat "$build/.vgpu-configuration" 2>/dev/null)" = "$wanted" ] &&
        return
    say "configuring (log: $log)"
    rm -rf "$build"
    mkdir -p "$build"
    get_meson
    local options
    mapfile -t options <<<"$wanted"
    (cd "$build" && ../source/configure "${options[@]}") >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "configuring failed; the log is $log" \
            "If it names something that is missing, install that and call this again."
    }
    echo "$wanted" >"$build/.vgpu-configuration"
}

compile()
{
    local jobs before=0
    jobs=${VGPU_JOBS:-$(nproc)}
    [ ! -e "$log" ] || before=$(stat -c %s "$log")
    [ -x "$binary" ] || say "building with $jobs jobs, 2 to 3 minutes on two cores (log: $log)"
    ninja -C "$build" -j "$jobs" "$program" >>"$log" 2>&1 || {
        grep -A 12 -m 3 -E '^FAILED|error:' "$log" | tail -n 40 >&2
        die "the build failed; the log is $log" \
            "After a change of packages: rm -rf $build and call this again."
    }
    # Warnings are errors in our own files; QEMU's are its own business.
    if tail -c "+$((before + 1))" "$log" | grep -A 4 -E '/vgpu/[a-z_/]*\.[ch]:.*warning:' >&2; then
        touch "$source"/hw/misc/vgpu/*.c
        die "the compiler warns of the device's sources" "The log is $log"
    fi
}

# QEMU's own build makes them only where a whole 32-bit compiler is; they need none.
option_roms()
{
    mkdir -p "$top/optionrom"
    if [ -e "$source/debian/optionrom.mak" ]; then
        make -s -f "$source/debian/optionrom.mak" -C "$top/optionrom" "SRC_PATH=$source" all
    else
        printf '%s\n' "TOPSRC_DIR=$source" CC=gcc LD=ld OBJCOPY=objcopy PYTHON=python3 \
            >"$top/optionrom/config.mak"
        make -s -f "$source/pc-bios/optionrom/Makefile" -C "$top/optionrom" all
    fi
}

# What a guest needs before its kernel runs. linuxboot takes -kernel, kvmvapic is part of the PC.
gather_firmware()
{
    local name bundle=$build/qemu-bundle$firmware
    # From its build directory, QEMU looks for each installed place below qemu-bundle.
    [ -e "$bundle" ] || {
        mkdir -p "$(dirname "$bundle")"
        ln -s "$firmware" "$bundle"
    }
    [ -e "$firmware/linuxboot_dma.bin" ] && [ -e "$firmware/bios-256k.bin" ] && return
    option_roms >>"$log" 2>&1 || die "building the option ROMs failed; the log is $log"
    mkdir -p "$firmware"
    for name in "$top"/optionrom/*.bin /usr/share/seabios/bios.bin \
        /usr/share/seabios/bios-256k.bin; do
        cp "$name" "$firmware/"
    done
}

mkdir -p "$top"
if ! command -v flock >/dev/null 2>&1; then
    needs
fi
exec 9>"$top/lock"
if ! flock -n 9; then
    say "another build of QEMU $version is under way; waiting for it"
    flock 9
fi
# Compilers share what they made between checkouts.
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$top
[ -x "$binary" ] || needs
unpack
if [ "$xen" = 1 ]; then
    find_xen
    patch_xen
fi
copy_device
if [ "$source_only" = 1 ]; then
    echo "$source"
    exit
fi
configure
compile
[ "$xen" = 1 ] || gather_firmware
echo "$binary"
