/*
 * TLS and HTTP/2: which versions are spoken, what ALPN picks, purchases over each, many streams on
 * one connection, bodies that are too long, a certificate that is renewed, and the end of a process
 * with streams open. On a stack of its own, with a certificate made for the run.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "harness/attack.h"
#include "harness/certificate.h"
#include "harness/suite.h"

static char *sku, *certificate, *key;

#define PATIENCE_S 30L

static void make_certificate(const char *name)
{
    test_certificate(name, key, certificate);
}

static test_stack_t *start_with_tls(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const char *directory = test_environment("HOLDFAST_TEST_TMP");
    key = strdup(test_text("%s/tls-%d-key.pem", directory, getpid()));
    certificate = strdup(test_text("%s/tls-%d-cert.pem", directory, getpid()));
    make_certificate("localhost");
    return STACK_START("tls", "http.http2=true",
                       test_text("http.tls_certificate_file=%s", certificate),
                       test_text("http.tls_key_file=%s", key), "mysql.pool_threads=4");
}

static void put_on_sale(void)
{
    sku = strdup(sale_item(stack, "tls", "\"total\":100000,\"strategy\":\"lua\""));
}

/* --- handshakes --- */

/* The protocol that was agreed upon: "TLSv1.2 h2", or "" when the handshake failed. `alpn` in wire
   format, or NULL. */
static const char *handshake(int version_min, int version_max, const char *alpn)
{
    const char *agreed = "";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int fd = web_connect(stack->url);
    EXPECT(fd >= 0 && context != NULL, "no connection");
    SSL_CTX_set_security_level(context, 0); /* the client would take anything */
    SSL_CTX_set_min_proto_version(context, version_min);
    SSL_CTX_set_max_proto_version(context, version_max);
    if (alpn != NULL)
        SSL_CTX_set_alpn_protos(context, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, fd);
    if (SSL_connect(tls) == 1) {
        const unsigned char *picked;
        unsigned n;
        SSL_get0_alpn_selected(tls, &picked, &n);
        agreed = test_text("%s %.*s", SSL_get_version(tls), (int)n, (const char *)picked);
    }
    ERR_clear_error();
    SSL_free(tls);
    SSL_CTX_free(context);
    close(fd);
    return agreed;
}

static void old_versions_are_refused(void **state)
{
    (void)state;
    assert_string_equal(handshake(TLS1_VERSION, TLS1_VERSION, NULL), "");
    assert_string_equal(handshake(TLS1_1_VERSION, TLS1_1_VERSION, NULL), "");
    assert_string_equal(handshake(TLS1_VERSION, TLS1_1_VERSION, "\x02h2"), "");
}

static void new_versions_are_spoken_and_alpn_picks(void **state)
{
    (void)state;
    assert_string_equal(handshake(TLS1_2_VERSION, TLS1_2_VERSION, "\x02h2\x08http/1.1"),
                        "TLSv1.2 h2");
    assert_string_equal(handshake(TLS1_3_VERSION, TLS1_3_VERSION, "\x02h2\x08http/1.1"),
                        "TLSv1.3 h2");
    assert_string_equal(handshake(TLS1_2_VERSION, TLS1_3_VERSION, "\x08http/1.1"),
                        "TLSv1.3 http/1.1");
    /* Older clients say nothing, and get HTTP/1.1. */
    assert_string_equal(handshake(TLS1_2_VERSION, TLS1_3_VERSION, NULL), "TLSv1.3 ");
}

static void no_tls_is_no_answer(void **state)
{
    (void)state;
    static const char plain[] = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    web_answer_t answer = web_raw(stack->url, plain, sizeof(plain) - 1, 5000);
    EXPECT(answer.status == 0, "%s", web_show(&answer));
    EXPECT(!answer.refused, "the service is gone");
}

