/*
 * Guards of the library in lua/ whose absence the row and the reconciler would make good for, so
 * that no sale shows it. The item is one that MySQL does not know: the service leaves its gate
 * alone.
 */
#include "harness/sale.h"

#define STACK stack_shared()

#define LIB_KEY(which_) "hf:{77}:" which_ ":by-itself:0"
#define LIB_UNSETTLED "hf:{77}:unsettled hf:{77}:keys"
#define LIB_ALL LIB_KEY("gate") " " LIB_KEY("buyers") " " LIB_UNSETTLED
#define LIB_FAR 4000000000000LL /* ms: a commit deadline that does not come */

#define RESERVE "FCALL holdfast_reserve 4 " LIB_ALL

/* What reserve says: at 0 of the item, at 3 of the order, at 4 the first order of its key. Ids are
   16 digits. */
static long long lib_reserve(size_t at, int epoch, const char *id, int quantity, const char *key,
                             long long deadline)
{
    return redis_run_at(STACK, at,
                        RESERVE " %d 1 %lld %d 2 %s alice "
                                "%d\x1f"
                                "by-itself\x1f"
                                "0\x1f"
                                "alice\x1f%d\x1f%s\x1f%lld\x1fnobody\x1f"
                                "0 "
                                "by-itself\x1f"
                                "alice\x1f%s",
                        epoch, deadline, quantity, id, epoch, quantity, key, deadline, key);
}

#define RECORD(buyer_)                                                                             \
    "1000\x1f_\x1f"                                                                                \
    "0\x1f" buyer_ "\x1f"                                                                          \
    "1\x1f\x1f%lld\x1fnobody\x1f"                                                                  \
    "0"
#define RESERVE_THREE                                                                              \
    RESERVE " 1000 3 %lld %s %s 2000000000000001 2000000000000002 2000000000000003 ann bob "       \
            "ann " RECORD("ann") " " RECORD("bob") " " RECORD("ann")

/* Orders of ann, bob and ann in one call: their answers, as one number. */
static long long lib_three(const char *quantities, long long earliest, long long of_bob)
{
    return redis_run_at(STACK, 3, RESERVE_THREE, earliest, quantities, "", LIB_FAR, of_bob,
                        LIB_FAR);
}

/* Two of them with a key. */
static long long lib_three_keys(const char *quantities, const char *marks, const char *a,
                                const char *b)
{
    return redis_run_at(STACK, 3, RESERVE_THREE " %s %s", LIB_FAR, quantities, marks, LIB_FAR,
                        LIB_FAR, LIB_FAR, a, b);
}

#define SETTLE "FCALL holdfast_settle 3 " LIB_KEY("gate") " " LIB_UNSETTLED

/* `previous`: the epoch that the row had. `owned`: what alice has by MySQL, 0: no order. */
static void lib_rebuild_with(int previous, int epoch, int capacity, int limit, int closed,
                             const char *in_mysql, int owned)
{
    if (owned != 0)
        redis_run(STACK, "FCALL holdfast_stage 1 hf:{77}:staging alice %d", owned);
    redis_run(STACK,
              "FCALL holdfast_rebuild 6 " LIB_ALL
              " " LIB_KEY("early") " hf:{77}:staging %d by-itself 0 %d %d 0 0 %d %d %d 1 %d %s",
              epoch, capacity, limit, closed, owned != 0, owned, previous, in_mysql);
}

static void lib_rebuild_after(int previous, int epoch, int capacity, int limit, int closed,
                              const char *in_mysql)
{
    lib_rebuild_with(previous, epoch, capacity, limit, closed, in_mysql, 0);
}

static void lib_rebuild(int epoch, int capacity, int closed, const char *in_mysql)
{
    lib_rebuild_after(epoch - 1, epoch, capacity, 0, closed, in_mysql);
}

static long long lib_counter(const char *name)
{
    return redis_run(STACK, "HGET " LIB_KEY("gate") " %s", name);
}

static int lib_setup(void **state)
{
    (void)state;
    redis_run(STACK, "DEL " LIB_ALL " " LIB_KEY("early") " hf:{77}:staging");
    /* Of a process that is gone, the service would take the orders over, and reject them. */
    redis_run(STACK, "SET hf:owner:nobody 1 EX 3600");
    lib_rebuild(1000, 10, 0, "0");
    return 0;
}

