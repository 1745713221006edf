/* The configuration: every mistake is named, with its place, in one run. */
#include "config_fixture.h"

#define SERVER "servers: [{name: s, socket: /s}]"
#define OTHER "servers: [{name: s, socket: /t}]"
#define SHARD(servers_) "shards: [{name: a, slots: 0-1023, servers: [" servers_ "]}]"

/* ---- one value ---- */

static void test_values(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"", "http: {threads: abc}",
         ":1: http.threads: 'abc' is not a whole number; give 0 to 1024 (threads; default 0)\n"},
        {"", "http: {threads: -1}",
         ":1: http.threads: '-1' is too small; give 0 to 1024 (threads; default 0)"},
        {"", "http: {threads: 1.5}", ":1: http.threads: '1.5' is not a whole number"},
        {"", "http: {threads: 0x10}", ":1: http.threads: '0x10' is not a whole number"},
        {"", "http: {threads: 1e3}", ":1: http.threads: '1e3' is not a whole number"},
        {"", "http: {threads: 010}", ":1: http.threads: '010' is not a whole number"},
        {"", "http: {threads: +1}", ":1: http.threads: '+1' is not a whole number"},
        {"", "http: {threads: ''}", ":1: http.threads: '' is not a whole number"},
        {"", "http: {threads: '1 '}", ":1: http.threads: '1 ' is not a whole number"},
        {"", "http: {threads: 99999999999999999999}",
         ":1: http.threads: '99999999999999999999' is too large"},
        {"", "http: {threads: 4294967297}", ":1: http.threads: '4294967297' is too large"},
        {"orders", "orders: {id_key: " KEY ", hold_max_seconds: 31622401}",
         ":1: orders.hold_max_seconds: '31622401' is too large; give 0 to 31622400 (seconds"},
        {"", "http: {threads: }", ":1: http.threads: has no value; give 0 to 1024"},
        {"", "http: {threads: null}", ":1: http.threads: has no value"},
        {"", "http: {threads: [1]}", ":1: http.threads: is a list, and must be one value"},
        {"", "http: {threads: {a: 1}}", ":1: http.threads: is a mapping, and must be one value"},
        {"", "http: {http2: yes}",
         ":1: http.http2: 'yes' is neither true nor false; give true or false (default false)"},
        {"", "log: {level: INFO}",
         ":1: log.level: 'INFO' is not one of its words; give debug, info, warn or error"},
        {"", "node: {name: 'a b'}", ":1: node.name: 'a b' holds a character"},
        {"", "node: {name: ''}", ":1: node.name: '' is empty"},
        {"mysql", "mysql: {user: \"a\\nb\"}", ":1: mysql.user: 'a?b' holds a line break"},
        {"mysql", "mysql: {user: \"a\\0b\"}", ":1: mysql.user: holds a NUL character"},
        {"mysql", "mysql: {user: ''}", ":1: mysql.user: '' is empty"},
        {"redis", "redis: {host: r, port: 0}", ":1: redis.port: '0' is too small"},
        {"redis", "redis: {host: r, port: 65536}", ":1: redis.port: '65536' is too large"},
        {"redis", "redis: {host: 'a b'}", ":1: redis.host: 'a b' is neither a host name nor"},
        {"redis", "redis: {host: 1.2.3}", ":1: redis.host: '1.2.3' is neither"},
        {"redis", "redis: {host: a..b}", ":1: redis.host: 'a..b' is neither"},
        {"redis", "redis: {host: '[::1]'}", ":1: redis.host: '[::1]' is neither"},
        {"redis", "redis: {host: '1::2::3'}", ":1: redis.host: '1::2::3' is neither"},
    };
    assert_cases(cases, COUNT(cases));
}

