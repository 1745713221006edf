#include "link.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OUT_BYTES 65536
#define FRAME_BYTES_MAX (16384 + 9) /* of what nghttp2 gives at once */
#define IN_BYTES 65536
#define WINDOW_BYTES (1 << 20)
#define EVENTS_MAX 512

struct link {
    links_t *links;
    int fd; /* -1: closed */
    nghttp2_session *session;
    bool is_dirty; /* on the list of those that have something to write */
    bool watches_out;
    size_t out_length;
    uint8_t out[OUT_BYTES];
};

struct links {
    struct sockaddr_in server;
    char authority[32];
    unsigned count;
    link_t *links;
    link_t **dirty;
    unsigned dirty_count;
    int epoll;
    nghttp2_session_callbacks *callbacks;
    link_answered_t *answered;
    void *context;
    request_t **requests, **idle; /* all, and those that are not in use */
    unsigned requests_count, requests_room, idle_count, under_way;
    uint64_t lost;
};

/* --- requests --- */

request_t *links_request(links_t *links)
{
    if (links->idle_count == 0) {
        if (links->requests_count == links->requests_room) {
            links->requests_room = links->requests_room == 0 ? 1024 : 2 * links->requests_room;
            size_t size = links->requests_room * sizeof(request_t *);
            links->requests = realloc(links->requests, size);
            links->idle = realloc(links->idle, size);
            assert(links->requests != NULL && links->idle != NULL);
        }
        request_t *request = malloc(sizeof(*request));
        assert(request != NULL);
        links->requests[links->requests_count++] = links->idle[links->idle_count++] = request;
    }
    request_t *request = links->idle[--links->idle_count];
    *request = (request_t){.stream = -1};
    return request;
}

void links_return(links_t *links, request_t *request)
{
    links->idle[links->idle_count++] = request;
}

static void end(links_t *links, request_t *request, bool whole)
{
    request->link = NULL;
    --links->under_way;
    links->answered(links->context, request, whole);
    links_return(links, request);
}

/* --- connections --- */

static void mark_dirty(link_t *link)
{
    if (link->is_dirty)
        return;
    link->is_dirty = true;
    link->links->dirty[link->links->dirty_count++] = link;
}

static void watch(link_t *link, int operation, bool out)
{
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = link};
    int rc = epoll_ctl(link->links->epoll, operation, link->fd, &event);
    assert(rc == 0);
    link->watches_out = out;
}

static void lose(link_t *link)
{
    links_t *links = link->links;
    if (link->fd < 0)
        return;
    close(link->fd);
    link->fd = -1;
    nghttp2_session_del(link->session);
    link->session = NULL;
    link->out_length = 0;
    ++links->lost;
    for (unsigned i = 0; i < links->requests_count; ++i)
        if (links->requests[i]->link == link)
            end(links, links->requests[i], false);
}

static bool open_link(link_t *link)
{
    int one = 1;
    links_t *links = link->links;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(link->fd >= 0);
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(link->fd, (struct sockaddr *)&links->server, sizeof(links->server)) != 0 &&
        errno != EINPROGRESS) {
        close(link->fd);
        link->fd = -1;
        return false;
    }
    int rc = nghttp2_session_client_new(&link->session, links->callbacks, link);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES}};
    rc |= nghttp2_submit_settings(link->session, NGHTTP2_FLAG_NONE, settings, 2);
    rc |= nghttp2_session_set_local_window_size(link->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES);
    assert(rc == 0);
    watch(link, EPOLL_CTL_ADD, true);
    mark_dirty(link);
    return true;
}

/* Fills the buffer with frames; false if nghttp2 has failed. */
static bool fill(link_t *link)
{
    while (link->out_length + FRAME_BYTES_MAX <= OUT_BYTES) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(link->session, &data);
        if (n <= 0)
            return n == 0;
        assert(n <= FRAME_BYTES_MAX);
        memcpy(link->out + link->out_length, data, (size_t)n);
        link->out_length += (size_t)n;
    }
    return true;
}

