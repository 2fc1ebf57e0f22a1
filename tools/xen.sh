#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Xen, its tools, their libraries, and a kernel that runs on Xen as dom0 and in every kind of guest:
# the distribution's packages, unpacked below .cache/xen and not installed, for the packages touch the
# boot loader of the machine that they are installed on. Called by tools/qemu-build.sh --xen,
# tools/guest-image.sh --xen and tests/xen/bed.py.
#
#   tools/xen.sh           what is unpacked once is used again without asking the network
#   tools/xen.sh --update  fetches anew
#
# Prints, to be read by eval or line by line:
#   XEN_TREE=/...    the root of what was unpacked
#   XEN=/...         the hypervisor, unzipped, to boot
#   RELEASE=6.1.0-1-amd64
#   KERNEL=/...      the image to boot; not the cloud flavour, which cannot be dom0
#   MODULES=/...     lib/modules/RELEASE
#   KDIR=/...        for make -C guest/driver KDIR=...
#   KERNEL_CC=...    for make's CC=...
#
# Parallel calls wait for each other.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
base=${VGPU_CACHE:-$root/.cache}/xen
mkdir -p "$base"
base=$(cd "$base" && pwd)
tree=$base/tree

fail()
{
    echo "xen.sh: $*" >&2
    exit 1
}

case "${1:-}" in
'') ;;
--update) rm -f "$base/complete" ;;
*) fail "unknown option $1; there is --update" ;;
esac
command -v dpkg >/dev/null ||
    fail "this is no Debian system; the test bed is made of Debian's packages, 12 or later"
arch=$(dpkg --print-architecture)
[ "$arch" = amd64 ] || fail "the test bed is for amd64, and this is $arch"

# depends PACKAGE PATTERN: the first package that PACKAGE depends on and PATTERN names.
depends()
{
    apt-cache depends "$1" 2>/dev/null | sed -n "s/^ *Depends: \($2\)\$/\1/p" | sed -n 1p
}

hypervisor_version()
{
    depends xen-system-amd64 'xen-hypervisor-[0-9].*' | sed 's/^xen-hypervisor-\(.*\)-amd64$/\1/'
}

packages()
{
    local version image headers
    version=$(hypervisor_version)
    image=$(depends linux-image-amd64 'linux-image-[0-9].*')
    headers=$(depends linux-headers-amd64 'linux-headers-[0-9].*')
    [ -n "$version" ] && [ -n "$image" ] && [ -n "$headers" ] || return 1
    printf '%s\n' "xen-hypervisor-$version-amd64" "xen-utils-$version" xen-utils-common \
        xenstore-utils libxen-dev "libxenmisc$version" libxencall1 libxendevicemodel1 libxenevtchn1 \
        libxenforeignmemory1 libxengnttab1 libxenhypfs1 libxenstore4 libxentoolcore1 libxentoollog1 \
        libyajl2 libfdt1 busybox-static seabios "$image" "$headers" \
        "$(depends "$headers" 'linux-headers-.*-common')" "$(depends "$headers" 'linux-kbuild-.*')"
}

fetch()
{
    local names=$base/download/names file
    rm -rf "$base/download" "$tree"
    mkdir -p "$base/download" "$tree"
    packages >"$names" || fail "apt on this machine knows no xen-system-amd64 or linux-image-amd64;" \
        "the test bed wants Debian 12 or later (apt-get update may be needed first)"
    # shellcheck disable=SC2046
    (cd "$base/download" && apt-get download -qq -o "APT::Sandbox::User=$(id -un)" $(cat "$names")) \
        >"$base/fetch.log" 2>&1 ||
        fail "apt-get download failed; the log is $base/fetch.log (apt-get update may be needed)"
    for file in "$base"/download/*.deb; do
        dpkg-deb -x "$file" "$tree"
        rm "$file"
    done
}

# Headers name each other by absolute paths, from the root of a system where they are installed; so
# do the libraries' links for linking.
relocate()
{
    local kdir=$tree/usr/src/linux-headers-$1 link
    sed -i "s,\([ :=]\)/usr/\(src\|lib\)/linux-,\1$tree/usr/\2/linux-,g" "$kdir/Makefile"
    [ ! -e "$kdir/.kernelvariables" ] ||
        sed -i "s,/usr/\(src\|lib\)/linux-,$tree/usr/\1/linux-,g" "$kdir/.kernelvariables"
    find "$tree/usr/src" "$tree/usr/lib/x86_64-linux-gnu" -type l | while read -r link; do
        case "$(readlink "$link")" in
        /usr/* | /lib/*) ln -sfn "$tree$(readlink "$link")" "$link" ;;
        esac
    done
    sed -i '/^CONFIG_DEBUG_INFO_BTF/d' "$kdir/include/config/auto.conf"
    sed -i "s,=/usr,=$tree/usr," "$tree"/usr/lib/x86_64-linux-gnu/pkgconfig/{xen,xlutil}*.pc
}

exec 9>"$base/lock"
flock 9
# What is unpacked names itself by absolute paths: in a folder that was moved it is made anew.
if [ "$(sed -n 2p "$base/complete" 2>/dev/null)" != "$base" ]; then
    fetch
    release=$(basename "$tree"/boot/vmlinuz-*)
    release=${release#vmlinuz-}
    relocate "$release"
    gunzip -c "$tree"/boot/xen-*-amd64.gz >"$base/xen"
    printf '%s\n' "$release" "$base" >"$base/complete"
fi
release=$(sed -n 1p "$base/complete")
compiler=$(sed -n 's/^CC = .*CROSS_COMPILE)\(gcc-[0-9]*\)$/\1/p' \
    "$tree/usr/src/linux-headers-$release/.kernelvariables")
echo "XEN_TREE=$tree"
echo "XEN=$base/xen"
echo "RELEASE=$release"
echo "KERNEL=$tree/boot/vmlinuz-$release"
echo "MODULES=$tree/lib/modules/$release"
echo "KDIR=$tree/usr/src/linux-headers-$release"
echo "KERNEL_CC=$(command -v "${compiler:-none}" || echo gcc)"
