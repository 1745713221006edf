/*
 * A stranger's transaction keeps a lock: on an item's row, on one buyer's orders, on a gap between
 * the item's orders. Only those who need it wait. The other items of the shard sell on after at
 * most two waits for a lock; the item answers 202 or 503, and what it was promised ends when the
 * lock is gone; log, metric and status name it meanwhile.
 */
#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/received.h"
#include "harness/suite.h"

#define SHARD 0
#define LOCK_WAIT_MS 1000
#define LOCKED_MS 6000

static MYSQL *other_user;

/* After each case, also one that failed: its lock goes. */
static int unlocked(void **state)
{
    if (other_user != NULL)
        mysql_close(other_user);
    other_user = NULL;
    return test_teardown(state);
}

static const char *item_on(unsigned shard, const char *name, const char *strategy)
{
    const char *sku;
    do
        sku = sale_item(stack, name, "\"total\":100000,\"strategy\":\"%s\"", strategy);
    while (rows_shard_of(stack, sku) != shard);
    return sku;
}

static const char *item_here(const char *name, const char *strategy)
{
    return item_on(SHARD, name, strategy);
}

static void buy(const char *sku, const char *buyer)
{
    WAIT_UNTIL(sale_buy(stack, sku, buyer, 1, NULL).status == 201);
}

/* Of the item that is locked. Buyers at both ends of the index: a gap that is locked lies between
   orders of the item, not between two items. */
static const char *locked_item(const char *strategy)
{
    const char *sku = item_here("locked", strategy);
    buy(sku, "a");
    buy(sku, "m");
    buy(sku, "n");
    buy(sku, "zz");
    return sku;
}

typedef struct {
    const char *name;
    const char *lock;  /* what the stranger says, of the item */
    const char *buyer; /* who then needs that lock */
} lock_t;

/* In a small table the server may read, and lock, all of it instead. */
#define BY_KEY "FORCE INDEX (orders_idempotency)"

static const lock_t on_row = {"the item's row",
                              "SELECT * FROM inventory WHERE sku = '%s' FOR UPDATE", "k-%u"};
static const lock_t on_orders = {"one buyer's orders",
                                 "SELECT * FROM orders " BY_KEY
                                 " WHERE sku = '%s' AND buyer_id = 'm' FOR "
                                 "UPDATE",
                                 "m"};
static const lock_t on_gap = {"a gap between the item's orders",
                              "SELECT * FROM orders " BY_KEY
                              " WHERE sku = '%s' AND buyer_id > 'm' AND "
                              "buyer_id < 'n' FOR UPDATE",
                              "mm-%u"};

typedef struct {
    const lock_t *lock;
    const char *strategy;
} case_t;

static unsigned print_lock(const lock_t *lock, const char *sku)
{
    char sql[256];
    const char *at = strstr(lock->lock, "%s");
    snprintf(sql, sizeof(sql), "%.*s%s%s", (int)(at - lock->lock), lock->lock, sku, at + 2);
    return mysqld_send(other_user, sql);
}

static void take_lock(const lock_t *lock, const char *sku)
{
    other_user = mysqld_open(stack, SHARD);
    EXPECT(other_user != NULL, "no connection");
    EXPECT_NUMBER(mysqld_send(other_user, "START TRANSACTION"), 0); /* REPEATABLE READ: with gaps */
    EXPECT_NUMBER(print_lock(lock, sku), 0);
}

static void plan_waiter(received_book_t *book, const char *sku, const lock_t *lock, unsigned i)
{
    if (strchr(lock->buyer, '%') == NULL)
        received_plan(book, sku, i, "%s", lock->buyer);
    else
        received_plan(book, sku, i, "%.*s%u", (int)strcspn(lock->buyer, "%"), lock->buyer, i);
}

/* Buyers of the neighbour all the time, as many of an item of the other shard, and now and then one
   who needs the lock. */
#define BURST 20
#define BURST_MS 200
#define BURSTS (LOCKED_MS / BURST_MS)

