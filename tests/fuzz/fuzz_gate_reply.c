/*
 * Replies to the strategies lua and watch: whatever Redis says, every attempt of a call ends in
 * exactly one outcome that makes sense, and the words of gate.h keep their bounds.
 *
 * Linked with --wrap for the connection and the pool of connections. Outcomes are recorded here.
 */
#include "base/log.h"
#include "fuzz/fuzz.h"
#include "strategies/strategy.h"
#include "strategies/watch_pool.h"

#define BUYERS_MAX 6
#define ITEMS 2
#define CALLS_MAX 64
#define TURNS_MAX 200

typedef struct {
    redis_reply_cb cb;
    void *context;
} waiting_t;

static struct {
    loop_t loop;
    config_t config;
    strategy_loop_t strategies;
    strategy_item_t items[ITEMS];
    attempt_t attempts[BUYERS_MAX];
    unsigned count, outcomes[BUYERS_MAX];
    bool sent[BUYERS_MAX];
    waiting_t waiting[CALLS_MAX]; /* oldest first */
    unsigned waiting_count;
    attempt_t *lessees[BUYERS_MAX];
    watch_leased_cb leased;
    unsigned lessees_count, leases;
    shard_t shard; /* its writer is ours */
    int expected;  /* orders that the writer was told of and that were not answered */
    redisReader *reader;
} world;

/* --- what stands around --- */

bool __wrap_redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb,
                            void *context);
void __wrap_redis_link_drop(redis_link_t *link);
void __wrap_redis_link_flush(redis_link_t *link);
str_t __wrap_redis_link_identity(const redis_link_t *link);
void __wrap_watch_pool_lease(watch_pool_t *pool, attempt_t *attempt, watch_leased_cb leased);
void __wrap_watch_pool_return(watch_pool_t *pool, redis_link_t *link);
uint32_t __wrap_random_backoff(uint32_t base, uint32_t cap, unsigned attempt);
bool __wrap_writer_is_behind(writer_t *writer, uint16_t slot);
void __wrap_writer_expect(writer_t *writer, uint16_t slot, int more);

bool __wrap_redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb,
                            void *context)
{
    (void)link;
    str_t command = redis_args_command(args);
    EXPECT(command.n > 4 && command.p[0] == '*' && command.p[command.n - 1] == '\n');
    EXPECT(world.waiting_count < CALLS_MAX);
    world.waiting[world.waiting_count++] = (waiting_t){cb, context};
    return true;
}

void __wrap_redis_link_drop(redis_link_t *link)
{
    (void)link;
}

void __wrap_redis_link_flush(redis_link_t *link)
{
    (void)link;
}

str_t __wrap_redis_link_identity(const redis_link_t *link)
{
    (void)link;
    return STR("run");
}

void __wrap_watch_pool_lease(watch_pool_t *pool, attempt_t *attempt, watch_leased_cb leased)
{
    (void)pool;
    EXPECT(world.lessees_count < BUYERS_MAX);
    world.leased = leased;
    world.lessees[world.lessees_count++] = attempt;
}

void __wrap_watch_pool_return(watch_pool_t *pool, redis_link_t *link)
{
    (void)pool;
    EXPECT(link != NULL && world.leases != 0);
    --world.leases;
}

uint32_t __wrap_random_backoff(uint32_t base, uint32_t cap, unsigned attempt)
{
    EXPECT(base != 0 && cap >= base && attempt != 0);
    return 0; /* at once: a target does not wait */
}

bool __wrap_writer_is_behind(writer_t *writer, uint16_t slot)
{
    EXPECT(writer == NULL && slot == 0);
    return false; /* else the call would wait a millisecond, and a target does not */
}

void __wrap_writer_expect(writer_t *writer, uint16_t slot, int more)
{
    EXPECT(writer == NULL && slot == 0 && more != 0);
    world.expected += more;
    EXPECT(world.expected >= 0);
}

/* --- what the strategies report --- */

static void on_sent(attempt_t *attempt)
{
    size_t i = (size_t)(attempt - world.attempts);
    EXPECT(i < world.count && world.outcomes[i] == 0);
    world.sent[i] = true;
}

static void on_done(attempt_t *attempt, const outcome_t *outcome)
{
    size_t i = (size_t)(attempt - world.attempts);
    EXPECT(i < world.count && !h2o_linklist_is_linked(&attempt->link) && outcome->row == NULL);
    ++world.outcomes[i];
    switch (outcome->kind) {
    case OUTCOME_REFUSED:
        EXPECT(outcome->problem > PROBLEM_NONE && outcome->problem < PROBLEM_COUNT);
        break;
    case OUTCOME_KEY_UNCHECKED:
        EXPECT(attempt->key_length != 0 && !attempt->key_is_free);
        break;
    case OUTCOME_REPEAT:
        EXPECT(attempt->key_length != 0 && !order_id_eq(&outcome->first, &attempt->order.id));
        break;
    default:
        EXPECT(outcome->kind != OUTCOME_DECIDED);
    }
    EXPECT(outcome->kind == OUTCOME_REFUSED || world.sent[i]);
}

