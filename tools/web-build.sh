#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The web panel's parts of others (agent/web/package.json), and the panel put together.
#
#   web-build.sh --fetch    npm ci into .cache/web, unless what the lock file names is there already
#   web-build.sh OUTPUT     copies agent/web and those parts into OUTPUT, which is made anew
#
# Nothing of others is in the tree, and nothing is loaded from elsewhere when the panel runs. The
# parts are served as they are; only the names by which they import each other become paths.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
source=$root/agent/web
cache=$root/.cache/web
modules=$cache/node_modules

fetched()
{
    [ -f "$cache/complete" ] && cmp -s "$cache/complete" "$source/package-lock.json"
}

fetch()
{
    fetched && return
    command -v npm >/dev/null || { echo "web-build: no npm here" >&2; return 1; }
    rm -f "$cache/complete"
    cp "$source/package.json" "$source/package-lock.json" "$cache/"
    (cd "$cache" && timeout 180 npm ci --ignore-scripts --no-audit --no-fund \
        --fetch-retries=1 --fetch-timeout=30000 >"$cache/npm.log" 2>&1) ||
        { tail -n 5 "$cache/npm.log" >&2; return 1; }
    cp "$cache/package-lock.json" "$cache/complete"
}

# vendor FILE NAME: an ES module, its imports of other parts made into paths beside it.
vendor()
{
    sed -E -e 's#from ?"preact"#from"./preact.js"#g' \
        -e 's#from ?"preact/hooks"#from"./hooks.js"#g' \
        -e 's#from ?"@preact/signals-core"#from"./signals-core.js"#g' \
        -e '/^\/\/# sourceMappingURL=/d' "$modules/$1" >"$new/vendor/$2"
    if grep -Eq '(from|import) ?"[@a-z]' "$new/vendor/$2"; then
        echo "web-build: $1 imports what is not here" >&2
        return 1
    fi
}

assemble()
{
    local output=$1 part
    new=$output.new
    rm -rf "$new"
    mkdir -p "$new/vendor"
    cp -r "$source/index.html" "$source/favicon.svg" "$source/js" "$source/style" "$new/"
    vendor preact/dist/preact.mjs preact.js
    vendor preact/hooks/dist/hooks.mjs hooks.js
    vendor @preact/signals-core/dist/signals-core.mjs signals-core.js
    vendor @preact/signals/dist/signals.mjs signals.js
    vendor htm/dist/htm.mjs htm.js
    vendor uplot/dist/uPlot.esm.js uplot.js
    cp "$modules/uplot/dist/uPlot.min.css" "$new/vendor/uplot.css"
    cp "$modules/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2" \
        "$new/vendor/inter.woff2"
    for part in preact @preact/signals @preact/signals-core htm uplot @fontsource-variable/inter; do
        printf '== %s\n' "$part"
        cat "$modules/$part/LICENSE"
    done >"$new/vendor/LICENSES.txt"
    rm -rf "$output"
    mv "$new" "$output"
}

[ $# = 1 ] || { echo "usage: web-build.sh --fetch | OUTPUT" >&2; exit 2; }
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
fetch
[ "$1" = --fetch ] || assemble "$1"
