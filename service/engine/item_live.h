/*
 * What the buyers of an item hear, by kind, in a second: counted in two windows of a whole second,
 * the one that runs and the one before. Pure; time is a value; the loop that owns the struct uses
 * it.
 */
#ifndef HOLDFAST_ENGINE_ITEM_LIVE_H
#define HOLDFAST_ENGINE_ITEM_LIVE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    HEARD_HELD,      /* 201, with a deadline */
    HEARD_CONFIRMED, /* 201 */
    HEARD_RESERVED,  /* 202 */
    HEARD_SOLD_OUT,
    HEARD_LIMIT,       /* buyer_limit_exceeded */
    HEARD_CLOSED,      /* sale_not_started, sale_ended */
    HEARD_UNAVAILABLE, /* 503 */
    HEARD_OTHER,       /* any other refusal, and repeats whose order has moved on */
    HEARD_KINDS
} heard_t;

typedef struct {
    uint64_t second; /* of `now`; monotonic */
    uint32_t now[HEARD_KINDS], last[HEARD_KINDS];
} item_live_t;

/* Counts one answer. True: it is the first of its second. */
bool item_live_count(item_live_t *live, heard_t kind, uint64_t now_ms);
/* The answers of the last whole second, by kind; returns their sum. */
uint32_t item_live_rates(const item_live_t *live, uint64_t now_ms, uint32_t out[HEARD_KINDS]);
/* The word of a kind in the API. Static. */
const char *heard_name(heard_t kind);

#endif
