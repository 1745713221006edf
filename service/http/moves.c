#include "http/moves.h"

#include "http/body.h"
#include "http/orders.h"
#include "http/request_key.h"

void handle_order_confirm(exchange_t *exchange, const route_match_t *match)
{
    order_move_start(exchange, match, &(move_request_t){.move = ORDER_MOVE_CONFIRM});
}

void handle_order_extend(exchange_t *exchange, const route_match_t *match)
{
    order_move_start(exchange, match, &(move_request_t){.move = ORDER_MOVE_EXTEND});
}

/* Reads the units of a cancel. False: refused, and answered. */
static bool read_units(exchange_t *exchange, uint32_t *units)
{
    mistake_t mistake = {PROBLEM_NONE, ""};
    str_t body = {exchange->req->entity.base, exchange->req->entity.len};
    *units = 0;
    if (body.n == 0)
        return true;
    cJSON *json = body_parse(body, &mistake);
    bool ok = json != NULL && body_read_cancel(json, units, &mistake);
    cJSON_Delete(json);
    if (!ok)
        reply_problem(exchange, mistake.problem, mistake.detail);
    return ok;
}

void handle_order_cancel(exchange_t *exchange, const route_match_t *match)
{
    char key_bytes[KEY_BYTES_MAX];
    move_request_t intended = {.move = ORDER_MOVE_CANCEL};
    if (!request_key(exchange, key_bytes, &intended.key) || !read_units(exchange, &intended.units))
        return;
    if (intended.units != 0 && intended.key.n == 0)
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "Idempotency-Key: give one with a quantity, so that a repeat is known");
    else
        order_move_start(exchange, match, &intended);
}
