/*
 * A service dies while units of orders are given back. Afterwards every cancel is repeated with its
 * key: each has given back its units once, whatever was heard of it before, and they can be bought
 * to the last one.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

#define ORDERS 300
#define QUANTITY 10
/* Of each order so many cancels of one unit, by a key each: one unit stays. */
#define KEYS (QUANTITY - 1)
#define WISHES (ORDERS * KEYS)
#define HANDS 6
#define PAUSE_US 15000
#define KILLS_AT_RANDOM 3
#define PATIENCE_MS 90000

typedef enum { NOT_GIVEN_BACK, GIVEN_BACK, REPLAYED } give_back_t;

typedef struct {
    const char *strategy, *sku;
    char (*ids)[SALE_ID_SIZE];
    give_back_t received[WISHES];
    long odd[WISHES];           /* the status of an answer that fits nothing */
    atomic_uint sent, answered; /* before the last kill */
    atomic_bool over;
    unsigned sending[WISHES], sending_count; /* when all are repeated */
    unsigned kills;
} sale_t;

/* --- cancels --- */

static web_request_t request(const sale_t *sale, unsigned wish)
{
    return (web_request_t){.base = wish % 2 == 0 ? node->url : stack->url,
                           .path = test_text("/v1/orders/%s/cancel", sale->ids[wish / KEYS]),
                           .body = "{\"quantity\":1}",
                           .key = test_text("k%u", wish % KEYS)};
}

static void note(sale_t *sale, unsigned wish, const web_answer_t *answer)
{
    bool replayed = answer->replayed[0] != '\0';
    if (answer->status == 200 && sale->received[wish] == NOT_GIVEN_BACK)
        sale->received[wish] = replayed ? REPLAYED : GIVEN_BACK;
    else if (answer->status == 200 ? !replayed : answer->status != 0 && answer->status != 503)
        sale->odd[wish] = answer->status;
}

/* Each wish once, in an order that has nothing to do with that of the orders. */
static void *give_back(void *context)
{
    sale_t *sale = context;
    while (!atomic_load(&sale->over)) {
        unsigned sent = atomic_fetch_add(&sale->sent, 1);
        if (sent >= WISHES)
            return NULL;
        unsigned wish = (unsigned)((sent * 1009ULL) % WISHES);
        web_request_t asked = request(sale, wish);
        web_answer_t answer = web_call(&asked);
        note(sale, wish, &answer);
        atomic_fetch_add(&sale->answered, answer.status == 200);
        usleep(PAUSE_US);
    }
    return NULL;
}

static web_request_t repeat(void *context, unsigned i)
{
    const sale_t *sale = context;
    return request(sale, sale->sending[i]);
}

static bool note_repeat(void *context, unsigned i, const web_answer_t *answer)
{
    sale_t *sale = context;
    unsigned wish = sale->sending[i];
    note(sale, wish, answer);
    if (answer->status == 200 || sale->odd[wish] != 0)
        sale->sending[i] = WISHES; /* done */
    return true;
}

/* Until each has heard 200, or what it may not hear. */
static void repeat_all(sale_t *sale)
{
    long long end = test_clock_ms() + PATIENCE_MS;
    for (unsigned i = 0; i < WISHES; ++i)
        sale->sending[i] = i;
    for (sale->sending_count = WISHES; sale->sending_count != 0;) {
        EXPECT(test_clock_ms() < end, "%u cancels are not answered", sale->sending_count);
        web_crowd(&(web_crowd_t){.connections = 16,
                                 .count = sale->sending_count,
                                 .request = repeat,
                                 .answered = note_repeat,
                                 .context = sale});
        unsigned left = 0;
        for (unsigned i = 0; i < sale->sending_count; ++i)
            if (sale->sending[i] != WISHES)
                sale->sending[left++] = sale->sending[i];
        sale->sending_count = left;
    }
}

/* --- deaths --- */

static void dies_at(sale_t *sale, const char *place, chance_t *chance)
{
    fault_arm(node, "%s kill after=%u times=1\n", place, chance_below(chance, 12));
    WAIT_UNTIL(process_is_gone(node->pid));
    EXPECT_NUMBER(fault_hits(node, place), 1);
    fault_disarm(node);
    stack_node_again(node);
    ++sale->kills;
}

static void dies_now(sale_t *sale, chance_t *chance)
{
    unsigned answered = atomic_load(&sale->answered);
    WAIT_UNTIL(atomic_load(&sale->answered) >= answered + 10);
    usleep(chance_below(chance, 200) * 1000);
    process_signal(node->pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(node->pid));
    stack_node_again(node);
    ++sale->kills;
}

