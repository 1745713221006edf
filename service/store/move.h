/*
 * The moves of an order that people ask for: confirm, cancel, extend. See the diagram in
 * sale/order.h.
 *
 * Each is one transaction, tried again for some seconds while others hold its locks. Blocks; for
 * pool threads.
 *
 * A cancel gives back all units of the order, or some: then the order goes on with the rest. One
 * that has a key is remembered with it, in the transaction that gave the units back (table
 * `cancellations`), so that a repeat is known and gives back nothing.
 */
#ifndef HOLDFAST_STORE_MOVE_H
#define HOLDFAST_STORE_MOVE_H

#include "store/extend.h"
#include "store/orders.h"

typedef enum { ORDER_MOVE_CONFIRM, ORDER_MOVE_CANCEL, ORDER_MOVE_EXTEND } order_move_t;

typedef struct {
    order_move_t move;
    order_id_t id;
    uint32_t units;            /* of a cancel: to be given back; 0: all that the order has */
    str_t key;                 /* of a cancel; STR_NONE: none, which only one of all may have */
    uint32_t hold_max_seconds; /* of an extend: orders.hold_max_seconds */
} move_request_t;

/* What came of a move that MySQL has answered. */
typedef enum {
    ORDER_MOVED,           /* or it had happened before */
    ORDER_MOVE_TOO_MANY,   /* units of a cancel: more than the order has */
    ORDER_MOVE_KEY_REUSED, /* the key is that of another cancel of this order */
    ORDER_MOVE_WRONG_STATE,
    ORDER_MOVE_AT_BOUND, /* see `extend` */
    ORDER_MOVE_NOT_FOUND
} move_outcome_t;

typedef struct {
    move_outcome_t outcome; /* of RESULT_DONE */
    order_t order;          /* as it is now, where it was found */
    bool replayed;          /* of ORDER_MOVED: it was known by its key */
    extend_t extend;        /* of ORDER_MOVE_AT_BOUND */
    bool released;          /* this call moved units out of a live state: see release_to_gate() */
    release_t release;
} moved_t;

/* Done: MySQL has said what became of it, see out->outcome. Retry: others kept its locks for too
   long. Unknown: the COMMIT was lost, and the same move again tells. Counted, and logged, unless
   done. */
result_t order_move(db_t *db, sql_t *sql, const move_request_t *intended, moved_t *out);

#endif
