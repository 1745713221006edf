#include "engine/purchase.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/log.h"
#include "base/random.h"
#include "engine/epoch_check.h"
#include "metrics/metrics.h"
#include "store/orders.h"

/* While the first order of a key is on its way to MySQL, it is looked for this often. */
#define LOOK_INTERVAL_MS 8
/* The gate is frozen: the same call again. */
#define FREEZE_RETRY_MS 8
/* An attempt that must be made again, because of a lost answer or a server that is away. */
#define RETRY_BASE_MS 16
#define RETRY_CAP_MS 512

static void route(purchase_t *p);

/* --- answers --- */

/* The gate says only that the sale has not started, or that the limit is reached; it has the terms
   of the epoch that the purchase was routed under. */
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

static void give_answer(purchase_t *p, const answer_t *answer)
{
    if (p->answered)
        return;
    p->answered = true;
    loop_timer_stop(&p->answer_timer);
    if (answer->replayed)
        METRIC_INC(orders_replayed_total);
    if (p->waiter == NULL)
        return;
    answer_t full = *answer;
    full.own_id = p->order.id;
    full.strategy = p->strategy;
    full.sold_out_until_ms = p->item->sold_out_until_ms;
    if (full.kind == ANSWER_REFUSED)
        full.why = why_refused(p, full.problem);
    p->answer(p->waiter, &full);
    p->waiter = NULL;
}

static void free_purchase(loop_timer_t *timer)
{
    free(H2O_STRUCT_FROM_MEMBER(purchase_t, retry_timer, timer));
}

/* The last step; nothing touches the purchase after it but its own free. */
static void end(purchase_t *p, const answer_t *answer)
{
    assert(p->state != PURCHASE_ENDED);
    give_answer(p, answer);
    p->state = PURCHASE_ENDED;
    loop_timer_stop(&p->answer_timer);
    loop_timer_stop(&p->retry_timer);
    if (h2o_linklist_is_linked(&p->link))
        h2o_linklist_unlink(&p->link);
    if (p->has_place)
        writer_give_place(p->item->shard->writer);
    --p->item->purchases;
    --p->engine->purchases;
    METRIC_ADD(purchases_in_flight, -1);
    loop_timer_start(p->engine->loop, &p->retry_timer, 0, free_purchase);
}

static void end_refused(purchase_t *p, problem_t problem)
{
    METRIC_STRATEGY_ADD(refused_total, p->strategy, 1);
    end(p, &(answer_t){ANSWER_REFUSED, problem, NULL, false});
}

/* What a repeat of a key hears: the first order as it now stands. */
static void end_replayed(purchase_t *p, const order_t *first)
{
    if (first->digest != p->order.digest) {
        end(p, &(answer_t){ANSWER_REFUSED, PROBLEM_IDEMPOTENCY_KEY_REUSED, NULL, false});
        return;
    }
    answer_t answer = {ANSWER_ORDER, PROBLEM_NONE, first, true};
    if (first->state == ORDER_RESERVED)
        answer.kind = ANSWER_PENDING;
    if (first->state == ORDER_REJECTED)
        answer = (answer_t){ANSWER_REFUSED, first->reject_code, first, true};
    end(p, &answer);
}

/* The row is what counts, whoever wrote it. */
static void end_by_row(purchase_t *p, const order_t *row)
{
    if (row->state != ORDER_REJECTED) {
        METRIC_STRATEGY_ADD(reserved_total, p->strategy, 1);
        end(p, &(answer_t){ANSWER_ORDER, PROBLEM_NONE, row, false});
        return;
    }
    METRIC_STRATEGY_ADD(refused_total, p->strategy, 1);
    end(p, &(answer_t){ANSWER_REFUSED, row->reject_code, row, false});
}

static void give_pending(purchase_t *p)
{
    order_t order = p->order;
    order.state = ORDER_RESERVED;
    order.created_at_ms = order_id_time_ms(&order.id);
    order.expires_at_ms = 0;
    p->must_end_in_row = true; /* the buyer has its id: it may not end without a trace */
    give_answer(p, &(answer_t){ANSWER_PENDING, PROBLEM_NONE, &order, false});
}

