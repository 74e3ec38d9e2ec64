#!/bin/sh
# SPDX-License-Identifier: MIT
# ./bootstrap.sh demo and test on a bare Debian 13, with Mesa of its backports, made by debootstrap in
# a folder (build-debian13/, kept for the next time) and run by chroot. TAP. Needs root.
# usage: debian13.sh [COMMAND...]: of bootstrap.sh; else demo and test
# Environment: DIJIANG_MIRROR, Debian's archive; DIJIANG_DEBIAN13, the folder.
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${DIJIANG_DEBIAN13:-$tests/../build-debian13}
mirror=${DIJIANG_MIRROR:-http://deb.debian.org/debian}
# shellcheck source=tests/tap.sh
. "$tests/tap.sh"
[ "$(id -u)" -eq 0 ] || give_up "making a system needs root"
command -v debootstrap >/dev/null || give_up "debootstrap is not installed"

is_mounted() { grep -q " $root/" /proc/self/mounts; }

# Also of what an earlier run may have left.
unmount()
{
    for folder in dev proc; do
        while grep -q " $root/$folder " /proc/self/mounts; do
            umount "$root/$folder" || umount -l "$root/$folder" || break
        done
    done
}

make_system()
{
    [ ! -e "$root/.complete" ] || return 0
    fails is_mounted
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$mirror"
    mkdir -p "$root/etc/apt/sources.list.d" "$root/etc/apt/preferences.d"
    echo "deb $mirror trixie-backports main" >"$root/etc/apt/sources.list.d/backports.list"
    printf '%s\n' 'Package: src:mesa src:libdrm' 'Pin: release a=trixie-backports' \
        'Pin-Priority: 900' >"$root/etc/apt/preferences.d/mesa"
    : >"$root/.complete"
}

# The tree without what was built here; what was built there stays.
copy_tree()
{
    fails is_mounted
    rm -rf --one-file-system "$root/dijiang.new"
    mkdir -p "$root/dijiang" "$root/dijiang.new"
    tar -C "$tests/.." --one-file-system --exclude='./build*' --exclude=./.git -cf - . |
        tar -C "$root/dijiang.new" -xf -
    [ ! -d "$root/dijiang/build" ] || mv "$root/dijiang/build" "$root/dijiang.new/build"
    rm -rf --one-file-system "$root/dijiang"
    mv "$root/dijiang.new" "$root/dijiang"
}

run_command()
{
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        TERM="${TERM:-dumb}" /dijiang/bootstrap.sh "$1"
}

mkdir -p "$root" || exit 1
root=$(cd "$root" && pwd)
unmount
trap 'unmount; rm -rf --one-file-system "$work"' EXIT
[ $# -gt 0 ] || set -- demo test
require "Debian 13 in a folder" make_system
require "the tree is copied" copy_tree
for command in "$@"; do
    check "Debian 13: ./bootstrap.sh $command" run_command "$command"
    unmount
    tail -n 1 "$work/log" | sed 's/^/# /'
done
check "nothing is left mounted" fails is_mounted
plan
