#include "sale.h"

#include <time.h>

/* --- names and times --- */

const char *sale_sku(const char *name)
{
    static unsigned count;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return test_text("t-%llx-%u-%.32s", (long long)now.tv_sec << 8 | (getpid() & 0xff), ++count,
                     name);
}

const char *sale_time(int seconds_from_now)
{
    char text[32];
    struct tm parts;
    time_t at = time(NULL) + seconds_from_now;
    gmtime_r(&at, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return test_text("%s", text);
}

long long sale_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

long long sale_parse_time(const char *text)
{
    struct tm parts = {0};
    if (text == NULL)
        FAIL("no time");
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    double fraction = 0;
    if (end != NULL && *end == '.')
        fraction = strtod(end, (char **)&end);
    if (end == NULL || strcmp(end, "Z") != 0)
        FAIL("not RFC 3339 in UTC: %s", text);
    return timegm(&parts) * 1000LL + (long long)(fraction * 1000 + 0.5);
}

/* --- admin --- */

static const char *format_terms(const char *terms, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, terms, arguments) < 0)
        abort();
    test_keep(text, free);
    return test_text("{%s}", text);
}

const char *sale_item(const test_stack_t *stack, const char *name, const char *terms, ...)
{
    va_list arguments;
    va_start(arguments, terms);
    const char *body = format_terms(terms, arguments), *sku = sale_sku(name);
    va_end(arguments);
    web_answer_t put =
        ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", sku), .body = body);
    EXPECT(put.status == 200 || put.status == 201, "PUT of %s: %s", body, web_show(&put));
    return sku;
}

static double number_or(const web_answer_t *answer, const char *name, double other)
{
    const cJSON *found = cJSON_GetObjectItem(answer->json, name);
    return cJSON_IsNumber(found) ? found->valuedouble : other;
}

web_answer_t sale_audit(const test_stack_t *stack)
{
    long long end = test_clock_ms() + TEST_WAIT_MS;
    web_answer_t audit = ADMIN(stack, .path = "/v1/audit");
    double asked = number_or(&audit, "asked", 0);
    while (audit.status == 200 && number_or(&audit, "run", -1) < asked) {
        if (test_clock_ms() > end)
            FAIL("no audit began and ended in %d ms: %s", TEST_WAIT_MS, web_show(&audit));
        usleep(50000);
        audit = ADMIN(stack, .path = "/v1/audit");
    }
    return audit;
}

web_answer_t sale_patch(const test_stack_t *stack, const char *sku, const char *terms, ...)
{
    va_list arguments;
    va_start(arguments, terms);
    const char *body = format_terms(terms, arguments);
    va_end(arguments);
    return ADMIN(stack, .method = "PATCH", .path = test_text("/v1/items/%s", sku), .body = body);
}

/* --- buyers --- */

web_request_t sale_request(const test_stack_t *stack, const char *sku, const char *buyer,
                           int quantity, const char *key)
{
    const char *body =
        test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":%d}", sku, buyer, quantity);
    return (web_request_t){.base = stack->url, .path = "/v1/orders", .body = body, .key = key};
}

web_answer_t sale_buy(const test_stack_t *stack, const char *sku, const char *buyer, int quantity,
                      const char *key)
{
    web_request_t request = sale_request(stack, sku, buyer, quantity, key);
    return web_call(&request);
}

web_answer_t sale_get(const test_stack_t *stack, const char *order_id)
{
    return WEB(.base = stack->url, .path = test_text("/v1/orders/%s", order_id));
}

web_answer_t sale_move(const test_stack_t *stack, const char *order_id, const char *move)
{
    return WEB(.base = stack->url, .method = "POST",
               .path = test_text("/v1/orders/%s/%s", order_id, move));
}

long long sale_available(const test_stack_t *stack, const char *sku)
{
    web_answer_t item = WEB(.base = stack->url, .path = test_text("/v1/items/%s", sku));
    EXPECT_STATUS(item, 200);
    return web_number(&item, "available");
}

const char *sale_state(const web_answer_t *answer)
{
    const char *state = web_string(answer, "state");
    return state == NULL ? "" : state;
}

const char *sale_id(const web_answer_t *answer)
{
    const char *id = web_string(answer, "order_id");
    return id == NULL ? "" : id;
}

bool sale_uses_gate(const char *strategy)
{
    return strcmp(strategy, "lua") == 0 || strcmp(strategy, "watch") == 0;
}

/* --- a rush --- */

typedef struct {
    const sale_rush_t *rush;
    sale_tally_t *tally;
} rush_run_t;

static web_request_t next_buyer(void *context, unsigned i)
{
    const sale_rush_t *rush = ((rush_run_t *)context)->rush;
    const test_stack_t *to = rush->other != NULL && i % 2 == 1 ? rush->other : rush->stack;
    const char *buyer = rush->key != NULL ? "one" : test_text("buyer-%u", i);
    return sale_request(to, rush->sku, buyer, rush->quantity == 0 ? 1 : rush->quantity, rush->key);
}

