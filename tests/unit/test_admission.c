/*
 * The rules of admission stand twice: in C for the strategies that check there, and in
 * lua/holdfast.lua for the gate. First each rule of the C ones in a line; then both are asked the
 * same generated cases: batches of orders on one gate, some of the same buyer, key or id, each
 * decided after those before it. HOLDFAST_SEED=N replays a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/embedded.h"
#include "gate/gate.h"
#include "sale/admission.h"

/* --- the rules --- */

/* Open, ten units, limit two, nothing known. */
static admission_case_t a_case(void)
{
    return (admission_case_t){.quantity = 1,
                              .now_ms = 1000,
                              .deadline_ms = 1000,
                              .starts_at_ms = 1000,
                              .ends_at_ms = 1001,
                              .left = 10,
                              .limit = 2,
                              .owned = 1};
}

static void test_granted_at_each_bound(void **state)
{
    (void)state;
    admission_case_t asked = a_case();
    assert_int_equal(admission_decide(&asked), ADMISSION_GRANTED);
    asked.left = 1;
    assert_int_equal(admission_decide(&asked), ADMISSION_GRANTED);
    asked.limit = 0;
    asked.owned = 1000;
    assert_int_equal(admission_decide(&asked), ADMISSION_GRANTED);
}

/* Each makes one more rule fail, from the last to the first: it is what is said from then on. */
static void test_the_first_of_the_refusals_is_given(void **state)
{
    (void)state;
    admission_case_t asked = a_case();
    asked.key_is_unchecked = true;
    assert_int_equal(admission_decide(&asked), ADMISSION_CHECK_KEY);
    asked.owned = 2;
    assert_int_equal(admission_decide(&asked), ADMISSION_BUYER_LIMIT);
    asked.left = 0;
    assert_int_equal(admission_decide(&asked), ADMISSION_SOLD_OUT);
    asked.ends_at_ms = 1000;
    assert_int_equal(admission_decide(&asked), ADMISSION_ENDED);
    asked.starts_at_ms = 1001;
    assert_int_equal(admission_decide(&asked), ADMISSION_NOT_STARTED);
    asked.deadline_ms = 999;
    assert_int_equal(admission_decide(&asked), ADMISSION_LATE);
    asked.has_first = true;
    assert_int_equal(admission_decide(&asked), ADMISSION_REPEAT);
    asked.is_known = true;
    assert_int_equal(admission_decide(&asked), ADMISSION_KNOWN);
}

static void test_the_reasons_of_a_refusal(void **state)
{
    (void)state;
    assert_int_equal(admission_problem(ADMISSION_GRANTED), PROBLEM_NONE);
    assert_int_equal(admission_problem(ADMISSION_KNOWN), PROBLEM_NONE);
    assert_int_equal(admission_problem(ADMISSION_LATE), PROBLEM_UNAVAILABLE);
    assert_int_equal(admission_problem(ADMISSION_NOT_STARTED), PROBLEM_SALE_NOT_STARTED);
    assert_int_equal(admission_problem(ADMISSION_ENDED), PROBLEM_SALE_ENDED);
    assert_int_equal(admission_problem(ADMISSION_SOLD_OUT), PROBLEM_SOLD_OUT);
    assert_int_equal(admission_problem(ADMISSION_BUYER_LIMIT), PROBLEM_BUYER_LIMIT_EXCEEDED);
}

/* --- the gate's own rules, on a Redis that is a few tables --- */

/* Answers what holdfast_reserve asks. `now` is set by the test; an error of the library is one
 * here.
 */
static const char prelude[] =
    "db, functions, now = {}, {}, 0\n"
    "local commands = {}\n"
    "function commands.TIME() return { tostring(math.floor(now / 1000)), '0' } end\n"
    "function commands.INFO() return 'run_id:abc\\r\\nmaster_replid:def\\r\\n' end\n"
    "function commands.HLEN(key) local n = 0 for _ in pairs(db[key]) do n = n + 1 end return n "
    "end\n"
    "function commands.HGET(key, field) return db[key][field] or false end\n"
    "function commands.HEXISTS(key, field) return db[key][field] and 1 or 0 end\n"
    "function commands.HMGET(key, ...)\n"
    "  local out = {}\n"
    "  for i, field in ipairs({ ... }) do out[i] = db[key][field] or false end\n"
    "  return out\n"
    "end\n"
    "function commands.HSET(key, ...)\n"
    "  local words = { ... }\n"
    "  for i = 1, #words, 2 do db[key][words[i]] = words[i + 1] end\n"
    "end\n"
    "redis = { LOG_WARNING = 1, log = function() end }\n"
    "function redis.call(name, ...) return commands[name](...) end\n"
    "redis.pcall = redis.call\n"
    "function redis.error_reply(text) error(text) end\n"
    "function redis.acl_check_cmd() return true end\n"
    "function redis.register_function(f) functions[f.function_name] = f.callback end\n";

