/*
 * Holds at their deadline: two services expire the same orders, while their buyers confirm, cancel
 * and extend them in the same instant. Each order ends in one way, and each unit comes back once.
 */
#include <pthread.h>

#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/suite.h"

/* Both stand before COMMIT again and again, for as long as the other one needs to come too. */
static void pause_expiry(unsigned ms)
{
    fault_arm(stack, "expire_before_commit pause=%u\n", ms);
    fault_arm(node, "expire_before_commit pause=%u\n", ms);
}

static void expect_both_expired(void)
{
    EXPECT_FAULT(stack, "expire_before_commit");
    EXPECT_FAULT(node, "expire_before_commit");
    fault_disarm(stack);
    fault_disarm(node);
}

static void two_services_expire_what_a_crowd_moves(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "crowd",
                                "\"total\":600,\"per_buyer_limit\":30,\"hold_seconds\":1,"
                                "\"strategy\":\"%s\"",
                                strategy);
    const test_stack_t *nodes[] = {stack, node};
    double before = fault_metric(stack, "orders_expired_total");
    double before_node = fault_metric(node, "orders_expired_total");
    crowd_t *crowd =
        crowd_start(&(crowd_plan_t){.nodes = nodes,
                                    .nodes_count = 2,
                                    .skus = &sku,
                                    .skus_count = 1,
                                    .connections = sale_uses_gate(strategy) ? 0 : SALE_FEW,
                                    .quantity_max = 1});
    pause_expiry(150);
    crowd_await(crowd, CROWD_CREATED, 60);
    usleep(3000000);
    expect_both_expired();
    crowd_stop(crowd);
    double expired = fault_metric(stack, "orders_expired_total") - before;
    double expired_node = fault_metric(node, "orders_expired_total") - before_node;
    EXPECT(expired > 0 && expired_node > 0, "expired %.0f and %.0f", expired, expired_node);
    /* What is sold now must stay for as long as the last unit takes. */
    web_answer_t longer = sale_patch(stack, sku, "\"hold_seconds\":60");
    EXPECT_STATUS(longer, 200);
    EXPECT_PROMISES(stack, crowd, "%s, expired by one %.0f, by the other %.0f", strategy, expired,
                    expired_node);
}

/* --- to the millisecond --- */

#define HOLDS 60
#define HANDS 12
/* Moves are sent from so long before the deadline until so long after it; on a machine that is too
   slow for that all lose, and it is tried again with four times as much. */
#define AROUND_MS 150
#define AROUND_MS_MAX 10000

typedef struct {
    const char *move;
    const char *ids[HOLDS];
    long long send_at[HOLDS]; /* about the deadline */
    long statuses[HOLDS];
} duel_t;

typedef struct {
    duel_t *duel;
    unsigned number;
    pthread_t thread;
} hand_t;

/* Every HANDS'th order; all are in the order of their deadlines. */
static void *move_at_the_deadline(void *context)
{
    hand_t *hand = context;
    for (unsigned i = hand->number; i < HOLDS; i += HANDS) {
        long long left = hand->duel->send_at[i] - sale_now_ms();
        if (left > 0)
            usleep((useconds_t)left * 1000);
        web_answer_t answer =
            sale_move(i % 2 == 0 ? stack : node, hand->duel->ids[i], hand->duel->move);
        hand->duel->statuses[i] = answer.status;
    }
    return NULL;
}

static void move_all(duel_t *duel)
{
    hand_t hands[HANDS];
    for (unsigned i = 0; i < HANDS; ++i) {
        hands[i] = (hand_t){.duel = duel, .number = i};
        EXPECT_NUMBER(pthread_create(&hands[i].thread, NULL, move_at_the_deadline, &hands[i]), 0);
    }
    for (unsigned i = 0; i < HANDS; ++i)
        pthread_join(hands[i].thread, NULL);
}

static long long state_count(const char *sku, const char *order_state)
{
    return rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = '%s'", sku,
                    order_state);
}

/* The end that the winner gives it: `won` if the move was answered 200, else `expired`. False: all
   moves have won, or all have lost: none met expiry at the deadline. */
static bool expect_one_winner(const duel_t *duel, const char *sku, const char *won)
{
    unsigned winners = 0, losers = 0;
    for (unsigned i = 0; i < HOLDS; ++i) {
        EXPECT(duel->statuses[i] == 200 || duel->statuses[i] == 409, "%s of %s: %ld", duel->move,
               duel->ids[i], duel->statuses[i]);
        bool win = duel->statuses[i] == 200;
        winners += win;
        losers += !win;
        long long as_received =
            rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE order_id = %s AND state = '%s'",
                     rows_order_id(duel->ids[i]), win ? won : "expired");
        EXPECT(as_received == 1, "%s of %s was answered %ld, and it is not %s", duel->move,
               duel->ids[i], duel->statuses[i], win ? won : "expired");
    }
    print_message("%s against expiry: %u of %u won\n", duel->move, winners, winners + losers);
    long long released =
        rows_sum(stack, "SELECT released_total FROM inventory WHERE sku = '%s'", sku);
    EXPECT_NUMBER(released, state_count(sku, "expired") + state_count(sku, "cancelled"));
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    return winners != 0 && losers != 0;
}

