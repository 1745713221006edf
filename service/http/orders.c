#include "http/orders.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "http/request_job.h"
#include "reconcile/release.h"

/* --- one order, in MySQL or Redis --- */

typedef struct {
    request_job_t request; /* first */
    order_id_t id;
    result_t lookup; /* of the lookup; RESULT_DONE: `found` is valid */
    bool found;
    order_t order;
    move_request_t intended;
    char key_bytes[KEY_BYTES_MAX]; /* of `intended` */
    buyer_t buyer;                 /* likewise */
    uint32_t wait_ms;              /* of a read: how long it waits if the order is `reserved` */
    result_t result;               /* of the move */
    moved_t moved;
} order_request_t;

static void order_of_record(const order_id_t *id, const gate_record_t *record, order_t *out)
{
    *out = (order_t){.id = *id,
                     .quantity = record->quantity,
                     .state = ORDER_RESERVED,
                     .created_at_ms = order_id_time_ms(id)};
    order_set_sku(out, record->sku);
    order_set_buyer(out, record->buyer);
}

/* Redis has the orders that are on their way to MySQL. */
static result_t find_unsettled(worker_t *worker, const order_id_t *id, order_t *out, bool *found)
{
    gate_record_t record;
    char *text;
    result_t result = gate_sync_unsettled_get(worker->gate, id, &record, &text, found);
    if (*found)
        order_of_record(id, &record, out);
    free(text);
    return result;
}

/* Ends an order whose id was issued here and which is in neither server, past its commit deadline:
   it becomes a `rejected` row. Before the deadline it may still be written: RESULT_RETRY. */
static result_t decide_if_due(worker_t *worker, const order_id_t *id, order_t *out, bool *found)
{
    const shard_t *shard = worker->shard;
    uint64_t deadline = order_id_time_ms(id) + shard->config->orders.commit_deadline_ms;
    /* A node that has just started has not read the clock of Redis yet; its own may be wrong. */
    if (!remote_clock_is_observed(shard->gate_clock) ||
        remote_clock_now_ms(shard->gate_clock) <= deadline)
        return RESULT_RETRY;
    result_t result = order_decide_rejected(worker->db, &worker->sql, id, PROBLEM_UNAVAILABLE, out);
    *found = result == RESULT_DONE;
    return result;
}

/* Looks the order up. Only a lookup in both servers proves that there is no such order. */
static result_t look_up(worker_t *worker, const order_id_t *id, order_t *out, bool *found)
{
    result_t result = order_read(worker->db, &worker->sql, id, false, out, found);
    if (result != RESULT_DONE || *found || !order_id_issued_here(id))
        return result;
    result = find_unsettled(worker, id, out, found);
    if (result != RESULT_DONE || *found)
        return result;
    /* It may have been settled between the two lookups. */
    result = order_read(worker->db, &worker->sql, id, true, out, found);
    return result != RESULT_DONE || *found ? result : decide_if_due(worker, id, out, found);
}

static void run_get(request_job_t *request, worker_t *worker)
{
    order_request_t *r = (order_request_t *)request;
    r->lookup = look_up(worker, &r->id, &r->order, &r->found);
}

/* False: answered: there is no such order for who asks, or a server gave no answer. */
static bool is_found(exchange_t *exchange, const order_request_t *r, const order_t *order)
{
    bool found = r->lookup == RESULT_DONE && r->found && exchange_may_see(exchange, order);
    if (r->lookup != RESULT_DONE)
        reply_problem(exchange, PROBLEM_UNAVAILABLE,
                      "Its outcome is not known yet; send the request again");
    else if (!found)
        reply_problem(exchange, PROBLEM_UNKNOWN_ORDER, NULL);
    return found;
}

/* False: answered: the path has no valid id. */
static bool read_id(exchange_t *exchange, const route_match_t *match, order_id_t *id)
{
    bool valid = order_id_parse(match->param, id) && order_id_slot(id) < SLOT_COUNT;
    if (!valid)
        reply_problem(exchange, PROBLEM_UNKNOWN_ORDER, NULL);
    return valid;
}

