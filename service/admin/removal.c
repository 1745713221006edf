#include <assert.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "base/log.h"
#include "http/body.h"
#include "http/call.h"
#include "reconcile/delete.h"

typedef struct {
    call_t call; /* first */
    item_ref_t item;
    sync_result_t result;
    delete_outcome_t outcome; /* of SYNC_READY */
} delete_call_t;

static void run_delete(call_t *call, worker_t *worker)
{
    delete_call_t *c = (delete_call_t *)call;
    str_t sku = sku_str(&c->item.sku);
    uint64_t epoch;
    c->result = item_delete(worker, &c->item, &epoch, &c->outcome);
    /* A deletion has read the row first: the loops are told under which epoch it went. */
    assert(c->result != SYNC_READY || epoch != 0);
    if (epoch != 0) /* also if the outcome of the COMMIT is unknown */
        announce_item_changed(worker->shard->announcements, sku, epoch);
    if (c->result == SYNC_READY && c->outcome == DELETE_DONE)
        LOG_INFO("item deleted", LOG_BYTES("sku", sku), LOG_INT("epoch", epoch - 1));
}

static void reply_delete(call_t *call, exchange_t *exchange)
{
    delete_call_t *c = (delete_call_t *)call;
    if (c->result != SYNC_READY) {
        reply_not_synced(exchange, c->result);
        return;
    }
    switch (c->outcome) {
    case DELETE_DONE:
        reply_nothing(exchange);
        break;
    case DELETE_LIVE:
        reply_problem(exchange, PROBLEM_WRONG_STATE,
                      "The item has live orders: cancel them, or let their holds end, first");
        break;
    case DELETE_UNSETTLED:
        reply_problem(exchange, PROBLEM_WRONG_STATE,
                      "Orders of the item are on their way to MySQL; try again");
        break;
    }
}

void handle_item_delete(exchange_t *exchange, const route_match_t *match)
{
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    delete_call_t *c = alloc_zero(1, sizeof(*c));
    c->call.run = run_delete;
    c->call.reply = reply_delete;
    c->item = item_ref_of(match->param);
    call_submit_for_item(exchange, &c->item, &c->call);
}
