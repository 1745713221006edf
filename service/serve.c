#include "serve.h"

#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/alloc.h"
#include "base/fatal.h"
#include "base/log.h"
#include "engine/node.h"
#include "http/rate_limit.h"
#include "http/server.h"
#include "reconcile/audit_runner.h"
#include "reconcile/durability.h"
#include "reconcile/keeper.h"
#include "reconcile/reconciler.h"
#include "signals.h"
#include "store/items.h"
#include "store/migrate.h"
#include "store/settings.h"
#include "work/pool.h"
#include "work/prober.h"
#include "work/writer.h"

static void name_incarnation(node_t *node)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        FATAL("random bytes for the name of this process", 0);
    for (size_t i = 0; i < sizeof(bytes); ++i)
        snprintf(node->incarnation + 2 * i, 3, "%02x", bytes[i]);
}

static void shard_init(node_t *node, unsigned index)
{
    shard_t *shard = &node->shards[index];
    *shard = (shard_t){.config = node->config,
                       .index = index,
                       .map = &node->map,
                       .incarnation = node->incarnation,
                       .gate_clock = &node->gate_clock,
                       .gate_health = &node->gate_health,
                       .announcements = &node->announcements};
    remote_clock_init(&shard->clock);
    repair_queue_init(&shard->repairs);
}

static void node_init(node_t *node, const config_t *config)
{
    *node = (node_t){.config = config};
    shard_map_init(&node->map, config);
    name_incarnation(node);
    node->durability = durability_new(config);
    remote_clock_init(&node->gate_clock);
    gate_health_init(&node->gate_health);
    node->shards = alloc_zero(config->shards_count, sizeof(*node->shards));
    node->keepers = alloc_zero(config->shards_count, sizeof(*node->keepers));
    node->reconcilers = alloc_zero(config->shards_count, sizeof(*node->reconcilers));
    for (unsigned i = 0; i < config->shards_count; ++i)
        shard_init(node, i);
    atomic_store(&node->default_strategy, (int)config->orders.default_strategy);
}

/* When all threads have ended, or before one has begun. */
static void node_dispose(node_t *node)
{
    for (unsigned i = 0; i < node->map.shards_count; ++i)
        repair_queue_dispose(&node->shards[i].repairs);
    announcements_dispose(&node->announcements);
    durability_free(node->durability);
    free(node->shards);
    free(node->keepers);
    free(node->reconcilers);
    free(node->loops);
}

/* The toggle's default outlives a restart. */
static void read_default_strategy(node_t *node, db_t *db)
{
    int strategy = settings_read_default_strategy(db);
    if (strategy >= 0)
        atomic_store(&node->default_strategy, strategy);
}

/* What is wrong with the tables will not mend itself while we wait: said at start, it ends the
   start. A shard that does not answer may come later. */
static bool tables_fit(const node_t *node, const config_shard_t *shard)
{
    sql_t sql = {NULL, 0, 0};
    db_t *db = db_new_unchecked(node->config, shard_primary(shard));
    migrate_status_t status;
    bool known = migrate_check(db, &sql, &status) == RESULT_DONE;
    bool fits = !known || status == MIGRATE_CURRENT || status == MIGRATE_AHEAD;
    if (!known)
        LOG_WARN("a shard does not say whether its tables fit", LOG_STR("shard", shard->name),
                 LOG_STR("error", db_error(db)));
    if (!fits)
        fprintf(stderr, "holdfast: %s: %s\n", shard->name, migrate_status_text(status));
    if (known && status == MIGRATE_AHEAD)
        LOG_INFO("a shard has newer tables, beside which this binary may run",
                 LOG_STR("shard", shard->name));
    sql_free(&sql);
    db_free(db);
    return fits;
}

/* A shard that is away now, or another one than the configuration has there, stops no other: it is
   away until it is the right one. */
static void meet_shard(node_t *node, unsigned shard)
{
    const config_shard_t *config = &node->config->shards[shard];
    uint64_t sent = clock_mono_ms(), now_ms;
    db_t *db = db_new(node->config, shard_primary(config));
    if (shard_clock_read(db, &now_ms) == RESULT_DONE) {
        remote_clock_observe(&node->shards[shard].clock, sent, now_ms);
        read_default_strategy(node, db);
    } else {
        LOG_ERROR("a shard is away; its items are unavailable until it is back",
                  LOG_STR("shard", config->name), LOG_STR("error", db_error(db)));
    }
    db_free(db);
}

/* Redis comes last: the shards say which deployment this is. */
static bool check_stores(node_t *node)
{
    for (unsigned i = 0; i < node->map.shards_count; ++i)
        if (!tables_fit(node, &node->config->shards[i]))
            return false;
    for (unsigned i = 0; i < node->map.shards_count; ++i)
        meet_shard(node, i);
    gate_sync_t *gate = gate_sync_new(node->config);
    if (gate_sync_connect(gate) != RESULT_DONE)
        LOG_WARN("Redis is away; lua and watch items are unavailable until it is back",
                 LOG_STR("error", gate_sync_error(gate)));
    gate_sync_free(gate);
    return true;
}

