#include "http/items.h"

#include <stdio.h>

#include "base/alloc.h"
#include "http/body.h"
#include "http/call.h"

typedef struct {
    call_t call; /* first */
    item_ref_t ref;
    result_t result;
    bool found;
    item_t item;
} item_call_t;

cJSON *item_to_json(const item_t *item)
{
    char sku[SKU_BYTES_MAX + 1];
    const item_terms_t *terms = &item->terms;
    snprintf(sku, sizeof(sku), "%.*s", STR_ARG(item_sku(item)));
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
    c->result = item_read(worker->db, &worker->sql, &c->ref, false, &c->item, &c->found);
}

static void reply_get(call_t *call, exchange_t *exchange)
{
    item_call_t *c = (item_call_t *)call;
    if (c->result != RESULT_DONE)
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
    item_call_t *c = alloc_zero(1, sizeof(*c));
    c->call.run = run_get;
    c->call.reply = reply_get;
    c->call.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    c->ref = item_ref_of(match->param);
    /* Not counted in its slot: it reads without a lock, so it need not queue behind jobs that wait
       for one. */
    call_submit(exchange, exchange->http->map->shard_of_slot[c->ref.slot], &c->call);
}
