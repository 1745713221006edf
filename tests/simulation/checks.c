#include "checks.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/order_id.h"
#include "check_news.h"
#include "gate/gate.h"
#include "machine.h"
#include "mysql_fault.h"
#include "mysql_server.h"
#include "plan.h"
#include "redis_wire.h"
#include "sale/shard_map.h"

#define REFUSED_MAX 256

static struct {
    table_t *orders, *inventory, *holds, *cancellations;
    int c_id, c_quantity;
    int id, sku, buyer, quantity, given_back, state, key, o_epoch, created, code, expires;
    int h_expires, h_id;
    int i_sku, total, allocated, released, version, epoch, limit, strategy, gate_down;
} at;

/* The limits that an item had, and since when. */
#define LIMITS_MAX 32
typedef struct {
    str_t sku;
    uint64_t since_us;
    int64_t limit;
} limit_t;
static limit_t limits[LIMITS_MAX];
static unsigned limits_count;

static order_id_t refused[REFUSED_MAX];
static unsigned refused_count;

/* By reserve, while MySQL had not rejected them. */
#define ADMITTED_MAX 256
static order_id_t admitted[ADMITTED_MAX];
static unsigned admitted_count;

/* Cancels of some units that were asked for. */
#define PARTS_MAX 32
static struct {
    order_id_t id;
    unsigned units;
    char key;
    bool received; /* it was answered 200 */
} parts[PARTS_MAX];
static unsigned parts_count;

static uint64_t full_since_us[ITEMS_MAX]; /* all units are allocated; 0: not all are */
static unsigned epochs;                   /* raised, of all items */
static bool sql_ruled;                    /* some item was, for a time, no gate's */
static uint64_t gate_epoch;               /* before a rebuild */

/* --- views --- */

static bool is_text(const value_t *value, const char *text)
{
    size_t n = strlen(text);
    return value->kind == VALUE_BYTES && value->n == n && memcmp(value->p, text, n) == 0;
}

static bool is_live(const value_t *row)
{
    return is_text(&row[at.state], "held") || is_text(&row[at.state], "confirmed");
}

static order_state_t state_of(const value_t *row)
{
    for (order_state_t s = ORDER_RESERVED; s <= ORDER_REJECTED; ++s)
        if (is_text(&row[at.state], order_state_name(s)))
            return s;
    return ORDER_RESERVED;
}

static const value_t *find_order(const order_id_t *id)
{
    for (unsigned i = 0; i < at.orders->rows_count; ++i) {
        const row_t *row = at.orders->rows[i];
        if (row->committed != NULL &&
            memcmp(row->committed->values[at.id].p, id->bytes, sizeof(id->bytes)) == 0)
            return row->committed->values;
    }
    return NULL;
}

static const value_t *find_item(const value_t *sku)
{
    for (unsigned i = 0; i < at.inventory->rows_count; ++i) {
        const row_t *row = at.inventory->rows[i];
        if (row->committed != NULL && value_eq(&row->committed->values[at.i_sku], sku))
            return row->committed->values;
    }
    return NULL;
}

bool checks_order(const order_id_t *id, order_state_t *state)
{
    const value_t *row = find_order(id);
    if (row != NULL)
        *state = state_of(row);
    return row != NULL;
}

row_view_t checks_item(const char *sku)
{
    value_t name = {.kind = VALUE_BYTES, .n = (uint32_t)strlen(sku), .p = sku};
    const value_t *row = find_item(&name);
    if (row == NULL)
        return (row_view_t){0};
    return (row_view_t){.total = row[at.total].i,
                        .sold = row[at.allocated].i != 0,
                        .allocated = row[at.allocated].i - row[at.released].i,
                        .limit = row[at.limit].i,
                        .epoch = (uint64_t)row[at.epoch].i,
                        .gated = is_text(&row[at.strategy], "lua") ||
                                 is_text(&row[at.strategy], "watch"),
                        .gate_down = row[at.gate_down].i != 0,
                        .found = true};
}