/* As the documentation has it: the admin listener is not the public one. */
static void the_admin_listener_has_no_tls(void **state)
{
    (void)state;
    EXPECT(strncmp(stack->url, "https://", 8) == 0, "%s", stack->url);
    EXPECT(strncmp(stack->admin_url, "http://", 7) == 0, "%s", stack->admin_url);
    web_answer_t status = ADMIN(stack, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
}

/* --- requests --- */

typedef struct {
    long status, version;
    char body[4096];
    size_t n;
    CURL *easy;
} answer_t;

static size_t keep_body(char *bytes, size_t size, size_t count, void *context)
{
    answer_t *answer = context;
    size_t n = size * count, room = sizeof(answer->body) - 1 - answer->n;
    memcpy(answer->body + answer->n, bytes, n < room ? n : room);
    answer->n += n < room ? n : room;
    return n;
}

static void free_headers(void *headers)
{
    curl_slist_free_all(headers);
}

/* `version` is one of CURL_HTTP_VERSION_...; the certificate is verified. */
static void prepare(answer_t *answer, const char *path, const char *body, long version)
{
    CURL *easy = curl_easy_init();
    struct curl_slist *type = curl_slist_append(NULL, "Content-Type: application/json");
    EXPECT(easy != NULL && type != NULL, "no curl");
    test_keep(type, free_headers);
    test_keep(easy, curl_easy_cleanup);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, type);
    *answer = (answer_t){.easy = easy};
    curl_easy_setopt(easy, CURLOPT_URL, test_text("%s%s", stack->url, path));
    curl_easy_setopt(easy, CURLOPT_CAINFO, certificate);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, PATIENCE_S);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, answer);
    if (body != NULL)
        curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
}

static void finish(answer_t *answer)
{
    curl_easy_getinfo(answer->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(answer->easy, CURLINFO_HTTP_VERSION, &answer->version);
}

static answer_t ask(const char *path, const char *body, long version)
{
    answer_t answer;
    prepare(&answer, path, body, version);
    CURLcode code = curl_easy_perform(answer.easy);
    finish(&answer);
    EXPECT(code == CURLE_OK, "%s: %s", path, curl_easy_strerror(code));
    return answer;
}

static const char *order_of(const char *item, const char *buyer)
{
    return test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", item, buyer);
}

/* What a purchase is answered that is not refused: a slow machine may say 202 or 503. */
static bool is_served(long status)
{
    return status == 201 || status == 202 || status == 503;
}

static void a_purchase_over_each_protocol(void **state)
{
    (void)state;
    static const struct {
        long version, spoken;
    } protocols[] = {{CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_1_1},
                     {CURL_HTTP_VERSION_2TLS, CURL_HTTP_VERSION_2_0}};
    for (size_t i = 0; i < TEST_COUNT(protocols); ++i) {
        long long before = sale_live_orders(stack, sku);
        WAIT_UNTIL(({
            answer_t answer = ask("/v1/orders", order_of(sku, "each"), protocols[i].version);
            EXPECT(is_served(answer.status) && answer.version == protocols[i].spoken, "%ld %ld: %s",
                   answer.status, answer.version, answer.body);
            answer.status != 503;
        }));
        WAIT_UNTIL(sale_live_orders(stack, sku) > before);
    }
}

static void refusals_over_http2_are_problems(void **state)
{
    (void)state;
    answer_t answer = ask("/v1/orders", "{\"sku\":", CURL_HTTP_VERSION_2TLS);
    EXPECT(answer.status == 400 && strstr(answer.body, "malformed_json") != NULL, "%ld %s",
           answer.status, answer.body);
    answer = ask("/nowhere", NULL, CURL_HTTP_VERSION_2TLS);
    EXPECT(answer.status == 404 && strstr(answer.body, "not_found") != NULL, "%ld %s",
           answer.status, answer.body);
}

static void an_oversized_body_is_refused(void **state)
{
    (void)state;
    /* So small that it is sent in one piece: HTTP/1.1 ends the connection with the answer. */
    const char *small = test_text("{\"sku\":\"%s\"}", test_repeat("s", 17000));
    const char *body = test_text("{\"sku\":\"%s\"}", test_repeat("s", 100000));
    answer_t answer = ask("/v1/orders", small, CURL_HTTP_VERSION_1_1);
    EXPECT(answer.status == 413 && strstr(answer.body, "body_too_large") != NULL, "%ld %s",
           answer.status, answer.body);
    prepare(&answer, "/v1/orders", body, CURL_HTTP_VERSION_2TLS);
    CURLcode code = curl_easy_perform(answer.easy);
    finish(&answer);
    EXPECT(code == CURLE_OK && answer.status == 413 &&
               strstr(answer.body, "body_too_large") != NULL,
           "%s, %ld %s", curl_easy_strerror(code), answer.status, answer.body);
    curl_easy_setopt(answer.easy, CURLOPT_COPYPOSTFIELDS, order_of(sku, "after"));
    code = curl_easy_perform(answer.easy);
    finish(&answer);
    EXPECT(code == CURLE_OK && is_served(answer.status), "%s, status %ld", curl_easy_strerror(code),
           answer.status);
}

/* `wait_ms`: for so long curl waits for 100 Continue. */
static long status_of_expecting(const char *path, const char *buyer, long version, long wait_ms)
{
    answer_t answer;
    prepare(&answer, path, order_of(sku, buyer), version);
    struct curl_slist *expect = curl_slist_append(NULL, "Expect: 100-continue"),
                      *all = curl_slist_append(expect, "Content-Type: application/json");
    EXPECT(expect != NULL && all != NULL, "no curl");
    test_keep(all, free_headers);
    curl_easy_setopt(answer.easy, CURLOPT_HTTPHEADER, all);
    curl_easy_setopt(answer.easy, CURLOPT_EXPECT_100_TIMEOUT_MS, wait_ms);
    CURLcode code = curl_easy_perform(answer.easy);
    finish(&answer);
    EXPECT(code == CURLE_OK, "%s: %s", path, curl_easy_strerror(code));
    return answer.status;
}

/* In HTTP/2 nobody is told, and who does not wait for ever is answered. */
static void a_client_that_expects_100_gets_it(void **state)
{
    (void)state;
    long for_ever = 2000L * PATIENCE_S;
    long one = status_of_expecting("/v1/orders", "expects", CURL_HTTP_VERSION_1_1, for_ever);
    EXPECT(is_served(one), "%ld", one);
    EXPECT_NUMBER(status_of_expecting("/nowhere", "expects", CURL_HTTP_VERSION_1_1, for_ever), 404);
    long two = status_of_expecting("/v1/orders", "two", CURL_HTTP_VERSION_2TLS, 10);
    EXPECT(is_served(two), "%ld", two);
}

/* --- many streams --- */

typedef struct {
    unsigned count;
    long connections;
    unsigned created, pending, sold_out, unavailable, gone, other; /* gone: no answer */
    char odd[256];
} tally_t;

static void count_answer(tally_t *tally, answer_t *answer, CURLcode code)
{
    finish(answer);
    if (code != CURLE_OK)
        ++tally->gone;
    else if (answer->status == 201)
        ++tally->created;
    else if (answer->status == 202)
        ++tally->pending;
    else if (answer->status == 409 && strstr(answer->body, "sold_out") != NULL)
        ++tally->sold_out;
    else if (answer->status == 503)
        ++tally->unavailable;
    else if (tally->other++ == 0)
        snprintf(tally->odd, sizeof(tally->odd), "%ld %.200s", answer->status, answer->body);
}

static void collect(CURLM *multi, tally_t *tally)
{
    int left;
    for (CURLMsg *message; (message = curl_multi_info_read(multi, &left)) != NULL;) {
        answer_t *answer;
        long connections = 0;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&answer);
        curl_easy_getinfo(message->easy_handle, CURLINFO_NUM_CONNECTS, &connections);
        tally->connections += connections;
        count_answer(tally, answer, code);
        curl_multi_remove_handle(multi, message->easy_handle);
    }
}

