#include "http/items.h"

#include <stdio.h>

#include "base/alloc.h"
#include "http/body.h"
#include "http/request_job.h"

typedef struct {
    request_job_t request; /* first */
    item_ref_t ref;
    result_t result;
    bool found;
    item_t item;
} item_request_t;

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

static void run_get(request_job_t *request, worker_t *worker)
{
    item_request_t *r = (item_request_t *)request;
    r->result = item_read(worker->db, &worker->sql, &r->ref, false, &r->item, &r->found);
}

static void reply_get(request_job_t *request, exchange_t *exchange)
{
    item_request_t *r = (item_request_t *)request;
    if (r->result != RESULT_DONE)
        reply_problem(exchange, PROBLEM_UNAVAILABLE, NULL);
    else if (!r->found)
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
    else
        reply_json(exchange, 200, item_to_json(&r->item));
}

void handle_item_get(exchange_t *exchange, const route_match_t *match)
{
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    item_request_t *r = alloc_zero(1, sizeof(*r));
    r->request.run = run_get;
    r->request.reply = reply_get;
    r->request.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    r->ref = item_ref_of(match->param);
    /* Not counted in its slot: it reads without a lock, so it need not queue behind jobs that wait
       for one. */
    request_job_submit(exchange, exchange->http->map->shard_of_slot[r->ref.slot], &r->request);
}