static void plan_crowd(received_book_t *book, const char *locked, const char *near, const char *far,
                       const lock_t *lock)
{
    for (unsigned i = 0; i < BURSTS; ++i)
        for (unsigned j = 0; j < BURST; ++j)
            if (j == 0 && i % 5 == 0)
                plan_waiter(book, locked, lock, i);
            else
                received_plan(book, j % 2 == 0 ? near : far, i, "y-%u-%u", i, j);
}

static void expect_named(const received_book_t *book, const char *sku)
{
    WAIT_UNTIL(fault_metric(stack, "writer_set_aside_orders") > 0);
    WAIT_UNTIL(received_is_logged(book, sku)); /* a thread writes the log */
}

/* How many of the item's buyers waited about as long as for a lock. */
static unsigned count_waited(const received_book_t *book, const char *sku)
{
    unsigned waited = 0;
    for (unsigned i = 0; i < book->count; ++i)
        waited += book->all[i].sku == sku && book->all[i].seconds * 1000 >= LOCK_WAIT_MS * 9 / 10;
    return waited;
}

/* Two waits for the lock hold up a third of the neighbour's buyers, before the locked item is set
   aside; without that each wait holds up those who come meanwhile. On a slow machine buyers of the
   other shard wait as long, where nothing is locked: as many are allowed for. */
static void expect_neighbours_sold(const case_t *c, const received_book_t *book, const char *near,
                                   const char *far)
{
    unsigned count = received_count(book, near, 201), waited = count_waited(book, near);
    unsigned waited_far = count_waited(book, far);
    print_message(
        "%s, lock on %s: %s; of the neighbour's %u buyers waited %u, of the other shard's "
        "%u\n",
        c->strategy, c->lock->name, received_show(book), count, waited, waited_far);
    for (unsigned i = 0; i < book->count; ++i)
        if ((book->all[i].sku == near || book->all[i].sku == far) && book->all[i].status != 201)
            FAIL("%s of the other item heard after %.1f s: %s", book->all[i].buyer,
                 book->all[i].seconds, book->all[i].body);
    EXPECT(waited < count * 2 / 3 + 2 * waited_far,
           "%u of %u buyers of another item wait for the lock", waited, count);
}

/* If all who need the lock are the same buyer, his orders are counted instead. */
static void expect_no_ghosts(const case_t *c, const received_book_t *book, const char *locked)
{
    if (strchr(c->lock->buyer, '%') != NULL) {
        EXPECT_NUMBER(received_ghosts(book), 0);
        return;
    }
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND buyer_id = '%s' AND "
                           "state = 'confirmed'",
                           locked, c->lock->buyer),
                  1 + received_count(book, locked, 202));
}

static void only_the_locked_item_waits(void **state)
{
    const case_t *c = *state;
    const char *locked = locked_item(c->strategy), *near = item_here("near", "lua");
    const char *far = item_on(1 - SHARD, "far", "lua");
    buy(near, "first");
    buy(far, "first");
    received_book_t *book = received_new(stack);
    take_lock(c->lock, locked);
    plan_crowd(book, locked, near, far, c->lock);
    received_send(book, 512, BURST, BURST_MS);
    EXPECT_RECEIVED_VALID(book);
    expect_neighbours_sold(c, book, near, far);
    EXPECT_NUMBER(received_count(book, locked, 201), 0);
    if (sale_uses_gate(c->strategy))
        expect_named(book, locked);
    mysql_close(other_user);
    other_user = NULL;
    WAIT_UNTIL(sale_buy(stack, locked, "a", 1, NULL).status == 201);
    EXPECT_RECEIVED_KEPT(book, NULL);
    expect_no_ghosts(c, book, locked);
    WAIT_UNTIL(fault_metric(stack, "writer_set_aside_orders") == 0);
    EXPECT_SOUND(stack, locked, 0);
    EXPECT_SOUND(stack, near, 0);
    EXPECT_GATE_AGREES(stack, locked);
    EXPECT_GATE_AGREES(stack, near);
}

/* Within one of the arrays: other members of the answer name items too. */
static bool status_names(const char *sku)
{
    web_answer_t status = ADMIN(stack, .path = "/v1/status");
    for (const char *at = status.body; (at = strstr(at, "\"set_aside\":[")) != NULL; ++at) {
        const char *found = strstr(at, sku), *end = strchr(at, ']');
        if (found != NULL && end != NULL && found < end)
            return true;
    }
    return false;
}

