/* The configuration: what is read, the table that says so, and files that are broken anyhow. */
#include "config_fixture.h"

#include "config/settings.h"
#include "config/values.h"
#include "sale/shard_map.h"

_Static_assert(CONFIG_SLOT_COUNT == SLOT_COUNT, "the configuration and the map agree");

/* ---- what is read ---- */

static void test_defaults(void **state)
{
    (void)state;
    config_t *c = load_good("", "");
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    assert_string_equal(c->node.name, host);
    assert_string_equal(c->http.listen.host, "127.0.0.1");
    assert_int_equal(c->http.listen.port, 8080);
    assert_int_equal(c->http.threads, 0);
    assert_int_equal(c->http.connections_max, 10000);
    assert_int_equal(c->http.body_bytes_max, 16384);
    assert_int_equal(c->http.idle_timeout_ms, 10000);
    assert_false(c->http.http2);
    assert_int_equal(c->http.auth, AUTH_NONE);
    assert_null(c->http.cors_origins);
    assert_null(c->http.buyer_keys_file);
    assert_int_equal(c->http.buyer_clock_skew_s, 30);
    assert_null(c->admin.tokens_file);
    assert_null(c->admin.tls.certificate_file);
    assert_null(c->http.tls.certificate_file);
    assert_null(c->http.tls.key_file);
    assert_string_equal(c->admin.listen.host, "127.0.0.1");
    assert_int_equal(c->admin.listen.port, 8081);
    assert_int_equal(c->admin.changes_keep_days, 400);
    assert_int_equal(c->shutdown.readiness_delay_ms, 200);
    assert_int_equal(c->shutdown.deadline_ms, 15000);
    assert_int_equal(c->orders.default_strategy, STRATEGY_LUA);
    assert_int_equal(c->orders.answer_deadline_ms, 5000);
    assert_int_equal(c->orders.commit_deadline_ms, 8000);
    assert_int_equal(c->orders.retries_max, 256);
    assert_int_equal(c->orders.quantity_max, 1000);
    assert_int_equal(c->orders.hold_max_seconds, 0);
    assert_int_equal(c->orders.sold_out_cache_ms, 30);
    assert_int_equal(c->orders.wait_max_ms, 60000);
    assert_int_equal(c->orders.waiters_max, 50000);
    assert_int_equal(c->items.max_age_ms, 100);
    assert_int_equal(c->items.refresh_per_second, 5000);
    assert_int_equal(c->items.unknown_ms, 500);
    assert_int_equal(c->items.stale_max_ms, 30000);
    assert_int_equal(c->limits.buyer_per_second, 0);
    assert_int_equal(c->limits.buyer_burst, 10);
    assert_int_equal(c->limits.address_per_second, 0);
    assert_int_equal(c->limits.address_burst, 100);
    assert_int_equal(c->limits.entries_max, 262144);
    assert_null(c->redis.host);
    assert_null(c->redis.user);
    assert_null(c->redis.password);
    assert_int_equal(c->redis.timeout_ms, 1000);
    assert_int_equal(c->redis.watch_connections, 16);
    assert_int_equal(c->redis.batch_max, 512);
    assert_null(c->mysql.password);
    assert_int_equal(c->mysql.tls, MYSQL_TLS_OFF);
    assert_null(c->shards[0].user);
    assert_string_equal(c->mysql.database, "holdfast");
    assert_int_equal(c->mysql.timeout_ms, 5000);
    assert_int_equal(c->mysql.lock_wait_timeout_s, 1);
    assert_int_equal(c->mysql.idle_transaction_timeout_s, 1);
    assert_int_equal(c->mysql.pool_threads, 16);
    assert_int_equal(c->mysql.pool_queue_max, 4096);
    assert_int_equal(c->mysql.writer_queue_max, 8192);
    assert_int_equal(c->mysql.writer_batch_max, 512);
    assert_int_equal(c->mysql.writer_bulk_min, 32);
    assert_int_equal(c->mysql.writer_linger_ms, 32);
    assert_int_equal(c->mysql.writer_threads, 1);
    assert_int_equal(c->reconcile.expiry_interval_ms, 200);
    assert_int_equal(c->reconcile.pass_interval_ms, 1000);
    assert_int_equal(c->reconcile.epoch_poll_ms, 1000);
    assert_int_equal(c->reconcile.probe_interval_ms, 1000);
    assert_int_equal(c->reconcile.expiry_batch_max, 256);
    assert_int_equal(c->log.level, LOG_LEVEL_INFO);
    assert_false(c->log.access);
    assert_null(c->log.file);
    assert_int_equal(c->shards_count, 1);
    assert_int_equal(c->shards[0].servers[0].status, SERVER_PRIMARY);
    assert_int_equal(c->shards[0].servers[0].mode, SERVER_READ_WRITE);
    assert_true(c->shards[0].servers[0].weight == 1.0);
    assert_null(c->shards[0].servers[0].zone);
    config_free(c);
}