/* Live units of an item, of one buyer or (NULL) of all. */
static int64_t live_units(const value_t *sku, const value_t *buyer)
{
    int64_t units = 0;
    for (unsigned i = 0; i < at.orders->rows_count; ++i) {
        const row_t *row = at.orders->rows[i];
        const value_t *values = row->committed == NULL ? NULL : row->committed->values;
        if (values != NULL && is_live(values) && value_eq(&values[at.sku], sku) &&
            (buyer == NULL || value_eq(&values[at.buyer], buyer)))
            units += values[at.quantity].i;
    }
    return units;
}

static const char *id_text(const order_id_t *id)
{
    static char text[2][ORDER_ID_TEXT + 1];
    static unsigned turn;
    turn ^= 1;
    order_id_format(text[turn], id);
    return text[turn];
}

/* --- at each COMMIT --- */

/* Ids carry the time of Redis as their node had it: so far may it be off. */
#define ID_CLOCK_SLACK_US 2000000

/* The loosest since the order was issued: a lowered limit leaves earlier orders alone. 0: none. */
static int64_t limit_that_applied(const value_t *sku, const order_id_t *id)
{
    uint64_t issued_us = (order_id_time_ms(id) - WORLD_EPOCH_MS) * 1000, now = world_now_us();
    int64_t loosest = -1;
    if (order_id_time_ms(id) < WORLD_EPOCH_MS || issued_us > now || issued_us < ID_CLOCK_SLACK_US)
        issued_us = 0;
    else
        issued_us -= ID_CLOCK_SLACK_US;
    for (unsigned i = limits_count; i-- > 0;) {
        if (!str_eq(limits[i].sku, (str_t){sku->p, sku->n}))
            continue;
        if (limits[i].limit == 0)
            return 0;
        if (limits[i].limit > loosest)
            loosest = limits[i].limit;
        if (limits[i].since_us <= issued_us)
            break;
    }
    return loosest;
}

/* A node's idea of Redis' clock: so far may it be off. */
#define CLOCK_SLACK_MS 200

static void note_limit(const value_t *before, const value_t *after)
{
    if (before != NULL && before[at.limit].i == after[at.limit].i)
        return;
    if (limits_count == LIMITS_MAX)
        world_unknown("so many limits", "", 0);
    limits[limits_count++] =
        (limit_t){{after[at.i_sku].p, after[at.i_sku].n}, world_now_us(), after[at.limit].i};
}

/* That nobody could tell is said of an order only when the gate admits it no more. */
static void check_given_up(const value_t *row, const order_id_t *id)
{
    uint64_t now = redis_now_ms(redis_store(0)) + CLOCK_SLACK_MS;
    /* But of an order whose values MySQL has refused, and no others. */
    if (mysql_fault_refused_buyer() == NULL && !history.redis_lost &&
        is_text(&row[at.code], problem_code(PROBLEM_UNAVAILABLE)) &&
        now < order_id_time_ms(id) + plan_commit_deadline_ms())
        world_fail("order %s is given up before its commit deadline", id_text(id));
}

/* Of a held order: without it nobody would notice that its time is over. */
static void check_reminder(const value_t *order)
{
    order_id_t id;
    for (unsigned i = 0; i < at.holds->rows_count; ++i) {
        const value_t *reminder = version_values(at.holds->rows[i]->committed);
        if (reminder != NULL && value_eq(&reminder[at.h_id], &order[at.id]) &&
            reminder[at.h_expires].i <= order[at.expires].i)
            return;
    }
    memcpy(id.bytes, order[at.id].p, sizeof(id.bytes));
    world_fail("order %s is held and has no reminder by its deadline", id_text(&id));
}

static void on_reminder(const value_t *before, const value_t *after)
{
    order_id_t id;
    if (before == NULL || after != NULL)
        return;
    memcpy(id.bytes, before[at.h_id].p, sizeof(id.bytes));
    const value_t *order = find_order(&id);
    if (order != NULL && is_text(&order[at.state], "held"))
        check_reminder(order);
}

