/*
 * The contract: what a buyer is promised, whatever strategy rules. The same cases run over all
 * four; a case gets its strategy as its state.
 */
#include <ctype.h>
#include <regex.h>

#include "harness/sale.h"

static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};

#define STACK stack_shared()

static const char *new_item(void **state, const char *terms)
{
    const char *strategy = *state;
    return sale_item(STACK, strategy, "\"strategy\":\"%s\",%s", strategy, terms);
}

static web_answer_t buy_one(const char *sku, const char *buyer)
{
    return sale_buy(STACK, sku, buyer, 1, NULL);
}

/* --- what an order looks like --- */

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        abort();
    bool match = text != NULL && regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return match;
}

#define TIME_PATTERN "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$"
#define UUIDV7_PATTERN "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

static void expect_only_order_members(const web_answer_t *order)
{
    static const char *const members[] = {"order_id",   "sku",         "buyer_id",
                                          "quantity",   "state",       "created_at",
                                          "expires_at", "reject_code", "original_order_id"};
    for (size_t i = 0; i < TEST_COUNT(members); ++i)
        EXPECT(cJSON_GetObjectItemCaseSensitive(order->json, members[i]) != NULL, "no %s in %s",
               members[i], web_show(order));
    EXPECT_NUMBER(cJSON_GetArraySize(order->json), TEST_COUNT(members));
}

static bool is_null(const web_answer_t *answer, const char *member)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(answer->json, member));
}

static void expect_order(const web_answer_t *order, const char *sku, const char *buyer,
                         int quantity, const char *state)
{
    EXPECT(strcmp(order->content_type, "application/json") == 0, "%s", web_show(order));
    expect_only_order_members(order);
    EXPECT(matches(sale_id(order), UUIDV7_PATTERN), "not a UUIDv7: %s", sale_id(order));
    EXPECT(strcmp(web_string(order, "sku"), sku) == 0, "%s", web_show(order));
    EXPECT(strcmp(web_string(order, "buyer_id"), buyer) == 0, "%s", web_show(order));
    EXPECT_NUMBER(web_number(order, "quantity"), quantity);
    EXPECT(strcmp(sale_state(order), state) == 0, "not %s: %s", state, web_show(order));
    EXPECT(matches(web_string(order, "created_at"), TIME_PATTERN), "%s", web_show(order));
    EXPECT(is_null(order, "reject_code") && is_null(order, "original_order_id"), "%s",
           web_show(order));
}

static void expect_same_order(const web_answer_t *one, const web_answer_t *other)
{
    char *a = cJSON_PrintUnformatted(one->json), *b = cJSON_PrintUnformatted(other->json);
    test_keep(a, free);
    test_keep(b, free);
    EXPECT(strcmp(a, b) == 0, "one order, told in two ways:\n%s\n%s", a, b);
}

