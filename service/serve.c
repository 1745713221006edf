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
#include "http/credentials.h"
#include "http/rate_limit.h"
#include "http/readiness.h"
#include "http/server.h"
#include "reconcile/audit_runner.h"
#include "reconcile/durability.h"
#include "reconcile/housekeeping.h"
#include "reconcile/loader.h"
#include "reconcile/reconciler.h"
#include "signals.h"
#include "store/items.h"
#include "store/migrate.h"
#include "store/settings.h"
#include "work/pool.h"
#include "work/prober.h"
#include "work/writer.h"

/* The data of this process. It is made before any thread that uses it, and remains until the last
   has ended. */
typedef struct {
    const config_t *config;
    node_t node; /* shared by the loops */
    http_context_t http;
    admin_t admin;
    routes_t admin_routes;
    atomic_int default_strategy;    /* for items created without one */
    housekeeping_t **housekeepings; /* one for each shard: expiry, epochs */
    reconciler_t **reconcilers;     /* one for each shard: orphans, drift */
    loader_t **loaders;             /* one for each shard: tables of buyers */
    item_count_t *item_counts;      /* one for each shard */
    durability_watch_t *durability; /* whether the servers keep what they acknowledge */
} service_t;

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
    repair_queue_init(&shard->loads);
    in_use_init(&shard->in_use);
}

static void node_init(node_t *node, const config_t *config)
{
    *node = (node_t){.config = config};
    shard_map_init(&node->map, config);
    name_incarnation(node);
    remote_clock_init(&node->gate_clock);
    gate_health_init(&node->gate_health);
    orders_in_hand_init(&node->in_hand);
    node->shards = alloc_zero(config->shards_count, sizeof(*node->shards));
    for (unsigned i = 0; i < config->shards_count; ++i)
        shard_init(node, i);
}

static void node_dispose(node_t *node)
{
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        repair_queue_dispose(&node->shards[i].repairs);
        repair_queue_dispose(&node->shards[i].loads);
        in_use_dispose(&node->shards[i].in_use);
    }
    announcements_dispose(&node->announcements);
    free(node->shards);
    free(node->loops);
}

/* Call before any thread is started that uses it. */
static void service_init(service_t *service, const config_t *config)
{
    *service = (service_t){.config = config};
    node_t *node = &service->node;
    node_init(node, config);
    service->durability = durability_new(config);
    service->housekeepings = alloc_zero(config->shards_count, sizeof(service->housekeepings[0]));
    service->loaders = alloc_zero(config->shards_count, sizeof(service->loaders[0]));
    service->reconcilers = alloc_zero(config->shards_count, sizeof(service->reconcilers[0]));
    service->item_counts = alloc_zero(config->shards_count, sizeof(service->item_counts[0]));
    for (unsigned i = 0; i < config->shards_count; ++i)
        item_count_init(&service->item_counts[i]);
    atomic_store(&service->default_strategy, (int)config->orders.default_strategy);
    service->http = (http_context_t){.config = config,
                                     .map = &node->map,
                                     .shards = node->shards,
                                     .gate_clock = &node->gate_clock,
                                     .gate_health = &node->gate_health};
    service->admin = (admin_t){.incarnation = node->incarnation,
                               .started_ms = clock_mono_ms(),
                               .item_counts = service->item_counts,
                               .reconcilers = service->reconcilers,
                               .durability = service->durability,
                               .default_strategy = &service->default_strategy};
    service->admin_routes = admin_routes(&service->admin);
}

/* Call when all threads have ended, or before the first begins. */
static void service_dispose(service_t *service)
{
    rate_limits_free(service->http.rate_limits);
    readiness_free(service->http.readiness, service->node.loops_count);
    durability_free(service->durability);
    free(service->housekeepings);
    free(service->loaders);
    free(service->reconcilers);
    for (unsigned i = 0; i < service->config->shards_count; ++i)
        item_count_dispose(&service->item_counts[i]);
    free(service->item_counts);
    node_dispose(&service->node);
}

/* Reads the default strategy from the shard, since the toggle's default must outlive a restart. */
static void read_default_strategy(service_t *service, db_t *db)
{
    strategy_id_t strategy;
    bool found;
    if (settings_read_default_strategy(db, &strategy, &found) == RESULT_DONE && found)
        atomic_store(&service->default_strategy, (int)strategy);
}

/* Tables that do not fit stay so until an operator acts: the process then does not start. A shard
   that does not answer may come back later, so it does not stop the start. */
