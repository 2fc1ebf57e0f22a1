#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the host's programs for a CentOS 7 dom0, as XCP-ng 8 has: glibc 2.17, Linux 4.19. Called by
# `./check --full`, and by whoever makes the RPM (docs/xcp-ng.md).
#
# Usage: tools/dom0-build.sh
#
# The last line on standard output is the build directory; progress goes to standard error. What
# makes it old enough is the compiler: zig's clang, told to link against glibc 2.17, which a newer
# build host's C library cannot get past. Libraries are built by it too and linked statically
# (jansson, libseccomp, libcap-ng, HdrHistogram_c, and SQLite 3.7.17, so that no other SQL than
# that dom0's can get in); libxenstore is dom0's own, loaded when vgpu-xenbus starts. Everything is kept under .cache/dom0 (VGPU_CACHE names another place
# than .cache), and a call with nothing to do takes seconds.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/needs.sh
. "$here/tools/needs.sh"
# shellcheck source=tools/debian-source.sh
. "$here/tools/debian-source.sh"

ZIG=0.13.0
TARGET=x86_64-linux-gnu.2.17
SUITE=bookworm
SQLITE=sqlite-autoconf-3071700
SQLITE_SUM=8ff46d0baa9e64c0815544e829e985f1161c096aa6344c8f430791dbeadc2baf
PROGRAMS="launcher/vgpu-launcher mediator/vgpu-mediator mediator/vgpu-nvml worker/vgpu-worker
    store/vgpu-store xenbus/vgpu-xenbus admin/vgpu-admin"

say()
{
    echo "dom0-build: $*" >&2
}

die()
{
    echo "dom0-build: $1" >&2
    shift
    printf '  %s\n' "$@" >&2
    exit 1
}

[ $# = 0 ] || {
    echo "usage: $0" >&2
    exit 2
}

cache=${VGPU_CACHE:-$here/.cache}
mkdir -p "$cache/dom0"
top=$(cd "$cache/dom0" && pwd)
libraries=$top/libraries
build=$top/build
log=$top/log

# meson asks the compiler for its linker in a way that zig does not answer.
write_compiler()
{
    cat >"$top/cc" <<EOF
#!/bin/sh
for word; do
    [ "\$word" != -Wl,--version ] || { echo "LLD 18 (compatible with GNU linkers)"; exit 0; }
done
exec '$top/zig/ziglang/zig' cc -target $TARGET "\$@"
EOF
    printf '#!/bin/sh\nexec "%s/zig/ziglang/zig" ar "$@"\n' "$top" >"$top/ar"
    printf '#!/bin/sh\nexec "%s/zig/ziglang/zig" ranlib "$@"\n' "$top" >"$top/ranlib"
    chmod +x "$top/cc" "$top/ar" "$top/ranlib"
}

get_compiler()
{
    [ -e "$top/zig/complete" ] || {
        say "fetching zig $ZIG (80 MB)"
        rm -rf "$top/zig"
        python3 -m pip install -q --disable-pip-version-check --no-deps --target "$top/zig" \
            "ziglang==$ZIG" >>"$log" 2>&1 || die "no zig $ZIG; the log is $log" \
            "Is the package index within reach? Then call this again."
        touch "$top/zig/complete"
    }
    write_compiler
}

# get NAME: its source from Debian's source package, as $top/source/NAME.
get()
{
    local name=$1 work=$top/fetch
    [ -e "$top/source/$name" ] && return
    say "fetching $name"
    rm -rf "$work"
    mkdir -p "$work/$name" "$top/source"
    debian_source "$name" "$SUITE" "$work" >>"$log" 2>&1 ||
        die "no source package $name; the log is $log"
    tar -xzf "$(ls "$work/${name}"_*.orig.tar.gz)" -C "$work/$name" --strip-components=1
    mv "$work/$name" "$top/source/$name"
}

get_sqlite()
{
    local work=$top/fetch archive=package/deps/$SQLITE.tar.gz
    [ -e "$top/source/sqlite" ] && return
    say "fetching SQLite 3.7.17"
    rm -rf "$work"
    mkdir -p "$work" "$top/source"
    (cd "$work" && npm pack --silent sqlite3@2.1.8 >/dev/null 2>>"$log" &&
        tar -xzf sqlite3-2.1.8.tgz "$archive" &&
        echo "$SQLITE_SUM  $archive" | sha256sum -c --quiet && tar -xzf "$archive") ||
        die "no source of SQLite 3.7.17; the log is $log"
    mv "$work/$SQLITE" "$top/source/sqlite"
}

# archive NAME FLAG...: one static library of $work/*.c
archive()
{
    local name=$1 file objects=()
    shift
    for file in "$work"/*.c; do
        "$top/cc" -O2 -g -fPIC -w "$@" -c "$file" -o "${file%.c}.o"
        objects+=("${file%.c}.o")
    done
    "$top/ar" rcs "$work/lib$name.a" "${objects[@]}"
}

describe()
{
    printf 'Name: %s\nDescription: for dom0\nVersion: %s\nLibs: -L%s/lib -l%s %s\nCflags: -I%s\n' \
        "$1" "$2" "$libraries" "$3" "${4-}" "$libraries/include" \
        >"$libraries.new/lib/pkgconfig/$1.pc"
}

# Its own configure needs tools that its source package leaves to the builder.
jansson()
{
    local work=$top/work/jansson
    mkdir -p "$work"
    cp "$top"/source/jansson/src/*.[ch] "$work/"
    sed -e 's/@json_inline@/inline/' -e 's/@json_have_[a-z_]*@/1/' \
        "$top/source/jansson/src/jansson_config.h.in" >"$work/jansson_config.h"
    : >"$work/jansson_private_config.h" # what it would say is below
    archive jansson -I"$work" -DHAVE_STDINT_H=1 -DHAVE_UNISTD_H=1 -DHAVE_FCNTL_H=1 \
        -DHAVE_SYS_TYPES_H=1 -DHAVE_SYS_STAT_H=1 -DHAVE_SYS_TIME_H=1 -DHAVE_GETTIMEOFDAY=1 \
        -DHAVE_GETPID=1 -DHAVE_OPEN=1 -DHAVE_READ=1 -DHAVE_CLOSE=1 -DHAVE_STRTOLL=1 \
        -DHAVE_LOCALE_H=1 -DUSE_URANDOM=1
    cp "$work/libjansson.a" "$libraries.new/lib/"
    cp "$work/jansson.h" "$work/jansson_config.h" "$libraries.new/include/"
    describe jansson "$(sed -n 's/.*AC_INIT(\[jansson\], \[\([0-9.]*\)\].*/\1/p' \
        "$top/source/jansson/configure.ac")" jansson
}

