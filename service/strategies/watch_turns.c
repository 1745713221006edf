#include "strategies/watch_turns.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"

/* For each turn that there is, so many attempts must end without an abort before there is one
   more: else every second attempt or so would pay for finding out that two are too many. */
#define QUIET_PER_TURN 32

struct watch_turns {
    h2o_linklist_t waiting; /* attempts */
    unsigned max, count, taken;
    unsigned quiet; /* attempts that have ended since the last abort or the last growth */
};

watch_turns_t *watch_turns_new(unsigned max)
{
    watch_turns_t *turns = alloc_zero(1, sizeof(*turns));
    assert(max != 0);
    h2o_linklist_init_anchor(&turns->waiting);
    turns->max = max;
    turns->count = 1;
    return turns;
}

void watch_turns_free(watch_turns_t *turns)
{
    assert(turns->taken == 0 && h2o_linklist_is_empty(&turns->waiting));
    free(turns);
}

void watch_turns_wait(watch_turns_t *turns, attempt_t *attempt)
{
    h2o_linklist_insert(&turns->waiting, &attempt->link);
}

attempt_t *watch_turns_next(watch_turns_t *turns)
{
    if (h2o_linklist_is_empty(&turns->waiting) || turns->taken >= turns->count)
        return NULL;
    attempt_t *attempt = H2O_STRUCT_FROM_MEMBER(attempt_t, link, turns->waiting.next);
    h2o_linklist_unlink(&attempt->link);
    ++turns->taken;
    return attempt;
}

void watch_turns_aborted(watch_turns_t *turns)
{
    assert(turns->taken != 0);
    turns->count = turns->count > 1 ? turns->count / 2 : 1;
    turns->quiet = 0;
}

void watch_turns_end(watch_turns_t *turns)
{
    assert(turns->taken != 0);
    --turns->taken;
    if (++turns->quiet < QUIET_PER_TURN * turns->count)
        return;
    turns->quiet = 0;
    turns->count += turns->count < turns->max;
}
