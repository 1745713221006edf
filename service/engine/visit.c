#include "engine/visit.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "metrics/metrics.h"

struct visit {
    loop_message_t message;
    engine_loop_t *origin, *home;
    purchase_answer_cb answer;
    void *waiter;               /* NULL: gone; the origin's */
    unsigned changes;           /* of items that the origin had heard of when this set out */
    purchase_request_t request; /* of text in `bytes` */
    answer_t said;
    order_t order; /* that `said` is about */
    char bytes[];
};

problem_t visit_refuse_early(engine_loop_t *engine, const purchase_request_t *request)
{
    if (request->key.n != 0)
        return PROBLEM_NONE;
    const loop_item_t *item = loop_item_find(engine, request->sku);
    if (item == NULL || !loop_item_is_known(item) || item->sold_out_until_ms <= clock_mono_ms())
        return PROBLEM_NONE;
    METRIC_INC(gate_local_refusals_total);
    METRIC_STRATEGY_ADD(refused_total, item_strategy(&item->item), 1);
    return PROBLEM_SOLD_OUT;
}

static void end(visit_t *visit, const answer_t *answer)
{
    assert(visit->origin->visits != 0);
    --visit->origin->visits;
    if (visit->waiter != NULL)
        visit->answer(visit->waiter, answer);
    free(visit);
}

/* --- from another loop --- */

/* Not if any units came back meanwhile: it may have been these. */
static void remember_sold_out(const visit_t *visit)
{
    const answer_t *said = &visit->said;
    if (said->sold_out_until_ms == 0 || visit->origin->changes != visit->changes)
        return;
    loop_item_t *item = loop_item_get(visit->origin, visit->request.sku);
    item->sold_out_until_ms = said->sold_out_until_ms;
    item->item.terms.strategy = said->strategy;
}

static void on_return(loop_message_t *message)
{
    visit_t *visit = H2O_STRUCT_FROM_MEMBER(visit_t, message, message);
    remember_sold_out(visit);
    end(visit, &visit->said);
}

static void on_arrival(loop_message_t *message);

static void on_answer_far(void *waiter, const answer_t *answer)
{
    visit_t *visit = waiter;
    assert(visit->message.run == on_arrival); /* it is not on its way back yet */
    visit->said = *answer;
    if (answer->order != NULL) {
        visit->order = *answer->order;
        visit->said.order = &visit->order;
    }
    visit->message.run = on_return;
    loop_post(visit->origin->loop, &visit->message);
}

static void on_arrival(loop_message_t *message)
{
    visit_t *visit = H2O_STRUCT_FROM_MEMBER(visit_t, message, message);
    purchase_start(visit->home, &visit->request, on_answer_far, visit);
}

static void on_answer_near(void *waiter, const answer_t *answer)
{
    end(waiter, answer);
}

static void copy_request(visit_t *visit, const purchase_request_t *request)
{
    char *at = visit->bytes;
    visit->request = *request;
    visit->request.sku = str_put(&at, request->sku);
    visit->request.buyer = str_put(&at, request->buyer);
    if (request->key.n != 0)
        visit->request.key = str_put(&at, request->key);
}

visit_t *visit_start(engine_loop_t *engine, const purchase_request_t *request,
                     purchase_answer_cb answer, void *waiter)
{
    visit_t *visit =
        alloc_bytes(sizeof(*visit) + request->sku.n + request->buyer.n + request->key.n);
    visit->origin = engine;
    visit->home = engine_home(engine->node, slot_of_sku(request->sku));
    visit->answer = answer;
    visit->waiter = waiter;
    visit->changes = engine->changes;
    ++engine->visits;
    if (visit->home == engine) {
        purchase_start(engine, request, on_answer_near, visit);
        return visit;
    }
    copy_request(visit, request);
    visit->message.run = on_arrival;
    loop_post(visit->home->loop, &visit->message);
    return visit;
}

void visit_forget_waiter(visit_t *visit)
{
    visit->waiter = NULL;
}
