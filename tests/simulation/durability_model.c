/* Settings of the servers are not simulated. */
#include "reconcile/durability.h"

void durability_check(durability_watch_t *watch, worker_t *worker)
{
    (void)watch, (void)worker;
}
