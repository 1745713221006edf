#include "admin/item_count.h"

#include "base/clock.h"

/* For how many times the time that a count took it is kept. */
#define KEPT_TIMES 20

void item_count_init(item_count_t *count)
{
    *count = (item_count_t){.counting = ATOMIC_FLAG_INIT};
    pthread_mutex_init(&count->lock, NULL);
}

void item_count_dispose(item_count_t *count)
{
    pthread_mutex_destroy(&count->lock);
}

static bool is_old(item_count_t *count, uint64_t now_ms)
{
    pthread_mutex_lock(&count->lock);
    uint64_t kept_ms = KEPT_TIMES * count->took_ms;
    kept_ms = kept_ms < ITEM_COUNT_AGE_MS ? ITEM_COUNT_AGE_MS : kept_ms;
    bool old = count->counted_ms == 0 || now_ms - count->counted_ms >= kept_ms;
    pthread_mutex_unlock(&count->lock);
    return old;
}

static void keep(item_count_t *count, uint64_t items, uint64_t begun_ms)
{
    pthread_mutex_lock(&count->lock);
    count->items = items;
    count->counted_ms = begun_ms;
    count->took_ms = clock_mono_ms() - begun_ms;
    pthread_mutex_unlock(&count->lock);
}

void item_count_refresh(item_count_t *count, db_t *db, sql_t *sql)
{
    uint64_t now_ms = clock_mono_ms(), items;
    if (!is_old(count, now_ms) || atomic_flag_test_and_set(&count->counting))
        return;
    if (items_count(db, sql, &items) == RESULT_DONE)
        keep(count, items, now_ms);
    atomic_flag_clear(&count->counting);
}

bool item_count_read(item_count_t *count, uint64_t *items, uint64_t *age_ms)
{
    pthread_mutex_lock(&count->lock);
    bool known = count->counted_ms != 0;
    *items = count->items;
    *age_ms = known ? clock_mono_ms() - count->counted_ms : 0;
    pthread_mutex_unlock(&count->lock);
    return known;
}