static int lib_teardown(void **state)
{
    redis_run(STACK, "DEL " LIB_ALL " " LIB_KEY("early") " hf:{77}:staging");
    return test_teardown(state);
}

static void the_gate_admits_nobody_past_the_commit_deadline(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", 1), 5);
    EXPECT_NUMBER(lib_counter("reserved"), 0);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(lib_counter("reserved"), 2);
}

static void the_gate_knows_an_unsettled_key_and_id(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000002", 2, "k", LIB_FAR), 7);
    EXPECT_NUMBER(lib_reserve(4, 1000, "1000000000000002", 2, "k", LIB_FAR), 1000000000000001LL);
    EXPECT_NUMBER(lib_counter("reserved"), 2);
    EXPECT_NUMBER(redis_run_at(STACK, 0,
                               SETTLE " 1000 1 1 2 1 1000000000000001 by-itself\x1f"
                                      "alice\x1fk"),
                  1);
    EXPECT_NUMBER(lib_counter("settled"), 2);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000002", 3, "k", LIB_FAR), 8); /* seen */
    EXPECT_NUMBER(
        redis_run(STACK, "FCALL holdfast_unreserve 4 " LIB_ALL " by-itself 0 1000000000000002"), 1);
    EXPECT_NUMBER(lib_counter("unreserved"), 3);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " alice"), 2);
}

/* The order is in MySQL under 1000 and its gate was rebuilt; another owner, who knows nothing of
   that, has it admitted anew. Then the first one is heard at last. */
static void a_settle_of_an_older_epoch_leaves_what_was_admitted_anew(void **state)
{
    (void)state;
#define SETTLE_ONE " 1 0 2 1 1000000000000001"
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    lib_rebuild(1001, 8, 0, "1000000000000001");
    EXPECT_NUMBER(lib_counter("reserved"), 0);
    EXPECT_NUMBER(lib_reserve(3, 1001, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 1000" SETTLE_ONE), 0);
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 1);
    EXPECT_NUMBER(lib_counter("settled"), 0);
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 1001" SETTLE_ONE), 1);
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 0);
    EXPECT_NUMBER(lib_counter("settled"), 2);
}

/* An old copy of Redis came back, with an order that MySQL has had since. */
static void a_settle_takes_what_an_older_gate_has(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 1001" SETTLE_ONE), 1);
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 0);
    EXPECT_NUMBER(lib_counter("settled"), 0);
}

#define BUYERS_OF(function_)                                                                       \
    "FCALL holdfast_" function_ " 3 " LIB_KEY("gate") " " LIB_KEY("buyers") " " LIB_KEY("early")

static long long units_of_alice(void)
{
    return redis_run(STACK, "HGET " LIB_KEY("buyers") " alice");
}

/* A gate that is loading. Alice's units were read with sequence 7: what was released up to then is
   in them. */
static void a_release_counts_once_whenever_the_buyer_is_loaded(void **state)
{
    (void)state;
    redis_run(STACK, "FCALL holdfast_rebuild 6 " LIB_ALL " " LIB_KEY(
                         "early") " hf:{77}:staging 1001 by-itself 0 10 4 0 0 0 0 0 0 1000");
    EXPECT_NUMBER(lib_counter("loading"), 1);
    lib_reserve(3, 1001, "1000000000000001", 1, "k", LIB_FAR);
    EXPECT_NUMBER(lib_counter("reserved"), 0);
    redis_run(STACK, BUYERS_OF("release") " 1001 alice 1 7");
    redis_run(STACK, BUYERS_OF("release") " 1001 alice 1 8");
    EXPECT_NUMBER(lib_counter("released"), 2);
    redis_run(STACK, BUYERS_OF("load") " 1000 7 0 0 alice 3"); /* of another epoch */
    EXPECT_NUMBER(lib_counter("known"), 0);
    redis_run(STACK, BUYERS_OF("load") " 1001 7 0 0 alice 3");
    EXPECT_NUMBER(lib_counter("known"), 1);
    EXPECT_NUMBER(units_of_alice(), 2);
    redis_run(STACK, BUYERS_OF("load") " 1001 9 0 0 alice 1"); /* she is loaded already */
    redis_run(STACK, BUYERS_OF("release") " 1001 alice 1 6");
    EXPECT_NUMBER(units_of_alice(), 2);
    lib_reserve(3, 1001, "1000000000000001", 2, "", LIB_FAR);
    EXPECT_NUMBER(lib_counter("reserved"), 2);
    EXPECT_NUMBER(units_of_alice(), 4);
    redis_run(STACK, BUYERS_OF("release") " 1001 alice 1 9");
    EXPECT_NUMBER(units_of_alice(), 3);
    EXPECT_NUMBER(lib_counter("loading"), 1);
    redis_run(STACK, BUYERS_OF("load") " 1001 0 100 1");
    EXPECT_NUMBER(lib_counter("loading"), 0);
    EXPECT_NUMBER(redis_run(STACK, "EXISTS " LIB_KEY("early")), 0);
}

