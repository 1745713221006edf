#include "engine/purchase.h"
#include "engine/live.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/alloc.h"
#include "base/random.h"
#include "engine/epoch_check.h"
#include "engine/key_read.h"
#include "metrics/metrics.h"

/* While the first order of a key is on its way to MySQL, its row is read at this interval. */
#define AWAIT_FIRST_MS 8
/* The longest backoff between two attempts. */
#define BACKOFF_CAP_MS 512

/* Steps the machine and carries out the effects. `row`: the order that an answer may be about, the
   purchase's own or the first of its key. The caller must not touch the purchase afterwards: it may
   have been freed. */
static void advance(purchase_t *p, const purchase_event_t *event, const order_t *row);

static void advance_by(purchase_t *p, purchase_event_kind_t kind, const order_t *row)
{
    const purchase_event_t event = {kind};
    advance(p, &event, row);
}

/* --- answers --- */

/* The gate returns only that the sale has not started, or that the limit is reached. The details
   come from the terms of the epoch that the purchase was routed under. */
static refusal_t why_refused(const purchase_t *p, problem_t problem)
{
    const item_terms_t *terms = &p->item->item.terms;
    refusal_t why = p->why;
    if (problem == PROBLEM_SALE_NOT_STARTED && why.starts_at_ms == 0)
        why.starts_at_ms = terms->starts_at_ms;
    if (problem == PROBLEM_BUYER_LIMIT_EXCEEDED && why.limit == 0)
        why.limit = terms->per_buyer_limit;
    return why;
}

/* Gives the buyer his answer, if he has not had one. */
static void give_answer(purchase_t *p, answer_t answer)
{
    if (p->waiter == NULL)
        return;
    loop_timer_stop(&p->answer_timer);
    if (answer.replayed)
        METRIC_INC(orders_replayed_total);
    answer.own_id = p->attempt.order.id;
    answer.strategy = p->strategy;
    answer.sold_out_until_ms = p->item->sold_out_until_ms;
    if (answer.kind == ANSWER_REFUSED)
        answer.why = why_refused(p, answer.problem);
    live_count(p->item, live_kind(&answer), clock_mono_ms());
    void *waiter = p->waiter;
    p->waiter = NULL;
    p->answer(waiter, &answer);
}

static order_t order_on_its_way(const purchase_t *p, const order_id_t *id)
{
    order_t order = p->attempt.order;
    order.id = *id;
    order.state = ORDER_RESERVED;
    order.created_at_ms = order_id_time_ms(id);
    order.expires_at_ms = 0;
    return order;
}

/* The answer to a repeat of a key: the first order as it stands now. */
static answer_t answer_of_first(const purchase_t *p, const order_t *first)
{
    if (first->digest != p->attempt.order.digest)
        return (answer_t){ANSWER_REFUSED, PROBLEM_IDEMPOTENCY_KEY_REUSED, NULL, false};
    if (first->state == ORDER_RESERVED)
        return (answer_t){ANSWER_PENDING, PROBLEM_NONE, first, true};
    if (first->state == ORDER_REJECTED)
        return (answer_t){ANSWER_REFUSED, first->reject_code, first, true};
    return (answer_t){ANSWER_ORDER, PROBLEM_NONE, first, true};
}

/* The answer from the order's own row. The row decides, whichever process wrote it. */
static answer_t answer_of_row(const purchase_t *p, const order_t *row)
{
    if (row->state != ORDER_REJECTED) {
        METRIC_STRATEGY_ADD(reserved_total, p->strategy, 1);
        return (answer_t){ANSWER_ORDER, PROBLEM_NONE, row, false};
    }
    METRIC_STRATEGY_ADD(refused_total, p->strategy, 1);
    return (answer_t){ANSWER_REFUSED, row->reject_code, row, false};
}

/* The row of the first order of the key was read. */
static void note_first(purchase_t *p, const order_t *first)
{
    if (first->state != ORDER_RESERVED)
        orders_in_hand_seen(p->engine, first);
}

