#include "config/settings.h"

#include <string.h>

#include "config/config.h"

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))
#define BYTES_MAX_UNIX_SOCKET 107 /* size of sun_path without the NUL */
#define SECRET_BYTES_MIN 16
#define SECRET_BYTES_MAX 4096
#define HOUR_MS 3600000
/* As in http/rate_limit.h, which is in a layer above this module. */
#define RATE_MAX 1000000
/* As in http/body.c, also in a layer above. */
#define HOLD_SECONDS_MAX (366 * 86400)

static const char *const strategy_words[] = {"lua", "watch", "optimistic", "serializable", NULL};
static const char *const gate_down_words[] = {"refuse", "optimistic", NULL};
static const char *const auth_words[] = {"none", "token", "buyer", NULL};
static const char *const mysql_tls_words[] = {"off", "required", "verified", NULL};
static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};
static const char *const status_words[] = {"primary", "secondary", "spare", "faulty", NULL};
static const char *const mode_words[] = {"offline", "read-only", "read-write", NULL};
_Static_assert(COUNT(strategy_words) == STRATEGY_COUNT + 1, "a word for each strategy");

/* The parts of a record that repeat. */
#define FIELD(key_, type_, struct_, field_)                                                        \
    .key = (key_), .type = SETTING_##type_, .offset = offsetof(struct_, field_)