/* MySQL has released 3 units and committed 3; at first the gate has heard of one release. */
static void a_gate_keeps_its_buyers_when_it_knows_all_releases(void **state)
{
    (void)state;
#define RENEW                                                                                      \
    "FCALL holdfast_renew 5 " LIB_ALL                                                              \
    " " LIB_KEY("early") " 1001 by-itself 0 9 0 0 0 1000 %d %d 1 "                                 \
                         "1000000000000002"
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000002", 3, "l", LIB_FAR), 8);
    redis_run(STACK, BUYERS_OF("release") " 1000 alice 1 1");
    redis_run(STACK, RENEW, 3, 3);
    EXPECT_NUMBER(lib_counter("epoch"), 1000);
    redis_run(STACK, BUYERS_OF("release") " 1000 alice 2 3");
    redis_run(STACK, RENEW, 3, 4); /* MySQL has another unit than the gate */
    EXPECT_NUMBER(lib_counter("epoch"), 1000);
    redis_run(STACK, RENEW, 3, 3);
    EXPECT_NUMBER(lib_counter("epoch"), 1001);
    EXPECT_NUMBER(lib_counter("reserved"), 2); /* the other one is in MySQL */
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 1);
    EXPECT_NUMBER(units_of_alice(), 2);
    EXPECT_NUMBER(lib_counter("loading"), 0);
}

static void the_gate_counts_what_is_released_under_its_epoch(void **state)
{
    (void)state;
    static const int epochs[] = {999, 1001, 1000}; /* only the last is the gate's */
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 5, "k", LIB_FAR), 0);
    for (size_t i = 0; i < TEST_COUNT(epochs); ++i) {
        EXPECT_NUMBER(lib_counter("released"), 0);
        redis_run(STACK,
                  "FCALL holdfast_release 3 " LIB_KEY("gate") " " LIB_KEY("buyers") " " LIB_KEY(
                      "early") " %d alice 2 7",
                  epochs[i]);
    }
    EXPECT_NUMBER(lib_counter("released"), 2);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " alice"), 3);
}

static void the_gate_admits_only_under_its_epoch_and_while_open(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(0, 999, "1000000000000001", 1, "k", LIB_FAR), 2);
    EXPECT_NUMBER(lib_reserve(0, 1001, "1000000000000001", 1, "k", LIB_FAR), 2);
    redis_run(STACK, "FCALL holdfast_freeze 1 " LIB_KEY("gate") " 60000");
    EXPECT_NUMBER(lib_reserve(0, 1000, "1000000000000001", 1, "k", LIB_FAR), 5);
    long long frozen_until = lib_counter("frozen_until");
    /* It is one change's: another gets no freeze, and ends none. */
    redis_run(STACK, "FCALL holdfast_freeze 1 " LIB_KEY("gate") " 120000");
    EXPECT_NUMBER(lib_counter("frozen_until"), frozen_until);
    redis_run(STACK, "FCALL holdfast_thaw 1 " LIB_KEY("gate") " %lld", frozen_until + 60000);
    EXPECT_NUMBER(lib_reserve(0, 1000, "1000000000000001", 1, "k", LIB_FAR), 5);
    /* Prolonged by its own change only, and never made shorter. */
