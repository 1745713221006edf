/*
 * An order as the API shows it, as text. Every purchase that is not refused ends with one, so no
 * cJSON tree is built for it. Pure; any thread.
 */
#ifndef HOLDFAST_HTTP_ORDER_JSON_H
#define HOLDFAST_HTTP_ORDER_JSON_H

#include "sale/order.h"

/* The most bytes that the members of an order take: names, punctuation, and the longest values.
   Only the buyer's can grow by escapes, to twice its length. */
#define ORDER_JSON_MAX (512 + SKU_BYTES_MAX + 2 * BUYER_BYTES_MAX)

/* Appends the members, without braces and NUL, at `*at`, which has room for ORDER_JSON_MAX
   bytes. */
void order_json_put(char **at, const order_t *order);

#endif
