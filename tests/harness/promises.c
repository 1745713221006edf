#include "promises.h"

/* An order as it is in MySQL. */
typedef struct {
    char id[SALE_ID_SIZE], state[16], buyer[64], key[64];
    int quantity, given_back; /* what it had at first; what it has no more */
    bool seen;                /* matched with something that the crowd was told */
} row_t;

typedef struct {
    row_t *all; /* by id */
    size_t count, room;
} rows_t;

typedef struct {
    const test_stack_t *stack;
    crowd_t *crowd;
    rows_t *rows; /* test memory */
    unsigned lost, ghosts;
    unsigned unavailable_live, acknowledged_rejected; /* each is a ghost or lost as well */
    long long oversold, agreed_ms;
    char *first; /* what is wrong first, in words */
} check_t;

static void wrong(check_t *check, unsigned *count, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    test_keep(text, free);
    if (check->first == NULL)
        check->first = text;
    ++*count;
}

/* --- what is in MySQL --- */

static void put(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from == NULL ? "" : from);
}

static void take_row(void *context, char **columns)
{
    rows_t *rows = context;
    if (rows->count == rows->room) {
        rows->room = rows->room * 2 + 1024;
        rows->all = realloc(rows->all, rows->room * sizeof(*rows->all));
        if (rows->all == NULL)
            abort();
    }
    row_t *row = &rows->all[rows->count++];
    put(row->id, sizeof(row->id), columns[0]);
    put(row->state, sizeof(row->state), columns[1]);
    put(row->buyer, sizeof(row->buyer), columns[2]);
    put(row->key, sizeof(row->key), columns[3]);
    row->given_back = atoi(columns[5]);
    row->quantity = columns[4] == NULL ? 0 : atoi(columns[4]) + row->given_back;
    row->seen = false;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const row_t *)a)->id, ((const row_t *)b)->id);
}

static void free_rows(void *rows)
{
    free(((rows_t *)rows)->all);
    free(rows);
}

#define ORDER_UUID                                                                                 \
    "INSERT(INSERT(INSERT(INSERT(LOWER(HEX(order_id)), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), "     \
    "24, 0, '-')"
#define COLUMNS ORDER_UUID ", state, buyer_id, idempotency_key, quantity, given_back"

static rows_t *read_rows(const check_t *check)
{
    rows_t *rows = calloc(1, sizeof(*rows));
    if (rows == NULL)
        abort();
    test_keep(rows, free_rows);
    for (unsigned i = 0; i < crowd_skus(check->crowd); ++i)
        rows_each(check->stack, take_row, rows, "SELECT " COLUMNS " FROM orders WHERE sku = '%s'",
                  crowd_sku(check->crowd, i));
    /* Decided without their owner. */
    rows_each(check->stack, take_row, rows, "SELECT " COLUMNS " FROM orders WHERE sku IS NULL");
    if (rows->count != 0)
        qsort(rows->all, rows->count, sizeof(*rows->all), by_id);
    return rows;
}

static row_t *find(const rows_t *rows, const char *id)
{
    row_t key;
    put(key.id, sizeof(key.id), id);
    return rows->count == 0 ? NULL
                            : bsearch(&key, rows->all, rows->count, sizeof(*rows->all), by_id);
}

static bool is(const row_t *row, const char *state)
{
    return strcmp(row->state, state) == 0;
}

static bool is_live(const row_t *row)
{
    return is(row, "held") || is(row, "confirmed");
}

/* --- A: what was answered --- */

/* NULL, or why an order that was promised should not be in this state. */
static const char *broken(const crowd_order_t *order, const row_t *row)
{
    bool held = order->expires_at[0] != '\0';
    if (order->cancelled)
        return is(row, "cancelled") ? NULL : "its cancel was answered 200";
    if (is(row, "cancelled"))
        return order->cancel_sent ? NULL : "nobody has cancelled it";
    if (order->confirmed)
        return is(row, "confirmed") ? NULL : "its confirm was answered 200";
    if (is(row, "expired") && (!held || sale_now_ms() < sale_parse_time(order->expires_at)))
        return "its hold has not run out";
    if (is(row, "rejected"))
        return "it was answered 201";
    return NULL;
}

static bool is_accepted_item(const check_t *check, unsigned item)
{
    return rows_sum(check->stack,
                    "SELECT COUNT(*) FROM inventory WHERE sku = '%s' AND acknowledge = 'accepted'",
                    crowd_sku(check->crowd, item)) != 0;
}

