/*
 * What a simulated process has of its machine: clocks, memory, threads, chance. The functions that
 * seams.h names, and the service's own base/random.h and base/log.h.
 */
#ifndef HOLDFAST_SIMULATION_MACHINE_H
#define HOLDFAST_SIMULATION_MACHINE_H

#include "world.h"

/* Frees all that the history allocated. */
void machine_forget(void);
/* Sets the wall clock of a node apart from the world's. */
void machine_set_skew(unsigned node, int64_t ms);
/* Lines of the service's log with a finding of the reconciler other than "not built". */
extern unsigned machine_findings;
/* The first of them that only a loss of data in Redis explains: counters, capacity, buyers, more
   settled or released than MySQL has. "" : none. */
extern char machine_wrong[24];
/* The log has a line about Redis: it was silent, gone, or refused. */
extern bool machine_redis_failed;

#endif
