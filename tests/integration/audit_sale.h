/*
 * A small sale, made by hand in a database of the test's own, and what `holdfast audit` says of it.
 * As own_database.h, this is included whole.
 */
#ifndef HOLDFAST_TESTS_AUDIT_SALE_H
#define HOLDFAST_TESTS_AUDIT_SALE_H

#include "integration/own_database.h"

#include <cjson/cJSON.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "gate/gate_sync.h"
#include "harness/redis_view.h"

/* --- a small sale, made by hand --- */

#define TOTAL 10
#define LIMIT 3

/* Orders of 2, 1 and 1 live units, one cancelled; ann has the first two. */
static struct {
    char sku[32];
    uint16_t slot;
    unsigned shard;
    uint64_t epoch;
    order_id_t ids[4];
    gate_sync_t *gate;
} sale;

static inline void run_sql(sql_t *sql)
{
    db_t *db = open_shard(here.config, sale.shard);
    result_t result = db_exec(db, sql, NULL, 0);
    EXPECT(result == RESULT_DONE, "%.*s: %s", (int)sql->n, sql->p, db_error(db));
    db_free(db);
    sql_free(sql);
}

/* On the shard of the sale, with its sku as %s once. */
static inline void change(const char *format)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, format, str_of(sale.sku));
    run_sql(&sql);
}

static inline order_id_t insert_order(order_id_t id, const char *buyer, uint64_t quantity,
                                      const char *order_state, const char *key)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql,
            "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, idempotency_key, epoch, "
            "created_at, updated_at, expires_at) VALUES (%o, %s, %s, %u, %w, %s, %u, NOW(3), "
            "NOW(3), NOW(3) + INTERVAL 1 HOUR); INSERT INTO holds SELECT expires_at, order_id FROM "
            "orders WHERE order_id = %o AND state = 'held'",
            &id, str_of(sale.sku), str_of(buyer), quantity, order_state, str_of(key), sale.epoch,
            &id);
    run_sql(&sql);
    return id;
}

static inline const item_ref_t *sale_ref(void)
{
    static item_ref_t item;
    item = item_ref_of(str_of(sale.sku));
    return &item;
}

static inline order_id_t new_id(void)
{
    return order_id_issue(sale.slot, clock_wall_ms());
}

static inline void insert_item(const char *sku, const char *strategy, int64_t allocated,
                               int64_t released)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql,
            "INSERT INTO inventory (sku, bucket, slot, total, allocated_total, released_total, "
            "epoch, per_buyer_limit, hold_seconds, strategy, acknowledge, created_at, updated_at) "
            "VALUES (%s, 0, %u, %u, %d, %d, %u, %u, 0, %w, 'committed', NOW(3), NOW(3))",
            str_of(sku), (uint64_t)sale.slot, (uint64_t)TOTAL, allocated, released, sale.epoch,
            (uint64_t)LIMIT, strategy);
    run_sql(&sql);
}

static inline void build_gate(int64_t allocated)
{
    const item_terms_t terms = {.total = TOTAL, .per_buyer_limit = LIMIT, .strategy = STRATEGY_LUA};
    const gate_rebuild_t rebuild = {
        .epoch = sale.epoch, .capacity = TOTAL - allocated, .terms = &terms, .whole = true};
    gate_rebuilt_t built = GATE_REBUILD_OLD;
    EXPECT_NUMBER(gate_sync_rebuild(sale.gate, sale_ref(), &rebuild, &built), RESULT_DONE);
    EXPECT_NUMBER(built, GATE_REBUILT);
}

/* Under the next epoch, as a rebuild does. */
static inline void build_gate_again(int64_t allocated)
{
    ++sale.epoch;
    change("UPDATE inventory SET epoch = epoch + 1 WHERE sku = %s");
    build_gate(allocated);
}

