# shellcheck shell=bash
# The private servers of a stack: one Redis, and for each shard a MariaDB primary "shard-I-a" with
# replicas "shard-I-b", "shard-I-c", ... All under $DIR, all fully durable. Sourced after lib.sh by
# a script that has set DIR, RUN_DIR, LOG_DIR, SECRETS_DIR and SOCKET_DIR.

OS_USER=$(id -un)

# Writes stdin to FILE if it differs; succeeds if it changed.
write_if_changed() {
    local text
    text=$(cat)
    if [[ -e $1 && $(<"$1") == "$text" ]]; then return 1; fi
    printf '%s\n' "$text" >"$1.new"
    mv "$1.new" "$1"
}

# --- Redis ----------------------------------------------------------------------------------

REDIS_SOCKET_NAME=redis.sock

redis_config() {
    cat <<END
port 0
unixsocket "$SOCKET_DIR/$REDIS_SOCKET_NAME"
unixsocketperm 700
daemonize no
dir "$DIR/redis"
save ""
appendonly yes
appendfsync always
maxmemory-policy noeviction
END
}

redis_answers() {
    [[ $(redis-cli -s "$SOCKET_DIR/$REDIS_SOCKET_NAME" PING 2>/dev/null) == PONG ]]
}

redis_start() {
    mkdir -p "$DIR/redis"
    if redis_config | write_if_changed "$DIR/redis/redis.conf"; then processes_stop redis; fi
    process_alive redis ||
        process_start redis "$LOG_DIR/redis.log" redis-server "$DIR/redis/redis.conf"
}

redis_wait() { wait_ready redis "$LOG_DIR/redis.log" redis_answers; }

# --- MariaDB --------------------------------------------------------------------------------

server_name() { # SHARD ORDINAL: 0 is the primary, a
    local letters=abcdefghij
    printf 'shard-%s-%s\n' "$1" "${letters:$2:1}"
}
server_socket() { printf '%s/%s.sock\n' "$SOCKET_DIR" "$1"; }

# mysql_client NAME [ARGUMENT...]: as the account that is this OS user, so without a password.
mysql_client() {
    local name=$1
    shift
    mariadb --no-defaults --batch --skip-column-names --connect-timeout=5 \
        --socket="$(server_socket "$name")" --user="$OS_USER" "$@"
}

mysql_answers() { mysql_client "$1" --execute='SELECT 1' >/dev/null 2>&1; }

# mysql_config NAME SHARD ORDINAL PORT: PORT 0 is no network at all. Replication cannot use a
# Unix socket, so a shard with replicas listens on the loopback, where only the replication
# account can log in. Of several servers each starts read-only: see positions.sh. The first one
# follows nobody, whatever it did when it was another. HOLDFAST_TEST_MYSQL_OPTIONS: more lines, of
# tests/run.
mysql_config() {
    local name=$1 shard=$2 ordinal=$3 port=$4 network="skip_networking" role=""
    if ((port)); then network=$'bind_address = 127.0.0.1\n'"port = $port"; fi
    if ((ordinal)) || shard_has_others "$shard"; then
        role=$'read_only = 1\nrelay_log = relay\nrelay_log_recovery = 1'
    fi
    if ((ordinal == 0)) && [[ -n $role ]]; then role+=$'\nskip_slave_start = 1'; fi
    cat <<END
[mariadbd]
user = $OS_USER
datadir = "$DIR/mysql/$name/data"
tmpdir = "$DIR/mysql/$name/tmp"
socket = "$(server_socket "$name")"
pid_file = "$DIR/mysql/$name/mariadbd.pid"
log_error = "$LOG_DIR/$name.log"
$network
skip_name_resolve = 1
max_connections = 500
character_set_server = utf8mb4
# Durable at every commit, and never less than that.
innodb_flush_log_at_trx_commit = 1
sync_binlog = 1
innodb_buffer_pool_size = 256M
# Ready for replicas from the first transaction.
server_id = $((shard * 100 + ordinal + 1))
gtid_domain_id = $((shard + 1))
gtid_strict_mode = 1
log_bin = binlog
binlog_format = ROW
log_slave_updates = 1
$role
${HOLDFAST_TEST_MYSQL_OPTIONS-}
END
}

