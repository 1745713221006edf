/*
 * The heartbeat of this process, which one of its loops writes to Redis, and the clock of Redis.
 *
 * This process owns entries in `unsettled`. It sets the key gate_owner_key() with an expiry of
 * HEARTBEAT_MS, and repeats that every HEARTBEAT_INTERVAL_MS. If the key expires, the reconciler of
 * any process takes the entries over as orphans. The same timer reads the clock of Redis into
 * node->gate_clock, calls nodes_beat(), and runs strategy_loop_check() on every loop.
 *
 * On the loop's thread; nothing blocks. A call that fails is dropped: the next beat repeats it.
 */
#ifndef HOLDFAST_ENGINE_HEARTBEAT_H
#define HOLDFAST_ENGINE_HEARTBEAT_H

#include <stdint.h>

struct engine_loop;

#define HEARTBEAT_MS 2000
#define HEARTBEAT_INTERVAL_MS 256

/* Beats every HEARTBEAT_INTERVAL_MS, and first in the next turn of the loop. */
void heartbeat_start(struct engine_loop *engine);
void heartbeat_stop(struct engine_loop *engine);

#endif
