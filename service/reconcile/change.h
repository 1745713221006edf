/*
 * Changes of an item's terms, by an admin, under traffic: a rebuild that sets terms, after the
 * checks that a lowered total needs. Blocking; for pool threads.
 */
#ifndef HOLDFAST_RECONCILE_CHANGE_H
#define HOLDFAST_RECONCILE_CHANGE_H

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
    CHANGE_WRONG_STATE,    /* total below what is allocated or unsettled */
    CHANGE_INVALID_WINDOW, /* together with what stays, the sale would end before it starts */
    CHANGE_AWAY            /* MySQL, or Redis where it is needed, is away */
} change_result_t;

/* The item is as it was asked for. */
#define CHANGE_IS_MADE(result_)                                                                    \
    ((result_) == CHANGE_DONE || (result_) == CHANGE_NONE || (result_) == CHANGE_CREATED)

/* Changes terms under a new epoch. Under traffic: nobody gets a wrong answer. */
change_result_t item_change(worker_t *worker, str_t sku, const item_change_t *change, item_t *out);

#endif
