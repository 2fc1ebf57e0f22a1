#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A Debian kernel for virtual machines, with its modules and headers, unpacked below .cache/kernel:
# nothing is installed, and no root is needed. The archive is the one that this machine's apt uses.
#
#   tools/kernel.sh                   the running distribution's cloud kernel (boots fast)
#   tools/kernel.sh --suite SUITE     another suite's: bullseye, trixie, bookworm-backports, sid
#   tools/kernel.sh --headers-only    no image and no modules: enough to compile the driver
#
# Prints, to be read by eval or line by line:
#   RELEASE=6.1.0-1-cloud-amd64
#   KERNEL=/...    the image to boot; not with --headers-only
#   MODULES=/...   lib/modules/RELEASE; not with --headers-only
#   KDIR=/...      for make -C guest/driver KDIR=...
#   KERNEL_CC=...  for make's CC=...: the kernel's own compiler, or this machine's, which is not told
#                  of options that only newer ones know
#
# What was unpacked once is used again without asking the network; --update asks again. Parallel
# calls wait for each other.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${VGPU_CACHE:-$root/.cache}/kernel
arch=$(dpkg --print-architecture)
own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
suite=$own
headers_only=no
update=no

fail()
{
    echo "kernel.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
    --suite) suite=${2:?--suite wants a name} && shift ;;
    --headers-only) headers_only=yes ;;
    --update) update=yes ;;
    *) fail "unknown option $1; --suite SUITE, --headers-only, --update" ;;
    esac
    shift
done
[[ $suite =~ ^[a-z-]+$ ]] || fail "no such suite: $suite"

base=$cache/$suite
apt_dir=$base/apt
tree=$base/tree