static void test_addresses(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"", "http: {listen: 127.0.0.1}", ":1: http.listen: '127.0.0.1' is not an address"},
        {"", "http: {listen: ':80'}", ":1: http.listen: ':80' is not an address"},
        {"", "http: {listen: ''}", ":1: http.listen: '' is not an address"},
        {"", "http: {listen: '::1:80'}",
         ":1: http.listen: '::1:80' has an IPv6 host without brackets"},
        {"", "http: {listen: '[::1]'}", ":1: http.listen: '[::1]' has no port after its bracket"},
        {"", "http: {listen: '[a]:80'}", ":1: http.listen: '[a]:80' has a host that is neither"},
        {"", "http: {listen: '[]:80'}", ":1: http.listen: '[]:80' has a host that is neither"},
        {"", "http: {listen: '[:80'}", ":1: http.listen: '[:80' has no port after its bracket"},
        {"", "http: {listen: '*:80'}", ":1: http.listen: '*:80' has a host that is neither"},
        {"", "http: {listen: '256.0.0.1:80'}", ":1: http.listen: '256.0.0.1:80' has a host"},
        {"", "http: {listen: 'a:'}", ":1: http.listen: 'a:' has no port from 1 to 65535"},
        {"", "http: {listen: 'a:0'}", ":1: http.listen: 'a:0' has no port from 1 to 65535"},
        {"", "http: {listen: 'a:65536'}", ":1: http.listen: 'a:65536' has no port"},
        {"", "http: {listen: 'a:http'}", ":1: http.listen: 'a:http' has no port"},
    };
    assert_cases(cases, COUNT(cases));
}

static void test_slots(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"0", "is not a range of slots"},
        {"0-", "is not a range of slots"},
        {"-5", "is not a range of slots"},
        {"0-1-2", "is not a range of slots"},
        {"0 - 1", "is not a range of slots"},
        {"5-4", "ends before it starts"},
        {"0-1024", "reaches beyond the last slot"},
        {"9999999999-0", "reaches beyond the last slot"},
    };
    for (size_t i = 0; i < COUNT(cases); ++i) {
        char first[200], expected[200];
        snprintf(first, sizeof(first), "shards: [{name: a, slots: %s, " SERVER "}]", cases[i][0]);
        snprintf(expected, sizeof(expected), ":1: shards[0].slots: '%s' %s; give", cases[i][0],
                 cases[i][1]);
        write_config("shards", first);
        assert_diagnostics("c.yaml", expected);
    }
}

static void test_weights(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"-1", "is too small"},       {"-0.5", "is too small"},   {"1000.5", "is too large"},
        {"nan", "is not a number"},   {"inf", "is not a number"}, {"1.", "is not a number"},
        {".5", "is not a number"},    {"1e2", "is not a number"}, {"0x1", "is not a number"},
        {"1.5.5", "is not a number"},
    };
    for (size_t i = 0; i < COUNT(cases); ++i) {
        char first[200], expected[200];
        snprintf(first, sizeof(first), SHARD("{name: s, socket: /s, weight: %s}"), cases[i][0]);
        snprintf(expected, sizeof(expected), ":1: shards[0].servers[0].weight: '%s' %s; give",
                 cases[i][0], cases[i][1]);
        write_config("shards", first);
        assert_diagnostics("c.yaml", expected);
    }
}

/* ---- secrets and files ---- */

static void test_secrets(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"admin", "admin: {token_file: absent}",
         ":1: admin.token_file: 'absent' cannot be opened: No such file or directory; give the "
         "path of a file of mode 600 with one line of 16 to 4096 bytes"},
        {"admin", "admin: {token_file: directory}", ":1: admin.token_file: 'directory' is a dir"},
        {"admin", "admin: {token_file: fifo}", ":1: admin.token_file: 'fifo' is not a regular"},
        {"admin", "admin: {token_file: open}",
         ":1: admin.token_file: 'open' is open to others (mode 640; chmod 600 it)"},
        {"admin", "admin: {token_file: empty}", ":1: admin.token_file: 'empty' is empty"},
        {"admin", "admin: {token_file: newline}",
         ":1: admin.token_file: 'newline' holds a secret that is empty"},
        {"admin", "admin: {token_file: short}",
         ":1: admin.token_file: 'short' holds a secret that is too short"},
        {"admin", "admin: {token_file: nul}",
         ":1: admin.token_file: 'nul' holds a secret that holds a line break or another control"},
        {"admin", "admin: {token_file: lines}",
         ":1: admin.token_file: 'lines' holds a secret that holds a line break"},
        {"admin", "admin: {token_file: long}", ":1: admin.token_file: 'long' is larger than 4098"},
        {"admin", "admin: {token_file: ''}", ":1: admin.token_file: '' is empty"},
        {"admin", "admin: {token: 123456789012345}",
         ":1: admin.token: the secret is too short; give a secret of 16 to 4096 bytes"},
        {"orders", "orders: {id_key: 123456789012345}", ":1: orders.id_key: the secret is too sho"},
        {"orders", "orders: {id_key_file: short}", ":1: orders.id_key_file: 'short' holds a secr"},
        {"redis", "redis: {socket: /r, password: ''}", ":1: redis.password: the secret is empty"},
        {"", "http: {tls_certificate_file: pem, tls_key_file: absent}",
         ":1: http.tls_key_file: 'absent' cannot be opened"},
        {"", "http: {tls_certificate_file: empty, tls_key_file: pem}",
         ":1: http.tls_certificate_file: 'empty' is empty\n"
         ":1: http.tls_key_file: 'pem' is open to others (mode 644; chmod 600 it)"},
    };
    assert_cases(cases, COUNT(cases));
}

