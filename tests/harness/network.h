/*
 * Redis and the MariaDB servers of a stack behind a network of their own: they move into a network
 * namespace, which a pair of virtual interfaces connects, and packets that they send can be
 * dropped while all that is sent to them arrives. Their Unix sockets stay, so what reads them past
 * the service does not see any of it.
 *
 * Main thread. Needs root; a machine that forbids namespaces or packet filters says so.
 */
#ifndef HOLDFAST_HARNESS_NETWORK_H
#define HOLDFAST_HARNESS_NETWORK_H

#include "harness/stack.h"

/* Of the servers in the namespace. */
#define NETWORK_REDIS_PORT 6379
#define NETWORK_MYSQL_PORT 3306 /* of shard 0; 3307 of shard 1 ... */

/* False, and "SKIPPED: " with the reason printed: not on this machine. Nothing has changed then. */
bool network_is_allowed(void);
/* Moves the servers; they start again. */
void network_start(test_stack_t *stack);
/* Always, before stack_stop(); harmless without network_start(). */
void network_end(void);
/* A configuration for services that reach them over this network; the stack's own still uses the
   sockets. The text lasts as long as other texts of a test. */
const char *network_config(const test_stack_t *stack);

/* From now on nothing gets out of these ports. */
void network_lose_answers(unsigned first_port, unsigned last_port);
/* Nothing is lost any more. Returns how many packets were. */
long long network_heal(void);

#endif
