/*
 * How far an extend moves the deadline of a hold.
 *
 * An extend asks for now plus the item's hold_seconds. It gets that at most up to a bound: the
 * order's creation plus orders.hold_max_seconds (0: four times the item's hold_seconds), and not
 * past the end of the sale. It never moves a deadline to an earlier time.
 *
 *     the deadline can move, to the requested time or the bound ─▶ it moves
 *     the order has the requested time, or an extend has moved
 *     it to the bound before                                    ─▶ repeated: nothing changes
 *     the deadline was at or past the bound without an extend   ─▶ it cannot move
 *
 * Pure: the time is an argument. Any thread may call; nothing blocks. Times are ms since 1970 UTC.
 */
#ifndef HOLDFAST_STORE_EXTEND_H
#define HOLDFAST_STORE_EXTEND_H

#include "store/orders.h"

typedef enum { EXTEND_MOVES, EXTEND_HAPPENED, EXTEND_AT_BOUND, EXTEND_LATE } extend_result_t;

typedef struct {
    extend_result_t result;
    uint64_t deadline_ms; /* of EXTEND_MOVES: the new deadline */
    uint64_t bound_ms;    /* of the other results: no extend goes past it */
    bool by_sale;         /* the bound is the end of the sale */
} extend_t;

/* `order` is held. `terms` NULL: the item does not exist, and no time is requested. */
extend_t extend_decide(const order_t *order, const item_terms_t *terms, uint32_t hold_max_seconds,
                       uint64_t now_ms);

#endif