/* `count` purchases at once over one connection; `in_flight` is called when they have been sent. */
static tally_t buy_over_one_connection(const char *item, unsigned count, void (*in_flight)(void))
{
    tally_t tally = {.count = count};
    CURLM *multi = curl_multi_init();
    answer_t *answers = test_bytes(count * sizeof(*answers));
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, 1L);
    for (unsigned i = 0; i < count; ++i) {
        prepare(&answers[i], "/v1/orders", order_of(item, test_text("b%u", i)),
                CURL_HTTP_VERSION_2TLS);
        curl_multi_add_handle(multi, answers[i].easy);
    }
    int running = (int)count;
    for (unsigned turns = 0; running != 0; ++turns) {
        curl_multi_perform(multi, &running);
        collect(multi, &tally);
        if (in_flight != NULL && tally.created + tally.pending != 0) {
            in_flight();
            in_flight = NULL;
        }
        if (running != 0)
            curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
    collect(multi, &tally);
    curl_multi_cleanup(multi);
    return tally;
}

static const char *show(const tally_t *tally)
{
    return test_text("201 %u, 202 %u, sold out %u, 503 %u, no answer %u, %u: %s", tally->created,
                     tally->pending, tally->sold_out, tally->unavailable, tally->gone, tally->other,
                     tally->odd);
}

/* Each 201 is there, and nothing but what was answered 201 or 202. */
static void expect_told_true(const char *item, const tally_t *tally)
{
    long long live = sale_live_orders(stack, item);
    EXPECT(live >= tally->created && live <= tally->created + tally->pending, "%lld live: %s", live,
           show(tally));
    EXPECT_SOUND(stack, item, 0);
}

