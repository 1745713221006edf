/*
 * When buyers come: a Poisson process whose rate follows segments, each linear, and a heap for
 * attempts that are due later (retries, repeats). Pure but for its own memory; times are in
 * microseconds since the start. One thread.
 */
#ifndef VOLLEY_ARRIVALS_H
#define VOLLEY_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SEGMENTS_MAX 64
#define NEVER UINT64_MAX

typedef struct {
    double seconds, rate_begin, rate_end; /* arrivals a second */
} segment_t;

typedef struct {
    segment_t segments[SEGMENTS_MAX];
    unsigned count, at; /* `at`: the segment of the next arrival */
    double into_s;      /* how far into it the last arrival was */
    double began_s;     /* when it began */
    uint64_t random;
} arrivals_t;

/* Reads "SECONDS RATE_BEGIN RATE_END" lines; false when one is none or there are too many. */
bool arrivals_read(arrivals_t *arrivals, FILE *in, uint64_t seed);
/* The time of the next arrival, or NEVER. */
uint64_t arrivals_next(arrivals_t *arrivals);
/* From 0 up to, not including, 1. */
double random_next(uint64_t *state);

/* One request that somebody means to send. */
typedef struct {
    uint64_t due_us; /* when: latency counts from here */
    uint32_t buyer;
    uint16_t tries;   /* earlier ones that had to be made again */
    uint16_t repeats; /* how often it is still sent again, whatever was answered */
    uint8_t kind;     /* of request, where there are several */
    bool keyed;
} attempt_t;

typedef struct {
    attempt_t *items;
    unsigned count, room;
} heap_t;

void heap_push(heap_t *heap, attempt_t attempt);
/* The earliest; there must be one. */
attempt_t heap_pop(heap_t *heap);
/* NEVER if it is empty. */
uint64_t heap_due(const heap_t *heap);

/* First in, first out, in a ring. */
typedef struct {
    attempt_t *items;
    unsigned first, count, room; /* room is a power of two */
} queue_t;

void queue_push(queue_t *queue, attempt_t attempt);
attempt_t queue_pop(queue_t *queue);

#endif
