/*
 * MySQL over TLS, with an account for each shard: they are what a service uses, and a server that
 * cannot prove who it is, or has no TLS, is away. On a stack of its own, whose servers listen on
 * the loopback too.
 */
#include "harness/certificate.h"
#include "harness/mysqld.h"
#include "harness/sale.h"
#include "harness/suite.h"

typedef struct {
    const char *key, *certificate;
} files_t;

static files_t server, client, stranger;
static unsigned ports[STACK_SHARDS_MAX];

static files_t make_files(const char *name)
{
    const char *base =
        test_text("%s/mysql-tls-%d-%s", test_environment("HOLDFAST_TEST_TMP"), (int)getpid(), name);
    files_t files = {strdup(test_text("%s-key.pem", base)), strdup(test_text("%s.pem", base))};
    test_certificate(name, files.key, files.certificate);
    return files;
}

/* Starts a shard's server again, on a port too. */
static void listen_with(unsigned shard, const char *options)
{
    mysqld_stop(stack, shard);
    mysqld_start(stack, shard, "",
                 test_text("--skip-networking=0 --bind-address=127.0.0.1 --port=%u %s",
                           ports[shard], options));
}

static void listen_with_tls(unsigned shard)
{
    listen_with(shard, test_text("--ssl-cert=%s --ssl-key=%s --ssl-ca=%s", server.certificate,
                                 server.key, client.certificate));
}

static void prepare(void)
{
    server = make_files("server");
    client = make_files("client");
    stranger = make_files("stranger");
    for (unsigned i = 0; i < stack->shards; ++i) {
        ports[i] = web_free_port();
        listen_with_tls(i);
        mysqld_run(stack, i,
                   "CREATE USER 'of-shard-%u'@'127.0.0.1' IDENTIFIED BY 'password-%u' REQUIRE X509",
                   i, i);
        mysqld_run(stack, i,
                   "GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.* TO "
                   "'of-shard-%u'@'127.0.0.1'",
                   i);
    }
    stack_await_ready(stack);
}

/* A second service, which reaches the servers by their ports; `tls` are lines of its mysql. */
static test_stack_t *start(const char *tls)
{
    const char *changes[1 + 2 * STACK_SHARDS_MAX][2] = {
        {"mysql:\n", test_text("mysql:\n%s  tls_certificate_file: %s\n  tls_key_file: %s\n", tls,
                               client.certificate, client.key)}};
    unsigned count = 1;
    for (unsigned i = 0; i < stack->shards; ++i) {
        const char *name = test_text("  - name: shard-%u\n", i);
        changes[count][0] = name;
        changes[count++][1] =
            test_text("%s    user: of-shard-%u\n    password: password-%u\n", name, i, i);
        changes[count][0] = test_text("socket: %s\n", stack->mysql_sockets[i]);
        changes[count++][1] = test_text("host: 127.0.0.1\n        port: %u\n", ports[i]);
    }
    return stack_node_start_changed(stack, 2, (const char *const(*)[2])changes, count);
}

static void expect_sale(const test_stack_t *service)
{
    for (unsigned i = 0; i < 4; ++i) {
        const char *sku = sale_item(service, "tls", "\"total\":5,\"strategy\":\"%s\"",
                                    i % 2 == 0 ? "lua" : "optimistic");
        sale_order(service, sku, "b", 1, NULL);
    }
    for (unsigned i = 0; i < stack->shards; ++i)
        EXPECT(mysqld_number(stack, i,
                             "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = "
                             "'of-shard-%u'",
                             i) > 0,
               "nobody is of-shard-%u", i);
}

static void each_shard_by_its_user_over_tls(void **state)
{
    (void)state;
    const char *const settings[] = {
        test_text("  tls: verified\n  tls_ca_file: %s\n", server.certificate), "  tls: required\n"};
    for (size_t i = 0; i < TEST_COUNT(settings); ++i) {
        test_stack_t *service = start(settings[i]);
        stack_await_ready(service);
        expect_sale(service);
        EXPECT(!stack_log_has(service, "password-0"), "a password is in the log");
        stack_node_stop(service);
    }
}

static bool says(const test_stack_t *service, const char *words)
{
    web_answer_t ready = WEB(.base = service->url, .path = "/readyz");
    return ready.status == 503 && strstr(ready.body, words) != NULL;
}

static void a_server_of_a_stranger_is_away(void **state)
{
    (void)state;
    test_stack_t *service =
        start(test_text("  tls: verified\n  tls_ca_file: %s\n", stranger.certificate));
    WAIT_UNTIL(says(service, "certificate"));
    WAIT_UNTIL(stack_log_has(service, "certificate"));
    stack_node_stop(service);
}

static void a_server_without_tls_is_away(void **state)
{
    (void)state;
    for (unsigned i = 0; i < stack->shards; ++i) {
        mysqld_run(stack, i, "ALTER USER 'of-shard-%u'@'127.0.0.1' REQUIRE NONE", i);
        listen_with(i, "--skip-ssl");
    }
    test_stack_t *service = start("  tls: required\n");
    WAIT_UNTIL(says(service, "TLS is required"));
    for (unsigned i = 0; i < stack->shards; ++i)
        listen_with_tls(i);
    stack_await_ready(service); /* by itself */
    stack_node_stop(service);
}

static const suite_t suite = {
    .name = "mysql-tls", .settings = {"http.threads=1"}, .prepare = prepare};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_shard_by_its_user_over_tls),
        TEST(a_server_of_a_stranger_is_away),
        TEST(a_server_without_tls_is_away),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