/* The sum is what its item once allocated for it. Only a living order gives units back. */
static void check_units(const value_t *before, const value_t *after, const order_id_t *id)
{
    int64_t given_back = after[at.given_back].i - before[at.given_back].i;
    if (before[at.quantity].kind == VALUE_NULL) /* it was decided without its owner */
        return;
    if (given_back < 0 || before[at.quantity].i - after[at.quantity].i != given_back)
        world_fail("order %s has %lld units after %lld, and %lld more were given back", id_text(id),
                   (long long)after[at.quantity].i, (long long)before[at.quantity].i,
                   (long long)given_back);
    if (given_back != 0 && (!is_live(before) || state_of(before) != state_of(after)))
        world_fail("order %s gives units back and is no longer live", id_text(id));
}

/* A deadline moves on, and not past its bound. */
static void check_extend(const value_t *before, const value_t *after, const order_id_t *id)
{
    int64_t then = before[at.expires].i, now = after[at.expires].i;
    if (before[at.expires].kind == VALUE_NULL || then == now)
        return;
    if (now < then || (uint64_t)now > (uint64_t)after[at.created].i + plan_hold_max_ms())
        world_fail("order %s, made at %lld, was to end at %lld and now is at %lld", id_text(id),
                   (long long)after[at.created].i, (long long)then, (long long)now);
}

static void on_order(const value_t *before, const value_t *after)
{
    order_id_t id;
    memcpy(id.bytes, after[at.id].p, sizeof(id.bytes));
    order_state_t now = state_of(after);
    if (before == NULL) {
        if (now == ORDER_CANCELLED || now == ORDER_EXPIRED)
            world_fail("order %s was born %s", id_text(&id), order_state_name(now));
        check_given_up(after, &id);
    } else {
        order_state_t then = state_of(before);
        bool legal = then == now || (then == ORDER_HELD && now != ORDER_REJECTED) ||
                     (then == ORDER_CONFIRMED && now == ORDER_CANCELLED);
        if (!legal)
            world_fail("order %s went from %s to %s", id_text(&id), order_state_name(then),
                       order_state_name(now));
        check_units(before, after, &id);
        check_extend(before, after, &id);
    }
    if (now == ORDER_HELD)
        check_reminder(after);
    const value_t *item = is_live(after) ? find_item(&after[at.sku]) : NULL;
    if (is_live(after) && item == NULL)
        world_fail("order %s is live without its item", id_text(&id));
    if (item == NULL || (before != NULL && is_live(before)))
        return;
    int64_t limit = limit_that_applied(&after[at.sku], &id);
    if (limit == 0)
        return;
    int64_t units = live_units(&after[at.sku], &after[at.buyer]);
    if (units > limit)
        world_fail("buyer %.*s owns %lld units with order %s, the limit is %lld",
                   (int)after[at.buyer].n, after[at.buyer].p, (long long)units, id_text(&id),
                   (long long)limit);
}

static void on_item(const value_t *before, const value_t *after)
{
    int64_t allocated = after[at.allocated].i - after[at.released].i;
    note_limit(before, after);
    epochs += before != NULL && before[at.epoch].i != after[at.epoch].i;
    sql_ruled =
        sql_ruled || after[at.gate_down].i != 0 || is_text(&after[at.strategy], "optimistic");
    if (allocated < 0 || allocated > after[at.total].i)
        world_fail("oversold: %lld of %lld units are allocated", (long long)allocated,
                   (long long)after[at.total].i);
    if (before != NULL &&
        (after[at.allocated].i < before[at.allocated].i ||
         after[at.released].i < before[at.released].i || after[at.epoch].i < before[at.epoch].i ||
         after[at.version].i < before[at.version].i))
        world_fail("a total, epoch or version went back");
}

static void on_commit(const row_t *row, const value_t *before, const value_t *after)
{
    if (row->table == at.holds)
        on_reminder(before, after);
    else if (row->table == at.orders)
        on_order(before, after);
    else if (row->table == at.inventory)
        on_item(before, after);
}

static void note_full(unsigned sale, bool full)
{
    news_full(sale, full);
    if (!full)
        full_since_us[sale] = 0;
    else if (full_since_us[sale] == 0)
        full_since_us[sale] = world_now_us();
    history.sales[sale].sold_out = history.sales[sale].sold_out || full;
}

/* The units of its cancels that are stored: each stands there once, with what it gave back. The one
   that took all that was left has left them in `quantity`. */
