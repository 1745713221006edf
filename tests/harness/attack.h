/*
 * What an attack needs: connections that do what no client does, raw frames of HTTP/2, a buyer who
 * goes on buying meanwhile, and what the service holds before and after.
 *
 * Descriptors of connections are the caller's to close. A buyer has a thread of his own.
 */
#ifndef HOLDFAST_HARNESS_ATTACK_H
#define HOLDFAST_HARNESS_ATTACK_H

#include "harness/sale.h"

/* --- what a process holds --- */
typedef struct {
    unsigned descriptors;
    long rss_kb;
} attack_gauge_t;
attack_gauge_t attack_gauge(pid_t pid);
/* Waits until the service has at most `slack` descriptors more than `before`. */
#define EXPECT_DESCRIPTORS_BACK(pid_, before_, slack_)                                             \
    WAIT_UNTIL(attack_gauge(pid_).descriptors <= (before_).descriptors + (slack_))
/* A number of /metrics, by its whole name without "holdfast_". */
long long attack_metric(const test_stack_t *stack, const char *name);
/* This process may open so many; returns how many it may in fact. */
unsigned attack_raise_open_files(unsigned wanted);

/* --- a buyer meanwhile; one at a time --- */
/* He buys all the time, over one connection or a new one for each purchase. */
void attack_buyer_start(const test_stack_t *stack, const char *sku, bool keeps_connection);
/* How many 201s he has so far. */
unsigned attack_buyer_created(void);
/* Waits until he has `created_min`; fails if any answer was not 201. */
void attack_buyer_stop(unsigned created_min);
/* For cmocka: test_teardown(), after a buyer whom a case that failed has left. */
int attack_teardown(void **state);

/* --- connections --- */
/* Non-blocking; -1: refused. */
int attack_connect(const char *base);
/* Writes until all is sent, the peer takes nothing for `patience_ms`, or it has closed. Returns
   how much was sent. */
size_t attack_send(int fd, const void *bytes, size_t n, int patience_ms);
/* The peer has closed or reset, now or within the time; what it sends is read and dropped. */
bool attack_is_closed(int fd, int patience_ms);
/* Closes with a reset instead of a farewell. */
void attack_reset(int fd);

/* --- HTTP/2, prior knowledge --- */
enum {
    H2_DATA,
    H2_HEADERS,
    H2_PRIORITY,
    H2_RST_STREAM,
    H2_SETTINGS,
    H2_PING = 6,
    H2_GOAWAY,
    H2_WINDOW_UPDATE,
    H2_CONTINUATION
};
#define H2_END_STREAM 1
#define H2_ACK 1
#define H2_END_HEADERS 4

/* Bytes to send, growing; freed by test_forget(). */
typedef struct {
    uint8_t *bytes;
    size_t n, capacity;
} h2_bytes_t;
void h2_add_frame(h2_bytes_t *out, int type, int flags, uint32_t stream, const void *payload,
                  size_t n);
void h2_add_preface(h2_bytes_t *out);
void h2_add_setting(h2_bytes_t *out, uint16_t id, uint32_t value);
/* A request without a body if `body` is NULL. */
void h2_add_request(h2_bytes_t *out, uint32_t stream, const char *method, const char *path,
                    const char *body);
void h2_add_reset(h2_bytes_t *out, uint32_t stream);
/* The header block of a request, to be put into frames by hand. */
h2_bytes_t h2_header_block(const char *method, const char *path);

typedef struct {
    unsigned length;
    int type, flags;
    uint32_t stream;
    uint8_t payload[16384];
} h2_frame_t;
/* False: closed, or nothing came in time. */
bool h2_read_frame(int fd, h2_frame_t *out, int patience_ms);
/* Preface sent; fails if there is no connection. */
int h2_connect(const char *base);

#endif