static inline int set_up_sale(void **state)
{
    static unsigned number;
    (void)state;
    snprintf(sale.sku, sizeof(sale.sku), "audit-%d-%u", getpid(), ++number);
    sale.slot = slot_of_sku(str_of(sale.sku));
    shard_map_t map;
    shard_map_init(&map, here.config);
    sale.shard = map.shard_of_slot[sale.slot];
    sale.epoch = clock_wall_ms() - 10000;
    sale.gate = gate_sync_new(here.config);
    run_on_all(here.config, "DELETE FROM orders; DELETE FROM holds; DELETE FROM inventory");
    insert_item(sale.sku, "lua", 5, 1);
    insert_item("by-sql", "optimistic", 0, 0);
    sale.ids[0] = insert_order(new_id(), "ann", 2, "held", "key-1");
    sale.ids[1] = insert_order(new_id(), "ann", 1, "confirmed", "key-2");
    sale.ids[2] = insert_order(new_id(), "bob", 1, "confirmed", NULL);
    sale.ids[3] = insert_order(new_id(), "bob", 1, "cancelled", "key-1");
    build_gate(4);
    return 0;
}

/* --- Redis by hand --- */

static inline redisReply *redis(redis_args_t *args)
{
    void *answer = NULL;
    str_t command = redis_args_command(args);
    redisContext *context = redisConnectUnix(test_environment("HOLDFAST_REDIS_SOCKET"));
    EXPECT(context != NULL && context->err == 0, "no Redis");
    redisAppendFormattedCommand(context, command.p, command.n);
    redisGetReply(context, &answer);
    redisReply *reply = answer;
    EXPECT(reply != NULL && reply->type != REDIS_REPLY_ERROR, "%s",
           reply != NULL ? reply->str : "no answer");
    redisFree(context);
    return reply;
}

/* A command on a key of the sale, with up to two more words. */
static inline void spoil(const char *command, gate_key_t key, str_t a, str_t b)
{
    redis_args_t args = {0};
    redis_args_add(&args, str_of(command));
    gate_add_key(&args, key, sale_ref());
    if (a.p != NULL)
        redis_args_add(&args, a);
    if (b.p != NULL)
        redis_args_add(&args, b);
    freeReplyObject(redis(&args));
    redis_args_free(&args);
}

static inline str_t id_bytes(const order_id_t *id)
{
    return (str_t){(const char *)id->bytes, sizeof(id->bytes)};
}

/* Admits an order as a service would. */
/* The owner is alive: of a process that is gone, the service of the shared stack would take the
   order over, and reject it. */
static inline order_id_t reserve(const char *buyer, uint64_t quantity)
{
    redis_run(stack_shared(), "SET hf:owner:test 1 EX 3600");
    redis_args_t args = {0};
    order_id_t id = new_id();
    char text[GATE_RECORD_SIZE], *at = text;
    const gate_record_t record = {.epoch = sale.epoch,
                                  .sku = str_of(sale.sku),
                                  .buyer = str_of(buyer),
                                  .quantity = (uint32_t)quantity,
                                  .deadline_ms = clock_wall_ms() + 60000,
                                  .owner = STR("test")};
    gate_call(&args, "holdfast_reserve", 4);
    for (int key = GATE_KEY_GATE; key <= GATE_KEY_KEYS; ++key)
        gate_add_key(&args, (gate_key_t)key, sale_ref());
    redis_args_add_u64(&args, sale.epoch);
    redis_args_add(&args, STR("1"));
    redis_args_add_u64(&args, record.deadline_ms);
    redis_args_add_u64(&args, quantity);
    redis_args_add(&args, STR(""));
    redis_args_add(&args, id_bytes(&id));
    redis_args_add(&args, str_of(buyer));
    redis_args_add(&args, gate_record_put(&at, &record));
    redisReply *reply = redis(&args);
    EXPECT(gate_reply_is_array(reply, 4) && gate_reply_i64(reply, 0) == GATE_ITEM_OK &&
               gate_answer_plain(gate_reply_answer(reply, 0, 0)) == GATE_ADMITTED,
           "not admitted");
    freeReplyObject(reply);
    redis_args_free(&args);
    return id;
}