static void check_cancellations(const value_t *order)
{
    int64_t units = 0, given_back = order[at.given_back].i;
    order_id_t id;
    for (unsigned i = 0; i < at.cancellations->rows_count; ++i) {
        const value_t *row = version_values(at.cancellations->rows[i]->committed);
        if (row != NULL && value_eq(&row[at.c_id], &order[at.id]))
            units += row[at.c_quantity].i;
    }
    bool all = is_text(&order[at.state], "cancelled");
    if (units == given_back || (all && units == given_back + order[at.quantity].i))
        return;
    memcpy(id.bytes, order[at.id].p, sizeof(id.bytes));
    world_fail("%lld units of order %s were given back, and its cancels have %lld",
               (long long)given_back, id_text(&id), (long long)units);
}

static void after_commit(void)
{
    for (unsigned i = 0; parts_count != 0 && i < at.orders->rows_count; ++i)
        if (at.orders->rows[i]->committed != NULL)
            check_cancellations(at.orders->rows[i]->committed->values);

    for (unsigned i = 0; i < at.inventory->rows_count; ++i) {
        const row_t *row = at.inventory->rows[i];
        if (row->committed == NULL)
            continue;
        const value_t *item = row->committed->values;
        int64_t live = live_units(&item[at.i_sku], NULL);
        for (unsigned j = 0; j < history.sales_count; ++j)
            if (is_text(&item[at.i_sku], history.sales[j].sku))
                note_full(j, live == item[at.total].i);
        if (live != item[at.allocated].i - item[at.released].i)
            world_fail("live orders have %lld units, the row says %lld", (long long)live,
                       (long long)(item[at.allocated].i - item[at.released].i));
    }
}

/* --- at each call of a function --- */

static int64_t number_of(const redis_key_t *gate, const char *field)
{
    str_t text = redis_field_get(gate, str_of(field));
    char copy[32] = "";
    if (text.p != NULL && text.n < sizeof(copy))
        memcpy(copy, text.p, text.n);
    return strtoll(copy, NULL, 10);
}

static void note_admitted(const str_t *ids, const redisReply *reply, size_t part)
{
    order_id_t id;
    order_state_t state;
    for (unsigned i = 0; gate_reply_answer(reply, part, i) >= 0; ++i) {
        if (gate_answer_plain(gate_reply_answer(reply, part, i)) != GATE_ADMITTED)
            continue;
        memcpy(id.bytes, ids[i].p, sizeof(id.bytes));
        if (checks_order(&id, &state) && state == ORDER_REJECTED)
            continue;
        if (admitted_count == ADMITTED_MAX)
            world_unknown("so many orders", "", 0);
        admitted[admitted_count++] = id;
    }
}

/* Name, keys; for each item five words (the second: orders), three an order, one for each key. */
static void note_reserved(const str_t *words, unsigned count, const redisReply *reply)
{
    unsigned at_word = 3 + (unsigned)strtoul(words[2].p, NULL, 10);
    for (size_t part = 0; part < reply->elements; part = gate_reply_next(reply, part)) {
        const str_t *head = words + at_word;
        unsigned orders = (unsigned)strtoul(head[1].p, NULL, 10);
        note_admitted(head + 5, reply, part);
        at_word += 5 + 3 * orders;
        for (size_t i = 0; i < head[4].n; ++i)
            at_word += head[4].p[i] != '0';
    }
    if (at_word != count)
        world_fail("a reserve call of %u words, of which %u are known", count, at_word);
}

static void on_call(const redis_store_t *store, const str_t *words, unsigned count,
                    const redisReply *reply)
{
    if (str_eq(words[1], STR("holdfast_reserve")) && reply != NULL &&
        reply->type == REDIS_REPLY_ARRAY)
        note_reserved(words, count, reply);
    if (str_eq(words[1], STR("holdfast_release")) && reply != NULL)
        news_released(words[3]);
    if (!str_eq(words[1], STR("holdfast_rebuild")))
        return;
    redis_key_t *gate = redis_key_find((redis_store_t *)store, words[3]);
    uint64_t epoch = gate == NULL ? 0 : (uint64_t)number_of(gate, "epoch");
    if (reply != NULL && epoch < gate_epoch)
        world_fail("a rebuild sets a gate back from epoch %llu to %llu",
                   (unsigned long long)gate_epoch, (unsigned long long)epoch);
    gate_epoch = epoch;
}

