/*
 * What buyers were told, each by name, and whether it stays true: an order of a 503 that names no
 * order is not live; an order of a 201 or 202 ends live.
 *
 * A book is made by received_new() and lasts until test_forget(). Main thread.
 */
#ifndef HOLDFAST_HARNESS_RECEIVED_H
#define HOLDFAST_HARNESS_RECEIVED_H

#include "harness/sale.h"

#define RECEIVED_BUYER_SIZE 48

typedef struct {
    const char *sku;
    char buyer[RECEIVED_BUYER_SIZE];
    long status;
    char id[SALE_ID_SIZE]; /* of the order that the answer names; "": none */
    double seconds;
    long long at_ms; /* test_clock_ms() of the answer */
    unsigned tag;    /* the caller's */
    char *body;
} received_t;

typedef struct {
    const test_stack_t *stack;
    received_t *all;
    unsigned count, room;
} received_book_t;

received_book_t *received_new(const test_stack_t *stack);
/* Adds a purchase of one unit, not yet asked for. */
void received_plan(received_book_t *book, const char *sku, unsigned tag, const char *buyer, ...)
    __attribute__((format(printf, 4, 5)));
/* Asks for those that are planned and not asked for, so many at a time; with `burst` so many start
   each `burst_ms`. */
void received_send(received_book_t *book, unsigned connections, unsigned burst, unsigned burst_ms);
unsigned received_count(const received_book_t *book, const char *sku, long status);

/* Fails if an answer fits nothing (neither 201, 202 nor 503, or a 202 without an order). */
#define EXPECT_RECEIVED_VALID(book_) received_expect_valid(__FILE__, __LINE__, book_)
void received_expect_valid(const char *file, int line, const received_book_t *book);
/* Orders that are live, and whose buyer heard 503 without an order. */
unsigned received_ghosts(const received_book_t *book);
/* Waits until each order of a 202 has ended; then each 201 and 202 must be live, but for a 202
   whose tag `may_be_rejected` (NULL: none) allows it. */
#define EXPECT_RECEIVED_KEPT(book_, may_be_rejected_)                                              \
    received_expect_kept(__FILE__, __LINE__, book_, may_be_rejected_)
void received_expect_kept(const char *file, int line, const received_book_t *book,
                          bool (*may_be_rejected)(unsigned tag));
/* Does the service's log name the item, or one of its orders that an answer has named? */
bool received_is_logged(const received_book_t *book, const char *sku);
const char *received_show(const received_book_t *book);

#endif
