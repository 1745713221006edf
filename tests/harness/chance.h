/*
 * Chance that can be replayed: a seed, and numbers that come of it. The seed of a test program is
 * $HOLDFAST_SEED, or a new one; it is printed when it is first asked for.
 */
#ifndef HOLDFAST_HARNESS_CHANCE_H
#define HOLDFAST_HARNESS_CHANCE_H

#include "harness/test.h"

typedef struct {
    uint64_t state;
} chance_t;

/* Of the run that is under way. Main thread. */
uint64_t chance_seed(void);
/* A source of numbers of its own for whoever is called `name`: what others draw changes nothing. */
chance_t chance_of(const char *name);
/* 0 .. below - 1. */
unsigned chance_below(chance_t *chance, unsigned below);
bool chance_percent(chance_t *chance, unsigned percent);

/* HOLDFAST_LONG=1: there is time for the cases that take longest, too. */
bool chance_is_long(void);
/* As test_run(). With HOLDFAST_LONG=1 again and again, each time with the next seed, until
   HOLDFAST_FAULT_SECONDS (600 if not set) are over or something has failed. */
int chance_run(const char *group, const struct CMUnitTest *tests, size_t count,
               CMFixtureFunction setup, CMFixtureFunction teardown);

#endif
