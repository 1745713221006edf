/*
 * What was answered: for each kind of answer a histogram of latencies and a count per second, and
 * the whole as one JSON object. Histograms are exact below 128 us and to 1.6% above. One thread.
 */
#ifndef VOLLEY_RECORD_H
#define VOLLEY_RECORD_H

#include <stdint.h>
#include <stdio.h>

#define KINDS_MAX 32
#define KIND_BYTES_MAX 64
#define SECONDS_MAX 3600
#define BUCKETS 2048

typedef struct {
    uint64_t buckets[BUCKETS];
} histogram_t;

typedef struct {
    char name[KIND_BYTES_MAX]; /* "201", "201 replayed", "409 sold_out", "no answer" */
    uint64_t count;
    histogram_t latency;              /* from when it was meant */
    histogram_t service;              /* from when it was sent; none of those that were not */
    uint32_t per_second[SECONDS_MAX]; /* by the second in which it ended */
} kind_t;

typedef struct {
    kind_t *kinds[KINDS_MAX];
    unsigned kinds_count;
    uint32_t offered[SECONDS_MAX]; /* attempts, by the second for which they were meant */
    uint64_t attempts, buyers, retries, repeats, gave_up, connections_lost;
    uint64_t answered, orders; /* orders: 201 and 202, replays left out */
    histogram_t
        lateness; /* of this program itself: from when an attempt could have gone to when it went */
    double seconds, cpu_s;
} record_t;

void record_offered(record_t *record, uint64_t due_us);
#define NOT_SENT UINT64_MAX
/* A kind beyond KINDS_MAX is counted as "other". sent_us may be NOT_SENT. */
void record_ended(record_t *record, const char *kind, uint64_t due_us, uint64_t sent_us,
                  uint64_t now_us);
void histogram_add(histogram_t *histogram, uint64_t us);
/* Writes the line "progress SECONDS ATTEMPTS ANSWERED ORDERS" to standard error. */
void record_progress(const record_t *record, double seconds);
/* The crowd is at its end: sets `seconds`, and `cpu_s` to this program's processor time. */
void record_end(record_t *record, double seconds);
void record_write(const record_t *record, FILE *out);

#endif
