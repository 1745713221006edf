/*
 * A hostile network, by HTTP/2: what one connection may keep busy or make grow. Prior knowledge,
 * raw frames. As test_hostile.c: bounded, nothing left behind, and a buyer buys meanwhile.
 */
#include "integration/hostile.h"

/* As libh2o says in its SETTINGS; and what service/http/connection.h lets a client take back. */
#define STREAMS_MAX 100
#define RESETS_MAX 100

static const char *order_body(const char *buyer)
{
    return test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", sku, buyer);
}

/* Reads until the connection is closed; counts frames of `type`. */
static unsigned count_frames(int fd, int type)
{
    static h2_frame_t frame;
    unsigned count = 0;
    while (h2_read_frame(fd, &frame, IDLE_MS + SLACK_MS))
        count += frame.type == type;
    return count;
}

/* --- what a well-behaved client may do --- */

static void requests_are_answered(void **state)
{
    (void)state;
    h2_bytes_t out = {NULL, 0, 0};
    h2_frame_t *frame = test_bytes(sizeof(*frame));
    unsigned ended = 0;
    int fd = h2_connect(stack->url);
    for (uint32_t i = 0; i < STREAMS_MAX; ++i)
        h2_add_request(&out, 2 * i + 1, "POST", "/v1/orders", order_body(test_text("well-%u", i)));
    EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
    while (ended < STREAMS_MAX && h2_read_frame(fd, frame, SLACK_MS))
        ended += frame->type == H2_DATA && (frame->flags & H2_END_STREAM) != 0 &&
                 memmem(frame->payload, frame->length, "confirmed", 9) != NULL;
    EXPECT_NUMBER(ended, STREAMS_MAX);
    close(fd);
    expect_all_as_before();
}

/* --- which protocol --- */

static void first_bytes_tell_the_protocol(void **state)
{
    (void)state;
    enum { PREFACE = sizeof("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") - 1 };
    static const char upgrade[] =
        "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        "h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    static const char almost[] = "PRI * HTTP/1.1\r\nHost: h\r\n\r\n";
    h2_bytes_t out = {NULL, 0, 0};
    h2_frame_t *frame = test_bytes(sizeof(*frame));
    /* HTTP/2, the preface byte by byte. */
    int fd = attack_connect(stack->url);
    h2_add_preface(&out);
    h2_add_request(&out, 1, "GET", "/healthz", NULL);
    for (size_t i = 0; i < PREFACE; ++i) {
        EXPECT_NUMBER(attack_send(fd, out.bytes + i, 1, SLACK_MS), 1);
        usleep(1000);
    }
    EXPECT_NUMBER(attack_send(fd, out.bytes + PREFACE, out.n - PREFACE, SLACK_MS), out.n - PREFACE);
    do
        EXPECT(h2_read_frame(fd, frame, SLACK_MS), "closed");
    while (frame->type != H2_DATA);
    close(fd);
    /* HTTP/1: also if it begins alike, and if it asks for the other. */
    web_answer_t answer = web_raw(stack->url, almost, sizeof(almost) - 1, SLACK_MS);
    EXPECT_PROBLEM(answer, 404, "not_found");
    fd = web_connect(stack->url);
    for (int i = 0; i < 2; ++i) {
        EXPECT_NUMBER(write(fd, upgrade, sizeof(upgrade) - 1), sizeof(upgrade) - 1);
        answer = web_read(fd, SLACK_MS);
        EXPECT_STATUS(answer, 200);
    }
    close(fd);
}

static void half_a_preface_is_cut_off(void **state)
{
    (void)state;
    static const char *const halves[] = {"", "P", "PRI * HTTP/"};
    int fds[TEST_COUNT(halves)];
    for (size_t i = 0; i < TEST_COUNT(halves); ++i) {
        fds[i] = attack_connect(stack->url);
        EXPECT_NUMBER(attack_send(fds[i], halves[i], strlen(halves[i]), SLACK_MS),
                      strlen(halves[i]));
    }
    expect_all_closed(fds, TEST_COUNT(halves));
    close_all(fds, TEST_COUNT(halves));
    expect_all_as_before();
}

/* --- bodies --- */

/* `flags` of its last frame. */
static void add_body(h2_bytes_t *out, uint32_t stream, const char *body, size_t n, int flags)
{
    h2_bytes_t block = h2_header_block("POST", "/v1/orders");
    h2_add_frame(out, H2_HEADERS, H2_END_HEADERS, stream, block.bytes, block.n);
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < 16384 ? n - at : 16384;
        h2_add_frame(out, H2_DATA, at + some == n ? flags : 0, stream, body + at, some);
    }
}

