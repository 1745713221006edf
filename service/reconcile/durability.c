#include "reconcile/durability.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"

#define INTERVAL_MS 2000
/* For a Redis that refuses CONFIG GET: each refusal is logged, and ends the connection. */
#define REFUSED_INTERVAL_MS 10000

typedef struct {
    const char *name;    /* in the log and in metrics */
    uint64_t checked_ms; /* monotonic; used by the one thread that reads */
    uint64_t pause_ms;
    durability_t seen; /* under the mutex */
} server_t;

struct durability {
    pthread_mutex_t mutex;
    unsigned shards_count;
    server_t servers[]; /* of the shards, then of Redis */
};

durability_watch_t *durability_new(const config_t *config)
{
    unsigned count = config->shards_count;
    durability_watch_t *watch = alloc_zero(1, sizeof(*watch) + (count + 1) * sizeof(server_t));
    pthread_mutex_init(&watch->mutex, NULL);
    watch->shards_count = count;
    for (unsigned i = 0; i <= count; ++i)
        watch->servers[i] = (server_t){.name = i < count ? config->shards[i].name : "redis",
                                       .seen = {DURABLE_UNKNOWN, "it has not been checked yet"}};
    return watch;
}

void durability_free(durability_watch_t *watch)
{
    if (watch == NULL)
        return;
    pthread_mutex_destroy(&watch->mutex);
    free(watch);
}

/* --- the state --- */

static void read_seen(durability_watch_t *watch, const server_t *server, durability_t *out)
{
    pthread_mutex_lock(&watch->mutex);
    *out = server->seen;
    pthread_mutex_unlock(&watch->mutex);
}

void durability_of_shard(durability_watch_t *watch, unsigned shard, durability_t *out)
{
    read_seen(watch, &watch->servers[shard], out);
}

void durability_of_redis(durability_watch_t *watch, durability_t *out)
{
    read_seen(watch, &watch->servers[watch->shards_count], out);
}

static void log_change(const server_t *server, const durability_t *before, const durability_t *now)
{
    if (now->durable == DURABLE_NO && strcmp(before->why, now->why) != 0)
        LOG_ERROR("a server is not durable: a crash may lose orders that were answered 201",
                  LOG_STR("server", server->name), LOG_STR("why", now->why));
    if (now->durable == DURABLE_YES && before->durable == DURABLE_NO)
        LOG_INFO("a server is durable again", LOG_STR("server", server->name));
}

static void note(durability_watch_t *watch, server_t *server, const durability_t *now)
{
    durability_t before;
    pthread_mutex_lock(&watch->mutex);
    before = server->seen;
    server->seen = *now;
    pthread_mutex_unlock(&watch->mutex);
    log_change(server, &before, now);
}

/* --- reading the settings --- */

/* Adds one more reason why the server is not durable. */
static void add(durability_t *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(durability_t *out, const char *format, ...)
{
    size_t n = strlen(out->why);
    va_list arguments;
    out->durable = DURABLE_NO;
    if (n != 0)
        n += (size_t)snprintf(out->why + n, sizeof(out->why) - n, ", ");
    if (n >= sizeof(out->why))
        return;
    va_start(arguments, format);
    vsnprintf(out->why + n, sizeof(out->why) - n, format, arguments);
    va_end(arguments);
}

static void unknown(durability_t *out, const char *why)
{
    out->durable = DURABLE_UNKNOWN;
    snprintf(out->why, sizeof(out->why), "%s", why);
}

static bool is_off(str_t value)
{
    return str_eq(value, STR("0")) || str_eq(value, STR("OFF"));
}

static void judge_mysql(db_t *db, durability_t *out)
{
    str_t flush = db_bytes(db, 4);
    if (db_u64(db, 0) != 1)
        add(out, "innodb_flush_log_at_trx_commit is %.*s", STR_ARG(db_bytes(db, 0)));
    if (!is_off(db_bytes(db, 1)) && db_u64(db, 2) != 1)
        add(out, "sync_binlog is %.*s", STR_ARG(db_bytes(db, 2)));
    if (!is_off(db_bytes(db, 1)) && is_off(db_bytes(db, 3)))
        add(out, "sql_log_bin is off in new sessions");
    if (str_eq(flush, STR("nosync")) || str_eq(flush, STR("littlesync")))
        add(out, "innodb_flush_method is %.*s", STR_ARG(flush));
    if (is_off(db_bytes(db, 5)))
        add(out, "innodb_doublewrite is off");
}

/* Logs a shard that is the wrong one, once for each reason: also one that was away at the start, or
   was exchanged while it was away. */
static void log_unfit(const server_t *server, const durability_t *now)
{
    if (strcmp(server->seen.why, now->why) != 0)
        LOG_ERROR("a shard is not used", LOG_STR("shard", server->name), LOG_STR("why", now->why));
}

static void check_mysql(worker_t *worker, const server_t *server, durability_t *out)
{
    *out = (durability_t){DURABLE_YES, ""};
    sql_reset(&worker->sql);
    sql_add(&worker->sql, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.log_bin, "
                          "@@GLOBAL.sync_binlog, @@SESSION.sql_log_bin, "
                          "@@GLOBAL.innodb_flush_method, @@GLOBAL.innodb_doublewrite");
    if (db_check_identity(worker->db) != RESULT_DONE ||
        db_query(worker->db, &worker->sql) != RESULT_DONE || !db_next(worker->db)) {
        unknown(out, db_error(worker->db));
        if (db_error_is_unfit(worker->db))
            log_unfit(server, out);
        return;
    }
    judge_mysql(worker->db, out);
    while (db_next(worker->db))
        ;
}

static void judge_redis(const gate_settings_t *settings, durability_t *out)
{
    if (strcmp(settings->appendonly, "yes") != 0)
        add(out, "appendonly is %s", settings->appendonly);
    if (strcmp(settings->appendfsync, "always") != 0)
        add(out, "appendfsync is %s", settings->appendfsync);
    if (strcmp(settings->no_appendfsync_on_rewrite, "yes") == 0)
        add(out, "no-appendfsync-on-rewrite is yes");
    if (strcmp(settings->maxmemory_policy, "noeviction") != 0)
        add(out, "maxmemory-policy is %s", settings->maxmemory_policy);
}

/* False: Redis refuses to show its settings. */
static bool check_redis(worker_t *worker, durability_t *out)
{
    gate_settings_t settings;
    *out = (durability_t){DURABLE_YES, ""};
    if (gate_sync_settings(worker->gate, &settings) == RESULT_DONE) {
        judge_redis(&settings, out);
        return true;
    }
    unknown(out, gate_sync_error(worker->gate));
    return !gate_sync_error_is_reply(worker->gate);
}

static bool is_due(server_t *server)
{
    uint64_t now_ms = clock_mono_ms();
    if (server->checked_ms != 0 && now_ms - server->checked_ms < server->pause_ms)
        return false;
    server->checked_ms = now_ms;
    server->pause_ms = INTERVAL_MS;
    return true;
}

void durability_check(durability_watch_t *watch, worker_t *worker)
{
    unsigned shard = worker->shard->index;
    server_t *server = &watch->servers[shard], *redis = &watch->servers[watch->shards_count];
    durability_t now;
    if (is_due(server)) {
        check_mysql(worker, server, &now);
        note(watch, server, &now);
    }
    if (shard == 0 && is_due(redis)) {
        if (!check_redis(worker, &now))
            redis->pause_ms = REFUSED_INTERVAL_MS;
        note(watch, redis, &now);
    }
}
