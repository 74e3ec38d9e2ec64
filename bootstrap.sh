#!/bin/sh
# SPDX-License-Identifier: MIT
# Sets up, builds, shows and tests dijiang on Debian 12, Debian 13 and Ubuntu 24.04 or later.
# Meson is the real build; this installs what it needs and calls it. POSIX sh only.
# Lists of packages, folders and options are words, and meant to split:
# shellcheck disable=SC2046,SC2086
set -u

# The path prefix of the system that is looked at; the tests of this script set it with --dry-run.
root=${DIJIANG_ROOT:-}
source_dir=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
build=${DIJIANG_BUILD:-$source_dir/build}
case $build in
/*) ;;
*) build=$PWD/$build ;;
esac
logs=$build/bootstrap
dry_run=no

usage()
{
    cat <<'END'
Usage: ./bootstrap.sh [--dry-run] COMMAND

  demo    set up, build, and run linear attention on shipped input with the best
          device present; succeeds only if the result is within its bound
  test    set up, build, and run all tests; the last line is
          "N passed, N failed" (", N skipped"); with --all: then also the slow
          proofs, which take hours (compilers, builds, sanitizers, tsan,
          fuzz, widths, devices, aarch64, bare: each is tests/NAME.sh)
  deps    install what is missing to build and run (with --test: and to test;
          with --all: and for the slow proofs)
  build   deps, then configure and compile in release mode

  --dry-run   say what would be installed, change nothing
  --help      this text

Environment: DIJIANG_BUILD, the build folder (build/ beside this script if unset).
A step that was done before is not done again. Known systems: Debian 12 and 13,
Ubuntu 24.04 and later; elsewhere what is missing is listed and nothing is changed.
END
}

say()
{
    printf 'dijiang: %s\n' "$*"
}

die()
{
    printf 'dijiang: %s\n' "$*" >&2
    exit 1
}

# step NAME TEXT COMMAND...: one line of progress; what the command says goes to a log, whose end
# is shown if it fails.
step()
{
    # what root installs must leave nothing in the build folder of somebody else's checkout
    case $1 in
    configure | compile) step_log=$logs/$1.log ;;
    *) step_log=$(mktemp "${TMPDIR:-/tmp}/dijiang-$1.XXXXXX") || die "cannot make a log file" ;;
    esac
    printf 'dijiang: %s ... ' "$2"
    shift 2
    mkdir -p "$(dirname "$step_log")" || die "cannot create $logs"
    (: >"$step_log") 2>/dev/null || die "cannot write $step_log"
    step_start=$(date +%s)
    if "$@" >"$step_log" 2>&1 </dev/null; then
        echo "$(($(date +%s) - step_start)) s"
        case $step_log in "$logs"/*) ;; *) rm -f "$step_log" ;; esac
        return 0
    fi
    echo failed
    tail -n 30 "$step_log" >&2
    printf 'dijiang: the whole log is %s\n' "$step_log" >&2
    return 1
}

### What is needed

# role, package, and for Debian 12 the least version of those that come from its backports
package_table()
{
    cat <<'END'
build gcc
build g++
build meson                   1.1
build ninja-build
build pkgconf
build libvulkan-dev
build libvulkan-volk-dev
build glslang-dev
build glslang-tools
build spirv-tools
build libcjson-dev
build libcairo2-dev
build libvkfft-dev            1.3.4
run   libvulkan1
run   mesa-vulkan-drivers     25
run   fonts-dejavu-core
test  libcmocka-dev
test  vulkan-validationlayers
test  cmake
test  clang
all   gcc-aarch64-linux-gnu
all   g++-aarch64-linux-gnu
all   qemu-user-static
all   debootstrap
END
}

# Sets system to debian-12, debian (13 or later), ubuntu (24.04 or later) or unknown.
find_system()
{
    system=unknown
    system_name="this system"
    [ -r "$root/etc/os-release" ] || return 0
    # shellcheck source=/dev/null
    os_id=$(. "$root/etc/os-release" && echo "${ID:-}")
    # shellcheck source=/dev/null
    os_version=$(. "$root/etc/os-release" && echo "${VERSION_ID:-}")
    # shellcheck source=/dev/null
    system_name=$(. "$root/etc/os-release" && echo "${PRETTY_NAME:-$system_name}")
    os_major=${os_version%%.*}
    case $os_major in
    '' | *[!0-9]*) return 0 ;;
    esac
    command -v dpkg-query >/dev/null || return 0
    case $os_id in
    debian)
        [ "$os_major" -eq 12 ] && system=debian-12
        [ "$os_major" -ge 13 ] && system=debian
        ;;
    ubuntu)
        [ "$os_major" -ge 24 ] && system=ubuntu
        ;;
    esac
    return 0
}

### Known systems: apt

# Prints the packages that are needed and not there, or too old; those that come from backports as
# name/bookworm-backports.
missing_packages()
{
    # of this machine's architecture: another's may be there too
    installed=$(dpkg-query --admindir="$root/var/lib/dpkg" -W \
        -f='${Package} ${db:Status-Status} ${Version} ${Architecture}\n' 2>/dev/null |
        awk -v native="$(dpkg --print-architecture)" '$4 == native || $4 == "all"')
    package_table | while read -r role package least; do
        [ "$with_tests" = yes ] || [ "$role" != test ] || continue
        [ "$with_all" = yes ] || [ "$role" != all ] || continue
        version=$(printf '%s\n' "$installed" |
            awk -v p="$package" '$1 == p && $2 == "installed" { print $3; exit }')
        [ "$system" = debian-12 ] || least=
        if [ -z "$version" ] || ! dpkg --compare-versions "$version" ge "${least:-0}"; then
            echo "$package${least:+/bookworm-backports}"
        fi
    done
}

as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Root rights, or a message that says what an administrator should do.
need_root()
{
    [ "$(id -u)" -eq 0 ] && return 0
    as_root_do="as root: ./bootstrap.sh deps"
    [ "$with_tests" = no ] || as_root_do="$as_root_do --test"
    [ "$with_all" = no ] || as_root_do="$as_root_do --all"
    command -v sudo >/dev/null ||
        die "installing them needs root, and there is no sudo; $as_root_do"
    sudo -n true 2>/dev/null || sudo -v ||
        die "installing them needs root, and sudo was refused; $as_root_do"
}

apt()
{
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

# apt_source_in_list FILE SUITE TO: prints the first one-line binary source that has SUITE and
# main, with SUITE replaced by TO; mirror, signing key and options are kept.
apt_source_in_list()
{
    awk -v suite="$2" -v to="$3" '
        $1 == "deb" {
            at = 2
            if ($2 ~ /^\[/) {
                while ($at !~ /\]$/ && at < NF)
                    at++
                at++
            }
            components = " "
            for (i = at + 2; i <= NF; i++)
                components = components $i " "
            if ($(at + 1) != suite || !index(components, " main "))
                next
            line = "deb"
            for (i = 2; i <= at; i++)
                line = line " " $i
            print line " " to " main"
            exit
        }' "$1"
}

# The same for a file of the newer format, whose sources are paragraphs.
apt_source_in_paragraphs()
{
    grep -v '^#' "$1" | awk -v suite="$2" -v to="$3" '
        BEGIN { RS = ""; FS = "\n" }
        {
            deb = suited = main = enabled = 1
            for (i = 1; i <= NF; i++) {
                name = tolower($i)
                sub(/:.*/, "", name)
                value = $i
                sub(/^[^:]*:/, "", value)
                value = " " value " "
                gsub(/[ \t]+/, " ", value)
                if (name == "types") {
                    deb = index(value, " deb ")
                    $i = "Types: deb"
                } else if (name == "suites") {
                    suited = index(value, " " suite " ")
                    $i = "Suites: " to
                } else if (name == "components") {
                    main = index(value, " main ")
                    $i = "Components: main"
                } else if (name == "enabled") {
                    enabled = value !~ / [Nn]o /
                }
            }
            if (deb && suited && main && enabled) {
                for (i = 1; i <= NF; i++)
                    print $i
                exit
            }
        }'
}

