/* What a buyer of loadtest/drop does after each answer (loadtest/visitors/buyers.h), without a
 * network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "visitors/buyers.h"

#define SECOND 1000000u
#define OPENS (2 * SECOND)
#define ENDS (12 * SECOND)
#define ID "01900000-0000-7000-8000-000000000001"

static buyers_t buyers;
static record_t record;
static char told[256];
static FILE *orders;

/* One buyer, whose purchase is due when the sale opens. */
static void begin(habits_t habits)
{
    memset(&record, 0, sizeof(record));
    memset(told, 0, sizeof(told));
    orders = fmemopen(told, sizeof(told) - 1, "w");
    habits.sku = "s";
    habits.count = 1;
    habits.opens_us = OPENS;
    habits.ends_us = ENDS;
    habits.look_us = SECOND;
    habits.think_us = habits.retry_us = SECOND / 10;
    habits.gap_us = SECOND / 20;
    habits.poll_us = SECOND / 5;
    habits.orders = orders;
    buyers_begin(&buyers, habits, &record, 1);
}

static void end(void)
{
    fclose(orders);
    free(buyers.buyers);
    free(buyers.due.items);
    for (unsigned i = 0; i < record.kinds_count; ++i)
        free(record.kinds[i]);
}

/* The next request of this kind, which is then asked. False: none is planned. */
static bool next(ask_t kind, request_t *request)
{
    while (buyers.due.count > 0) {
        attempt_t what = heap_pop(&buyers.due);
        *request = (request_t){0};
        if (what.kind == kind)
            return buyers_ask(&buyers, what, request);
        if (what.kind == LOOK && kind != LOOK)
            continue;
        assert_int_equal(what.kind, kind);
    }
    return false;
}

static void answer(request_t *request, int status, const char *body, uint64_t now_us)
{
    request->status = status;
    request->body_length = (size_t)snprintf(request->body, sizeof(request->body), "%s", body);
    buyers_answered(&buyers, request, true, now_us);
}

static void said(const char *expected)
{
    fflush(orders);
    assert_string_equal(told, expected);
}

static unsigned planned(ask_t kind)
{
    unsigned count = 0;
    for (unsigned i = 0; i < buyers.due.count; ++i)
        count += buyers.due.items[i].kind == kind;
    return count;
}

static void test_he_looks_each_second_until_he_has_bought(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5, .conditional = 1});
    attempt_t first = heap_pop(&buyers.due);
    request_t request = {0};
    assert_true(buyers_ask(&buyers, first, &request));
    assert_string_equal(request.path, "/v1/items/s");
    assert_string_equal(request.if_none_match, "");
    strcpy(request.etag, "\"e1\"");
    answer(&request, 200, "{\"available\":5}", 1);
    uint64_t second = heap_due(&buyers.due);
    assert_in_range(second - first.due_us, SECOND * 9 / 10, SECOND * 11 / 10);
    request = (request_t){0};
    assert_true(buyers_ask(&buyers, heap_pop(&buyers.due), &request));
    assert_string_equal(request.if_none_match, "\"e1\"");
    assert_true(next(BUY, &request));
    assert_int_equal(request.due_us, OPENS);
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS + 10);
    assert_false(
        buyers_ask(&buyers, (attempt_t){.due_us = OPENS + SECOND, .kind = LOOK}, &request));
    end();
}

static void test_an_order_is_confirmed(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5, .retries_max = 1});
    request_t request;
    assert_true(next(BUY, &request));
    assert_string_equal(request.content,
                        "{\"sku\":\"s\",\"buyer_id\":\"d00000000\",\"quantity\":1}");
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_true(next(CONFIRM, &request));
    assert_string_equal(request.path, "/v1/orders/" ID "/confirm");
    answer(&request, 503, "{\"code\":\"unavailable\"}", OPENS);
    assert_true(next(CONFIRM, &request));
    answer(&request, 200, "{}", OPENS);
    said("201 " ID " d00000000\nconfirmed " ID " d00000000\n");
    assert_int_equal(buyers.confirmed, 1);
    end();
}

static void test_an_order_that_is_let_go_or_too_late(void **state)
{
    (void)state;
    request_t request;
    begin((habits_t){.stock = 5, .abandon = 1});
    assert_true(next(BUY, &request));
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_int_equal(planned(CONFIRM), 0);
    assert_int_equal(buyers.abandoned, 1);
    end();
    begin((habits_t){.stock = 5});
    assert_true(next(BUY, &request));
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_true(next(CONFIRM, &request));
    answer(&request, 409, "{\"code\":\"wrong_state\"}", OPENS);
    said("201 " ID " d00000000\nlapsed " ID " d00000000\n");
    end();
}

static void test_an_order_that_is_not_committed_is_waited_for(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5, .wait_ms = 700});
    request_t request;
    assert_true(next(BUY, &request));
    answer(&request, 202, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_true(next(WAIT, &request));
    assert_string_equal(request.path, "/v1/orders/" ID "?wait_ms=700");
    answer(&request, 200, "{\"state\":\"reserved\"}", OPENS + SECOND);
    assert_false(buyers.buyers[0].heard);
    assert_true(next(WAIT, &request));
    assert_int_equal(request.due_us, OPENS + SECOND);
    answer(&request, 200, "{\"state\":\"held\"}", OPENS + SECOND);
    assert_true(buyers.buyers[0].heard);
    assert_int_equal(planned(CONFIRM), 1);
    said("202 " ID " d00000000\nheld " ID " d00000000\n");
    end();
}

