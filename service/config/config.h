/*
 * The configuration: one YAML file, read once at start with libyaml.
 *
 * Each setting is one record of config/settings.c (name, type, bounds, default, unit, a sentence);
 * the records fill this struct. A `config_t` is immutable after config_load(), except for
 * `deployment`, and shared by all threads. Its owner calls config_free() after they are joined.
 * Strings are NUL-terminated and owned by the config; NULL means "not set".
 *
 * Where a setting has a fixed default, the comment of its member ends with it. config_load() blocks
 * (it reads files); the main thread calls it.
 */
#ifndef HOLDFAST_CONFIG_CONFIG_H
#define HOLDFAST_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "config/deployment.h"

/* The most buyers that redis.batch_max may let one reserve call carry. */
#define REDIS_BATCH_MAX 1024

/* The way in which competing buyers of an item are kept apart. The numbers are private to one
   process. */
typedef enum {
    STRATEGY_LUA,
    STRATEGY_WATCH,
    STRATEGY_OPTIMISTIC,
    STRATEGY_SERIALIZABLE,
    STRATEGY_COUNT
} strategy_id_t;

/* The behaviour of items under lua and watch while Redis is away. */
typedef enum { GATE_DOWN_REFUSE, GATE_DOWN_OPTIMISTIC } gate_down_t;

/* Who may buy. */
typedef enum { AUTH_NONE, AUTH_TOKEN, AUTH_BUYER } auth_t;

/* "host:port", IPv6 in brackets. */
typedef struct {
    char *host;
    uint16_t port;
} config_address_t;

/* The files of a listener's TLS: PEM. Both or none. */
typedef struct {
    char *certificate_file; /* NULL: no TLS */
    char *key_file;
} config_tls_t;

/* TLS to MySQL: none; encrypted; or with a server whose certificate is checked too. */
typedef enum { MYSQL_TLS_OFF, MYSQL_TLS_REQUIRED, MYSQL_TLS_VERIFIED } mysql_tls_t;

/* One MySQL server of a group. The words are those of deploy/README.md. */
typedef enum { SERVER_PRIMARY, SERVER_SECONDARY, SERVER_SPARE, SERVER_FAULTY } server_status_t;
typedef enum { SERVER_OFFLINE, SERVER_READ_ONLY, SERVER_READ_WRITE } server_mode_t;

typedef struct {
    char *name;
    char *socket; /* a Unix socket, or NULL: host and port */
    char *host;
    uint16_t port;
    server_status_t status;
    server_mode_t mode;
    double weight;
    char *zone;
} config_server_t;

/* A shard is a group of servers that holds a range of slots. */
typedef struct {
    char *name;
    char *user;                     /* of its servers; NULL: mysql.user, with mysql.password */
    char *password;                 /* from password or password_file; may be absent */
    uint16_t slot_first, slot_last; /* "0-511", both ends included */
    config_server_t *servers;       /* exactly one is primary; for now there is only one */
    unsigned servers_count;
} config_shard_t;

