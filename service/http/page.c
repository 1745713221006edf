#include "http/page.h"

#include <stdio.h>

#include "http/route.h"

#define PAGE_DEFAULT 20

bool page_read(exchange_t *exchange, str_t query, page_t *page)
{
    str_t cursor;
    page->before = ORDER_ID_NONE;
    if (!query_limit(exchange, query, (page_size_t){PAGE_DEFAULT, PAGE_MAX}, &page->limit))
        return false;
    if (!query_value(query, "cursor", &cursor) ||
        (cursor.p != NULL && !order_id_parse(cursor, &page->before))) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "cursor: give the next_cursor of a page, once");
        return false;
    }
    return true;
}

void page_add_cursor(cJSON *json, const order_id_t *last)
{
    char cursor[ORDER_ID_TEXT + 1];
    if (last == NULL) {
        cJSON_AddNullToObject(json, "next_cursor");
        return;
    }
    order_id_format(cursor, last);
    cJSON_AddStringToObject(json, "next_cursor", cursor);
}

void page_reply_missing(exchange_t *exchange, unsigned shard, bool has_answered)
{
    char detail[160];
    snprintf(detail, sizeof(detail), "%.100s %s", exchange->http->config->shards[shard].name,
             has_answered ? "is away" : "does not answer");
    reply_problem(exchange, PROBLEM_UNAVAILABLE, detail);
}
