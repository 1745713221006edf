/*
 * A cancel of some units: the order goes on with the rest, the units are sold again, the buyer's
 * limit counts the rest only, and a repeat of its key gives back nothing; under every strategy, and
 * against the other moves. Bodies and queries of moves are read as strictly as those of a purchase.
 */
#include <pthread.h>

#include "harness/sale.h"

static const test_stack_t *stack;

static int start(void **state)
{
    (void)state;
    stack = stack_shared();
    return 0;
}

/* Under the strategy that the case is for. */
static const char *new_item(void **state, const char *terms)
{
    return sale_item(stack, "part", "%s,\"strategy\":\"%s\"", terms, (const char *)*state);
}

static web_answer_t buy(const char *sku, const char *buyer, int quantity, const char *key)
{
    web_answer_t order = sale_buy(stack, sku, buyer, quantity, key);
    EXPECT_STATUS(order, 201);
    return order;
}

static web_request_t request(const web_answer_t *order, int units, const char *key)
{
    return (web_request_t){.base = stack->url,
                           .path = test_text("/v1/orders/%s/cancel", sale_id(order)),
                           .body = test_text("{\"quantity\":%d}", units),
                           .key = key};
}

static web_answer_t give_back(const web_answer_t *order, int units, const char *key)
{
    web_request_t asked = request(order, units, key);
    return web_call(&asked);
}

#define EXPECT_ORDER(answer_, state_, quantity_, replayed_)                                        \
    expect_order(__LINE__, &(answer_), state_, quantity_, replayed_)
static void expect_order(int line, const web_answer_t *answer, const char *state, int quantity,
                         bool replayed)
{
    if (answer->status != 200 || strcmp(sale_state(answer), state) != 0 ||
        web_number(answer, "quantity") != quantity || (answer->replayed[0] != '\0') != replayed)
        test_fail(__FILE__, line, "expected %s, %d units%s: %s", state, quantity,
                  replayed ? ", replayed" : "", web_show(answer));
}

static void expect_stored(const web_answer_t *order, const char *state, int quantity)
{
    web_answer_t stored = sale_get(stack, sale_id(order));
    EXPECT_ORDER(stored, state, quantity, false);
}

/* Rows and totals agree, the gate has so many units left, and the audit finds nothing. */
static void expect_left(const char *sku, int limit, int left)
{
    EXPECT_SOUND(stack, sku, limit);
    WAIT_UNTIL(sale_available(stack, sku) == left);
    EXPECT_GATE_AGREES(stack, sku);
}

static void expect_clean_audit(void)
{
    web_answer_t audit = sale_audit(stack);
    EXPECT_STATUS(audit, 200);
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(audit.json, "ok")), "%s", web_show(&audit));
}

/* --- what it does --- */

static void an_order_goes_on_with_the_rest(void **state)
{
    const char *sku = new_item(state, "\"total\":3,\"hold_seconds\":600");
    web_answer_t order = buy(sku, "a", 3, NULL);
    web_answer_t none_left = sale_buy(stack, sku, "b", 1, NULL);
    EXPECT_PROBLEM(none_left, 409, "sold_out");
    web_answer_t part = give_back(&order, 1, "k1");
    EXPECT_ORDER(part, "held", 2, false);
    expect_stored(&order, "held", 2);
    WAIT_UNTIL(sale_buy(stack, sku, "b", 1, NULL).status == 201);
    expect_left(sku, 0, 0);
    web_answer_t confirmed = sale_move(stack, sale_id(&order), "confirm");
    EXPECT_ORDER(confirmed, "confirmed", 2, false);
    part = give_back(&order, 1, "k2");
    EXPECT_ORDER(part, "confirmed", 1, false);
    WAIT_UNTIL(sale_buy(stack, sku, "c", 1, NULL).status == 201);
    web_answer_t cancelled = sale_move(stack, sale_id(&order), "cancel");
    EXPECT_ORDER(cancelled, "cancelled", 1, false);
    expect_left(sku, 0, 1);
    expect_clean_audit();
}

