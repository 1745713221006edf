/*
 * A loop of a simulated process: the real loop/loop.h over virtual time. Callbacks run on the
 * scheduler's stack, so that one which blocks is found at once.
 *
 * Not modelled: h2o's rounds of reading and writing; connections of buyers.
 */
#ifndef HOLDFAST_SIMULATION_LOOP_MODEL_H
#define HOLDFAST_SIMULATION_LOOP_MODEL_H

#include "loop/loop.h"
#include "world.h"

loop_t *loop_make(unsigned index);

#endif
