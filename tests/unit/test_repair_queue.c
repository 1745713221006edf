/* The queue of gates that the reconciler is to rebuild or to close. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "work/repair_queue.h"

#define AN_HOUR_MS 3600000

/* Takes all; expects one, for this sku. The caller frees it. */
static repair_t *take_one(repair_queue_t *queue, const char *sku)
{
    repair_t *all = repair_queue_take(queue);
    assert_int_equal(HASH_COUNT(all), 1);
    assert_true(str_eq(sku_str(&all->sku), str_of(sku)));
    repair_t *repair = all;
    HASH_DEL(all, repair);
    return repair;
}

static void an_item_is_in_it_once(void **state)
{
    (void)state;
    repair_queue_t queue;
    repair_queue_init(&queue);
    repair_queue_rebuild(&queue, STR("a"), 7);
    repair_queue_rebuild(&queue, STR("a"), 5);
    repair_queue_close(&queue, STR("a"), 8);
    repair_t *repair = take_one(&queue, "a");
    assert_int_equal(repair->epoch, 7); /* the highest */
    assert_int_equal(repair->sql_epoch, 8);
    free(repair);
    assert_null(repair_queue_take(&queue));
    repair_queue_dispose(&queue);
}

static void what_is_put_back_is_added_to_what_was_asked_for_meanwhile(void **state)
{
    (void)state;
    repair_queue_t queue;
    repair_queue_init(&queue);
    repair_queue_rebuild(&queue, STR("a"), 7);
    repair_t *first = take_one(&queue, "a");
    repair_queue_rebuild(&queue, STR("a"), 9);
    repair_queue_put_back(&queue, first);
    free(first);
    repair_t *both = take_one(&queue, "a");
    assert_int_equal(both->epoch, 9);
    free(both);
    repair_queue_dispose(&queue);
}

/* An hour: only a wake can end the wait. */
static void only_a_new_rebuild_wakes(void **state)
{
    (void)state;
    repair_queue_t queue;
    repair_queue_init(&queue);
    repair_queue_close(&queue, STR("a"), 1);
    assert_false(queue.pacer.woken);
    repair_queue_rebuild(&queue, STR("b"), 1);
    assert_true(repair_queue_wait(&queue, AN_HOUR_MS));
    repair_queue_rebuild(&queue, STR("b"), 2); /* it waits for its next try */
    assert_false(queue.pacer.woken);
    repair_queue_stop(&queue);
    assert_true(repair_queue_is_stopping(&queue));
    assert_false(repair_queue_wait(&queue, AN_HOUR_MS));
    repair_queue_dispose(&queue); /* with what is left in it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_is_in_it_once),
        cmocka_unit_test(what_is_put_back_is_added_to_what_was_asked_for_meanwhile),
        cmocka_unit_test(only_a_new_rebuild_wakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
