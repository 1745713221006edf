/*
 * The body of a purchase as nearly every client writes it: an object of the three members, with
 * strings of plain ASCII and a whole number. Read in one pass, without a tree: in a sale that is
 * nearly all that a service does. Pure.
 */
#ifndef HOLDFAST_HTTP_FAST_ORDER_H
#define HOLDFAST_HTTP_FAST_ORDER_H

#include "http/body.h"

/* True: body_parse() and body_read_order() would take it too, and give the same, which is borrowed
   from `body`. False says nothing: ask them. */
bool fast_order_read(str_t body, uint32_t quantity_max, order_body_t *out);

#endif
