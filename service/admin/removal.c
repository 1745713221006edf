#include <assert.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "base/log.h"
#include "http/body.h"
#include "http/request_job.h"
#include "reconcile/delete.h"

typedef struct {
    request_job_t request; /* first */
    item_ref_t item;
    precondition_t precondition;
    change_origin_t origin;
    sync_result_t result;
    delete_outcome_t outcome; /* of SYNC_READY */
} delete_request_t;

static void run_delete(request_job_t *request, worker_t *worker)
{
    delete_request_t *r = (delete_request_t *)request;
    str_t sku = sku_str(&r->item.sku);
    uint64_t epoch;
    r->result = item_delete(worker, &r->item, &r->precondition, &r->origin, &epoch, &r->outcome);
    /* A deletion has read the row first: the loops are notified of the epoch under which it was
       deleted. */
    assert(r->result != SYNC_READY || epoch != 0);
    if (epoch != 0) /* also if the outcome of the COMMIT is unknown */
        announce_item_changed(worker->shard->announcements, sku, epoch);
    if (r->result == SYNC_READY && r->outcome == DELETE_DONE)
        LOG_INFO("item deleted", LOG_BYTES("sku", sku), LOG_INT("epoch", epoch - 1));
}

static void reply_delete(request_job_t *request, exchange_t *exchange)
{
    delete_request_t *r = (delete_request_t *)request;
    if (r->result != SYNC_READY) {
        reply_not_synced(exchange, r->result);
        return;
    }
    switch (r->outcome) {
    case DELETE_DONE:
        reply_nothing(exchange);
        break;
    case DELETE_PRECONDITION_FAILED:
        reply_problem(exchange, PROBLEM_PRECONDITION_FAILED, PRECONDITION_DETAIL);
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
    precondition_t precondition;
    change_origin_t origin;
    if (!read_precondition(exchange, &precondition) || !read_origin(exchange, &origin))
        return;
    delete_request_t *r = alloc_zero(1, sizeof(*r));
    r->precondition = precondition;
    r->origin = origin;
    r->request.run = run_delete;
    r->request.reply = reply_delete;
    r->item = item_ref_of(match->param);
    request_job_submit_for_item(exchange, &r->item, &r->request);
}