static void the_last_units_cancel_it(void **state)
{
    const char *sku = new_item(state, "\"total\":5");
    web_answer_t order = buy(sku, "a", 3, NULL);
    web_answer_t part = give_back(&order, 1, "k1");
    EXPECT_ORDER(part, "confirmed", 2, false);
    part = give_back(&order, 2, "k2");
    EXPECT_ORDER(part, "cancelled", 2, false);
    part = give_back(&order, 2, "k2");
    EXPECT_ORDER(part, "cancelled", 2, true);
    web_answer_t plain = sale_move(stack, sale_id(&order), "cancel");
    EXPECT_ORDER(plain, "cancelled", 2, false);
    web_answer_t other = give_back(&order, 1, "k3");
    EXPECT_PROBLEM(other, 409, "wrong_state");
    expect_left(sku, 0, 5);
    expect_clean_audit();
}

static void a_repeat_gives_back_nothing(void **state)
{
    const char *sku = new_item(state, "\"total\":9,\"hold_seconds\":600");
    web_answer_t order = buy(sku, "a", 5, NULL);
    web_answer_t part = give_back(&order, 2, "k1");
    EXPECT_ORDER(part, "held", 3, false);
    part = give_back(&order, 2, "\"k1\""); /* the same key */
    EXPECT_ORDER(part, "held", 3, true);
    part = give_back(&order, 1, "k2");
    EXPECT_ORDER(part, "held", 2, false);
    part = give_back(&order, 2, "k1"); /* as it now stands */
    EXPECT_ORDER(part, "held", 2, true);
    web_answer_t other = give_back(&order, 1, "k1");
    EXPECT_PROBLEM(other, 422, "idempotency_key_reused");
    other = give_back(&order, 9, "k1");
    EXPECT_PROBLEM(other, 422, "idempotency_key_reused");
    web_answer_t all = WEB(.base = stack->url, .method = "POST", .key = "k1",
                           .path = test_text("/v1/orders/%s/cancel", sale_id(&order)));
    EXPECT_PROBLEM(all, 422, "idempotency_key_reused");
    expect_stored(&order, "held", 2);
    expect_left(sku, 0, 7);
    web_answer_t cancelled = sale_move(stack, sale_id(&order), "cancel");
    EXPECT_ORDER(cancelled, "cancelled", 2, false);
    part = give_back(&order, 2, "k1");
    EXPECT_ORDER(part, "cancelled", 2, true);
    expect_left(sku, 0, 9);
    expect_clean_audit();
}

/* Keys are the order's: another one has its own, and so has the purchase. */
static void keys_are_of_one_order(void **state)
{
    const char *sku = new_item(state, "\"total\":9");
    web_answer_t a = buy(sku, "a", 3, "k"), b = buy(sku, "b", 3, "k");
    web_answer_t part = give_back(&a, 1, "k");
    EXPECT_ORDER(part, "confirmed", 2, false);
    part = give_back(&b, 2, "k");
    EXPECT_ORDER(part, "confirmed", 1, false);
    expect_left(sku, 0, 6);
}

/* It says what was bought, whatever is left of it. */
static void the_purchase_is_still_a_repeat(void **state)
{
    const char *sku = new_item(state, "\"total\":9,\"hold_seconds\":600");
    web_answer_t order = buy(sku, "a", 3, "buy");
    web_answer_t part = give_back(&order, 1, "k");
    EXPECT_ORDER(part, "held", 2, false);
    web_answer_t again = sale_buy(stack, sku, "a", 3, "buy");
    EXPECT_STATUS(again, 201);
    EXPECT(again.replayed[0] != '\0' && strcmp(sale_id(&again), sale_id(&order)) == 0, "%s",
           web_show(&again));
    EXPECT_NUMBER(web_number(&again, "quantity"), 2);
    web_answer_t other = sale_buy(stack, sku, "a", 2, "buy");
    EXPECT_PROBLEM(other, 422, "idempotency_key_reused");
    expect_left(sku, 0, 7);
}

