# shellcheck shell=bash
# Which server of a shard has the newest data. The first one takes the writes; it is made writable
# only once it is known that it lacks nothing that another one has. Sourced after servers.sh.
#
# A server has, for each domain and each server that has ever written, all transactions up to a
# number: what its binary log says, and the position at which its data were copied. An entry of it
# is "DOMAIN-SERVER-NUMBER".

positions() { # NAME: one entry a line
    mysql_client "$1" \
        --execute='SELECT @@GLOBAL.gtid_binlog_state; SELECT @@GLOBAL.gtid_slave_pos' |
        tr ',' '\n' | sed '/^$/d' | sort -u
}

# positions_cover ONE OTHER: has the first all that the second has? It has an entry if it has that
# server's transactions up to as high a number, or if it stands, at as high a number, on what the
# second has too: gtid_strict_mode makes the numbers of a domain rise in one order.
positions_cover() {
    awk -v one="$1" -v other="$2" '
        function read_entries(text, into,    i, n, lines, parts, name) {
            n = split(text, lines, "\n")
            for (i = 1; i <= n; ++i)
                if (split(lines[i], parts, "-") == 3) {
                    name = parts[1] "-" parts[2]
                    if (!(name in into) || into[name] < parts[3] + 0) into[name] = parts[3] + 0
                }
        }
        function domain(name) { return substr(name, 1, index(name, "-") - 1) }
        function covered(name,    at) {
            for (at in mine)
                if (domain(at) == domain(name) && mine[at] >= theirs[name] &&
                    (at == name || (at in theirs && theirs[at] >= mine[at])))
                    return 1
            return 0
        }
        BEGIN {
            read_entries(one, mine)
            read_entries(other, theirs)
            for (name in theirs) if (!covered(name)) exit 1
        }' </dev/null
}

is_writable() { [[ $(mysql_client "$1" --execute='SELECT @@GLOBAL.read_only') == 0 ]]; }

# shard_is_in_step SHARD SERVER...: may the first of these take the writes? All of them run. If not,
# says why, and how to go on.
shard_is_in_step() {
    local shard=$1 first=$2 name why="" entries=()
    local -A has=()
    shift
    # The first one last: if it takes writes now, it is ahead of what the others had before.
    for name in "${@:2}" "$first"; do has[$name]=$(positions "$name"); done
    for name in "${@:2}"; do
        if is_writable "$name"; then
            why+="  $name takes writes, although it is not the first"$'\n'
        elif ! positions_cover "${has[$first]}" "${has[$name]}"; then
            why+="  $name has transactions that $first does not have"
            positions_cover "${has[$name]}" "${has[$first]}" || why+=", and lacks some that $first has"
            why+=$'\n'
        fi
    done
    if [[ -z $why ]]; then return 0; fi
    warn "shard $shard: $first would take the writes, and its data are not the newest:"
    printf '%s' "$why" >&2
    for name in "$@"; do
        mapfile -t entries <<<"${has[$name]}"
        printf '  %s is at %s\n' "$name" "${entries[*]:-nothing}" >&2
    done
    for name in "$@"; do
        printf '  to go on with the data of %s: deploy/promote --dir %s %s\n' "$name" "$DIR" "$name" >&2
    done
    return 1
}