#define FROZEN "FCALL holdfast_frozen 1 " LIB_KEY("gate") " 1000 "
    redis_run(STACK, FROZEN "%lld 120000", frozen_until + 1);
    EXPECT_NUMBER(lib_counter("frozen_until"), frozen_until);
    redis_run(STACK, FROZEN "%lld 100", frozen_until);
    EXPECT_NUMBER(lib_counter("frozen_until"), frozen_until);
    redis_run(STACK, FROZEN "%lld 120000", frozen_until);
    EXPECT(lib_counter("frozen_until") > frozen_until + 50000, "not prolonged");
    redis_run(STACK, "FCALL holdfast_thaw 1 " LIB_KEY("gate") " %lld", frozen_until);
    EXPECT_NUMBER(lib_reserve(0, 1000, "1000000000000001", 1, "k", LIB_FAR), 5);
    redis_run(STACK, "FCALL holdfast_thaw 1 " LIB_KEY("gate") " %lld", lib_counter("frozen_until"));
    EXPECT_NUMBER(lib_counter("frozen_until"), 0);
    redis_run(STACK, "HSET " LIB_KEY("gate") " built_under 0123456789");
    EXPECT_NUMBER(lib_reserve(0, 1000, "1000000000000001", 1, "k", LIB_FAR), 3);
    lib_rebuild(1001, 10, 1, "0");
    EXPECT_NUMBER(lib_reserve(0, 1001, "1000000000000001", 1, "k", LIB_FAR), 4);
    EXPECT_NUMBER(lib_counter("reserved"), 0);
    lib_rebuild(1002, 10, 0, "0");
    EXPECT_NUMBER(lib_reserve(3, 1002, "1000000000000001", 1, "k", LIB_FAR), 0);
}

#define LOOK "FCALL holdfast_look 4 " LIB_KEY("gate") " " LIB_KEY("buyers") " hf:{77}:gate:none:0 b"

/* At 0 the answer, at 1 the epoch, at 2 the units of this item; from 3 on those of one without a
   gate. */
static void expect_look(long long answer, long long epoch, long long available)
{
    const long long expected[] = {answer, epoch, available, 1, 0, 0};
    for (size_t at = 0; at < TEST_COUNT(expected); ++at)
        EXPECT_NUMBER(redis_run_at(STACK, at, LOOK), expected[at]);
}

static void a_look_sees_what_a_buyer_would_find(void **state)
{
    (void)state;
    expect_look(0, 1000, 10);
    lib_reserve(3, 1000, "1000000000000001", 4, "k", LIB_FAR);
    expect_look(0, 1000, 6);
    redis_run(STACK, "FCALL holdfast_freeze 1 " LIB_KEY("gate") " 60000");
    expect_look(5, 1000, 6);
    redis_run(STACK, "FCALL holdfast_thaw 1 " LIB_KEY("gate") " %lld", lib_counter("frozen_until"));
    redis_run(STACK, "HSET " LIB_KEY("buyers") " by-hand 1");
    expect_look(1, 1000, 6); /* without its own table of buyers it is none */
    redis_run(STACK, "HDEL " LIB_KEY("buyers") " by-hand");
    redis_run(STACK, "HSET " LIB_KEY("gate") " built_under 0123456789");
    expect_look(3, 1000, 6);
    lib_rebuild(1001, 7, 1, "0");
    expect_look(4, 1001, 7);
    redis_run(STACK, "DEL " LIB_KEY("gate"));
    expect_look(1, 0, 0);
}

static void a_rebuild_carries_what_is_unsettled_and_never_goes_back(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 2, "k", LIB_FAR), 0);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000002", 3, "l", LIB_FAR), 8);
    lib_rebuild(1000, 99, 0, "0");
    lib_rebuild(999, 99, 0, "0");
    EXPECT_NUMBER(lib_counter("epoch"), 1000);
    EXPECT_NUMBER(lib_counter("capacity"), 10);
    EXPECT_NUMBER(lib_counter("reserved"), 5);
    lib_rebuild(1001, 8, 0, "1000000000000001"); /* that one is in MySQL */
    EXPECT_NUMBER(lib_counter("epoch"), 1001);
    EXPECT_NUMBER(lib_counter("reserved"), 3);
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 1);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " alice"), 3);
    EXPECT_NUMBER(lib_reserve(3, 1001, "1000000000000003", 6, "m", LIB_FAR), 1 + 8); /* 5 left */
    EXPECT_NUMBER(lib_reserve(4, 1001, "1000000000000003", 5, "l", LIB_FAR), 1000000000000002LL);
    EXPECT_NUMBER(lib_reserve(3, 1001, "1000000000000003", 5, "m", LIB_FAR), 8);
}