static lua_State *lua;

static void run(const char *text, size_t n, const char *name)
{
    if (luaL_loadbuffer(lua, text, n, name) != 0 || lua_pcall(lua, 0, 0, 0) != 0)
        fail_msg("%s", lua_tostring(lua, -1));
}

static int setup(void **state)
{
    (void)state;
    str_t library = embedded_lua_library();
    const char *first = memchr(library.p, '\n', library.n); /* "#!lua name=holdfast" */
    lua = luaL_newstate();
    luaL_openlibs(lua);
    run(prelude, sizeof(prelude) - 1, "prelude");
    run(first, library.n - (size_t)(first - library.p), "holdfast.lua");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lua_close(lua);
    return 0;
}

/* --- one generated case --- */

static uint64_t random_state;

static unsigned below(unsigned n)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ (z >> 31)) % n);
}

#define ORDERS_MAX 5
#define BUYERS 2
#define KEYS 2
#define IDS 4
#define NOW_MS 1000000 /* whole seconds, as the prelude has them */

/* An order of the batch. */
typedef struct {
    unsigned id, buyer, key, quantity; /* key KEYS: none */
    bool looked;
    uint64_t deadline_ms;
} asked_t;

/* What the gate has, as C sees it; kept up from order to order. */
typedef struct {
    uint64_t starts_at_ms, ends_at_ms;
    int64_t left, limit;
    bool is_loading; /* a buyer who is none may have units in MySQL */
    bool is_buyer[BUYERS];
    int64_t owned[BUYERS];
    bool is_unsettled[IDS];
    unsigned first[KEYS]; /* id; IDS: none */
} gate_t;

static uint64_t near_now(void)
{
    return below(3) == 0 ? 0 : NOW_MS - 1 + below(3);
}

static gate_t some_gate(void)
{
    gate_t gate = {.starts_at_ms = below(3) == 0 ? near_now() : 0,
                   .ends_at_ms = below(3) == 0 ? near_now() : 0,
                   .left = (int64_t)below(9) - 1,
                   .limit = below(2) == 0 ? 0 : 1 + below(6),
                   .is_loading = below(3) == 0};
    for (unsigned i = 0; i < BUYERS; ++i) {
        gate.is_buyer[i] = below(2) == 0;
        gate.owned[i] = gate.is_buyer[i] ? below(4) : 0;
    }
    for (unsigned i = 0; i < IDS; ++i)
        gate.is_unsettled[i] = below(4) == 0;
    for (unsigned i = 0; i < KEYS; ++i)
        gate.first[i] = below(2) == 0 ? IDS : below(IDS);
    return gate;
}

static asked_t some_order(void)
{
    return (asked_t){.id = below(IDS),
                     .buyer = below(BUYERS),
                     .key = below(KEYS + 1),
                     .quantity = 1 + below(4),
                     .looked = below(2) == 0,
                     .deadline_ms = below(4) == 0 ? NOW_MS - 1 + below(2) : NOW_MS + 1000};
}