static void check_acknowledged(check_t *check, const crowd_order_t *order, const row_t *row)
{
    if (!crowd_redis_keeps_all(check->crowd) || !order->acknowledged || !is(row, "rejected") ||
        !is_accepted_item(check, crowd_wish(check->crowd, order->wish)->item))
        return;
    ++check->acknowledged_rejected;
    wrong(check, &check->lost, "%s is rejected: a 202 had acknowledged it", order->id);
}

static void check_given_back(check_t *check, const crowd_order_t *order, const row_t *row)
{
    if (order->part_received && row->given_back == 0)
        wrong(check, &check->lost, "%s has all its units, and 200 was said to one less", order->id);
    if (row->given_back > order->part_sent)
        wrong(check, &check->lost, "%d units of %s were given back, and %d asked for",
              row->given_back, order->id, (int)order->part_sent);
}

static void check_order(check_t *check, const crowd_order_t *order)
{
    const crowd_wish_t *wish = crowd_wish(check->crowd, order->wish);
    row_t *row = find(check->rows, order->id);
    if (row == NULL) {
        wrong(check, &check->lost, "%s is not in MySQL", order->id);
        return;
    }
    row->seen = true;
    bool promised = order->created || order->confirmed || order->cancelled;
    const char *why = promised ? broken(order, row) : NULL;
    if (why != NULL)
        wrong(check, &check->lost, "%s is %s: %s", order->id, row->state, why);
    check_acknowledged(check, order, row);
    check_given_back(check, order, row);
    if (order->refused && !is(row, "rejected"))
        wrong(check, &check->ghosts, "%s is %s, and was refused", order->id, row->state);
    if (order->other_wish != order->wish)
        wrong(check, &check->ghosts, "%s is the order of two wishes", order->id);
    if (row->buyer[0] != '\0' && !is(row, "rejected") &&
        (row->quantity != wish->quantity ||
         strcmp(row->buyer, crowd_buyer(check->crowd, wish->buyer)) != 0))
        wrong(check, &check->lost, "%s is of %s, %d units", order->id, row->buyer, row->quantity);
}

/* --- E: what nobody was told of --- */

/* Did a request that may have made it hear that nothing of it is live? */
static bool received_unavailable(const check_t *check, const row_t *row, unsigned buyer)
{
    unsigned wish;
    if (row->key[0] != '\0')
        return crowd_owns_key(check->crowd, row->key, &wish) &&
               crowd_wish(check->crowd, wish)->unavailable != 0;
    for (wish = 0; wish < crowd_wishes(check->crowd); ++wish) {
        const crowd_wish_t *w = crowd_wish(check->crowd, wish);
        if (!w->keyed && w->buyer == buyer && w->quantity == row->quantity && w->unavailable != 0)
            return true;
    }
    return false;
}

/* Only a repeat was told of its order, and each request before it that nothing is live. */
static void check_repeats(check_t *check)
{
    for (unsigned i = 0; i < crowd_wishes(check->crowd); ++i) {
        const crowd_wish_t *wish = crowd_wish(check->crowd, i);
        if (wish->unavailable == 0 || wish->replayed == 0 || wish->named != 0 ||
            wish->in_doubt != 0)
            continue;
        ++check->unavailable_live;
        wrong(check, &check->ghosts, "a repeat got an order of key %s-%u, whose requests heard 503",
              crowd_buyer(check->crowd, wish->buyer), i);
    }
}

/* Might a request without an answer have made it? Each explains one order. */
static bool is_explained(check_t *check, unsigned *doubts, const row_t *row, unsigned buyer)
{
    unsigned wish;
    if (row->key[0] != '\0')
        return crowd_owns_key(check->crowd, row->key, &wish) && doubts[wish] != 0;
    for (wish = 0; wish < crowd_wishes(check->crowd); ++wish) {
        const crowd_wish_t *w = crowd_wish(check->crowd, wish);
        if (!w->keyed && w->buyer == buyer && w->quantity == row->quantity && doubts[wish] != 0) {
            --doubts[wish];
            return true;
        }
    }
    return false;
}

