#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Starts and stops the host side (launcher, mediator, agent) in a directory of its own. Sourced by
# quickstart; run by hand: tools/local-host.sh start BUILD DIRECTORY | stop DIRECTORY.

# host_library NAME: the file behind a library's name, as the loader finds it.
host_library()
{
    /sbin/ldconfig -p | awk -v name="$1" '$1 == name && /x86-64/ { print $NF; exit }'
}

# host_choose_driver BUILD auto|softgpu|PATH: sets HOST_DRIVER, HOST_NVML and HOST_DRIVER_NAME.
host_choose_driver()
{
    local build=$1 wish=$2
    build=$(realpath "$build")
    HOST_DRIVER=$build/softgpu/libsoftgpu.so
    HOST_NVML=$build/softgpu/libsoftgpu-nvml.so
    HOST_DRIVER_NAME=softgpu
    case "$wish" in
    softgpu) ;;
    auto)
        if [ -e /dev/nvidiactl ] && command -v nvidia-smi >/dev/null 2>&1 &&
            nvidia-smi -L 2>/dev/null | grep '^GPU 0' >/dev/null; then
            HOST_DRIVER=$(host_library libcuda.so.1)
            HOST_NVML=$(host_library libnvidia-ml.so.1)
            HOST_DRIVER_NAME="NVIDIA's driver"
        fi
        ;;
    *)
        HOST_DRIVER=$wish
        [ -e "$wish" ] || HOST_DRIVER=$(host_library "$wish")
        HOST_DRIVER_NAME=$wish
        ;;
    esac
    echo "GPU driver: $HOST_DRIVER_NAME ($HOST_DRIVER)"
}

# host_wait FILE PID: until FILE is there; fails when PID is gone or after 10 s.
host_wait()
{
    local tries=0
    while [ ! -e "$1" ]; do
        kill -0 "$2" 2>/dev/null || return 1
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || return 1
        sleep 0.05
    done
}

# host_install BUILD DIRECTORY: the programs in one folder that the workers' users can read, too;
# a checkout in somebody's home often is none.
host_install()
{
    local build=$1 run=$2
    mkdir -p "$run/bin"
    install -m 755 "$build/worker/vgpu-worker" "$build/launcher/vgpu-launcher" \
        "$build/mediator/vgpu-mediator" "$build/mediator/vgpu-nvml" "$build/store/vgpu-store" \
        "$run/bin/"
    if [ "$HOST_DRIVER_NAME" = softgpu ]; then
        install -m 755 "$HOST_DRIVER" "$run/bin/"
        HOST_DRIVER=$run/bin/$(basename "$HOST_DRIVER")
    fi
}