static void the_limit_counts_the_rest(void **state)
{
    const char *sku = new_item(state, "\"total\":50,\"per_buyer_limit\":3");
    web_answer_t order = buy(sku, "a", 3, NULL);
    web_answer_t over = sale_buy(stack, sku, "a", 1, NULL);
    EXPECT_PROBLEM(over, 409, "buyer_limit_exceeded");
    web_answer_t part = give_back(&order, 2, "k");
    EXPECT_ORDER(part, "confirmed", 1, false);
    WAIT_UNTIL(sale_buy(stack, sku, "a", 2, NULL).status == 201);
    over = sale_buy(stack, sku, "a", 1, NULL);
    EXPECT_PROBLEM(over, 409, "buyer_limit_exceeded");
    expect_left(sku, 3, 47);
    expect_clean_audit();
}

/* A plain one with a key is remembered too. */
static void a_plain_cancel_may_have_a_key(void **state)
{
    const char *sku = new_item(state, "\"total\":9");
    web_answer_t order = buy(sku, "a", 3, NULL);
    web_request_t plain = {.base = stack->url,
                           .method = "POST",
                           .path = test_text("/v1/orders/%s/cancel", sale_id(&order)),
                           .key = "k"};
    web_answer_t answer = web_call(&plain);
    EXPECT_ORDER(answer, "cancelled", 3, false);
    answer = web_call(&plain);
    EXPECT_ORDER(answer, "cancelled", 3, true);
    plain.body = "{}";
    answer = web_call(&plain);
    EXPECT_ORDER(answer, "cancelled", 3, true);
    answer = give_back(&order, 3, "k");
    EXPECT_PROBLEM(answer, 422, "idempotency_key_reused");
    expect_left(sku, 0, 9);
}

/* A rebuilt gate, a changed strategy and a deleted item count what is left of the orders. */
static void the_gate_is_rebuilt_from_the_rest(void **state)
{
    const char *sku = new_item(state, "\"total\":9,\"per_buyer_limit\":4");
    web_answer_t order = buy(sku, "a", 4, NULL);
    web_answer_t part = give_back(&order, 3, "k");
    EXPECT_ORDER(part, "confirmed", 1, false);
    web_answer_t patched = sale_patch(stack, sku, "\"total\":10");
    EXPECT_STATUS(patched, 200);
    WAIT_UNTIL(sale_buy(stack, sku, "a", 3, NULL).status == 201);
    web_answer_t over = sale_buy(stack, sku, "a", 1, NULL);
    EXPECT_PROBLEM(over, 409, "buyer_limit_exceeded");
    expect_left(sku, 4, 6);
    patched = sale_patch(stack, sku, "\"strategy\":\"optimistic\"");
    EXPECT_STATUS(patched, 200);
    part = give_back(&order, 1, "k2");
    EXPECT_ORDER(part, "cancelled", 1, false);
    patched = sale_patch(stack, sku, "\"strategy\":\"lua\"");
    EXPECT_STATUS(patched, 200);
    WAIT_UNTIL(sale_buy(stack, sku, "a", 1, NULL).status == 201);
    expect_left(sku, 4, 6);
    expect_clean_audit();
}

static void an_item_that_is_put_again_counts_them(void **state)
{
    const char *sku = new_item(state, "\"total\":9");
    web_answer_t order = buy(sku, "a", 4, NULL);
    web_answer_t part = give_back(&order, 1, "k");
    EXPECT_ORDER(part, "confirmed", 3, false);
    web_answer_t cancelled = sale_move(stack, sale_id(&order), "cancel");
    EXPECT_ORDER(cancelled, "cancelled", 3, false);
    const char *path = test_text("/v1/items/%s", sku);
    web_answer_t deleted = ADMIN(stack, .method = "DELETE", .path = path);
    EXPECT_STATUS(deleted, 204);
    expect_stored(&order, "cancelled", 3);
    part = give_back(&order, 1, "k"); /* it stays known */
    EXPECT_ORDER(part, "cancelled", 3, true);
    web_answer_t put = ADMIN(stack, .method = "PUT", .path = path, .body = "{\"total\":9}");
    EXPECT_STATUS(put, 201);
    expect_left(sku, 0, 9);
    expect_clean_audit();
}

/* --- against others --- */

#define CLIENTS 8
#define ORDERS 40