static void answer_buyer(purchase_t *p, const purchase_effects_t *effects, const order_t *row)
{
    order_t order;
    switch (effects->answer) {
    case ANSWER_NONE:
        break;
    case ANSWER_WITH_ID:
        order = order_on_its_way(p, &p->attempt.order.id);
        orders_in_hand_add(p->engine, &p->in_hand, &order);
        give_answer(p, (answer_t){ANSWER_PENDING, PROBLEM_NONE, &order, false});
        break;
    case ANSWER_WITH_FIRST_ID:
        order = order_on_its_way(p, &p->first_id);
        give_answer(p, (answer_t){ANSWER_PENDING, PROBLEM_NONE, &order, true});
        break;
    case ANSWER_WITH_ROW:
        assert(row != NULL && order_id_eq(&row->id, &p->attempt.order.id));
        orders_in_hand_end(p->engine, &p->in_hand, row);
        give_answer(p, answer_of_row(p, row));
        break;
    case ANSWER_WITH_FIRST_ROW:
        assert(row != NULL);
        note_first(p, row);
        give_answer(p, answer_of_first(p, row));
        break;
    case ANSWER_WITH_REFUSAL:
        METRIC_STRATEGY_ADD(refused_total, p->strategy, 1);
        give_answer(p, (answer_t){ANSWER_REFUSED, effects->problem, NULL, false});
        break;
    }
}

/* --- ROUTING --- */

/* True if the order would wait in the writer, for the shard or for a lock on its item. A buyer must
   not wait for a COMMIT then. If the gate's admission is enough for the answer, orders may wait,
   but they must not take the permits of other items. */
static bool is_unwritable_now(const purchase_t *p, writer_t *writer, bool accepted)
{
    writer_item_t item = writer_item(writer, p->item->base.ref.slot, loop_item_sku(p->item));
    if (accepted && item == WRITER_ITEM_FULL)
        METRIC_INC(queue_full_total);
    if (accepted)
        return item == WRITER_ITEM_FULL;
    return writer_is_away(writer) || item != WRITER_ITEM_WRITABLE;
}

/* Takes a permit of the writer's queue, then an id. In this order, so that an admitted order always
   has a permit. */
static bool take_permit(purchase_t *p)
{
    writer_t *writer = p->item->base.shard->writer;
    attempt_t *a = &p->attempt;
    bool accepted = p->item->item.terms.acknowledge == ACKNOWLEDGE_ACCEPTED;
    if (p->machine.has_permit)
        return true;
    if (is_unwritable_now(p, writer, accepted) || !writer_take_permit(writer))
        return false;
    if (!order_id_is_none(&a->order.id))
        return true; /* an adopted order has its id */
    uint64_t now_ms = remote_clock_now_ms(&p->engine->node->gate_clock);
    a->order.id = order_id_issue(p->item->base.ref.slot, now_ms);
    a->commit_deadline_ms = now_ms + p->engine->node->config->orders.commit_deadline_ms;
    return true;
}

/* Decides whether an attempt can start now. */
static void route(purchase_t *p)
{
    loop_item_t *item = p->item;
    item->used_ms = clock_mono_ms();
    if (item->state == ITEM_READY && item_uses_gate(&item->item) &&
        item_may_lose_gate(&item->item) && engine_gate_is_given_up(p->engine))
        loop_item_invalidate(item);
    if (item->state != ITEM_READY) {
        advance_by(p, EVENT_ITEM_UNKNOWN, NULL);
        return;
    }
    p->strategy = item_strategy(&item->item);
    advance_by(p, take_permit(p) ? EVENT_PERMIT : EVENT_NO_PERMIT, NULL);
}

/* The timer of ROUTING or of AWAITING_FIRST has expired. */
static void on_due(loop_timer_t *timer)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, retry_timer, timer);
    if (p->machine.state == PURCHASE_ROUTING)
        route(p);
    else
        advance_by(p, EVENT_DUE, NULL);
}

