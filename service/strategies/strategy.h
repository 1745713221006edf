/*
 * The four ways to keep competing buyers of an item apart, behind one interface.
 *
 *   lua           one atomic call admits all waiting buyers of the item; then group commit
 *   watch         WATCH / MULTI / EXEC for each buyer over the same counters; then group commit
 *   optimistic    one transaction for each buyer, guarded by the row's version column
 *   serializable  one transaction for each buyer under SERIALIZABLE isolation
 *
 * A strategy gets an attempt and returns one outcome. It does not depend on HTTP, on answers to
 * buyers or on what a purchase does next. It finds its surroundings in strategy_loop_t and
 * strategy_item_t, and reports through strategy_host_t.
 *
 * If several refusals apply, the buyer gets the first of these, under every strategy, from a gate,
 * from MySQL or from what a loop remembers (engine/cross_request.h):
 *
 *   1. its key has an order: the answer is that order, or idempotency_key_reused if the requests
 *      differ
 *   2. sale_not_started, sale_ended
 *   3. sold_out: fewer units are left than it asks for
 *   4. buyer_limit_exceeded
 *
 * A gate contains the keys of unsettled orders only. For other keys it returns whether it has
 * admitted the buyer before (`seen`); then the key is read in MySQL before any refusal is sent. A
 * buyer who has not been seen has no order under the gate's epoch or an earlier one;
 * engine/epoch_check.h ensures that there is no later one.
 *
 * The loop owns its strategies, items and attempts. All functions run on its thread and do not
 * block; the SQL strategies run their transactions on threads of the shard's pool. Errors are
 * outcomes: a server that is away refuses with PROBLEM_UNAVAILABLE, and a lost answer is
 * OUTCOME_UNKNOWN. Members that end in _ms are milliseconds, quantities are units of the item.
 */
#ifndef HOLDFAST_STRATEGIES_STRATEGY_H
#define HOLDFAST_STRATEGIES_STRATEGY_H

#include "base/clock.h"
#include "config/config.h"
#include "gate/health.h"
#include "gate/redis_link.h"
#include "loop/loop.h"
#include "sale/order.h"
#include "sale/problem.h"
#include "work/pool.h"
#include "work/writer.h"

struct attempt;
struct strategy_item;
struct lua_loop;
struct lua_item;
struct watch_pool;
struct watch_turns;

/* --- the reports of a strategy --- */

/* The details of a refusal, as far as the strategy has them. */
typedef struct {
    uint64_t starts_at_ms; /* of PROBLEM_SALE_NOT_STARTED; 0: not known */
    uint32_t limit;        /* of PROBLEM_BUYER_LIMIT_EXCEEDED, units of a buyer; 0: not known */
    bool owned_is_known;   /* likewise */
    int64_t owned;
} refusal_t;

typedef enum {
    /* The gate has taken its units under the attempt's epoch; now the order has to reach MySQL. */
    OUTCOME_ADMITTED,
    /* Refused, by this attempt, for `problem`. */
    OUTCOME_REFUSED,
    /* It would be admitted, but the gate has admitted this buyer before and no longer has his keys.
       The key must be read in MySQL before the next attempt; so a repeat leaves no row of its
       own. */
    OUTCOME_KEY_UNCHECKED,
    /* Its key belongs to another order, `first`: in MySQL (`row`) or on its way there. */
    OUTCOME_REPEAT,
    /* The epoch, the strategy or the gate has changed: the item must be read again. */
    OUTCOME_STALE,
    /* The gate is frozen, or the row was locked: make the same attempt again after some
       milliseconds. */
    OUTCOME_DELAYED,
    /* The gate is loading its table of buyers, and needs this buyer's units for a verdict: have
       them loaded, then make the same attempt again. */
    OUTCOME_NOT_LOADED,
    /* The attempt may or may not have taken effect. */
    OUTCOME_UNKNOWN,
    /* MySQL has decided: `row` is the order's own. SQL strategies only. */
    OUTCOME_DECIDED
} outcome_kind_t;

typedef struct {
    outcome_kind_t kind;
    problem_t problem;
    bool seen; /* ADMITTED, REFUSED: the gate had admitted this buyer before */
    /* REFUSED: by the gate's answer, which also shows that it does not have the order; false: for
       want of an answer */
    bool of_answer;
    /* any kind: the answer to a COMMIT was lost; its row may still appear in MySQL */
    bool lost_commit;
    refusal_t why;      /* REFUSED */
    order_id_t first;   /* REPEAT */
    const order_t *row; /* DECIDED, REPEAT (NULL: on its way). Borrowed until done() returns */
} outcome_t;

