/*
 * Rate limits of purchases: off unless asked for; then who asks too often hears 429 and leaves
 * nothing behind, others notice nothing, and a second later he may ask again.
 *
 * No case relies on being fast: what a limit of one a second may have let through is its burst and
 * one for each second that passed.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include "harness/attack.h"
#include "harness/suite.h"

/* Of one that asks again and again until it is refused: more than seconds that this can take. */
#define TRIES 300

/* The service starts again, with these limits and a second's worth of tokens a second. */
static void limit(unsigned buyer_burst, unsigned address_burst)
{
    const char *const settings[] = {
        buyer_burst == 0 ? "limits.buyer_per_second=" : "limits.buyer_per_second=1",
        buyer_burst == 0 ? "limits.buyer_burst=" : test_text("limits.buyer_burst=%u", buyer_burst),
        address_burst == 0 ? "limits.address_per_second=" : "limits.address_per_second=1",
        address_burst == 0 ? "limits.address_burst="
                           : test_text("limits.address_burst=%u", address_burst),
    };
    stack_again(stack, settings, TEST_COUNT(settings));
}

static unsigned whole_seconds_since(long long begun_ms)
{
    return (unsigned)((test_clock_ms() - begun_ms) / 1000) + 1;
}

/* --- a crowd in which one is greedy --- */

typedef struct {
    const char *sku;
    unsigned others_every; /* each so many requests one of somebody else; 0: none */
    bool new_connections;
    unsigned taken, refused, others;
} crowd_of_one_t;

static bool is_other(const crowd_of_one_t *crowd, unsigned i)
{
    return crowd->others_every != 0 && i % crowd->others_every == 0;
}

static web_request_t ask(void *context, unsigned i)
{
    const crowd_of_one_t *crowd = context;
    const char *buyer = is_other(crowd, i) ? test_text("other-%u", i) : "greedy";
    web_request_t request = sale_request(stack, crowd->sku, buyer, 1, NULL);
    request.sent_once = crowd->new_connections;
    return request;
}

static bool count(void *context, unsigned i, const web_answer_t *answer)
{
    crowd_of_one_t *crowd = context;
    if (is_other(crowd, i)) {
        EXPECT_STATUS(*answer, 201);
        ++crowd->others;
    } else if (answer->status == 201) {
        ++crowd->taken;
    } else {
        EXPECT_PROBLEM(*answer, 429, "rate_limited");
        EXPECT(strcmp(answer->retry_after, "1") == 0, "Retry-After: %s", answer->retry_after);
        ++crowd->refused;
    }
    return true;
}

static void run(crowd_of_one_t *crowd, unsigned requests)
{
    web_crowd(&(web_crowd_t){
        .connections = 8, .count = requests, .request = ask, .answered = count, .context = crowd});
}

/* --- cases --- */

static void nobody_is_limited_by_default(void **state)
{
    (void)state;
    crowd_of_one_t crowd = {.sku = sale_item(stack, "free", "\"total\":1000")};
    run(&crowd, 400);
    EXPECT_NUMBER(crowd.taken, 400);
    EXPECT_NUMBER(attack_metric(stack, "rate_limited_by_buyer_total"), 0);
    EXPECT_NUMBER(attack_metric(stack, "rate_limited_by_address_total"), 0);
}

static void a_buyer_over_his_burst_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    limit(5, 0);
    crowd_of_one_t crowd = {.sku = sale_item(stack, "greedy", "\"total\":1000"), .others_every = 4};
    long long begun_ms = test_clock_ms();
    run(&crowd, 400);
    unsigned may = 5 + whole_seconds_since(begun_ms);
    print_message("    taken %u of at most %u, refused %u\n", crowd.taken, may, crowd.refused);
    EXPECT(crowd.taken >= 5 && crowd.taken <= may, "%u were taken", crowd.taken);
    EXPECT(crowd.refused > 0, "nobody was refused");
    EXPECT_NUMBER(crowd.others, 100);
    EXPECT_NUMBER(attack_metric(stack, "rate_limited_by_buyer_total"), crowd.refused);
    EXPECT_NUMBER(attack_metric(stack, "rate_limited_by_address_total"), 0);
    long long rows = rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s'", crowd.sku);
    EXPECT_NUMBER(rows, crowd.taken + crowd.others);
    EXPECT_NUMBER(sale_live_orders(stack, crowd.sku), rows);
    WAIT_UNTIL(sale_available(stack, crowd.sku) == 1000 - rows);
    EXPECT_SOUND(stack, crowd.sku, 0);
    EXPECT_GATE_AGREES(stack, crowd.sku);
    WAIT_UNTIL(sale_buy(stack, crowd.sku, "greedy", 1, NULL).status == 201);
}