static void wait_ms(purchase_t *p, uint32_t ms)
{
    loop_timer_start(p->engine->loop, &p->retry_timer, ms, on_due);
}

static void enter_routing(purchase_t *p, const purchase_effects_t *effects)
{
    if (effects->at_once)
        route(p);
    else
        wait_ms(p,
                random_backoff(effects->backoff_base_ms, BACKOFF_CAP_MS, effects->backoff_tries));
}

/* --- PARKED --- */

void purchase_unparked(purchase_t *p, sync_result_t why)
{
    static const purchase_event_kind_t events[] = {
        [SYNC_READY] = EVENT_ITEM_READY,    [SYNC_UNKNOWN_ITEM] = EVENT_ITEM_GONE,
        [SYNC_GATE_AWAY] = EVENT_ITEM_AWAY, [SYNC_STORE_AWAY] = EVENT_ITEM_AWAY,
        [SYNC_REFUSED] = EVENT_ITEM_AWAY,   [SYNC_BUSY] = EVENT_ITEM_BUSY,
    };
    purchase_event_t event = {events[why]};
    if (why == SYNC_UNKNOWN_ITEM && purchase_must_end_in_row(&p->machine))
        event.permit = p->machine.has_permit || writer_take_permit(p->item->base.shard->writer);
    advance(p, &event, NULL);
}

/* --- ADMITTING --- */

static void enter_admitting(purchase_t *p)
{
    attempt_t *a = &p->attempt;
    p->why = (refusal_t){0};
    a->epoch = p->item->item.epoch;
    a->units_back = p->item->base.units_back;
    a->key_is_free = p->machine.key == KEY_FREE;
    a->may_be_written = purchase_must_end_in_row(&p->machine);
    strategy_of(p->strategy)->start(a);
}

static purchase_t *purchase_of(attempt_t *attempt)
{
    return H2O_STRUCT_FROM_MEMBER(purchase_t, attempt, attempt);
}

void purchase_attempt_sent(attempt_t *attempt)
{
    purchase_t *p = purchase_of(attempt);
    const purchase_event_t event = {EVENT_SENT};
    purchase_effects_t effects = purchase_step(&p->machine, &event);
    assert(!effects.enter && effects.answer == ANSWER_NONE);
    if (strategy_uses_gate(p->strategy))
        loop_item_note_gate_call(p->item);
}

/* The gate admits no id past its commit deadline; a SQL strategy has no such bound. */
static bool is_late(const purchase_t *p)
{
    return strategy_uses_gate(p->strategy) &&
           remote_clock_now_ms(&p->engine->node->gate_clock) > p->attempt.commit_deadline_ms;
}

/* A later gate may have carried the order over: its answer says nothing about when it was
   admitted. */
static void note_admission(purchase_t *p, outcome_kind_t outcome)
{
    bool possible = outcome == OUTCOME_ADMITTED || outcome == OUTCOME_UNKNOWN;
    if (possible && strategy_uses_gate(p->strategy) && p->admitted_epoch == 0)
        p->admitted_epoch = p->attempt.epoch;
}

void purchase_attempt_done(attempt_t *attempt, const outcome_t *outcome)
{
    purchase_t *p = purchase_of(attempt);
    const order_t *row = outcome->row;
    purchase_event_t event = {EVENT_OUTCOME,
                              .outcome = outcome->kind,
                              .problem = outcome->problem,
                              .seen = outcome->seen,
                              .lost_commit = outcome->lost_commit,
                              .of_answer = outcome->of_answer,
                              .has_row = row != NULL,
                              .of_gate = strategy_uses_gate(p->strategy)};
    assert(!h2o_linklist_is_linked(&attempt->link));
    note_admission(p, outcome->kind);
    switch (outcome->kind) {
    case OUTCOME_ADMITTED:
        event.accepted = p->item->item.terms.acknowledge == ACKNOWLEDGE_ACCEPTED;
        break;
    case OUTCOME_REFUSED:
        p->why = outcome->why;
        event.late = outcome->problem == PROBLEM_UNAVAILABLE && is_late(p);
        break;
    case OUTCOME_REPEAT:
        p->first_id = outcome->first;
        break;
    case OUTCOME_NOT_LOADED:
        buyer_loads_add(p->item, attempt->epoch, order_buyer(&attempt->order));
        break;
    case OUTCOME_UNKNOWN:
        event.late = is_late(p);
        break;
    case OUTCOME_DECIDED:
        event.rejected = row->state == ORDER_REJECTED;
        break;
    default:
        break;
    }
    advance(p, &event, row);
}

