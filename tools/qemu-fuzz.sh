#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU's generic device fuzzer on vgpu-stub, QEMU 7.2 built with clang and its address and
# undefined behaviour sanitizers. Called by ./check --full.
#
# Usage: tools/qemu-fuzz.sh [SECONDS [CORPUS]]
#
# A third of the time (60 s in all by default) a mediator is connected and there is no window, a
# third there is one, and in the last no mediator ever comes.
# The build is kept in .cache/qemu/7.2/fuzz, 6 minutes on two cores at first, and the corpus in
# .cache/qemu/7.2/fuzz-corpus. Exits 1 if an input was found that crashes QEMU or trips a
# sanitizer; it lies in .cache/qemu/7.2/fuzz-found then, with the log beside it.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/needs.sh
. "$here/tools/needs.sh"
seconds=${1:-60}
top=${VGPU_CACHE:-$here/.cache}/qemu/7.2
build=$top/fuzz
found=$top/fuzz-found
corpus=${2:-$top/fuzz-corpus}
binary=$build/qemu-fuzz-x86_64
mediator=

find_clang()
{
    local name
    for name in clang-14 clang-16 clang-15 clang; do
        if command -v "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
}

compile()
{
    local clang cxx ccache=
    "$here/tools/qemu-build.sh" --source-only 7.2 >/dev/null
    [ -n "$(find_clang)" ] || needs_packages clang >&2
    clang=$(find_clang)
    cxx=${clang/clang/clang++}
    needs_packages "libclang-rt-$("$clang" -dumpversion | cut -d. -f1)-dev" >&2
    command -v ccache >/dev/null 2>&1 && ccache='ccache '
    if [ ! -f "$build/build.ninja" ]; then
        rm -rf "$build"
        mkdir -p "$build"
        (cd "$build" && ../source/configure "--cc=$ccache$clang" "--cxx=$ccache$cxx" \
            --enable-fuzzing --enable-sanitizers --target-list=x86_64-softmmu \
            --without-default-features --without-default-devices --with-devices-x86_64=vgpu \
            --enable-tcg --disable-docs --audio-drv-list= --enable-fdt=system) \
            >"$top/fuzz.log" 2>&1 || { tail -n 5 "$top/fuzz.log" >&2; exit 1; }
    fi
    CCACHE_NOHASHDIR=1 ninja -C "$build" -j "${VGPU_JOBS:-$(nproc)}" qemu-fuzz-x86_64 \
        >>"$top/fuzz.log" 2>&1 || { grep -A 12 -m 3 'FAILED' "$top/fuzz.log" >&2; exit 1; }
}

stop_mediator()
{
    [ -z "$mediator" ] || kill "$mediator" 2>/dev/null || true
    mediator=
}

# run NAME SECONDS WITH-MEDIATOR WINDOW-SIZE
run()
{
    local name=$1 limit=$2 peer=$3 window=$4 log=$found/$1.log sock status=0
    sock=$(mktemp -u "${TMPDIR:-/tmp}/vgpu-fuzz-XXXXXX")
    if [ "$peer" = 1 ]; then
        python3 "$here/tests/device/fuzz_mediator.py" "$sock" 2>"$found/peer.log" &
        mediator=$!
    fi
    QEMU_FUZZ_ARGS="-machine pc -nodefaults -bios $found/bios \
-chardev socket,id=vgpu,server=on,wait=$([ "$peer" = 1 ] && echo on || echo off),path=$sock \
-device vgpu-stub,chardev=vgpu,window-size=$window" \
        QEMU_FUZZ_OBJECTS='vgpu*' \
        ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        timeout -k 10 $((limit + 120)) "$binary" --fuzz-target=generic-fuzz \
        -max_total_time="$limit" -timeout=20 -rss_limit_mb=4000 -max_len=8192 \
        -artifact_prefix="$found/$name-" -print_final_stats=1 "$corpus" >"$log" 2>&1 || status=$?
    stop_mediator
    rm -f "$sock"
    if [ "$status" != 0 ] || grep -qE 'Sanitizer:|runtime error|Assertion' "$log"; then
        grep -m 5 -E 'Sanitizer|runtime error|ssertion|Test unit written' "$log" || tail -n 5 "$log"
        echo "qemu-fuzz: $name failed; the log is $log"
        return 1
    fi
    echo "qemu-fuzz: $name: $(grep -m 1 'number_of_executed_units' "$log" | tr -s ' ')"
}

trap stop_mediator EXIT
compile
rm -rf "$found"
mkdir -p "$found" "$corpus"
truncate -s 128K "$found/bios"
python3 "$here/tests/device/fuzz_seeds.py" "$corpus"
failed=0
run mediator $((seconds / 3)) 1 0 || failed=1
run window $((seconds - 2 * (seconds / 3))) 1 64M || failed=1
run alone $((seconds / 3)) 0 64M || failed=1
exit "$failed"