void checks_init(void)
{
    at.orders = mysql_table("orders");
    at.inventory = mysql_table("inventory");
    at.id = mysql_column(at.orders, "order_id");
    at.sku = mysql_column(at.orders, "sku");
    at.buyer = mysql_column(at.orders, "buyer_id");
    at.quantity = mysql_column(at.orders, "quantity");
    at.given_back = mysql_column(at.orders, "given_back");
    at.state = mysql_column(at.orders, "state");
    at.cancellations = mysql_table("cancellations");
    at.c_id = mysql_column(at.cancellations, "order_id");
    at.c_quantity = mysql_column(at.cancellations, "quantity");
    at.key = mysql_column(at.orders, "idempotency_key");
    at.o_epoch = mysql_column(at.orders, "epoch");
    at.created = mysql_column(at.orders, "created_at");
    at.code = mysql_column(at.orders, "reject_code");
    at.expires = mysql_column(at.orders, "expires_at");
    at.holds = mysql_table("holds");
    at.h_expires = mysql_column(at.holds, "expires_at");
    at.h_id = mysql_column(at.holds, "order_id");
    at.i_sku = mysql_column(at.inventory, "sku");
    at.total = mysql_column(at.inventory, "total");
    at.allocated = mysql_column(at.inventory, "allocated_total");
    at.released = mysql_column(at.inventory, "released_total");
    at.version = mysql_column(at.inventory, "version");
    at.epoch = mysql_column(at.inventory, "epoch");
    at.limit = mysql_column(at.inventory, "per_buyer_limit");
    at.strategy = mysql_column(at.inventory, "strategy");
    at.gate_down = mysql_column(at.inventory, "gate_down");
    mysql_on_commit = on_commit;
    mysql_after_commit = after_commit;
    redis_on_call = on_call;
}

void checks_begin(void)
{
    refused_count = 0;
    limits_count = 0;
    admitted_count = epochs = parts_count = 0;
    memset(full_since_us, 0, sizeof(full_since_us));
    news_begin();
    sql_ruled = false;
}

/* --- answers --- */

static void check_refused(const order_id_t *id)
{
    order_state_t state;
    if (checks_order(id, &state) && state != ORDER_REJECTED)
        world_fail("order %s was refused and is %s", id_text(id), order_state_name(state));
}

void checks_refused(const order_id_t *id)
{
    if (order_id_is_none(id))
        return;
    check_refused(id);
    if (refused_count < REFUSED_MAX)
        refused[refused_count++] = *id;
}

/* Whoever has heard 201 for a key hears of that order again, whatever is left by now. */
static void check_repeat(const request_t *repeat)
{
    if (repeat->key[0] == '\0' || repeat->answer.kind != ANSWER_REFUSED ||
        repeat->answer.problem == PROBLEM_UNAVAILABLE)
        return;
    for (unsigned i = 0; i < history.requests_count; ++i) {
        const request_t *first = &history.requests[i];
        if (first->answered && first->answer.kind == ANSWER_ORDER &&
            first->answered_us < repeat->sent_us && first->item == repeat->item &&
            first->quantity == repeat->quantity && strcmp(first->buyer, repeat->buyer) == 0 &&
            strcmp(first->key, repeat->key) == 0)
            world_fail("request %u repeats request %u, which was answered 201, and is refused: %s",
                       repeat->number, first->number, problem_code(repeat->answer.problem));
    }
}

/* That no units are left comes before the buyer's own limit. While an epoch is raised, a gate of
   the old one may have units yet, and one that somebody edits has what he wrote. */
static void check_precedence(const request_t *request)
{
    uint64_t full_us = full_since_us[request->item];
    if (request->answer.kind == ANSWER_REFUSED &&
        request->answer.problem == PROBLEM_BUYER_LIMIT_EXCEEDED && full_us != 0 &&
        full_us < request->sent_us && epochs <= history.sales_count && !history.faulty)
        world_fail("request %u is past its buyer's limit, of an item that was sold out before",
                   request->number);
}