/* --- CHECKING_KEY --- */

static void on_key_read(purchase_t *p, bool known, const order_t *found)
{
    if (found == NULL) {
        advance_by(p, known ? EVENT_KEY_FREE : EVENT_READ_FAILED, NULL);
    } else if (order_id_eq(&found->id, &p->attempt.order.id)) {
        advance_by(p, EVENT_KEY_IS_OWN, found);
    } else {
        p->first_id = found->id;
        advance_by(p, EVENT_KEY_TAKEN, found);
    }
}

static void enter_checking_key(purchase_t *p)
{
    if (!key_read_start(p, on_key_read))
        advance_by(p, EVENT_NO_READ, NULL);
}

/* --- CHECKING_EPOCH --- */

void purchase_epoch_checked(purchase_t *p, epoch_verdict_t verdict)
{
    static const purchase_event_kind_t events[] = {[EPOCH_IS_VALID] = EVENT_EPOCH_VALID,
                                                   [EPOCH_IS_OVER] = EVENT_EPOCH_OVER,
                                                   [EPOCH_UNKNOWN] = EVENT_READ_FAILED};
    advance_by(p, events[verdict], NULL);
}

/* --- FINDING_FIRST --- */

/* The order that the gate named may be a repeat that lost the key; then the order that has the key
   is the first. */
static bool lost_its_key(const order_t *row)
{
    return row->reject_code == PROBLEM_DUPLICATE_REQUEST && !order_id_is_none(&row->original_id) &&
           !order_id_eq(&row->original_id, &row->id);
}

static void on_first_read(purchase_t *p, bool known, const order_t *found)
{
    if (found == NULL) {
        advance_by(p, known ? EVENT_NOT_FOUND : EVENT_READ_FAILED, &p->write.order);
    } else if (lost_its_key(found)) {
        p->first_id = found->original_id;
        advance_by(p, EVENT_FIRST_LOST_KEY, NULL);
    } else {
        advance_by(p, EVENT_FIRST_FOUND, found);
    }
}

static void enter_finding_first(purchase_t *p)
{
    assert(order_id_is_none(&p->first_id) == (p->machine.first == FIRST_POSSIBLE));
    if (!key_read_first(p, on_first_read))
        advance_by(p, EVENT_NO_READ, NULL);
}

/* --- COMMITTING --- */

static void write_done(writer_order_t *write)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, write, write);
    assert(p->item->being_written != 0);
    --p->item->being_written;
    if (write->result == WRITER_STALE) {
        METRIC_INC(orders_readmitted_total);
        advance_by(p, EVENT_WRITE_STALE, NULL);
        return;
    }
    const purchase_event_t event = {EVENT_WRITTEN, .rejected = write->order.state == ORDER_REJECTED,
                                    .problem = write->order.reject_code, .drift = write->drift,
                                    .has_first = write->has_first};
    advance(p, &event, write->has_first ? &write->first : &write->order);
}

