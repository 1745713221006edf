/*
 * The group-commit writer of a shard: one writer thread with one connection, or several that share
 * the slots (mysql.writer_threads). The orders that were queued for a thread during its last COMMIT
 * are its next transaction.
 *
 *   permit taken ─▶ queued ─▶ in a batch ─▶ ROW      in MySQL; `order` has the row's values
 *                               │  ▲  │ ▲ └─▶ STALE  nothing was written: its epoch is over
 *                               └──┘  ▼ │
 *              conflict, lost, away   set aside
 *
 * An error rejects an order only if it is about the values of its row (RESULT_REFUSED), and only if
 * the shard takes other rows (store/canary.h). After any other error the canary is tried. If it
 * fails too, the shard is away. If it passes, the batch is tried by halves; an order that meets the
 * error alone is set aside (work/writer_aside.h), and a side thread tries it again. An order whose
 * item waits for a lock is set aside with its item. Neither delays any other order.
 *
 * The writer is decide(id, intended) for many orders at once: each order ends as it was intended,
 * or as the row that has its id already. The row of the item is changed last, under its version,
 * its epoch and `allocated + units <= total`; `allocated_total` grows by the rows that this
 * transaction inserted.
 *
 * Orders whose buyers have had their 202 delay no answer. They are collected until there are enough
 * for a whole transaction, an order with a waiting buyer arrives, or mysql.writer_linger_ms have
 * passed.
 *
 * A permit is taken before the gate gets a call, so that an admitted order always has one. The
 * writer owns its threads and queues; the submitter owns an order, except between writer_submit()
 * and `done`. Any thread may call the functions; none blocks except writer_stop(). Times are ms. An
 * error of MySQL is not returned: the writer repeats, and an order ends in WRITER_ROW or
 * WRITER_STALE.
 */
#ifndef HOLDFAST_WORK_WRITER_H
#define HOLDFAST_WORK_WRITER_H

#include "base/clock.h"
#include "loop/loop.h"
#include "sale/order.h"

typedef enum {
    WRITER_ROW,
    WRITER_STALE,
    WRITER_ASIDE /* never passed to `done`: the writer goes on with the order */
} writer_result_t;

/* The writer owns it between writer_submit() and `done`, which runs on `loop`. */
typedef struct writer_order {
    loop_message_t message;
    loop_t *loop;
    void (*done)(struct writer_order *order);
    struct writer_order *next;
    unsigned arrival; /* index in its batch; UINT_MAX: it has its result */

    /* As intended: id, sku, buyer, quantity, digest, and `rejected` with its code, or else live.
       After WRITER_ROW: the values of the row. */
    order_t order;
    str_t key;      /* STR_NONE: no idempotency key; borrowed from the submitter */
    uint64_t epoch; /* of the gate that has it now: the row must have the same */
    /* The row of the order gets this one: the epoch under which it was first admitted. A rebuild
       carries an order into the next epoch without asking its limit again. */
    uint64_t admitted_epoch;
    uint32_t hold_seconds;
    bool awaited; /* its buyer has no answer yet */

    struct {
        char *why;      /* the server's words, owned; NULL: it is not set aside */
        bool with_item; /* a lock: the whole item is set aside */
        bool waited;    /* it waited for that lock; false: its row was only found locked */
        unsigned tries;
        uint64_t due_ms, since_ms; /* monotonic */
    } aside;                       /* used by the writer; all zero when it is submitted */

    writer_result_t result;
    bool inserted;  /* this writer inserted the row; false: the row was there */
    bool nameless;  /* its row was decided without sku and buyer, which have to be filled in */
    bool drift;     /* the gate admitted it and the row had no units: the gate is wrong */
    bool has_first; /* it lost its key: `first` is the order that has it */
    order_t first;
} writer_order_t;

typedef struct writer writer_t;

/* Starts the threads. `clock` is that of the shard; the writer reads and observes it. */
writer_t *writer_start(const config_t *config, unsigned shard, remote_clock_t *clock);
/* Blocks until all submitted orders are done; then frees the writer. */
void writer_stop(writer_t *writer);

/* Takes a permit. False: the queue is full; refuse the purchase at once. */
bool writer_take_permit(writer_t *writer);
/* Returns a permit that writer_take_permit() gave. */
void writer_return_permit(writer_t *writer);
/* Queues the order. The caller holds a permit for it. */
void writer_submit(writer_t *writer, writer_order_t *order);

/* True while the shard takes no orders; queued orders wait. The shard is probed about every 500 ms,
   also when nothing is queued. */
bool writer_is_away(const writer_t *writer);
/* The same; if true, sets for how long, and the server's own words (`why` has room for
   WRITER_WHY_SIZE bytes). */
#define WRITER_WHY_SIZE 200
bool writer_away_for(writer_t *writer, uint64_t *ms, char *why);
typedef enum {
    WRITER_ITEM_WRITABLE,
    WRITER_ITEM_ASIDE, /* its orders cannot be written now: new ones would wait too */
    WRITER_ITEM_FULL   /* so many wait that more would take the permits of other items */
} writer_item_t;
/* Whether orders of an item of this slot can be written now. */
writer_item_t writer_item(writer_t *writer, uint16_t slot, str_t sku);

/* An item that is set aside, or an order that is set aside alone. */
typedef struct {
    str_t sku;
    const order_id_t *order_id; /* NULL: the item */
    unsigned orders;
    const char *why; /* the server's words */
    uint64_t age_ms;
} writer_aside_view_t;
typedef void (*writer_aside_cb)(void *context, const writer_aside_view_t *view);
/* Calls `each` under the writer's mutex: `each` must not block, and must copy what it keeps. */
void writer_each_aside(writer_t *writer, writer_aside_cb each, void *context);
/* Number of permits that are taken. */
unsigned writer_depth(const writer_t *writer);
/* True if orders of this slot's thread are queued behind a transaction under way: an order that
   comes a little later goes with the same next transaction. */
bool writer_is_behind(writer_t *writer, uint16_t slot);
/* Announces `more` orders of the slot that the gate is being asked about; a negative number after
   the gate has answered and they were submitted or not. While more orders are announced than
   queued, the queued ones wait for a batch window. While batches wait for locks that other
   processes hold, they wait for all that are announced, for a longer one. */
void writer_expect(writer_t *writer, uint16_t slot, int more);

#endif