/* Under watch each buyer competes with all others, so that fewer are asked. */
static void many_streams_on_one_connection(void **state)
{
    const char *strategy = *state;
    unsigned buyers = strcmp(strategy, "watch") == 0 ? 200 : 1000, total = buyers / 5 * 3;
    const char *item =
        sale_item(stack, "streams", "\"total\":%u,\"strategy\":\"%s\"", total, strategy);
    tally_t tally = buy_over_one_connection(item, buyers, NULL);
    EXPECT_NUMBER(tally.connections, 1);
    EXPECT_GATE_AGREES(stack, item);
    expect_told_true(item, &tally);
    /* On a slow machine some of those who would have had the rest hear 202 or 503. */
    long long late = tally.pending + tally.unavailable,
              left = total - sale_live_orders(stack, item);
    EXPECT(tally.gone + tally.other == 0 && left <= late, "%lld left: %s", left, show(&tally));
}

/* --- a certificate is renewed --- */

/* A connection that stays, and whose handshake may come later. */
typedef struct {
    int fd;
    SSL_CTX *context;
    SSL *tls;
} client_t;

static client_t client_open(void)
{
    client_t client = {.fd = web_connect(stack->url), .context = SSL_CTX_new(TLS_client_method())};
    EXPECT(client.fd >= 0 && client.context != NULL, "no connection");
    client.tls = SSL_new(client.context);
    SSL_set_fd(client.tls, client.fd);
    return client;
}

static void client_close(client_t *client)
{
    ERR_clear_error();
    SSL_free(client->tls);
    SSL_CTX_free(client->context);
    close(client->fd);
}

/* The handshake, if there was none; then whose certificate the server has shown. */
static const char *client_sees(client_t *client)
{
    char name[100] = "nobody";
    EXPECT(SSL_connect(client->tls) == 1, "no handshake");
    X509 *shown = SSL_get1_peer_certificate(client->tls);
    if (shown != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(shown), NID_commonName, name, sizeof(name));
    X509_free(shown);
    return test_text("%s", name);
}

static void expect_answer(client_t *client)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    char answer[4096] = "";
    EXPECT_NUMBER(SSL_write(client->tls, request, sizeof(request) - 1), sizeof(request) - 1);
    /* Head and body come in records of their own. */
    for (int n = 0, part = 1; part > 0 && strstr(answer, "{\"status\":\"ok\"}") == NULL;
         n += part) {
        part = SSL_read(client->tls, answer + n, (int)sizeof(answer) - 1 - n);
        answer[n + (part > 0 ? part : 0)] = '\0';
    }
    EXPECT(strstr(answer, "HTTP/1.1 200") == answer && strstr(answer, "ok") != NULL, "%s", answer);
}

static const char *shown_now(void)
{
    client_t client = client_open();
    const char *name = client_sees(&client);
    expect_answer(&client);
    client_close(&client);
    return name;
}

/* Each loop has its own: so several in a row. */
static bool all_show(const char *name)
{
    for (unsigned i = 0; i < 16; ++i)
        if (strcmp(shown_now(), name) != 0)
            return false;
    return true;
}

static unsigned count_in_log(const char *words)
{
    char line[5000];
    unsigned count = 0;
    FILE *in = fopen(test_text("%s/log/holdfast.log", stack->dir), "re");
    EXPECT(in != NULL, "no log");
    while (fgets(line, sizeof(line), in) != NULL)
        count += strstr(line, words) != NULL;
    fclose(in);
    return count;
}

static void hangup(void)
{
    process_signal(stack->pid, SIGHUP);
}

static void a_renewed_certificate_is_shown_and_no_connection_is_dropped(void **state)
{
    (void)state;
    client_t served = client_open(), silent = client_open(), half = client_open();
    assert_string_equal(client_sees(&served), "localhost");
    expect_answer(&served);
    EXPECT_NUMBER(write(half.fd, "\x16\x03", 2), 2); /* of a handshake */
    make_certificate("renewed");
    assert_string_equal(shown_now(), "localhost"); /* until it is told */
    hangup();
    WAIT_UNTIL(all_show("renewed"));
    expect_answer(&served);
    assert_string_equal(client_sees(&silent), "localhost"); /* it came before */
    expect_answer(&silent);
    client_close(&served);
    client_close(&silent);
    client_close(&half);
    assert_string_equal(handshake(TLS1_2_VERSION, TLS1_3_VERSION, "\x02h2"), "TLSv1.3 h2");
    answer_t order = ask("/v1/orders", order_of(sku, "renewed"), CURL_HTTP_VERSION_2TLS);
    EXPECT(is_served(order.status), "%ld %s", order.status, order.body);
}

static void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");
    EXPECT(out != NULL && fputs(text, out) >= 0, "cannot write %s", path);
    fclose(out);
}

