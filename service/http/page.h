/* Lists in pages, newest first, whose rows have ids that sort by time (base/order_id.h). Loop
   thread only; nothing blocks. */
#ifndef HOLDFAST_HTTP_PAGE_H
#define HOLDFAST_HTTP_PAGE_H

#include "http/exchange.h"

#define PAGE_MAX 100

typedef struct {
    unsigned limit;    /* 1 to PAGE_MAX */
    order_id_t before; /* the page has rows below this id; ORDER_ID_NONE: the first page */
} page_t;

/* Reads `limit` and `cursor` of a query. False: refused, and answered. */
bool page_read(exchange_t *exchange, str_t query, page_t *page);
/* Adds "next_cursor": the id of the last row of this page, or NULL: there are no more rows. */
void page_add_cursor(cJSON *json, const order_id_t *last);
/* Refuses a list that lacks the rows of a shard, which has answered that it is away, or has not
   answered. */
void page_reply_missing(exchange_t *exchange, unsigned shard, bool has_answered);

#endif
