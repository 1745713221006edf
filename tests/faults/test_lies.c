/*
 * The gate is spoiled in full traffic: counters that lie, holds that vanish or appear, a table of
 * buyers that is gone. It is repaired while buyers keep coming, and nothing is oversold.
 */
#include "base/order_id.h" /* to issue ids as the service does, with its key */
#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define REPAIR_MS 10000

static const struct {
    const char *field;
    int by;
} lies[] = {
    {"reserved", 1000},    {"reserved", -1000}, {"settled", 1000},   {"settled", -1000},
    {"unreserved", 1000},  {"released", 1000},  {"released", -1000}, {"capacity", 1000},
    {"unreserved", -1000}, {"capacity", -1000},
};
#define LIES TEST_COUNT(lies)
_Static_assert(LIES <= CROWD_SKUS_MAX, "an item for each lie");

typedef struct {
    const char *skus[CROWD_SKUS_MAX], *gates[CROWD_SKUS_MAX];
    long long epochs[CROWD_SKUS_MAX];
    const test_stack_t *nodes[2];
    crowd_t *crowd;
} sale_t;

/* Of the gate: a rebuild that has only raised the row's may still repair what is broken now. */
static long long gate_epoch(const char *sku)
{
    return redis_view(stack, sku).epoch;
}

static void note_epochs(sale_t *sale, unsigned count)
{
    for (unsigned i = 0; i < count; ++i)
        sale->epochs[i] = gate_epoch(sale->skus[i]);
}

/* Units come back by expiry, so that all counters move. */
static sale_t begin(unsigned items, const char *strategy)
{
    sale_t sale = {.nodes = {stack, node}};
    for (unsigned i = 0; i < items; ++i) {
        sale.skus[i] = sale_item(stack, "lie",
                                 "\"total\":400,\"hold_seconds\":3,\"strategy\":\"%s\"", strategy);
        sale.gates[i] = redis_key(stack, "gate", sale.skus[i]);
    }
    sale.crowd = crowd_start(&(crowd_plan_t){.nodes = sale.nodes,
                                             .nodes_count = 2,
                                             .skus = sale.skus,
                                             .skus_count = items,
                                             .per_second = 400});
    crowd_await(sale.crowd, CROWD_CREATED, 40 * items);
    note_epochs(&sale, items);
    return sale;
}

/* Only a rebuild changes a gate, and only under a new epoch. */
static void await_repair(const sale_t *sale, unsigned item, const char *what)
{
    long long end = test_clock_ms() + REPAIR_MS;
    while (gate_epoch(sale->skus[item]) <= sale->epochs[item]) {
        EXPECT(test_clock_ms() < end, "not repaired in traffic: %s (%s)", what,
               crowd_show(sale->crowd));
        usleep(20000);
    }
}

static void counters_that_lie_are_repaired_in_traffic(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin(LIES, strategy);
    for (unsigned i = 0; i < LIES; ++i)
        redis_run(stack, "HINCRBY %s %s %d", sale.gates[i], lies[i].field, lies[i].by);
    for (unsigned i = 0; i < LIES; ++i)
        await_repair(&sale, i, test_text("%s %+d", lies[i].field, lies[i].by));
    EXPECT_PROMISES(stack, sale.crowd, "%s, %zu counters that lied by 1000", strategy, LIES);
}

/* What no service has written: the gate is none then. */
static const struct {
    const char *field, *value;
} nonsense[] = {
    {"epoch", "abc"},
    {"epoch", ""},
    {"epoch", "-5"},
    {"epoch", "1e300"},
    {"epoch", "99999999999999999"},
    {"epoch", "18446744073709551615"},
    {"capacity", "inf"},
    {"reserved", "nan"},
};
#define NONSENSE TEST_COUNT(nonsense)
_Static_assert(NONSENSE <= CROWD_SKUS_MAX, "an item for each");

static bool is_made_again(const sale_t *sale, unsigned item)
{
    const char *sku = sale->skus[item];
    long long epoch = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    return epoch > sale->epochs[item] && gate_epoch(sku) == epoch;
}

static void values_that_are_none_are_replaced_in_traffic(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin(NONSENSE, strategy);
    for (unsigned i = 0; i < NONSENSE; ++i)
        redis_run(stack, "HSET %s %s %s", sale.gates[i], nonsense[i].field, nonsense[i].value);
    for (unsigned i = 0; i < NONSENSE; ++i) {
        WAIT_UNTIL(is_made_again(&sale, i));
        EXPECT(gate_epoch(sale.skus[i]) < sale.epochs[i] + 1000000000LL,
               "%s %s: the epoch has gone to %lld", nonsense[i].field, nonsense[i].value,
               gate_epoch(sale.skus[i]));
    }
    EXPECT_PROMISES(stack, sale.crowd, "%s, %zu values that are none", strategy, NONSENSE);
}

/* --- records of unsettled orders --- */

/* Takes one of the item's records away, if there is one just now. */
static const char *const steal =
    "local all = redis.call('HGETALL', KEYS[1]) "
    "for i = 1, #all, 2 do if string.find(all[i + 1], ARGV[1], 1, true) then "
    "return redis.call('HDEL', KEYS[1], all[i]) end end return 0";

