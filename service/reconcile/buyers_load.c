#include "reconcile/buyers_load.h"

#include "base/failpoint.h"
#include "metrics/metrics.h"

/* *whole: the table is whole now. */
static sync_result_t load_page(worker_t *worker, const item_ref_t *item, uint64_t epoch,
                               const buyers_page_t *page, uint32_t loader_ms, bool *whole)
{
    gate_load_t outcome;
    bool has_loader, last = loader_ms != 0 && page->last;
    const gate_buyers_t part = {page->buyers, page->units, page->count, page->sequence};
    if (page->epoch != epoch)
        return SYNC_BUSY; /* units of another epoch are not this gate's */
    FAILPOINT("buyers_read");
    if (gate_sync_load(worker->gate, item, epoch, &part, loader_ms, last, &outcome, &has_loader) !=
        RESULT_DONE)
        return SYNC_GATE_AWAY;
    *whole = outcome == GATE_LOAD_WHOLE || (outcome == GATE_LOADED && last);
    if (outcome == GATE_LOADED && !has_loader)
        repair_queue_rebuild(&worker->shard->loads, sku_str(&item->sku), epoch);
    return outcome == GATE_LOAD_STALE ? SYNC_BUSY : SYNC_READY;
}

sync_result_t buyers_load_next(worker_t *worker, buyers_load_t *load, buyers_page_t *page)
{
    sync_result_t step =
        sync_of_store(buyers_read_page(worker->db, &worker->sql, &load->item, &load->after, page));
    if (step == SYNC_READY)
        step = load_page(worker, &load->item, load->epoch, page, LOADER_MS, &load->ended);
    if (step != SYNC_READY)
        return step;
    METRIC_ADD(buyers_loaded_total, page->count);
    load->loaded += page->count;
    if (page->count != 0)
        buyer_set(&load->after, page->buyers[page->count - 1]);
    return SYNC_READY;
}

sync_result_t buyers_load_some(worker_t *worker, const item_ref_t *item, uint64_t epoch,
                               str_t *names, size_t count, buyers_page_t *page)
{
    bool whole;
    sync_result_t step =
        sync_of_store(buyers_read_some(worker->db, &worker->sql, item, names, count, page));
    if (step == SYNC_READY)
        step = load_page(worker, item, epoch, page, 0, &whole);
    if (step == SYNC_READY)
        METRIC_ADD(buyers_loaded_on_demand_total, count);
    return step;
}
