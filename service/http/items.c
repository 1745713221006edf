#include "http/items.h"

#include "engine/item_views.h"
#include "http/body.h"
#include "http/etag.h"

cJSON *item_to_json(const item_t *item)
{
    char text[ITEM_JSON_MAX];
    item_shown_t shown = item_shown_of_row(item);
    str_t json = item_json(text, item_sku(item), &shown);
    return cJSON_ParseWithLength(json.p, json.n);
}

/* --- answers --- */

/* What the client has already: RFC 9110, 13.1.2. */
static bool client_has(const h2o_req_t *req, str_t etag)
{
    ssize_t at = -1;
    while ((at = h2o_find_header(&req->headers, H2O_TOKEN_IF_NONE_MATCH, at)) != -1) {
        h2o_iovec_t value = req->headers.entries[at].value;
        if (etag_is_named((str_t){value.base, value.len}, etag))
            return true;
    }
    return false;
}

static void reply_shown(exchange_t *exchange, const item_answer_t *answer)
{
    bool not_modified = client_has(exchange->req, answer->etag);
    if (not_modified)
        METRIC_INC(item_views_not_modified_total);
    reply_cached(exchange, not_modified ? 304 : 200, answer->body,
                 &(cached_t){.etag = answer->etag,
                             .age_ms = answer->age_ms,
                             .max_age_s = exchange->http->config->items.max_age_ms / 1000,
                             .stale = answer->away});
}

static void reply_answer(exchange_t *exchange, const item_answer_t *answer)
{
    switch (answer->verdict) {
    case VIEW_SHOWN:
        reply_shown(exchange, answer);
        break;
    case VIEW_UNKNOWN:
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        break;
    default:
        reply_problem(exchange, PROBLEM_UNAVAILABLE, NULL);
    }
}

/* --- waiting --- */

typedef struct {
    item_reader_t reader;
    exchange_t *exchange;
} waiting_t;

static void on_gone(void *waiting)
{
    item_views_forget_reader(&((waiting_t *)waiting)->reader);
}

static void on_ready(item_reader_t *reader, const item_answer_t *answer)
{
    exchange_t *exchange = H2O_STRUCT_FROM_MEMBER(waiting_t, reader, reader)->exchange;
    exchange->on_gone = NULL;
    reply_answer(exchange, answer);
}

static void wait_for_view(exchange_t *exchange, struct item_view *view, uint64_t now_ms)
{
    waiting_t *waiting = h2o_mem_alloc_pool(&exchange->req->pool, sizeof(*waiting));
    *waiting = (waiting_t){.reader = {.ready = on_ready}, .exchange = exchange};
    exchange->on_gone = on_gone;
    exchange->waiting = waiting;
    item_views_wait(exchange->engine->views, view, &waiting->reader, now_ms);
}

void handle_item_get(exchange_t *exchange, const route_match_t *match)
{
    uint64_t now_ms = exchange->started_us / 1000;
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    item_answer_t answer = item_views_read(exchange->engine->views, match->param, now_ms);
    if (answer.verdict == VIEW_WAIT)
        wait_for_view(exchange, answer.view, now_ms);
    else
        reply_answer(exchange, &answer);
}