static bool tables_fit(const config_t *config, const config_shard_t *shard)
{
    sql_t sql = {NULL, 0, 0};
    db_t *db = db_new_unchecked(config, shard_primary(shard));
    migrate_status_t status;
    bool known = migrate_check(db, &sql, &status) == RESULT_DONE;
    bool fits = !known || status == MIGRATE_CURRENT || status == MIGRATE_AHEAD;
    if (!known)
        LOG_WARN("the schema version of a shard cannot be read", LOG_STR("shard", shard->name),
                 LOG_STR("error", db_error(db)));
    if (!fits)
        fprintf(stderr, "holdfast: %s: %s\n", shard->name, migrate_status_text(status));
    if (known && status == MIGRATE_AHEAD)
        LOG_INFO("a shard has a newer schema, with which this binary is compatible",
                 LOG_STR("shard", shard->name));
    sql_free(&sql);
    db_free(db);
    return fits;
}

/* Connects to a shard once. One that is away, or is not the one in the configuration, does not stop
   the others: it counts as away until it is the right one. */
static void connect_shard(service_t *service, unsigned shard)
{
    const config_shard_t *config = &service->config->shards[shard];
    uint64_t sent = clock_mono_ms(), now_ms;
    db_t *db = db_new(service->config, shard_primary(config));
    if (shard_clock_read(db, &now_ms) == RESULT_DONE) {
        remote_clock_observe(&service->node.shards[shard].clock, sent, now_ms);
        read_default_strategy(service, db);
    } else {
        LOG_ERROR("a shard is away; its items are unavailable until it is back",
                  LOG_STR("shard", config->name), LOG_STR("error", db_error(db)));
    }
    db_free(db);
}

/* Redis comes last: the shards have the name of the deployment, against which Redis is checked. */
static bool check_stores(service_t *service)
{
    for (unsigned i = 0; i < service->config->shards_count; ++i)
        if (!tables_fit(service->config, &service->config->shards[i]))
            return false;
    for (unsigned i = 0; i < service->config->shards_count; ++i)
        connect_shard(service, i);
    gate_sync_t *gate = gate_sync_new(service->config);
    if (gate_sync_connect(gate) != RESULT_DONE)
        LOG_WARN("Redis is away; lua and watch items are unavailable until it is back",
                 LOG_STR("error", gate_sync_error(gate)));
    gate_sync_free(gate);
    return true;
}

static void start_stores(service_t *service)
{
    const config_t *config = service->config;
    service->http.prober = prober_start(config, true);
    service->admin.audits = audit_runner_start(config, service->http.prober);
    for (unsigned i = 0; i < service->config->shards_count; ++i) {
        shard_t *shard = &service->node.shards[i];
        service->reconcilers[i] = reconciler_new(shard);
        shard->writer = writer_start(config, i, &shard->clock);
        shard->pool = pool_start(shard, config->mysql.pool_threads, config->mysql.pool_queue_max);
    }
}

/* Call when the loops exist, because these threads post to them. */
static void start_background(service_t *service)
{
    for (unsigned i = 0; i < service->config->shards_count; ++i) {
        service->housekeepings[i] = housekeeping_start(
            &service->node.shards[i], &service->default_strategy, service->durability);
        reconciler_start(service->reconcilers[i]);
        service->loaders[i] = loader_start(&service->node.shards[i]);
    }
}

/* All are told first: each may be blocked on a silent server until a time-out. */
static void end_background(service_t *service)
{
    for (unsigned i = 0; i < service->config->shards_count; ++i) {
        housekeeping_end(service->housekeepings[i]);
        reconciler_end(service->reconcilers[i]);
        loader_end(service->loaders[i]);
    }
}

static void stop_background(service_t *service)
{
    for (unsigned i = 0; i < service->config->shards_count; ++i) {
        housekeeping_stop(service->housekeepings[i]);
        reconciler_stop(service->reconcilers[i]);
        loader_stop(service->loaders[i]);
    }
}

/* Call when the loops have drained: no thread submits jobs any more. */
static void stop_stores(service_t *service)
{
    for (unsigned i = 0; i < service->config->shards_count; ++i) {
        pool_stop(service->node.shards[i].pool);
        writer_stop(service->node.shards[i].writer);
        reconciler_free(service->reconcilers[i]);
    }
    audit_runner_stop(service->admin.audits);
    prober_stop(service->http.prober);
}

/* --- the end --- */

/* This thread is not joined, and the configuration is freed before the process has ended. So the
   deadline is passed by value. */
static void *exit_at_deadline(void *arg)
{
    uint32_t deadline_ms = (uint32_t)(uintptr_t)arg;
    usleep(deadline_ms * 1000);
    LOG_ERROR("work under way did not end in time; the process ends",
              LOG_INT("deadline_ms", deadline_ms));
    log_flush();
    _exit(1);
}