static void test_without_waits_an_order_is_read_again_after_a_while(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5});
    request_t request;
    assert_true(next(BUY, &request));
    answer(&request, 202, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_true(next(WAIT, &request));
    assert_string_equal(request.path, "/v1/orders/" ID);
    answer(&request, 200, "{\"state\":\"reserved\"}", OPENS);
    assert_true(next(WAIT, &request));
    assert_int_equal(request.due_us, OPENS + SECOND / 5);
    answer(&request, 200, "{\"state\":\"rejected\"}", OPENS + SECOND);
    assert_true(buyers_done(&buyers, ENDS));
    end();
}

static void test_a_retry_has_the_key_of_the_first_and_respects_the_server(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5, .retries_max = 2});
    request_t request;
    char key[WORD_BYTES_MAX];
    assert_true(next(BUY, &request));
    strcpy(key, request.key);
    assert_int_not_equal(key[0], '\0');
    request.retry_after_s = 2;
    answer(&request, 503, "{\"code\":\"unavailable\"}", OPENS);
    assert_true(next(BUY, &request));
    assert_string_equal(request.key, key);
    assert_true(request.due_us >= OPENS + SECOND * 3 / 2);
    buyers_answered(&buyers, &request, false, OPENS + SECOND);
    assert_true(next(BUY, &request));
    assert_string_equal(request.key, key);
    buyers_answered(&buyers, &request, false, OPENS + SECOND);
    assert_int_equal(planned(BUY), 0);
    assert_int_equal(record.gave_up, 1);
    end();
}

static void test_units_that_come_back_are_bought_with_a_new_key_and_confirmed(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5, .abandon = 1});
    request_t request;
    char key[WORD_BYTES_MAX];
    assert_true(next(BUY, &request));
    strcpy(key, request.key);
    request_t look = {.kind = LOOK};
    answer(&look, 200, "{\"available\":1}",
           OPENS); /* he has not heard yet: he does not buy twice */
    assert_int_equal(planned(BUY), 0);
    answer(&request, 409, "{\"code\":\"sold_out\"}", OPENS);
    answer(&look, 200, "{\"available\":0}", OPENS);
    assert_int_equal(planned(BUY), 0);
    answer(&look, 200, "{\"available\":1}", OPENS);
    answer(&look, 200, "{\"available\":1}", OPENS);
    assert_int_equal(planned(BUY), 1);
    assert_true(next(BUY, &request));
    assert_string_not_equal(request.key, key);
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_int_equal(planned(CONFIRM), 1);
    end();
}

static void test_who_comes_too_early_buys_again(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5});
    request_t request;
    assert_true(next(BUY, &request));
    answer(&request, 409, "{\"code\":\"sale_not_started\"}", OPENS);
    assert_false(buyers.buyers[0].heard);
    assert_true(next(BUY, &request));
    assert_true(request.due_us > OPENS);
    end();
}

static void test_bots_do_not_wait_for_answers(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5, .bots = 1, .keyed = 1, .repeats = 3});
    request_t request;
    char key[WORD_BYTES_MAX] = "";
    for (unsigned i = 0; i < 4; ++i) {
        assert_true(next(BUY, &request));
        assert_int_equal(request.due_us, OPENS + i * SECOND / 20);
        if (i > 0)
            assert_string_equal(request.key, key);
        strcpy(key, request.key);
    }
    assert_int_equal(planned(BUY), 0);
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS);
    answer(&request, 201, "{\"order_id\":\"" ID "\"}", OPENS);
    assert_int_equal(buyers.ordered, 1);
    assert_int_equal(planned(CONFIRM), 1);
    end();
}

static void test_looks_that_cannot_be_are_counted(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5});
    request_t look = {.kind = LOOK};
    static const struct {
        const char *body;
        unsigned wrong;
    } cases[] = {
        {"{\"available\":5}", 0}, {"{\"available\":6}", 1}, {"{\"available\":-1}", 1}, {"{}", 1}};
    for (unsigned i = 0, wrong = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        answer(&look, 200, cases[i].body, 1);
        assert_int_equal(buyers.looks_wrong, wrong += cases[i].wrong);
    }
    answer(&look, 304, "", 1);
    assert_int_equal(buyers.looks_wrong, 3);
    end();
}

static void test_after_the_end_nobody_looks_or_buys(void **state)
{
    (void)state;
    begin((habits_t){.stock = 5});
    request_t request = {0};
    assert_false(buyers_ask(&buyers, (attempt_t){.due_us = ENDS, .kind = LOOK}, &request));
    assert_false(buyers_ask(&buyers, (attempt_t){.due_us = ENDS, .kind = BUY}, &request));
    assert_false(buyers_done(&buyers, ENDS - 1));
    assert_true(buyers_done(&buyers, ENDS));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_he_looks_each_second_until_he_has_bought),
        cmocka_unit_test(test_an_order_is_confirmed),
        cmocka_unit_test(test_an_order_that_is_let_go_or_too_late),
        cmocka_unit_test(test_an_order_that_is_not_committed_is_waited_for),
        cmocka_unit_test(test_without_waits_an_order_is_read_again_after_a_while),
        cmocka_unit_test(test_a_retry_has_the_key_of_the_first_and_respects_the_server),
        cmocka_unit_test(test_units_that_come_back_are_bought_with_a_new_key_and_confirmed),
        cmocka_unit_test(test_who_comes_too_early_buys_again),
        cmocka_unit_test(test_bots_do_not_wait_for_answers),
        cmocka_unit_test(test_looks_that_cannot_be_are_counted),
        cmocka_unit_test(test_after_the_end_nobody_looks_or_buys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