static void kill_while_units_are_given_back(sale_t *sale)
{
    static const char *const places[] = {"move_before_commit", "move_after_commit",
                                         "release_before_gate", "release_after_gate"};
    pthread_t hands[HANDS];
    chance_t chance = chance_of(sale->strategy);
    for (unsigned i = 0; i < HANDS; ++i)
        EXPECT_NUMBER(pthread_create(&hands[i], NULL, give_back, sale), 0);
    for (unsigned i = 0; i < TEST_COUNT(places); ++i)
        dies_at(sale, places[i], &chance);
    for (unsigned i = 0; i < KILLS_AT_RANDOM; ++i)
        dies_now(sale, &chance);
    atomic_store(&sale->over, true);
    for (unsigned i = 0; i < HANDS; ++i)
        pthread_join(hands[i], NULL);
}

/* --- what must be true --- */

static void expect_once_each(const sale_t *sale)
{
    unsigned known = 0;
    for (unsigned i = 0; i < WISHES; ++i) {
        EXPECT(sale->odd[i] == 0, "cancel %u of %s: %ld", i % KEYS, sale->ids[i / KEYS],
               sale->odd[i]);
        known += sale->received[i] == REPLAYED;
    }
    print_message("%s: %u kills, %u cancels sent meanwhile, %u answered, %u known although nobody "
                  "had heard of them\n",
                  sale->strategy, sale->kills, atomic_load(&sale->sent),
                  atomic_load(&sale->answered), known);
    long long as_they_should_be = rows_sum(stack,
                                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state "
                                           "= 'confirmed' AND quantity = 1 AND given_back = %d",
                                           sale->sku, KEYS);
    EXPECT_NUMBER(as_they_should_be, ORDERS);
    EXPECT_NUMBER(
        rows_sum(stack, "SELECT released_total FROM inventory WHERE sku = '%s'", sale->sku),
        WISHES);
    EXPECT_SOUND(stack, sale->sku, QUANTITY);
}

/* Oversold by none, and none is lost. */
static void expect_sold_to_the_last(const sale_t *sale)
{
    unsigned bought = 0;
    long long end = test_clock_ms() + PATIENCE_MS;
    while (bought < WISHES) {
        EXPECT(test_clock_ms() < end, "%u of %d were sold", bought, WISHES);
        sale_tally_t tally = sale_rush(&(sale_rush_t){.stack = stack,
                                                      .other = node,
                                                      .sku = sale->sku,
                                                      .buyers = WISHES / QUANTITY,
                                                      .quantity = QUANTITY,
                                                      .connections = SALE_FEW,
                                                      .key = NULL});
        EXPECT(tally.odd == NULL, "%s", sale_show(&tally));
        bought += QUANTITY * (tally.created + sale_settle_pending(stack, &tally));
        sale_patch(stack, sale->sku, "\"per_buyer_limit\":0"); /* the same buyers come again */
    }
    EXPECT_NUMBER(bought, WISHES);
    WAIT_UNTIL(sale_available(stack, sale->sku) == 0);
    EXPECT_SOUND(stack, sale->sku, 0);
    EXPECT_GATE_AGREES(stack, sale->sku);
    web_answer_t audit = sale_audit(stack);
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(audit.json, "ok")), "%s", web_show(&audit));
}

static void each_gives_back_once_whatever_dies(void **state)
{
    static sale_t sale;
    sale = (sale_t){.strategy = *state};
    sale.sku = sale_item(stack, "back", "\"total\":%d,\"per_buyer_limit\":%d,\"strategy\":\"%s\"",
                         ORDERS * QUANTITY, QUANTITY, sale.strategy);
    sale_tally_t sold = sale_rush_to_the_end(&(sale_rush_t){.stack = stack,
                                                            .other = node,
                                                            .sku = sale.sku,
                                                            .buyers = ORDERS,
                                                            .quantity = QUANTITY,
                                                            .connections = SALE_FEW});
    EXPECT(sold.created == ORDERS, "%s", sale_show(&sold));
    sale.ids = sold.ids;
    kill_while_units_are_given_back(&sale);
    repeat_all(&sale);
    expect_once_each(&sale);
    EXPECT_GATE_AGREES(stack, sale.sku);
    expect_sold_to_the_last(&sale);
}

static const suite_t suite = {.name = "give_back",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .setup = suite_pair_up};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", each_gives_back_once_whatever_dies),
        UNDER("watch", each_gives_back_once_whatever_dies),
        UNDER("optimistic", each_gives_back_once_whatever_dies),
        UNDER("serializable", each_gives_back_once_whatever_dies),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