# host_cgroup DIRECTORY: a new cgroup's path where this user may limit memory, else nothing.
host_cgroup()
{
    local parent
    if grep -qsw memory /sys/fs/cgroup/cgroup.subtree_control; then
        parent=/sys/fs/cgroup
    elif [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
        parent=/sys/fs/cgroup/memory
    else
        return 0
    fi
    parent=$parent/$(basename "$1")
    if mkdir "$parent" 2>/dev/null; then
        rmdir "$parent"
        echo "$parent"
    fi
}

# host_start BUILD DIRECTORY
host_start()
{
    local build=$1 run=$2 pid cgroup user=() name
    host_install "$build" "$run"
    [ "$(id -u)" = 0 ] && user=(--base-uid 880000)
    cgroup=$(host_cgroup "$run")
    [ -n "$cgroup" ] && user+=(--cgroup "$cgroup")
    # Workers have nothing of this environment but what the launcher is told: theirs must be the
    # devices that the mediator's NVML helper sees.
    for name in $(compgen -v SOFTGPU_); do
        user+=(--env "$name=${!name}")
    done
    # Sessions of their own: what ends the caller does not end them.
    setsid "$run/bin/vgpu-launcher" --socket "$run/launcher.sock" "${user[@]}" \
        --worker "$run/bin/vgpu-worker" --driver "$HOST_DRIVER" </dev/null >>"$run/log" 2>&1 &
    pid=$!
    echo "$pid" >"$run/launcher.pid"
    host_wait "$run/launcher.sock" "$pid" || return 1
    host_start_mediator "$run"
}

host_start_mediator()
{
    local run=$1 pid
    setsid "$run/bin/vgpu-mediator" --run-dir "$run" --database "$run/vgpu.db" --create-database \
        --launcher-socket "$run/launcher.sock" --helper-dir "$run/bin" --nvml "$HOST_NVML" \
        --driver-name "$HOST_DRIVER_NAME" --agent-uid "$(id -u)" </dev/null >>"$run/log" 2>&1 &
    pid=$!
    echo "$pid" >"$run/host-mediator.pid"
    host_wait "$run/admin.sock" "$pid"
}

# host_start_agent BUILD DIRECTORY: REST and, where it was built, the panel, on a free port of this
# machine. Sets HOST_AGENT_URL and HOST_AGENT_TOKEN, or returns 1.
host_start_agent()
{
    local build=$1 run=$2 pid web=()
    [ -x "$build/agent/vgpu-agent" ] || return 1
    install -m 755 "$build/agent/vgpu-agent" "$run/bin/"
    if [ -f "$build/agent/web/panel/index.html" ]; then
        cp -r "$build/agent/web/panel" "$run/panel"
        web=(--web "$run/panel")
    fi
    HOST_AGENT_TOKEN=$("$run/bin/vgpu-agent" token add quickstart --role admin \
        --tokens "$run/tokens" 2>>"$run/log") || return 1
    export HOST_AGENT_TOKEN HOST_AGENT_URL
    setsid "$run/bin/vgpu-agent" --admin-socket "$run/admin.sock" --tokens "$run/tokens" \
        --unix "$run/agent.sock" --listen 127.0.0.1:0 "${web[@]}" </dev/null >"$run/agent.log" 2>&1 &
    pid=$!
    echo "$pid" >"$run/agent.pid"
    host_wait "$run/agent.sock" "$pid" || return 1
    for _ in $(seq 100); do
        HOST_AGENT_URL=$(sed -nE 's|.* on="?(127\.0\.0\.1:[0-9]+)"? .*|http://\1/|p' "$run/agent.log")
        [ -n "$HOST_AGENT_URL" ] && return 0
        sleep 0.05
    done
    return 1
}

# host_runs PID: not so if it has ended and nobody has reaped it yet.
host_runs()
{
    kill -0 "$1" 2>/dev/null && ! grep -qs '^State:.Z' "/proc/$1/status"
}

# host_stop DIRECTORY: asks guests and all programs to end, and waits until they have.
host_stop()
{
    local run=$1 name pid
    if [ -d "$run/guests" ]; then
        "$(dirname "${BASH_SOURCE[0]}")/guest.py" stop "$run"
    fi
    for name in agent host-mediator launcher; do
        [ -f "$run/$name.pid" ] || continue
        pid=$(cat "$run/$name.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            host_runs "$pid" || break
            sleep 0.05
        done
        kill -9 "$pid" 2>/dev/null || true
        rm -f "$run/$name.pid"
    done
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set -euo pipefail
    case "${1:-}" in
    start)
        [ $# -eq 3 ] || { echo "usage: $0 start BUILD DIRECTORY" >&2; exit 2; }
        host_choose_driver "$2" "${VGPU_DRIVER:-auto}"
        mkdir -p "$3"
        if ! host_start "$2" "$3"; then
            tail -n 5 "$3/log" >&2
            echo "$0: the host side did not start; its log is $3/log" >&2
            exit 1
        fi
        ;;
    stop)
        if [ $# -ne 2 ] || [ ! -f "$2/launcher.pid" ]; then
            echo "usage: $0 stop DIRECTORY, one that was started so" >&2
            exit 2
        fi
        host_stop "$2"
        rm -rf "$2"
        ;;
    *)
        echo "usage: $0 start BUILD DIRECTORY | stop DIRECTORY" >&2
        exit 2
        ;;
    esac
fi
