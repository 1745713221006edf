/*
 * The four ways to keep competing buyers of an item apart, behind one interface.
 *
 *   lua           one atomic call admits all buyers who wait for the item; then group commit
 *   watch         WATCH / MULTI / EXEC for each buyer over the same counters; then group commit
 *   optimistic    one transaction a buyer, guarded by the row's version column
 *   serializable  one transaction a buyer under SERIALIZABLE isolation
 *
 * A strategy gets an attempt and gives back one outcome. It knows nothing of HTTP, of answers or
 * of what follows; what it needs of its surroundings stands in strategy_loop_t and
 * strategy_item_t, and what it reports goes through strategy_host_t.
 *
 * Where several refusals apply, the buyer hears the first of these, under every strategy, from a
 * gate, from MySQL or from what a loop remembers (engine/cross_request.h):
 *
 *   1. its key has an order: no refusal but that order; idempotency_key_reused if it asked another
 *      thing
 *   2. sale_not_started, sale_ended
 *   3. sold_out: fewer units are left than it asks for
 *   4. buyer_limit_exceeded
 *
 * A gate knows the keys of unsettled orders only. For the others it says whether it has admitted
 * the buyer before (`seen`); then MySQL is asked for the key before any refusal is told. A buyer
 * that has not been seen has no order under the gate's epoch or an earlier one;
 * engine/epoch_check.h ensures that there is no later one.
 *
 * All of it belongs to one loop's thread and does not block; the SQL strategies run their
 * transactions on threads of the shard's pool.
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

/* --- what a strategy reports --- */

/* What a refusal is about, as far as the strategy knows it. */
typedef struct {
    uint64_t starts_at_ms; /* of PROBLEM_SALE_NOT_STARTED; 0: not known */
    uint32_t limit;        /* of PROBLEM_BUYER_LIMIT_EXCEEDED, units of a buyer; 0: not known */
    bool owned_is_known;   /* likewise */
    int64_t owned;
} refusal_t;

typedef enum {
    /* The gate holds its units under the attempt's epoch; now it has to reach MySQL. */
    OUTCOME_ADMITTED,
    /* Refused, by this attempt, for `problem`. */
    OUTCOME_REFUSED,
    /* It would be admitted, but the gate has admitted this buyer before and no longer knows for
       which keys: admit it only after a look in MySQL. Then a repeat leaves no row of its own. */
    OUTCOME_KEY_UNCHECKED,
    /* Its key belongs to another order, `first`: in MySQL (`row`) or on its way there. */
    OUTCOME_REPEAT,
    /* Epoch, strategy or gate are not what they were: read the item again. */
    OUTCOME_STALE,
    /* The gate is frozen, or the row was locked: the same again after some milliseconds. */
    OUTCOME_DELAYED,
    /* The attempt may or may not have taken effect. */
    OUTCOME_UNKNOWN,
    /* MySQL has decided: `row` is the order's own. SQL strategies only. */
    OUTCOME_DECIDED
} outcome_kind_t;

typedef struct {
    outcome_kind_t kind;
    problem_t problem;
    bool seen;          /* ADMITTED, REFUSED: the gate had admitted this buyer before */
    bool lost_commit;   /* any: a COMMIT of it was lost, so that it may be in MySQL yet */
    refusal_t why;      /* REFUSED */
    order_id_t first;   /* REPEAT */
    const order_t *row; /* REPEAT: NULL: on its way; DECIDED. Borrowed until done() returns */
} outcome_t;

/* What the owner of a loop's attempts does for its strategies. All on the loop's thread. */
typedef struct {
    /* The attempt has left this loop: from now on only done() ends it. */
    void (*sent)(struct attempt *attempt);
    /* The one outcome of an attempt. Never called inside strategy_t.start(). The attempt is the
       owner's again. */
    void (*done)(struct attempt *attempt, const outcome_t *outcome);
    /* No unit is left, says an answer to a question that was asked when the item's `units_back`
       was so. */
    void (*sold_out)(struct strategy_item *item, unsigned units_back);
    /* A connection does not have the gate of this epoch as it should be, and no newer one. True:
       drop the connection, it leads to another Redis than the reads of the item do. */
    bool (*gate_is_elsewhere)(struct strategy_item *item, uint64_t epoch);
} strategy_host_t;

/* --- what a strategy works with --- */

/* Of one loop; made with it. */
typedef struct strategy_loop {
    loop_t *loop;
    const config_t *config;
    const strategy_host_t *host;
    str_t owner;                /* of the records that this process writes to `unsettled` */
    redis_link_t *gate;         /* the loop's connection; the engine's */
    remote_clock_t *gate_clock; /* shared by the process */
    gate_health_t *gate_health; /* likewise */
    redis_args_t args;          /* scratch */
    struct lua_loop *lua;       /* private to lua.c */
    struct watch_pool *watch;   /* private to watch.c */
} strategy_loop_t;

/* Of one item on its owner loop; embedded in the engine's entry. */
typedef struct strategy_item {
    strategy_loop_t *loop;
    shard_t *shard;
    item_ref_t ref;
    acknowledge_t acknowledge; /* as last read */
    unsigned units_back;       /* counts the times that units came back */
    struct lua_item *lua;      /* private to lua.c; NULL: no attempt yet */
} strategy_item_t;

static inline str_t strategy_item_sku(const strategy_item_t *item)
{
    return sku_str(&item->ref.sku);
}

/* One attempt to get an order admitted. The owner fills it in and keeps it as it is from start()
   to the outcome; other threads may read it meanwhile. */
typedef struct attempt {
    h2o_linklist_t link; /* the strategy's, until `sent` */
    strategy_item_t *item;
    order_t order; /* what was asked, with its id */
    char key_bytes[KEY_BYTES_MAX];
    uint8_t key_length;          /* 0: it has no key */
    bool key_is_free;            /* MySQL had no order of its key */
    bool may_be_written;         /* by an earlier attempt: its id may be in MySQL */
    uint64_t epoch;              /* of the item when it was routed */
    unsigned units_back;         /* likewise */
    uint64_t commit_deadline_ms; /* by the gate's clock; a gate never admits it later */
    void *data;                  /* private to the strategy between start() and the outcome */
} attempt_t;

static inline str_t attempt_key(const attempt_t *attempt)
{
    return attempt->key_length == 0 ? STR_NONE : (str_t){attempt->key_bytes, attempt->key_length};
}

typedef struct {
    /* Takes the attempt. Ends later, on the same loop, in exactly one done(). */
    void (*start)(attempt_t *attempt);
} strategy_t;

extern const strategy_t strategy_lua, strategy_watch, strategy_optimistic, strategy_serializable;

static inline const strategy_t *strategy_of(strategy_id_t id)
{
    static const strategy_t *const all[STRATEGY_COUNT] = {
        &strategy_lua, &strategy_watch, &strategy_optimistic, &strategy_serializable};
    return all[id];
}

/* Takes an attempt back that its strategy has not sent. */
void strategy_withdraw(attempt_t *attempt);
/* Several times a second. Attempts that wait behind a call that Redis does not answer end here as
   refused: they were not sent, and need not wait until the call has timed out. */
void strategy_loop_check(strategy_loop_t *loop);

/* Makes the private state of all strategies. The other members are set. */
void strategy_loop_open(strategy_loop_t *loop);
/* When no attempt is under way. */
void strategy_loop_close(strategy_loop_t *loop);
void strategy_item_close(strategy_item_t *item);

#endif