static void a_hold_that_vanished_is_missed(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin(1, strategy);
    const char *key = redis_key(stack, "unsettled", sale.skus[0]);
    for (int i = 0; i < 3; ++i) {
        note_epochs(&sale, 1);
        WAIT_UNTIL(redis_run(stack, "EVAL %s 1 %s %s", steal, key, sale.skus[0]) == 1);
        await_repair(&sale, 0, "a record of unsettled is gone");
    }
    EXPECT_PROMISES(stack, sale.crowd, "%s, 3 records of unsettled stolen", strategy);
}

/* A record of an owner that never was: of the gate's epoch, of 2 units, overdue. The id is given
   in hexadecimal. */
static const char *const forge =
    "local us, epoch = string.char(31), redis.call('HGET', KEYS[2], 'epoch') "
    "local id = string.gsub(ARGV[1], '..', function(h) return string.char(tonumber(h, 16)) end) "
    "return redis.call('HSET', KEYS[1], id, table.concat({epoch, ARGV[2], '0', 'phantom', '2', "
    "'', ARGV[3], 'nobody', '0'}, us))";

static const char *const find_phantom =
    "for _, record in ipairs(redis.call('HVALS', KEYS[1])) do "
    "if string.find(record, ARGV[1], 1, true) and string.find(record, 'phantom', 1, true) then "
    "return 1 end end return 0";

static const char *issued_id(long long slot)
{
    char hex[33];
    const char *secret = stack_secret(stack, "id_key");
    order_id_set_key((str_t){secret, strlen(secret)});
    order_id_t id = order_id_issue((uint16_t)slot, (uint64_t)sale_now_ms() - 6000);
    for (size_t i = 0; i < sizeof(id.bytes); ++i)
        snprintf(hex + 2 * i, 3, "%02x", id.bytes[i]);
    return test_text("%s", hex);
}

static void a_hold_that_appeared_ends(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin(1, strategy);
    const char *key = redis_key(stack, "unsettled", sale.skus[0]);
    long long slot = rows_sum(stack, "SELECT slot FROM inventory WHERE sku = '%s'", sale.skus[0]);
    redis_run(stack, "EVAL %s 2 %s %s %s %s %lld", forge, key, sale.gates[0], issued_id(slot),
              sale.skus[0], sale_now_ms() - 2000);
    await_repair(&sale, 0, "a record of unsettled has appeared");
    /* Whoever is noted there was admitted: the order is written, or there is no room to carry it.
     */
    WAIT_UNTIL(redis_run(stack, "EVAL %s 1 %s %s", find_phantom, key, sale.skus[0]) == 0);
    EXPECT_PROMISES(stack, sale.crowd, "%s, a record of unsettled forged", strategy);
}

/* By id: of 2 units, of -5, of none; without a deadline; cut off; under an id that is none. */
static const char *const scribble =
    "local us, epoch = string.char(31), redis.call('HGET', KEYS[2], 'epoch') "
    "local function record(quantity, deadline) return table.concat({epoch, ARGV[1], '0', "
    "'phantom', "
    "quantity, '', deadline, 'nobody', '0'}, us) end "
    "return redis.call('HSET', KEYS[1], 'phantom-00000001', record('abc', '9999999999999'), "
    "'phantom-00000002', record('-5', '9999999999999'), 'phantom-00000003', record('2', 'abc'), "
    "'phantom-00000004', epoch .. us .. ARGV[1] .. us .. '0', "
    "'phantom-5', record('2', '9999999999999'), "
    "'phantom-00000006', record('1.5', '9999999999999'))";

static const char *const count_phantoms =
    "local n = 0 for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do "
    "if string.sub(id, 1, 7) == 'phantom' then n = n + 1 end end return n";

static void records_that_are_none_are_dropped(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin(1, strategy);
    const char *key = redis_key(stack, "unsettled", sale.skus[0]);
    EXPECT_NUMBER(
        redis_run(stack, "EVAL %s 2 %s %s %s", scribble, key, sale.gates[0], sale.skus[0]), 6);
    WAIT_UNTIL(redis_run(stack, "EVAL %s 1 %s", count_phantoms, key) == 0);
    WAIT_UNTIL(is_made_again(&sale, 0));
    EXPECT_PROMISES(stack, sale.crowd, "%s, records that are none", strategy);
}

static void a_table_of_buyers_that_is_gone_is_made_again(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin(1, strategy);
    long long gone = redis_run(stack, "DEL %s", redis_key(stack, "buyers", sale.skus[0]));
    EXPECT(gone == 1, "there was no table of buyers");
    await_repair(&sale, 0, "the table of buyers is gone");
    EXPECT_PROMISES(stack, sale.crowd, "%s, the table of buyers deleted", strategy);
}

static const suite_t suite = {
    .name = "lies", .settings = {SUITE_SHORT_DEADLINES}, .pair = true, .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", counters_that_lie_are_repaired_in_traffic),
        UNDER("watch", counters_that_lie_are_repaired_in_traffic),
        UNDER("lua", values_that_are_none_are_replaced_in_traffic),
        UNDER("watch", values_that_are_none_are_replaced_in_traffic),
        UNDER("lua", records_that_are_none_are_dropped),
        UNDER("lua", a_hold_that_vanished_is_missed),
        UNDER("watch", a_hold_that_vanished_is_missed),
        UNDER("lua", a_hold_that_appeared_ends),
        UNDER("lua", a_table_of_buyers_that_is_gone_is_made_again),
        UNDER("watch", a_table_of_buyers_that_is_gone_is_made_again),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
