# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by quickstart and check: makes sure that packages are there, or says what to do.
#
# needs_packages NAME...   installs those that are missing (root, or sudo without a password);
#                          otherwise prints the command and returns 1.

needs_missing()
{
    local name
    for name in "$@"; do
        if ! dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'install ok installed'; then
            printf '%s ' "$name"
        fi
    done
}

needs_packages()
{
    local missing command
    if ! command -v dpkg-query >/dev/null 2>&1; then
        echo "This is no Debian or Ubuntu system: install the equivalents of: $*" >&2
        echo "Then run this again with VGPU_SKIP_NEEDS=1." >&2
        [ "${VGPU_SKIP_NEEDS:-0}" = 1 ]
        return
    fi
    missing=$(needs_missing "$@")
    [ -z "$missing" ] && return 0
    command="apt-get install -y --no-install-recommends $missing"
    if [ "$(id -u)" = 0 ]; then
        command="env DEBIAN_FRONTEND=noninteractive $command"
    elif sudo -n true 2>/dev/null; then
        command="sudo env DEBIAN_FRONTEND=noninteractive $command"
    else
        echo "These packages are missing: $missing" >&2
        echo "Install them, then run this again:  sudo $command" >&2
        return 1
    fi
    echo "Installing: $missing"
    if ! $command >"${TMPDIR:-/tmp}/vgpu-apt.$$.log" 2>&1; then
        # A fresh machine may have no package lists yet.
        ${command%%apt-get*} apt-get update >>"${TMPDIR:-/tmp}/vgpu-apt.$$.log" 2>&1 || true
        if ! $command >>"${TMPDIR:-/tmp}/vgpu-apt.$$.log" 2>&1; then
            tail -n 5 "${TMPDIR:-/tmp}/vgpu-apt.$$.log" >&2
            echo "Installing failed. Try:  $command" >&2
            return 1
        fi
    fi
    rm -f "${TMPDIR:-/tmp}/vgpu-apt.$$.log"
}

NEEDS_BUILD="gcc libc6-dev meson ninja-build pkg-config python3 libcmocka-dev libjansson-dev
    libsqlite3-dev libseccomp-dev libcap-ng-dev uthash-dev liblz4-dev libzstd-dev libpci-dev
    libmicrohttpd-dev libgnutls28-dev libncurses-dev"
export NEEDS_BUILD

# For what is only tested: promtool (metrics, rules and their tests), replies against OpenAPI, screens
# of a terminal, completion; backups of the database and requests as the guides have them.
NEEDS_TESTS="prometheus python3-jsonschema tmux zsh sqlite3 curl"
export NEEDS_TESTS

# For virtual machines: to build QEMU, the guests' image and driver.
NEEDS_GUESTS="make libglib2.0-dev libpixman-1-dev libfdt-dev zlib1g-dev dpkg-dev patch xz-utils
    seabios busybox-static cpio pciutils kmod"
export NEEDS_GUESTS

# For vgpu-xenbus; Xen itself is unpacked and not installed (tools/xen.sh).
NEEDS_XEN="libxen-dev"
export NEEDS_XEN

# For the panel's tests in a browser; the panel itself needs npm, which is not taken from Debian.
NEEDS_WEB="chromium chromium-driver python3-selenium"
export NEEDS_WEB
