#include "http/page.h"

#include <stdio.h>

#include "http/route.h"

#define PAGE_DEFAULT 20

/* False: the parameter is present and not valid. */
static bool read_limit(str_t text, unsigned *out)
{
    *out = PAGE_DEFAULT;
    if (text.p == NULL)
        return true;
    *out = 0;
    if (text.n > 3)
        return false;
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(text.p[i] - '0');
    }
    return *out >= 1 && *out <= PAGE_MAX;
}

bool page_read(exchange_t *exchange, str_t query, page_t *page)
{
    str_t cursor, limit;
    page->before = ORDER_ID_NONE;
    if (!query_value(query, "limit", &limit) || !read_limit(limit, &page->limit)) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "limit: give a number from 1 to 100, once");
        return false;
    }
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