/* What never changes in an order is said as MySQL has it; of its units some may have been given
   back meanwhile. */
static void check_shown(const order_t *order)
{
    const value_t *row = find_order(&order->id);
    if (row != NULL && ((uint64_t)row[at.created].i != order->created_at_ms ||
                        order->quantity < row[at.quantity].i ||
                        order->quantity > row[at.quantity].i + row[at.given_back].i))
        world_fail("order %s is shown with another time or quantity than it has",
                   id_text(&order->id));
}

void checks_answer(const request_t *request)
{
    order_state_t state;
    const answer_t *answer = &request->answer;
    check_repeat(request);
    check_precedence(request);
    if (answer->kind == ANSWER_ORDER) {
        check_shown(&request->order);
        if (!checks_order(&request->order.id, &state))
            world_fail("order %s is answered 201 and not in MySQL", id_text(&request->order.id));
        else if (state == ORDER_REJECTED || request->order.state == ORDER_REJECTED)
            world_fail("order %s is answered 201 and rejected", id_text(&request->order.id));
    }
    if (answer->kind == ANSWER_REFUSED && !answer->replayed)
        checks_refused(&request->own_id);
    if (answer->kind == ANSWER_REFUSED && request->has_order) {
        checks_refused(&request->order.id);
        if (!checks_order(&request->order.id, &state))
            world_fail("rejected order %s has no row", id_text(&request->order.id));
    }
}

/* --- cancels of some units --- */

bool checks_part_asked(const order_id_t *id, unsigned units, char key)
{
    for (unsigned i = 0; i < parts_count; ++i)
        if (order_id_eq(&parts[i].id, id) && parts[i].key == key && parts[i].units == units)
            return parts[i].received;
    if (parts_count == PARTS_MAX)
        world_unknown("so many cancels of some units", "", 0);
    parts[parts_count].id = *id;
    parts[parts_count].units = units;
    parts[parts_count].received = false;
    parts[parts_count++].key = key;
    return false;
}

void checks_part_received(const order_id_t *id, unsigned units, char key, bool known, bool replayed)
{
    if (known && !replayed)
        world_fail("a cancel of order %s is repeated, and not known", id_text(id));
    for (unsigned i = 0; i < parts_count; ++i) {
        if (!order_id_eq(&parts[i].id, id) || parts[i].key != key)
            continue;
        if (parts[i].units == units)
            parts[i].received = true;
        else if (parts[i].received)
            world_fail("two cancels of order %s with one key are answered 200", id_text(id));
    }
}

/* What was given back of an order, against what was asked for and heard of. Each key counts once.
 */
static void check_part(unsigned first)
{
    int64_t asked = 0, received = 0;
    const order_id_t *id = &parts[first].id;
    const value_t *row = find_order(id);
    for (unsigned i = 0; i < parts_count; ++i)
        if (order_id_eq(&parts[i].id, id)) {
            asked += parts[i].units;
            received += parts[i].received ? parts[i].units : 0;
        }
    int64_t given_back = row == NULL ? 0 : row[at.given_back].i;
    int64_t most = row != NULL && is_text(&row[at.state], "cancelled")
                       ? given_back + row[at.quantity].i
                       : given_back;
    if (given_back > asked || received > most)
        world_fail("%lld units of order %s were given back, of %lld that were asked for and %lld "
                   "that were answered 200",
                   (long long)given_back, id_text(id), (long long)asked, (long long)received);
}

/* --- at rest --- */

/* The one server that all go to in the end is number 0. */
static redis_key_t *gate_key_of(const char *sku, gate_key_t which)
{
    char text[GATE_KEY_SIZE];
    str_t name = str_of(sku);
    const item_ref_t item = item_ref_of(name);
    return redis_key_find(redis_store(0), gate_key(text, which, &item));
}