static void flush(link_t *link)
{
    for (;;) {
        if (!fill(link)) {
            lose(link);
            return;
        }
        if (link->out_length == 0)
            break;
        ssize_t n = send(link->fd, link->out, link->out_length, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
            break;
        if (n < 0) {
            lose(link);
            return;
        }
        link->out_length -= (size_t)n;
        memmove(link->out, link->out + n, link->out_length);
    }
    if (!nghttp2_session_want_read(link->session) && !nghttp2_session_want_write(link->session))
        lose(link); /* the server has said goodbye, and all is answered */
    else if (link->watches_out != (link->out_length > 0))
        watch(link, EPOLL_CTL_MOD, link->out_length > 0);
}

static void readable(link_t *link)
{
    static uint8_t in[IN_BYTES];
    ssize_t n = recv(link->fd, in, sizeof(in), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || nghttp2_session_mem_recv(link->session, in, (size_t)n) != n)
        lose(link);
    else
        mark_dirty(link);
}

/* --- what nghttp2 tells --- */

static void copy_word(char *word, const uint8_t *value, size_t n)
{
    n = n < WORD_BYTES_MAX ? n : 0; /* a longer one is of no use */
    memcpy(word, value, n);
    word[n] = '\0';
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t n, uint8_t flags, void *user)
{
    (void)flags, (void)user;
    char word[WORD_BYTES_MAX];
    request_t *request = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (request == NULL)
        return 0;
    if (name_length == 7 && memcmp(name, ":status", 7) == 0) {
        copy_word(word, value, n);
        request->status = atoi(word);
    } else if (name_length == 4 && memcmp(name, "etag", 4) == 0) {
        copy_word(request->etag, value, n);
    } else if (name_length == 11 && memcmp(name, "retry-after", 11) == 0) {
        copy_word(word, value, n);
        request->retry_after_s = (unsigned)atoi(word);
    } else if (name_length == 20 && memcmp(name, "idempotency-replayed", 20) == 0) {
        request->replayed = n == 4 && memcmp(value, "true", 4) == 0;
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t n, void *user)
{
    (void)flags, (void)user;
    request_t *request = nghttp2_session_get_stream_user_data(session, stream);
    if (request == NULL)
        return 0;
    size_t room = BODY_BYTES_MAX - request->body_length;
    n = n < room ? n : room;
    memcpy(request->body + request->body_length, data, n);
    request->body_length += n;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user)
{
    link_t *link = user;
    request_t *request = nghttp2_session_get_stream_user_data(session, stream);
    if (request == NULL)
        return 0;
    request->body[request->body_length] = '\0';
    end(link->links, request, error == NGHTTP2_NO_ERROR && request->status != 0);
    return 0;
}

static ssize_t read_content(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session, (void)stream, (void)user;
    request_t *request = source->ptr;
    size_t left = strlen(request->content) - request->content_sent;
    size_t n = left < room ? left : room;
    memcpy(out, request->content + request->content_sent, n);
    request->content_sent += n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* --- sending --- */

static void add_header(nghttp2_nv *headers, size_t *count, const char *name, const char *value)
{
    headers[(*count)++] =
        (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                     strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

void link_send(links_t *links, request_t *request, uint64_t now_us)
{
    link_t *link = &links->links[request->buyer % links->count];
    request->sent_us = now_us;
    request->link = link;
    ++links->under_way;
    if (link->fd < 0 && !open_link(link))
        return; /* links_give_up() ends it */
    nghttp2_nv headers[8];
    size_t count = 0;
    add_header(headers, &count, ":method", request->post ? "POST" : "GET");
    add_header(headers, &count, ":scheme", "http");
    add_header(headers, &count, ":authority", links->authority);
    add_header(headers, &count, ":path", request->path);
    if (request->content[0] != '\0')
        add_header(headers, &count, "content-type", "application/json");
    if (request->key[0] != '\0')
        add_header(headers, &count, "idempotency-key", request->key);
    if (request->if_none_match[0] != '\0')
        add_header(headers, &count, "if-none-match", request->if_none_match);
    nghttp2_data_provider content = {.source.ptr = request, .read_callback = read_content};
    request->stream =
        nghttp2_submit_request(link->session, NULL, headers, count,
                               request->content[0] != '\0' ? &content : NULL, request);
    mark_dirty(
        link); /* a negative stream: no more are to be had, and the server's goodbye follows */
}

static void flush_all(links_t *links)
{
    for (unsigned i = 0; i < links->dirty_count; ++i) {
        link_t *link = links->dirty[i];
        link->is_dirty = false;
        if (link->fd >= 0)
            flush(link);
    }
    links->dirty_count = 0;
}

void links_serve(links_t *links, uint64_t wait_us)
{
    struct epoll_event events[EVENTS_MAX];
    flush_all(links);
    struct timespec pause = {.tv_sec = (time_t)(wait_us / 1000000),
                             .tv_nsec = (long)(wait_us % 1000000) * 1000};
    int n = epoll_pwait2(links->epoll, events, EVENTS_MAX, &pause, NULL);
    assert(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; ++i) {
        link_t *link = events[i].data.ptr;
        if (link->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
            readable(link);
        if (link->fd >= 0 && (events[i].events & EPOLLOUT))
            mark_dirty(link);
    }
}

void links_give_up(links_t *links, uint64_t (*sent_before_us)(void *context, uint16_t kind))
{
    for (unsigned i = 0; i < links->requests_count; ++i) {
        request_t *request = links->requests[i];
        link_t *link = request->link;
        if (link == NULL || request->sent_us >= sent_before_us(links->context, request->kind))
            continue;
        if (link->fd >= 0 && request->stream >= 0) {
            nghttp2_session_set_stream_user_data(link->session, request->stream, NULL);
            nghttp2_submit_rst_stream(link->session, NGHTTP2_FLAG_NONE, request->stream,
                                      NGHTTP2_CANCEL);
            mark_dirty(link);
        }
        end(links, request, false);
    }
}

unsigned links_under_way(const links_t *links)
{
    return links->under_way;
}

uint64_t links_lost(const links_t *links)
{
    return links->lost;
}

void links_connect(links_t *links, uint64_t within_us)
{
    for (unsigned i = 0; i < links->count; ++i)
        if (links->links[i].fd < 0)
            open_link(&links->links[i]);
    links_serve(links, within_us); /* what is not connected by then connects while it is used */
}

links_t *links_new(struct sockaddr_in server, unsigned count, link_answered_t *answered,
                   void *context)
{
    links_t *links = calloc(1, sizeof(*links));
    assert(links != NULL);
    *links = (links_t){.server = server, .count = count, .answered = answered, .context = context};
    links->links = calloc(count, sizeof(*links->links));
    links->dirty = calloc(count, sizeof(link_t *));
    links->epoll = epoll_create1(EPOLL_CLOEXEC);
    assert(links->links != NULL && links->dirty != NULL && links->epoll >= 0);
    for (unsigned i = 0; i < count; ++i)
        links->links[i] = (link_t){.links = links, .fd = -1};
    char address[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &server.sin_addr, address, sizeof(address));
    snprintf(links->authority, sizeof(links->authority), "%s:%u", address, ntohs(server.sin_port));
    int rc = nghttp2_session_callbacks_new(&links->callbacks);
    assert(rc == 0);
    nghttp2_session_callbacks_set_on_header_callback(links->callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(links->callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(links->callbacks, on_close);
    return links;
}