/* Every setting, with a value that is not its default. */
static const char everything[] =
    "node: {name: n-1}\n"
    "http:\n"
    "  listen: \"[::1]:80\"\n"
    "  threads: 3\n"
    "  connections_max: 4\n"
    "  body_bytes_max: 500\n"
    "  idle_timeout_ms: 60\n"
    "  http2: true\n"
    "  auth: token\n"
    "  cors_origins: http://a.b:8\n"
    "  buyer_keys_file: key\n"
    "  buyer_clock_skew_s: 31\n"
    "  tls_certificate_file: pem\n"
    "  tls_key_file: key\n"
    "admin: {listen: localhost:82, token_file: crlf, tokens_file: key, changes_keep_days: 1239,\n"
    "  tls_certificate_file: pem, tls_key_file: key}\n"
    "shutdown: {readiness_delay_ms: 0, deadline_ms: 101}\n"
    "orders:\n"
    "  default_strategy: serializable\n"
    "  id_key_file: good\n"
    "  answer_deadline_ms: 11\n"
    "  commit_deadline_ms: 12\n"
    "  retries_max: 13\n"
    "  quantity_max: 14\n"
    "  hold_max_seconds: 1236\n"
    "  sold_out_cache_ms: 15\n"
    "  wait_max_ms: 1237\n"
    "  waiters_max: 1238\n"
    "items: {max_age_ms: 36, refresh_per_second: 37, unknown_ms: 38, stale_max_ms: 39}\n"
    "limits: {buyer_per_second: 32, buyer_burst: 33, address_per_second: 34, address_burst: 35,\n"
    "  entries_max: 1036}\n"
    "redis: {host: redis.example, port: 16, user: u.1, password: 'a: #\"b',\n"
    "  timeout_ms: 17, watch_connections: 18, batch_max: 19}\n"
    "mysql: {user: u, password_file: good, database: d, tls: verified, tls_ca_file: pem,\n"
    "  tls_certificate_file: pem, tls_key_file: key, timeout_ms: 120, lock_wait_timeout_s: 21,\n"
    "  idle_transaction_timeout_s: 22, pool_threads: 23, pool_queue_max: 24,\n"
    "  writer_queue_max: 25, writer_batch_max: 26, writer_threads: 27, writer_linger_ms: 28,\n"
    "  writer_bulk_min: 31}\n"
    "shards:\n"
    "- name: b\n"
    "  slots: 512-1023\n"
    "  servers:\n"
    "  - {name: b1, host: '::1', port: 27, status: spare, mode: offline, weight: 0.25, zone: z}\n"
    "  - {name: b2, socket: /b2}\n"
    "  - {name: b3, host: 10.0.0.1, status: secondary}\n"
    "- {name: a, user: of-a, password_file: good, slots: 0-511, servers: [{name: b1, socket: "
    "/a}]}\n"
    "reconcile: {expiry_interval_ms: 28, epoch_poll_ms: 29, expiry_batch_max: 30, "
    "pass_interval_ms: 31, probe_interval_ms: 132}\n"
    "log: {level: debug, access: true, file: /l}\n";

