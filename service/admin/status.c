#include <stdio.h>
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "base/version.h"
#include "engine/nodes.h"
#include "http/fan.h"
#include "http/readiness.h"
#include "http/request_job.h"
#include "store/lease.h"

/* The part of the status that only the shard's MySQL has. */
typedef struct {
    bool read;
    char holder[65]; /* of the reconciler's lease */
} shard_view_t;

typedef struct {
    fan_t fan; /* first */
    item_count_t *item_counts;
    shard_view_t views[];
} status_request_t;

/* The answer waits for a shard no longer than this. */
#define STATUS_DEADLINE_MS 700

static void run_status(fan_t *fan, unsigned shard, worker_t *worker)
{
    status_request_t *r = (status_request_t *)fan;
    shard_view_t *view = &r->views[shard];
    view->read =
        lease_holder(worker->db, &worker->sql, RECONCILER_LEASE, view->holder) == RESULT_DONE;
    if (view->read)
        item_count_refresh(&r->item_counts[shard], worker->db, &worker->sql);
}

/* NULL: not known. */
static shard_view_t *view_of(status_request_t *r, unsigned shard)
{
    return fan_has_answer(&r->fan, shard) && r->views[shard].read ? &r->views[shard] : NULL;
}

static void add_known(cJSON *json, const char *name, bool known, uint64_t number)
{
    if (known)
        cJSON_AddNumberToObject(json, name, (double)number);
    else
        cJSON_AddNullToObject(json, name);
}

static const char *const status_words[] = {"primary", "secondary", "spare", "faulty"};
static const char *const mode_words[] = {"offline", "read-only", "read-write"};

static cJSON *server_to_json(const config_server_t *server)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", server->name);
    cJSON_AddStringToObject(json, "status", status_words[server->status]);
    cJSON_AddStringToObject(json, "mode", mode_words[server->mode]);
    cJSON_AddNumberToObject(json, "weight", server->weight);
    cJSON_AddStringToObject(json, "zone", server->zone != NULL ? server->zone : "");
    if (server->socket != NULL) {
        cJSON_AddStringToObject(json, "socket", server->socket);
    } else {
        cJSON_AddNullToObject(json, "socket");
        cJSON_AddStringToObject(json, "host", server->host);
        cJSON_AddNumberToObject(json, "port", server->port);
    }
    return json;
}

static void add_groups(cJSON *json, const config_t *config)
{
    cJSON *groups = cJSON_AddArrayToObject(json, "groups");
    for (unsigned i = 0; i < config->shards_count; ++i) {
        cJSON *group = cJSON_CreateObject();
        cJSON_AddStringToObject(group, "name", config->shards[i].name);
        cJSON *servers = cJSON_AddArrayToObject(group, "servers");
        for (unsigned j = 0; j < config->shards[i].servers_count; ++j)
            cJSON_AddItemToArray(servers, server_to_json(&config->shards[i].servers[j]));
        cJSON_AddItemToArray(groups, group);
    }
}

/* Adds the findings and actions of this process's reconciler; another node may hold the lease. */
static void add_reconciler(cJSON *shard, reconciler_t *reconciler, const shard_view_t *view)
{
    reconciler_report_t report;
    char at[TIME_TEXT_SIZE];
    reconciler_report(reconciler, &report);
    cJSON *json = cJSON_AddObjectToObject(shard, "reconciler");
    if (view == NULL)
        cJSON_AddNullToObject(json, "holder");
    else
        cJSON_AddStringToObject(json, "holder", view->holder);
    cJSON_AddBoolToObject(json, "holds_lease", report.holds_lease);
    cJSON_AddNumberToObject(json, "passes", (double)report.passes);
    if (report.passes != 0)
        cJSON_AddNumberToObject(json, "last_pass_ms_ago", (double)report.last_pass_ms_ago);
    cJSON_AddNumberToObject(json, "items_compared", (double)report.items);
    cJSON_AddNumberToObject(json, "items_tracked", (double)report.tracked);
    cJSON_AddNumberToObject(json, "orphans_adopted", (double)report.orphans);
    cJSON_AddNumberToObject(json, "repairs", (double)report.repairs);
    cJSON_AddNumberToObject(json, "set_aside", (double)report.set_aside);
    cJSON *findings = cJSON_AddObjectToObject(json, "findings");
    for (unsigned f = FINDING_AGREE + 1; f < FINDING_COUNT; ++f)
        cJSON_AddNumberToObject(findings, finding_name((finding_t)f), (double)report.findings[f]);
    if (!report.has_last) {
        cJSON_AddNullToObject(json, "last_finding");
        return;
    }
    cJSON *last = cJSON_AddObjectToObject(json, "last_finding");
    time_format_rfc3339(at, report.last_at_ms);
    cJSON_AddStringToObject(last, "sku", report.last_sku);
    cJSON_AddStringToObject(last, "found", finding_name(report.last_finding));
    cJSON_AddStringToObject(last, "did", report.last_action);
    cJSON_AddNumberToObject(last, "epoch", (double)report.last_epoch);
    cJSON_AddStringToObject(last, "at", at);
}