/* A stream that is refused (REFUSED_STREAM) is one that the client sends again; 413 is the end of
   it. The limit itself is taken. */
static void a_long_body_is_413(void **state)
{
    (void)state;
    static const size_t lengths[] = {16384, 16385, 17000, 100000, 2000000, 16384 + 4 * 1024 * 1024};
    h2_frame_t *frame = test_bytes(sizeof(*frame));
    int fd = h2_connect(stack->url);
    for (uint32_t i = 0; i < TEST_COUNT(lengths); ++i) {
        h2_bytes_t out = {NULL, 0, 0};
        const char *code = lengths[i] > 16384 ? "\"body_too_large\"" : "\"malformed_json\"";
        add_body(&out, 2 * i + 1, test_repeat("x", lengths[i]), lengths[i], H2_END_STREAM);
        EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
        do
            EXPECT(h2_read_frame(fd, frame, SLACK_MS), "%zu bytes: closed", lengths[i]);
        while (frame->type != H2_DATA && frame->type != H2_RST_STREAM);
        EXPECT(frame->type == H2_DATA && (frame->flags & H2_END_STREAM) != 0 &&
                   memmem(frame->payload, frame->length, code, strlen(code)) != NULL,
               "%zu bytes: frame %d: %.*s", lengths[i], frame->type, (int)frame->length,
               frame->payload);
    }
    close(fd);
}

/* libh2o shows nobody a request of HTTP/2 before its body is whole: the client hears no 100
   Continue, which it may not wait for for ever (RFC 9110, 10.1.1), and its answer when it has sent
   the body. */
static void an_expectation_is_answered_with_the_body(void **state)
{
    (void)state;
    static const char expect[] = "\0\x06"
                                 "expect"
                                 "\x0c"
                                 "100-continue";
    h2_frame_t *frame = test_bytes(sizeof(*frame));
    h2_bytes_t block = h2_header_block("POST", "/v1/orders"), out = {NULL, 0, 0},
               data = {NULL, 0, 0};
    const char *body = order_body("expects");
    char *head = test_bytes(block.n + sizeof(expect));
    int fd = h2_connect(stack->url);
    memcpy(head, block.bytes, block.n);
    memcpy(head + block.n, expect, sizeof(expect) - 1);
    h2_add_frame(&out, H2_HEADERS, H2_END_HEADERS, 1, head, block.n + sizeof(expect) - 1);
    h2_add_frame(&out, H2_PING, 0, 0, "01234567", 8);
    EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
    do
        EXPECT(h2_read_frame(fd, frame, SLACK_MS), "closed");
    while (frame->type != H2_PING);
    h2_add_frame(&data, H2_DATA, H2_END_STREAM, 1, body, strlen(body));
    EXPECT_NUMBER(attack_send(fd, data.bytes, data.n, SLACK_MS), data.n);
    do
        EXPECT(h2_read_frame(fd, frame, SLACK_MS), "closed");
    while (frame->type != H2_DATA);
    EXPECT(memmem(frame->payload, frame->length, "confirmed", 9) != NULL, "%.*s",
           (int)frame->length, frame->payload);
    close(fd);
}

/* Bodies that are not whole, or whose answers are not taken, hold some megabytes, and their
   connection ends. */
static void long_bodies_on_all_streams(int flags)
{
    enum { BYTES = 1000000, CONNECTIONS = 8 };
    long long ended = attack_metric(stack, "http_connections_ended_total");
    const char *body = test_repeat("x", BYTES);
    h2_bytes_t out = {NULL, 0, 0};
    int fds[CONNECTIONS];
    h2_add_setting(&out, 4, 0); /* no window for answers */
    for (uint32_t i = 0; i < STREAMS_MAX; ++i)
        add_body(&out, 2 * i + 1, body, BYTES, flags);
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        fds[i] = h2_connect(stack->url);
        EXPECT(attack_send(fds[i], out.bytes, out.n, SLACK_MS) < out.n, "all was taken");
    }
    expect_memory_bounded();
    expect_all_closed(fds, CONNECTIONS);
    close_all(fds, CONNECTIONS);
    attack_buyer_stop(2);
    EXPECT(attack_metric(stack, "http_connections_ended_total") >= ended + CONNECTIONS,
           "they were not ended for their bodies");
    expect_all_as_before();
}

