#include "http/items.h"

#include "http/body.h"
#include "http/call.h"

typedef struct {
    call_t call; /* first */
    char sku[SKU_BYTES_MAX];
    uint8_t sku_length;
    db_result_t result;
    bool found;
    item_t item;
} item_call_t;

cJSON *item_to_json(const item_t *item)
{
    char sku[SKU_BYTES_MAX + 1];
    const item_terms_t *terms = &item->terms;
    memcpy(sku, item->sku_bytes, item->sku_length);
    sku[item->sku_length] = '\0';
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "sku", sku);
    cJSON_AddNumberToObject(json, "total", (double)terms->total);
    cJSON_AddNumberToObject(json, "available", (double)(terms->total - item_allocated(item)));
    cJSON_AddNumberToObject(json, "per_buyer_limit", terms->per_buyer_limit);
    cJSON_AddNumberToObject(json, "hold_seconds", terms->hold_seconds);
    cJSON_AddItemToObject(json, "starts_at", time_to_json(terms->starts_at_ms));
    cJSON_AddItemToObject(json, "ends_at", time_to_json(terms->ends_at_ms));
    cJSON_AddStringToObject(json, "strategy", strategy_name(terms->strategy));
    cJSON_AddStringToObject(json, "acknowledge", acknowledge_name(terms->acknowledge));
    return json;
}

static void run_get(call_t *call, worker_t *worker)
{
    item_call_t *c = (item_call_t *)call;
    c->result = item_read(worker->db, &worker->sql, (str_t){c->sku, c->sku_length}, false, &c->item,
                          &c->found);
}

static void reply_get(call_t *call, exchange_t *exchange)
{
    item_call_t *c = (item_call_t *)call;
    if (c->result != DB_OK)
        reply_problem(exchange, PROBLEM_UNAVAILABLE, NULL);
    else if (!c->found)
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
    else
        reply_json(exchange, 200, item_to_json(&c->item));
}

void handle_item_get(exchange_t *exchange, const route_match_t *match)
{
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    item_call_t *c = call_new(sizeof(*c));
    c->call.run = run_get;
    c->call.reply = reply_get;
    memcpy(c->sku, match->param.p, match->param.n);
    c->sku_length = (uint8_t)match->param.n;
    call_submit(exchange, exchange->engine->node->map.shard_of_slot[slot_of_sku(match->param)],
                &c->call);
}

void handle_healthz(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    reply_text(exchange, 200, "application/json", STR("{\"status\":\"ok\"}"));
}

/* --- readiness: not draining, Redis up for every loop, every shard answers --- */

typedef struct {
    call_t call; /* first */
    unsigned shard;
    cJSON *missing;
    bool failed;
} ready_call_t;

static void dispose_ready(call_t *call)
{
    cJSON_Delete(((ready_call_t *)call)->missing);
}

static void run_ready(call_t *call, worker_t *worker)
{
    ready_call_t *c = (ready_call_t *)call;
    uint64_t now_ms;
    c->failed = shard_clock_read(worker->db, &now_ms) != DB_OK;
}

static void reply_readiness(exchange_t *exchange, const cJSON *missing)
{
    bool ready = cJSON_GetArraySize(missing) == 0;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "status", ready ? "ready" : "not ready");
    cJSON_AddItemToObject(json, "missing", cJSON_Duplicate(missing, true));
    reply_json(exchange, ready ? 200 : 503, json);
}

static void reply_ready(call_t *call, exchange_t *exchange)
{
    ready_call_t *c = (ready_call_t *)call;
    const node_t *node = exchange->engine->node;
    if (c->failed)
        cJSON_AddItemToArray(c->missing, cJSON_CreateString(node->config->shards[c->shard].name));
    if (++c->shard < node->map.shards_count)
        call_again(call, c->shard);
    else
        reply_readiness(exchange, c->missing);
}

void handle_readyz(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    engine_loop_t *engine = exchange->engine;
    cJSON *missing = cJSON_CreateArray();
    if (atomic_load(&engine->node->draining))
        cJSON_AddItemToArray(missing, cJSON_CreateString("shutting down"));
    /* Where the optimistic strategy stands in, Redis is not needed to serve. */
    if (engine->node->config->redis.on_gate_down == GATE_DOWN_REFUSE &&
        atomic_load(&engine->node->gate_health.up) < engine->node->loops_count)
        cJSON_AddItemToArray(missing, cJSON_CreateString("redis"));
    if (cJSON_GetArraySize(missing) != 0) {
        reply_readiness(exchange, missing);
        cJSON_Delete(missing);
        return;
    }
    ready_call_t *c = call_new(sizeof(*c));
    c->call.run = run_ready;
    c->call.reply = reply_ready;
    c->call.dispose = dispose_ready;
    c->missing = missing;
    call_submit(exchange, 0, &c->call);
}
