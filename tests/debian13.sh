#!/bin/sh
# SPDX-License-Identifier: MIT
# ./bootstrap.sh demo and test on a bare Debian 13, with Mesa of its backports, made by debootstrap in
# a folder (build-debian13/) and run by chroot. TAP. Needs root.
# usage: debian13.sh [COMMAND...]: of bootstrap.sh; else demo and test
# Environment: DIJIANG_MIRROR, Debian's archive; DIJIANG_DEBIAN13, the folder.
set -u

tests=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${DIJIANG_DEBIAN13:-$tests/../build-debian13}
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
    if [ ! -e "$folder/base.tar" ]; then
        debootstrap --variant=minbase --include=ca-certificates trixie "$root" "$mirror"
        tar -C "$root" --one-file-system -cf "$folder/base.tar.new" .
        mv "$folder/base.tar.new" "$folder/base.tar"
    else
        mkdir "$root"
        tar -C "$root" -xpf "$folder/base.tar"
    fi
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

backported() { chroot "$root" dpkg-query -W mesa-vulkan-drivers | grep 'bpo13'; }

mkdir -p "$folder" || exit 1
folder=$(cd "$folder" && pwd)
root=$folder/root
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
check "its Mesa is that of the backports" backported
check "nothing is left mounted" fails is_mounted
plan