/* The orders are held for long, and then given their deadlines, from a second from now on: however
   long it took to buy them, all deadlines are still to come. */
static void take_holds(duel_t *duel, const char *sku, unsigned around_ms)
{
    chance_t chance = chance_of(duel->move);
    for (unsigned i = 0; i < HOLDS; ++i) {
        web_answer_t order = sale_buy(i % 2 == 0 ? stack : node, sku, test_text("b%u", i), 1, NULL);
        EXPECT_STATUS(order, 201);
        duel->ids[i] = sale_id(&order);
    }
    web_answer_t shorter = sale_patch(stack, sku, "\"hold_seconds\":2");
    EXPECT_STATUS(shorter, 200);
    long long first_ms = sale_now_ms() + 1000 + around_ms;
    sale_set_deadlines(stack, sku, first_ms);
    for (unsigned i = 0; i < HOLDS; ++i)
        duel->send_at[i] = first_ms - around_ms + chance_below(&chance, 2 * around_ms);
}

/* What an extended hold ends in is expiry too, but not before its new deadline: a second expiry of
   what is still held is seen in released_total. */
static bool meets_expiry(const char *move, unsigned around_ms)
{
    duel_t duel = {.move = move};
    const char *sku = sale_item(stack, move, "\"total\":100,\"hold_seconds\":600");
    take_holds(&duel, sku, around_ms);
    pause_expiry(20);
    move_all(&duel);
    expect_both_expired();
    WAIT_UNTIL(state_count(sku, "held") == 0);
    /* A reminder goes when it is due, whatever became of its order. */
    WAIT_UNTIL(rows_sum(stack,
                        "SELECT COUNT(*) FROM holds WHERE order_id IN (SELECT order_id FROM orders "
                        "WHERE sku = '%s')",
                        sku) == 0);
    return expect_one_winner(&duel, sku,
                             strcmp(move, "extend") == 0    ? "expired"
                             : strcmp(move, "confirm") == 0 ? "confirmed"
                                                            : "cancelled");
}

static void a_move_against_expiry(void **state)
{
    unsigned around_ms = AROUND_MS;
    while (!meets_expiry(*state, around_ms))
        EXPECT((around_ms *= 4) <= AROUND_MS_MAX, "no move has met expiry at the deadline");
}

/* --- a hold that is extended without end --- */

static long long time_of(const web_answer_t *order, const char *member)
{
    return sale_parse_time(web_string(order, member));
}

/* False: this machine was so slow that the hold ran out between two extends. */
static bool is_held_to_its_bound(const test_stack_t *third, unsigned max_seconds)
{
    const char *sku = sale_item(stack, "ends", "\"total\":1,\"hold_seconds\":1");
    web_answer_t order = sale_buy(third, sku, "a", 1, NULL);
    EXPECT_STATUS(order, 201);
    long long bound = time_of(&order, "created_at") + max_seconds * 1000, last = 0;
    web_answer_t extended = sale_move(third, sale_id(&order), "extend");
    for (long long end = test_clock_ms() + TEST_WAIT_MS; extended.status == 200;) {
        EXPECT(test_clock_ms() < end, "still held: %s", web_show(&extended));
        last = time_of(&extended, "expires_at");
        EXPECT(last <= bound, "extended %lld ms past the bound", last - bound);
        usleep(20000);
        extended = sale_move(third, sale_id(&order), "extend");
    }
    EXPECT_PROBLEM(extended, 409, "wrong_state");
    WAIT_UNTIL(sale_buy(stack, sku, "b", 1, NULL).status == 201);
    EXPECT_SOUND(stack, sku, 0);
    return last == bound;
}

/* It ends, at two services of two settings, and its unit is sold again. */
static void a_hold_ends_however_often_it_is_extended(void **state)
{
    unsigned max_seconds = *state == NULL ? 4 : 3; /* default: four times the item's hold_seconds */
    const char *setting = *state;
    test_stack_t *third = stack_node_start(stack, 3, &setting, setting != NULL);
    for (unsigned tries = 1; !is_held_to_its_bound(third, max_seconds); ++tries)
        EXPECT(tries < 10, "a hold of %u s at the most never lasted so long", max_seconds);
    stack_node_stop(third);
}

#define DUEL(move_)                                                                                \
    {                                                                                              \
        move_ " against expiry", a_move_against_expiry, NULL, NULL, (void *)move_                  \
    }

#define ENDS(setting_)                                                                             \
    {                                                                                              \
        "a hold ends however often it is extended: " #setting_,                                    \
            a_hold_ends_however_often_it_is_extended, NULL, NULL, (void *)(setting_)               \
    }

static const suite_t suite = {.name = "deadlines",
                              .settings = {"reconcile.expiry_interval_ms=50"},
                              .pair = true,
                              .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        UNDER("watch", two_services_expire_what_a_crowd_moves),
        UNDER("serializable", two_services_expire_what_a_crowd_moves),
        /* Always: */
        UNDER("lua", two_services_expire_what_a_crowd_moves),
        UNDER("optimistic", two_services_expire_what_a_crowd_moves),
        DUEL("confirm"),
        DUEL("cancel"),
        DUEL("extend"),
        ENDS(NULL),
        ENDS("orders.hold_max_seconds=3"),
    };
    size_t from = chance_is_long() ? 0 : 2;
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
