#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds SQLite 3.7.17, the version in XCP-ng's dom0, links the store and its tests against it, and
# runs them. Called by `./check --full`; needs npm and network the first time, as the npm package
# sqlite3@2.1.8 carries that version's source. Exits with 77 (a skip) if it cannot be had.
#
# Usage: store-sqlite-3717.sh [BUILD-DIRECTORY]
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mkdir -p "${1:-$root/build}/sqlite-3717" && cd "${1:-$root/build}/sqlite-3717" && pwd)
archive=package/deps/sqlite-autoconf-3071700.tar.gz
source=sqlite-autoconf-3071700
sum=8ff46d0baa9e64c0815544e829e985f1161c096aa6344c8f430791dbeadc2baf

skip() {
    echo "skipped: $1"
    exit 77
}

fetch() {
    command -v npm >/dev/null || skip "npm is not installed"
    npm pack --silent sqlite3@2.1.8 >/dev/null 2>npm.log || skip "the source cannot be fetched"
    tar xzf sqlite3-2.1.8.tgz "$archive"
    echo "$sum  $archive" | sha256sum -c --quiet
    tar xzf "$archive"
}

cd "$work"
[ -f "$source/sqlite3.c" ] || fetch
[ -f sqlite3.o ] || cc -c -O1 -g -w -DSQLITE_THREADSAFE=1 -o sqlite3.o "$source/sqlite3.c"

# The store's own sources, without tests and programs.
sources() {
    find "$root/store" -name '*.c' ! -name 'test_*' ! -name 'fuzz_*' ! -name helper_main.c
}

compile() {
    # shellcheck disable=SC2046 # several words, without spaces in them
    cc -std=gnu11 -O1 -g -D_GNU_SOURCE -DVGPU_PROGRAM_VERSION='"3717"' \
        -DTEST_SQLITE_VERSION='"3.7.17"' -I"$source" -I"$root" -I"$root/include" "$@" \
        $(sources) \
        "$root/common/err.c" sqlite3.o $(pkg-config --cflags --libs jansson) -lpthread -ldl
}

compile -o vgpu-store "$root/store/helper_main.c"
names="open upgrade tables scan settings faults revisions audit many import"
for name in $names helper; do
    compile -o "test-store-$name" "$root/store/test_$name.c" "$root/store/test_support.c" -lcmocka
done
for name in $names; do
    "./test-store-$name"
done
./test-store-helper ./vgpu-store
