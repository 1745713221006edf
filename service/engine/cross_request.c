#include "engine/cross_request.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/live.h"
#include "metrics/metrics.h"

struct cross {
    loop_message_t message;
    engine_loop_t *origin, *owner;
    purchase_answer_cb answer;
    void *waiter;         /* used by the origin; NULL: the buyer has disconnected */
    unsigned changes;     /* `origin->changes` when the request was posted */
    purchase_t *purchase; /* until it is started: then it is the owner loop's */
    item_ref_t item;      /* of the purchase, which the answer may outlive */
    answer_t result;      /* the owner loop's answer */
    order_t order;        /* the order of `result` */
};

problem_t cross_request_refuse_early(engine_loop_t *engine, const purchase_request_t *request)
{
    if (request->key.n != 0)
        return PROBLEM_NONE;
    loop_item_t *item = loop_item_find(engine, request->sku);
    uint64_t now_ms = item == NULL ? 0 : clock_mono_ms();
    if (item == NULL || !loop_item_is_known(item) || item->sold_out_until_ms <= now_ms)
        return PROBLEM_NONE;
    live_count(item, HEARD_SOLD_OUT, now_ms);
    METRIC_INC(gate_local_refusals_total);
    METRIC_STRATEGY_ADD(refused_total, item_strategy(&item->item), 1);
    return PROBLEM_SOLD_OUT;
}

static void end(cross_request_t *cross, const answer_t *answer)
{
    assert(cross->origin->cross_requests != 0);
    --cross->origin->cross_requests;
    if (cross->waiter != NULL)
        cross->answer(cross->waiter, answer);
    free(cross);
}

/* --- to another loop and back --- */

/* Ignores the owner's "sold out" if any item has changed since the request was posted: the change
   may have returned units of this one, and its announcement may have reached this loop before the
   answer did. */
static void remember_sold_out(const cross_request_t *cross)
{
    const answer_t *result = &cross->result;
    if (result->sold_out_until_ms == 0 || cross->origin->changes != cross->changes)
        return;
    loop_item_t *item = loop_item_get(cross->origin, &cross->item);
    item->sold_out_until_ms = result->sold_out_until_ms;
    item->item.terms.strategy = result->strategy;
}

static void on_return(loop_message_t *message)
{
    cross_request_t *cross = H2O_STRUCT_FROM_MEMBER(cross_request_t, message, message);
    remember_sold_out(cross);
    end(cross, &cross->result);
}

static void on_arrival(loop_message_t *message);

static void on_answer_far(void *waiter, const answer_t *answer)
{
    cross_request_t *cross = waiter;
    assert(cross->message.run == on_arrival); /* the answer has not been posted yet */
    /* The answer borrows its order from the purchase, which may be gone before the message runs. */
    cross->result = *answer;
    if (answer->order != NULL) {
        cross->order = *answer->order;
        cross->result.order = &cross->order;
    }
    cross->message.run = on_return;
    loop_post(cross->origin->loop, &cross->message);
}

/* On the thread of the item's owner loop. */
static void start(cross_request_t *cross, purchase_answer_cb answer)
{
    purchase_t *purchase = cross->purchase;
    cross->purchase = NULL;
    purchase_start(purchase, cross->owner, &cross->item, answer, cross);
}

static void on_arrival(loop_message_t *message)
{
    start(H2O_STRUCT_FROM_MEMBER(cross_request_t, message, message), on_answer_far);
}

static void on_answer_near(void *waiter, const answer_t *answer)
{
    end(waiter, answer);
}

cross_request_t *cross_request_start(engine_loop_t *engine, const purchase_request_t *request,
                                     purchase_answer_cb answer, void *waiter)
{
    cross_request_t *cross = alloc_bytes(sizeof(*cross));
    cross->item = item_ref_of(request->sku);
    cross->purchase = purchase_new(request);
    cross->origin = engine;
    cross->owner = engine_owner_loop(engine->node, cross->item.slot);
    cross->answer = answer;
    cross->waiter = waiter;
    cross->changes = engine->changes;
    ++engine->cross_requests;
    if (cross->owner == engine) {
        start(cross, on_answer_near);
        return cross;
    }
    cross->message.run = on_arrival;
    loop_post(cross->owner->loop, &cross->message);
    return cross;
}

void cross_request_forget_waiter(cross_request_t *cross)
{
    cross->waiter = NULL;
}