static void take_id(sale_tally_t *tally, const char *id)
{
    if (tally->last_id[0] != '\0' && strcmp(tally->last_id, id) != 0)
        tally->one_id = false;
    snprintf(tally->last_id, SALE_ID_SIZE, "%s", id);
}

static void count_order(sale_tally_t *tally, const web_answer_t *answer)
{
    take_id(tally, sale_id(answer));
    if (answer->replayed[0] != '\0')
        ++tally->replayed;
    else if (answer->status == 201)
        snprintf(tally->ids[tally->created++], SALE_ID_SIZE, "%s", sale_id(answer));
    else
        snprintf(tally->pending_ids[tally->pending++], SALE_ID_SIZE, "%s", sale_id(answer));
}

static void count_answer(sale_tally_t *tally, const web_answer_t *answer)
{
    ++tally->answers;
    tally->slowest_s = answer->seconds > tally->slowest_s ? answer->seconds : tally->slowest_s;
    if (answer->refused) {
        ++tally->refused_connections;
        return;
    }
    if ((answer->status == 200 || answer->status == 201 || answer->status == 202) &&
        sale_id(answer)[0] != '\0') {
        count_order(tally, answer);
        return;
    }
    unsigned *kind = answer->status == 0                            ? &tally->unanswered
                     : web_has_code(answer, "sold_out")             ? &tally->sold_out
                     : web_has_code(answer, "buyer_limit_exceeded") ? &tally->limited
                     : web_has_code(answer, "unavailable")          ? &tally->unavailable
                                                                    : &tally->other;
    ++*kind;
    bool odd = kind == &tally->other || kind == &tally->unanswered || web_problem_fault(answer);
    if (odd && tally->odd == NULL)
        tally->odd = test_text("%s", web_show(answer));
}

static bool took_answer(void *context, unsigned i, const web_answer_t *answer)
{
    rush_run_t *run = context;
    (void)i;
    count_answer(run->tally, answer);
    if (run->rush->after != NULL)
        run->rush->after(run->rush->context, run->tally->answers, run->tally->created);
    return !(run->rush->until_sold_out && run->tally->sold_out != 0);
}

sale_tally_t sale_rush(const sale_rush_t *rush)
{
    sale_tally_t tally = {.one_id = true};
    tally.ids = test_bytes(rush->buyers * sizeof(*tally.ids));
    tally.pending_ids = test_bytes(rush->buyers * sizeof(*tally.pending_ids));
    web_crowd(&(web_crowd_t){.connections = rush->connections,
                             .count = rush->buyers,
                             .burst = rush->burst,
                             .burst_ms = rush->burst_ms,
                             .request = next_buyer,
                             .answered = took_answer,
                             .context = &(rush_run_t){rush, &tally}});
    return tally;
}

const char *sale_show(const sale_tally_t *tally)
{
    return test_text(
        "%u answers: 201 %u, 202 %u, replayed %u, sold_out %u, limit %u, 503 %u, other "
        "%u, unanswered %u, refused connections %u; slowest %.2f s; first odd one: %s",
        tally->answers, tally->created, tally->pending, tally->replayed, tally->sold_out,
        tally->limited, tally->unavailable, tally->other, tally->unanswered,
        tally->refused_connections, tally->slowest_s, tally->odd == NULL ? "none" : tally->odd);
}

/* --- what must be true --- */

#define LIVE "state IN ('held', 'confirmed')"

long long sale_live_orders(const test_stack_t *stack, const char *sku)
{
    return rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND " LIVE, sku);
}

long long sale_live_units(const test_stack_t *stack, const char *sku)
{
    return rows_sum(stack, "SELECT SUM(quantity) FROM orders WHERE sku = '%s' AND " LIVE, sku);
}

long long sale_allocated(const test_stack_t *stack, const char *sku)
{
    return rows_sum(stack,
                    "SELECT allocated_total - released_total FROM inventory WHERE sku = '%s'", sku);
}

void sale_expect_sound(const char *file, int line, const test_stack_t *stack, const char *sku,
                       int limit)
{
    /* One statement each, so that what expires meanwhile is on both sides or on none. */
    const struct {
        const char *what, *sql;
    } faults[] = {
        {"units allocated beyond total",
         "SELECT SUM(GREATEST(0, CAST(allocated_total - released_total AS SIGNED) - total)) FROM "
         "inventory WHERE sku = '%s'"},
        {"units by which live orders differ from allocated",
         "SELECT ABS((SELECT COALESCE(SUM(quantity), 0) FROM orders WHERE sku = i.sku AND " LIVE
         ") - (allocated_total - released_total)) FROM inventory i WHERE sku = '%s'"},
        {"units by which orders ever live differ from allocated_total",
         "SELECT ABS((SELECT COALESCE(SUM(quantity + given_back), 0) FROM orders WHERE sku = i.sku "
         "AND state <> 'rejected') - allocated_total) FROM inventory i WHERE sku = '%s'"},
        {"held orders without a reminder by their deadline",
         "SELECT COUNT(*) FROM orders o WHERE sku = '%s' AND state = 'held' AND NOT EXISTS (SELECT "
         "1 FROM holds h WHERE h.order_id = o.order_id AND h.expires_at <= o.expires_at)"},
        {"keys with more than one order",
         "SELECT COUNT(*) FROM (SELECT 1 FROM orders WHERE sku = '%s' AND idempotency_key IS NOT "
         "NULL GROUP BY buyer_id, idempotency_key HAVING COUNT(*) > 1) k"},
    };
    for (size_t i = 0; i < TEST_COUNT(faults); ++i) {
        char sql[512];
        const char *at = strstr(faults[i].sql, "%s");
        snprintf(sql, sizeof(sql), "%.*s%s%s", (int)(at - faults[i].sql), faults[i].sql, sku,
                 at + 2);
        long long found = rows_sum(stack, "%s", sql);
        if (found != 0)
            test_fail(file, line, "%s: %lld %s", sku, found, faults[i].what);
    }
    long long past = limit == 0 ? 0
                                : rows_sum(stack,
                                           "SELECT COUNT(*) FROM (SELECT 1 FROM orders WHERE sku = "
                                           "'%s' AND " LIVE " GROUP BY buyer_id HAVING "
                                           "SUM(quantity) > %d) b",
                                           sku, limit);
    if (past != 0)
        test_fail(file, line, "%s: %lld buyers past the limit", sku, past);
}