static const char *check_buyers(const char *sku)
{
    static char why[160];
    const redis_key_t *buyers = gate_key_of(sku, GATE_KEY_BUYERS);
    value_t item = {.kind = VALUE_BYTES, .n = (uint32_t)strlen(sku), .p = sku};
    int64_t sum = 0;
    for (unsigned i = 0; buyers != NULL && i < buyers->count; ++i) {
        str_t name = buyers->fields[i].name;
        value_t buyer = {.kind = VALUE_BYTES, .n = (uint32_t)name.n, .p = name.p};
        int64_t units = strtoll(buyers->fields[i].value.p, NULL, 10);
        int64_t live = live_units(&item, &buyer);
        sum += units;
        if (units != live) {
            snprintf(why, sizeof(why), "%s: the gate says %.*s has %lld units, MySQL %lld", sku,
                     STR_ARG(name), (long long)units, (long long)live);
            return why;
        }
    }
    return sum == live_units(&item, NULL) ? NULL : "a buyer is missing at the gate";
}

int64_t checks_available(const char *sku)
{
    const redis_key_t *gate = gate_key_of(sku, GATE_KEY_GATE);
    return gate == NULL ? 0
                        : number_of(gate, "capacity") - number_of(gate, "reserved") +
                              number_of(gate, "unreserved") + number_of(gate, "released");
}

unsigned checks_epochs(void)
{
    return epochs;
}

const char *checks_gate(const char *sku)
{
    static char why[160];
    row_view_t row = checks_item(sku);
    const redis_key_t *gate = gate_key_of(sku, GATE_KEY_GATE);
    if (!row.found || !row.gated)
        return NULL;
    if (row.gate_down)
        return "a SQL strategy is still the fallback";
    if (gate == NULL)
        return row.sold ? "there is no gate" : NULL;
    int64_t available = checks_available(sku);
    if ((uint64_t)number_of(gate, "epoch") != row.epoch || number_of(gate, "closed") != 0 ||
        available != row.total - row.allocated) {
        snprintf(why, sizeof(why),
                 "%s: the gate has epoch %lld and %lld available, the row %llu and %lld", sku,
                 (long long)number_of(gate, "epoch"), (long long)available,
                 (unsigned long long)row.epoch, (long long)(row.total - row.allocated));
        return why;
    }
    if (number_of(gate, "loading") != 0)
        return "its buyers are still loading";
    /* Under no limit the units of buyers who were not loaded may be too few. */
    return number_of(gate, "per_buyer_limit") == 0 ? NULL : check_buyers(sku);
}

bool checks_unsettled_is_empty(void)
{
    for (unsigned i = 0; i < history.sales_count; ++i) {
        row_view_t row = checks_item(history.sales[i].sku);
        if (gate_key_of(history.sales[i].sku, GATE_KEY_UNSETTLED) != NULL ||
            (row.found && row.gated && gate_key_of(history.sales[i].sku, GATE_KEY_KEYS) != NULL))
            return false;
    }
    return true;
}

bool checks_half_settled(const char *sku)
{
    order_id_t id;
    order_state_t state;
    unsigned written = 0;
    const redis_key_t *unsettled = gate_key_of(sku, GATE_KEY_UNSETTLED);
    for (unsigned i = 0; unsettled != NULL && i < unsettled->count; ++i) {
        memcpy(id.bytes, unsettled->fields[i].name.p, sizeof(id.bytes));
        written += checks_order(&id, &state);
    }
    return written != 0 && written < unsettled->count;
}

/* A 202 that was given before the deadline of the answer was given because the gate had admitted
   the order, of an item that is acknowledged as `accepted`. No outage of MySQL makes it
   rejected; one of Redis beyond the commit deadline may. */
static void check_acknowledged(const request_t *request)
{
    const value_t *row = find_order(&request->order.id);
    const char *bad = mysql_fault_refused_buyer();
    bool is_early =
        request->answered_us - request->sent_us < (uint64_t)plan_answer_deadline_ms() * 1000;
    if (request->answer.replayed || !is_early || history.redis_lost || machine_redis_failed ||
        (bad != NULL && strcmp(bad, request->buyer) == 0))
        return;
    world_fail("order %s was acknowledged by 202 and is rejected: %.*s",
               id_text(&request->order.id), (int)row[at.code].n, row[at.code].p);
}

