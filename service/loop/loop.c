#include "loop/loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fatal.h"

static const uint32_t delays_ms[LOOP_DELAYS_COUNT] = LOOP_DELAYS_MS;

/* --- the mailbox --- */

static void run_messages(loop_t *loop)
{
    h2o_linklist_t messages;
    if (!atomic_load_explicit(&loop->has_mail, memory_order_relaxed))
        return;
    h2o_linklist_init_anchor(&messages);
    pthread_mutex_lock(&loop->mailbox_lock);
    h2o_linklist_insert_list(&messages, &loop->mailbox);
    atomic_store_explicit(&loop->has_mail, false, memory_order_relaxed);
    pthread_mutex_unlock(&loop->mailbox_lock);
    while (!h2o_linklist_is_empty(&messages)) {
        loop_message_t *message = H2O_STRUCT_FROM_MEMBER(loop_message_t, link, messages.next);
        h2o_linklist_unlink(&message->link);
        message->run(message);
    }
}

static void on_wakeup(h2o_socket_t *socket, const char *err)
{
    uint64_t count;
    (void)err;
    /* The read may find nothing: the messages of this wake-up may have run between turns already.
     */
    (void)!read(h2o_socket_get_fd(socket), &count, sizeof(count));
    run_messages(socket->data);
}

static void open_wakeup(loop_t *loop)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        FATAL("an eventfd", errno);
    loop->wakeup = h2o_evloop_socket_create(loop->h2o, fd, H2O_SOCKET_FLAG_DONT_READ);
    loop->wakeup->data = loop;
    h2o_socket_read_start(loop->wakeup, on_wakeup);
}

void loop_post(loop_t *loop, loop_message_t *message)
{
    message->link = (h2o_linklist_t){NULL, NULL};
    pthread_mutex_lock(&loop->mailbox_lock);
    /* One write wakes the loop for all messages that it has not taken yet. */
    bool first = h2o_linklist_is_empty(&loop->mailbox);
    h2o_linklist_insert(&loop->mailbox, &message->link);
    atomic_store_explicit(&loop->has_mail, true, memory_order_relaxed);
    pthread_mutex_unlock(&loop->mailbox_lock);
    if (first)
        (void)!write(h2o_socket_get_fd(loop->wakeup), &(uint64_t){1}, sizeof(uint64_t));
}

/* --- watches --- */

static void on_readable(h2o_socket_t *socket, const char *err)
{
    loop_watch_t *watch = socket->data;
    (void)err; /* the callback reads, and meets the same error */
    watch->readable(watch);
}

static void on_writable(h2o_socket_t *socket, const char *err)
{
    loop_watch_t *watch = socket->data;
    (void)err;
    watch->writes = false;
    watch->writable(watch);
}

void loop_watch_start(loop_t *loop, loop_watch_t *watch, int fd, void (*readable)(loop_watch_t *),
                      void (*writable)(loop_watch_t *))
{
    /* libh2o closes the descriptor of its socket; `fd` stays the caller's */
    int duplicate = dup(fd);
    if (duplicate < 0)
        FATAL("a second descriptor of a connection", errno);
    *watch = (loop_watch_t){.readable = readable, .writable = writable};
    watch->socket = h2o_evloop_socket_create(loop->h2o, duplicate, H2O_SOCKET_FLAG_DONT_READ);
    watch->socket->data = watch;
    h2o_linklist_insert(&loop->watches, &watch->link);
}

void loop_watch_reads(loop_watch_t *watch, bool wanted)
{
    if (wanted == watch->reads)
        return;
    watch->reads = wanted;
    if (wanted)
        h2o_socket_read_start(watch->socket, on_readable);
    else
        h2o_socket_read_stop(watch->socket);
}

void loop_watch_write(loop_watch_t *watch)
{
    watch->writes = true;
    if (!h2o_socket_is_writing(watch->socket))
        h2o_socket_notify_write(watch->socket, on_writable);
}

void loop_watch_stop(loop_watch_t *watch)
{
    if (watch->socket == NULL)
        return;
    h2o_linklist_unlink(&watch->link);
    h2o_socket_close(watch->socket);
    watch->socket = NULL;
}

static void poll_watch(loop_watch_t *watch)
{
    struct pollfd ready = {
        .fd = h2o_socket_get_fd(watch->socket),
        .events = (short)((watch->reads ? POLLIN : 0) | (watch->writes ? POLLOUT : 0)),
    };
    if (ready.events == 0 || poll(&ready, 1, 0) <= 0)
        return;
    if ((ready.revents & POLLOUT) != 0) {
        watch->writes = false; /* libh2o calls on_writable() once more; that is harmless */
        watch->writable(watch);
    } else {
        watch->readable(watch);
    }
}

/* At most once a millisecond: after a shorter turn libh2o's own list is short, so it reports the
   watches soon enough. Each watch goes to the end of the list before it is polled, because a
   callback may stop this watch and others. */
static void poll_watches(loop_t *loop)
{
    unsigned count = 0;
    uint64_t now_ms = clock_mono_ms();
    if (loop->polled_ms == now_ms)
        return;
    loop->polled_ms = now_ms;
    for (h2o_linklist_t *at = loop->watches.next; at != &loop->watches; at = at->next)
        ++count;
    for (; count > 0 && !h2o_linklist_is_empty(&loop->watches); --count) {
        loop_watch_t *watch = H2O_STRUCT_FROM_MEMBER(loop_watch_t, link, loop->watches.next);
        h2o_linklist_unlink(&watch->link);
        h2o_linklist_insert(&loop->watches, &watch->link);
        poll_watch(watch);
    }
}

/* --- turns --- */

void loop_init(loop_t *loop, unsigned index)
{
    memset(loop, 0, sizeof(*loop));
    loop->index = index;
    loop->h2o = h2o_evloop_create();
    pthread_mutex_init(&loop->mailbox_lock, NULL);
    h2o_linklist_init_anchor(&loop->mailbox);
    h2o_linklist_init_anchor(&loop->watches);
    open_wakeup(loop);
    for (unsigned i = 0; i < LOOP_DELAYS_COUNT; ++i)
        h2o_timeout_init(loop->h2o, &loop->delays[i], delays_ms[i]);
}

void loop_run(loop_t *loop)
{
    while (!loop->stop) {
        h2o_evloop_run(loop->h2o, INT32_MAX);
        run_messages(loop);
        poll_watches(loop);
    }
}

/* --- timers --- */

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