/* As holdfast_reserve says it: gate_answer_t, GATE_SEEN added. Changes the gate as it does. */
static int answer_of(gate_t *gate, const asked_t *order)
{
    static const int answers[] = {
        [ADMISSION_KNOWN] = GATE_ADMITTED,
        [ADMISSION_REPEAT] = GATE_FIRST,
        [ADMISSION_LATE] = GATE_LATE,
        [ADMISSION_NOT_STARTED] = GATE_NOT_STARTED,
        [ADMISSION_ENDED] = GATE_ENDED,
        [ADMISSION_SOLD_OUT] = GATE_SOLD_OUT,
        [ADMISSION_NOT_LOADED] = GATE_NOT_LOADED,
        [ADMISSION_BUYER_LIMIT] = GATE_BUYER_LIMIT,
        [ADMISSION_CHECK_KEY] = GATE_CHECK_KEY,
        [ADMISSION_GRANTED] = GATE_ADMITTED,
    };
    bool has_key = order->key != KEYS;
    bool unloaded = gate->is_loading && !gate->is_buyer[order->buyer];
    bool seen = gate->is_buyer[order->buyer] || unloaded;
    unsigned first = has_key ? gate->first[order->key] : IDS;
    admission_t admission =
        admission_decide(&(admission_case_t){.quantity = order->quantity,
                                             .is_known = gate->is_unsettled[order->id],
                                             .has_first = first != IDS && gate->is_unsettled[first],
                                             .key_is_unchecked = seen && has_key && !order->looked,
                                             .is_unloaded = unloaded,
                                             .now_ms = NOW_MS,
                                             .deadline_ms = order->deadline_ms,
                                             .starts_at_ms = gate->starts_at_ms,
                                             .ends_at_ms = gate->ends_at_ms,
                                             .left = gate->left,
                                             .limit = gate->limit,
                                             .owned = gate->owned[order->buyer]});
    bool decided = admission != ADMISSION_KNOWN && admission != ADMISSION_REPEAT &&
                   admission != ADMISSION_NOT_LOADED;
    if (admission == ADMISSION_GRANTED) {
        gate->left -= order->quantity;
        gate->owned[order->buyer] += order->quantity;
        gate->is_buyer[order->buyer] = gate->is_unsettled[order->id] = true;
        if (has_key)
            gate->first[order->key] = order->id;
    }
    return answers[admission] + (decided && seen ? GATE_SEEN : 0);
}

/* --- the same for the library --- */

static void set(const char *key, const char *field, const char *value)
{
    lua_getglobal(lua, "db");
    lua_getfield(lua, -1, key);
    lua_pushstring(lua, value);
    lua_setfield(lua, -2, field);
    lua_pop(lua, 2);
}

static void set_number(const char *key, const char *field, long long number)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", number);
    set(key, field, text);
}

static const char *id_text(unsigned id)
{
    static char text[4][20];
    static unsigned next;
    char *out = text[next++ % 4];
    snprintf(out, 20, "%016u", id);
    return out;
}

static const char *key_text(unsigned key)
{
    return key == 0 ? "sku\x1f"
                      "b\x1fk0"
                    : "sku\x1f"
                      "b\x1fk1";
}

static void put_gate(const gate_t *gate)
{
    static const char *const zeros[] = {"closed", "frozen_until", "unreserved", "settled",
                                        "released"};
    long long buyers = 0;
    run("db = { gate = {}, buyers = {}, unsettled = {}, keys = {} }", 58, "clear");
    for (unsigned i = 0; i < sizeof(zeros) / sizeof(zeros[0]); ++i)
        set("gate", zeros[i], "0");
    set("gate", "built_under", "abc:def");
    set("gate", "epoch", "7");
    set_number("gate", "per_buyer_limit", gate->limit);
    set_number("gate", "starts_at", (long long)gate->starts_at_ms);
    set_number("gate", "ends_at", (long long)gate->ends_at_ms);
    set_number("gate", "capacity", gate->left + 3);
    set_number("gate", "reserved", 3);
    for (unsigned i = 0; i < BUYERS; ++i) {
        buyers += gate->is_buyer[i];
        if (gate->is_buyer[i])
            set_number("buyers", i == 0 ? "b0" : "b1", gate->owned[i]);
    }
    set_number("gate", "known", buyers);
    set_number("gate", "loading", gate->is_loading ? 1 : 0);
    for (unsigned i = 0; i < IDS; ++i)
        if (gate->is_unsettled[i])
            set("unsettled", id_text(i), "a record");
    for (unsigned i = 0; i < KEYS; ++i)
        if (gate->first[i] != IDS)
            set("keys", key_text(i), id_text(gate->first[i]));
}

static void push_word(const char *word)
{
    lua_pushstring(lua, word);
    lua_rawseti(lua, -2, (int)lua_objlen(lua, -2) + 1);
}

static void push_number_word(long long number)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", number);
    push_word(text);
}

