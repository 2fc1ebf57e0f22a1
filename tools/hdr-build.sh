#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Builds the library HdrHistogram_c, which counts the times of jobs. Debian has no package of it,
# but its source package redis carries it (deps/hdr_histogram). Called by quickstart and check, and
# once by whoever builds by hand; meson looks for what it leaves.
#
# Usage: tools/hdr-build.sh
#
# The last line on standard output is the directory of hdr_histogram.h and libhdr_histogram.a;
# progress goes to standard error. Everything is kept under .cache/hdr (VGPU_CACHE names another
# place than .cache), and a call with nothing to do takes no time. Two callers wait for each other.
# No setting of this machine is changed; packages are installed as needs.sh does it.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/needs.sh
. "$here/tools/needs.sh"
# shellcheck source=tools/debian-source.sh
. "$here/tools/debian-source.sh"

SUITE=bookworm

say()
{
    echo "hdr-build: $*" >&2
}

die()
{
    echo "hdr-build: $1" >&2
    shift
    printf '  %s\n' "$@" >&2
    exit 1
}

if [ $# -gt 0 ]; then
    echo "usage: $0" >&2
    exit 2
fi

cache=${VGPU_CACHE:-$here/.cache}
mkdir -p "$cache/hdr"
top=$(cd "$cache/hdr" && pwd)
source=$top/source
out=$top/lib
log=$top/log

# The folder of the library alone; it appears when it is complete.
unpack()
{
    local work=$top/fetch archive
    [ -e "$source" ] && return
    say "fetching it (source package redis, suite $SUITE, 3 MB)"
    rm -rf "$work"
    mkdir -p "$work"
    debian_source redis "$SUITE" "$work" >"$log" 2>&1 || {
        tail -n 5 "$log" >&2
        die "no source package redis; the log is $log" \
            "Is the package archive within reach? Then call this again. Or put hdr_histogram.c" \
            "and its headers into $source, and call this again."
    }
    archive=$(ls "$work"/redis_*.orig.tar.gz)
    mkdir "$work/source"
    tar -xzf "$archive" -C "$work/source" --strip-components=3 --wildcards \
        'redis-*/deps/hdr_histogram/*' >>"$log" 2>&1 ||
        die "unpacking failed; the log is $log" "Is the disk full?"
    mv "$work/source" "$source"
    rm -rf "$work"
}

# Redis has its own allocator set in a header; without that the C library's is used.
compile()
{
    local work=$top/lib.new
    say "building it"
    rm -rf "$work"
    mkdir -p "$work"
    gcc -std=gnu99 -O2 -g -fPIC -fvisibility=hidden -I"$source" \
        -DHDR_MALLOC_INCLUDE='<stdlib.h>' -Dhdr_malloc=malloc -Dhdr_calloc=calloc \
        -Dhdr_realloc=realloc -Dhdr_free=free \
        -c "$source/hdr_histogram.c" -o "$work/hdr_histogram.o" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "the build failed; the log is $log"
    }
    ar rcs "$work/libhdr_histogram.a" "$work/hdr_histogram.o"
    rm "$work/hdr_histogram.o"
    cp "$source/hdr_histogram.h" "$source"/[CL]*.txt "$work/"
    rm -rf "$out"
    mv "$work" "$out"
}

if [ ! -e "$out/libhdr_histogram.a" ]; then
    # shellcheck disable=SC2086
    needs_packages gcc libc6-dev binutils dpkg-dev util-linux >&2
    exec 9>"$top/lock"
    if ! flock -n 9; then
        say "another build of it is under way; waiting for it"
        flock 9
    fi
    unpack
    [ -e "$out/libhdr_histogram.a" ] || compile
fi
# The build looks for it below .cache.
if [ "$(readlink -f "$here/.cache/hdr")" != "$top" ]; then
    mkdir -p "$here/.cache"
    ln -sfn "$top" "$here/.cache/hdr"
fi
echo "$out"
