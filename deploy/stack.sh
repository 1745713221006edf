# shellcheck shell=bash
# A stack: what lies in its DIR, how it was asked for, its secrets, its configuration, and the
# service itself. Sourced after lib.sh and servers.sh by deploy/up and deploy/down.
#
#   DIR/.holdfast-stack  the marker: made by deploy/up, so deploy/down may act on it
#   DIR/asked            the flags, remembered: a later `deploy/up --dir DIR` needs none of them
#   DIR/config.yaml      what the service reads        DIR/env      for `source`
#   DIR/secrets/         0600 each                     DIR/run/     pids and sockets
#   DIR/redis/, DIR/mysql/SERVER/                      DIR/log/

STACK_MARK=.holdfast-stack
SLOTS=1024

# --- the directory --------------------------------------------------------------------------

# stack_paths DIR: absolute, without creating anything.
stack_paths() {
    DIR=$(realpath -m -- "$1")
    # Such a path would have to be quoted differently for each of YAML, MariaDB and Redis.
    [[ $DIR =~ ^[^[:space:][:cntrl:]\"\'\`\\\$\#]+$ ]] ||
        die "DIR must have no spaces, quotes or control characters: $DIR"
    RUN_DIR=$DIR/run LOG_DIR=$DIR/log SECRETS_DIR=$DIR/secrets SOCKET_DIR=$DIR/run
    if [[ -e $DIR/socket_dir ]]; then SOCKET_DIR=$(<"$DIR/socket_dir"); fi
}

stack_exists() { [[ -f $DIR/$STACK_MARK ]]; }

# Only a new, an empty or an own directory: `down --wipe` must never meet files of others.
stack_claim() {
    mkdir -p "$DIR"
    if ! stack_exists; then
        [[ -z $(ls -A "$DIR") ]] || die "$DIR is not empty and was not made by deploy/up"
        : >"$DIR/$STACK_MARK"
    fi
    [[ -O $DIR/$STACK_MARK ]] || die "$DIR belongs to another user"
    mkdir -p "$RUN_DIR" "$LOG_DIR" "$SECRETS_DIR"
    chmod 700 "$SECRETS_DIR" "$RUN_DIR"
}

# One up or down at a time. A lock file that was wiped while we waited for it is another's.
stack_lock() {
    while :; do
        exec 9>"$DIR/lock"
        flock -w 180 9 || die "another deploy/up or deploy/down has been busy in $DIR for 3 minutes"
        if [[ $DIR/lock -ef /proc/self/fd/9 ]]; then return 0; fi
        [[ -d $DIR ]] || die "$DIR was wiped meanwhile"
    done
}

# A Unix socket's path may have 107 bytes. Where DIR is too long for that, the sockets go to a
# short directory of their own, that is remembered.
stack_sockets() {
    local longest
    longest="$RUN_DIR/$(server_name 999 9).sock"
    if ((${#longest} <= 107)); then return 0; fi
    if [[ ! -O $SOCKET_DIR || $SOCKET_DIR == "$RUN_DIR" ]]; then
        SOCKET_DIR=$(mktemp -d /tmp/holdfast.XXXXXXXX)
        printf '%s\n' "$SOCKET_DIR" >"$DIR/socket_dir"
    fi
}

# Names what up made, one by one: a file that somebody else put here survives.
stack_wipe() {
    if [[ -e $DIR/socket_dir && $SOCKET_DIR == /tmp/holdfast.* && -O $SOCKET_DIR ]]; then
        rm -rf -- "$SOCKET_DIR"
    fi
    rm -rf -- "$DIR"/{run,log,secrets,redis,mysql}
    rm -f -- "$DIR"/{asked,config.yaml,config.yaml.old,env,socket_dir,lock,"$STACK_MARK"}
    rmdir -- "$DIR" 2>/dev/null || warn "$DIR holds files that deploy/up did not make; they stay"
}

# --- what was asked for ---------------------------------------------------------------------
# ASKED[port|shards|replicas|build_dir], the checksum of the configuration that came of it in
# ASKED[config], and SETTINGS[section.key] of --set.

declare -A ASKED=() SETTINGS=()

# asked_load: for what this call does not say, what an earlier one said, else the default.
asked_load() {
    local key value
    local -A default=([port]=8080 [shards]=2 [replicas]=0 [build_dir]=$HOLDFAST_REPO/build)
    if [[ -e $DIR/asked ]]; then
        while IFS='=' read -r key value; do
            case $key in
            *.*) [[ -v SETTINGS[$key] ]] || SETTINGS[$key]=$value ;;
            shards) asked_same_shards "$value" ;;
            port) [[ ${ASKED[port]:-0} != 0 ]] || ASKED[port]=$value ;;
            *) [[ -v ASKED[$key] ]] || ASKED[$key]=$value ;;
            esac
        done <"$DIR/asked"
    fi
    for key in "${!default[@]}"; do
        [[ -v ASKED[$key] ]] || ASKED[$key]=${default[$key]}
    done
    # `--set section.key=` takes an earlier --set back.
    for key in "${!SETTINGS[@]}"; do
        [[ -n ${SETTINGS[$key]} ]] || unset "SETTINGS[$key]"
    done
    [[ ${ASKED[port]} != 0 ]] || ASKED[port]=$(port_free_run 2)
}

# Rows lie on the shard that owns their slot; nothing here moves them.
asked_same_shards() {
    if [[ ${ASKED[shards]:-$1} != "$1" ]]; then
        die "$DIR has $1 shards; for another number first: deploy/down --dir $DIR --wipe"
    fi
    ASKED[shards]=$1
}

asked_save() {
    local key
    {
        for key in "${!ASKED[@]}"; do printf '%s=%s\n' "$key" "${ASKED[$key]}"; done | sort
        for key in "${!SETTINGS[@]}"; do printf '%s=%s\n' "$key" "${SETTINGS[$key]}"; done | sort
    } >"$DIR/asked.new"
    mv "$DIR/asked.new" "$DIR/asked"
}

# --- secrets --------------------------------------------------------------------------------

secrets_create() {
    local name file
    for name in admin_token id_key mysql_password replication_password; do
        file=$SECRETS_DIR/$name
        [[ -s $file ]] && continue
        # 32 random bytes in hexadecimal: safe between any quotes.
        od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$file.new"
        chmod 600 "$file.new"
        mv "$file.new" "$file"
    done
}

# --- configuration --------------------------------------------------------------------------

# The settings that deploy/up itself decides, one `section.key=value` a line; --set goes over them.
# A stack's servers share the machine with the service: half of the cores is theirs. The fewer loops, the
# more buyers of an item meet in one of them and share a call to Redis.
config_loops() {
    local cores
    cores=$(nproc)
    printf '%s\n' "$((cores > 1 ? cores / 2 : 1))"
}

config_defaults() {
    local port=${ASKED[port]}
    cat <<END
node.name=n1
http.listen=127.0.0.1:$port
http.threads=$(config_loops)
admin.listen=127.0.0.1:$((port + 1))
admin.token_file=$SECRETS_DIR/admin_token
orders.id_key_file=$SECRETS_DIR/id_key
redis.socket=$SOCKET_DIR/$REDIS_SOCKET_NAME
mysql.user=holdfast
mysql.password_file=$SECRETS_DIR/mysql_password
mysql.database=holdfast
END
}

# The effective settings: defaults, then what was asked for.
config_settings() {
    local -A all=()
    local key value
    while IFS='=' read -r key value; do all[$key]=$value; done < <(config_defaults)
    for key in "${!SETTINGS[@]}"; do all[$key]=${SETTINGS[$key]}; done
    for key in "${!all[@]}"; do printf '%s=%s\n' "$key" "${all[$key]}"; done | sort
}

config_setting() { config_settings | sed -n "s/^${1//./\\.}=//p"; }

# A plain scalar where that cannot be misread, else in single quotes.
yaml_scalar() {
    if [[ $1 =~ ^[A-Za-z0-9_/]([A-Za-z0-9_./:@+,=-]*[A-Za-z0-9_/])?$ ]]; then
        printf '%s' "$1"
    else
        printf "'%s'" "${1//\'/\'\'}"
    fi
}

config_yaml() {
    local line key section="" i first last shards=${ASKED[shards]} name
    printf '# Written by deploy/up; see: holdfast settings\n'
    while IFS= read -r line; do
        key=${line%%=*}
        if [[ ${key%%.*} != "$section" ]]; then
            section=${key%%.*}
            printf '%s:\n' "$section"
        fi
        printf '  %s: %s\n' "${key#*.}" "$(yaml_scalar "${line#*=}")"
    done < <(config_settings)
    printf 'shards:\n'
    for ((i = 0; i < shards; i++)); do
        first=$((i * SLOTS / shards)) last=$(((i + 1) * SLOTS / shards - 1))
        name=$(server_name "$i" 0)
        cat <<END
  - name: shard-$i
    slots: $first-$last
    servers:
      - name: $name
        socket: $(server_socket "$name")
        status: primary
        mode: read-write
        weight: 1.0
        zone: local
END
    done
}

# Writes the file if there is none or if other flags were given: what a person changed in it by
# hand lasts until then, and is kept as config.yaml.old after. Succeeds if the file changed.
# config_check BINARY: dies if the service would refuse these settings. Without a binary: nothing to ask.
config_check() {
    local file=$DIR/config.yaml.new out
    [[ -x $1 ]] || return 0
    config_yaml >"$file"
    if ! out=$("$1" check -c "$file" 2>&1); then
        rm -f "$file"
        printf '%s\n' "$out" >&2
        die "nothing was changed. A setting that was given before is taken back by --set SECTION.KEY="
    fi
    rm -f "$file"
}

config_write() {
    local text digest
    text=$(config_yaml)
    digest=$(cksum <<<"$text")
    if [[ -e $DIR/config.yaml && ${ASKED[config]:-} == "$digest" ]]; then return 1; fi
    ASKED[config]=$digest
    if [[ -e $DIR/config.yaml ]]; then cp -p "$DIR/config.yaml" "$DIR/config.yaml.old"; fi
    printf '%s\n' "$text" | write_if_changed "$DIR/config.yaml"
}
