/*
 * Changes the terms of an item for an admin, under traffic. A change is a rebuild that sets terms,
 * after the checks that a lowered total and the end of `accepted` need. Blocks on MySQL and Redis,
 * for 15 s and some at most; for pool threads.
 */
#ifndef HOLDFAST_RECONCILE_CHANGE_H
#define HOLDFAST_RECONCILE_CHANGE_H

#include "reconcile/outcome.h"
#include "sale/precondition.h"
#include "store/changes.h"
#include "work/pool.h"

/* The requested change. A term whose flag is not set keeps its value. */
typedef struct {
    bool create; /* PUT: create the item if it does not exist */
    bool has_total, has_limit, has_hold, has_starts, has_ends, has_strategy, has_acknowledge;
    item_terms_t terms;
    bool has_delta; /* then has_total is not set */
    int64_t total_delta;
    precondition_t precondition; /* a PUT without If-Match changes no item that exists */
} item_change_t;

typedef enum {
    CHANGE_DONE,
    CHANGE_NONE, /* the item had these terms already */
    CHANGE_CREATED,
    CHANGE_UNKNOWN_ITEM,
    CHANGE_WRONG_STATE, /* total below what is allocated or unsettled */
    CHANGE_REPLAYED,    /* an earlier request with this key has made it; *out is the row now */
    CHANGE_KEY_REUSED,  /* another request had this key */
    CHANGE_PRECONDITION_FAILED,
    CHANGE_PRECONDITION_REQUIRED, /* a PUT without If-Match of other terms than the item has */
    CHANGE_TOTAL_OUT_OF_RANGE,    /* `total_delta` leads below 0 or above ITEM_TOTAL_MAX */
    CHANGE_INVALID_WINDOW /* with the terms that stay, the sale would end before it starts */
} change_outcome_t;

/* The item has the requested terms. */
#define CHANGE_IS_MADE(outcome_)                                                                   \
    ((outcome_) == CHANGE_DONE || (outcome_) == CHANGE_NONE || (outcome_) == CHANGE_CREATED ||     \
     (outcome_) == CHANGE_REPLAYED)

/* Changes terms under a new epoch, and records that; purchases during the change get correct
   answers. `origin` needs no id. SYNC_READY: *outcome is the outcome and *out the row. SYNC_BUSY:
   the outcome is not known. Any other result: the item has not changed. CHANGE_NONE leaves no
   record. The precondition is for the row that the change replaces: of several requests with one
   version one makes its change. */
sync_result_t item_change(worker_t *worker, const item_ref_t *ref, const item_change_t *change,
                          const change_origin_t *origin, item_t *out, change_outcome_t *outcome);

#endif
