/*
 * A purchase: one buyer's request on its way to an order, from the parsed body to its end.
 *
 *            ┌────────────────────────── stale ───────────────────────────┐
 *            ▼                                                            │
 *   ROUTING ───▶ PARKED (item not known) ───▶ ADMITTING ──admitted──▶ COMMITTING
 *      │            │ cannot be known             │ refused              │ row
 *      │            ▼                             ▼                      ▼
 *      └─────────▶ ENDED ◀──── LOOKING (for the first order of its key, ◀┘
 *                                       or whether its epoch still rules)
 *
 * The buyer is answered once: at the end, or earlier with 202 (acknowledge = accepted, or the
 * outcome is not known in time). A buyer who goes away cancels nothing; what was started ends.
 * A refusal without a row is given only when no attempt may have been admitted: see
 * must_end_in_row.
 *
 * Owned by its item's home loop, from purchase_start() until it frees itself. Buyers come to it by
 * engine/visit.h.
 */
#ifndef HOLDFAST_ENGINE_PURCHASE_H
#define HOLDFAST_ENGINE_PURCHASE_H

#include "engine/engine.h"
#include "strategies/strategy.h"

typedef enum {
    ANSWER_ORDER,   /* 201: `order` is in MySQL; or, replayed, as it now stands */
    ANSWER_PENDING, /* 202: `order` is on its way */
    ANSWER_REFUSED  /* `problem` */
} answer_kind_t;

/* What a refusal is about, as far as who refused knows it. */
typedef struct {
    uint64_t starts_at_ms; /* of PROBLEM_SALE_NOT_STARTED; 0: not known */
    uint32_t limit;        /* of PROBLEM_BUYER_LIMIT_EXCEEDED, units of a buyer; 0: not known */
    bool owned_is_known;   /* likewise */
    int64_t owned;
} refusal_t;

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

typedef enum {
    PURCHASE_ROUTING,
    PURCHASE_PARKED,
    PURCHASE_ADMITTING,
    PURCHASE_COMMITTING,
    PURCHASE_LOOKING,
    PURCHASE_ENDED
} purchase_state_t;

typedef struct purchase {
    h2o_linklist_t link; /* parked, joining or unchecked */
    engine_loop_t *engine;
    loop_item_t *item;
    purchase_state_t state;
    strategy_id_t strategy;      /* that rules now */
    uint64_t commit_deadline_ms; /* by the gate's clock; an id past it is never admitted */
    unsigned tries;

    bool has_place;       /* in the writer's queue */
    bool sent;            /* an attempt is out, or was admitted */
    bool must_end_in_row; /* an attempt may have been admitted, or the buyer was told 202 */
    bool at_gate;         /* `unsettled` may hold it */
    bool maybe_repeat;    /* refused, and its key may have an order: look before it is answered */
    bool looked;          /* in MySQL, which had no order of its key */
    bool answered;

    order_t order;        /* what was asked, with its id; other threads may read it */
    uint64_t epoch;       /* of the item when it was routed */
    unsigned units_back;  /* likewise */
    writer_order_t write; /* the writer's while COMMITTING */
    char key_bytes[KEY_BYTES_MAX];
    uint8_t key_length;
    problem_t problem; /* while LOOKING: the answer if there is no first order */
    order_id_t first_id;
    refusal_t why; /* of its last refusal; the item's terms say what is missing */

    loop_timer_t answer_timer, retry_timer;
    job_t job; /* of the SQL strategies, and of looking in MySQL */
    struct {
        int outcome; /* private to whoever runs the job */
        problem_t problem;
        bool found, inserted, none_left;
        bool doubt; /* a COMMIT of it was lost: it may be in MySQL yet */
        refusal_t why;
        order_t row;
    } sql;
    void *strategy_data; /* private to the strategy while ADMITTING */

    purchase_answer_cb answer;
    void *waiter; /* NULL: nobody does, or it has heard */
} purchase_t;

/* On the home of the item. `request` is copied; `waiter` waits until it is answered. */
void purchase_start(engine_loop_t *engine, const purchase_request_t *request,
                    purchase_answer_cb answer, void *waiter);
/* Nobody owns this unsettled order any more: it goes the way of all orders, under its own id, to
   its end in MySQL. Copies `record`. */
void purchase_adopt(engine_loop_t *engine, const order_id_t *id, const gate_record_t *record);

/* --- for engine.c --- */
/* The item is READY, or `why` it cannot be. */
void purchase_unparked(purchase_t *purchase, sync_result_t why);

/* --- for epoch_check.c --- */
/* The refusal that it waits with was given under an epoch that still rules, or rules no more, or
   MySQL does not say. */
typedef enum { EPOCH_RULES, EPOCH_IS_OVER, EPOCH_UNKNOWN } epoch_verdict_t;
void purchase_epoch_checked(purchase_t *purchase, epoch_verdict_t verdict);

/* --- for strategies --- */
static inline str_t purchase_key(const purchase_t *p)
{
    return p->key_length == 0 ? STR_NONE : (str_t){p->key_bytes, p->key_length};
}

/* XXH3 of what was asked: a repeat of a key must ask the same. */
uint64_t purchase_digest(str_t sku, str_t buyer, uint32_t quantity);

#endif
