#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the RPM for an XCP-ng dom0: tools/dom0-build.sh, then rpmbuild (Debian's package rpm).
#
# Usage: tools/dom0-rpm.sh [PYTHON]    PYTHON: of the dom0; /usr/bin/python3, of XCP-ng 8.2
#                                      /usr/bin/python2
#
# The last line on standard output is the RPM's path.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tools/needs.sh
. "$here/tools/needs.sh"

needs_packages rpm >&2
build=$("$here/tools/dom0-build.sh" | tail -n 1)
top=$(dirname "$build")/rpm
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$here/meson.build")
mkdir -p "$top"
rpmbuild -bb --target x86_64 --define "_topdir $top" --define "vgpu_tree $here" \
    --define "vgpu_build $build" --define "vgpu_version $version" \
    --define "vgpu_python ${1:-/usr/bin/python3}" --define "_binary_payload w6.gzdio" \
    "$here/integrations/xcp-ng/vgpu.spec" >"$top/log" 2>&1 || {
    tail -n 5 "$top/log" >&2
    exit 1
}
echo "$top/RPMS/x86_64/vgpu-$version-1.x86_64.rpm"