static void bodies_that_do_not_end_are_cut_off(void **state)
{
    (void)state;
    long_bodies_on_all_streams(0);
}

static void long_bodies_whose_answers_wait_are_cut_off(void **state)
{
    (void)state;
    long_bodies_on_all_streams(H2_END_STREAM);
}

/* libh2o's own limit; the connection goes on. */
static void a_body_far_over_the_limit_is_reset(void **state)
{
    (void)state;
    enum { BYTES = 5000000 };
    h2_bytes_t out = {NULL, 0, 0};
    h2_frame_t *frame = test_bytes(sizeof(*frame));
    int fd = h2_connect(stack->url);
    const char *body = test_repeat("x", BYTES);
    for (uint32_t i = 0; i < 4; ++i)
        add_body(&out, 2 * i + 1, body, BYTES, 0);
    h2_add_request(&out, 9, "GET", "/healthz", NULL);
    EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
    unsigned resets = 0;
    do {
        EXPECT(h2_read_frame(fd, frame, SLACK_MS), "closed after %u resets", resets);
        resets += frame->type == H2_RST_STREAM;
    } while (frame->type != H2_DATA);
    EXPECT(frame->stream == 9 && resets >= 4, "stream %u, %u resets", frame->stream, resets);
    close(fd);
    expect_all_as_before();
}

/* --- requests that are taken back --- */

static void rapid_resets(const char *method, const char *path, bool with_body)
{
    enum { REQUESTS = 20000, CONNECTIONS = 8 };
    long long ended = attack_metric(stack, "http_connections_ended_total");
    int fds[CONNECTIONS];
    h2_bytes_t out = {NULL, 0, 0};
    for (uint32_t i = 0; i < REQUESTS; ++i) {
        const char *body = with_body ? order_body(test_text("rapid-%u", i)) : NULL;
        h2_add_request(&out, 2 * i + 1, method, path, body);
        h2_add_reset(&out, 2 * i + 1);
    }
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        fds[i] = h2_connect(stack->url);
        attack_send(fds[i], out.bytes, out.n, SLACK_MS);
    }
    expect_all_closed(fds, CONNECTIONS);
    close_all(fds, CONNECTIONS);
    attack_buyer_stop(2);
    EXPECT(attack_metric(stack, "http_connections_ended_total") >= ended + CONNECTIONS,
           "they were not ended for their resets");
    WAIT_UNTIL(attack_metric(stack, "purchases_in_flight") == 0);
    expect_all_as_before();
}

/* The one that matters: each costs a place in the writer's queue, and is finished. */
static void purchases_that_are_taken_back_end_the_connection(void **state)
{
    (void)state;
    long long orders = sale_live_orders(stack, sku);
    rapid_resets("POST", "/v1/orders", true);
    long long more = sale_live_orders(stack, sku) - orders;
    print_message("    160000 purchases taken back: %lld orders, the buyer's among them\n", more);
    EXPECT(more < 8000, "%lld orders of connections that may take back %d each", more, RESETS_MAX);
    EXPECT_SOUND(stack, sku, 0);
}

static void reads_that_are_taken_back_end_the_connection(void **state)
{
    (void)state;
    rapid_resets("GET", test_text("/v1/items/%s", sku), false);
}

static void quick_answers_that_are_taken_back_end_the_connection(void **state)
{
    (void)state;
    rapid_resets("GET", "/healthz", false);
}

/* All that are open at once, again and again, and others are let end: a browser that navigates. */
static void a_client_may_reset_its_requests(void **state)
{
    (void)state;
    h2_frame_t *frame = test_bytes(sizeof(*frame));
    int fd = h2_connect(stack->url);
    uint32_t stream = 1;
    for (int round = 0; round < 4; ++round) {
        h2_bytes_t out = {NULL, 0, 0};
        unsigned ended = 0;
        for (unsigned i = 0; i < 50; ++i, stream += 2) {
            h2_add_request(&out, stream, "GET", test_text("/v1/items/%s", sku), NULL);
            h2_add_reset(&out, stream);
        }
        for (unsigned i = 0; i < 50; ++i, stream += 2)
            h2_add_request(&out, stream, "GET", "/healthz", NULL);
        EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
        while (ended < 50) {
            EXPECT(h2_read_frame(fd, frame, SLACK_MS), "closed in round %d", round);
            ended += frame->type == H2_DATA && (frame->flags & H2_END_STREAM) != 0;
        }
    }
    close(fd);
}

