/*
 * GET /v1/items/{sku}/orders: a page as JSON, or all of them as a report, which is sent in parts.
 */
#include <stdlib.h>

#include "admin/handlers.h"
#include "admin/order_rows.h"
#include "base/alloc.h"
#include "base/text.h"
#include "http/body.h"
#include "http/order_json.h"
#include "http/request_job.h"
#include "http/stream.h"
#include "store/orders.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX 1000
/* Orders that one statement reads: one more than a page shows that there are more. And those that a
   call for a page looks at. */
#define READ_MAX (PAGE_MAX + 1)
#define LOOKS_MAX 10000

/* What is asked for. */
typedef struct {
    item_ref_t item;
    order_place_t from;
    int state; /* an order_state_t; -1: any */
    orders_format_t format;
    unsigned limit; /* of a page */
} orders_query_t;

static bool is_wanted(const orders_query_t *query, const order_t *order)
{
    return query->state < 0 || (int)order->state == query->state;
}

/* Orders that an answer shows. */
typedef struct {
    unsigned count;
    order_t orders[READ_MAX];
} orders_shown_t;

/* MySQL has the rows: what this node shows of these orders, no later read takes back. */
static void note_shown(engine_loop_t *engine, const orders_shown_t *shown)
{
    for (unsigned i = 0; i < shown->count; ++i)
        orders_in_hand_seen(engine, &shown->orders[i]);
}

/* Reads the orders behind `from`, wanted or not. */
static problem_t read_orders(worker_t *worker, const orders_query_t *query,
                             const order_place_t *from, unsigned max, order_t *out,
                             order_page_t *page)
{
    uint64_t epoch = 1;
    result_t result =
        order_page_of_item(worker->db, &worker->sql, &query->item, from, max, out, page);
    /* The orders of a deleted item can still be read. */
    if (result == RESULT_DONE && order_id_is_none(&from->id) && page->count == 0)
        result = item_read_epoch(worker->db, &worker->sql, &query->item, &epoch);
    if (result != RESULT_DONE)
        return PROBLEM_UNAVAILABLE;
    if (epoch == 0)
        return PROBLEM_UNKNOWN_ITEM;
    return page->known ? PROBLEM_NONE : PROBLEM_INVALID_REQUEST;
}

/* --- the cursor of a page: a letter and the id of an order --- */

#define CURSOR_SIZE (1 + ORDER_ID_TEXT + 1)
#define CURSOR_ORDER 'o' /* behind this order */
#define CURSOR_BUYER 'b' /* behind the orders of its buyer */

static void cursor_write(char *out, const order_place_t *place)
{
    out[0] = place->whole_buyer ? CURSOR_BUYER : CURSOR_ORDER;
    order_id_format(out + 1, &place->id);
}

static bool cursor_read(str_t text, order_place_t *out)
{
    if (text.n != CURSOR_SIZE - 1 || (text.p[0] != CURSOR_ORDER && text.p[0] != CURSOR_BUYER))
        return false;
    out->whole_buyer = text.p[0] == CURSOR_BUYER;
    return order_id_parse((str_t){text.p + 1, text.n - 1}, &out->id);
}

/* --- a page --- */

typedef struct {
    request_job_t request; /* first */
    orders_query_t query;
    problem_t problem;
    bool is_last;
    order_place_t next; /* where the next page begins, if there is one */
    text_t text;
    order_t read[READ_MAX];
    orders_shown_t shown;
} page_request_t;

static void add_order(page_request_t *r, const order_t *order)
{
    char *at = text_room(&r->text, ORDER_JSON_MAX + 4);
    str_put(&at, r->shown.count == 0 ? STR("{") : STR(",{"));
    order_json_put(&at, order);
    str_put(&at, STR("}"));
    text_end(&r->text, at);
    r->shown.orders[r->shown.count++] = *order;
}

/* Adds what is wanted of the orders that were read; the page ends before the first that has no room
   in it. */
static void add_orders(page_request_t *r, const order_page_t *page)
{
    r->is_last = page->is_last;
    r->next = page->next;
    for (unsigned i = 0; i < page->count; ++i) {
        const order_t *order = &r->read[i];
        if (!is_wanted(&r->query, order))
            continue;
        if (r->shown.count == r->query.limit) {
            const order_t *last = &r->shown.orders[r->shown.count - 1];
            r->is_last = false;
            r->next = (order_place_t){last->id, !str_eq(order_buyer(last), order_buyer(order))};
            return;
        }
        add_order(r, order);
    }
}

static void add_cursor(page_request_t *r)
{
    char cursor[CURSOR_SIZE];
    if (r->is_last) {
        text_add(&r->text, STR("],\"next_cursor\":null}"));
        return;
    }
    cursor_write(cursor, &r->next);
    text_add(&r->text, STR("],\"next_cursor\":\""));
    text_add(&r->text, str_of(cursor));
    text_add(&r->text, STR("\"}"));
}

static void run_page(request_job_t *request, worker_t *worker)
{
    page_request_t *r = (page_request_t *)request;
    unsigned max = r->query.state >= 0 ? READ_MAX : r->query.limit + 1, looks = 0;
    order_page_t page;
    r->next = r->query.from;
    text_add(&r->text, STR("{\"orders\":["));
    do {
        r->problem = read_orders(worker, &r->query, &r->next, max, r->read, &page);
        if (r->problem != PROBLEM_NONE)
            return;
        add_orders(r, &page);
        looks += max;
    } while (!r->is_last && r->shown.count < r->query.limit && looks < LOOKS_MAX);
    add_cursor(r);
}

