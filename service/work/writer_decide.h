/*
 * What the writer decides: of orders, on the rows that it has read; of a batch, when a transaction
 * has failed. Pure: no I/O, no clock; what it says depends on its arguments alone.
 */
#ifndef HOLDFAST_WORK_WRITER_DECIDE_H
#define HOLDFAST_WORK_WRITER_DECIDE_H

#include "work/writer_text.h"

/* --- orders, on rows --- */

/* The order has its result and leaves the batch. */
void writer_mark(writer_order_t *order, writer_result_t result, bool inserted);
/* Moves those that have no result yet to the front; returns their number. */
unsigned writer_drop_marked(writer_order_t **orders, unsigned count);

/* Compares a group with its item's row as just read, NULL: there is none. Of another epoch: the
   live orders are stale. Else those that find too few units, after those before them, are to be
   rejected: the gate was wrong. True: the batch has changed, begin it again. */
bool writer_check_group(writer_group_t *group, const item_t *item);
/* A row has the order's id: it is the result, whoever wrote it. One that was decided before its
   owner came has no sku: the owner's names stay, and are to be filled in. */
void writer_take_row(writer_order_t *order, const order_t *row);
/* Another order has its key: it is to be rejected as a duplicate of that one. */
void writer_lose_key(writer_order_t *order, const order_t *first);
/* Some orders of the batch were in MySQL already: their units were counted once more when others
   found no room. Those are decided anew. */
void writer_forget_refusals(writer_order_t **orders, unsigned count);

/* --- a batch, after a failure --- */

typedef enum {
    FAILURE_NONE,
    FAILURE_CONFLICT,  /* another transaction was in the way */
    FAILURE_LOCK,      /* waited for a lock in vain */
    FAILURE_LOST,      /* the connection; the COMMIT may have happened */
    FAILURE_OF_VALUES, /* MySQL refuses the values of some row */
    FAILURE_OTHER      /* says nothing about any order */
} writer_failure_kind_t;

/* Does the shard take orders? See store/canary.h. */
typedef enum { CANARY_NOT_ASKED, CANARY_PASSED, CANARY_FAILED } writer_canary_t;

typedef struct {
    writer_failure_kind_t kind;
    unsigned orders;     /* of the batch */
    unsigned repeats;    /* so often the batch has met the same before, in a row */
    bool is_one_item;    /* all orders are of one item */
    bool is_aside;       /* the one order is set aside with its item */
    bool is_side;        /* the core tries what is set aside */
    unsigned lock_waits; /* of a main core since its last COMMIT, with this one */
    writer_canary_t canary;
} writer_failure_t;

typedef enum {
    NEXT_CANARY, /* ask the canary, then decide again */
    NEXT_SAME,   /* the same again, after a backoff */
    NEXT_AWAY,   /* the shard takes no orders: wait, then the same again */
    NEXT_ITEMS,  /* set aside each item whose row is locked; if none is, try each item apart */
    NEXT_HALVES,
    NEXT_REJECT, /* the one order: MySQL refuses its values */
    NEXT_ASIDE   /* set it aside */
} writer_next_t;

/* It counts as a lock wait: as such, or as one conflict too many. */
bool writer_failure_is_wait(const writer_failure_t *failure);
writer_next_t writer_next(const writer_failure_t *failure);

#endif