static void a_purchase_is_201_with_location_and_order(void **state)
{
    const char *sku = new_item(state, "\"total\":10");
    web_answer_t order = sale_buy(STACK, sku, "alice", 3, NULL);
    EXPECT_STATUS(order, 201);
    expect_order(&order, sku, "alice", 3, "confirmed");
    EXPECT(is_null(&order, "expires_at"), "%s", web_show(&order));
    EXPECT(strcmp(order.location, test_text("/v1/orders/%s", sale_id(&order))) == 0, "Location: %s",
           order.location);
    EXPECT(order.replayed[0] == '\0', "nothing was repeated");
    long long age_ms = sale_now_ms() - sale_parse_time(web_string(&order, "created_at"));
    EXPECT(age_ms > -2000 && age_ms < 30000, "created %lld ms ago", age_ms);

    web_answer_t again = WEB(.base = STACK->url, .path = order.location);
    EXPECT_STATUS(again, 200);
    expect_same_order(&order, &again);
    WAIT_UNTIL(sale_available(STACK, sku) == 7);
    EXPECT_NUMBER(sale_live_units(STACK, sku), 3);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void an_item_shows_its_terms(void **state)
{
    const char *starts = sale_time(-60), *ends = sale_time(3600);
    const char *sku = new_item(state, test_text("\"total\":5,\"per_buyer_limit\":2,"
                                                "\"hold_seconds\":30,\"starts_at\":\"%s\","
                                                "\"ends_at\":\"%s\"",
                                                starts, ends));
    web_answer_t item = WEB(.base = STACK->url, .path = test_text("/v1/items/%s", sku));
    EXPECT_STATUS(item, 200);
    EXPECT(strcmp(web_string(&item, "sku"), sku) == 0, "%s", web_show(&item));
    EXPECT_NUMBER(web_number(&item, "total"), 5);
    EXPECT_NUMBER(web_number(&item, "available"), 5);
    EXPECT_NUMBER(web_number(&item, "per_buyer_limit"), 2);
    EXPECT_NUMBER(web_number(&item, "hold_seconds"), 30);
    EXPECT_NUMBER(sale_parse_time(web_string(&item, "starts_at")), sale_parse_time(starts));
    EXPECT_NUMBER(sale_parse_time(web_string(&item, "ends_at")), sale_parse_time(ends));
    EXPECT(strcmp(web_string(&item, "strategy"), *state) == 0, "%s", web_show(&item));
}

/* --- refusals --- */

static void sold_out_when_units_are_gone(void **state)
{
    const char *sku = new_item(state, "\"total\":2");
    web_answer_t first = buy_one(sku, "a"), second = buy_one(sku, "b"), third = buy_one(sku, "c");
    EXPECT_STATUS(first, 201);
    EXPECT_STATUS(second, 201);
    EXPECT_PROBLEM(third, 409, "sold_out");
    WAIT_UNTIL(sale_available(STACK, sku) == 0);
    EXPECT_NUMBER(sale_live_units(STACK, sku), 2);
}

static void more_than_is_left_is_sold_out_and_less_is_not(void **state)
{
    const char *sku = new_item(state, "\"total\":3");
    web_answer_t four = sale_buy(STACK, sku, "a", 4, NULL);
    EXPECT_PROBLEM(four, 409, "sold_out");
    web_answer_t two = sale_buy(STACK, sku, "a", 2, NULL);
    EXPECT_STATUS(two, 201);
    web_answer_t two_more = sale_buy(STACK, sku, "b", 2, NULL);
    EXPECT_PROBLEM(two_more, 409, "sold_out");
    web_answer_t one = buy_one(sku, "b");
    EXPECT_STATUS(one, 201);
    EXPECT_SOUND(STACK, sku, 0);
}

static void nothing_is_sold_of_an_empty_item(void **state)
{
    const char *sku = new_item(state, "\"total\":0");
    web_answer_t order = buy_one(sku, "a");
    EXPECT_PROBLEM(order, 409, "sold_out");
}

/* The one atomic call of lua does not say how many units a buyer has. */
static void expect_past_limit(void **state, const web_answer_t *answer, int limit, int owned)
{
    EXPECT_PROBLEM(*answer, 409, "buyer_limit_exceeded");
    EXPECT_NUMBER(web_number(answer, "limit"), limit);
    if (strcmp(*state, "lua") == 0)
        EXPECT(strstr(answer->body, "owned") == NULL, "%s", web_show(answer));
    else
        EXPECT_NUMBER(web_number(answer, "owned"), owned);
}

static void the_limit_holds_over_several_orders(void **state)
{
    const char *sku = new_item(state, "\"total\":100,\"per_buyer_limit\":3");
    web_answer_t two = sale_buy(STACK, sku, "alice", 2, NULL);
    EXPECT_STATUS(two, 201);
    web_answer_t past = sale_buy(STACK, sku, "alice", 2, NULL);
    expect_past_limit(state, &past, 3, 2);
    web_answer_t last = buy_one(sku, "alice");
    EXPECT_STATUS(last, 201);
    web_answer_t past_again = buy_one(sku, "alice");
    expect_past_limit(state, &past_again, 3, 3);
    web_answer_t other = sale_buy(STACK, sku, "Alice", 3, NULL); /* ids compare as bytes */
    EXPECT_STATUS(other, 201);
    EXPECT_SOUND(STACK, sku, 3);
}

static void a_quantity_above_the_limit_is_refused_as_such(void **state)
{
    const char *sku = new_item(state, "\"total\":100,\"per_buyer_limit\":3");
    web_answer_t order = sale_buy(STACK, sku, "alice", 4, NULL);
    EXPECT_PROBLEM(order, 409, "buyer_limit_exceeded");
    WAIT_UNTIL(sale_available(STACK, sku) == 100);
}

static void a_cancelled_order_gives_the_limit_back(void **state)
{
    const char *sku = new_item(state, "\"total\":100,\"per_buyer_limit\":1");
    web_answer_t first = buy_one(sku, "alice");
    EXPECT_STATUS(first, 201);
    web_answer_t cancelled = sale_move(STACK, sale_id(&first), "cancel");
    EXPECT_STATUS(cancelled, 200);
    web_answer_t second = buy_one(sku, "alice");
    EXPECT_STATUS(second, 201);
    EXPECT_SOUND(STACK, sku, 1);
}

static void the_limit_holds_when_one_buyer_comes_all_at_once(void **state);

static void the_sale_has_a_window(void **state)
{
    const char *starts = sale_time(1800);
    long long starts_ms = sale_parse_time(starts);
    const char *later = new_item(state, test_text("\"total\":5,\"starts_at\":\"%s\"", starts));
    long long before_ms = sale_now_ms();
    web_answer_t early = buy_one(later, "a");
    EXPECT_PROBLEM(early, 409, "sale_not_started");
    EXPECT_NUMBER(sale_parse_time(web_string(&early, "starts_at")), starts_ms);
    /* Who waits so long comes when it has started, and not much later. */
    long long wait_s = atoll(early.retry_after);
    EXPECT(wait_s * 1000 >= starts_ms - sale_now_ms() - 50 &&
               wait_s * 1000 <= starts_ms - before_ms + 1050,
           "Retry-After: %s, %lld ms before it starts", early.retry_after, starts_ms - before_ms);
    const char *far =
        new_item(state, test_text("\"total\":5,\"starts_at\":\"%s\"", sale_time(400 * 24 * 3600)));
    web_answer_t long_before = buy_one(far, "a");
    EXPECT_PROBLEM(long_before, 409, "sale_not_started");
    assert_string_equal(long_before.retry_after, "3600");
    const char *over = new_item(state, test_text("\"total\":5,\"starts_at\":\"%s\",\"ends_at\":"
                                                 "\"%s\"",
                                                 sale_time(-3600), sale_time(-1)));
    web_answer_t late = buy_one(over, "a");
    EXPECT_PROBLEM(late, 409, "sale_ended");
    const char *open = new_item(state, test_text("\"total\":5,\"starts_at\":\"%s\",\"ends_at\":"
                                                 "\"%s\"",
                                                 sale_time(-3600), sale_time(3600)));
    web_answer_t now = buy_one(open, "a");
    EXPECT_STATUS(now, 201);
    EXPECT_NUMBER(sale_live_units(STACK, later) + sale_live_units(STACK, over), 0);
}

static void a_sale_opens_by_itself(void **state)
{
    const char *sku = new_item(state, test_text("\"total\":5,\"starts_at\":\"%s\"", sale_time(2)));
    web_answer_t early = buy_one(sku, "a");
    EXPECT_PROBLEM(early, 409, "sale_not_started");
    WAIT_UNTIL(buy_one(sku, "a").status == 201);
}

static void an_unknown_item_is_404(void **state)
{
    (void)state;
    const char *sku = sale_sku("nowhere");
    web_answer_t order = buy_one(sku, "a");
    EXPECT_PROBLEM(order, 404, "unknown_item");
    web_answer_t item = WEB(.base = STACK->url, .path = test_text("/v1/items/%s", sku));
    EXPECT_PROBLEM(item, 404, "unknown_item");
    web_answer_t patched = sale_patch(STACK, sku, "\"total\":1");
    EXPECT_PROBLEM(patched, 404, "unknown_item");
}

static void an_item_can_be_bought_after_an_answer_404(void **state)
{
    const char *sku = sale_sku("soon");
    web_answer_t vain = buy_one(sku, "a");
    EXPECT_PROBLEM(vain, 404, "unknown_item");
    web_answer_t put =
        ADMIN(STACK, .method = "PUT", .path = test_text("/v1/items/%s", sku),
              .body = test_text("{\"total\":1,\"strategy\":\"%s\"}", (char *)*state));
    EXPECT(put.status == 200 || put.status == 201, "%s", web_show(&put));
    web_answer_t order = buy_one(sku, "a");
    EXPECT_STATUS(order, 201);
}

/* --- holds --- */

static web_answer_t hold(const char *sku, const char *buyer)
{
    web_answer_t order = buy_one(sku, buyer);
    EXPECT_STATUS(order, 201);
    expect_order(&order, sku, buyer, 1, "held");
    return order;
}

static void expect_moved(const char *id, const char *move, const char *state)
{
    web_answer_t moved = sale_move(STACK, id, move);
    EXPECT(moved.status == 200, "%s: %s", move, web_show(&moved));
    EXPECT(strcmp(sale_id(&moved), id) == 0, "%s: %s", move, web_show(&moved));
    EXPECT(strcmp(sale_state(&moved), state) == 0, "%s: %s", move, web_show(&moved));
}

static void expect_wrong_state(const char *id, const char *move)
{
    web_answer_t moved = sale_move(STACK, id, move);
    EXPECT(moved.status == 409, "%s: %s", move, web_show(&moved));
    EXPECT_PROBLEM(moved, 409, "wrong_state");
}

/* Reminders at the very deadline of a held order of the item; see store/expiry.h. */
static long long reminders(const char *sku)
{
    return rows_sum(STACK,
                    "SELECT COUNT(*) FROM holds JOIN orders USING (order_id, expires_at) "
                    "WHERE sku = '%s' AND state = 'held'",
                    sku);
}

static void a_hold_says_until_when(void **state)
{
    const char *sku = new_item(state, "\"total\":5,\"hold_seconds\":60");
    web_answer_t order = hold(sku, "a");
    long long lasts_ms = sale_parse_time(web_string(&order, "expires_at")) -
                         sale_parse_time(web_string(&order, "created_at"));
    EXPECT(lasts_ms >= 59000 && lasts_ms <= 61000, "held for %lld ms", lasts_ms);
    EXPECT_NUMBER(reminders(sku), 1);
    WAIT_UNTIL(sale_available(STACK, sku) == 4);
}

static void confirm_ends_the_hold_and_may_be_repeated(void **state)
{
    const char *sku = new_item(state, "\"total\":5,\"hold_seconds\":60");
    web_answer_t order = hold(sku, "a");
    expect_moved(sale_id(&order), "confirm", "confirmed");
    expect_moved(sale_id(&order), "confirm", "confirmed");
    expect_wrong_state(sale_id(&order), "extend");
    /* The deadline has come, and expiry has looked at the order: its reminder is gone. */
    const char *order_id = rows_order_id(sale_id(&order));
    EXPECT_NUMBER(rows_change(STACK,
                              "UPDATE holds SET expires_at = UTC_TIMESTAMP(3) WHERE order_id = %s",
                              order_id),
                  0);
    WAIT_UNTIL(rows_sum(STACK, "SELECT COUNT(*) FROM holds WHERE order_id = %s", order_id) == 0);
    web_answer_t later = sale_get(STACK, sale_id(&order));
    EXPECT(strcmp(sale_state(&later), "confirmed") == 0, "%s", web_show(&later));
    WAIT_UNTIL(sale_available(STACK, sku) == 4);
    EXPECT_SOUND(STACK, sku, 0);
}

static void cancel_returns_the_units_once(void **state)
{
    const char *sku = new_item(state, "\"total\":2,\"hold_seconds\":60");
    web_answer_t order = hold(sku, "a");
    hold(sku, "b");
    web_answer_t none_left = buy_one(sku, "c");
    EXPECT_PROBLEM(none_left, 409, "sold_out");
    expect_moved(sale_id(&order), "cancel", "cancelled");
    expect_moved(sale_id(&order), "cancel", "cancelled");
    expect_wrong_state(sale_id(&order), "confirm");
    expect_wrong_state(sale_id(&order), "extend");
    WAIT_UNTIL(sale_available(STACK, sku) == 1);
    /* The gate hears of it behind the answer, and a loop may still believe that all is gone. */
    WAIT_UNTIL(buy_one(sku, "c").status == 201);
    web_answer_t again = buy_one(sku, "d");
    EXPECT_PROBLEM(again, 409, "sold_out");
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void a_confirmed_order_may_be_cancelled(void **state)
{
    const char *sku = new_item(state, "\"total\":5");
    web_answer_t order = sale_buy(STACK, sku, "a", 4, NULL);
    EXPECT_STATUS(order, 201);
    expect_moved(sale_id(&order), "cancel", "cancelled");
    WAIT_UNTIL(sale_available(STACK, sku) == 5);
    expect_wrong_state(sale_id(&order), "confirm");
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* False: this machine came too late for a hold that is so short. */
static bool extends_and_confirms(const char *sku, int hold_seconds)
{
    web_answer_t order = hold(sku, "a"), extended[2], now, confirmed;
    long long first = sale_parse_time(web_string(&order, "expires_at")), later[2];
    usleep((useconds_t)hold_seconds * 550 * 1000);
    for (int i = 0; i < 2; ++i) {
        extended[i] = sale_move(STACK, sale_id(&order), "extend");
        if (sale_now_ms() > first)
            return false;
        EXPECT_STATUS(extended[i], 200);
        EXPECT(strcmp(sale_state(&extended[i]), "held") == 0, "%s", web_show(&extended[i]));
        later[i] = sale_parse_time(web_string(&extended[i], "expires_at"));
        EXPECT(later[i] >= first + hold_seconds * 500, "extended from %lld only to %lld", first,
               later[i]);
    }
    while (sale_now_ms() < first + 300)
        usleep(20000);
    now = sale_get(STACK, sale_id(&order));
    confirmed = sale_move(STACK, sale_id(&order), "confirm");
    if (sale_now_ms() > later[1])
        return false;
    EXPECT(strcmp(sale_state(&now), "held") == 0, "past its first deadline: %s", web_show(&now));
    EXPECT(strcmp(sale_state(&confirmed), "confirmed") == 0, "%s", web_show(&confirmed));
    return true;
}

static void extend_moves_the_deadline_and_may_be_repeated(void **state)
{
    int hold_seconds = 2;
    while (!extends_and_confirms(
        new_item(state, test_text("\"total\":5,\"hold_seconds\":%d", hold_seconds)), hold_seconds))
        EXPECT((hold_seconds *= 2) < 100, "not even a hold of %d s lasts", hold_seconds);
}

static void an_expired_hold_returns_its_units(void **state)
{
    const char *sku = new_item(state, "\"total\":3,\"hold_seconds\":1,\"per_buyer_limit\":1");
    web_answer_t order = hold(sku, "a");
    hold(sku, "b");
    hold(sku, "c");
    long long first_due = sale_parse_time(web_string(&order, "expires_at"));
    WAIT_UNTIL(sale_available(STACK, sku) != 0);
    EXPECT(sale_now_ms() >= first_due - 50, "units came back before their time");
    WAIT_UNTIL(sale_available(STACK, sku) == 3);
    web_answer_t expired = sale_get(STACK, sale_id(&order));
    EXPECT(strcmp(sale_state(&expired), "expired") == 0, "%s", web_show(&expired));
    expect_wrong_state(sale_id(&order), "confirm");
    expect_wrong_state(sale_id(&order), "extend");
    expect_wrong_state(sale_id(&order), "cancel");
    EXPECT_SOUND(STACK, sku, 1);
    EXPECT_GATE_AGREES(STACK, sku);
    web_answer_t once_more = buy_one(sku, "a"); /* the limit is free again too */
    EXPECT_STATUS(once_more, 201);
}

static void an_unknown_order_is_404(void **state)
{
    (void)state;
    const char *const ids[] = {"0190b7a1-0000-7000-8000-000000000000", "x",
                               "00000000-0000-0000-0000-000000000000"};
    for (size_t i = 0; i < TEST_COUNT(ids); ++i) {
        web_answer_t get = sale_get(STACK, ids[i]), confirm = sale_move(STACK, ids[i], "confirm");
        EXPECT_PROBLEM(get, 404, "unknown_order");
        EXPECT_PROBLEM(confirm, 404, "unknown_order");
    }
}

static void confirm_and_then_cancel_returns_every_unit(void **state)
{
    const char *sku = new_item(state, "\"total\":50,\"hold_seconds\":60");
    for (int i = 0; i < 5; ++i) {
        web_answer_t order = hold(sku, test_text("b%d", i));
        web_answer_t confirmed = sale_move(STACK, sale_id(&order), "confirm");
        web_answer_t cancelled = sale_move(STACK, sale_id(&order), "cancel");
        EXPECT_STATUS(confirmed, 200);
        EXPECT_STATUS(cancelled, 200);
    }
    WAIT_UNTIL(sale_available(STACK, sku) == 50);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* --- idempotency --- */

static void a_repeat_shows_the_first_order(void **state)
{
    const char *sku = new_item(state, "\"total\":10,\"hold_seconds\":60");
    web_answer_t first = sale_buy(STACK, sku, "alice", 2, "k1");
    EXPECT_STATUS(first, 201);
    EXPECT(first.replayed[0] == '\0', "the first is no repeat");
    web_answer_t repeat = sale_buy(STACK, sku, "alice", 2, "k1");
    EXPECT(repeat.status == 200 || repeat.status == 201, "%s", web_show(&repeat));
    EXPECT(strcmp(repeat.replayed, "true") == 0, "Idempotency-Replayed: %s", repeat.replayed);
    expect_same_order(&first, &repeat);
    expect_moved(sale_id(&first), "confirm", "confirmed");
    web_answer_t later = sale_buy(STACK, sku, "alice", 2, "k1");
    EXPECT(strcmp(sale_state(&later), "confirmed") == 0, "not as it now stands: %s",
           web_show(&later));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 1);
    WAIT_UNTIL(sale_available(STACK, sku) == 8);
    EXPECT_GATE_AGREES(STACK, sku);
    /* The gate has forgotten the key by now. However often it comes, it leaves nothing behind. */
    for (int i = 0; i < 5; ++i) {
        repeat = sale_buy(STACK, sku, "alice", 2, "k1");
        EXPECT(strcmp(repeat.replayed, "true") == 0, "%s", web_show(&repeat));
    }
    EXPECT_NUMBER(rows_sum(STACK, "SELECT COUNT(*) FROM orders WHERE sku = '%s'", sku), 1);
    WAIT_UNTIL(sale_available(STACK, sku) == 8);
}

static void a_repeat_after_cancel_sells_nothing_anew(void **state)
{
    const char *sku = new_item(state, "\"total\":10");
    web_answer_t first = sale_buy(STACK, sku, "alice", 2, "k1");
    EXPECT_STATUS(first, 201);
    expect_moved(sale_id(&first), "cancel", "cancelled");
    web_answer_t repeat = sale_buy(STACK, sku, "alice", 2, "k1");
    EXPECT(strcmp(repeat.replayed, "true") == 0, "%s", web_show(&repeat));
    EXPECT(strcmp(sale_id(&repeat), sale_id(&first)) == 0, "%s", web_show(&repeat));
    EXPECT(strcmp(sale_state(&repeat), "cancelled") == 0, "%s", web_show(&repeat));
    WAIT_UNTIL(sale_available(STACK, sku) == 10);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void a_key_for_another_request_is_422(void **state)
{
    const char *sku = new_item(state, "\"total\":10");
    web_answer_t first = sale_buy(STACK, sku, "alice", 2, "k1");
    EXPECT_STATUS(first, 201);
    web_answer_t other = sale_buy(STACK, sku, "alice", 3, "k1");
    EXPECT_PROBLEM(other, 422, "idempotency_key_reused");
    EXPECT_NUMBER(sale_live_units(STACK, sku), 2);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void expect_repeat(const char *sku, const char *key, const web_answer_t *first)
{
    web_answer_t repeat = sale_buy(STACK, sku, "alice", 1, key);
    EXPECT(strcmp(repeat.replayed, "true") == 0, "%s: %s", key, web_show(&repeat));
    EXPECT(strcmp(sale_id(&repeat), sale_id(first)) == 0, "%s: %s", key, web_show(&repeat));
}

/* The form of the draft and the bare one, whichever came first, and up to 255 characters. */
static void a_quoted_key_is_the_same_key(void **state)
{
    const char *sku = new_item(state, "\"total\":10");
    const char *longest = test_repeat("k", 255);
    web_answer_t first = sale_buy(STACK, sku, "alice", 1, "\"k1\"");
    EXPECT_STATUS(first, 201);
    expect_repeat(sku, "k1", &first);
    expect_repeat(sku, "\"k1\"", &first);
    first = sale_buy(STACK, sku, "alice", 1, "k\"2\\");
    EXPECT_STATUS(first, 201);
    expect_repeat(sku, "\"k\\\"2\\\\\"", &first);
    first = sale_buy(STACK, sku, "alice", 1, longest);
    EXPECT_STATUS(first, 201);
    expect_repeat(sku, test_text("\"%s\"", longest), &first);
    expect_repeat(sku, longest, &first);
    web_answer_t other = sale_buy(STACK, sku, "alice", 1, test_text("%.254sx", longest));
    EXPECT_STATUS(other, 201);
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 4);
    EXPECT_NUMBER(rows_sum(STACK,
                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND "
                           "LENGTH(idempotency_key) = 255",
                           sku),
                  2);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void keys_are_per_sku_and_buyer(void **state)
{
    const char *sku = new_item(state, "\"total\":10"), *other = new_item(state, "\"total\":10");
    web_answer_t a = sale_buy(STACK, sku, "alice", 1, "k"), b = sale_buy(STACK, sku, "bob", 1, "k"),
                 c = sale_buy(STACK, other, "alice", 1, "k"),
                 d = sale_buy(STACK, sku, "alice", 1, "K"); /* bytes */
    EXPECT_STATUS(a, 201);
    EXPECT_STATUS(b, 201);
    EXPECT_STATUS(c, 201);
    EXPECT_STATUS(d, 201);
    EXPECT(b.replayed[0] == '\0' && c.replayed[0] == '\0' && d.replayed[0] == '\0',
           "a key of another");
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 3);
    EXPECT_NUMBER(sale_live_orders(STACK, other), 1);
}

static void a_repeat_after_the_last_unit_shows_the_order(void **state)
{
    const char *sku = new_item(state, "\"total\":1,\"per_buyer_limit\":1");
    web_answer_t first = sale_buy(STACK, sku, "alice", 1, "k1");
    EXPECT_STATUS(first, 201);
    web_answer_t bob = sale_buy(STACK, sku, "bob", 1, "k1");
    EXPECT_PROBLEM(bob, 409, "sold_out");
    for (int i = 0; i < 3; ++i) {
        web_answer_t repeat = sale_buy(STACK, sku, "alice", 1, "k1");
        EXPECT(strcmp(repeat.replayed, "true") == 0, "%s", web_show(&repeat));
        EXPECT(strcmp(sale_id(&repeat), sale_id(&first)) == 0, "%s", web_show(&repeat));
    }
}

static void a_refusal_is_not_remembered_by_its_key(void **state)
{
    const char *sku = new_item(state, "\"total\":0");
    web_answer_t refused = sale_buy(STACK, sku, "alice", 1, "k1");
    EXPECT_PROBLEM(refused, 409, "sold_out");
    web_answer_t more = sale_patch(STACK, sku, "\"total\":5");
    EXPECT_STATUS(more, 200);
    web_answer_t order = sale_buy(STACK, sku, "alice", 1, "k1");
    EXPECT_STATUS(order, 201);
    EXPECT(order.replayed[0] == '\0', "%s", web_show(&order));
}

static void fifty_parallel_repeats_are_one_order(void **state)
{
    const char *sku = new_item(state, "\"total\":100");
    sale_tally_t tally = sale_rush(
        &(sale_rush_t){.stack = STACK, .sku = sku, .buyers = 50, .connections = 50, .key = "same"});
    EXPECT(tally.created + tally.pending + tally.replayed == 50, "%s", sale_show(&tally));
    EXPECT(tally.one_id, "several ids: %s", sale_show(&tally));
    EXPECT(tally.created <= 1, "%s", sale_show(&tally));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 1);
    EXPECT_NUMBER(sale_count_live(STACK, &tally.last_id, 1), 1);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void fifty_parallel_repeats_of_the_last_unit_are_one_order(void **state)
{
    const char *sku = new_item(state, "\"total\":1,\"per_buyer_limit\":1");
    sale_tally_t tally = sale_rush(
        &(sale_rush_t){.stack = STACK, .sku = sku, .buyers = 50, .connections = 50, .key = "same"});
    EXPECT(tally.created + tally.pending + tally.replayed == 50, "%s", sale_show(&tally));
    EXPECT(tally.one_id, "several ids: %s", sale_show(&tally));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 1);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* --- crowds --- */

static void expect_all_sold(const char *sku, const sale_tally_t *tally, unsigned orders,
                            unsigned buyers)
{
    EXPECT(tally->created == orders, "%s", sale_show(tally));
    EXPECT(tally->sold_out == buyers - orders, "%s", sale_show(tally));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), orders);
    EXPECT_NUMBER(sale_count_live(STACK, tally->ids, tally->created), orders);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void six_hundred_buyers_get_120_units(void **state)
{
    const char *sku = new_item(state, "\"total\":120");
    sale_tally_t tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = STACK, .sku = sku, .buyers = 600, .connections = 16});
    expect_all_sold(sku, &tally, 120, 600);
    EXPECT_NUMBER(sale_allocated(STACK, sku), 120);
    WAIT_UNTIL(sale_available(STACK, sku) == 0);
    web_answer_t late = sale_buy(STACK, sku, "late", 1, "with-a-key");
    EXPECT_PROBLEM(late, 409, "sold_out");
}

static void threes_of_ten_units_leave_one(void **state)
{
    const char *sku = new_item(state, "\"total\":10");
    sale_tally_t tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = STACK, .sku = sku, .buyers = 40, .connections = 16, .quantity = 3});
    expect_all_sold(sku, &tally, 3, 40);
    WAIT_UNTIL(sale_available(STACK, sku) == 1);
    web_answer_t one = buy_one(sku, "last");
    EXPECT_STATUS(one, 201);
    WAIT_UNTIL(sale_available(STACK, sku) == 0);
}