# Creates the data directory beside its final place, so that an interrupted start leaves none.
# --force: only against its refusal of a machine that cannot look up its own name.
mysql_create() {
    local base=$1 log
    log=$base/create.log
    rm -rf "$base/data.new"
    mkdir -p "$base/data.new"
    mariadb-install-db --defaults-file="$base/my.cnf" --datadir="$base/data.new" \
        --user="$OS_USER" --skip-name-resolve --force --skip-test-db \
        --auth-root-authentication-method=socket --auth-root-socket-user="$OS_USER" \
        </dev/null >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        die "mariadb-install-db failed; the end of $log is above"
    }
    rm -f "$base/seeded"
    mv "$base/data.new" "$base/data"
}

# mysql_start SHARD ORDINAL PORT: does not wait, so that all servers start side by side.
mysql_start() {
    local shard=$1 ordinal=$2 port=$3 name base
    name=$(server_name "$shard" "$ordinal")
    base=$DIR/mysql/$name
    mkdir -p "$base/tmp"
    if mysql_config "$name" "$shard" "$ordinal" "$port" | write_if_changed "$base/my.cnf"; then
        processes_stop "$name"
    fi
    if process_alive "$name"; then return 0; fi
    [[ -d $base/data ]] || mysql_create "$base"
    process_start "$name" "$LOG_DIR/$name.log" mariadbd --defaults-file="$base/my.cnf"
}

# Until the server answers; then its accounts, which every server of a group has for itself: they
# stay out of the binary log, so that no server can collide with what it is told by another.
mysql_wait() {
    local name=$1
    wait_ready "$name" "$LOG_DIR/$name.log" mysql_answers "$name"
    mysql_client "$name" < <(mysql_accounts)
}

mysql_accounts() {
    local password replication
    password=$(<"$SECRETS_DIR/mysql_password")
    replication=$(<"$SECRETS_DIR/replication_password")
    cat <<END
SET SESSION sql_log_bin = 0;
CREATE DATABASE IF NOT EXISTS holdfast CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS 'holdfast'@'localhost' IDENTIFIED BY '$password';
ALTER USER 'holdfast'@'localhost' IDENTIFIED BY '$password';
GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES,
  CREATE TEMPORARY TABLES ON holdfast.* TO 'holdfast'@'localhost';
CREATE USER IF NOT EXISTS 'holdfast_replica'@'127.0.0.1' IDENTIFIED BY '$replication';
ALTER USER 'holdfast_replica'@'127.0.0.1' IDENTIFIED BY '$replication';
-- CONNECTION ADMIN: init_connect is not for what replication asks its master.
GRANT REPLICATION SLAVE, CONNECTION ADMIN ON *.* TO 'holdfast_replica'@'127.0.0.1';
END
}

# --- replicas -------------------------------------------------------------------------------

# The port of a shard's primary while it has replicas; it is kept, so that a restart finds it.
# A server that already runs owns its port; otherwise one taken meanwhile is given up.
server_port() {
    local name=$1 file=$DIR/mysql/$1/port
    mkdir -p "$DIR/mysql/$name"
    if [[ -e $file ]] && ! process_alive "$name" && port_taken "$(<"$file")"; then rm "$file"; fi
    [[ -e $file ]] || port_free_run 1 >"$file"
    cat "$file"
}

# Of a server that lacks nothing: it follows nobody, and takes writes.
primary_open() {
    mysql_client "$1" --execute='STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0'
}

# replica_attach SHARD ORDINAL PRIMARY_PORT: a new replica takes a copy of the database, with the
# position at which it was taken; one that was attached before learns the port again.
replica_attach() {
    local shard=$1 ordinal=$2 port=$3 primary replica
    primary=$(server_name "$shard" 0)
    replica=$(server_name "$shard" "$ordinal")
    if replica_runs "$replica"; then return 0; fi
    # Only a copy that went through leaves this file, so one that was cut short is made again.
    if [[ ! -e $DIR/mysql/$replica/seeded ]]; then
        {
            printf 'STOP SLAVE; RESET SLAVE ALL; SET SESSION sql_log_bin = 0;\n'
            mariadb-dump --no-defaults --socket="$(server_socket "$primary")" --user="$OS_USER" \
                --single-transaction --master-data=1 --gtid --databases holdfast
        } | mysql_client "$replica"
        touch "$DIR/mysql/$replica/seeded"
    fi
    mysql_client "$replica" <<END
STOP SLAVE;
CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = $port,
  MASTER_USER = 'holdfast_replica', MASTER_PASSWORD = '$(<"$SECRETS_DIR/replication_password")',
  MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1;
START SLAVE;
END
    replica_wait "$replica"
}