# Finds apt's source of SUITE. Sets entry to it with SUITE replaced by TO, and format to the suffix
# of the file that it must stand in; entry is empty if there is none.
find_apt_source()
{
    format=list
    for file in "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] || continue
        entry=$(apt_source_in_list "$file" "$1" "$2")
        [ -z "$entry" ] || return 0
    done
    format=sources
    for file in "$root"/etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] || continue
        entry=$(apt_source_in_paragraphs "$file" "$1" "$2")
        [ -z "$entry" ] || return 0
    done
    entry=
}

# Adds bookworm-backports on the mirror the system already uses, unless it is there. Sets
# added_source to the file written.
add_backports()
{
    find_apt_source bookworm-backports bookworm-backports
    [ -z "$entry" ] || return 0
    find_apt_source bookworm bookworm-backports
    if [ -z "$entry" ]; then
        entry="deb http://deb.debian.org/debian bookworm-backports main"
        format=list
    fi
    file=/etc/apt/sources.list.d/bookworm-backports.$format
    say "adding bookworm-backports, for VkFFT 1.3.4, Meson and Mesa 25, as $file"
    if [ "$dry_run" = yes ]; then
        printf '%s\n' "$entry" | sed 's/^/    /'
        return 0
    fi
    printf '%s\n' "$entry" | as_root tee "$file" >/dev/null || die "cannot write $file"
    added_source=$file
}