/* Three units are admitted under 1000; meanwhile another gate, or a SQL strategy, may have sold. */
static void a_rebuild_carries_only_what_there_is_room_for(void **state)
{
    (void)state;
    static const struct {
        int previous, capacity, limit, owned, carried;
        bool foreign;
    } cases[] = {
        {1000, 3, 1, 0, 3, false}, /* this gate was the only one, and knew the limit */
        {1000, 2, 0, 0, 0, false}, /* it admitted while the total was lowered */
        {1001, 3, 3, 0, 3, false}, /* there was another epoch, and there is room */
        {1001, 2, 0, 0, 0, false}, /* no units for it */
        {1001, 9, 2, 0, 3, false}, /* past the limit, but nobody else sold to this buyer */
        {1001, 9, 2, 1, 0, false}, /* past the limit: somebody did */
        {1000, 2, 0, 0, 0, true},  /* another Redis: what it lost may be sold */
    };
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        redis_run(STACK, "DEL " LIB_ALL);
        lib_rebuild_after(999, 1000, 10, 4, 0, "0");
        EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 3, "k", LIB_FAR), 0);
        if (cases[i].foreign)
            redis_run(STACK, "HSET " LIB_KEY("gate") " built_under 0123456789");
        redis_run(STACK, "HSET " LIB_KEY("gate") " per_buyer_limit %d", cases[i].limit);
        lib_rebuild_with(cases[i].previous, 1002, cases[i].capacity, cases[i].limit, 0, "0",
                         cases[i].owned);
        EXPECT_NUMBER(lib_counter("reserved"), cases[i].carried);
        EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), cases[i].carried != 0);
        EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:keys"), cases[i].carried != 0);
        EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " alice"),
                      cases[i].carried + cases[i].owned);
    }
}

/* As somebody leaves it who takes a record of `unsettled` away. */
static void an_index_of_keys_without_its_record_says_nothing(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 1, "k", LIB_FAR), 0);
    redis_run(STACK, "HDEL hf:{77}:unsettled 1000000000000001");
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 1, "k", LIB_FAR), 8); /* itself */
    redis_run(STACK, "HDEL hf:{77}:unsettled 1000000000000001");
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000002", 1, "k", LIB_FAR), 8);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000003", 1, "l", LIB_FAR), 8);
    redis_run(STACK, "HDEL hf:{77}:unsettled 1000000000000003");
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:keys"), 2);
    lib_rebuild(1001, 10, 0, "0");
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:keys"), 1);
    EXPECT_NUMBER(lib_reserve(4, 1001, "1000000000000004", 1, "k", LIB_FAR), 1000000000000002LL);
}

/* A lowered limit leaves earlier orders alone, also over a Redis that was started anew. */
static void a_lowered_limit_drops_nothing(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 3, "k", LIB_FAR), 0);
    redis_run(STACK, "HSET " LIB_KEY("gate") " built_under 0123456789");
    lib_rebuild_after(1000, 1001, 10, 1, 0, "0");
    EXPECT_NUMBER(lib_counter("reserved"), 3);
}

/* Each has its own quantity; who comes twice is known the second time. */
static void a_batch_has_an_answer_for_each(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_three("5,4,2", LIB_FAR, LIB_FAR), 9); /* 0, 0, 8 + 1 */
    EXPECT_NUMBER(lib_counter("reserved"), 9);
    EXPECT_NUMBER(lib_counter("known"), 2);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " ann"), 5);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " bob"), 4);
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 2);
    EXPECT_NUMBER(redis_run(STACK, "EXISTS hf:{77}:keys"), 0);
}

/* The earliest of them is past: then each counts. */
static void one_of_a_batch_is_late(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_three("1", 1, 1), 58); /* 0, 5, 8 */
}

static void a_batch_shares_its_keys(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_three_keys("1", "101", "a", "a"), 7); /* 0, 0, 7 */
    EXPECT_NUMBER(redis_run(STACK, "HGET hf:{77}:keys a"), 2000000000000001LL);
    EXPECT_NUMBER(lib_counter("reserved"), 2);
}