static void the_loops_share_one_limit(void **state)
{
    (void)state;
    limit(30, 0);
    crowd_of_one_t crowd = {.sku = sale_item(stack, "loops", "\"total\":1000"),
                            .new_connections = true};
    long long begun_ms = test_clock_ms();
    run(&crowd, 400);
    unsigned may = 30 + whole_seconds_since(begun_ms);
    print_message("    taken %u of at most %u, refused %u\n", crowd.taken, may, crowd.refused);
    EXPECT(crowd.taken >= 30 && crowd.taken <= may, "%u were taken", crowd.taken);
}

/* Until it is refused; returns how many were not. */
static unsigned repeat_until_refused(const char *sku, const char *key, const char *id)
{
    for (unsigned i = 0; i < TRIES; ++i) {
        web_answer_t again = sale_buy(stack, sku, "alice", 1, key);
        if (again.status == 429)
            return i;
        EXPECT_STATUS(again, 201);
        EXPECT(strcmp(sale_id(&again), id) == 0, "another order: %s", web_show(&again));
    }
    FAIL("never refused");
}

static void a_repeat_counts_and_its_order_stays(void **state)
{
    (void)state;
    limit(3, 0);
    const char *sku = sale_item(stack, "repeat", "\"total\":10");
    web_answer_t first = sale_buy(stack, sku, "alice", 1, "k");
    EXPECT_STATUS(first, 201);
    const char *id = sale_id(&first);
    EXPECT(repeat_until_refused(sku, "k", id) >= 2, "refused within the burst");
    web_answer_t order = sale_get(stack, id);
    EXPECT_STATUS(order, 200);
    EXPECT(strcmp(sale_state(&order), "confirmed") == 0, "%s", web_show(&order));
    WAIT_UNTIL(sale_buy(stack, sku, "alice", 1, "k").status == 201);
    EXPECT_NUMBER(sale_live_orders(stack, sku), 1);
}

static void a_mistake_costs_a_buyer_nothing(void **state)
{
    (void)state;
    limit(3, 0);
    const char *sku = sale_item(stack, "mistake", "\"total\":10");
    for (unsigned i = 0; i < 10; ++i) {
        web_answer_t wrong = sale_buy(stack, sku, "bob", 0, NULL);
        EXPECT_PROBLEM(wrong, 400, "invalid_request");
    }
    for (unsigned i = 0; i < 3; ++i) {
        web_answer_t right = sale_buy(stack, sku, "bob", 1, NULL);
        EXPECT_STATUS(right, 201);
    }
}

/* A purchase from another address of the loopback. */
static web_answer_t buy_from(const char *address, const char *sku)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    unsigned port = 0;
    EXPECT(sscanf(stack->url, "http://127.0.0.1:%u", &port) == 1, "%s", stack->url);
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    inet_pton(AF_INET, address, &from.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT(bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0, "no address %s here", address);
    EXPECT(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "no connection");
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"a\",\"quantity\":1}", sku);
    const char *all = test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n"
                                "\r\n%s",
                                strlen(body), body);
    EXPECT_NUMBER(attack_send(fd, all, strlen(all), 5000), strlen(all));
    web_answer_t answer = web_read(fd, 30000);
    close(fd);
    return answer;
}

static void an_address_is_refused_before_its_body_is_parsed(void **state)
{
    (void)state;
    limit(0, 4);
    const char *sku = sale_item(stack, "address", "\"total\":10");
    unsigned looked_at = 0, refused = 0;
    for (unsigned i = 0; i < TRIES && refused < 3; ++i) {
        web_answer_t answer = WEB(.base = stack->url, .path = "/v1/orders", .body = "{nonsense");
        if (answer.status == 429) {
            EXPECT_PROBLEM(answer, 429, "rate_limited");
            ++refused;
        } else {
            EXPECT_PROBLEM(answer, 400, "malformed_json");
            ++looked_at;
        }
    }
    EXPECT(looked_at >= 4 && refused == 3, "%u looked at, %u refused", looked_at, refused);
    EXPECT_NUMBER(attack_metric(stack, "rate_limited_by_address_total"), refused);
    EXPECT_NUMBER(attack_metric(stack, "rate_limited_by_buyer_total"), 0);
    web_answer_t other = buy_from("127.0.0.2", sku);
    EXPECT_STATUS(other, 201);
    WAIT_UNTIL(sale_available(stack, sku) == 9); /* only purchases are limited */
    WAIT_UNTIL(sale_buy(stack, sku, "b", 1, NULL).status == 201);
}

/* Several loops, so that it would show if each had a limit of its own. */
static const suite_t suite = {.name = "limits", .settings = {"http.threads=4"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_limited_by_default),
        TEST(a_buyer_over_his_burst_is_refused_and_leaves_nothing),
        TEST(the_loops_share_one_limit),
        TEST(a_repeat_counts_and_its_order_stays),
        TEST(a_mistake_costs_a_buyer_nothing),
        TEST(an_address_is_refused_before_its_body_is_parsed),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
