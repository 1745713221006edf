#include "loop/loop.h"

#include <assert.h>

static const uint32_t delays_ms[LOOP_DELAYS_COUNT] = LOOP_DELAYS_MS;

static void on_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    while (!h2o_linklist_is_empty(messages)) {
        loop_message_t *message =
            H2O_STRUCT_FROM_MEMBER(loop_message_t, super.link, messages->next);
        h2o_linklist_unlink(&message->super.link);
        message->run(message);
    }
}

void loop_init(loop_t *loop, unsigned index)
{
    memset(loop, 0, sizeof(*loop));
    loop->index = index;
    loop->h2o = h2o_evloop_create();
    loop->queue = h2o_multithread_create_queue(loop->h2o);
    h2o_multithread_register_receiver(loop->queue, &loop->mailbox, on_messages);
    for (unsigned i = 0; i < LOOP_DELAYS_COUNT; ++i)
        h2o_timeout_init(loop->h2o, &loop->delays[i], delays_ms[i]);
}

void loop_run(loop_t *loop)
{
    while (!loop->stop)
        h2o_evloop_run(loop->h2o, INT32_MAX);
}

void loop_post(loop_t *loop, loop_message_t *message)
{
    message->super = (h2o_multithread_message_t){{NULL, NULL}};
    h2o_multithread_send_message(&loop->mailbox, &message->super);
}

static void on_expired(h2o_timeout_entry_t *entry)
{
    loop_timer_t *timer = H2O_STRUCT_FROM_MEMBER(loop_timer_t, entry, entry);
    timer->expired(timer);
}

void loop_timer_start(loop_t *loop, loop_timer_t *timer, uint32_t delay_ms,
                      void (*expired)(loop_timer_t *timer))
{
    unsigned i = 0;
    assert(delay_ms <= LOOP_DELAY_MAX_MS);
    while (delays_ms[i] < delay_ms)
        ++i;
    loop_timer_stop(timer);
    timer->expired = expired;
    timer->entry.cb = on_expired;
    h2o_timeout_link(loop->h2o, &loop->delays[i], &timer->entry);
}

void loop_timer_stop(loop_timer_t *timer)
{
    if (h2o_timeout_is_linked(&timer->entry))
        h2o_timeout_unlink(&timer->entry);
}