static void the_key_of_a_seen_buyer_is_checked(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_three_keys("1", "011", "b", "c"), 0); /* and 8 + 6 */
    EXPECT_NUMBER(lib_counter("reserved"), 2);
    redis_run(STACK, "DEL " LIB_ALL);
    lib_rebuild(1000, 10, 0, "0");
    EXPECT_NUMBER(lib_three_keys("1", "012", "b", "c"), 8);
    EXPECT_NUMBER(lib_counter("reserved"), 3);
}

/* Two items of one call; the second is not there, or its part is malformed. */
#define OTHER_KEY(which_) "hf:{77}:" which_ ":other:0"
#define RESERVE_TWO                                                                                \
    "FCALL holdfast_reserve 8 " LIB_ALL " " OTHER_KEY("gate") " " OTHER_KEY(                       \
        "buyers") " " LIB_UNSETTLED                                                                \
                  " 1000 2 %lld 1 11 2000000000000001 2000000000000002 ann bob " RECORD(           \
                      "ann") " " RECORD("bob") " f f 1000 %d %lld 3 %s 2000000000000003 "          \
                                               "ann " RECORD("ann")

static long long lib_two(size_t at, int orders_of_other)
{
    return redis_run_at(STACK, at, RESERVE_TWO, LIB_FAR, LIB_FAR, LIB_FAR, orders_of_other, LIB_FAR,
                        "", LIB_FAR);
}

static void items_of_a_call_are_independent(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_two(3, 1), 7); /* 0, 7, and then its first */
    EXPECT_NUMBER(lib_two(4, 1), 2000000000000001LL);
    EXPECT_NUMBER(lib_two(5, 1), 1); /* the other: missing */
    EXPECT_NUMBER(lib_counter("reserved"), 1);
    redis_run(STACK,
              "FCALL holdfast_rebuild 6 " OTHER_KEY("gate") " " OTHER_KEY(
                  "buyers") " " LIB_UNSETTLED
                            " " OTHER_KEY(
                                "early") " hf:{77}:staging 1000 other 0 10 0 0 0 0 0 0 1 999 0");
    EXPECT_NUMBER(lib_two(5, 1), 0);
    EXPECT_NUMBER(lib_two(8, 1), 0);
    EXPECT_NUMBER(redis_run(STACK, "HGET " OTHER_KEY("gate") " reserved"), 3);
    EXPECT_NUMBER(lib_counter("reserved"), 1);
    EXPECT_NUMBER(redis_run(STACK, "HLEN hf:{77}:unsettled"), 2);
    EXPECT_NUMBER(
        redis_run_at(STACK, 1,
                     "FCALL holdfast_settle 6 " LIB_KEY("gate") " " LIB_UNSETTLED " " OTHER_KEY(
                         "gate") " " LIB_UNSETTLED
                                 " 1000 1 1 1 1 2000000000000001 f 1000 1 0 3 1 2000000000000003"),
        1);
    EXPECT_NUMBER(redis_run(STACK, "HGET " OTHER_KEY("gate") " settled"), 3);
    EXPECT_NUMBER(lib_counter("settled"), 1);
    EXPECT_NUMBER(redis_run(STACK, "EXISTS " LIB_UNSETTLED), 0);
    redis_run(STACK, "DEL " OTHER_KEY("gate") " " OTHER_KEY("buyers"));
}

/* All that is asked is read before the first write. */
static void one_malformed_part_spoils_the_call(void **state)
{
    (void)state;
    for (int orders = 0; orders <= 2; orders += 2) {
        EXPECT(redis_refuses(STACK, RESERVE_TWO, LIB_FAR, LIB_FAR, LIB_FAR, orders, LIB_FAR, "",
                             LIB_FAR),
               "it was taken");
        EXPECT_NUMBER(lib_counter("reserved"), 0);
    }
}

