/*
 * HTTP/2 connections to one server, over which many requests are under way at a time, by nghttp2.
 * Each buyer has one of the connections for ever, as behind a browser or a proxy. A connection that
 * breaks is opened anew for the next request; what was under way on it ends without an answer. One
 * thread; nothing blocks. What is above the server's limit of streams waits in nghttp2, and its
 * clock runs.
 */
#ifndef VISITORS_LINK_H
#define VISITORS_LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATH_BYTES_MAX 160
#define WORD_BYTES_MAX 64
#define BODY_BYTES_MAX 1024

typedef struct link link_t;
typedef struct links links_t;

typedef struct {
    /* What is asked; the caller's. `key`, `if_none_match` and `content` are left out if empty. */
    uint32_t buyer;
    uint16_t kind, tries;
    uint64_t due_us, sent_us;
    bool post;
    char path[PATH_BYTES_MAX], key[WORD_BYTES_MAX], if_none_match[WORD_BYTES_MAX], content[256];
    /* What was answered. `status` is 0 until the head is there. */
    int status;
    unsigned retry_after_s;
    bool replayed;
    char etag[WORD_BYTES_MAX], body[BODY_BYTES_MAX + 1];
    size_t body_length;
    /* The link's own. */
    link_t *link; /* NULL: the request is not under way */
    int32_t stream;
    size_t content_sent;
} request_t;

/* `whole`: an answer is there. The request may be used until the call returns, which sends nothing.
 */
typedef void link_answered_t(void *context, request_t *request, bool whole);

links_t *links_new(struct sockaddr_in server, unsigned count, link_answered_t *answered,
                   void *context);
/* A request to be filled in and handed to link_send(). */
request_t *links_request(links_t *links);
void links_return(links_t *links, request_t *request); /* unused */
/* Its answer, or that there will be none, is told from links_serve() or links_give_up(), never from
 * here. */
void link_send(links_t *links, request_t *request, uint64_t now_us);
/* Writes what was sent, waits until `wait_us` have passed or something has come, and takes that. */
void links_serve(links_t *links, uint64_t wait_us);
/* Ends what has been under way since before `sent_before_us(kind)`. */
void links_give_up(links_t *links, uint64_t (*sent_before_us)(void *context, uint16_t kind));
unsigned links_under_way(const links_t *links);
uint64_t links_lost(const links_t *links);
/* Connects all, as far as that succeeds within `within_us`. */
void links_connect(links_t *links, uint64_t within_us);

#endif
