/*
 * Who is admitted to an item: the rules of the gate's `decide` in lua/holdfast.lua, for the
 * strategies that check in C. Pure: no I/O, no clock; a test holds both against each other
 * (tests/unit/test_admission.c).
 *
 * Where several refusals apply the first of these is given: see strategies/strategy.h.
 */
#ifndef HOLDFAST_SALE_ADMISSION_H
#define HOLDFAST_SALE_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "sale/problem.h"

/* In the order in which they are asked for. */
typedef enum {
    ADMISSION_KNOWN,  /* this very order was admitted before, and is so */
    ADMISSION_REPEAT, /* another order has its key: the buyer is to hear that one */
    ADMISSION_LATE,   /* past its commit deadline: no order may be admitted then */
    ADMISSION_NOT_STARTED,
    ADMISSION_ENDED,
    ADMISSION_SOLD_OUT, /* fewer units are left than it asks for */
    ADMISSION_BUYER_LIMIT,
    ADMISSION_LOOK, /* only after a look whether its key has an order */
    ADMISSION_GRANTED
} admission_t;

/* What is asked, and what there is. Times are ms since 1970 by one clock. */
typedef struct {
    uint32_t quantity;
    bool is_known;         /* this order is there already */
    bool has_first;        /* another order has its key */
    bool key_is_unchecked; /* its buyer was admitted before, and maybe for this key */
    uint64_t now_ms;
    uint64_t deadline_ms;              /* it may be admitted until then; UINT64_MAX: no bound */
    uint64_t starts_at_ms, ends_at_ms; /* 0: open */
    int64_t left;                      /* units */
    int64_t limit;                     /* units of a buyer; 0: none */
    int64_t owned;                     /* units that the buyer has */
} admission_case_t;

admission_t admission_decide(const admission_case_t *asked);
/* PROBLEM_NONE where it is no refusal. */
problem_t admission_problem(admission_t admission);

#endif
