/* Items as the public sees them. */
#ifndef HOLDFAST_HTTP_ITEMS_H
#define HOLDFAST_HTTP_ITEMS_H

#include "http/route.h"
#include "store/items.h"

void handle_item_get(exchange_t *exchange, const route_match_t *match);

cJSON *item_to_json(const item_t *item);

#endif
