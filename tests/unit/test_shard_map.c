/* Slots and shards: where the data is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "sale/shard_map.h"

/*
 * Rows lie where these numbers say: a change here is a lost database, not a test to mend. The
 * first two follow from the published XXH3-64 test vectors.
 */
static void test_slots_are_fixed_for_ever(void **state)
{
    (void)state;
    static const struct {
        const char *sku;
        unsigned slot;
    } golden[] = {
        {"", 194},
        {"a", 543},
        {"sku-1", 951},
        {"SKU-1", 544},
        {"concert-2026", 754},
        {"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", 770},
        {"\xc3\xa9t\xc3\xa9", 597},
    };
    assert_int_equal(SLOT_COUNT, 1024);
    for (size_t i = 0; i < sizeof(golden) / sizeof(golden[0]); ++i)
        assert_int_equal(slot_of_sku(str_of(golden[i].sku)), golden[i].slot);
}

/* The length counts, not a terminator. */
static void test_slot_reads_the_length(void **state)
{
    (void)state;
    assert_int_equal(slot_of_sku((str_t){"sku-1234", 5}), 951);
    assert_true(slot_of_sku(STR("sku-1\0")) != 951);
}

/* 64 skus a slot: none stays empty, none gets three times its share. */
static void test_slots_are_spread(void **state)
{
    (void)state;
    static unsigned hits[SLOT_COUNT];
    char sku[32];
    for (unsigned i = 0; i < SLOT_COUNT * 64; ++i) {
        int n = snprintf(sku, sizeof(sku), "item-%u", i);
        uint16_t slot = slot_of_sku((str_t){sku, (size_t)n});
        assert_true(slot < SLOT_COUNT);
        ++hits[slot];
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; ++slot)
        assert_in_range(hits[slot], 21, 192);
}

static void test_map_covers_all_slots(void **state)
{
    (void)state;
    config_shard_t shards[] = {{.slot_first = 0, .slot_last = 99},
                               {.slot_first = 512, .slot_last = 1023},
                               {.slot_first = 100, .slot_last = 510},
                               {.slot_first = 511, .slot_last = 511}};
    config_t config = {.shards = shards, .shards_count = 4};
    shard_map_t map;
    memset(&map, 0xff, sizeof(map));
    shard_map_init(&map, &config);
    assert_int_equal(map.shards_count, 4);
    for (unsigned slot = 0; slot < SLOT_COUNT; ++slot) {
        unsigned expected = slot < 100 ? 0 : slot < 511 ? 2 : slot == 511 ? 3 : 1;
        assert_int_equal(map.shard_of_slot[slot], expected);
    }
}

static void test_map_of_one_shard(void **state)
{
    (void)state;
    config_shard_t shard = {.slot_first = 0, .slot_last = SLOT_COUNT - 1};
    config_t config = {.shards = &shard, .shards_count = 1};
    shard_map_t map;
    memset(&map, 0xff, sizeof(map));
    shard_map_init(&map, &config);
    for (unsigned slot = 0; slot < SLOT_COUNT; ++slot)
        assert_int_equal(map.shard_of_slot[slot], 0);
}

static void test_primary(void **state)
{
    (void)state;
    config_server_t servers[] = {{.status = SERVER_SECONDARY},
                                 {.status = SERVER_FAULTY},
                                 {.status = SERVER_PRIMARY},
                                 {.status = SERVER_SPARE}};
    config_shard_t shard = {.servers = servers, .servers_count = 4};
    assert_ptr_equal(shard_primary(&shard), &servers[2]);
    shard = (config_shard_t){.servers = &servers[2], .servers_count = 1};
    assert_ptr_equal(shard_primary(&shard), &servers[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_fixed_for_ever),
        cmocka_unit_test(test_slot_reads_the_length),
        cmocka_unit_test(test_slots_are_spread),
        cmocka_unit_test(test_map_covers_all_slots),
        cmocka_unit_test(test_map_of_one_shard),
        cmocka_unit_test(test_primary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