/* In the order that lua/holdfast.lua expects. */
static void push_orders(const asked_t *orders, unsigned count)
{
    char quantities[64] = "", marks[ORDERS_MAX + 1] = "", record[128];
    uint64_t earliest_ms = UINT64_MAX;
    bool any = false;
    for (unsigned i = 0; i < count; ++i) {
        bool has_key = orders[i].key != KEYS;
        any = any || has_key;
        marks[i] = (char)(!has_key ? '0' : orders[i].looked ? '2' : '1');
        snprintf(quantities + strlen(quantities), 16, "%s%u", i == 0 ? "" : ",",
                 orders[i].quantity);
        if (orders[i].deadline_ms < earliest_ms)
            earliest_ms = orders[i].deadline_ms;
    }
    push_word("7");
    push_number_word(count);
    push_number_word((long long)earliest_ms);
    push_word(quantities);
    push_word(any ? marks : "");
    for (unsigned i = 0; i < count; ++i)
        push_word(id_text(orders[i].id));
    for (unsigned i = 0; i < count; ++i)
        push_word(orders[i].buyer == 0 ? "b0" : "b1");
    for (unsigned i = 0; i < count; ++i) {
        snprintf(record, sizeof(record),
                 "7\x1fsku\x1f"
                 "0\x1f"
                 "b\x1f%u\x1f\x1f%llu\x1fowner\x1f"
                 "0",
                 orders[i].quantity, (unsigned long long)orders[i].deadline_ms);
        push_word(record);
    }
    for (unsigned i = 0; i < count; ++i)
        if (orders[i].key != KEYS)
            push_word(key_text(orders[i].key));
}

/* Leaves the reply of holdfast_reserve on the stack. */
static void reserve(const asked_t *orders, unsigned count)
{
    static const char *const keys[] = {"gate", "buyers", "unsettled", "keys"};
    lua_pushinteger(lua, NOW_MS);
    lua_setglobal(lua, "now");
    lua_getglobal(lua, "functions");
    lua_getfield(lua, -1, "holdfast_reserve");
    lua_remove(lua, -2);
    lua_newtable(lua);
    for (unsigned i = 0; i < 4; ++i)
        push_word(keys[i]);
    lua_newtable(lua);
    push_orders(orders, count);
    if (lua_pcall(lua, 2, 1, 0) != 0)
        fail_msg("%s", lua_tostring(lua, -1));
}

static unsigned times[GATE_NOT_LOADED + 1]; /* that each answer was given */

static void compare(uint64_t seed)
{
    random_state = seed;
    gate_t gate = some_gate();
    asked_t orders[ORDERS_MAX];
    unsigned count = 1 + below(ORDERS_MAX);
    for (unsigned i = 0; i < count; ++i)
        orders[i] = some_order();
    put_gate(&gate);
    reserve(orders, count);
    lua_rawgeti(lua, -1, 1);
    assert_int_equal(lua_tointeger(lua, -1), GATE_ITEM_OK);
    lua_rawgeti(lua, -2, 4);
    const char *answers = lua_tostring(lua, -1);
    assert_int_equal(strlen(answers), count);
    for (unsigned i = 0; i < count; ++i) {
        int expected = answer_of(&gate, &orders[i]);
        ++times[expected];
        if (answers[i] - '0' != expected)
            fail_msg("seed %llu, order %u of %u: Lua says %d, C %d", (unsigned long long)seed, i,
                     count, answers[i] - '0', expected);
    }
    lua_rawgeti(lua, -3, 3);
    assert_int_equal(lua_tointeger(lua, -1), gate.left);
    lua_pop(lua, 4);
}

#define CASES 20000

static void test_lua_and_c_decide_alike(void **state)
{
    (void)state;
    const char *given = getenv("HOLDFAST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003;
    print_message("first seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < CASES; ++i)
        compare(seed + i);
    assert_true(times[GATE_NOT_LOADED] > CASES / 1000);
    /* Every answer was given often: a known order and a repeat are never said to be seen. */
    for (int i = GATE_ADMITTED; i <= GATE_FIRST; ++i) {
        assert_true(i == GATE_CHECK_KEY || times[i] > CASES / 1000);
        assert_true(i == GATE_FIRST || times[i + GATE_SEEN] > CASES / 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_granted_at_each_bound),
        cmocka_unit_test(test_the_first_of_the_refusals_is_given),
        cmocka_unit_test(test_the_reasons_of_a_refusal),
        cmocka_unit_test_setup_teardown(test_lua_and_c_decide_alike, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