/* By quantity; what is not there is not counted, nor what another epoch or a closed gate holds. */
static void a_settle_counts_what_was_there(void **state)
{
    (void)state;
    EXPECT_NUMBER(lib_three_keys("3,2,3", "110", "a", "b"), 8);
    EXPECT_NUMBER(redis_run_at(STACK, 0,
                               SETTLE " 1000 2 2 2 2 3 1 2000000000000002 2000000000000009 "
                                      "2000000000000001 a b"),
                  2);
    EXPECT_NUMBER(lib_counter("settled"), 5);
    EXPECT_NUMBER(redis_run(STACK, "EXISTS hf:{77}:keys"), 0);
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 999 1 0 3 1 2000000000000003"), 0);
    EXPECT_NUMBER(lib_counter("settled"), 5);
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 1000 1 0 3 1 2000000000000003"), 1);
    EXPECT_NUMBER(lib_counter("settled"), 8);
    EXPECT_NUMBER(redis_run(STACK, "EXISTS hf:{77}:unsettled"), 0);
    EXPECT_NUMBER(lib_three("1", LIB_FAR, LIB_FAR), 889); /* two are left */
    redis_run(STACK, "HSET " LIB_KEY("gate") " closed 1");
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 1000 1 0 1 1 2000000000000001"), 1);
    EXPECT_NUMBER(lib_counter("settled"), 8);
    redis_run(STACK, "SET hf:{77}:unsettled 1");
    EXPECT_NUMBER(redis_run_at(STACK, 0, SETTLE " 1000 1 0 1 1 2000000000000002"), 0);
}

/* A request that was resent, or an id that stands twice in one: its units return once. */
static void an_order_is_unreserved_once(void **state)
{
    (void)state;
#define UNRESERVE_TWICE                                                                            \
    "FCALL holdfast_unreserve 4 " LIB_ALL " by-itself 0 1000000000000001 1000000000000001"
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000001", 3, "k", LIB_FAR), 0);
    EXPECT_NUMBER(lib_reserve(3, 1000, "1000000000000002", 4, "l", LIB_FAR), 8);
    EXPECT_NUMBER(redis_run(STACK, UNRESERVE_TWICE), 1);
    EXPECT_NUMBER(redis_run(STACK, UNRESERVE_TWICE), 0);
    EXPECT_NUMBER(lib_counter("unreserved"), 3);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " alice"), 4);
}

/* What is staged ends by itself, lest a rebuild that dies leave it behind; what was swapped in
   stays for as long as the gate. */
static void buyers_that_were_staged_stay(void **state)
{
    (void)state;
    redis_run(STACK, "FCALL holdfast_stage 1 hf:{77}:staging alice 1");
    EXPECT(redis_run(STACK, "TTL hf:{77}:staging") > 0, "it stays for ever");
    lib_rebuild_with(1000, 1001, 10, 0, 0, "0", 1);
    EXPECT_NUMBER(redis_run(STACK, "HGET " LIB_KEY("buyers") " alice"), 1);
    EXPECT_NUMBER(redis_run(STACK, "TTL " LIB_KEY("buyers")), -1);
}

#define LIBRARY(function_) cmocka_unit_test_setup_teardown(function_, lib_setup, lib_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIBRARY(the_gate_admits_nobody_past_the_commit_deadline),
        LIBRARY(the_gate_knows_an_unsettled_key_and_id),
        LIBRARY(a_settle_of_an_older_epoch_leaves_what_was_admitted_anew),
        LIBRARY(a_settle_takes_what_an_older_gate_has),
        LIBRARY(a_release_counts_once_whenever_the_buyer_is_loaded),
        LIBRARY(a_gate_keeps_its_buyers_when_it_knows_all_releases),
        LIBRARY(the_gate_counts_what_is_released_under_its_epoch),
        LIBRARY(the_gate_admits_only_under_its_epoch_and_while_open),
        LIBRARY(a_look_sees_what_a_buyer_would_find),
        LIBRARY(a_rebuild_carries_what_is_unsettled_and_never_goes_back),
        LIBRARY(a_rebuild_carries_only_what_there_is_room_for),
        LIBRARY(a_lowered_limit_drops_nothing),
        LIBRARY(an_index_of_keys_without_its_record_says_nothing),
        LIBRARY(a_batch_has_an_answer_for_each),
        LIBRARY(one_of_a_batch_is_late),
        LIBRARY(a_batch_shares_its_keys),
        LIBRARY(the_key_of_a_seen_buyer_is_checked),
        LIBRARY(items_of_a_call_are_independent),
        LIBRARY(one_malformed_part_spoils_the_call),
        LIBRARY(a_settle_counts_what_was_there),
        LIBRARY(an_order_is_unreserved_once),
        LIBRARY(buyers_that_were_staged_stay),
    };
    return test_run("gate library", tests, TEST_COUNT(tests), NULL, NULL);
}
