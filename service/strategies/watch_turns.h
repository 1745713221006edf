/*
 * How many attempts of one item run at once under the watch strategy, and which is next.
 *
 * Every EXEC that succeeds changes the gate, and so aborts all attempts of the item that are
 * between their WATCH and their EXEC: attempts side by side only repeat each other's reads. Reads
 * that lead to a refusal abort nothing. So the number of turns halves with each abort and grows by
 * one after attempts in a row that met none, as congestion windows do (RFC 5681, section 3.1). An
 * aborted attempt keeps its turn while it waits to try again; with one turn left, the whole item
 * waits with it, and attempts of other nodes go first meanwhile.
 *
 * A value that its owner's loop uses on its thread; pure, nothing blocks or fails. The caller owns
 * the attempts and frees the turns. Waiting attempts are linked through attempt_t.link, and may be
 * unlinked at any time.
 */
#ifndef HOLDFAST_STRATEGIES_WATCH_TURNS_H
#define HOLDFAST_STRATEGIES_WATCH_TURNS_H

#include "strategies/strategy.h"

typedef struct watch_turns watch_turns_t;

/* `max` turns at most; at least 1. */
watch_turns_t *watch_turns_new(unsigned max);
/* Only when no attempt waits or has a turn. */
void watch_turns_free(watch_turns_t *turns);
/* The attempt waits until watch_turns_next() returns it. */
void watch_turns_wait(watch_turns_t *turns, attempt_t *attempt);
/* Gives a turn to the attempt that has waited longest. NULL: none waits, or no turn is free. */
attempt_t *watch_turns_next(watch_turns_t *turns);
/* An attempt that has a turn was aborted. It keeps the turn. */
void watch_turns_aborted(watch_turns_t *turns);
/* An attempt has ended; its turn is free again. */
void watch_turns_end(watch_turns_t *turns);

#endif
