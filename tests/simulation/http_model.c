/*
 * What http/orders.c answers with, for an exchange that no connection stands behind: the answer is
 * noted for the checks instead of being written.
 */
#include "history.h"
#include "http/route.h"
#include "work/prober.h"

void reply_order(exchange_t *exchange, int status, const order_t *order, bool replayed)
{
    char id[ORDER_ID_TEXT + 1];
    (void)status;
    order_id_format(id, &order->id);
    TRACE("order %s is said to be %s, of %u units%s", id, order_state_name(order->state),
          order->quantity, replayed ? " (replayed)" : "");
    history_received(exchange, order, replayed);
}

void reply_problem(exchange_t *exchange, problem_t problem, const char *detail)
{
    TRACE("refused: %s %s", problem_code(problem), detail == NULL ? "" : detail);
    history_received(exchange, NULL, false);
}

int exchange_unread_fd(const exchange_t *exchange)
{
    (void)exchange;
    return -1;
}

/* The query of an action is the value of its one parameter. */
bool query_value(str_t query, const char *name, str_t *value)
{
    (void)name;
    *value = query;
    return true;
}

/* There is no prober. */
bool prober_shard_is_silent(prober_t *prober, unsigned shard)
{
    (void)prober, (void)shard;
    return false;
}
