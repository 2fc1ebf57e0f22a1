#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Ties the checked-in PTX to its CUDA C++ sources. Called by meson's tests and ./check, and by hand
# after a change to a kernel.
#
#   tools/ptx-build.sh [--venv DIR]            check: exit 1 if any PTX is not that of its source
#   tools/ptx-build.sh [--venv DIR] --update   compile everything anew and write the manifest
#
# The manifest records the compiler, each variant's flags, and a SHA-256 of every source and every
# PTX file. The check always compares these. Where the recorded version of nvcc is found ($NVCC,
# --venv, $CUDA_HOME, PATH, .cache/*/), it also compiles each source and compares byte by byte.
set -eu
export LC_ALL=C

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
sources=guest/client/kernels
manifest=$sources/MANIFEST

# directory|flags; the first is what vgpu-client carries, the others are tests/ptx's corpus.
variants='guest/client/kernels|-arch=sm_75 -O3
tests/ptx/sm_75-O0|-arch=sm_75 -Xcicc -O0
tests/ptx/sm_90-O3|-arch=sm_90 -O3
tests/ptx/sm_90-O0|-arch=sm_90 -Xcicc -O0'

die() {
    echo "ptx-build: $*" >&2
    exit 1
}

find_nvcc() {
    for candidate in "${NVCC:-}" "$venv"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc \
        "${CUDA_HOME:-/nonexistent}/bin/nvcc" "$(command -v nvcc || true)" \
        .cache/*/lib/python3*/site-packages/nvidia/cu13/bin/nvcc; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            echo "$candidate"
            return
        fi
    done
}

nvcc_version() {
    "$1" --version | sed -n 's/^Cuda compilation tools, release .*, //p'
}

# Writes the PTX of one source $1 with one variant's flags $2 to file $3. The names of internal
# functions hold a number made from the source's absolute path: it becomes zeros.
compile() {
    # shellcheck disable=SC2086 # the flags are several words
    "$nvcc" -ptx $2 -o "$3" "$1"
    sed -i 's/_INTERNAL_[0-9a-f]\{8\}_/_INTERNAL_00000000_/g' "$3"
}

# The manifest for what lies in the tree now.
make_manifest() {
    echo "# Written by tools/ptx-build.sh --update."
    echo "# compiler $1"
    echo "$variants" | sed 's/^/# variant /'
    echo "$variants" | cut -d'|' -f1 | while read -r directory; do
        sha256sum "$directory"/*.ptx
    done | sort -k2
    sha256sum $sources/*.cu
}

update() {
    [ -n "$nvcc" ] || die "no nvcc found: give --venv (see tools/ptx-requirements.txt)"
    echo "$variants" | while IFS='|' read -r directory flags; do
        mkdir -p "$directory"
        rm -f "$directory"/*.ptx
        for source in "$sources"/*.cu; do
            compile "$source" "$flags" "$directory/$(basename "$source" .cu).ptx"
        done
    done
    make_manifest "$(nvcc_version "$nvcc")" >$manifest.new
    mv $manifest.new $manifest
}

check_hashes() {
    make_manifest "$recorded" | diff -u $manifest - ||
        die "sources and PTX differ from $manifest: run tools/ptx-build.sh --update"
    echo "$variants" | cut -d'|' -f1 | while read -r directory; do
        for source in "$sources"/*.cu; do
            [ -f "$directory/$(basename "$source" .cu).ptx" ] || die "$directory lacks $source's PTX"
        done
    done
}

check_compiled() {
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    echo "$variants" | while IFS='|' read -r directory flags; do
        for source in "$sources"/*.cu; do
            name=$(basename "$source" .cu).ptx
            compile "$source" "$flags" "$scratch/$name"
            cmp "$scratch/$name" "$directory/$name" || die "$directory/$name is not $source's PTX"
        done
    done
}

venv=/nonexistent
action=check
while [ $# -gt 0 ]; do
    case $1 in
    --venv)
        [ $# -ge 2 ] || die "--venv needs a directory"
        venv=$2
        shift
        ;;
    --update) action=update ;;
    *) die "unknown argument $1" ;;
    esac
    shift
done

nvcc=$(find_nvcc)
if [ $action = update ]; then
    update
    exit 0
fi
recorded=$(sed -n 's/^# compiler //p' $manifest)
check_hashes
if [ -z "$nvcc" ]; then
    echo "ptx-build: hashes match; no nvcc here, so nothing was compiled"
elif [ "$(nvcc_version "$nvcc")" != "$recorded" ]; then
    echo "ptx-build: hashes match; nvcc is $(nvcc_version "$nvcc"), not $recorded: not compared"
else
    check_compiled
    echo "ptx-build: hashes match, and nvcc $recorded makes the same PTX"
fi