static void reply_page(request_job_t *request, exchange_t *exchange)
{
    page_request_t *r = (page_request_t *)request;
    if (r->problem != PROBLEM_NONE) {
        reply_problem(exchange, r->problem,
                      r->problem == PROBLEM_INVALID_REQUEST
                          ? "cursor: give the next_cursor of a page of this item, once"
                          : NULL);
        return;
    }
    note_shown(exchange->engine, &r->shown);
    reply_text(exchange, 200, orders_format_type(ORDERS_JSON), text_str(&r->text));
}

static void dispose_page(request_job_t *request)
{
    text_free(&((page_request_t *)request)->text);
}

static void start_page(exchange_t *exchange, const orders_query_t *query)
{
    page_request_t *r = alloc_zero(1, sizeof(*r));
    r->request.run = run_page;
    r->request.reply = reply_page;
    r->request.dispose = dispose_page;
    r->request.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    r->query = *query;
    request_job_submit_for_item(exchange, &query->item, &r->request);
}

/* --- a report --- */

typedef struct {
    stream_t stream; /* first */
    orders_query_t query;
    order_place_t next;
    orders_shown_t shown; /* in the part */
} report_t;

static void add_rows(report_t *report, unsigned count)
{
    orders_shown_t *shown = &report->shown;
    text_t *text = &report->stream.text;
    shown->count = 0;
    for (unsigned i = 0; i < count; ++i) {
        if (!is_wanted(&report->query, &shown->orders[i]))
            continue;
        char *at = text_room(text, ORDER_ROW_MAX);
        order_row_put(&at, report->query.format, &shown->orders[i]);
        text_end(text, at);
        shown->orders[shown->count++] = shown->orders[i];
    }
}

static problem_t run_report(stream_t *stream, worker_t *worker)
{
    report_t *report = (report_t *)stream;
    bool is_first = order_id_is_none(&report->next.id);
    order_page_t page;
    problem_t problem =
        read_orders(worker, &report->query, &report->next, READ_MAX, report->shown.orders, &page);
    if (problem != PROBLEM_NONE)
        return problem == PROBLEM_INVALID_REQUEST ? PROBLEM_UNAVAILABLE : problem;
    if (is_first && report->query.format == ORDERS_CSV)
        text_add(&stream->text, orders_csv_head());
    add_rows(report, page.count);
    stream->is_last = page.is_last;
    report->next = page.next;
    return PROBLEM_NONE;
}

static void before_part(stream_t *stream)
{
    note_shown(stream->engine, &((report_t *)stream)->shown);
}

static void start_report(exchange_t *exchange, const orders_query_t *query)
{
    report_t *report = alloc_zero(1, sizeof(*report));
    report->stream.content_type = orders_format_type(query->format);
    report->stream.item = query->item;
    report->stream.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    report->stream.run = run_report;
    report->stream.sends = before_part;
    report->query = *query;
    stream_start(exchange, &report->stream);
}

/* --- the query --- */

/* False: it is no state that a row can have. */
static bool read_state(str_t word, int *out)
{
    order_state_t state = order_state_of_name(word);
    *out = (int)state;
    return state != ORDER_RESERVED && str_eq(word, str_of(order_state_name(state)));
}

static void read_format(const h2o_req_t *req, orders_query_t *query)
{
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_ACCEPT, -1);
    query->format = ORDERS_JSON;
    if (at != -1)
        query->format = orders_format_accepted(
            (str_t){req->headers.entries[at].value.base, req->headers.entries[at].value.len});
}

/* Returns what is wrong with a parameter, or NULL. */
static const char *read_query(exchange_t *exchange, str_t text, orders_query_t *query)
{
    str_t word, cursor, limit;
    query->state = -1;
    query->from = (order_place_t){ORDER_ID_NONE, false};
    if (!query_value(text, "state", &word) || (word.p != NULL && !read_state(word, &query->state)))
        return "state: give held, confirmed, cancelled, expired or rejected, once";
    read_format(exchange->req, query);
    if (!query_value(text, "format", &word) ||
        (word.p != NULL && !orders_format_parse(word, &query->format)))
        return "format: give json, ndjson or csv, once";
    if (!query_value(text, "cursor", &cursor) ||
        (cursor.p != NULL && !cursor_read(cursor, &query->from)))
        return "cursor: give the next_cursor of a page of this item, once";
    (void)query_value(text, "limit", &limit);
    if (query->format != ORDERS_JSON && limit.p != NULL)
        return "limit: only format=json has pages";
    if (query->format != ORDERS_JSON && cursor.p != NULL)
        return "cursor: only format=json has pages";
    return NULL;
}

void handle_item_orders(exchange_t *exchange, const route_match_t *match)
{
    orders_query_t query;
    if (!is_sku(match->param)) {
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        return;
    }
    const char *mistake = read_query(exchange, match->query, &query);
    if (mistake != NULL) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST, mistake);
        return;
    }
    if (!query_limit(exchange, match->query, (page_size_t){PAGE_DEFAULT, PAGE_MAX}, &query.limit))
        return;
    query.item = item_ref_of(match->param);
    if (query.format == ORDERS_JSON)
        start_page(exchange, &query);
    else
        start_report(exchange, &query);
}