typedef struct {
    web_answer_t orders[ORDERS];
    const char *(*key_of)(unsigned i);
    int units;
    long given_back[ORDERS]; /* units, by answers that are no repeats */
    unsigned replays, refusals;
    const char *odd;
} crowd_t;

static web_request_t give_back_one(void *context, unsigned i)
{
    const crowd_t *crowd = context;
    return request(&crowd->orders[i / CLIENTS], crowd->units, crowd->key_of(i));
}

static bool note_given_back(void *context, unsigned i, const web_answer_t *answer)
{
    crowd_t *crowd = context;
    if (answer->status == 200 && answer->replayed[0] == '\0')
        crowd->given_back[i / CLIENTS] += crowd->units;
    else if (answer->status == 200)
        ++crowd->replays;
    else if (web_has_code(answer, "wrong_state") || web_has_code(answer, "invalid_request"))
        ++crowd->refusals;
    else if (crowd->odd == NULL)
        crowd->odd = test_text("%s", web_show(answer));
    return true;
}

static const char *one_key(unsigned i)
{
    (void)i;
    return "k";
}

static const char *a_key_each(unsigned i)
{
    return test_text("k%u", i);
}

static const char *take_orders(void **state, crowd_t *crowd, int quantity)
{
    const char *sku = new_item(state, test_text("\"total\":%d", ORDERS * quantity));
    for (unsigned i = 0; i < ORDERS; ++i)
        crowd->orders[i] = buy(sku, test_text("b%u", i), quantity, NULL);
    return sku;
}

static void give_back_at_once(crowd_t *crowd)
{
    web_crowd(&(web_crowd_t){.connections = 2 * CLIENTS,
                             .count = ORDERS * CLIENTS,
                             .request = give_back_one,
                             .answered = note_given_back,
                             .context = crowd});
    EXPECT(crowd->odd == NULL, "%s", crowd->odd);
}

static void of_one_key_one_gives_back(void **state)
{
    crowd_t crowd = {.key_of = one_key, .units = 2};
    const char *sku = take_orders(state, &crowd, 5);
    give_back_at_once(&crowd);
    for (unsigned i = 0; i < ORDERS; ++i) {
        EXPECT_NUMBER(crowd.given_back[i], 2);
        expect_stored(&crowd.orders[i], "confirmed", 3);
    }
    EXPECT_NUMBER(crowd.replays, ORDERS * (CLIENTS - 1));
    expect_left(sku, 0, ORDERS * 2);
    expect_clean_audit();
}

/* 7 units, of which 8 clients give 2 back each: three get it, and one unit stays. */
static void of_many_keys_so_many_as_there_are_units(void **state)
{
    crowd_t crowd = {.key_of = a_key_each, .units = 2};
    const char *sku = take_orders(state, &crowd, 7);
    give_back_at_once(&crowd);
    for (unsigned i = 0; i < ORDERS; ++i) {
        EXPECT_NUMBER(crowd.given_back[i], 6);
        expect_stored(&crowd.orders[i], "confirmed", 1);
    }
    EXPECT_NUMBER(crowd.refusals, ORDERS * (CLIENTS - 3));
    expect_left(sku, 0, ORDERS * 6);
    expect_clean_audit();
}

/* Of every order one unit is given back, in the moment that others move it as a whole. */
typedef struct {
    web_answer_t *orders;
    const char *moves[4]; /* by turns */
    unsigned begin, odd;
    pthread_t thread;
} mover_t;

static void *move_all(void *context)
{
    mover_t *mover = context;
    for (unsigned i = mover->begin; i < ORDERS; i += 2) {
        web_answer_t answer = sale_move(stack, sale_id(&mover->orders[i]), mover->moves[i / 2 % 4]);
        mover->odd += answer.status != 200 && answer.status != 409;
    }
    return NULL;
}

