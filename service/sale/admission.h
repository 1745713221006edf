/*
 * The rules of admission to an item: those of `decide` in lua/holdfast.lua, for the strategies that
 * check in C. Pure: no I/O, no clock, no memory of its own; any thread may call it, and it never
 * blocks or fails. tests/unit/test_admission.c compares the two versions.
 *
 * If several refusals apply, the first is returned, in the order of strategies/strategy.h.
 */
#ifndef HOLDFAST_SALE_ADMISSION_H
#define HOLDFAST_SALE_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "sale/problem.h"

/* In the order in which they are checked. */
typedef enum {
    ADMISSION_KNOWN,  /* this order was admitted before, and stays admitted */
    ADMISSION_REPEAT, /* another order has its key; the buyer gets that order */
    ADMISSION_LATE,   /* past its commit deadline: no order may be admitted after it */
    ADMISSION_NOT_STARTED,
    ADMISSION_ENDED,
    ADMISSION_SOLD_OUT,   /* fewer units are left than it asks for */
    ADMISSION_NOT_LOADED, /* the buyer's units must be read in MySQL first */
    ADMISSION_BUYER_LIMIT,
    ADMISSION_CHECK_KEY, /* its key must be read in MySQL before it can be admitted */
    ADMISSION_GRANTED
} admission_t;

/* The request and the state of the item. Times are ms since 1970 by one clock. */
typedef struct {
    uint32_t quantity;
    bool is_known;         /* this order is in `unsettled` already */
    bool has_first;        /* another order has its key */
    bool key_is_unchecked; /* its buyer was admitted before, perhaps with this key */
    bool is_unloaded;      /* the gate does not know yet how many units the buyer has */
    uint64_t now_ms;
    /* last time at which it may be admitted; UINT64_MAX: no bound */
    uint64_t deadline_ms;
    uint64_t starts_at_ms, ends_at_ms; /* 0: open */
    int64_t left;                      /* units */
    int64_t limit;                     /* units of a buyer; 0: none */
    int64_t owned;                     /* units that the buyer has */
} admission_case_t;

admission_t admission_decide(const admission_case_t *a);
/* PROBLEM_NONE if `admission` is no refusal. */
problem_t admission_problem(admission_t admission);

#endif
