#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "http/body.h"
#include "http/call.h"
#include "reconcile/pass.h"

typedef struct {
    call_t call; /* first */
    item_ref_t item;
    pass_t pass;
} pass_call_t;

static void run_pass(call_t *call, worker_t *worker)
{
    pass_call_t *c = (pass_call_t *)call;
    str_t sku = sku_str(&c->item.sku);
    c->pass = reconcile_pass(worker, &c->item);
    assert(c->pass.done == ACTION_NONE || c->pass.result == SYNC_READY); /* `item` is the new row */
    if (c->pass.done != ACTION_NONE)
        announce_item_changed(worker->shard->announcements, sku, c->pass.item.epoch);
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

static void reply_pass(call_t *call, exchange_t *exchange)
{
    pass_call_t *c = (pass_call_t *)call;
    if (c->pass.result != SYNC_READY) {
        reply_not_synced(exchange, c->pass.result);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "found", finding_name(c->pass.finding));
    cJSON_AddStringToObject(json, "did", pass_action(&c->pass));
    add_pass_numbers(json, &c->pass);
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
    pass_call_t *c = alloc_zero(1, sizeof(*c));
    c->call.run = run_pass;
    c->call.reply = reply_pass;
    c->item = item_ref_of(match->param);
    call_submit_for_item(exchange, &c->item, &c->call);
}
