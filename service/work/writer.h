/*
 * The group-commit writer of a shard: one thread with one connection, or some among which the slots
 * are shared out (mysql.writer_threads). What queued for one while its last COMMIT ran is its next
 * transaction.
 *
 *   place taken ─▶ queued ─▶ in a batch ─▶ ROW     it is in MySQL, as `order` now says
 *                              │  ▲  │ ▲  └─▶ STALE   nothing happened: its epoch is over
 *                              └──┘  ▼ │
 *             conflict, lost, away  set aside
 *
 * An error says something about an order only if it is about the values of its row
 * (RESULT_REFUSED), and only if the shard takes other rows (store/canary.h): then the order is
 * rejected. After any other error the shard is away, if the canary fails too; or else the batch is
 * tried by halves, and an order that meets the error alone is set aside (work/writer_aside.h) and
 * tried again by a thread of its own. Whose item waits for a lock is set aside with its item.
 * Neither stops any other order.
 *
 * It is decide(id, intended) for many at once: each order ends as it was intended, or as the row
 * that has its id already says. The row of the item is changed last, under its version, its epoch
 * and `allocated + units <= total`; `allocated_total` grows by rows that this transaction inserted.
 *
 * Orders that nobody waits for, since their buyers have heard 202 already, are kept together until
 * there are enough for a whole transaction, somebody waits, or mysql.writer_linger_ms have passed.
 *
 * A place is taken before anything is asked of the gate, so that an admitted order always has
 * one. writer_take_permit(), writer_submit() and the readers below are for any thread.
 */
#ifndef HOLDFAST_WORK_WRITER_H
#define HOLDFAST_WORK_WRITER_H

#include "base/clock.h"
#include "loop/loop.h"
#include "sale/order.h"

typedef enum {
    WRITER_ROW,
    WRITER_STALE,
    WRITER_ASIDE /* not for `done`: the writer goes on with it */
} writer_result_t;

/* Owned by the writer between writer_submit() and `done`, which runs on `loop`. */
typedef struct writer_order {
    loop_message_t message;
    loop_t *loop;
    void (*done)(struct writer_order *order);
    struct writer_order *next;
    unsigned arrival; /* within its batch */

    /* The intended: id, sku, buyer, quantity, digest, and `rejected` with its code or else live.
       After WRITER_ROW: what the row says. */
    order_t order;
    str_t key;      /* STR_NONE: no idempotency key; borrowed from the submitter */
    uint64_t epoch; /* under which it was admitted */
    uint32_t hold_seconds;
    bool awaited; /* its buyer has heard nothing yet */

    struct {
        char *why;      /* the server's words, owned; NULL: it is not set aside */
        bool with_item; /* a lock: the whole item waits */
        bool waited;    /* for that lock; false: the row was only seen to be locked */
        unsigned tries;
        uint64_t due_ms, since_ms; /* monotonic */
    } aside;                       /* the writer's; all zero when it is submitted */

    writer_result_t result;
    bool inserted;  /* by this writer, now; false: the row was there */
    bool nameless;  /* its row was decided before it came: sku and buyer to be filled in */
    bool drift;     /* the gate admitted it and the row had no units: the gate is wrong */
    bool has_first; /* it lost its key: `first` is the order that has it */
    order_t first;
} writer_order_t;

typedef struct writer writer_t;

/* `clock` is the shard's; the writer reads it, and observes it. */
writer_t *writer_start(const config_t *config, unsigned shard, remote_clock_t *clock);
/* Ends when all that was submitted is done. */
void writer_stop(writer_t *writer);

/* False: the queue is full; refuse at once. */
bool writer_take_permit(writer_t *writer);
void writer_return_permit(writer_t *writer);
void writer_submit(writer_t *writer, writer_order_t *order);

/* The shard takes no orders at present: what is queued waits. It is asked again about twice a
   second, also when nothing is queued. */
bool writer_is_away(const writer_t *writer);
/* The same, and for how long, and why in the server's words (WRITER_WHY_SIZE). */
#define WRITER_WHY_SIZE 200
bool writer_away_for(writer_t *writer, uint64_t *ms, char *why);
typedef enum {
    WRITER_ITEM_WELL,
    WRITER_ITEM_ASIDE, /* its orders cannot be written now: new ones would wait too */
    WRITER_ITEM_FULL   /* and so many wait that more would take the permits of other items */
} writer_item_t;
writer_item_t writer_item(writer_t *writer, uint16_t slot, str_t sku);

/* An item that is set aside, or an order that is so by itself. */
typedef struct {
    str_t sku;
    const order_id_t *order_id; /* NULL: the item */
    unsigned orders;
    const char *why; /* the server's words */
    uint64_t age_ms;
} writer_aside_view_t;
typedef void (*writer_aside_cb)(void *context, const writer_aside_view_t *view);
/* Calls `each` under the writer's mutex: it must not block. What it is given is valid until it
   returns. */
void writer_each_aside(writer_t *writer, writer_aside_cb each, void *context);
unsigned writer_depth(const writer_t *writer);
/* Orders of this slot stand behind a transaction that is under way: what comes a little later goes
   with the same next one. */
bool writer_is_behind(writer_t *writer, uint16_t slot);
/* The gate was asked about so many orders of the slot, or (below 0) has answered and they were
   submitted, or not: while more are on their way than have come, those wait for them a moment. */
void writer_expect(writer_t *writer, uint16_t slot, int more);

#endif