#define BOUNDS(min_, max_) .min = (min_), .max = (max_)
#define NUMBER(section_, key_, min_, max_)                                                         \
    FIELD(#key_, NUMBER, config_t, section_.key_), BOUNDS(min_, max_)

static const setting_t node_settings[] = {
    {FIELD("name", NAME, config_t, node.name), BOUNDS(1, 64), .fallback_shown = "the host's name",
     .help = "Names this process in the log, in metrics and in leases; unique among the nodes."},
    {FIELD("deployment", NAME, config_t, node.deployment), BOUNDS(1, DEPLOYMENT_BYTES_MAX),
     .fallback_shown = "the name that the shards are stamped with",
     .help = "Names the shards and the Redis that belong together; the same on all nodes, and for "
             "ever. Without it `holdfast migrate` makes a name up and stamps the shards with it."},
};

static const setting_t http_settings[] = {
    {FIELD("listen", ADDRESS, config_t, http.listen), .fallback = "127.0.0.1:8080",
     .help = "Address of the public listener. WARNING: the default is loopback, which only this "
             "machine can reach; 0.0.0.0:8080 is open to everyone who can reach the machine."},
    {NUMBER(http, threads, 0, 1024), .unit = "threads", .fallback = "0",
     .help = "Event loops that serve requests; 0 starts one for each core."},
    {NUMBER(http, connections_max, 1, 1000000), .unit = "connections", .fallback = "10000",
     .help = "Connections that the process keeps open at a time; further ones are closed at once."},
    {NUMBER(http, body_bytes_max, 256, 16777216), .unit = "bytes", .fallback = "16384",
     .help = "A request with a longer body is answered 413."},
    {NUMBER(http, idle_timeout_ms, 10, HOUR_MS), .unit = "milliseconds", .fallback = "10000",
     .help = "A whole request must arrive in this time, or its connection is closed."},
    {FIELD("http2", BOOL, config_t, http.http2), .fallback = "false",
     .help = "Whether HTTP/2 is offered to clients."},
    {FIELD("cors_origins", TEXT, config_t, http.cors_origins), BOUNDS(1, 4095),
     .fallback_shown = "none",
     .help = "Origins whose scripts may call the public listener from a browser, with spaces "
             "between them (https://shop.example); * is every origin."},
    {FIELD("auth", WORD, config_t, http.auth), .words = auth_words, .fallback = "none",
     .help = "Who may buy, and see and move orders: everybody; clients with a token of "
             "admin.tokens_file whose role is sell; or buyers with a token of the shop, each for "
             "himself. Items can be read by everybody."},
    {FIELD("buyer_keys_file", FILE, config_t, http.buyer_keys_file), BOUNDS(1, 4095),
     .private_file = true,
     .help = "The keys of tokens for buyers, a JSON Web Key Set (HS256, ES256), read again at "
             "SIGHUP."},
    {NUMBER(http, buyer_clock_skew_s, 0, 600), .unit = "seconds", .fallback = "30",
     .help = "How far the clock that sets the end of a buyer's token may be off."},
    {FIELD("tls_certificate_file", FILE, config_t, http.tls.certificate_file), BOUNDS(1, 4095),
     .needs = "tls_key_file",
     .help = "PEM chain of the public listener; with it and its key it speaks TLS only."},
    {FIELD("tls_key_file", FILE, config_t, http.tls.key_file), BOUNDS(1, 4095),
     .private_file = true, .needs = "tls_certificate_file",
     .help = "PEM private key of tls_certificate_file."},
};

static const setting_t admin_settings[] = {
    {FIELD("listen", ADDRESS, config_t, admin.listen), .fallback = "127.0.0.1:8081",
     .help = "Address of the admin listener. WARNING: the default is loopback; opened to a network "
             "without tls_certificate_file, it takes tokens in the clear."},
    {FIELD("token", SECRET, config_t, admin.token), BOUNDS(SECRET_BYTES_MIN, SECRET_BYTES_MAX),
     .required = true, .instead = "token_file",
     .help = "What an administrator sends as bearer token; better kept in token_file."},
    {FIELD("token_file", SECRET_FILE, config_t, admin.token),
     BOUNDS(SECRET_BYTES_MIN, SECRET_BYTES_MAX), .help = "The file that holds the admin token."},
    {NUMBER(admin, changes_keep_days, 0, 36500), .unit = "days", .fallback = "400",
     .help = "For so long the record of changes is kept; 0 is for ever."},
    {FIELD("tokens_file", FILE, config_t, admin.tokens_file), BOUNDS(1, 4095), .private_file = true,
     .help = "Named tokens, read again at SIGHUP; a line for each: NAME ROLE HASH [EXPIRES]. The "
             "role is read, operate or sell; the hash is the SHA-256 of the token in hexadecimal. "
             "admin.token is a token of the role operate."},
    {FIELD("tls_certificate_file", FILE, config_t, admin.tls.certificate_file), BOUNDS(1, 4095),
     .needs = "tls_key_file",
     .help = "PEM chain of the admin listener; with it and its key it speaks TLS only."},
    {FIELD("tls_key_file", FILE, config_t, admin.tls.key_file), BOUNDS(1, 4095),
     .private_file = true, .needs = "tls_certificate_file",
     .help = "PEM private key of tls_certificate_file."},
};

static const setting_t shutdown_settings[] = {
    {NUMBER(shutdown, readiness_delay_ms, 0, 60000), .unit = "milliseconds", .fallback = "200",
     .help = "How long readyz answers 503 before the listeners close."},
    {NUMBER(shutdown, deadline_ms, 100, 600000), .unit = "milliseconds", .fallback = "15000",
     .above = "readiness_delay_ms",
     .help = "After so long the process ends, whatever is still open."},
};

static const setting_t orders_settings[] = {
    {FIELD("default_strategy", WORD, config_t, orders.default_strategy), .words = strategy_words,
     .fallback = "lua",
     .help = "Strategy of items that are created without one, until it is toggled."},
    {FIELD("id_key", SECRET, config_t, orders.id_key), BOUNDS(SECRET_BYTES_MIN, SECRET_BYTES_MAX),
     .required = true, .instead = "id_key_file",
     .help = "Keys the check bits of order ids: the same on all nodes, and for ever."},
    {FIELD("id_key_file", SECRET_FILE, config_t, orders.id_key),
     BOUNDS(SECRET_BYTES_MIN, SECRET_BYTES_MAX),
     .help = "The file that holds the key of order ids."},
    {NUMBER(orders, answer_deadline_ms, 10, 16384), .unit = "milliseconds", .fallback = "5000",
     .help = "A buyer who has no answer by then gets 202 or 503."},
    {NUMBER(orders, commit_deadline_ms, 10, HOUR_MS), .unit = "milliseconds", .fallback = "8000",
     .above = "answer_deadline_ms", /* an order may be admitted for as long as its buyer waits */
     .help = "An order id may not be admitted any more after this time; above answer_deadline_ms."},
    {NUMBER(orders, retries_max, 0, 100000), .unit = "retries", .fallback = "256",
     .help = "How often watch and the SQL strategies try one order again."},
    {NUMBER(orders, quantity_max, 1, 1000000), .unit = "units", .fallback = "1000",
     .help = "Units in one order, whatever the item's own limit."},
    {NUMBER(orders, hold_max_seconds, 0, HOLD_SECONDS_MAX), .unit = "seconds", .fallback = "0",
     .help =
         "An extend moves the deadline of a hold at most to so long after the order's creation; "
         "0 is four times the item's hold_seconds."},
    {NUMBER(orders, sold_out_cache_ms, 0, 60000), .unit = "milliseconds", .fallback = "30",
     .help = "For so long a loop that has seen no units refuses without asking Redis."},
    {NUMBER(orders, wait_max_ms, 0, HOUR_MS), .unit = "milliseconds", .fallback = "60000",
     .help = "A GET of an order waits no longer than this for its end, whatever its wait_ms."},
    {NUMBER(orders, waiters_max, 0, 10000000), .unit = "requests", .fallback = "50000",
     .help = "GETs of orders that wait at a time in this process; further ones do not wait."},
};

static const setting_t items_settings[] = {
    {NUMBER(items, max_age_ms, 10, 60000), .unit = "milliseconds", .fallback = "100",
     .help = "What is shown of an item is at most so old, while its servers answer."},
    {NUMBER(items, refresh_per_second, 10, 1000000), .unit = "items", .fallback = "5000",
     .help = "Items that a process looks up anew in a second; beyond that what is shown of them "
             "gets older, up to 2 s."},
    {NUMBER(items, unknown_ms, 10, 1000), .unit = "milliseconds", .fallback = "500",
     .help = "For so long an item that is not there is not looked up again."},
    {NUMBER(items, stale_max_ms, 0, HOUR_MS), .unit = "milliseconds", .fallback = "30000",
     .help = "While Redis or MySQL is away, the last value of an item is shown until it is so old, "
             "with the header Holdfast-Stale; then the answer is 503."},
};

static const setting_t limits_settings[] = {
    {NUMBER(limits, buyer_per_second, 0, RATE_MAX), .unit = "requests", .fallback = "0",
     .help = "Purchases that one buyer may request in a second, of each process; further ones are "
             "answered 429; 0 is no limit."},
    {NUMBER(limits, buyer_burst, 1, RATE_MAX), .unit = "requests", .fallback = "10",
     .needs = "buyer_per_second",
     .help = "How many of them a buyer may send at once after a rest."},
    {NUMBER(limits, address_per_second, 0, RATE_MAX), .unit = "requests", .fallback = "0",
     .help = "The same for one client address (of IPv6 its /64); behind a proxy all clients have "
             "the proxy's."},
    {NUMBER(limits, address_burst, 1, RATE_MAX), .unit = "requests", .fallback = "100",
     .needs = "address_per_second",
     .help = "How many of them may come from an address at once after a rest."},
    {NUMBER(limits, entries_max, 1024, 16777216), .unit = "entries", .fallback = "262144",
     .help = "Buyers, and as many addresses, whose rate is remembered at a time, in 16 bytes each; "
             "beyond that the one closest to full recovery is forgotten."},
};

static const setting_t redis_settings[] = {
    {FIELD("socket", SOCKET, config_t, redis.socket), BOUNDS(1, BYTES_MAX_UNIX_SOCKET),
     .required = true, .instead = "host", .help = "Unix socket of Redis."},
    {FIELD("host", HOST, config_t, redis.host), BOUNDS(1, 253),
     .help = "Host of Redis, if it is not reached by a socket."},
    {FIELD("port", PORT, config_t, redis.port), BOUNDS(1, UINT16_MAX), .fallback = "6379",
     .not_beside = "socket", .help = "Port of Redis on that host."},
    {FIELD("user", NAME, config_t, redis.user), BOUNDS(1, 64),
     .fallback_shown = "the user named default",
     .help = "User of Redis, of its access control lists; with a password."},
    {FIELD("password", SECRET, config_t, redis.password), BOUNDS(1, SECRET_BYTES_MAX),
     .instead = "password_file", .help = "Password of Redis; better kept in password_file."},
    {FIELD("password_file", SECRET_FILE, config_t, redis.password), BOUNDS(1, SECRET_BYTES_MAX),
     .help = "The file that holds the password of Redis."},
    {NUMBER(redis, timeout_ms, 10, 60000), .unit = "milliseconds", .fallback = "1000",
     .help = "Longest wait for a connection to Redis and for each answer."},
    {NUMBER(redis, watch_connections, 1, 1024), .unit = "connections", .fallback = "16",
     .help = "Connections for each HTTP thread that the watch strategy leases."},
    {NUMBER(redis, batch_max, 1, REDIS_BATCH_MAX), .unit = "buyers", .fallback = "512",
     .help = "Buyers that one reserve call carries."},
    {FIELD("on_gate_down", WORD, config_t, redis.on_gate_down), .words = gate_down_words,
     .fallback = "refuse",
     .help = "While Redis is away, items under lua and watch are refused with 503, or sold by the "
             "optimistic strategy until it is back; the same on all nodes."},
    {NUMBER(redis, gate_down_after_ms, 0, HOUR_MS), .unit = "milliseconds", .fallback = "1000",
     .help = "Redis must be away for so long before the optimistic strategy takes its place."},
};

static const setting_t mysql_settings[] = {
    {FIELD("user", TEXT, config_t, mysql.user), BOUNDS(1, 128), .required = true,
     .help = "User of the servers of all shards that name none of their own."},
    {FIELD("password", SECRET, config_t, mysql.password), BOUNDS(1, SECRET_BYTES_MAX),
     .instead = "password_file", .help = "Password of that user; better kept in password_file."},
    {FIELD("password_file", SECRET_FILE, config_t, mysql.password), BOUNDS(1, SECRET_BYTES_MAX),
     .help = "The file that holds the password of MySQL."},
    {FIELD("database", TEXT, config_t, mysql.database), BOUNDS(1, 64), .fallback = "holdfast",
     .help = "Database on each shard."},
    {FIELD("tls", WORD, config_t, mysql.tls), .words = mysql_tls_words, .fallback = "off",
     .help = "Whether connections to MySQL must have TLS; and, if verified, a server whose "
             "certificate is of tls_ca_file and names its host."},
    {FIELD("tls_ca_file", FILE, config_t, mysql.tls_ca_file), BOUNDS(1, 4095),
     .help = "PEM certificates of those who have signed the servers' certificates."},
    {FIELD("tls_certificate_file", FILE, config_t, mysql.tls_files.certificate_file),
     BOUNDS(1, 4095), .needs = "tls_key_file",
     .help =
         "PEM certificate that the service shows to the servers, if their accounts demand one."},
    {FIELD("tls_key_file", FILE, config_t, mysql.tls_files.key_file), BOUNDS(1, 4095),
     .private_file = true, .needs = "tls_certificate_file",
     .help = "PEM private key of tls_certificate_file."},
    {NUMBER(mysql, timeout_ms, 100, 600000), .unit = "milliseconds", .fallback = "5000",
     .help = "Longest wait for a connection to MySQL, for each answer and for each write."},
    {NUMBER(mysql, lock_wait_timeout_s, 1, 3600), .unit = "seconds", .fallback = "1",
     .help = "How long a transaction waits for a row lock."},
    {NUMBER(mysql, idle_transaction_timeout_s, 1, 3600), .unit = "seconds", .fallback = "1",
     .help = "The server ends a transaction that sends nothing for so long: a stopped process must "
             "not own a hot row."},
    {NUMBER(mysql, pool_threads, 1, 256), .unit = "threads", .fallback = "16",
     .help = "Threads for each shard, each with its connection, that run reads and transactions."},
    {NUMBER(mysql, pool_queue_max, 1, 1000000), .unit = "jobs", .fallback = "4096",
     .help = "Jobs that may wait for those threads on each shard; further ones are answered 503."},
    {NUMBER(mysql, writer_threads, 1, 64), .unit = "threads", .fallback = "1",
     .help =
         "Threads that commit orders on each shard; those of an item are all one thread's. More "
         "help when many items sell at once and a COMMIT waits long for its disk."},
    {NUMBER(mysql, writer_queue_max, 1, 1000000), .unit = "orders", .fallback = "8192",
     .help = "Orders that may wait for the writer of each shard; further ones are answered 503."},
    {NUMBER(mysql, writer_batch_max, 1, 4096), .unit = "orders", .fallback = "512",
     .help = "Orders that one transaction of the writer commits together."},
    {NUMBER(mysql, writer_bulk_min, 0, 4096), .unit = "orders", .fallback = "32",
     .help = "A transaction of at least so many orders inserts them by MariaDB's bulk execution, "
             "if the client and the server have it: less work for the server, and two round trips "
             "more. 0: none does."},
    {NUMBER(mysql, writer_linger_ms, 0, 500), .unit = "ms", .fallback = "32",
     .help = "Orders that were answered 202 wait so long for others to share their COMMIT."},
};

static const setting_t server_settings[] = {
    {FIELD("name", NAME, config_server_t, name), BOUNDS(1, 64), .required = true,
     .help = "Names the server; unique in its shard."},
    {FIELD("socket", SOCKET, config_server_t, socket), BOUNDS(1, BYTES_MAX_UNIX_SOCKET),
     .required = true, .instead = "host", .help = "Unix socket of the server."},
    {FIELD("host", HOST, config_server_t, host), BOUNDS(1, 253),
     .help = "Host of the server, if it is not reached by a socket."},
    {FIELD("port", PORT, config_server_t, port), BOUNDS(1, UINT16_MAX), .fallback = "3306",
     .not_beside = "socket", .help = "Port of the server on that host."},
    {FIELD("status", WORD, config_server_t, status), .words = status_words, .fallback = "primary",
     .help = "What the server is in its shard; each shard has exactly one primary."},
    {FIELD("mode", WORD, config_server_t, mode), .words = mode_words,
     .fallback_shown = "read-write of a primary, read-only of the others",
     .help = "What may be done on the server; a primary is read-write, and only a primary."},
    {FIELD("weight", FRACTION, config_server_t, weight), BOUNDS(0, 1000), .fallback = "1.0",
     .help = "Its share of the reads, beside the other servers of the shard."},
    {FIELD("zone", NAME, config_server_t, zone), BOUNDS(1, 64),
     .help = "Where the server stands, so that a near one can be preferred."},
};

static const setting_t shard_settings[] = {
    {FIELD("name", NAME, config_shard_t, name), BOUNDS(1, 64), .required = true,
     .help = "Names the shard; unique."},
    {FIELD("user", TEXT, config_shard_t, user), BOUNDS(1, 128), .fallback_shown = "mysql.user",
     .help = "User of the shard's servers."},
    {FIELD("password", SECRET, config_shard_t, password), BOUNDS(1, SECRET_BYTES_MAX),
     .instead = "password_file", .needs = "user",
     .help = "Password of that user; better kept in password_file."},
    {FIELD("password_file", SECRET_FILE, config_shard_t, password), BOUNDS(1, SECRET_BYTES_MAX),
     .needs = "user", .help = "The file that holds the password of that user."},
    {FIELD("slots", SLOTS, config_shard_t, slot_first), BOUNDS(0, CONFIG_SLOT_COUNT - 1),
     .required = true,
     .help = "The slots that it holds, both ends included; all shards together hold each once."},
};
_Static_assert(offsetof(config_shard_t, slot_last) ==
                   offsetof(config_shard_t, slot_first) + sizeof(uint16_t),
               "SETTING_SLOTS writes both");

static const setting_t reconcile_settings[] = {
    {NUMBER(reconcile, expiry_interval_ms, 10, HOUR_MS), .unit = "milliseconds", .fallback = "200",
     .help = "Pause between two scans for holds that have run out."},
    {NUMBER(reconcile, pass_interval_ms, 10, HOUR_MS), .unit = "milliseconds", .fallback = "1000",
     .help = "Pause between two passes over orphans and over gates that may disagree with MySQL."},
    {NUMBER(reconcile, epoch_poll_ms, 10, HOUR_MS), .unit = "milliseconds", .fallback = "1000",
     .help = "Pause between two polls of the epochs of the items."},
    {NUMBER(reconcile, probe_interval_ms, 100, HOUR_MS), .unit = "milliseconds", .fallback = "1000",
     .help = "Pause between two probes of a server: does it answer, does it take orders."},
    {NUMBER(reconcile, expiry_batch_max, 1, 10000), .unit = "orders", .fallback = "256",
     .help = "Orders that one transaction expires."},
};

static const setting_t log_settings[] = {
    {FIELD("level", WORD, config_t, log.level), .words = level_words, .fallback = "info",
     .help = "Lines below this level are not written."},
    {FIELD("access", BOOL, config_t, log.access), .fallback = "false",
     .help = "Whether each request is a line at level info; otherwise only at debug."},
    {FIELD("file", TEXT, config_t, log.file), BOUNDS(1, 4095), .fallback_shown = "standard error",
     .help = "The file of the log of `serve`, opened for appending and again at SIGHUP."},
};

#define SECTION(name_)                                                                             \
    {                                                                                              \
        .name = #name_, .settings = name_##_settings, .settings_count = COUNT(name_##_settings)    \
    }

static const section_t shard_children[] = {
    {.name = "servers",
     .help = "The MySQL servers of the shard; only the primary is used for now.",
     .list = true,
     .count_max = 16,
     .settings = server_settings,
     .settings_count = COUNT(server_settings),
     .element_size = sizeof(config_server_t),
     .elements_offset = offsetof(config_shard_t, servers),
     .count_offset = offsetof(config_shard_t, servers_count)},
};

static const section_t root_children[] = {
    SECTION(node),
    SECTION(http),
    SECTION(admin),
    SECTION(shutdown),
    SECTION(orders),
    SECTION(items),
    SECTION(limits),
    SECTION(redis),
    SECTION(mysql),
    {.name = "shards",
     .help = "Groups of MySQL servers; each holds a range of the slots 0 to 1023.",
     .list = true,
     .count_max = CONFIG_SLOT_COUNT,
     .settings = shard_settings,
     .settings_count = COUNT(shard_settings),
     .children = shard_children,
     .children_count = COUNT(shard_children),
     .element_size = sizeof(config_shard_t),
     .elements_offset = offsetof(config_t, shards),
     .count_offset = offsetof(config_t, shards_count)},
    SECTION(reconcile),
    SECTION(log),
};

const section_t config_root = {.children = root_children, .children_count = COUNT(root_children)};

const char *strategy_name(strategy_id_t id)
{
    return (unsigned)id < STRATEGY_COUNT ? strategy_words[id] : "unknown";
}

int strategy_parse(const char *name, size_t n)
{
    for (int id = 0; id < STRATEGY_COUNT; ++id) {
        if (strlen(strategy_words[id]) == n && memcmp(strategy_words[id], name, n) == 0)
            return id;
    }
    return -1;
}
