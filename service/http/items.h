/* GET /v1/items/{sku}: an item as buyers see it, from memory (engine/item_views.h). Loop thread
   only; nothing blocks. */
#ifndef HOLDFAST_HTTP_ITEMS_H
#define HOLDFAST_HTTP_ITEMS_H

#include "http/route.h"
#include "store/items.h"

void handle_item_get(exchange_t *exchange, const route_match_t *match);

/* The item as its row has it. Any thread; the caller owns the JSON. */
cJSON *item_to_json(const item_t *item);

#endif