/* However wrong a secret or its neighbourhood is, it is not printed. */
static void test_secrets_are_not_printed(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"admin", "admin: {token: c4n4ry}", ""},
        {"admin", "admin: {token: \"c4n4ry\\0c4n4ry-c4n4ry-c4n4ry\"}", ""},
        {"admin", "admin: {token: \"c4n4ry\\nc4n4ry-c4n4ry-c4n4ry\"}", ""},
        {"admin", "admin: {token: [c4n4ry]}", ""},
        {"admin", "admin: {token: {c4n4ry: c4n4ry}}", ""},
        {"admin", "admin: {token: c4n4ry-c4n4ry-c4n4ry, token_file: good}", ""},
        {"admin", "admin: {token_file: canary}", ""},
        {"admin", "admin: {tokn: c4n4ry}", ""},
        {"admin", "admin: c4n4ry", ""},
        {"admin", "admin: [c4n4ry]", ""},
        {"admin", "admin: {token: *c4n4ry}", ""},
        {"admin", "admin: {token: c4n4ry", ""},
        {"admin",
         "admin: {token: \xff"
         "c4n4ry}",
         ""},
        {"mysql", "mysql: {user: u, password: c4n4ry, password: c4n4ry}", ""},
    };
    for (size_t i = 0; i < COUNT(cases); ++i) {
        config_t *config;
        char *said;
        write_config(cases[i].replaced, cases[i].first);
        assert_true(load("c.yaml", &config, &said) > 0);
        assert_null(strstr(said, "c4n4ry"));
        free(said);
    }
}

/* ---- the shape of the file ---- */

static void test_shape(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"", "htp: {}",
         ":1: 'htp' is no section; there are node, http, admin, shutdown, orders, items, limits, "
         "redis, "
         "mysql, "
         "shards, reconcile, log"},
        {"", "\nlog:\n  levle: info",
         ":3: log: 'levle' is no setting; there are level, access, file"},
        {"", "http.threads: 3\nhttp: {threads: 3}", ":1: 'http.threads' is no section"},
        {"", "log: {level: info, level: warn}",
         ":1: log.level: is given twice; it stands on line 1 already"},
        {"", "log: {level: info}\nlog: {access: true}",
         ":2: log: is given twice; it stands on line 1 already"},
        {"", "log: 5", ":1: log: must be a mapping: 'key: value' lines below it"},
        {"", "log: [level]", ":1: log: must be a mapping"},
        {"shards", "shards: {name: a}", ":1: shards: must be a list: lines below it that start"},
        {"", "log: {? [level] : info}", ":1: log: a key must be a plain word"},
        {"", "? [a]\n: b", ":1: top level: a key must be a plain word"},
        {"", "log: &l {level: info}\nnode: *l", ":2: node: is an alias; write it out"},
        {"", "node: {name: &n x}\nlog: {*n : 5}", ":1: log: a key must be a plain word"},
        {"", "node: {name: &n debug}\nlog: {level: *n}", ":2: log.level: is an alias"},
        {"", "&l log: {<<: {level: info}}", ":1: log: '<<' is no setting"},
        {"", "log: {level: *x}", ":1: is not YAML: found undefined alias"},
        {"", "log: {level: info", ":2: is not YAML: "},
        {"", "log:\n\tlevel: info", ":2: is not YAML: found character that cannot start any token"},
        {"", "http: {listen: [::1]:80}", ":1: is not YAML: "},
        {"", "# \xc3(", ":1: is not YAML: "},
        {"", "# x\n\xff", ":2: is not YAML: invalid leading UTF-8 octet"},
        {"", "%YAML 3.0\n---\n", ":1: is not YAML: "},
    };
    assert_cases(cases, COUNT(cases));
}

