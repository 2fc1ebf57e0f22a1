# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by qemu-build.sh and hdr-build.sh: gets a source package of Debian's, with apt's own
# check of its signature and sums, and without a change to this machine's settings.
#
# debian_source NAME SUITE DIRECTORY   leaves NAME_*.dsc and what belongs to it in DIRECTORY.

# The archive that this machine's own apt uses for Debian's packages.
debian_archive()
{
    # shellcheck disable=SC2016  # apt's own names
    apt-get indextargets --format '$(LABEL)|$(COMPONENT)|$(REPO_URI)' "Created-By: Packages" |
        awk -F'|' '$2 == "main" && $1 == "Debian" { print $3; found = 1; exit }
                   $2 == "main" && $3 ~ /\/debian\/?$/ { spare = $3 }
                   END { if (!found && spare) print spare }'
}

# By an apt whose lists and settings are all in DIRECTORY.
debian_source()
{
    local name=$1 suite=$2 where=$3 uri key=/usr/share/keyrings/debian-archive-keyring.gpg signed=
    uri=$(debian_archive)
    [ -n "$uri" ] || return 1
    [ -e "$key" ] && signed="[signed-by=$key] "
    mkdir -p "$where/lists/partial" "$where/cache/archives/partial" "$where/parts"
    echo "deb-src $signed$uri $suite main" >"$where/sources.list"
    local apt=(apt-get -q -o "Dir::Etc::sourcelist=$where/sources.list"
        -o "Dir::Etc::sourceparts=$where/parts" -o "Dir::State::lists=$where/lists"
        -o "Dir::Cache=$where/cache" -o "Acquire::Languages=none" -o "Acquire::Retries=2"
        -o "APT::Sandbox::User=$(id -un)" -o "Acquire::AllowReleaseInfoChange=true")
    "${apt[@]}" update && (cd "$where" && "${apt[@]}" source --download-only "$name/$suite")
}