static void against_confirm_extend_and_cancel(void **state)
{
    crowd_t crowd = {.key_of = one_key, .units = 1};
    const char *sku = new_item(state, test_text("\"total\":%d,\"hold_seconds\":600", ORDERS * 3));
    mover_t movers[2];
    for (unsigned i = 0; i < ORDERS; ++i)
        crowd.orders[i] = buy(sku, test_text("b%u", i), 3, NULL);
    for (unsigned i = 0; i < 2; ++i) {
        movers[i] = (mover_t){.orders = crowd.orders,
                              .moves = {"confirm", "extend", "cancel", "confirm"},
                              .begin = i};
        EXPECT_NUMBER(pthread_create(&movers[i].thread, NULL, move_all, &movers[i]), 0);
    }
    give_back_at_once(&crowd);
    long long left = 0;
    for (unsigned i = 0; i < 2; ++i)
        pthread_join(movers[i].thread, NULL);
    for (unsigned i = 0; i < ORDERS; ++i) {
        bool cancelled = i / 2 % 4 == 2;
        const char *want = cancelled ? "cancelled" : i / 2 % 4 == 1 ? "held" : "confirmed";
        expect_stored(&crowd.orders[i], want, 3 - (int)crowd.given_back[i]);
        EXPECT(cancelled || crowd.given_back[i] == 1, "%ld", crowd.given_back[i]);
        left += cancelled ? 3 : crowd.given_back[i];
    }
    EXPECT(movers[0].odd == 0 && movers[1].odd == 0, "%u, %u", movers[0].odd, movers[1].odd);
    expect_left(sku, 0, (int)left);
    expect_clean_audit();
}

/* What is left expires, and comes back once. */
static void against_expiry(void **state)
{
    crowd_t crowd = {.key_of = one_key, .units = 1};
    const char *sku = new_item(state, test_text("\"total\":%d,\"hold_seconds\":1", ORDERS * 3));
    for (unsigned i = 0; i < ORDERS; ++i)
        crowd.orders[i] = buy(sku, test_text("b%u", i), 3, NULL);
    long long due = sale_parse_time(web_string(&crowd.orders[ORDERS / 2], "expires_at"));
    while (sale_now_ms() < due - 200)
        usleep(5000);
    give_back_at_once(&crowd);
    WAIT_UNTIL(rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'held'",
                        sku) == 0);
    for (unsigned i = 0; i < ORDERS; ++i)
        expect_stored(&crowd.orders[i], "expired", 3 - (int)crowd.given_back[i]);
    EXPECT_NUMBER(rows_sum(stack, "SELECT released_total FROM inventory WHERE sku = '%s'", sku),
                  ORDERS * 3);
    expect_left(sku, 0, ORDERS * 3);
    expect_clean_audit();
}

/* --- what is refused --- */

typedef struct {
    const char *body, *key, *type;
    long status;
    const char *code, *names; /* what the detail names */
} refusal_t;

static void expect_refusals(const char *path, const refusal_t *cases, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        const refusal_t *c = &cases[i];
        web_answer_t answer = WEB(.base = stack->url, .method = "POST", .path = path,
                                  .body = c->body, .key = c->key, .content_type = c->type);
        EXPECT(answer.status == c->status && web_problem_fault(&answer) == NULL &&
                   web_has_code(&answer, c->code),
               "%s with %s: %s", path, c->body, web_show(&answer));
        const char *detail = web_string(&answer, "detail");
        EXPECT(c->names == NULL || (detail != NULL && strstr(detail, c->names) != NULL),
               "%s with %s: %s", path, c->body, web_show(&answer));
    }
}