# For those who ask for that alone; other commands go on.
say_complete()
{
    case $command:$dry_run in
    deps:* | *:yes) say "nothing is missing" ;;
    esac
}

install_packages()
{
    set -- $(missing_packages)
    [ $# -gt 0 ] || {
        say_complete
        return 0
    }
    say "$system_name lacks $(echo "$*" | sed 's,/bookworm-backports,,g')"
    [ "$dry_run" = yes ] || need_root
    added_source=
    case $* in
    */bookworm-backports*) add_backports ;;
    esac
    [ "$dry_run" = no ] || return 0
    step apt-update "updating the package lists" apt update &&
        step apt-install "installing $# packages and what they need" \
            apt install --no-install-recommends "$@" && return 0
    if [ -n "$added_source" ]; then
        as_root rm -f "$added_source"
        say "removed $added_source again"
    fi
    return 1
}

### Other systems: look, and change nothing

include_folders='/usr/include /usr/local/include'

# A compiler knows best where headers are; without one, look in the usual places.
has_header()
{
    if command -v "${CC:-cc}" >/dev/null; then
        printf '#if !__has_include(<%s>)\n#error absent\n#endif\n' "$1" |
            "${CC:-cc}" -E -x c - >/dev/null 2>&1
    else
        has_file "$1" $include_folders
    fi
}