replica_runs() {
    local status
    status=$(mysql_client "$1" --column-names --execute='SHOW SLAVE STATUS\G' 2>/dev/null) || return 1
    [[ $status == *"Slave_IO_Running: Yes"* && $status == *"Slave_SQL_Running: Yes"* ]]
}

replica_wait() { wait_ready "$1" "$LOG_DIR/$1.log" replica_runs "$1"; }

# --- all of them ----------------------------------------------------------------------------

# The ordinals of a shard's further servers: those that are asked for, and those that an earlier,
# larger --replicas has left over with their data. Set by servers_start.
declare -A OTHERS=()

shard_has_others() { [[ -n ${OTHERS[$1]-} ]]; }

others_find() { # SHARDS REPLICAS
    local i j
    for ((i = 0; i < $1; i++)); do
        OTHERS[$i]=""
        for ((j = 1; j <= 9; j++)); do
            if ((j <= $2)) || [[ -d $DIR/mysql/$(server_name "$i" "$j")/data ]]; then
                OTHERS[$i]+=" $j"
            fi
        done
    done
}

# servers_start SHARDS REPLICAS: dies, and no server takes writes that did not before, unless the
# first one of each shard has all that the shard's others have.
servers_start() {
    local shards=$1 replicas=$2 i j port ports=() in_step=1
    others_find "$shards" "$replicas"
    redis_start
    for ((i = 0; i < shards; i++)); do
        port=0
        if ((replicas)); then port=$(server_port "$(server_name "$i" 0)"); fi
        ports[i]=$port
        mysql_start "$i" 0 "$port"
        for j in ${OTHERS[$i]}; do mysql_start "$i" "$j" 0; done
    done
    redis_wait
    for ((i = 0; i < shards; i++)); do
        for j in 0 ${OTHERS[$i]}; do mysql_wait "$(server_name "$i" "$j")"; done
    done
    for ((i = 0; i < shards; i++)); do servers_compare "$i" || in_step=0; done
    ((in_step)) || die "nothing was made writable and no service was started; see deploy/README.md"
    servers_stop_extra "$replicas"
    for ((i = 0; i < shards; i++)); do
        if shard_has_others "$i"; then primary_open "$(server_name "$i" 0)"; fi
        for ((j = 1; j <= replicas; j++)); do replica_attach "$i" "$j" "${ports[i]}"; done
    done
}

servers_compare() { # SHARD
    local j names=()
    for j in 0 ${OTHERS[$1]}; do names+=("$(server_name "$1" "$j")"); done
    shard_is_in_step "$1" "${names[@]}"
}

# servers_stop_extra REPLICAS: those that a smaller --replicas leaves over; their data stays.
servers_stop_extra() {
    local file name letters=abcdefghij
    for file in "$RUN_DIR"/shard-*-[b-j].pid; do
        [[ -e $file ]] || continue
        name=$(basename "$file" .pid)
        if [[ ${letters:0:$1+1} != *"${name##*-}"* ]]; then processes_stop "$name"; fi
    done
}

# Replicas before their primaries: they then have nothing to complain of.
servers_stop() {
    servers_stop_of "$RUN_DIR"/shard-*-[b-j].pid
    servers_stop_of "$RUN_DIR"/shard-*-a.pid "$RUN_DIR/redis.pid"
}

servers_stop_of() { # PID_FILE...
    local file names=()
    for file in "$@"; do
        if [[ -e $file ]]; then names+=("$(basename "$file" .pid)"); fi
    done
    processes_stop "${names[@]}"
}
