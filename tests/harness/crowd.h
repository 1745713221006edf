/*
 * A crowd that buys in the background while a test breaks things. It buys, repeats keys, confirms,
 * cancels, extends and gives one unit of an order back (by one key, again and again) over one or
 * several services until it is stopped, and remembers all that it was told: harness/promises.h then
 * holds the service to it.
 *
 * It has a thread of its own. crowd_received() may be asked at any time, the rest only after
 * crowd_stop(). It needs no free: a crowd that a failed case leaves running ends at test_forget().
 */
#ifndef HOLDFAST_HARNESS_CROWD_H
#define HOLDFAST_HARNESS_CROWD_H

#include "harness/chance.h"
#include "harness/sale.h"

#define CROWD_SKUS_MAX 16

typedef struct {
    const test_stack_t *const *nodes; /* each request goes to one of them that is not away */
    unsigned nodes_count;
    const char *const *skus;
    unsigned skus_count;
    unsigned connections;  /* 0: 16 */
    unsigned per_second;   /* 0: 250 */
    unsigned buyers;       /* 0: 200 different ones */
    unsigned quantity_max; /* 0: 3 */
    bool keeps_all;        /* nobody confirms, cancels, extends or gives back */
    bool redis_keeps_all;  /* no fault of this test loses what Redis has synced */
} crowd_plan_t;

/* What a request was told, or not. */
typedef enum {
    CROWD_CREATED,     /* 201, and not a repeat */
    CROWD_PENDING,     /* 202, likewise */
    CROWD_REPLAYED,    /* the order of an earlier request with this key */
    CROWD_SOLD_OUT,    /* 409 */
    CROWD_LIMITED,     /* 409: past the buyer's limit */
    CROWD_UNAVAILABLE, /* 503 */
    CROWD_ODD,         /* anything else; crowd_odd() shows the first */
    CROWD_LOST,        /* sent, and no answer came */
    CROWD_AWAY,        /* no connection */
    CROWD_MOVED,       /* 200 to a move */
    CROWD_KINDS
} crowd_kind_t;

typedef struct crowd crowd_t;

crowd_t *crowd_start(const crowd_plan_t *plan);
/* Returns when no request is under way any more. Again: nothing. */
void crowd_stop(crowd_t *crowd);
/* From now on, or no more: answers of Redis may be lost. A 202 of such a time does not say that
   Redis has the order. */
void crowd_redis_is_mute(crowd_t *crowd, bool mute);
unsigned crowd_received(const crowd_t *crowd, crowd_kind_t kind);
/* Waits until `more` further buyers were told this; fails if they are not within 60 s. */
void crowd_await(const crowd_t *crowd, crowd_kind_t kind, unsigned more);

/* --- its memory; after crowd_stop() --- */

/* Units that a buyer wanted, in one request or, with a key, in several. */
typedef struct {
    unsigned item; /* of plan->skus */
    unsigned buyer;
    int quantity;
    bool keyed;
    unsigned in_doubt; /* requests without an answer: each may or may not have bought */
    /* How many of its requests were told so. */
    unsigned named, replayed; /* an order; that of an earlier request */
    unsigned unavailable;     /* 503 without an order: nothing of this request is live */
} crowd_wish_t;

/* An order that some answer has named. */
typedef struct {
    char id[SALE_ID_SIZE];
    unsigned wish;
    bool created, pending;         /* named by a 201; by a 202 */
    bool acknowledged;             /* by a 202 while no answer of Redis was lost */
    bool refused;                  /* by a refusal */
    bool confirmed, cancelled;     /* that was answered 200 */
    bool cancel_sent;              /* whatever the answer was */
    bool part_sent, part_received; /* that one unit be given back: likewise; answered 200 */
    char expires_at[32];           /* the latest deadline that was told; "": none */
    unsigned other_wish;           /* of another wish that was told this id, or its own */
} crowd_order_t;

unsigned crowd_wishes(const crowd_t *crowd);
const crowd_wish_t *crowd_wish(const crowd_t *crowd, unsigned wish);
unsigned crowd_orders(const crowd_t *crowd);
const crowd_order_t *crowd_order(const crowd_t *crowd, unsigned i);
/* NULL: no answer has named it. */
const crowd_order_t *crowd_find(const crowd_t *crowd, const char *id);
const char *crowd_sku(const crowd_t *crowd, unsigned item);
unsigned crowd_skus(const crowd_t *crowd);
bool crowd_redis_keeps_all(const crowd_t *crowd);
/* How the buyer is called, and back; false: not of this crowd. */
const char *crowd_buyer(const crowd_t *crowd, unsigned buyer);
bool crowd_owns_buyer(const crowd_t *crowd, const char *buyer_id, unsigned *buyer);
/* Which wish has this key? False: none of this crowd. */
bool crowd_owns_key(const crowd_t *crowd, const char *key, unsigned *wish);
/* Of the service with this number, NULL behind the last. */
const char *crowd_url(const crowd_t *crowd, unsigned node);
/* The first answer that fits nothing, or NULL. */
const char *crowd_odd(const crowd_t *crowd);
/* What it was told, in words. */
const char *crowd_show(const crowd_t *crowd);

#endif
