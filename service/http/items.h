/* GET /v1/items/{sku}: an item as buyers see it. Loop thread only; the row is read on a pool
   thread. */
#ifndef HOLDFAST_HTTP_ITEMS_H
#define HOLDFAST_HTTP_ITEMS_H

#include "http/route.h"
#include "store/items.h"

void handle_item_get(exchange_t *exchange, const route_match_t *match);

/* Any thread; the caller owns the JSON. */
cJSON *item_to_json(const item_t *item);

#endif