typedef struct {
    struct {
        char *name;       /* default: the host's name */
        char *deployment; /* NULL: read from the shards */
    } node;
    struct {
        config_address_t listen;     /* 127.0.0.1:8080 */
        uint32_t threads;            /* 0: one per core */
        uint32_t connections_max;    /* per process; 10000 */
        uint32_t body_bytes_max;     /* 16384 */
        uint32_t idle_timeout_ms;    /* a whole request must arrive in this time; 10000 */
        bool http2;                  /* false */
        char *cors_origins;          /* "https://a.example https://b.example", or *; NULL: none */
        auth_t auth;                 /* none */
        char *buyer_keys_file;       /* of the keys of tokens for buyers: http/buyer_keys.h */
        uint32_t buyer_clock_skew_s; /* between the clock of those tokens and ours; 30 */
        config_tls_t tls;
    } http;
    struct {
        config_address_t listen;    /* 127.0.0.1:8081 */
        char *token;                /* from token or token_file; at least 16 characters */
        char *tokens_file;          /* of named tokens: http/tokens.h */
        uint32_t changes_keep_days; /* of the record of changes; 0: for ever; 400 */
        config_tls_t tls;
    } admin;
    struct {
        uint32_t readiness_delay_ms; /* time between the first 503 of readyz and the closing of the
                                        listeners; 200 */
        uint32_t deadline_ms;        /* then the process ends, even with open connections; 15000 */
    } shutdown;
    struct {
        strategy_id_t default_strategy; /* of items created without one, until toggled; lua */
        char *id_key;                   /* from id_key or id_key_file: keys the check bits of order
                                           ids; at least 16 characters, the same on all nodes */
        uint32_t answer_deadline_ms;    /* then the answer is 202 or 503; 5000 */
        uint32_t commit_deadline_ms;    /* then an id cannot be admitted any more; 8000 */
        uint32_t retries_max;           /* of one attempt by watch and the SQL strategies; 256 */
        uint32_t quantity_max;          /* units in one order; 1000 */
        uint32_t hold_max_seconds;      /* extends reach no further from the order's creation; 0:
                                           four times the item's hold_seconds; 0 */
        uint32_t sold_out_cache_ms;     /* time for which a loop refuses without the gate; 30 */
        uint32_t wait_max_ms;           /* a GET of an order waits no longer for its end; 60000 */
        uint32_t waiters_max;           /* GETs that wait at a time; 50000 */
    } orders;
    struct {
        uint32_t max_age_ms;         /* of what is shown of an item; 100 */
        uint32_t refresh_per_second; /* items looked up anew; 5000 */
        uint32_t unknown_ms;         /* until an unknown item is looked up again; 500 */
        uint32_t stale_max_ms;       /* of a value that is shown while a server is away; 30000 */
    } items;
    struct {
        uint32_t buyer_per_second;   /* purchases of one buyer; 0: no limit; 0 */
        uint32_t buyer_burst;        /* purchases at once after a pause; 10 */
        uint32_t address_per_second; /* the same for a client's address; 0 */
        uint32_t address_burst;      /* 100 */
        uint32_t entries_max;        /* buyers in the table, and addresses; 262144 */
    } limits;
    struct {
        char *socket;
        char *host;
        uint16_t port;
        char *user;                  /* of its access control lists; NULL: the user `default` */
        char *password;              /* from password or password_file */
        uint32_t timeout_ms;         /* of a connect and of a blocking call; 1000 */
        uint32_t watch_connections;  /* leased by the watch strategy, per HTTP thread; 16 */
        uint32_t batch_max;          /* buyers in one reserve call; 256 */
        gate_down_t on_gate_down;    /* refuse */
        uint32_t gate_down_after_ms; /* time away after which on_gate_down applies; 1000 */
    } redis;
    struct {
        char *user;
        char *password;                      /* from password or password_file; may be absent */
        char *database;                      /* holdfast */
        mysql_tls_t tls;                     /* off */
        char *tls_ca_file;                   /* by which servers are checked */
        config_tls_t tls_files;              /* what the service shows to them */
        uint32_t timeout_ms;                 /* connect, read, write; 5000 */
        uint32_t lock_wait_timeout_s;        /* 1 */
        uint32_t idle_transaction_timeout_s; /* 1 */
        uint32_t pool_threads;               /* per shard; 16 */
        uint32_t pool_queue_max;             /* jobs waiting per shard; 4096 */
        uint32_t writer_threads;             /* per shard; 1 */
        uint32_t writer_queue_max;           /* orders waiting per shard; 8192 */
        uint32_t writer_batch_max;           /* orders in one transaction; 256 */
        uint32_t writer_bulk_min;  /* orders in a transaction that inserts them in bulk; 32 */
        uint32_t writer_linger_ms; /* orders already answered 202 are collected for this time; 32 */
    } mysql;
    config_shard_t *shards; /* together they hold each of the 1,024 slots exactly once */
    unsigned shards_count;
    struct {
        uint32_t expiry_interval_ms; /* 200 */
        uint32_t pass_interval_ms;   /* 1000 */
        uint32_t epoch_poll_ms;      /* 1000 */
        uint32_t probe_interval_ms;  /* between two probes of a server; 1000 */
        uint32_t expiry_batch_max;   /* 256 */
    } reconcile;
    struct {
        log_level_t level; /* info */
        bool access;       /* a line per request at level info; false: only at debug */
        char *file;        /* NULL: standard error */
    } log;
    /* The deployment's name; not a setting, and the only part that changes. NULL in a configuration
       that was not loaded from a file: then the name is not checked. */
    deployment_t *deployment;
} config_t;

/*
 * Reads `path`. On success returns 0 and fills `*out`, which the caller frees with config_free().
 * Otherwise returns the number of mistakes. Each was printed to `diagnostics` as one line: the
 * place (file, line if the parser has it, and the path of the setting), the mistake, the accepted
 * values.
 */
int config_load(const char *path, config_t **out, FILE *diagnostics);
void config_free(config_t *config);

/* Prints every setting: name, type, bounds, default, unit and sentence. */
void config_describe(FILE *out);

/* The word for a strategy ("lua", ...), and the strategy of a word: -1 if there is none. */
const char *strategy_name(strategy_id_t id);
int strategy_parse(const char *name, size_t n);

#endif