/* The buyer has waited long enough. */
static void on_answer_deadline(loop_timer_t *timer)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, answer_timer, timer);
    if (p->state == PURCHASE_LOOKING && !p->must_end_in_row) {
        /* Known: refused, or a repeat of an order that is still on its way. */
        order_t first = p->order;
        first.id = p->first_id;
        first.state = ORDER_RESERVED;
        first.created_at_ms = order_id_time_ms(&first.id);
        if (order_id_is_none(&p->first_id))
            give_answer(p, &(answer_t){ANSWER_REFUSED, PROBLEM_UNAVAILABLE, NULL, false});
        else
            give_answer(p, &(answer_t){ANSWER_PENDING, PROBLEM_NONE, &first, true});
        return;
    }
    if (!p->sent) {
        end_refused(p, PROBLEM_UNAVAILABLE);
        return;
    }
    METRIC_INC(orders_unknown_total);
    give_pending(p);
}

/* --- starting --- */

uint64_t purchase_digest(str_t sku, str_t buyer, uint32_t quantity)
{
    char text[SKU_BYTES_MAX + BUYER_BYTES_MAX + 16], *at = text;
    assert(sku.n <= SKU_BYTES_MAX && buyer.n <= BUYER_BYTES_MAX);
    str_put(&at, sku);
    *at++ = '\0';
    str_put(&at, buyer);
    *at++ = '\0';
    str_put(&at, (str_t){(const char *)&quantity, sizeof(quantity)});
    return XXH3_64bits(text, (size_t)(at - text)) >> 1; /* fits a signed 64-bit too */
}

static void on_retry(loop_timer_t *timer)
{
    route(H2O_STRUCT_FROM_MEMBER(purchase_t, retry_timer, timer));
}

static purchase_t *new_purchase(engine_loop_t *engine, const purchase_request_t *request)
{
    purchase_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        abort();
    p->engine = engine;
    p->item = engine_item(engine, request->sku);
    order_set_sku(&p->order, request->sku);
    order_set_buyer(&p->order, request->buyer);
    p->order.quantity = request->quantity;
    p->order.digest = purchase_digest(request->sku, request->buyer, request->quantity);
    if (request->key.n != 0) {
        memcpy(p->key_bytes, request->key.p, request->key.n);
        p->key_length = (uint8_t)request->key.n;
    }
    job_set_slot(&p->job, p->item->slot);
    ++engine->purchases;
    ++p->item->purchases;
    METRIC_ADD(purchases_in_flight, 1);
    loop_timer_start(engine->loop, &p->retry_timer, 0, on_retry);
    return p;
}

void purchase_start(engine_loop_t *engine, const purchase_request_t *request,
                    purchase_answer_cb answer, void *waiter)
{
    purchase_t *p = new_purchase(engine, request);
    p->answer = answer;
    p->waiter = waiter;
    loop_timer_start(engine->loop, &p->answer_timer,
                     engine->node->config->orders.answer_deadline_ms, on_answer_deadline);
}

void purchase_adopt(engine_loop_t *engine, const order_id_t *id, const gate_record_t *record)
{
    const purchase_request_t request = {record->sku, record->buyer, record->key, record->quantity};
    purchase_t *p = new_purchase(engine, &request);
    p->order.id = *id;
    p->order.digest = record->digest;
    p->commit_deadline_ms = record->deadline_ms;
    p->must_end_in_row = p->at_gate = p->sent = true;
    p->answered = true; /* its buyer is gone, or asks by GET */
}

/* Its order would wait, for the shard or for what keeps its item: nobody is to wait for a COMMIT
   then. Where the gate's word is enough orders may wait, but not in the places of other items. */
static bool is_unwritable_now(const purchase_t *p, writer_t *writer, bool accepted)
{
    writer_item_t item = writer_item(writer, p->item->slot, order_sku(&p->order));
    if (accepted && item == WRITER_ITEM_FULL)
        METRIC_INC(queue_full_total);
    if (accepted)
        return item == WRITER_ITEM_FULL;
    return writer_is_away(writer) || item != WRITER_ITEM_WELL;
}

/* A place in the writer's queue, then an id. False: ended. */
static bool prepare(purchase_t *p)
{
    writer_t *writer = p->item->shard->writer;
    bool accepted = p->item->item.terms.acknowledge == ACKNOWLEDGE_ACCEPTED;
    if (p->has_place)
        return true;
    if (is_unwritable_now(p, writer, accepted) || !writer_take_place(writer)) {
        end_refused(p, PROBLEM_UNAVAILABLE);
        return false;
    }
    p->has_place = true;
    if (!order_id_is_none(&p->order.id))
        return true; /* adopted */
    uint64_t now_ms = remote_clock_now_ms(&p->engine->node->gate_clock);
    p->order.id = order_id_issue(p->item->slot, now_ms);
    p->commit_deadline_ms = now_ms + p->engine->node->config->orders.commit_deadline_ms;
    return true;
}

