/*
 * A purchase: one buyer's request on its way to an order, from the parsed body to its end.
 *
 * engine/purchase_machine.h has the states and decides what a purchase does next. This module has
 * the memory of a purchase and carries out the effects that the machine returns.
 *
 * The buyer gets one answer: at the end, or earlier as 202 (acknowledge = accepted, or the outcome
 * is not known in time). A buyer who disconnects cancels nothing: what was started is finished.
 *
 * The order of a request is copied once, by purchase_new(), on the loop of the buyer's connection,
 * whose cross-loop request (engine/cross_request.h) then owns the purchase. The item's owner loop
 * owns it from purchase_start() until the purchase frees itself. All other functions run on the
 * thread of that loop. No function blocks. An error of a server is no return value: it ends in an
 * answer (ANSWER_REFUSED, or ANSWER_PENDING while the outcome is unknown).
 */
#ifndef HOLDFAST_ENGINE_PURCHASE_H
#define HOLDFAST_ENGINE_PURCHASE_H

#include "engine/engine.h"
#include "engine/purchase_machine.h"
#include "strategies/strategy.h"

typedef enum {
    ANSWER_ORDER,   /* 201: `order` is in MySQL; if replayed, it is the order as it stands now */
    ANSWER_PENDING, /* 202: `order` is on its way to MySQL */
    ANSWER_REFUSED  /* `problem` */
} answer_kind_t;

typedef struct {
    answer_kind_t kind;
    problem_t problem;
    const order_t *order; /* REFUSED: NULL, or the rejected row */
    bool replayed;
    order_id_t own_id;          /* of the purchase itself; no id before it has one */
    strategy_id_t strategy;     /* that was in force */
    uint64_t sold_out_until_ms; /* see loop_item_t */
    refusal_t why;
} answer_t;

/* Called once, and never inside purchase_start(). `waiter` is the argument of purchase_start(). */
typedef void (*purchase_answer_cb)(void *waiter, const answer_t *answer);

typedef struct {
    str_t sku, buyer, key; /* key STR_NONE: the request has no key */
    uint32_t quantity;
} purchase_request_t;

typedef struct purchase {
    h2o_linklist_t link; /* in loop_item_t.parked or .unchecked */
    engine_loop_t *engine;
    loop_item_t *item;
    purchase_machine_t machine;
    strategy_id_t strategy; /* that is in force now */
    attempt_t attempt;      /* owned by the strategy while ADMITTING */
    writer_order_t write;   /* owned by the writer while COMMITTING */
    order_id_t first_id;    /* valid while machine.first is FIRST_NAMED */
    /* of the first gate that has admitted the order, or may have; 0: none has */
    uint64_t admitted_epoch;
    /* of its last refusal; the item's terms supply what the strategy did not report */
    refusal_t why;
    struct order_in_hand *in_hand; /* from its 202 to its end; else NULL */
    bool of_unread_item;           /* when it ended; `item` is not valid then */
    loop_timer_t answer_timer, retry_timer;
    purchase_answer_cb answer;
    void *waiter; /* NULL: no buyer is connected, or he has been answered */
} purchase_t;

/* Makes a purchase that is not started yet. Copies `request`. Any thread. */
purchase_t *purchase_new(const purchase_request_t *request);
/* Starts and takes over the purchase, on the owner loop of its item, which is `ref`. Keeps `waiter`
   until it has called `answer`. */
void purchase_start(purchase_t *purchase, engine_loop_t *engine, const item_ref_t *ref,
                    purchase_answer_cb answer, void *waiter);
/* The process that admitted this order is gone. Takes the order over: it ends in MySQL under its
   own id. Copies `record`. No buyer is answered. */
void purchase_adopt(engine_loop_t *engine, const order_id_t *id, const gate_record_t *record);

/* --- for engine.c --- */
/* The item is READY, or cannot be read, for the reason `why`. */
void purchase_unparked(purchase_t *purchase, sync_result_t why);
/* A strategy reports that the attempt has left this loop, and later its outcome. */
void purchase_attempt_sent(attempt_t *attempt);
void purchase_attempt_done(attempt_t *attempt, const outcome_t *outcome);

/* --- for epoch_check.c --- */
/* The answer of MySQL about the epoch of the refusal that the purchase waits with: it is still the
   item's epoch, it is not, or MySQL gave no answer. */
typedef enum { EPOCH_IS_VALID, EPOCH_IS_OVER, EPOCH_UNKNOWN } epoch_verdict_t;
void purchase_epoch_checked(purchase_t *purchase, epoch_verdict_t verdict);

#endif
