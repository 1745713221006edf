/*
 * HTTP: one request at a time, crowds over N connections at once, and raw bytes for what no
 * client would send. Answers keep what Holdfast's interface speaks of.
 */
#ifndef HOLDFAST_HARNESS_WEB_H
#define HOLDFAST_HARNESS_WEB_H

#include <cjson/cJSON.h>

#include "harness/test.h"

typedef struct {
    const char *method;       /* NULL: GET, or POST if there is a body */
    const char *base;         /* http://host:port */
    const char *path;         /* sent as it is */
    const char *body;         /* NULL: none */
    size_t body_length;       /* 0: strlen(body) */
    const char *content_type; /* NULL: application/json, if there is a body; "": none at all */
    const char *key;          /* Idempotency-Key */
    const char *token;        /* Bearer */
    const char *headers[3];   /* more, "Name: value" */
    /* On a new connection: over an old one that turns out to be closed, the client sends it twice
       and nobody hears of the first. */
    bool sent_once;
    unsigned timeout_ms; /* 0: 30 s */
} web_request_t;

typedef struct {
    long status;       /* 0: no answer */
    bool refused;      /* no answer, because there was no connection to be had */
    const char *error; /* of the client, when there is no answer */
    char location[160], retry_after[16], replayed[8], allow[64], content_type[64];
    char etag[64], age[24], cache_control[64], stale[64]; /* stale: Holdfast-Stale */
    char taken[96];   /* Accept, Accept-Patch or Accept-Encoding, of a 415 */
    const char *body; /* NUL-terminated */
    size_t body_length;
    const cJSON *json; /* NULL: the body is no JSON */
    double seconds;
} web_answer_t;

/* The answer lasts until test_forget(). For any thread. */
web_answer_t web_call(const web_request_t *request);
#define WEB(...) web_call(&(web_request_t){__VA_ARGS__})

/* Many requests, `connections` of them under way at any time. */
typedef struct {
    unsigned connections, count;
    unsigned burst, burst_ms; /* not 0: each `burst` requests start `burst_ms` after the last */
    /* Makes request i; called in order. */
    web_request_t (*request)(void *context, unsigned i);
    /* The answer is lent; it may ask no more requests to be sent by returning false. */
    bool (*answered)(void *context, unsigned i, const web_answer_t *answer);
    void *context;
} web_crowd_t;
void web_crowd(const web_crowd_t *crowd);

/* Sends bytes over a connection of their own, and reads one answer (status 0: it was closed, or
   nothing came for `patience_ms`). */
web_answer_t web_raw(const char *base, const void *bytes, size_t length, int patience_ms);
/* A TCP connection to the server, or -1. */
int web_connect(const char *base);
/* A port of the loopback that nobody uses now. */
unsigned web_free_port(void);
/* Reads one whole answer from such a connection, as web_raw() does. */
web_answer_t web_read(int fd, int patience_ms);

/* --- what is in an answer --- */
/* NULL if the member is absent or no string. */
const char *web_string(const web_answer_t *answer, const char *member);
/* Fails if the member is absent or no whole number. */
long long web_number(const web_answer_t *answer, const char *member);
#define EXPECT_STATUS(answer_, status_) web_expect_status(__FILE__, __LINE__, &(answer_), (status_))
void web_expect_status(const char *file, int line, const web_answer_t *answer, long status);
/* A refusal as RFC 9457 and service/API.md have it, with this status and code. */
#define EXPECT_PROBLEM(answer_, status_, code_)                                                    \
    web_expect_problem(__FILE__, __LINE__, &(answer_), (status_), (code_))
void web_expect_problem(const char *file, int line, const web_answer_t *answer, long status,
                        const char *code);
/* NULL, or what is wrong with it as a problem of any code. */
const char *web_problem_fault(const web_answer_t *answer);
bool web_has_code(const web_answer_t *answer, const char *code);
/* For messages: status and body. */
const char *web_show(const web_answer_t *answer);

#endif
