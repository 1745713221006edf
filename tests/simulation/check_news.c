#include "check_news.h"

#include <string.h>

#include "checks.h"
#include "gate/gate.h"
#include "sale/shard_map.h"

/* From when units come back until all loops of the node know it. */
#define NEWS_US 250000

static struct {
    bool full;         /* all units are allocated */
    uint64_t freed_us; /* when units came back last, to the gate or, if there is none, to the row;
                          0: never, or all are allocated again */
    unsigned freed_by; /* which node gave them */
} sales[ITEMS_MAX];

void news_begin(void)
{
    memset(sales, 0, sizeof(sales));
}

static void note_freed(unsigned sale)
{
    sales[sale].freed_us = world_now_us();
    sales[sale].freed_by = world_owner().node;
}

void news_full(unsigned sale, bool full)
{
    if (full)
        sales[sale].freed_us = 0;
    else if (sales[sale].full && !checks_item(history.sales[sale].sku).gated)
        note_freed(sale);
    sales[sale].full = full;
}

void news_released(str_t gate)
{
    char text[GATE_KEY_SIZE];
    for (unsigned i = 0; i < history.sales_count; ++i) {
        str_t sku = str_of(history.sales[i].sku);
        const item_ref_t item = item_ref_of(sku);
        if (str_eq(gate, gate_key(text, GATE_KEY_GATE, &item)))
            note_freed(i);
    }
}

void news_refused_early(const request_t *request)
{
    const char *sku = history.sales[request->item].sku;
    uint64_t freed_us = sales[request->item].freed_us, now = world_now_us();
    bool quiet = !history.faulty && !history.slow && checks_epochs() <= history.sales_count;
    if (quiet && freed_us != 0 && sales[request->item].freed_by == request->node &&
        now - freed_us > NEWS_US && (!checks_item(sku).gated || checks_available(sku) > 0))
        world_fail("request %u is refused as sold out, and units have been back for %llu ms",
                   request->number, (unsigned long long)(now - freed_us) / 1000);
}
