/*
 * The decisions of the writer: about orders, on the rows that it has read, and about a batch, after
 * a failed transaction. Pure: no I/O, no clock; a result depends on the arguments alone. The caller
 * owns them; its thread is the writer's. Nothing blocks or fails.
 */
#ifndef HOLDFAST_WORK_WRITER_DECIDE_H
#define HOLDFAST_WORK_WRITER_DECIDE_H

#include "work/writer_text.h"

/* --- orders, on rows --- */

/* Gives the order its result; it leaves the batch. */
void writer_mark(writer_order_t *order, writer_result_t result, bool inserted);
/* Moves the orders without a result to the front, in their order, and the others behind them;
   returns the number of the first. */
unsigned writer_drop_marked(writer_order_t **orders, unsigned count);

/* Compares a group with its item's row as just read (NULL: there is none). If the row has another
   epoch, the live orders become stale. Else the orders that find too few units, after those before
   them, become rejected: the gate was wrong. Returns true if the batch has changed and must begin
   again. */
bool writer_check_group(writer_group_t *group, const item_t *item);
/* A row has the order's id: it is the result, whichever process wrote it. A row that was decided
   without the order's owner has no sku: the order keeps its names, and they have to be filled
   in. */
void writer_take_row(writer_order_t *order, const order_t *row);
/* Another order has its key: the order is to be rejected as a duplicate of that one. */
void writer_lose_key(writer_order_t *order, const order_t *first);
/* The orders of the batch are not all written as the last read of rows assumed: some were in MySQL
   already, or the attempt has failed. The orders that found no room after them are decided
   anew. */
void writer_forget_refusals(writer_order_t **orders, unsigned count);

/* --- a batch, after a failure --- */

typedef enum {
    FAILURE_NONE,
    FAILURE_CONFLICT,  /* a conflict with another transaction */
    FAILURE_LOCK,      /* a wait for a lock timed out */
    FAILURE_LOST,      /* the connection; the COMMIT may have happened */
    FAILURE_OF_VALUES, /* MySQL refuses the values of some row */
    FAILURE_OTHER      /* not about any order */
} writer_failure_kind_t;

/* Whether the shard takes orders, see store/canary.h. */
typedef enum { CANARY_NOT_ASKED, CANARY_PASSED, CANARY_FAILED } writer_canary_t;

typedef struct {
    writer_failure_kind_t kind;
    unsigned orders;     /* of the batch */
    unsigned repeats;    /* how often in a row the batch has met the same failure before */
    bool is_one_item;    /* all orders are of one item */
    bool is_aside;       /* the one order is set aside with its item */
    bool is_side;        /* a side core */
    unsigned lock_waits; /* lock waits of a main core since its last COMMIT, this one included */
    writer_canary_t canary;
} writer_failure_t;

typedef enum {
    NEXT_CANARY, /* try the canary, then decide again */
    NEXT_SAME,   /* the same again, after a backoff */
    NEXT_AWAY,   /* the shard takes no orders: wait, then the same again */
    NEXT_ITEMS,  /* set aside each item whose row is locked; if none is, try each item apart */
    NEXT_HALVES,
    NEXT_REJECT, /* the one order: MySQL refuses its values */
    NEXT_ASIDE   /* set it aside */
} writer_next_t;

/* True if it counts as a lock wait: it is one, or it is one conflict too many. */
bool writer_failure_is_wait(const writer_failure_t *failure);
writer_next_t writer_next(const writer_failure_t *failure);

#endif