/* Submits the order to the writer as it is to end: live, or rejected for `why`. */
static void enter_committing(purchase_t *p, problem_t why)
{
    writer_order_t *write = &p->write;
    bool live = why == PROBLEM_NONE;
    write->loop = p->engine->loop;
    write->done = write_done;
    write->awaited = p->machine.buyer == BUYER_WAITS;
    write->has_first = false;
    write->drift = false;
    write->nameless = false;
    memset(&write->aside, 0, sizeof(write->aside));
    write->order = p->attempt.order;
    write->order.state = live ? ORDER_CONFIRMED : ORDER_REJECTED;
    write->order.reject_code = why;
    write->order.original_id = why == PROBLEM_DUPLICATE_REQUEST ? p->first_id : ORDER_ID_NONE;
    write->key = live ? attempt_key(&p->attempt) : STR_NONE;
    write->epoch = p->attempt.epoch;
    write->admitted_epoch = p->admitted_epoch != 0 ? p->admitted_epoch : p->attempt.epoch;
    write->hold_seconds = p->item->item.terms.hold_seconds; /* of the epoch in `epoch` */
    ++p->item->being_written;
    writer_submit(p->item->base.shard->writer, write);
}

/* --- ENDED --- */

/* Entries for all names that new buyers try would grow without bound, also while no read of MySQL
   succeeds or begins. So an entry that has never been READY is forgotten after its last purchase.
 */
static void forget_unread_item(const purchase_t *p)
{
    loop_item_t *item = loop_item_find(p->engine, order_sku(&p->attempt.order));
    if (item != NULL && item->reads == 0 && loop_item_is_idle(item))
        loop_item_forget(item);
}

static void free_purchase(loop_timer_t *timer)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, retry_timer, timer);
    if (p->of_unread_item)
        forget_unread_item(p);
    free(p);
}

/* Releases what the purchase holds. Its memory is freed in a later turn of the loop, because
   callers up the stack may still read it. */
static void enter_ended(purchase_t *p)
{
    loop_timer_stop(&p->answer_timer);
    loop_timer_stop(&p->retry_timer);
    if (h2o_linklist_is_linked(&p->link))
        h2o_linklist_unlink(&p->link);
    if (p->machine.has_permit)
        writer_return_permit(p->item->base.shard->writer);
    if (p->machine.adopted)
        atomic_fetch_sub(&p->item->base.shard->orphans_under_way, 1);
    assert(p->item->purchases != 0 && p->engine->purchases != 0);
    orders_in_hand_end(p->engine, &p->in_hand, NULL);
    p->of_unread_item = p->item->reads == 0;
    --p->item->purchases;
    --p->engine->purchases;
    METRIC_ADD(purchases_in_flight, -1);
    loop_timer_start(p->engine->loop, &p->retry_timer, 0, free_purchase);
}

/* --- the effects --- */

static void enter_state(purchase_t *p, const purchase_effects_t *effects)
{
    switch (p->machine.state) {
    case PURCHASE_ROUTING:
        enter_routing(p, effects);
        break;
    case PURCHASE_PARKED:
        loop_item_park(p->item, p);
        break;
    case PURCHASE_ADMITTING:
        enter_admitting(p);
        break;
    case PURCHASE_CHECKING_KEY:
        enter_checking_key(p);
        break;
    case PURCHASE_CHECKING_EPOCH:
        epoch_check_join(p);
        break;
    case PURCHASE_FINDING_FIRST:
        enter_finding_first(p);
        break;
    case PURCHASE_AWAITING_FIRST:
        wait_ms(p, AWAIT_FIRST_MS);
        break;
    case PURCHASE_COMMITTING:
        enter_committing(p, effects->problem);
        break;
    default:
        enter_ended(p);
    }
}

static void advance(purchase_t *p, const purchase_event_t *event, const order_t *row)
{
    const purchase_effects_t effects = purchase_step(&p->machine, event);
    /* If the epochs differ, the item was read again meanwhile. */
    if (effects.invalidate && p->attempt.epoch == p->item->item.epoch)
        loop_item_invalidate(p->item);
    if (effects.withdraw)
        strategy_withdraw(&p->attempt);
    if (effects.notify_gate != NOTIFY_NOTHING)
        outbox_add(p->item, &p->attempt, effects.notify_gate == NOTIFY_REJECTED);
    if (effects.rebuild)
        repair_queue_rebuild(&p->item->base.shard->repairs, loop_item_sku(p->item),
                             p->attempt.epoch);
    if (effects.answer != ANSWER_NONE)
        answer_buyer(p, &effects, row);
    if (effects.enter)
        enter_state(p, &effects);
}

