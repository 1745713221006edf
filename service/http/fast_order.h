/*
 * The fast path: the body of a purchase as nearly every client writes it, an object of the three
 * members, with strings of plain ASCII and a whole number. It is read in one pass, without a JSON
 * tree, because purchases are nearly all requests of a sale. Pure; any thread.
 */
#ifndef HOLDFAST_HTTP_FAST_ORDER_H
#define HOLDFAST_HTTP_FAST_ORDER_H

#include "http/body.h"

/* True: *out is what body_parse() and body_read_order() would return, borrowed from `body`. False
   does not mean that the body is wrong: use those two. */
bool fast_order_read(str_t body, uint32_t quantity_max, order_body_t *out);

#endif
