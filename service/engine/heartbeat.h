/*
 * That this process lives, told to Redis by one of its loops, and what the clock of Redis says.
 *
 * This process owns entries in `unsettled`. While it lives it says so under gate_owner_key(), for
 * HEARTBEAT_MS at a time; others take over what a silent one leaves. On the loop's thread; nothing
 * blocks.
 */
#ifndef HOLDFAST_ENGINE_HEARTBEAT_H
#define HOLDFAST_ENGINE_HEARTBEAT_H

#include <stdint.h>

struct engine_loop;

#define HEARTBEAT_MS 2000
#define HEARTBEAT_INTERVAL_MS 256

/* Every HEARTBEAT_INTERVAL_MS, first in the next turn of the loop. */
void heartbeat_start(struct engine_loop *engine);
void heartbeat_stop(struct engine_loop *engine);

#endif
