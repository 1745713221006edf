/* Orders that are set aside: what is due when, and what an item takes with it. Time is a value. */
#include "harness/test.h"
#include "work/writer_aside.h"

#define ORDERS 8
#define MAX 8

typedef struct {
    writer_aside_t aside;
    writer_order_t orders[ORDERS];
    writer_order_t *taken[MAX];
    writer_aside_item_t *item;
} scene_t;

static scene_t *scene_new(void)
{
    scene_t *scene = test_bytes(sizeof(*scene));
    for (unsigned i = 0; i < ORDERS; ++i)
        order_set_sku(&scene->orders[i].order, str_of(i % 2 == 0 ? "x" : "y"));
    return scene;
}

static void put(scene_t *scene, unsigned i, bool with_item, uint64_t now_ms)
{
    writer_order_t *order = &scene->orders[i];
    order->aside.why = strdup("1205 lock wait");
    order->aside.with_item = with_item;
    writer_aside_put(&scene->aside, order, now_ms);
}

static unsigned take(scene_t *scene, uint64_t now_ms)
{
    return writer_aside_take(&scene->aside, now_ms, scene->taken, MAX, &scene->item);
}

static void an_item_takes_its_new_orders_with_it(void **state)
{
    (void)state;
    scene_t *s = scene_new();
    assert_false(writer_aside_has_item(&s->aside, STR("x")));
    put(s, 0, true, 1000);
    assert_true(writer_aside_has_item(&s->aside, STR("x")));
    assert_false(writer_aside_has_item(&s->aside, STR("y")));
    writer_aside_join(&s->aside, &s->orders[2]);
    assert_int_equal(take(s, 1000), 2);
    assert_non_null(s->item);
    assert_ptr_equal(s->taken[0], &s->orders[0]);
    assert_ptr_equal(s->taken[1], &s->orders[2]);
    /* While they are tried the item is still set aside, and not taken a second time. */
    assert_true(writer_aside_has_item(&s->aside, STR("x")));
    writer_aside_join(&s->aside, &s->orders[4]);
    assert_int_equal(writer_aside_due_ms(&s->aside), UINT64_MAX);
    writer_aside_tried(&s->aside, s->item, 1001);
    assert_int_equal(writer_aside_due_ms(&s->aside), 1001); /* nothing failed: the rest at once */
    assert_int_equal(take(s, 1001), 1);
    writer_aside_tried(&s->aside, s->item, 1002);
    assert_false(writer_aside_has_item(&s->aside, STR("x")));
    writer_aside_dispose(&s->aside);
}

static void what_fails_again_waits_longer(void **state)
{
    (void)state;
    scene_t *s = scene_new();
    uint64_t now_ms = 1000;
    put(s, 0, true, now_ms);
    for (unsigned i = 0; i < 20; ++i) {
        assert_int_equal(take(s, now_ms), 1);
        put(s, 0, true, now_ms);
        writer_aside_tried(&s->aside, s->item, now_ms);
        uint64_t due_ms = writer_aside_due_ms(&s->aside);
        assert_in_range(due_ms, now_ms + 1, now_ms + 1000);
        assert_int_equal(take(s, due_ms - 1), 0);
        now_ms = due_ms;
    }
    assert_int_equal(take(s, now_ms), 1);
    writer_aside_tried(&s->aside, s->item, now_ms);
    writer_aside_dispose(&s->aside);
}

static void an_item_that_was_only_seen_to_be_locked_goes_first(void **state)
{
    (void)state;
    scene_t *s = scene_new();
    s->orders[0].aside.waited = true;
    put(s, 0, true, 1000);
    put(s, 1, true, 1500);
    assert_int_equal(take(s, 2000), 1);
    assert_ptr_equal(s->taken[0], &s->orders[1]);
    s->orders[1].aside.waited = true; /* and then it waited as well */
    put(s, 1, true, 3000);
    writer_aside_tried(&s->aside, s->item, 3000);
    for (unsigned i = 0; i < 2; ++i) {
        assert_int_equal(take(s, 9000), 1);
        assert_ptr_equal(s->taken[0], &s->orders[i]);
        writer_aside_tried(&s->aside, s->item, 9000);
    }
    writer_aside_dispose(&s->aside);
}

static void an_order_alone_leaves_its_item(void **state)
{
    (void)state;
    scene_t *s = scene_new();
    put(s, 0, false, 1000);
    put(s, 1, false, 1000);
    assert_false(writer_aside_has_item(&s->aside, STR("x")));
    assert_int_equal(take(s, 1000), 0); /* it has just been tried */
    assert_in_range(writer_aside_due_ms(&s->aside), 1001, 1000 + 4096);
    assert_int_equal(take(s, 1000 + 4096), 2);
    assert_null(s->item);
    assert_null(s->orders[0].aside.why);
    assert_int_equal(writer_aside_due_ms(&s->aside), UINT64_MAX);
    writer_aside_dispose(&s->aside);
}

static void count_view(void *context, const writer_aside_view_t *view)
{
    unsigned *counts = context;
    ++counts[view->order_id == NULL];
    assert_string_equal(view->why, "1205 lock wait");
    assert_int_equal(view->age_ms, 500);
}

static void a_report_names_items_and_orders(void **state)
{
    (void)state;
    unsigned counts[2] = {0, 0};
    scene_t *s = scene_new();
    put(s, 0, true, 1000);
    put(s, 2, true, 1000);
    put(s, 1, false, 1000);
    writer_aside_each(&s->aside, 1500, count_view, counts);
    assert_int_equal(counts[true], 1);
    assert_int_equal(counts[false], 1);
    assert_int_equal(s->aside.orders_count, 3);
    assert_int_equal(take(s, 9000), 1); /* the one that is alone */
    assert_int_equal(take(s, 9000), 2);
    writer_aside_tried(&s->aside, s->item, 9000);
    writer_aside_dispose(&s->aside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_item_takes_its_new_orders_with_it, test_teardown),
        cmocka_unit_test_teardown(what_fails_again_waits_longer, test_teardown),
        cmocka_unit_test_teardown(an_item_that_was_only_seen_to_be_locked_goes_first,
                                  test_teardown),
        cmocka_unit_test_teardown(an_order_alone_leaves_its_item, test_teardown),
        cmocka_unit_test_teardown(a_report_names_items_and_orders, test_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
