/*
 * Changes of an item's terms, by an admin, under traffic: a rebuild that sets terms, after the
 * checks that a lowered total needs. Blocking; for pool threads.
 */
#ifndef HOLDFAST_RECONCILE_CHANGE_H
#define HOLDFAST_RECONCILE_CHANGE_H

#include "reconcile/outcome.h"
#include "store/items.h"
#include "work/pool.h"

/* What an admin wants changed; members without their flag stay. */
typedef struct {
    bool create; /* PUT: make the item if it is not there */
    bool has_total, has_limit, has_hold, has_starts, has_ends, has_strategy, has_acknowledge;
    item_terms_t terms;
} item_change_t;

typedef enum {
    CHANGE_DONE,
    CHANGE_NONE, /* the terms were so already */
    CHANGE_CREATED,
    CHANGE_UNKNOWN_ITEM,
    CHANGE_WRONG_STATE,   /* total below what is allocated or unsettled */
    CHANGE_INVALID_WINDOW /* together with what stays, the sale would end before it starts */
} change_outcome_t;

/* The item is as it was asked for. */
#define CHANGE_IS_MADE(outcome_)                                                                   \
    ((outcome_) == CHANGE_DONE || (outcome_) == CHANGE_NONE || (outcome_) == CHANGE_CREATED)

/* Changes terms under a new epoch. Under traffic: nobody gets a wrong answer. SYNC_READY: *outcome
   says what came of it; any other result: the item is as it was, or (SYNC_BUSY) nobody knows. */
sync_result_t item_change(worker_t *worker, str_t sku, const item_change_t *change, item_t *out,
                          change_outcome_t *outcome);

#endif
