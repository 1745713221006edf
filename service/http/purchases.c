#include "http/purchases.h"

#include "engine/cross_request.h"
#include "http/fast_order.h"
#include "http/rate_limit.h"
#include "http/request_key.h"

static void on_gone(void *waiting)
{
    cross_request_forget_waiter(waiting);
}

static void on_answer(void *waiter, const answer_t *answer)
{
    exchange_t *exchange = waiter;
    exchange->on_gone = NULL;
    switch (answer->kind) {
    case ANSWER_ORDER:
        reply_order(exchange, 201, answer->order, answer->replayed);
        break;
    case ANSWER_PENDING:
        reply_order(exchange, 202, answer->order, answer->replayed);
        break;
    case ANSWER_REFUSED:
        reply_refusal(exchange, answer->problem, &answer->why, answer->order, answer->replayed);
        break;
    }
}

/* Checks the client address's rate limit, before anything of the request is parsed. False: refused,
   and answered. */
static bool may_address_buy(exchange_t *exchange)
{
    rate_limits_t *limits = exchange->http->rate_limits;
    if (limits == NULL || limits->addresses == NULL)
        return true;
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC}; /* remains if the peer has disconnected
                                                                already */
    h2o_conn_t *connection = exchange->req->conn;
    connection->callbacks->get_peername(connection, (struct sockaddr *)&peer);
    if (rate_limits_take_address(limits, (const struct sockaddr *)&peer,
                                 exchange->started_us * 1000))
        return true;
    reply_problem(exchange, PROBLEM_RATE_LIMITED, NULL);
    return false;
}

/* Reads the body. `order` is borrowed from *json, which the caller frees, or from the request. */
static bool read_order(exchange_t *exchange, cJSON **json, order_body_t *order, mistake_t *mistake)
{
    str_t body = {exchange->req->entity.base, exchange->req->entity.len};
    uint32_t quantity_max = exchange->http->config->orders.quantity_max;
    *json = NULL;
    return fast_order_read(body, quantity_max, order) ||
           ((*json = body_parse(body, mistake)) != NULL &&
            body_read_order(*json, quantity_max, exchange->buyer != NULL, order, mistake));
}

/* A buyer buys as himself, and what his token says. Fills in the buyer where the body has left him
   out. False: refused, and answered. */
static bool may_buyer_buy(exchange_t *exchange, order_body_t *order)
{
    const buyer_claims_t *claims = exchange->buyer;
    const char *fault = NULL;
    if (claims == NULL)
        return true;
    str_t buyer = buyer_str(&claims->buyer);
    if (order->buyer_id.n == 0)
        order->buyer_id = buyer;
    if (!str_eq(order->buyer_id, buyer))
        fault = "buyer_id: the token is that of another buyer";
    else if (claims->sku.length != 0 && !str_eq(order->sku, sku_str(&claims->sku)))
        fault = "sku: the token is for another item";
    else if (claims->quantity_max != 0 && order->quantity > claims->quantity_max)
        fault = "quantity: more than the token permits";
    if (fault != NULL)
        reply_problem(exchange, PROBLEM_FORBIDDEN, fault);
    return fault == NULL;
}

static problem_t refuse_early(exchange_t *exchange, const purchase_request_t *request)
{
    rate_limits_t *limits = exchange->http->rate_limits;
    if (limits != NULL &&
        !rate_limits_take_buyer(limits, request->buyer, exchange->started_us * 1000))
        return PROBLEM_RATE_LIMITED;
    return cross_request_refuse_early(exchange->engine, request);
}

void handle_order_create(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    engine_loop_t *engine = exchange->engine;
    mistake_t mistake = {PROBLEM_NONE, ""};
    cJSON *json;
    order_body_t body;
    purchase_request_t request;
    char key_bytes[KEY_BYTES_MAX];
    if (!may_address_buy(exchange) || !request_key(exchange, key_bytes, &request.key))
        return;
    if (!read_order(exchange, &json, &body, &mistake)) {
        cJSON_Delete(json);
        reply_problem(exchange, mistake.problem, mistake.detail);
        return;
    }
    if (!may_buyer_buy(exchange, &body)) {
        cJSON_Delete(json);
        return;
    }
    request.sku = body.sku;
    request.buyer = body.buyer_id;
    request.quantity = body.quantity;
    problem_t early = refuse_early(exchange, &request);
    if (early != PROBLEM_NONE) {
        reply_problem(exchange, early, NULL);
    } else {
        exchange->waiting = cross_request_start(engine, &request, on_answer, exchange);
        exchange->on_gone = on_gone;
        if (!exchange->answered)
            connection_stays_polled(exchange->req);
    }
    cJSON_Delete(json);
}