static order_request_t *new_request(exchange_t *exchange, const order_id_t *id)
{
    order_request_t *r = alloc_zero(1, sizeof(*r));
    r->id = *id;
    r->request.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    job_set_slot(&r->request.job, order_id_slot(id));
    return r;
}

static void submit(exchange_t *exchange, order_request_t *r)
{
    unsigned slot = order_id_slot(&r->id);
    request_job_submit(exchange, exchange->http->map->shard_of_slot[slot], &r->request);
}

/* --- GET --- */

static void on_waited(void *waiter, const order_id_t *id, const order_t *row);

static void on_waiter_gone(void *waiting)
{
    order_wait_forget(waiting);
}

/* Whether the request waits now. Nothing waits for an id that was not issued here: it is not known,
   or it is that of a row. An order in hand needs no such check, which costs as much as the rest. */
static bool may_wait(exchange_t *exchange, const order_id_t *id, uint32_t wait_ms)
{
    if (wait_ms == 0 ||
        (!orders_in_hand_has(exchange->engine->node, id) && !order_id_issued_here(id)))
        return false;
    exchange->waiting = order_wait_start(exchange->engine, id, wait_ms,
                                         exchange_unread_fd(exchange), on_waited, exchange);
    if (exchange->waiting == NULL)
        return false;
    exchange->on_gone = on_waiter_gone;
    return true;
}

/* Answers with the order; one that is `reserved` is waited for first. */
static void show(exchange_t *exchange, const order_t *order, uint32_t wait_ms)
{
    if (!exchange_may_see(exchange, order))
        reply_problem(exchange, PROBLEM_UNKNOWN_ORDER, NULL);
    else if (order->state != ORDER_RESERVED || !may_wait(exchange, &order->id, wait_ms))
        reply_order(exchange, 200, order, false);
}

static void reply_get(request_job_t *request, exchange_t *exchange)
{
    order_request_t *r = (order_request_t *)request;
    if (is_found(exchange, r, &r->order))
        show(exchange, &r->order, r->wait_ms);
}

static void read_from_servers(exchange_t *exchange, const order_id_t *id, uint32_t wait_ms)
{
    order_request_t *r = new_request(exchange, id);
    r->request.run = run_get;
    r->request.reply = reply_get;
    r->wait_ms = wait_ms;
    submit(exchange, r);
}

/* Looks at the order as it stands, from memory while this process has it in hand, and shows it. */
static void get_now(exchange_t *exchange, const order_id_t *id, uint32_t wait_ms)
{
    order_t order;
    if (orders_in_hand_look(exchange->engine->node, id, &order))
        show(exchange, &order, wait_ms);
    else
        read_from_servers(exchange, id, wait_ms);
}

static void on_waited(void *waiter, const order_id_t *id, const order_t *row)
{
    exchange_t *exchange = waiter;
    exchange->on_gone = NULL;
    if (row != NULL)
        show(exchange, row, 0);
    else
        get_now(exchange, id, 0);
}

/* Reads a whole number, of any length; the result is at most `most`. */
static bool read_number(str_t text, uint32_t most, uint32_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.p[i] - '0');
        number = number > most ? most : number;
    }
    *out = (uint32_t)number;
    return text.n != 0;
}

/* False: answered: `wait_ms` is not valid. Beyond orders.wait_max_ms it counts as that. */
static bool read_wait(exchange_t *exchange, const route_match_t *match, uint32_t *wait_ms)
{
    str_t value;
    *wait_ms = 0;
    if (match->query.n == 0)
        return true;
    bool once = query_value(match->query, "wait_ms", &value);
    if (once && (value.p == NULL ||
                 read_number(value, exchange->http->config->orders.wait_max_ms, wait_ms)))
        return true;
    reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                  "wait_ms: give one whole number of milliseconds, 0 or more");
    return false;
}

/* Whose order it is comes before the wait: no buyer waits for the order of another. */
void handle_order_get(exchange_t *exchange, const route_match_t *match)
{
    order_id_t id;
    uint32_t wait_ms;
    if (!read_wait(exchange, match, &wait_ms) || !read_id(exchange, match, &id))
        return;
    if (exchange->buyer != NULL)
        get_now(exchange, &id, wait_ms);
    else if (!may_wait(exchange, &id, wait_ms))
        get_now(exchange, &id, 0);
}