/* ROUTING: to the strategy that rules the item now. */
static void route(purchase_t *p)
{
    loop_item_t *item = p->item;
    p->state = PURCHASE_ROUTING;
    item->used_ms = clock_mono_ms();
    if (item->state == ITEM_READY && item_uses_gate(&item->item) &&
        item_may_lose_gate(&item->item) && engine_gate_is_given_up(p->engine))
        engine_item_doubt(item);
    if (item->state != ITEM_READY) {
        p->state = PURCHASE_PARKED;
        engine_item_park(item, p);
        return;
    }
    p->strategy = item_strategy(&item->item);
    if (!prepare(p))
        return;
    p->why = (refusal_t){0};
    p->epoch = item->item.epoch;
    p->units_back = item->units_back;
    p->state = PURCHASE_ADMITTING;
    strategy_of(p->strategy)->start(p);
}

static void retry(purchase_t *p, uint32_t base_ms)
{
    p->state = PURCHASE_ROUTING;
    loop_timer_start(p->engine->loop, &p->retry_timer,
                     random_backoff(base_ms, RETRY_CAP_MS, p->tries++), on_retry);
}

static void write_rejected(purchase_t *p, problem_t why, const order_id_t *original);

/* The item was deleted while the order was on its way. It ends as a row all the same: its buyer may
   know its id, and Redis may have it. */
static void end_without_item(purchase_t *p)
{
    if (!p->has_place && !(p->has_place = writer_take_place(p->item->shard->writer)))
        retry(p, RETRY_BASE_MS);
    else
        write_rejected(p, PROBLEM_UNKNOWN_ITEM, &ORDER_ID_NONE);
}

void purchase_unparked(purchase_t *p, sync_result_t why)
{
    if (why == SYNC_READY) {
        route(p);
        return;
    }
    if (why == SYNC_UNKNOWN_ITEM && p->must_end_in_row) {
        end_without_item(p);
        return;
    }
    if (p->must_end_in_row || why == SYNC_BUSY) {
        retry(p, RETRY_BASE_MS);
        return;
    }
    end_refused(p, why == SYNC_UNKNOWN_ITEM ? PROBLEM_UNKNOWN_ITEM : PROBLEM_UNAVAILABLE);
}

/* --- looking for the first order of a key --- */

static void on_look_again(loop_timer_t *timer);

/* What the gate held for the first may itself have been a repeat, and was rejected for another
   reason than that: then whoever has the key in MySQL is the first. */
static db_result_t look_for_winner(purchase_t *p, worker_t *worker)
{
    order_t winner;
    bool found;
    db_result_t result =
        order_read_by_key(worker->db, &worker->sql, order_sku(&p->order), order_buyer(&p->order),
                          purchase_key(p), true, &winner, &found);
    if (result == DB_OK && found)
        p->sql.row = winner;
    return result;
}

static void run_look(job_t *job, worker_t *worker)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, job, job);
    db_result_t result =
        order_id_is_none(&p->first_id)
            ? order_read_by_key(worker->db, &worker->sql, order_sku(&p->order),
                                order_buyer(&p->order), purchase_key(p), true, &p->sql.row,
                                &p->sql.found)
            : order_read(worker->db, &worker->sql, &p->first_id, true, &p->sql.row, &p->sql.found);
    if (result == DB_OK && p->sql.found && p->sql.row.state == ORDER_REJECTED)
        result = look_for_winner(p, worker);
    p->sql.outcome = (int)result;
}

static void look(purchase_t *p);

static void look_done(job_t *job)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, job, job);
    --p->engine->jobs;
    const order_t *row = &p->sql.row;
    if (p->sql.outcome == DB_OK && p->sql.found) {
        /* The gate may know a repeat that lost the key: what counts is who won it. */
        if (row->reject_code == PROBLEM_DUPLICATE_REQUEST && !order_id_is_none(&row->original_id) &&
            !order_id_eq(&row->original_id, &row->id)) {
            p->first_id = row->original_id;
            look(p);
        } else {
            end_replayed(p, row);
        }
        return;
    }
    bool known_absent = p->sql.outcome == DB_OK && order_id_is_none(&p->first_id);
    if (known_absent && p->must_end_in_row) {
        end_by_row(p, &p->write.order); /* written before this look: see write_done() */
        return;
    }
    if (known_absent) {
        end_refused(p, p->problem);
        return;
    }
    if (p->answered) {
        end(p, &(answer_t){ANSWER_REFUSED, PROBLEM_UNAVAILABLE, NULL, false});
        return;
    }
    loop_timer_start(p->engine->loop, &p->retry_timer, LOOK_INTERVAL_MS, on_look_again);
}