static void start_stores(node_t *node)
{
    const config_t *config = node->config;
    node->prober = prober_start(config, true);
    node->audits = audit_runner_start(config, node->prober);
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        shard_t *shard = &node->shards[i];
        node->reconcilers[i] = reconciler_new(shard);
        shard->writer = writer_start(config, i, &shard->clock);
        shard->pool = pool_start(shard, config->mysql.pool_threads, config->mysql.pool_queue_max);
    }
}

/* The loops are there: now these may post to them. */
static void start_background(node_t *node)
{
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        node->keepers[i] =
            keeper_start(&node->shards[i], &node->default_strategy, node->durability);
        reconciler_start(node->reconcilers[i]);
    }
}

static void stop_background(node_t *node)
{
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        keeper_stop(node->keepers[i]);
        reconciler_stop(node->reconcilers[i]);
    }
}

/* The loops have drained: nobody submits any more. */
static void stop_stores(node_t *node)
{
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        pool_stop(node->shards[i].pool);
        writer_stop(node->shards[i].writer);
        reconciler_free(node->reconcilers[i]);
    }
    audit_runner_stop(node->audits);
    prober_stop(node->prober);
}

/* --- the end --- */

/* Nobody waits for this thread, and the configuration is freed before the process has ended: so it
   gets its number by value. */
static void *watch_the_clock(void *arg)
{
    uint32_t deadline_ms = (uint32_t)(uintptr_t)arg;
    usleep(deadline_ms * 1000);
    LOG_ERROR("what is under way did not end in time; ending the process",
              LOG_INT("deadline_ms", deadline_ms));
    log_flush();
    _exit(1);
}

/* Why log_open_file() has failed. */
static const char *log_file_error(void)
{
    return errno == EINVAL ? "it is no regular file" : strerror(errno);
}

/* What an operator asks for by SIGHUP. Nothing that is wrong ends the process: what was goes on. */
static void reload(const config_t *config, server_t *server)
{
    if (config->log.file != NULL && !log_open_file(config->log.file))
        LOG_ALWAYS(LOG_LEVEL_ERROR, "the file of the log cannot be opened again; the old one stays",
                   LOG_STR("file", config->log.file), LOG_STR("error", log_file_error()));
    else
        LOG_ALWAYS(LOG_LEVEL_INFO, "SIGHUP: the file of the log and certificates are opened again",
                   LOG_STR("file", config->log.file));
    server_renew_tls(server);
}

static void wait_for_the_end(const config_t *config, server_t *server)
{
    int signal_number;
    while ((signal_number = signals_wait()) == SIGHUP)
        reload(config, server);
    LOG_INFO("ending: readiness goes down, then listeners close, then what was started ends",
             LOG_INT("signal", signal_number));
}

static void drain(node_t *node, server_t *server)
{
    pthread_t clock;
    atomic_store(&node->draining, true);
    if (pthread_create(&clock, NULL, watch_the_clock,
                       (void *)(uintptr_t)node->config->shutdown.deadline_ms) == 0)
        pthread_detach(clock);
    usleep(node->config->shutdown.readiness_delay_ms * 1000);
    prober_end(node->prober); /* it may wait for a silent server meanwhile */
    stop_background(node);    /* it would go on giving the loops work */
    server_drain(server);
}

/* Before anything is logged. */
static bool open_log(const config_t *config)
{
    if (config->log.file != NULL && !log_open_file(config->log.file)) {
        fprintf(stderr, "holdfast: cannot open the log %s: %s\n", config->log.file,
                log_file_error());
        return false;
    }
    log_set_level(config->log.level);
    log_start();
    return true;
}

int serve(const config_t *config)
{
    /* Static: what h2o made for its contexts is never freed, and stays reachable from here. */
    static server_t *server;
    node_t node;
    if (!open_log(config))
        return 1;
    order_id_set_key(str_of(config->orders.id_key));
    node_init(&node, config);
    if (!check_stores(&node)) {
        node_dispose(&node);
        return 1;
    }
    if ((server = server_open(&node, &admin_routes)) == NULL)
        return 1;
    node.rate_limits = rate_limits_new(config);
    start_stores(&node);
    server_start(server);
    start_background(&node);
    LOG_INFO("serving", LOG_STR("host", config->http.listen.host),
             LOG_INT("port", config->http.listen.port), LOG_INT("loops", node.loops_count),
             LOG_STR("incarnation", node.incarnation));
    wait_for_the_end(config, server);
    drain(&node, server);
    stop_stores(&node);
    server_end(server);
    rate_limits_free(node.rate_limits);
    node_dispose(&node);
    LOG_INFO("ended");
    if (audit_threads_left() != 0) /* one waits for a silent server, and uses the configuration */
        _exit(0);
    return 0;
}