/* --- floods of small frames --- */

/* Each of these wants an answer, and none is read. */
static void flood(const void *frames, size_t n, unsigned times)
{
    enum { CONNECTIONS = 4 };
    int fds[CONNECTIONS];
    h2_bytes_t out = {NULL, 0, 0};
    for (unsigned i = 0; i < 1000; ++i) { /* a thousand at a time */
        out.bytes = out.bytes == NULL ? test_bytes(1000 * n) : out.bytes;
        memcpy(out.bytes + i * n, frames, n);
    }
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        fds[i] = h2_connect(stack->url);
        for (unsigned t = 0; t < times / 1000; ++t)
            if (attack_send(fds[i], out.bytes, 1000 * n, 1000) < 1000 * n)
                break;
    }
    expect_memory_bounded();
    attack_buyer_stop(2);
    close_all(fds, CONNECTIONS);
    expect_all_as_before();
}

static void a_flood_of_pings_is_bounded(void **state)
{
    (void)state;
    h2_bytes_t ping = {NULL, 0, 0};
    h2_add_frame(&ping, H2_PING, 0, 0, "01234567", 8);
    flood(ping.bytes, ping.n, 400000);
}

static void a_flood_of_settings_is_bounded(void **state)
{
    (void)state;
    h2_bytes_t settings = {NULL, 0, 0};
    h2_add_setting(&settings, 4, 65535);
    flood(settings.bytes, settings.n, 400000);
}

/* --- headers without end --- */

static void continuations_without_end_are_cut_off(void **state)
{
    (void)state;
    enum { CONNECTIONS = 4, FRAMES = 4000 };
    int fds[CONNECTIONS];
    h2_bytes_t block = h2_header_block("GET", "/healthz"), start_frame = {NULL, 0, 0},
               more = {NULL, 0, 0};
    const char *filler = test_repeat("x", 16000);
    h2_add_frame(&start_frame, H2_HEADERS, 0, 1, block.bytes, block.n);
    h2_add_frame(&more, H2_CONTINUATION, 0, 1, filler, 16000);
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        fds[i] = h2_connect(stack->url);
        attack_send(fds[i], start_frame.bytes, start_frame.n, SLACK_MS);
        unsigned sent = 0;
        while (sent < FRAMES && attack_send(fds[i], more.bytes, more.n, SLACK_MS) == more.n)
            ++sent;
        EXPECT(sent < FRAMES, "%u frames were taken", sent);
        EXPECT(attack_is_closed(fds[i], IDLE_MS + SLACK_MS), "still open");
        close(fds[i]);
    }
    attack_buyer_stop(1);
    expect_all_as_before();
}

/* Of nothing at all: there is no length to bound, so time has to. */
static void empty_continuations_are_cut_off(void **state)
{
    (void)state;
    h2_bytes_t block = h2_header_block("GET", "/healthz"), out = {NULL, 0, 0};
    int fd = h2_connect(stack->url);
    h2_add_frame(&out, H2_HEADERS, 0, 1, block.bytes, block.n);
    EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
    out.n = 0;
    for (int i = 0; i < 100; ++i)
        h2_add_frame(&out, H2_CONTINUATION, 0, 1, NULL, 0);
    long long end = test_clock_ms() + IDLE_MS + SLACK_MS;
    while (attack_send(fd, out.bytes, out.n, 1000) == out.n && test_clock_ms() < end)
        usleep(20000);
    EXPECT(attack_is_closed(fd, 0), "still open");
    close(fd);
    expect_all_as_before();
}

static void headers_never_ended_are_cut_off(void **state)
{
    (void)state;
    enum { CONNECTIONS = 200 };
    int fds[CONNECTIONS];
    h2_bytes_t block = h2_header_block("POST", "/v1/orders"), headers = {NULL, 0, 0},
               no_body = {NULL, 0, 0};
    h2_add_frame(&headers, H2_HEADERS, 0, 1, block.bytes, block.n);
    h2_add_frame(&no_body, H2_HEADERS, H2_END_HEADERS, 1, block.bytes, block.n);
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        const h2_bytes_t *half = i % 2 == 0 ? &headers : &no_body;
        fds[i] = h2_connect(stack->url);
        EXPECT_NUMBER(attack_send(fds[i], half->bytes, half->n, SLACK_MS), half->n);
    }
    expect_all_closed(fds, CONNECTIONS);
    close_all(fds, CONNECTIONS);
    attack_buyer_stop(5);
    expect_all_as_before();
}