static void check_ghosts(check_t *check)
{
    unsigned count = crowd_wishes(check->crowd), buyer;
    unsigned *doubts = test_bytes((count + 1) * sizeof(*doubts));
    for (unsigned i = 0; i < count; ++i)
        doubts[i] = crowd_wish(check->crowd, i)->in_doubt;
    for (size_t i = 0; i < check->rows->count; ++i) {
        const row_t *row = &check->rows->all[i];
        if (row->seen || is(row, "rejected") ||
            !crowd_owns_buyer(check->crowd, row->buyer, &buyer) ||
            is_explained(check, doubts, row, buyer))
            continue;
        check->unavailable_live += received_unavailable(check, row, buyer);
        wrong(check, &check->ghosts, "%s of %s, key %s, is %s, and nobody was told", row->id,
              row->buyer, row->key, row->state);
    }
}

static void settle_pending(check_t *check)
{
    long long end = test_clock_ms() + TEST_WAIT_MS;
    for (unsigned i = 0; i < crowd_orders(check->crowd); ++i) {
        const crowd_order_t *order = crowd_order(check->crowd, i);
        web_answer_t answer;
        if (order->created || !order->pending)
            continue;
        while (answer = sale_get(check->stack, order->id),
               answer.status != 200 || strcmp(sale_state(&answer), "reserved") == 0) {
            if (test_clock_ms() > end) {
                wrong(check, &check->lost, "answered 202 and not ended: %s: %s", order->id,
                      web_show(&answer));
                break;
            }
            usleep(50000);
        }
    }
}

/* What has ended as rejected, or not, does not change sides. */
static void check_stays(check_t *check)
{
    const rows_t *later = read_rows(check);
    for (size_t i = 0; i < check->rows->count; ++i) {
        const row_t *before = &check->rows->all[i], *now = find(later, before->id);
        if (now == NULL)
            wrong(check, &check->lost, "%s is gone", before->id);
        else if (is(before, "rejected") && !is(now, "rejected"))
            wrong(check, &check->ghosts, "%s was rejected and is %s", now->id, now->state);
        else if (!is(before, "rejected") && is(now, "rejected"))
            wrong(check, &check->lost, "%s was %s and is rejected", now->id, before->state);
    }
}

/* --- B, D --- */

static void check_totals(check_t *check)
{
    long long units = 0, total = 0;
    for (size_t i = 0; i < check->rows->count; ++i)
        if (is_live(&check->rows->all[i]))
            units += check->rows->all[i].quantity - check->rows->all[i].given_back;
    for (unsigned i = 0; i < crowd_skus(check->crowd); ++i)
        total += rows_sum(check->stack, "SELECT total FROM inventory WHERE sku = '%s'",
                          crowd_sku(check->crowd, i));
    check->oversold = units > total ? units - total : 0;
}

static bool audit_is_content(const test_stack_t *stack)
{
    web_answer_t audit = sale_audit(stack);
    return audit.status == 200 && cJSON_IsTrue(cJSON_GetObjectItem(audit.json, "ok"));
}

static void check_agreement(const char *file, int line, check_t *check)
{
    long long begun = test_clock_ms();
    for (unsigned i = 0; i < crowd_skus(check->crowd); ++i)
        redis_expect_agrees(file, line, check->stack, crowd_sku(check->crowd, i));
    check->agreed_ms = test_clock_ms() - begun;
}

/* The command looks at what the service looks at, in a process of its own: once in each program. */
static void check_audits(const char *file, int line, const test_stack_t *stack)
{
    static bool has_run;
    long long end = test_clock_ms() + TEST_WAIT_MS;
    while (!audit_is_content(stack)) {
        if (test_clock_ms() > end)
            test_fail(file, line, "the audit: %s", ADMIN(stack, .path = "/v1/audit").body);
        usleep(100000);
    }
    if (!has_run && stack_command(stack, "audit") != 0)
        test_fail(file, line, "holdfast audit is not content, see %s/log", stack->dir);
    has_run = true;
}

/* --- F: the rest can be bought --- */

#define LATE_MAX 16 /* of one round */

typedef struct {
    const test_stack_t *stack;
    const char *sku;
    int quantity;
    unsigned *buyers, held_count;
    char held[LATE_MAX][SALE_ID_SIZE];
} late_t;

static web_request_t next_late(void *context, unsigned i)
{
    late_t *late = context;
    (void)i;
    return sale_request(late->stack, late->sku, test_text("late-%u", ++*late->buyers),
                        late->quantity, NULL);
}

static bool take_late(void *context, unsigned i, const web_answer_t *answer)
{
    late_t *late = context;
    (void)i;
    if (answer->status == 201 && strcmp(sale_state(answer), "held") == 0)
        snprintf(late->held[late->held_count++], SALE_ID_SIZE, "%s", sale_id(answer));
    return !web_has_code(answer, "sold_out");
}