static void status_names_the_item(void **state)
{
    (void)state;
    const char *locked = locked_item("lua");
    take_lock(&on_row, locked);
    received_book_t *book = received_new(stack);
    received_plan(book, locked, 0, "k");
    received_send(book, 1, 0, 0);
    WAIT_UNTIL(status_names(locked));
    mysql_close(other_user);
    other_user = NULL;
    EXPECT_RECEIVED_KEPT(book, NULL);
    WAIT_UNTIL(!status_names(locked));
}

/* Some items locked at once, each of which its first buyers make known: then the rest of the shard
   sells. */
static void many_locked_items(void **state)
{
    static const char *const strategies[] = {"lua", "watch"};
    const char *locked[4], *near = item_here("near", "lua");
    received_book_t *book = received_new(stack), *after = received_new(stack);
    (void)state;
    buy(near, "first");
    for (size_t i = 0; i < TEST_COUNT(locked); ++i)
        locked[i] = locked_item(strategies[i % TEST_COUNT(strategies)]);
    other_user = mysqld_open(stack, SHARD);
    EXPECT(other_user != NULL && mysqld_send(other_user, "START TRANSACTION") == 0,
           "no connection");
    for (size_t i = 0; i < TEST_COUNT(locked); ++i) {
        EXPECT_NUMBER(print_lock(&on_row, locked[i]), 0);
        received_plan(book, locked[i], 0, "k");
    }
    received_send(book, TEST_COUNT(locked), 0, 0);
    EXPECT_RECEIVED_VALID(book);
    EXPECT_NUMBER(received_count(book, NULL, 201), 0);
    for (unsigned i = 0; i < BURSTS; ++i)
        for (unsigned j = 0; j < BURST; ++j)
            if (j == 0)
                received_plan(after, locked[i % TEST_COUNT(locked)], i, "k-%u", i);
            else
                received_plan(after, near, i, "y-%u-%u", i, j);
    received_send(after, 512, BURST, BURST_MS);
    EXPECT_RECEIVED_VALID(after);
    print_message("%zu items locked: %s\n", TEST_COUNT(locked), received_show(after));
    EXPECT_NUMBER(received_count(after, near, 201), BURSTS * (BURST - 1));
    mysql_close(other_user);
    other_user = NULL;
    EXPECT_NUMBER(received_ghosts(book) + received_ghosts(after), 0);
    EXPECT_RECEIVED_KEPT(book, NULL);
    EXPECT_RECEIVED_KEPT(after, NULL);
    for (size_t i = 0; i < TEST_COUNT(locked); ++i) {
        buy(locked[i], "after");
        EXPECT_SOUND(stack, locked[i], 0);
    }
    EXPECT_SOUND(stack, near, 0);
}

#define LOCKED(strategy_, lock_)                                                                   \
    {                                                                                              \
        strategy_ ": " #lock_, only_the_locked_item_waits, NULL, unlocked, &(case_t)               \
        {                                                                                          \
            &(lock_), strategy_                                                                    \
        }                                                                                          \
    }

static const suite_t suite = {.name = "locks",
                              .settings = {"orders.answer_deadline_ms=6000",
                                           "orders.commit_deadline_ms=8000",
                                           "mysql.timeout_ms=4000", "mysql.lock_wait_timeout_s=1"},
                              .repeats = true,
                              .teardown = unlocked};

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        LOCKED("optimistic", on_orders),
        LOCKED("optimistic", on_gap),
        LOCKED("serializable", on_gap),
        LOCKED("watch", on_gap),
        /* Always: */
        LOCKED("lua", on_row),
        LOCKED("lua", on_orders),
        LOCKED("lua", on_gap),
        LOCKED("watch", on_row),
        LOCKED("watch", on_orders),
        LOCKED("optimistic", on_row),
        LOCKED("serializable", on_row),
        LOCKED("serializable", on_orders),
        {"status_names_the_item", status_names_the_item, NULL, unlocked, NULL},
        {"many_locked_items", many_locked_items, NULL, unlocked, NULL},
    };
    size_t from = chance_is_long() ? 0 : 4;
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