static void assert_plain_sections(const config_t *c)
{
    assert_string_equal(c->node.name, "n-1");
    assert_string_equal(c->http.listen.host, "::1");
    assert_int_equal(c->http.listen.port, 80);
    assert_int_equal(c->http.threads, 3);
    assert_int_equal(c->http.connections_max, 4);
    assert_int_equal(c->http.body_bytes_max, 500);
    assert_int_equal(c->http.idle_timeout_ms, 60);
    assert_true(c->http.http2);
    assert_int_equal(c->http.auth, AUTH_TOKEN);
    assert_string_equal(c->http.cors_origins, "http://a.b:8");
    assert_string_equal(c->http.buyer_keys_file, "key");
    assert_int_equal(c->http.buyer_clock_skew_s, 31);
    assert_string_equal(c->http.tls.certificate_file, "pem");
    assert_string_equal(c->http.tls.key_file, "key");
    assert_string_equal(c->admin.listen.host, "localhost");
    assert_int_equal(c->admin.listen.port, 82);
    assert_string_equal(c->admin.token, "secret-of-20-letters");
    assert_int_equal(c->admin.changes_keep_days, 1239);
    assert_string_equal(c->admin.tokens_file, "key");
    assert_string_equal(c->admin.tls.certificate_file, "pem");
    assert_string_equal(c->admin.tls.key_file, "key");
    assert_int_equal(c->shutdown.readiness_delay_ms, 0);
    assert_int_equal(c->shutdown.deadline_ms, 101);
    assert_int_equal(c->orders.default_strategy, STRATEGY_SERIALIZABLE);
    assert_string_equal(c->orders.id_key, "secret-of-20-letters");
    assert_int_equal(c->orders.answer_deadline_ms, 11);
    assert_int_equal(c->orders.commit_deadline_ms, 12);
    assert_int_equal(c->orders.retries_max, 13);
    assert_int_equal(c->orders.quantity_max, 14);
    assert_int_equal(c->orders.hold_max_seconds, 1236);
    assert_int_equal(c->orders.sold_out_cache_ms, 15);
    assert_int_equal(c->orders.wait_max_ms, 1237);
    assert_int_equal(c->orders.waiters_max, 1238);
    assert_int_equal(c->items.max_age_ms, 36);
    assert_int_equal(c->items.refresh_per_second, 37);
    assert_int_equal(c->items.unknown_ms, 38);
    assert_int_equal(c->items.stale_max_ms, 39);
    assert_int_equal(c->limits.buyer_per_second, 32);
    assert_int_equal(c->limits.buyer_burst, 33);
    assert_int_equal(c->limits.address_per_second, 34);
    assert_int_equal(c->limits.address_burst, 35);
    assert_int_equal(c->limits.entries_max, 1036);
    assert_int_equal(c->reconcile.pass_interval_ms, 31);
    assert_int_equal(c->reconcile.expiry_interval_ms, 28);
    assert_int_equal(c->reconcile.epoch_poll_ms, 29);
    assert_int_equal(c->reconcile.probe_interval_ms, 132);
    assert_int_equal(c->reconcile.expiry_batch_max, 30);
    assert_int_equal(c->log.level, LOG_LEVEL_DEBUG);
    assert_true(c->log.access);
    assert_string_equal(c->log.file, "/l");
}

static void assert_stores(const config_t *c)
{
    assert_null(c->redis.socket);
    assert_string_equal(c->redis.host, "redis.example");
    assert_int_equal(c->redis.port, 16);
    assert_string_equal(c->redis.user, "u.1");
    assert_string_equal(c->redis.password, "a: #\"b");
    assert_int_equal(c->redis.timeout_ms, 17);
    assert_int_equal(c->redis.watch_connections, 18);
    assert_int_equal(c->redis.batch_max, 19);
    assert_string_equal(c->mysql.user, "u");
    assert_int_equal(c->mysql.tls, MYSQL_TLS_VERIFIED);
    assert_string_equal(c->mysql.tls_ca_file, "pem");
    assert_string_equal(c->mysql.tls_files.certificate_file, "pem");
    assert_string_equal(c->mysql.tls_files.key_file, "key");
    assert_string_equal(c->mysql.password, "secret-of-20-letters");
    assert_string_equal(c->mysql.database, "d");
    assert_int_equal(c->mysql.timeout_ms, 120);
    assert_int_equal(c->mysql.lock_wait_timeout_s, 21);
    assert_int_equal(c->mysql.idle_transaction_timeout_s, 22);
    assert_int_equal(c->mysql.pool_threads, 23);
    assert_int_equal(c->mysql.pool_queue_max, 24);
    assert_int_equal(c->mysql.writer_queue_max, 25);
    assert_int_equal(c->mysql.writer_batch_max, 26);
    assert_int_equal(c->mysql.writer_linger_ms, 28);
    assert_int_equal(c->mysql.writer_bulk_min, 31);
    assert_int_equal(c->mysql.writer_threads, 27);
}

static void assert_shards(const config_t *c)
{
    assert_int_equal(c->shards_count, 2);
    const config_shard_t *shard = &c->shards[0];
    assert_string_equal(shard->name, "b");
    assert_int_equal(shard->slot_first, 512);
    assert_int_equal(shard->slot_last, 1023);
    assert_int_equal(shard->servers_count, 3);
    const config_server_t *server = &shard->servers[0];
    assert_string_equal(server->name, "b1");
    assert_null(server->socket);
    assert_string_equal(server->host, "::1");
    assert_int_equal(server->port, 27);
    assert_int_equal(server->status, SERVER_SPARE);
    assert_int_equal(server->mode, SERVER_OFFLINE);
    assert_true(server->weight == 0.25);
    assert_string_equal(server->zone, "z");
    assert_string_equal(shard->servers[1].socket, "/b2");
    assert_null(shard->servers[1].host);
    assert_int_equal(shard->servers[1].status, SERVER_PRIMARY);
    assert_int_equal(shard->servers[2].port, 3306);
    assert_int_equal(shard->servers[2].mode, SERVER_READ_ONLY);
    assert_int_equal(c->shards[1].slot_first, 0);
    assert_int_equal(c->shards[1].slot_last, 511);
}