/* --- moves --- */

static void run_move(request_job_t *request, worker_t *worker)
{
    order_request_t *r = (order_request_t *)request;
    moved_t *moved = &r->moved;
    r->result = order_move(worker->db, &worker->sql, &r->intended, moved);
    if (r->result != RESULT_DONE)
        return;
    if (moved->outcome == ORDER_MOVED && moved->released)
        release_to_gate(worker, &moved->release, 1);
    if (moved->outcome == ORDER_MOVE_NOT_FOUND)
        r->lookup = look_up(worker, &r->id, &moved->order, &r->found);
}

static void reply_wrong_state(exchange_t *exchange, const order_t *order)
{
    char detail[96];
    bool late = order->state == ORDER_HELD; /* held, and not moved: its deadline has passed */
    snprintf(detail, sizeof(detail), "The order is %s%s", order_state_name(order->state),
             late ? " and its time is over" : "");
    reply_problem(exchange, PROBLEM_WRONG_STATE, detail);
}

static void reply_at_bound(exchange_t *exchange, const extend_t *extend)
{
    char detail[160], until[TIME_TEXT_SIZE];
    time_format_rfc3339(until, extend->bound_ms);
    snprintf(detail, sizeof(detail), "The hold cannot be extended past %s, %s", until,
             extend->by_sale ? "when the sale ends"
                             : "the longest that it may last (orders.hold_max_seconds)");
    reply_problem(exchange, PROBLEM_WRONG_STATE, detail);
}

static void reply_too_many(exchange_t *exchange, const order_t *order)
{
    char detail[96];
    snprintf(detail, sizeof(detail),
             "quantity: give a whole number from 1 to %u, which the order has", order->quantity);
    reply_problem(exchange, PROBLEM_INVALID_REQUEST, detail);
}

static void reply_move(request_job_t *request, exchange_t *exchange)
{
    order_request_t *r = (order_request_t *)request;
    const moved_t *moved = &r->moved;
    if (r->result != RESULT_DONE) {
        reply_problem(exchange, PROBLEM_UNAVAILABLE, NULL);
        return;
    }
    if (moved->outcome != ORDER_MOVE_NOT_FOUND)
        orders_in_hand_seen(exchange->engine, &moved->order);
    switch (moved->outcome) {
    case ORDER_MOVED:
        reply_order(exchange, 200, &moved->order, moved->replayed);
        break;
    case ORDER_MOVE_TOO_MANY:
        reply_too_many(exchange, &moved->order);
        break;
    case ORDER_MOVE_KEY_REUSED:
        reply_problem(exchange, PROBLEM_IDEMPOTENCY_KEY_REUSED,
                      "The key is that of a cancel of another quantity of this order");
        break;
    case ORDER_MOVE_WRONG_STATE:
        reply_wrong_state(exchange, &moved->order);
        break;
    case ORDER_MOVE_AT_BOUND:
        reply_at_bound(exchange, &moved->extend);
        break;
    case ORDER_MOVE_NOT_FOUND: /* not in MySQL; if it is on its way there, it is reserved */
        if (is_found(exchange, r, &moved->order))
            reply_wrong_state(exchange, &moved->order);
        break;
    }
}

void order_move_start(exchange_t *exchange, const route_match_t *match,
                      const move_request_t *intended)
{
    order_id_t id;
    if (!read_id(exchange, match, &id))
        return;
    order_request_t *r = new_request(exchange, &id);
    r->request.run = run_move;
    r->request.reply = reply_move;
    r->intended = *intended;
    r->intended.id = r->id;
    if (exchange->buyer != NULL) {
        r->buyer = exchange->buyer->buyer;
        r->intended.buyer = buyer_str(&r->buyer);
    }
    r->intended.hold_max_seconds = exchange->http->config->orders.hold_max_seconds;
    if (intended->key.n != 0) {
        memcpy(r->key_bytes, intended->key.p, intended->key.n);
        r->intended.key.p = r->key_bytes;
    }
    submit(exchange, r);
}
