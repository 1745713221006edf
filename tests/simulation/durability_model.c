/* Settings of the servers are not simulated. */
#include "reconcile/durability.h"

void durability_check(node_t *node, unsigned shard, worker_t *worker)
{
    (void)node, (void)shard, (void)worker;
}