/* The reason why log_open_file() has failed. */
static const char *log_file_error(void)
{
    return errno == EINVAL ? "it is no regular file" : strerror(errno);
}

/* Loads the tokens and the keys of buyers' tokens again. */
static void reload_credentials(const config_t *config, server_t *server)
{
    char reason[CREDENTIALS_REASON_SIZE];
    credentials_t *credentials = credentials_load(config, reason);
    if (credentials == NULL) {
        LOG_ALWAYS(LOG_LEVEL_ERROR,
                   "the new tokens and keys cannot be used; the old ones stay in use",
                   LOG_STR("error", reason));
        return;
    }
    server_renew_credentials(server, credentials);
    credentials_release(credentials);
    LOG_ALWAYS(LOG_LEVEL_INFO, "tokens and keys were loaded again; new requests are judged by them",
               LOG_STR("tokens", config->admin.tokens_file),
               LOG_STR("buyer_keys", config->http.buyer_keys_file));
}

/* Carries out a SIGHUP. No mistake ends the process: what cannot be loaded stays as it was. */
static void reload(const config_t *config, server_t *server)
{
    if (config->log.file != NULL && !log_open_file(config->log.file))
        LOG_ALWAYS(LOG_LEVEL_ERROR, "the log file cannot be opened again; the old one stays in use",
                   LOG_STR("file", config->log.file), LOG_STR("error", log_file_error()));
    else
        LOG_ALWAYS(LOG_LEVEL_INFO,
                   "SIGHUP: the log file is opened again, and certificates and tokens are loaded",
                   LOG_STR("file", config->log.file));
    server_renew_tls(server);
    if (config->admin.tokens_file != NULL || config->http.buyer_keys_file != NULL)
        reload_credentials(config, server);
}

static void wait_for_shutdown(const config_t *config, server_t *server)
{
    int signal_number;
    while ((signal_number = signals_wait()) == SIGHUP)
        reload(config, server);
    LOG_INFO("shutting down: readyz answers 503, then listeners close, then work under way ends",
             LOG_INT("signal", signal_number));
}

static void drain(service_t *service, server_t *server)
{
    pthread_t clock;
    /* Readiness fails first and the listeners close later, so that load balancers stop sending
       before connections are refused. */
    atomic_store(&service->http.draining, true);
    if (pthread_create(&clock, NULL, exit_at_deadline,
                       (void *)(uintptr_t)service->config->shutdown.deadline_ms) == 0)
        pthread_detach(clock);
    usleep(service->config->shutdown.readiness_delay_ms * 1000);
    prober_end(service->http.prober);
    end_background(service);
    server_drain(server);
    stop_background(service);
    server_await_idle(server); /* what was posted until now, and what one loop has sent another */
}

/* Call before anything is logged. */
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

/* NULL: reported on stderr; the process ends. */
static server_t *open_server(service_t *service)
{
    char reason[CREDENTIALS_REASON_SIZE];
    credentials_t *credentials = credentials_load(service->config, reason);
    if (credentials == NULL) {
        fprintf(stderr, "holdfast: %s\n", reason);
        return NULL;
    }
    server_t *server =
        server_open(&service->node, &service->http, &service->admin_routes, credentials);
    credentials_release(credentials);
    return server;
}

int serve(const config_t *config)
{
    /* Static, so that a leak checker still reaches the memory of h2o's contexts, which is never
       freed. */
    static server_t *server;
    service_t service;
    if (!open_log(config))
        return 1;
    order_id_set_key(str_of(config->orders.id_key));
    service_init(&service, config);
    if (!check_stores(&service)) {
        service_dispose(&service);
        return 1;
    }
    if ((server = open_server(&service)) == NULL)
        return 1;
    service.admin.loops_count = service.node.loops_count;
    service.http.rate_limits = rate_limits_new(config);
    service.http.readiness = readiness_new(service.node.loops_count);
    start_stores(&service);
    server_start(server);
    start_background(&service);
    LOG_INFO("serving", LOG_STR("host", config->http.listen.host),
             LOG_INT("port", config->http.listen.port), LOG_INT("loops", service.node.loops_count),
             LOG_STR("incarnation", service.node.incarnation));
    wait_for_shutdown(config, server);
    drain(&service, server);
    stop_stores(&service);
    server_end(server);
    service_dispose(&service);
    LOG_INFO("ended");
    if (audit_threads_left() != 0) /* one is blocked on a silent server, and uses the
                                      configuration */
        _exit(0);
    return 0;
}