static void look(purchase_t *p)
{
    unsigned shard = p->engine->node->map.shard_of_slot[p->item->slot];
    p->state = PURCHASE_LOOKING;
    if (!engine_submit(p->engine, shard, &p->job, run_look, look_done)) {
        METRIC_INC(queue_full_total);
        end_refused(p, PROBLEM_UNAVAILABLE);
    }
}

static void on_look_again(loop_timer_t *timer)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, retry_timer, timer);
    if (p->answered)
        end(p, &(answer_t){ANSWER_REFUSED, PROBLEM_UNAVAILABLE, NULL, false});
    else
        look(p);
}

/* --- the writer --- */

static void write_done(writer_order_t *write)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, write, write);
    if (write->result == WRITER_STALE) {
        METRIC_INC(orders_readmitted_total);
        if (p->epoch == p->item->item.epoch)
            engine_item_doubt(p->item);
        route(p);
        return;
    }
    bool rejected = write->order.state == ORDER_REJECTED;
    if (p->at_gate)
        engine_tell_gate(p, rejected);
    if (write->drift)
        repair_queue_rebuild(&p->item->shard->repairs, order_sku(&p->order), p->epoch);
    if (write->has_first)
        end_replayed(p, &write->first);
    else if (rejected && (!order_id_is_none(&p->first_id) || p->maybe_repeat) && !p->answered) {
        p->problem = write->order.reject_code;
        look(p); /* its own row is written; what the buyer hears is the first order */
    } else
        end_by_row(p, &write->order);
}

/* COMMITTING: the order as it is wished, to MySQL. */
static void submit_write(purchase_t *p, order_state_t state, problem_t why,
                         const order_id_t *original, str_t key)
{
    p->state = PURCHASE_COMMITTING;
    p->write.loop = p->engine->loop;
    p->write.done = write_done;
    p->write.awaited = !p->answered;
    p->write.has_first = false;
    p->write.drift = false;
    p->write.nameless = false;
    memset(&p->write.aside, 0, sizeof(p->write.aside));
    p->write.order = p->order;
    p->write.order.state = state;
    p->write.order.reject_code = why;
    p->write.order.original_id = *original;
    p->write.key = key;
    p->write.epoch = p->epoch;
    p->write.hold_seconds = p->item->item.terms.hold_seconds; /* of this epoch: see `epoch` */
    writer_submit(p->item->shard->writer, &p->write);
}

static void write_live(purchase_t *p)
{
    submit_write(p, ORDER_CONFIRMED, PROBLEM_NONE, &ORDER_ID_NONE, purchase_key(p));
}

/* A rejected row holds no key: a later request with the key is a new one. */
static void write_rejected(purchase_t *p, problem_t why, const order_id_t *original)
{
    p->must_end_in_row = true;
    submit_write(p, ORDER_REJECTED, why, original, STR_NONE);
}

/* --- outcomes of strategies --- */

/* The gate admits no id past its commit deadline; a SQL strategy has no such bound. */
static bool past_admission(const purchase_t *p)
{
    return strategy_uses_gate(p->strategy) &&
           remote_clock_now_ms(&p->engine->node->gate_clock) > p->commit_deadline_ms;
}

void purchase_admitted(purchase_t *p, bool seen)
{
    assert(p->state == PURCHASE_ADMITTING);
    p->must_end_in_row = true;
    p->at_gate = true;
    bool maybe_repeat = seen && p->key_length != 0;
    if (p->item->item.terms.acknowledge == ACKNOWLEDGE_ACCEPTED && !maybe_repeat)
        give_pending(p);
    write_live(p);
}

static void run_look_first(job_t *job, worker_t *worker)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, job, job);
    p->sql.outcome = (int)order_read_by_key(worker->db, &worker->sql, order_sku(&p->order),
                                            order_buyer(&p->order), purchase_key(p), false,
                                            &p->sql.row, &p->sql.found);
}

static void looked_first(job_t *job)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, job, job);
    const order_t *row = &p->sql.row;
    bool found = p->sql.outcome == DB_OK && p->sql.found;
    --p->engine->jobs;
    if (found && order_id_eq(&row->id, &p->order.id)) {
        if (p->at_gate)
            engine_tell_gate(p, false);
        end_by_row(p, row);
    } else if (found && p->must_end_in_row) {
        p->first_id = row->id;
        write_rejected(p, PROBLEM_DUPLICATE_REQUEST, &row->id);
    } else if (found) {
        end_replayed(p, row);
    } else if (p->answered && !p->must_end_in_row) {
        end(p, &(answer_t){ANSWER_REFUSED, PROBLEM_UNAVAILABLE, NULL, false});
    } else if (p->sql.outcome == DB_OK) {
        p->looked = true;
        route(p);
    } else {
        retry(p, RETRY_BASE_MS);
    }
}