/* The most entries set aside that the answer lists for a shard. */
#define STATUS_ASIDE_MAX 100

static void add_aside(void *context, const writer_aside_view_t *view)
{
    char sku[SKU_BYTES_MAX + 1], id[ORDER_ID_TEXT + 1];
    if (cJSON_GetArraySize(context) >= STATUS_ASIDE_MAX)
        return;
    snprintf(sku, sizeof(sku), "%.*s", STR_ARG(view->sku));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "sku", sku);
    if (view->order_id == NULL) {
        cJSON_AddNullToObject(json, "order_id");
    } else {
        order_id_format(id, view->order_id);
        cJSON_AddStringToObject(json, "order_id", id);
    }
    cJSON_AddNumberToObject(json, "orders", view->orders);
    cJSON_AddStringToObject(json, "reason", view->why);
    cJSON_AddNumberToObject(json, "age_ms", (double)view->age_ms);
    cJSON_AddItemToArray(context, json);
}

/* "durable": true, false with a reason, or null: not known. */
static void add_durability(cJSON *json, const durability_t *seen)
{
    if (seen->durable == DURABLE_UNKNOWN)
        cJSON_AddNullToObject(json, "durable");
    else
        cJSON_AddBoolToObject(json, "durable", seen->durable == DURABLE_YES);
    if (seen->durable != DURABLE_YES)
        cJSON_AddStringToObject(json, "durable_reason", seen->why);
}

static void add_shard(cJSON *shards, const exchange_t *exchange, unsigned i,
                      const shard_view_t *view)
{
    char slots[16];
    const http_context_t *http = exchange->http;
    const config_shard_t *config = &http->config->shards[i];
    health_t health;
    durability_t durability;
    readiness_of_shard(http, i, &health);
    durability_of_shard(admin_of(exchange)->durability, i, &durability);
    snprintf(slots, sizeof(slots), "%u-%u", config->slot_first, config->slot_last);
    cJSON *shard = cJSON_CreateObject();
    cJSON_AddStringToObject(shard, "name", config->name);
    cJSON_AddStringToObject(shard, "slots", slots);
    if (health.probed)
        cJSON_AddBoolToObject(shard, "answers", health.answers);
    else
        cJSON_AddNullToObject(shard, "answers");
    readiness_add_health(shard, &health);
    add_durability(shard, &durability);
    cJSON_AddNumberToObject(shard, "writer_queue", writer_depth(http->shards[i].writer));
    cJSON_AddNumberToObject(shard, "pool_queue", pool_depth(http->shards[i].pool));
    writer_each_aside(http->shards[i].writer, add_aside,
                      cJSON_AddArrayToObject(shard, "set_aside"));
    add_reconciler(shard, admin_of(exchange)->reconcilers[i], view);
    cJSON_AddItemToArray(shards, shard);
}

static void add_shards(cJSON *json, const exchange_t *exchange, status_request_t *r)
{
    cJSON *shards = cJSON_AddArrayToObject(json, "shards");
    for (unsigned i = 0; i < exchange->http->map->shards_count; ++i)
        add_shard(shards, exchange, i, view_of(r, i));
}

/* Null if those of a shard were never counted. */
static void add_items(cJSON *json, const exchange_t *exchange)
{
    bool known = true;
    uint64_t total = 0, oldest_ms = 0;
    for (unsigned i = 0; i < exchange->http->map->shards_count; ++i) {
        uint64_t items, age_ms;
        known = item_count_read(&admin_of(exchange)->item_counts[i], &items, &age_ms) && known;
        total += items;
        oldest_ms = age_ms > oldest_ms ? age_ms : oldest_ms;
    }
    add_known(json, "items_total", known, total);
    add_known(json, "items_total_age_ms", known, oldest_ms);
}

/* --- the nodes --- */

typedef struct {
    cJSON *nodes;
    const exchange_t *exchange;
} nodes_list_t;

