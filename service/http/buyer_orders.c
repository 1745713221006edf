/*
 * A buyer's orders: a page of each shard, read in parallel, then merged.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "http/body.h"
#include "http/call.h"
#include "http/fan.h"
#include "http/orders.h"

#define PAGE_DEFAULT 20
#define PAGE_MAX 100

typedef struct {
    bool read;
    unsigned count;
    order_t orders[PAGE_MAX + 1]; /* newest first; one more than a page, which shows that there are
                                     more */
} shard_page_t;

typedef struct {
    fan_t fan; /* first */
    buyer_t buyer;
    order_id_t before;
    unsigned page;
    shard_page_t shards[];
} list_call_t;

static int newest_first(const void *a, const void *b)
{
    const order_t *x = *(const order_t *const *)a, *y = *(const order_t *const *)b;
    return memcmp(y->id.bytes, x->id.bytes, sizeof(x->id.bytes));
}

static void run_list(fan_t *fan, unsigned shard, worker_t *worker)
{
    list_call_t *c = (list_call_t *)fan;
    shard_page_t *page = &c->shards[shard];
    page->read = order_page_of_buyer(worker->db, &worker->sql, buyer_str(&c->buyer), &c->before,
                                     c->page + 1, page->orders, &page->count) == RESULT_DONE;
}

/* Merges the orders of all shards, newest first. The caller frees the result. */
static const order_t **merge(const list_call_t *c, unsigned shards, unsigned *count)
{
    const order_t **all = alloc_zero(1, (shards * (size_t)(PAGE_MAX + 1) + 1) * sizeof(order_t *));
    *count = 0;
    for (unsigned i = 0; i < shards; ++i)
        for (unsigned j = 0; j < c->shards[i].count; ++j)
            all[(*count)++] = &c->shards[i].orders[j];
    qsort(all, *count, sizeof(all[0]), newest_first);
    return all;
}

static cJSON *page_to_json(const list_call_t *c, unsigned shards)
{
    char cursor[ORDER_ID_TEXT + 1];
    unsigned count;
    const order_t **all = merge(c, shards, &count);
    bool more = count > c->page;
    cJSON *json = cJSON_CreateObject();
    cJSON *orders = cJSON_AddArrayToObject(json, "orders");
    count = more ? c->page : count;
    for (unsigned i = 0; i < count; ++i)
        cJSON_AddItemToArray(orders, order_to_json(all[i]));
    if (more) {
        order_id_format(cursor, &all[count - 1]->id);
        cJSON_AddStringToObject(json, "next_cursor", cursor);
    } else {
        cJSON_AddNullToObject(json, "next_cursor");
    }
    free(all);
    return json;
}

static void reply_list(fan_t *fan, exchange_t *exchange)
{
    list_call_t *c = (list_call_t *)fan;
    const http_context_t *http = exchange->http;
    char detail[160];
    for (unsigned i = 0; i < http->map->shards_count; ++i) {
        if (fan_has_answer(fan, i) && c->shards[i].read)
            continue;
        snprintf(detail, sizeof(detail), "%.100s %s", http->config->shards[i].name,
                 fan_has_answer(fan, i) ? "is away" : "does not answer");
        reply_problem(exchange, PROBLEM_UNAVAILABLE, detail);
        return;
    }
    reply_json(exchange, 200, page_to_json(c, http->map->shards_count));
}

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

void handle_buyer_orders(exchange_t *exchange, const route_match_t *match)
{
    unsigned page;
    order_id_t before = ORDER_ID_NONE;
    str_t cursor, limit;
    if (!is_buyer_id(match->param)) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "buyer_id: give 1 to 128 bytes of UTF-8 without control characters");
        return;
    }
    if (!query_value(match->query, "limit", &limit) || !read_limit(limit, &page)) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "limit: give a number from 1 to 100, once");
        return;
    }
    if (!query_value(match->query, "cursor", &cursor) ||
        (cursor.p != NULL && !order_id_parse(cursor, &before))) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "cursor: give the next_cursor of a page, once");
        return;
    }
    const http_context_t *http = exchange->http;
    list_call_t *c = alloc_zero(1, sizeof(*c) + http->map->shards_count * sizeof(c->shards[0]));
    c->fan.run = run_list;
    c->fan.reply = reply_list;
    c->fan.deadline_ms = http->config->orders.answer_deadline_ms;
    buyer_set(&c->buyer, match->param);
    c->before = before;
    c->page = page;
    fan_start(exchange, &c->fan);
}