long long sale_count_live(const test_stack_t *stack, char (*ids)[SALE_ID_SIZE], unsigned count)
{
    size_t size = (size_t)count * (SALE_ID_SIZE + 3) + 16, n = 0; /* of hex, without hyphens */
    char *list = test_bytes(size);
    if (count == 0)
        return 0;
    for (unsigned i = 0; i < count; ++i)
        n += (size_t)snprintf(list + n, size - n, "%s%s", i == 0 ? "" : ",", rows_order_id(ids[i]));
    return rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE order_id IN (%s) AND " LIVE, list);
}

void sale_set_deadlines(const test_stack_t *stack, const char *sku, long long ms)
{
    unsigned error = rows_change(stack,
                                 "UPDATE orders SET expires_at = '1970-01-01' + INTERVAL %lld * "
                                 "1000 MICROSECOND WHERE sku = '%s' AND state = 'held'",
                                 ms, sku);
    EXPECT_NUMBER(error, 0);
    error = rows_change(stack,
                        "UPDATE holds JOIN orders USING (order_id) SET holds.expires_at = "
                        "orders.expires_at WHERE orders.sku = '%s' AND orders.state = 'held'",
                        sku);
    EXPECT_NUMBER(error, 0);
}

/* Is the order live, once it has ended? */
static bool ends_live(const test_stack_t *stack, const char *id)
{
    long long end = test_clock_ms() + TEST_WAIT_MS;
    web_answer_t order = sale_get(stack, id);
    while (order.status == 503 || strcmp(sale_state(&order), "reserved") == 0) {
        EXPECT(test_clock_ms() < end, "an order answered 202 has not ended: %s: %s", id,
               web_show(&order));
        usleep(50000);
        order = sale_get(stack, id);
    }
    EXPECT_STATUS(order, 200);
    return strcmp(sale_state(&order), "held") == 0 || strcmp(sale_state(&order), "confirmed") == 0;
}

const char *sale_order(const test_stack_t *stack, const char *sku, const char *buyer, int quantity,
                       const char *key)
{
    web_answer_t answer;
    WAIT_UNTIL(({
        answer = sale_buy(stack, sku, buyer, quantity, key);
        answer.status != 503 || sale_id(&answer)[0] != '\0';
    }));
    EXPECT(sale_id(&answer)[0] != '\0', "%s: %s", buyer, web_show(&answer));
    EXPECT(answer.status == 201 || ends_live(stack, sale_id(&answer)), "%s: %s", buyer,
           web_show(&answer));
    return sale_id(&answer);
}

unsigned sale_settle_pending(const test_stack_t *stack, const sale_tally_t *tally)
{
    unsigned live = 0;
    for (unsigned i = 0; i < tally->pending; ++i)
        live += ends_live(stack, tally->pending_ids[i]);
    return live;
}

void sale_expect_told_true(const char *file, int line, const test_stack_t *stack, const char *sku,
                           const sale_tally_t *tally)
{
    unsigned late = sale_settle_pending(stack, tally);
    long long live = sale_live_orders(stack, sku);
    if (tally->odd != NULL || live != tally->created + late ||
        sale_count_live(stack, tally->ids, tally->created) != tally->created)
        test_fail(file, line, "%lld live orders, %u of the 202s: %s", live, late, sale_show(tally));
    sale_expect_sound(file, line, stack, sku, 0);
    redis_expect_agrees(file, line, stack, sku);
}

sale_tally_t sale_rush_to_the_end(const sale_rush_t *rush)
{
    sale_tally_t tally = sale_rush(rush);
    for (unsigned i = 0; i < tally.pending; ++i)
        if (ends_live(rush->stack, tally.pending_ids[i]))
            snprintf(tally.ids[tally.created++], SALE_ID_SIZE, "%s", tally.pending_ids[i]);
        else
            ++tally.other;
    tally.pending = 0;
    return tally;
}
