#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "http/body.h"
#include "http/request_job.h"
#include "reconcile/pass.h"

typedef struct {
    request_job_t request; /* first */
    item_ref_t item;
    pass_t pass;
} pass_request_t;

static void run_pass(request_job_t *request, worker_t *worker)
{
    pass_request_t *r = (pass_request_t *)request;
    str_t sku = sku_str(&r->item.sku);
    r->pass = reconcile_pass(worker, &r->item);
    assert(r->pass.done == ACTION_NONE || r->pass.result == SYNC_READY); /* `item` is the new row */
    if (r->pass.done != ACTION_NONE)
        announce_item_changed(worker->shard->announcements, sku, r->pass.item.epoch);
}

static void add_pass_numbers(cJSON *json, const pass_t *pass)
{
    const gate_state_t *gate = &pass->gate;
    cJSON *g = cJSON_AddObjectToObject(json, "gate");
    cJSON_AddNumberToObject(g, "epoch", (double)gate->epoch);
    cJSON_AddNumberToObject(g, "available", (double)gate_available(gate));
    cJSON_AddNumberToObject(g, "unsettled", (double)gate_unsettled(gate));
    cJSON_AddNumberToObject(g, "reserved", (double)gate->reserved);
    cJSON_AddNumberToObject(g, "settled", (double)gate->settled);
    cJSON_AddNumberToObject(g, "released", (double)gate->released);
    cJSON *row = cJSON_AddObjectToObject(json, "mysql");
    cJSON_AddNumberToObject(row, "epoch", (double)pass->item.epoch);
    cJSON_AddNumberToObject(row, "total", (double)pass->item.terms.total);
    cJSON_AddNumberToObject(row, "allocated", (double)item_allocated(&pass->item));
}

static void reply_pass(request_job_t *request, exchange_t *exchange)
{
    pass_request_t *r = (pass_request_t *)request;
    if (r->pass.result != SYNC_READY) {
        reply_not_synced(exchange, r->pass.result);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "found", finding_name(r->pass.finding));
    cJSON_AddStringToObject(json, "did", pass_action(&r->pass));
    add_pass_numbers(json, &r->pass);
    reply_json(exchange, 200, json);
}

void reply_not_synced(exchange_t *exchange, sync_result_t result)
{
    reply_problem(exchange,
                  result == SYNC_UNKNOWN_ITEM ? PROBLEM_UNKNOWN_ITEM
                  : result == SYNC_REFUSED    ? PROBLEM_WRONG_STATE
                                              : PROBLEM_UNAVAILABLE,
                  result == SYNC_UNKNOWN_ITEM ? NULL : sync_result_text(result));
}

void handle_reconcile(exchange_t *exchange, const route_match_t *match)
{
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    pass_request_t *r = alloc_zero(1, sizeof(*r));
    r->request.run = run_pass;
    r->request.reply = reply_pass;
    r->item = item_ref_of(match->param);
    request_job_submit_for_item(exchange, &r->item, &r->request);
}
