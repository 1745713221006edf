/*
 * An order as the API shows it, as text. Every purchase that is not refused ends with one: no tree
 * of cJSON is built for it. Pure; any thread.
 */
#ifndef HOLDFAST_HTTP_ORDER_JSON_H
#define HOLDFAST_HTTP_ORDER_JSON_H

#include "sale/order.h"

/* Bytes that the members of an order take at the most: names and punctuation, and the longest
   values, of which only the buyer's can grow, to twice its length. */
#define ORDER_JSON_MAX (512 + SKU_BYTES_MAX + 2 * BUYER_BYTES_MAX)

/* Appends the members, without braces, at `*at`, which has room for ORDER_JSON_MAX. */
void order_json_put(char **at, const order_t *order);

#endif
