#include "http/expect.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <h2o/http1.h>

#include "base/fatal.h"
#include "http/connection.h"
#include "http/intake.h"

static void on_read(h2o_socket_t *socket, const char *err);

static expectation_t *expectation_of(h2o_socket_t *socket)
{
    return &((connection_t *)socket->on_close.data)->expectation;
}

/* --- the answer --- */

static bool is_refused(const expectations_t *all, const framing_t *framing)
{
    h2o_req_t head;
    str_t rest = framing->headers, name, value;
    if (framing->length > all->body_bytes_max)
        return true;
    memset(&head, 0, sizeof(head));
    h2o_mem_init_pool(&head.pool);
    head.method = h2o_iovec_init(framing->method.p, framing->method.n);
    intake_take_target(&head, framing);
    while (framing_next_header(&rest, &name, &value)) {
        h2o_iovec_t lower_case = h2o_strdup(&head.pool, name.p, name.n);
        h2o_strtolower(lower_case.base, lower_case.len);
        h2o_add_header_by_str(&head.pool, &head.headers, lower_case.base, lower_case.len, 1, NULL,
                              value.p, value.n);
    }
    bool refused = all->refuses(&head, all->context);
    h2o_mem_clear_pool(&head.pool);
    return refused;
}

/* Makes up the body for which libh2o waits: an empty chunked one, padded to the longest body that
   libh2o may wait for. The same bytes serve both framings. */
static void make_up_body(expectation_t *expectation)
{
    static const str_t no_chunks = STR("0\r\n\r\n");
    h2o_buffer_t **input = &expectation->socket->input;
    size_t n = no_chunks.n + expectation->all->body_bytes_max;
    h2o_iovec_t room = h2o_buffer_reserve(input, n);
    if (room.base == NULL)
        return;
    memset(room.base, 0, n);
    memcpy(room.base, no_chunks.p, no_chunks.n);
    (*input)->size += n;
    expectation->was_cut = true;
    expectation->all->read(expectation->socket, NULL);
}

static void on_continued(h2o_socket_t *socket, const char *err)
{
    if (err != NULL)
        expectation_of(socket)->all->read(socket, err);
    else
        h2o_socket_read_start(socket, on_read);
}

static void send_continue(h2o_socket_t *socket)
{
    h2o_iovec_t text = {H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n")};
    h2o_socket_read_stop(socket); /* libh2o must not write an answer while this is being written */
    h2o_socket_write(socket, &text, 1, on_continued);
}

/* --- heads --- */

/* Returns the length of the head in bytes; 0: its end has not arrived. */
static size_t find_end(expectation_t *expectation)
{
    const h2o_buffer_t *input = expectation->socket->input;
    size_t from = expectation->searched_bytes < 3 ? 0 : expectation->searched_bytes - 3;
    const char *end = memmem(input->bytes + from, input->size - from, "\r\n\r\n", 4);
    expectation->searched_bytes = input->size;
    return end == NULL ? 0 : (size_t)(end - input->bytes) + 4;
}

/* The input is `head` alone. If the head is ambiguous, the raw bytes are searched for Expect: the
   name is in lower case, since libh2o has parsed the head and converted it. */
static void judge(expectation_t *expectation, str_t head)
{
    framing_t framing;
    bool is_plain = framing_read(head, &framing) == NULL;
    if (!(is_plain ? framing.expects_continue : memmem(head.p, head.n, "\r\nexpect:", 9) != NULL))
        return;
    if (!is_plain || is_refused(expectation->all, &framing))
        make_up_body(expectation);
    else
        send_continue(expectation->socket);
}

/* Called after libh2o's callback: if the input still has a whole head, libh2o waits for its
   body. */
static void inspect_input(expectation_t *expectation)
{
    h2o_socket_t *socket = expectation->socket;
    if (expectation->inspected || socket->_cb.read != on_read || socket->input->size == 0)
        return;
    size_t n = find_end(expectation);
    expectation->inspected = n != 0;
    if (n == socket->input->size)
        judge(expectation, (str_t){socket->input->bytes, n});
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    connection_t *connection = socket->on_close.data;
    bool closed = false;
    /* libh2o may close the connection in this call, which frees it; `closed` is then set. */
    connection->closed = &closed;
    connection->expectation.all->read(socket, err);
    if (closed)
        return;
    connection->closed = NULL;
    inspect_input(&connection->expectation);
}

static void on_turn(loop_timer_t *timer)
{
    expectations_t *all = H2O_STRUCT_FROM_MEMBER(expectations_t, timer, timer);
    while (!h2o_linklist_is_empty(&all->unwatched)) {
        expectation_t *expectation =
            H2O_STRUCT_FROM_MEMBER(expectation_t, link, all->unwatched.next);
        h2o_linklist_unlink(&expectation->link);
        /* Otherwise the connection handles a request or is being closed. */
        if (expectation->socket->_cb.read == all->read) {
            h2o_socket_read_start(expectation->socket, on_read);
            inspect_input(expectation);
        }
    }
}

/* --- connections --- */

void expect_take_over(void)
{
    H2O_TOKEN_EXPECT->is_init_header_special = 0;
}

/* Finds libh2o's read callback, which has no name outside libh2o: libh2o sets it on a socket that
   it accepts, and this socket never has input. */
static h2o_socket_cb find_read(loop_t *loop, h2o_accept_ctx_t *accept)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
        FATAL("a pair of sockets", errno);
    h2o_socket_t *socket = h2o_evloop_socket_create(loop->h2o, ends[0], 0);
    h2o_http1_accept(accept, socket, (struct timeval){0});
    close(ends[1]); /* libh2o then closes the other end */
    return socket->_cb.read;
}

void expect_init(expectations_t *all, loop_t *loop, h2o_accept_ctx_t *accept, size_t body_bytes_max)
{
    all->loop = loop;
    all->body_bytes_max = body_bytes_max;
    all->read = find_read(loop, accept);
    h2o_linklist_init_anchor(&all->unwatched);
}

static void watch_soon(expectation_t *expectation)
{
    expectations_t *all = expectation->all;
    if (h2o_linklist_is_empty(&all->unwatched))
        loop_timer_start(all->loop, &all->timer, 0, on_turn);
    if (!h2o_linklist_is_linked(&expectation->link))
        h2o_linklist_insert(&all->unwatched, &expectation->link);
}

void expect_begin(expectation_t *expectation, expectations_t *all, h2o_socket_t *socket)
{
    expectation->all = all;
    expectation->socket = socket;
    watch_soon(expectation);
}

void expect_next(expectation_t *expectation)
{
    if (expectation->all == NULL)
        return;
    expectation->searched_bytes = 0;
    expectation->inspected = expectation->was_cut = false;
    watch_soon(expectation);
}

void expect_end(expectation_t *expectation)
{
    if (h2o_linklist_is_linked(&expectation->link))
        h2o_linklist_unlink(&expectation->link);
}