static void a_cancel_is_read_strictly(void **state)
{
    static const refusal_t cases[] = {
        {"{\"quantity\":1}", NULL, NULL, 400, "invalid_request", "Idempotency-Key"},
        {"{\"quantity\":1}", "two words", NULL, 400, "invalid_request", "Idempotency-Key"},
        {NULL, "two words", NULL, 400, "invalid_request", "Idempotency-Key"},
        {"{\"quantity\":0}", "k", NULL, 400, "invalid_request", "at most what the order has"},
        {"{\"quantity\":-1}", "k", NULL, 400, "invalid_request", "quantity"},
        {"{\"quantity\":1.5}", "k", NULL, 400, "invalid_request", "quantity"},
        {"{\"quantity\":\"1\"}", "k", NULL, 400, "invalid_request", "quantity"},
        {"{\"quantity\":null}", "k", NULL, 400, "invalid_request", "quantity"},
        {"{\"quantity\":[1]}", "k", NULL, 400, "invalid_request", "quantity"},
        {"{\"quantity\":true}", "k", NULL, 400, "invalid_request", "quantity"},
        {"{\"quantity\":1e99}", "k", NULL, 400, "invalid_request", "from 1 to 3"},
        {"{\"quantity\":1000001}", "k", NULL, 400, "invalid_request", "from 1 to 3"},
        {"{\"quantity\":4294967299}", "k", NULL, 400, "invalid_request", "from 1 to 3"},
        {"{\"quantity\":4}", "k", NULL, 400, "invalid_request",
         "quantity: give a whole number "
         "from 1 to 3"},
        {"{\"units\":1}", "k", NULL, 400, "invalid_request", "units"},
        {"{\"quantity\":1,\"why\":\"\"}", "k", NULL, 400, "invalid_request", "why"},
        {"{\"quantity\":1,\"quantity\":1}", "k", NULL, 400, "malformed_json", NULL},
        {"{\"quantity\":1", "k", NULL, 400, "malformed_json", NULL},
        {"[]", "k", NULL, 400, "malformed_json", NULL},
        {" ", "k", NULL, 400, "malformed_json", NULL},
        {"{\"quantity\":1}", "k", "text/plain", 415, "unsupported_media_type", NULL},
        {"{}", NULL, "application/x-www-form-urlencoded", 415, "unsupported_media_type", NULL},
    };
    const char *sku = new_item(state, "\"total\":5");
    web_answer_t order = buy(sku, "a", 3, NULL);
    expect_refusals(test_text("/v1/orders/%s/cancel", sale_id(&order)), cases, TEST_COUNT(cases));
    expect_refusals(test_text("/v1/orders/%s/cancel?quantity=1", sale_id(&order)),
                    &(refusal_t){NULL, NULL, NULL, 400, "invalid_request", "quantity"}, 1);
    expect_stored(&order, "confirmed", 3);
    expect_left(sku, 0, 2);
}

static void an_order_that_has_ended_gives_nothing_back(void **state)
{
    const char *sku = new_item(state, "\"total\":5");
    static const char *const unknown = "0190b7a1-0000-7000-8000-000000000000";
    web_answer_t order = buy(sku, "a", 3, NULL);
    web_answer_t cancelled = sale_move(stack, sale_id(&order), "cancel");
    EXPECT_ORDER(cancelled, "cancelled", 3, false);
    web_answer_t part = give_back(&order, 1, "k");
    EXPECT_PROBLEM(part, 409, "wrong_state");
    part = give_back(&order, 4, "k");
    EXPECT_PROBLEM(part, 409, "wrong_state");
    expect_refusals(test_text("/v1/orders/%s/cancel", unknown),
                    &(refusal_t){"{\"quantity\":1}", "k", NULL, 404, "unknown_order", NULL}, 1);
    expect_left(sku, 0, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER_ALL(an_order_goes_on_with_the_rest),
        UNDER_ALL(the_last_units_cancel_it),
        UNDER_ALL(a_repeat_gives_back_nothing),
        UNDER_ALL(keys_are_of_one_order),
        UNDER_ALL(the_purchase_is_still_a_repeat),
        UNDER_ALL(the_limit_counts_the_rest),
        UNDER_ALL(a_plain_cancel_may_have_a_key),
        UNDER_ALL(the_gate_is_rebuilt_from_the_rest),
        UNDER_ALL(an_item_that_is_put_again_counts_them),
        UNDER_ALL(of_one_key_one_gives_back),
        UNDER_ALL(of_many_keys_so_many_as_there_are_units),
        UNDER_ALL(against_confirm_extend_and_cancel),
        UNDER_ALL(against_expiry),
        UNDER_ALL(a_cancel_is_read_strictly),
        UNDER_ALL(an_order_that_has_ended_gives_nothing_back),
    };
    return test_run("partial_cancel", tests, TEST_COUNT(tests), start, NULL);
}