static void test_a_second_document(void **state)
{
    (void)state;
    FILE *file;
    write_config("", "");
    assert_non_null(file = fopen("c.yaml", "a"));
    fputs("---\nlog: {level: info}\n", file);
    fclose(file);
    assert_diagnostics("c.yaml", ":8: a second document starts here");
}

static void test_files(void **state)
{
    (void)state;
    static char huge[(1 << 20) + 1];
    assert_diagnostics("absent", ": cannot be opened: No such file or directory");
    assert_diagnostics("empty", ": is empty");
    assert_diagnostics("directory", ": is a directory");
    assert_diagnostics("fifo", ": is not a regular file");
    assert_diagnostics("nul", ": holds NUL bytes");
    assert_diagnostics("newline", ": holds no settings");
    write_text("c.yaml", "# only a comment\n---\n", 0600);
    assert_diagnostics("c.yaml", ": holds no settings");
    write_text("c.yaml", "\n\nhello\n", 0600);
    assert_diagnostics("c.yaml", ":3: is not a configuration: it must start with a section");
    write_text("c.yaml", "- a\n", 0600);
    assert_diagnostics("c.yaml", ":1: is not a configuration");
    memset(huge, '#', sizeof(huge));
    write_file("c.yaml", huge, sizeof(huge), 0600);
    assert_diagnostics("c.yaml", ": is larger than 1048576 bytes");
}

/* ---- rules between settings ---- */

static void test_missing(void **state)
{
    (void)state;
    write_text("c.yaml", "admin:\n  listen: 127.0.0.1:82\nlog: {}\n", 0600);
    assert_diagnostics("c.yaml", ":1: admin.token: is missing; give a secret of 16 to 4096 bytes "
                                 "(required; or else token_file)\n"
                                 ": orders.id_key: is missing\n"
                                 ": redis.socket: is missing; give the path of a Unix socket\n"
                                 ": mysql.user: is missing\n"
                                 ": shards: is missing; give at least one shard\n");
}

static void test_settings_together(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"", "http: {tls_certificate_file: pem}",
         ":1: http.tls_certificate_file: needs tls_key_file beside it; give both or neither"},
        {"", "limits: {buyer_burst: 5}",
         ":1: limits.buyer_burst: needs buyer_per_second beside it"},
        {"", "limits: {buyer_per_second: 5, address_burst: 5}",
         ":1: limits.address_burst: needs address_per_second beside it"},
        {"admin", "admin: {token: " KEY ", tls_certificate_file: pem}",
         ":1: admin.tls_certificate_file: needs tls_key_file beside it; give both or neither"},
        {"", "http: {tls_key_file: key}", ":1: http.tls_key_file: needs tls_certificate_file"},
        {"", "http: {cors_origins: shop.example}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: 'https://'}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: https://Shop.example}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: https://a.example/}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: https://a.example  https://b.example}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: 'https://a.example '}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: '* https://a.example'}",
         ":1: http.cors_origins: is neither * nor origins as https://shop.example"},
        {"", "http: {cors_origins: 'https://a.example *'}",
         ":1: http.cors_origins: has * beside others; give * alone"},
        {"", "http: {auth: buyer}", ":1: http.auth: is buyer, which needs http.buyer_keys_file"},
        {"", "http: {auth: token}", ":1: http.auth: is token, which needs admin.tokens_file"},
        {"admin", "admin: {token: " KEY ", token_file: good}",
         ":1: admin.token: is given beside token_file; give one of them"},
        {"orders", "orders: {id_key: " KEY ", id_key_file: good}",
         ":1: orders.id_key: is given beside id_key_file"},
        {"redis", "redis: {socket: /r, host: r}", ":1: redis.socket: is given beside host"},
        {"redis", "redis: {socket: /r, port: 1}",
         ":1: redis.port: means nothing beside socket; leave one out"},
        {"redis", "redis: {socket: /r, user: u}",
         ":1: redis.user: needs password or password_file beside it"},
        {"redis", "redis: {socket: /r, password: p, password_file: good}",
         ":1: redis.password: is given beside password_file"},
        {"mysql", "mysql: {user: u, tls: verified}",
         ":1: mysql.tls: is verified, which needs tls_ca_file"},
        {"mysql", "mysql: {user: u, tls_ca_file: pem}",
         ":1: mysql.tls_ca_file: means nothing while mysql.tls is off"},
        {"shards", "shards: [{name: a, slots: 0-1023, password: p, " SERVER "}]",
         ":1: shards[0].password: needs user beside it"},
        {"mysql", "mysql: {user: u, password: p, password_file: good}",
         ":1: mysql.password: is given beside password_file"},
        {"orders", "orders: {id_key: " KEY ", commit_deadline_ms: 5000}",
         ":1: orders.commit_deadline_ms: 5000 is not above orders.answer_deadline_ms, which is 50"},
        {"orders", "orders: {id_key: " KEY ", answer_deadline_ms: 8000}",
         ":1: orders.commit_deadline_ms: 8000 is not above orders.answer_deadline_ms, which is 80"},
        {"orders", "orders: {id_key: " KEY ", commit_deadline_ms: x, answer_deadline_ms: 9999}",
         ":1: orders.commit_deadline_ms: 'x' is not a whole number"},
        {"", "shutdown: {readiness_delay_ms: 20000}", ":1: shutdown.deadline_ms: 15000 is not ab"},
        {"", "http: {listen: 127.0.0.1:8081}", ":2: admin.listen: is the address of http.listen"},
        {"", "http: {listen: 0.0.0.0:8081}", ":2: admin.listen: is the address of http.listen"},
        {"", "http: {listen: '[::]:8081'}", ":2: admin.listen: is the address of http.listen"},
    };
    assert_cases(cases, COUNT(cases));
    config_free(load_good("", "http: {listen: 127.0.0.2:8081}"));
}