static void check_request(const request_t *request)
{
    order_state_t state;
    bool row = request->has_order && checks_order(&request->order.id, &state);
    if (!request->answered || !request->has_order)
        return;
    if (request->answer.kind == ANSWER_ORDER && (!row || state == ORDER_REJECTED))
        world_fail("order %s was answered 201 and is %s", id_text(&request->order.id),
                   row ? "rejected" : "gone");
    if (request->answer.kind == ANSWER_PENDING && !row)
        world_fail("order %s was answered 202 and is nowhere", id_text(&request->order.id));
    if (request->answer.kind == ANSWER_PENDING && row && state == ORDER_REJECTED)
        check_acknowledged(request);
}

/* Whose first order of a key is the only one he ever asked for is not over any limit with the
   second. Where limits were changed, or a gate was lost, he may be. */
static void check_own_units(const request_t *a, const request_t *b)
{
    if (!a->answered || !b->answered || history.redis_lost || limits_count > history.sales_count ||
        a->answer.kind != ANSWER_ORDER || b->answer.kind != ANSWER_REFUSED ||
        b->answer.problem != PROBLEM_BUYER_LIMIT_EXCEEDED || a->quantity != b->quantity)
        return;
    for (unsigned i = 0; i < history.requests_count; ++i) {
        const request_t *r = &history.requests[i];
        if (r->item == a->item && strcmp(r->buyer, a->buyer) == 0 && strcmp(r->key, a->key) != 0)
            return;
    }
    world_fail("request %u of %s is over the limit, with his own first one, %u", b->number,
               b->buyer, a->number);
}

/* At most one order of a key was ever live, and all who heard 201 heard of that one. */
static void check_keys(void)
{
    for (unsigned i = 0; i < history.requests_count; ++i)
        for (unsigned j = i + 1; j < history.requests_count; ++j) {
            const request_t *a = &history.requests[i], *b = &history.requests[j];
            order_state_t s, t;
            if (a->key[0] == '\0' || a->item != b->item || strcmp(a->buyer, b->buyer) != 0 ||
                strcmp(a->key, b->key) != 0)
                continue;
            check_own_units(a, b);
            check_own_units(b, a);
            if (!a->has_order || !b->has_order || order_id_eq(&a->order.id, &b->order.id) ||
                !checks_order(&a->order.id, &s) || !checks_order(&b->order.id, &t))
                continue;
            if (s != ORDER_REJECTED && t != ORDER_REJECTED)
                world_fail("key %s of %s has two orders, %s (%s) and %s (%s)", a->key, a->buyer,
                           id_text(&a->order.id), order_state_name(s), id_text(&b->order.id),
                           order_state_name(t));
        }
}

void checks_without_faults(unsigned changes)
{
    for (unsigned i = 0; i < admitted_count && !sql_ruled; ++i) {
        const value_t *row = find_order(&admitted[i]);
        if (row != NULL && state_of(row) == ORDER_REJECTED &&
            !is_text(&row[at.code], problem_code(PROBLEM_DUPLICATE_REQUEST)))
            world_fail("order %s was admitted and is rejected: %.*s", id_text(&admitted[i]),
                       (int)row[at.code].n, row[at.code].p);
    }
    if (epochs > history.sales_count + changes)
        world_fail("%u changes of %u items raised the epoch %u times", changes, history.sales_count,
                   epochs);
}

bool checks_reminder_is_due(uint64_t for_ms)
{
    for (unsigned i = 0; i < at.holds->rows_count; ++i) {
        const value_t *reminder = version_values(at.holds->rows[i]->committed);
        if (reminder != NULL && (uint64_t)reminder[at.h_expires].i + for_ms <= mysql_now_ms())
            return true;
    }
    return false;
}

void checks_at_rest(void)
{
    for (unsigned i = 0; i < refused_count; ++i)
        check_refused(&refused[i]);
    for (unsigned i = 0; i < history.requests_count; ++i)
        check_request(&history.requests[i]);
    for (unsigned i = 0; i < parts_count; ++i)
        check_part(i);
    check_keys();
}