/* --- the bounds of the audit's scan, for the audits that begin from now on --- */

static inline const char *bounds_path(void)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/audit-bounds-%d", test_environment("HOLDFAST_TEST_TMP"),
             getpid());
    return path;
}

/* Failpoints: a line each. NULL: the usual bounds. */
static inline void set_bounds(const char *lines)
{
    unlink(bounds_path());
    unlink(test_text("%s.hits", bounds_path()));
    unsetenv("HOLDFAST_FAILPOINTS");
    if (lines == NULL)
        return;
    FILE *out = fopen(bounds_path(), "we");
    EXPECT(out != NULL, "cannot write %s", bounds_path());
    fputs(lines, out);
    fclose(out);
    setenv("HOLDFAST_FAILPOINTS", bounds_path(), 1);
}

/* How often the failpoint was reached since set_bounds(). */
static inline unsigned bounds_hits(const char *name)
{
    unsigned hits = 0;
    const char *path = test_text("%s.hits", bounds_path());
    if (access(path, R_OK) != 0)
        return 0;
    for (const char *at = read_path(path); (at = strstr(at, name)) != NULL; ++at)
        ++hits;
    return hits;
}

static inline int tear_down_sale(void **state)
{
    (void)state;
    set_bounds(NULL);
    spoil("DEL", GATE_KEY_GATE, STR_NONE, STR_NONE);
    spoil("DEL", GATE_KEY_BUYERS, STR_NONE, STR_NONE);
    gate_sync_free(sale.gate);
    test_forget();
    return 0;
}

/* --- what the audit says --- */

static inline void delete_json(void *json)
{
    cJSON_Delete(json);
}

static inline const cJSON *parse_audit(FILE *process, int expected_status)
{
    char *said;
    int status = finish(process, &said);
    cJSON *json = cJSON_Parse(said);
    EXPECT(json != NULL, "no JSON: %s", said);
    test_keep(json, delete_json);
    EXPECT(status == expected_status, "status %d: %s", status, said);
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(json, "ok")) == (status == 0), "%s", said);
    return json;
}

static inline const cJSON *invariant(const cJSON *audit, const char *id)
{
    const cJSON *each;
    cJSON_ArrayForEach(
        each,
        cJSON_GetObjectItem(
            audit, "invariants")) if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(each, "id")),
                                             id) == 0) return each;
    FAIL("no invariant %s", id);
}

static inline long long number(const cJSON *object, const char *name)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
    EXPECT(cJSON_IsNumber(member), "no number %s", name);
    return (long long)member->valuedouble;
}

static inline long long total(const cJSON *audit, const char *name)
{
    return number(cJSON_GetObjectItem(audit, "totals"), name);
}

/* Expects just the invariants with these letters to be broken. */
static inline const cJSON *audit_finds(const char *letters)
{
    const cJSON *audit = parse_audit(start("audit", here.path), *letters == '\0' ? 0 : 1);
    for (const char *id = "ABCDE"; *id != '\0'; ++id) {
        const cJSON *one = invariant(audit, test_text("%c", *id));
        bool ok = cJSON_IsTrue(cJSON_GetObjectItem(one, "ok"));
        EXPECT(ok == (strchr(letters, *id) == NULL), "%s", cJSON_Print(one));
        EXPECT(ok == (number(one, "violations_total") == 0), "%s", cJSON_Print(one));
    }
    return audit;
}

/* Its only violation. */
static inline const cJSON *violation(const cJSON *audit, const char *id)
{
    const cJSON *list = cJSON_GetObjectItem(invariant(audit, id), "violations");
    EXPECT_NUMBER(cJSON_GetArraySize(list), 1);
    return cJSON_GetArrayItem(list, 0);
}

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_sale, tear_down_sale)

#endif