void purchase_seen_before(purchase_t *p)
{
    unsigned shard = p->engine->node->map.shard_of_slot[p->item->slot];
    assert(p->state == PURCHASE_ADMITTING);
    p->state = PURCHASE_LOOKING;
    p->sent = p->must_end_in_row;
    p->first_id = ORDER_ID_NONE;
    if (engine_submit(p->engine, shard, &p->job, run_look_first, looked_first))
        return;
    METRIC_INC(queue_full_total);
    if (p->must_end_in_row)
        retry(p, RETRY_BASE_MS);
    else
        end_refused(p, PROBLEM_UNAVAILABLE);
}

/* Refused by a gate, which has not seen its buyer. */
static void check_epoch(purchase_t *p, problem_t why)
{
    p->state = PURCHASE_LOOKING;
    p->problem = why;
    p->first_id = ORDER_ID_NONE;
    epoch_check_join(p);
}

/* What it was decided by is not what it was. */
static void route_anew(purchase_t *p)
{
    p->sent = p->must_end_in_row;
    if (p->epoch == p->item->item.epoch) /* else it was looked at again meanwhile */
        engine_item_doubt(p->item);
    route(p);
}

void purchase_epoch_checked(purchase_t *p, epoch_verdict_t verdict)
{
    assert(p->state == PURCHASE_LOOKING && !p->must_end_in_row);
    if (p->answered || verdict == EPOCH_UNKNOWN)
        end_refused(p, PROBLEM_UNAVAILABLE);
    else if (verdict == EPOCH_RULES)
        end_refused(p, p->problem);
    else
        route_anew(p);
}

void purchase_refused(purchase_t *p, problem_t why, bool seen)
{
    bool has_key = p->key_length != 0;
    assert(p->state == PURCHASE_ADMITTING);
    if (p->must_end_in_row && why == PROBLEM_UNAVAILABLE && !past_admission(p)) {
        retry(p, RETRY_BASE_MS);
    } else if (p->must_end_in_row) {
        p->maybe_repeat = has_key;
        write_rejected(p, why, &ORDER_ID_NONE);
    } else if (has_key && !seen && why != PROBLEM_UNAVAILABLE && strategy_uses_gate(p->strategy)) {
        check_epoch(p, why);
    } else if (has_key && seen) {
        p->problem = why;
        p->first_id = ORDER_ID_NONE;
        look(p);
    } else {
        end_refused(p, why);
    }
}

void purchase_is_repeat(purchase_t *p, const order_id_t *first)
{
    assert(p->state == PURCHASE_ADMITTING);
    p->first_id = *first;
    if (p->must_end_in_row)
        write_rejected(p, PROBLEM_DUPLICATE_REQUEST, first);
    else
        look(p);
}

void purchase_stale(purchase_t *p)
{
    assert(p->state == PURCHASE_ADMITTING);
    route_anew(p);
}

void purchase_delayed(purchase_t *p)
{
    assert(p->state == PURCHASE_ADMITTING);
    p->sent = p->must_end_in_row;
    p->tries = 0;
    retry(p, FREEZE_RETRY_MS);
}

void purchase_unknown(purchase_t *p)
{
    assert(p->state == PURCHASE_ADMITTING);
    p->must_end_in_row = true;
    p->at_gate = p->at_gate || strategy_uses_gate(p->strategy);
    /* By now nobody can admit it any more: what remains is to write down how it ended. */
    if (past_admission(p))
        write_rejected(p, PROBLEM_UNAVAILABLE, &ORDER_ID_NONE);
    else
        retry(p, RETRY_BASE_MS);
}

void purchase_decided(purchase_t *p, const order_t *row, bool inserted)
{
    assert(p->state == PURCHASE_ADMITTING);
    if (inserted)
        METRIC_INC(orders_committed_total);
    if (p->at_gate)
        engine_tell_gate(p, row->state == ORDER_REJECTED);
    end_by_row(p, row);
}

void purchase_replays(purchase_t *p, const order_t *first)
{
    assert(p->state == PURCHASE_ADMITTING);
    p->first_id = first->id;
    if (p->must_end_in_row)
        write_rejected(p, PROBLEM_DUPLICATE_REQUEST, &first->id);
    else
        end_replayed(p, first);
}