/* What they get they confirm, or short holds would run out before the last unit is sold. */
static void sell_some(const test_stack_t *stack, const char *sku, long long left, long long limit,
                      unsigned *buyers)
{
    long long most = limit == 0 || limit > 1000 ? 1000 : limit, each = left / LATE_MAX + 1;
    late_t late = {.stack = stack, .sku = sku, .buyers = buyers};
    late.quantity = (int)(each > most ? most : each);
    web_crowd(&(web_crowd_t){.connections = 8,
                             .count = LATE_MAX,
                             .request = next_late,
                             .answered = take_late,
                             .context = &late});
    for (unsigned i = 0; i < late.held_count; ++i)
        sale_move(stack, late.held[i], "confirm");
}

static void check_sells_out(const char *file, int line, const test_stack_t *stack, const char *sku)
{
    long long end = test_clock_ms() + TEST_WAIT_MS, left, limit;
    unsigned buyers = 0;
    limit = rows_sum(stack, "SELECT per_buyer_limit FROM inventory WHERE sku = '%s'", sku);
    while ((left = rows_sum(stack,
                            "SELECT total - allocated_total + released_total FROM inventory WHERE "
                            "sku = '%s'",
                            sku)) != 0) {
        if (test_clock_ms() > end)
            test_fail(file, line, "%lld units of %s cannot be sold", left, sku);
        sell_some(stack, sku, left, limit, &buyers);
    }
}

/* --- all of it --- */

static const char *format_text(const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    test_keep(text, free);
    return text;
}

static void report(const check_t *check, const char *name, const char *faults)
{
    print_message("%s: seed %llu; %s; %s; agreed after %lld ms; oversold %lld, lost %u, ghosts "
                  "%u, 503-live %u, 202-rejected %u\n",
                  name, (unsigned long long)chance_seed(), faults, crowd_show(check->crowd),
                  check->agreed_ms, check->oversold, check->lost, check->ghosts,
                  check->unavailable_live, check->acknowledged_rejected);
}

/* None has died that nobody has killed. */
static void check_services(const char *file, int line, const crowd_t *crowd)
{
    const char *url;
    long long end = test_clock_ms() + TEST_WAIT_MS;
    for (unsigned i = 0; (url = crowd_url(crowd, i)) != NULL; ++i)
        while (WEB(.base = url, .path = "/readyz").status != 200) {
            if (test_clock_ms() > end)
                test_fail(file, line, "the service at %s is not ready", url);
            usleep(50000);
        }
}

static void check_items(const char *file, int line, check_t *check)
{
    for (unsigned i = 0; i < crowd_skus(check->crowd); ++i) {
        const char *sku = crowd_sku(check->crowd, i);
        int limit = (int)rows_sum(check->stack,
                                  "SELECT per_buyer_limit FROM inventory WHERE sku = '%s'", sku);
        sale_expect_sound(file, line, check->stack, sku, limit);
    }
}

void promises_expect(const char *file, int line, const char *name, const test_stack_t *stack,
                     crowd_t *crowd, const char *faults, ...)
{
    check_t check = {.stack = stack, .crowd = crowd, .agreed_ms = -1};
    va_list arguments;
    va_start(arguments, faults);
    const char *words = format_text(faults, arguments);
    va_end(arguments);
    crowd_stop(crowd);
    check_services(file, line, crowd);
    check_agreement(file, line, &check);
    settle_pending(&check);
    check.rows = read_rows(&check);
    for (unsigned i = 0; i < crowd_orders(crowd); ++i)
        check_order(&check, crowd_order(crowd, i));
    check_ghosts(&check);
    check_repeats(&check);
    check_totals(&check);
    check_items(file, line, &check);
    check_audits(file, line, stack);
    for (unsigned i = 0; i < crowd_skus(crowd); ++i)
        check_sells_out(file, line, stack, crowd_sku(crowd, i));
    check_stays(&check);
    check_items(file, line, &check);
    for (unsigned i = 0; i < crowd_skus(crowd); ++i)
        redis_expect_agrees(file, line, stack, crowd_sku(crowd, i));
    report(&check, name, words);
    if (check.first != NULL || check.oversold != 0)
        test_fail(file, line, "first: %s", check.first);
    if (crowd_odd(crowd) != NULL)
        test_fail(file, line, "an answer that fits nothing: %s", crowd_odd(crowd));
}