static void test_everything(void **state)
{
    (void)state;
    config_t *config;
    char *said;
    write_text("c.yaml", everything, 0644);
    if (load("c.yaml", &config, &said) != 0)
        fail_msg("%s", said);
    assert_plain_sections(config);
    assert_stores(config);
    assert_shards(config);
    config_free(config);
    free(said);
    config_free(NULL);
}

/* A heading with everything below it commented out; comments; a marker; a byte order mark. */
static void test_odd_but_right(void **state)
{
    (void)state;
    static const char *const firsts[] = {
        "http:",
        "http:\n#  threads: 3",
        "http: ~",
        "---",
        "\xef\xbb\xbf# x",
        "%YAML 1.1\n---\nhttp: {}",
        "",
        "'http': {\"threads\": '3'}",
        "http: {threads: &anchor 3}",
        "http: !!map {threads: !any 3}",
    };
    for (size_t i = 0; i < COUNT(firsts); ++i)
        config_free(load_good("", firsts[i]));
    config_t *config = load_good("mysql", "mysql: {user: \"J\\xfcrgen \xe2\x82\xac\"}");
    assert_string_equal(config->mysql.user, "J\xc3\xbcrgen \xe2\x82\xac");
    config_free(config);
    config = load_good("mysql", "mysql:\n  user: u\n  password: |-\n    a 'b' \"c\"  \n");
    assert_string_equal(config->mysql.password, "a 'b' \"c\"  ");
    config_free(config);
}

/* ---- the table itself ---- */

static bool is_number(const setting_t *setting)
{
    return setting->type == SETTING_NUMBER || setting->type == SETTING_PORT;
}

static void assert_bounds(const setting_t *setting)
{
    char text[32], reason[REASON_SIZE];
    union {
        uint32_t number;
        uint16_t port;
    } field;
    for (int step = -1; step <= 1; ++step) {
        snprintf(text, sizeof(text), "%lld", (long long)setting->min + step);
        assert_true(value_read(setting, text, &field, reason) == (step >= 0));
        snprintf(text, sizeof(text), "%lld", (long long)setting->max + step);
        assert_true(value_read(setting, text, &field, reason) == (step <= 0));
    }
}

static bool has_setting(const section_t *section, const char *key)
{
    for (size_t i = 0; i < section->settings_count; ++i) {
        if (strcmp(section->settings[i].key, key) == 0)
            return true;
    }
    return false;
}

static void assert_record(const section_t *section, const setting_t *setting)
{
    union {
        config_address_t address;
        char *text;
        double number;
        char bytes[64];
    } field = {0};
    char reason[REASON_SIZE];
    assert_int_equal(setting->help[strlen(setting->help) - 1], '.');
    assert_true(setting->min <= setting->max);
    if (is_number(setting))
        assert_bounds(setting);
    if (setting->type == SETTING_NUMBER)
        assert_non_null(setting->unit);
    assert_false(setting->required && setting->fallback != NULL);
    const char *others[] = {setting->instead, setting->needs, setting->not_beside, setting->above};
    for (size_t i = 0; i < COUNT(others); ++i) {
        if (others[i] != NULL)
            assert_true(has_setting(section, others[i]));
    }
    if (setting->fallback == NULL)
        return;
    assert_true(value_read(setting, setting->fallback, &field, reason));
    value_free(setting, &field);
}

static void assert_section(const section_t *section)
{
    for (size_t i = 0; i < section->settings_count; ++i)
        assert_record(section, &section->settings[i]);
    for (size_t i = 0; i < section->children_count; ++i)
        assert_section(&section->children[i]);
}

static void test_records(void **state)
{
    (void)state;
    assert_section(&config_root);
}

static void test_describe(void **state)
{
    (void)state;
    char *text;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    config_describe(out);
    fclose(out);
    static const char *const parts[] = {
        "http.threads: whole number\n    0 to 1024 (threads; default 0)\n    Event loops",
        "http.listen: address\n",
        "WARNING: the default is loopback",
        "admin.token: secret\n    a secret of 16 to 4096 bytes (required; or else token_file)",
        "shards: list\n",
        "shards[].slots: range\n",
        "shards[].servers[].zone: name\n",
        "log.level: word\n    debug, info, warn or error (default info)\n",
    };
    for (size_t i = 0; i < COUNT(parts); ++i)
        assert_non_null(strstr(text, parts[i]));
    free(text);
}

