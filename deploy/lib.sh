# shellcheck shell=bash
# Shared by deploy/up, deploy/down and tests/run: words to the user, Debian packages, the build,
# processes that outlive their script, free ports. It is sourced, never run, and works with an
# empty environment.

HOLDFAST_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# A bare `env -i` or a cron job has no useful PATH, and mariadbd lives in /usr/sbin.
PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH LC_ALL=C.UTF-8
unset CDPATH

# What it takes to build and run. Of MariaDB only the programs are wanted: mariadb-server would
# add a system daemon and its own data directory, which nothing here uses.
RUN_PACKAGES=(
    cmake ninja-build pkg-config gcc libc6-dev
    libh2o-evloop-dev libhiredis-dev default-libmysqlclient-dev libcjson-dev
    libyaml-dev uthash-dev libxxhash-dev libjwt-dev libssl-dev libunistring-dev zlib1g-dev libnghttp2-dev
    redis-server redis-tools mariadb-server-core mariadb-client-core mariadb-client
    curl jq util-linux procps openssl python3 wrk
)
# What the tests take besides.
TEST_PACKAGES=(
    libcmocka-dev libcurl4-openssl-dev libluajit-5.1-dev clang-format-14 shellcheck nghttp2-client
    libfaketime iproute2 nftables
    clang-14 libclang-rt-14-dev valgrind
    gnuplot-nox strace
)

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

# need_value OPTION COUNT_OF_ARGUMENTS: an option's value must not be missing.
need_value() { (($2 >= 2)) || die "$1 needs a value"; }

# --- packages -------------------------------------------------------------------------------

packages_missing() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            printf '%s ' "$package"
    done
}

# Installs those of the named packages that are missing; says nothing if none is.
packages_install() {
    command -v dpkg-query >/dev/null || die "this is not Debian: install by hand: $*"
    local missing
    missing=$(packages_missing "$@")
    [[ -n $missing ]] || return 0
    ((EUID == 0)) || die "missing packages; as root run: apt-get install $missing"
    say "installing: $missing"
    packages_apt "$@"
    missing=$(packages_missing "$@")
    [[ -z $missing ]] || die "could not install: $missing"
}

