#include "loop_model.h"

#include <assert.h>
#include <string.h>

typedef struct {
    loop_t loop; /* first */
    h2o_linklist_t timers, messages;
    uint64_t wake_at; /* of the wake that counts; UINT64_MAX: none */
    owner_t owner;
} sim_loop_t;

static const uint32_t delays_ms[LOOP_DELAYS_COUNT] = LOOP_DELAYS_MS;

static sim_loop_t *of(loop_t *loop)
{
    return (sim_loop_t *)loop;
}

loop_t *loop_make(unsigned index)
{
    sim_loop_t *sim = world_alloc_zero(sizeof(*sim));
    sim->loop.index = index;
    sim->wake_at = UINT64_MAX;
    sim->owner = world_owner();
    h2o_linklist_init_anchor(&sim->timers);
    h2o_linklist_init_anchor(&sim->messages);
    return &sim->loop;
}

static void on_wake(void *context, uint64_t at);

static void wake(sim_loop_t *sim, uint64_t at)
{
    if (at >= sim->wake_at)
        return;
    sim->wake_at = at;
    uint64_t now = world_now_us();
    world_after(at > now ? at - now : 0, sim->owner, on_wake, sim, at);
}

static loop_timer_t *earliest(sim_loop_t *sim)
{
    loop_timer_t *first = NULL;
    for (h2o_linklist_t *at = sim->timers.next; at != &sim->timers; at = at->next) {
        loop_timer_t *timer = H2O_STRUCT_FROM_MEMBER(loop_timer_t, entry._link, at);
        if (first == NULL || timer->entry.registered_at < first->entry.registered_at)
            first = timer;
    }
    return first;
}

static void on_wake(void *context, uint64_t at)
{
    sim_loop_t *sim = context;
    if (at != sim->wake_at)
        return;
    sim->wake_at = UINT64_MAX;
    loop_timer_t *timer = earliest(sim);
    if (timer != NULL && timer->entry.registered_at <= world_now_us()) {
        loop_timer_stop(timer);
        timer->expired(timer);
    }
    if ((timer = earliest(sim)) != NULL)
        wake(sim, timer->entry.registered_at);
}

void loop_timer_start(loop_t *loop, loop_timer_t *timer, uint32_t delay_ms,
                      void (*expired)(loop_timer_t *))
{
    sim_loop_t *sim = of(loop);
    unsigned i = 0;
    assert(delay_ms <= LOOP_DELAY_MAX_MS);
    while (delays_ms[i] < delay_ms)
        ++i;
    loop_timer_stop(timer);
    timer->expired = expired;
    /* In `registered_at`: when it is due. */
    timer->entry.registered_at =
        world_now_us() + (uint64_t)delays_ms[i] * 1000 + chance_time_us(1, 1000);
    h2o_linklist_insert(&sim->timers, &timer->entry._link);
    wake(sim, timer->entry.registered_at);
}

void loop_timer_stop(loop_timer_t *timer)
{
    if (h2o_linklist_is_linked(&timer->entry._link))
        h2o_linklist_unlink(&timer->entry._link);
}

static void on_messages(void *context, uint64_t number)
{
    sim_loop_t *sim = context;
    (void)number;
    while (!h2o_linklist_is_empty(&sim->messages)) {
        loop_message_t *message = H2O_STRUCT_FROM_MEMBER(loop_message_t, link, sim->messages.next);
        h2o_linklist_unlink(&message->link);
        message->run(message);
    }
}

void loop_post(loop_t *loop, loop_message_t *message)
{
    sim_loop_t *sim = of(loop);
    message->link = (h2o_linklist_t){NULL, NULL};
    h2o_linklist_insert(&sim->messages, &message->link);
    world_after(chance_time_us(1, 300), sim->owner, on_messages, sim, 0);
}

/* Nothing is ready or not in the simulated world: redis_wire.c calls back by itself. */
void loop_watch_start(loop_t *loop, loop_watch_t *watch, int fd, void (*readable)(loop_watch_t *),
                      void (*writable)(loop_watch_t *))
{
    (void)loop, (void)watch, (void)fd, (void)readable, (void)writable;
}

void loop_watch_reads(loop_watch_t *watch, bool wanted)
{
    (void)watch, (void)wanted;
}

void loop_watch_write(loop_watch_t *watch)
{
    (void)watch;
}

void loop_watch_stop(loop_watch_t *watch)
{
    (void)watch;
}