/* One buyer with many requests at once, no keys: the limit is checked where the units are taken. */
static web_request_t greedy(void *context, unsigned i)
{
    (void)i;
    return sale_request(STACK, context, "greedy", 1, NULL);
}

static bool ignore(void *context, unsigned i, const web_answer_t *answer)
{
    (void)context;
    (void)i;
    (void)answer;
    return true;
}

static void the_limit_holds_when_one_buyer_comes_all_at_once(void **state)
{
    const char *sku = new_item(state, "\"total\":100,\"per_buyer_limit\":3");
    web_crowd(&(web_crowd_t){.connections = 16,
                             .count = 60,
                             .request = greedy,
                             .answered = ignore,
                             .context = (void *)sku});
    EXPECT_NUMBER(sale_live_units(STACK, sku), 3);
    EXPECT_SOUND(STACK, sku, 3);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* Each of many buyers three times at once: as many chances for two to be let in side by side. */
static web_request_t thrice(void *context, unsigned i)
{
    return sale_request(STACK, context, test_text("b%u", i / 3), 1, NULL);
}

static void the_limit_holds_when_every_buyer_comes_three_times_at_once(void **state)
{
    const char *sku = new_item(state, "\"total\":1000,\"per_buyer_limit\":1");
    web_crowd(&(web_crowd_t){.connections = 24,
                             .count = 360,
                             .request = thrice,
                             .answered = ignore,
                             .context = (void *)sku});
    EXPECT_SOUND(STACK, sku, 1);
    EXPECT_NUMBER(sale_live_units(STACK, sku), 120);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* --- the orders of a buyer --- */

static void a_buyer_sees_the_orders_newest_first(void **state)
{
    const char *buyer = sale_sku("buyer"), *ids[5];
    for (int i = 0; i < 5; ++i) { /* several items, so on several shards */
        const char *sku = new_item(state, "\"total\":5");
        web_answer_t order = buy_one(sku, buyer);
        EXPECT_STATUS(order, 201);
        ids[i] = test_text("%s", sale_id(&order));
        usleep(3000); /* ids sort by the millisecond */
    }
    const char *cursor = "";
    for (int seen = 0, pages = 0; seen < 5; ++pages) {
        EXPECT(pages < 4, "%d orders on %d pages of 2", seen, pages);
        web_answer_t page = WEB(.base = STACK->url,
                                .path = test_text("/v1/buyers/%s/orders?limit=2%s", buyer, cursor));
        EXPECT_STATUS(page, 200);
        const cJSON *order, *orders = cJSON_GetObjectItemCaseSensitive(page.json, "orders");
        EXPECT(cJSON_GetArraySize(orders) == (seen == 4 ? 1 : 2), "%s", web_show(&page));
        cJSON_ArrayForEach(order, orders)
        {
            const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(order, "order_id"));
            EXPECT(id != NULL && strcmp(id, ids[4 - seen]) == 0, "number %d should be %s: %s", seen,
                   ids[4 - seen], web_show(&page));
            ++seen;
        }
        const char *next = web_string(&page, "next_cursor");
        EXPECT((next == NULL) == (seen == 5), "next_cursor: %s", web_show(&page));
        cursor = test_text("&cursor=%s", next == NULL ? "" : next);
    }
    web_answer_t none =
        WEB(.base = STACK->url, .path = test_text("/v1/buyers/%s-nobody/orders", buyer));
    EXPECT_STATUS(none, 200);
}

/* --- all of it over all strategies --- */

static const struct {
    const char *name;
    CMUnitTestFunction run;
} cases[] = {
#define CASE(function_)                                                                            \
    {                                                                                              \
#function_, function_                                                                      \
    }
    CASE(a_purchase_is_201_with_location_and_order),
    CASE(an_item_shows_its_terms),
    CASE(sold_out_when_units_are_gone),
    CASE(more_than_is_left_is_sold_out_and_less_is_not),
    CASE(nothing_is_sold_of_an_empty_item),
    CASE(the_limit_holds_over_several_orders),
    CASE(a_quantity_above_the_limit_is_refused_as_such),
    CASE(a_cancelled_order_gives_the_limit_back),
    CASE(the_limit_holds_when_one_buyer_comes_all_at_once),
    CASE(the_limit_holds_when_every_buyer_comes_three_times_at_once),
    CASE(the_sale_has_a_window),
    CASE(a_sale_opens_by_itself),
    CASE(an_unknown_item_is_404),
    CASE(an_item_can_be_bought_after_an_answer_404),
    CASE(a_hold_says_until_when),
    CASE(confirm_ends_the_hold_and_may_be_repeated),
    CASE(cancel_returns_the_units_once),
    CASE(a_confirmed_order_may_be_cancelled),
    CASE(extend_moves_the_deadline_and_may_be_repeated),
    CASE(an_expired_hold_returns_its_units),
    CASE(an_unknown_order_is_404),
    CASE(confirm_and_then_cancel_returns_every_unit),
    CASE(a_repeat_shows_the_first_order),
    CASE(a_repeat_after_cancel_sells_nothing_anew),
    CASE(a_key_for_another_request_is_422),
    CASE(a_quoted_key_is_the_same_key),
    CASE(keys_are_per_sku_and_buyer),
    CASE(a_repeat_after_the_last_unit_shows_the_order),
    CASE(a_refusal_is_not_remembered_by_its_key),
    CASE(fifty_parallel_repeats_are_one_order),
    CASE(fifty_parallel_repeats_of_the_last_unit_are_one_order),
    CASE(six_hundred_buyers_get_120_units),
    CASE(threes_of_ten_units_leave_one),
    CASE(a_buyer_sees_the_orders_newest_first),
#undef CASE
};

int main(void)
{
    struct CMUnitTest tests[TEST_COUNT(strategies) * TEST_COUNT(cases)];
    static char names[TEST_COUNT(tests)][128];
    size_t n = 0;
    for (size_t s = 0; s < TEST_COUNT(strategies); ++s) {
        for (size_t c = 0; c < TEST_COUNT(cases); ++c, ++n) {
            snprintf(names[n], sizeof(names[n]), "%s: %s", strategies[s], cases[c].name);
            tests[n] = (struct CMUnitTest){.name = names[n],
                                           .test_func = cases[c].run,
                                           .initial_state = (void *)strategies[s]};
        }
    }
    return test_run("contract", tests, n, NULL, NULL);
}