# In a subshell, for its own trap and lock. --no-remove: rather fail than take away, for instance,
# a MySQL of Oracle's that conflicts with MariaDB and may be in use.
packages_apt() (
    exec 9>/run/holdfast-apt.lock
    flock 9
    local log wanted
    read -ra wanted <<<"$(packages_missing "$@")"
    ((${#wanted[@]})) || exit 0
    log=$(mktemp)
    trap 'services_unblock; rm -f "$log"' EXIT
    trap 'exit 130' INT TERM HUP
    services_block
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    if ! { "${apt[@]}" update && "${apt[@]}" install --yes --no-remove --no-install-recommends \
        "${wanted[@]}"; } 9>&- </dev/null >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        die "apt-get failed; its last lines are above"
    fi
)

# Debian starts and restarts daemons from package scripts, unless this policy forbids it. One
# that the administrator put there stays as it is.
POLICY_FILE=/usr/sbin/policy-rc.d
POLICY_MARK="# put here by Holdfast's deploy/lib.sh while packages are installed"

services_block() {
    if [[ ! -e $POLICY_FILE ]]; then
        printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" >"$POLICY_FILE"
        chmod 755 "$POLICY_FILE"
    fi
}

services_unblock() {
    if [[ -e $POLICY_FILE ]] && grep -qxF "$POLICY_MARK" "$POLICY_FILE"; then
        rm -f "$POLICY_FILE"
    fi
}

# --- build ----------------------------------------------------------------------------------

# build DIR [CMAKE_OPTION...]: quiet unless it fails. Without options a directory that was
# configured before keeps its kind (an ASan build, say); a new one becomes a release build.
# BUILD_TARGETS has what is built; empty: all.
BUILD_TARGETS=()
build() (
    local dir=$1 log configure=()
    shift
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd -P)
    exec 9>"$dir/.build.lock"
    flock 9
    log=$dir/.build.log
    say "building $dir"
    if (($#)) || [[ ! -e $dir/build.ninja ]] || build_moved "$dir"; then
        configure=("${@:--DCMAKE_BUILD_TYPE=Release}")
        if build_moved "$dir"; then configure+=(--fresh); fi
    fi
    if ! {
        { ((${#configure[@]} == 0)) ||
            cmake -S "$HOLDFAST_REPO" -B "$dir" -G Ninja "${configure[@]}"; } &&
            ninja -C "$dir" "${BUILD_TARGETS[@]}"
    } 9>&- </dev/null >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "the build failed; the whole log is $log"
    fi
)

# A build directory that was copied with its sources still points to the old place.
build_moved() {
    [[ -e $1/CMakeCache.txt ]] &&
        ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$HOLDFAST_REPO" "$1/CMakeCache.txt"
}

# --- processes ------------------------------------------------------------------------------
# A process NAME leaves two files in RUN_DIR: NAME.pid, and NAME.id with what no recycled pid can
# share: this boot, and the tick at which the process started. RUN_DIR is set by the caller.

# The identity of a live pid; fails for one that is gone or a zombie.
process_identity() {
    local stat fields
    # The file may vanish between the test and the read: that is "gone" too.
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The name, in parentheses, may itself hold spaces and parentheses.
    read -ra fields <<<"${stat##*) }"
    [[ ${fields[0]} != [ZX] ]] || return 1
    printf '%s:%s\n' "$(</proc/sys/kernel/random/boot_id)" "${fields[19]}"
}

process_pid() { cat "$RUN_DIR/$1.pid" 2>/dev/null || true; }

process_alive() {
    local pid identity
    pid=$(process_pid "$1")
    [[ -n $pid && -e $RUN_DIR/$1.id ]] || return 1
    identity=$(process_identity "$pid") || return 1
    [[ $identity == "$(<"$RUN_DIR/$1.id")" ]]
}

# process_start NAME LOG COMMAND...: detached, in its own session, with nothing inherited that
# could keep the caller's lock or pipes open.
process_start() {
    local name=$1 log=$2 pid identity
    shift 2
    # shellcheck disable=SC2016 # these expand in the new shell
    setsid bash -c '
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            if ((fd > 2)); then exec {fd}>&-; fi
        done
        exec "$@"' bash "$@" </dev/null >>"$log" 2>&1 &
    pid=$!
    identity=$(process_identity "$pid") || identity=gone
    printf '%s\n' "$identity" >"$RUN_DIR/$name.id"
    printf '%s\n' "$pid" >"$RUN_DIR/$name.pid"
    disown "$pid" 2>/dev/null || true
}

# How long a process may take to start or to end. A machine may be slow or busy, and only a failure
# lasts that long. A service that ends may wait for its requests (shutdown.deadline_ms).
PROCESS_SECONDS=180

# processes_stop NAME...: asks all of them, waits, and only then kills. What is not alive is just
# tidied.
processes_stop() {
    local name
    for name in "$@"; do process_ask "$name"; done
    for name in "$@"; do process_end "$name"; done
}

process_ask() {
    local pid
    if ! process_alive "$1"; then return 0; fi
    pid=$(process_pid "$1")
    kill -TERM "$pid" 2>/dev/null || true
    # One that somebody has paused could never act on the request.
    kill -CONT "$pid" 2>/dev/null || true
}

process_end() {
    local name=$1 deadline=$((SECONDS + PROCESS_SECONDS)) pid
    pid=$(process_pid "$name")
    while process_alive "$name"; do
        if ((SECONDS >= deadline)); then
            warn "$name (pid $pid) did not end within $PROCESS_SECONDS s: killing it"
            kill -KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + 10))
        fi
        sleep 0.05
    done
    rm -f "$RUN_DIR/$name.pid" "$RUN_DIR/$name.id"
}

# wait_ready NAME LOG PROBE...: until PROBE succeeds; fails, with the end of the log, when
# the process dies or the time is up.
wait_ready() {
    local name=$1 log=$2 deadline=$((SECONDS + PROCESS_SECONDS))
    shift 2
    until "$@"; do
        if ! process_alive "$name"; then
            tail -n 30 "$log" >&2 || true
            die "$name ended while starting; the end of $log is above"
        fi
        if ((SECONDS >= deadline)); then
            tail -n 30 "$log" >&2 || true
            die "$name is not ready after $PROCESS_SECONDS s; the end of $log is above"
        fi
        sleep 0.1
    done
}

# --- ports ----------------------------------------------------------------------------------

# Does anything listen on this TCP port, on any address? State 0A is LISTEN.
port_taken() {
    local hex
    printf -v hex '%04X' "$1"
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$hex" '$4 == "0A" && $2 ~ ":" port "$" { found = 1 } END { exit !found }'
}

# port_free_run COUNT: the first of COUNT free ports in a row, below the range from which the
# kernel takes ports for outgoing connections.
port_free_run() {
    local count=$1 try i port
    for ((try = 0; try < 200; try++)); do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
        for ((i = 0; i < count; i++)); do
            if port_taken $((port + i)); then continue 2; fi
        done
        printf '%s\n' "$port"
        return 0
    done
    die "found no $count free ports in a row"
}