/* The answer deadline: the buyer has waited orders.answer_deadline_ms. He gets the answer that is
   true now. If an attempt may have taken effect, that is 202 with the order's id, and the purchase
   goes on; if none was sent, a refusal, and the purchase ends: units must not be taken for a buyer
   who was refused. */
static void on_answer_deadline(loop_timer_t *timer)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, answer_timer, timer);
    if (p->machine.known != KNOWN_NOT_SENT)
        METRIC_INC(orders_unknown_total);
    advance_by(p, EVENT_DEADLINE, NULL);
}

/* --- starting --- */

/* XXH3 of the request's contents: a repeat of a key must have the same digest. */
static uint64_t digest_of(str_t sku, str_t buyer, uint32_t quantity)
{
    char text[SKU_BYTES_MAX + BUYER_BYTES_MAX + 16], *at = text;
    assert(sku.n <= SKU_BYTES_MAX && buyer.n <= BUYER_BYTES_MAX);
    str_put(&at, sku);
    *at++ = '\0';
    str_put(&at, buyer);
    *at++ = '\0';
    str_put(&at, (str_t){(const char *)&quantity, sizeof(quantity)});
    return XXH3_64bits(text, (size_t)(at - text)) >> 1; /* fits a signed 64-bit integer too */
}

purchase_t *purchase_new(const purchase_request_t *request)
{
    purchase_t *p = alloc_zero(1, sizeof(*p));
    attempt_t *a = &p->attempt;
    p->machine = purchase_machine_new(request->key.n != 0);
    order_set_sku(&a->order, request->sku);
    order_set_buyer(&a->order, request->buyer);
    a->order.quantity = request->quantity;
    a->order.digest = digest_of(request->sku, request->buyer, request->quantity);
    if (request->key.n != 0) {
        memcpy(a->key_bytes, request->key.p, request->key.n);
        a->key_length = (uint8_t)request->key.n;
    }
    return p;
}

/* Gives the purchase to the loop of `engine`, which routes it in its next turn. */
static void begin(purchase_t *p, engine_loop_t *engine, const item_ref_t *ref)
{
    assert(p->engine == NULL && str_eq(order_sku(&p->attempt.order), sku_str(&ref->sku)));
    p->engine = engine;
    p->item = loop_item_get(engine, ref);
    p->attempt.item = &p->item->base;
    ++engine->purchases;
    ++p->item->purchases;
    METRIC_ADD(purchases_in_flight, 1);
    wait_ms(p, 0);
}

void purchase_start(purchase_t *p, engine_loop_t *engine, const item_ref_t *ref,
                    purchase_answer_cb answer, void *waiter)
{
    assert(waiter != NULL);
    begin(p, engine, ref);
    p->answer = answer;
    p->waiter = waiter;
    loop_timer_start(engine->loop, &p->answer_timer,
                     engine->node->config->orders.answer_deadline_ms, on_answer_deadline);
}

void purchase_adopt(engine_loop_t *engine, const order_id_t *id, const gate_record_t *record)
{
    const purchase_request_t request = {record->sku, record->buyer, record->key, record->quantity};
    const item_ref_t ref = item_ref_of(record->sku);
    purchase_t *p = purchase_new(&request);
    p->machine = purchase_machine_adopted(request.key.n != 0);
    p->attempt.order.id = *id;
    p->attempt.order.digest = record->digest;
    p->attempt.commit_deadline_ms = record->deadline_ms;
    p->admitted_epoch = record->epoch;
    begin(p, engine, &ref);
}
