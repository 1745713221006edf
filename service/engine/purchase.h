/*
 * A purchase: one buyer's request on its way to an order, from the parsed body to its end.
 *
 * What it does next is decided by engine/purchase_machine.h, which has the states; here stands what
 * it is made of, and what carries the machine's effects out.
 *
 * The buyer is answered once: at the end, or earlier with 202 (acknowledge = accepted, or the
 * outcome is not known in time). A buyer who goes away cancels nothing; what was started ends.
 *
 * Owned by its item's owner loop, from purchase_start() until it frees itself; all functions are
 * for the thread of that loop, and none blocks. Buyers come to it by engine/cross_request.h.
 */
#ifndef HOLDFAST_ENGINE_PURCHASE_H
#define HOLDFAST_ENGINE_PURCHASE_H

#include "engine/engine.h"
#include "engine/purchase_machine.h"
#include "strategies/strategy.h"

typedef enum {
    ANSWER_ORDER,   /* 201: `order` is in MySQL; or, replayed, as it now stands */
    ANSWER_PENDING, /* 202: `order` is on its way */
    ANSWER_REFUSED  /* `problem` */
} answer_kind_t;

typedef struct {
    answer_kind_t kind;
    problem_t problem;
    const order_t *order; /* for REFUSED: NULL, or the rejected row */
    bool replayed;
    order_id_t own_id;          /* of the purchase itself; none before it has one */
    strategy_id_t strategy;     /* that ruled */
    uint64_t sold_out_until_ms; /* as loop_item_t has it */
    refusal_t why;
} answer_t;

/* Called once, never inside purchase_start(). `waiter` is what purchase_start() was given. */
typedef void (*purchase_answer_cb)(void *waiter, const answer_t *answer);

typedef struct {
    str_t sku, buyer, key; /* key STR_NONE: none given */
    uint32_t quantity;
} purchase_request_t;

typedef struct purchase {
    h2o_linklist_t link; /* parked or unchecked */
    engine_loop_t *engine;
    loop_item_t *item;
    purchase_machine_t machine;
    strategy_id_t strategy; /* that rules now */
    attempt_t attempt;      /* the strategy's while ADMITTING */
    writer_order_t write;   /* the writer's while COMMITTING */
    order_id_t first_id;    /* while machine.first is FIRST_NAMED */
    refusal_t why;          /* of its last refusal; the item's terms say what is missing */
    loop_timer_t answer_timer, retry_timer;
    purchase_answer_cb answer;
    void *waiter; /* NULL: nobody waits, or it has been answered */
} purchase_t;

/* On the owner loop of the item. `request` is copied; `waiter` waits until it is answered. */
void purchase_start(engine_loop_t *engine, const purchase_request_t *request,
                    purchase_answer_cb answer, void *waiter);
/* This unsettled order has no owner any more: it goes the way of all orders, under its own id, to
   its end in MySQL. Copies `record`. */
void purchase_adopt(engine_loop_t *engine, const order_id_t *id, const gate_record_t *record);

/* --- for engine.c --- */
/* The item is READY, or `why` it cannot be. */
void purchase_unparked(purchase_t *purchase, sync_result_t why);
/* How the strategies of a loop report on the attempts of purchases. */
void purchase_attempt_sent(attempt_t *attempt);
void purchase_attempt_done(attempt_t *attempt, const outcome_t *outcome);

/* --- for epoch_check.c --- */
/* The refusal that it waits with was given under an epoch that still rules, or rules no more, or
   MySQL does not say. */
typedef enum { EPOCH_RULES, EPOCH_IS_OVER, EPOCH_UNKNOWN } epoch_verdict_t;
void purchase_epoch_checked(purchase_t *purchase, epoch_verdict_t verdict);

/* XXH3 of what was asked: a repeat of a key must ask the same. */
uint64_t purchase_digest(str_t sku, str_t buyer, uint32_t quantity);

#endif