static void test_slots_covered_once(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"shards",
         "shards: [{name: a, slots: 1-511, " SERVER "}, {name: b, slots: 513-1022, " OTHER "}]",
         ":1: shards: no shard holds the slots 0-0\n"
         ":1: shards: no shard holds the slots 512-512\n"
         ":1: shards: no shard holds the slots 1023-1023"},
        {"shards",
         "shards: [{name: a, slots: 0-600, " SERVER "},\n {name: b, slots: 500-1023, " OTHER "}]",
         ":2: shards[1].slots: the slots 500-600 are held by shards[0] too ('a')"},
        {"shards",
         "shards: [{name: a, slots: 0-9, " SERVER "}, {name: b, slots: 20-1023, " OTHER "},\n"
         " {name: c, slots: 5-25, servers: [{name: s, socket: /u}]}]",
         ":2: shards[2].slots: the slots 5-9 are held by shards[0] too ('a')\n"
         ":2: shards[2].slots: the slots 20-25 are held by shards[1] too ('b')"},
        /* What an unreadable range leaves out is not called missing. */
        {"shards", "shards: [{name: a, slots: 0-9, " SERVER "}, {name: b, slots: x, " OTHER "}]",
         ":1: shards[1].slots: 'x' is not a range of slots"},
        {"shards", "shards: []", ":1: shards: is missing; give at least one shard"},
        {"shards", "shards:\n- {name: a, slots: 0-1023, " SERVER "}\n- 5\n-",
         ":3: shards[1]: must be a mapping\n:4: shards[2]: must be a mapping"},
        {"shards", "shards:\n- &a {name: a, slots: 0-1023, " SERVER "}\n- *a",
         ":2: shards[1]: is an alias; write it out"},
    };
    assert_cases(cases, COUNT(cases));
}

