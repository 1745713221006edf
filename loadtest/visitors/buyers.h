/*
 * What buyers of a drop do: each looks at the item once a second until he has bought, buys when it
 * opens, waits for his order if it is not committed yet, and confirms it, or lets it expire. Bots
 * send their purchase again and again from the moment it opens. A buyer who has heard `sold_out`
 * goes on looking, and buys when he sees units again. Times are in microseconds since the start.
 *
 * No I/O but the list of orders: what is due comes out of `due`, and answers go in. One thread.
 */
#ifndef VISITORS_BUYERS_H
#define VISITORS_BUYERS_H

#include <stdio.h>

#include "../volley/arrivals.h"
#include "../volley/record.h"
#include "link.h"

typedef enum { LOOK, BUY, WAIT, CONFIRM } ask_t; /* kinds of request */

typedef struct {
    const char *sku;
    unsigned count;
    uint64_t opens_us, ends_us; /* from ends_us nobody looks or buys any more */
    uint64_t look_us, reaction_us, think_us, retry_us, gap_us, poll_us;
    unsigned wait_ms; /* of a read of an order; 0: it is read each poll_us */
    unsigned retries_max, repeats, stock;
    double bots, keyed, conditional, abandon;
    FILE *orders; /* a line "201|202|held|confirmed|lapsed order_id buyer" for each that was told */
} habits_t;

typedef enum { LOOKING, ORDERED, DONE } stage_t;

typedef struct {
    stage_t stage;
    bool is_bot, is_keyed, is_conditional, abandons;
    bool buys;        /* a purchase is planned or under way */
    bool heard;       /* how his first purchase ended */
    bool is_again;    /* he buys units that came back: nobody lets those expire */
    uint8_t attempts; /* purchases, each with a key of its own */
    uint64_t clicked_us;
    char order_id[40], etag[WORD_BYTES_MAX];
} buyer_t;

typedef struct {
    habits_t habits;
    buyer_t *buyers;
    heap_t due;
    uint64_t random;
    record_t *record;
    uint64_t ordered, sold_out, confirmed, lapsed, abandoned; /* buyers; `sold_out`: answers */
    uint64_t looks_wrong; /* fewer than no units, or more than all */
    uint64_t last_heard_us;
} buyers_t;

void buyers_begin(buyers_t *buyers, habits_t habits, record_t *record, uint64_t random);
/* Fills in the request of what is due, and plans what follows whatever is answered. False: nothing
 * is to be sent. */
bool buyers_ask(buyers_t *buyers, attempt_t what, request_t *request);
void buyers_answered(buyers_t *buyers, request_t *request, bool whole, uint64_t now_us);
/* Whether anything is planned that is still worth waiting for at `now_us`. */
bool buyers_done(const buyers_t *buyers, uint64_t now_us);

#endif