# apt with lists and archives of its own: the machine's are neither read nor written.
private_apt()
{
    local tool=$1
    shift
    "$tool" -qq -o Dir::State="$apt_dir/state" -o Dir::State::status="$apt_dir/status" \
        -o Dir::Cache="$apt_dir/cache" -o Dir::Etc::sourcelist="$apt_dir/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=false \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# The archive that serves the running distribution, and what the asked suite is called there. The
# suite's security archive is where the running one's is; sid and backports have none.
write_sources()
{
    local uri release component security=no
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | sort -u >"$apt_dir/targets"
    : >"$apt_dir/sources.list"
    [[ $suite == sid || $suite == *-backports ]] || security=yes
    while read -r uri release component; do
        [ "$component" = main ] || continue
        if [ "$release" = "$own" ]; then
            echo "deb $uri $suite main"
        elif [ "$release" = "$own-security" ] && [ "$security" = yes ]; then
            echo "deb $uri $suite-security main"
        fi
    done <"$apt_dir/targets" >>"$apt_dir/sources.list"
    [ -s "$apt_dir/sources.list" ] || fail "apt on this machine names no archive of $own"
}

# dependency PACKAGE PATTERN: the one package that PACKAGE depends on and PATTERN names.
dependency()
{
    private_apt apt-cache depends "$1" 2>/dev/null |
        sed -n "s/^ *Depends: \($2\)\$/\1/p" | sed -n 1p
}

# unpack PACKAGE...: into the tree, from the archive.
unpack()
{
    local name
    mkdir -p "$apt_dir/download"
    (cd "$apt_dir/download" && rm -f ./*.deb && private_apt apt-get download "$@") >&2
    for name in "$apt_dir"/download/*.deb; do
        dpkg-deb -x "$name" "$tree"
        rm -f "$name"
    done
}

# Headers name each other by absolute paths, from the root of a system where they are installed.
relocate()
{
    local kdir=$tree/usr/src/linux-headers-$1 link
    sed -i "s,\([ :=]\)/usr/\(src\|lib\)/linux-,\1$tree/usr/\2/linux-,g" "$kdir/Makefile"
    [ -e "$kdir/.kernelvariables" ] &&
        sed -i "s,/usr/\(src\|lib\)/linux-,$tree/usr/\1/linux-,g" "$kdir/.kernelvariables"
    find "$tree/usr/src" -type l | while read -r link; do
        case "$(readlink "$link")" in
        /usr/*) ln -sfn "$tree$(readlink "$link")" "$link" ;;
        esac
    done
}

get_headers()
{
    local meta=linux-headers-cloud-$arch headers release common kbuild
    headers=$(dependency "$meta" 'linux-headers-[0-9].*')
    [ -n "$headers" ] || fail "$suite has no $meta"
    release=${headers#linux-headers-}
    common=$(dependency "$headers" 'linux-headers-.*-common')
    kbuild=$(dependency "$headers" 'linux-kbuild-.*')
    unpack "$headers" "$common" "$kbuild"
    relocate "$release"
    # Types for debuggers would want pahole and the kernel's image.
    sed -i '/^CONFIG_DEBUG_INFO_BTF/d' "$tree/usr/src/$headers/include/config/auto.conf"
    write_compiler
    wrap_programs "$kbuild"
    echo "$release" >"$base/release"
}

# Programs among the headers that want a newer C library than this machine's get their suite's.
wrap_programs()
{
    local program wants needy=()
    while read -r program; do
        [ "$(head -c 4 "$program")" = $'\177ELF' ] || continue
        wants=$(ldd "$program" 2>&1 || true)
        [[ $wants != *"not found"* ]] || needy+=("$program")
    done < <(find -L "$tree"/usr/lib/linux-kbuild-* -type f -perm -100)
    [ ${#needy[@]} -gt 0 ] || return 0
    unpack libc6 "$(dependency "$1" 'libelf1.*')" zlib1g libzstd1
    for program in "${needy[@]}"; do
        mv "$program" "$program.real"
        cat >"$program" <<TEXT
#!/bin/sh
exec $tree/usr/lib64/ld-linux-x86-64.so.2 \\
    --library-path $tree/usr/lib/x86_64-linux-gnu "$program.real" "\$@"
TEXT
        chmod +x "$program"
    done
}

# A compiler older than the kernel's gets the alignment that it knows.
write_compiler()
{
    cat >"$tree/cc" <<'TEXT'
#!/bin/bash
arguments=()
for argument in "$@"; do
    case "$argument" in
    -fmin-function-alignment=*) argument=-falign-functions=${argument#*=} ;;
    esac
    arguments+=("$argument")
done
exec gcc "${arguments[@]}"
TEXT
    chmod +x "$tree/cc"
}

kernel_compiler()
{
    local name
    name=$(sed -n 's/^CC = .*CROSS_COMPILE)\(gcc-[0-9]*\)$/\1/p' \
        "$tree/usr/src/linux-headers-$1/.kernelvariables")
    command -v "${name:-none}" || echo "$tree/cc"
}

get_image()
{
    unpack "linux-image-$1"
    if [ ! -e "$tree/lib/modules/$1" ]; then
        mkdir -p "$tree/lib" && ln -sfn ../usr/lib/modules "$tree/lib/modules"
    fi
    [ -e "$tree/boot/vmlinuz-$1" ] || fail "linux-image-$1 holds no kernel"
    touch "$base/image"
}

mkdir -p "$apt_dir"
exec 9>"$base/lock"
flock 9

# What is unpacked names itself by absolute paths: in a folder that was moved it is made anew.
if [ "$update" = yes ] || [ "$(cat "$base/place" 2>/dev/null)" != "$base" ]; then
    rm -rf "$tree" "$base/release" "$base/image"
    echo "$base" >"$base/place"
fi
if [ ! -e "$base/release" ] || { [ "$headers_only" = no ] && [ ! -e "$base/image" ]; }; then
    mkdir -p "$apt_dir"/{state/lists/partial,cache/archives/partial} "$tree"
    : >"$apt_dir/status"
    write_sources
    private_apt apt-get update >&2 || fail "cannot read the package lists of $suite"
    # Image and headers of one version: what an older call left may be outdated by now.
    rm -rf "$tree" "$base/release" "$base/image" && mkdir -p "$tree"
    get_headers
    [ "$headers_only" = yes ] || get_image "$(cat "$base/release")"
fi

release=$(cat "$base/release")
echo "RELEASE=$release"
if [ "$headers_only" = no ]; then
    echo "KERNEL=$tree/boot/vmlinuz-$release"
    echo "MODULES=$tree/lib/modules/$release"
fi
echo "KDIR=$tree/usr/src/linux-headers-$release"
echo "KERNEL_CC=$(kernel_compiler "$release")"