static void add_node(void *context, const node_seen_t *seen)
{
    const nodes_list_t *list = context;
    const config_t *config = list->exchange->http->config;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", seen->record->name);
    cJSON_AddStringToObject(json, "incarnation", seen->incarnation);
    cJSON_AddStringToObject(json, "version", seen->record->version);
    cJSON *epochs = cJSON_AddObjectToObject(json, "epochs");
    for (unsigned i = 0; i < seen->record->epochs_count && i < config->shards_count; ++i)
        add_known(epochs, config->shards[i].name, seen->record->epochs[i] != 0,
                  seen->record->epochs[i]);
    cJSON_AddNumberToObject(json, "last_heard_ms_ago", (double)seen->heard_ms_ago);
    cJSON_AddItemToArray(list->nodes, json);
}

/* As this node has read them in Redis last; null: never. */
static void add_nodes(cJSON *json, const exchange_t *exchange)
{
    nodes_list_t list = {cJSON_CreateArray(), exchange};
    uint64_t age_ms = 0;
    const nodes_t *nodes = exchange->engine->nodes;
    bool known = nodes != NULL && nodes_each(nodes, add_node, &list, &age_ms);
    if (!known) {
        cJSON_Delete(list.nodes);
        list.nodes = cJSON_CreateNull();
    }
    cJSON_AddItemToObject(json, "nodes", list.nodes);
    add_known(json, "nodes_age_ms", known, age_ms);
}

/* A connection to a silent Redis counts as none: it cannot be used. */
static void add_redis(cJSON *json, cJSON *connections, const exchange_t *exchange)
{
    health_t health;
    durability_t durability;
    cJSON *redis = cJSON_AddObjectToObject(json, "redis");
    readiness_of_redis(exchange->http, &health);
    readiness_add_health(redis, &health);
    durability_of_redis(admin_of(exchange)->durability, &durability);
    add_durability(redis, &durability);
    if (health.state == HEALTH_UNKNOWN)
        cJSON_AddNullToObject(connections, "redis");
    else
        cJSON_AddNumberToObject(connections, "redis", (double)METRIC_GET(redis_connections));
}

static void add_process(cJSON *json, const exchange_t *exchange)
{
    const admin_t *admin = admin_of(exchange);
    const config_t *config = exchange->http->config;
    cJSON_AddStringToObject(json, "node", config->node.name != NULL ? config->node.name : "");
    cJSON_AddStringToObject(json, "incarnation", admin->incarnation);
    cJSON_AddStringToObject(json, "version", holdfast_version);
    cJSON_AddNumberToObject(json, "uptime_ms", (double)(clock_mono_ms() - admin->started_ms));
    const char *deployment = deployment_name(config->deployment);
    if (deployment != NULL)
        cJSON_AddStringToObject(json, "deployment", deployment);
    else
        cJSON_AddNullToObject(json, "deployment");
    cJSON_AddNumberToObject(json, "loops", admin->loops_count);
    cJSON_AddStringToObject(json, "default_strategy",
                            strategy_name((strategy_id_t)atomic_load(admin->default_strategy)));
    cJSON_AddBoolToObject(json, "draining", atomic_load(&exchange->http->draining));
    cJSON *connections = cJSON_AddObjectToObject(json, "connections");
    cJSON_AddNumberToObject(connections, "http", (double)METRIC_GET(http_connections));
    add_redis(json, connections, exchange);
    cJSON *drift = cJSON_AddObjectToObject(json, "drift");
    cJSON_AddNumberToObject(drift, "orders_refused_by_the_row",
                            (double)METRIC_GET(gate_drift_total));
    cJSON_AddNumberToObject(drift, "rebuilds", (double)METRIC_GET(gate_rebuilds_total));
    cJSON_AddNumberToObject(drift, "releases_given_up",
                            (double)METRIC_GET(releases_given_up_total));
}

static void reply_status(fan_t *fan, exchange_t *exchange)
{
    status_request_t *r = (status_request_t *)fan;
    cJSON *json = cJSON_CreateObject();
    add_process(json, exchange);
    add_shards(json, exchange, r);
    add_groups(json, exchange->http->config);
    add_items(json, exchange);
    add_nodes(json, exchange);
    reply_json(exchange, 200, json);
}

void handle_status(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    unsigned shards = exchange->http->map->shards_count;
    status_request_t *r = alloc_zero(1, sizeof(*r) + shards * sizeof(r->views[0]));
    r->item_counts = admin_of(exchange)->item_counts;
    r->fan.run = run_status;
    r->fan.reply = reply_status;
    r->fan.deadline_ms = STATUS_DEADLINE_MS;
    fan_start(exchange, &r->fan);
}