static void test_strategies(void **state)
{
    (void)state;
    static const char *const names[] = {"lua", "watch", "optimistic", "serializable"};
    for (int i = 0; i < STRATEGY_COUNT; ++i) {
        assert_string_equal(strategy_name((strategy_id_t)i), names[i]);
        assert_int_equal(strategy_parse(names[i], strlen(names[i])), i);
    }
    assert_int_equal(strategy_parse("luas", 4), -1);
    assert_int_equal(strategy_parse("luas", 3), STRATEGY_LUA);
    assert_int_equal(strategy_parse("lu", 2), -1);
    assert_int_equal(strategy_parse("", 0), -1);
    assert_string_equal(strategy_name(STRATEGY_COUNT), "unknown");
}

/* ---- hostile files ---- */

/* Each line doubles and more what the one before it stands for. */
static void test_alias_bomb(void **state)
{
    (void)state;
    static char text[4096];
    size_t n = (size_t)sprintf(text, "a: &a [x, x]\n");
    for (char c = 'b'; c <= 'z'; ++c)
        n += (size_t)sprintf(text + n, "%c: &%c [*%c, *%c, *%c]\n", c, c, c - 1, c - 1, c - 1);
    sprintf(text + n, "http: *z\nlog: *z\n");
    config_t *config;
    char *said;
    write_text("c.yaml", text, 0600);
    assert_true(load("c.yaml", &config, &said) >= 28);
    assert_non_null(strstr(said, ":28: log: is an alias"));
    free(said);
}

/* A mebibyte of what a parser may be slow at; libyaml alone takes minutes for some. */
static void test_long_files(void **state)
{
    (void)state;
    static const struct {
        const char *repeated, *expected;
    } cases[] = {
        {"[", ":1: is nested more than 32 deep"},
        {"{a: ", ":1: is nested more than 32 deep"},
        {"- ", ":1: is nested more than 32 deep"},
        {"- &aaaaaaaa b\n", ":101: has more than 100 anchors"},
        {"- b\n", ":1: is not a configuration"},
        {"b\n", ":1: is not a configuration"},
        {"\"\" ", ":1: is not a configuration\n:1: is not YAML: did not find expected"},
    };
    static char text[1 << 20];
    for (size_t i = 0; i < COUNT(cases); ++i) {
        size_t n = strlen(cases[i].repeated), used = 0;
        for (; used + n <= sizeof(text); used += n)
            memcpy(text + used, cases[i].repeated, n);
        write_file("c.yaml", text, used, 0600);
        assert_diagnostics("c.yaml", cases[i].expected);
    }
}

static void test_long_lists(void **state)
{
    (void)state;
    FILE *file = fopen("c.yaml", "w");
    assert_non_null(file);
    fprintf(file, "admin: {token: " KEY "}\norders: {id_key: " KEY "}\nredis: {socket: /r}\n");
    fprintf(file, "mysql: {user: u}\nshards:\n");
    for (int i = 0; i < 1025; ++i)
        fprintf(file, "- {name: a, slots: 0-1023}\n");
    fclose(file);
    assert_diagnostics("c.yaml", ":5: shards: has 1025 elements; give at most 1024");
}

/* Cut anywhere, and with any byte changed: some answer, no leak, no crash. */
static void test_damage(void **state)
{
    (void)state;
    static const char bytes[] = "\n\t :,-[]{}&*!|>'\"%@#~0x\x80\xff";
    char text[sizeof(everything)];
    config_t *config;
    char *said;
    for (size_t n = 1; n < sizeof(everything); n += 3) {
        write_file("c.yaml", everything, n, 0600);
        load("c.yaml", &config, &said);
        config_free(config);
        free(said);
    }
    for (unsigned i = 0; i < 3000; ++i) {
        memcpy(text, everything, sizeof(text));
        text[i * 7919u % (sizeof(text) - 1)] = bytes[i % (sizeof(bytes) - 1)];
        text[i * 104729u % (sizeof(text) - 1)] = bytes[i / 7 % (sizeof(bytes) - 1)];
        write_file("c.yaml", text, sizeof(text) - 1, 0600);
        load("c.yaml", &config, &said);
        config_free(config);
        free(said);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything),
        cmocka_unit_test(test_odd_but_right), cmocka_unit_test(test_records),
        cmocka_unit_test(test_describe),      cmocka_unit_test(test_strategies),
        cmocka_unit_test(test_alias_bomb),    cmocka_unit_test(test_long_files),
        cmocka_unit_test(test_long_lists),    cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