static void on_sold_out(strategy_item_t *item, unsigned units_back)
{
    EXPECT(item >= world.items && item < world.items + ITEMS && units_back == item->units_back);
}

/* As the engine: the second time in a row. */
static bool on_gate_missed(strategy_item_t *item, uint64_t epoch)
{
    static unsigned calls;
    EXPECT(item >= world.items && item < world.items + ITEMS && epoch == 0);
    return ++calls % 2 == 0;
}

/* --- one run --- */

static void prepare_world(void)
{
    if (world.reader == NULL) {
        log_set_level(LOG_LEVEL_ERROR + 1);
        loop_init(&world.loop, 0);
    }
    redisReaderFree(world.reader);
    world.reader = redisReaderCreate();
    world.config.redis.batch_max = 4;
    world.config.redis.watch_connections = 2;
    world.config.orders.retries_max = 2;
    world.expected = 0;
    world.waiting_count = world.lessees_count = world.leases = 0;
    static const strategy_host_t host = {on_sent, on_done, on_sold_out, on_gate_missed};
    world.strategies = (strategy_loop_t){
        .loop = &world.loop, .config = &world.config, .host = &host, .owner = STR("owner")};
    strategy_loop_open(&world.strategies);
    for (unsigned i = 0; i < ITEMS; ++i)
        world.items[i] = (strategy_item_t){
            .loop = &world.strategies, .shard = &world.shard, .ref = {.sku = {3, "sku"}}};
}

static void start_buyers(const strategy_t *strategy, unsigned count)
{
    world.count = count;
    for (unsigned i = 0; i < count; ++i) {
        attempt_t *a = &world.attempts[i];
        *a = (attempt_t){.item = &world.items[i % ITEMS],
                         .order = {.id = {{(uint8_t)(i + 1)}}, .quantity = 1},
                         .commit_deadline_ms = 1000,
                         .key_bytes = "k",
                         .key_length = i % 2};
        order_set_sku(&a->order, STR("sku"));
        order_set_buyer(&a->order, STR("buyer"));
        world.outcomes[i] = 0;
        world.sent[i] = false;
        strategy->start(a);
        EXPECT(world.outcomes[i] == 0);
    }
}

/* The next reply of the input, or NULL, as of a lost connection, when there is none. */
static redisReply *next_reply(void)
{
    void *reply = NULL;
    if (redisReaderGetReply(world.reader, &reply) != REDIS_OK)
        return NULL;
    return reply;
}

static void check_words(const redisReply *reply)
{
    gate_record_t record;
    (void)gate_reply_i64(reply, 0);
    EXPECT(gate_reply_i64(reply, reply->elements) == 0);
    EXPECT(!gate_reply_is_array(reply, reply->elements + 1));
    if (reply->type == REDIS_REPLY_STRING &&
        gate_record_parse((str_t){reply->str, (size_t)reply->len}, &record)) {
        EXPECT(record.quantity != 0 && record.sku.n <= SKU_BYTES_MAX && record.sku.n != 0);
        EXPECT(record.buyer.n <= BUYER_BYTES_MAX && record.key.n <= KEY_BYTES_MAX);
        EXPECT(record.key.p + record.key.n <= reply->str + reply->len);
        EXPECT(record.owner.p + record.owner.n <= reply->str + reply->len);
    }
}

static void answer_oldest(void)
{
    waiting_t oldest = world.waiting[0];
    redisReply *reply = next_reply();
    --world.waiting_count;
    memmove(world.waiting, world.waiting + 1, world.waiting_count * sizeof(oldest));
    if (reply != NULL)
        check_words(reply);
    if (oldest.cb != NULL)
        oldest.cb(oldest.context, reply);
    freeReplyObject(reply);
}

static void lease_one(void)
{
    attempt_t *lessee = world.lessees[0];
    --world.lessees_count;
    memmove(world.lessees, world.lessees + 1, world.lessees_count * sizeof(lessee));
    ++world.leases;
    world.leased(lessee, (redis_link_t *)&world); /* never looked into: its functions are ours */
}

static bool all_ended(void)
{
    for (unsigned i = 0; i < world.count; ++i) {
        EXPECT(world.outcomes[i] <= 1);
        if (world.outcomes[i] == 0)
            return false;
    }
    return world.waiting_count == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    uint8_t choice = fuzz_take_byte(&input);
    prepare_world();
    str_t bytes = fuzz_take_rest(&input);
    redisReaderFeed(world.reader, bytes.p, bytes.n);
    start_buyers(choice & 1 ? &strategy_watch : &strategy_lua, 1 + (choice >> 1) % BUYERS_MAX);
    for (unsigned turn = 0; turn < TURNS_MAX && !all_ended(); ++turn) {
        if (world.waiting_count != 0)
            answer_oldest();
        else if (world.lessees_count != 0)
            lease_one();
        else
            h2o_evloop_run(world.loop.h2o, 0);
    }
    EXPECT(all_ended() && world.leases == 0 && world.expected == 0);
    /* Each asserts that nothing is left in it. */
    for (unsigned i = 0; i < ITEMS; ++i)
        strategy_item_close(&world.items[i]);
    strategy_loop_close(&world.strategies);
    return 0;
}
