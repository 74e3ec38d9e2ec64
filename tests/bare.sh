#!/bin/sh
# SPDX-License-Identifier: MIT
# ./bootstrap.sh demo and test on a bare Debian 12, and on a bare Debian 13 with Mesa of its backports,
# each made by debootstrap in a folder (build-bare/) and run by chroot. TAP. Needs root.
# usage: bare.sh [SYSTEMS [COMMAND...]]: bookworm, trixie, or both in one word; of bootstrap.sh
# Environment: DIJIANG_MIRROR, Debian's archive; DIJIANG_BARE, the folder.
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${DIJIANG_BARE:-$tests/../build-bare}
mirror=${DIJIANG_MIRROR:-http://deb.debian.org/debian}
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"
[ "$(id -u)" -eq 0 ] || give_up "making a system needs root"
command -v debootstrap >/dev/null || give_up "debootstrap is not installed"

is_mounted() { grep -q " $root/" /proc/self/mounts; }

# Also of what an earlier run may have left.
unmount()
{
    for mounted in dev proc; do
        while grep -q " $root/$mounted " /proc/self/mounts; do
            umount "$root/$mounted" || umount -l "$root/$mounted" || break
        done
    done
}

# Bare each time; what debootstrap makes is kept.
make_system()
{
    fails is_mounted
    rm -rf --one-file-system "$root"
    if [ ! -e "$folder/$1.tar" ]; then
        debootstrap --variant=minbase --include=ca-certificates "$1" "$root" "$mirror"
        tar -C "$root" --one-file-system -cf "$folder/$1.tar.new" .
        mv "$folder/$1.tar.new" "$folder/$1.tar"
    else
        mkdir "$root"
        tar -C "$root" -xpf "$folder/$1.tar"
    fi
    [ "$1" = trixie ] || return 0 # bootstrap.sh adds the other's backports itself
    mkdir -p "$root/etc/apt/sources.list.d" "$root/etc/apt/preferences.d"
    echo "deb $mirror trixie-backports main" >"$root/etc/apt/sources.list.d/backports.list"
    printf '%s\n' 'Package: src:mesa src:libdrm' 'Pin: release n=trixie-backports' \
        'Pin-Priority: 900' >"$root/etc/apt/preferences.d/mesa"
}

# The tree, without what was built.
copy_tree()
{
    fails is_mounted
    mkdir "$root/dijiang"
    tar -C "$tests/.." --one-file-system --exclude='./build*' --exclude=./.git -cf - . |
        tar -C "$root/dijiang" -xf -
}

run_command()
{
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        TERM="${TERM:-dumb}" /dijiang/bootstrap.sh "$1"
}

# A second run has nothing to set up.
runs_again()
{
    run_command "$1" >"$work/again" 2>&1
    cat "$work/again"
    fails grep -E 'installing|configuring' "$work/again"
}

# tries_matrices FILE: what ./bootstrap.sh test said. The device has them, and so has glslang there.
tries_matrices()
{
    grep -E ' matrices +OK' "$1"
    fails grep '^skipped: matrices' "$1"
}

backported() { chroot "$root" dpkg-query -W mesa-vulkan-drivers | grep 'bpo13'; }

mkdir -p "$folder" || exit 1
folder=$(cd "$folder" && pwd)
root=$folder/root
unmount
trap 'unmount; rm -rf --one-file-system "$work"' EXIT
systems=${1:-bookworm trixie}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- demo test
for system in $systems; do
    check "$system in a folder" make_system "$system"
    passed || continue
    check "$system: the tree is copied" copy_tree
    for command in "$@"; do
        check "$system: ./bootstrap.sh $command" run_command "$command"
        unmount
        cp "$work/log" "$work/said"
        tail -n 1 "$work/said" | sed 's/^/# /'
        [ "$system.$command" != trixie.test ] ||
            check "trixie: cooperative matrices are tried" tries_matrices "$work/said"
    done
    check "$system: ./bootstrap.sh $1, the second time" runs_again "$1"
    unmount
    [ "$system" != trixie ] || check "trixie: its Mesa is that of the backports" backported
    check "$system: nothing is left mounted" fails is_mounted
done
plan
