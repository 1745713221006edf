/*
 * The moves of an order by request: confirm, cancel, extend. See the diagram in
 * sale/order.h.
 *
 * Each is one transaction, tried again for some seconds while other transactions hold its locks.
 * Blocks; for pool threads. The caller owns all arguments.
 *
 * A cancel gives back all units of the order, or some; then the order keeps the rest. The
 * transaction that gives the units back also stores the key of the cancel, if it has one (table
 * `cancellations`), so that a repeat is recognised and gives back nothing.
 */
#ifndef HOLDFAST_STORE_MOVE_H
#define HOLDFAST_STORE_MOVE_H

#include "store/extend.h"
#include "store/orders.h"

typedef enum { ORDER_MOVE_CONFIRM, ORDER_MOVE_CANCEL, ORDER_MOVE_EXTEND } order_move_t;

typedef struct {
    order_move_t move;
    order_id_t id;
    str_t buyer;    /* whose order it has to be, else it is not found; STR_NONE: anybody's */
    uint32_t units; /* of a cancel: units to give back; 0: all units of the order */
    str_t key;      /* of a cancel; STR_NONE: no key, which only a cancel of all units may have */
    uint32_t hold_max_seconds; /* of an extend: orders.hold_max_seconds */
} move_request_t;

/* The outcome of a move that MySQL has answered. */
typedef enum {
    ORDER_MOVED,           /* now, or by an earlier request */
    ORDER_MOVE_TOO_MANY,   /* a cancel of more units than the order has */
    ORDER_MOVE_KEY_REUSED, /* another cancel of this order has this key */
    ORDER_MOVE_WRONG_STATE,
    ORDER_MOVE_AT_BOUND, /* see `extend` */
    ORDER_MOVE_NOT_FOUND
} move_outcome_t;

typedef struct {
    move_outcome_t outcome; /* valid with RESULT_DONE */
    order_t order;          /* the order as it is now, if it was found */
    bool replayed;          /* of ORDER_MOVED: a repeat, recognised by its key */
    extend_t extend;        /* of ORDER_MOVE_AT_BOUND */
    bool released;          /* this call moved units out of a live state: see release_to_gate() */
    release_t release;
} moved_t;

/* RESULT_DONE: MySQL has answered; out->outcome is set. RESULT_RETRY: other transactions held the
   locks for too long. RESULT_UNKNOWN: the answer to COMMIT was lost; the same move again shows the
   outcome. Results other than RESULT_DONE are counted and logged. */
result_t order_move(db_t *db, sql_t *sql, const move_request_t *intended, moved_t *out);

#endif