sqlite()
{
    local work=$top/work/sqlite
    mkdir -p "$work"
    cp "$top/source/sqlite/sqlite3.c" "$top/source/sqlite/sqlite3.h" "$work/"
    archive sqlite3 -DSQLITE_THREADSAFE=1
    cp "$work/libsqlite3.a" "$libraries.new/lib/"
    cp "$work/sqlite3.h" "$libraries.new/include/"
    describe sqlite3 3.7.17 sqlite3 '-ldl -lpthread'
}

histogram()
{
    local work=$top/work/hdr from
    from=$("$here/tools/hdr-build.sh")/../source
    mkdir -p "$work"
    cp "$from"/hdr_histogram.c "$from"/*.h "$work/"
    archive hdr_histogram -std=gnu99 -DHDR_MALLOC_INCLUDE='<stdlib.h>' -Dhdr_malloc=malloc \
        -Dhdr_calloc=calloc -Dhdr_realloc=realloc -Dhdr_free=free
    mkdir -p "$libraries.new/hdr"
    cp "$work/libhdr_histogram.a" "$work/hdr_histogram.h" "$libraries.new/hdr/"
}

# with_configure NAME VERSION LIBRARY FLAG...
with_configure()
{
    local name=$1 version=$2 library=$3 work=$top/work/$1
    shift 3
    cp -a "$top/source/$name" "$work" # with its times: else make wants to make configure anew
    (cd "$work" && ./configure CC="$top/cc" AR="$top/ar" RANLIB="$top/ranlib" CFLAGS="-O2 -g -fPIC" \
        --host=x86_64-linux-gnu --prefix=/ --disable-shared --enable-static "$@" &&
        make -C src && make -C src DESTDIR="$work/out" install &&
        { [ ! -d include ] || make -C include DESTDIR="$work/out" install; }) >>"$log" 2>&1 ||
        die "building $name failed; the log is $log"
    cp "$work/out/lib/lib$library.a" "$libraries.new/lib/"
    cp "$work"/out/include/*.h "$libraries.new/include/"
    describe "$name" "$version" "$library"
}

build_libraries()
{
    [ -e "$libraries" ] && return
    say "building the libraries"
    rm -rf "$libraries.new" "$top/work"
    mkdir -p "$libraries.new/lib/pkgconfig" "$libraries.new/include" "$top/work"
    mkdir -p "$libraries.new/include/xen/io"
    cp /usr/include/ut*.h /usr/include/xenstore*.h "$libraries.new/include/"
    cp /usr/include/xen/io/xs_wire.h "$libraries.new/include/xen/io/"
    describe xenstore 4 xenstore # its header only: dom0's own library is loaded at run time
    jansson
    sqlite
    histogram
    with_configure libcap-ng 0.8.3 cap-ng --without-python --without-python3
    with_configure libseccomp 2.5.4 seccomp
    mv "$libraries.new" "$libraries"
}

# No agent (libmicrohttpd and GnuTLS are not built here), no live screen, no search of the PCI bus.
configure()
{
    [ -e "$build/build.ninja" ] && return
    say "configuring (log: $log)"
    rm -rf "$build"
    CC=$top/cc AR=$top/ar PKG_CONFIG_PATH=$libraries/lib/pkgconfig \
        meson setup "$build" "$here" -Ddom0=true -Dwerror=false -Dagent=disabled -Dtop=disabled \
        -Dpci=disabled -Dweb=disabled -Dxen=enabled -Dhdr_dir="$libraries/hdr" -Dbuildtype=debugoptimized \
        -Db_pie=true \
        -Dc_args="-I$libraries/include" -Dprefer_static=true >>"$log" 2>&1 ||
        die "configuring failed; the log is $log"
}

# shellcheck disable=SC2086
needs_packages $NEEDS_BUILD $NEEDS_XEN make gperf dpkg-dev xz-utils util-linux >&2
command -v npm >/dev/null || die "npm is not installed" "It carries the source of SQLite 3.7.17."
exec 9>"$top/lock"
flock 9
: >"$log"
get_compiler
for name in jansson libcap-ng libseccomp; do
    get "$name"
done
get_sqlite
# Not with ||, under which a command that fails in there would end nothing.
trap '[ $? = 0 ] || echo "dom0-build: failed; the log is $log" >&2' EXIT
build_libraries >>"$log" 2>&1
configure
# shellcheck disable=SC2086
ninja -C "$build" -j "${VGPU_JOBS:-$(nproc)}" $PROGRAMS >>"$log" 2>&1 || {
    grep -m 5 -E 'error:|FAILED' "$log" >&2
    die "the build failed; the log is $log"
}
echo "$build"