/* The functions that a strategy calls to report to the owner of the attempts. All run on the loop's
   thread. */
typedef struct {
    /* The attempt has left this loop; from now on only done() ends it. */
    void (*sent)(struct attempt *attempt);
    /* The one outcome of an attempt. Never called inside strategy_t.start(). The owner of the
       attempt gets it back. */
    void (*done)(struct attempt *attempt, const outcome_t *outcome);
    /* An answer has shown that no unit is left. `units_back` is the item's value when the question
       was sent. */
    void (*sold_out)(struct strategy_item *item, unsigned units_back);
    /* A connection has no usable gate of this epoch, and no newer one. If it returns true, drop the
       connection: it leads to another Redis than the reads of the item. */
    bool (*gate_is_elsewhere)(struct strategy_item *item, uint64_t epoch);
} strategy_host_t;

/* --- the surroundings of a strategy --- */

/* The surroundings on one loop; made and freed with it. */
typedef struct strategy_loop {
    loop_t *loop;
    const config_t *config;
    const strategy_host_t *host;
    str_t owner;                /* written into the records of this process in `unsettled` */
    redis_link_t *gate;         /* the loop's connection; the engine owns it */
    remote_clock_t *gate_clock; /* shared by the process */
    gate_health_t *gate_health; /* likewise */
    redis_args_t args;          /* scratch */
    struct lua_loop *lua;       /* private to lua.c */
    struct watch_pool *watch;   /* private to watch.c */
} strategy_loop_t;

/* One item on its owner loop; embedded in the engine's entry. */
typedef struct strategy_item {
    strategy_loop_t *loop;
    shard_t *shard;
    item_ref_t ref;
    acknowledge_t acknowledge; /* from the last read of the row */
    unsigned units_back;       /* counts how often units came back */
    struct lua_item *lua;      /* private to lua.c; NULL: no attempt yet */
    struct watch_turns *watch; /* likewise to watch.c */
} strategy_item_t;

static inline str_t strategy_item_sku(const strategy_item_t *item)
{
    return sku_str(&item->ref.sku);
}

/* One attempt to get an order admitted. The owner fills it in and does not change it between
   start() and the outcome: other threads may read it meanwhile. */
typedef struct attempt {
    h2o_linklist_t link; /* used by the strategy until `sent` */
    strategy_item_t *item;
    order_t order; /* the order as requested, with its id */
    char key_bytes[KEY_BYTES_MAX];
    uint8_t key_length;          /* 0: it has no key */
    bool key_is_free;            /* MySQL had no order of its key */
    bool may_be_written;         /* an earlier attempt may have written its id to MySQL */
    uint64_t epoch;              /* the item's value when the purchase was routed */
    unsigned units_back;         /* likewise */
    uint64_t commit_deadline_ms; /* by the gate's clock; no gate admits it later */
    void *data;                  /* private to the strategy between start() and the outcome */
} attempt_t;

static inline str_t attempt_key(const attempt_t *attempt)
{
    return attempt->key_length == 0 ? STR_NONE : (str_t){attempt->key_bytes, attempt->key_length};
}

typedef struct {
    /* Takes the attempt. Calls done() exactly once, later, on the same loop. */
    void (*start)(attempt_t *attempt);
} strategy_t;

extern const strategy_t strategy_lua, strategy_watch, strategy_optimistic, strategy_serializable;

static inline const strategy_t *strategy_of(strategy_id_t id)
{
    static const strategy_t *const all[STRATEGY_COUNT] = {
        &strategy_lua, &strategy_watch, &strategy_optimistic, &strategy_serializable};
    return all[id];
}

/* Takes back an attempt that its strategy has not sent. done() is not called for it. */
void strategy_withdraw(attempt_t *attempt);
/* Call it several times a second. It refuses the attempts that wait behind a call that Redis does
   not answer: they were not sent, so they need not wait for the time-out of that call. */
void strategy_loop_check(strategy_loop_t *loop);

/* Makes the private state of all strategies. The caller has set the other members. */
void strategy_loop_open(strategy_loop_t *loop);
/* Only when no attempt is under way. */
void strategy_loop_close(strategy_loop_t *loop);
/* Frees the private state of an item. Only when it has no attempt under way. */
void strategy_item_close(strategy_item_t *item);

#endif