static void test_servers(void **state)
{
    (void)state;
    static const case_t cases[] = {
        {"shards", "shards: [{name: a, slots: 0-1023}]",
         ":1: shards[0].servers: has no primary; give one server the status primary"},
        {"shards", "shards: [{slots: 0-1023, " SERVER "}]", ":1: shards[0].name: is missing"},
        {"shards",
         "shards: [{name: a, slots: 0-511, " SERVER "},\n"
         "{name: a, slots: 512-1023, " OTHER "}]",
         ":2: shards[1].name: 'a' is the name of shards[0] already"},
        {"shards",
         "shards: [{name: a, slots: 0-511, " SERVER "},\n"
         "{name: b, slots: 512-1023, " SERVER "}]",
         ":2: shards[1].servers[0]: is the same server as shards[0].servers[0]"},
        {"shards", SHARD("{name: s}"),
         ":1: shards[0].servers[0].socket: is missing; give the path "
         "of a Unix socket, at most 107 bytes (required; or else ho"},
        {"shards", SHARD("{name: s, socket: /s, host: h}"),
         ":1: shards[0].servers[0].socket: is given beside host"},
        {"shards", SHARD("{name: s, socket: /s, port: 3306}"),
         ":1: shards[0].servers[0].port: means nothing beside socket"},
        {"shards", SHARD("{name: s, socket: /s, status: spare}"),
         ":1: shards[0].servers: has no primary"},
        {"shards", SHARD("{name: s, socket: /s},\n {name: t, host: t}"),
         ":2: shards[0].servers[1].status: makes a second primary beside servers[0]"},
        {"shards", SHARD("{name: s, socket: /s},\n {name: s, host: t, status: spare}"),
         ":2: shards[0].servers[1].name: 's' is the name of servers[0] already"},
        {"shards", SHARD("{name: s, host: t},\n {name: t, host: t, status: spare}"),
         ":2: shards[0].servers[1]: is the same server as shards[0].servers[0]"},
        /* Of a port that cannot be read nobody knows whose it is. */
        {"shards",
         SHARD("{name: s, host: t, port: x},\n {name: t, host: t, port: y, status: spare}"),
         ":1: shards[0].servers[0].port: 'x' is not a whole number\n"
         ":2: shards[0].servers[1].port: 'y' is not a whole number"},
        {"shards", SHARD("{name: s, host: t},\n {name: t, host: t, port: y, status: spare}"),
         ":2: shards[0].servers[1].port: 'y' is not a whole number"},
        {"shards", SHARD("{name: s, socket: /s, mode: read-only}"),
         ":1: shards[0].servers[0].mode: must be read-write"},
        {"shards",
         SHARD("{name: s, socket: /s}, {name: t, host: t, status: spare,\n"
               " mode: read-write}"),
         ":2: shards[0].servers[1].mode: must not be read-write"},
        {"shards", SHARD("{name: s, socket: /s, status: x, mode: y}"),
         ":1: shards[0].servers[0].status: 'x' is not one of its words; give primary, secondary, "
         "spare or faulty (default primary)\n"
         ":1: shards[0].servers[0].mode: 'y' is not one of its words"},
        {"shards", "shards: [{name: a, slots: 0-1023, servers: 5}]",
         ":1: shards[0].servers: must be a list"},
        {"shards", "shards: [{name: a, slots: 0-1023, servers: [5]}]",
         ":1: shards[0].servers[0]: must be a mapping"},
    };
    assert_cases(cases, COUNT(cases));
}

/* All in one run, by line, and none twice. */
static void test_all_at_once(void **state)
{
    (void)state;
    write_text("c.yaml",
               "log: {level: loud}\n"
               "http:\n"
               "  threads: many\n"
               "  colour: red\n"
               "  tls_key_file: key\n"
               "  listen: 127.0.0.1:8081\n"
               "admin: 5\n"
               "orders: {id_key: short}\n"
               "redis: {host: h, socket: /s}\n"
               "mysql: {pool_threads: 0}\n"
               "shards:\n"
               "- {name: a, slots: 0-600, servers: [{name: s, socket: /s, weight: heavy}]}\n"
               "- {name: a, slots: 600-1000, servers: [{name: s}]}\n",
               0600);
    assert_diagnostics("c.yaml", ":1: log.level: 'loud'\n"
                                 ":3: http.threads: 'many'\n"
                                 ":4: http: 'colour' is no setting\n"
                                 ":5: http.tls_key_file: needs\n"
                                 ":7: admin: must be a mapping\n"
                                 ":8: orders.id_key: the secret is too short\n"
                                 ":9: redis.socket: is given beside host\n"
                                 ":10: mysql.pool_threads: '0' is too small\n"
                                 ":10: mysql.user: is missing\n"
                                 ":11: shards: no shard holds the slots 1001-1023\n"
                                 ":12: shards[0].servers[0].weight: 'heavy' is not a number\n"
                                 ":13: shards[1].servers[0].socket: is missing\n"
                                 ":13: shards[1].name: 'a' is the name of shards[0]\n"
                                 ":13: shards[1].slots: the slots 600-600 are held by shards[0]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_secrets_are_not_printed),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_a_second_document),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_settings_together),
        cmocka_unit_test(test_slots_covered_once),
        cmocka_unit_test(test_servers),
        cmocka_unit_test(test_all_at_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