/* --- streams --- */

/* The client gives no window: each answer waits, and holds what it holds. */
static void streams_without_a_window_are_cut_off(void **state)
{
    (void)state;
    enum { CONNECTIONS = 40 };
    int fds[CONNECTIONS];
    h2_bytes_t out = {NULL, 0, 0};
    h2_add_setting(&out, 4, 0);
    for (uint32_t i = 0; i < STREAMS_MAX; ++i)
        h2_add_request(&out, 2 * i + 1, "GET", i % 2 ? "/healthz" : test_text("/v1/items/%s", sku),
                       NULL);
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < CONNECTIONS; ++i) {
        fds[i] = h2_connect(stack->url);
        EXPECT_NUMBER(attack_send(fds[i], out.bytes, out.n, SLACK_MS), out.n);
    }
    expect_all_closed(fds, CONNECTIONS);
    close_all(fds, CONNECTIONS);
    attack_buyer_stop(5);
    expect_all_as_before();
}

/* Bodies that do not come keep their streams open; those above the bound are refused one by one. */
static void streams_above_the_limit_are_refused(void **state)
{
    (void)state;
    enum { OVER = 400 };
    h2_bytes_t block = h2_header_block("POST", "/v1/orders"), out = {NULL, 0, 0};
    int fd = h2_connect(stack->url);
    for (uint32_t i = 0; i < STREAMS_MAX + OVER; ++i)
        h2_add_frame(&out, H2_HEADERS, H2_END_HEADERS, 2 * i + 1, block.bytes, block.n);
    EXPECT_NUMBER(attack_send(fd, out.bytes, out.n, SLACK_MS), out.n);
    unsigned refused = count_frames(fd, H2_RST_STREAM);
    EXPECT(refused >= OVER, "%u of %d were refused", refused, OVER);
    close(fd);
    expect_all_as_before();
}

static void it_ends_cleanly_under_attack(void **state)
{
    (void)state;
    enum { EACH = 20 };
    int fds[2 * EACH];
    h2_bytes_t out = {NULL, 0, 0}, half = {NULL, 0, 0}, block = h2_header_block("GET", "/healthz");
    h2_add_setting(&out, 4, 0);
    for (uint32_t i = 0; i < STREAMS_MAX; ++i)
        h2_add_request(&out, 2 * i + 1, "GET", "/healthz", NULL);
    h2_add_frame(&half, H2_HEADERS, 0, 1, block.bytes, block.n);
    for (size_t i = 0; i < TEST_COUNT(fds); ++i) {
        const h2_bytes_t *what = i % 2 == 0 ? &out : &half;
        fds[i] = h2_connect(stack->url);
        attack_send(fds[i], what->bytes, what->n, 1000);
    }
    expect_a_clean_end(fds, TEST_COUNT(fds));
}

static const suite_t suite = {.name = "hostile_h2",
                              .settings = {HOSTILE_SETTINGS, "http.http2=true"},
                              .prepare = put_on_sale,
                              .teardown = attack_teardown};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_answered),
        TEST(first_bytes_tell_the_protocol),
        TEST(half_a_preface_is_cut_off),
        TEST(a_long_body_is_413),
        TEST(an_expectation_is_answered_with_the_body),
        TEST(bodies_that_do_not_end_are_cut_off),
        TEST(long_bodies_whose_answers_wait_are_cut_off),
        TEST(a_body_far_over_the_limit_is_reset),
        TEST(purchases_that_are_taken_back_end_the_connection),
        TEST(reads_that_are_taken_back_end_the_connection),
        TEST(quick_answers_that_are_taken_back_end_the_connection),
        TEST(a_client_may_reset_its_requests),
        TEST(a_flood_of_pings_is_bounded),
        TEST(a_flood_of_settings_is_bounded),
        TEST(continuations_without_end_are_cut_off),
        TEST(empty_continuations_are_cut_off),
        TEST(headers_never_ended_are_cut_off),
        TEST(streams_without_a_window_are_cut_off),
        TEST(streams_above_the_limit_are_refused),
        TEST(it_ends_cleanly_under_attack),
    };
    keep_little_freed_memory();
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