static void expect_kept(const char *name)
{
    static const char words[] = "the new certificate cannot be used; the old one stays";
    unsigned before = count_in_log(words);
    hangup();
    WAIT_UNTIL(count_in_log(words) == before + 1);
    EXPECT(all_show(name), "not %s", name);
}

/* A new pair, of which only the one or the other file is put in place. */
static void make_half(const char *name, bool is_key)
{
    char *old_key = key, *old_certificate = certificate;
    key = test_text("%s.new", old_key);
    certificate = test_text("%s.new", old_certificate);
    make_certificate(name);
    EXPECT(rename(is_key ? key : certificate, is_key ? old_key : old_certificate) == 0, "%s", name);
    key = old_key;
    certificate = old_certificate;
}

static void a_bad_certificate_keeps_the_old_one(void **state)
{
    (void)state;
    const char *name = shown_now();
    write_text(certificate, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    expect_kept(name);
    make_half("other", false); /* with the key of another one */
    expect_kept(name);
    make_half("other", true);
    expect_kept(name);
    make_certificate("open");
    EXPECT(chmod(key, 0644) == 0, "no key");
    expect_kept(name); /* anybody may read it */
    EXPECT(unlink(key) == 0, "no key");
    expect_kept(name);
    make_certificate("localhost");
    hangup();
    WAIT_UNTIL(all_show("localhost"));
}

static void many_renewals_in_a_crowd_lose_nobody(void **state)
{
    (void)state;
    client_t waiting[24];
    for (size_t i = 0; i < TEST_COUNT(waiting); ++i) {
        waiting[i] = client_open();
        hangup();
        shown_now();
    }
    for (size_t i = 0; i < TEST_COUNT(waiting); ++i) {
        assert_string_equal(client_sees(&waiting[i]), "localhost");
        expect_answer(&waiting[i]);
        client_close(&waiting[i]);
    }
}

/* --- the end --- */

static void terminate(void)
{
    process_signal(stack->pid, SIGTERM);
}

/* Streams that were served get their answers; of others the client hears that nothing was done. */
static void sigterm_with_open_streams_loses_nothing(void **state)
{
    (void)state;
    const char *item = sale_item(stack, "term", "\"total\":5000,\"strategy\":\"lua\"");
    tally_t tally = buy_over_one_connection(item, 2000, terminate);
    WAIT_UNTIL(process_is_gone(stack->pid));
    print_message("    %s\n", show(&tally));
    EXPECT(tally.other == 0 && tally.created + tally.pending >= 1, "%s", show(&tally));
    expect_told_true(item, &tally); /* so no stream that ended without an answer left an order */
    stack_again(stack, NULL, 0);
}

static void idle_streams_do_not_hold_up_the_end(void **state)
{
    (void)state;
    enum { IDLE = 8 };
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *open[IDLE];
    int fds[IDLE];
    h2_bytes_t out = {NULL, 0, 0}, block = h2_header_block("POST", "/v1/orders");
    h2_add_preface(&out);
    h2_add_frame(&out, H2_HEADERS, H2_END_HEADERS, 1, block.bytes, block.n); /* no body follows */
    SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2", 3);
    for (size_t i = 0; i < IDLE; ++i) {
        fds[i] = web_connect(stack->url);
        open[i] = SSL_new(context);
        SSL_set_fd(open[i], fds[i]);
        EXPECT(SSL_connect(open[i]) == 1, "no handshake");
        if (i % 2 == 0)
            EXPECT_NUMBER(SSL_write(open[i], out.bytes, (int)out.n), out.n);
    }
    terminate();
    WAIT_UNTIL(process_is_gone(stack->pid));
    for (size_t i = 0; i < IDLE; ++i) {
        SSL_free(open[i]);
        close(fds[i]);
    }
    SSL_CTX_free(context);
}

static const suite_t suite = {.name = "tls", .start = start_with_tls, .prepare = put_on_sale};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(old_versions_are_refused),
        TEST(new_versions_are_spoken_and_alpn_picks),
        TEST(no_tls_is_no_answer),
        TEST(the_admin_listener_has_no_tls),
        TEST(a_purchase_over_each_protocol),
        TEST(refusals_over_http2_are_problems),
        TEST(an_oversized_body_is_refused),
        TEST(a_client_that_expects_100_gets_it),
        UNDER("lua", many_streams_on_one_connection),
        UNDER("watch", many_streams_on_one_connection),
        TEST(a_renewed_certificate_is_shown_and_no_connection_is_dropped),
        TEST(a_bad_certificate_keeps_the_old_one),
        TEST(many_renewals_in_a_crowd_lose_nobody),
        TEST(sigterm_with_open_streams_loses_nothing),
        TEST(idle_streams_do_not_hold_up_the_end),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