# has_file NAME FOLDER...: whether a file matches in one of the folders (patterns allowed in both).
has_file()
{
    pattern=$1
    shift
    for folder in "$@"; do
        for file in $folder/$pattern; do
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

library_folders='/lib /lib64 /usr/lib /usr/lib64 /usr/lib/*-linux-* /usr/local/lib /opt/*/lib'
data_folders='/usr/share /usr/local/share /etc /usr/local/etc /run/opengl-driver/share'

has_vulkan_file()
{
    folders=
    for folder in $data_folders; do
        folders="$folders $folder/vulkan/$1"
    done
    has_file '*'"$2"'*.json' $folders
}

lacks()
{
    missing="$missing
    $*"
}

find_missing_tools()
{
    missing=
    command -v "${CC:-cc}" >/dev/null || lacks "a C compiler (cc)"
    command -v "${CXX:-c++}" >/dev/null || lacks "a C++ compiler (c++)"
    command -v python3 >/dev/null || lacks "Python 3 (python3)"
    command -v meson >/dev/null || lacks "Meson >= 1.1 (meson)"
    command -v ninja >/dev/null || command -v ninja-build >/dev/null || lacks "Ninja (ninja)"
    command -v pkg-config >/dev/null || command -v pkgconf >/dev/null ||
        lacks "pkg-config (pkg-config)"
    command -v glslangValidator >/dev/null || lacks "glslang's compiler (glslangValidator)"
    command -v spirv-opt >/dev/null || lacks "SPIRV-Tools' optimiser (spirv-opt)"
    has_header vulkan/vulkan.h || lacks "the Vulkan headers (vulkan/vulkan.h)"
    has_header volk.h || lacks "volk (volk.h)"
    has_header vkFFT.h || lacks "VkFFT >= 1.3.4 (vkFFT.h)"
    has_header glslang/Include/glslang_c_interface.h ||
        lacks "glslang's headers (glslang/Include/glslang_c_interface.h)"
    has_header cjson/cJSON.h || lacks "cJSON (cjson/cJSON.h)"
    # the loader may stand where only the run-time linker knows
    has_file 'libvulkan.so.1' $library_folders ||
        ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' ||
        lacks "the Vulkan loader (libvulkan.so.1)"
    [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] || has_vulkan_file icd.d '' ||
        lacks "a Vulkan driver (Mesa's lavapipe needs no GPU)"
    [ "$with_tests" = yes ] || return 0
    command -v cmake >/dev/null || lacks "CMake (cmake)"
    has_header cmocka.h || lacks "cmocka (cmocka.h)"
    has_vulkan_file explicit_layer.d khronos_validation ||
        lacks "the Vulkan validation layer (VK_LAYER_KHRONOS_validation)"
}

check_unknown_system()
{
    find_missing_tools
    [ -n "$missing" ] || {
        say_complete
        return 0
    }
    printf 'dijiang: %s is not a system that this script can install on. It lacks:%s\n' \
        "$system_name" "$missing"
    say "nothing was changed; after installing these, run the command again"
    return 1
}

### The commands

do_deps()
{
    find_system
    if [ "$system" = unknown ]; then
        check_unknown_system
    else
        install_packages
    fi
}

# Configures a new build folder; one that is there is only asked for the tests, if it lacks them.
configure()
{
    stamp=$logs/with-tests
    if [ ! -e "$build/build.ninja" ]; then
        rm -f "$stamp"
        set -- -Dtests=disabled
        [ "$with_tests" = no ] || set -- -Dtests=enabled
        # Debian's loader does not look in lib64, Meson's choice where dpkg-dev is not there
        [ "$system" = unknown ] || set -- "$@" --libdir=lib
        step configure "configuring $build" meson setup "$build" "$source_dir" \
            --buildtype=release -Db_ndebug=true "$@" || return 1
    elif [ "$with_tests" = yes ] && [ ! -e "$stamp" ]; then
        step configure "configuring the tests" meson configure "$build" -Dtests=enabled || return 1
    fi
    [ "$with_tests" = no ] || : >"$stamp"
}

do_build()
{
    do_deps || return 1
    [ "$dry_run" = no ] || return 0
    configure && step compile "building" meson compile -C "$build"
}

do_demo()
{
    do_build || return 1
    [ "$dry_run" = no ] || return 0
    cd "$source_dir" || exit 1
    "$build/samples/dijiang-attend" --form reference --check \
        --input tests/data/official_h4_d64_t130.safetensors </dev/null
}

# What test --all runs after the suite: each is tests/NAME.sh, TAP on standard output. Programs of
# other builds (tests/consumers.sh) are part of the suite.
slow_proofs()
{
    cat <<'END'
compilers   GCC and Clang, without a warning
builds      other options of the build
sanitizers  ASan and UBSan, leaks
tsan        the thread sanitizer
fuzz        files as nobody would write them
widths      subgroups of 4 and 16
devices     every optional feature off in turn, and limits at their least
aarch64     64-bit Arm under qemu-user
bare        the commands on a bare Debian 12 and 13
END
}

# Runs them; their cases go to the terminal and into a file each. Sets proofs to what tally.py is
# told of them: NAME STATUS FILE, and so on.
run_slow_proofs()
{
    proofs=
    DIJIANG_BUILD=$build
    export DIJIANG_BUILD
    for proof in $(slow_proofs | awk '{ print $1 }'); do
        say "proving: $(slow_proofs | sed -n "s/^$proof  *//p")"
        {
            sh "$source_dir/tests/$proof.sh" </dev/null
            echo $? >"$logs/$proof.status"
        } | tee "$logs/$proof.tap"
        proofs="$proofs $proof $(cat "$logs/$proof.status") $logs/$proof.tap"
    done
}

do_test()
{
    with_tests=yes
    do_build || return 1
    [ "$dry_run" = no ] || return 0
    rm -f "$build/meson-logs/testlog.json"
    say "testing (some minutes, more when it is the first time)"
    meson test -C "$build" --no-rebuild --print-errorlogs </dev/null
    tested=$?
    proofs=
    [ "$with_all" = no ] || run_slow_proofs
    python3 "$source_dir/tests/tally.py" "$tested" "$build/meson-logs/testlog.json" $proofs
}

with_tests=no
with_all=no
command=
for argument in "$@"; do
    case $argument in
    --help | -h)
        usage
        exit 0
        ;;
    --dry-run) dry_run=yes ;;
    --test) with_tests=yes ;;
    --all)
        with_tests=yes
        with_all=yes
        ;;
    demo | test | deps | build)
        [ -z "$command" ] || {
            echo "bootstrap.sh: one command at a time, not $command and $argument" >&2
            exit 2
        }
        command=$argument
        ;;
    *)
        echo "bootstrap.sh: $argument is not known; ./bootstrap.sh --help lists what is" >&2
        exit 2
        ;;
    esac
done
if [ -z "$command" ]; then
    usage >&2
    exit 2
fi
case $with_all:$command in
yes:demo | yes:build)
    echo "bootstrap.sh: --all is for test and deps" >&2
    exit 2
    ;;
esac
if [ -n "$root" ] && [ "$dry_run" = no ]; then
    die "DIJIANG_ROOT is for --dry-run only"
fi
"do_$command" || exit 1
