# shellcheck shell=bash
# The service of a stack: its addresses, DIR/env, starting it, waiting for it, the demo item.
# Sourced after stack.sh by deploy/up.

SERVICE_LOG_NAME=holdfast.log

# http METHOD URL [CURL_OPTION...]: prints the status; the body goes to the last answer's file.
# No proxy, no ~/.curlrc. --insecure: it is this very machine, whatever name its certificate has.
http() {
    local method=$1 url=$2
    shift 2
    curl --disable --silent --noproxy '*' --insecure --max-time 10 --output "$RUN_DIR/answer" \
        --write-out '%{http_code}' --request "$method" "$@" "$url" || true
}

# A wildcard address is reached over the loopback.
service_address() {
    local listen
    listen=$(config_setting "$1.listen")
    listen=${listen/#0.0.0.0:/127.0.0.1:}
    printf '%s\n' "${listen/#'[::]:'/'[::1]:'}"
}

# service_listener_url SECTION: of the listener http or admin.
service_listener_url() {
    local scheme=http
    [[ -z $(config_setting "$1.tls_certificate_file") ]] || scheme=https
    printf '%s://%s\n' "$scheme" "$(service_address "$1")"
}
service_url() { service_listener_url http; }
service_admin_url() { service_listener_url admin; }

# For any POSIX shell.
shell_quote() { printf "'%s'" "${1//\'/\'\\\'\'}"; }

env_write() {
    local i name shards=${ASKED[shards]} sockets=() pids=()
    for ((i = 0; i < shards; i++)); do
        name=$(server_name "$i" 0)
        sockets+=("$(server_socket "$name")")
        pids+=("$(process_pid "$name")")
    done
    while IFS='=' read -r name i; do
        printf 'export %s=%s\n' "$name" "$(shell_quote "$i")"
    done >"$DIR/env.new" <<END
HOLDFAST_URL=$(service_url)
HOLDFAST_ADMIN_URL=$(service_admin_url)
HOLDFAST_ADMIN_TOKEN=$(<"$SECRETS_DIR/admin_token")
HOLDFAST_CONFIG=$DIR/config.yaml
HOLDFAST_PID=$(process_pid holdfast)
HOLDFAST_REDIS_SOCKET=$SOCKET_DIR/$REDIS_SOCKET_NAME
HOLDFAST_REDIS_PID=$(process_pid redis)
HOLDFAST_MYSQL_SOCKETS=${sockets[*]}
HOLDFAST_MYSQL_PIDS=${pids[*]}
HOLDFAST_MYSQL_USER=$OS_USER
HOLDFAST_DIR=$DIR
END
    mv "$DIR/env.new" "$DIR/env"
}

service_ready() { [[ $(http GET "$(service_url)/readyz") == 200 ]]; }

service_ports_free() {
    local section port
    for section in http admin; do
        port=$(service_address "$section")
        port=${port##*:}
        if port_taken "$port"; then
            die "port $port is taken by another program; choose another: --port P (uses P and P+1)"
        fi
    done
}

service_start() {
    local binary=${ASKED[build_dir]}/holdfast log=$LOG_DIR/$SERVICE_LOG_NAME out
    if process_alive holdfast; then
        if [[ $(readlink "/proc/$(process_pid holdfast)/exe") == *' (deleted)' ]]; then
            warn "the running service is of an older build; to change it:" \
                "deploy/down --dir $DIR && deploy/up --dir $DIR"
        fi
    else
        [[ -x $binary ]] || die "there is no $binary; run without --no-build"
        service_ports_free
        cd "$HOLDFAST_REPO"
        out=$LOG_DIR/migrate.log
        if ! "$binary" migrate -c "$DIR/config.yaml" </dev/null >"$out" 2>&1 9>&-; then
            tail -n 30 "$out" >&2
            die "'holdfast migrate' failed; the end of $out is above"
        fi
        # Each connection is a file, and the usual soft limit is 1024.
        ulimit -S -n "$(ulimit -H -n)"
        process_start holdfast "$log" "$binary" serve -c "$DIR/config.yaml"
    fi
    wait_ready holdfast "$log" service_ready
}

# The token goes to curl as a file that never is one: not on the command line.
admin_header() { printf 'header = "Authorization: Bearer %s"\n' "$(<"$SECRETS_DIR/admin_token")"; }

demo_item() {
    local status
    [[ $(http GET "$(service_url)/v1/items/demo") == 404 ]] || return 0
    status=$(http PUT "$(service_admin_url)/v1/items/demo" --config <(admin_header) \
        --header 'Content-Type: application/json' \
        --data '{"total":100,"per_buyer_limit":2,"hold_seconds":0}')
    [[ $status == 20[01] ]] ||
        die "creating the demo item was answered $status: $(head -c 500 "$RUN_DIR/answer")"
}
