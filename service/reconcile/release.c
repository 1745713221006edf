#include "reconcile/release.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "metrics/metrics.h"

#define LATER_MS 1000
#define LATER_PAUSE_US 20000
/* After a call that took the time-out, or nearly, no gate is notified for so long. */
#define SILENT_MS 1000

/* The state of the releases of one item and epoch. */
typedef enum { NOTIFIED, LATER, NOT_NOTIFIED } notice_state_t;

typedef struct {
    const release_t *releases;
    unsigned count;
    notice_state_t state;
} group_t;

static bool same_gate(const release_t *a, const release_t *b)
{
    return a->epoch == b->epoch && str_eq(sku_str(&a->item.sku), sku_str(&b->item.sku));
}

static str_t group_sku(const group_t *group)
{
    return sku_str(&group->releases->item.sku);
}

static unsigned make_groups(const release_t *releases, unsigned count, group_t *groups)
{
    unsigned groups_count = 0;
    for (unsigned i = 0; i < count; ++i) {
        group_t *group = groups_count == 0 ? NULL : &groups[groups_count - 1];
        if (group == NULL || !same_gate(group->releases, &releases[i])) {
            group = &groups[groups_count++];
            *group = (group_t){.releases = &releases[i], .state = LATER};
        }
        ++group->count;
    }
    assert(groups_count <= count); /* the size of `groups` */
    return groups_count;
}

static void notify(worker_t *worker, group_t *group)
{
    gate_release_t answer = GATE_RELEASE_LATER;
    group->state = NOT_NOTIFIED;
    if (clock_mono_ms() < worker->gate_silent_until_ms)
        return;
    uint64_t sent = clock_mono_ms();
    result_t call = gate_sync_release(worker->gate, group->releases, group->count, &answer);
    uint64_t now = clock_mono_ms();
    if (call == RESULT_DONE)
        group->state = answer == GATE_RELEASE_LATER ? LATER : NOTIFIED;
    /* Only a call that took long proves that Redis is silent; a connection that is refused at once
       costs no time. */
    else if (now - sent >= worker->shard->config->redis.timeout_ms / 2)
        worker->gate_silent_until_ms = now + SILENT_MS;
}

/* Notifies every gate once before any a second time, so that one that is `later` does not delay the
   others. */
static void notify_all(worker_t *worker, group_t *groups, unsigned count)
{
    uint64_t deadline = clock_mono_ms() + LATER_MS;
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < count; ++i) {
            if (groups[i].state != LATER)
                continue;
            notify(worker, &groups[i]);
            again = again || groups[i].state == LATER;
        }
        if (clock_mono_ms() >= deadline)
            return;
        if (again)
            usleep(LATER_PAUSE_US);
    }
}

static void give_up(worker_t *worker, const group_t *group)
{
    str_t sku = group_sku(group);
    METRIC_ADD(releases_given_up_total, group->count);
    LOG_WARN("a gate was not notified of a release; the gate will be rebuilt",
             LOG_BYTES("sku", sku),
             LOG_STR("why",
                     group->state == LATER ? "the gate is older" : gate_sync_error(worker->gate)));
    repair_queue_rebuild(&worker->shard->repairs, sku, group->releases->epoch);
}

bool release_to_gate(worker_t *worker, const release_t *releases, unsigned count)
{
    bool all = true;
    group_t *groups = alloc_zero(count + 1, sizeof(*groups));
    count = make_groups(releases, count, groups);
    for (unsigned i = 0; i < count; ++i)
        if (!strategy_uses_gate(groups[i].releases->strategy))
            groups[i].state = NOTIFIED; /* the strategy has no gate to notify */
    FAILPOINT("release_before_gate");
    notify_all(worker, groups, count);
    FAILPOINT("release_after_gate");
    for (unsigned i = 0; i < count; ++i) {
        const group_t *group = &groups[i];
        /* There are units again: a loop that refuses because it saw none must forget that. */
        announce_item_changed(worker->shard->announcements, group_sku(group),
                              group->releases->epoch);
        if (group->state != NOTIFIED) {
            give_up(worker, group);
            all = false;
        } else if (strategy_uses_gate(group->releases->strategy)) {
            METRIC_ADD(releases_total, group->count);
        }
    }
    free(groups);
    return all;
}
