/*
 * GET /v1/items/{sku}: the item's row, and what its gate counts. MySQL is the truth, so the row is
 * needed; while Redis is away the answer says so in place of the gate's counters.
 */
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "engine/view_rules.h"
#include "http/body.h"
#include "http/etag.h"
#include "http/items.h"
#include "http/request_job.h"
#include "store/items.h"

typedef struct {
    request_job_t request; /* first */
    item_ref_t ref;
    result_t row_read, gate_read;
    bool found;
    item_t row;        /* valid if it was found */
    gate_state_t gate; /* valid if it was read */
} item_request_t;

static void run_item(request_job_t *request, worker_t *worker)
{
    item_request_t *r = (item_request_t *)request;
    r->row_read = item_read(worker->db, &worker->sql, &r->ref, false, &r->row, &r->found);
    if (r->row_read == RESULT_DONE && r->found)
        r->gate_read = gate_sync_inspect(worker->gate, &r->ref, &r->gate);
}

static const char *gate_state_name(const item_request_t *r)
{
    const gate_state_t *gate = &r->gate;
    if (r->gate_read != RESULT_DONE)
        return "unknown";
    if (gate->answer == GATE_ITEM_MISSING)
        return "missing";
    if (gate->answer == GATE_ITEM_FOREIGN)
        return "foreign";
    if (gate->epoch != r->row.epoch)
        return "stale";
    if (gate->closed)
        return "closed";
    return gate->frozen_until_ms > gate->now_ms ? "frozen" : "open";
}

static void add_gate(cJSON *json, const item_request_t *r)
{
    const gate_state_t *gate = &r->gate;
    cJSON *out = cJSON_AddObjectToObject(json, "gate");
    cJSON_AddStringToObject(out, "state", gate_state_name(r));
    if (r->gate_read != RESULT_DONE || gate->answer == GATE_ITEM_MISSING)
        return;
    cJSON_AddNumberToObject(out, "epoch", (double)gate->epoch);
    cJSON_AddNumberToObject(out, "available", (double)gate_available(gate));
    cJSON_AddNumberToObject(out, "reserved", (double)gate->reserved);
    cJSON_AddNumberToObject(out, "settled", (double)gate->settled);
    cJSON_AddNumberToObject(out, "released", (double)gate->released);
    cJSON_AddNumberToObject(out, "unsettled", (double)gate_unsettled(gate));
    cJSON_AddNumberToObject(out, "unsettled_orders", (double)gate->held_orders);
    cJSON_AddNumberToObject(out, "buyers", (double)gate->buyers);
    cJSON_AddBoolToObject(out, "loading", gate->loading_until_ms != 0);
}

/* What a buyer finds: of an item that is sold through its gate, what that has left. Null: the gate
   admits nobody now, or it is not known. */
static cJSON *available_to_json(const item_request_t *r)
{
    const item_t *row = &r->row;
    item_shown_t shown = item_shown_of_row(row);
    if (item_uses_gate(row)) {
        if (r->gate_read != RESULT_DONE || r->gate.answer != GATE_ITEM_OK ||
            r->gate.epoch != row->epoch || r->gate.closed)
            return cJSON_CreateNull();
        item_shown_set_available(&shown, gate_available(&r->gate));
    }
    return cJSON_CreateNumber((double)shown.available);
}

static void reply_item(request_job_t *request, exchange_t *exchange)
{
    item_request_t *r = (item_request_t *)request;
    if (r->row_read != RESULT_DONE) {
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "The shard is away");
        return;
    }
    if (!r->found) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    cJSON *json = item_details_to_json(&r->row);
    cJSON_ReplaceItemInObjectCaseSensitive(json, "available", available_to_json(r));
    add_gate(json, r);
    char etag[VERSION_ETAG_SIZE];
    reply_add_header(exchange, "etag", etag_of_version(etag, r->row.terms_version).p);
    reply_json(exchange, 200, json);
}

void handle_item_show(exchange_t *exchange, const route_match_t *match)
{
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    item_request_t *r = alloc_zero(1, sizeof(*r));
    r->request.run = run_item;
    r->request.reply = reply_item;
    r->request.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    r->ref = item_ref_of(match->param);
    r->gate_read = RESULT_UNKNOWN;
    request_job_submit_for_item(exchange, &r->ref, &r->request);
}
