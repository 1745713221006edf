#include "mysql_fault.h"

#include <string.h>

#include "faults.h"
#include "mysql_statement.h"

#define NAME_SIZE 16
#define LOCKS_MAX 8

typedef struct {
    bool on;
    mysql_fault_place_t place;
    unsigned number;
    char buyer[NAME_SIZE]; /* "": all */
} throw_t;

typedef struct {
    session_t *other_user; /* NULL: not yet, or not any more */
    char sku[NAME_SIZE], buyer[NAME_SIZE];
    bool gap; /* of this buyer; else the item's row */
    row_t lock;
    uint64_t until_us;
} lock_t;

static throw_t thrown;
static char refused_buyer[NAME_SIZE];
static lock_t locks[LOCKS_MAX];
static unsigned locks_count;
static struct {
    table_t *orders, *inventory;
    int sku, buyer, i_sku;
} at;

static bool is(const value_t *value, const char *text)
{
    return value->kind == VALUE_BYTES && value->n == strlen(text) &&
           memcmp(value->p, text, value->n) == 0;
}

static void keep(char *to, const char *name)
{
    size_t n = name == NULL ? 0 : strlen(name);
    if (n >= NAME_SIZE)
        world_unknown("so long a name", name, n);
    memcpy(to, name == NULL ? "" : name, n + 1);
}

void mysql_fault_begin(void)
{
    memset(&thrown, 0, sizeof(thrown));
    memset(locks, 0, sizeof(locks));
    locks_count = 0;
    refused_buyer[0] = '\0';
    at.orders = mysql_table("orders");
    at.inventory = mysql_table("inventory");
    at.sku = mysql_column(at.orders, "sku");
    at.buyer = mysql_column(at.orders, "buyer_id");
    at.i_sku = mysql_column(at.inventory, "sku");
}

bool mysql_fault_is_orders(const table_t *table)
{
    return table == at.orders;
}

bool mysql_fault_is_inventory(const table_t *table)
{
    return table == at.inventory;
}

/* --- errors --- */

/* Not db_classify(): what it takes for a verdict is to be found out. */
static bool is_about_values(unsigned number)
{
    static const unsigned numbers[] = {1048, 1062, 1264, 1265, 1292, 1366,
                                       1406, 1586, 1690, 3819, 4025};
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); ++i)
        if (numbers[i] == number)
            return true;
    return false;
}

unsigned mysql_fault_draw_error(bool verdicts)
{
    static const struct {
        unsigned first, last;
    } sections[] = {{1000, 1880}, {1900, 1982}, {3000, 3060}, {3061, 4192}};
    for (;;) {
        unsigned section = chance_below(sizeof(sections) / sizeof(sections[0]));
        unsigned number = chance_between(sections[section].first, sections[section].last);
        if (chance(4)) { /* those that are in some list are few */
            static const unsigned listed[] = {1020, 1053, 1062, 1205, 1213, 1264,
                                              1406, 1927, 3169, 3572, 3819, 4025};
            number = listed[chance_below(sizeof(listed) / sizeof(listed[0]))];
        }
        if (verdicts || !is_about_values(number))
            return number;
    }
}

result_t mysql_fault_meet(session_t *session, unsigned number)
{
    result_t result = db_classify(number);
    TRACE("mysql: error %u, %s", number, result_name(result));
    session->error = number;
    if (result == RESULT_RETRY && !db_number_is_lock(number))
        mysql_rollback(session);
    return result;
}

static void on_throw_ends(void *context, uint64_t number)
{
    (void)context, (void)number;
    if (thrown.on)
        TRACE("mysql throws %u no more", thrown.number);
    thrown.on = false;
}

void mysql_fault_throw(mysql_fault_place_t place, unsigned number, const char *buyer, uint64_t us)
{
    thrown = (throw_t){.on = true, .place = place, .number = number};
    keep(thrown.buyer, buyer);
    if (buyer != NULL && is_about_values(number))
        keep(refused_buyer, buyer);
    TRACE("mysql throws %u (%s) at %s of %s for %llu us", number, result_name(db_classify(number)),
          place == MYSQL_FAULT_AT_INSERT ? "INSERTs" : "UPDATEs", buyer == NULL ? "all" : buyer,
          (unsigned long long)us);
    world_after(us, (owner_t){0, 0}, on_throw_ends, NULL, 0);
}

