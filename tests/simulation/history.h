/*
 * One history: a few items, buyers and nodes, what they ask for, and what goes wrong meanwhile.
 *
 * After its own time the faults stop, every server is up and at least one node runs; then the world
 * has to come to rest within a bounded time, buyers come until all is sold, and the checks of
 * checks.h are made. Everything is drawn from the seed.
 */
#ifndef HOLDFAST_SIMULATION_HISTORY_H
#define HOLDFAST_SIMULATION_HISTORY_H

#include "engine/cross_request.h"
#include "world.h"

#define ITEMS_MAX 2
#define REQUESTS_MAX 512

typedef struct {
    unsigned number, node, item, quantity;
    char buyer[8], key[KEY_BYTES_MAX + 1]; /* key "": none */
    bool sent, answered;
    uint64_t sent_us, answered_us;
    owner_t owner; /* the node's life that took it */
    answer_t answer;
    order_t order; /* that the answer named, if has_order */
    bool has_order;
    order_id_t own_id; /* that its purchase had when it was answered; none before */
} request_t;

typedef struct {
    char sku[16];
    bool sold_out; /* all units were allocated at some moment since this was set to false */
} sale_t;

typedef struct {
    sale_t sales[ITEMS_MAX];
    unsigned sales_count;
    request_t requests[REQUESTS_MAX];
    unsigned requests_count;
    unsigned nodes;
    bool one_fault;  /* one thing was ill, and nothing else went wrong: see plan_fault.h */
    bool faulty;     /* anything went wrong; else at most terms changed */
    bool killed;     /* some node was */
    bool redis_lost; /* some Redis came back with less than it had acknowledged */
    bool slow;       /* messages take so long that releases and calls miss their limits */
    bool windowed;   /* some sale had a window */
    bool strangers;  /* asked for an item that is not there, while MySQL was down */
} history_t;

extern history_t history;

/* Runs the history of this seed. NULL, or what is wrong (borrowed until the next). */
const char *history_run(uint64_t seed);

/* Adds a request; it is sent to a node after `delay_us`. */
request_t *history_request(unsigned item, const char *buyer, const char *key, unsigned quantity,
                           unsigned node, uint64_t delay_us);
/* For http_model.c: an order was asked for or moved, and this was said: the order, or (NULL) why
   not. */
struct exchange;
void history_received(struct exchange *exchange, const order_t *order, bool replayed);

#endif
