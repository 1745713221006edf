/*
 * What http/orders.c answers with, for an exchange that no connection stands behind: the answer is
 * noted for the checks instead of being written.
 */
#include "history.h"
#include "http/body.h"
#include "http/exchange.h"
#include "http/route.h"

void reply_order(exchange_t *exchange, int status, const order_t *order, bool replayed)
{
    char id[ORDER_ID_TEXT + 1];
    (void)exchange, (void)status, (void)replayed;
    order_id_format(id, &order->id);
    TRACE("order %s is said to be %s", id, order_state_name(order->state));
    history_heard(order, PROBLEM_NONE);
}

void reply_problem(exchange_t *exchange, problem_t problem, const char *detail)
{
    (void)exchange;
    TRACE("refused: %s %s", problem_code(problem), detail == NULL ? "" : detail);
    history_heard(NULL, problem);
}

/* Only pages of a buyer's orders come here, and nobody asks for one. */

_Noreturn static void nobody_asks(const char *name)
{
    world_unknown("answer", name, strlen(name));
}

void reply_json(exchange_t *exchange, int status, cJSON *json)
{
    (void)exchange, (void)status, (void)json;
    nobody_asks("reply_json");
}

cJSON *order_to_json(const order_t *order)
{
    (void)order;
    nobody_asks("order_to_json");
}

str_t query_value(str_t query, const char *name)
{
    (void)query;
    nobody_asks(name);
}

bool is_buyer_id(str_t text)
{
    (void)text;
    nobody_asks("is_buyer_id");
}