const char *mysql_fault_refused_buyer(void)
{
    return refused_buyer[0] == '\0' ? NULL : refused_buyer;
}

unsigned mysql_fault_at_insert(const value_t *values)
{
    bool meets = thrown.on && thrown.place == MYSQL_FAULT_AT_INSERT &&
                 (thrown.buyer[0] == '\0' || is(&values[at.buyer], thrown.buyer));
    return meets ? thrown.number : 0;
}

/* The orders that this transaction has inserted are pending, and its own. */
unsigned mysql_fault_at_update(const session_t *session, const value_t *values)
{
    if (!thrown.on || thrown.place != MYSQL_FAULT_AT_UPDATE)
        return 0;
    bool meets = thrown.buyer[0] == '\0';
    for (unsigned i = 0; i < at.orders->rows_count && !meets; ++i) {
        const row_t *row = at.orders->rows[i];
        meets = row->owner == session && row->pending != NULL && row->committed == NULL &&
                is(&row->pending->values[at.buyer], thrown.buyer) &&
                value_eq(&row->pending->values[at.sku], &values[at.i_sku]);
    }
    return meets ? thrown.number : 0;
}

/* --- locks --- */

static void unlock(lock_t *lock)
{
    if (lock->other_user == NULL)
        return;
    TRACE("mysql: a stranger's lock of %s ends", lock->sku);
    mysql_rollback(lock->other_user);
    lock->other_user = NULL;
}

static void on_unlock(void *context, uint64_t number)
{
    (void)context;
    unlock(&locks[number]);
}

static row_t *find_item_row(const char *sku)
{
    for (unsigned i = 0; i < at.inventory->rows_count; ++i) {
        row_t *row = at.inventory->rows[i];
        const value_t *values = version_values(row->committed);
        if (values != NULL && is(&values[at.i_sku], sku))
            return row;
    }
    return NULL;
}

static void lock_orders_of_buyer(lock_t *lock)
{
    for (unsigned i = 0; i < at.orders->rows_count; ++i) {
        row_t *row = at.orders->rows[i];
        const value_t *values = version_values(row->committed);
        if (values != NULL && row->owner == NULL && is(&values[at.sku], lock->sku) &&
            is(&values[at.buyer], lock->buyer))
            mysql_remember(lock->other_user, row, true);
    }
}

static void on_lock(void *context, uint64_t number)
{
    lock_t *lock = &locks[number];
    row_t *row = lock->gap ? &lock->lock : find_item_row(lock->sku);
    (void)context;
    if (world_now_us() >= lock->until_us || row == NULL)
        return;
    if (row->owner != NULL) { /* it waits in line */
        world_after(chance_time_us(1, 1000), (owner_t){0, 0}, on_lock, NULL, number);
        return;
    }
    lock->other_user = mysql_connect(UINT64_MAX, UINT64_MAX);
    lock->other_user->open = lock->other_user->executing = true; /* never idle for too long */
    TRACE("mysql: a stranger locks %s of %s", lock->gap ? lock->buyer : "the row", lock->sku);
    mysql_remember(lock->other_user, row, true);
    if (lock->gap)
        lock_orders_of_buyer(lock);
    world_after(lock->until_us - world_now_us(), (owner_t){0, 0}, on_unlock, NULL, number);
}

void mysql_fault_lock(const char *sku, const char *buyer, uint64_t us)
{
    if (locks_count == LOCKS_MAX)
        return;
    lock_t *lock = &locks[locks_count];
    memset(lock, 0, sizeof(*lock));
    lock->gap = buyer != NULL;
    lock->until_us = world_now_us() + us;
    keep(lock->sku, sku);
    keep(lock->buyer, buyer);
    world_after(1, (owner_t){0, 0}, on_lock, NULL, locks_count++);
}

row_t *mysql_fault_gap(const value_t *values)
{
    for (unsigned i = 0; i < locks_count; ++i)
        if (locks[i].gap && locks[i].other_user != NULL && locks[i].lock.owner != NULL &&
            is(&values[at.sku], locks[i].sku) && is(&values[at.buyer], locks[i].buyer))
            return &locks[i].lock;
    return NULL;
}

void mysql_fault_end(void)
{
    thrown.on = false;
    for (unsigned i = 0; i < locks_count; ++i) {
        unlock(&locks[i]);
        locks[i].until_us = 0;
    }
}
